//! `op-install`: makes plugins from what services say of themselves, installs packages, lists, removes and tests plugins;
//! and calls the hookscript's installer.

mod hook;
mod install;
mod keys;
mod learn;
mod lint;
mod map;
mod registry;

use op_dbus::base::name::PluginName;
use op_dbus::base::{Error, Result};
use op_dbus::bus::{Manner, names, walk};
use op_dbus::cli::packages::InstallOptions;
use op_dbus::cli::{self, Cli, Outcome, Program, show};
use op_dbus::package::create::{self, IntrospectionDocument};
use op_dbus::package::remove::Needed;
use op_dbus::package::{adopt, versions};
use op_dbus::plugin::listing;

mod test;

/// Create, install, list, remove and test plugins; give guests of Proxmox VE the hookscript.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Adopt(install::Adopt),
    Create(Create),
    Hook(hook::Hook),
    Install(install::Install),
    Keys(keys::Keys),
    Lint(lint::Lint),
    List(List),
    Map(map::Map),
    Registry(registry::Registry),
    Remove(Remove),
    Rollback(install::Rollback),
    Show(install::Show),
    Test(test::Test),
    Upgrade(install::Upgrade),
    Verify(install::Verify),
}

/// make a plugin from what a service says of itself
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "create")]
struct Create {
    /// the plugin's name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// an introspection document of op-discover instead of a running service; - is standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// the service to ask
    #[argh(option, arg_name = "SERVICE")]
    from_dbus: Option<String>,
}

/// list the plugins, installed and shipped
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {}

/// remove an installed plugin
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "remove")]
struct Remove {
    /// the plugin's name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// remove this version only, which is not the active one
    #[argh(option, arg_name = "VERSION")]
    version: Option<String>,
    /// remove it even if installed plugins need it
    #[argh(switch)]
    ignore_dependencies: bool,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

const PROGRAM: Program = Program {
    name: "op-install",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: Some("install"),
    optional_values: &[],
    examples: "op-install create packagekit --from-dbus org.freedesktop.PackageKit\n\
               op-discover org.freedesktop.UPower | op-install create power -\n\
               op-install list\n\
               op-install map power\n\
               op-install map --learn hostname -- hostnamectl location \"rack 4\"\n\
               op-install map --learn -- timedatectl set-timezone Europe/Berlin\n\
               op-install lint mappings/hostname\n\
               op-install https://op-dbus-plugins.org/packagekit-v1.0.0.btrfs.zst\n\
               op-install install packagekit-v1.0.0.btrfs.zst --key publisher.pub --dry-run\n\
               op-install registry add https://op-dbus-plugins.org\n\
               op-install packagekit@^1.2\n\
               op-install upgrade --dry-run\n\
               op-install rollback packagekit\n\
               op-install verify\n\
               op-install remove power\n\
               op-install hook 100 101\n\
               op-install test ./mappings/hostname",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Adopt(args) => install::adopt(args, cli),
        Command::Create(args) => create(&args, cli),
        Command::Hook(args) => hook::run(&args, cli),
        Command::Install(args) => install::install(args, cli),
        Command::Keys(args) => keys::run(args, cli),
        Command::Lint(args) => lint::run(&args, cli),
        Command::List(_) => list(cli),
        Command::Map(args) => map::run(&args, cli),
        Command::Registry(args) => registry::run(args, cli),
        Command::Remove(args) => remove(&args, cli),
        Command::Rollback(args) => install::rollback(&args, cli),
        Command::Show(args) => install::show(&args, cli),
        Command::Test(args) => test::test(&args, cli),
        Command::Upgrade(args) => install::upgrade(args, cli),
        Command::Verify(args) => install::verify(args, cli),
    })
}

fn create(args: &Create, cli: &mut Cli) -> Result<Outcome> {
    let name = PluginName::new(&args.name)?;
    let document = match (&args.from_dbus, &args.file) {
        (Some(service), None) => ask(service, cli)?,
        (None, Some(file)) => {
            let input = cli::input::read_document(Some(file))?;
            IntrospectionDocument::from_json(&input.json()?, &input.name)?
        }
        (Some(_), Some(_)) => return Err(Error::usage("ask a service or read a document: say one of them")),
        (None, None) => {
            return Err(Error::usage("there is nothing to make the plugin from")
                .hint("say --from-dbus SERVICE, or pipe op-discover SERVICE into op-install create NAME -"));
        }
    };
    let store = cli.store(&cli.root()?, None)?;
    let folder = create::create(&store, &name, &document)?;
    show::created(&mut cli.out, &name, &document, &folder)?;
    Ok(Outcome::Done)
}

/// Walks the service. It was named by a person who wants a plugin of it, so it is started if it has to be.
fn ask(service: &str, cli: &mut Cli) -> Result<IntrospectionDocument> {
    let bus = cli.connect()?;
    if names::owner_of(&bus, service).is_err() {
        names::start(&bus, service)?;
        cli.out.note(&format!("{service} was not running; the bus started it"));
    }
    let progress = cli.out.progress();
    let mut on_object = |count: usize| progress.spinner(&format!("{service}: {count} objects"));
    let tree = walk::walk(&bus, service, walk::Want::Structure, Manner::default(), &mut on_object)?;
    Ok(IntrospectionDocument::new(service, tree))
}

fn list(cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let mut listing = listing::list(&cli.catalog(&root)?);
    versions::complete(&mut listing, &root)?;
    show::listing(&mut cli.out, &listing)?;
    for received in adopt::received(&root)? {
        let (name, version) = (&received.name, &received.version);
        let path = received.path.display();
        cli.out.note(&format!("{path} was put there by hand: op-install adopt {name} --version {version}"));
    }
    Ok(Outcome::Done)
}

fn remove(args: &Remove, cli: &mut Cli) -> Result<Outcome> {
    let name = PluginName::new(&args.name)?;
    let version = args.version.as_deref().map(versions::parse).transpose()?;
    let options =
        InstallOptions { yes: args.yes, lock_timeout: args.lock_timeout.clone(), ..InstallOptions::default() };
    let needed = if args.ignore_dependencies { Needed::Ignore } else { Needed::Refuse };
    cli.remove(&name, version.as_ref(), needed, &options)?;
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    cli.out.tick(true, &format!("Removed {name}{version}"));
    Ok(Outcome::Done)
}

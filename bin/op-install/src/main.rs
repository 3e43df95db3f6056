//! `op-install`: makes plugins from what services say of themselves, lists, removes and tests them; and calls the hookscript's installer.

mod hook;
mod learn;
mod lint;
mod map;

use op_dbus::base::name::PluginName;
use op_dbus::base::{Error, Result};
use op_dbus::bus::{Manner, names, walk};
use op_dbus::cli::confirm::{Terminal, no_terminal};
use op_dbus::cli::{self, Cli, Interrupt, Outcome, Program, show};
use op_dbus::package::create::{self, IntrospectionDocument};
use op_dbus::package::remove;
use op_dbus::plugin::listing;

mod test;

/// Create, list, remove and test plugins; give guests of Proxmox VE the hookscript.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Create(Create),
    Hook(hook::Hook),
    Lint(lint::Lint),
    List(List),
    Map(map::Map),
    Remove(Remove),
    Test(test::Test),
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
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
}

const PROGRAM: Program = Program {
    name: "op-install",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: None,
    optional_values: &[],
    examples: "op-install create packagekit --from-dbus org.freedesktop.PackageKit\n\
               op-discover org.freedesktop.UPower | op-install create power -\n\
               op-install list\n\
               op-install map power\n\
               op-install map --learn hostname -- hostnamectl location \"rack 4\"\n\
               op-install map --learn -- timedatectl set-timezone Europe/Berlin\n\
               op-install lint mappings/hostname\n\
               op-install remove power\n\
               op-install hook 100 101\n\
               op-install test ./mappings/hostname",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Create(args) => create(&args, cli),
        Command::Hook(args) => hook::run(&args, cli),
        Command::Lint(args) => lint::run(&args, cli),
        Command::List(_) => list(cli),
        Command::Map(args) => map::run(&args, cli),
        Command::Remove(args) => remove(&args, cli),
        Command::Test(args) => test::test(&args, cli),
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
    let listing = listing::list(&cli.catalog(&cli.root()?)?);
    show::listing(&mut cli.out, &listing)?;
    Ok(Outcome::Done)
}

fn remove(args: &Remove, cli: &mut Cli) -> Result<Outcome> {
    let name = PluginName::new(&args.name)?;
    let root = cli.root()?;
    remove::must_be_installed(&root, &name)?;
    if !args.yes {
        let mut terminal = Terminal::open(&Interrupt::install()?).ok_or_else(no_terminal)?;
        let text = format!("This removes {} and everything in it.", root.plugin(&name).display());
        terminal.ask_yes_no(&text, "Proceed?")?.or_refused()?;
    }
    remove::remove(&cli.store(&root, None)?, &name)?;
    cli.out.tick(true, &format!("Removed {name}"));
    Ok(Outcome::Done)
}

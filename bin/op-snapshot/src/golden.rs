//! Golden images: read-only subvolumes from which containers are made in the time of a snapshot.

use op_dbus::audit::{Chain, events};
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::show_golden::GoldenOutcome;
use op_dbus::cli::{Cli, show_golden};
use op_dbus::plugin::builtin::lxc::golden::Image;
use op_dbus::plugin::builtin::lxc::making::{self, From, Make};
use op_dbus::plugin::builtin::lxc::{self, Settings, golden};
use op_dbus::store::{StateRoot, Store};
use serde_json::json;

/// make, list, renew and delete golden images of containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "golden")]
pub struct Golden {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Create(Create),
    Delete(Delete),
    List(List),
    Update(Update),
}

/// make a golden image
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "create")]
struct Create {
    /// what it is to be called
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// what it is made from: the number of a stopped container, an archive, or a folder
    #[argh(option, arg_name = "VMID|TARBALL|DIR")]
    from: String,
    /// the storage it will lie in, which must be btrfs (default: the first that will do)
    #[argh(option, arg_name = "NAME")]
    storage: Option<String>,
    /// a free number, under which Proxmox has it as a template
    #[argh(option, arg_name = "VMID")]
    template_id: Option<String>,
    /// it is for containers with privileges; a container as the source decides that itself
    #[argh(switch)]
    privileged: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// list the golden images, and whether containers can be made of them
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {}

/// make a golden image anew; containers made of it stay as they are
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "update")]
struct Update {
    /// its name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// what it is made from now (default: the same as before)
    #[argh(option, arg_name = "VMID|TARBALL|DIR")]
    from: Option<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// delete a golden image; containers made of it stay
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "delete")]
struct Delete {
    /// its name
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// Runs `golden`.
pub fn golden(args: &Golden, cli: &mut Cli) -> Result<()> {
    let settings = settings(cli)?;
    match &args.command {
        Command::Create(args) => create(args, &settings, cli),
        Command::Delete(args) => delete(args, &settings, cli),
        Command::List(_) => show_golden::list(&mut cli.out, golden::survey(&settings)?),
        Command::Update(args) => update(args, &settings, cli),
    }
}

/// Where things are on this host, as the plugin is told.
fn settings(cli: &Cli) -> Result<Settings> {
    let catalog = cli.catalog(&cli.root()?)?;
    if catalog.folder(lxc::NAME).is_none() {
        return Ok(Settings::default());
    }
    lxc::settings_of(&catalog.entry(lxc::NAME)?.manifest)
}

fn create(args: &Create, settings: &Settings, cli: &mut Cli) -> Result<()> {
    let from = From::parse(&args.from).map_err(|error| error.or_on("--from"))?;
    let make = Make {
        name: args.name.clone(),
        from,
        storage: args.storage.clone(),
        template_id: args.template_id.clone(),
        is_privileged: args.privileged,
    };
    let root = cli.root()?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    can_be_recorded(&store)?;
    let mut progress = cli.out.progress();
    let image = making::create(settings, &make, &mut progress)?;
    progress.finish();
    done(cli, &root, GoldenOutcome::Made, image)
}

fn update(args: &Update, settings: &Settings, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    can_be_recorded(&store)?;
    let from = match &args.from {
        Some(text) => From::parse(text)?,
        None => From::again(&golden::find(settings, &args.name)?.from)?,
    };
    let mut progress = cli.out.progress();
    let image = making::update(settings, &args.name, &from, &mut progress)?;
    progress.finish();
    done(cli, &root, GoldenOutcome::Updated, image)
}

fn delete(args: &Delete, settings: &Settings, cli: &mut Cli) -> Result<()> {
    let image = golden::find(settings, &args.name)?;
    let text = format!("This deletes {}. Containers made of it stay.", image.path.display());
    cli.confirm(args.yes, &text)?;
    let root = cli.root()?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    can_be_recorded(&store)?;
    let image = golden::delete(settings, &image.name).map_err(|error: Error| error.or_on(args.name.clone()))?;
    done(cli, &root, GoldenOutcome::Deleted, image)
}

/// What cannot be recorded is not done.
fn can_be_recorded(store: &Store) -> Result<()> {
    store.ensure(&store.root().path().join("@timing"))?;
    Chain::open(store.root())?.head().map(drop)
}

/// Records what was done, and says it.
fn done(cli: &mut Cli, root: &StateRoot, outcome: GoldenOutcome, image: Image) -> Result<()> {
    let about = json!({
        "name": image.name,
        "storage": image.storage,
        "path": image.path,
        "template_id": image.template_id,
        "from": image.from,
    });
    let program = (cli.actor(), cli.program.as_str());
    let recorded = events::record(root, program, ("op-snapshot", "golden images"), outcome.told(), about);
    show_golden::done(&mut cli.out, outcome, image)?;
    recorded.map_err(|error| {
        let message = format!("it was done, but the audit trail does not say so: {}", error.message);
        Error { kind: Kind::Residue, message, ..error }
    })
}

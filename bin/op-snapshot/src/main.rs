//! `op-snapshot`: makes and examines the state root; takes, lists, restores and deletes snapshots of the cache; publishes
//! plugins; makes golden images of containers.

mod golden;
mod publish;

use op_dbus::base::time::Hour;
use op_dbus::base::{Error, Result, size};
use op_dbus::cli::{self, Cli, Outcome, Program, show_store};
use op_dbus::store::image::{self, ImageOptions};
use op_dbus::store::{cache, doctor, init, volumes};
use std::time::SystemTime;

/// The state root, its volumes and their snapshots.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Init(Init),
    Doctor(Doctor),
    Golden(golden::Golden),
    Keygen(publish::Keygen),
    Publish(publish::Publish),
    Rotate(Rotate),
    List(List),
    Revoke(publish::Revoke),
    Restore(Restore),
    Delete(Delete),
}

/// make the state root as it should be; what is right is left alone
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "init")]
struct Init {
    /// move it onto a btrfs image of this size, mounted by a systemd unit, for example 2G
    #[argh(option, long = "loop", arg_name = "SIZE")]
    loop_size: Option<String>,
    /// with --loop: the image's file (default: the root's path with .btrfs)
    #[argh(option, arg_name = "FILE")]
    at: Option<String>,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// say what this state root can promise and what it cannot, what mends it, and what is stored
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "doctor")]
struct Doctor {}

/// take this hour's snapshot of the cache unless there is one, and keep the newest 24
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "rotate")]
struct Rotate {
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// list the snapshots of the cache
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {}

/// make the cache what it was when a snapshot was taken
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "restore")]
struct Restore {
    /// the snapshot's name, for example cache@2025-01-15-10:00
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// delete a snapshot of the cache
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "delete")]
struct Delete {
    /// the snapshot's name, for example cache@2025-01-15-10:00
    #[argh(positional, arg_name = "NAME")]
    name: String,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// wait this long for another run to end (default 10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

const PROGRAM: Program = Program {
    name: "op-snapshot",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: None,
    optional_values: &[],
    examples: "op-snapshot init\n\
               op-snapshot init --loop 2G\n\
               op-snapshot doctor\n\
               op-snapshot rotate\n\
               op-snapshot restore cache@2025-01-15-10:00\n\
               op-snapshot keygen --out publisher.key\n\
               op-snapshot publish packagekit --version 1.0.0 --key publisher.key --out packages\n\
               op-snapshot golden create debian-minimal --from debian-13-standard_13.1-2_amd64.tar.zst",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| {
        match args.command {
            Command::Init(args) => init(&args, cli),
            Command::Doctor(_) => doctor(cli),
            Command::Golden(args) => golden::golden(&args, cli),
            Command::Keygen(args) => publish::keygen(&args, cli),
            Command::Publish(args) => publish::publish(&args, cli),
            Command::Revoke(args) => publish::revoke(&args, cli),
            Command::Rotate(args) => rotate(&args, cli),
            Command::List(_) => list(cli),
            Command::Restore(args) => restore(&args, cli),
            Command::Delete(args) => delete(&args, cli),
        }
        .map(|()| Outcome::Done)
    })
}

fn init(args: &Init, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let report = match (&args.loop_size, &args.at) {
        (None, None) => cli.waiting(args.lock_timeout.as_deref(), |wait| init::init(&root, wait))?,
        (None, Some(_)) => return Err(Error::usage("--at says where an image is to be").hint("say --loop SIZE, too")),
        (Some(size), at) => {
            let size_bytes = size::parse(size).map_err(|e| e.on(format!("--loop {size:?}")))?;
            let options = ImageOptions { size_bytes, file: at.as_ref().map(Into::into), units: image::UNITS.into() };
            cli.waiting(args.lock_timeout.as_deref(), |wait| image::create(&root, &options, wait))?
        }
    };
    show_store::root(&mut cli.out, &report)
}

fn doctor(cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let found = cli.waiting(None, |wait| doctor::look(&root, Hour::of(SystemTime::now()), wait))?;
    show_store::doctor(&mut cli.out, &found)
}

fn rotate(args: &Rotate, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let store = cli.store(&root, args.lock_timeout.as_deref())?;
    // The hour it is now, and not when the wait for the lock began.
    let rotation = cache::rotate(&store, Hour::of(SystemTime::now()))?;
    show_store::rotation(&mut cli.out, &rotation)
}

fn list(cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let snapshots = cache::list(&root, &*volumes::at(root.path())?)?;
    show_store::snapshots(&mut cli.out, &snapshots)
}

fn restore(args: &Restore, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let name = cache::find(&root, &*volumes::at(root.path())?, &args.name)?.name;
    cli.confirm(args.yes, &format!("This makes the cache what it was in {name}. What was cached since then is lost."))?;
    let report = cache::restore(&cli.store(&root, args.lock_timeout.as_deref())?, &name)?;
    show_store::snapshot(&mut cli.out, &report)
}

fn delete(args: &Delete, cli: &mut Cli) -> Result<()> {
    let root = cli.root()?;
    let snapshot = cache::find(&root, &*volumes::at(root.path())?, &args.name)?;
    cli.confirm(args.yes, &format!("This deletes {}.", snapshot.path.display()))?;
    let report = cache::delete(&cli.store(&root, args.lock_timeout.as_deref())?, &snapshot.name)?;
    show_store::snapshot(&mut cli.out, &report)
}

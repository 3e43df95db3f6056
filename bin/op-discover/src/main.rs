//! `op-discover`: what is on a bus, and what a service says of itself. Changes nothing, starts nothing unless told.

use op_dbus::base::{Kind, Result};
use op_dbus::bus::{Manner, names, offline, walk};
use op_dbus::cli::{self, Cli, Outcome, Program, tree};
use op_dbus::package::create::IntrospectionDocument;
use op_dbus::plugin::Inventory;
use std::path::PathBuf;

mod record;

/// Show the services of a bus, or look into one of them.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Show(Show),
    Record(record::Record),
}

/// show the services of a bus, or the objects, interfaces and members of one of them
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "show")]
struct Show {
    /// the service to look into; without one, all are listed
    #[argh(positional, arg_name = "SERVICE")]
    service: Option<String>,
    /// start the service if it is not running
    #[argh(switch)]
    activate: bool,
    /// read XML files instead of asking the service: a file or a folder of them (may be repeated; /usr/share/dbus-1/interfaces is the usual one)
    #[argh(option, arg_name = "PATH")]
    xml: Vec<PathBuf>,
    /// print a readable tree instead of JSON
    #[argh(switch)]
    tree: bool,
}

const PROGRAM: Program = Program {
    name: "op-discover",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: Some("show"),
    optional_values: &[],
    many_hosts: false,
    examples: "op-discover\n\
               op-discover org.freedesktop.hostname1 --tree\n\
               op-discover org.freedesktop.UPower --xml /usr/share/dbus-1/interfaces\n\
               op-discover org.freedesktop.hostname1 | op-install create myhost -\n\
               op-discover record org.freedesktop.hostname1 --plugin hostname --output hostname.json\n\
               op-discover org.freedesktop.hostname1 --address replay:hostname.json",
};

fn main() -> std::process::ExitCode {
    cli::main::<Args>(&PROGRAM, |args, cli| match args.command {
        Command::Show(args) => match args.service.as_deref() {
            None | Some("list") => list(cli),
            Some(service) => look_into(service, &args, cli),
        },
        Command::Record(args) => record::record(args, cli),
    })
}

fn list(cli: &mut Cli) -> Result<Outcome> {
    let catalog = cli.catalog(&cli.root()?)?;
    let bus = cli.connect()?;
    let inventory = Inventory::new(names::services(&bus, cli.proc())?, &catalog);
    if cli.out.look().is_json {
        cli.out.document(&inventory)?;
    } else {
        let row = |entry: &op_dbus::plugin::inventory::InventoryService| {
            let service = &entry.service;
            let state = match (service.running, service.activatable) {
                (true, _) => "running",
                (false, true) => "activatable",
                (false, false) => "",
            };
            vec![
                service.name.clone(),
                state.to_owned(),
                service.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                service.unit.clone().unwrap_or_default(),
                entry.plugins.join(", "),
                entry.mapping.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<Vec<String>> = inventory.services.iter().map(row).collect();
        cli.out.table(&["SERVICE", "STATE", "PID", "UNIT", "PLUGIN", "MAPPING"], &rows)?;
    }
    Ok(Outcome::Done)
}

fn look_into(service: &str, args: &Show, cli: &mut Cli) -> Result<Outcome> {
    let found =
        if args.xml.is_empty() { ask(service, args.activate, cli)? } else { offline::read(&args.xml, service)? };
    let is_whole = found.problems.is_empty();
    for problem in &found.problems {
        cli.out.warn(problem);
    }
    if args.tree || !cli.out.look().is_json {
        cli.out.text(&tree::render(service, &found))?;
    } else {
        cli.out.document(&IntrospectionDocument::new(service, found))?;
    }
    Ok(if is_whole { Outcome::Done } else { Outcome::Partial })
}

fn ask(service: &str, activate: bool, cli: &mut Cli) -> Result<walk::Tree> {
    let bus = cli.connect()?;
    if activate {
        names::start(&bus, service)?;
    }
    let progress = cli.out.progress();
    let mut on_object = |count: usize| progress.spinner(&format!("{service}: {count} objects"));
    walk::walk(&bus, service, walk::Want::Structure, Manner::default(), &mut on_object).map_err(|error| {
        if error.kind == Kind::Unavailable {
            error.or_on(service).hint(format!(
                "if it can be started, --activate does it; op-discover {service} --xml {} reads descriptions instead",
                offline::INTERFACES
            ))
        } else {
            error
        }
    })
}

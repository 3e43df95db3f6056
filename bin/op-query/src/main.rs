//! `op-query`: the current state of plugins as JSON. Reads only; what it prints is what `op-apply` accepts.

use op_dbus::apply::query::{self, Selection};
use op_dbus::base::{Error, Result};
use op_dbus::bus::Bus;
use op_dbus::cli::{self, Cli, Outcome, Program, show};
use op_dbus::plugin::Want;

/// Print the current state of plugins.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    /// a state document or an inventory that says what to query; - is standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// only this plugin, or this service by its bus name (may be repeated)
    #[argh(option, arg_name = "NAME")]
    plugin: Vec<String>,
    /// add everything else that can be seen, under observed
    #[argh(switch)]
    all: bool,
    /// print the state of the one plugin without the document around it
    #[argh(switch)]
    bare: bool,
}

const PROGRAM: Program = Program {
    name: "op-query",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: None,
    optional_values: &[],
    examples: "op-query --plugin hostname\n\
               op-query --plugin packagekit --bare\n\
               op-discover | op-query\n\
               op-query --plugin hostname | jq '.plugins.hostname.static_hostname = \"web\"' | op-apply",
};

fn main() -> std::process::ExitCode {
    cli::main::<Args>(&PROGRAM, run)
}

fn run(args: Args, cli: &mut Cli) -> Result<Outcome> {
    if let (Some(file), false) = (&args.file, args.plugin.is_empty()) {
        return Err(Error::usage("a document and --plugin both say what to query: say one of them").on(file.clone()));
    }
    let selection = if args.plugin.is_empty() {
        match cli::input::read_optional(args.file.as_deref())? {
            Some(input) => Selection::from_json(&input.json()?, &input.name)?,
            None => Selection::Everything,
        }
    } else {
        Selection::Plugins(args.plugin)
    };
    if args.bare && !matches!(&selection, Selection::Plugins(names) if names.len() == 1) {
        return Err(Error::usage("--bare prints one plugin, so name one").hint("op-query --bare --plugin NAME"));
    }
    let catalog = cli.catalog(&cli.root()?)?;
    let bus = cli.connect()?;
    let want = if args.all { Want::All } else { Want::State };
    let mut progress = cli.out.progress();
    let (target, timeout) = (cli.common.bus.clone(), cli.common.timeout);
    let connect = || Bus::connect(&target, timeout);
    // Another machine is asked over one ssh, which may want a password.
    let more: Option<&(dyn Fn() -> Result<Bus> + Sync)> = if bus.is_remote() { None } else { Some(&connect) };
    let found = query::query(&bus, more, &catalog, &selection, &want, &mut progress)?;
    progress.finish();
    for warning in &found.warnings {
        cli.out.warn(warning);
    }
    let problem = Error::all(found.problems);
    // Nothing at all could be read: then there is no answer to print, and the reason decides the exit code.
    if let (Some(error), true) = (&problem, found.document.plugins.is_empty()) {
        return Err(error.clone());
    }
    match found.document.plugins.values().next() {
        Some(state) if args.bare => cli.out.document(state)?,
        _ => show::state(&mut cli.out, &found.document)?,
    }
    // The program ends here: freeing tens of thousands of values one by one first would only take time.
    std::mem::forget(found.document);
    let Some(error) = problem else { return Ok(Outcome::Done) };
    cli.out.fail(&error);
    Ok(Outcome::Partial)
}

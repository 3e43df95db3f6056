//! `op-audit`: reads, verifies and adds to the audit trail.

use op_dbus::audit::block::BlockDocument;
use op_dbus::audit::log::{self, Filter};
use op_dbus::audit::{Chain, events};
use op_dbus::base::{Error, Result};
use op_dbus::cli::{self, Cli, Interrupt, Outcome, Program, show};
use serde_json::json;
use std::time::Duration;

mod trust;

/// What was done, by whom, and whether the trail of it is whole.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Log(Log),
    Show(Show),
    Verify(trust::Verify),
    Prove(trust::Prove),
    CheckProof(trust::CheckProof),
    Head(trust::Head),
    Keygen(trust::Keygen),
    Prune(trust::Prune),
    Export(Export),
    Append(Append),
    Repair(Repair),
}

/// list what was done; --json prints each block on a line
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "log")]
struct Log {
    /// not before this moment: 2025-01-15T10:00:00Z, or its beginning
    #[argh(option, arg_name = "TIME")]
    since: Option<String>,
    /// before this moment
    #[argh(option, arg_name = "TIME")]
    until: Option<String>,
    /// about this plugin
    #[argh(option, arg_name = "NAME")]
    plugin: Option<String>,
    /// about this resource: PLUGIN/KEY or PLUGIN/KEY/ITEM
    #[argh(option, arg_name = "RESOURCE")]
    resource: Option<String>,
    /// by this user id or unit
    #[argh(option, arg_name = "ACTOR")]
    actor: Option<String>,
    /// that ended so: applied, undone, residue, refusal, intent, events
    #[argh(option, arg_name = "OUTCOME")]
    outcome: Option<String>,
    /// of this run
    #[argh(option, arg_name = "RUN")]
    run: Option<String>,
    /// go on with what is written from now on
    #[argh(switch)]
    follow: bool,
}

/// show a block with its entries
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "show")]
struct Show {
    /// the block's number
    #[argh(positional, arg_name = "N")]
    number: u64,
}

/// print blocks as they are, one a line
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "export")]
struct Export {
    /// the first block
    #[argh(option, arg_name = "N", default = "1")]
    from: u64,
    /// the last block
    #[argh(option, arg_name = "N")]
    to: Option<u64>,
}

/// record other programs' events, one JSON value a line on standard input
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "append")]
struct Append {
    /// who they are from
    #[argh(option, arg_name = "NAME")]
    source: String,
}

/// put a torn last block aside, and record that
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "repair")]
struct Repair {}

const PROGRAM: Program = Program {
    name: "op-audit",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: None,
    optional_values: &[],
    examples: "op-audit log --plugin packagekit --since 2025-01-15\n\
               op-audit verify\n\
               op-audit head --key /etc/op-dbus/audit.key >> /mnt/elsewhere/heads\n\
               op-audit verify --against /mnt/elsewhere/heads --trusted audit.key.pub\n\
               op-audit prove 12/0 > proof.json && op-audit check-proof proof.json\n\
               journalctl -o json -u ssh | op-audit append --source ssh",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Log(args) => log(&args, cli),
        Command::Show(args) => show_block(&args, cli),
        Command::Verify(args) => trust::verify(&args, cli),
        Command::Prove(args) => trust::prove(&args, cli),
        Command::CheckProof(args) => trust::check_proof(&args, cli),
        Command::Head(args) => trust::head(&args, cli),
        Command::Keygen(args) => trust::keygen(&args, cli),
        Command::Prune(args) => trust::prune(&args, cli),
        Command::Export(args) => export(&args, cli),
        Command::Append(args) => append(&args, cli),
        Command::Repair(_) => repair(cli),
    })
}

fn chain(cli: &Cli) -> Result<Chain> {
    Chain::open(&cli.root()?)
}

fn log(args: &Log, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter {
        since: args.since.clone(),
        until: args.until.clone(),
        plugin: args.plugin.clone(),
        resource: args.resource.clone(),
        actor: args.actor.clone(),
        outcome: args.outcome.clone(),
        run: args.run.clone(),
    };
    let chain = chain(cli)?;
    let mut rows = Vec::new();
    let is_json = cli.out.look().is_json;
    let mut seen = log::walk(&chain, 1, &filter, &mut |block| {
        if is_json {
            cli.out.ndjson(&BlockDocument::from(block))?;
        } else {
            rows.push(log::line(&block).to_vec());
        }
        Ok(!cli.out.is_closed())
    })?;
    if !is_json {
        cli.out.table(&show::LOG_COLUMNS, &rows)?;
    }
    if !args.follow {
        return Ok(Outcome::Done);
    }
    let interrupt = Interrupt::install()?;
    while interrupt.count() == 0 && !cli.out.is_closed() {
        std::thread::sleep(Duration::from_millis(100));
        seen = log::walk(&chain, seen + 1, &filter, &mut |block| {
            if is_json {
                cli.out.ndjson(&BlockDocument::from(block))?;
            } else {
                cli.out.text(&format!("{}\n", log::line(&block).join("  ")))?;
            }
            Ok(true)
        })?;
    }
    Ok(Outcome::Done)
}

fn show_block(args: &Show, cli: &mut Cli) -> Result<Outcome> {
    let block = chain(cli)?.read(args.number)?;
    cli.out.document(&BlockDocument::from(block))?;
    Ok(Outcome::Done)
}

fn export(args: &Export, cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let last = args.to.unwrap_or_else(|| chain.last());
    for number in args.from.max(chain.first())..=last {
        let block = chain.read(number)?;
        cli.out.ndjson(&BlockDocument::from(block))?;
        if cli.out.is_closed() {
            break;
        }
    }
    Ok(Outcome::Done)
}

fn append(args: &Append, cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let appended = events::append(&chain, std::io::stdin().lock(), &args.source, &cli.actor(), &cli.program)?;
    for refused in &appended.refused {
        cli.out.warn(refused);
    }
    cli.out.document(&json!({
        "kind": "appended",
        "version": 1,
        "blocks": appended.blocks,
        "entries": appended.entries,
        "refused": appended.refused.len(),
    }))?;
    if appended.refused.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(Error::bad_input(format!("{} lines were no events; the others are recorded", appended.refused.len())))
}

fn repair(cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let repaired = op_dbus::audit::repair::repair(&chain, &cli.actor(), &cli.program)?;
    cli.out.tick(true, &format!("Put block {} aside as {}", repaired.number, repaired.aside));
    Ok(Outcome::Done)
}

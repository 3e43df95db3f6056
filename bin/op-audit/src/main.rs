//! `op-audit`: reads, verifies and adds to the audit trail.

use op_dbus::audit::block::BlockDocument;
use op_dbus::audit::{Chain, events, index};
use op_dbus::base::{Error, Result};
use op_dbus::cli::{self, Cli, Outcome, Program};
use serde_json::json;
mod copy;
mod look;
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
    Log(look::Log),
    Search(look::Search),
    Anomalies(look::Anomalies),
    Embed(look::Embed),
    Show(Show),
    Verify(trust::Verify),
    Prove(trust::Prove),
    CheckProof(trust::CheckProof),
    Head(trust::Head),
    Keygen(trust::Keygen),
    Prune(trust::Prune),
    Export(copy::Export),
    Import(copy::Import),
    Append(Append),
    Repair(Repair),
}

/// show a block with its entries
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "show")]
struct Show {
    /// the block's number, or the beginning of its digest
    #[argh(positional, arg_name = "BLOCK")]
    block: String,
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
               op-audit search 'containers that failed to start' --since 2025-01\n\
               op-audit verify\n\
               op-audit head --key /etc/op-dbus/audit.key >> /mnt/elsewhere/heads\n\
               op-audit verify --against /mnt/elsewhere/heads --trusted audit.key.pub\n\
               op-audit prove 12/0 > proof.json && op-audit check-proof proof.json\n\
               op-audit export --folder /mnt/elsewhere/trail && op-audit import /mnt/elsewhere/trail --root /srv/copy --yes\n\
               journalctl -o json -u ssh | op-audit append --source ssh",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Log(args) => look::log(&args, cli),
        Command::Search(args) => look::search(&args, cli),
        Command::Anomalies(args) => look::anomalies(&args, cli),
        Command::Embed(_) => look::embed(cli),
        Command::Show(args) => show_block(&args, cli),
        Command::Verify(args) => trust::verify(&args, cli),
        Command::Prove(args) => trust::prove(&args, cli),
        Command::CheckProof(args) => trust::check_proof(&args, cli),
        Command::Head(args) => trust::head(&args, cli),
        Command::Keygen(args) => trust::keygen(&args, cli),
        Command::Prune(args) => trust::prune(&args, cli),
        Command::Export(args) => copy::export(&args, cli),
        Command::Import(args) => copy::import(&args, cli),
        Command::Append(args) => append(&args, cli),
        Command::Repair(_) => repair(cli),
    })
}

fn chain(cli: &Cli) -> Result<Chain> {
    Chain::open(&cli.root()?)
}

fn show_block(args: &Show, cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let block = chain.read(index::number_of(&chain, &args.block)?)?;
    cli.out.document(&BlockDocument::from(block))?;
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

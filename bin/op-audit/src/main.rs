//! `op-audit`: reads, verifies and adds to the audit trail.

use op_dbus::audit::chain::Head;
use op_dbus::audit::log::{self, Filter};
use op_dbus::audit::proof::{self, Proof};
use op_dbus::audit::{Chain, events, verify};
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::{self, Cli, Interrupt, Outcome, Program, show};
use serde_json::json;
use std::time::Duration;

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
    Verify(Verify),
    Prove(Prove),
    CheckProof(CheckProof),
    Head(HeadOf),
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

/// say whether the trail is what was written
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "verify")]
struct Verify {
    /// heads that were kept elsewhere, one JSON document a line
    #[argh(option, arg_name = "HEADS")]
    against: Option<String>,
}

/// print a proof that an entry was recorded
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "prove")]
struct Prove {
    /// block and entry: 12/0
    #[argh(positional, arg_name = "BLOCK/ENTRY")]
    entry: String,
}

/// check a proof; needs no trail
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "check-proof")]
struct CheckProof {
    /// the proof; - or nothing is standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// the head that vouches for its block
    #[argh(option, arg_name = "HEADS")]
    against: Option<String>,
}

/// print the head of the trail, to be kept where the trail is not
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "head")]
struct HeadOf {}

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
               op-audit head > /mnt/elsewhere/head.json\n\
               op-audit prove 12/0 > proof.json && op-audit check-proof proof.json\n\
               journalctl -o json -u ssh | op-audit append --source ssh",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Log(args) => log(&args, cli),
        Command::Show(args) => show_block(&args, cli),
        Command::Verify(args) => verify(&args, cli),
        Command::Prove(args) => prove(&args, cli),
        Command::CheckProof(args) => check_proof(&args, cli),
        Command::Head(_) => head(cli),
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
            cli.out.ndjson(&show::block(&block))?;
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
                cli.out.ndjson(&show::block(&block))?;
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
    cli.out.document(&show::block(&block))?;
    Ok(Outcome::Done)
}

fn verify(args: &Verify, cli: &mut Cli) -> Result<Outcome> {
    let heads = heads(args.against.as_deref())?;
    let mut progress = cli.out.progress();
    let verdict = verify::verify(&chain(cli)?, &heads, &mut |number, last| progress.set(number, last, "blocks"))?;
    progress.finish();
    show::verdict(&mut cli.out, &verdict)?;
    if verdict.is_valid {
        return Ok(Outcome::Done);
    }
    let why = verdict.broken.as_ref().map(|broken| (format!("block {}", broken.number), broken.why.clone()));
    let why = why.or_else(|| verdict.contradicted.first().map(|text| ("the heads".into(), text.clone())));
    let (subject, why) =
        why.unwrap_or_else(|| ("the folder".into(), format!("foreign files: {}", verdict.foreign.join(", "))));
    let error = Error::new(Kind::Untrusted, why).on(subject);
    Err(if verdict.broken.is_some_and(|broken| broken.is_torn) {
        error.hint("it was cut off, as a power cut does it: op-audit repair puts it aside and records that")
    } else {
        error.hint("somebody or something changed the trail: keep a copy, and compare with one from elsewhere")
    })
}

/// Heads that were kept: documents of `op-audit head`, one a line.
fn heads(path: Option<&str>) -> Result<Vec<Head>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let input = cli::input::read_document(Some(path))?;
    let line = |(at, line): (usize, &str)| {
        let wrong = || Error::bad_input("this is no head").on(format!("{}:{}", input.name, at + 1));
        let value: serde_json::Value = serde_json::from_str(line).map_err(|_| wrong())?;
        match (value["kind"].as_str(), value["number"].as_u64(), value["digest"].as_str()) {
            (Some("audit_head"), Some(number), Some(digest)) => Ok(Head { number, digest: digest.to_owned() }),
            _ => Err(wrong().hint("a head is what op-audit head prints")),
        }
    };
    input.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

fn prove(args: &Prove, cli: &mut Cli) -> Result<Outcome> {
    let parsed = args.entry.split_once('/').and_then(|(block, entry)| Some((block.parse().ok()?, entry.parse().ok()?)));
    let Some((number, index)) = parsed else {
        return Err(Error::usage("this names no entry").on(args.entry.clone()).hint("write BLOCK/ENTRY: 12/0"));
    };
    cli.out.document(&proof::prove(&chain(cli)?, number, index)?)?;
    Ok(Outcome::Done)
}

fn check_proof(args: &CheckProof, cli: &mut Cli) -> Result<Outcome> {
    let input = cli::input::read_document(args.file.as_deref())?;
    let proof: Proof = serde_json::from_value(input.json()?)
        .map_err(|error| Error::bad_input(format!("this is no proof: {error}")).on(input.name.clone()))?;
    proof::check(&proof)?;
    let heads = heads(args.against.as_deref())?;
    let is_anchored = heads.iter().any(|head| head.number == proof.header.number && head.digest == proof.digest);
    if args.against.is_some() && !is_anchored {
        return Err(Error::new(Kind::Untrusted, "no head vouches for the block of this proof")
            .on(format!("block {}", proof.header.number))
            .hint("a head of just this block is needed: op-audit head prints it while it is the newest"));
    }
    cli.out.document(&json!({
        "kind": "audit_proof_verdict",
        "version": 1,
        "is_valid": true,
        "is_anchored": is_anchored,
        "block": proof.header.number,
        "digest": proof.digest,
        "time": proof.header.time,
        "entry": proof.entry,
    }))?;
    Ok(Outcome::Done)
}

fn head(cli: &mut Cli) -> Result<Outcome> {
    let head = chain(cli)?.head()?;
    cli.out.ndjson(&json!({"kind": "audit_head", "version": 1, "number": head.number, "digest": head.digest}))?;
    Ok(Outcome::Done)
}

fn export(args: &Export, cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let last = args.to.unwrap_or_else(|| chain.last());
    for number in args.from.max(1)..=last {
        let block = chain.read(number)?;
        cli.out.ndjson(&show::block(&block))?;
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

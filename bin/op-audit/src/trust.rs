//! Whether the trail is what was written: verifying, proving, signing, and pruning without losing that.

use crate::chain;
use op_dbus::audit::head::HeadDocument;
use op_dbus::audit::keys::{self, Trusted};
use op_dbus::audit::proof::{self, Proof};
use op_dbus::audit::{chain as trail, index, prune, verify};
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::confirm::{Terminal, no_terminal};
use op_dbus::cli::{self, Cli, Interrupt, Outcome, show};
use serde_json::json;

/// say whether the trail is what was written
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "verify")]
pub struct Verify {
    /// heads that were kept elsewhere, one JSON document a line
    #[argh(option, arg_name = "HEADS")]
    against: Option<String>,
    /// believe only what is signed with this public key (may be repeated)
    #[argh(option, arg_name = "FILE")]
    trusted: Vec<String>,
}

/// print a proof that an entry was recorded
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "prove")]
pub struct Prove {
    /// block, by its number or its digest, and entry: 12/0
    #[argh(positional, arg_name = "BLOCK/ENTRY")]
    entry: String,
}

/// check a proof; needs no trail
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "check-proof")]
pub struct CheckProof {
    /// the proof; - or nothing is standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// the head that vouches for its block
    #[argh(option, arg_name = "HEADS")]
    against: Option<String>,
    /// believe only what is signed with this public key (may be repeated)
    #[argh(option, arg_name = "FILE")]
    trusted: Vec<String>,
}

/// print the head of the trail, to be kept where the trail is not
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "head")]
pub struct Head {
    /// sign it with this secret key of minisign; else with $OP_DBUS_AUDIT_KEY or /etc/op-dbus/audit.key, if it is there
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
    /// the file of the key's password
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
}

/// make a pair of keys that sign heads: FILE, and FILE.pub for those who verify
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "keygen")]
pub struct Keygen {
    /// where to write the secret key
    #[argh(positional, arg_name = "FILE")]
    file: String,
    /// protect it with the password in this file
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
}

/// take old blocks away; a signed summary keeps the rest verifiable
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "prune")]
pub struct Prune {
    /// those before this moment: 2025-01-15T10:00:00Z, or its beginning
    #[argh(option, arg_name = "TIME")]
    before: String,
    /// sign the summary with this secret key of minisign; else with $OP_DBUS_AUDIT_KEY or /etc/op-dbus/audit.key
    #[argh(option, arg_name = "FILE")]
    key: Option<String>,
    /// the file of the key's password
    #[argh(option, arg_name = "FILE")]
    password_file: Option<String>,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
}

pub fn verify(args: &Verify, cli: &mut Cli) -> Result<Outcome> {
    let trusted = trusted(&args.trusted)?;
    let heads = heads(args.against.as_deref(), &trusted)?;
    let mut progress = cli.out.progress();
    let verdict = verify::verify_with(&chain(cli)?, &heads, &trusted, &mut |number, last| {
        progress.set(number, last, "blocks");
    })?;
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
pub fn heads(path: Option<&str>, trusted: &Trusted) -> Result<Vec<trail::Head>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let input = cli::input::read_document(Some(path))?;
    let lines = input.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let head = |(at, line): (usize, &str)| {
        HeadDocument::read(line, trusted)
            .map(Into::into)
            .map_err(|error| error.on(format!("{}:{}", input.name, at + 1)))
    };
    lines.map(head).collect()
}

pub fn trusted(files: &[String]) -> Result<Trusted> {
    let mut trusted = Trusted::default();
    for file in files {
        trusted.add(&cli::input::read_document(Some(file))?.text, file)?;
    }
    Ok(trusted)
}

pub fn prove(args: &Prove, cli: &mut Cli) -> Result<Outcome> {
    let parsed = args.entry.rsplit_once('/').and_then(|(block, entry)| Some((block, entry.parse().ok()?)));
    let Some((block, index)) = parsed else {
        return Err(Error::usage("this names no entry").on(args.entry.clone()).hint("write BLOCK/ENTRY: 12/0"));
    };
    let chain = chain(cli)?;
    let number = index::number_of(&chain, block)?;
    cli.out.document(&proof::prove(&chain, number, index)?)?;
    Ok(Outcome::Done)
}

pub fn check_proof(args: &CheckProof, cli: &mut Cli) -> Result<Outcome> {
    let input = cli::input::read_document(args.file.as_deref())?;
    let proof: Proof = serde_json::from_value(input.json()?)
        .map_err(|error| Error::bad_input(format!("this is no proof: {error}")).on(input.name.clone()))?;
    proof::check(&proof)?;
    let heads = heads(args.against.as_deref(), &trusted(&args.trusted)?)?;
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

pub fn head(args: &Head, cli: &mut Cli) -> Result<Outcome> {
    let signer = cli.audit_key(args.key.as_deref(), args.password_file.as_deref())?;
    let head = chain(cli)?.head()?;
    cli.out.ndjson(&HeadDocument::new(&head, signer.as_ref())?)?;
    Ok(Outcome::Done)
}

pub fn keygen(args: &Keygen, cli: &mut Cli) -> Result<Outcome> {
    let password = args.password_file.as_deref().map(cli::input::password).transpose()?;
    let keys = keys::generate(password.as_deref())?;
    cli::output::write_new_secret(&args.file, &keys.secret)?;
    let public = format!("{}.pub", args.file);
    cli::output::write_file(&public, &keys.public)?;
    cli.out.tick(true, &format!("Made {} and {public}", args.file));
    Ok(Outcome::Done)
}

pub fn prune(args: &Prune, cli: &mut Cli) -> Result<Outcome> {
    let signer = cli.audit_key(args.key.as_deref(), args.password_file.as_deref())?.ok_or_else(|| {
        Error::refused("without a key nobody could tell what was pruned from what was lost")
            .on("--key")
            .hint("make one: op-audit keygen /etc/op-dbus/audit.key")
    })?;
    let chain = chain(cli)?;
    let Some(what) = prune::prunable(&chain, &args.before)? else {
        show::pruned(&mut cli.out, None)?;
        return Ok(Outcome::Done);
    };
    if !args.yes {
        let interrupt = Interrupt::install()?;
        let mut terminal = Terminal::open(&interrupt).ok_or_else(no_terminal)?;
        let text = format!("Blocks {} to {} are taken away for ever; a summary of them stays.\n", what.from, what.to);
        terminal.ask_yes_no(&text, "Proceed?")?.or_refused()?;
    }
    prune::prune(&chain, &what, &signer, &cli.actor(), &cli.program)?;
    show::pruned(&mut cli.out, Some(&what))?;
    Ok(Outcome::Done)
}

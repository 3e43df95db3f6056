//! Looking through the trail: listing, searching, and what is unusual in it.

use crate::chain;
use op_dbus::audit::block::BlockDocument;
use op_dbus::audit::log::{self, Filter};
use op_dbus::audit::search::Meaning;
use op_dbus::audit::vectors::{self, Answer, Effort, Filled, OpEmbed};
use op_dbus::audit::{Chain, anomaly, search};
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::{Cli, Interrupt, Outcome, show};
use std::time::Duration;

/// How long op-embed may take for a query; the first one opens a model.
const PATIENCE: Duration = Duration::from_secs(30);

/// list what was done; --json prints each block on a line
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "log")]
pub struct Log {
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

/// find what was done: by meaning where op-embed is there, by words where not; "failed" finds no success
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "search")]
pub struct Search {
    /// what to look for: "containers that failed to start"; by words, all of them must be there
    #[argh(positional, arg_name = "TEXT")]
    text: String,
    /// not before this moment: 2025-01-15T10:00:00Z, or its beginning
    #[argh(option, arg_name = "TIME")]
    since: Option<String>,
    /// before this moment
    #[argh(option, arg_name = "TIME")]
    until: Option<String>,
    /// about this plugin
    #[argh(option, arg_name = "NAME")]
    plugin: Option<String>,
    /// by this user id or unit
    #[argh(option, arg_name = "ACTOR")]
    actor: Option<String>,
    /// that ended so: applied, undone, residue, refusal, intent, events
    #[argh(option, arg_name = "OUTCOME")]
    outcome: Option<String>,
    /// at most so many (20)
    #[argh(option, arg_name = "N", default = "20")]
    limit: usize,
    /// by words alone, and ask nobody for vectors
    #[argh(switch)]
    words: bool,
}

/// fill in the vectors of what was done while op-embed was not there
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "embed")]
pub struct Embed {}

/// list what does not look like the past: new actors, plugins and hours, bursts of runs and of failures, and what was
/// embedded and is like nothing before
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "anomalies")]
pub struct Anomalies {
    /// not before this moment: 2025-01-15T10:00:00Z, or its beginning
    #[argh(option, arg_name = "TIME")]
    since: Option<String>,
    /// before this moment
    #[argh(option, arg_name = "TIME")]
    until: Option<String>,
}

pub fn log(args: &Log, cli: &mut Cli) -> Result<Outcome> {
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

pub fn search(args: &Search, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter {
        since: args.since.clone(),
        until: args.until.clone(),
        plugin: args.plugin.clone(),
        actor: args.actor.clone(),
        outcome: args.outcome.clone(),
        ..Filter::default()
    };
    let chain = chain(cli)?;
    let meaning = if args.words { None } else { meaning(&chain, &args.text, cli)? };
    let hits = search::search(&chain, &args.text, meaning.as_ref(), &filter, args.limit)?;
    if hits.without_vectors > 0 {
        cli.out.note(&format!("{} blocks have no vectors yet and were looked at by words alone", hits.without_vectors));
    }
    show::hits(&mut cli.out, &hits)?;
    Ok(if hits.hits.is_empty() { Outcome::Partial } else { Outcome::Done })
}

/// What the query means, and everything that was not embedded yet filled in; nothing where op-embed is not there.
fn meaning(chain: &Chain, text: &str, cli: &mut Cli) -> Result<Option<Meaning>> {
    let Some(op_embed) = cli.op_embed(chain.root()) else { return Ok(None) };
    let answer = match op_embed.ask(&[text.to_owned()], Effort::Computed, PATIENCE) {
        Ok(answer) => answer,
        Err(error) => {
            cli.out.warn(&format!("{error}\nlooking by words alone"));
            None
        }
    };
    let vector = |answer: Answer| Some((answer.model, answer.vectors.into_iter().next()??));
    let Some((model, vector)) = answer.and_then(vector) else { return Ok(None) };
    if let Err(error) = fill_in(chain, &op_embed, Some(&model), cli) {
        // Who may only read finds what is there.
        cli.out.warn(&format!("vectors that are missing could not be filled in: {}", error.message));
    }
    Ok(Some(Meaning { model, vector }))
}

fn fill_in(chain: &Chain, op_embed: &OpEmbed, model: Option<&str>, cli: &mut Cli) -> Result<Filled> {
    let mut progress = cli.out.progress();
    let filled = vectors::fill(chain, op_embed, model, &mut |done, count| progress.set(done, count, "blocks embedded"));
    progress.finish();
    filled
}

pub fn embed(cli: &mut Cli) -> Result<Outcome> {
    let chain = chain(cli)?;
    let op_embed = cli.op_embed(chain.root()).unwrap_or_default();
    let filled = fill_in(&chain, &op_embed, None, cli)?;
    if filled.model.is_empty() {
        return Err(Error::new(Kind::Unavailable, "op-embed is not there, so nothing was embedded").hint(
            "it is looked for on ROOT/embed.sock, beside op-audit and in $PATH; $OP_DBUS_EMBED_LEVEL=none forbids it",
        ));
    }
    cli.out.document(&filled)?;
    Ok(if filled.left > 0 { Outcome::Partial } else { Outcome::Done })
}

pub fn anomalies(args: &Anomalies, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter { since: args.since.clone(), until: args.until.clone(), ..Filter::default() };
    let found = anomaly::find(&chain(cli)?, &filter)?;
    show::anomalies(&mut cli.out, &found)?;
    Ok(Outcome::Done)
}

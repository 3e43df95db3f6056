//! Looking through the trail: listing, searching, and what is unusual in it.

use crate::chain;
use op_dbus::audit::block::BlockDocument;
use op_dbus::audit::log::{self, Filter};
use op_dbus::audit::{anomaly, search};
use op_dbus::base::Result;
use op_dbus::cli::{Cli, Interrupt, Outcome, show};
use std::time::Duration;

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

/// find what was done by words; how it ended counts as a filter, so "failed" finds no success
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "search")]
pub struct Search {
    /// the words, all of which must be there: "packages that failed"
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
}

/// list what does not look like the past: new actors, plugins and hours, bursts of runs and of failures
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
    let hits = search::search(&chain(cli)?, &args.text, &filter, args.limit)?;
    show::hits(&mut cli.out, &hits)?;
    Ok(if hits.hits.is_empty() { Outcome::Partial } else { Outcome::Done })
}

pub fn anomalies(args: &Anomalies, cli: &mut Cli) -> Result<Outcome> {
    let filter = Filter { since: args.since.clone(), until: args.until.clone(), ..Filter::default() };
    let found = anomaly::find(&chain(cli)?, &filter)?;
    show::anomalies(&mut cli.out, &found)?;
    Ok(Outcome::Done)
}

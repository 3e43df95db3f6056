//! Watching: what is there, then every change.

use crate::Asked;
use crate::live::selection;
use op_dbus::apply::watch::{self, Against, Options, Record};
use op_dbus::apply::{Desired, StateManager, query, select};
use op_dbus::base::{Error, Result, time};
use op_dbus::bus::Bus;
use op_dbus::cli::{Cli, Interrupt, Outcome, answers};
use op_dbus::plugin::Want;
use op_dbus::state::StateDocument;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How often what nobody announces is read, when nobody says.
const INTERVAL: Duration = Duration::from_secs(5);
/// More often would be a load of its own.
const SHORTEST: Duration = Duration::from_millis(100);

pub fn run(asked: &Asked, cli: &mut Cli) -> Result<Outcome> {
    let args = &asked.args;
    let duration = |text: &Option<String>, option: &str| {
        let parsed = text.as_deref().map(time::parse_duration).transpose();
        parsed.map_err(|e| e.on(format!("{option} {:?}", text.as_deref().unwrap_or_default())))
    };
    let interval = duration(&args.interval, "--interval")?.unwrap_or(INTERVAL);
    if interval < SHORTEST {
        return Err(Error::usage(format!("an interval is {SHORTEST:?} at least")).on("--interval"));
    }
    if args.count == Some(0) {
        return Err(Error::usage("no change at all is nothing to wait for").on("--count"));
    }
    let end = duration(&args.duration, "--for")?.map(|length| Instant::now() + length);
    let interrupt = Interrupt::install()?;
    let root = cli.root()?;
    let catalog = cli.catalog(&root)?;
    let bus = cli.connect()?;
    if bus.replayed().is_some() {
        return Err(Error::usage("a recording says the same for ever, so there is nothing to watch").on("--watch"));
    }
    let (target, timeout) = (cli.common.bus.clone(), cli.common.timeout);
    let connect = || Bus::connect(&target, timeout);
    let more: Option<&(dyn Fn() -> Result<Bus> + Sync)> = if bus.is_remote() { None } else { Some(&connect) };
    let selected = match &asked.wanted {
        Some(document) => of_document(document),
        None => selection(asked, &bus, &catalog)?.each(&asked.want, || query::everything(&bus, &catalog))?,
    };
    if let Some(error) = Error::all(select::leading_nowhere(&asked.paths, &selected, &catalog)) {
        return Err(error);
    }
    if selected.iter().any(|(_, want)| *want == Want::All) {
        return Err(Error::usage("--watch watches keys, and observed is none")
            .on("--select")
            .hint("name the service by its bus name to watch everything it shows"));
    }
    let options = Options { paths: &asked.paths, interval, stop: interrupt.counter() };
    let mut left = args.count;
    if let Some(document) = &asked.wanted {
        let mut against = Against::new(document.clone());
        // Its own connection: what is watched must not wait for what is compared.
        let looking = Bus::connect(&target, timeout)?;
        let mut progress = cli.out.progress();
        let mut manager = StateManager {
            bus: &looking,
            catalog: &catalog,
            root: &root,
            trail: cli.trail(&root)?,
            cache: None,
            progress: &mut progress,
            interrupts: interrupt.counter(),
        };
        let look = op_dbus::apply::Options { is_check: true, ..Default::default() };
        let mut plan = |document: &StateDocument| manager.plan(Desired::State(document.clone()), &look);
        let out = &mut cli.out;
        return watch::watch(bus, more, &catalog, &selected, &options, &mut |record| {
            for told in against.hear(record, &mut plan) {
                answers::record(out, &told)?;
                if let (Record::Drift(_) | Record::Settled(_), Some(left)) = (&told, &mut left) {
                    *left = left.saturating_sub(1);
                }
            }
            let is_over = left == Some(0) || end.is_some_and(|end| Instant::now() >= end) || out.is_reader_gone();
            Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .map(|()| Outcome::Done);
    }
    let out = &mut cli.out;
    watch::watch(bus, more, &catalog, &selected, &options, &mut |record| {
        if let Some(record) = record {
            answers::record(out, record)?;
            if let (Record::Change(_), Some(left)) = (record, &mut left) {
                *left -= 1;
            }
        }
        let is_over = left == Some(0) || end.is_some_and(|end| Instant::now() >= end) || out.is_reader_gone();
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(Outcome::Done)
}

/// The keys that a document speaks of.
fn of_document(document: &StateDocument) -> Vec<(String, Want)> {
    let plugins = document.plugins.iter();
    plugins
        .map(|(name, state)| (name.clone(), Want::keys(state.values.keys().chain(state.absent.keys()).cloned())))
        .collect()
}

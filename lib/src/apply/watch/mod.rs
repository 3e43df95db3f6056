//! Watching plugins: their values as they are, and from then on every change, driven by what services announce.
//!
//! Each plugin is watched on up to three connections: one hears of properties, whose new values come with the signals; on
//! the others the service is asked for what has to be asked for, however long it takes to answer.

mod cells;
mod drift;
mod hints;
mod reading;
mod record;
mod signals;
mod worker;

pub use drift::Against;
pub use record::{Changed, Drifted, Freshness, Presence, Present, Problem, Record, ServiceRecord, Settled, Watching};

use crate::base::{Error, Kind, Result};
use crate::bus::{Bus, Stopper, names};
use crate::plugin::{Catalog, Source, StatePlugin, Want};
use crate::state::select::Path;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Connections at most; beyond that several plugins share one.
const MOST: usize = 48;
/// How often whoever listens is asked whether to go on, while nothing happens.
const TICK: Duration = Duration::from_millis(50);

/// How to watch.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where only values of these paths are told.
    pub paths: &'a [Path],
    /// How often what nobody announces is read.
    pub interval: Duration,
    /// Ends the watch as soon as it is more than none.
    pub stop: Arc<AtomicUsize>,
}

/// One part of a plugin, watched on one connection.
#[derive(Debug, Clone)]
struct Task {
    plugin: String,
    part: Part,
    keys: Vec<String>,
    /// Of a plugin's parts one tells that the service is gone.
    tells_of_service: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Mapped properties.
    Properties,
    /// Mapped keys that the service is asked for.
    Answers,
    /// Of a plugin without mapping every property there is.
    Observed,
}

enum Told {
    Record(Box<Record>),
    /// A worker has a connection, and this ends it.
    Connected(Stopper),
    /// A worker has told everything that is there.
    Begun,
    Failed(Error),
}

/// What decides whether to go on: it hears every record, and now and then that there was none.
pub type Listener<'a> = dyn FnMut(Option<&Record>) -> Result<ControlFlow<()>> + 'a;

/// Watches the selected plugins on `bus`, and where `connect` makes more connections on several, until `listener` says
/// stop.
///
/// Fails when a plugin is unknown, and when the bus goes away; a service that goes away is told and waited for.
pub fn watch(
    bus: Bus,
    connect: Option<&(dyn Fn() -> Result<Bus> + Sync)>,
    catalog: &Catalog,
    selected: &[(String, Want)],
    options: &Options<'_>,
    listener: &mut Listener<'_>,
) -> Result<()> {
    let tasks = tasks(&bus, catalog, selected)?;
    if tasks.is_empty() {
        return Err(Error::new(Kind::Partial, "there is nothing to watch")
            .hint("name a plugin, or a service by its bus name; see op-install list and op-discover"));
    }
    let count = if connect.is_some() { tasks.len().min(MOST) } else { 1 };
    let shares: Vec<Vec<Task>> =
        (0..count).map(|share| tasks.iter().skip(share).step_by(count).cloned().collect()).collect();
    let (tell, told) = channel();
    let work = |bus: Result<Bus>, tasks: &[Task], tell: &Sender<Told>| {
        let run = |bus: Bus| {
            bus.stop_when(Arc::clone(&options.stop));
            bus.stopper().map(|stopper| tell.send(Told::Connected(stopper)));
            let (paths, interval) = (options.paths, options.interval);
            worker::run(&worker::Context { bus: &bus, catalog, paths, interval, tell }, tasks)
        };
        if let Err(error) = bus.and_then(run) {
            // Nobody listens any more when the watch ends.
            let _ = tell.send(Told::Failed(error));
        }
    };
    std::thread::scope(|scope| {
        let mut first = Some(bus);
        for share in &shares {
            let (tell, given, work) = (tell.clone(), first.take(), &work);
            scope.spawn(move || {
                let bus = match (given, connect) {
                    (Some(bus), _) => Ok(bus),
                    (None, Some(connect)) => connect(),
                    (None, None) => Err(Error::failed("there is no connection to watch on")),
                };
                work(bus, share, &tell);
            });
        }
        drop(tell);
        let names: Vec<String> = selected.iter().map(|(name, _)| name.clone()).collect();
        let mut stoppers = Vec::new();
        let ended = listen(&told, shares.len(), &names, options, &mut stoppers, listener);
        options.stop.fetch_add(1, Ordering::Relaxed);
        stoppers.into_iter().for_each(Stopper::stop);
        // Until the last worker is gone: also those that were connecting meanwhile.
        while let Ok(last) = told.recv() {
            if let Told::Connected(stopper) = last {
                stopper.stop();
            }
        }
        ended
    })
}

fn listen(
    told: &Receiver<Told>,
    mut left_to_begin: usize,
    names: &[String],
    options: &Options<'_>,
    stoppers: &mut Vec<Stopper>,
    listener: &mut Listener<'_>,
) -> Result<()> {
    loop {
        let flow = match told.recv_timeout(TICK) {
            Ok(Told::Record(record)) => listener(Some(&record))?,
            Ok(Told::Connected(stopper)) => {
                stoppers.push(stopper);
                continue;
            }
            Ok(Told::Begun) => {
                left_to_begin -= 1;
                if left_to_begin > 0 {
                    continue;
                }
                listener(Some(&Record::watching(names.to_vec())))?
            }
            Ok(Told::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => listener(None)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if flow.is_break() || options.stop.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
    }
}

/// The parts of each plugin.
fn tasks(bus: &Bus, catalog: &Catalog, selected: &[(String, Want)]) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    let mut errors = Vec::new();
    for (name, want) in selected {
        let plugin = match plugin_called(bus, catalog, name) {
            Ok(plugin) => plugin,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Want::Keys(keys) = want {
            let unknown = keys.keys().filter(|key| !plugin.keys().contains_key(*key));
            errors.extend(
                unknown.map(|key| Error::bad_input("this plugin has no such key").on(format!("plugins.{name}.{key}"))),
            );
        }
        let mut of_plugin = parts(&*plugin, want);
        if of_plugin.is_empty() {
            let what = "nothing of it can be shown, so there is nothing to watch";
            errors.push(Error::new(Kind::Partial, what).on(name));
        }
        if let Some(first) = of_plugin.first_mut() {
            first.tells_of_service = true;
        }
        tasks.extend(of_plugin);
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(tasks),
    }
}

/// The parts of a plugin: what is announced with its value, what an object is asked for, and what takes longer, because
/// several objects are asked, or one is made for the question.
fn parts(plugin: &dyn StatePlugin, want: &Want) -> Vec<Task> {
    let task = |part, keys| Task { plugin: plugin.name().to_owned(), part, keys, tells_of_service: false };
    if plugin.keys().is_empty() {
        return vec![task(Part::Observed, Vec::new())];
    }
    let mut keys: [Vec<String>; 3] = [const { Vec::new() }; 3];
    for (key, source) in plugin.sources() {
        if want.has(&key) {
            let which = match source {
                Source::Property { .. } => 0,
                Source::Answer { path: Some(_) } => 1,
                Source::Answer { path: None } => 2,
            };
            keys[which].push(key);
        }
    }
    let parts = [Part::Properties, Part::Answers, Part::Answers].into_iter().zip(keys);
    parts.filter(|(_, keys)| !keys.is_empty()).map(|(part, keys)| task(part, keys)).collect()
}

fn plugin_called(bus: &Bus, catalog: &Catalog, name: &str) -> Result<Box<dyn StatePlugin>> {
    if name.contains('.') {
        names::check(name)?;
        return Ok(Box::new(catalog.ad_hoc(bus, name)));
    }
    let entry = catalog.entry(name)?;
    entry.check_on(bus)?;
    match entry.problems.first() {
        Some(problem) => Err(problem.clone()),
        None if entry.mapping.is_none() => catalog.plugin_keeping_secrets(&entry),
        None => entry.plugin(),
    }
}

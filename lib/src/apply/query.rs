//! Querying several plugins as one state document.

use super::cached::Cache;
use super::timings::{Timing, Timings};
use crate::base::{Error, Progress, Result};
use crate::bus::{Bus, names};
use crate::plugin::{Catalog, Inventory, Origin, StatePlugin, Want, builtin};
use crate::state::{PluginState, StateDocument};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What to query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every installed plugin, every shipped one whose service is there, and those built in that this host has a use for.
    Everything,
    /// These plugins, or services by their bus names.
    Plugins(Vec<String>),
    /// Of these plugins, these keys; all keys where none is named.
    Keys(BTreeMap<String, Vec<String>>),
    /// Of each plugin what is said beside it.
    Each(Vec<(String, Want)>),
}

impl Selection {
    /// Reads a selection: a state document (its plugins and keys), or an inventory (its services).
    pub fn from_json(document: &Value, name: &str) -> Result<Self> {
        if document.get("kind").and_then(Value::as_str) == Some("inventory") {
            return Ok(Self::Plugins(Inventory::from_json(document, name)?.selection()));
        }
        let state = StateDocument::from_json(document)
            .map_err(|e| e.hint("a selection is a state document, or an inventory from op-discover"))?;
        let keys = |state: PluginState| state.values.keys().chain(state.absent.keys()).cloned().collect();
        Ok(Self::Keys(state.plugins.into_iter().map(|(name, state)| (name, keys(state))).collect()))
    }

    /// The plugins and what of each; `everything` names those that nobody named.
    pub fn each(&self, want: &Want, everything: impl FnOnce() -> Result<Vec<String>>) -> Result<Vec<(String, Want)>> {
        let all = |names: &[String]| names.iter().map(|name| (name.clone(), want.clone())).collect();
        Ok(match self {
            Self::Everything => all(&everything()?),
            Self::Plugins(names) => all(names),
            Self::Keys(plugins) => plugins
                .iter()
                .map(|(name, keys)| {
                    (name.clone(), if keys.is_empty() { want.clone() } else { Want::keys(keys.iter().cloned()) })
                })
                .collect(),
            Self::Each(each) => each.clone(),
        })
    }
}

/// What a query found.
#[derive(Debug, Default)]
pub struct Found {
    /// The state of every plugin of which anything could be read.
    pub document: StateDocument,
    /// What could not be read, and why.
    pub problems: Vec<Error>,
    /// What is odd about the plugins themselves.
    pub warnings: Vec<String>,
    /// How long it took.
    pub timings: Timings,
}

/// Connections at work at once. Most of the time a worker waits for its service, and nobody else has to wait for that.
const WORKERS: usize = 16;

/// Who is asked, and where answers are kept.
pub struct Asked<'a> {
    /// The bus.
    pub bus: &'a Bus,
    /// Makes a connection for each worker beyond the first, where more than one is wanted.
    pub connect: Option<&'a (dyn Fn() -> Result<Bus> + Sync)>,
    /// The plugins there are.
    pub catalog: &'a Catalog,
    /// Where answers are kept, if anywhere.
    pub cache: Option<&'a Cache>,
}

/// Queries the selected plugins, live, all at a time.
///
/// Fails only when the bus does; a plugin that cannot be read is a problem among the others.
pub fn query(
    asked: &Asked<'_>,
    selection: &Selection,
    want: &Want,
    progress: &mut (dyn Progress + Send),
) -> Result<Found> {
    let Asked { bus, connect, catalog, cache } = *asked;
    let began = Instant::now();
    let selected = selection.each(want, || everything(bus, catalog))?;
    let next = AtomicUsize::new(0);
    let take = || selected.get(next.fetch_add(1, Ordering::Relaxed));
    let progress = Mutex::new(progress);
    let work = |bus: &Bus| {
        let mut found = Found::default();
        let mut progress = Shared(&progress);
        while let Some((name, want)) = take() {
            progress.say(&format!("reading {name}"), None);
            let (since_began, started) = (began.elapsed(), Instant::now());
            query_one(bus, (catalog, cache), name, want, &mut progress, &mut found);
            found.timings.plugins.insert(name.clone(), Timing::new(since_began, started.elapsed()));
        }
        found
    };
    let workers = if connect.is_none() { 1 } else { selected.len().min(WORKERS) };
    let mut all = std::thread::scope(|scope| {
        // A worker that gets no connection, or gets it when everything is taken, leaves its share to the others.
        let worker = || match connect.map(|connect| connect()) {
            Some(Ok(bus)) => work(&bus),
            _ => Found::default(),
        };
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(worker)).collect();
        let mut all = work(bus);
        for other in others {
            if let Ok(found) = other.join() {
                all.document.plugins.extend(found.document.plugins);
                all.problems.extend(found.problems);
                all.warnings.extend(found.warnings);
                all.timings.plugins.extend(found.timings.plugins);
            }
        }
        all
    });
    all.problems.sort_by(|a, b| a.subject.cmp(&b.subject));
    all.timings.ended(began.elapsed());
    Ok(all)
}

/// One line of progress for all workers: whoever speaks last is heard.
struct Shared<'a, 'p>(&'a Mutex<&'p mut (dyn Progress + Send)>);

impl Progress for Shared<'_, '_> {
    fn say(&mut self, text: &str, percent: Option<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).say(text, percent);
    }
}

fn query_one(
    bus: &Bus,
    (catalog, cache): (&Catalog, Option<&Cache>),
    name: &str,
    want: &Want,
    progress: &mut dyn Progress,
    found: &mut Found,
) {
    let plugin = match plugin_called(bus, catalog, name, want, found) {
        Ok(plugin) => plugin,
        Err(error) => {
            found.problems.push(error);
            return;
        }
    };
    bus.allow(plugin.safe_calls());
    if let Want::Keys(keys) = want {
        let unknown = keys.keys().filter(|key| !plugin.keys().contains_key(*key));
        found.problems.extend(
            unknown.map(|key| Error::bad_input("this plugin has no such key").on(format!("plugins.{name}.{key}"))),
        );
    }
    let queried = plugin.query(bus, want, progress);
    if let Some(cache) = cache {
        cache.keep(&*plugin, want, &queried);
    }
    let has_any = !queried.values.is_empty() || queried.observed.is_some() || queried.problems.is_empty();
    found.problems.extend(queried.problems);
    if has_any {
        let state = PluginState { values: queried.values, observed: queried.observed, ..PluginState::default() };
        found.document.plugins.insert(name.to_owned(), state);
    }
}

fn plugin_called(
    bus: &Bus,
    catalog: &Catalog,
    name: &str,
    want: &Want,
    found: &mut Found,
) -> Result<Box<dyn StatePlugin>> {
    if name.contains('.') {
        return Ok(Box::new(catalog.ad_hoc(bus, name)));
    }
    let mut entry = catalog.entry(name)?;
    found.problems.append(&mut entry.problems);
    found.warnings.append(&mut entry.contradictions);
    entry.check_on(bus)?;
    let sees_all = *want == Want::All || entry.mapping.is_none();
    if sees_all { catalog.plugin_keeping_secrets(&entry) } else { entry.plugin() }
}

/// The plugins that are queried when nobody names any: those installed, and those shipped whose service is there.
pub fn everything(bus: &Bus, catalog: &Catalog) -> Result<Vec<String>> {
    let present = names::available(bus)?;
    let is_here = !bus.is_remote() && bus.replayed().is_none();
    let is_there = |name: &&str| {
        catalog.manifest_of(name).is_some_and(|(origin, manifest)| match &manifest.plugin.dbus_service {
            Some(service) => origin == Origin::Installed || present.contains(service),
            None => is_here && builtin::is_there(&manifest),
        })
    };
    Ok(catalog.names().filter(is_there).map(str::to_owned).collect())
}

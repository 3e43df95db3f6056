//! Querying several plugins as one state document.

use crate::base::{Error, Progress, Result, Silent};
use crate::bus::{Bus, names};
use crate::plugin::{Catalog, GenericPlugin, Inventory, Origin, StatePlugin, Want};
use crate::state::{PluginState, StateDocument};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What to query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every installed plugin, and every shipped one whose service is there.
    Everything,
    /// These plugins, or services by their bus names.
    Plugins(Vec<String>),
    /// Of these plugins, these keys; all keys where none is named.
    Keys(BTreeMap<String, Vec<String>>),
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
}

/// Connections at work at once: a slow service holds up only its own, and two cores are busy with four.
const WORKERS: usize = 4;

/// Queries the selected plugins, live, several at a time; `connect` makes a connection for each worker beyond the first,
/// where more than one is wanted.
///
/// Fails only when the bus does; a plugin that cannot be read is a problem among the others.
pub fn query(
    bus: &Bus,
    connect: Option<&(dyn Fn() -> Result<Bus> + Sync)>,
    catalog: &Catalog,
    selection: &Selection,
    want: &Want,
    progress: &mut dyn Progress,
) -> Result<Found> {
    let selected: Vec<(String, Want)> = match selection {
        Selection::Everything => everything(bus, catalog)?.into_iter().map(|name| (name, want.clone())).collect(),
        Selection::Plugins(names) => names.iter().map(|name| (name.clone(), want.clone())).collect(),
        Selection::Keys(plugins) => plugins
            .iter()
            .map(|(name, keys)| {
                (name.clone(), if keys.is_empty() { want.clone() } else { Want::keys(keys.iter().cloned()) })
            })
            .collect(),
    };
    let next = AtomicUsize::new(0);
    let take = || selected.get(next.fetch_add(1, Ordering::Relaxed));
    let work = |bus: &Bus, progress: &mut dyn Progress| {
        let mut found = Found::default();
        while let Some((name, want)) = take() {
            progress.say(&format!("reading {name}"), None);
            query_one(bus, catalog, name, want, progress, &mut found);
        }
        found
    };
    let workers = if selected.len() < 3 || connect.is_none() { 1 } else { selected.len().min(WORKERS) };
    let mut all = std::thread::scope(|scope| {
        // A worker that gets no connection leaves its share to the others.
        let worker = || match connect.map(|connect| connect()) {
            Some(Ok(bus)) => work(&bus, &mut Silent),
            _ => Found::default(),
        };
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(worker)).collect();
        let mut all = work(bus, progress);
        for other in others {
            if let Ok(found) = other.join() {
                all.document.plugins.extend(found.document.plugins);
                all.problems.extend(found.problems);
                all.warnings.extend(found.warnings);
            }
        }
        all
    });
    all.problems.sort_by(|a, b| a.subject.cmp(&b.subject));
    Ok(all)
}

fn query_one(bus: &Bus, catalog: &Catalog, name: &str, want: &Want, progress: &mut dyn Progress, found: &mut Found) {
    let plugin = match plugin_called(catalog, name, found) {
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
    let has_any = !queried.values.is_empty() || queried.observed.is_some() || queried.problems.is_empty();
    found.problems.extend(queried.problems);
    if has_any {
        let state = PluginState { values: queried.values, observed: queried.observed, ..PluginState::default() };
        found.document.plugins.insert(name.to_owned(), state);
    }
}

fn plugin_called(catalog: &Catalog, name: &str, found: &mut Found) -> Result<GenericPlugin> {
    if name.contains('.') {
        return Ok(GenericPlugin::ad_hoc(name));
    }
    let mut entry = catalog.entry(name)?;
    found.problems.append(&mut entry.problems);
    found.warnings.append(&mut entry.contradictions);
    Ok(entry.plugin())
}

fn everything(bus: &Bus, catalog: &Catalog) -> Result<Vec<String>> {
    let present = names::available(bus)?;
    Ok(catalog
        .names()
        .filter(|name| {
            catalog.entry(name).is_ok_and(|entry| {
                let service = entry.manifest.plugin.dbus_service.as_deref();
                entry.origin == Origin::Installed || service.is_some_and(|service| present.contains(service))
            })
        })
        .map(str::to_owned)
        .collect())
}

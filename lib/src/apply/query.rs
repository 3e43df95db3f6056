//! Querying several plugins as one state document.

use crate::base::{Error, Progress, Result};
use crate::bus::{Bus, names};
use crate::plugin::{Catalog, GenericPlugin, Inventory, Origin, StatePlugin, Want};
use crate::state::{PluginState, StateDocument};
use serde_json::Value;
use std::collections::BTreeMap;

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
}

/// Queries the selected plugins, live.
///
/// Fails only when the bus does; a plugin that cannot be read is a problem among the others.
pub fn query(
    bus: &Bus,
    catalog: &Catalog,
    selection: &Selection,
    want: &Want,
    progress: &mut dyn Progress,
) -> Result<Found> {
    let mut found = Found::default();
    let selected: Vec<(String, Want)> = match selection {
        Selection::Everything => everything(bus, catalog)?.into_iter().map(|name| (name, want.clone())).collect(),
        Selection::Plugins(names) => names.iter().map(|name| (name.clone(), want.clone())).collect(),
        Selection::Keys(plugins) => plugins
            .iter()
            .map(|(name, keys)| (name.clone(), if keys.is_empty() { want.clone() } else { Want::Keys(keys.clone()) }))
            .collect(),
    };
    for (name, want) in selected {
        progress.say(&format!("reading {name}"), None);
        let plugin = match plugin_called(catalog, &name, &mut found.problems) {
            Ok(plugin) => plugin,
            Err(error) => {
                found.problems.push(error);
                continue;
            }
        };
        bus.allow(plugin.safe_calls());
        if let Want::Keys(keys) = &want {
            let unknown = keys.iter().filter(|key| !plugin.keys().contains_key(*key));
            found.problems.extend(
                unknown.map(|key| Error::bad_input("this plugin has no such key").on(format!("plugins.{name}.{key}"))),
            );
        }
        let queried = plugin.query(bus, &want, progress);
        let has_any = !queried.values.is_empty() || queried.observed.is_some() || queried.problems.is_empty();
        found.problems.extend(queried.problems);
        if has_any {
            let state = PluginState { values: queried.values, observed: queried.observed, ..PluginState::default() };
            found.document.plugins.insert(name, state);
        }
    }
    Ok(found)
}

fn plugin_called(catalog: &Catalog, name: &str, problems: &mut Vec<Error>) -> Result<GenericPlugin> {
    if name.contains('.') {
        return Ok(GenericPlugin::ad_hoc(name));
    }
    let mut entry = catalog.entry(name)?;
    problems.append(&mut entry.problems);
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

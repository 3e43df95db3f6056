//! What paths select: which plugins and keys have to be read for them, and what they name in what was read.

use super::cached::Age;
use crate::base::{Error, Kind};
use crate::plugin::{Catalog, Want, Wanted};
use crate::state::select::{Path, nothing_named, select};
use crate::state::{PluginState, StateDocument};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The key of a plugin's state that holds what is seen beyond the mapped keys.
const OBSERVED: &str = "observed";

/// The values that were selected, by path and in the order of the state document.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Selected {
    kind: &'static str,
    version: u32,
    /// Value by path.
    #[serde(serialize_with = "in_order")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Value>"))]
    pub values: Vec<(String, Value)>,
    /// How old each value is, by the same paths; only of answers from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ages: Option<BTreeMap<String, Age>>,
    /// What was asked for and named nothing.
    #[serde(skip)]
    pub problems: Vec<Error>,
}

fn in_order<S: Serializer>(values: &[(String, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(values.len()))?;
    for (path, value) in values {
        map.serialize_entry(path, value)?;
    }
    map.end()
}

/// The plugins that `paths` name alone, and whether a path can also name any other.
#[must_use]
pub fn plugins_named(paths: &[Path]) -> (BTreeSet<String>, bool) {
    (
        paths.iter().filter_map(Path::plugin).map(str::to_owned).collect(),
        paths.iter().any(|path| path.plugin().is_none()),
    )
}

/// What has to be read of `plugins` for `paths`: of each plugin that a path can name something of, the keys it can name.
/// Beyond the mapped keys only what `wants_all` or a path asks for by name.
#[must_use]
pub fn wanted(
    paths: &[Path],
    plugins: impl IntoIterator<Item = String>,
    catalog: &Catalog,
    wants_all: bool,
) -> Vec<(String, Want)> {
    let plugins: BTreeSet<String> = plugins.into_iter().collect();
    let concerned = plugins.into_iter().filter(|name| paths.iter().any(|path| path.concerns(&[name])));
    concerned.filter_map(|name| wanted_of(paths, &name, catalog, wants_all).map(|want| (name, want))).collect()
}

fn wanted_of(paths: &[Path], name: &str, catalog: &Catalog, wants_all: bool) -> Option<Want> {
    if name.contains('.') {
        return Some(Want::State);
    }
    if !catalog.names().any(|known| known == name) {
        return None;
    }
    // What is wrong with a plugin is told when it is queried.
    let Ok(entry) = catalog.entry(name) else { return Some(Want::State) };
    let Ok(plugin) = entry.plugin() else { return Some(Want::State) };
    let is_broken = !entry.problems.is_empty();
    let concerns = |key: &str| paths.iter().any(|path| path.concerns(&[name, key]));
    if plugin.keys().is_empty() {
        return (is_broken || concerns(OBSERVED)).then_some(Want::State);
    }
    let asks_for_observed = paths.iter().any(|path| path.key() == Some(OBSERVED) && path.concerns(&[name, OBSERVED]));
    if asks_for_observed || (wants_all && concerns(OBSERVED)) {
        return Some(Want::All);
    }
    let all = plugin.sources();
    let items_of = |key: &str| {
        let has_items = plugin.keys().get(key).is_some_and(|spec| spec.strategy.has_items());
        let mut concerned = paths.iter().filter(|path| has_items && path.concerns(&[name, key])).peekable();
        concerned.peek()?;
        concerned.map(|path| path.item().map(str::to_owned)).collect::<Option<BTreeSet<String>>>()
    };
    let keys: Wanted = all.keys().filter(|key| concerns(key)).map(|key| (key.clone(), items_of(key))).collect();
    match keys.len() {
        0 => None,
        count if count == all.len() && keys.values().all(Option::is_none) => Some(Want::State),
        _ => Some(Want::Keys(keys)),
    }
}

/// The same with all items of each key; nothing when it is that already.
#[must_use]
pub fn with_all_items(wanted: &[(String, Want)]) -> Option<Vec<(String, Want)>> {
    let whole = |want: &Want| match want {
        Want::Keys(keys) => Want::keys(keys.keys().cloned()),
        other => other.clone(),
    };
    let all: Vec<(String, Want)> = wanted.iter().map(|(name, want)| (name.clone(), whole(want))).collect();
    (all != wanted).then_some(all)
}

/// The errors of paths that nothing of what is `wanted` can ever be named by.
#[must_use]
pub fn leading_nowhere(paths: &[Path], wanted: &[(String, Want)], catalog: &Catalog) -> Vec<Error> {
    let leads = |path: &&Path| {
        wanted.iter().any(|(name, want)| match want {
            Want::Keys(keys) => keys.keys().any(|key| path.concerns(&[name, key])),
            Want::State | Want::All => path.concerns(&[name]),
        })
    };
    let nowhere = paths.iter().filter(|path| !leads(path));
    nowhere.map(|path| missed(path, &known(Value::Null, catalog), catalog)).collect()
}

fn missed(path: &Path, known: &Value, catalog: &Catalog) -> Error {
    secret_named(path, catalog).unwrap_or_else(|| nothing_named(path, known))
}

impl Selected {
    /// What `paths` name in `document`. A path that names nothing is a problem, unless `wanted` could not be read: that
    /// has been told.
    #[must_use]
    pub fn new(paths: &[Path], document: &StateDocument, wanted: &[(String, Want)], catalog: &Catalog) -> Self {
        let plugins = serde_json::to_value(&document.plugins).unwrap_or_default();
        let (matches, has_matched) = select(&plugins, paths);
        let values = matches.into_iter().map(|found| (found.path, found.value.clone())).collect();
        let missed_paths: Vec<&Path> =
            paths.iter().zip(has_matched).filter(|(_, has_matched)| !has_matched).map(|(path, _)| path).collect();
        let mut problems = Vec::new();
        if !missed_paths.is_empty() {
            let unread = unread(wanted, document, catalog);
            let known = known(plugins, catalog);
            let is_told = |path: &Path| unread.iter().any(|(name, key)| path.concerns(&[name, key]));
            problems.extend(
                missed_paths.into_iter().filter(|path| !is_told(path)).map(|path| missed(path, &known, catalog)),
            );
        }
        Self { kind: "selection", version: 1, values, ages: None, problems }
    }

    /// The same with the age of each value, from the ages of the keys by plugin.
    #[must_use]
    pub fn with_ages(mut self, ages: &BTreeMap<String, BTreeMap<String, Age>>) -> Self {
        // A value is as old as its key; a whole plugin as its oldest one.
        let age_at = |path: &str| -> Option<Age> {
            let path = Path::parse(path).ok()?;
            let of_keys = ages.iter().flat_map(|(name, keys)| keys.iter().map(move |(key, age)| (name, key, age)));
            let concerned = of_keys.filter(|(name, key, _)| path.concerns(&[name, key]));
            concerned.max_by_key(|(_, _, age)| age.age_s).map(|(_, _, age)| age.clone())
        };
        self.ages = Some(self.values.iter().filter_map(|(path, _)| Some((path.clone(), age_at(path)?))).collect());
        self
    }
}

/// The keys that were wanted and are not in the document, since they could not be read.
fn unread(wanted: &[(String, Want)], document: &StateDocument, catalog: &Catalog) -> Vec<(String, String)> {
    let mut unread = Vec::new();
    let empty = PluginState::default();
    for (name, want) in wanted {
        let state = document.plugins.get(name).unwrap_or(&empty);
        let plugin = if name.contains('.') { None } else { catalog.entry(name).and_then(|entry| entry.plugin()).ok() };
        let mut keys: Vec<String> = match (want, &plugin) {
            (Want::Keys(keys), _) => keys.keys().cloned().collect(),
            (_, Some(plugin)) => plugin.sources().into_keys().collect(),
            (_, None) => Vec::new(),
        };
        if *want == Want::All || plugin.is_none_or(|plugin| plugin.keys().is_empty()) {
            keys.push(OBSERVED.to_owned());
        }
        let is_there = |key: &str| state.values.contains_key(key) || (key == OBSERVED && state.observed.is_some());
        unread.extend(keys.into_iter().filter(|key| !is_there(key)).map(|key| (name.clone(), key)));
    }
    unread
}

/// What could be named: all plugins and their keys, and of what was read also what is below.
fn known(read: Value, catalog: &Catalog) -> Value {
    let mut known: Map<String, Value> = Map::new();
    for name in catalog.names() {
        let keys =
            catalog.entry(name).and_then(|entry| entry.plugin()).map(|plugin| plugin.sources()).unwrap_or_default();
        known.insert(name.to_owned(), keys.into_keys().map(|key| (key, Value::Null)).collect());
    }
    let Value::Object(read) = read else { return Value::Object(known) };
    for (name, state) in read {
        match (known.get_mut(&name).and_then(Value::as_object_mut), state) {
            (Some(keys), Value::Object(state)) => keys.extend(state),
            (_, state) => drop(known.insert(name, state)),
        }
    }
    Value::Object(known)
}

/// The error of a path that names a key which is never shown.
fn secret_named(path: &Path, catalog: &Catalog) -> Option<Error> {
    let plugin = catalog.entry(path.plugin()?).and_then(|entry| entry.plugin()).ok()?;
    let key = path.key()?;
    let is_secret = plugin.keys().contains_key(key) && !plugin.sources().contains_key(key);
    is_secret.then(|| Error::new(Kind::Partial, "this key is secret, and is never shown").on(path.text()))
}

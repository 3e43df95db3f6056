//! Answers that were read before: kept by whoever reads live, read by `op-query --cached` alone.
//!
//! ```text
//! @cache/queries/PLUGIN/state.json
//! {"kind":"kept_answer","version":1,"plugin","bus","mapping"?,"keys":{KEY:{"read_at","value"}},"observed"?}
//! ```
//!
//! Each key has its own time, since a run that reads one key says nothing of the others. An answer from another bus, or
//! by another mapping, is no answer. Losing the file costs time, so failing to write it is never told.

use crate::base::name::PluginName;
use crate::base::{Error, Kind, time};
use crate::plugin::{Catalog, Queried, StatePlugin, Want};
use crate::state::{PluginState, StateDocument};
use crate::store::StateRoot;
use crate::store::file::{self, Durability};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Where answers of one bus are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    root: StateRoot,
    bus: String,
}

/// How old an answer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Age {
    /// When it was read from the service.
    pub read_at: String,
    /// How many seconds ago that was.
    pub age_s: u64,
}

/// What was kept, as a document. It is no state document: what is planned is always read live.
#[derive(Debug, Default)]
pub struct Answer {
    /// The state of each plugin of which anything was kept.
    pub document: StateDocument,
    /// How old each key is, by plugin.
    pub ages: BTreeMap<String, BTreeMap<String, Age>>,
    /// What was asked for and is not there.
    pub problems: Vec<Error>,
}

/// `op-query --cached`: answers and their age.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CachedDocument<'a> {
    kind: &'static str,
    version: u32,
    /// State by plugin name, as it was.
    plugins: &'a BTreeMap<String, PluginState>,
    /// How old each key of `plugins` is, by plugin and key.
    ages: &'a BTreeMap<String, BTreeMap<String, Age>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    kind: String,
    version: u32,
    plugin: String,
    bus: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mapping: Option<String>,
    keys: BTreeMap<String, KeptValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<KeptValue>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptValue {
    read_at: String,
    value: Value,
}

impl Answer {
    /// The document to print.
    #[must_use]
    pub fn to_document(&self) -> CachedDocument<'_> {
        CachedDocument { kind: "cached", version: 1, plugins: &self.document.plugins, ages: &self.ages }
    }
}

impl Cache {
    /// Answers of the bus that is called `bus`, under `root`.
    #[must_use]
    pub fn new(root: &StateRoot, bus: impl Into<String>) -> Self {
        Self { root: root.clone(), bus: bus.into() }
    }

    /// Keeps what was read just now of `plugin`, beside what was read of its other keys before: what was wanted may be
    /// some of them, or some items of one.
    pub fn keep(&self, plugin: &dyn StatePlugin, want: &Want, queried: &Queried) {
        if queried.values.is_empty() && queried.observed.is_none() {
            return;
        }
        let (name, mapping) = (plugin.name(), plugin.mapping_digest());
        if PluginName::new(name).is_err() {
            return;
        }
        let path = self.root.kept_answer(name);
        let mut kept = self.read(name, mapping.as_deref()).unwrap_or_default();
        kept = Kept {
            kind: "kept_answer".into(),
            version: 1,
            plugin: name.to_owned(),
            bus: self.bus.clone(),
            mapping,
            ..kept
        };
        let read_at = time::rfc3339_ms(SystemTime::now());
        let now = |value: &Value| KeptValue { read_at: read_at.clone(), value: value.clone() };
        let shown = plugin.sources();
        kept.keys.retain(|key, _| shown.contains_key(key));
        for (key, value) in queried.values.iter().filter(|(key, _)| shown.contains_key(*key)) {
            match (want.items(key), value) {
                (Some(items), Value::Object(read)) => {
                    // The others are as old as they were, and so the whole is. Without them it would look like all.
                    let known = kept.keys.get_mut(key).and_then(|kept| kept.value.as_object_mut());
                    let Some(known) = known else { continue };
                    for item in items {
                        match read.get(item) {
                            Some(value) => drop(known.insert(item.clone(), value.clone())),
                            None => drop(known.remove(item)),
                        }
                    }
                }
                _ => drop(kept.keys.insert(key.clone(), now(value))),
            }
        }
        if let Some(observed) = &queried.observed {
            kept.observed = Some(now(observed));
        }
        let written = serde_json::to_vec(&kept).map_err(|e| Error::failed(e.to_string())).and_then(|bytes| {
            self.root.make_parent(&path)?;
            file::replace(&path, &bytes, Durability::Cache)
        });
        // It is a cache: who asked for the live state has it.
        drop(written);
    }

    /// What is kept of a plugin whose mapping has the digest `mapping`; nothing that cannot be read or is another's.
    fn read(&self, plugin: &str, mapping: Option<&str>) -> Option<Kept> {
        let text = file::read(&self.root.kept_answer(plugin)).ok()??;
        let kept: Kept = serde_json::from_str(&text).ok()?;
        let is_it = kept.kind == "kept_answer" && kept.version == 1 && kept.plugin == plugin;
        (is_it && kept.bus == self.bus && kept.mapping.as_deref() == mapping).then_some(kept)
    }

    /// The plugins of which something is kept, of this bus or another.
    pub fn plugins<'c>(&'c self, catalog: &'c Catalog) -> impl Iterator<Item = &'c str> {
        catalog.names().filter(|name| self.root.kept_answer(name).is_file())
    }

    /// What is kept of the `selected` plugins, no older than `max_age`. Asks no bus.
    #[must_use]
    pub fn answer(&self, catalog: &Catalog, selected: &[(String, Want)], max_age: Option<Duration>) -> Answer {
        let mut answer = Answer::default();
        let now = SystemTime::now();
        for (name, want) in selected {
            if let Err(error) = self.answer_one(catalog, name, want, (now, max_age), &mut answer) {
                answer.problems.push(error);
            }
        }
        answer
    }

    fn answer_one(
        &self,
        catalog: &Catalog,
        name: &str,
        want: &Want,
        (now, max_age): (SystemTime, Option<Duration>),
        answer: &mut Answer,
    ) -> Result<(), Error> {
        let missing = |what: &str, subject: String| {
            let live = if name.contains('.') { format!("{name:?}") } else { name.to_owned() };
            Error::new(Kind::Partial, what)
                .on(subject)
                .hint(format!("read it live, which keeps the answer: op-query --plugin {live}"))
        };
        if name.contains('.') {
            return Err(Error::new(Kind::Partial, "answers of a service are kept under a plugin's name alone")
                .on(name)
                .hint(format!("make it a plugin: op-install create NAME --from-dbus {name}")));
        }
        let plugin = catalog.plugin_keeping_secrets(&catalog.entry(name)?)?;
        let Some(kept) = self.read(name, plugin.mapping_digest().as_deref()) else {
            return Err(missing("no answer is kept", format!("plugins.{name}")));
        };
        let age = |kept: &KeptValue| {
            let then = time::parse_rfc3339(&kept.read_at).unwrap_or(SystemTime::UNIX_EPOCH);
            // A clock that was set back makes an answer no older than now.
            let age = now.duration_since(then).unwrap_or_default();
            max_age.is_none_or(|most| age <= most).then(|| Age { read_at: kept.read_at.clone(), age_s: age.as_secs() })
        };
        let mut values = Map::new();
        let mut ages = BTreeMap::new();
        let (mut absent, mut old) = (Vec::new(), Vec::new());
        for key in plugin.sources().into_keys() {
            if !want.has(&key) {
                continue;
            }
            match kept.keys.get(&key).map(|kept| (kept, age(kept))) {
                Some((kept, Some(age))) => {
                    values.insert(key.clone(), kept.value.clone());
                    ages.insert(key, age);
                }
                Some((_, None)) => old.push(key),
                None => absent.push(key),
            }
        }
        let wants_observed = *want == Want::All || (plugin.keys().is_empty() && *want == Want::State);
        let observed = kept.observed.as_ref().filter(|_| wants_observed);
        match observed.map(age) {
            Some(None) => old.push("observed".into()),
            None if wants_observed => absent.push("observed".into()),
            _ => {}
        }
        for (what, keys) in [("no answer is kept", absent), ("the answer that is kept is too old", old)] {
            if !keys.is_empty() {
                answer.problems.push(missing(&format!("{what}: {}", keys.join(", ")), format!("plugins.{name}")));
            }
        }
        let observed = observed.and_then(|kept| Some((kept, age(kept)?)));
        let observed = observed.map(|(kept, age)| {
            ages.insert("observed".to_owned(), age);
            let mut observed = kept.value.clone();
            plugin.hide_secrets(&mut observed);
            observed
        });
        if !values.is_empty() || observed.is_some() {
            let state = PluginState { values, observed, ..PluginState::default() };
            answer.document.plugins.insert(name.to_owned(), state);
            answer.ages.insert(name.to_owned(), ages);
        }
        Ok(())
    }
}

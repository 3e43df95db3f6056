//! The state document: `{"version":1,"plugins":{NAME:{KEY:VALUE}}}`. What is not mentioned is left alone.

use crate::base::{Error, Result};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Keys of a plugin's object that are no state: what to remove, and what is shown but never applied.
const ABSENT: &str = "absent";
const OBSERVED: &str = "observed";

/// What a person wants, or what a machine has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateDocument {
    /// State by plugin name.
    pub plugins: BTreeMap<String, PluginState>,
}

/// The state of one plugin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PluginState {
    /// Value by key.
    pub values: Map<String, Value>,
    /// Items that must not be there, by key.
    pub absent: BTreeMap<String, Vec<String>>,
    /// What was seen beyond the mapped keys. Read-only: apply ignores it.
    pub observed: Option<Value>,
}

impl StateDocument {
    /// Reads a document; the error names the place in it.
    pub fn from_json(document: &Value) -> Result<Self> {
        let Value::Object(top) = document else {
            return Err(wrong("the document", "an object", document));
        };
        if let Some(kind) = top.get("kind") {
            let hint = match kind.as_str() {
                Some("cached") => "it may be old, and nothing is planned from that: query again without --cached",
                _ => "a state document has no \"kind\": {\"plugins\":{NAME:{KEY:VALUE}}}",
            };
            let what = format!("this is a document of the kind {kind}, not a state document");
            return Err(Error::bad_input(what).on("kind").hint(hint));
        }
        let mut errors = Vec::new();
        for key in top.keys().filter(|key| !matches!(key.as_str(), "version" | "plugins")) {
            errors.push(
                Error::bad_input("a state document has no such key")
                    .on(key)
                    .hint("the keys are \"version\" and \"plugins\"; a plugin's state goes under plugins.NAME; for the bare state of one plugin say --plugin NAME"),
            );
        }
        if let Some(version) = top.get("version").filter(|version| version.as_f64() != Some(1.0)) {
            errors.push(
                Error::bad_input(format!("this program reads version 1, not {version}"))
                    .on("version")
                    .hint("upgrade op-dbus, or write \"version\": 1"),
            );
        }
        let mut plugins = BTreeMap::new();
        match top.get("plugins") {
            Some(Value::Object(map)) => {
                for (name, state) in map {
                    match PluginState::from_json(&format!("plugins.{name}"), state) {
                        Ok(state) => drop(plugins.insert(name.clone(), state)),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Some(other) => errors.push(wrong("plugins", "an object", other)),
            None if errors.is_empty() => errors.push(
                Error::bad_input("the document has no \"plugins\"")
                    .hint("{\"plugins\":{\"hostname\":{\"static_hostname\":\"web\"}}}; for the bare state of one plugin say --plugin NAME"),
            ),
            None => {}
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Self { plugins }),
        }
    }

    /// Reads a document, or, for `op-apply --plugin NAME`, the bare state of that plugin.
    pub fn from_json_for(document: &Value, plugin: Option<&str>) -> Result<Self> {
        let is_wrapped = document.get("plugins").is_some_and(Value::is_object)
            && document.as_object().is_some_and(|top| top.keys().all(|k| k == "plugins" || k == "version"));
        // Not even as one plugin's bare state.
        let is_cached = document.get("kind").is_some_and(|kind| kind == "cached") && document.get("ages").is_some();
        let Some(name) = plugin.filter(|_| !is_cached) else { return Self::from_json(document) };
        if !is_wrapped {
            let state = PluginState::from_json(&format!("plugins.{name}"), document)?;
            return Ok(Self { plugins: BTreeMap::from([(name.to_owned(), state)]) });
        }
        let mut all = Self::from_json(document)?;
        let Some(state) = all.plugins.remove(name) else {
            let named = all.plugins.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let hint = if named.is_empty() { "it names no plugin".into() } else { format!("it speaks of: {named}") };
            return Err(Error::bad_input("the document says nothing about this plugin")
                .on(format!("plugins.{name}"))
                .hint(hint));
        };
        Ok(Self { plugins: BTreeMap::from([(name.to_owned(), state)]) })
    }

    /// The document as JSON, without what apply ignores.
    #[must_use]
    pub fn to_json_to_apply(&self) -> Value {
        let mut plugins = Map::new();
        for (name, PluginState { values, absent, .. }) in &self.plugins {
            let mut state = values.clone();
            if !absent.is_empty() {
                state.insert(ABSENT.into(), json!(absent));
            }
            if !state.is_empty() {
                plugins.insert(name.clone(), Value::Object(state));
            }
        }
        json!({"version": 1, "plugins": Value::Object(plugins)})
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }
}

impl Serialize for StateDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("version", &1)?;
        map.serialize_entry("plugins", &self.plugins)?;
        map.end()
    }
}

impl Serialize for PluginState {
    /// The state without the document around it.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.values {
            map.serialize_entry(key, value)?;
        }
        if !self.absent.is_empty() {
            map.serialize_entry(ABSENT, &self.absent)?;
        }
        if let Some(observed) = &self.observed {
            map.serialize_entry(OBSERVED, observed)?;
        }
        map.end()
    }
}

impl PluginState {
    /// Reads the state of one plugin; `at` is its place in the document.
    pub fn from_json(at: &str, value: &Value) -> Result<Self> {
        let Value::Object(map) = value else { return Err(wrong(at, "an object", value)) };
        let mut state = Self::default();
        for (key, value) in map {
            match key.as_str() {
                ABSENT => state.absent = absent_from_json(&format!("{at}.{ABSENT}"), value)?,
                OBSERVED => state.observed = Some(value.clone()),
                _ => drop(state.values.insert(key.clone(), value.clone())),
            }
        }
        Ok(state)
    }
}

fn absent_from_json(at: &str, value: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let Value::Object(keys) = value else { return Err(wrong(at, "an object of lists", value)) };
    let mut absent = BTreeMap::new();
    let mut errors = Vec::new();
    for (key, items) in keys {
        match items_of(&format!("{at}.{key}"), items) {
            Ok(items) => drop(absent.insert(key.clone(), items)),
            Err(error) => errors.push(error),
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(absent),
    }
}

/// The items of a set: a list of texts, or of numbers taken as texts. The error names every item that is neither.
pub fn items_of(at: &str, value: &Value) -> Result<Vec<String>> {
    let Value::Array(list) = value else { return Err(wrong(at, "a list", value)) };
    let mut items = Vec::with_capacity(list.len());
    let mut errors = Vec::new();
    for (i, item) in list.iter().enumerate() {
        match item {
            Value::String(text) if !text.is_empty() => items.push(text.clone()),
            Value::Number(number) => items.push(number.to_string()),
            other => errors.push(wrong(&format!("{at}[{i}]"), "a text that is not empty", other)),
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(items),
    }
}

/// The error for a value of the wrong shape.
pub(super) fn wrong(at: &str, expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Error::bad_input(format!("expected {expected}, found {found}")).on(at)
}

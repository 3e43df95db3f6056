//! The values that are watched, and what is told when one becomes another. Pure.

use super::record::{Freshness, Place, Record};
use crate::plugin::Source;
use crate::state::select::{Path, select, written};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The key under which everything is that no mapping names.
pub const OBSERVED: &str = "observed";

/// One value that is watched: a key of a plugin's state, or a property beyond the mapped keys.
#[derive(Debug)]
pub struct Cell {
    /// Where in a state document it is: plugin and key; or plugin, `observed`, object path, interface and property.
    pub names: Vec<String>,
    /// Where it comes from.
    pub source: Source,
    /// How changes of it become known.
    pub class: Freshness,
    /// How many changes in a row a hint has led to.
    pub hits: u32,
    /// Whether it is a set of items.
    pub is_set: bool,
    /// The value when it was read last.
    pub value: Option<Value>,
}

impl Cell {
    /// The plugin's key.
    pub fn key(&self) -> &str {
        &self.names[1]
    }

    fn place(&self) -> Place {
        Place {
            path: written(&self.names),
            plugin: self.names[0].clone(),
            key: self.names[1].clone(),
            item: property_of(&self.names),
        }
    }

    /// What is told of the value when the watch begins.
    pub fn present(&self, paths: &[Path]) -> Vec<Record> {
        let Some(value) = &self.value else { return Vec::new() };
        if paths.is_empty() {
            return vec![Record::value(self.place(), value.clone(), self.class)];
        }
        let selected = self.selected(Some(value), paths);
        selected.into_values().map(|(place, value)| Record::value(place, value, self.class)).collect()
    }

    /// Takes a new value, or none, and says what is to be told of it.
    pub fn becomes(&mut self, value: Option<Value>, how: Freshness, paths: &[Path]) -> Vec<Record> {
        if self.value == value {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.value, value);
        let (from, to) = (before.as_ref(), self.value.as_ref());
        let changes =
            if paths.is_empty() { self.differences(from, to) } else { self.selected_differences(from, to, paths) };
        changes.into_iter().map(|(place, from, to)| Record::change(place, from, to, how)).collect()
    }

    fn differences(&self, from: Option<&Value>, to: Option<&Value>) -> Vec<Difference> {
        match (from, to) {
            (Some(Value::Object(from)), Some(Value::Object(to))) if self.names.len() == 2 => {
                let members: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
                let differing = members.into_iter().filter(|name| from.get(*name) != to.get(*name));
                differing
                    .map(|name| {
                        let path = written(&[&self.names[..], std::slice::from_ref(name)].concat());
                        let place = Place { path, item: Some(name.clone()), ..self.place() };
                        (place, from.get(name).cloned(), to.get(name).cloned())
                    })
                    .collect()
            }
            (Some(Value::Array(from)), Some(Value::Array(to))) if self.is_set => {
                // What is no text cannot be an item's name, and is told in its JSON form.
                let name = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                let by_name =
                    |items: &[Value]| items.iter().map(|item| (name(item), item.clone())).collect::<BTreeMap<_, _>>();
                let (from, to) = (by_name(from), by_name(to));
                let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
                let differing = names.into_iter().filter(|name| from.contains_key(*name) != to.contains_key(*name));
                differing
                    .map(|name| {
                        (
                            Place { item: Some(name.clone()), ..self.place() },
                            from.get(name).cloned(),
                            to.get(name).cloned(),
                        )
                    })
                    .collect()
            }
            _ => vec![(self.place(), from.cloned(), to.cloned())],
        }
    }

    fn selected_differences(&self, from: Option<&Value>, to: Option<&Value>, paths: &[Path]) -> Vec<Difference> {
        let (mut from, mut to) = (self.selected(from, paths), self.selected(to, paths));
        let all: BTreeSet<String> = from.keys().chain(to.keys()).cloned().collect();
        let mut differences = Vec::new();
        for path in all {
            let (from, to) = (from.remove(&path), to.remove(&path));
            let Some(place) = from.as_ref().or(to.as_ref()).map(|(place, _)| place.clone()) else { continue };
            let (from, to) = (from.map(|(_, value)| value), to.map(|(_, value)| value));
            if from != to {
                differences.push((place, from, to));
            }
        }
        differences
    }

    /// What `paths` name of the value, by path. Who names all of a plugin watches each key of it.
    fn selected(&self, value: Option<&Value>, paths: &[Path]) -> BTreeMap<String, (Place, Value)> {
        let Some(value) = value else { return BTreeMap::new() };
        let plugins = self.names.iter().rev().fold(value.clone(), |value, name| json!({ name: value }));
        let (matches, _) = select(&plugins, paths);
        let found = matches.into_iter().map(|found| {
            if found.names.len() <= self.names.len() {
                let place = self.place();
                return (place.path.clone(), (place, value.clone()));
            }
            let item = property_of(&found.names).or_else(|| found.names.get(2).cloned());
            (found.path.clone(), (Place { path: found.path, item, ..self.place() }, found.value.clone()))
        });
        found.collect()
    }
}

/// Where something differs, what it was, and what it is.
type Difference = (Place, Option<Value>, Option<Value>);

/// `OBJECT-PATH INTERFACE.PROPERTY` of a property beyond the mapped keys.
fn property_of(names: &[String]) -> Option<String> {
    match names {
        [_, key, path, interface, property, ..] if key == OBSERVED => Some(format!("{path} {interface}.{property}")),
        _ => None,
    }
}

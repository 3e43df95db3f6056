//! What a running synthetic service knows: values, sets, and every call it was sent.

use super::spec::{ItemSet, SetKind, Spec};
use super::value::Val;
use super::wire;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The state, and the file that it outlives the process in.
#[derive(Debug)]
pub struct State {
    /// Value of each property of the spec.
    pub values: Vec<Val>,
    /// What is in each set of the spec.
    pub sets: Vec<BTreeSet<String>>,
    /// How often the hooks were called: before, after.
    pub hooks: [u64; 2],
    /// Every call, as it came.
    pub log: Vec<Value>,
    /// How often the service was started on this state.
    pub starts: u64,
    file: Option<PathBuf>,
}

impl State {
    /// The state in `file`, or the spec's first one.
    #[must_use]
    pub fn load(spec: &Spec, file: Option<PathBuf>) -> Self {
        let mut state = Self {
            values: spec.properties.iter().map(|property| property.initial.clone()).collect(),
            sets: spec.sets.iter().map(|set| set.initial.iter().cloned().collect()).collect(),
            hooks: [0; 2],
            log: Vec::new(),
            starts: 0,
            file,
        };
        let text = state.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(kept) = text.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
            state.restore(&kept);
        }
        state.starts += 1;
        state.save();
        state
    }

    fn restore(&mut self, kept: &Value) {
        for (value, text) in self.values.iter_mut().zip(kept["values"].as_array().into_iter().flatten()) {
            let bytes = from_hex(text.as_str().unwrap_or_default());
            if let Ok([kept]) = wire::decode(&value.sig(), &bytes).as_deref() {
                *value = kept.clone();
            }
        }
        for (set, items) in self.sets.iter_mut().zip(kept["sets"].as_array().into_iter().flatten()) {
            *set = items.as_array().into_iter().flatten().filter_map(|i| i.as_str().map(str::to_owned)).collect();
        }
        for (hook, count) in self.hooks.iter_mut().zip(kept["hooks"].as_array().into_iter().flatten()) {
            *hook = count.as_u64().unwrap_or(0);
        }
        self.log = kept["log"].as_array().cloned().unwrap_or_default();
        self.starts = kept["starts"].as_u64().unwrap_or(0);
    }

    /// Writes the file, when there is one.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let values: Vec<String> =
            self.values.iter().map(|value| to_hex(&wire::encode(std::slice::from_ref(value)))).collect();
        let kept = json!({
            "values": values, "sets": self.sets, "hooks": self.hooks, "log": self.log, "starts": self.starts,
        });
        let new = file.with_extension("new");
        let written = std::fs::write(&new, kept.to_string()).and_then(|()| std::fs::rename(&new, file));
        drop(written);
    }

    /// Everything, in the forms op-dbus documents: `keys` is what a query of the plugin must answer.
    #[must_use]
    pub fn dump(&self, spec: &Spec) -> Value {
        let mut keys = Map::new();
        let mut objects = Map::new();
        for (at, property) in spec.properties.iter().enumerate() {
            let value = self.property(spec, at).json();
            if let Some(key) = &property.key {
                keys.insert(key.clone(), value.clone());
            }
            let object = objects.entry(property.path.clone()).or_insert_with(|| json!({}));
            object[&property.interface][&property.name] = value;
        }
        for query in &spec.queries {
            keys.insert(query.key.clone(), query_json(query));
        }
        for (set, items) in spec.sets.iter().zip(&self.sets) {
            keys.insert(set.key.clone(), json!(items));
        }
        json!({
            "seed": spec.seed, "service": spec.service, "plugin": spec.plugin, "starts": self.starts,
            "hooks": {"before": self.hooks[0], "after": self.hooks[1]}, "keys": keys, "objects": objects,
        })
    }

    /// The value of a property now.
    #[must_use]
    pub fn property(&self, spec: &Spec, at: usize) -> Val {
        let of_set = spec.sets.iter().position(|set| set.property == Some(at));
        of_set.map_or_else(|| self.values[at].clone(), |set| Val::strings(&self.sets[set]))
    }

    /// The row of every item of a set.
    #[must_use]
    pub fn rows(&self, spec: &Spec, number: usize) -> Vec<Val> {
        let set = &spec.sets[number];
        set.universe.iter().map(|item| Val::R(row(set, &item.id, self.sets[number].contains(&item.name)))).collect()
    }
}

/// The columns of an item.
#[must_use]
pub fn row(set: &ItemSet, id: &str, is_in: bool) -> Vec<Val> {
    use super::spec::Use;
    set.columns
        .iter()
        .map(|column| match column.usage {
            Use::Id => Val::s(id),
            Use::State if is_in => set.states.0.clone(),
            Use::State => set.states.1.clone(),
            Use::Noise => Val::R(vec![Val::B(true), Val::s("noise")]),
            _ => Val::s("some text"),
        })
        .collect()
}

/// The names that identifiers stand for; `None` when one of them is unknown.
#[must_use]
pub fn names_of(set: &ItemSet, ids: &[Val]) -> Option<Vec<String>> {
    let is_plain = matches!(set.kind, SetKind::OneByOne | SetKind::AllAtOnce);
    ids.iter()
        .map(|id| {
            let id = id.text()?;
            let found = set.universe.iter().find(|item| if is_plain { item.name == id } else { item.id == id });
            found.map(|item| item.name.clone())
        })
        .collect()
}

fn query_json(query: &super::spec::Query) -> Value {
    let rows = query.rows.iter().filter(|row| {
        query.filter.as_ref().is_none_or(|(at, accepted)| accepted.iter().any(|value| value.json() == row[*at].json()))
    });
    let object = |row: &Vec<Val>, without: Option<usize>| {
        let columns = query.columns.iter().zip(row).enumerate().filter(|(at, _)| Some(*at) != without);
        Value::Object(columns.map(|(_, (column, value))| (column.name.clone(), value.json())).collect())
    };
    match query.keyed_by {
        None => rows.map(|row| object(row, None)).collect(),
        Some(key) => {
            let text = |row: &Vec<Val>| row[key].text().unwrap_or_default().to_owned();
            Value::Object(rows.map(|row| (text(row), object(row, Some(key)))).collect())
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or("0"), 16).unwrap_or(0);
    (0..text.len() / 2).map(|at| pair(2 * at)).collect()
}

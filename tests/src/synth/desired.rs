//! Desired states for a [`Spec`]: other values of the right types.

use super::random::{Rng, other_value};
use super::spec::{Merging, Spec, Writing};
use super::value::Val;
use serde_json::{Map, Value, json};

impl Spec {
    /// The keys that can be written.
    #[must_use]
    pub fn writable_keys(&self) -> Vec<&str> {
        let properties = self.properties.iter().filter(|property| property.writing != Writing::Never);
        let keys = properties.filter_map(|property| property.key.as_deref());
        keys.chain(self.sets.iter().map(|set| set.key.as_str())).collect()
    }

    /// Another value for the property behind `key` than its first; another one for another `n`.
    #[must_use]
    pub fn other_value(&self, key: &str, n: u64) -> Option<Val> {
        let property = self.property(key).filter(|property| property.writing != Writing::Never)?;
        let mut rng = Rng::new(self.seed ^ n.wrapping_mul(0x1_0001) ^ key.bytes().map(u64::from).sum::<u64>());
        Some(match property.merging {
            Merging::Whole => other_value(&mut rng, &property.initial),
            _ => other_dictionary(&mut rng, &property.initial),
        })
    }

    /// Every writable key with another value than its first: the `plugins.NAME` part of a state document. Sets want
    /// two more items.
    #[must_use]
    pub fn desired(&self, n: u64) -> Value {
        let mut keys = Map::new();
        for key in self.writable_keys() {
            if let Some(value) = self.other_value(key, n) {
                keys.insert(key.to_owned(), value.json());
            } else if let Some(set) = self.sets.iter().find(|set| set.key == key) {
                let mut items = set.initial.clone();
                items.extend(set.universe.iter().skip(set.initial.len()).take(2).map(|item| item.name.clone()));
                items.sort();
                keys.insert(key.to_owned(), json!(items));
            }
        }
        Value::Object(keys)
    }

    /// A whole state document of [`Spec::desired`].
    #[must_use]
    pub fn document(&self, n: u64) -> Value {
        json!({"version": 1, "plugins": {&self.plugin: self.desired(n)}})
    }
}

/// The same keys and types, other values.
fn other_dictionary(rng: &mut Rng, from: &Val) -> Val {
    let entries = from.items().iter().map(|item| match item {
        Val::E(pair) => {
            let value = match &pair.1 {
                Val::V(inner) if inner.sig() == "a{sv}" => other_dictionary(rng, inner),
                Val::V(inner) => other_value(rng, inner),
                other => other.clone(),
            };
            Val::entry(pair.0.clone(), Val::V(Box::new(value)))
        }
        other => other.clone(),
    });
    Val::A("{sv}".into(), entries.collect())
}

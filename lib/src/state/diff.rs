//! The difference between what is wanted and what is there, as a list of changes. Every mismatch is reported, not only
//! the first; what is not mentioned is left alone.

use super::change::Change;
use super::collection;
use super::document::{PluginState, items_of, wrong};
use super::holding::{bare, join, typed_like};
use super::spec::{KeySpec, Strategy, Writable};
use crate::base::{Error, Kind, Result};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn contains(set: &Value, item: &str) -> Option<bool> {
    items_of("", set).ok().map(|items| items.iter().any(|i| i == item))
}

/// Which items may leave a set although nobody listed them as absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Removal {
    /// By key, the items this owner added before.
    pub owned: BTreeMap<String, BTreeSet<String>>,
    /// Whether everything that is not listed goes.
    pub is_prune: bool,
}

/// Compares one plugin's desired state with its current one. `at` is the plugin's name.
///
/// Fails with every problem of the desired state: unknown keys, keys that cannot be written and differ, ill-typed
/// sets, protected items, items both wanted and absent.
pub fn diff_plugin(
    at: &str,
    desired: &PluginState,
    current: &Map<String, Value>,
    specs: &BTreeMap<String, KeySpec>,
    removal: &Removal,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    let keys: BTreeSet<&String> = desired.values.keys().chain(desired.absent.keys()).collect();
    for key in keys {
        let place = format!("plugins.{at}.{key}");
        let Some(spec) = specs.get(key) else {
            let known = specs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let hint = if known.is_empty() {
                "this plugin has no mapping, so it can only be read".to_owned()
            } else {
                format!("the keys of {at} are: {known}")
            };
            let place = if desired.values.contains_key(key) { place } else { format!("plugins.{at}.absent.{key}") };
            errors.push(Error::bad_input("this plugin has no such key").on(place).hint(hint));
            continue;
        };
        let outcome = match spec.strategy {
            strategy if strategy.has_items() => collection::diff(at, key, desired, current, spec, removal),
            Strategy::SetDifference => diff_set(at, key, desired, current, spec, removal),
            _ if desired.absent.contains_key(key) => Err(Error::bad_input("only the items of a set can be absent")
                .on(format!("plugins.{at}.absent.{key}"))
                .hint("this key holds one value; write the value it should have")),
            _ => diff_value(at, key, &desired.values[key], current.get(key), spec),
        };
        match outcome {
            Ok(found) => changes.extend(found),
            Err(error) => errors.push(error.or_on(place)),
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(changes),
    }
}

fn diff_value(at: &str, key: &str, desired: &Value, current: Option<&Value>, spec: &KeySpec) -> Result<Vec<Change>> {
    let unread = || {
        Error::new(Kind::Unavailable, "the service did not tell its current value, so nothing can be planned")
            .hint(format!("see why: op-query --plugin {at}"))
    };
    if spec.strategy == Strategy::None {
        return Ok(Vec::new());
    }
    let from = current.ok_or_else(unread)?;
    if satisfies(desired, from, spec) {
        return Ok(Vec::new());
    }
    check_writable(spec)?;
    let to = match (spec.strategy, bare(desired), from) {
        (Strategy::MergeStrategy, Value::Object(_), Value::Object(_)) => overlay(from, desired),
        (Strategy::MergeStrategy, Value::Object(_), _) => desired.clone(),
        (Strategy::MergeStrategy, _, _) => return Err(wrong(&format!("plugins.{at}.{key}"), "an object", desired)),
        _ => desired.clone(),
    };
    Ok(vec![Change::Set { plugin: at.into(), key: key.into(), from: from.clone(), to }])
}

fn diff_set(
    at: &str,
    key: &str,
    desired: &PluginState,
    current: &Map<String, Value>,
    spec: &KeySpec,
    removal: &Removal,
) -> Result<Vec<Change>> {
    let place = format!("plugins.{at}.{key}");
    let wanted: Option<BTreeSet<String>> = match desired.values.get(key) {
        Some(list) => Some(items_of(&place, list)?.into_iter().collect()),
        None => None,
    };
    let absent: BTreeSet<String> = desired.absent.get(key).into_iter().flatten().cloned().collect();
    let unread = |why: &str| {
        Error::new(Kind::Unavailable, format!("{why}, so nothing can be planned"))
            .on(place.clone())
            .hint(format!("see why: op-query --plugin {at}"))
    };
    let there: BTreeSet<String> = match current.get(key).map(|list| items_of("", list)) {
        Some(Ok(items)) => items.into_iter().collect(),
        Some(Err(_)) => return Err(unread("what the service tells is no list of texts")),
        None => return Err(unread("the service did not tell which items it has")),
    };
    let mut errors = Vec::new();
    let mut gone = absent.clone();
    if let Some(wanted) = &wanted {
        for both in wanted.intersection(&absent) {
            errors.push(Error::bad_input(format!("{both:?} is both wanted and absent")).on(place.clone()));
        }
        if removal.is_prune {
            gone.extend(there.difference(wanted).filter(|item| !spec.protects(item)).cloned());
        }
        if let Some(owned) = removal.owned.get(key) {
            gone.extend(owned.difference(wanted).filter(|item| !spec.protects(item)).cloned());
        }
    }
    let add: Vec<&String> = wanted.iter().flatten().filter(|item| !there.contains(*item)).collect();
    let remove: Vec<&String> = gone.intersection(&there).collect();
    let writable = if add.is_empty() && remove.is_empty() { Ok(()) } else { check_writable(spec) };
    match writable {
        Err(error) => errors.push(error),
        Ok(()) => {
            if !add.is_empty() && !spec.can_add {
                errors.push(
                    Error::refused("the mapping says no method that adds items").hint("only removing works here"),
                );
            }
            if !remove.is_empty() && !spec.can_remove {
                errors.push(
                    Error::refused("the mapping says no method that removes items").hint("only adding works here"),
                );
            }
        }
    }
    for item in &remove {
        if spec.protects(item) {
            errors.push(
                Error::refused(format!("{item:?} is protected and is never removed"))
                    .hint("the mapping lists what is protected and why"),
            );
        }
    }
    if let Some(error) = Error::all(errors.into_iter().map(|error| error.or_on(place.clone())).collect()) {
        return Err(error);
    }
    let plugin = || at.to_owned();
    let adds = add.into_iter().map(|item| Change::Add { plugin: plugin(), key: key.into(), item: item.clone() });
    let removes =
        remove.into_iter().map(|item| Change::Remove { plugin: plugin(), key: key.into(), item: item.clone() });
    Ok(adds.chain(removes).collect())
}

pub(super) fn check_writable(spec: &KeySpec) -> Result<()> {
    match &spec.writable {
        Writable::Yes => Ok(()),
        Writable::No { reason, hint } => Err(Error::refused(reason).hint(hint)),
    }
}

/// Whether `now` is what `desired` asks for.
pub(super) fn satisfies(desired: &Value, now: &Value, spec: &KeySpec) -> bool {
    match (spec.strategy, bare(desired), bare(now)) {
        (Strategy::MergeStrategy, Value::Object(want), Value::Object(have)) => {
            want.iter().all(|(key, value)| have.get(key).is_some_and(|now| satisfies(value, now, spec)))
        }
        (_, Value::Array(want), Value::Array(have)) if spec.is_unordered => {
            let mut rest: Vec<&Value> = have.iter().collect();
            want.len() == have.len()
                && want.iter().all(|value| {
                    rest.iter().position(|now| same(value, now)).map(|found| rest.swap_remove(found)).is_some()
                })
        }
        _ => same(desired, now),
    }
}

/// Whether `now` still has a key of `from` that `to` has not, and that is no more than `is_gone` says: of a path and what
/// is there.
pub(super) fn keeps_removed(
    from: &Value,
    to: &Value,
    now: &Value,
    is_gone: &dyn Fn(&str, &Value) -> bool,
    path: &str,
) -> bool {
    let (Value::Object(from), Value::Object(to), Value::Object(now)) = (bare(from), bare(to), bare(now)) else {
        return false;
    };
    from.iter().any(|(key, from)| match (to.get(key), now.get(key)) {
        (None, Some(now)) => !is_gone(&join(path, key), now),
        (Some(to), Some(now)) => keeps_removed(from, to, now, is_gone, &join(path, key)),
        (_, None) => false,
    })
}

/// Equal, where an integer and its decimal text are the same value: large integers travel as text.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (bare(a), bare(b)) {
        (Value::Number(n), Value::String(text)) | (Value::String(text), Value::Number(n)) => {
            !n.is_f64() && n.to_string() == *text
        }
        (Value::Number(x), Value::Number(y)) => x == y || (x.as_f64() == y.as_f64() && (x.is_f64() != y.is_f64())),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        (a, b) => a == b,
    }
}

/// `base` with the keys of `top` in its place, objects key by key.
pub(super) fn overlay(base: &Value, top: &Value) -> Value {
    match (bare(base), bare(top)) {
        (Value::Object(base), Value::Object(keys)) => {
            let mut merged = base.clone();
            for (key, value) in keys {
                let value = merged.get(key).map_or_else(|| value.clone(), |under| overlay(under, value));
                merged.insert(key.clone(), value);
            }
            typed_like(top, Value::Object(merged))
        }
        _ => top.clone(),
    }
}

//! Rolling back: the reverse of what runs did, planned live and applied like any other change.

use super::checkpoints::{self, Checkpoint};
use super::order::{creations_last, in_order};
use super::planning::Planned;
use super::{Plugins, StateManager};
use crate::base::{Error, Result};
use crate::plugin::Want;
use crate::state::{Action, Change, PluginState};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The member of a plan's desired state that names what it rolls back.
const ROLLBACK: &str = "rollback";

/// The desired state of a plan that rolls back.
pub fn desired(run: &str) -> Value {
    json!({"version": 1, ROLLBACK: run})
}

/// The run that a plan's desired state rolls back to.
pub fn run_of(desired: &Value) -> Option<String> {
    desired.get(ROLLBACK)?.as_str().map(str::to_owned)
}

/// What a rollback is to bring about.
pub struct Target {
    /// The oldest run that is rolled back.
    pub run: String,
    /// All of them, newest first.
    pub runs: Vec<String>,
    /// On whose behalf they were made, where it is the same for all.
    pub owner: Option<String>,
    changes: Vec<Change>,
}

/// What going back to before the run `id` takes.
pub fn target(root: &crate::store::StateRoot, id: &str) -> Result<Target> {
    let since = checkpoints::since(root, id)?;
    let owners: BTreeSet<Option<String>> = since.iter().map(|checkpoint| checkpoint.plan.owner.clone()).collect();
    Ok(Target {
        run: since.last().map(|checkpoint| checkpoint.run.clone()).unwrap_or_default(),
        runs: since.iter().map(|checkpoint| checkpoint.run.clone()).collect(),
        owner: owners.into_iter().next().flatten(),
        changes: reversed(&since),
    })
}

/// The reverse of all changes, newest first; of several of one thing, that of the oldest, since it leads back to what
/// there was at first.
fn reversed(since: &[Checkpoint<'_>]) -> Vec<Change> {
    let newest_first = since.iter().flat_map(|checkpoint| {
        let actions = checkpoint.plan.actions.iter().rev();
        actions
            .flat_map(|action| came_along(action, checkpoint).into_iter().chain(action.changes.iter().rev().cloned()))
    });
    let all: Vec<Change> = newest_first.flat_map(|change| single(&change)).collect();
    let mut kept: Vec<Change> = Vec::new();
    for (at, change) in all.iter().enumerate() {
        let is_same = |older: &Change| older.resource() == change.resource() && member_of(older) == member_of(change);
        // What an older run made goes as a whole: what happened to it since does not matter.
        let is_made_since =
            |older: &Change| older.resource() == change.resource() && matches!(older, Change::Create { .. });
        if !all[at + 1..].iter().any(|older| is_same(older) || (is_made_since(older) && member_of(change).is_some())) {
            kept.push(change.reverse());
        }
    }
    merged(kept)
}

/// Items that joined a set together with those asked for, and were not there before: a package's dependencies.
fn came_along(action: &Action, checkpoint: &Checkpoint<'_>) -> Vec<Change> {
    let Some(preview) = &action.preview else { return Vec::new() };
    let Some(Change::Add { plugin, key, .. }) = action.changes.first() else { return Vec::new() };
    let was_absent =
        |item: &&String| checkpoint.before.get(&format!("{plugin}/{key}/{item}")) == Some(&Value::Bool(false));
    let add = |item: &String| Change::Add { plugin: plugin.clone(), key: key.clone(), item: item.clone() };
    preview.also.iter().filter(was_absent).map(add).collect()
}

/// An update as updates of one member each, so that several runs' updates can be told apart.
fn single(change: &Change) -> Vec<Change> {
    let Change::Update { plugin, key, item, from, to } = change else { return vec![change.clone()] };
    let (Some(from), Some(to)) = (from.as_object(), to.as_object()) else { return vec![change.clone()] };
    let only = |map: &Map<String, Value>, name: &String| json!({name: map.get(name).cloned().unwrap_or(Value::Null)});
    let one = |name: &String| Change::Update {
        plugin: plugin.clone(),
        key: key.clone(),
        item: item.clone(),
        from: only(from, name),
        to: only(to, name),
    };
    to.keys().map(one).collect()
}

fn member_of(change: &Change) -> Option<&String> {
    let Change::Update { to, .. } = change else { return None };
    to.as_object()?.keys().next()
}

/// Updates of one item together again, and with its making where it has to be made.
fn merged(changes: Vec<Change>) -> Vec<Change> {
    let mut out: Vec<Change> = Vec::new();
    for change in changes {
        let same = out.iter_mut().find(|other| other.resource() == change.resource() && change.item().is_some());
        match (same, &change) {
            (Some(Change::Update { from, to, .. }), Change::Update { from: more_from, to: more_to, .. }) => {
                extend(from, more_from);
                extend(to, more_to);
            }
            (Some(Change::Create { to, .. }), Change::Update { to: more, .. }) => extend(to, more),
            (Some(other @ Change::Update { .. }), Change::Create { plugin, key, item, to }) => {
                let mut to = to.clone();
                if let Change::Update { to: more, .. } = other {
                    extend(&mut to, more);
                }
                *other = Change::Create { plugin: plugin.clone(), key: key.clone(), item: item.clone(), to };
            }
            _ => out.push(change),
        }
    }
    out
}

fn extend(value: &mut Value, more: &Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

impl StateManager<'_> {
    /// What does not read as `target` leads back to.
    pub(super) fn not_back(&mut self, target: &Target, plugins: &Plugins) -> Vec<Change> {
        let mut left = Vec::new();
        for (name, plugin) in plugins {
            let mine: Vec<&Change> = target.changes.iter().filter(|change| change.resource().plugin == *name).collect();
            let want = Want::of_changes(mine.iter().copied());
            let mut now = plugin.query(self.bus, &want, self.progress);
            // What cannot be completed differs, and is said to.
            let _ = self.complete(plugin.as_ref(), &want, &mut now);
            let differs = |change: &&Change| {
                let spec = plugin.keys().get(change.key());
                spec.is_some_and(|spec| change.holds_in(&now.values, spec) != Some(true))
            };
            left.extend(mine.into_iter().filter(differs).map(|change| from_now(change, &now.values)));
        }
        left
    }

    /// The plan that goes back to before the runs of `target`.
    pub(super) fn compute_rollback(&mut self, target: &Target) -> Result<Planned> {
        let mut plugins: Plugins = BTreeMap::new();
        let mut errors = Vec::new();
        let names: BTreeSet<String> = target.changes.iter().map(|change| change.resource().plugin).collect();
        let something =
            PluginState { values: Map::from_iter([("any".to_owned(), Value::Null)]), ..PluginState::default() };
        for name in names {
            match self.plugin_for(&name, &something) {
                Ok(Some(plugin)) => drop(plugins.insert(name, plugin)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        Error::all(std::mem::take(&mut errors)).map_or(Ok(()), Err)?;
        // What was built upon goes last.
        let order: Vec<String> = in_order(&plugins)?.into_iter().rev().collect();
        let mut current = BTreeMap::new();
        let mut actions = Vec::new();
        for name in &order {
            let plugin = &plugins[name];
            self.bus.allow(plugin.safe_calls());
            let mine: Vec<&Change> = target.changes.iter().filter(|change| change.resource().plugin == *name).collect();
            let now = self.read(plugin.as_ref(), &Want::of_changes(mine.iter().copied()))?;
            let mut changes = Vec::new();
            for change in mine {
                let Some(spec) = plugin.keys().get(change.key()) else {
                    errors.push(
                        Error::bad_input("the plugin has no such key any more").on(change.resource().to_string()),
                    );
                    continue;
                };
                match change.holds_in(&now.values, spec) {
                    Some(true) => {}
                    Some(false) => changes.push(from_now(change, &now.values)),
                    None => errors.push(now.problems.first().cloned().unwrap_or_else(|| {
                        Error::failed("it cannot be read, so it cannot be rolled back")
                            .on(change.resource().to_string())
                    })),
                }
            }
            if !changes.is_empty() {
                match plugin.plan_back(self.bus, &changes, &now.values, self.progress) {
                    Ok(planned) => actions.extend(planned),
                    Err(error) => errors.push(error),
                }
            }
            current.insert(name.clone(), now.values);
        }
        Error::all(errors).map_or(Ok(()), Err)?;
        let dependents = |name: &str| {
            let stands_on = |plugin: &str| plugins[plugin].dependencies().iter().any(|needed| needed == name);
            order.iter().filter(|plugin| stands_on(plugin)).cloned().collect()
        };
        let actions = creations_last(actions, &dependents);
        Planned::new(desired(&target.run), target.owner.clone(), None, actions, plugins, current)
    }
}

/// The same change, from what there is now.
fn from_now(change: &Change, now: &Map<String, Value>) -> Change {
    let item_now = |key: &str, item: &str| now.get(key).and_then(|items| items.get(item));
    match change.clone() {
        Change::Set { plugin, key, to, .. } => {
            let from = now.get(&key).cloned().unwrap_or_default();
            Change::Set { plugin, key, from, to }
        }
        Change::Update { plugin, key, item, from, to } => {
            let like = overlaid(&from, &to);
            let from = picked(item_now(&key, &item).unwrap_or(&Value::Null), &like);
            Change::Update { plugin, key, item, from, to }
        }
        Change::Create { plugin, key, item, to } => match item_now(&key, &item) {
            Some(now) => {
                let from = picked(now, &to);
                Change::Update { plugin, key, item, from, to }
            }
            None => Change::Create { plugin, key, item, to },
        },
        Change::Delete { plugin, key, item, from } => {
            let from = item_now(&key, &item).cloned().unwrap_or(from);
            Change::Delete { plugin, key, item, from }
        }
        other => other,
    }
}

fn overlaid(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut out = a.clone();
            for (name, value) in b {
                let under = out.get(name).map_or_else(|| value.clone(), |under| overlaid(under, value));
                out.insert(name.clone(), under);
            }
            Value::Object(out)
        }
        _ => b.clone(),
    }
}

/// Of `value`, the paths that `like` has.
fn picked(value: &Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Object(value), Value::Object(like)) => {
            like.iter().filter_map(|(name, like)| Some((name.clone(), picked(value.get(name)?, like)))).collect()
        }
        (value, _) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(item: &str, from: Value, to: Value) -> Change {
        Change::Update { plugin: "p".into(), key: "k".into(), item: item.into(), from, to }
    }

    #[test]
    fn updates_of_one_item_come_together() {
        let changes = vec![
            update("a", json!({"x": 2}), json!({"x": 1})),
            update("a", json!({"y": 2}), json!({"y": 1})),
            update("b", json!({"x": 2}), json!({"x": 1})),
        ];
        let merged = merged(changes);
        assert_eq!(merged[0], update("a", json!({"x": 2, "y": 2}), json!({"x": 1, "y": 1})));
        assert_eq!(merged.len(), 2);
    }

    #[test]
    fn what_is_there_now_is_where_a_change_starts() {
        let now = json!({"k": {"a": {"x": 5, "z": {"p": 1, "q": 2}}}});
        let change = update("a", json!({"x": 2, "z": {"p": 0}}), json!({"x": 1, "z": {"q": 3}}));
        let Change::Update { from, .. } = from_now(&change, now.as_object().unwrap()) else { panic!() };
        assert_eq!(from, json!({"x": 5, "z": {"p": 1, "q": 2}}));
    }
}

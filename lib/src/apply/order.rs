//! The order of plugins and of their actions: what stands on something comes after it.

use super::Plugins;
use crate::base::{Error, Result};
use crate::state::{Action, Change};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Plugin names so that each comes after those it depends on; alphabetical otherwise.
pub(super) fn in_order(plugins: &Plugins) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    let mut left: BTreeSet<&String> = plugins.keys().collect();
    while !left.is_empty() {
        let is_free = |name: &&&String| {
            plugins[**name].dependencies().iter().all(|needed| !left.contains(needed) || needed == **name)
        };
        let Some(next) = left.iter().find(is_free).copied() else {
            let names = left.into_iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::bad_input("these plugins depend on each other in a circle")
                .on(names)
                .hint("see [dependencies] in their plugin.toml"));
        };
        order.push(next.clone());
        left.remove(next);
    }
    Ok(order)
}

/// Whether an action only takes items away.
fn takes_away(action: &Action) -> bool {
    !action.changes.is_empty() && action.changes.iter().all(Change::takes_item)
}

/// Whether an action only makes items.
fn brings(action: &Action) -> bool {
    !action.changes.is_empty() && action.changes.iter().all(Change::brings_item)
}

/// Has what goes go before what it stands on: a container before the bridge it is on. Actions that only take items away
/// come before the first such of the plugins they depend on that is about something they name, unless one of their own plugin
/// that does something else comes before them and `is_free` does not say that those have nothing to do with each other.
pub(super) fn removals_first(
    actions: Vec<Action>,
    depends: &dyn Fn(&str) -> Vec<String>,
    is_free: &dyn Fn(&str) -> bool,
) -> Vec<Action> {
    moved(actions, takes_away, depends, is_free)
}

/// The same the other way round, for actions in the order of a way back: what was taken away comes again after what it
/// stands on.
pub(super) fn creations_last(actions: Vec<Action>, dependents: &dyn Fn(&str) -> Vec<String>) -> Vec<Action> {
    moved(actions, brings, dependents, &|_| false)
}

/// What changes are about, and all texts in them: what they may name.
#[derive(Default)]
struct Named {
    items: BTreeSet<String>,
    texts: BTreeSet<String>,
}

impl Named {
    fn of<'c>(changes: impl Iterator<Item = &'c Change>) -> Self {
        let mut named = Self::default();
        for change in changes {
            named.items.extend(change.item().map(str::to_owned));
            [change.before(), change.after()].iter().for_each(|value| named.collect(value));
        }
        named
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::String(text) => drop(self.texts.insert(text.clone())),
            Value::Array(items) => items.iter().for_each(|value| self.collect(value)),
            Value::Object(members) => members.values().for_each(|value| self.collect(value)),
            _ => {}
        }
    }

    /// Whether one names what the other is about, or both are about the same.
    fn is_about(&self, other: &Self) -> bool {
        let meets = |one: &BTreeSet<String>, two: &BTreeSet<String>| one.intersection(two).next().is_some();
        meets(&self.items, &other.items) || meets(&self.texts, &other.items) || meets(&self.items, &other.texts)
    }
}

/// Moves the actions `of_kind` of a plugin before the first such of plugins that are `relatives` of it, or of those, where
/// one names what the other is about.
fn moved(
    mut actions: Vec<Action>,
    of_kind: fn(&Action) -> bool,
    relatives: &dyn Fn(&str) -> Vec<String>,
    is_free: &dyn Fn(&str) -> bool,
) -> Vec<Action> {
    let mut names: Vec<String> = actions.iter().map(|action| action.plugin.clone()).collect();
    names.dedup();
    for name in names {
        let mut related = relatives(&name);
        let mut at = 0;
        while at < related.len() {
            let more: Vec<String> =
                relatives(&related[at]).into_iter().filter(|more| !related.contains(more)).collect();
            related.extend(more);
            at += 1;
        }
        let own = actions.iter().filter(|action| action.plugin == name && of_kind(action));
        let own = Named::of(own.flat_map(|action| &action.changes));
        let is_named = |action: &Action| own.is_about(&Named::of(action.changes.iter()));
        let is_related = |action: &Action| action.plugin != name && related.contains(&action.plugin) && of_kind(action);
        let Some(place) = actions.iter().position(|action| is_related(action) && is_named(action)) else { continue };
        let mut is_kept = false;
        let (first, rest): (Vec<Action>, Vec<Action>) = actions.drain(place..).partition(|action| {
            let is_own = action.plugin == name;
            is_kept |= is_own && !of_kind(action) && !is_free(&name);
            is_own && of_kind(action) && !is_kept
        });
        actions.extend(first);
        actions.extend(rest);
    }
    actions
}

/// Numbers the actions and says what each needs: the one before it of its plugin, and the last of each dependency; of what
/// takes away, the last of each plugin that depends on it.
pub(super) fn number(actions: &mut [Action], plugins: &Plugins) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for (position, action) in actions.iter_mut().enumerate() {
        action.id = (position + 1).to_string();
        let mut resources: Vec<String> = action.changes.iter().map(|change| change.resource().to_string()).collect();
        resources.dedup();
        // What sets up an item that is being made changes nothing of its own.
        if !resources.is_empty() {
            action.resources = resources;
        }
        let depends = plugins.get(&action.plugin).map(|plugin| plugin.dependencies()).unwrap_or_default();
        let stands_on = |name: &&String| {
            let plugin = plugins.get(*name).filter(|_| takes_away(action));
            plugin.is_some_and(|plugin| plugin.dependencies().contains(&action.plugin))
        };
        let above: Vec<&String> = last.keys().filter(stands_on).collect();
        let named = depends.iter().chain(above).chain(std::iter::once(&action.plugin));
        let mut needed: Vec<&String> = named.filter_map(|name| last.get(name)).collect();
        needed.dedup();
        action.needs = needed.into_iter().cloned().collect();
        last.insert(action.plugin.clone(), action.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Call;
    use crate::state::{Undo, UndoClass};
    use serde_json::json;

    /// `plugin+item` makes an item, `plugin-item/other` takes one away that names another.
    fn action(text: &str) -> Action {
        let at = text.find(['+', '-']).unwrap();
        let (item, other) = text[at + 1..].split_once('/').unwrap_or((&text[at + 1..], ""));
        let (plugin, key, item) = (text[..at].to_owned(), "items".to_owned(), item.to_owned());
        let members = json!({"networks": [{"bridge": other}]});
        let change = match &text[at..=at] {
            "+" => Change::Create { plugin: plugin.clone(), key, item, to: members },
            _ => Change::Delete { plugin: plugin.clone(), key, item, from: members },
        };
        let undo = Undo { class: UndoClass::Exact, call: None };
        Action::new(&plugin, vec![change], text.to_owned(), Call::on_host("test", text, "", Vec::new()), undo)
    }

    fn arranged(texts: &str) -> String {
        let depends = |name: &str| match name {
            "lxc" => vec!["flows".to_owned()],
            "flows" => vec!["net".to_owned()],
            _ => Vec::new(),
        };
        let actions = texts.split(' ').map(action).collect();
        let arranged = removals_first(actions, &depends, &|name| name == "lxc");
        arranged.into_iter().map(|action| action.title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_goes_goes_before_what_it_stands_on() {
        for (before, after) in [
            ("net+a flows+b/a lxc+c/b", "net+a flows+b/a lxc+c/b"),
            ("net-a flows-b/a lxc-c/b", "lxc-c/b flows-b/a net-a"),
            ("net-a flows-a lxc-c/a", "lxc-c/a flows-a net-a"),
            ("net+x net-a net+y flows-d flows-b/a lxc+e lxc-c/b", "net+x flows-d lxc-c/b flows-b/a net-a net+y lxc+e"),
            // Nothing goes that it stands on, or nothing stands on what goes.
            ("net+a flows+b lxc-c/b", "net+a flows+b lxc-c/b"),
            ("net-a flows-b lxc-c/d", "net-a flows-b lxc-c/d"),
            ("net-a flows+b other-c/a", "net-a flows+b other-c/a"),
            // A flow is changed before the port goes that it speaks of.
            ("net-a flows+b flows-c/a", "net-a flows+b flows-c/a"),
            ("net-a flows-c/a lxc-d/c flows+e", "lxc-d/c flows-c/a net-a flows+e"),
        ] {
            assert_eq!(arranged(before), after, "{before}");
        }
    }

    #[test]
    fn what_comes_again_comes_after_what_it_stands_on() {
        let dependents = |name: &str| match name {
            "net" => vec!["flows".to_owned()],
            "flows" => vec!["lxc".to_owned()],
            _ => Vec::new(),
        };
        for (before, after) in [
            ("lxc+c/b flows+b/a net+a", "net+a flows+b/a lxc+c/b"),
            ("lxc+c flows+b net+a", "lxc+c flows+b net+a"),
            ("lxc-c/b flows-b/a net-a", "lxc-c/b flows-b/a net-a"),
            ("flows-x flows+b/a net+a net-y", "flows-x net+a flows+b/a net-y"),
            ("flows+b/a net-x net+a", "flows+b/a net-x net+a"),
        ] {
            let actions = before.split(' ').map(action).collect();
            let titles: Vec<String> = creations_last(actions, &dependents).into_iter().map(|a| a.title).collect();
            assert_eq!(titles.join(" "), after, "{before}");
        }
    }
}

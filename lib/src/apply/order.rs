//! The order of actions: what stands on something is made after it, and goes before it.

use super::Plugins;
use crate::base::{Error, Result};
use crate::state::{Action, Change};
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

/// The actions of plugins that come in the order of their dependencies. What is taken away at the end of one waits until
/// those that stand on it have taken away theirs: containers go before the bridge they are on.
pub(super) fn what_goes_last(
    of_plugins: Vec<(&str, Vec<Action>)>,
    dependencies: &dyn Fn(&str) -> Vec<String>,
) -> Vec<Action> {
    let (mut actions, mut waiting) = (Vec::new(), Vec::new());
    // Plugins that the ones seen so far stand on, if those take something away.
    let mut stood_on: BTreeSet<String> = BTreeSet::new();
    for (name, mut planned) in of_plugins.into_iter().rev() {
        let last = planned.iter().rposition(|action| !takes_away(action)).map_or(0, |last| last + 1);
        let is_stood_on = stood_on.contains(name);
        if is_stood_on || last < planned.len() {
            stood_on.extend(dependencies(name));
        }
        if is_stood_on {
            waiting.extend(planned.split_off(last));
        }
        actions.push(planned);
    }
    actions.into_iter().rev().flatten().chain(waiting).collect()
}

/// Whether all that an action does is to take something away.
fn takes_away(action: &Action) -> bool {
    !action.changes.is_empty() && action.changes.iter().all(Change::takes_item)
}

/// Numbers the actions and says what each needs: the one before it of its plugin, the last of each dependency, and, when
/// it takes something away, the last of those that stand on it.
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
        let stands_on_it =
            |other: &&String| plugins.get(*other).is_some_and(|other| other.dependencies().contains(&action.plugin));
        let stand: Vec<&String> =
            if takes_away(action) { last.keys().filter(stands_on_it).collect() } else { Vec::new() };
        let needed = depends.iter().chain(std::iter::once(&action.plugin)).chain(stand);
        let needed: Vec<String> = needed.filter_map(|name| last.get(name)).cloned().collect();
        action.needs = needed;
        last.insert(action.plugin.clone(), action.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Call;
    use crate::state::{Undo, UndoClass};

    /// `net+a net-b`: an action of `net` that makes a, then one that takes b away.
    fn order(of_plugins: &[(&str, &[&str])]) -> String {
        let action = |plugin: &str, what: &&str| {
            let (plugin, key, item) = (plugin.to_owned(), "items".to_owned(), what[1..].to_owned());
            let change = match &what[..1] {
                "+" => Change::Add { plugin: plugin.clone(), key, item },
                _ => Change::Remove { plugin: plugin.clone(), key, item },
            };
            let call = Call::on_host("test", "item", "do", Vec::new());
            let undo = Undo { class: UndoClass::Exact, call: None };
            Action::new(&plugin, vec![change], format!("{plugin}{what}"), call, undo)
        };
        let planned =
            of_plugins.iter().map(|(plugin, whats)| (*plugin, whats.iter().map(|w| action(plugin, w)).collect()));
        let dependencies = |name: &str| -> Vec<String> {
            let names: &[&str] = match name {
                "openflow" => &["net"],
                "lxc" => &["openflow", "absent"],
                _ => &[],
            };
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let actions = what_goes_last(planned.collect(), &dependencies);
        actions.into_iter().map(|action| action.title).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_stands_on_something_goes_before_it() {
        for (of_plugins, expected) in [
            (
                vec![("net", &["-a"][..]), ("openflow", &["-b", "-c"]), ("lxc", &["-d"])],
                "lxc-d openflow-b openflow-c net-a",
            ),
            (
                vec![("net", &["+a", "-b"]), ("openflow", &["+c"]), ("lxc", &["+d", "-e"])],
                "net+a openflow+c lxc+d lxc-e net-b",
            ),
            (vec![("net", &["-a", "+b"]), ("lxc", &["-c"])], "net-a net+b lxc-c"),
            (vec![("net", &["+a"]), ("openflow", &["-b"]), ("lxc", &["+c"])], "net+a openflow-b lxc+c"),
            (
                vec![("hostname", &["-a"]), ("net", &["-b"]), ("openflow", &["+c", "-d"])],
                "hostname-a openflow+c openflow-d net-b",
            ),
        ] {
            assert_eq!(order(&of_plugins), expected);
        }
    }
}

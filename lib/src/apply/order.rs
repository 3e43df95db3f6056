//! The order of plugins and of their actions: what stands on something comes after it.

use super::Plugins;
use crate::base::{Error, Result};
use crate::state::Action;
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

/// Numbers the actions and says what each needs: the one before it of its plugin, and the last of each dependency.
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
        let needed = depends.iter().chain(std::iter::once(&action.plugin)).filter_map(|name| last.get(name));
        action.needs = needed.cloned().collect();
        last.insert(action.plugin.clone(), action.id.clone());
    }
}

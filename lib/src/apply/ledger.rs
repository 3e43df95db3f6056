//! The ledger of what op-dbus added, and for whom: only that may go away because nobody lists it any more.

use crate::base::{Error, Result};
use crate::state::Change;
use crate::store::file::{self, Durability};
use crate::store::{StateRoot, layout};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

type Items = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// `@state/ownership.json`: items by owner, plugin and key. What was added for nobody has the owner `""`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    owned: BTreeMap<String, Items>,
}

impl Ledger {
    /// Reads the ledger of `root`; an empty one when there is none.
    pub fn read(root: &StateRoot) -> Result<Self> {
        let path = root.ownership();
        layout::check_owner(&path)?;
        let Some(text) = file::read(&path)? else { return Ok(Self { version: 1, owned: BTreeMap::new() }) };
        let ledger: Self = serde_json::from_str(&text).map_err(|error| {
            Error::bad_input(format!("the ownership ledger is damaged: {error}"))
                .on(path.display().to_string())
                .hint("put back a copy, or move it away: then nothing counts as added by op-dbus")
        })?;
        match ledger.version {
            1 => Ok(ledger),
            other => Err(Error::bad_input(format!("the ownership ledger has version {other}, this program reads 1"))
                .on(path.display().to_string())
                .hint("upgrade op-dbus")),
        }
    }

    /// What `owner` added to `plugin`, by key.
    #[must_use]
    pub fn of(&self, owner: &str, plugin: &str) -> BTreeMap<String, BTreeSet<String>> {
        self.owned.get(owner).and_then(|plugins| plugins.get(plugin)).cloned().unwrap_or_default()
    }

    /// Notes changes that were made for `owner`: additions are theirs now, what was removed is nobody's.
    pub fn note(&mut self, owner: &str, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Set { .. } | Change::Update { .. } => {}
                Change::Add { plugin, key, item } | Change::Create { plugin, key, item, .. } => {
                    let plugins = self.owned.entry(owner.to_owned()).or_default();
                    plugins.entry(plugin.clone()).or_default().entry(key.clone()).or_default().insert(item.clone());
                }
                Change::Remove { plugin, key, item } | Change::Delete { plugin, key, item, .. } => {
                    for plugins in self.owned.values_mut() {
                        if let Some(items) = plugins.get_mut(plugin).and_then(|keys| keys.get_mut(key)) {
                            items.remove(item);
                        }
                    }
                }
            }
        }
        for plugins in self.owned.values_mut() {
            plugins.values_mut().for_each(|keys| keys.retain(|_, items| !items.is_empty()));
            plugins.retain(|_, keys| !keys.is_empty());
        }
        self.owned.retain(|_, plugins| !plugins.is_empty());
    }

    /// Writes the ledger, durably.
    pub fn write(&self, root: &StateRoot) -> Result<()> {
        let path = root.ownership();
        root.make_parent(&path)?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::failed(e.to_string()))?;
        bytes.push(b'\n');
        file::replace(&path, &bytes, Durability::Durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(item: &str) -> Change {
        Change::Add { plugin: "p".into(), key: "k".into(), item: item.into() }
    }

    #[test]
    fn items_belong_to_who_added_them_until_anyone_removes_them() {
        let mut ledger = Ledger::default();
        ledger.note("boot", &[add("a"), add("b")]);
        ledger.note("guest/100", &[add("c")]);
        assert_eq!(ledger.of("boot", "p")["k"], BTreeSet::from(["a".into(), "b".into()]));
        assert!(ledger.of("boot", "q").is_empty());
        ledger.note("", &[add("a").reverse(), add("b").reverse()]);
        assert!(ledger.of("boot", "p").is_empty());
        assert_eq!(ledger.of("guest/100", "p")["k"].len(), 1);
    }
}

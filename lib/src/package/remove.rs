//! Removing an installed plugin: its folder goes, and with it everything there was of it.

use super::dependencies;
use super::install::active_version;
use super::ledger::Ledger;
use super::standby;
use super::trail::{Change, Trail};
use super::versions::{remove_all, remove_snapshot, snapshots};
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use crate::plugin::Catalog;
use crate::store::{StateRoot, Store};
use semver::Version;

/// What to do about plugins that need the one that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Keep it.
    Refuse,
    /// Remove it all the same (`--ignore-dependencies`).
    Ignore,
}

/// Removes the installed plugin `name`, out of sight in one step: nobody reads half a plugin.
pub fn remove(store: &Store, trail: &Trail, catalog: &Catalog, name: &PluginName, needed: Needed) -> Result<()> {
    recorded(trail, name, || {
        must_be_installed(store.root(), name)?;
        if needed == Needed::Refuse {
            dependencies::must_not_be_needed(catalog, name)?;
        }
        let active = store.root().plugin(name);
        let ledger = Ledger::read(store.root(), name).ok();
        let before = ledger.and_then(|ledger| {
            let version = active_version(&active, &ledger)?;
            let tree = ledger.versions.get(&version.to_string()).and_then(|record| record.tree.clone());
            Some((version, tree))
        });
        let run = trail.begin(store, name, &Change { before, ..Change::default() })?;
        let done = match store.volumes().look(&active) {
            Ok(Some(_)) => store.volumes().delete(&active),
            looked => looked.map(drop),
        };
        let done = done.and_then(|()| remove_all(store, name)).and_then(|()| standby::forget(store, name));
        run.end(store, done).map(drop)
    })
}

/// Removes one version that is not active.
pub fn remove_version(store: &Store, trail: &Trail, name: &PluginName, version: &Version) -> Result<()> {
    recorded(trail, name, || {
        let root = store.root();
        let ledger = Ledger::read(root, name)?;
        if !snapshots(root, name)?.contains(version) {
            return Err(Error::bad_input(format!("version {version} is not installed"))
                .on(name.as_str())
                .hint(format!("op-install show {name} lists what is")));
        }
        if active_version(&root.plugin(name), &ledger).as_ref() == Some(version) {
            return Err(Error::refused(format!("version {version} is the active one"))
                .on(name.as_str())
                .hint(format!("make another active first: op-install rollback {name} --to VERSION")));
        }
        let run = trail.begin(store, name, &Change { gone: Some(version.clone()), ..Change::default() })?;
        let done = remove_snapshot(store, name, version);
        run.end(store, done).map(drop)
    })
}

fn recorded(trail: &Trail, name: &PluginName, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = act();
    if let Err(error) = &done
        && error.kind != Kind::BadInput
    {
        trail.refusal(name.as_str(), Some(name), error);
    }
    done
}

/// Refuses to remove what is not there. Versions without an active one are what a removal left that was broken off.
pub fn must_be_installed(root: &StateRoot, name: &PluginName) -> Result<()> {
    if root.plugin(name).is_dir() || !snapshots(root, name)?.is_empty() {
        return Ok(());
    }
    Err(Error::bad_input("this plugin is not installed")
        .on(name.as_str())
        .hint("op-install list shows what is; what is shipped is removed with its package"))
}

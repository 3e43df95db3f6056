//! The folder that was active before the one that is, kept as `.standby-NAME`: going back to it is an exchange of two names
//! and waits for no snapshot. It may be deleted at any time; then going back takes as long as making one.

use super::contents::Contents;
use super::ledger::Ledger;
use super::stream::Limits;
use crate::base::Result;
use crate::base::name::PluginName;
use crate::store::{StateRoot, Store};
use semver::Version;
use std::path::{Path, PathBuf};

fn path(root: &StateRoot, name: &PluginName) -> PathBuf {
    root.path().join(format!(".standby-{name}"))
}

/// The folder that was active before, if it is `version` of `name` to the last byte.
pub(super) fn of(store: &Store, name: &PluginName, version: &Version, ledger: &Ledger) -> Option<PathBuf> {
    let path = path(store.root(), name);
    let tree = ledger.versions.get(&version.to_string())?.tree.as_ref()?;
    let volume = store.volumes().look(&path).ok()??;
    let is_whole = || Contents::of_folder(&path, Limits::default()).is_ok_and(|contents| contents.digest() == *tree);
    (volume.is_sealed && is_whole()).then_some(path)
}

/// Keeps `former`, which was active until now, if it is sealed; a draft may go, it was kept as a version.
pub(super) fn keep(store: &Store, name: &PluginName, former: &Path) -> Result<()> {
    let (volumes, path) = (store.volumes(), path(store.root(), name));
    if volumes.look(former)?.is_some_and(|volume| volume.is_sealed) {
        if former == path {
            return Ok(());
        }
        volumes.swap(former, &path)?;
    }
    if volumes.look(former)?.is_some() { volumes.delete(former) } else { Ok(()) }
}

/// Lets it go.
pub(super) fn forget(store: &Store, name: &PluginName) -> Result<()> {
    let path = path(store.root(), name);
    if store.volumes().look(&path)?.is_some() { store.volumes().delete(&path) } else { Ok(()) }
}

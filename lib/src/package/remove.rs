//! Removing an installed plugin: its folder goes, and with it everything there was of it.

use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::store::{StateRoot, Store};

/// Removes the installed plugin `name`, out of sight in one step: nobody reads half a plugin.
pub fn remove(store: &Store, name: &PluginName) -> Result<()> {
    must_be_installed(store.root(), name)?;
    store.volumes().delete(&store.root().plugin(name))?;
    super::versions::remove_all(store, name)
}

/// Refuses to remove what is not there.
pub fn must_be_installed(root: &StateRoot, name: &PluginName) -> Result<()> {
    if root.plugin(name).is_dir() {
        return Ok(());
    }
    Err(Error::bad_input("this plugin is not installed")
        .on(name.as_str())
        .hint("op-install list shows what is; what is shipped is removed with its package"))
}

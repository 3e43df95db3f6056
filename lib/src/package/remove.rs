//! Removing an installed plugin: its folder goes, and with it everything there was of it.

use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::store::StateRoot;
use std::fs;

/// Removes the installed plugin `name`.
pub fn remove(root: &StateRoot, name: &PluginName) -> Result<()> {
    let folder = root.plugin(name);
    if !folder.is_dir() {
        return Err(Error::bad_input("this plugin is not installed")
            .on(name.as_str())
            .hint("op-install list shows what is; what is shipped is removed with its package"));
    }
    // Out of sight in one step first, so that nobody reads half a plugin.
    let staging = root.path().join(format!(".staging-removed-{name}-{}", std::process::id()));
    fs::rename(&folder, &staging).map_err(|e| Error::io("remove the plugin", &folder, &e))?;
    fs::remove_dir_all(&staging).map_err(|e| Error::io("remove the plugin", &staging, &e))
}

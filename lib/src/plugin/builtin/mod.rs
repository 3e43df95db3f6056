//! Plugins that are compiled in, for parts of the host that no D-Bus service tells of. They promise what every plugin
//! promises; their operations are [`Call::on_host`](crate::base::Call::on_host).
//!
//! A folder with `source = "built-in"` in its `plugin.toml` makes one usable, and its `[settings]` say where things are
//! on this host. Never reads the environment.

pub mod lxc;
mod net;
mod netmaker;
mod openflow;

use super::{Manifest, StatePlugin};
use crate::base::{Error, Result};
use serde::de::DeserializeOwned;

/// One plugin that is compiled in.
struct BuiltIn {
    name: &'static str,
    open: fn(&Manifest) -> Result<Box<dyn StatePlugin>>,
    /// Whether this host has what the plugin is for.
    is_there: fn(&Manifest) -> bool,
}

const ALL: &[BuiltIn] = &[
    BuiltIn { name: lxc::NAME, open: lxc::open, is_there: lxc::is_there },
    BuiltIn { name: "net", open: net::open, is_there: net::is_there },
    BuiltIn { name: netmaker::NAME, open: netmaker::open, is_there: netmaker::is_there },
    BuiltIn { name: openflow::NAME, open: openflow::open, is_there: openflow::is_there },
];

fn find(manifest: &Manifest) -> Option<&'static BuiltIn> {
    ALL.iter().find(|built_in| built_in.name == manifest.plugin.name)
}

/// The plugin that `manifest` is of, with its settings.
pub fn open(manifest: &Manifest) -> Result<Box<dyn StatePlugin>> {
    let Some(found) = find(manifest) else {
        let known: Vec<&str> = ALL.iter().map(|built_in| built_in.name).collect();
        return Err(Error::bad_input("no plugin of this name is built into this version of op-dbus")
            .on(manifest.plugin.name.clone())
            .hint(format!("built in are: {}; a plugin for a D-Bus service has another `source`", known.join(", "))));
    };
    (found.open)(manifest)
}

/// Whether this host has what the plugin is for, so that a query of everything reads it.
#[must_use]
pub fn is_there(manifest: &Manifest) -> bool {
    find(manifest).is_some_and(|found| (found.is_there)(manifest))
}

/// Whether `name` belongs to a plugin that is built in.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    ALL.iter().any(|built_in| built_in.name == name)
}

/// The settings of a plugin, as it has them.
fn settings<T: DeserializeOwned>(manifest: &Manifest) -> Result<T> {
    let table = manifest.settings.clone().into_iter().collect();
    serde_json::from_value(serde_json::Value::Object(table)).map_err(|error| {
        Error::bad_input(format!("the settings of this plugin are wrong: {error}"))
            .on(format!("{}: plugin.toml: settings", manifest.plugin.name))
    })
}

//! The list of plugins, as a document.

use super::Catalog;
use serde::{Deserialize, Serialize};

/// What `op-install list` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listing {
    /// Always `plugins`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugins, sorted by name.
    pub plugins: Vec<ListedPlugin>,
}

/// One plugin of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedPlugin {
    /// Its name.
    pub name: String,
    /// Its version; empty when its manifest cannot be read.
    pub plugin_version: String,
    /// `installed` or `shipped`.
    pub origin: String,
    /// Bus name of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where its mapping lies: `installed` or `shipped`; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// Whether it can write.
    pub can_apply: bool,
    /// How far it is trusted: `core`, `community` or `generated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// The versions that are installed, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Lists every plugin; one that cannot be read is listed with the reason.
#[must_use]
pub fn list(catalog: &Catalog) -> Listing {
    let plugins = catalog
        .names()
        .map(|name| match catalog.entry(name) {
            Ok(entry) => ListedPlugin {
                name: name.to_owned(),
                plugin_version: entry.manifest.plugin.version.clone(),
                origin: entry.origin.as_str().into(),
                service: entry.manifest.plugin.dbus_service.clone(),
                mapping: entry.mapping_origin.map(|origin| origin.as_str().into()),
                can_apply: entry.can_apply(),
                trust: None,
                versions: Vec::new(),
                problems: entry.problems.iter().map(ToString::to_string).chain(entry.contradictions).collect(),
            },
            Err(error) => ListedPlugin {
                name: name.to_owned(),
                plugin_version: String::new(),
                origin: "unreadable".into(),
                service: None,
                mapping: None,
                can_apply: false,
                trust: None,
                versions: Vec::new(),
                problems: vec![error.to_string()],
            },
        })
        .collect();
    Listing { kind: "plugins".into(), version: 1, plugins }
}

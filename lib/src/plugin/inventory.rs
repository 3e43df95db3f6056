//! The inventory: the services of a bus, and which of them have a plugin or a mapping.

use super::Catalog;
use crate::base::{Error, Result};
use crate::bus::Service;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `op-discover` prints and `op-query` takes as a selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inventory {
    /// Always `inventory`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The services, sorted by name.
    pub services: Vec<InventoryService>,
}

/// One service of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InventoryService {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// The plugins that speak to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// Where the mapping lies that makes it writable: `installed` or `shipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
}

impl Inventory {
    /// The inventory of `services` with what `catalog` knows about them.
    #[must_use]
    pub fn new(services: Vec<Service>, catalog: &Catalog) -> Self {
        let by_service = catalog.by_service();
        let services = services
            .into_iter()
            .map(|service| {
                let plugins: Vec<String> = by_service.get(&service.name).into_iter().flatten().cloned().collect();
                let mapping = plugins
                    .iter()
                    .filter_map(|name| catalog.entry(name).ok()?.mapping_origin)
                    .map(|origin| origin.as_str().to_owned())
                    .next();
                InventoryService { service, plugins, mapping }
            })
            .collect();
        Self { kind: "inventory".into(), version: 1, services }
    }

    /// Reads a document of the kind `inventory`.
    pub fn from_json(document: &Value, name: &str) -> Result<Self> {
        let read: Self = serde_json::from_value(document.clone()).map_err(|e| {
            Error::bad_input(format!("the inventory is damaged: {e}")).on(name).hint("make one with op-discover")
        })?;
        match read.version {
            1 => Ok(read),
            other => Err(Error::bad_input(format!("this program reads version 1, not {other}")).on(name)),
        }
    }

    /// What to query: the plugins of each service, or the service itself where there is none.
    ///
    /// Services that are not running have no state; those without a plugin are left out then.
    #[must_use]
    pub fn selection(&self) -> Vec<String> {
        let mut selected = Vec::new();
        for entry in &self.services {
            if entry.plugins.is_empty() && entry.service.running {
                selected.push(entry.service.name.clone());
            }
            selected.extend(entry.plugins.iter().filter(|name| !selected.contains(name)).cloned().collect::<Vec<_>>());
        }
        selected
    }
}

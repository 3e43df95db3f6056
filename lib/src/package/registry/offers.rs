//! What registries offer: searched, and found by name.

use super::index::Package;
use super::source::Registry;
use crate::base::{Error, Result};
use crate::package::resolve::{Candidate, World};
use crate::package::trust::Trust;
use crate::plugin::Catalog;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What `op-install registry search` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchReport {
    /// Always `search`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was found, by name.
    pub found: Vec<Found>,
}

/// A plugin that a registry has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Found {
    /// Its name.
    pub name: String,
    /// The newest version that was not taken back; the newest of all when all were.
    pub plugin_version: String,
    /// One sentence about it.
    pub description: String,
    /// Bus name of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether it can write.
    pub can_apply: bool,
    /// How far it would be trusted.
    pub trust: Trust,
    /// The registry it is from.
    pub registry: String,
    /// Every version there, the newest first; those that were taken back with the reason.
    pub versions: BTreeMap<String, Option<String>>,
    /// The version that is installed or shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,
}

/// The packages of each name, from the registry that has it and was added first: a name is never taken from two, so that
/// a registry cannot slip a newer version under another's plugin.
fn by_name(registries: &[Registry]) -> BTreeMap<&str, (&Registry, Vec<&Package>)> {
    let mut names: BTreeMap<&str, (&Registry, Vec<&Package>)> = BTreeMap::new();
    for registry in registries {
        for package in &registry.index.packages {
            let (owner, packages) = names.entry(&package.name).or_insert_with(|| (registry, Vec::new()));
            if owner.source.name == registry.source.name {
                packages.push(package);
            }
        }
    }
    names
}

/// The plugins whose name, description or service hold every one of `words`.
#[must_use]
pub fn search(registries: &[Registry], catalog: &Catalog, words: &[String]) -> SearchReport {
    let mut found = Vec::new();
    for (name, (registry, packages)) in by_name(registries) {
        let newest = packages.iter().find(|package| package.yanked.is_none()).or(packages.first());
        let Some(newest) = newest else { continue };
        let text = format!("{name} {} {}", newest.description, newest.service.as_deref().unwrap_or_default());
        let text = text.to_lowercase();
        if !words.iter().all(|word| text.contains(&word.to_lowercase())) {
            continue;
        }
        found.push(Found {
            name: name.to_owned(),
            plugin_version: newest.plugin_version.clone(),
            description: newest.description.clone(),
            service: newest.service.clone(),
            can_apply: newest.can_apply,
            trust: Trust::Community,
            registry: registry.source.name.clone(),
            versions: packages.iter().map(|p| (p.plugin_version.clone(), p.yanked.clone())).collect(),
            present: catalog.entry(name).ok().map(|entry| entry.manifest.plugin.version),
        });
    }
    SearchReport { kind: "search".into(), version: 1, found }
}

/// What there is to choose from. An index that has ended is an error: what it says may be long past.
pub fn world(registries: &[Registry], catalog: &Catalog) -> Result<World> {
    let now = SystemTime::now();
    registries.iter().try_for_each(|registry| registry.index.must_be_current(now))?;
    let offers = by_name(registries).into_iter().map(|(name, (_, packages))| {
        (name.to_owned(), packages.iter().filter_map(|package| package.candidate()).collect())
    });
    let present = catalog.names().filter_map(|name| {
        let manifest = catalog.entry(name).ok()?.manifest;
        let version = Version::parse(&manifest.plugin.version).ok()?;
        Some((name.to_owned(), Candidate { version, dependencies: manifest.dependencies, is_yanked: false }))
    });
    Ok(World { offers: offers.collect(), present: present.collect(), ..World::default() })
}

/// The package of a version that was chosen.
pub fn package<'r>(registries: &'r [Registry], name: &str, version: &Version) -> Result<(&'r Registry, &'r Package)> {
    let names = by_name(registries);
    let found = names.get(name).and_then(|(registry, packages)| {
        let wanted = packages.iter().find(|p| Version::parse(&p.plugin_version).is_ok_and(|v| v == *version));
        Some((*registry, *wanted?))
    });
    found.ok_or_else(|| Error::failed("no registry has it").on(format!("{name} {version}")))
}

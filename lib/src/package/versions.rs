//! The versions of installed plugins, side by side: shown, made active again, compared with what was signed, removed.

use super::contents::Contents;
use super::install::{active_version, is_draft};
use super::ledger::{self, DRAFT, Ledger, PUBLISHED, Record};
use super::powers::Powers;
use super::stream::{Limits, Memory, unpack};
use super::trust::Trust;
use super::verify::Policy;
use super::{archive, gpg, signature};
use crate::base::digest::Plain;
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result, time};
use crate::plugin::listing::Listing;
use crate::plugin::{Catalog, Origin};
use crate::store::{StateRoot, Store, volumes};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// What `op-install show` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PluginReport {
    /// Always `installed_plugin`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name.
    pub plugin: String,
    /// One sentence about it.
    pub description: String,
    /// Where the active one is: `installed` or `shipped`.
    pub origin: String,
    /// How far the active one is trusted.
    pub trust: Trust,
    /// The active version.
    pub plugin_version: String,
    /// The folder of the active one.
    pub folder: String,
    /// Bus name of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What it may do beyond reading properties.
    pub may: Vec<String>,
    /// Every installed version, the newest first.
    pub versions: Vec<VersionReport>,
}

/// One installed version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VersionReport {
    /// The version.
    pub plugin_version: String,
    /// Whether it is the active one.
    pub is_active: bool,
    /// Where it came from and who signed it; absent for one that was put there by hand.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

/// What `op-install verify` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerifyReport {
    /// Always `verified`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Every version that was looked at.
    pub versions: Vec<VerifiedVersion>,
}

/// Whether one version is what was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerifiedVersion {
    /// The plugin's name.
    pub plugin: String,
    /// The version.
    pub plugin_version: String,
    /// Whether it is active.
    pub is_active: bool,
    /// What was found.
    pub verdict: Verdict,
    /// Why it is not good, or what there is nothing to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether what lies there is what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The files are those of the package, and its signature is good.
    Good,
    /// There is no signature to compare with: made here, or installed unsigned.
    Unsigned,
    /// It is not what was signed.
    Bad,
}

/// The installed versions of a plugin, the newest first.
pub fn versions(root: &StateRoot, name: &PluginName) -> Result<Vec<VersionReport>> {
    let ledger = Ledger::read(root, name)?;
    let active = active_version(&root.plugin(name), &ledger);
    let mut found = snapshots(root, name)?;
    found.extend(active.clone().filter(|active| !found.contains(active)));
    found.sort_by(|a, b| b.cmp(a));
    let report = |version: Version| VersionReport {
        plugin_version: version.to_string(),
        is_active: active.as_ref() == Some(&version),
        record: ledger.versions.get(&version.to_string()).cloned(),
    };
    Ok(found.into_iter().map(report).collect())
}

/// Reads a version as a person writes it, with or without a `v`.
pub fn parse(text: &str) -> Result<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text))
        .map_err(|e| Error::usage(format!("this is no version: {e}")).on(format!("{text:?}")).hint("for example 1.0.0"))
}

/// The names of the plugins that are installed, or have a version beside.
pub fn installed(root: &StateRoot) -> Result<Vec<PluginName>> {
    let active = volumes::names(root.path())?;
    let beside = volumes::names(&root.plugin_snapshots())?;
    let names = active.iter().filter_map(|entry| entry.strip_prefix("@plugin-"));
    let names = names.chain(beside.iter().filter_map(|entry| Some(entry.split_once("@v")?.0)));
    let mut names: Vec<PluginName> = names.filter_map(|name| PluginName::new(name).ok()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The versions that lie in `@plugin-snapshots`.
pub(super) fn snapshots(root: &StateRoot, name: &PluginName) -> Result<Vec<Version>> {
    let prefix = format!("{name}@v");
    let names = volumes::names(&root.plugin_snapshots())?;
    Ok(names.iter().filter_map(|entry| Version::parse(entry.strip_prefix(&prefix)?).ok()).collect())
}

/// Everything about one plugin.
pub fn show(root: &StateRoot, catalog: &Catalog, name: &PluginName) -> Result<PluginReport> {
    let entry = catalog.entry(name.as_str())?;
    let versions = versions(root, name)?;
    let active = versions.iter().find(|version| version.is_active);
    Ok(PluginReport {
        kind: "installed_plugin".into(),
        version: 1,
        plugin: name.to_string(),
        description: entry.manifest.plugin.description.clone(),
        origin: entry.origin.as_str().into(),
        trust: if is_edited(root, name)? { Trust::Generated } else { trust(entry.origin, active) },
        plugin_version: entry.manifest.plugin.version.clone(),
        folder: entry.folder.display().to_string(),
        service: entry.manifest.plugin.dbus_service.clone(),
        may: Powers::of(entry.mapping.as_ref()).lines(),
        versions,
    })
}

/// Whether somebody works on what is active: then nobody vouches for it.
fn is_edited(root: &StateRoot, name: &PluginName) -> Result<bool> {
    let (active, ledger) = (root.plugin(name), Ledger::read(root, name)?);
    if ledger.versions.is_empty() {
        return Ok(false);
    }
    is_draft(&*volumes::at(root.path())?, &active, &ledger, active_version(&active, &ledger).as_ref())
}

fn trust(origin: Origin, active: Option<&VersionReport>) -> Trust {
    match origin {
        Origin::Shipped => Trust::Core,
        Origin::Installed => active.and_then(|v| v.record.as_ref()).map_or(Trust::Generated, |record| record.trust),
    }
}

/// Adds to a listing how far each plugin is trusted, and which versions of it are installed.
pub fn complete(listing: &mut Listing, root: &StateRoot) -> Result<()> {
    let mut beside: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for entry in volumes::names(&root.plugin_snapshots())? {
        if let Some((name, version)) = entry.split_once("@v")
            && let Ok(version) = Version::parse(version)
        {
            beside.entry(name.to_owned()).or_default().push(version);
        }
    }
    let kind = volumes::at(root.path())?;
    for listed in &mut listing.plugins {
        let Ok(name) = PluginName::new(&listed.name) else { continue };
        let is_shipped = listed.origin == Origin::Shipped.as_str();
        let mut versions = beside.remove(&listed.name).unwrap_or_default();
        if is_shipped && versions.is_empty() {
            listed.trust = Some(Trust::Core.as_str().to_owned());
            continue;
        }
        let ledger = Ledger::read(root, &name)?;
        let active = match is_shipped {
            true => None,
            false => Version::parse(&listed.plugin_version).ok().map(|version| ledger.active(&version)),
        };
        let record = active.as_ref().and_then(|active| ledger.versions.get(&active.to_string()));
        let trust = match is_shipped {
            true => Trust::Core,
            false if is_draft(&*kind, &root.plugin(&name), &ledger, active.as_ref())? => Trust::Generated,
            false => record.map_or(Trust::Generated, |record| record.trust),
        };
        listed.trust = Some(trust.as_str().to_owned());
        versions.extend(active.filter(|active| !versions.contains(active)));
        versions.sort_by(|a, b| b.cmp(a));
        listed.versions = versions.into_iter().map(|version| version.to_string()).collect();
    }
    Ok(())
}

/// Compares every installed version of `name` with the package it came from, and that with its signature.
pub fn verify(root: &StateRoot, name: &PluginName, policy: &Policy) -> Result<Vec<VerifiedVersion>> {
    let mut verified = Vec::new();
    for version in versions(root, name)? {
        let number = Version::parse(&version.plugin_version);
        let number = number.map_err(|e| Error::failed(format!("this is no version: {e}")))?;
        let outcome = verify_one(root, name, &number, &version, policy);
        let (verdict, detail) = match outcome {
            Ok(None) => (Verdict::Good, None),
            Ok(Some(why)) => (Verdict::Unsigned, Some(why)),
            Err(error) if matches!(error.kind, Kind::Denied | Kind::Unavailable) => return Err(error),
            Err(error) => (Verdict::Bad, Some(error.to_string().replace("\n  hint: ", "; "))),
        };
        verified.push(VerifiedVersion {
            plugin: name.to_string(),
            plugin_version: version.plugin_version,
            is_active: version.is_active,
            verdict,
            detail,
        });
    }
    Ok(verified)
}

/// Why there is nothing to compare with; an error says what is wrong.
fn verify_one(
    root: &StateRoot,
    name: &PluginName,
    number: &Version,
    version: &VersionReport,
    policy: &Policy,
) -> Result<Option<String>> {
    let Some(record) = &version.record else { return Ok(Some("it was put there by hand".into())) };
    if record.source == DRAFT {
        return Ok(Some("it is a draft".into()));
    }
    if record.source == PUBLISHED {
        let found = Contents::of_folder(&root.plugin_snapshot(name, number), Limits::default())?;
        return match record.tree.as_deref() == Some(&found.digest()) {
            true => Ok(Some("it was published here".into())),
            false => Err(Error::untrusted("it differs from what was published")),
        };
    }
    let [package, signature, gpg] = ledger::kept(root, name, number);
    let bytes = std::fs::read(&package).map_err(|e| Error::io("read the package it came from", &package, &e))?;
    if record.sha256.as_deref() != Some(&Plain::of(&bytes)) {
        return Err(Error::untrusted("the package that was kept is another").on(package.display().to_string()));
    }
    // A key that has expired since counted then; one that was revoked does not count any more.
    let then = time::parse_rfc3339(&record.installed_at).unwrap_or_else(SystemTime::now);
    let keyring = policy.keyring.at(then);
    keyring.must_not_be_revoked(record.sha256.as_deref().unwrap_or_default())?;
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|e| Error::io("read its signature", path, &e));
    let mut foreign = None;
    if let Some(signed_by) = &record.signed_by {
        match signature::verify(&bytes, &text(&signature)?, &keyring) {
            Ok(signed) if signed.binding.name == *name && signed.binding.version == *number => {}
            Ok(signed) => {
                let binding = signed.binding;
                return Err(Error::untrusted(format!("it is signed as {} {}", binding.name, binding.version)));
            }
            // By one that was named when it was installed, or that a registry is pinned to.
            Err(error) if error.message == signature::FOREIGN => {
                foreign = Some(format!("its key {} is not trusted for others here: say --key", signed_by.key));
            }
            Err(error) => return Err(error),
        }
    }
    if let (Some(keyrings), Some(_)) = (&policy.gpg, &record.gpg) {
        gpg::verify(&bytes, &text(&gpg)?, keyrings)?;
    }
    let unsigned = match (&record.signed_by, &record.gpg, &policy.gpg) {
        (Some(_), ..) | (_, Some(_), Some(_)) => foreign,
        (None, Some(_), None) => Some("it is signed with GPG alone: say --gpg".to_owned()),
        (None, None, _) => Some("it was installed without a signature that counts".to_owned()),
    };
    let mut memory = Memory::default();
    unpack(archive::decompress(&bytes)?, Limits::default(), &mut memory)?;
    let expected = Contents::of_memory(&memory);
    same(&root.plugin_snapshot(name, number), &expected)?;
    if version.is_active {
        same(&root.plugin(name), &expected)?;
    }
    Ok(unsigned)
}

/// Refuses a folder that does not hold what it should, naming what differs.
fn same(folder: &Path, expected: &Contents) -> Result<()> {
    must_be_same(folder, &Contents::of_folder(folder, Limits::default())?, expected)
}

/// The same for contents that were read.
pub(super) fn must_be_same(folder: &Path, found: &Contents, expected: &Contents) -> Result<()> {
    let (old, new) = (expected.entries(), found.entries());
    let differs = old.keys().chain(new.keys().filter(|path| !old.contains_key(*path)));
    let differs: Vec<&str> = differs.filter(|path| old.get(*path) != new.get(*path)).map(String::as_str).collect();
    if differs.is_empty() {
        return Ok(());
    }
    Err(Error::untrusted(format!("it differs from what was installed in: {}", differs.join(", ")))
        .on(folder.display().to_string())
        .hint("roll back to another version, or install it again"))
}

/// Removes one version, and what is known about it.
pub(super) fn remove_snapshot(store: &Store, name: &PluginName, version: &Version) -> Result<()> {
    store.volumes().delete(&store.root().plugin_snapshot(name, version))?;
    ledger::forget(store, name, Some(version))
}

/// Removes all versions that lie beside the active one, and what is known about them.
pub(super) fn remove_all(store: &Store, name: &PluginName) -> Result<()> {
    for version in snapshots(store.root(), name)? {
        store.volumes().delete(&store.root().plugin_snapshot(name, &version))?;
    }
    ledger::forget(store, name, None)
}

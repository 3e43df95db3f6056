//! What is known about the versions of an installed plugin: `@state/packages/NAME.json`, and beside it each version's
//! package and signature as they came, so that what is installed can be compared with what was signed at any time.

use super::archive;
use super::trust::Trust;
use super::verify::Verified;
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::store::file;
use crate::store::{StateRoot, Store};
use semver::{BuildMetadata, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is known about one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ledger {
    /// Always `packages`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name.
    pub plugin: String,
    /// The version that was made active last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// The versions that were active before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// What is known about each version.
    pub versions: BTreeMap<String, Record>,
}

/// What is known about one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// How far it is trusted.
    pub trust: Trust,
    /// Where it came from: a URL, a file, `draft` or `published`.
    pub source: String,
    /// When, as RFC 3339 in UTC.
    pub installed_at: String,
    /// The tree digest; absent for a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// SHA-256 of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The key it was signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<SignedBy>,
    /// The key of its GPG signature, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpg: Option<SignedBy>,
}

/// A key a package was signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedBy {
    /// Its number, as `minisign` prints it, or its fingerprint, as `gpg` does.
    pub key: String,
    /// Its untrusted comment, or whom it is of.
    pub comment: String,
}

/// The word for the source of what was made here.
pub const DRAFT: &str = "draft";
/// The word for the source of what was published here.
pub const PUBLISHED: &str = "published";

impl SignedBy {
    /// The key of a verified package.
    #[must_use]
    pub fn of(verified: &Verified) -> Option<Self> {
        let key = &verified.signed.as_ref()?.key;
        Some(Self { key: key.id.clone(), comment: key.comment.clone() })
    }
}

impl Ledger {
    /// What is known about `name`; nothing, when nothing of it was ever installed from a package.
    pub fn read(root: &StateRoot, name: &PluginName) -> Result<Self> {
        let path = path(root, name);
        let empty = || Self {
            kind: "packages".into(),
            version: 1,
            plugin: name.to_string(),
            active: None,
            history: Vec::new(),
            versions: BTreeMap::new(),
        };
        let Some(text) = file::read(&path)? else { return Ok(empty()) };
        serde_json::from_str(&text).map_err(|e| {
            Error::failed(format!("what is known about the installed versions is damaged: {e}"))
                .on(path.display().to_string())
                .hint(format!("remove the plugin and install it again: op-install remove {name}"))
        })
    }

    /// Keeps it, durably.
    pub fn write(&self, store: &Store, name: &PluginName) -> Result<()> {
        self.write_ahead(store, name)?;
        store.volumes().commit(&store.root().packages())
    }

    /// Keeps it; on the disk with the next commit of its folder.
    pub fn write_ahead(&self, store: &Store, name: &PluginName) -> Result<()> {
        file::replace(&path(store.root(), name), self.text()?.as_bytes(), store.volumes().durability())
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::failed(format!("could not write JSON: {e}")))
    }

    /// Makes `version` the active one.
    pub fn activate(&mut self, version: &Version, before: Option<&Version>) {
        let version = version.to_string();
        if let Some(before) = before.map(ToString::to_string).filter(|before| *before != version) {
            self.history.retain(|other| *other != before);
            self.history.push(before);
        }
        self.active = Some(version);
    }

    /// Under which version the active folder, whose manifest says `of_manifest`, is known. What the ledger says counts as
    /// long as it may be so: a crash can leave it ahead of the folder.
    #[must_use]
    pub fn active(&self, of_manifest: &Version) -> Version {
        let plain = |version: &Version| Version { build: BuildMetadata::EMPTY, ..version.clone() };
        let noted = self.active.as_deref().and_then(|version| Version::parse(version).ok());
        noted.filter(|noted| plain(noted) == plain(of_manifest)).unwrap_or_else(|| of_manifest.clone())
    }
}

fn path(root: &StateRoot, name: &PluginName) -> PathBuf {
    root.packages().join(format!("{name}.json"))
}

/// Where the package of a version is kept, and its signatures.
#[must_use]
pub fn kept(root: &StateRoot, name: &PluginName, version: &Version) -> [PathBuf; 3] {
    let file = archive::file_name(name, version);
    ["", ".minisig", ".asc"].map(|suffix| root.packages().join(format!("{file}{suffix}")))
}

/// Makes the folders that all this is in.
pub fn prepare(store: &Store) -> Result<()> {
    let root = store.root();
    store.ensure(&root.path().join("@state"))?;
    store.ensure(&root.plugin_snapshots())?;
    root.make_parent(&root.packages().join("x"))
}

/// Forgets one version, or all that is known about a plugin.
pub fn forget(store: &Store, name: &PluginName, version: Option<&Version>) -> Result<()> {
    let root = store.root();
    let mut ledger = Ledger::read(root, name)?;
    let gone: Vec<String> = match version {
        Some(version) => vec![version.to_string()],
        None => ledger.versions.keys().cloned().collect(),
    };
    let mut files = Vec::new();
    for version in gone.iter().filter_map(|version| Version::parse(version).ok()) {
        files.extend(kept(root, name, &version));
    }
    match version {
        Some(_) => {
            ledger.versions.retain(|version, _| !gone.contains(version));
            ledger.history.retain(|version| !gone.contains(version));
            if ledger.versions.is_empty() {
                files.push(path(root, name));
            } else if root.packages().is_dir() {
                ledger.write(store, name)?;
            }
        }
        None => {
            files.push(path(root, name));
            // What a crash left of a version that was never noted.
            let own = |file: &str| archive::parse_file_name(file.trim_end_matches(".minisig").trim_end_matches(".asc"));
            let there = crate::store::volumes::names(&root.packages())?;
            let there = there.iter().filter(|file| own(file).is_some_and(|(plugin, _)| plugin == *name));
            files.extend(there.map(|file| root.packages().join(file)));
        }
    }
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove it", &file, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_version() {
        let root = tempfile::tempdir().unwrap();
        let root = StateRoot::find(Some(root.path())).unwrap();
        let mut ledger = Ledger::read(&root, &PluginName::new("lamp").unwrap()).unwrap();
        let version = |text: &str| Version::parse(text).unwrap();
        assert_eq!(ledger.active(&version("1.0.0")), version("1.0.0"));
        ledger.activate(&version("0.1.0+draft.1"), Some(&version("1.0.0")));
        assert_eq!(ledger.active(&version("0.1.0")), version("0.1.0+draft.1"));
        assert_eq!(ledger.active(&version("1.0.0")), version("1.0.0"), "a crash left the folder behind");
        ledger.activate(&version("1.0.0"), Some(&version("0.1.0+draft.1")));
        ledger.activate(&version("1.0.0"), Some(&version("1.0.0")));
        assert_eq!(ledger.history, ["1.0.0", "0.1.0+draft.1"]);
    }
}

//! `index.json`: what a registry has.

use crate::base::digest::Plain;
use crate::base::name::PluginName;
use crate::base::{Error, Result, time};
use crate::package::keyring::{Keyring, TrustedKey};
use crate::package::resolve::{Candidate, Dependencies};
use crate::package::signature;
use crate::package::signing::SigningKey;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// The file's name.
pub const FILE: &str = "index.json";
/// Bytes an index may have: some ten thousand packages.
pub const MAX_BYTES: u64 = 16 << 20;
const COMMENT: &str = "op-dbus-registry/1";

/// What a registry has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Index {
    /// Always `registry`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The registry's name; a name as plugins have.
    pub name: String,
    /// Which index this is; the next one has a higher number.
    pub number: u64,
    /// When it was made, as RFC 3339 in UTC.
    pub made_at: String,
    /// Until when it is current.
    pub expires_at: String,
    /// The packages, by name, the newest version first.
    pub packages: Vec<Package>,
}

/// One package of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Package {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub plugin_version: String,
    /// Where it lies below the folder of the index.
    pub path: String,
    /// Bytes of the package.
    pub size_bytes: u64,
    /// SHA-256 of the package.
    pub sha256: String,
    /// The tree digest.
    pub tree: String,
    /// One sentence about it.
    #[serde(default)]
    pub description: String,
    /// Its licence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// Bus name of its service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether it can write.
    pub can_apply: bool,
    /// What it needs: plugins, bus names, `op-dbus`.
    #[serde(default, skip_serializing_if = "Dependencies::is_empty")]
    pub dependencies: Dependencies,
    /// Why it was taken back, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}

impl Index {
    /// Reads an index; `file` names it in errors.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let bad = |why: String| Error::bad_input(why).on(file);
        let index: Self =
            serde_json::from_slice(bytes).map_err(|e| bad(format!("this is no index of a registry: {e}")))?;
        if index.kind != "registry" || index.version != 1 {
            return Err(bad(format!("this is no index that is read here: {} version {}", index.kind, index.version)));
        }
        PluginName::new(&index.name).map_err(|e| e.on(format!("{file}: name")))?;
        if index.expires().is_none() {
            return Err(bad("it does not say until when it is current".into()));
        }
        for package in &index.packages {
            package.check().map_err(|e| e.on(format!("{file}: {} {}", package.name, package.plugin_version)))?;
        }
        Ok(index)
    }

    /// Reads an index whose signature is good, and the key it is signed with.
    pub fn verified(bytes: &[u8], signature: &str, keyring: &Keyring, file: &str) -> Result<(Self, TrustedKey)> {
        let (key, said) = signature::verify_any(bytes, signature, keyring).map_err(|e| e.or_on(file))?;
        let index = Self::parse(bytes, file)?;
        if said != index.comment(bytes) {
            return Err(Error::untrusted("the signature is not that of this index")
                .on(file)
                .hint("sign it with op-install registry build"));
        }
        Ok((index, key))
    }

    /// The index as its file's bytes, and the text of their `.minisig`.
    pub fn sign(&self, key: &SigningKey) -> Result<(Vec<u8>, String)> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| Error::failed(format!("could not write JSON: {e}")))?;
        bytes.push(b'\n');
        let signature = key.sign_with_comment(&bytes, &self.comment(&bytes))?;
        Ok((bytes, signature))
    }

    fn comment(&self, bytes: &[u8]) -> String {
        format!("{COMMENT} name={} number={} sha256={}", self.name, self.number, Plain::of(bytes))
    }

    fn expires(&self) -> Option<SystemTime> {
        time::parse_rfc3339(&self.expires_at)
    }

    /// Refuses an index that is not current any more.
    pub fn must_be_current(&self, now: SystemTime) -> Result<()> {
        if self.expires().is_some_and(|end| now < end) {
            return Ok(());
        }
        Err(Error::untrusted(format!("the index of {} ended at {}", self.name, self.expires_at))
            .hint(format!("op-install registry refresh {}; if there is no newer one, ask its publisher", self.name)))
    }
}

impl Package {
    fn check(&self) -> Result<()> {
        PluginName::new(&self.name)?;
        Version::parse(&self.plugin_version).map_err(|e| Error::bad_input(format!("this is no version: {e}")))?;
        // It is appended to a URL, and to a folder's path.
        let is_plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@".contains(&b))
        };
        if self.path.len() > 512 || !self.path.split('/').all(is_plain) || !self.path.ends_with(".btrfs.zst") {
            return Err(Error::bad_input(format!("its path leads elsewhere: {:?}", self.path)));
        }
        let is_hex = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex(&self.sha256) || !self.tree.strip_prefix("sha256:").is_some_and(is_hex) {
            return Err(Error::bad_input("its digests are none"));
        }
        Ok(())
    }

    /// The package as something to choose from.
    #[must_use]
    pub fn candidate(&self) -> Option<Candidate> {
        Some(Candidate {
            version: Version::parse(&self.plugin_version).ok()?,
            dependencies: self.dependencies.clone(),
            is_yanked: self.yanked.is_some(),
        })
    }
}

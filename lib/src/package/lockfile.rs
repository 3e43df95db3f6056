//! A lock file: the versions that were chosen once, with their digests, so that another machine gets the same.

use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::package::publish::{Existing, write_new};
use crate::store::file;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Lockfile {
    /// Always `lock`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The packages by name.
    pub packages: BTreeMap<String, Locked>,
}

/// One package of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its version.
    pub plugin_version: String,
    /// SHA-256 of the package.
    pub sha256: String,
}

impl Lockfile {
    /// Reads a lock file; none when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(text) = file::read(path)? else { return Ok(None) };
        let bad = |why: String| Error::bad_input(why).on(path.display().to_string());
        let lock: Self = serde_json::from_str(&text).map_err(|e| bad(format!("this is no lock file: {e}")))?;
        if lock.kind != "lock" || lock.version != 1 {
            return Err(bad(format!("this is no lock file that is read here: {} version {}", lock.kind, lock.version)));
        }
        for name in lock.packages.keys() {
            PluginName::new(name).map_err(|e| e.on(path.display().to_string()))?;
        }
        lock.versions().map_err(|e| e.on(path.display().to_string()))?;
        Ok(Some(lock))
    }

    /// The versions it names.
    pub fn versions(&self) -> Result<BTreeMap<String, Version>> {
        let parse = |(name, locked): (&String, &Locked)| match Version::parse(&locked.plugin_version) {
            Ok(version) => Ok((name.clone(), version)),
            Err(error) => Err(Error::bad_input(format!("{name} has no version: {error}"))),
        };
        self.packages.iter().map(parse).collect()
    }

    /// Refuses a package that is another than the one that was locked.
    pub fn must_hold(&self, name: &str, sha256: &str) -> Result<()> {
        match self.packages.get(name) {
            Some(locked) if locked.sha256 != sha256 => {
                Err(Error::untrusted("this is another package than the one in the lock file")
                    .on(format!("{name} {}", locked.plugin_version))
                    .hint("a published version never changes: ask its publisher, or remove the lock file"))
            }
            _ => Ok(()),
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(|e| Error::failed(format!("could not write JSON: {e}")))?;
        text.push('\n');
        write_new(path, text.as_bytes(), 0o644, Existing::Replace)
    }
}

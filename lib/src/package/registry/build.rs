//! Making a registry of a folder of packages.

use super::index::{FILE, Index, Package};
use crate::base::digest::Plain;
use crate::base::name::PluginName;
use crate::base::{Error, Result, time};
use crate::package::archive;
use crate::package::check::{Checked, Files, check};
use crate::package::contents::Contents;
use crate::package::keyring::Keyring;
use crate::package::publish::{Existing, beside, write_new};
use crate::package::signature;
use crate::package::signing::SigningKey;
use crate::package::stream::{Limits, Memory, unpack};
use crate::plugin::Mapping;
use crate::store::file;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How a registry is made.
#[derive(Debug)]
pub struct Building<'a> {
    /// Its name; the one it had, else that of its folder.
    pub name: Option<&'a str>,
    /// How long its index is current.
    pub lifetime: Duration,
    /// Versions to take back (`NAME@VERSION`), and why.
    pub yank: &'a BTreeMap<String, String>,
    /// Versions to give again.
    pub unyank: &'a [String],
    /// Keys of others whose packages are in it.
    pub keyring: &'a Keyring,
}

/// What `op-install registry build` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuildReport {
    /// Always `registry_built`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The registry's name.
    pub registry: String,
    /// The number of its index.
    pub number: u64,
    /// Until when it is current.
    pub expires_at: String,
    /// The index.
    pub index: String,
    /// The number of the key it is signed with.
    pub key: String,
    /// How many packages it has.
    pub packages: usize,
    /// Packages whose signature is by a key that is not known here, and was not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
}

/// Makes `index.json` and its signature over the packages in `folder`, each looked at by the rules by which it will be
/// installed.
pub fn build(folder: &Path, key: &SigningKey, building: &Building<'_>) -> Result<BuildReport> {
    let before = match file::read(&folder.join(FILE))? {
        Some(text) => Some(Index::parse(text.as_bytes(), &folder.join(FILE).display().to_string())?),
        None => None,
    };
    let name = match (building.name, &before) {
        (Some(name), _) => name.to_owned(),
        (None, Some(before)) => before.name.clone(),
        (None, None) => own_name(folder),
    };
    PluginName::new(&name).map_err(|e| e.on(format!("--name {name:?}")))?;
    let mut found = Vec::new();
    packages_below(folder, 3, &mut found)?;
    let (mut errors, mut packages, mut unchecked) = (Vec::new(), Vec::new(), Vec::new());
    for path in &found {
        match look(folder, path, building.keyring) {
            Ok((package, is_checked)) => {
                if !is_checked {
                    unchecked.push(package.path.clone());
                }
                packages.push(package);
            }
            Err(error) => errors.push(error.or_on(path.display().to_string())),
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| version(b).cmp(&version(a))));
    for pair in
        packages.windows(2).filter(|pair| pair[0].name == pair[1].name && version(&pair[0]) == version(&pair[1]))
    {
        let what = format!("{} {} is there twice", pair[0].name, pair[0].plugin_version);
        errors.push(Error::bad_input(what).on(format!("{} and {}", pair[0].path, pair[1].path)));
    }
    errors.extend(yank(&mut packages, before.as_ref(), building).err());
    errors.extend(published_changed(&packages, before.as_ref()));
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let now = SystemTime::now();
    let index = Index {
        kind: "registry".into(),
        version: 1,
        name: name.clone(),
        number: before.map_or(0, |before| before.number) + 1,
        made_at: time::rfc3339(now),
        expires_at: time::rfc3339(now + building.lifetime),
        packages,
    };
    show_newest(folder, &index)?;
    let (bytes, signature) = index.sign(key)?;
    let path = folder.join(FILE);
    // The index last: who fetches between the two finds a signature that does not fit, and tries again.
    write_new(&beside(&path, ".minisig"), signature.as_bytes(), 0o644, Existing::Replace)?;
    write_new(&path, &bytes, 0o644, Existing::Replace)?;
    Ok(BuildReport {
        kind: "registry_built".into(),
        version: 1,
        registry: name,
        number: index.number,
        expires_at: index.expires_at,
        index: path.display().to_string(),
        key: key.id(),
        packages: index.packages.len(),
        unchecked,
    })
}

fn own_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn version(package: &Package) -> Option<Version> {
    Version::parse(&package.plugin_version).ok()
}

fn packages_below(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<()> {
    let attempt = |e: &std::io::Error| Error::io("list the packages", folder, e);
    let entries = std::fs::read_dir(folder).map_err(|e| attempt(&e))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| attempt(&e))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth > 1 {
            packages_below(&path, depth - 1, found)?;
        } else if name.ends_with(".btrfs.zst") && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// One package, and whether its signature was checked.
fn look(folder: &Path, path: &Path, keyring: &Keyring) -> Result<(Package, bool)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the package", path, &e))?;
    let signed = beside(path, ".minisig");
    let signature = file::read(&signed)?.ok_or_else(|| {
        Error::untrusted("the package is not signed").hint("publish it with op-snapshot publish --key FILE")
    })?;
    let binding = match signature::verify(&bytes, &signature, keyring) {
        Ok(signed) => Some(signed.binding),
        Err(error) if error.message == signature::FOREIGN => None,
        Err(error) => return Err(error),
    };
    let mut memory = Memory::default();
    let unpacked = unpack(archive::decompress(&bytes)?, Limits::default(), &mut memory)?;
    let contents = Contents::of_memory(&memory);
    let checked = check(&Files::of(&contents, &|path| memory.text(path)))?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    checked.must_be(binding.as_ref(), &file_name, &unpacked.subvolume.name)?;
    let Checked { name, version, manifest, mapping } = checked;
    let below = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let package = Package {
        name: name.to_string(),
        plugin_version: version.to_string(),
        path: below,
        size_bytes: bytes.len() as u64,
        sha256: Plain::of(&bytes),
        tree: contents.digest(),
        description: manifest.plugin.description,
        license: manifest.plugin.license,
        service: manifest.plugin.dbus_service,
        can_apply: mapping.as_ref().is_some_and(Mapping::can_write),
        dependencies: manifest.dependencies,
        yanked: None,
    };
    Ok((package, binding.is_some()))
}

/// Carries over what was taken back before, and takes back what is to be.
fn yank(packages: &mut [Package], before: Option<&Index>, building: &Building<'_>) -> Result<()> {
    let id = |package: &Package| format!("{}@{}", package.name, package.plugin_version);
    let old = before.map(|index| index.packages.as_slice()).unwrap_or_default();
    let mut yanked: BTreeMap<String, String> =
        old.iter().filter_map(|package| Some((id(package), package.yanked.clone()?))).collect();
    yanked.extend(building.yank.clone());
    yanked.retain(|what, _| !building.unyank.contains(what));
    for package in packages.iter_mut() {
        package.yanked = yanked.get(&id(package)).cloned();
    }
    let unknown = building.yank.keys().chain(building.unyank).find(|what| !packages.iter().any(|p| id(p) == **what));
    match unknown {
        Some(what) => Err(Error::bad_input("there is no such package in the registry").on(what.clone())),
        None => Ok(()),
    }
}

/// A version whose contents changed after it was published.
fn published_changed(packages: &[Package], before: Option<&Index>) -> Vec<Error> {
    let old = before.map(|index| index.packages.as_slice()).unwrap_or_default();
    let changed = packages.iter().filter(|package| {
        old.iter()
            .any(|o| o.name == package.name && o.plugin_version == package.plugin_version && o.tree != package.tree)
    });
    let error = |package: &Package| {
        let what = format!("{} {} was published before, with other contents", package.name, package.plugin_version);
        Error::refused(what).on(package.path.clone()).hint("give what changed a new version")
    };
    changed.map(error).collect()
}

/// Puts mapping and README of each plugin's newest version beside its packages, where those have a folder of its name.
fn show_newest(folder: &Path, index: &Index) -> Result<()> {
    let mut last = None;
    for package in &index.packages {
        let is_newest = last.replace(&package.name) != Some(&package.name);
        let beside = folder.join(&package.path);
        let Some(parent) = beside.parent().filter(|parent| is_newest && parent.ends_with(&package.name)) else {
            continue;
        };
        let bytes = std::fs::read(&beside).map_err(|e| Error::io("read the package", &beside, &e))?;
        let mut memory = Memory::default();
        unpack(archive::decompress(&bytes)?, Limits::default(), &mut memory)?;
        for file in ["semantic-mapping.toml", "README.md"] {
            match memory.file(file) {
                Some(bytes) => write_new(&parent.join(file), bytes, 0o644, Existing::Replace)?,
                None => drop(std::fs::remove_file(parent.join(file))),
            }
        }
    }
    Ok(())
}

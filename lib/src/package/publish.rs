//! Publishing: a plugin's folder becomes a package and its signature.
//!
//! The stream is always written by our own encoder, on btrfs too: then the same tree gives the same bytes on every
//! machine, nothing of the machine is in them, and it needs no privilege.

use super::archive;
use super::check::{Checked, Files, check};
use super::contents::Contents;
use super::ledger::{Ledger, PUBLISHED, Record};
use super::signature::Binding;
use super::signing::SigningKey;
use super::stream::Limits;
use super::trust::Trust;
use crate::base::digest::Plain;
use crate::base::name::PluginName;
use crate::base::{Error, Result, time};
use crate::store::{Access, Store, file};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `op-snapshot publish` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishReport {
    /// Always `published`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub plugin_version: String,
    /// The package.
    pub package: String,
    /// Its signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The number of the key it is signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Bytes of the package.
    pub size_bytes: u64,
    /// SHA-256 of the package.
    pub sha256: String,
    /// The tree digest.
    pub tree: String,
    /// The snapshot of this version, when the plugin lies in the state root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// Publishes the plugin `name` of the state root: keeps it as a version of its own, and packs that.
pub fn of_root(
    store: &Store,
    name: &PluginName,
    version: Option<&Version>,
    key: Option<&SigningKey>,
    out: &Path,
) -> Result<PublishReport> {
    let (root, volumes) = (store.root(), store.volumes());
    let folder = root.plugin(name);
    if volumes.look(&folder)?.is_none() {
        return Err(Error::bad_input("this plugin is not installed, so it cannot be published")
            .on(name.as_str())
            .hint("op-install list shows what is; a folder is published by its path"));
    }
    super::ledger::prepare(store)?;
    // The folder may be somebody's draft: what is looked at and what is packed is one and the same moment of it.
    let staging = store.staging(&root.plugin_snapshots(), name.as_str());
    volumes.snapshot(&folder, &staging, Access::ReadOnly)?;
    // Who mends it does so in the folder: the moment of it is gone by then.
    let (moment, lasting) = (staging.display().to_string(), folder.display().to_string());
    let looked_at = look(&staging, Some(name), version)
        .map_err(|error| Error { subject: error.subject.map(|on| on.replace(&moment, &lasting)), ..error });
    let kept = looked_at.and_then(|(contents, checked)| {
        let snapshot = root.plugin_snapshot(name, &checked.version);
        if snapshot.exists() {
            let same = Contents::of_folder(&snapshot, Limits::default())?.digest() == contents.digest();
            return if same { Ok(snapshot) } else { Err(taken(&snapshot)) };
        }
        volumes.rename(&staging, &snapshot).map(|()| snapshot)
    });
    if staging.exists() {
        volumes.delete(&staging)?;
    }
    let snapshot = kept?;
    let mut report = of_folder(&snapshot, version, key, out)?;
    let mut ledger = Ledger::read(root, name)?;
    if !ledger.versions.contains_key(&report.plugin_version) {
        let record = Record {
            trust: Trust::Generated,
            source: PUBLISHED.into(),
            installed_at: time::rfc3339(SystemTime::now()),
            tree: Some(report.tree.clone()),
            sha256: None,
            signed_by: None,
            gpg: None,
        };
        ledger.versions.insert(report.plugin_version.clone(), record);
        ledger.write(store, name)?;
    }
    report.snapshot = Some(snapshot.display().to_string());
    Ok(report)
}

/// Publishes a folder, wherever it is.
pub fn of_folder(
    folder: &Path,
    version: Option<&Version>,
    key: Option<&SigningKey>,
    out: &Path,
) -> Result<PublishReport> {
    let (contents, checked) = look(folder, None, version)?;
    let Checked { name, version, .. } = &checked;
    let bytes = archive::compress(&contents.encode(&format!("{name}@v{version}"), Vec::new())?)?;
    if bytes.len() as u64 > archive::MAX_BYTES {
        return Err(Error::bad_input(format!("the package would be larger than {} bytes", archive::MAX_BYTES))
            .on(folder.display().to_string()));
    }
    let sha256 = Plain::of(&bytes);
    let tree = contents.digest();
    let file = archive::file_name(name, version);
    let package = out.join(&file);
    std::fs::create_dir_all(out).map_err(|e| Error::io("make the folder of packages", out, &e))?;
    let binding =
        Binding { name: name.clone(), version: version.clone(), sha256: sha256.clone(), tree: Some(tree.clone()) };
    let signature = match key {
        Some(key) => Some((beside(&package, ".minisig"), key.sign(&bytes, &binding)?)),
        None => None,
    };
    if std::fs::read(&package).is_ok_and(|there| there != bytes) {
        let hint = "a published version never changes: give it a new one with --version, or remove what is there";
        let error = Error::refused("a package of this version is there already, with other contents");
        return Err(error.on(package.display().to_string()).hint(hint));
    }
    // The package last: who watches the folder finds everything else beside it.
    write_new(&beside(&package, ".sha256"), format!("{sha256}  {file}\n").as_bytes(), 0o644, Existing::Replace)?;
    if let Some((path, text)) = &signature {
        write_new(path, text.as_bytes(), 0o644, Existing::Replace)?;
    }
    write_new(&package, &bytes, 0o644, Existing::Replace)?;
    Ok(PublishReport {
        kind: "published".into(),
        version: 1,
        plugin: name.to_string(),
        plugin_version: version.to_string(),
        package: package.display().to_string(),
        signature: signature.map(|(path, _)| path.display().to_string()),
        key: key.map(SigningKey::id),
        size_bytes: bytes.len() as u64,
        sha256,
        tree,
        snapshot: None,
    })
}

/// Reads a plugin that is to be published, by the rules by which it will be installed.
fn look(folder: &Path, name: Option<&PluginName>, version: Option<&Version>) -> Result<(Contents, Checked)> {
    let contents = Contents::of_folder(folder, Limits::default())?;
    let checked = check(&Files::of(&contents, &|path| file::read(&folder.join(path))))?;
    if let Some(name) = name.filter(|name| **name != checked.name) {
        return Err(Error::bad_input(format!("plugin.toml says name = \"{}\"", checked.name))
            .on(folder.display().to_string())
            .hint(format!("write name = \"{name}\" there")));
    }
    if let Some(version) = version.filter(|version| **version != checked.version) {
        return Err(Error::bad_input(format!("plugin.toml says version = \"{}\"", checked.version))
            .on(folder.join("plugin.toml").display().to_string())
            .hint(format!("write version = \"{version}\" there, or publish the version it says")));
    }
    Ok((contents, checked))
}

fn taken(snapshot: &Path) -> Error {
    Error::refused("this version was published or installed before, with other contents")
        .on(snapshot.display().to_string())
        .hint("give what you changed a new version in plugin.toml")
}

/// What to do with a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Another takes its place.
    Replace,
    /// It is left alone, and that is an error.
    Keep,
}

/// Writes a file whole or not at all, with these permissions.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<()> {
    let attempt = |e: &std::io::Error| Error::io("write", path, e);
    if existing == Existing::Keep {
        let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let mut file = made.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::refused("there is something of that name already")
                .on(path.display().to_string())
                .hint("choose another name, or remove it"),
            _ => attempt(&e),
        })?;
        return file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| attempt(&e));
    }
    let staging = beside(path, &format!(".staging-{}", std::process::id()));
    let written = File::create(&staging)
        .and_then(|mut file| {
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&staging, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&staging);
        attempt(&e)
    })
}

/// `path` with something after its name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

//! Versions that were put into the state root by hand, with `btrfs receive` for example: found, looked at by the rules of
//! the gate, and written anew. Until then they are not made active.

use super::archive;
use super::contents::Contents;
use super::fetch::Fetched;
use super::install::{InstallReport, install};
use super::ledger::Ledger;
use super::proposal::{Machine, Proposal};
use super::stream::{Limits, Memory, unpack};
use super::trail::Trail;
use super::verify::Policy;
use super::versions;
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::store::{Access, StateRoot, Store, volumes};
use semver::Version;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::path::PathBuf;

/// A version that nobody installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The plugin, as the folder's name says.
    pub name: PluginName,
    /// The version, as the folder's name says.
    pub version: Version,
    /// The folder.
    pub path: PathBuf,
}

/// The versions in `@plugin-snapshots`, and beside it in the root, of which nothing is known.
pub fn received(root: &StateRoot) -> Result<Vec<Received>> {
    let (mut found, mut ledgers) = (Vec::new(), BTreeMap::new());
    for folder in [root.plugin_snapshots(), root.path().to_owned()] {
        for entry in volumes::names(&folder)? {
            let parsed = entry
                .split_once("@v")
                .and_then(|(name, version)| Some((PluginName::new(name).ok()?, Version::parse(version).ok()?)));
            let Some((name, version)) = parsed else { continue };
            let path = folder.join(&entry);
            if folder == root.plugin_snapshots() {
                let ledger = match ledgers.entry(name.clone()) {
                    Slot::Occupied(known) => known.into_mut(),
                    Slot::Vacant(free) => free.insert(Ledger::read(root, &name)?),
                };
                if ledger.versions.contains_key(&version.to_string()) {
                    continue;
                }
            }
            if path.is_dir() && !path.is_symlink() {
                found.push(Received { name, version, path });
            }
        }
    }
    Ok(found)
}

/// The version of `name` that was received: `version`, else the newest.
pub fn find(root: &StateRoot, name: &PluginName, version: Option<&Version>) -> Result<Received> {
    let all = received(root)?.into_iter().filter(|received| received.name == *name);
    let wanted = all.filter(|received| version.is_none_or(|version| received.version == *version));
    wanted.max_by(|a, b| a.version.cmp(&b.version)).ok_or_else(|| {
        Error::bad_input("no version of it was put here by hand").on(name.as_str()).hint(format!(
            "receive one: zstd -d < PACKAGE | btrfs receive {}; or install the package: op-install PACKAGE",
            root.plugin_snapshots().display()
        ))
    })
}

/// Installs what was received. With the `package` it was received from, it is trusted as that is.
pub fn adopt(
    store: &Store,
    trail: &Trail,
    machine: &Machine<'_>,
    received: &Received,
    package: Option<Fetched>,
    policy: &Policy,
    confirm: &mut dyn FnMut(&Proposal) -> Result<()>,
) -> Result<InstallReport> {
    let done = take_up(store, trail, machine, received, package, policy, confirm);
    if let Err(error) = &done {
        trail.refusal(&received.path.display().to_string(), Some(&received.name), error);
    }
    done
}

fn take_up(
    store: &Store,
    trail: &Trail,
    machine: &Machine<'_>,
    received: &Received,
    package: Option<Fetched>,
    policy: &Policy,
    confirm: &mut dyn FnMut(&Proposal) -> Result<()>,
) -> Result<InstallReport> {
    let Received { name, version, path } = received;
    let contents = Contents::of_folder(path, Limits::default())?;
    let fetched = match package {
        Some(package) => {
            super::verify::verify(&package, policy)?;
            let mut memory = Memory::default();
            unpack(archive::decompress(&package.bytes)?, Limits::default(), &mut memory)?;
            versions::must_be_same(path, &contents, &Contents::of_memory(&memory))?;
            package
        }
        None if policy.allow_unsigned => Fetched {
            bytes: archive::compress(&contents.encode(&format!("{name}@v{version}"), Vec::new())?)?,
            source: format!("{} (by hand)", path.display()),
            file_name: archive::file_name(name, version),
            signature: None,
            checksum: None,
            gpg: None,
            is_plain_http: false,
        },
        None => {
            return Err(Error::untrusted("it was put here by hand, and nothing says who made it")
                .on(path.display().to_string())
                .hint("say --package FILE with the package it was received from, or --allow-unsigned"));
        }
    };
    let report = install(store, trail, machine, &fetched, policy, confirm)?;
    tidy(store, received)?;
    Ok(report)
}

/// Puts what was written anew in the place of what was received, whose owners and attributes nobody looked at.
fn tidy(store: &Store, received: &Received) -> Result<()> {
    let (root, volumes) = (store.root(), store.volumes());
    if received.path.parent() == Some(root.path()) {
        return volumes.delete(&received.path);
    }
    let staging = store.staging(&root.plugin_snapshots(), "adopted");
    volumes.snapshot(&root.plugin(&received.name), &staging, Access::ReadOnly)?;
    volumes.exchange(&staging, &received.path)?;
    volumes.delete(&staging)
}

//! Installing a package: the whole story, in this order. Whatever fails before the last step leaves the plugin as it was,
//! and what a crash leaves behind is swept by the next run.

use super::archive;
use super::contents::Contents;
use super::fetch::Fetched;
use super::ledger::{self, DRAFT, Ledger, Record, SignedBy};
use super::proposal::{Judged, Machine, Proposal, judge};
use super::stream::{Folder, Limits, Memory, unpack};
use super::trust::Trust;
use super::verify::{Policy, Verified, verify};
use crate::base::name::PluginName;
use crate::base::{Error, Result, time};
use crate::store::file::{self, Durability};
use crate::store::{Access, Store};
use semver::{BuildMetadata, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// What `op-install install` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InstallReport {
    /// Always `installed`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was done.
    pub outcome: InstallOutcome,
    /// What it was about.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// The folder of the active version.
    pub folder: String,
    /// The version under which a draft that was there is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_kept_as: Option<String>,
}

/// What was done with a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallOutcome {
    /// It is installed and active.
    Installed,
    /// It was so before.
    Unchanged,
    /// Nothing: it was asked for what would be done (`--dry-run`).
    WouldInstall,
}

/// What `op-install install NAME` and `upgrade` print: several packages, in the order in which they were installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InstallationReport {
    /// Always `installation`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was installed, or would be.
    pub packages: Vec<InstallReport>,
    /// What is there and stays as it is, by name: the version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unchanged: BTreeMap<String, String>,
}

/// Says what installing `fetched` would do. Nothing is written anywhere.
pub fn examine(machine: &Machine<'_>, fetched: &Fetched, policy: &Policy) -> Result<InstallReport> {
    let verified = verify(fetched, policy)?;
    let mut memory = Memory::default();
    let unpacked = unpack(archive::decompress(&fetched.bytes)?, Limits::default(), &mut memory)?;
    let contents = Contents::of_memory(&memory);
    let read = |path: &str| memory.text(path);
    let Judged { checked, proposal } = judge(machine, fetched, &verified, &unpacked, &contents, &read)?;
    let folder = machine.root.plugin(&checked.name).display().to_string();
    let outcome = InstallOutcome::WouldInstall;
    Ok(InstallReport { kind: "installed".into(), version: 1, outcome, proposal, folder, draft_kept_as: None })
}

/// Installs `fetched` and makes it active. `confirm` hears what it would do, when there is a reason to ask.
pub fn install(
    store: &Store,
    machine: &Machine<'_>,
    fetched: &Fetched,
    policy: &Policy,
    confirm: &mut dyn FnMut(&Proposal) -> Result<()>,
) -> Result<InstallReport> {
    let verified = verify(fetched, policy)?;
    let stream = archive::decompress(&fetched.bytes)?;
    let staging = store.staging(store.root().path(), "install");
    store.volumes().create(&staging)?;
    let done = (|| {
        let unpacked = unpack(stream, Limits::default(), &mut Folder::open(&staging)?)?;
        // What lies there is read again: the digest is that of the files, not of what the stream said.
        let contents = Contents::of_folder(&staging, Limits::default())?;
        let read = |path: &str| file::read(&staging.join(path));
        let judged = judge(machine, fetched, &verified, &unpacked, &contents, &read)?;
        if !judged.proposal.reasons.is_empty() {
            confirm(&judged.proposal)?;
        }
        put_in_place(store, &staging, judged, fetched, &verified)
    })();
    // It is gone when it became active; otherwise the failure that matters is the one above.
    if staging.exists() {
        let deleted = store.volumes().delete(&staging);
        return done.and_then(|report| deleted.map(|()| report));
    }
    done
}

fn put_in_place(
    store: &Store,
    staging: &Path,
    judged: Judged,
    fetched: &Fetched,
    verified: &Verified,
) -> Result<InstallReport> {
    let Judged { checked, proposal } = judged;
    let (root, volumes) = (store.root(), store.volumes());
    let (name, version) = (&checked.name, &checked.version);
    let active = root.plugin(name);
    let mut ledger = Ledger::read(root, name)?;
    let snapshot = root.plugin_snapshot(name, version);
    let has_snapshot = has_same(&snapshot, &proposal.tree)?;
    let was_active = active_version(&active, &ledger);
    let mut report = InstallReport {
        kind: "installed".into(),
        version: 1,
        outcome: InstallOutcome::Installed,
        folder: active.display().to_string(),
        draft_kept_as: None,
        proposal,
    };
    let record = Record {
        trust: report.proposal.trust,
        source: report.proposal.source.clone(),
        installed_at: time::rfc3339(SystemTime::now()),
        tree: Some(report.proposal.tree.clone()),
        sha256: Some(verified.sha256.clone()),
        signed_by: SignedBy::of(verified),
        gpg: verified.gpg.clone(),
    };
    let is_sealed = volumes.look(&active)?.is_some_and(|volume| volume.is_sealed);
    let is_same = is_sealed && was_active.as_ref() == Some(version) && has_same(&active, &report.proposal.tree)?;
    let is_known = ledger.versions.get(&version.to_string()).is_some_and(|known| {
        Record { installed_at: record.installed_at.clone(), source: record.source.clone(), ..known.clone() } == record
    });
    if is_same && has_snapshot && is_known {
        report.outcome = InstallOutcome::Unchanged;
        return Ok(report);
    }
    ledger::prepare(store)?;
    let mut before = was_active;
    if before.is_some() && !is_sealed && !has_same(&active, &report.proposal.tree)? {
        let kept = keep_draft(store, name, &mut ledger, &active, before.as_ref())?;
        report.draft_kept_as = Some(kept.to_string());
        before = Some(kept);
    }
    let was_known = ledger.versions.insert(version.to_string(), record).is_some();
    ledger.activate(version, before.as_ref());
    let kept = keep(store, name, version, fetched, &ledger).and_then(|()| {
        // What a crash leaves until here is a note about a version that is not there, which nobody misses.
        volumes.sync(staging)?;
        if !has_snapshot {
            volumes.snapshot(staging, &snapshot, Access::ReadOnly)?;
        }
        volumes.seal(staging)
    });
    if let Err(error) = kept {
        if !was_known && !snapshot.exists() {
            // It may be that nothing can be written any more: then this, too, is swept by the next run.
            let _ = ledger::forget(store, name, Some(version));
        }
        return Err(error);
    }
    switch(store, staging, &active)?;
    Ok(report)
}

/// Makes the volume at `staging` the active one, in one step; the one before goes.
pub(super) fn switch(store: &Store, staging: &Path, active: &Path) -> Result<()> {
    let volumes = store.volumes();
    if volumes.look(active)?.is_none() {
        return volumes.rename(staging, active);
    }
    volumes.exchange(staging, active)?;
    volumes.delete(staging)
}

/// The version of the folder that is active now.
pub(super) fn active_version(active: &Path, ledger: &Ledger) -> Option<Version> {
    let text = file::read(&active.join("plugin.toml")).ok().flatten()?;
    let manifest = crate::plugin::Manifest::parse(&text, "plugin.toml").ok()?;
    Some(ledger.active(&Version::parse(&manifest.plugin.version).ok()?))
}

/// Whether there is a folder with this tree; one with another is refused, unless it is a draft.
fn has_same(folder: &Path, tree: &str) -> Result<bool> {
    if !folder.is_dir() {
        return Ok(false);
    }
    let same = Contents::of_folder(folder, Limits::default()).is_ok_and(|contents| contents.digest() == tree);
    let is_version = folder.file_name().is_some_and(|name| name.to_string_lossy().contains("@v"));
    if !same && is_version {
        return Err(Error::untrusted("this version is here already, with other contents")
            .on(folder.display().to_string())
            .hint("a published version never changes: its publisher should give it a new one, or remove the one that is here"));
    }
    Ok(same)
}

/// Keeps a draft that is about to be replaced as a version of its own, so that nobody's work is lost.
pub(super) fn keep_draft(
    store: &Store,
    name: &PluginName,
    ledger: &mut Ledger,
    active: &Path,
    version: Option<&Version>,
) -> Result<Version> {
    let mut kept = version.cloned().unwrap_or_else(|| Version::new(0, 0, 0));
    for number in 1_u32.. {
        kept.build = BuildMetadata::new(&format!("draft.{number}"))
            .map_err(|e| Error::failed(format!("could not name the draft: {e}")))?;
        if !store.root().plugin_snapshot(name, &kept).exists() {
            break;
        }
    }
    store.volumes().snapshot(active, &store.root().plugin_snapshot(name, &kept), Access::ReadOnly)?;
    let record = Record {
        trust: Trust::Generated,
        source: DRAFT.into(),
        installed_at: time::rfc3339(SystemTime::now()),
        tree: None,
        sha256: None,
        signed_by: None,
        gpg: None,
    };
    ledger.versions.insert(kept.to_string(), record);
    Ok(kept)
}

/// Keeps the package as it came, for `op-install verify`, and what is known of it. On btrfs it is on the disk with the
/// next [`sync`](crate::store::Volumes::sync) of anything; elsewhere, that writes one folder only.
fn keep(store: &Store, name: &PluginName, version: &Version, fetched: &Fetched, ledger: &Ledger) -> Result<()> {
    let durability = if store.volumes().are_subvolumes() { Durability::Cache } else { Durability::Durable };
    let [package, signature, gpg] = ledger::kept(store.root(), name, version);
    for (path, text) in [(signature, &fetched.signature), (gpg, &fetched.gpg)] {
        match text {
            Some(text) => file::replace(&path, text.as_bytes(), durability)?,
            // That of an earlier package would not fit.
            None => drop(std::fs::remove_file(&path)),
        }
    }
    file::replace(&package, &fetched.bytes, durability)?;
    ledger.write_with(store, name, durability)
}

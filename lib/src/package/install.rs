//! Installing a package: the whole story, in this order. Whatever fails before the last step leaves the plugin as it was,
//! and what a crash leaves behind is swept by the next run.

use super::archive;
use super::check::Checked;
use super::contents::Contents;
use super::fetch::Fetched;
use super::ledger::{self, DRAFT, Ledger, Record, SignedBy};
use super::proposal::{Judged, Machine, Proposal, judge};
use super::standby;
use super::stream::{Folder, Limits, Memory, unpack};
use super::trail::{Change, Trail, Verb};
use super::trust::Trust;
use super::verify::{Policy, Verified, verify};
use crate::base::name::PluginName;
use crate::base::{Error, Result, time};
use crate::store::file;
use crate::store::{Access, Store, Volumes};
use semver::{BuildMetadata, Version};
use serde::{Deserialize, Serialize};
use serde_json::json;
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
    /// The name of this run in the audit trail; absent when nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
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
    Ok(InstallReport {
        kind: "installed".into(),
        version: 1,
        outcome,
        proposal,
        folder,
        draft_kept_as: None,
        run: None,
    })
}

/// Installs `fetched` and makes it active. `confirm` hears what it would do, when there is a reason to ask.
pub fn install(
    store: &Store,
    trail: &Trail,
    machine: &Machine<'_>,
    fetched: &Fetched,
    policy: &Policy,
    confirm: &mut dyn FnMut(&Proposal) -> Result<()>,
) -> Result<InstallReport> {
    let mut name = None;
    let done = install_staged(store, trail, machine, fetched, policy, &mut |proposal| {
        name = PluginName::new(&proposal.plugin).ok();
        if proposal.reasons.is_empty() { Ok(()) } else { confirm(proposal) }
    });
    if let Err(error) = &done {
        trail.refusal(&fetched.source, name.as_ref(), error);
    }
    done
}

fn install_staged(
    store: &Store,
    trail: &Trail,
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
        confirm(&judged.proposal)?;
        put_in_place(store, trail, &staging, judged, fetched, &verified)
    })();
    // It is gone when it became active. Otherwise the failure that matters is the one above, and the next run sweeps.
    if staging.exists() {
        let _ = store.volumes().delete(&staging);
    }
    done
}

fn put_in_place(
    store: &Store,
    trail: &Trail,
    staging: &Path,
    judged: Judged,
    fetched: &Fetched,
    verified: &Verified,
) -> Result<InstallReport> {
    let Judged { checked, proposal } = judged;
    let root = store.root();
    let (name, version) = (&checked.name, &checked.version);
    let active = root.plugin(name);
    let ledger = Ledger::read(root, name)?;
    let has_snapshot = has_same(&root.plugin_snapshot(name, version), &proposal.tree)?;
    let was_active = active_version(&active, &ledger);
    let record = Record {
        trust: proposal.trust,
        source: proposal.source.clone(),
        installed_at: time::rfc3339(SystemTime::now()),
        tree: Some(proposal.tree.clone()),
        sha256: Some(verified.sha256.clone()),
        signed_by: SignedBy::of(verified),
        gpg: verified.gpg.clone(),
    };
    let is_sealed = is_sealed(store.volumes(), &active)?;
    let is_same = has_same(&active, &proposal.tree)?;
    let is_active = is_sealed && is_same && was_active.as_ref() == Some(version);
    let is_known = ledger.versions.get(&version.to_string()).is_some_and(|known| {
        Record { installed_at: record.installed_at.clone(), source: record.source.clone(), ..known.clone() } == record
    });
    let mut report = InstallReport {
        kind: "installed".into(),
        version: 1,
        outcome: InstallOutcome::Installed,
        folder: active.display().to_string(),
        draft_kept_as: None,
        run: None,
        proposal,
    };
    if is_active && has_snapshot && is_known {
        report.outcome = InstallOutcome::Unchanged;
        return Ok(report);
    }
    let tree = |version: &Version| ledger.versions.get(&version.to_string()).and_then(|record| record.tree.clone());
    let change = Change {
        before: was_active.clone().map(|version| (version.clone(), tree(&version))),
        after: Some((version.clone(), record.tree.clone())),
        gone: None,
        package: Some(json!({
            "sha256": record.sha256,
            "source": record.source,
            "signed_by": record.signed_by,
            "trust": record.trust,
        })),
    };
    let is_draft = !is_same && is_draft(store.volumes(), &active, &ledger, was_active.as_ref())?;
    let was_known = ledger.versions.contains_key(&version.to_string());
    let run = trail.begin(store, name, &change)?;
    let done =
        activate(store, staging, &checked, fetched, Coming { ledger, record, was_active, has_snapshot, is_draft });
    if done.is_err() && !was_known && (trail.verb() == Verb::Adopt || !root.plugin_snapshot(name, version).exists()) {
        // What did not come to be is not noted: what was put there by hand stays unknown. It may be that nothing can be
        // written any more: then this, too, is left to the next run.
        let _ = ledger::forget(store, name, Some(version));
    }
    let (run, draft_kept_as) = run.end(store, done)?;
    Ok(InstallReport { run: Some(run), draft_kept_as: draft_kept_as.map(|kept| kept.to_string()), ..report })
}

/// What is known when a version is about to become active.
struct Coming {
    ledger: Ledger,
    record: Record,
    was_active: Option<Version>,
    has_snapshot: bool,
    /// Whether what is active is somebody's draft.
    is_draft: bool,
}

/// Keeps and activates what lies at `staging`; the version under which a draft that was there is kept.
fn activate(
    store: &Store,
    staging: &Path,
    checked: &Checked,
    fetched: &Fetched,
    coming: Coming,
) -> Result<Option<Version>> {
    let Coming { mut ledger, record, was_active, has_snapshot, is_draft } = coming;
    let (volumes, name, version) = (store.volumes(), &checked.name, &checked.version);
    ledger::prepare(store)?;
    let draft = match is_draft {
        true => Some(keep_draft(store, name, &mut ledger, &store.root().plugin(name), was_active.as_ref())?),
        false => None,
    };
    ledger.versions.insert(version.to_string(), record);
    ledger.activate(version, draft.as_ref().or(was_active.as_ref()));
    keep(store, name, version, fetched, &ledger)?;
    // What a crash leaves until here is a note about a version that is not there, which nobody misses.
    if has_snapshot || !volumes.are_subvolumes() {
        volumes.sync(staging)?;
        volumes.commit(&store.root().packages())?;
    }
    if !has_snapshot {
        // On btrfs this is the commit that has all of the above on the disk: both share the same bytes.
        volumes.snapshot(staging, &store.root().plugin_snapshot(name, version), Access::ReadOnly)?;
    }
    switch(store, name, staging)?;
    Ok(draft)
}

/// Makes the volume at `incoming` the active one, in one step; the one before is kept for the way back. On the disk with
/// the next commit.
pub(super) fn switch(store: &Store, name: &PluginName, incoming: &Path) -> Result<()> {
    store.volumes().swap(incoming, &store.root().plugin(name))?;
    // It is active now; what cannot be tidied up is swept by the next run.
    if incoming.exists() {
        let _ = standby::keep(store, name, incoming);
    }
    Ok(())
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

fn is_sealed(volumes: &dyn Volumes, active: &Path) -> Result<bool> {
    Ok(volumes.look(active)?.is_some_and(|volume| volume.is_sealed))
}

/// Whether what is active is somebody's work, and no version that was installed. One that a run which was killed did not
/// seal is no draft, as long as nobody wrote to it.
pub(super) fn is_draft(
    volumes: &dyn Volumes,
    active: &Path,
    ledger: &Ledger,
    version: Option<&Version>,
) -> Result<bool> {
    let Some(version) = version else { return Ok(false) };
    if is_sealed(volumes, active)? {
        return Ok(false);
    }
    let tree = ledger.versions.get(&version.to_string()).and_then(|record| record.tree.as_ref());
    Ok(match tree {
        Some(tree) => !has_same(active, tree)?,
        None => true,
    })
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

/// Keeps the package as it came, for `op-install verify`, and what is known of it; on the disk with the next commit.
fn keep(store: &Store, name: &PluginName, version: &Version, fetched: &Fetched, ledger: &Ledger) -> Result<()> {
    let durability = store.volumes().durability();
    let [package, signature, gpg] = ledger::kept(store.root(), name, version);
    for (path, text) in [(signature, &fetched.signature), (gpg, &fetched.gpg)] {
        match text {
            Some(text) => file::replace(&path, text.as_bytes(), durability)?,
            // That of an earlier package would not fit.
            None => drop(std::fs::remove_file(&path)),
        }
    }
    file::replace(&package, &fetched.bytes, durability)?;
    ledger.write_ahead(store, name)
}

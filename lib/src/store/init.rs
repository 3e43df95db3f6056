//! The state root made as it should be: every volume there, and on btrfs each of them a subvolume.

use super::volumes::{Access, STAGING, Subvolumes, Volumes, copy_entry, names};
use super::{Lock, StateRoot, Store, Wait, mounts};
use crate::base::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `op-snapshot init` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RootReport {
    /// Always `root`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Where it is.
    pub root: String,
    /// The type of its file system, for example `btrfs`.
    pub file_system: String,
    /// Whether volumes are btrfs subvolumes.
    pub are_subvolumes: bool,
    /// Volumes that were missing.
    pub made: Vec<String>,
    /// Plain folders that became subvolumes.
    pub converted: Vec<String>,
    /// Volumes whose new files are compressed from now on.
    pub compressed: Vec<String>,
    /// Leftovers of crashed runs that were deleted.
    pub swept: Vec<String>,
    /// The image that the root lies on since this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageReport>,
}

/// A btrfs file system in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageReport {
    /// The file.
    pub file: String,
    /// How large it is.
    pub size_bytes: u64,
    /// The systemd unit that mounts it at boot.
    pub unit: String,
    /// Where the root's former content still is, when it had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
}

/// Makes what is missing and mends what is not as it should be. What is right is left alone.
pub fn init(root: &StateRoot, wait: &mut Wait) -> Result<RootReport> {
    let _applying = lock_applying(root, wait)?;
    let store = Store::open(root, wait)?;
    let mut report = RootReport {
        kind: "root".into(),
        version: 1,
        root: root.path().display().to_string(),
        file_system: mounts::of(root.path())?.kind,
        are_subvolumes: store.volumes().are_subvolumes(),
        made: Vec::new(),
        converted: Vec::new(),
        compressed: Vec::new(),
        swept: store.swept().iter().map(|path| name(path)).collect(),
        image: None,
    };
    if report.are_subvolumes {
        for path in plain(root)? {
            convert(&store, &path)?;
            report.converted.push(name(&path));
        }
    }
    for path in root.fixed() {
        if store.volumes().look(&path)?.is_none() {
            store.volumes().create(&path)?;
            report.made.push(name(&path));
        }
        if root.is_compressed(&path) && !store.volumes().is_compressed(&path) && store.volumes().compress(&path)? {
            report.compressed.push(name(&path));
        }
    }
    Ok(report)
}

/// Nobody may apply while what they write to is replaced.
pub(super) fn lock_applying(root: &StateRoot, wait: &mut Wait) -> Result<Option<Lock>> {
    let lock = root.lock();
    if !lock.exists() {
        return Ok(None);
    }
    root.make_parent(&lock)?;
    Lock::take(&lock, wait.timeout, wait.on_wait, wait.is_interrupted).map(Some)
}

/// The volumes of a root on btrfs that are plain folders. Snapshots that are copies stay copies: they go by themselves.
pub(super) fn plain(root: &StateRoot) -> Result<Vec<PathBuf>> {
    let volumes = Subvolumes.list(root.path())?.into_iter();
    Ok(volumes.filter(|volume| volume.name.starts_with('@') && !volume.is_subvolume).map(|v| v.path).collect())
}

/// Puts a subvolume with the same content in the place of a plain folder.
fn convert(store: &Store, path: &Path) -> Result<()> {
    let volumes = store.volumes();
    let staging = store.root().path().join(format!("{STAGING}{}", name(path)));
    if [store.root().cache_snapshots(), store.root().plugin_snapshots()].iter().any(|folder| folder == path) {
        volumes.create(&staging)?;
        copy_all(volumes, path, &staging)?;
        volumes.sync(&staging)?;
    } else {
        volumes.snapshot(path, &staging, access_of(volumes, path)?)?;
    }
    volumes.exchange(&staging, path)?;
    volumes.delete(&staging)
}

/// Makes a volume in `to` of every volume in `from`, and copies what is none.
pub(super) fn copy_all(volumes: &dyn Volumes, from: &Path, to: &Path) -> Result<()> {
    for name in names(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        if volumes.look(&source)?.is_some() {
            volumes.snapshot(&source, &target, access_of(volumes, &source)?)?;
        } else {
            copy_entry(&source, &target)?;
        }
    }
    Ok(())
}

/// Whether a copy of the volume is to be sealed.
pub(super) fn access_of(volumes: &dyn Volumes, path: &Path) -> Result<Access> {
    let is_sealed = volumes.look(path)?.is_some_and(|volume| volume.is_sealed);
    Ok(if is_sealed { Access::ReadOnly } else { Access::Writable })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

//! Volumes: the folders of the state root that are made, copied, sealed, exchanged and deleted whole.
//!
//! On btrfs a volume is a subvolume ([`Subvolumes`]), on any other file system a plain folder ([`Directories`]). Which
//! it is, is found by looking ([`at`]); what the operations mean is the same:
//!
//! | operation | on btrfs | elsewhere |
//! |---|---|---|
//! | [`create`](Volumes::create) | a subvolume | a folder |
//! | [`snapshot`](Volumes::snapshot) | instant, of one moment, shares all data | a copy, sharing blocks where the file system can |
//! | [`seal`](Volumes::seal) | the kernel refuses every write | all write bits are taken; root can still write |
//! | [`exchange`](Volumes::exchange) | one step | one step; on the few file systems that cannot, three steps that [`sweep`](super::sweep) finishes |
//! | [`delete`](Volumes::delete) | one step | out of sight in one step, then file by file |
//!
//! Rules that hold on both, so that what works on one works on the other:
//! - A sealed volume never changes folder: it is renamed and exchanged beside where it is, and snapshot elsewhere.
//! - A volume appears under its name complete, or not at all. Half-made ones are called `.staging-...`.
//! - When an operation returns, it has survived a power cut; only what was written *into* a volume by others needs
//!   [`sync`](Volumes::sync), before it is renamed or exchanged into place.
//! - A plain folder on btrfs (made by hand with `mkdir`) is a volume too: it is treated as elsewhere.
//!
//! Nothing here locks: whoever changes volumes holds the [`Store`](super::Store).

mod btrfs;
mod plain;
pub(crate) mod rename;
mod tree;

pub use btrfs::{Subvolumes, nested};
pub use plain::Directories;
pub use rename::{can_exchange, interrupted, swap};
pub use tree::{copy_entry, names};

use super::file::Durability;
use crate::base::{Error, Result};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// How names of things begin that are not finished, or no longer wanted: they are swept at the next start.
pub const STAGING: &str = ".staging-";

/// Whether a snapshot may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Sealed from the beginning.
    ReadOnly,
    /// An independent copy that may be changed, whatever it was taken from.
    Writable,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in its folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// A btrfs subvolume, and no plain folder.
    pub is_subvolume: bool,
    /// Sealed: see [`Volumes::seal`].
    pub is_sealed: bool,
    /// What btrfs knows of it; `None` for a plain folder.
    pub subvolume: Option<SubvolumeInfo>,
}

/// Whether `name` is that of something unfinished.
#[must_use]
pub fn is_staging(name: &str) -> bool {
    name.starts_with(STAGING)
}

/// What btrfs knows of a subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubvolumeInfo {
    /// Its number on its file system.
    pub id: u64,
    /// Its UUID.
    pub uuid: String,
    /// The UUID it had where it was sent from, when `btrfs receive` wrote it; gone once it was made writable.
    pub received_uuid: Option<String>,
    /// The transaction of its last change.
    pub generation: u64,
    /// The transaction it was made in: grows whatever the clock does.
    pub made_in: u64,
}

/// Everything that is done to whole volumes. Paths are absolute; the folder a volume lies in exists.
pub trait Volumes: Debug + Send + Sync {
    /// Whether volumes are btrfs subvolumes here.
    fn are_subvolumes(&self) -> bool;

    /// Makes an empty volume, writable by its owner alone (0755). Fails when there is something at `path`.
    fn create(&self, path: &Path) -> Result<()>;

    /// Makes `to`, a volume with what `from` holds. Fails when there is something at `to`; then nothing is left of it.
    ///
    /// Both are on one file system. What is cached of `from` is written first, so the snapshot is durable. Elsewhere
    /// than on btrfs a file that goes away while it is copied is left out, and `from` should be at rest.
    fn snapshot(&self, from: &Path, to: &Path, access: Access) -> Result<()>;

    /// Makes the volume read-only, for good: there is no way back but a writable snapshot. Sealing twice is once.
    fn seal(&self, path: &Path) -> Result<()>;

    /// Deletes the volume, sealed or not, and everything in it; nobody sees half of it.
    fn delete(&self, path: &Path) -> Result<()>;

    /// Gives the volume `from` the name `to`, durably. Fails when there is something at `to`. A sealed volume stays in
    /// its folder.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Exchanges the names of two volumes in one folder, durably: whoever opens `a` finds one of the two, whole. Whoever
    /// had it open before keeps what they opened.
    fn exchange(&self, a: &Path, b: &Path) -> Result<()>;

    /// Puts the volume `from` in the place of `to`, in one step; what was there gets the name `from`. On the disk with the
    /// next [`commit`](Volumes::commit).
    fn swap(&self, from: &Path, to: &Path) -> Result<()> {
        swap(from, to)
    }

    /// Has names that changed in `folder` on the disk, none of them before what was written to the disk before it, or
    /// written as [`durability`](Volumes::durability) says.
    fn commit(&self, folder: &Path) -> Result<()> {
        rename::sync_names(folder)
    }

    /// How a file is written beside volumes, for the next [`commit`](Volumes::commit) of its folder to have it on the disk.
    fn durability(&self) -> Durability {
        Durability::Whole
    }

    /// What the volume at `path` is; `None` when there is no folder.
    fn look(&self, path: &Path) -> Result<Option<Volume>>;

    /// Writes everything in the volume, and its name, to the disk.
    fn sync(&self, path: &Path) -> Result<()>;

    /// Has what is written into the volume from now on compressed (zstd); `false` where that is not offered.
    fn compress(&self, path: &Path) -> Result<bool>;

    /// Whether what is written into the volume is compressed.
    fn is_compressed(&self, path: &Path) -> bool;

    /// The volumes in a folder by name, without unfinished ones; none when there is no folder.
    fn list(&self, folder: &Path) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for name in names(folder)? {
            if !is_staging(&name) {
                volumes.extend(self.look(&folder.join(name))?);
            }
        }
        Ok(volumes)
    }
}

/// The volumes of the file system that `path`, or the nearest folder above it that exists, is on.
pub fn at(path: &Path) -> Result<Box<dyn Volumes>> {
    Ok(if is_btrfs(path)? { Box::new(Subvolumes) } else { Box::new(Directories) })
}

/// Whether `path`, or the nearest folder above it that exists, is on btrfs.
pub fn is_btrfs(path: &Path) -> Result<bool> {
    const BTRFS: u64 = 0x9123_683e;
    file_system(path).map(|found| found.f_type as u64 == BTRFS)
}

/// What the kernel says of the file system that `path`, or the nearest folder above it that exists, is on.
pub fn file_system(path: &Path) -> Result<rustix::fs::StatFs> {
    for place in path.ancestors() {
        match rustix::fs::statfs(place) {
            Err(rustix::io::Errno::NOENT) => {}
            found => return found.map_err(|e| Error::io("look at the file system", place, &e.into())),
        }
    }
    Err(Error::failed("no folder above it exists").on(path.display().to_string()))
}

/// The folder and the name of a volume's path.
fn split(path: &Path) -> Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(Error::failed("this cannot be the path of a volume").on(path.display().to_string())),
    }
}

/// Refuses to put something where something is.
fn must_be_free(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("look at it", path, &error)),
        Ok(_) => Err(taken(path)),
    }
}

fn taken(path: &Path) -> Error {
    Error::refused("there is something of that name already").on(path.display().to_string())
}

//! Volumes as btrfs subvolumes, by ioctls alone.
//!
//! Of `libbtrfs` only what acts on one subvolume is used, through file descriptors opened here. Never: `destroy_all`,
//! which looks for nested subvolumes in the working directory, and its receiving side, which obeys any stream.

use super::plain::{self, Directories};
use super::{Access, SubvolumeInfo, Volume, Volumes, must_be_free, rename, split, tree};
use crate::base::{Error, Kind, Result};
use crate::store::file::Durability;
use crate::store::ordered;
use libbtrfs::{snap, subvol};
use rustix::fs::{Mode, OFlags, XattrFlags};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// btrfs subvolumes; what is a plain folder is treated as [`Directories`] treats it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subvolumes;

/// The property that has files compressed, as `btrfs property set` writes it.
const COMPRESSION: &str = "btrfs.compression";
/// The inode number of every subvolume's top folder.
const TOP: u64 = 256;

impl Volumes for Subvolumes {
    fn are_subvolumes(&self) -> bool {
        true
    }

    fn create(&self, path: &Path) -> Result<()> {
        must_be_free(path)?;
        let (folder, name) = split(path)?;
        let made = open(folder).and_then(|folder| subvol::fd::create(&folder, name)).and_then(|()| {
            // The kernel leaves to the umask whether others may write.
            std::fs::set_permissions(path, Permissions::from_mode(path.metadata()?.mode() & 0o755))
        });
        made.map_err(|e| Error::io("make a subvolume", path, &e))?;
        // What is unfinished need not survive anything: its name is written when it gets its own.
        if super::is_staging(name) { Ok(()) } else { rename::sync_names(folder) }
    }

    fn snapshot(&self, from: &Path, to: &Path, access: Access) -> Result<()> {
        must_be_free(to)?;
        let attempt = |e: &io::Error| Error::io("make a snapshot of it", from, e);
        if is_subvolume(from).map_err(|e| attempt(&e))? {
            let (folder, name) = split(to)?;
            let made = open(from).and_then(|from| {
                let folder = open(folder)?;
                snap::fd::create(from, folder, name, access == Access::ReadOnly)
            });
            return made.map_err(|e| attempt(&e));
        }
        let staging = plain::beside(to, "copy")?;
        self.clear(&staging)?;
        let made = self
            .create(&staging)
            .and_then(|()| plain::fill(from, &staging, Access::Writable))
            .and_then(|()| if access == Access::ReadOnly { self.seal(&staging) } else { Ok(()) })
            .and_then(|()| self.rename(&staging, to));
        if made.is_err() {
            let _ = self.clear(&staging);
        }
        made
    }

    fn seal(&self, path: &Path) -> Result<()> {
        let attempt = |e: &io::Error| Error::io("make it read-only", path, e);
        if !is_subvolume(path).map_err(|e| attempt(&e))? {
            return Directories.seal(path);
        }
        open(path).and_then(|subvolume| subvol::fd::set_readonly(subvolume, true)).map_err(|e| attempt(&e))
    }

    fn delete(&self, path: &Path) -> Result<()> {
        let attempt = |e: &io::Error| Error::io("delete it", path, e);
        if !is_subvolume(path).map_err(|e| attempt(&e))? {
            // What is in it may be subvolumes, which go one by one once it is out of sight.
            return if split(path)?.1.starts_with(super::STAGING) {
                self.clear(path)
            } else {
                let staging = plain::beside(path, "removed")?;
                self.clear(&staging)?;
                self.rename(path, &staging)?;
                self.clear(&staging)
            };
        }
        let (folder, name) = split(path)?;
        match open(folder).and_then(|folder| subvol::fd::destroy(folder, name)) {
            Ok(()) => Ok(()),
            // It holds subvolumes of its own, or this user may remove only what is empty.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::PermissionDenied) => {
                let staging = plain::beside(path, "removed")?;
                let hidden = if name.starts_with(super::STAGING) { path } else { &staging };
                if hidden != path {
                    self.rename(path, hidden)?;
                }
                self.clear(hidden)
            }
            Err(error) => Err(attempt(&error)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        rename::rename(from, to).map_err(|error| match error.kind {
            // "Read-only file system" is what the kernel says of a sealed subvolume that is to change its folder.
            Kind::Denied if error.hint.is_none() && from.parent() != to.parent() => {
                error.hint("a read-only subvolume stays in its folder: make a snapshot of it instead")
            }
            _ => error,
        })
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        rename::exchange(a, b)
    }

    fn commit(&self, folder: &Path) -> Result<()> {
        // Each subvolume has a log of its own: writing a folder would not keep the order between them. A commit does.
        let committed = open(folder).and_then(|folder| ordered::commit(&File::from(folder)));
        committed.or_else(|_| self.sync(folder))
    }

    fn durability(&self) -> Durability {
        Durability::Ordered
    }

    fn look(&self, path: &Path) -> Result<Option<Volume>> {
        let Some(mut volume) = Directories.look(path)? else { return Ok(None) };
        let attempt = |e: &io::Error| Error::io("look at the subvolume", path, e);
        if is_subvolume(path).map_err(|e| attempt(&e))? {
            let subvolume = open(path).map_err(|e| attempt(&e))?;
            volume.is_subvolume = true;
            volume.is_sealed = subvol::fd::is_readonly(&subvolume).map_err(|e| attempt(&e))?;
            let info = subvol::fd::get_info(&subvolume).map_err(|e| attempt(&e))?;
            volume.subvolume = Some(SubvolumeInfo {
                id: info.treeid(),
                uuid: info.uuid().to_string(),
                received_uuid: Some(info.received_uuid()).filter(|uuid| !uuid.is_nil()).map(|uuid| uuid.to_string()),
                generation: info.generation(),
                made_in: info.otransid(),
            });
        }
        Ok(Some(volume))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        // One commit writes data and names of the whole file system.
        let synced = open(path).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        synced.map_err(|e| Error::io("write it to the disk", path, &e))
    }

    fn compress(&self, path: &Path) -> Result<bool> {
        if self.is_compressed(path) {
            return Ok(true);
        }
        match rustix::fs::setxattr(path, COMPRESSION, b"zstd", XattrFlags::empty()) {
            Ok(()) => Ok(true),
            Err(error) => Err(Error::io("have it compressed", path, &error.into())),
        }
    }

    fn is_compressed(&self, path: &Path) -> bool {
        let mut value = [0_u8; 16];
        rustix::fs::getxattr(path, COMPRESSION, &mut value).is_ok_and(|length| length > 0)
    }
}

impl Subvolumes {
    /// Removes a subvolume or folder bit by bit: what is sealed is opened, what is nested goes first.
    fn clear(&self, path: &Path) -> Result<()> {
        let attempt = |e: &io::Error| Error::io("delete it", path, e);
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(attempt(&error)),
            Ok(_) => {}
        }
        let is_subvolume = is_subvolume(path).map_err(|e| attempt(&e))?;
        if is_subvolume {
            open(path).and_then(|subvolume| subvol::fd::set_readonly(subvolume, false)).map_err(|e| attempt(&e))?;
        }
        for entry in tree::entries(path)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && holds_subvolumes(&entry.path())? {
                self.clear(&entry.path())?;
            }
        }
        let (folder, name) = split(path)?;
        if is_subvolume && open(folder).and_then(|folder| subvol::fd::destroy(folder, name)).is_ok() {
            return Ok(());
        }
        // An empty subvolume goes as an empty folder does, which needs no privilege.
        tree::remove(path)
    }
}

/// A subvolume that lies in the subvolume `path`, if there is one.
pub fn nested(path: &Path) -> Result<Option<String>> {
    let mut found = None;
    let looked = open(path).and_then(|subvolume| {
        subvol::fd::get_rootref(subvolume, |_, folder, name| {
            let (folder, name): (&Path, &Path) = (folder.as_ref(), name.as_ref());
            found.get_or_insert_with(|| folder.join(name).display().to_string());
            Ok(())
        })
    });
    looked.map_err(|e| Error::io("look for subvolumes in it", path, &e)).map(|()| found)
}

/// Whether there is a subvolume at `path` or below it.
fn holds_subvolumes(path: &Path) -> Result<bool> {
    if is_subvolume(path).map_err(|e| Error::io("look at it", path, &e))? {
        return Ok(true);
    }
    for entry in tree::entries(path)? {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && holds_subvolumes(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_subvolume(path: &Path) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    Ok(metadata.is_dir() && metadata.ino() == TOP && subvol::fd::is_subvol(File::open(path)?)?)
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

//! Volumes as plain folders, for every file system.

use super::tree::{self, WriteBits};
use super::{Access, STAGING, Volume, Volumes, must_be_free, rename, split};
use crate::base::{Error, Result};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Plain folders. A folder none of whose write bits is set is sealed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Directories;

impl Volumes for Directories {
    fn are_subvolumes(&self) -> bool {
        false
    }

    fn create(&self, path: &Path) -> Result<()> {
        must_be_free(path)?;
        DirBuilder::new().mode(0o755).create(path).map_err(|e| Error::io("make a folder", path, &e))?;
        rename::sync_names(split(path)?.0)
    }

    fn snapshot(&self, from: &Path, to: &Path, access: Access) -> Result<()> {
        must_be_free(to)?;
        let staging = beside(to, "copy")?;
        tree::remove(&staging)?;
        let made = self.create(&staging).and_then(|()| fill(from, &staging, access)).and_then(|()| {
            // The name comes last: whoever sees it sees all of it.
            self.rename(&staging, to)
        });
        if made.is_err() {
            // What cannot be removed now is swept later; the failure that matters is the first.
            let _ = tree::remove(&staging);
        }
        made
    }

    fn seal(&self, path: &Path) -> Result<()> {
        tree::write_bits(path, WriteBits::Take)?;
        tree::sync(path)
    }

    fn delete(&self, path: &Path) -> Result<()> {
        let (_, name) = split(path)?;
        if name.starts_with(STAGING) {
            return tree::remove(path);
        }
        let staging = beside(path, "removed")?;
        tree::remove(&staging)?;
        self.rename(path, &staging)?;
        tree::remove(&staging)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        rename::rename(from, to)
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        rename::exchange(a, b)
    }

    fn look(&self, path: &Path) -> Result<Option<Volume>> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at it", path, &error)),
        };
        Ok(Some(Volume {
            name: split(path)?.1.to_owned(),
            path: path.to_owned(),
            is_subvolume: false,
            is_sealed: metadata.mode() & 0o222 == 0,
            subvolume: None,
        }))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        tree::sync(path)?;
        rename::sync_names(split(path)?.0)
    }

    fn compress(&self, _path: &Path) -> Result<bool> {
        Ok(false)
    }

    fn is_compressed(&self, _path: &Path) -> bool {
        false
    }
}

/// Fills the new folder `to` with a copy of `from`.
pub(super) fn fill(from: &Path, to: &Path, access: Access) -> Result<()> {
    if !fs::symlink_metadata(from).map_err(|e| Error::io("copy it", from, &e))?.is_dir() {
        return Err(Error::failed("it is no folder").on(from.display().to_string()));
    }
    tree::copy(from, to)?;
    match access {
        Access::ReadOnly => tree::write_bits(to, WriteBits::Take),
        Access::Writable => tree::write_bits(to, WriteBits::Give),
    }
}

/// The staging name for doing something to `path`, in its folder.
pub(super) fn beside(path: &Path, what: &str) -> Result<PathBuf> {
    let (folder, name) = split(path)?;
    Ok(folder.join(format!("{STAGING}{what}-{name}-{}", std::process::id())))
}

//! Trees of plain files: copied, written to the disk, deprived of their write bits, removed.

use crate::base::{Error, Result};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens, ioctl_ficlone};
use std::fs::{self, DirEntry, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The names in a folder, sorted; none when there is no folder.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list the folder", folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list the folder", folder, &e))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The entries of a folder, which may be going away.
pub fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect),
    };
    listed.map_err(|e: std::io::Error| Error::io("list the folder", folder, &e))
}

/// Copies what the folder `from` holds into the folder `to`, which is there: files, folders and symbolic links with
/// their permissions and times. What goes away meanwhile is left out. Every file is on the disk when this returns.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in entries(from)? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let copied = copy_entry(&source, &target);
        match copied {
            Err(error) if source.symlink_metadata().is_err() => drop(error),
            copied => copied?,
        }
    }
    let stamped = fs::metadata(from).and_then(|metadata| {
        let folder = File::open(to)?;
        stamp(&folder, &metadata)?;
        folder.sync_all()
    });
    stamped.map_err(|e| Error::io("copy the folder", from, &e))
}

/// Copies a file, a folder with everything in it, or a symbolic link to `target`, where nothing is.
pub fn copy_entry(source: &Path, target: &Path) -> Result<()> {
    let attempt = |e: &std::io::Error| Error::io("copy it", source, e);
    let metadata = source.symlink_metadata().map_err(|e| attempt(&e))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(target).map_err(|e| attempt(&e))?;
        copy(source, target)
    } else if kind.is_file() {
        copy_file(source, target).map_err(|e| attempt(&e))
    } else if kind.is_symlink() {
        let link = fs::read_link(source).and_then(|link| std::os::unix::fs::symlink(link, target));
        link.map_err(|e| attempt(&e))
    } else {
        Err(Error::failed("it is neither a file nor a folder, so it cannot be copied")
            .on(source.display().to_string())
            .hint("remove it: no program of op-dbus makes such things here"))
    }
}

fn copy_file(source: &Path, target: &Path) -> std::io::Result<()> {
    let mut from = File::open(source)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    // Sharing blocks is an offer of some file systems; copying is what every one can.
    if ioctl_ficlone(&to, &from).is_err() {
        std::io::copy(&mut from, &mut to)?;
    }
    stamp(&to, &from.metadata()?)?;
    to.sync_all()
}

/// Permissions and the time of the last change.
fn stamp(to: &File, metadata: &fs::Metadata) -> std::io::Result<()> {
    to.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))?;
    let last_modification = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() as _ };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Ok(futimens(to, &Timestamps { last_access, last_modification })?)
}

/// Whether write bits are taken from a tree or given back to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteBits {
    /// Nobody but root can write.
    Take,
    /// The owner can.
    Give,
}

/// Takes or gives the write bits of everything in `folder`, itself last when they are taken and first when given: its
/// own bits say that all of it is done.
pub fn write_bits(folder: &Path, bits: WriteBits) -> Result<()> {
    if bits == WriteBits::Give {
        set_write_bits(folder, bits)?;
    }
    for entry in entries(folder)? {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => write_bits(&path, bits)?,
            Ok(kind) if kind.is_file() => set_write_bits(&path, bits)?,
            _ => {}
        }
    }
    if bits == WriteBits::Take { set_write_bits(folder, bits) } else { Ok(()) }
}

fn set_write_bits(path: &Path, bits: WriteBits) -> Result<()> {
    let changed = path.symlink_metadata().and_then(|metadata| {
        let mode = metadata.mode() & 0o7777;
        let wanted = if bits == WriteBits::Take { mode & !0o222 } else { mode | 0o200 };
        if wanted == mode { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(wanted)) }
    });
    changed.map_err(|e| Error::io("change its permissions", path, &e))
}

/// Writes every file and folder below `folder`, and itself, to the disk.
pub fn sync(folder: &Path) -> Result<()> {
    for entry in entries(folder)? {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => sync(&path)?,
            Ok(kind) if kind.is_file() => sync_one(&path)?,
            _ => {}
        }
    }
    sync_one(folder)
}

fn sync_one(path: &Path) -> Result<()> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(|e| Error::io("write it to the disk", path, &e)),
    }
}

/// Removes a tree whose folders its owner may not write.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            write_bits(folder, WriteBits::Give)?;
            fs::remove_dir_all(folder).map_err(|e| Error::io("remove it", folder, &e))
        }
        done => done.map_err(|e| Error::io("remove it", folder, &e)),
    }
}

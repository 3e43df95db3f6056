//! A tree in a folder. Every path is resolved by the kernel below that folder, without following any link: what the gate
//! overlooked would still not get out.

use super::unpack::Sink;
use crate::base::{Error, Kind, Result};
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Files of plugins are read by everybody and written by their owner, whoever packed them.
const FILE: Mode = Mode::from_raw_mode(0o644);
const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// A folder that is filled.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    path: PathBuf,
    /// The file that was written last: the next command is most probably about it too.
    open: Option<(String, OwnedFd)>,
}

impl Folder {
    /// An empty folder that is there.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::io("open the folder to unpack into", path, &e.into()))?;
        Ok(Self { root, path: path.to_owned(), open: None })
    }

    fn failed(&self, attempt: &str, path: &str, error: Errno) -> Error {
        match error {
            Errno::NOSYS => Error::new(Kind::Unavailable, "this kernel has no openat2, so no package can be unpacked")
                .hint("Linux 5.6 or newer has it"),
            error => Error::io(attempt, &self.path.join(path), &io::Error::from(error)),
        }
    }

    fn openat2(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, resolve) {
                // The kernel saw a rename somewhere and could not be sure.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// The folder a path is in, and its name there.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Errno> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        Ok((self.openat2(folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    fn file(&mut self, path: &str) -> Result<BorrowedFd<'_>> {
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            let file = self.openat2(path, OFlags::RDWR, Mode::empty());
            let file = file.map_err(|e| self.failed("open an unpacked file", path, e))?;
            self.open = Some((path.to_owned(), file));
        }
        match &self.open {
            Some((_, file)) => Ok(file.as_fd()),
            None => Err(Error::failed("the unpacked file is gone").on(path)),
        }
    }
}

impl Sink for Folder {
    fn make_file(&mut self, path: &str) -> Result<()> {
        let made = self.openat2(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE);
        let file = made.map_err(|e| self.failed("unpack a file", path, e))?;
        // Whatever the mask of new files is here.
        rustix::fs::fchmod(&file, FILE).map_err(|e| self.failed("set the permissions of", path, e))?;
        self.open = Some((path.to_owned(), file));
        Ok(())
    }

    fn make_folder(&mut self, path: &str) -> Result<()> {
        let make = || {
            let (parent, name) = self.parent(path)?;
            rustix::fs::mkdirat(&parent, name, FOLDER)?;
            let folder = self.openat2(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            rustix::fs::fchmod(&folder, FOLDER)
        };
        make().map_err(|e| self.failed("unpack a folder", path, e))
    }

    fn rename(&mut self, path: &str, to: &str) -> Result<()> {
        let rename = || {
            let (old_parent, old) = self.parent(path)?;
            let (new_parent, new) = self.parent(to)?;
            rustix::fs::renameat_with(&old_parent, old, &new_parent, new, RenameFlags::NOREPLACE)
        };
        rename().map_err(|e| self.failed("name what was unpacked", to, e))?;
        match &mut self.open {
            Some((open, _)) if open == path => to.clone_into(open),
            _ => self.open = None,
        }
        Ok(())
    }

    fn write(&mut self, path: &str, mut offset: u64, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let file = self.file(path)?;
            match rustix::io::pwrite(file, data, offset) {
                Ok(0) => return Err(self.failed("unpack into", path, Errno::IO)),
                Ok(count) => {
                    offset += count as u64;
                    data = &data[count..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("unpack into", path, error)),
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &str, mut offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let file = self.file(path)?;
            match rustix::io::pread(file, &mut buffer[done..], offset) {
                Ok(0) => return Err(Error::untrusted("the file is shorter than that").on(path)),
                Ok(count) => {
                    done += count;
                    offset += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("read what was unpacked in", path, error)),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let file = self.file(path)?;
        rustix::fs::ftruncate(file, size).map_err(|e| self.failed("set the size of", path, e))
    }
}

//! What the folder of a plugin holds, whether it may be a package, and the digest by which it is known.
//!
//! The tree digest is over paths and contents alone: owners, times and permissions are no part of a plugin. The same
//! tree has the same digest on every machine and file system.

use super::stream::{Code, Command, Encoder, Gate, Limits, Memory};
use crate::base::digest::{self, Plain};
use crate::base::{Error, Result};
use rustix::fs::{Dir, FileType, Mode, OFlags, fgetxattr, flistxattr, fstat};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Files and folders of a plugin, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    entries: BTreeMap<String, Entry>,
    folder: Option<PathBuf>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// SHA-256, as `sha256sum` prints it.
        sha256: String,
    },
}

impl Contents {
    /// Reads a folder by the rules of the gate: what could not be in a package is refused, every case of it.
    pub fn of_folder(path: &Path, limits: Limits) -> Result<Self> {
        let attempt = |e: rustix::io::Errno| Error::io("read the plugin's folder", path, &e.into());
        let root = rustix::fs::open(path, FOLDER, Mode::empty()).map_err(attempt)?;
        let mut gate = Gate::new(limits);
        gate.admit(&Command::Subvolume { name: b"x", uuid: [0; 16], ctransid: 0 })?;
        let mut walk = Walk { root: path, gate, entries: BTreeMap::new(), errors: Vec::new() };
        walk.folder(&root, "")?;
        match Error::all(walk.errors) {
            Some(error) => Err(error),
            None => Ok(Self { entries: walk.entries, folder: Some(path.to_owned()) }),
        }
    }

    /// What was unpacked into memory.
    #[must_use]
    pub fn of_memory(memory: &Memory) -> Self {
        let entry = |content: &Option<Vec<u8>>| match content {
            None => Entry::Folder,
            Some(bytes) => Entry::File { size: bytes.len() as u64, sha256: Plain::of(bytes) },
        };
        let entries = memory.0.iter().map(|(path, content)| (path.clone(), entry(content))).collect();
        Self { entries, folder: None }
    }

    /// Files and folders by path; a folder comes before what is in it.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The tree digest: of the JSON object of all paths, a file's value being its SHA-256 and a folder's null.
    #[must_use]
    pub fn digest(&self) -> String {
        let value = |entry: &Entry| match entry {
            Entry::Folder => Value::Null,
            Entry::File { sha256, .. } => Value::String(sha256.clone()),
        };
        let map: Map<String, Value> = self.entries.iter().map(|(path, entry)| (path.clone(), value(entry))).collect();
        digest::of_json("tree", &Value::Object(map))
    }

    /// Writes the folder as a stream, as `btrfs send` would for a subvolume called `name`. The same contents give the
    /// same bytes; a folder that changes meanwhile is an error.
    pub fn encode<W: Write>(&self, name: &str, to: W) -> Result<W> {
        let folder = self.folder.as_deref().unwrap_or(Path::new("."));
        let mut uuid = [0; 16];
        for (byte, hex) in uuid.iter_mut().zip(self.digest().trim_start_matches("sha256:").as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
        }
        let mut encoder = Encoder::new(to, 1)?;
        encoder.subvolume(name, &uuid)?;
        encoder.chmod("", 0o755)?;
        for (path, entry) in &self.entries {
            let Entry::File { sha256, .. } = entry else {
                encoder.folder(path)?;
                continue;
            };
            let full = folder.join(path);
            let file = File::open(&full).map_err(|e| Error::io("read", &full, &e))?;
            let mut tee = Tee { from: file, digest: Plain::default() };
            encoder.file(path, &mut tee)?;
            if tee.digest.finish() != *sha256 {
                return Err(Error::failed("it changed while it was read").on(full.display().to_string()));
            }
        }
        encoder.end()
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

struct Walk<'p> {
    root: &'p Path,
    gate: Gate,
    entries: BTreeMap<String, Entry>,
    errors: Vec<Error>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &str) -> Result<()> {
        let attempt = |e: rustix::io::Errno| Error::io("read the plugin's folder", &self.root.join(path), &e.into());
        let stat = fstat(folder).map_err(attempt)?;
        let listed = Dir::read_from(folder).map_err(attempt)?;
        let mut names = Vec::new();
        for entry in listed {
            let name = entry.map_err(attempt)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        self.properties(path, folder, stat.st_mode);
        for name in names {
            // A name that is no text is refused by the gate, which sees it as it is.
            let bytes = if path.is_empty() { name.clone() } else { [path.as_bytes(), b"/", &name].concat() };
            self.entry(folder, &name, &bytes)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &[u8], bytes: &[u8]) -> Result<()> {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let full = self.root.join(&shown);
        let attempt = |e: rustix::io::Errno| Error::io("read the plugin's folder", &full, &e.into());
        let stat = rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).map_err(attempt)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let command = match kind {
            FileType::Directory => Command::MakeFolder { path: bytes },
            FileType::RegularFile => Command::MakeFile { path: bytes },
            FileType::Symlink => Command::Other { code: Code::SYMBOLIC_LINK, path: bytes },
            FileType::Fifo => Command::Other { code: Code::MAKE_FIFO, path: bytes },
            FileType::Socket => Command::Other { code: Code::MAKE_SOCKET, path: bytes },
            _ => Command::Other { code: Code::MAKE_DEVICE, path: bytes },
        };
        if !self.admit(&command) {
            return Ok(());
        }
        if kind == FileType::Directory {
            let inner = rustix::fs::openat(folder, name, FOLDER, Mode::empty()).map_err(attempt)?;
            self.entries.insert(shown.clone(), Entry::Folder);
            return self.folder(&inner, &shown);
        }
        let file = File::from(rustix::fs::openat(folder, name, FILE, Mode::empty()).map_err(attempt)?);
        let stat = fstat(&file).map_err(attempt)?;
        if !self.admit(&Command::Truncate { path: bytes, size: u64::try_from(stat.st_size).unwrap_or(u64::MAX) }) {
            return Ok(());
        }
        self.properties(&shown, &file, stat.st_mode);
        // Not more than the gate was told, should it be growing.
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let mut tee = Tee { from: file.take(size), digest: Plain::default() };
        let read = io::copy(&mut tee, &mut io::sink()).map_err(|e| Error::io("read", &full, &e))?;
        self.entries.insert(shown, Entry::File { size: read, sha256: tee.digest.finish() });
        Ok(())
    }

    /// Permissions and extended attributes.
    fn properties(&mut self, path: &str, file: impl AsFd, mode: u32) {
        self.admit(&Command::Chmod { path: path.as_bytes(), mode: u64::from(mode & 0o7777) });
        let mut names = vec![0; 64 << 10];
        // A file system without them has none.
        let length = flistxattr(&file, &mut names[..]).unwrap_or_default();
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            // Some file systems list attributes that they do not have.
            if fgetxattr(&file, name, &mut Vec::<u8>::new()[..]).is_ok() {
                self.admit(&Command::SetXattr { path: path.as_bytes(), name });
            }
        }
    }

    fn admit(&mut self, command: &Command<'_>) -> bool {
        let admitted = self.gate.admit(command).map_err(|e| self.errors.push(e));
        admitted.is_ok()
    }
}

/// Digests what is read through it.
struct Tee<R> {
    from: R,
    digest: Plain,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

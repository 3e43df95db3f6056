//! What a plugin may consist of. The gate looks at each command before anything is done, keeps the tree that was made so
//! far, and refuses whatever a folder of configuration does not need. It does no I/O.

use super::command::{CloneSource, Code, Command, Extent};
use super::names::{is_provisional, is_unwelcome};
use crate::base::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

/// How much there may be. Plugins are some kilobytes; the defaults leave room for a hundred times the largest known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together, and bytes written.
    pub bytes: u64,
    /// Files and folders.
    pub entries: usize,
    /// Folders inside one another, the file included.
    pub depth: usize,
    /// Bytes of one name.
    pub name_bytes: usize,
    /// Commands.
    pub commands: u64,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 24 << 20,
            entries: 4096,
            depth: 8,
            name_bytes: 128,
            commands: 200_000,
            time: Duration::from_secs(30),
        }
    }
}

/// Which subvolume the stream is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its name; a plain one.
    pub name: String,
    uuid: [u8; 16],
    ctransid: u64,
}

/// Sizes of files by path; `None` is a folder.
pub type Tree = BTreeMap<String, Option<u64>>;

/// What is to be done for a command that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the commands of the same names")]
pub(in crate::package) enum Order<'a> {
    Nothing,
    MakeFile { path: &'a str },
    MakeFolder { path: &'a str },
    Rename { path: &'a str, to: &'a str },
    Write { path: &'a str, offset: u64, data: &'a [u8] },
    WriteExtent { path: &'a str, offset: u64, extent: Extent, data: &'a [u8] },
    Copy { path: &'a str, offset: u64, length: u64, from: &'a str, from_offset: u64 },
    Truncate { path: &'a str, size: u64 },
}

/// Decides what passes.
#[derive(Debug)]
pub(in crate::package) struct Gate {
    limits: Limits,
    deadline: Instant,
    subvolume: Option<Subvolume>,
    tree: Tree,
    bytes: u64,
    written: u64,
    commands: u64,
    has_ended: bool,
}

/// Labels that a host's security module puts on every file; they say nothing elsewhere.
const LABELS: [&str; 5] =
    ["security.selinux", "security.apparmor", "security.ima", "security.evm", "btrfs.compression"];
/// Largest extent of btrfs when decompressed.
const MAX_EXTENT: u64 = 128 << 10;

impl Gate {
    /// A gate that saw nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            deadline: Instant::now() + limits.time,
            subvolume: None,
            tree: Tree::new(),
            bytes: 0,
            written: 0,
            commands: 0,
            has_ended: false,
        }
    }

    /// The subvolume and its tree, once all commands passed and the stream has ended.
    pub fn finish(self) -> Result<(Subvolume, Tree)> {
        let Some(subvolume) = self.subvolume.filter(|_| self.has_ended) else {
            return Err(Error::untrusted("the stream is cut off: it has no end").hint("fetch the package again"));
        };
        if let Some(left) = self.tree.keys().find(|path| is_provisional(path)) {
            return Err(Error::untrusted("the stream ends before this got its name").on(left.clone()));
        }
        Ok((subvolume, self.tree))
    }

    /// Looks at a command; what is to be done for it.
    pub(in crate::package) fn admit<'a>(&mut self, command: &Command<'a>) -> Result<Order<'a>> {
        self.commands += 1;
        if self.commands > self.limits.commands {
            return Err(too_much(format!("the stream has more than {} commands", self.limits.commands)));
        }
        // Looking at the clock is as much work as the rest.
        if self.commands.is_multiple_of(64) && Instant::now() > self.deadline {
            return Err(too_much(format!("unpacking takes longer than {} s", self.limits.time.as_secs())));
        }
        if self.has_ended {
            let what = Error::untrusted("something follows the end of the stream");
            return Err(what.hint("a package holds one subvolume: send one at a time"));
        }
        let Some(subvolume) = &self.subvolume else { return self.begin(command).map(|()| Order::Nothing) };
        match *command {
            Command::Subvolume { .. } => Err(Error::untrusted("the package holds a second subvolume")),
            Command::MakeFile { path } => {
                let path = self.new_path(path)?;
                self.tree.insert(path.into(), Some(0));
                Ok(Order::MakeFile { path })
            }
            Command::MakeFolder { path } => {
                let path = self.new_path(path)?;
                self.tree.insert(path.into(), None);
                Ok(Order::MakeFolder { path })
            }
            Command::Rename { path, to } => self.rename(path, to),
            Command::Write { path, offset, data } => {
                let path = self.file(path)?.0;
                self.grow(path, offset, data.len() as u64)?;
                Ok(Order::Write { path, offset, data })
            }
            Command::EncodedWrite { path, offset, extent, data } => {
                let path = self.file(path)?.0;
                check_extent(&extent).map_err(|e| e.on(path))?;
                self.grow(path, offset, extent.file_length)?;
                Ok(Order::WriteExtent { path, offset, extent, data })
            }
            Command::Clone { path, offset, length, source } => {
                let from = self.source(&source, subvolume, length)?;
                let path = self.file(path)?.0;
                self.grow(path, offset, length)?;
                Ok(Order::Copy { path, offset, length, from, from_offset: source.offset })
            }
            Command::Truncate { path, size } => {
                let (path, old) = self.file(path)?;
                self.resize(path, old, size)?;
                Ok(Order::Truncate { path, size })
            }
            Command::Chmod { path, mode } => self.chmod(path, mode).map(|()| Order::Nothing),
            Command::Ignored { path } => self.known(path).map(|_| Order::Nothing),
            Command::SetXattr { path, name } => self.xattr(path, name).map(|()| Order::Nothing),
            Command::Other { code, path } => Err(refused(code, path)),
            Command::End => {
                self.has_ended = true;
                Ok(Order::Nothing)
            }
        }
    }

    fn begin(&mut self, command: &Command<'_>) -> Result<()> {
        match *command {
            Command::Subvolume { name, uuid, ctransid } => {
                // `btrfs send` writes the name alone, whatever folder the subvolume is in.
                let name = self.plain_name(name).map_err(|why| {
                    let shown = String::from_utf8_lossy(name).into_owned();
                    Error::untrusted(format!("the subvolume's name {why}")).on(format!("{shown:?}"))
                })?;
                self.subvolume = Some(Subvolume { name: name.into(), uuid, ctransid });
                Ok(())
            }
            Command::Other { code: code @ Code::SNAPSHOT, path } => Err(refused(code, path)
                .hint("it holds only what differs from another subvolume: send it whole, without -p and -c")),
            _ => Err(Error::untrusted("the stream does not begin with a subvolume")),
        }
    }

    /// One name: what may stand between two slashes.
    fn plain_name<'a>(&self, name: &'a [u8]) -> Result<&'a str, String> {
        let text = std::str::from_utf8(name).map_err(|_| "is not UTF-8".to_owned())?;
        match text {
            "" => return Err("is empty".into()),
            "." | ".." => return Err("leads elsewhere".into()),
            _ if text.len() > self.limits.name_bytes => {
                return Err(format!("is longer than {} bytes", self.limits.name_bytes));
            }
            _ => {}
        }
        match text.chars().find(|c| is_unwelcome(*c)) {
            Some('/') => Err("leads elsewhere".into()),
            Some(c) => Err(format!("has the character {:?}", c)),
            None => Ok(text),
        }
    }

    /// A path inside the subvolume, which need not be there.
    fn path<'a>(&self, bytes: &'a [u8]) -> Result<&'a str> {
        let refused = |why: &str| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned();
            Error::untrusted(format!("a path {why}")).on(format!("{shown:?}"))
        };
        let text = std::str::from_utf8(bytes).map_err(|_| refused("is not UTF-8"))?;
        if text.starts_with('/') {
            return Err(refused("is absolute"));
        }
        for (depth, name) in text.split('/').enumerate() {
            if depth >= self.limits.depth {
                return Err(refused(&format!("is deeper than {} folders", self.limits.depth)));
            }
            self.plain_name(name.as_bytes()).map_err(|why| refused(&format!("has a name that {why}")))?;
        }
        Ok(text)
    }

    /// A path that is free, in a folder that is there.
    fn new_path<'a>(&self, bytes: &'a [u8]) -> Result<&'a str> {
        let path = self.path(bytes)?;
        if self.tree.contains_key(path) {
            return Err(Error::untrusted("the package makes this twice").on(path));
        }
        match path.rsplit_once('/').map(|(folder, _)| (folder, self.tree.get(folder))) {
            None | Some((_, Some(None))) => {}
            Some((folder, Some(Some(_)))) => {
                return Err(Error::untrusted(format!("{folder} is a file, so nothing can be in it")).on(path));
            }
            Some((_, None)) => return Err(Error::untrusted("the package makes this in a folder it lacks").on(path)),
        }
        if self.tree.len() >= self.limits.entries {
            return Err(too_much(format!("the package has more than {} files and folders", self.limits.entries)));
        }
        Ok(path)
    }

    /// A path that is there; the empty one is the subvolume itself.
    fn known<'a>(&self, bytes: &'a [u8]) -> Result<(&'a str, Option<u64>)> {
        if bytes.is_empty() {
            return Ok(("", None));
        }
        let path = self.path(bytes)?;
        match self.tree.get(path) {
            Some(entry) => Ok((path, *entry)),
            None => Err(Error::untrusted("the package changes what it did not make").on(path)),
        }
    }

    fn file<'a>(&self, bytes: &'a [u8]) -> Result<(&'a str, u64)> {
        match self.known(bytes)? {
            (path, Some(size)) => Ok((path, size)),
            (path, None) => Err(Error::untrusted("the package writes into a folder as into a file").on(path)),
        }
    }

    fn rename<'a>(&mut self, path: &'a [u8], to: &'a [u8]) -> Result<Order<'a>> {
        let (path, _) = self.known(path)?;
        if !is_provisional(path) {
            return Err(Error::untrusted("the package renames what has its name already").on(path));
        }
        let to = self.new_path(to)?;
        if to.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Error::untrusted("a folder cannot be moved into itself").on(path));
        }
        for moved in at_and_below(&self.tree, path) {
            self.path(format!("{to}{}", &moved[path.len()..]).as_bytes())?;
        }
        move_entries(&mut self.tree, path, to);
        Ok(Order::Rename { path, to })
    }

    /// What a clone copies: a part of a file that was made before, in this subvolume.
    fn source<'a>(&self, source: &CloneSource<'a>, own: &Subvolume, length: u64) -> Result<&'a str> {
        if source.uuid != own.uuid || source.ctransid != own.ctransid {
            let shown = String::from_utf8_lossy(source.path).into_owned();
            return Err(Error::untrusted("the package takes content from another subvolume").on(format!("{shown:?}")));
        }
        let (path, size) = self.file(source.path)?;
        if source.offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::untrusted("the package copies what lies behind the end of this file").on(path));
        }
        Ok(path)
    }

    fn grow(&mut self, path: &str, offset: u64, length: u64) -> Result<()> {
        if length == 0 {
            // As the kernel has it: writing nothing makes no file longer, wherever it is written.
            return Ok(());
        }
        self.written = self.written.saturating_add(length);
        if self.written > self.limits.bytes {
            return Err(too_much(format!("the package writes more than {} bytes", self.limits.bytes)).on(path));
        }
        let old = self.tree.get(path).copied().flatten().unwrap_or_default();
        self.resize(path, old, old.max(offset.saturating_add(length)))
    }

    fn resize(&mut self, path: &str, old: u64, new: u64) -> Result<()> {
        self.bytes = (self.bytes - old).saturating_add(new);
        if self.bytes > self.limits.bytes {
            return Err(too_much(format!("the files are larger than {} bytes", self.limits.bytes)).on(path));
        }
        if let Some(entry) = self.tree.get_mut(path) {
            *entry = Some(new);
        }
        Ok(())
    }

    fn chmod(&self, path: &[u8], mode: u64) -> Result<()> {
        let (path, entry) = self.known(path)?;
        let shown = if path.is_empty() { "the subvolume" } else { path };
        if mode & !0o777 != 0 {
            return Err(Error::untrusted(format!("the package sets special permissions ({mode:o})"))
                .on(shown)
                .hint("a plugin is data: remove set-user-id, set-group-id and sticky bits before it is published"));
        }
        if entry.is_some() && mode & 0o111 != 0 {
            return Err(Error::untrusted(format!("the package makes a file executable ({mode:o})"))
                .on(shown)
                .hint("a plugin is data and holds no code: chmod a-x before it is published"));
        }
        Ok(())
    }

    fn xattr(&self, path: &[u8], name: &[u8]) -> Result<()> {
        let (path, _) = self.known(path)?;
        let name = String::from_utf8_lossy(name);
        if LABELS.contains(&&*name) || name.starts_with("security.SMACK64") {
            return Ok(());
        }
        Err(refused(Code::SET_XATTR, path.as_bytes()).hint(format!("remove it: setfattr -x {name:?} FILE")))
    }
}

fn at_and_below<T>(tree: &BTreeMap<String, T>, path: &str) -> Vec<String> {
    let from = tree.range::<str, _>((Bound::Included(path), Bound::Unbounded)).map(|(entry, _)| entry);
    let is_at_or_below = |entry: &&String| entry[path.len()..].is_empty() || entry[path.len()..].starts_with('/');
    from.take_while(|entry| entry.starts_with(path)).filter(is_at_or_below).cloned().collect()
}

/// Gives an entry, and with it all below, another path.
pub(super) fn move_entries<T>(tree: &mut BTreeMap<String, T>, path: &str, to: &str) {
    for old in at_and_below(tree, path) {
        if let Some(entry) = tree.remove(&old) {
            tree.insert(format!("{to}{}", &old[path.len()..]), entry);
        }
    }
}

fn check_extent(extent: &Extent) -> Result<()> {
    if extent.encryption != 0 {
        return Err(Error::untrusted("the content is encrypted"));
    }
    if extent.compression > 2 {
        return Err(Error::untrusted("the content is compressed in a way that is not read")
            .hint("zlib and zstd are; send it without --compressed-data"));
    }
    let end = extent.offset.checked_add(extent.file_length);
    if extent.length > MAX_EXTENT || end.is_none_or(|end| end > extent.length) {
        return Err(Error::untrusted("compressed content has lengths that cannot be"));
    }
    Ok(())
}

fn refused(code: Code, path: &[u8]) -> Error {
    let what = match code.what() {
        Some(what) => format!("the package holds {what}, which a plugin does not need"),
        None => format!("the package holds the unknown command {}", code.0),
    };
    match path {
        [] => Error::untrusted(what),
        path => Error::untrusted(what).on(format!("{:?}", String::from_utf8_lossy(&path[..path.len().min(1024)]))),
    }
}

fn too_much(what: String) -> Error {
    Error::untrusted(what).hint("this is not a folder of configuration")
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

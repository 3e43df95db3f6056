//! The chain on disk: finding its end, adding to it, reading it.

use super::actor::Actor;
use super::block::{self, Block, Header, Kind};
use crate::base::{Error, Result, time};
use crate::store::file::{self, Durability};
use crate::store::{Lock, StateRoot, layout, ordered};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How long to wait for another program that writes a block.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a new block is to say; the chain adds where it stands.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Why it is written.
    pub kind: Kind,
    /// The run it belongs to.
    pub run: Option<String>,
    /// Who does it.
    pub actor: Actor,
    /// Program and version.
    pub program: String,
    /// What there is to say about the whole.
    pub detail: Option<Value>,
    /// What was done, one value each.
    pub entries: Vec<Value>,
}

/// When a new block is on the disk.
pub enum Ending<'a> {
    /// Once it was added.
    Recorded,
    /// With the next commit of the file system, as what follows it is; until then it is there whole, or not at all. For
    /// changes that the same commit has on the disk.
    Ordered,
    /// Once this has written all that the file system has to write.
    Committed(&'a dyn Fn() -> Result<()>),
}

/// The audit trail of a state root.
#[derive(Debug, Clone)]
pub struct Chain {
    root: StateRoot,
    blocks: PathBuf,
    lock: PathBuf,
    hint: PathBuf,
    clock: fn() -> SystemTime,
    written: Arc<Mutex<Option<Written>>>,
}

/// The end of the chain as this program wrote it, so that it need not be read again for the next block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    head: Head,
    file: Stamp,
}

/// What changes when a file is another one, or has other contents: device, inode, length, time of the last change.
type Stamp = (u64, u64, u64, (i64, i64));

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of the newest block; 0 when there is none.
    pub number: u64,
    /// Its digest.
    pub digest: String,
}

impl Chain {
    /// The trail of `root`. It need not exist.
    pub fn open(root: &StateRoot) -> Result<Self> {
        let blocks = root.blocks();
        layout::check_owner(&blocks)?;
        Ok(Self {
            root: root.clone(),
            blocks,
            lock: root.audit_lock(),
            hint: root.audit_hint(),
            clock: SystemTime::now,
            written: Arc::default(),
        })
    }

    /// The same with another clock than the machine's.
    #[must_use]
    pub fn timed_by(self, clock: fn() -> SystemTime) -> Self {
        Self { clock, ..self }
    }

    /// The file of a block.
    #[must_use]
    pub fn file(&self, number: u64) -> PathBuf {
        self.blocks.join(format!("{number}.json"))
    }

    /// The folder of the blocks.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.blocks
    }

    /// The state root it is in.
    #[must_use]
    pub fn root(&self) -> &StateRoot {
        &self.root
    }

    /// The file of a block's vectors.
    #[must_use]
    pub fn vectors(&self, number: u64) -> PathBuf {
        self.root.block_vectors().join(format!("{number}.bin"))
    }

    /// Whether block `number` says that it has this digest. Only its beginning is read.
    pub(super) fn has_digest(&self, number: u64, digest: &str) -> bool {
        let wanted = format!("{{\"digest\":\"{digest}\"");
        let mut start = Vec::new();
        let read = open(&self.file(number)).and_then(|file| file.take(wanted.len() as u64).read_to_end(&mut start));
        read.is_ok() && start == wanted.as_bytes()
    }

    /// The folder of what is derived from the blocks, and may be deleted.
    #[must_use]
    pub fn derived(&self) -> PathBuf {
        self.root.audit_cache()
    }

    /// Keeps room on the disk for how `run` ends, so that a full disk shows before the first call and not after the last.
    pub fn reserve(&self, run: &str, bytes: u64) -> Result<()> {
        make_folder(&self.blocks)?;
        let path = self.root.audit_reserve(run);
        let reserved = fs::File::create(&path).and_then(|file| {
            let mode = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&file, mode, 0, bytes) {
                // A file system that cannot keep room says so, and is taken as it is.
                Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
                other => Ok(other?),
            }
        });
        reserved.map_err(|e| {
            let _ = fs::remove_file(&path);
            Error::io("keep room for the outcome", &path, &e)
        })
    }

    /// Lets the room be used. Its name stays.
    pub fn empty(&self, run: &str) {
        let emptied = fs::OpenOptions::new().write(true).truncate(true).open(self.root.audit_reserve(run));
        emptied.map_or_else(|_| self.release(run), drop);
    }

    /// Lets the room go again.
    pub fn release(&self, run: &str) {
        let _ = fs::remove_file(self.root.audit_reserve(run));
    }

    /// The number of the oldest block that is there: 1, unless older ones were pruned.
    #[must_use]
    pub fn first(&self) -> u64 {
        if self.file(1).symlink_metadata().is_ok() {
            return 1;
        }
        let names = fs::read_dir(&self.blocks).into_iter().flatten().flatten().filter_map(|entry| {
            entry.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok().filter(|number| *number > 0)
        });
        names.min().unwrap_or(1)
    }

    /// The number of the newest block: the last one before the first that is missing.
    #[must_use]
    pub fn last(&self) -> u64 {
        let is_there = |number: u64| self.file(number).symlink_metadata().is_ok();
        let hint = file::read(&self.hint).ok().flatten().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let mut low = if hint > 0 && is_there(hint) { hint } else { self.first() - 1 };
        let mut step = 1;
        while is_there(low + step) {
            low += step;
            step *= 2;
        }
        let mut high = low + step;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_there(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// The newest block, checked in itself.
    pub fn head(&self) -> Result<Head> {
        let number = self.last();
        if number == 0 {
            return Ok(Head { number, digest: block::genesis() });
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Written { head, file }) = written
            && head.number == number
            && stamp(&self.file(number)).is_ok_and(|now| now == file)
        {
            return Ok(head);
        }
        let bytes = self.bytes(number)?;
        let checked = block::check(&bytes, number).map_err(|error| {
            error.hint("nothing is added to a trail whose end is damaged: op-audit verify says more, op-audit repair mends a torn end")
        })?;
        Ok(Head { number, digest: checked.digest })
    }

    /// Adds a block, durably: once this returns, it is on the disk.
    pub fn append(&self, draft: Draft) -> Result<Block> {
        self.append_with(draft, &Ending::Recorded)
    }

    /// Adds a block, on the disk as `ending` says.
    ///
    /// The end is looked for again under the lock, so that two writers never follow the same block.
    pub fn append_with(&self, draft: Draft, ending: &Ending<'_>) -> Result<Block> {
        make_folder(&self.blocks)?;
        let _lock = Lock::take(&self.lock, PATIENCE, &mut |_| {}, &|| false)?;
        let head = self.head()?;
        self.settle_end(&head, ending)?;
        let header = Header {
            actor: draft.actor,
            count: 0,
            detail: draft.detail,
            format: block::FORMAT,
            kind: draft.kind,
            number: head.number + 1,
            previous: head.digest,
            program: draft.program,
            root: String::new(),
            run: draft.run,
            time: time::rfc3339((self.clock)()),
        };
        let (bytes, block) = block::seal(header, draft.entries)?;
        let path = self.file(block.header.number);
        if path.symlink_metadata().is_ok() {
            return Err(Error::failed("somebody else wrote this block").on(path.display().to_string()));
        }
        let durability = match ending {
            Ending::Recorded => Durability::Recorded,
            Ending::Ordered | Ending::Committed(_) => Durability::Ordered,
        };
        file::replace(&path, &bytes, durability)?;
        if let Ending::Committed(commit) = ending {
            // Under the lock: whoever adds the next block has this folder written, names before bytes.
            commit()?;
        }
        let head = Head { number: block.header.number, digest: block.digest.clone() };
        let written = stamp(&path).ok().map(|file| Written { head, file });
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = written;
        if let Some(folder) = self.hint.parent()
            && (folder.is_dir() || fs::create_dir_all(folder).is_ok())
        {
            // Only a hint: without it the end is found a little later.
            let _ = fs::write(&self.hint, block.header.number.to_string());
        }
        Ok(block)
    }

    /// Has the end of the chain on the disk, where a block may wait for a commit: the folder is not to be written before
    /// the bytes of what is in it. A run adds two such blocks at most, so it is the last two; and whoever added the end and
    /// commits now need not.
    fn settle_end(&self, head: &Head, ending: &Ending<'_>) -> Result<()> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = written.as_ref().is_some_and(|written| written.head == *head);
        if is_own && matches!(ending, Ending::Committed(_)) {
            return Ok(());
        }
        for number in [head.number.saturating_sub(1), head.number] {
            let path = self.file(number);
            match open(&path).and_then(|file| ordered::settle(&file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("write to the disk", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes of a block's file. A link or anything else that is no plain file is not followed.
    pub fn bytes(&self, number: u64) -> Result<Vec<u8>> {
        let path = self.file(number);
        let attempt = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Error::bad_input("there is no such block").on(format!("block {number}")),
            _ => Error::io("read", &path, &e),
        };
        let file = open(&path).map_err(attempt)?;
        let meta = file.metadata().map_err(attempt)?;
        if !meta.is_file() {
            return Err(Error::new(crate::base::Kind::Untrusted, "it is no plain file").on(path.display().to_string()));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0).min(block::MAX_BYTES));
        file.take(block::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(attempt)?;
        if bytes.len() > block::MAX_BYTES {
            return Err(Error::new(
                crate::base::Kind::Untrusted,
                format!("it is larger than {} bytes", block::MAX_BYTES),
            )
            .on(path.display().to_string()));
        }
        Ok(bytes)
    }

    /// Reads one block.
    pub fn read(&self, number: u64) -> Result<Block> {
        let bytes = self.bytes(number)?;
        block::check(&bytes, number)?.open()
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let meta = path.symlink_metadata()?;
    Ok((meta.dev(), meta.ino(), meta.len(), (meta.ctime(), meta.ctime_nsec())))
}

/// Opens what lies there, follows no link, and waits for nobody who would write into a pipe. That it was read is not noted
/// where that may be left out: the note would have to be written by whoever has the block on the disk next.
fn open(path: &Path) -> std::io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(rustix::io::Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        opened => opened,
    };
    Ok(opened.map(fs::File::from)?)
}

fn make_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if !path.is_dir() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|e| Error::io("make the folder of the audit trail", path, &e))?;
    }
    layout::check_owner(path)
}

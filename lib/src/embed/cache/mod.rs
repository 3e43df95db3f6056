//! The cache of vectors: computed once, answered ever after.
//!
//! ```text
//! @cache/embeddings/
//!   index.db           the authority (SQLite, WAL): keys, places, generation times, segments
//!   index.hash         the same for the fast path: derived, checked at each use, made again when it is missing
//!   vectors/00001.seg  packed records, appended to and never changed: see `segment`
//!   access.log         hits, misses and the time they saved, one line of bytes a process; folded into index.db by gc
//!   lock               held by the one who writes
//! ```
//! Readers take no lock. A record carries its key and a checksum, and both are looked at each time, so whatever happens
//! to the files, the answer is the vector that was computed for exactly this text or none at all.
//!
//! A save appends its records, has them on the disk (`fdatasync`), then commits the rows that point at them, then puts
//! them into the hash index. Killed in between, it leaves bytes nobody points at, which the next one overwrites; or rows
//! that the hash index does not know, which a miss finds by asking SQLite, as every miss does.

#[cfg(test)]
mod cache_tests;
mod db;
mod derived;
mod gc;
mod hash;
mod key;
mod read;
mod repair;
mod segment;
mod stats;
#[cfg(test)]
mod upkeep_tests;
mod verify;
mod warm;
mod write;

pub use gc::{Collect, Collected, Trial};
pub use key::{Key, Keys};
pub use stats::{Asked, SegmentStats, Stats};
pub use verify::Verified;
pub use warm::{Warm, Warmed};
pub use write::{New, Saved};

use crate::base::{Error, Result};
use crate::store::file::Durability;
use db::{Db, Look};
use hash::{HashIndex, HashWriter};
use segment::Segment;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a cache is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a save waits for the disk. Without, a power cut may lose what was saved, and no more than that.
    pub durability: Durability,
    /// Whether anything may be written: vectors, and when they were used.
    pub may_write: bool,
    /// The most bytes the cache may take: a save that goes over it evicts what is used least.
    pub max_bytes: Option<u64>,
    /// How long a save waits for another process's.
    pub lock_timeout: Duration,
    /// What the clock says, for tests and replayed traces; `None`: the machine's.
    pub now_s: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        let lock_timeout = Duration::from_secs(10);
        Self { durability: Durability::Durable, may_write: true, max_bytes: None, lock_timeout, now_s: None }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// What computing it took, once.
    pub generation_ns: u64,
}

/// A record that is not what it was when it was written. It counts as a miss; the next save replaces it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// The segment's file.
    pub file: PathBuf,
    /// Which of its records.
    pub slot: usize,
    /// What is wrong.
    pub what: String,
}

/// The cache, open. Shared by threads, and by processes that open it too.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    options: Options,
    shared: RwLock<Shared>,
    reader: Mutex<Option<Db>>,
    writer: Mutex<Option<write::Writer>>,
    uses: Mutex<Uses>,
    problems: Mutex<Vec<Problem>>,
    counters: Counters,
    /// SQLite knew what the hash index did not: the next save makes the hash index again.
    is_behind: AtomicBool,
}

/// What readers have mapped.
#[derive(Debug, Default)]
struct Shared {
    hash: Option<Arc<HashIndex>>,
    segments: Vec<Option<Arc<Segment>>>,
    copies: Option<warm::Copies>,
}

/// Uses not yet noted in the hash index, and the file they are noted in.
#[derive(Debug, Default)]
struct Uses {
    noted: Vec<(usize, hash::Use)>,
    file: Option<HashWriter>,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    saved_ns: AtomicU64,
}

impl Cache {
    /// Deletes the cache in `folder`, whatever version it is of. What others have open still answers them.
    pub fn reset(folder: &Path) -> Result<()> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("delete the cache", folder, &error))
            }
            _ => Ok(()),
        }
    }

    /// Opens the cache in `folder` (`@cache/embeddings`). It need not exist: the first save makes it. Nothing but a few
    /// bytes is read before the first question.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        if let Look::Version(version) = db::look(&folder.join("index.db")) {
            return Err(Error::failed(format!(
                "the cache is of version {version}, and this program's is {}",
                db::VERSION
            ))
            .on(folder.display().to_string())
            .hint("op-embed gc --reset begins a new one; vectors are computed again as they are asked for"));
        }
        let cache = Self {
            folder: folder.to_owned(),
            options,
            shared: RwLock::default(),
            reader: Mutex::default(),
            writer: Mutex::default(),
            uses: Mutex::default(),
            problems: Mutex::default(),
            counters: Counters::default(),
            is_behind: AtomicBool::new(false),
        };
        cache.reload();
        Ok(cache)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was found to be wrong since the last call.
    pub fn take_problems(&self) -> Vec<Problem> {
        std::mem::take(&mut *held(&self.problems))
    }

    fn index_path(&self) -> PathBuf {
        self.folder.join("index.db")
    }

    fn hash_path(&self) -> PathBuf {
        self.folder.join("index.hash")
    }

    fn segment_path(&self, id: u16) -> PathBuf {
        self.folder.join("vectors").join(format!("{id:05}.seg"))
    }

    fn now_s(&self) -> u64 {
        self.options.now_s.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// Maps the hash index that is there now.
    fn reload(&self) {
        let hash = HashIndex::open(&self.hash_path()).map(Arc::new);
        *held(&self.uses) = Uses::default();
        self.shared.write().unwrap_or_else(PoisonError::into_inner).hash = hash;
    }

    /// Notes the uses that were kept back.
    fn note_uses(&self) {
        let index = self.index();
        if let Some(index) = index {
            self.note(&mut held(&self.uses), &index);
        }
    }

    /// Which vectors are used decides what is kept longest; an answer never waits for it, and losing it harms none.
    fn note(&self, uses: &mut Uses, index: &HashIndex) {
        let noted = std::mem::take(&mut uses.noted);
        if uses.file.is_none() && !noted.is_empty() {
            uses.file = HashWriter::open(index).ok();
        }
        if let Some(file) = uses.file.as_ref().filter(|_| !index.is_superseded()) {
            let _ = noted.into_iter().try_for_each(|(at, used)| file.note_use(index, at, used));
        }
    }

    /// Forgets a cache that was deleted or moved away under this process, so that the next save begins a new one.
    fn forget(&self) {
        *held(&self.reader) = None;
        held(&self.uses).noted.clear();
        held(&self.uses).file = None;
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Shared::default();
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.note_uses();
        self.note_asked();
    }
}

/// A lock whose holder never leaves anything half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counters {
    fn hit(&self, generation_ns: u64) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        self.saved_ns.fetch_add(generation_ns, Ordering::Relaxed);
    }
}

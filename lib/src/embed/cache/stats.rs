//! What the cache holds, what it was asked, and what that saved.

use super::db::{Db, failed};
use super::segment::{Encoding, Segment};
use super::{Cache, held};
use crate::base::{Error, Result, time};
use crate::embed::map::PAGE;
use serde::Serialize;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

/// How often the cache was asked, and what it saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asked {
    /// Answers from the cache.
    pub hits: u64,
    /// Texts that had to be computed.
    pub misses: u64,
    /// What computing the hits had taken, once: the time that was saved.
    pub saved_ns: u64,
}

/// One segment of vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SegmentStats {
    /// Its file.
    pub file: PathBuf,
    /// How its vectors are stored: `f32`, `f16` or `int8`.
    pub vector_type: &'static str,
    /// The numbers of a vector.
    pub dimension: usize,
    /// Records written to it.
    pub records: usize,
    /// Whether nothing is added to it any more.
    pub is_sealed: bool,
    /// Whether its records are compressed with zstd.
    pub is_compressed: bool,
    /// Bytes of its records as they are.
    pub plain_bytes: u64,
    /// Bytes of its file.
    pub stored_bytes: u64,
    /// What zstd makes of it, where that was tried.
    pub zstd_bytes: Option<u64>,
    /// Bytes of it that are in memory.
    pub resident_bytes: u64,
    /// When it was begun.
    pub created: String,
}

/// The whole cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stats {
    /// `embedding_cache`.
    pub kind: &'static str,
    /// 1.
    pub version: u32,
    /// Where it lies.
    pub folder: PathBuf,
    /// Vectors it can answer with.
    pub vectors: u64,
    /// Since it was begun, all processes together.
    pub asked: Asked,
    /// The share of questions that were hits; absent when there were none.
    pub hit_share: Option<f64>,
    /// What computing one of its vectors took, in the mean.
    pub mean_generation_ns: u64,
    /// Bytes of the vectors' files.
    pub vector_bytes: u64,
    /// Bytes of `index.db`.
    pub index_bytes: u64,
    /// Bytes of `index.hash`.
    pub hash_bytes: u64,
    /// What the same vectors would take as f32, without compression.
    pub f32_bytes: u64,
    /// The share of the vectors' bytes that are in memory.
    pub resident_share: Option<f64>,
    /// Whether the hash index holds all that is committed; otherwise some hits are a few microseconds slower.
    pub is_hash_complete: bool,
    /// The segments.
    pub segments: Vec<SegmentStats>,
}

const RECORD: usize = 32;

impl Cache {
    /// What it holds and what it was asked.
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    pub fn stats(&self) -> Result<Stats> {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |m| m.len());
        let mut stats = Stats {
            kind: "embedding_cache",
            version: 1,
            folder: self.folder.clone(),
            vectors: 0,
            asked: self.asked_in_log(),
            hit_share: None,
            mean_generation_ns: 0,
            vector_bytes: 0,
            index_bytes: size(self.index_path()) + size(self.folder.join("index.db-wal")),
            hash_bytes: size(self.hash_path()),
            f32_bytes: 0,
            resident_share: None,
            is_hash_complete: true,
            segments: Vec::new(),
        };
        stats.asked.add(self.asked());
        if self.index_path().is_file() {
            let db = Db::read(&self.index_path(), self.options.lock_timeout);
            let db = db.map_err(|e| failed("read the cache's index", &e).or_on(self.folder.display().to_string()))?;
            self.read_stats(&db, &mut stats).map_err(|e| failed("read the cache's index", &e))?;
        }
        let asked = stats.asked.hits + stats.asked.misses;
        stats.hit_share = (asked > 0).then(|| stats.asked.hits as f64 / asked as f64);
        let resident: u64 = stats.segments.iter().map(|segment| segment.resident_bytes).sum();
        stats.resident_share = (stats.vector_bytes > 0).then(|| resident as f64 / stats.vector_bytes as f64);
        Ok(stats)
    }

    fn read_stats(&self, db: &Db, stats: &mut Stats) -> rusqlite::Result<()> {
        stats.vectors = db.count()?;
        let mean = "SELECT CAST(coalesce(avg(generation_ns), 0) AS INTEGER) FROM vectors";
        stats.mean_generation_ns = db.connection.query_row(mean, [], |row| row.get::<_, i64>(0))?.cast_unsigned();
        let folded = Asked { hits: db.meta("hits")?, misses: db.meta("misses")?, saved_ns: db.meta("saved_ns")? };
        stats.asked.add(folded);
        let commits = db.meta("commits")?;
        stats.is_hash_complete = self.shared().hash.as_ref().is_some_and(|index| index.commits() == commits);
        for row in db.segments()? {
            let opened = Segment::open(&self.segment_path(row.id)).ok();
            let is_compressed = opened.as_ref().is_some_and(|segment| segment.encoding != Encoding::Plain);
            let stored_bytes = opened.as_ref().map_or(0, Segment::file_len);
            let pages = opened
                .and_then(|segment| segment.map().residency(usize::try_from(stored_bytes).unwrap_or(usize::MAX)).ok());
            let resident = pages.map_or(0, |pages| pages.iter().filter(|page| **page & 1 == 1).count() * PAGE);
            stats.vector_bytes += stored_bytes;
            stats.f32_bytes += (row.records * row.shape.dimension * 4) as u64;
            stats.segments.push(SegmentStats {
                file: self.segment_path(row.id),
                vector_type: row.shape.vector_type.as_str(),
                dimension: row.shape.dimension,
                records: row.records,
                is_sealed: row.is_sealed,
                is_compressed,
                plain_bytes: row.plain_bytes,
                stored_bytes,
                zstd_bytes: row.trial_bytes,
                resident_bytes: (resident as u64).min(stored_bytes),
                created: time::rfc3339(UNIX_EPOCH + Duration::from_secs(row.created_s)),
            });
        }
        Ok(())
    }

    /// What this process asked so far, and has not yet written down.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Asked { hits: read(&counters.hits), misses: read(&counters.misses), saved_ns: read(&counters.saved_ns) }
    }

    /// Writes down what this process asked. Done by itself when the cache is dropped.
    pub fn note_asked(&self) {
        let counters = &self.counters;
        let taken = [&counters.hits, &counters.misses, &counters.saved_ns].map(|c| c.swap(0, Ordering::Relaxed));
        if !self.options.may_write || (taken[0] == 0 && taken[1] == 0) || !self.index_path().is_file() {
            return;
        }
        let mut bytes = Vec::with_capacity(RECORD);
        bytes.extend(self.now_s().to_le_bytes());
        taken.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        // One write, so that what many processes append does not mix. A lost count harms none.
        if let Ok(mut log) = File::options().create(true).append(true).open(self.folder.join("access.log")) {
            let _ = log.write_all(&bytes);
        }
    }

    fn asked_in_log(&self) -> Asked {
        let bytes = fs::read(self.folder.join("access.log")).unwrap_or_default();
        let mut all = Asked::default();
        for record in bytes.as_chunks::<RECORD>().0 {
            let number = |i: usize| u64::from_le_bytes(record[8 * i..8 * i + 8].try_into().unwrap_or_default());
            all.add(Asked { hits: number(1), misses: number(2), saved_ns: number(3) });
        }
        all
    }

    /// Adds the log to the index's totals and begins another log. The caller is the one who writes.
    pub(super) fn fold_log(&self, db: &Db) -> Result<()> {
        let asked = self.asked_in_log();
        let log = self.folder.join("access.log");
        let attempt = |e: &rusqlite::Error| failed("add up what was asked", e);
        for (name, more) in [("hits", asked.hits), ("misses", asked.misses), ("saved_ns", asked.saved_ns)] {
            let before = db.meta(name).map_err(|e| attempt(&e))?;
            db.set_meta(name, before.saturating_add(more)).map_err(|e| attempt(&e))?;
        }
        match fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("begin another access log", &log, &error))
            }
            _ => Ok(()),
        }
    }

    /// One vector's bytes as they are stored, with the numbers to read them by: the founding document's `{hash}.bin`.
    #[must_use]
    pub fn export(&self, key: &super::Key) -> Option<Vec<u8>> {
        let place = self.find(key)?;
        let segment = self.segment(place.segment)?;
        segment.with(usize::from(place.slot), |record| Ok(record.payload().to_vec())).ok()
    }

    /// The key whose digest is written as 64 hexadecimal digits, with the type its vector is stored as.
    pub fn key_of(&self, digest: &str) -> Result<super::Key> {
        let wrong =
            || Error::usage("this is no digest").on(format!("{digest:?}")).hint("write its 64 hexadecimal digits");
        let text = digest.strip_prefix("sha256:").unwrap_or(digest);
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        let db = Db::read(&self.index_path(), self.options.lock_timeout);
        let place = db.and_then(|db| db.place(&bytes)).map_err(|e| failed("look for the vector", &e))?;
        let segment = place.and_then(|place| self.segment(place.segment)).ok_or_else(|| {
            Error::failed("the cache has no vector of this digest")
                .on(digest.to_owned())
                .hint("op-embed stats shows what it holds")
        })?;
        Ok(super::Key::of_digest(bytes, segment.shape.vector_type))
    }

    /// Closes what is open to read, so that a removed file's room is given back.
    pub(super) fn close_reader(&self) {
        *held(&self.reader) = None;
    }
}

impl Asked {
    pub(super) fn add(&mut self, more: Self) {
        self.hits += more.hits;
        self.misses += more.misses;
        self.saved_ns = self.saved_ns.saturating_add(more.saved_ns);
    }
}

//! Documents found by meaning: exact search over stored vectors, without an index that could be wrong.
//!
//! ```text
//! @vectors/documents/
//!   documents.db     ids, texts, metadata, and which row of the vectors is whose (SQLite, WAL)
//!   vectors.f16      the vectors, of length 1
//!   vectors.i8       derived: the same as bytes, which a search scans in memory
//!   lock             held by the one who writes
//! ```
//! Documents are data and not a cache, so they do not lie in `@cache`. A document is added by writing its vector, having
//! it on the disk, and committing its row; what follows the committed rows in the files is nothing.

mod files;
mod filter;
mod scan;
#[cfg(test)]
mod search_tests;
mod write;

pub use filter::Filter;
pub use write::Added;

use crate::base::{Error, Kind, Result};
use files::{Exact, Scanned};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};
use scan::{Query, Rows, keep};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const VERSION: u32 = 1;
/// Exact vectors read at most for one search. A search that would need more says that it is not exact.
const MOST_READ: usize = 50_000;

/// A document with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it is known by; adding another of the same id takes its place.
    pub id: String,
    /// What was embedded.
    pub text: String,
    /// What filters look at.
    pub metadata: Value,
    /// Its vector; made to have the length 1 when it is stored.
    pub vector: Vec<f32>,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Match {
    /// Its id.
    pub id: String,
    /// The cosine of the angle between it and the query: 1 is the same.
    pub score: f32,
    /// What was embedded.
    pub text: String,
    /// Its metadata.
    pub metadata: Value,
}

/// What a search found, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    /// The best, the best one first; of equal ones the older first.
    pub matches: Vec<Match>,
    /// Vectors that were scanned.
    pub scanned: usize,
    /// Vectors that the scan could not leave out for certain.
    pub candidates: usize,
    /// Vectors that were read to rank them.
    pub ranked: usize,
    /// Whether these are the best for certain. Only if thousands of vectors are nearly the same they may not be.
    pub is_exact: bool,
    /// Nanoseconds of finding the rows that the filter lets through.
    pub filter_ns: u64,
    /// Nanoseconds of the scan.
    pub scan_ns: u64,
    /// Nanoseconds of ranking and reading documents.
    pub rank_ns: u64,
    /// Rows that are damaged, and were left out.
    pub damaged: Vec<usize>,
}

/// Whether documents may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only looked at.
    Read,
    /// Added to; the folder is made.
    Write,
}

/// The documents of one model, open.
#[derive(Debug)]
pub struct Documents {
    folder: PathBuf,
    access: Access,
    dimension: usize,
    threads: usize,
    db: Connection,
    exact: Exact,
    scanned: Scanned,
    rows: usize,
    /// Rows that are nobody's any more, a bit each.
    removed: Vec<u64>,
}

fn failed(attempt: &str, error: &rusqlite::Error) -> Error {
    let is_busy = matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    Error::new(if is_busy { Kind::Locked } else { Kind::Failed }, format!("could not {attempt}: {error}"))
}

impl Documents {
    /// Opens the documents in `folder` whose vectors `model` (its digest) made.
    pub fn open(folder: &Path, model: &str, dimension: usize, access: Access) -> Result<Self> {
        let attempt = |e: &rusqlite::Error| failed("open the documents", e).on(folder.display().to_string());
        let path = folder.join("documents.db");
        if access == Access::Read && !path.is_file() {
            return Err(Error::new(Kind::Failed, "there are no documents to search")
                .on(folder.display().to_string())
                .hint("add some: op-embed add FILE"));
        }
        if access == Access::Write {
            write::make_folder(folder)?;
        }
        let flags = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            Access::Write => {
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
            }
        };
        let db = Connection::open_with_flags(&path, flags).map_err(|e| attempt(&e))?;
        db.busy_timeout(Duration::from_secs(10)).map_err(|e| attempt(&e))?;
        if access == Access::Write {
            write::prepare(&db, folder, model, dimension)?;
        }
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| attempt(&e))?;
        if version != VERSION {
            return Err(Error::failed(format!(
                "the documents are of version {version}, and this program's is {VERSION}"
            ))
            .on(folder.display().to_string())
            .hint("use the op-embed that added them"));
        }
        let theirs: String = db
            .query_row("SELECT value FROM meta WHERE name = 'model'", [], |row| row.get(0))
            .map_err(|e| attempt(&e))?;
        if theirs != model {
            return Err(Error::bad_input(format!("the documents were embedded by another model: {theirs}"))
                .on(folder.display().to_string())
                .hint("choose that model, or add the documents again: op-embed add --again"));
        }
        let rows = count(&db).map_err(|e| attempt(&e))?;
        let exact = Exact::open(folder, dimension, rows, access == Access::Write)?;
        let may_write = access == Access::Write;
        // Lost, it is made again by whoever comes first and may.
        let scanned =
            Scanned::open(folder, dimension, may_write).or_else(|_| Scanned::open(folder, dimension, true))?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (folder, removed) = (folder.to_owned(), Vec::new());
        let mut this = Self { folder, access, dimension, threads, db, exact, scanned, rows, removed };
        this.refresh()?;
        this.repair()?;
        Ok(this)
    }

    /// Scans with this many threads; all that the process may use is what it begins with.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows - self.removed.iter().map(|word| word.count_ones() as usize).sum::<usize>()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sees what others added or removed since.
    fn refresh(&mut self) -> Result<()> {
        let attempt = |e: &rusqlite::Error| failed("read the documents", e);
        self.rows = count(&self.db).map_err(|e| attempt(&e))?;
        let mut all = self.db.prepare_cached("SELECT row FROM removed").map_err(|e| attempt(&e))?;
        let rows = all.query_map([], |row| row.get::<_, i64>(0)).map_err(|e| attempt(&e))?;
        self.removed.clear();
        for row in rows {
            set(&mut self.removed, row.map_err(|e| attempt(&e))?);
        }
        Ok(())
    }

    /// The `top` documents nearest to `query` that `filter` lets through.
    pub fn search(&mut self, query: &[f32], top: usize, filter: &Filter) -> Result<Search> {
        let mut begun = Instant::now();
        let mut lap = || u64::try_from(std::mem::replace(&mut begun, Instant::now()).elapsed().as_nanos()).unwrap_or(0);
        let query = unit(query, self.dimension)?;
        self.refresh()?;
        self.scanned.map(self.rows)?;
        let only = if filter.is_empty() { None } else { Some(self.rows_of(filter)?) };
        let rows = match &only {
            Some(bits) => Rows::Only(bits),
            None if self.removed.is_empty() => Rows::All,
            None => Rows::Except(&self.removed),
        };
        let filter_ns = lap();
        let candidates = match top {
            0 => Vec::new(),
            _ => scan::scan(&self.scanned, &Query::new(&query, self.scanned.width()), rows, top, self.threads),
        };
        let scan_ns = lap();
        let mut best = BinaryHeap::new();
        let (mut ranked, mut damaged) = (Vec::new(), Vec::new());
        let mut vector = vec![0.0; self.dimension];
        let mut is_exact = true;
        for candidate in &candidates {
            let floor = best.peek().map(|worst: &std::cmp::Reverse<scan::Score>| worst.0.0);
            if best.len() == top && floor.is_some_and(|floor| candidate.most < floor) {
                break;
            }
            if ranked.len() == MOST_READ {
                is_exact = false;
                break;
            }
            match self.exact.read(candidate.row, &mut vector) {
                Some(()) => {
                    let score = dot(&query, &vector);
                    keep(&mut best, score, top);
                    ranked.push((score, candidate.row));
                }
                None => damaged.push(candidate.row),
            }
        }
        let read = ranked.len();
        ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(top);
        let matches = ranked.into_iter().filter_map(|(score, row)| self.document(row, score).transpose());
        let matches = matches.collect::<rusqlite::Result<_>>().map_err(|e| failed("read the documents found", &e))?;
        let (scanned, candidates) = (self.rows, candidates.len());
        Ok(Search { matches, scanned, candidates, ranked: read, is_exact, filter_ns, scan_ns, rank_ns: lap(), damaged })
    }

    /// The documents nearest to the one known as `id`, itself left out.
    pub fn neighbours(&mut self, id: &str, top: usize, filter: &Filter) -> Result<Search> {
        let vector = self.vector(id)?;
        let mut found = self.search(&vector, top.saturating_add(1), filter)?;
        found.matches.retain(|one| one.id != id);
        found.matches.truncate(top);
        Ok(found)
    }

    /// The vector of the document known as `id`.
    pub fn vector(&mut self, id: &str) -> Result<Vec<f32>> {
        self.refresh()?;
        let row =
            self.db.query_row("SELECT row FROM documents WHERE id = ?1", [id], |row| row.get::<_, i64>(0)).optional();
        let row = row.map_err(|e| failed("look for the document", &e))?.ok_or_else(|| {
            Error::bad_input("there is no such document").on(id.to_owned()).hint("op-embed search shows ids")
        })?;
        let mut vector = vec![0.0; self.dimension];
        self.exact.read(usize::try_from(row).unwrap_or(usize::MAX), &mut vector).ok_or_else(|| {
            Error::failed("the document's vector is damaged")
                .on(format!("{}: {id}", self.exact.path().display()))
                .hint("add the document again")
        })?;
        Ok(vector)
    }

    fn document(&self, row: usize, score: f32) -> rusqlite::Result<Option<Match>> {
        let mut found = self.db.prepare_cached("SELECT id, text, metadata FROM documents WHERE row = ?1")?;
        let read = |row: &rusqlite::Row| {
            let metadata: String = row.get(2)?;
            let metadata = serde_json::from_str(&metadata).unwrap_or(Value::Null);
            Ok(Match { id: row.get(0)?, score, text: row.get(1)?, metadata })
        };
        found.query_row([i64::try_from(row).unwrap_or(-1)], read).optional()
    }

    fn rows_of(&self, filter: &Filter) -> Result<Vec<u64>> {
        let (sql, parameters) = filter.sql();
        let found = self.db.prepare_cached(&format!("SELECT row FROM documents WHERE {sql}")).and_then(|mut found| {
            let mut bits = Vec::new();
            for row in found.query_map(params_from_iter(parameters), |row| row.get::<_, i64>(0))? {
                set(&mut bits, row?);
            }
            Ok(bits)
        });
        found.map_err(|e| failed("filter the documents", &e))
    }
}

fn count(db: &Connection) -> rusqlite::Result<usize> {
    let mut rows = db.prepare_cached("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'rows'")?;
    rows.query_row([], |row| row.get::<_, i64>(0)).map(|rows| usize::try_from(rows).unwrap_or(0))
}

fn set(bits: &mut Vec<u64>, row: i64) {
    let row = usize::try_from(row).unwrap_or(0);
    if bits.len() <= row / 64 {
        bits.resize(row / 64 + 1, 0);
    }
    bits[row / 64] |= 1 << (row % 64);
}

/// The vector at length 1, if it has the right dimension. One of zeros stays as it is: it is near to nothing.
fn unit(vector: &[f32], dimension: usize) -> Result<Vec<f32>> {
    if vector.len() != dimension || vector.iter().any(|x| !x.is_finite()) {
        return Err(Error::bad_input(format!("{dimension} finite numbers were expected, and {} came", vector.len())));
    }
    let length = dot(vector, vector).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    Ok(vector.iter().map(|x| x * scale).collect())
}

/// The product of two vectors, several numbers at a time.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

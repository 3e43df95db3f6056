//! Adding and removing documents.

use super::files::{BLOCK, Scanned};
use super::{Access, Document, Documents, VERSION, failed, unit};
use crate::base::{Error, Result};
use crate::store::Lock;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        row INTEGER PRIMARY KEY,        -- of the files of vectors
        id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL,
        metadata TEXT NOT NULL
    );
    CREATE TABLE removed (row INTEGER PRIMARY KEY);";

/// What adding did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Documents that are there now and were not before.
    pub added: usize,
    /// Documents that took the place of others with the same id.
    pub replaced: usize,
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|e| Error::io("make the folder of documents", folder, &e))
}

fn lock(folder: &Path) -> Result<Lock> {
    Lock::take(&folder.join("lock"), LOCK_TIMEOUT, &mut |_| {}, &|| false)
}

/// Makes the tables when there are none.
pub(super) fn prepare(db: &Connection, folder: &Path, model: &str, dimension: usize) -> Result<()> {
    let _lock = lock(folder)?;
    let made = (|| {
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            db.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION};"))?;
            for (name, value) in [("model", model), ("dimension", &dimension.to_string()), ("rows", "0")] {
                db.execute("INSERT INTO meta VALUES (?1, ?2)", [name, value])?;
            }
            db.execute_batch("COMMIT")?;
        }
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")
    })();
    made.map_err(|e: rusqlite::Error| failed("prepare the documents", &e).on(folder.display().to_string()))
}

impl Documents {
    fn may_write(&self) -> Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => {
                Err(Error::refused("the documents were opened to read only").on(self.folder.display().to_string()))
            }
        }
    }

    /// Adds documents; one whose id is known takes the other's place. All of them are added, or none.
    pub fn add(&mut self, documents: &[Document]) -> Result<Added> {
        self.may_write()?;
        let vectors: Vec<Vec<f32>> = documents
            .iter()
            .map(|document| unit(&document.vector, self.dimension).map_err(|e| e.or_on(document.id.clone())))
            .collect::<Result<_>>()?;
        let _lock = lock(&self.folder)?;
        self.refresh()?;
        // What is committed is not overwritten, and what is not committed is nobody's.
        self.exact.write(self.rows, vectors.iter().map(Vec::as_slice))?;
        self.scanned.write(self.rows, vectors.iter().map(Vec::as_slice))?;
        let added = self.commit(documents).map_err(|e| failed("add documents", &e))?;
        self.refresh()?;
        Ok(added)
    }

    fn commit(&mut self, documents: &[Document]) -> rusqlite::Result<Added> {
        let first = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let mut added = Added::default();
        let transaction = self.db.transaction()?;
        {
            let mut known = transaction.prepare_cached("SELECT row FROM documents WHERE id = ?1")?;
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3, ?4)")?;
            for (row, document) in (first..).zip(documents) {
                let old: Option<i64> = known.query_row([&document.id], |row| row.get(0)).optional()?;
                if let Some(old) = old {
                    transaction.execute("DELETE FROM documents WHERE row = ?1", [old])?;
                    transaction.execute("INSERT INTO removed VALUES (?1)", [old])?;
                    added.replaced += 1;
                } else {
                    added.added += 1;
                }
                insert.execute(params![row, document.id, document.text, document.metadata.to_string()])?;
            }
        }
        let rows = self.rows + documents.len();
        transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'rows'", [rows.to_string()])?;
        transaction.commit()?;
        Ok(added)
    }

    /// Removes documents; the answer is how many there were.
    pub fn remove(&mut self, ids: &[&str]) -> Result<usize> {
        self.may_write()?;
        let _lock = lock(&self.folder)?;
        let removed = (|| {
            let transaction = self.db.transaction()?;
            let mut count = 0;
            for id in ids {
                transaction.execute("INSERT INTO removed SELECT row FROM documents WHERE id = ?1", [id])?;
                count += transaction.execute("DELETE FROM documents WHERE id = ?1", [id])?;
            }
            transaction.commit()?;
            Ok(count)
        })();
        let count = removed.map_err(|e: rusqlite::Error| failed("remove documents", &e))?;
        self.refresh()?;
        Ok(count)
    }

    /// Makes the scanned bytes again from the exact vectors, where they are lost or end early.
    pub(super) fn repair(&mut self) -> Result<()> {
        if self.scanned.holds(self.rows) {
            return Ok(());
        }
        if self.access == Access::Read {
            // To read them one must be able to make them: another look, as one who writes.
            self.scanned = Scanned::open(&self.folder, self.dimension, true)?;
        }
        let _lock = lock(&self.folder)?;
        let mut vectors = vec![vec![0.0; self.dimension]; BLOCK];
        for from in (0..self.rows).step_by(BLOCK) {
            let count = BLOCK.min(self.rows - from);
            for (i, vector) in vectors.iter_mut().enumerate().take(count) {
                // A damaged row is near to nothing, and reported when it is ranked.
                if self.exact.read(from + i, vector).is_none() {
                    vector.fill(0.0);
                }
            }
            self.scanned.write_unsynced(from, vectors[..count].iter().map(Vec::as_slice))?;
        }
        self.scanned.sync()
    }
}

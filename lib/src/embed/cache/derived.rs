//! The hash index made from SQLite's rows, kept in step with them, and made again when it is not.

use super::Cache;
use super::db::failed;
use super::hash::{Builder, HashIndex, HashWriter, Place, Use, prefix_of};
use super::write::Writer;
use crate::base::{Error, Result};
use crate::store::file::{self, Durability};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Cache {
    /// Makes the hash index again unless it is this cache's and holds all that is committed.
    pub(super) fn ensure_hash(&self, writer: &mut Writer) -> Result<()> {
        let commits = writer.db.meta("commits").map_err(|e| failed("read the cache's index", &e))?;
        let is_behind = self.is_behind.swap(false, Ordering::Relaxed);
        for _ in 0..2 {
            let index = self.index();
            let is_good = index.as_ref().is_some_and(|index| {
                !index.is_superseded() && index.cache_id == writer.cache_id && index.commits() == commits
            });
            match index {
                Some(index) if is_good && !is_behind => {
                    if writer.hash.is_none() {
                        writer.hash = Some(HashWriter::open(&index)?);
                    }
                    return Ok(());
                }
                // Perhaps another process made it.
                _ if !is_behind => {
                    writer.hash = None;
                    self.reload();
                }
                _ => break,
            }
        }
        self.rebuild_hash(writer, 0)
    }

    /// Makes the hash index from the rows, with room for `more`; what was known about uses is kept.
    pub(super) fn rebuild_hash(&self, writer: &mut Writer, more: usize) -> Result<()> {
        let attempt = |e: &rusqlite::Error| failed("make the hash index", e);
        let count = writer.db.count().map_err(|e| attempt(&e))?;
        let old = self.index();
        let uses: HashMap<Place, Use> =
            old.iter().flat_map(|old| old.all().map(|found| (found.place, found.used))).collect();
        let mut builder = Builder::new(usize::try_from(count).unwrap_or(usize::MAX).saturating_add(more));
        writer
            .db
            .for_each(|digest, place| {
                builder.add(prefix_of(digest), place, uses.get(&place).copied().unwrap_or_default())
            })
            .map_err(|e| attempt(&e))?;
        self.put_hash_in_place(writer, builder)
    }

    fn put_hash_in_place(&self, writer: &mut Writer, builder: Builder) -> Result<()> {
        let commits = writer.db.meta("commits").map_err(|e| failed("make the hash index", &e))?;
        let old = self.index();
        let old_writer = old.as_ref().and_then(|old| HashWriter::open(old).ok());
        file::replace(&self.hash_path(), &builder.finish(writer.cache_id, commits), Durability::Cache)?;
        if let (Some(old), Some(writer)) = (old, old_writer) {
            writer.supersede(&old)?;
        }
        self.reload();
        let index = self.index();
        let index = index
            .ok_or_else(|| Error::failed("the hash index went away").on(self.hash_path().display().to_string()))?;
        writer.hash = Some(HashWriter::open(&index)?);
        Ok(())
    }

    /// The hash index without what was removed.
    pub(super) fn compact_hash(&self, writer: &mut Writer) -> Result<()> {
        match self.index() {
            Some(index) => self.put_hash_in_place(writer, index.grown(index.all().count())),
            None => self.rebuild_hash(writer, 0),
        }
    }

    /// The hash index with room for `more` entries.
    pub(super) fn index_with_room(&self, writer: &mut Writer, more: usize) -> Result<Arc<HashIndex>> {
        let gone = || Error::failed("the hash index went away").on(self.hash_path().display().to_string());
        let index = self.index().ok_or_else(gone)?;
        if index.has_room_for(more) {
            return Ok(index);
        }
        let used = usize::try_from(index.used()).unwrap_or(usize::MAX);
        self.put_hash_in_place(writer, index.grown(used.saturating_add(more)))?;
        self.index().ok_or_else(gone)
    }
}

//! The index made again from the segments: each record says whose it is.

use super::Cache;
use super::db::{Db, SegmentRow, failed};
use super::hash::Place;
use super::segment::{Encoding, HEADER, Segment};
use crate::base::{Error, Result};
use crate::store::file::Durability;
use std::fs;

impl Cache {
    /// Moves a broken `index.db` away and makes another from what the segments hold. The caller holds the lock.
    pub(super) fn rebuild_index(&self) -> Result<()> {
        let path = self.index_path();
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", path.display()));
        }
        if path.exists() {
            let aside = self.folder.join("index.db.broken");
            fs::rename(&path, &aside).map_err(|e| Error::io("put the broken index aside", &path, &e))?;
        }
        self.forget();
        let db = Db::write(&path, self.options.lock_timeout, Durability::Cache).and_then(|db| {
            db.connection.execute_batch("BEGIN")?;
            for id in self.segment_files() {
                let Ok(segment) = Segment::open(&self.segment_path(id)) else { continue };
                self.take_in(&db, id, &segment)?;
            }
            db.connection.execute_batch("COMMIT")?;
            Ok(db)
        });
        db.map(|_| ()).map_err(|e| failed("make the cache's index again", &e).or_on(path.display().to_string()))
    }

    fn take_in(&self, db: &Db, id: u16, segment: &Segment) -> rusqlite::Result<()> {
        let mut records = 0;
        for slot in 0..segment.records() {
            let whole =
                segment.with(slot, |record| Ok(record.is_whole().then(|| (*record.digest(), record.generation_ns()))));
            if let Ok(Some((digest, generation_ns))) = whole {
                records = slot + 1;
                db.set_place(
                    &digest,
                    Place { segment: id, slot: u16::try_from(slot).unwrap_or(u16::MAX) },
                    generation_ns,
                )?;
            }
        }
        let plain_bytes = (HEADER + records * segment.shape.stride()) as u64;
        db.set_segment(&SegmentRow {
            id,
            shape: segment.shape,
            records,
            // Whatever was being written there when it broke: nothing more is.
            is_sealed: true,
            plain_bytes,
            stored_bytes: if segment.encoding == Encoding::Plain { plain_bytes } else { segment.file_len() },
            trial_bytes: None,
            created_s: segment.created_s,
        })
    }

    /// The numbers of the segments' files that are there.
    pub(super) fn segment_files(&self) -> Vec<u16> {
        let entries = fs::read_dir(self.folder.join("vectors")).into_iter().flatten().flatten();
        let mut ids: Vec<u16> = entries
            .filter_map(|e| e.file_name().to_str()?.strip_suffix(".seg")?.parse().ok())
            .filter(|id| *id > 0)
            .collect();
        ids.sort_unstable();
        ids
    }
}

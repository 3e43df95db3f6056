//! Every record looked at.

use super::db::failed;
use super::hash::Place;
use super::key::Key;
use super::segment::{Fault, Segment};
use super::write::Writer;
use super::{Cache, Problem};
use crate::base::Result;
use serde::Serialize;
use std::collections::HashMap;

/// What a look at everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verified {
    /// Vectors the index knows.
    pub vectors: u64,
    /// Of these, records that are whole and their own.
    pub whole: u64,
    /// What is wrong, at most a thousand of them.
    pub problems: Vec<Problem>,
    /// How many are wrong.
    pub wrong: u64,
    /// Vectors that the hash index does not find.
    pub not_in_hash: u64,
    /// Whether SQLite finds its file sound.
    pub is_index_sound: bool,
    /// Whether what was wrong was taken out of the index, and what is derived was made again.
    pub is_repaired: bool,
}

impl Verified {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong == 0 && self.is_index_sound && self.not_in_hash == 0
    }
}

impl Cache {
    /// Looks at every record, and takes out of the index what is damaged if `repairs`.
    pub fn verify(&self, repairs: bool) -> Result<Verified> {
        if !repairs {
            return match super::db::look(&self.index_path()) {
                super::db::Look::None => Ok(Verified { is_index_sound: true, ..Verified::default() }),
                _ => self
                    .look_at_all(
                        &super::Db::read(&self.index_path(), self.options.lock_timeout)
                            .map_err(|e| failed("read the cache's index", &e))?,
                    )
                    .map(|(verified, _)| verified),
            };
        }
        self.writing(|cache, writer| {
            let (mut verified, bad) = cache.look_at_all(&writer.db)?;
            if !verified.is_index_sound {
                // Its rows cannot be believed: they are made again from what the records say.
                cache.rebuild_index()?;
                *writer = cache.open_writer()?;
            }
            cache.take_out(writer, &bad)?;
            cache.rebuild_hash(writer, 0)?;
            verified.is_repaired = true;
            Ok(verified)
        })
    }

    fn look_at_all(&self, db: &super::Db) -> Result<(Verified, Vec<[u8; 32]>)> {
        let attempt = |e: &rusqlite::Error| failed("read the cache's index", e);
        let sound = db.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let mut verified = Verified { is_index_sound: sound.is_ok_and(|s| s == "ok"), ..Verified::default() };
        let mut by_segment: HashMap<u16, Vec<(Place, [u8; 32])>> = HashMap::new();
        db.for_each(|digest, place| by_segment.entry(place.segment).or_default().push((place, *digest)))
            .map_err(|e| attempt(&e))?;
        let mut bad = Vec::new();
        let index = self.index();
        let mut ids: Vec<_> = by_segment.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let mut rows = by_segment.remove(&id).unwrap_or_default();
            rows.sort_unstable();
            let path = self.segment_path(id);
            let opened = Segment::open(&path);
            for (place, digest) in rows {
                verified.vectors += 1;
                let slot = usize::from(place.slot);
                let looked = match &opened {
                    Ok(segment) => segment
                        .with(slot, |record| match () {
                            () if !record.is_whole() => Err(Fault::Damaged),
                            () if *record.digest() != digest => Err(Fault::Other),
                            () => Ok(()),
                        })
                        .map_err(what),
                    Err(error) => Err(error.message.clone()),
                };
                let Err(what) = looked else {
                    verified.whole += 1;
                    let opened = opened.as_ref().map(|s| s.shape.vector_type);
                    let key = opened.map(|kind| Key::of_digest(digest, kind));
                    let is_found = key.is_ok_and(|key| {
                        index.as_ref().is_some_and(|index| index.find(&key).any(|found| found.place == place))
                    });
                    verified.not_in_hash += u64::from(!is_found);
                    continue;
                };
                verified.wrong += 1;
                bad.push(digest);
                if verified.problems.len() < 1000 {
                    verified.problems.push(Problem { file: path.clone(), slot, what });
                }
            }
        }
        Ok((verified, bad))
    }

    fn take_out(&self, writer: &mut Writer, bad: &[[u8; 32]]) -> Result<()> {
        let begun = writer.db.connection.execute_batch("BEGIN IMMEDIATE");
        let done = begun.and_then(|()| bad.iter().try_for_each(|digest| writer.db.remove(digest)));
        let done = done.and_then(|()| writer.next_commit().map(|_| ()));
        writer.end(done).map_err(|e| failed("take damaged vectors out of the index", &e))
    }
}

fn what(fault: Fault) -> String {
    match fault {
        Fault::Missing => "the file ends before the record",
        Fault::Other => "the record is another text's",
        Fault::Damaged => "the record's checksum is wrong",
        Fault::Unreadable => "the disk cannot read the record",
    }
    .into()
}

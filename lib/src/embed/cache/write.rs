//! Saving: records, then the disk, then the rows that point at them, then the hash index.

use super::db::{self, Db, SegmentRow, failed};
use super::hash::{HashWriter, Place, Use};
use super::key::Key;
use super::segment::{self, Encoding, HEADER, Shape};
use super::{Cache, Collect, held};
use crate::base::{Error, Result};
use crate::embed::codec;
use crate::store::Lock;
use crate::store::file::Durability;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::time::Instant;

/// A vector to save: its key, itself, and the nanoseconds it took to compute.
pub type New<'a> = (Key, &'a [f32], u64);

/// What a save did, and what each of its steps took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Vectors that were written.
    pub saved: usize,
    /// Vectors that were there already.
    pub already: usize,
    /// Bytes of the records that were written.
    pub bytes: u64,
    /// Waiting for the lock, and looking what is there.
    pub lock_ns: u64,
    /// Writing the records.
    pub write_ns: u64,
    /// Waiting for the disk to have them.
    pub sync_ns: u64,
    /// Committing the rows.
    pub commit_ns: u64,
    /// Updating the hash index.
    pub index_ns: u64,
}

/// What a process that writes keeps open. Only used under the lock.
#[derive(Debug)]
pub(super) struct Writer {
    pub db: Db,
    /// The file that is open as `db`: another one at its path means that the cache was deleted.
    identity: (u64, u64),
    pub cache_id: u64,
    pub hash: Option<HashWriter>,
}

/// A new record and where it was put.
struct Placed {
    key: Key,
    generation_ns: u64,
    old: Option<Place>,
    place: Place,
}

impl Cache {
    /// Saves vectors with what each took to compute. What is there already stays as it is, unless it is damaged.
    ///
    /// One process writes at a time; another one is waited for. After an error nothing of the batch is there, and
    /// nothing else was lost.
    pub fn put(&self, batch: &[New]) -> Result<Saved> {
        for (key, vector, _) in batch {
            codec::check(key.vector_type(), vector).map_err(|error| error.or_on(key.to_string()))?;
        }
        let begun = Instant::now();
        let bytes: u64 = batch.iter().map(|(_, vector, _)| vector.len() as u64 * 4 + 256).sum();
        self.make_folders()?;
        if !db::has_room_for(&self.folder, bytes * 2) {
            return Err(Error::failed("could not save vectors: No space left on the device")
                .on(self.folder.display().to_string())
                .hint("make room, or bound the cache: op-embed gc --max-bytes N"));
        }
        self.writing(|cache, writer| {
            let mut saved = Saved { lock_ns: nanoseconds(begun), ..Saved::default() };
            cache.save(writer, batch, &mut saved)?;
            if cache.options.max_bytes.is_some_and(|most| saved.saved > 0 && cache.bytes() > most) {
                cache.collect_as(writer, &Collect { max_bytes: cache.options.max_bytes, compress_from: 2.0 })?;
            }
            Ok(saved)
        })
    }

    /// Runs `work` as the one who writes, with everything made that a writer needs.
    pub(super) fn writing<T>(&self, work: impl FnOnce(&Self, &mut Writer) -> Result<T>) -> Result<T> {
        if !self.options.may_write {
            return Err(Error::refused("the cache was opened to read only").on(self.folder.display().to_string()));
        }
        let mut writer = held(&self.writer);
        self.make_folders()?;
        let path = self.folder.join("lock");
        let _lock = Lock::take(&path, self.options.lock_timeout, &mut |_| {}, &|| false)?;
        if writer.as_ref().is_some_and(|writer| self.identity() != Some(writer.identity)) {
            *writer = None;
            self.forget();
        }
        if writer.is_none() {
            *writer = Some(self.open_writer()?);
        }
        let Some(open) = writer.as_mut() else { return Err(Error::failed("the cache is not open")) };
        self.ensure_hash(open)?;
        work(self, open)
    }

    fn make_folders(&self) -> Result<()> {
        let vectors = self.folder.join("vectors");
        if vectors.is_dir() {
            return Ok(());
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&vectors);
        made.map_err(|e| Error::io("make the cache's folder", &vectors, &e))
    }

    fn identity(&self) -> Option<(u64, u64)> {
        fs::metadata(self.index_path()).ok().map(|m| (m.dev(), m.ino()))
    }

    pub(super) fn open_writer(&self) -> Result<Writer> {
        let open = |cache: &Self| -> rusqlite::Result<(Db, u64)> {
            let db = Db::write(&cache.index_path(), cache.options.lock_timeout, cache.options.durability)?;
            let mut cache_id = db.meta("cache_id")?;
            if cache_id == 0 {
                cache_id = (u64::from(std::process::id()) << 32 ^ cache.now_s().rotate_left(20)).max(1);
                db.set_meta("cache_id", cache_id)?;
            }
            Ok((db, cache_id))
        };
        let is_lost = match db::look(&self.index_path()) {
            db::Look::Broken => true,
            db::Look::None => !self.segment_files().is_empty(),
            db::Look::Ours | db::Look::Version(_) => false,
        };
        if is_lost {
            self.rebuild_index()?;
        }
        let (db, cache_id) = match open(self) {
            Err(error) if db::is_broken(&error) => {
                self.rebuild_index()?;
                open(self)
            }
            opened => opened,
        }
        .map_err(|e| failed("open the cache's index", &e).or_on(self.index_path().display().to_string()))?;
        let identity = self.identity().ok_or_else(|| {
            Error::failed("the cache was deleted while it was opened").on(self.folder.display().to_string())
        })?;
        // What was opened to read may be an older file, or none.
        *held(&self.reader) = None;
        Ok(Writer { db, identity, cache_id, hash: None })
    }

    fn save(&self, writer: &mut Writer, batch: &[New], saved: &mut Saved) -> Result<()> {
        let mut begun = Instant::now();
        let mut lap = || nanoseconds(std::mem::replace(&mut begun, Instant::now()));
        let index = self.index_with_room(writer, batch.len())?;
        let mut seen = HashSet::with_capacity(batch.len());
        let mut wanted: BTreeMap<Shape, Vec<&New>> = BTreeMap::new();
        for new @ (key, vector, _) in batch {
            // The index holds all that is committed: what it does not know is not there.
            let is_there = index.find(key).any(|found| self.holds(key, found.place));
            if is_there || !seen.insert(*key) {
                saved.already += 1;
            } else {
                let shape = Shape { vector_type: key.vector_type(), dimension: vector.len() };
                wanted.entry(shape).or_default().push(new);
            }
        }
        saved.lock_ns += lap();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut segments = writer.db.segments().map_err(|e| failed("read the cache's index", &e))?;
        let mut placed = Vec::with_capacity(batch.len());
        let mut files = Vec::new();
        for (shape, vectors) in wanted {
            self.append(shape, &vectors, &mut segments, &mut files, &mut placed, saved)?;
        }
        saved.write_ns = lap();
        if self.options.durability == Durability::Durable {
            self.sync(&files)?;
        }
        saved.sync_ns = lap();
        for record in &mut placed {
            record.old = index.find(&record.key).map(|found| found.place).next();
        }
        // In the order of keys, neighbours are on the same page of the table.
        placed.sort_unstable_by(|a, b| a.key.digest().cmp(b.key.digest()));
        let commits = writer.commit(&segments, &placed).map_err(|e| failed("save vectors in the cache's index", &e))?;
        saved.commit_ns = lap();
        // The vectors are saved. A hash index that could not be written is behind, and made again by the next save.
        if let Some(hash) = &writer.hash {
            let used = Use { minute: Use::minute_of(self.now_s()), times: 1 };
            let noted = placed.iter().try_for_each(|r| hash.set(&index, r.key.digest(), r.old, r.place, used));
            let _ = noted.and_then(|()| hash.holds(&index, commits));
        }
        saved.index_ns = lap();
        saved.saved = placed.len();
        Ok(())
    }

    fn holds(&self, key: &Key, place: Place) -> bool {
        let looked = self.segment(place.segment).map(|segment| {
            segment.with(usize::from(place.slot), |record| Ok(record.digest() == key.digest() && record.is_whole()))
        });
        looked == Some(Ok(true))
    }

    /// Appends records to the open segment of their shape, and to new ones as each is full.
    fn append(
        &self,
        shape: Shape,
        mut vectors: &[&New],
        segments: &mut Vec<SegmentRow>,
        files: &mut Vec<File>,
        placed: &mut Vec<Placed>,
        saved: &mut Saved,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        while !vectors.is_empty() {
            let open = segments.iter().position(|row| row.shape == shape && !row.is_sealed);
            let at = match open {
                Some(at) => at,
                None => self.new_segment(shape, segments)?,
            };
            let row = &mut segments[at];
            if !self.segment(row.id).is_some_and(|segment| segment.is_current() && segment.shape == shape) {
                // Lost or broken: nothing is added to it, and what is asked of it is computed again.
                row.is_sealed = true;
                self.unmap(row.id);
                continue;
            }
            let (now, later) = vectors.split_at(vectors.len().min(shape.capacity() - row.records));
            bytes.clear();
            for (i, (key, vector, generation_ns)) in now.iter().enumerate() {
                segment::write_record(shape, key.digest(), vector, *generation_ns, &mut bytes);
                let slot = u16::try_from(row.records + i).unwrap_or(u16::MAX);
                let place = Place { segment: row.id, slot };
                placed.push(Placed { key: *key, generation_ns: *generation_ns, old: None, place });
            }
            let path = self.segment_path(row.id);
            let attempt = |e: &std::io::Error| {
                Error::io("write vectors", &path, e).hint("make room, or bound the cache: op-embed gc --max-bytes N")
            };
            let file = File::options().write(true).open(&path).map_err(|e| attempt(&e))?;
            file.write_all_at(&bytes, (HEADER + row.records * shape.stride()) as u64).map_err(|e| attempt(&e))?;
            files.push(file);
            row.records += now.len();
            row.is_sealed = row.records == shape.capacity();
            row.plain_bytes += bytes.len() as u64;
            row.stored_bytes += bytes.len() as u64;
            saved.bytes += bytes.len() as u64;
            vectors = later;
        }
        Ok(())
    }

    /// A new, empty segment, as its position in `segments`.
    pub(super) fn new_segment(&self, shape: Shape, segments: &mut Vec<SegmentRow>) -> Result<usize> {
        let is_free = |id: &u16| segments.iter().all(|row| row.id != *id);
        let next = segments.last().map_or(1, |row| row.id.saturating_add(1));
        // The last number stands for "nothing".
        let id = (next..u16::MAX).chain(1..u16::MAX).find(is_free).ok_or_else(|| {
            Error::failed("the cache has as many segments as it can have")
                .on(self.folder.display().to_string())
                .hint("bound it: op-embed gc --max-bytes N")
        })?;
        let created_s = self.now_s();
        let path = self.segment_path(id);
        let made =
            File::create(&path).and_then(|f| f.write_all_at(&segment::header(shape, Encoding::Plain, created_s), 0));
        made.map_err(|e| Error::io("begin a segment of vectors", &path, &e))?;
        if self.options.durability == Durability::Durable {
            let folder = self.folder.join("vectors");
            let synced = File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(|e| Error::io("begin a segment of vectors", &folder, &e))?;
        }
        self.unmap(id);
        let bytes = HEADER as u64;
        segments.push(SegmentRow {
            id,
            shape,
            records: 0,
            is_sealed: false,
            plain_bytes: bytes,
            stored_bytes: bytes,
            trial_bytes: None,
            created_s,
        });
        segments.sort_by_key(|row| row.id);
        Ok(segments.iter().position(|row| row.id == id).unwrap_or(0))
    }

    fn sync(&self, files: &[File]) -> Result<()> {
        files.iter().try_for_each(File::sync_data).map_err(|e| Error::io("have vectors on the disk", &self.folder, &e))
    }
}

impl Writer {
    /// Commits what was written; the answer is the commit's number.
    fn commit(&mut self, segments: &[SegmentRow], placed: &[Placed]) -> rusqlite::Result<u64> {
        self.db.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = (|| {
            segments.iter().try_for_each(|row| self.db.set_segment(row))?;
            placed.iter().try_for_each(|p| self.db.set_place(p.key.digest(), p.place, p.generation_ns))?;
            self.next_commit()
        })();
        self.end(done)
    }

    /// Counts the transaction that is open.
    pub(super) fn next_commit(&self) -> rusqlite::Result<u64> {
        let commits = self.db.meta("commits")? + 1;
        self.db.set_meta("commits", commits)?;
        Ok(commits)
    }

    /// Ends the transaction: all of it, or nothing.
    pub(super) fn end<T>(&self, done: rusqlite::Result<T>) -> rusqlite::Result<T> {
        let ended = done.and_then(|value| self.db.connection.execute_batch("COMMIT").map(|()| value));
        if ended.is_err() {
            let _ = self.db.connection.execute_batch("ROLLBACK");
        }
        ended
    }
}

pub(super) fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

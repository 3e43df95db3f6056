//! Making room: what is used least goes, what is nobody's is removed, what compresses is compressed.

use super::Cache;
use super::db::{SegmentRow, failed};
use super::hash::{Place, Use};
use super::segment::{self, Encoding, Fault, HEADER, Segment, Shape};
use super::write::Writer;
use crate::base::{Error, Result};
use crate::store::file::Durability;
use crate::store::stream::Stream;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Collect {
    /// The most bytes the cache may take, its indexes included; what is used least is evicted until it does.
    pub max_bytes: Option<u64>,
    /// The share that zstd must save for a sealed segment to be compressed: a hit in one takes ten times as long.
    /// More than 1: none is.
    pub compress_from: f64,
}

impl Default for Collect {
    fn default() -> Self {
        Self { max_bytes: None, compress_from: 0.25 }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Collected {
    /// Bytes of the cache before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
    /// Vectors that were evicted.
    pub evicted: u64,
    /// Records that were nobody's, or damaged.
    pub dropped: u64,
    /// Segments that were written again without what went.
    pub rewritten: usize,
    /// Files that the index did not know.
    pub orphans: usize,
    /// Segments on which compression was tried, and what it made of how many bytes.
    pub tried: Vec<Trial>,
}

/// What zstd makes of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trial {
    /// The segment's number.
    pub segment: u16,
    /// Its vectors' type.
    pub vector_type: &'static str,
    /// Bytes as they are.
    pub plain_bytes: u64,
    /// Bytes compressed.
    pub zstd_bytes: u64,
    /// Whether it was worth it.
    pub is_compressed: bool,
}

/// What an entry costs beside its record: a row, and a slot of the hash index that is half full.
const ENTRY: u64 = 96;
/// A segment is written again when less than this share of it is anybody's.
const WORTH_KEEPING: f64 = 0.75;
const LEVEL: i32 = 3;
/// Bytes that are compressed together: all of them are unpacked for one record.
const BLOCK_BYTES: usize = 16 << 10;

impl Cache {
    /// Makes room. Who reads meanwhile is not disturbed: files are removed only after others have taken their place.
    pub fn collect(&self, wishes: &Collect) -> Result<Collected> {
        self.note_uses();
        self.note_asked();
        self.writing(|cache, writer| cache.collect_as(writer, wishes))
    }

    /// As [`Cache::collect`], for who holds the lock.
    pub(super) fn collect_as(&self, writer: &mut Writer, wishes: &Collect) -> Result<Collected> {
        let attempt = |e: &rusqlite::Error| failed("clean the cache's index", e);
        self.fold_log(&writer.db)?;
        let mut done = Collected { bytes_before: self.bytes(), ..Collected::default() };
        let rows = writer.db.segments().map_err(|e| attempt(&e))?;
        let known: HashSet<u16> = rows.iter().map(|row| row.id).collect();
        for id in self.segment_files().into_iter().filter(|id| !known.contains(id)) {
            done.orphans += usize::from(fs::remove_file(self.segment_path(id)).is_ok());
        }
        let mut live: BTreeMap<u16, Vec<Place>> = rows.iter().map(|row| (row.id, Vec::new())).collect();
        writer.db.for_each(|_, place| live.entry(place.segment).or_default().push(place)).map_err(|e| attempt(&e))?;
        let uses: HashMap<Place, Use> = self
            .shared()
            .hash
            .iter()
            .flat_map(|index| index.all().map(|f| (f.place, f.used)).collect::<Vec<_>>())
            .collect();
        let evicted = evict(&rows, &live, &uses, wishes.max_bytes, done.bytes_before);
        let total: usize = live.values().map(Vec::len).sum();
        let total = total as u64;
        done.evicted = evicted.len() as u64;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let is_thin = |row: &&SegmentRow| {
            let kept = live.get(&row.id).map_or(0, |places| places.iter().filter(|p| !evicted.contains(*p)).count());
            let has_evicted = live.get(&row.id).is_some_and(|places| kept < places.len());
            row.records > 0 && (has_evicted || (kept as f64) < row.records as f64 * WORTH_KEEPING)
        };
        let thin: Vec<SegmentRow> = rows.iter().filter(is_thin).cloned().collect();
        if !thin.is_empty() {
            let plan = Rewrite { rows: &rows, thin: &thin, live: &live, evicted: &evicted, uses: &uses };
            self.rewrite(writer, &plan, &mut done)?;
        }
        if wishes.compress_from <= 1.0 {
            self.compress(writer, wishes.compress_from, &mut done)?;
        }
        // Rows that went leave room in the file, which only this gives back; without it the file is just larger.
        let vacuum = if done.evicted * 4 > total { "VACUUM;" } else { "" };
        let _ = writer.db.connection.execute_batch(&format!("{vacuum} PRAGMA wal_checkpoint(TRUNCATE)"));
        done.bytes_after = self.bytes();
        Ok(done)
    }

    /// Bytes of all its files.
    pub(super) fn bytes(&self) -> u64 {
        let of = |folder: &std::path::Path| -> u64 {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|e| e.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.len()).sum()
        };
        of(&self.folder) + of(&self.folder.join("vectors"))
    }

    /// Writes what is kept of the thin segments to new ones, those used most first, and forgets the old ones.
    fn rewrite(&self, writer: &mut Writer, plan: &Rewrite, done: &mut Collected) -> Result<()> {
        let mut rows: Vec<SegmentRow> = plan.rows.to_vec();
        // Nothing is added to a segment that goes.
        rows.iter_mut().filter(|row| plan.goes(row.id)).for_each(|row| row.is_sealed = true);
        let (mut moved, mut gone) = (Vec::new(), Vec::new());
        let mut shapes: Vec<Shape> = plan.thin.iter().map(|row| row.shape).collect();
        shapes.sort_unstable();
        shapes.dedup();
        for shape in shapes {
            let of_shape = plan.thin.iter().filter(|row| row.shape == shape).filter_map(|row| plan.live.get(&row.id));
            let (out, mut kept): (Vec<Place>, Vec<Place>) = of_shape.flatten().partition(|p| plan.evicted.contains(*p));
            gone.extend(out.iter().filter_map(|place| Some((self.read_raw(*place)?.digest, *place))));
            kept.sort_by_key(|place| std::cmp::Reverse(worth(plan.used(*place))));
            for part in kept.chunks(shape.capacity()) {
                let at = self.new_segment(shape, &mut rows)?;
                let mut bytes = Vec::new();
                for place in part {
                    let Some(record) = self.read_raw(*place) else {
                        done.dropped += 1;
                        continue;
                    };
                    let row = &mut rows[at];
                    let slot = u16::try_from(row.records).unwrap_or(u16::MAX);
                    bytes.extend(&record.bytes);
                    moved.push((record.digest, record.generation_ns, *place, Place { segment: row.id, slot }));
                    row.records += 1;
                }
                let row = &mut rows[at];
                row.plain_bytes += bytes.len() as u64;
                row.stored_bytes = row.plain_bytes;
                let path = self.segment_path(row.id);
                let written = File::options().write(true).open(&path).and_then(|mut file| {
                    file.seek(SeekFrom::Start(HEADER as u64))?;
                    let mut stream = Stream::new(file, HEADER as u64);
                    stream.write_all(&bytes)?;
                    stream.finish()
                });
                written.map_err(|e| Error::io("write a segment again", &path, &e))?;
            }
        }
        let db = &writer.db;
        let changed = db.connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            for row in plan.thin {
                // What could not be read leads nowhere now.
                let first = u32::from(row.id) << 16;
                db.connection.execute("DELETE FROM vectors WHERE place BETWEEN ?1 AND ?2", [first, first | 0xffff])?;
                db.remove_segment(row.id)?;
            }
            moved.iter().try_for_each(|(digest, ns, _, place)| db.set_place(digest, *place, *ns))?;
            rows.iter().filter(|row| !plan.goes(row.id)).try_for_each(|row| db.set_segment(row))?;
            writer.next_commit()
        });
        writer.end(changed).map_err(|e| failed("clean the cache's index", &e))?;
        if let (Some(index), Some(hash)) = (self.index(), &writer.hash) {
            gone.iter().try_for_each(|(digest, place)| hash.remove(&index, digest, *place))?;
            moved
                .iter()
                .try_for_each(|(digest, _, old, new)| hash.set(&index, digest, Some(*old), *new, Use::default()))?;
        }
        self.compact_hash(writer)?;
        for row in plan.thin {
            self.unmap(row.id);
            let _ = fs::remove_file(self.segment_path(row.id));
            done.rewritten += 1;
        }
        self.close_reader();
        Ok(())
    }

    /// A record as it lies there, if it is whole.
    fn read_raw(&self, place: Place) -> Option<Raw> {
        let segment = self.segment(place.segment)?;
        let stride = segment.shape.stride();
        let read = segment.with(usize::from(place.slot), |record| {
            if !record.is_whole() {
                return Err(Fault::Damaged);
            }
            let mut bytes = record.bytes().to_vec();
            bytes.resize(stride, 0);
            Ok(Raw { digest: *record.digest(), generation_ns: record.generation_ns(), bytes })
        });
        read.ok()
    }

    /// Tries zstd on sealed segments, and keeps the compressed form where it saves enough.
    fn compress(&self, writer: &mut Writer, from: f64, done: &mut Collected) -> Result<()> {
        let rows = writer.db.segments().map_err(|e| failed("read the cache's index", &e))?;
        for mut row in rows.into_iter().filter(|row| row.is_sealed && row.records > 0) {
            let Some(segment) = self.segment(row.id).filter(|s| s.encoding == Encoding::Plain) else { continue };
            if row.trial_bytes.is_some_and(|tried| !is_worth(tried, row.plain_bytes, from)) {
                continue;
            }
            let path = self.segment_path(row.id);
            let attempt = |e: &std::io::Error| Error::io("compress a segment", &path, e);
            let bytes = packed(&segment, row.records).map_err(|e| attempt(&e))?;
            let is_compressed = is_worth(bytes.len() as u64, row.plain_bytes, from);
            if is_compressed {
                // Both forms hold the same records in the same slots: whoever has the old one open goes on with it.
                crate::store::file::replace(&path, &bytes, Durability::Durable)?;
                self.unmap(row.id);
                row.stored_bytes = bytes.len() as u64;
            }
            row.trial_bytes = Some(bytes.len() as u64);
            writer.db.set_segment(&row).map_err(|e| failed("note a compressed segment", &e))?;
            done.tried.push(Trial {
                segment: row.id,
                vector_type: row.shape.vector_type.as_str(),
                plain_bytes: row.plain_bytes,
                zstd_bytes: bytes.len() as u64,
                is_compressed,
            });
        }
        Ok(())
    }
}

struct Raw {
    digest: [u8; 32],
    generation_ns: u64,
    bytes: Vec<u8>,
}

/// Which segments are written again, and what of them is kept.
struct Rewrite<'a> {
    rows: &'a [SegmentRow],
    thin: &'a [SegmentRow],
    live: &'a BTreeMap<u16, Vec<Place>>,
    evicted: &'a HashSet<Place>,
    uses: &'a HashMap<Place, Use>,
}

impl Rewrite<'_> {
    fn goes(&self, id: u16) -> bool {
        self.thin.iter().any(|row| row.id == id)
    }

    fn used(&self, place: Place) -> Use {
        self.uses.get(&place).copied().unwrap_or_default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn is_worth(packed: u64, plain: u64, from: f64) -> bool {
    plain > 0 && 1.0 - packed as f64 / plain as f64 >= from
}

/// What is kept longest: each doubling of the minutes it was used in counts like being used a day later.
fn worth(used: Use) -> u32 {
    const DAY: u32 = 24 * 60;
    used.minute + DAY * (u32::from(used.times) + 1).ilog2()
}

/// The entries used least, as many as have to go for the cache to take `most` bytes.
fn evict(
    rows: &[SegmentRow],
    live: &BTreeMap<u16, Vec<Place>>,
    uses: &HashMap<Place, Use>,
    most: Option<u64>,
    now: u64,
) -> HashSet<Place> {
    let Some(most) = most.filter(|most| now > *most) else { return HashSet::new() };
    let strides: HashMap<u16, u64> = rows.iter().map(|row| (row.id, row.shape.stride() as u64)).collect();
    let mut all: Vec<Place> = live.values().flatten().copied().collect();
    let cost = |place: &Place| strides.get(&place.segment).copied().unwrap_or(0) + ENTRY;
    let mut bytes: u64 = all.iter().map(cost).sum();
    all.sort_by_cached_key(|place| (worth(uses.get(place).copied().unwrap_or_default()), *place));
    // A tenth more, so that the next save does not need room again.
    let target = most - most / 10;
    let go = all.into_iter().take_while(|place| {
        let is_over = bytes > target;
        bytes = bytes.saturating_sub(cost(place));
        is_over
    });
    go.collect()
}

/// The segment's compressed form.
fn packed(segment: &Segment, records: usize) -> std::io::Result<Vec<u8>> {
    let stride = segment.shape.stride();
    let records_a_block = (BLOCK_BYTES / stride).max(1);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for first in (0..records).step_by(records_a_block) {
        let mut plain = Vec::with_capacity(records_a_block * stride);
        for slot in first..records.min(first + records_a_block) {
            // What cannot be read stays unreadable: zeros are nobody's record.
            let _ = segment.with(slot, |record| {
                plain.extend(record.bytes());
                Ok(())
            });
            plain.resize((slot - first + 1) * stride, 0);
        }
        blocks.push(zstd::bulk::compress(&plain, LEVEL)?);
    }
    let encoding = Encoding::Zstd { records, records_a_block };
    let mut bytes = segment::header(segment.shape, encoding, segment.created_s);
    let mut end = HEADER + 8 * blocks.len();
    for block in &blocks {
        end += block.len();
        bytes.extend((end as u64).to_le_bytes());
    }
    blocks.iter().for_each(|block| bytes.extend(block));
    Ok(bytes)
}

//! Segments: files of equally long records, written once, from front to back.
//!
//! ```text
//! vectors/00007.seg      header                                    4096 bytes
//!                        "OPDBVEC1", version, type, dimension,
//!                        stride, encoding, records, records a block, -, created, checksum
//!                        record 0, record 1, ...                   stride bytes each
//! a record               key                                       32 bytes
//!                        generation time in nanoseconds             8
//!                        scale                                      4
//!                        CRC-32 of all the rest                     4
//!                        the vector, then zeros to a multiple of 16
//! ```
//! A record says whose vector it is, so whatever pointed at it is checked by it, and an index can be made again from
//! segments alone. In a compressed segment the end of each block follows the header (8 bytes each), then the blocks.

use super::key::Key;
use crate::base::{Error, Result};
use crate::embed::codec::{self, VectorType};
use crate::embed::map::Map;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes before the first record.
pub(super) const HEADER: usize = 4096;
/// Bytes of a record before its vector.
pub(super) const RECORD_HEADER: usize = 48;
/// Most records of a segment: a slot is 16 bits.
pub(super) const MAX_RECORDS: usize = 1 << 16;
/// Most bytes of a segment's records.
const MAX_BYTES: usize = 64 << 20;
/// What is read ahead when a record is touched for the first time.
const WINDOW: usize = 64 << 10;
const MAGIC: &[u8; 8] = b"OPDBVEC1";
const VERSION: u32 = 1;

/// What all records of a segment have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Shape {
    pub vector_type: VectorType,
    pub dimension: usize,
}

impl Shape {
    /// Bytes from one record to the next.
    pub(super) fn stride(self) -> usize {
        (RECORD_HEADER + self.vector_type.bytes(self.dimension)).next_multiple_of(16)
    }

    /// How many records fit in one segment.
    pub(super) fn capacity(self) -> usize {
        (MAX_BYTES / self.stride()).clamp(1, MAX_RECORDS)
    }
}

/// How a segment's records lie in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Zstd { records: usize, records_a_block: usize },
}

/// The header of a segment's file.
pub(super) fn header(shape: Shape, encoding: Encoding, created_s: u64) -> Vec<u8> {
    let (code, records, a_block) = match encoding {
        Encoding::Plain => (0, 0, 0),
        Encoding::Zstd { records, records_a_block } => (1, records, records_a_block),
    };
    let mut bytes = MAGIC.to_vec();
    for number in [
        VERSION as usize,
        shape.vector_type.code() as usize,
        shape.dimension,
        shape.stride(),
        code,
        records,
        a_block,
        0,
    ] {
        bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend(created_s.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

/// Writes one record to the end of `out`.
pub(super) fn write_record(shape: Shape, digest: &[u8; 32], vector: &[f32], generation_ns: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(digest);
    out.extend(generation_ns.to_le_bytes());
    out.extend([0; 8]);
    let scale = codec::encode(shape.vector_type, vector, out);
    out[start + 40..start + 44].copy_from_slice(&scale.to_le_bytes());
    let crc = checksum(&out[start..]);
    out[start + 44..start + 48].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + shape.stride(), 0);
}

/// The checksum of a record without its padding.
#[inline]
fn checksum(record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..44]);
    crc.update(&record[RECORD_HEADER..]);
    crc.finalize()
}

/// Why there is no vector where one was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file ends before it.
    Missing,
    /// Another key's record.
    Other,
    /// Its bytes are not those that were written.
    Damaged,
    /// The disk gives no bytes.
    Unreadable,
}

/// One record, its bytes as they lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    shape: Shape,
}

impl<'a> Record<'a> {
    /// What lies in the first `stride` bytes.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], shape: Shape) -> Self {
        Self { bytes: &bytes[..RECORD_HEADER + shape.vector_type.bytes(shape.dimension)], shape }
    }

    pub(super) fn digest(&self) -> &'a [u8; 32] {
        self.bytes.first_chunk().unwrap_or(&[0; 32])
    }

    pub(super) fn generation_ns(&self) -> u64 {
        u64::from_le_bytes(self.bytes[32..40].try_into().unwrap_or_default())
    }

    fn scale(&self) -> f32 {
        f32::from_le_bytes(self.bytes[40..44].try_into().unwrap_or_default())
    }

    /// All of it, without what fills it up.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The vector's bytes, as they are.
    pub(super) fn payload(&self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER..]
    }

    /// Whether the bytes are those that were written.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.bytes[44..48] == checksum(self.bytes).to_le_bytes()
    }

    /// The key's vector into `out`, if this is its record and it is whole.
    #[inline]
    pub(super) fn read(&self, key: &Key, out: &mut [f32]) -> Result<u64, Fault> {
        if self.digest() != key.digest() {
            return Err(Fault::Other);
        }
        if !self.is_whole() {
            return Err(Fault::Damaged);
        }
        codec::decode(self.shape.vector_type, self.scale(), self.payload(), out);
        Ok(self.generation_ns())
    }
}

/// A segment that is read.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub shape: Shape,
    pub encoding: Encoding,
    pub created_s: u64,
    file: File,
    map: Map,
    /// How long the file was when it was last looked at: it only grows.
    known_len: AtomicU64,
    /// Which windows of the file were read without an error, a bit each.
    read: Box<[AtomicU64]>,
    /// The block that was read last, when they are compressed.
    block: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Segment {
    /// Opens the segment at `path`. The error names what is wrong with it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let attempt = |e: &std::io::Error| Error::io("open the segment of vectors", path, e);
        let wrong = |what: &str| Error::failed(what.to_owned()).on(path.display().to_string());
        let file = File::open(path).map_err(|e| attempt(&e))?;
        let len = file.metadata().map_err(|e| attempt(&e))?.len();
        let mut bytes = [0; 52];
        file.read_exact_at(&mut bytes, 0).map_err(|_| wrong("the segment ends in its header"))?;
        if bytes[..8] != *MAGIC {
            return Err(wrong("it is no segment of vectors"));
        }
        if bytes[48..] != crc32fast::hash(&bytes[..48]).to_le_bytes() {
            return Err(wrong("the segment's header is damaged"));
        }
        let number = |i: usize| u32::from_le_bytes(bytes[8 + 4 * i..12 + 4 * i].try_into().unwrap_or_default());
        if number(0) != VERSION {
            return Err(wrong("the segment is of another version of op-embed"));
        }
        let vector_type =
            VectorType::of_code(number(1)).ok_or_else(|| wrong("the segment's vectors are of no known type"))?;
        let shape = Shape { vector_type, dimension: number(2) as usize };
        let encoding = match number(4) {
            0 => Encoding::Plain,
            1 => Encoding::Zstd { records: number(5) as usize, records_a_block: number(6) as usize },
            _ => return Err(wrong("the segment is encoded in an unknown way")),
        };
        if shape.dimension == 0
            || shape.stride() != number(3) as usize
            || matches!(encoding, Encoding::Zstd { records_a_block: 0, .. })
        {
            return Err(wrong("the segment's header contradicts itself"));
        }
        // A growing file is mapped once: what lies beyond its end is not touched.
        let reach = match encoding {
            Encoding::Plain => HEADER + shape.capacity() * shape.stride(),
            Encoding::Zstd { .. } => usize::try_from(len).unwrap_or(HEADER).max(HEADER),
        };
        let map = Map::new(&file, reach).map_err(|e| attempt(&e))?;
        let created_s = u64::from_le_bytes(bytes[40..48].try_into().unwrap_or_default());
        let read = (0..reach.div_ceil(WINDOW * 64)).map(|_| AtomicU64::new(0)).collect();
        let (path, known_len) = (path.to_owned(), AtomicU64::new(len));
        Ok(Self { path, shape, encoding, created_s, file, map, known_len, read, block: Mutex::default() })
    }

    /// Calls `read` with the record in `slot`.
    #[inline]
    pub(super) fn with<T>(&self, slot: usize, read: impl FnOnce(Record) -> Result<T, Fault>) -> Result<T, Fault> {
        let stride = self.shape.stride();
        match self.encoding {
            Encoding::Plain => {
                let start = HEADER + slot * stride;
                if slot >= self.shape.capacity() || !self.reaches(start + stride) {
                    return Err(Fault::Missing);
                }
                read(Record::new(self.bytes(start, stride)?, self.shape))
            }
            Encoding::Zstd { records, records_a_block } => {
                if slot >= records {
                    return Err(Fault::Missing);
                }
                let (number, within) = (slot / records_a_block, slot % records_a_block);
                let mut kept = self.block.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if kept.as_ref().is_none_or(|(n, _)| *n != number) {
                    *kept = Some((number, self.unpack(number, records_a_block * stride)?));
                }
                let Some((_, block)) = &*kept else { return Err(Fault::Missing) };
                let bytes = block.get(within * stride..(within + 1) * stride).ok_or(Fault::Damaged)?;
                read(Record::new(bytes, self.shape))
            }
        }
    }

    fn unpack(&self, number: usize, most: usize) -> Result<Vec<u8>, Fault> {
        let end_of = |block: usize| -> Result<usize, Fault> {
            let at = HEADER + 8 * block;
            if !self.reaches(at + 8) {
                return Err(Fault::Missing);
            }
            let end = self.bytes(at, 8)?.try_into().unwrap_or_default();
            usize::try_from(u64::from_le_bytes(end)).map_err(|_| Fault::Damaged)
        };
        let Encoding::Zstd { records, records_a_block } = self.encoding else { return Err(Fault::Missing) };
        let first = HEADER + 8 * records.div_ceil(records_a_block);
        let start = if number == 0 { first } else { end_of(number - 1)? };
        let end = end_of(number)?;
        if start < first || end < start {
            return Err(Fault::Damaged);
        }
        if !self.reaches(end) || end > self.map.len() {
            return Err(Fault::Missing);
        }
        zstd::bulk::decompress(self.bytes(start, end - start)?, most).map_err(|_| Fault::Damaged)
    }

    /// Bytes of the file that it has. A page the disk cannot read would end the process where it is touched first, so
    /// each window is first asked for in a way that says so.
    #[inline]
    fn bytes(&self, from: usize, len: usize) -> Result<&[u8], Fault> {
        for window in from / WINDOW..=(from + len - 1) / WINDOW {
            let (word, bit) = (&self.read[window / 64], 1 << (window % 64));
            if word.load(Ordering::Relaxed) & bit == 0 {
                if self.read_ahead(window * WINDOW, WINDOW) {
                    word.fetch_or(bit, Ordering::Relaxed);
                } else if !self.read_ahead(from, len) {
                    return Err(Fault::Unreadable);
                }
            }
        }
        Ok(self.map.bytes(from, len))
    }

    /// Whether the bytes that there are of these can be read.
    #[cold]
    fn read_ahead(&self, from: usize, len: usize) -> bool {
        let known = usize::try_from(self.known_len.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        match self.map.populate(from, known.saturating_sub(from).min(len)) {
            Ok(()) => true,
            // A kernel before 5.14 knows no such question.
            Err(error) => error.raw_os_error() == Some(libc::EINVAL),
        }
    }

    /// Whether the file is at least this long.
    #[inline]
    fn reaches(&self, end: usize) -> bool {
        end as u64 <= self.known_len.load(Ordering::Relaxed) || {
            let len = self.file.metadata().map_or(0, |m| m.len());
            self.known_len.store(len, Ordering::Relaxed);
            end as u64 <= len
        }
    }

    /// How many records its file has room for as long as it is now.
    pub(super) fn records(&self) -> usize {
        match self.encoding {
            Encoding::Zstd { records, .. } => records,
            Encoding::Plain => {
                let len = usize::try_from(self.file_len()).unwrap_or(0);
                (len.saturating_sub(HEADER) / self.shape.stride()).min(self.shape.capacity())
            }
        }
    }

    /// How long its file is now.
    pub(super) fn file_len(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// Whether its path still leads to the file that is mapped.
    pub(super) fn is_current(&self) -> bool {
        let mine = self.file.metadata().map(|m| (m.dev(), m.ino())).ok();
        mine.is_some() && mine == std::fs::metadata(&self.path).map(|m| (m.dev(), m.ino())).ok()
    }

    /// Where the record's bytes lie in the file, when each has its own.
    pub(super) fn range(&self, slot: usize) -> Option<(usize, usize)> {
        let stride = self.shape.stride();
        let is_there = self.encoding == Encoding::Plain && self.reaches(HEADER + (slot + 1) * stride);
        is_there.then_some((HEADER + slot * stride, stride))
    }

    /// The file in memory.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }
}

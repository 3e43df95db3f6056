//! The two files of vectors that a search reads.
//!
//! ```text
//! vectors.f16   header 4096 bytes: "OPDBF16\0", version, dimension
//!               rows: the numbers as half floats, CRC-32 of them, 4 zeros
//! vectors.i8    header 4096 bytes: "OPDBI8\0\0", version, dimension
//!               blocks of 256 rows: 256 x the numbers as bytes + 128, each row filled up with 128 to a multiple of 64;
//!               then 256 x (scale, error), f32 each
//! ```
//! The first is what was added. The second is derived from it and made again when it is lost: it is what is scanned.
//! `error` is the length of the difference between a row and its bytes: it bounds how wrong a scanned score can be.

use crate::base::{Error, Result};
use crate::embed::codec::{self, VectorType};
use crate::embed::map::Map;
use crate::embed::simd::LANES;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Rows of a block.
pub(super) const BLOCK: usize = 256;
const HEADER: usize = 4096;
const VERSION: u32 = 1;

/// The exact vectors, read where a scan points.
#[derive(Debug)]
pub(super) struct Exact {
    path: PathBuf,
    file: File,
    dimension: usize,
}

fn header(magic: &[u8; 8], dimension: usize) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(u32::try_from(dimension).unwrap_or(u32::MAX).to_le_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

/// Opens a file of vectors; one with another header is begun anew only when `may_begin`.
fn open(path: &Path, magic: &[u8; 8], dimension: usize, may_write: bool, may_begin: bool) -> Result<File> {
    let attempt = |e: &std::io::Error| Error::io("open the vectors", path, e);
    let opened = File::options().read(true).write(may_write).create(may_write).truncate(false).open(path);
    let file = opened.map_err(|e| attempt(&e))?;
    let mut found = vec![0; HEADER];
    let is_right = file.read_exact_at(&mut found, 0).is_ok() && found == header(magic, dimension);
    if !is_right && (!may_write || !may_begin) {
        return Err(Error::failed(format!("it holds no vectors of {dimension} numbers"))
            .on(path.display().to_string())
            .hint("add the documents again, in an empty folder"));
    }
    if !is_right {
        file.set_len(0).and_then(|()| file.write_all_at(&header(magic, dimension), 0)).map_err(|e| attempt(&e))?;
    }
    Ok(file)
}

impl Exact {
    /// Opens the file. It is begun when there are no `rows` yet.
    pub(super) fn open(folder: &Path, dimension: usize, rows: usize, may_write: bool) -> Result<Self> {
        let path = folder.join("vectors.f16");
        let file = open(&path, b"OPDBF16\0", dimension, may_write, rows == 0)?;
        Ok(Self { path, file, dimension })
    }

    fn stride(&self) -> usize {
        self.dimension * 2 + 8
    }

    /// Writes rows from number `from` on, and waits for the disk.
    pub(super) fn write<'v>(&self, from: usize, vectors: impl Iterator<Item = &'v [f32]>) -> Result<()> {
        let mut bytes = Vec::new();
        for vector in vectors {
            let start = bytes.len();
            codec::encode(VectorType::F16, vector, &mut bytes);
            let crc = crc32fast::hash(&bytes[start..]);
            bytes.extend(crc.to_le_bytes());
            bytes.extend([0; 4]);
        }
        let written = self.file.write_all_at(&bytes, (HEADER + from * self.stride()) as u64);
        written.and_then(|()| self.file.sync_data()).map_err(|e| Error::io("add vectors", &self.path, &e))
    }

    /// Row number `row` into `out`; `None` when it is damaged.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) -> Option<()> {
        let mut bytes = [0; 8 << 10];
        let mut long = Vec::new();
        let bytes = if self.stride() <= bytes.len() {
            &mut bytes[..self.stride()]
        } else {
            long.resize(self.stride(), 0);
            &mut long[..]
        };
        self.file.read_exact_at(bytes, (HEADER + row * self.stride()) as u64).ok()?;
        let (numbers, rest) = bytes.split_at(self.dimension * 2);
        if rest[..4] != crc32fast::hash(numbers).to_le_bytes() {
            return None;
        }
        codec::decode(VectorType::F16, 1.0, numbers, out);
        Some(())
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The bytes that are scanned.
#[derive(Debug)]
pub(super) struct Scanned {
    path: PathBuf,
    file: File,
    width: usize,
    dimension: usize,
    map: Option<Map>,
    mapped_rows: usize,
}

/// A block of rows, as it lies in the file.
pub(super) struct Block<'a> {
    pub codes: &'a [u8],
    pub scales: &'a [u8],
}

impl Block<'_> {
    /// Scale and error of a row of the block.
    #[inline]
    pub(super) fn scale(&self, i: usize) -> (f32, f32) {
        let number = |at: usize| f32::from_le_bytes(self.scales[at..at + 4].try_into().unwrap_or_default());
        (number(8 * i), number(8 * i + 4))
    }
}

impl Scanned {
    /// Opens the file; `None` when it has to be made again and that may not be done.
    pub(super) fn open(folder: &Path, dimension: usize, may_write: bool) -> Result<Self> {
        let path = folder.join("vectors.i8");
        let file = open(&path, b"OPDBI8\0\0", dimension, may_write, true)?;
        let width = dimension.next_multiple_of(LANES);
        Ok(Self { path, file, width, dimension, map: None, mapped_rows: 0 })
    }

    fn block_bytes(&self) -> usize {
        BLOCK * (self.width + 8)
    }

    /// The bytes of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether it is long enough to hold `rows`.
    pub(super) fn holds(&self, rows: usize) -> bool {
        let Some(last) = rows.checked_sub(1) else { return true };
        let end = HEADER + last / BLOCK * self.block_bytes() + BLOCK * self.width + (last % BLOCK + 1) * 8;
        self.file.metadata().is_ok_and(|m| m.len() >= end as u64)
    }

    /// Writes rows from number `from` on, and waits for the disk.
    pub(super) fn write<'v>(&self, from: usize, vectors: impl Iterator<Item = &'v [f32]>) -> Result<()> {
        self.write_unsynced(from, vectors)?;
        self.sync()
    }

    /// Waits for the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("add vectors", &self.path, &e))
    }

    /// Writes rows from number `from` on.
    pub(super) fn write_unsynced<'v>(&self, from: usize, vectors: impl Iterator<Item = &'v [f32]>) -> Result<()> {
        let attempt = |e: &std::io::Error| Error::io("add vectors", &self.path, e);
        let mut vectors = vectors.peekable();
        let mut row = from;
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        while vectors.peek().is_some() {
            let (first, start) = (row % BLOCK, HEADER + row / BLOCK * self.block_bytes());
            codes.clear();
            scales.clear();
            for vector in vectors.by_ref().take(BLOCK - first) {
                self.quantise(vector, &mut codes, &mut scales);
                row += 1;
            }
            let written = self.file.write_all_at(&codes, (start + first * self.width) as u64);
            let written =
                written.and_then(|()| self.file.write_all_at(&scales, (start + BLOCK * self.width + first * 8) as u64));
            written.map_err(|e| attempt(&e))?;
        }
        Ok(())
    }

    /// A row's bytes, and its scale and error, to the ends of `codes` and `scales`.
    pub(super) fn quantise(&self, vector: &[f32], codes: &mut Vec<u8>, scales: &mut Vec<u8>) {
        // The error is that of the half floats that are ranked in the end.
        let halves = vector.iter().map(|x| codec::from_f16(codec::to_f16(*x)));
        let scale = codec::scale_of(vector);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let mut error = 0.0;
        for x in halves {
            let code = codec::to_int8(x, inverse);
            error += (x - f32::from(code) * scale).powi(2);
            codes.push(code.cast_unsigned() ^ 0x80);
        }
        codes.resize(codes.len() + self.width - self.dimension, 0x80);
        scales.extend(scale.to_le_bytes());
        scales.extend(error.sqrt().to_le_bytes());
    }

    /// Maps the first `rows`, and reads them into memory: by the thread that calls, so they land on its NUMA node.
    pub(super) fn map(&mut self, rows: usize) -> Result<()> {
        if rows == 0 || (self.map.is_some() && self.mapped_rows == rows) {
            return Ok(());
        }
        let attempt = |e: &std::io::Error| Error::io("read the vectors", &self.path, e);
        let len = HEADER + rows.div_ceil(BLOCK) * self.block_bytes();
        let map = Map::new(&self.file, len).map_err(|e| attempt(&e))?;
        let there = usize::try_from(self.file.metadata().map_err(|e| attempt(&e))?.len()).unwrap_or(0).min(len);
        match map.populate(0, there) {
            // A kernel before 5.14 knows no such question.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(attempt(&error)),
            _ => {}
        }
        (self.map, self.mapped_rows) = (Some(map), rows);
        Ok(())
    }

    /// How many rows are mapped.
    pub(super) fn mapped_rows(&self) -> usize {
        self.mapped_rows
    }

    /// Block number `number` of the mapped rows, and how many rows of it there are.
    pub(super) fn block(&self, number: usize) -> Option<(Block<'_>, usize)> {
        let rows = self.mapped_rows.saturating_sub(number * BLOCK).min(BLOCK);
        let map = self.map.as_ref().filter(|_| rows > 0)?;
        let start = HEADER + number * self.block_bytes();
        let codes = map.bytes(start, rows * self.width);
        let scales = map.bytes(start + BLOCK * self.width, rows * 8);
        Some((Block { codes, scales }, rows))
    }
}

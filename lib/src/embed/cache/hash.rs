//! The hash index: where a key's record lies, found without SQLite. It is derived: whatever it says is checked by the
//! record it leads to, and what it does not know SQLite is asked for.
//!
//! ```text
//! index.hash    header                                                      4096 bytes
//!               "OPDBHSH1", version, state (1: another file took its place), capacity, used, cache id,
//!               number of the last commit that it holds
//!               slots                                                       16 bytes each, `capacity` of them
//! a slot        first 8 bytes of the key; 0: nothing here, the search ends
//!               place: slot and segment, 16 bits each; all ones: removed
//!               use: minutes since 2024 when last used (24 bits), minutes it was used in (8 bits)
//! ```
//! The first slot to look at is the key's first 8 bytes modulo `capacity`, a power of two; then the next ones.
//! Readers map the file; the writer and those who note uses write with `pwrite`.

use super::key::{Key, prefix};
use crate::base::{Error, Result};
use crate::embed::map::Map;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"OPDBHSH1");
const VERSION: u64 = 1;
const HEADER: usize = 4096;
const SLOT: usize = 16;
const STATE: usize = 16;
const USED: usize = 32;
const COMMITS: usize = 48;
/// Capacity of an index with few entries.
const SMALLEST: usize = 4096;
/// 2024-01-01: uses are counted in minutes from here.
const EPOCH_S: u64 = 1_704_067_200;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub segment: u16,
    pub slot: u16,
}

impl Place {
    const NONE: u32 = u32::MAX;

    pub(super) fn number(self) -> u32 {
        u32::from(self.segment) << 16 | u32::from(self.slot)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
    pub(super) fn of(number: u32) -> Self {
        Self { segment: (number >> 16) as u16, slot: number as u16 }
    }
}

/// When a record was used last, and in how many different minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(super) struct Use {
    pub minute: u32,
    pub times: u8,
}

impl Use {
    fn number(self) -> u32 {
        (self.minute & 0xff_ffff) << 8 | u32::from(self.times)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the last eight bits")]
    fn of(number: u32) -> Self {
        Self { minute: number >> 8, times: number as u8 }
    }

    /// The same, used once more in `minute`. What was used often and long ago counts half as much each week.
    pub(super) fn again(self, minute: u32) -> Self {
        let weeks = minute.saturating_sub(self.minute) / (7 * 24 * 60);
        let times = self.times.checked_shr(weeks).unwrap_or(0);
        Self { minute, times: times.saturating_add(1) }
    }

    /// The minute `unix_s` lies in.
    pub(super) fn minute_of(unix_s: u64) -> u32 {
        u32::try_from(unix_s.saturating_sub(EPOCH_S) / 60).unwrap_or(0) & 0xff_ffff
    }
}

/// A slot that may be the key's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub place: Place,
    pub used: Use,
    /// The number of the slot in the index.
    pub at: usize,
}

/// The index, mapped.
#[derive(Debug)]
pub(super) struct HashIndex {
    pub path: PathBuf,
    map: Map,
    mask: usize,
    /// Used slots, removed ones included, as this process knows it; kept by the writer.
    used: AtomicU64,
    pub cache_id: u64,
}

impl HashIndex {
    /// The index at `path`; `None` when there is none that can be used.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if len < HEADER {
            return None;
        }
        let map = Map::new(&file, len).ok()?;
        let capacity = usize::try_from(map.word(24)).ok()?;
        let is_sound = map.word(0) == MAGIC
            && map.word(8) == VERSION
            && capacity.is_power_of_two()
            && len == HEADER.checked_add(capacity.checked_mul(SLOT)?)?;
        let (used, cache_id) = (AtomicU64::new(map.word(USED)), map.word(40));
        is_sound.then(|| Self { path: path.to_owned(), mask: capacity - 1, map, used, cache_id })
    }

    /// Whether another file has taken this one's place.
    #[inline]
    pub(super) fn is_superseded(&self) -> bool {
        self.map.word(STATE) != 0
    }

    /// The places where the key's record may lie; nearly always one or none.
    #[inline]
    pub(super) fn find(&self, key: &Key) -> impl Iterator<Item = Found> {
        self.find_prefix(key.prefix())
    }

    #[inline]
    fn find_prefix(&self, wanted: u64) -> impl Iterator<Item = Found> {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let first = wanted as usize;
        (0..=self.mask)
            .map(move |step| (first.wrapping_add(step)) & self.mask)
            .map(|at| (at, self.map.word(HEADER + SLOT * at)))
            .take_while(|(_, prefix)| *prefix != 0)
            .filter(move |(_, prefix)| *prefix == wanted)
            .filter_map(|(at, _)| self.slot(at))
    }

    /// What a used slot leads to.
    #[inline]
    fn slot(&self, at: usize) -> Option<Found> {
        let word = self.map.word(HEADER + SLOT * at + 8);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
        let (place, used) = (word as u32, (word >> 32) as u32);
        (place != Place::NONE).then(|| Found { place: Place::of(place), used: Use::of(used), at })
    }

    /// Everything it leads to.
    pub(super) fn all(&self) -> impl Iterator<Item = Found> {
        (0..=self.mask).filter(|at| self.map.word(HEADER + SLOT * at) != 0).filter_map(|at| self.slot(at))
    }

    /// Whether `more` entries fit without the searches getting long.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        (self.used.load(Ordering::Relaxed) + more as u64) * 3 <= (self.mask as u64 + 1) * 2
    }

    /// How many slots are in use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The last commit of the authority that it holds.
    pub(super) fn commits(&self) -> u64 {
        self.map.word(COMMITS)
    }

    /// The bytes of the whole file.
    pub(super) fn bytes(&self) -> usize {
        self.map.len()
    }
}

/// The index as its one writer changes it.
#[derive(Debug)]
pub(super) struct HashWriter {
    file: File,
}

impl HashWriter {
    /// Opens the file that `index` is a map of, unless another took its place.
    pub(super) fn open(index: &HashIndex) -> Result<Self> {
        let attempt = |e: &std::io::Error| Error::io("open the hash index", &index.path, e);
        let file = File::options().read(true).write(true).open(&index.path).map_err(|e| attempt(&e))?;
        if file.metadata().map_err(|e| attempt(&e))?.len() != index.bytes() as u64 || index.is_superseded() {
            return Err(Error::failed("another process made the hash index again").on(index.path.display().to_string()));
        }
        Ok(Self { file })
    }

    /// Leads `digest` to `place`, where it led before or in a new slot. A record that was not there before counts as
    /// used in `used`.
    pub(super) fn set(
        &self,
        index: &HashIndex,
        digest: &[u8; 32],
        old: Option<Place>,
        place: Place,
        used: Use,
    ) -> Result<()> {
        let wanted = prefix(digest);
        let known = old.and_then(|old| index.find_prefix(wanted).find(|found| found.place == old));
        if let Some(found) = known {
            return self.write(index, found.at, wanted, place.number(), found.used);
        }
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let first = wanted as usize;
        for step in 0..=index.mask {
            let at = first.wrapping_add(step) & index.mask;
            if index.map.word(HEADER + SLOT * at) == 0 {
                self.write(index, at, wanted, place.number(), used)?;
                index.used.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(Error::failed("the hash index is full").on(index.path.display().to_string()))
    }

    /// Leads `digest` nowhere, where it led to `place`.
    pub(super) fn remove(&self, index: &HashIndex, digest: &[u8; 32], place: Place) -> Result<()> {
        let wanted = prefix(digest);
        match index.find_prefix(wanted).find(|found| found.place == place) {
            Some(found) => self.write(index, found.at, wanted, Place::NONE, Use::default()),
            None => Ok(()),
        }
    }

    /// Says that all of the authority's commits up to this one are in it.
    pub(super) fn holds(&self, index: &HashIndex, commits: u64) -> Result<()> {
        self.write_at(index, USED, &index.used().to_le_bytes())?;
        self.write_at(index, COMMITS, &commits.to_le_bytes())
    }

    /// Says to those who have the file open that another took its place.
    pub(super) fn supersede(&self, index: &HashIndex) -> Result<()> {
        self.write_at(index, STATE, &1_u64.to_le_bytes())
    }

    /// Notes a use of what slot `at` leads to. Losing one, or noting it for the record that came after, costs nothing.
    pub(super) fn note_use(&self, index: &HashIndex, at: usize, used: Use) -> Result<()> {
        self.write_at(index, HEADER + SLOT * at + 12, &used.number().to_le_bytes())
    }

    fn write(&self, index: &HashIndex, at: usize, prefix: u64, place: u32, used: Use) -> Result<()> {
        self.write_at(index, HEADER + SLOT * at, &slot_bytes(prefix, place, used))
    }

    fn write_at(&self, index: &HashIndex, offset: usize, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset as u64);
        written.map_err(|e| Error::io("write the hash index", &index.path, &e))
    }
}

fn slot_bytes(prefix: u64, place: u32, used: Use) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&prefix.to_le_bytes());
    bytes[8..12].copy_from_slice(&place.to_le_bytes());
    bytes[12..].copy_from_slice(&used.number().to_le_bytes());
    bytes
}

/// A whole index, made in memory and written at once.
pub(super) struct Builder {
    slots: Vec<u8>,
    mask: usize,
    used: u64,
}

impl Builder {
    /// With room for `entries` and as many again.
    pub(super) fn new(entries: usize) -> Self {
        let capacity = (entries * 2).next_power_of_two().max(SMALLEST);
        Self { slots: vec![0; capacity * SLOT], mask: capacity - 1, used: 0 }
    }

    /// Leads a key that is not in it to `place`.
    pub(super) fn add(&mut self, prefix: u64, place: Place, used: Use) {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let mut at = prefix as usize & self.mask;
        while self.slots[SLOT * at..SLOT * at + 8] != [0; 8] {
            at = (at + 1) & self.mask;
        }
        self.slots[SLOT * at..SLOT * (at + 1)].copy_from_slice(&slot_bytes(prefix, place.number(), used));
        self.used += 1;
    }

    /// The file's bytes.
    pub(super) fn finish(mut self, cache_id: u64, commits: u64) -> Vec<u8> {
        let capacity = self.mask as u64 + 1;
        let mut bytes = Vec::with_capacity(HEADER + self.slots.len());
        for word in [MAGIC, VERSION, 0, capacity, self.used, cache_id, commits] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(HEADER, 0);
        bytes.append(&mut self.slots);
        bytes
    }
}

/// The first 8 bytes of a digest as the index compares them.
pub(super) fn prefix_of(digest: &[u8; 32]) -> u64 {
    prefix(digest)
}

impl HashIndex {
    /// The entries of `self` in a larger index, without anything else being read.
    pub(super) fn grown(&self, entries: usize) -> Builder {
        let mut builder = Builder::new(entries);
        for at in 0..=self.mask {
            let prefix = self.map.word(HEADER + SLOT * at);
            if prefix != 0
                && let Some(found) = self.slot(at)
            {
                builder.add(prefix, found.place, found.used);
            }
        }
        builder
    }
}

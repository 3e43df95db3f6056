//! Answering: the hash index, the record it leads to, and SQLite for what the hash index does not know.

use super::hash::{Found, HashIndex, Place, Use};
use super::key::Key;
use super::segment::{Fault, Segment, Shape};
use super::{Cache, Db, Hit, Problem, Shared, held};
use crate::base::{Error, Result};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, PoisonError};

/// How many uses are kept back before they are noted.
const KEPT_BACK: usize = 1024;

impl Cache {
    /// The key's vector into `out`, if it is there and whole.
    ///
    /// It is an error only to ask for another dimension than the key's vector has: whatever is wrong with the cache
    /// itself is a miss, and kept for [`Cache::take_problems`].
    pub fn get(&self, key: &Key, out: &mut [f32]) -> Result<Option<Hit>> {
        let shape = Shape { vector_type: key.vector_type(), dimension: out.len() };
        if let Some(hit) = self.quick(key, shape, out)? {
            return Ok(Some(hit));
        }
        let hit = self.ask_sqlite(key, shape, out)?;
        if hit.is_none() {
            self.counters.misses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(hit)
    }

    /// Whether the key's vector is there, without reading it whole.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.find(key).is_some()
    }

    /// What the hash index leads to.
    #[inline]
    pub(super) fn quick(&self, key: &Key, shape: Shape, out: &mut [f32]) -> Result<Option<Hit>> {
        let is_complete = {
            let shared = self.shared();
            let Some(index) = &shared.hash else { return Ok(None) };
            if index.is_superseded() {
                false
            } else {
                let mut is_complete = true;
                for found in index.find(key) {
                    let Some(segment) = shared.segment(found.place) else {
                        is_complete = false;
                        break;
                    };
                    let copy = shared.copies.as_ref().and_then(|copies| copies.record(segment, found.place));
                    let hit = match copy.filter(|_| segment.shape == shape).map(|record| record.read(key, out)) {
                        Some(Ok(generation_ns)) => {
                            self.counters.hit(generation_ns);
                            Some(Hit { generation_ns })
                        }
                        _ => self.look(segment, found.place, key, shape, out)?,
                    };
                    if hit.is_some() {
                        self.used(index, found);
                        return Ok(hit);
                    }
                }
                is_complete
            }
        };
        if is_complete { Ok(None) } else { self.slow(key, shape, out) }
    }

    /// As [`Self::quick`], mapping what is not mapped yet.
    #[cold]
    fn slow(&self, key: &Key, shape: Shape, out: &mut [f32]) -> Result<Option<Hit>> {
        if self.index().is_some_and(|index| index.is_superseded()) {
            self.reload();
        }
        let Some(index) = self.index() else { return Ok(None) };
        for found in index.find(key) {
            let Some(segment) = self.segment(found.place.segment) else { continue };
            if let Some(hit) = self.look(&segment, found.place, key, shape, out)? {
                self.used(&index, found);
                return Ok(Some(hit));
            }
        }
        Ok(None)
    }

    /// What lies at `place`, if it is the key's.
    #[inline]
    fn look(&self, segment: &Segment, place: Place, key: &Key, shape: Shape, out: &mut [f32]) -> Result<Option<Hit>> {
        if segment.shape != shape {
            return self.other_shape(segment, place, key, shape);
        }
        match segment.with(usize::from(place.slot), |record| record.read(key, out)) {
            Ok(generation_ns) => {
                self.counters.hit(generation_ns);
                Ok(Some(Hit { generation_ns }))
            }
            Err(fault) => {
                self.faulty(segment, place, fault);
                Ok(None)
            }
        }
    }

    /// A record of another shape is another key's, unless the caller asks for the wrong dimension.
    #[cold]
    fn other_shape(&self, segment: &Segment, place: Place, key: &Key, shape: Shape) -> Result<Option<Hit>> {
        let is_mine = segment.with(usize::from(place.slot), |record| Ok(record.digest() == key.digest()));
        if is_mine != Ok(true) {
            return Ok(None);
        }
        Err(Error::bad_input(format!(
            "the vector has {} numbers of type {}, and {} of type {} were asked for",
            segment.shape.dimension, segment.shape.vector_type, shape.dimension, shape.vector_type
        ))
        .on(key.to_string()))
    }

    /// The authority's answer. Nothing here fails: no index is an empty index.
    #[cold]
    fn ask_sqlite(&self, key: &Key, shape: Shape, out: &mut [f32]) -> Result<Option<Hit>> {
        let Some(place) = self.place_by_sqlite(key) else { return Ok(None) };
        let Some(mut segment) = self.segment(place.segment) else {
            self.report(Problem {
                file: self.segment_path(place.segment),
                slot: usize::from(place.slot),
                what: "the segment cannot be read".into(),
            });
            return Ok(None);
        };
        if !segment.is_current() {
            self.unmap(place.segment);
            let Some(again) = self.segment(place.segment) else { return Ok(None) };
            segment = again;
        }
        let hit = self.look(&segment, place, key, shape, out);
        if matches!(hit, Ok(Some(_))) {
            self.is_behind.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        hit
    }

    fn place_by_sqlite(&self, key: &Key) -> Option<Place> {
        if !super::db::has_room_for(&self.folder, 0) {
            return None;
        }
        let mut reader = held(&self.reader);
        if reader.is_none() {
            *reader = Db::read(&self.index_path(), self.options.lock_timeout).ok();
        }
        reader.as_ref()?.place(key.digest()).ok().flatten()
    }

    /// Where a whole record of the key lies.
    pub(super) fn find(&self, key: &Key) -> Option<Place> {
        let is_there = |place: Place| {
            let segment = self.segment(place.segment)?;
            let looked = segment
                .with(usize::from(place.slot), |record| Ok(record.digest() == key.digest() && record.is_whole()));
            (looked == Ok(true)).then_some(place)
        };
        let index = self.index();
        let quick = index.and_then(|index| index.find(key).find_map(|found| is_there(found.place)));
        quick.or_else(|| is_there(self.place_by_sqlite(key)?))
    }

    /// The segment, mapped; `None` when it cannot be read.
    pub(super) fn segment(&self, id: u16) -> Option<Arc<Segment>> {
        if let Some(segment) = self.shared().segment(Place { segment: id, slot: 0 }) {
            return Some(Arc::clone(segment));
        }
        let opened = match Segment::open(&self.segment_path(id)) {
            Ok(segment) => Arc::new(segment),
            Err(error) => {
                self.report(Problem { file: self.segment_path(id), slot: 0, what: error.message });
                return None;
            }
        };
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(id);
        if shared.segments.len() <= at {
            shared.segments.resize(at + 1, None);
        }
        shared.segments[at] = Some(Arc::clone(&opened));
        Some(opened)
    }

    /// Forgets a mapped segment whose file is no longer there.
    pub(super) fn unmap(&self, id: u16) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = shared.segments.get_mut(usize::from(id)) {
            *segment = None;
        }
    }

    pub(super) fn shared(&self) -> std::sync::RwLockReadGuard<'_, Shared> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash index that is mapped now; no lock is held on.
    pub(super) fn index(&self) -> Option<Arc<HashIndex>> {
        self.shared().hash.clone()
    }

    #[inline]
    fn used(&self, index: &HashIndex, found: Found) {
        let minute = match self.options.now_s {
            Some(now_s) => Use::minute_of(now_s),
            None => Use::minute_of(u64::try_from(clock_gettime(ClockId::RealtimeCoarse).tv_sec).unwrap_or(0)),
        };
        if minute <= found.used.minute || !self.options.may_write || index.is_superseded() {
            return;
        }
        let mut uses = held(&self.uses);
        uses.noted.push((found.at, found.used.again(minute)));
        if uses.noted.len() >= KEPT_BACK {
            self.note(&mut uses, index);
        }
    }

    #[cold]
    fn faulty(&self, segment: &Segment, place: Place, fault: Fault) {
        let what = match fault {
            // The index was older than the record, or two keys begin alike.
            Fault::Other => return,
            Fault::Missing => "the file ends before the record",
            Fault::Unreadable => "the disk cannot read the record",
            Fault::Damaged => "the record's checksum is wrong",
        };
        self.report(Problem { file: segment.path.clone(), slot: usize::from(place.slot), what: what.into() });
    }

    pub(super) fn report(&self, problem: Problem) {
        const MOST: usize = 1000;
        let mut problems = held(&self.problems);
        if problems.len() < MOST && !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

impl Shared {
    #[inline]
    fn segment(&self, place: Place) -> Option<&Arc<Segment>> {
        self.segments.get(usize::from(place.segment))?.as_ref()
    }
}

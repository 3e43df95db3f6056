//! Reading ahead what will be asked for, and putting it where it is asked from.
//!
//! What will be asked for is told by what was: by how lately and in how many different minutes. Nothing is read that is
//! in memory already, and whoever warms gives way to everyone else: to the processor and, page by page, to the disk.

use super::Cache;
use super::hash::{Place, Use};
use super::key::Key;
use super::segment::{Encoding, Fault, Record, Segment};
use crate::base::{Error, Result};
use crate::embed::map::PAGE;
use crate::numa::{Effect, NodeMemory, Plan, Spread, Step, Topology, move_pages, spread};
use rustix::thread::sched_getcpu;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// How to warm.
#[derive(Clone, Copy)]
pub struct Warm<'a> {
    /// The most bytes of memory that this may fill.
    pub budget_bytes: u64,
    /// Whether the pages are also locked in memory, within the limit the process has.
    pub locks: bool,
    /// Who works where; absent: nobody is moved.
    pub plan: Option<&'a Plan>,
    /// Asked between pages: whether somebody else needs the machine.
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
}

/// What warming did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Warmed {
    /// Vectors whose use is known.
    pub known: usize,
    /// Vectors that are in memory now because they will be asked for.
    pub chosen: usize,
    /// Bytes of the pages they lie in.
    pub bytes: u64,
    /// The share of those pages that were in memory before.
    pub resident_before: f64,
    /// And after.
    pub resident_after: f64,
    /// Bytes that were locked in memory.
    pub locked_bytes: u64,
    /// Where the reading thread was put, where pages were moved, whether they were locked.
    pub steps: Vec<Step>,
    /// On which NUMA nodes the pages lie; absent where the kernel does not tell.
    pub spread: Option<Spread>,
    /// How long it took.
    pub ns: u64,
    /// Whether it ended early, since somebody else needed the machine.
    pub was_stopped: bool,
}

/// How likely it is that a vector is asked for soon, to be compared with others'.
fn promise(used: Use, now: u32) -> f64 {
    let hours = f64::from(now.saturating_sub(used.minute)) / 60.0;
    f64::from(used.times.max(1)) / (1.0 + hours / 24.0)
}

/// Pages of one segment.
struct Pages {
    segment: Arc<Segment>,
    numbers: BTreeSet<usize>,
}

impl Pages {
    /// Runs of neighbouring pages, as offset and length.
    fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for number in &self.numbers {
            match runs.last_mut() {
                Some((from, len)) if *from + *len == number * PAGE && *len < 64 * PAGE => *len += PAGE,
                _ => runs.push((number * PAGE, PAGE)),
            }
        }
        runs
    }

    fn resident(&self) -> usize {
        let len = usize::try_from(self.segment.file_len()).unwrap_or(0);
        let pages = self.segment.map().residency(len).unwrap_or_default();
        self.numbers.iter().filter(|number| pages.get(**number).is_some_and(|page| page & 1 == 1)).count()
    }

    fn addresses(&self) -> impl Iterator<Item = usize> {
        self.numbers.iter().flat_map(|number| self.segment.map().addresses(number * PAGE, PAGE))
    }
}

impl Cache {
    /// The places most likely to be asked for, the likeliest first.
    fn hottest(&self) -> Vec<(Place, Use)> {
        self.note_uses();
        let Some(index) = self.index() else { return Vec::new() };
        let now = Use::minute_of(self.now_s());
        let mut all: Vec<_> = index.all().map(|found| (found.place, found.used)).collect();
        all.sort_by(|a, b| promise(b.1, now).total_cmp(&promise(a.1, now)).then(a.0.cmp(&b.0)));
        all
    }

    /// Whether all of the key's vector is in memory; `None` when the cache does not have it.
    #[must_use]
    pub fn is_resident(&self, key: &Key) -> Option<bool> {
        let index = self.index()?;
        let place = index.find(key).next()?.place;
        let segment = self.segment(place.segment)?;
        let (from, len) = segment.range(usize::from(place.slot))?;
        let pages = segment.map().residency(from + len).ok()?;
        Some(pages[from / PAGE..].iter().all(|page| page & 1 == 1))
    }

    /// Reads what will be asked for into memory, from a thread that works where those who ask work.
    pub fn warm(&self, wishes: &Warm) -> Result<Warmed> {
        let begun = Instant::now();
        let all = self.hottest();
        let mut warmed = Warmed { known: all.len(), ..Warmed::default() };
        let (pages, chosen) = self.pages_of(&all, wishes.budget_bytes);
        warmed.chosen = chosen;
        let count: usize = pages.values().map(|p| p.numbers.len()).sum();
        warmed.bytes = (count * PAGE) as u64;
        let share = |pages: &BTreeMap<u16, Pages>| match count {
            0 => 1.0,
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            _ => pages.values().map(Pages::resident).sum::<usize>() as f64 / count as f64,
        };
        warmed.resident_before = share(&pages);
        // In a thread of its own: it is moved to its processors and made to give way, and then it ends.
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
                let steps = wishes.plan.map_or_else(Vec::new, |plan| plan.take(0));
                (steps, read_pages(&pages, wishes.should_stop))
            });
            reader.join()
        });
        let (steps, read) = read.map_err(|_| Error::failed("the thread that warms the cache ended"))?;
        warmed.steps = steps;
        warmed.was_stopped = !read?;
        self.put_where_wanted(wishes, &pages, &mut warmed);
        if wishes.locks {
            lock(&pages, &mut warmed);
        }
        warmed.resident_after = share(&pages);
        warmed.ns = super::write::nanoseconds(begun);
        Ok(warmed)
    }

    /// The pages of the likeliest places that fit in `budget_bytes`, and of how many places they are.
    fn pages_of(&self, all: &[(Place, Use)], budget_bytes: u64) -> (BTreeMap<u16, Pages>, usize) {
        let mut pages: BTreeMap<u16, Pages> = BTreeMap::new();
        let (mut count, mut chosen) = (0, 0);
        for (place, _) in all {
            let Some(segment) = self.segment(place.segment) else { continue };
            let Some((from, len)) = segment.range(usize::from(place.slot)) else { continue };
            let of = pages.entry(place.segment).or_insert_with(|| Pages { segment, numbers: BTreeSet::new() });
            let wanted = from / PAGE..=(from + len - 1) / PAGE;
            let new = wanted.clone().filter(|number| !of.numbers.contains(number)).count();
            if ((count + new) * PAGE) as u64 > budget_bytes {
                break;
            }
            of.numbers.extend(wanted);
            count += new;
            chosen += 1;
        }
        (pages, chosen)
    }

    /// Moves pages that were in memory before, on another node, to the one that is wanted; and says where all are.
    fn put_where_wanted(&self, wishes: &Warm, pages: &BTreeMap<u16, Pages>, warmed: &mut Warmed) {
        let addresses: Vec<usize> = pages.values().flat_map(Pages::addresses).collect();
        let wanted =
            wishes.plan.filter(|plan| plan.memory_note.is_none()).and_then(|plan| match *plan.place(0).nodes {
                [node] => Some(node),
                _ => None,
            });
        let before = spread(addresses.iter().copied());
        if let (Some(node), Ok(before)) = (wanted, &before) {
            let elsewhere: u64 = before.pages.iter().filter(|(n, _)| **n != node).map(|(_, count)| count).sum();
            let what = format!("move {elsewhere} pages to node {node}");
            let effect = match () {
                () if elsewhere == 0 => Effect::NotNeeded("all pages lie there".into()),
                () => match move_pages(&addresses, node) {
                    Ok(0) => Effect::Applied,
                    Ok(left) => Effect::Denied(format!("{left} pages stay: others use them, or the node is full")),
                    Err(error) => Effect::Denied(error.to_string()),
                },
            };
            warmed.steps.push(Step { what, effect });
        }
        warmed.spread = spread(addresses.into_iter()).ok();
    }

    /// Copies what will be asked for to memory of the plan's nodes, a copy on each, `budget_bytes` large at most. From now
    /// on a thread is answered from the copy on its node. The answer is how many vectors were copied.
    ///
    /// It pays where a process lives long and has memory of several nodes, or where a disk is slow and pages would go.
    pub fn copy_hot(&self, topology: &Topology, plan: &Plan, budget_bytes: u64) -> Result<Vec<Step>> {
        let mut nodes: Vec<Option<u32>> = plan.replicas.iter().copied().map(Some).collect();
        if nodes.is_empty() {
            nodes.push(plan.place(0).nodes.first().copied());
        }
        let all = self.hottest();
        let mut steps = Vec::new();
        let mut sets = Vec::new();
        for node in nodes {
            let mut set = self.copy(&all, node, budget_bytes)?;
            set.cpus = topology.nodes.iter().find(|n| Some(n.id) == node).map(|n| n.cpus.clone()).unwrap_or_default();
            let what = match node {
                Some(node) => format!("copy {} vectors to memory of node {node}", set.at.len()),
                None => format!("copy {} vectors to memory", set.at.len()),
            };
            let effect = set.memory.unbound.clone().map_or(Effect::Applied, Effect::Denied);
            steps.push(Step { what, effect });
            sets.push(set);
        }
        self.shared.write().unwrap_or_else(PoisonError::into_inner).copies = Some(Copies { sets });
        Ok(steps)
    }

    fn copy(&self, all: &[(Place, Use)], node: Option<u32>, budget_bytes: u64) -> Result<CopySet> {
        let mut chosen: Vec<(Place, Arc<Segment>)> = Vec::new();
        let mut bytes = 0;
        for (place, _) in all {
            let Some(segment) = self.segment(place.segment).filter(|s| s.encoding == Encoding::Plain) else { continue };
            bytes += segment.shape.stride();
            if bytes as u64 > budget_bytes {
                break;
            }
            chosen.push((*place, segment));
        }
        let attempt = |e: &std::io::Error| Error::io("take memory for copies of vectors", &self.folder, e);
        let mut memory = NodeMemory::new(bytes, node).map_err(|e| attempt(&e))?;
        let mut at = HashMap::with_capacity(chosen.len());
        let mut offset = 0;
        for (place, segment) in chosen {
            let len = segment.shape.stride();
            let copied = segment.with(usize::from(place.slot), |record| {
                let to = memory.bytes_mut().get_mut(offset..offset + record.bytes().len()).ok_or(Fault::Missing)?;
                to.copy_from_slice(record.bytes());
                Ok(())
            });
            if copied.is_ok() {
                at.insert(place, offset);
                offset += len;
            }
        }
        Ok(CopySet { memory, at, cpus: Vec::new() })
    }

    /// Where the copies lie, a node's after another's.
    pub fn copies_spread(&self) -> Vec<Spread> {
        let shared = self.shared();
        let sets = shared.copies.iter().flat_map(|copies| &copies.sets);
        sets.filter_map(|set| set.memory.spread().ok()).collect()
    }
}

/// Reads the pages; whether all of them were read.
fn read_pages(pages: &BTreeMap<u16, Pages>, should_stop: &dyn Fn() -> bool) -> Result<bool> {
    for of in pages.values() {
        for (from, len) in of.runs() {
            if should_stop() {
                return Ok(false);
            }
            match of.segment.map().populate(from, len) {
                // The last page of a file that ends in it; or a kernel that knows no such question.
                Err(error) if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOMEM)) => {
                    return Err(Error::io("read vectors ahead", &of.segment.path, &error));
                }
                _ => {}
            }
        }
    }
    Ok(true)
}

/// Copies of records in the memory of nodes.
#[derive(Debug)]
pub(super) struct Copies {
    sets: Vec<CopySet>,
}

#[derive(Debug)]
struct CopySet {
    memory: NodeMemory,
    at: HashMap<Place, usize>,
    cpus: Vec<u32>,
}

impl Copies {
    /// The copy on the node of the calling thread.
    pub(super) fn record(&self, segment: &Segment, place: Place) -> Option<Record<'_>> {
        let set = match &*self.sets {
            [only] => only,
            sets => {
                let cpu = u32::try_from(sched_getcpu()).unwrap_or(0);
                sets.iter().find(|set| set.cpus.contains(&cpu))?
            }
        };
        let offset = *set.at.get(&place)?;
        set.memory.bytes().get(offset..offset + segment.shape.stride()).map(|bytes| Record::new(bytes, segment.shape))
    }
}

fn lock(pages: &BTreeMap<u16, Pages>, warmed: &mut Warmed) {
    let mut effect = Effect::Applied;
    'all: for of in pages.values() {
        for (from, len) in of.runs() {
            if let Err(error) = of.segment.map().lock(from, len) {
                effect = Effect::Denied(format!("{error}: the limit is RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=)"));
                break 'all;
            }
            warmed.locked_bytes += len as u64;
        }
    }
    warmed.steps.push(Step { what: format!("lock {} bytes in memory", warmed.bytes), effect });
}

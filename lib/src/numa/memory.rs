//! Memory on a node, and where pages really are.

use super::Topology;
use super::sys::{self, Anonymous, Mode};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;
use std::time::Instant;

/// Memory that is taken from one node, for copies of what is read often.
#[derive(Debug)]
pub struct NodeMemory {
    memory: Anonymous,
    /// Why it is not bound to the node, if it is not.
    pub unbound: Option<String>,
}

impl NodeMemory {
    /// Zeros on `node`; without one, wherever the kernel takes them from. If the kernel does not bind it, that is
    /// noted, and the memory is good for everything else.
    pub fn new(len: usize, node: Option<u32>) -> io::Result<Self> {
        let mut memory = Anonymous::new(len.max(1))?;
        let bound = node.map_or(Ok(()), |node| memory.bind(Mode::Bind, &[node]));
        // Fewer pages, fewer misses of the table of pages; where they are switched off there are none.
        let _ = memory.want_huge_pages();
        Ok(Self { memory, unbound: bound.err().map(|error| error.to_string()) })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Its bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut()
    }

    /// Where its pages are.
    pub fn spread(&self) -> io::Result<Spread> {
        let start = self.bytes().as_ptr().addr();
        spread((0..self.bytes().len()).step_by(4096).map(|at| start + at))
    }
}

/// How many pages lie where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Spread {
    /// Pages of each node.
    pub pages: BTreeMap<u32, u64>,
    /// Pages that are not in memory.
    pub absent: u64,
}

impl Spread {
    /// The share of the pages in memory that lie on `node`; 1 when there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share(&self, node: u32) -> f64 {
        let all: u64 = self.pages.values().sum();
        if all == 0 { 1.0 } else { self.pages.get(&node).copied().unwrap_or(0) as f64 / all as f64 }
    }
}

/// Asks the kernel on which nodes the pages at these addresses lie.
pub fn spread(pages: impl Iterator<Item = usize>) -> io::Result<Spread> {
    let pages: Vec<usize> = pages.collect();
    let mut spread = Spread::default();
    for node in sys::nodes_of(&pages)? {
        match u32::try_from(node) {
            Ok(node) => *spread.pages.entry(node).or_default() += 1,
            Err(_) => spread.absent += 1,
        }
    }
    Ok(spread)
}

/// Moves the pages at these addresses to `node`. The answer is how many lie elsewhere still: pages that others use too,
/// or for which the node has no room.
pub fn move_pages(pages: &[usize], node: u32) -> io::Result<usize> {
    sys::move_to(pages, i32::try_from(node).unwrap_or(i32::MAX))
}

/// Lines of memory, each of which says where the next one is, in an order that no prefetcher guesses.
struct Chain {
    memory: NodeMemory,
    lines: usize,
}

impl Chain {
    fn new(node: Option<u32>, bytes: usize) -> io::Result<Self> {
        const LINE: usize = 64;
        let lines = (bytes / LINE).max(2);
        let mut memory = NodeMemory::new(lines * LINE, node)?;
        let mut order: Vec<usize> = (0..lines).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for i in (1..lines).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(i, usize::try_from(random >> 33).unwrap_or(0) % i);
        }
        let bytes = memory.bytes_mut();
        for (i, from) in order.iter().enumerate() {
            let to = order[(i + 1) % lines] * LINE;
            bytes[from * LINE..from * LINE + 8].copy_from_slice(&to.to_le_bytes());
        }
        Ok(Self { memory, lines })
    }

    /// Follows it from `at`, and says where that ends and how many nanoseconds a load took.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    fn follow(&self, mut at: usize, loads: usize) -> (usize, f64) {
        let bytes = self.memory.bytes();
        let begun = Instant::now();
        for _ in 0..loads {
            at = usize::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        }
        (black_box(at), begun.elapsed().as_nanos() as f64 / loads as f64)
    }
}

/// Nanoseconds of one load that has to wait for the one before, over `bytes` of memory on `node`, from the processor
/// the calling thread runs on. Measured, unlike a distance.
pub fn latency_ns(node: Option<u32>, bytes: usize) -> io::Result<f64> {
    const LOADS: usize = 200_000;
    let chain = Chain::new(node, bytes)?;
    let (start, _) = chain.follow(0, chain.lines.min(LOADS));
    Ok(chain.follow(start, LOADS).1)
}

/// Nanoseconds of one load of what a level-3 cache holds: by a thread that stays with that cache, and by one that was
/// moved to another one a moment ago. `None` where processors share one cache, or may not be chosen.
#[must_use]
pub fn moved_ns(topology: &Topology) -> Option<(f64, f64)> {
    const BYTES: usize = 1 << 20;
    const ROUNDS: usize = 9;
    let mut cpus = topology.l3_groups.iter().filter_map(|group| group.cpus.first().copied());
    let pair = [cpus.next()?, cpus.next()?];
    let pin = |cpu: u32| {
        let mut set = CpuSet::new();
        set.set(cpu as usize);
        sched_setaffinity(None, &set).ok()
    };
    // A thread of its own: the caller stays where it is.
    let measured = std::thread::spawn(move || {
        let chain = Chain::new(None, BYTES).ok()?;
        let (mut stayed, mut moved) = (vec![], vec![]);
        for round in 0..=ROUNDS {
            pin(pair[round % 2])?;
            let (at, first) = chain.follow(0, chain.lines);
            let (_, second) = chain.follow(at, chain.lines);
            if round > 0 {
                moved.push(first);
                stayed.push(second);
            }
        }
        stayed.sort_by(f64::total_cmp);
        moved.sort_by(f64::total_cmp);
        Some((stayed[ROUNDS / 2], moved[ROUNDS / 2]))
    });
    measured.join().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numa::CacheGroup;

    #[test]
    fn memory_is_where_it_was_wanted() {
        let mut memory = NodeMemory::new(1 << 20, Some(0)).unwrap();
        memory.bytes_mut().fill(7);
        assert!(memory.bytes().iter().all(|byte| *byte == 7));
        // Where the calls are forbidden that is said, and nothing else happens.
        if let (None, Ok(spread)) = (&memory.unbound, memory.spread()) {
            assert_eq!((spread.pages.get(&0), spread.absent, spread.share(0)), (Some(&256), 0, 1.0));
        }
        let nowhere = NodeMemory::new(4096, Some(1023)).unwrap();
        assert!(nowhere.unbound.is_some() && nowhere.bytes() == [0; 4096]);
        assert!(latency_ns(None, 1 << 16).unwrap() > 0.0);
        // As if the processors had a cache each: the times are what they are, and both are measured.
        let mut topology = Topology::read(&crate::numa::Machine::default());
        let group = |cpu: &u32| CacheGroup { cpus: vec![*cpu], size_bytes: None, node: 0 };
        topology.l3_groups = topology.allowed_cpus.iter().take(2).map(group).collect();
        let measured = moved_ns(&topology);
        assert_eq!(measured.is_some_and(|(stayed, moved)| stayed > 0.0 && moved > 0.0), topology.l3_groups.len() == 2);
        topology.l3_groups.truncate(1);
        assert_eq!(moved_ns(&topology), None);
    }
}

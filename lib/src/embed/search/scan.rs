//! The scan: every row's score, roughly, and which rows may be among the best for certain.
//!
//! A scanned score is wrong by at most `|q| * error of the row + error of the query * |row|`. A row is left out only if
//! even with that much more it is worse than enough others with that much less, so what is left out is not among
//! the best, and ranking the rest by the exact vectors gives the exact answer.

use super::files::{BLOCK, Scanned};
use crate::embed::codec;
use crate::embed::simd::{Level, dots};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A query as it is compared with bytes.
#[derive(Debug)]
pub(super) struct Query {
    codes: Vec<i8>,
    scale: f32,
    /// 128 times the sum of its codes: rows are stored as their bytes plus 128.
    offset: i32,
    norm: f32,
    error: f32,
}

impl Query {
    pub(super) fn new(vector: &[f32], width: usize) -> Self {
        let scale = codec::scale_of(vector);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let mut codes: Vec<i8> = vector.iter().map(|x| codec::to_int8(*x, inverse)).collect();
        let length = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
        let error = length(&mut vector.iter().zip(&codes).map(|(x, c)| x - f32::from(*c) * scale));
        let norm = length(&mut codes.iter().map(|c| f32::from(*c) * scale));
        let offset = 128 * codes.iter().map(|c| i32::from(*c)).sum::<i32>();
        codes.resize(width, 0);
        Self { codes, scale, offset, norm, error }
    }
}

/// A row that may be among the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub row: usize,
    /// Its score is at most this.
    pub most: f32,
}

/// Rows that count: all, or those whose bit is set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    All,
    Only(&'a [u64]),
    Except(&'a [u64]),
}

impl Rows<'_> {
    #[inline]
    pub(super) fn has(self, row: usize) -> bool {
        let is_set = |bits: &[u64]| bits.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1);
        match self {
            Self::All => true,
            Self::Only(bits) => is_set(bits),
            Self::Except(bits) => !is_set(bits),
        }
    }
}

/// What one thread found.
struct Part {
    candidates: Vec<Candidate>,
    /// The best scores that rows have for certain, the worst of them first.
    least: BinaryHeap<Reverse<Score>>,
}

/// A score, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score(pub f32);

impl Eq for Score {}
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Keeps the `top` best of what it is shown.
pub(super) fn keep(best: &mut BinaryHeap<Reverse<Score>>, score: f32, top: usize) {
    if best.len() < top {
        best.push(Reverse(Score(score)));
    } else if best.peek().is_some_and(|worst| Score(score) > worst.0) {
        best.pop();
        best.push(Reverse(Score(score)));
    }
}

/// The worst of the `top` best, once there are that many.
fn floor(best: &BinaryHeap<Reverse<Score>>, top: usize) -> f32 {
    if best.len() < top { f32::NEG_INFINITY } else { best.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.0) }
}

/// Rows that may be among the `top` best, the most promising first.
pub(super) fn scan(files: &Scanned, query: &Query, rows: Rows, top: usize, threads: usize) -> Vec<Candidate> {
    let blocks = files.mapped_rows().div_ceil(BLOCK);
    let threads = threads.clamp(1, blocks.div_ceil(16).max(1));
    let part_of =
        |thread: usize| part(files, query, rows, top, blocks * thread / threads..blocks * (thread + 1) / threads);
    let parts: Vec<Part> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || part_of(thread))).collect();
        let mut parts = vec![part_of(0)];
        parts.extend(others.into_iter().filter_map(|other| other.join().ok()));
        parts
    });
    let mut best = BinaryHeap::new();
    for Reverse(score) in parts.iter().flat_map(|part| &part.least) {
        keep(&mut best, score.0, top);
    }
    let floor = floor(&best, top);
    let mut candidates: Vec<_> =
        parts.into_iter().flat_map(|part| part.candidates).filter(|c| c.most >= floor).collect();
    candidates.sort_unstable_by(|a, b| b.most.total_cmp(&a.most).then(a.row.cmp(&b.row)));
    candidates
}

fn part(files: &Scanned, query: &Query, rows: Rows, top: usize, blocks: std::ops::Range<usize>) -> Part {
    let level = Level::best();
    let mut found = Part { candidates: Vec::new(), least: BinaryHeap::with_capacity(top + 1) };
    let (mut products, mut most, mut slack) = ([0; BLOCK], [0.0_f32; BLOCK], [0.0_f32; BLOCK]);
    // Rows are at most a little longer than 1, and sums of floats are a little wrong.
    let constant = query.error * 1.001 + 1e-5;
    let mut floor_now = f32::NEG_INFINITY;
    for number in blocks {
        let Some((block, count)) = files.block(number) else { continue };
        dots(level, block.codes, &query.codes, &mut products[..count]);
        for i in 0..count {
            let (scale, error) = block.scale(i);
            #[expect(
                clippy::cast_precision_loss,
                reason = "far fewer than 24 bits matter, and the slack covers the rest"
            )]
            let score = (products[i] - query.offset) as f32 * (scale * query.scale);
            slack[i] = query.norm * error + constant;
            most[i] = score + slack[i];
        }
        for i in 0..count {
            let row = number * BLOCK + i;
            if most[i] < floor_now || !rows.has(row) {
                continue;
            }
            found.candidates.push(Candidate { row, most: most[i] });
            keep(&mut found.least, most[i] - 2.0 * slack[i], top);
            floor_now = floor(&found.least, top);
        }
        if found.candidates.len() > 64 * 1024 {
            found.candidates.retain(|candidate| candidate.most >= floor_now);
        }
    }
    found
}

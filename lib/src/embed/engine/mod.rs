//! Opened models: tokens in, vectors out.

pub mod archive;
mod provider;
mod runtime;
mod session;

pub use provider::Provider;
pub use runtime::{Places, Runtime, RuntimeKind, Wanted, choose};
pub use session::Batch;

use super::model::{Batching, Model};
use crate::base::{Error, Result};
use crate::numa::{Machine, Plan, Step, Topology, Wishes};
use session::Opened;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How an engine is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which runtime.
    pub runtime: Wanted,
    /// Where to look for it.
    pub places: Places,
    /// What to compute on, in this order.
    pub providers: Vec<Provider>,
    /// How many threads compute; as many as the process may use when not said.
    pub threads: Option<usize>,
    /// How many tokens are computed at once at most.
    pub batch_tokens: usize,
    /// Where the threads that compute are put; nowhere in particular when not said.
    pub placement: Option<Wishes>,
}

/// Tokens computed at once: more brings nothing on the processors that were measured (docs/embeddings.md).
pub const BATCH_TOKENS: usize = 512;
/// tract computes on one thread, so that more threads take a session each; each costs memory and half a second.
const MOST_SESSIONS: usize = 8;
/// So many tokens must be waiting for each further session that tract opens.
const TOKENS_FOR_A_SESSION: usize = 4096;

impl Default for Options {
    fn default() -> Self {
        Self {
            runtime: Wanted::default(),
            places: Places::default(),
            providers: Provider::ALL.to_vec(),
            threads: None,
            batch_tokens: BATCH_TOKENS,
            placement: None,
        }
    }
}

/// A model that is ready to compute.
pub struct Engine {
    runtime: &'static Runtime,
    sessions: Vec<Opened>,
    model: Model,
    options: Options,
    batching: Batching,
    plan: Option<Plan>,
    /// What came of putting the opening thread in its place; ONNX Runtime's own threads begin there too.
    pub placed: Vec<Step>,
    /// How long opening took.
    pub opening: Duration,
}

impl Engine {
    /// Opens a model. This takes hundreds of milliseconds, so the cache is asked first.
    pub fn open(model: &Model, options: &Options) -> Result<Self> {
        let begun = Instant::now();
        let plan = options.placement.map(|wishes| Plan::here(&Topology::read(&Machine::default()), &wishes));
        let plan = plan.transpose()?;
        let placed = plan.as_ref().map(|plan| plan.take(0)).unwrap_or_default();
        let runtime = choose(&options.runtime, &options.places)?;
        let onnx = model.read(&model.manifest.onnx)?;
        // Such a graph scales a whole batch by its largest value, so that a vector would depend on its neighbours.
        let is_dynamic = contains(&onnx, b"DynamicQuantizeLinear");
        let batching = if is_dynamic { Batching::Never } else { model.manifest.batching };
        let first = Opened::new(runtime, model, &onnx, options)?;
        Ok(Self {
            runtime,
            sessions: vec![first],
            model: model.clone(),
            options: options.clone(),
            batching,
            plan,
            placed,
            opening: begun.elapsed(),
        })
    }

    /// The runtime that computes.
    #[must_use]
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// What it computes on, and why not on what comes before that in the list.
    #[must_use]
    pub fn provider(&self) -> (Provider, &[(Provider, String)]) {
        let first = &self.sessions[0];
        (first.provider, &first.refused)
    }

    /// Whether texts are computed together.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// How many threads compute when there is enough to do.
    #[must_use]
    pub fn threads(&self) -> usize {
        threads(&self.options)
    }

    /// The vectors of texts, each as it would be alone: only texts that are fed at the same length are computed together.
    pub fn run(&mut self, texts: &[&[i64]]) -> Result<Vec<f32>> {
        let dimension = self.model.manifest.dimension;
        let (step, most) = (self.runtime.kind.step(), self.model.manifest.max_tokens);
        let fed = |ids: &[i64]| ids.len().next_multiple_of(step).min(most);
        let most_texts = |fed: usize| match self.batching {
            Batching::SameLength if fed.is_multiple_of(step) => (self.options.batch_tokens / fed.max(1)).max(1),
            _ => 1,
        };
        let batches = batches(texts, &fed, &most_texts);
        let tokens: usize = texts.iter().map(|ids| ids.len()).sum();
        self.open_more(tokens, batches.len())?;
        let mut vectors = vec![0f32; texts.len() * dimension];
        let queue = Mutex::new(batches.into_iter());
        let plan = self.plan.as_ref();
        let work = |worker: usize, session: &mut Opened| {
            // What the kernel refused the first time it was said; it refuses the same to the others.
            plan.map(|plan| plan.take(worker));
            let mut done = vec![];
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(batch) = next else { return Ok(done) };
                let values = session.run(&Batch::new(batch.iter().map(|&at| texts[at]), fed(texts[batch[0]])))?;
                done.push((batch, values));
            }
        };
        let done: Vec<Result<Vec<Done>>> =
            std::thread::scope(|scope| {
                let (first, others) = self.sessions.split_at_mut(1);
                let helpers = others.iter_mut().enumerate();
                let helpers: Vec<_> = helpers.map(|(at, session)| scope.spawn(move || work(at + 1, session))).collect();
                let mut done = vec![work(0, &mut first[0])];
                done.extend(helpers.into_iter().map(|helper| {
                    helper.join().unwrap_or_else(|_| Err(Error::failed("a computing thread ended early")))
                }));
                done
            });
        for part in done {
            for (batch, values) in part? {
                for (at, vector) in batch.into_iter().zip(values.chunks_exact(dimension)) {
                    vectors[at * dimension..][..dimension].copy_from_slice(vector);
                }
            }
        }
        Ok(vectors)
    }

    /// One more session for each thread, when there is enough to do for it.
    fn open_more(&mut self, tokens: usize, batches: usize) -> Result<()> {
        if self.runtime.kind != RuntimeKind::Tract {
            return Ok(());
        }
        let wanted =
            threads(&self.options).min(MOST_SESSIONS).min(tokens / TOKENS_FOR_A_SESSION + 1).min(batches.max(1));
        while self.sessions.len() < wanted {
            let onnx = self.model.read(&self.model.manifest.onnx)?;
            self.sessions.push(Opened::new(self.runtime, &self.model, &onnx, &self.options)?);
        }
        Ok(())
    }
}

/// The texts of a batch, and their vectors.
type Done = (Vec<usize>, Vec<f32>);

/// How many threads compute: what was said, else one for each processor that the calling thread, once it is in its place,
/// may use.
pub(super) fn threads(options: &Options) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    options.threads.unwrap_or_else(available).max(1)
}

/// The positions of texts that are computed together, in a fixed order: each text is `fed` with so many tokens, and of
/// such texts there are `most` in a batch.
fn batches(texts: &[&[i64]], fed: &dyn Fn(&[i64]) -> usize, most: &dyn Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(fed(texts[at])));
    let mut batches: Vec<Vec<usize>> = vec![];
    for at in order {
        let length = fed(texts[at]);
        match batches.last_mut() {
            Some(batch) if batch.len() < most(length) && fed(texts[batch[0]]) == length => batch.push(at),
            _ => batches.push(vec![at]),
        }
    }
    batches
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let first = word[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(word) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_the_same_length_are_computed_together() {
        let texts: Vec<Vec<i64>> = [3, 5, 3, 3, 5, 9].iter().map(|&length| vec![0; length]).collect();
        let texts: Vec<&[i64]> = texts.iter().map(Vec::as_slice).collect();
        let own = |ids: &[i64]| ids.len();
        assert_eq!(batches(&texts, &own, &|length| 6 / length), [vec![5], vec![1], vec![4], vec![0, 2], vec![3]]);
        assert_eq!(batches(&texts, &own, &|_| 100), [vec![5], vec![1, 4], vec![0, 2, 3]]);
        assert_eq!(batches(&texts, &own, &|_| 1).len(), 6);
        let fours = |ids: &[i64]| ids.len().next_multiple_of(8);
        assert_eq!(batches(&texts, &fours, &|_| 100), [vec![5], vec![0, 1, 2, 3, 4]]);
        assert!(batches(&[], &own, &|_| 100).is_empty());
        assert!(contains(b"xxabxabc", b"abc") && !contains(b"xxab", b"abc"));
    }

    #[test]
    fn a_vector_is_the_same_bytes_alone_and_in_any_company() {
        let model = Model::built_in().unwrap();
        let options = Options { runtime: Wanted::BuiltIn, ..Options::default() };
        let mut engine = Engine::open(&model, &options).unwrap();
        // Every length up to three rows of tract's widest kernel, and some that are as long as the model reads.
        let text = |length: usize, seed: i64| -> Vec<i64> {
            (0..length as i64).map(|at| 5 + (seed * 7919 + at * 104_729) % 9000).collect()
        };
        let texts: Vec<Vec<i64>> = (2..=48).map(|n| text(n, n as i64)).chain((0..3).map(|n| text(128, n))).collect();
        let texts: Vec<&[i64]> = texts.iter().map(Vec::as_slice).collect();
        let together = engine.run(&texts).unwrap();
        let mut reversed = texts.clone();
        reversed.reverse();
        let again = engine.run(&reversed).unwrap();
        for (at, vector) in together.chunks_exact(384).enumerate() {
            assert_eq!(vector, &again[(texts.len() - 1 - at) * 384..][..384], "{} tokens", texts[at].len());
            if at % 5 == 0 || at > 44 {
                assert_eq!(vector, engine.run(&texts[at..=at]).unwrap(), "{} tokens", texts[at].len());
            }
        }
    }
}

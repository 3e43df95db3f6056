//! Texts to vectors: the cache is asked first, and only what it does not have opens a model.

use super::codec::{self, VectorType};
use super::engine::{Engine, Options};
use super::model::Model;
use super::tokenizer::Tokenizer;
use crate::base::{Error, Kind, Result};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// No text is longer.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// What keeps the vectors of one model.
pub trait Kept: Send {
    /// Copies the vector of `text` to `out` when there is one.
    fn get(&self, text: &str, out: &mut [f32]) -> Result<bool>;

    /// Keeps vectors, each with the nanoseconds it took.
    fn put(&self, batch: &[(&str, &[f32], u64)]) -> Result<()>;
}

/// Where a text's vector came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was kept.
    Cache,
    /// It was computed now.
    Model,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Vectors that were kept.
    pub hits: u64,
    /// Vectors that were computed.
    pub misses: u64,
    /// Computed texts that were longer than the model reads.
    pub cut: u64,
    /// What computing took, tokenizing included.
    pub computing: Duration,
}

/// A model, what is kept of it, and an engine as soon as one is needed.
pub struct Embedder {
    model: Model,
    options: Options,
    may_compute: bool,
    vector_type: VectorType,
    kept: Option<Box<dyn Kept>>,
    tokenizer: Option<Tokenizer>,
    engine: Option<Engine>,
    counts: Counts,
    problems: Vec<Error>,
}

impl Embedder {
    /// Vectors of `model`, rounded to `vector_type` whether they are kept or not: an answer does not depend on where it
    /// comes from.
    #[must_use]
    pub fn new(model: Model, options: Options, vector_type: VectorType, kept: Option<Box<dyn Kept>>) -> Self {
        Self {
            model,
            options,
            may_compute: true,
            vector_type,
            kept,
            tokenizer: None,
            engine: None,
            counts: Counts::default(),
            problems: vec![],
        }
    }

    /// Answers from what is kept and computes nothing.
    #[must_use]
    pub fn only_kept(mut self) -> Self {
        self.may_compute = false;
        self
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How many values a vector has.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.model.manifest.dimension
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What went wrong without changing an answer: a cache that cannot be read or written.
    pub fn take_problems(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.problems)
    }

    /// The engine, opened when it is not yet.
    pub fn engine(&mut self) -> Result<&mut Engine> {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => Engine::open(&self.model, &self.options)?,
        };
        Ok(self.engine.insert(engine))
    }

    /// The tokenizer, read when it is not yet.
    pub fn tokenizer(&mut self) -> Result<&Tokenizer> {
        let tokenizer = match self.tokenizer.take() {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::of(&self.model)?,
        };
        Ok(self.tokenizer.insert(tokenizer))
    }

    /// The vectors of `texts`, one after the other in `vectors`; where an answer is an error its vector is zeros.
    pub fn embed(&mut self, texts: &[&str], vectors: &mut Vec<f32>) -> Result<Vec<Result<Source>>> {
        let dimension = self.dimension();
        vectors.clear();
        vectors.resize(texts.len() * dimension, 0.0);
        let mut answers: Vec<Result<Source>> = Vec::with_capacity(texts.len());
        let mut missing = vec![];
        for (at, (text, out)) in texts.iter().zip(vectors.chunks_exact_mut(dimension)).enumerate() {
            answers.push(Ok(Source::Cache));
            if text.len() > MAX_TEXT_BYTES {
                answers[at] = Err(too_long(text.len()));
            } else if !self.is_kept(text, out) {
                missing.push(at);
            }
        }
        self.counts.hits += answers.iter().filter(|answer| answer.is_ok()).count() as u64 - missing.len() as u64;
        if !missing.is_empty() {
            self.compute(texts, &missing, vectors, &mut answers)?;
        }
        Ok(answers)
    }

    fn is_kept(&mut self, text: &str, out: &mut [f32]) -> bool {
        let Some(kept) = &self.kept else { return false };
        match kept.get(text, out) {
            Ok(is_there) => is_there,
            Err(error) => {
                self.note(error);
                false
            }
        }
    }

    fn compute(
        &mut self,
        texts: &[&str],
        missing: &[usize],
        vectors: &mut [f32],
        answers: &mut [Result<Source>],
    ) -> Result<()> {
        if !self.may_compute {
            for &at in missing {
                answers[at] =
                    Err(Error::new(Kind::Unavailable, "no vector of this text is kept, and none is computed")
                        .hint("--level low computes it"));
            }
            return Ok(());
        }
        let dimension = self.dimension();
        self.tokenizer()?;
        self.engine()?;
        let (Some(tokenizer), Some(engine)) = (&self.tokenizer, &mut self.engine) else { return Ok(()) };
        let begun = Instant::now();
        // A text that comes twice is computed once.
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(missing.len());
        let (mut places, mut tokens) = (vec![], vec![]);
        for &at in missing {
            if first.contains_key(texts[at]) {
                continue;
            }
            match tokenizer.tokens(texts[at]) {
                Ok(found) => {
                    first.insert(texts[at], at);
                    self.counts.cut += u64::from(found.is_cut);
                    places.push(at);
                    tokens.push(found.ids);
                }
                Err(error) => answers[at] = Err(error),
            }
        }
        let ids: Vec<&[i64]> = tokens.iter().map(Vec::as_slice).collect();
        let mut computed = engine.run(&ids)?;
        let taken = begun.elapsed();
        self.counts.computing += taken;
        self.counts.misses += places.len() as u64;
        let each_ns = u64::try_from(taken.as_nanos() / places.len().max(1) as u128).unwrap_or(u64::MAX);
        let mut batch = Vec::with_capacity(places.len());
        for (&at, vector) in places.iter().zip(computed.chunks_exact_mut(dimension)) {
            codec::round_trip(self.vector_type, vector);
            vectors[at * dimension..][..dimension].copy_from_slice(vector);
            answers[at] = Ok(Source::Model);
            batch.push((texts[at], &*vector, each_ns));
        }
        for &at in missing {
            match first.get(texts[at]) {
                Some(&other) if other != at => {
                    vectors.copy_within(other * dimension..(other + 1) * dimension, at * dimension);
                    answers[at] = Ok(Source::Model);
                }
                _ => {}
            }
        }
        if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.put(&batch)) {
            self.note(error);
        }
        Ok(())
    }

    /// The same problem is told once.
    fn note(&mut self, error: Error) {
        if !self.problems.contains(&error) && self.problems.len() < 8 {
            self.problems.push(error);
        }
    }
}

/// A text that is too long to be one.
#[must_use]
pub fn too_long(bytes: usize) -> Error {
    Error::bad_input(format!("a text of {bytes} bytes is no sentence: {MAX_TEXT_BYTES} are the most"))
        .hint("split it; a model reads a few hundred words")
}

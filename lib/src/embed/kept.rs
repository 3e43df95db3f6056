//! What is kept of one model's vectors: the cache, asked by text.

use super::cache::{Cache, Key, Keys};
use super::codec::VectorType;
use super::embedder::Kept;
use super::model::Model;
use crate::base::Result;
use std::sync::Arc;

/// The part of a cache that holds one model's vectors of one type.
#[derive(Debug, Clone)]
pub struct Cached {
    cache: Arc<Cache>,
    keys: Keys,
}

impl Cached {
    /// The vectors of `model`, kept as `vector_type`.
    #[must_use]
    pub fn new(cache: Arc<Cache>, model: &Model, vector_type: VectorType) -> Self {
        Self { cache, keys: keys(model, vector_type) }
    }
}

/// The keys of a model's texts. Everything that decides a vector is in them, so that no two ever share one.
#[must_use]
pub fn keys(model: &Model, vector_type: VectorType) -> Keys {
    let manifest = &model.manifest;
    let pooling = manifest.pooling.as_str();
    Keys::new(&model.identity(), &manifest.tokenizer.digest, pooling, manifest.normalise, vector_type)
}

impl Kept for Cached {
    fn get(&self, text: &str, out: &mut [f32]) -> Result<bool> {
        Ok(self.cache.get(&self.keys.of(text), out)?.is_some())
    }

    fn put(&self, batch: &[(&str, &[f32], u64)]) -> Result<()> {
        let batch: Vec<(Key, &[f32], u64)> =
            batch.iter().map(|&(text, vector, taken_ns)| (self.keys.of(text), vector, taken_ns)).collect();
        self.cache.put(&batch)?;
        Ok(())
    }
}

//! Embeddings: what a vector is on disk, the cache that answers before anything is computed, and exact search.

pub mod cache;
pub mod codec;
mod map;
pub mod search;
mod simd;

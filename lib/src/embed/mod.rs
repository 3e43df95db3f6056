//! Embeddings: what a vector is on disk, the cache that answers before anything is computed, and exact search.

#[allow(dead_code, reason = "the rest of the room uses it")]
pub mod cache;
pub mod codec;

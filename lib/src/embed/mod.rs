//! Embeddings: texts to vectors, computed once.
//!
//! A text's key is asked of the cache before anything else; only what is missing opens a model:
//!
//! ```text
//! text -> key -> cache -> hit
//!                  |
//!                miss -> tokenizer -> engine -> pooling -> cache -> answer
//! ```
//!
//! Engines and tokenizers are compiled only with the feature `engine`, which op-embed alone enables.

pub mod cache;
pub mod codec;
pub mod documents;
#[cfg(feature = "engine")]
pub mod embedder;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod kept;
mod map;
pub mod model;
pub mod pooling;
pub mod search;
mod simd;
#[cfg(feature = "engine")]
pub mod tokenizer;

#[cfg(feature = "engine")]
pub use embedder::Embedder;
pub use model::Model;

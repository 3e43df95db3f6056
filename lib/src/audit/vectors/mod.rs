//! The vectors of entries: asked of `op-embed`, kept beside the trail, never waited for.
//!
//! ```text
//! @vectors/blocks/N.bin = "OPDBVEC1" length:u32 header vector*          integers little-endian
//! header                = {"block":DIGEST,"count":C,"dimension":D,"model":NAME}   of `length` bytes
//! vector                = D numbers of 16 bits (IEEE 754 half), one vector for each entry of block N, in order
//! ```
//!
//! They are derived: what is missing, of another block or of another model is asked for again by `op-audit embed` and by
//! the next search. The engine is op-embed's alone; here is only its client.

mod asking;
mod client;
mod fill;
mod half;
mod kept;

pub use asking::{Asking, Counts};
pub use client::{Answer, Effort, OpEmbed};
pub use fill::{Filled, fill, missing};
pub use kept::{BlockVectors, read, write};

/// How alike two vectors are: their cosine, -1 to 1; 0 where one of them says nothing.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if a.len() != b.len() || length == 0.0 { 0.0 } else { dot(a, b) / length }
}

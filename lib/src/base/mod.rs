//! What every room needs: errors, digests, time, validated names. Never does I/O.

pub mod digest;
pub mod error;
pub mod name;
pub mod time;

pub use error::{Error, Kind, Result};

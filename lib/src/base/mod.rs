//! What every room needs: errors, calls as data, digests, time, validated names. Never does I/O.

pub mod call;
mod canonical;
pub mod digest;
pub mod error;
pub mod name;
pub mod nearest;
pub mod progress;
pub mod secret;
pub mod size;
pub mod time;

pub use call::{Call, Manner};
pub use error::{Error, Kind, Result};
pub use progress::{Progress, Silent};
pub use secret::Secrets;

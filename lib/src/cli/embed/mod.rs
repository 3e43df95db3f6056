//! What `op-embed` shares between its commands: which model computes on what, texts in, vectors out.

mod accesses;
pub mod bench;
pub mod choice;
pub mod find;
pub mod format;
pub mod keep;
pub mod layers;
pub mod lines;
pub mod models;
mod replay;
pub mod runtimes;
pub mod serve;
pub mod stream;

pub use choice::Choice;

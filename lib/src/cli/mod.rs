//! The programs' common front: argv in, documents out, questions, progress, signals, exit codes.
//!
//! A program is its argument structs and one call of `main`. Standard output and standard error are written here and
//! nowhere else; argv and the environment are read here and passed down as values.

mod args;
mod common;

pub use args::{Exit, Parsed, Program, parse};
pub use common::{BusChoice, Common};

//! harness

pub mod ops;
pub mod root;

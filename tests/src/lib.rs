//! harness

pub mod root;

//! Packages: how plugins come into being, travel and go.

pub mod contents;
pub mod create;
pub mod remove;
pub mod stream;

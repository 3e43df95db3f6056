//! Packages: how plugins come into being, travel and go.

pub mod archive;
pub mod contents;
pub mod create;
pub mod keyring;
pub mod remove;
pub mod signature;
pub mod signing;
pub mod stream;

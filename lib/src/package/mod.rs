//! Packages: how plugins come into being and go. For now: generating one from introspection, and removing one.

pub mod create;
pub mod remove;

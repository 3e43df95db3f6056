//! op-dbus: any D-Bus service as declarative state. One module a room, in the order data flows upwards.
//!
//! The arrows between rooms point one way (`tests/tests/layering.rs` holds the exact list):
//! programs -> `cli` -> `apply` -> `plugin`, `audit` -> `state`, `bus`, `embed` -> `numa`, `store` -> `base`.

// A test may unwrap: its failure is its report.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod apply;
pub mod audit;
pub mod base;
pub mod bus;
pub mod cli;
#[cfg(feature = "vectors")]
pub mod embed;
pub mod http;
pub mod numa;
pub mod package;
pub mod plugin;
pub mod state;
pub mod store;

//! The state root: where it is, who may use it, locks, and files that are replaced whole or not at all.
//!
//! ```text
//! /var/lib/op-dbus/
//!   @cache/diffs/PLUGIN/DIGEST.json   computed differences; may be deleted at any time
//!   @cache/queries/PLUGIN/state.json  what was read last, and when; may be deleted at any time
//!   @plugin-NAME/                     the active version of a plugin
//!   @state/lock                       held while applying
//!   @state/ownership.json             what op-dbus added, and for whom
//!   @state/checkpoints/RUN.json       what was there before a run
//!   @state/targets/MACHINE-ID/        the same for another machine (--host)
//! ```

pub mod file;
pub mod layout;
pub mod lock;

pub use layout::StateRoot;
pub use lock::Lock;

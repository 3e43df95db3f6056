//! The state root: where it is, who may use it, its volumes, locks, and files that are replaced whole or not at all.
//!
//! ```text
//! /var/lib/op-dbus/
//!   .lock                             held while volumes change: Store
//!   .standby-NAME/                    the folder of a plugin that was active before; may be deleted at any time
//!   .staging-...                      unfinished, or no longer wanted; swept by the next Store
//!   @cache/                           embeddings/ queries/ blocks/ diffs/; may be deleted at any time
//!   @cache/queries/PLUGIN/state.json  what was read last of a plugin's service, and when
//!   @cache/embeddings/                vectors that were computed once: embed::cache
//!   @cache-snapshots/                 cache@YYYY-MM-DD-HH:00, sealed
//!   @plugin-NAME/                     the active version of a plugin; sealed, unless it is a draft
//!   @plugin-snapshots/NAME@vVERSION/  every installed or published version, sealed
//!   @timing/ @vectors/                the audit trail
//!   @vectors/documents/               texts that are searched by meaning: embed::search
//!   @state/lock                       held while applying
//!   @state/ownership.json             what op-dbus added, and for whom
//!   @state/checkpoints/RUN.json       what was there before a run
//!   @state/targets/MACHINE-ID/        the same for another machine (--host)
//! ```
//!
//! Every `@...` in the root is a volume, and so is each entry of the two snapshot folders: see [`volumes`].

pub mod boot;
pub mod cache;
pub mod doctor;
pub mod file;
pub mod image;
pub mod init;
pub mod layout;
pub mod lock;
pub mod mounts;
mod opened;
pub(crate) mod ordered;
pub mod stream;
pub mod sweep;
pub mod volumes;

pub use layout::StateRoot;
pub use lock::{Lock, Wait};
pub use opened::Store;
pub use volumes::{Access, Volume, Volumes};

//! The audit trail: what was about to be done, what became of it, and by whom; as a chain that shows when any of it was
//! changed, removed, added or reordered afterwards.
//!
//! A run writes two blocks, an *intent* before its first call and an *outcome* after its last, tied by the run's name.
//! Never asks, never prints, never repairs by itself.
//!
//! ```text
//! @timing/torn/              blocks that a power cut left half written, put aside by a command
//! @timing/lock               held while a block is written
//! @timing/blocks/N.json      block N, from 1; never changed once written
//! @timing/.reserve-RUN       room for the outcome of a run, so that a full disk cannot leave it out
//! @vectors/blocks/N.bin      the vectors of block N's entries: see `vectors`
//! @cache/blocks/head         the number of the newest block      all of these
//! @cache/blocks/open.json    the runs without an outcome         are derived,
//! @cache/blocks/by-number    time, kind and digest of each block and may be
//! @cache/blocks/by-hash      the numbers of blocks by digest     deleted
//! ```

pub mod actor;
pub mod anomaly;
pub mod block;
pub mod chain;
pub mod events;
pub mod head;
pub mod index;
pub mod journal;
pub mod keys;
pub mod log;
pub mod merkle;
pub mod open;
pub mod polarity;
pub mod proof;
pub mod prune;
pub mod repair;
pub mod search;
pub mod vectors;
pub mod verify;

pub use actor::Actor;
pub use block::{Block, Header, Kind};
pub use chain::Chain;

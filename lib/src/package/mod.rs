//! Packages: how plugins come into being, travel and go.
//!
//! ```text
//! fetch -> verify (signature, digest) -> archive (decompress) -> stream (gate, unpack) -> contents (tree digest)
//!       -> check (plugin.toml, mapping, introspection) -> install (dependencies, powers, activation, record)
//! ```

pub mod adopt;
pub mod archive;
pub mod check;
pub mod contents;
pub mod create;
pub mod dependencies;
pub mod fetch;
pub mod gpg;
pub mod install;
pub mod keyring;
pub mod ledger;
pub mod lockfile;
pub mod powers;
pub mod proposal;
pub mod publish;
pub mod registry;
pub mod remove;
pub mod resolve;
pub mod revocation;
pub mod rollback;
pub mod signature;
pub mod signing;
mod standby;
pub mod stream;
pub mod trail;
pub mod trust;
pub mod verify;
pub mod versions;

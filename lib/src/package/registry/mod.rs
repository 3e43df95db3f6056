//! Registries: folders of packages with a signed list of what is in them, at any https, http or file URL.
//!
//! ```text
//! DIR/index.json  index.json.minisig              number, expiry, and for each package its digest and what it needs
//! DIR/revoked.list  revoked.list.minisig          what counts no longer; not every registry has one
//! DIR/NAME/NAME-vVERSION.btrfs.zst  .minisig      the packages, as they are installed from anywhere
//! DIR/NAME/semantic-mapping.toml  README.md       for people, from the newest version
//!
//! @state/registries/NAME/source.json              where it is, since when it is asked, which key it must be signed with
//! @state/registries/NAME/index.json  .minisig     as it was fetched last
//! ```
//!
//! An index has a number that grows and a day on which it ends: an older one than was seen, or one that has ended, is
//! refused, so that nobody can hold a machine back at what was current once. What the index says of a package is
//! believed, and so is the package only if it is signed itself.

pub mod build;
pub mod index;
pub mod mirror;
pub mod offers;
pub mod source;

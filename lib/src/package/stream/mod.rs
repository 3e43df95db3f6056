//! btrfs send streams as untrusted input: what a package is made of.
//!
//! ```text
//! stream    = "btrfs-stream\0" version:u32  command*          all integers little-endian
//! command   = length:u32 code:u16 crc32c:u32  attribute*      length counts the attributes
//! attribute = code:u16 length:u16 value
//!             in version 2 the attribute DATA has no length: it is the rest of its command
//! ```
//!
//! [`Reader`] turns bytes into commands and knows nothing of their meaning; the gate decides which of them a plugin may
//! consist of and keeps the tree they describe; [`unpack`] makes that tree. [`Encoder`] writes a stream that `btrfs
//! receive` takes. Nothing here is privileged, and `btrfs receive` is never asked: it obeys forged streams.

mod command;
mod crc;
mod encode;
mod extent;
mod folder;
mod gate;
mod memory;
mod names;
mod read;
mod unpack;

pub use command::{Attribute, Code, Command};
pub use encode::Encoder;
pub use folder::Folder;
pub(super) use gate::Gate;
pub use gate::{Limits, Subvolume, Tree};
pub use memory::Memory;
pub use read::Reader;
pub use unpack::{Sink, Unpacked, unpack};

/// How a stream begins.
const MAGIC: &[u8; 13] = b"btrfs-stream\0";
/// Bytes of a command before its attributes.
const COMMAND_HEADER: usize = 10;

//! One block: a header that binds everything, and entries that it binds through their Merkle root.
//!
//! A block's file is one JSON object in canonical form (RFC 8785) with the members `digest`, `entries` and `header`, in
//! that order, and nothing else. What is digested are the bytes as they lie there:
//!
//! ```text
//! header.root  = Merkle root over the entries' canonical bytes (see `merkle`)
//! digest       = SHA-256("block" 00 canonical header bytes)
//! header.previous = digest of the block before; of block 1, 64 zeros
//! ```
//!
//! `docs/AUDIT-FORMAT.md` has test vectors. A change of this format is a new `header.format`.

use super::actor::Actor;
use super::merkle;
use crate::base::{Error, Result, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The format this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// Largest block file that is read.
pub const MAX_BYTES: usize = 64 << 20;

/// Why a block was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Kind {
    /// What a run is about to do.
    Intent,
    /// What became of it.
    Outcome,
    /// A run that was refused, or failed before its first call.
    Refusal,
    /// Events of other programs.
    Events,
    /// A run that waited to be confirmed was.
    Confirm,
    /// A torn block at the end was put aside.
    Repair,
    /// Older blocks were taken away; it says which, and what they were.
    Summary,
}

/// What a block says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Header {
    /// Who did it.
    pub actor: Actor,
    /// How many entries it has.
    pub count: usize,
    /// What there is to say about the whole: the outcome, the mappings, the error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Value>,
    /// Always [`FORMAT`].
    pub format: u32,
    /// Why it was written.
    pub kind: Kind,
    /// Its number, from 1.
    pub number: u64,
    /// Digest of the block before.
    pub previous: String,
    /// Program and version.
    pub program: String,
    /// Merkle root of its entries.
    pub root: String,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// When it was written, by the clock of the machine.
    pub time: String,
}

/// A block that was read and whose digests fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// What it says about itself.
    pub header: Header,
    /// Digest of the header.
    pub digest: String,
    /// Its entries.
    pub entries: Vec<Value>,
}

/// A block as a document: what programs print.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockDocument {
    /// Always `audit_block`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Digest of the header.
    pub digest: String,
    /// What it says about itself.
    pub header: Header,
    /// What was done, or is about to be.
    pub entries: Vec<Value>,
}

impl From<Block> for BlockDocument {
    fn from(block: Block) -> Self {
        let Block { header, digest, entries } = block;
        Self { kind: "audit_block".into(), version: 1, digest, header, entries }
    }
}

/// The digest before the first block.
#[must_use]
pub fn genesis() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// The file's bytes, as they lie there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    digest: &'a str,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
    #[serde(borrow)]
    header: &'a RawValue,
}

/// A block that was checked without its entries being read as values.
pub struct Checked<'a> {
    /// What it says about itself.
    pub header: Header,
    /// Digest of the header.
    pub digest: String,
    /// The bytes of its entries.
    pub entries: Vec<&'a RawValue>,
}

/// Puts a block together: its file's bytes, and its digest.
pub fn seal(mut header: Header, entries: Vec<Value>) -> Result<(Vec<u8>, Block)> {
    let written: Vec<Vec<u8>> = entries.iter().map(canonical).collect::<Result<_>>()?;
    let leaves: Vec<merkle::Hash> = written.iter().map(|bytes| merkle::leaf(bytes)).collect();
    header.count = entries.len();
    header.root = merkle::to_text(&merkle::root(&leaves));
    let of_header = canonical(&serde_json::to_value(&header).map_err(|e| Error::failed(e.to_string()))?)?;
    let digest = digest::of_bytes("block", &of_header);
    let mut bytes = format!("{{\"digest\":\"{digest}\",\"entries\":[").into_bytes();
    for (at, entry) in written.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(entry);
    }
    bytes.extend_from_slice(b"],\"header\":");
    bytes.extend_from_slice(&of_header);
    bytes.extend_from_slice(b"}");
    Ok((bytes, Block { header, digest, entries }))
}

fn canonical(value: &Value) -> Result<Vec<u8>> {
    digest::canonical(value).map_err(|error| Error::failed(format!("could not write it: {error}")))
}

/// Reads a block and checks it in itself: its form, its number, its root and its digest. What it says about the block
/// before is for the chain to check.
pub fn check(bytes: &[u8], number: u64) -> Result<Checked<'_>> {
    let broken = |why: String| Error::new(crate::base::Kind::Untrusted, why).on(format!("block {number}"));
    let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not UTF-8 text".into()))?;
    let file: File<'_> = serde_json::from_str(text).map_err(|error| broken(format!("it is no block: {error}")))?;
    // The three members in this order and nothing around them: else two files could be the same block.
    let length = 11 + file.digest.len() + 13 + file.entries.iter().map(|e| e.get().len() + 1).sum::<usize>();
    let length = length - usize::from(!file.entries.is_empty()) + 11 + file.header.get().len() + 1;
    if length != text.len() || !text.starts_with("{\"digest\":\"") {
        return Err(broken("it is not in canonical form".into()));
    }
    let digest = digest::of_bytes("block", file.header.get().as_bytes());
    if digest != file.digest {
        return Err(broken("its header was changed: the digest does not fit".into()));
    }
    let header: Header =
        serde_json::from_str(file.header.get()).map_err(|error| broken(format!("its header is none: {error}")))?;
    if header.format != FORMAT {
        return Err(broken(format!("it has the format {}, this program reads {FORMAT}", header.format)));
    }
    if header.number != number {
        return Err(broken(format!("it is block {}", header.number)));
    }
    let leaves: Vec<merkle::Hash> = file.entries.iter().map(|entry| merkle::leaf(entry.get().as_bytes())).collect();
    if header.count != leaves.len() || header.root != merkle::to_text(&merkle::root(&leaves)) {
        return Err(broken("its entries were changed: the root does not fit".into()));
    }
    Ok(Checked { header, digest, entries: file.entries })
}

impl Checked<'_> {
    /// The block with its entries as values.
    pub fn open(self) -> Result<Block> {
        let value = |raw: &&RawValue| serde_json::from_str(raw.get()).map_err(|e| Error::bad_input(e.to_string()));
        let entries = self.entries.iter().map(value).collect::<Result<_>>()?;
        Ok(Block { header: self.header, digest: self.digest, entries })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(in super::super) fn header(number: u64, previous: &str) -> Header {
        Header {
            actor: Actor::default(),
            count: 0,
            detail: None,
            format: FORMAT,
            kind: Kind::Events,
            number,
            previous: previous.to_owned(),
            program: "test 1".into(),
            root: String::new(),
            run: None,
            time: "2025-01-15T10:00:00Z".into(),
        }
    }

    #[test]
    fn what_was_sealed_is_read_and_any_other_byte_is_not() {
        for count in [0, 1, 5] {
            let entries: Vec<Value> = (0..count).map(|i| json!({"b": i, "a": ["é", 1.5, null]})).collect();
            let (bytes, block) = seal(header(3, &genesis()), entries.clone()).unwrap();
            assert_eq!(check(&bytes, 3).unwrap().open().unwrap(), block);
            assert!(check(&bytes, 4).is_err());
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert!(check(&changed, 3).is_err(), "byte {at} of {}", String::from_utf8_lossy(&bytes));
                assert!(check(&bytes[..at], 3).is_err());
                let mut longer = bytes.clone();
                longer.insert(at, b' ');
                assert!(check(&longer, 3).is_err(), "a space at {at}");
            }
            let longer = [&bytes[..], b"\n"].concat();
            assert!(check(&longer, 3).is_err());
        }
    }
}

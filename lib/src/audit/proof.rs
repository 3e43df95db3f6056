//! A proof that an entry is part of a block, to be checked where the trail is not: with the block's header alone, which
//! a head that was kept elsewhere vouches for.

use super::block::{self, Header};
use super::chain::Chain;
use super::merkle;
use crate::base::{Error, Kind, Result, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that is needed to check that an entry was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Proof {
    /// Always `audit_proof`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The entry.
    pub entry: Value,
    /// Its place in the block, from 0.
    pub index: usize,
    /// The hashes that lead to the root, from below.
    pub path: Vec<String>,
    /// The block's header.
    pub header: Header,
    /// The block's digest: what a head must say.
    pub digest: String,
}

/// Proves entry `index` of block `number`.
pub fn prove(chain: &Chain, number: u64, index: usize) -> Result<Proof> {
    let bytes = chain.bytes(number)?;
    let checked = block::check(&bytes, number)?;
    let leaves: Vec<merkle::Hash> = checked.entries.iter().map(|entry| merkle::leaf(entry.get().as_bytes())).collect();
    if index >= leaves.len() {
        return Err(Error::bad_input(format!("block {number} has {} entries, counted from 0", leaves.len()))
            .on(format!("{number}/{index}")));
    }
    let path = merkle::path(&leaves, index).iter().map(merkle::to_text).collect();
    let mut block = checked.open()?;
    Ok(Proof {
        kind: "audit_proof".into(),
        version: 1,
        entry: block.entries.swap_remove(index),
        index,
        path,
        header: block.header,
        digest: block.digest,
    })
}

/// Checks a proof in itself; that its digest is the trail's is for a head to say.
pub fn check(proof: &Proof) -> Result<()> {
    let broken =
        |why: &str| Err(Error::new(Kind::Untrusted, why.to_owned()).on(format!("block {}", proof.header.number)));
    let canonical = |value: &Value| {
        serde_json_canonicalizer::to_vec(value).map_err(|error| Error::bad_input(format!("it is no proof: {error}")))
    };
    let header = serde_json::to_value(&proof.header).map_err(|error| Error::bad_input(error.to_string()))?;
    if digest::of_bytes("block", &canonical(&header)?) != proof.digest {
        return broken("the header does not have the digest that the proof says");
    }
    let path: Option<Vec<merkle::Hash>> = proof.path.iter().map(|text| merkle::from_text(text)).collect();
    let leaf = merkle::leaf(&canonical(&proof.entry)?);
    let root = path.and_then(|path| merkle::root_of_path(&leaf, proof.index, proof.header.count, &path));
    if root.map(|root| merkle::to_text(&root)).as_ref() != Some(&proof.header.root) {
        return broken("the entry does not lead to the block's root: it was not recorded like this");
    }
    Ok(())
}

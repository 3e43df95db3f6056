//! Taking old blocks away without breaking the chain: a signed summary says which they were and how they ended, is
//! itself a block of the chain, and is written before anything is removed.

use super::actor::Actor;
use super::block::{self, Header, Kind};
use super::chain::{Chain, Draft};
use super::keys::{Signer, Trusted};
use super::{open, verify};
use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a summary says: blocks 1 to `to` were there, the last of them had this digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The last block that was taken away.
    pub to: u64,
    /// Its digest.
    pub digest: String,
    /// How many entries all of them had.
    pub entries: u64,
    /// minisign's signature of the above.
    pub signature: String,
}

impl Summary {
    fn signed_bytes(&self) -> Result<Vec<u8>> {
        let value = json!({"kind": "audit_summary", "version": 1, "to": self.to, "digest": self.digest, "entries": self.entries});
        serde_json_canonicalizer::to_vec(&value).map_err(|e| Error::failed(e.to_string()))
    }

    fn comment(&self) -> String {
        format!("op-dbus-summary/1 to={} digest={}", self.to, self.digest)
    }

    /// What a header says, if it is that of a summary.
    #[must_use]
    pub fn of(header: &Header) -> Option<Self> {
        let detail = header.detail.as_ref().filter(|_| header.kind == Kind::Summary)?;
        serde_json::from_value(detail.clone()).ok()
    }

    /// Checks the signature.
    pub fn check(&self, trusted: &Trusted) -> Result<()> {
        trusted.check(&self.signed_bytes()?, &self.comment(), &self.signature)
    }
}

/// The newest summary that covers everything before block `first`.
pub(super) fn covering(chain: &Chain, first: u64) -> Option<Summary> {
    let header = |number: u64| {
        let bytes = chain.bytes(number).ok()?;
        block::check(&bytes, number).ok().map(|checked| checked.header)
    };
    let summaries = (first..=chain.last()).rev().filter_map(|number| Summary::of(&header(number)?));
    summaries.into_iter().find(|summary| summary.to + 1 >= first)
}

/// What pruning would take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prunable {
    /// The first block that is there.
    pub from: u64,
    /// The last one that goes.
    pub to: u64,
    summary: Option<Summary>,
    entries: u64,
    digest: String,
}

/// The blocks before the moment `before` that may go: none of a run that has not ended, nor any after it.
pub fn prunable(chain: &Chain, before: &str) -> Result<Option<Prunable>> {
    let verdict = verify::verify(chain, &[], &mut |_, _| {})?;
    if let Some(broken) = &verdict.broken {
        return Err(Error::refused(format!("block {} is broken, and what it was must not be lost", broken.number))
            .hint("op-audit verify says more"));
    }
    let summary = covering(chain, chain.first());
    let first_open = open::runs(chain)?.iter().map(|open| open.block).min().unwrap_or(u64::MAX);
    let from = chain.first();
    let known = summary.as_ref().map_or(0, |summary| summary.to);
    let mut found: Option<Prunable> = None;
    let mut entries = summary.as_ref().map_or(0, |summary| summary.entries);
    for number in from..=chain.last() {
        let block = chain.read(number)?;
        if block.header.time.as_str() >= before || number >= first_open {
            break;
        }
        if number > known {
            entries += block.entries.len() as u64;
        }
        found = Some(Prunable { from, to: number, summary: summary.clone(), entries, digest: block.digest });
    }
    Ok(found)
}

/// Writes the summary and takes the blocks away.
pub fn prune(chain: &Chain, what: &Prunable, signer: &Signer, actor: &Actor, program: &str) -> Result<()> {
    // What was begun before and broken off is only finished.
    let is_said = what.summary.as_ref().is_some_and(|summary| summary.to >= what.to);
    if !is_said {
        let mut summary =
            Summary { to: what.to, digest: what.digest.clone(), entries: what.entries, signature: String::new() };
        summary.signature = signer.sign(&summary.signed_bytes()?, &summary.comment())?;
        chain.append(Draft {
            kind: Kind::Summary,
            run: None,
            actor: actor.clone(),
            program: program.to_owned(),
            detail: Some(json!(summary)),
            entries: Vec::<Value>::new(),
        })?;
    }
    // From the oldest, so that what is left of a broken off removal still is one chain.
    for number in what.from..=what.to {
        let path = chain.file(number);
        std::fs::remove_file(&path).map_err(|e| Error::io("take a block away", &path, &e))?;
    }
    Ok(())
}

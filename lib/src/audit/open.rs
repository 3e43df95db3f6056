//! The runs that have an intent and no outcome: they are under way, or were broken off.

use super::block::{self, Header, Kind};
use super::chain::Chain;
use crate::base::Result;
use crate::store::file::{self, Durability};
use serde::{Deserialize, Serialize};

/// What is known up to a block; derived, and computed anew whenever it does not fit the trail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Known {
    number: u64,
    digest: String,
    open: Vec<OpenRun>,
}

/// A run without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Its name.
    pub run: String,
    /// Which machine's state it changes.
    pub target: String,
    /// The number of its first intent.
    pub block: u64,
}

impl Known {
    fn take(&mut self, header: &Header, digest: String) {
        self.number = header.number;
        self.digest = digest;
        let Some(run) = &header.run else { return };
        match header.kind {
            Kind::Intent if !self.open.iter().any(|open| open.run == *run) => {
                let target = header.detail.as_ref().and_then(|detail| detail.get("target")?.as_str());
                let target = target.unwrap_or("@state").to_owned();
                self.open.push(OpenRun { run: run.clone(), target, block: header.number });
            }
            Kind::Outcome => self.open.retain(|open| open.run != *run),
            _ => {}
        }
    }
}

/// The runs without an outcome, oldest first. Blocks that cannot be read say nothing: telling that is for `verify`.
pub fn runs(chain: &Chain) -> Result<Vec<OpenRun>> {
    let path = chain.derived().join("open.json");
    let kept = file::read(&path).ok().flatten().and_then(|text| serde_json::from_str::<Known>(&text).ok());
    let is_of_trail = |known: &Known| digest_of(chain, known.number).is_some_and(|digest| digest == known.digest);
    let mut known = kept.filter(is_of_trail).unwrap_or_default();
    let (first, last) = (chain.first(), chain.last());
    let from = known.number + 1;
    for number in from.max(first)..=last {
        let Ok(bytes) = chain.bytes(number) else { continue };
        let Ok(checked) = block::check(&bytes, number) else { continue };
        known.take(&checked.header, checked.digest);
    }
    if known.number >= from
        && std::fs::create_dir_all(chain.derived()).is_ok()
        && let Ok(bytes) = serde_json::to_vec(&known)
    {
        let _ = file::replace(&path, &bytes, Durability::Cache);
    }
    Ok(known.open)
}

fn digest_of(chain: &Chain, number: u64) -> Option<String> {
    let bytes = chain.bytes(number).ok()?;
    block::check(&bytes, number).ok().map(|checked| checked.digest)
}

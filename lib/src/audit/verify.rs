//! Whether the trail is what was written: offline, from the blocks alone, and from heads that were kept elsewhere.

use super::block;
use super::chain::{Chain, Head};
use super::keys::Trusted;
use super::prune;
use crate::base::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is known about a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Always `audit_verdict`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Whether nothing is wrong.
    pub is_valid: bool,
    /// Older blocks were pruned; the first one that is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pruned: Option<Pruned>,
    /// Blocks up to this one are valid; 0 when none is.
    pub valid_to: u64,
    /// Digest of the last valid block.
    pub head: String,
    /// Entries in the valid blocks.
    pub entries: u64,
    /// The first bad block, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<Broken>,
    /// Files in the folder that are no blocks of this trail.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub foreign: Vec<String>,
    /// The newest block that a head kept elsewhere vouches for; what comes after it could have been written anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub anchored_to: Option<u64>,
    /// What the heads kept elsewhere contradict.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contradicted: Vec<String>,
}

/// What a summary vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pruned {
    /// The last block that was taken away.
    pub to: u64,
    /// How many entries they had.
    pub entries: u64,
    /// Whether the summary's signature was checked with a key that is trusted.
    pub is_checked: bool,
    /// How many of these blocks are still there: pruning was broken off.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub left: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A bad block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Broken {
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub why: String,
    /// Whether it is the last one and cut off, as a power cut leaves it.
    pub is_torn: bool,
}

/// Verifies a whole trail; `heads` were kept elsewhere. Nothing is known about signatures of summaries.
pub fn verify(chain: &Chain, heads: &[Head], on_block: &mut dyn FnMut(u64, u64)) -> Result<Verdict> {
    verify_with(chain, heads, &Trusted::default(), on_block)
}

/// [`verify`], and the signature of the summary of what was pruned is checked where keys are trusted.
pub fn verify_with(
    chain: &Chain,
    heads: &[Head],
    trusted: &Trusted,
    on_block: &mut dyn FnMut(u64, u64),
) -> Result<Verdict> {
    let (numbers, foreign) = files(chain)?;
    let last = numbers.last().copied().unwrap_or(0);
    let mut verdict = Verdict {
        kind: "audit_verdict".into(),
        version: 1,
        is_valid: true,
        pruned: None,
        valid_to: 0,
        head: block::genesis(),
        entries: 0,
        broken: None,
        foreign,
        anchored_to: None,
        contradicted: Vec::new(),
    };
    // Only those that a head speaks of: a trail may be long.
    let kept: BTreeSet<u64> = heads.iter().map(|head| head.number).collect();
    let mut digests = BTreeMap::from([(0, verdict.head.clone())]);
    let mut first = 1;
    // The digest that the block after it must name; nobody knows that of the oldest one of a broken off pruning.
    let mut previous = Some(verdict.head.clone());
    let mut ends_with = None;
    if let Some(oldest) = numbers.first().copied().filter(|oldest| *oldest > 1)
        && let Some(summary) = prune::covering(chain, oldest)
    {
        let is_checked = match trusted.is_empty() {
            true => false,
            false => match summary.check(trusted) {
                Ok(()) => true,
                Err(error) => {
                    let why = format!("blocks 1 to {} are missing, and their summary is not to be trusted", summary.to);
                    let why = format!("{why}: {}", error.message);
                    verdict.broken = Some(Broken { number: 1, why, is_torn: false });
                    verdict.is_valid = false;
                    return Ok(verdict);
                }
            },
        };
        let left = (summary.to + 1).saturating_sub(oldest);
        first = oldest;
        previous = (left == 0).then(|| summary.digest.clone());
        digests = BTreeMap::from([(summary.to, summary.digest.clone())]);
        verdict.pruned = Some(Pruned { to: summary.to, entries: summary.entries, is_checked, left });
        ends_with = Some((summary.to, summary.digest));
    }
    for number in first..=last {
        on_block(number, last);
        let checked = next(chain, number, previous.as_deref()).and_then(|(digest, entries)| match &ends_with {
            Some((to, kept)) if *to == number && *kept != digest => {
                Err(("it is not the one that the summary of pruned blocks says".to_owned(), false))
            }
            _ => Ok((digest, entries)),
        });
        match checked {
            Ok((digest, entries)) => {
                verdict.valid_to = number;
                verdict.entries += entries;
                if kept.contains(&number) {
                    digests.insert(number, digest.clone());
                }
                previous = Some(digest.clone());
                verdict.head = digest;
            }
            Err((why, is_cut)) => {
                verdict.broken = Some(Broken { number, why, is_torn: is_cut && number == last });
                break;
            }
        }
    }
    for head in heads {
        match digests.get(&head.number) {
            Some(digest) if *digest == head.digest => {
                verdict.anchored_to = verdict.anchored_to.max(Some(head.number));
            }
            Some(_) => verdict.contradicted.push(format!("block {} is not the one that was kept", head.number)),
            None if verdict.broken.is_some() || verdict.pruned.as_ref().is_some_and(|p| head.number < p.to) => {}
            None => verdict.contradicted.push(format!("block {} is missing: the end was cut off", head.number)),
        }
    }
    verdict.is_valid = verdict.broken.is_none() && verdict.contradicted.is_empty() && verdict.foreign.is_empty();
    Ok(verdict)
}

/// Checks one block after `previous`: its digest and the number of its entries, or why not and whether it is cut off.
fn next(chain: &Chain, number: u64, previous: Option<&str>) -> Result<(String, u64), (String, bool)> {
    let bytes = match chain.bytes(number) {
        Ok(bytes) => bytes,
        Err(error) => return Err((error.message, false)),
    };
    let checked = block::check(&bytes, number).map_err(|error| (error.message, is_cut_off(&bytes)))?;
    if previous.is_some_and(|previous| checked.header.previous != previous) {
        return Err(("it does not follow the block before: blocks were removed, inserted or swapped".into(), false));
    }
    Ok((checked.digest, checked.entries.len() as u64))
}

/// Whether bytes look like the beginning of a block, and nothing else.
fn is_cut_off(bytes: &[u8]) -> bool {
    let start = b"{\"digest\":\"sha256:";
    let begins = bytes.len() < start.len() && start.starts_with(bytes) || bytes.starts_with(start);
    let is_unfinished = serde_json::from_slice::<serde_json::Value>(bytes).is_err_and(|error| error.is_eof());
    // A file that was given its length and not its content holds zeros at the end.
    begins && (is_unfinished || bytes.ends_with(&[0])) || bytes.iter().all(|byte| *byte == 0)
}

/// The numbers of the blocks there are, and the names of what else lies there.
fn files(chain: &Chain) -> Result<(BTreeSet<u64>, Vec<String>)> {
    let mut numbers = BTreeSet::new();
    let mut foreign = Vec::new();
    let Ok(entries) = std::fs::read_dir(chain.folder()) else { return Ok((numbers, foreign)) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(".json").and_then(|text| text.parse::<u64>().ok());
        match number.filter(|number| *number > 0 && format!("{number}.json") == name) {
            Some(number) => drop(numbers.insert(number)),
            // What a killed writer leaves is swept by the next one.
            None if name.starts_with(".staging-") => {}
            None => foreign.push(name),
        }
    }
    foreign.sort();
    Ok((numbers, foreign))
}

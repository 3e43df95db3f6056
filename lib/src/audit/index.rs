//! What is known of blocks without reading them: derived, to be deleted at any time, and made anew whenever it does not
//! fit the trail.
//!
//! ```text
//! @cache/blocks/by-number = "OPDBIDX1" first:u64 line*      line N is of block first + N; integers little-endian
//! line                    = digest[32] time[24] kind:u8 zero[7]
//! @cache/blocks/by-hash   = "OPDBHSH1" (digest[32] number:u64)*      in the order of the digests
//! ```

use super::block::{self, Kind};
use super::chain::Chain;
use super::log::Filter;
use super::merkle;
use crate::base::{Error, Result};
use crate::store::file::{self, Durability};
use std::fs;
use std::path::PathBuf;

const BY_NUMBER: &[u8; 8] = b"OPDBIDX1";
const BY_HASH: &[u8; 8] = b"OPDBHSH1";
const LINE: usize = 64;
const PAIR: usize = 40;
/// Digits of a digest that must be said at least.
const FEWEST_DIGITS: usize = 8;
/// Blocks that are looked at without an index: fewer are not worth one.
const FEW: u64 = 32;

/// The index of a trail.
#[derive(Debug, Default)]
pub struct Index {
    first: u64,
    lines: Vec<u8>,
}

impl Index {
    /// The index as it was kept, brought up to the end of the trail. One that does not fit the trail is forgotten.
    pub fn open(chain: &Chain) -> Result<Self> {
        let (first, last) = (chain.first(), chain.last());
        let mut index = Self::kept(chain).filter(|index| index.fits(chain, first)).unwrap_or_default();
        if index.lines.is_empty() {
            index.first = first;
        }
        let known = index.count();
        for number in index.first + known..=last {
            let line = line_of(chain, number);
            index.lines.extend(line.unwrap_or([0; LINE]));
        }
        if index.count() > known {
            let bytes = [&BY_NUMBER[..], &index.first.to_le_bytes(), &index.lines].concat();
            keep(chain, "by-number", &bytes);
        }
        Ok(index)
    }

    fn kept(chain: &Chain) -> Option<Self> {
        let bytes = fs::read(path(chain, "by-number")).ok()?;
        let lines = bytes.strip_prefix(BY_NUMBER)?;
        let (first, lines) = lines.split_first_chunk::<8>()?;
        // What was cut off is read again.
        let whole = lines.len() / LINE * LINE;
        Some(Self { first: u64::from_le_bytes(*first), lines: lines[..whole].to_vec() })
    }

    /// Whether its last line is of the block that is there. Pruning takes blocks away at the beginning, which does not
    /// matter here.
    fn fits(&self, chain: &Chain, first: u64) -> bool {
        let Some(last) = (self.first + self.count()).checked_sub(1) else { return false };
        self.first > 0
            && self.first <= first
            && self.count() > 0
            && self.line(last).is_some_and(|line| line_of(chain, last).is_some_and(|found| found == *line))
    }

    fn count(&self) -> u64 {
        (self.lines.len() / LINE) as u64
    }

    fn line(&self, number: u64) -> Option<&[u8]> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?.checked_mul(LINE)?;
        self.lines.get(at..at + LINE)
    }

    /// Whether block `number` need not be read, since `filter` cannot want it.
    #[must_use]
    pub fn rules_out(&self, number: u64, filter: &Filter) -> bool {
        let Some(line) = self.line(number).filter(|line| line[56] != 0) else { return false };
        let time = std::str::from_utf8(&line[32..56]).unwrap_or_default().trim_end_matches('\0');
        let outside = filter.since.as_ref().is_some_and(|since| time < since.as_str())
            || filter.until.as_ref().is_some_and(|until| time >= until.as_str());
        let kind = filter.outcome.as_ref().and_then(|outcome| kind_called(outcome));
        outside || kind.is_some_and(|kind| code(kind) != line[56])
    }

    /// The number of the block whose digest begins so.
    fn find(&self, chain: &Chain, digits: &str) -> Result<u64> {
        let mut pairs = self.by_hash(chain);
        let hex = |pair: &[u8]| pair[..32].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let from = pairs.partition_point(|pair| hex(pair).as_str() < digits);
        pairs.drain(..from);
        let found: Vec<&[u8; PAIR]> =
            pairs.iter().take_while(|pair| hex(&pair[..]).starts_with(digits)).take(2).collect();
        let (named, number) = match found[..] {
            [] => return Err(Error::bad_input("no block has this digest").on(digits)),
            [one] => (hex(&one[..]), one[32..].try_into().map(u64::from_le_bytes).unwrap_or_default()),
            _ => {
                return Err(Error::bad_input("several blocks have digests that begin so")
                    .on(digits)
                    .hint("say more of it"));
            }
        };
        // It may be older than what it speaks of.
        let block = chain.read(number)?;
        match block.digest.strip_prefix("sha256:") == Some(named.as_str()) {
            true => Ok(number),
            false => Err(Error::bad_input("no block has this digest any more").on(digits)),
        }
    }

    /// Digests with their numbers, in order.
    fn by_hash(&self, chain: &Chain) -> Vec<[u8; PAIR]> {
        let numbers = self.first..self.first + self.count();
        let kept = fs::read(path(chain, "by-hash")).ok();
        let kept =
            kept.as_deref().and_then(|bytes| bytes.strip_prefix(BY_HASH)).map(|bytes| bytes.as_chunks().0.to_vec());
        let is_of = |pairs: &Vec<[u8; PAIR]>| {
            let newest = self.line(self.first + self.count() - 1).unwrap_or_default();
            pairs.len() as u64 == self.count() && pairs.iter().any(|pair| newest.starts_with(&pair[..32]))
        };
        if let Some(pairs) = kept.filter(is_of) {
            return pairs;
        }
        let pair = |number: u64| {
            let mut pair = [0; PAIR];
            pair[..32].copy_from_slice(&self.line(number)?[..32]);
            pair[32..].copy_from_slice(&number.to_le_bytes());
            Some(pair)
        };
        let mut pairs: Vec<[u8; PAIR]> = numbers.filter_map(pair).collect();
        pairs.sort_unstable();
        keep(chain, "by-hash", &[&BY_HASH[..], pairs.as_flattened()].concat());
        pairs
    }
}

/// The number of the block that `text` names: its number, or the beginning of its digest.
pub fn number_of(chain: &Chain, text: &str) -> Result<u64> {
    if let Ok(number) = text.parse::<u64>()
        && text.len() < FEWEST_DIGITS
    {
        return Ok(number);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_lowercase();
    let is_digest = digits.len() >= FEWEST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (is_digest, text.parse::<u64>()) {
        // Digits alone may be either, and a trail is rarely that long.
        (_, Ok(number)) if chain.file(number).exists() || !is_digest => Ok(number),
        (true, _) => Index::open(chain)?.find(chain, &digits),
        _ => Err(Error::usage("this names no block")
            .on(text)
            .hint(format!("write its number, or {FEWEST_DIGITS} digits of its digest at least"))),
    }
}

/// The index, where it saves reading: for a filter that it knows something of, and a trail of some length.
pub(super) fn helpful(chain: &Chain, filter: &Filter) -> Option<Index> {
    let knows = filter.since.is_some()
        || filter.until.is_some()
        || filter.outcome.as_ref().and_then(|o| kind_called(o)).is_some();
    if !knows || chain.last().saturating_sub(chain.first()) < FEW {
        return None;
    }
    Index::open(chain).ok()
}

fn path(chain: &Chain, name: &str) -> PathBuf {
    chain.derived().join(name)
}

fn keep(chain: &Chain, name: &str, bytes: &[u8]) {
    // Who may only read does without.
    let path = path(chain, name);
    if chain.root().make_parent(&path).is_ok() {
        let _ = file::replace(&path, bytes, Durability::Cache);
    }
}

/// What the index says of a block; nothing of one that is broken.
fn line_of(chain: &Chain, number: u64) -> Option<[u8; LINE]> {
    let bytes = chain.bytes(number).ok()?;
    let checked = block::check(&bytes, number).ok()?;
    let mut line = [0; LINE];
    line[..32].copy_from_slice(&merkle::from_text(&checked.digest)?);
    let time = checked.header.time.as_bytes();
    line[32..32 + time.len().min(24)].copy_from_slice(&time[..time.len().min(24)]);
    line[56] = code(checked.header.kind);
    Some(line)
}

fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Intent => 1,
        Kind::Outcome => 2,
        Kind::Refusal => 3,
        Kind::Events => 4,
        Kind::Confirm => 5,
        Kind::Repair => 6,
        Kind::Summary => 7,
    }
}

/// The kind that an outcome filter names; `applied`, `undone` and `residue` name none.
fn kind_called(outcome: &str) -> Option<Kind> {
    serde_json::from_value(serde_json::Value::from(outcome)).ok()
}

//! Finding what was done: by meaning where vectors are, by words where not.
//!
//! A block's text is what its entries and its error say. By words, every one of the query must be in it, or begin one that
//! is. By meaning, an entry is as good as its vector is near, and better when it has the words too. How an entry ended is
//! known, so a query that says an end is a filter; what only a text says comes after everything that does not say the
//! opposite: an outcome is never ranked above its opposite.

use super::block::{Block, Kind};
use super::chain::Chain;
use super::log::{self, Filter};
use super::polarity::{self, Relation};
use super::vectors::{self, cosine};
use crate::base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hits {
    /// Always `audit_hits`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was looked for.
    pub query: String,
    /// How it was looked for: `words`, or `meaning` and words.
    pub by: String,
    /// The model, where it was looked for by meaning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Blocks that could be looked at by words only, as they have no vectors.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub without_vectors: u64,
    /// The best first; of equal ones the newest.
    pub hits: Vec<Hit>,
}

/// One entry that fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hit {
    /// Its block.
    pub block: u64,
    /// Its place in the block; absent when the block as a whole fits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<usize>,
    /// When.
    pub time: String,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<String>,
    /// What it says.
    pub text: String,
    /// How well it fits, up to 1.
    pub score: f64,
    /// Whether it says the opposite of what was looked for: such hits come last.
    #[serde(skip_serializing_if = "is_false", default)]
    pub is_opposite: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What is looked for by meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Meaning {
    /// The model of the vector; vectors of other models are nothing to it.
    pub model: String,
    /// The vector of the query.
    pub vector: Vec<f32>,
}

/// Less like the query than this is nothing to it. Sentences that have nothing in common are at about 0.1.
const FAR: f64 = 0.25;
/// What words are worth beside the meaning.
const WORDS: f64 = 0.3;

/// How something ended, in the words of people.
const GOOD: &[&str] = &["succeeded", "success", "successful", "worked", "applied", "ok", "passed", "succeed", "done"];
const BAD: &[&str] = &[
    "failed",
    "fail",
    "fails",
    "failure",
    "failing",
    "error",
    "errors",
    "broken",
    "undone",
    "unsuccessful",
    "crashed",
    "refused",
    "denied",
    "rejected",
];
/// Words that say nothing by themselves.
const EMPTY: &[&str] = &[
    "a", "an", "and", "by", "did", "for", "from", "in", "is", "it", "of", "on", "or", "that", "the", "to", "was",
    "were", "what", "when", "which", "who", "with", "has", "have", "been", "not", "be",
];

/// How an entry ended, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Bad,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
struct Query {
    words: Vec<String>,
    end: Option<End>,
}

fn words_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self { words: Vec::new(), end: None };
        let mut is_turned = false;
        for word in words_of(text) {
            let end = match word.as_str() {
                word if GOOD.contains(&word) => Some(End::Good),
                word if BAD.contains(&word) => Some(End::Bad),
                _ => None,
            };
            match end {
                Some(end) => {
                    let turned = if end == End::Good { End::Bad } else { End::Good };
                    query.end = Some(if is_turned { turned } else { end });
                }
                None if matches!(word.as_str(), "not" | "didn" | "never" | "without") => is_turned = true,
                None if EMPTY.contains(&word.as_str()) || word.len() == 1 => {}
                None => query.words.push(word),
            }
        }
        let went_well = polarity::went_well(text).map(|well| if well { End::Good } else { End::Bad });
        query.end = went_well.or(query.end);
        query
    }

    /// How well a text fits: all of the words must be there, whole or as the beginning of one.
    fn score(&self, text: &str) -> Option<f64> {
        let words = words_of(text);
        let mut sum = 0.0;
        for wanted in &self.words {
            // Plural and singular are one word: who looks for containers means container 100 as well.
            let stem = wanted.strip_suffix('s').filter(|stem| stem.len() > 2).unwrap_or(wanted);
            let best = words.iter().filter_map(|word| match word {
                word if word == wanted => Some(1.0),
                word if word.strip_suffix('s').unwrap_or(word) == stem => Some(0.9),
                word if word.starts_with(stem) => Some(0.6),
                _ => None,
            });
            sum += best.fold(None, |best: Option<f64>, score| Some(best.map_or(score, |best| best.max(score))))?;
        }
        let count = f64::from(u32::try_from(self.words.len().max(1)).unwrap_or(u32::MAX));
        Some(if self.words.is_empty() { 1.0 } else { sum / count })
    }
}

/// Looks for `text` in the blocks that `filter` wants; at most `limit` hits. Without a meaning, by words alone.
pub fn search(chain: &Chain, text: &str, meaning: Option<&Meaning>, filter: &Filter, limit: usize) -> Result<Hits> {
    let query = Query::parse(text);
    let mut hits = Vec::new();
    let mut without_vectors = 0;
    log::walk(chain, 1, filter, &mut |block| {
        let kept = meaning.and_then(|meaning| {
            let kept = vectors::read(chain, block.header.number, &block.digest)?;
            (kept.model == meaning.model).then_some(kept.vectors)
        });
        without_vectors += u64::from(meaning.is_some() && kept.is_none());
        let like = |entry: usize| Some(cosine(&meaning?.vector, kept.as_ref()?.get(entry)?));
        hits.extend(of_block(&block, text, &query, &like));
        Ok(true)
    })?;
    rank(&mut hits);
    hits.truncate(limit);
    let (by, model) = match meaning {
        Some(meaning) => ("meaning", Some(meaning.model.clone())),
        None => ("words", None),
    };
    Ok(Hits {
        kind: "audit_hits".into(),
        version: 1,
        query: text.to_owned(),
        by: by.into(),
        model,
        without_vectors,
        hits,
    })
}

/// The best first; what says the opposite last, whatever it scores.
fn rank(hits: &mut [Hit]) {
    hits.sort_by(|a, b| {
        let by_side = a.is_opposite.cmp(&b.is_opposite);
        by_side.then(b.score.total_cmp(&a.score)).then(b.block.cmp(&a.block)).then(a.entry.cmp(&b.entry))
    });
}

/// `like` says how like the query an entry's meaning is, where that is known.
fn of_block(block: &Block, text: &str, query: &Query, like: &dyn Fn(usize) -> Option<f64>) -> Vec<Hit> {
    let header = &block.header;
    // What was about to be done says nothing about what became of it.
    if header.kind == Kind::Intent && query.end.is_some() {
        return Vec::new();
    }
    let error = header.detail.as_ref().and_then(|detail| detail.get("error")?.get("message")?.as_str());
    let hit = |entry: Option<usize>, said: String, is_known: bool| {
        let like = entry.and_then(like);
        let score = score(query.score(&said), like)?;
        // How an entry ended is known; what became of other things, only their texts say.
        let relation = if is_known { Relation::Same } else { polarity::relation(text, &said) };
        if query.end.is_some() && like.is_none() && relation != Relation::Same {
            return None;
        }
        let is_opposite = relation == Relation::Opposite;
        let (time, run) = (header.time.clone(), header.run.clone());
        Some(Hit { block: header.number, entry, time, run, text: said, score, is_opposite })
    };
    let mut hits = Vec::new();
    for (index, entry) in block.entries.iter().enumerate() {
        let end = end_of(entry).or(if header.kind == Kind::Refusal { Some(End::Bad) } else { None });
        if query.end.is_none() || end.is_none() || query.end == end {
            hits.extend(hit(Some(index), text_of(entry), query.end.is_some() && end.is_some()));
        }
    }
    if let (true, Some(error)) = (hits.is_empty() && query.end != Some(End::Good), error) {
        hits.extend(hit(None, error.to_owned(), true));
    }
    hits
}

/// Words and meaning as one number up to 1; none where neither fits.
fn score(words: Option<f64>, like: Option<f64>) -> Option<f64> {
    match (words, like) {
        (words, None) => words,
        (Some(words), Some(like)) => Some(like.max(FAR) * (1.0 - WORDS) + words * WORDS),
        (None, Some(like)) => (like >= FAR).then_some(like * (1.0 - WORDS)),
    }
}

fn end_of(entry: &Value) -> Option<End> {
    match entry["result"].as_str()? {
        "done" => Some(End::Good),
        "failed" | "undone" | "not_run" => Some(End::Bad),
        _ => None,
    }
}

/// What an entry says, in words: what the embeddings are made of, too.
#[must_use]
pub fn text_of(entry: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    match entry["title"].as_str() {
        Some(title) => {
            parts.push(title.to_owned());
            parts.push(log::resources(entry).collect::<Vec<_>>().join(", "));
            parts.extend(entry["error"].as_str().map(|error| format!("failed: {error}")));
        }
        None => texts(&entry["event"], &mut parts),
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn texts(value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::String(text) => parts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, parts)),
        Value::Object(map) => map.values().for_each(|inner| texts(inner, parts)),
        Value::Number(number) => parts.push(number.to_string()),
        Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opposite_comes_last_whatever_it_scores() {
        let hit = |block: u64, score: f64, is_opposite: bool| Hit {
            block,
            entry: Some(0),
            time: String::new(),
            run: None,
            text: String::new(),
            score,
            is_opposite,
        };
        let mut hits = vec![hit(1, 0.9, true), hit(2, 0.3, false), hit(3, 0.95, true), hit(4, 0.5, false)];
        rank(&mut hits);
        assert_eq!(hits.iter().map(|hit| hit.block).collect::<Vec<_>>(), [4, 2, 3, 1]);
        assert_eq!(score(None, Some(0.1)), None);
        assert!(score(Some(1.0), Some(0.1)) > score(None, Some(0.6)));
        assert!(score(Some(1.0), Some(0.9)) > score(Some(1.0), Some(0.5)));
    }

    #[test]
    fn words_and_ends() {
        let query = Query::parse("containers that failed to start");
        assert_eq!(
            (query.words.as_slice(), query.end),
            (&["containers".to_owned(), "start".into()][..], Some(End::Bad))
        );
        assert!(query.score("Start container 100").unwrap() > 0.9);
        assert_eq!(query.score("Stop container 100"), None);
        assert_eq!(Query::parse("what did not fail").end, Some(End::Good));
        assert_eq!(Query::parse("did not succeed").end, Some(End::Bad));
        assert_eq!(Query::parse("nginx").end, None);
    }
}

//! What `op-embed` prints beside vectors.

mod measured;

pub use measured::{BatchRow, Bench, Layer, Layers, Misses, Span};

use super::machine::Memory;
use super::model::shelf::Entry;
use super::model::{Batching, Level, Model};
use crate::base::Error;
use crate::numa::{Plan, Step, Topology};
use serde::Serialize;
use serde_json::{Map, Value};

/// One answer of the pipe and of `serve`: a text's vector, or why there is none.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record<'a> {
    /// The record's own name, or the line's number.
    pub id: &'a Value,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// What came with the text.
    #[serde(flatten)]
    pub more: Option<&'a Map<String, Value>>,
    /// The model whose vector this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// Whether it was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<bool>,
    /// The vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<&'a [f32]>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// A runtime that was put in place: what `op-embed runtime install` prints.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InstalledRuntime {
    /// Always `runtime`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// Its own version.
    pub runtime_version: String,
    /// Where it lies.
    pub folder: String,
}

/// The models there are.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Models {
    /// Always `models`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// Each of them, the built-in one first.
    pub models: Vec<ListedModel>,
}

/// One model.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedModel {
    /// Its name.
    pub name: String,
    /// Whether it is used when nobody says which.
    pub is_used: bool,
    /// Where it lies; none for the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The level it is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// How many values a vector has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// How many tokens of a text count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// All its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Error>"))]
    pub error: Option<Value>,
}

impl From<Entry> for ListedModel {
    fn from(Entry { name, model, is_used }: Entry) -> Self {
        let listed = match &model {
            Ok(model) => Self::from(model),
            Err(error) => Self { error: Some(fields(error)), ..Self::default() },
        };
        Self { name, is_used, ..listed }
    }
}

impl From<&Model> for ListedModel {
    fn from(model: &Model) -> Self {
        let manifest = &model.manifest;
        Self {
            name: manifest.name.clone(),
            is_used: false,
            path: model.folder().map(|folder| folder.display().to_string()),
            level: Some(manifest.level),
            dimension: Some(manifest.dimension),
            max_tokens: Some(manifest.max_tokens),
            size_bytes: Some(manifest.files().map(|file| file.size_bytes).sum()),
            licence: Some(manifest.licence.clone()),
            origin: Some(manifest.origin.clone()),
            error: None,
        }
    }
}

impl ListedModel {
    /// For people: name, whether it is used, level, dimension, size, licence, place.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        let size = self.size_bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        let place = match &self.error {
            Some(error) => error["message"].as_str().unwrap_or_default().to_owned(),
            None => self.path.clone().unwrap_or_else(|| "built in".into()),
        };
        vec![
            self.name.clone(),
            if self.is_used { "used".into() } else { String::new() },
            self.level.map_or("", Level::as_str).into(),
            self.dimension.map(|dimension| dimension.to_string()).unwrap_or_default(),
            size.unwrap_or_default(),
            self.licence.clone().unwrap_or_default(),
            place,
        ]
    }
}

/// What `op-embed model verify` found.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelVerification {
    /// Always `model_verification`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// The model.
    pub model: String,
    /// The bytes of its files, which are what its manifest says.
    pub size_bytes: u64,
    /// What computed.
    pub engine: String,
    /// On what.
    pub provider: String,
    /// How many texts were compared with their vectors by a reference forward pass.
    pub reference_texts: usize,
    /// The lowest cosine among these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_cosine: Option<f64>,
    /// Whether texts are computed together.
    pub batching: Batching,
    /// How far a value of a text's vector is from what it is among other texts.
    pub largest_difference_in_a_batch: f32,
}

/// What computes, and what was not taken.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Engines {
    /// Always `engines`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// `onnxruntime` or `tract`.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Where it was found; tract is part of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Libraries that were looked at and not taken.
    pub runtimes_refused: Vec<NotTaken>,
    /// What it computes on.
    pub provider: String,
    /// What comes before that in the list and was not taken.
    pub providers_refused: Vec<NotTaken>,
    /// Where the threads that compute were put.
    pub placement: Vec<Step>,
    /// The model that was opened.
    pub model: String,
    /// How long opening it took.
    pub opening_ms: f64,
}

/// What was not taken, and why.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotTaken {
    /// Its name or path.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a run of the pipe did, for `--timings`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EmbedTimings {
    /// Always `embed_timings`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// Texts.
    pub texts: u64,
    /// Of these, kept.
    pub hits: u64,
    /// Of these, computed.
    pub misses: u64,
    /// Opening the model, in milliseconds.
    pub opening_ms: f64,
    /// Computing, in milliseconds.
    pub computing_ms: f64,
    /// All of it, in milliseconds.
    pub total_ms: f64,
    /// What computed, when something was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

impl EmbedTimings {
    /// For people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} texts in {:.1} ms: {} kept, {} computed",
            self.texts, self.total_ms, self.hits, self.misses
        )];
        if let Some(engine) = &self.engine {
            lines.push(format!(
                "{engine}: opened in {:.0} ms, computed in {:.1} ms",
                self.opening_ms, self.computing_ms
            ));
        }
        lines
    }
}

/// What `op-embed topology` found.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Placement {
    /// The machine.
    pub topology: Topology,
    /// Its memory; absent where another machine's folders are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Who works where.
    pub plan: Plan,
    /// What came of it for the thread that asked.
    pub steps: Vec<Step>,
    /// How long a read of each node's memory takes, when that was measured.
    pub measured: Vec<Latency>,
}

/// A node's memory, measured.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// The node.
    pub node: u32,
    /// A read that no cache answers, in the mean.
    pub latency_ns: f64,
}

/// What `op-embed add` did.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Added {
    /// Documents that are new.
    pub added: usize,
    /// Documents that took the place of one of the same id.
    pub replaced: usize,
    /// All there are now.
    pub documents: usize,
}

/// What a search took, for `--timings`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchTimings {
    /// Vectors that were scanned.
    pub scanned: usize,
    /// Vectors that the scan could not leave out for certain.
    pub candidates: usize,
    /// Vectors that were read to rank them.
    pub ranked: usize,
    /// Whether these are the best for certain.
    pub is_exact: bool,
    /// Finding the rows that the filter lets through, in milliseconds.
    pub filter_ms: f64,
    /// The scan.
    pub scan_ms: f64,
    /// Ranking, and reading documents.
    pub rank_ms: f64,
}

/// A document around what another part of the library found.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document<T> {
    /// What it is.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// What it says.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Document<T> {
    /// A document of this kind.
    pub fn new(kind: &'static str, body: T) -> Self {
        Self { kind, version: 1, body }
    }
}

/// A number of bytes, for people.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        100_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A share, for people.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An error as it stands in a record.
#[must_use]
pub fn fields(error: &Error) -> Value {
    error.to_json()["error"].take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_it_has() {
        let id = Value::from(3);
        let more = serde_json::from_str(r#"{"source":"x"}"#).unwrap();
        let record = Record {
            id: &id,
            text: Some("a"),
            more: Some(&more),
            model: Some("m"),
            cached: Some(true),
            vector: Some(&[0.5, -1.0]),
            error: None,
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"id":3,"text":"a","source":"x","model":"m","cached":true,"vector":[0.5,-1.0]}"#
        );
    }
}

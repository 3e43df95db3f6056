//! What `op-embed bench` prints.

use serde::Serialize;

/// What computing costs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bench {
    /// Always `embed_bench`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// The machine it was measured on.
    pub machine: MachineName,
    /// The model.
    pub model: String,
    /// What computed.
    pub engine: String,
    /// How long opening it took.
    pub opening_ms: f64,
    /// The engine alone.
    pub batches: Vec<BatchRow>,
    /// The whole way of texts that are not in the cache.
    pub misses: Misses,
}

/// A machine, as far as a measurement depends on it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineName {
    /// Its processor.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// The kernel.
    pub kernel: String,
    /// How busy it was: the load of the last minute.
    pub load: f64,
}

/// The engine, with so many texts of so many tokens at once.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchRow {
    /// Tokens of each text.
    pub tokens: usize,
    /// Texts at once.
    pub texts: usize,
    /// Milliseconds a text, the median.
    pub ms_per_text: f64,
}

/// Texts that are not in the cache, from text to saved vector.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Misses {
    /// How many texts.
    pub texts: usize,
    /// The engine alone, on their tokens.
    pub engine_ms: f64,
    /// Tokenizer, engine, pooling, key, and saving.
    pub whole_ms: f64,
    /// Whole to engine.
    pub ratio: f64,
}

/// The founding document's tables with a machine's figures.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layers {
    /// Always `embed_layers`.
    pub kind: &'static str,
    /// Always 1.
    pub version: u32,
    /// The machine it was measured on.
    pub machine: MachineName,
    /// The model, and what computed.
    pub model: String,
    /// Each access, taken apart.
    pub accesses: Vec<Span>,
    /// Each layer.
    pub layers: Vec<Layer>,
}

/// A part of an access.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Span {
    /// Which access.
    pub access: &'static str,
    /// Which part of it; `all` is the whole.
    pub part: &'static str,
    /// Microseconds, the median.
    pub us: f64,
    /// What the founding document says, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub founding_us: Option<f64>,
}

/// A layer.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Layer {
    /// Its name in the founding document.
    pub layer: &'static str,
    /// How many times as long it takes without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What was compared, or why it cannot be here.
    pub what: String,
    /// What the founding document says.
    pub founding: &'static str,
}

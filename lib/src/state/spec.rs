//! What the diff needs to know about a key: how to compare it, and whether and how it may change.

use serde::{Deserialize, Serialize};

/// How the desired and the current value of a key are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Strategy {
    /// A set of items. Additive: what is not listed stays, unless owned, listed as absent, or pruned.
    SetDifference,
    /// One value; equal or not.
    #[default]
    ValueComparison,
    /// An object of which only the mentioned keys are compared.
    MergeStrategy,
    /// Shown, never compared and never written.
    None,
}

/// Whether a key can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writable {
    /// It can.
    Yes,
    /// It cannot, and why, and what would help.
    No {
        /// Why.
        reason: String,
        /// The way out.
        hint: String,
    },
}

/// What the diff needs to know about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// How values are compared.
    pub strategy: Strategy,
    /// Whether the order of a list means nothing.
    pub is_unordered: bool,
    /// Whether the key can be written at all.
    pub writable: Writable,
    /// For a set: whether items can be added.
    pub can_add: bool,
    /// For a set: whether items can be removed.
    pub can_remove: bool,
    /// Items that are never removed, whoever asks.
    pub protected: Vec<String>,
}

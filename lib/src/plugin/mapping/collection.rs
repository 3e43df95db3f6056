//! What may be written in a mapping about collections, jobs and a service's own checkpoints: structs, as in the module
//! beside this one.

use super::file::{Accepted, Operation, PartSection, Rules, SignalSection};
use crate::state::Strategy;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a method is called on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The object of the item it is about.
    Item,
}

/// `key = "name"` or `key = { field = "path", split = "/", part = -1 }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a column, or a table { field = \"...\" }")]
pub enum KeySection {
    /// A column, or a dotted path into the item's value.
    Column(String),
    /// A part of a column, converted.
    Part(PartSection),
}

impl KeySection {
    /// The column it speaks of.
    #[must_use]
    pub fn column_ref(&self) -> &String {
        match self {
            Self::Column(column) => column,
            Self::Part(part) => &part.field,
        }
    }
}

/// A safe method and its arguments.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Query {
    /// The method.
    pub method: String,
    /// Its arguments that are not fixed.
    pub args: Option<Vec<Value>>,
}

/// `join = [{ ... }]`: more columns for the items of a collection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct JoinSection {
    /// The method that answers with rows; none when only `each` is asked.
    pub method: Option<String>,
    /// Its arguments that are not fixed.
    pub args: Option<Vec<Value>>,
    /// Names of the columns.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The column that is the item's name.
    pub key: Option<KeySection>,
    /// How it is asked when only some items matter.
    pub named: Option<Query>,
    /// Asked for each item that matters and that nothing else gave the columns: one value, the first of `fields`.
    pub each: Option<Query>,
}

/// `[state_mapping.KEY.members.NAME]`: one member of the items.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct MemberSection {
    /// What it is, for people.
    pub description: Option<String>,
    /// The property of the item's object.
    pub property: Option<String>,
    /// The property's interface, when it is not the one the items have.
    pub interface: Option<String>,
    /// The column of the rows.
    pub column: Option<String>,
    /// The dotted path into the item's value.
    pub path: Option<String>,
    /// How it is compared; `none` for what moves by itself, and is shown only.
    pub diff_strategy: Option<Strategy>,
    /// Its value when the service tells none.
    pub default: Option<Value>,
    /// The service's values and ours; `*` stands for all others.
    pub values: BTreeMap<String, Value>,
    /// How the service's value becomes ours, step by step.
    pub convert: Vec<String>,
    /// Whether it is a list of which only what is listed counts.
    pub set: bool,
    /// Whether the order of a list means nothing.
    pub unordered: bool,
    /// What never leaves a set; `*` stands for any text.
    pub protected: Vec<String>,
    /// Whether it is shown and never written, although the item it is a part of is.
    pub read_only: bool,
    /// What a desired value must look like.
    pub validate: Rules,
    /// Whether a protected item keeps the value it has.
    pub keep: bool,
    /// The only value that a protected item may be given.
    pub keep_as: Option<Value>,
    /// By value as text, the names of items that are never given it; `*` stands for any text.
    pub never: BTreeMap<String, Vec<String>>,
    /// Whether it is only a word for arguments, and never shown.
    pub internal: bool,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// The values that columns of an item must have for this member to be written.
    pub needs: BTreeMap<String, Accepted>,
    /// How it is written.
    pub write: Option<Operation>,
    /// Methods called after the last change of this member.
    pub after: Vec<Operation>,
}

/// `refuse_if = { ... }`: rows that mean that a call must not be made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RefuseSection {
    /// The safe method that answers with rows; it may be another service's.
    pub method: String,
    /// Its arguments that are not fixed.
    pub args: Option<Vec<Value>>,
    /// Names of the columns.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The column that must equal the item's name.
    pub r#match: PartSection,
    /// Why, for people; `{item}` is filled in.
    pub reason: String,
}

/// `[jobs.NAME]`: how a method that answers with a job is waited for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct JobSection {
    /// Calls before the real one.
    #[serde(default)]
    pub setup: Vec<Operation>,
    /// The signal that ends it; a success when `match` holds.
    pub done: SignalSection,
    /// The field that equals what the method answered.
    pub id: String,
    /// The object the signal comes from, when it is not the service's main one.
    pub path: Option<String>,
    /// The signal's interface, when it is not the service's main one.
    pub interface: Option<String>,
    /// How long the job may take, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// `[checkpoint]`: how the service itself keeps its state and goes back to it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct CheckpointSection {
    /// Makes one; its answer is `$checkpoint`.
    pub create: Operation,
    /// Lets it go: all is well.
    pub commit: Operation,
    /// Goes back to it.
    pub rollback: Operation,
    /// The property that lists those there are.
    pub pending: Option<String>,
    /// What helps when none can be made while there is another, for people; `{checkpoint}` is filled in.
    pub pending_hint: Option<String>,
}

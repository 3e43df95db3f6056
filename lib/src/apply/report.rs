//! What an apply did, as a document.

use crate::audit::vectors::Counts;
use crate::base::Error;
use crate::state::Action;
use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunOutcome {
    /// Everything was as wanted already.
    Unchanged,
    /// Every action was made and verified.
    Applied,
    /// An action failed, and what had been done was undone and verified.
    Undone,
    /// An action failed, and something remains: see `residue`.
    Residue,
}

/// How one action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ActionResult {
    /// Not reached.
    NotRun,
    /// Made.
    Done,
    /// Failed.
    Failed,
    /// Made or begun, then taken back.
    Undone,
}

/// One action of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActionReport {
    /// Its number in the plan.
    pub id: String,
    /// What it was to do.
    pub title: String,
    /// What it was to change.
    pub resources: Vec<String>,
    /// How it ended.
    pub result: ActionResult,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Something that is not as it was, and not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Residue {
    /// What it is: `PLUGIN/KEY` or `PLUGIN/KEY/ITEM`.
    pub resource: String,
    /// What is known about it.
    pub message: String,
}

/// The report of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// Always `report`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Names the run; empty when nothing was to do.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub run: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Until when it waits to be confirmed; then it is taken back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirm_by: Option<String>,
    /// How many texts of what was done had a vector already; absent when op-embed was not there in time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub embeddings: Option<Counts>,
    /// The actions in order.
    pub actions: Vec<ActionReport>,
    /// What remains, when not everything could be undone.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub residue: Vec<Residue>,
}

impl Report {
    /// A report in which nothing has happened yet.
    #[must_use]
    pub fn new(run: &str, actions: &[Action]) -> Self {
        let of_action = |action: &Action| ActionReport {
            id: action.id.clone(),
            title: action.title.clone(),
            resources: action.resources.clone(),
            result: ActionResult::NotRun,
            took_ms: 0,
            error: None,
        };
        Self {
            kind: "report".into(),
            version: 1,
            run: run.into(),
            outcome: RunOutcome::Unchanged,
            confirm_by: None,
            embeddings: None,
            actions: actions.iter().map(of_action).collect(),
            residue: Vec::new(),
        }
    }
}

/// A run that came as far as acting: its report, and why it failed if it did.
#[derive(Debug)]
pub struct Applied {
    /// What was done.
    pub report: Report,
    /// Why it failed.
    pub error: Option<Error>,
}

//! What a run writes into the audit trail: what it is about to do before its first call, what became of it after its
//! last, and why it was refused.

use super::report::{Report, RunOutcome};
use crate::audit::block::Kind;
use crate::audit::chain::Draft;
use crate::audit::{Actor, Chain};
use crate::base::{self, Error, Result, digest};
use crate::state::{Action, Plan};
use serde_json::{Map, Value, json};

/// Where runs are recorded, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Trail {
    /// The chain.
    pub chain: Chain,
    /// Who runs the program.
    pub actor: Actor,
    /// Program and version.
    pub program: String,
}

impl Trail {
    fn append(&self, kind: Kind, run: Option<&str>, detail: Value, entries: Vec<Value>) -> Result<()> {
        let draft = Draft {
            kind,
            run: run.map(str::to_owned),
            actor: self.actor.clone(),
            program: self.program.clone(),
            detail: Some(detail),
            entries,
        };
        self.chain.append(draft).map(drop)
    }

    /// Records what is about to be done. What cannot be recorded is not done.
    pub(super) fn intent(&self, run: &str, plan: &Plan) -> Result<()> {
        let detail = json!({"plan": plan.digest, "owner": plan.owner, "mappings": plan.mappings});
        let entries = plan.actions.iter().map(intended).collect();
        self.append(Kind::Intent, Some(run), detail, entries).map_err(|error| {
            let message = format!("the audit trail could not be written: {}", error.message);
            let error = Error { message, ..error };
            match error.hint {
                Some(_) => error,
                None => error.hint("nothing was changed: what cannot be recorded is not done"),
            }
        })
    }

    /// Records what became of it.
    pub(super) fn outcome(&self, report: &Report, plan: &Plan, error: Option<&Error>) -> Result<()> {
        let detail = json!({
            "outcome": report.outcome,
            "residue": report.residue,
            "error": error.map(said),
        });
        let ended = |(action, ended): (&Action, &super::report::ActionReport)| {
            json!({
                "id": ended.id,
                "plugin": action.plugin,
                "resources": ended.resources,
                "title": ended.title,
                "result": ended.result,
                "took_ms": ended.took_ms,
                "error": ended.error,
            })
        };
        let entries = plan.actions.iter().zip(&report.actions).map(ended).collect();
        self.append(Kind::Outcome, Some(&report.run), detail, entries).map_err(|error| {
            let state =
                if report.outcome == RunOutcome::Applied { "everything was changed and verified" } else { "it ended" };
            let message = format!("{state}, but the audit trail does not say so: {}", error.message);
            Error { kind: base::Kind::Residue, message, ..error }
        })
    }

    /// Records that a run was refused. A refusal that cannot be recorded stays one.
    pub(super) fn refusal(&self, plan: Option<&Plan>, error: &Error) {
        use base::Kind as Why;
        if !matches!(error.kind, Why::Refused | Why::Stale | Why::InterfaceChanged | Why::Denied | Why::Untrusted) {
            return;
        }
        let entries = plan.map(|plan| plan.actions.iter().map(intended).collect()).unwrap_or_default();
        let _ = self.append(Kind::Refusal, None, json!({"error": said(error)}), entries);
    }
}

/// An action before it is made: the exact call, what is there, what is wanted, and how it would be taken back.
fn intended(action: &Action) -> Value {
    let digests = |value: &dyn Fn(&crate::state::Change) -> Value| -> Map<String, Value> {
        let one = |change| json!(digest::of_json("base", &value(change)));
        action.changes.iter().map(|change| (change.resource().to_string(), one(change))).collect()
    };
    json!({
        "id": action.id,
        "plugin": action.plugin,
        "resources": action.resources,
        "title": action.title,
        "call": action.call,
        "before": digests(&|change| change.before()),
        "after": digests(&|change| change.reverse().before()),
        "undo": action.undo.class,
    })
}

fn said(error: &Error) -> Value {
    json!({"kind": error.kind.as_str(), "message": error.message, "subject": error.subject})
}

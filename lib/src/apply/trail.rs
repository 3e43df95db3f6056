//! What a run writes into the audit trail: what it is about to do before its first call, what became of it after its
//! last, and why it was refused.

use super::recover::Why;
use super::report::{Report, RunOutcome};
use crate::audit::block::Kind;
use crate::audit::chain::Draft;
use crate::audit::vectors::{Asking, OpEmbed};
use crate::audit::{Actor, Block, Chain, journal, open};
use crate::base::{self, Error, Result, digest};
use crate::state::{Action, Plan};
use crate::store::StateRoot;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Where runs are recorded, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Trail {
    chain: Chain,
    actor: Actor,
    program: String,
    target: String,
    op_embed: Option<OpEmbed>,
}

impl Trail {
    /// The trail of `root`, for what `actor` does with `program`.
    pub fn open(root: &StateRoot, actor: Actor, program: &str) -> Result<Self> {
        Ok(Self {
            chain: Chain::open(root)?,
            actor,
            program: program.to_owned(),
            target: root.target(),
            op_embed: None,
        })
    }

    /// The same, with vectors of what is done asked of `op_embed`. It is never waited for.
    #[must_use]
    pub fn asking(self, op_embed: OpEmbed) -> Self {
        Self { op_embed: Some(op_embed), ..self }
    }

    /// Asks for the vectors of what a plan is about to do, while it is done.
    pub(super) fn ask_for_vectors(&self, entries: &[Value]) -> Asking {
        Asking::begin(self.op_embed.as_ref(), entries)
    }

    /// Keeps the vectors of a run's blocks, as far as they came in time. What did not is filled in later.
    pub(super) fn keep_vectors(&self, asking: &Asking, blocks: &[Block]) {
        blocks.iter().for_each(|block| asking.keep(&self.chain, block));
    }

    fn append(&self, kind: Kind, run: Option<&str>, detail: Value, entries: Vec<Value>) -> Result<Block> {
        let draft = Draft {
            kind,
            run: run.map(str::to_owned),
            actor: self.actor.clone(),
            program: self.program.clone(),
            detail: Some(detail),
            entries,
        };
        let block = self.chain.append(draft)?;
        journal::tell(Path::new(journal::SOCKET), &block);
        Ok(block)
    }

    /// The runs of this machine that have an intent and no outcome, oldest first.
    pub(super) fn open_runs(&self) -> Result<Vec<String>> {
        let mine = open::runs(&self.chain)?.into_iter().filter(|open| open.target == self.target);
        Ok(mine.map(|open| open.run).collect())
    }

    /// Records what is about to be done, and keeps room to say how it ended. What cannot be recorded is not done.
    pub(super) fn intent(
        &self,
        run: &str,
        plan: &Plan,
        entries: Vec<Value>,
        versions: &BTreeMap<String, String>,
    ) -> Result<Block> {
        let mut detail = json!({
            "plan": plan.digest,
            "owner": plan.owner,
            "mappings": plan.mappings,
            "plugins": versions,
            "target": self.target,
        });
        without_null(&mut detail);
        let size = entries.iter().map(|entry| entry.to_string().len()).sum::<usize>();
        let told = self.chain.reserve(run, 2 * size as u64 + (64 << 10));
        let told = told.and_then(|()| self.append(Kind::Intent, Some(run), detail, entries));
        told.map_err(|error| {
            self.chain.release(run);
            let message = format!("the audit trail could not be written: {}", error.message);
            let error = Error { message, ..error };
            match error.hint {
                Some(_) => error,
                None => error.hint("nothing was changed: what cannot be recorded is not done"),
            }
        })
    }

    /// Records what became of it.
    pub(super) fn outcome(&self, report: &Report, plan: &Plan, error: Option<&Error>) -> Result<Block> {
        let mut detail = json!({
            "outcome": report.outcome,
            "residue": report.residue,
            "error": error.map(said),
            "confirm_by": report.confirm_by,
            "embeddings": report.embeddings,
        });
        without_null(&mut detail);
        self.chain.release(&report.run);
        self.append(Kind::Outcome, Some(&report.run), detail, ended(report, plan)).map_err(|error| {
            let state =
                if report.outcome == RunOutcome::Applied { "everything was changed and verified" } else { "it ended" };
            let message = format!("{state}, but the audit trail does not say so: {}", error.message);
            Error { kind: base::Kind::Residue, message, ..error }
        })
    }

    /// Records that a whole run is about to be taken back.
    pub(super) fn taking_back(&self, run: &str, plan: &Plan, why: Why) -> Result<()> {
        let detail = json!({"takes_back": why, "plan": plan.digest, "target": self.target});
        let entry = |action: &Action| {
            let mut entry = intended(plan, action);
            entry["call"] = json!(action.undo.call);
            entry["title"] = json!(format!("Take back: {}", action.title));
            let before = entry["before"].take();
            entry["before"] = std::mem::replace(&mut entry["after"], before);
            entry
        };
        self.append(Kind::Intent, Some(run), detail, plan.actions.iter().rev().map(entry).collect()).map(drop)
    }

    /// Records what became of that.
    pub(super) fn taken_back(&self, report: &Report, plan: Option<&Plan>, why: Why) -> Result<()> {
        let detail = json!({"takes_back": why, "outcome": report.outcome, "residue": report.residue});
        self.chain.release(&report.run);
        let entries = plan.map(|plan| ended(report, plan)).unwrap_or_default();
        self.append(Kind::Outcome, Some(&report.run), detail, entries).map(drop)
    }

    /// Records that a run was confirmed.
    pub(super) fn confirmed(&self, run: &str) -> Result<()> {
        self.append(Kind::Confirm, Some(run), json!({"target": self.target}), Vec::new()).map(drop)
    }

    /// Records that a run was refused, or failed before its first call. A refusal that cannot be recorded stays one;
    /// what was not understood, and what waits for another run, is no run yet.
    pub(super) fn refusal(&self, plan: Option<&Plan>, error: &Error) {
        use base::Kind as Why;
        if matches!(error.kind, Why::Usage | Why::BadInput | Why::Locked) {
            return;
        }
        let entries =
            plan.map(|plan| plan.actions.iter().map(|action| intended(plan, action)).collect()).unwrap_or_default();
        let _ = self.append(Kind::Refusal, None, json!({"error": said(error), "target": self.target}), entries);
    }
}

/// The actions of a plan before they are made.
pub(super) fn intentions(plan: &Plan) -> Vec<Value> {
    plan.actions.iter().map(|action| intended(plan, action)).collect()
}

/// An action before it is made: the exact call, what is there, what is wanted, and how it would be taken back.
fn intended(plan: &Plan, action: &Action) -> Value {
    let (mut before, mut after) = (Map::new(), Map::new());
    for change in &action.changes {
        let resource = change.resource().to_string();
        let is = plan.base.get(&resource).cloned().unwrap_or_else(|| digest::of("base", &change.before()));
        before.insert(resource.clone(), Value::String(is));
        after.insert(resource, Value::String(digest::of("base", &change.after())));
    }
    json!({
        "id": action.id,
        "plugin": action.plugin,
        "resources": action.resources,
        "title": action.title,
        "call": action.call,
        "before": before,
        "after": after,
        "undo": action.undo.class,
    })
}

fn ended(report: &Report, plan: &Plan) -> Vec<Value> {
    let ended = |(action, ended): (&Action, &super::report::ActionReport)| {
        let mut entry = json!({
            "id": ended.id,
            "plugin": action.plugin,
            "resources": ended.resources,
            "title": ended.title,
            "result": ended.result,
            "took_ms": ended.took_ms,
            "error": ended.error,
        });
        without_null(&mut entry);
        entry
    };
    plan.actions.iter().zip(&report.actions).map(ended).collect()
}

fn said(error: &Error) -> Value {
    let mut said = json!({"kind": error.kind.as_str(), "message": error.message, "subject": error.subject});
    without_null(&mut said);
    said
}

fn without_null(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

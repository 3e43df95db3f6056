//! Taking whole runs back: those that were broken off by a kill, a crash or a power cut, and those that nobody confirmed.
//! From the checkpoint alone, live, and as often as it takes: what is as it was already is left alone.

use super::checkpoints::{self, Checkpoint};
use super::ledger::Ledger;
use super::pending::{self, Timer};
use super::planning::Planned;
use super::report::{Report, Residue, RunOutcome};
use super::undo::Begun;
use super::{Plugins, StateManager};
use crate::base::{Error, Result};
use crate::bus::Consent;
use crate::plugin::Want;
use crate::state::{Change, PluginState};
use crate::store::file::{self, Durability};
use crate::store::{StateRoot, layout};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a service may take to come back, for example after the machine was started.
const COMES_BACK: Duration = Duration::from_secs(30);

/// Why a run is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Why {
    /// It was broken off: it has an intent and no outcome.
    BrokenOff,
    /// Nobody confirmed it in time.
    Unconfirmed,
    /// Somebody said so.
    Reverted,
}

/// What became of a run that was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TakenBack {
    /// Why.
    pub why: Why,
    /// What was done.
    #[serde(flatten)]
    pub report: Report,
}

/// What a recovery found and did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Recovery {
    /// Always `recovery`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The runs that were taken back.
    pub runs: Vec<TakenBack>,
    /// The runs that still wait to be confirmed.
    pub waiting: Vec<String>,
}

impl Recovery {
    /// Whether anything is not as it was.
    #[must_use]
    pub fn has_residue(&self) -> bool {
        self.runs.iter().any(|run| run.report.outcome == RunOutcome::Residue)
    }
}

impl StateManager<'_> {
    /// Takes back what was broken off and what nobody confirmed in time; what still may be confirmed is timed anew.
    pub fn recover(&mut self, timer: &dyn Timer, lock_timeout: Duration) -> Result<Recovery> {
        let _lock = self.lock(lock_timeout)?;
        let mut recovery = Recovery { kind: "recovery".into(), version: 1, runs: Vec::new(), waiting: Vec::new() };
        for run in self.trail.open_runs()?.into_iter().rev() {
            let waited = pending::read(self.root, &run).unwrap_or_default();
            recovery.runs.push(TakenBack { why: Why::BrokenOff, report: self.take_back(&run, Why::BrokenOff)? });
            pending::remove(self.root, &run)?;
            if let Some(armed) = waited.and_then(|waited| waited.timer) {
                timer.disarm(&armed);
            }
        }
        for mut waiting in pending::all(self.root)?.into_iter().rev() {
            let left = waiting.remaining();
            if left.is_zero() {
                let report = self.take_back(&waiting.run, Why::Unconfirmed)?;
                recovery.runs.push(TakenBack { why: Why::Unconfirmed, report });
                pending::remove(self.root, &waiting.run)?;
            } else {
                if let Some(armed) = &waiting.timer {
                    timer.disarm(armed);
                }
                waiting.timer = Some(timer.arm(&waiting.run, left)?);
                waiting.write(self.root)?;
                recovery.waiting.push(waiting.run);
            }
        }
        Ok(recovery)
    }

    /// Takes back a run that waits to be confirmed.
    pub fn revert(&mut self, id: Option<&str>, why: Why, timer: &dyn Timer, lock_timeout: Duration) -> Result<Report> {
        let _lock = self.lock(lock_timeout)?;
        let waiting = pending::find(self.root, id)?;
        let report = self.take_back(&waiting.run, why)?;
        pending::remove(self.root, &waiting.run)?;
        if let (Some(armed), Why::Reverted) = (&waiting.timer, why) {
            timer.disarm(armed);
        }
        Ok(report)
    }

    /// Keeps what a run did; its name.
    pub fn confirm_run(&mut self, id: Option<&str>, timer: &dyn Timer, lock_timeout: Duration) -> Result<String> {
        let _lock = self.lock(lock_timeout)?;
        let waiting = pending::find(self.root, id)?;
        let run = waiting.run.clone();
        if self.trail.open_runs()?.contains(&run) {
            return Err(Error::refused("this run was broken off, so there is nothing whole to keep")
                .on(run)
                .hint("op-apply --recover takes back what it did"));
        }
        if waiting.remaining().is_zero() {
            return Err(Error::refused("its time is over, and it is being taken back")
                .on(run)
                .hint("apply it again, and confirm sooner or allow more time"));
        }
        self.trail.confirmed(&run)?;
        pending::remove(self.root, &run)?;
        if let Some(armed) = &waiting.timer {
            timer.disarm(armed);
        }
        Ok(run)
    }

    /// Takes a run back and records that. The caller holds the lock.
    fn take_back(&mut self, run: &str, why: Why) -> Result<Report> {
        let Some(checkpoint) = checkpoints::find(self.root, run)? else {
            // Nothing is called before the checkpoint is there, and it goes only when everything was undone.
            let mut report = Report::new(run, &[]);
            report.outcome = RunOutcome::Undone;
            self.trail.taken_back(&report, None, why)?;
            return Ok(report);
        };
        self.trail.taking_back(run, &checkpoint.plan, why)?;
        let (planned, missing) = self.as_it_was_planned(&checkpoint);
        let mut report = Report::new(run, &checkpoint.plan.actions);
        report.residue = missing;
        let kept = read_kept(self.root, run);
        let begun = Begun { done: (0..checkpoint.plan.actions.len()).collect(), failed: None, kept, is_guess: true };
        self.wait_until_they_answer(&planned);
        self.undo(&Consent::was_given(), &planned, &begun, &mut report);
        self.disown(&checkpoint, why, &mut report);
        report.outcome = if report.residue.is_empty() { RunOutcome::Undone } else { RunOutcome::Residue };
        forget_kept(self.root, run);
        if report.outcome == RunOutcome::Undone {
            checkpoints::remove(self.root, run);
        }
        self.trail.taken_back(&report, Some(&checkpoint.plan), why)?;
        Ok(report)
    }

    /// The run as it was planned, with the plugins there are now; and what cannot be taken back, since its plugin is gone.
    fn as_it_was_planned(&self, checkpoint: &Checkpoint<'_>) -> (Planned, Vec<Residue>) {
        let mut plugins: Plugins = BTreeMap::new();
        let mut missing = Vec::new();
        let something =
            PluginState { values: Map::from_iter([("any".to_owned(), Value::Null)]), ..PluginState::default() };
        for action in &checkpoint.plan.actions {
            if plugins.contains_key(&action.plugin) {
                continue;
            }
            match self.plugin_for(&action.plugin, &something) {
                Ok(Some(plugin)) => {
                    self.bus.allow(plugin.safe_calls());
                    plugins.insert(action.plugin.clone(), plugin);
                }
                Ok(None) => {}
                Err(error) => missing.extend(action.resources.iter().map(|resource| Residue {
                    resource: resource.clone(),
                    message: format!("its plugin cannot be used: {}", error.message),
                })),
            }
        }
        let planned =
            Planned { plan: checkpoint.plan.clone().into_owned(), plugins, current: members_before(checkpoint) };
        (planned, missing)
    }

    /// A service that was killed or is still starting gets some time.
    fn wait_until_they_answer(&mut self, planned: &Planned) {
        let end = Instant::now() + COMES_BACK;
        for action in &planned.plan.actions {
            let Some(plugin) = planned.plugins.get(&action.plugin) else { continue };
            loop {
                let found = plugin.query(self.bus, &Want::of_changes(&action.changes), self.progress);
                let is_away = |error: &Error| error.kind.exit_code() == 69;
                if !found.problems.iter().any(is_away) || Instant::now() >= end || self.is_interrupted() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }

    /// What was taken back is nobody's any more, and what came back belongs to whom it belonged to.
    fn disown(&mut self, checkpoint: &Checkpoint<'_>, why: Why, report: &mut Report) {
        let is_left = |change: &Change| report.residue.iter().any(|r| r.resource == change.resource().to_string());
        let changes = checkpoint.plan.actions.iter().flat_map(|action| &action.changes);
        let reversed: Vec<Change> = changes
            .filter(|change| !is_left(change))
            // A run that was broken off has not written down yet that what it removed is nobody's.
            .filter(|change| change.brings_item() || (change.takes_item() && why != Why::BrokenOff))
            .map(Change::reverse)
            .collect();
        if reversed.is_empty() {
            return;
        }
        let noted = Ledger::read(self.root).and_then(|mut ledger| {
            ledger.note(checkpoint.plan.owner.as_deref().unwrap_or_default(), &reversed);
            ledger.write(self.root)
        });
        if let Err(error) = noted {
            report.residue.push(Residue { resource: "ownership".into(), message: error.message });
        }
    }
}

/// Of sets, the items that the checkpoint knows to have been there: enough to tell what came along.
fn members_before(checkpoint: &Checkpoint<'_>) -> BTreeMap<String, Map<String, Value>> {
    let mut before: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (resource, value) in &checkpoint.before {
        let mut parts = resource.splitn(3, '/');
        let (Some(plugin), Some(key)) = (parts.next(), parts.next()) else { continue };
        let keys = before.entry(plugin.to_owned()).or_default();
        match parts.next() {
            Some(item) => {
                let items = keys.entry(key.to_owned()).or_insert_with(|| json!([]));
                if let (Some(items), Value::Bool(true)) = (items.as_array_mut(), value) {
                    items.push(json!(item));
                }
            }
            None => drop(keys.insert(key.to_owned(), value.clone())),
        }
    }
    before
}

/// Remembers what the services call the checkpoints that they keep themselves, for whoever has to take the run back. A
/// service forgets them when it ends, so this need not outlive the machine.
pub(super) fn note_kept(root: &StateRoot, run: &str, kept: &BTreeMap<String, Value>) {
    let path = root.kept(run);
    if let (Ok(()), Ok(bytes)) = (root.make_parent(&path), serde_json::to_vec(kept)) {
        let _ = file::replace(&path, &bytes, Durability::Cache);
    }
}

pub(super) fn forget_kept(root: &StateRoot, run: &str) {
    let _ = std::fs::remove_file(root.kept(run));
}

fn read_kept(root: &StateRoot, run: &str) -> BTreeMap<String, Value> {
    let path = root.kept(run);
    let text = layout::check_owner(&path).and_then(|()| file::read(&path)).ok().flatten();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

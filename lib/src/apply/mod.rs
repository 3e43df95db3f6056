//! Applying a desired state. [`StateManager::apply_state`] reads as the whole story: lock, query, diff, plan, compare,
//! validate, confirm, checkpoint, act, verify, undo on failure, record.
//!
//! Never prints and never asks by itself: [`Confirm`] and [`Witness`] are given by the caller.

pub mod cached;
pub mod checkpoints;
pub mod confirmation;
mod ledger;
mod mismatch;
mod planning;
pub mod query;
pub mod record;
pub mod report;
mod rollback;
pub mod scenarios;
mod secrets;
pub mod select;
pub mod timings;
mod undo;
pub mod watch;

pub use report::{ActionResult, Applied, Report, RunOutcome};

use crate::base::{Error, Kind, Progress, Result, time};
use crate::bus::{Bus, Consent};
use crate::plugin::{Catalog, StatePlugin};
use crate::state::{Action, Change, Plan, StateDocument, UndoClass};
use crate::store::{Lock, StateRoot};
use ledger::Ledger;
use mismatch::mismatch;
use planning::Planned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use undo::Begun;

/// Asks for agreement to the exact calls.
pub trait Confirm {
    /// Shows `text` and asks; an error of the kind [`Kind::Refused`] is a no.
    fn confirm(&mut self, text: &str) -> Result<()>;
}

/// Hears of each action as it ends.
pub trait Witness {
    /// `lines` say what was done, or what failed.
    fn action_ended(&mut self, is_done: bool, lines: &[String]);

    /// Hears what is going to be done, before anybody is asked.
    fn planned(&mut self, plan: &Plan);
}

/// What is wanted: a state, or a plan made before.
#[derive(Debug, Clone)]
pub enum Desired {
    /// Plan it now.
    State(StateDocument),
    /// Do exactly this or refuse.
    Plan(Box<Plan>),
    /// Go back to before the run of this name; `last` is the newest that was not rolled back.
    Rollback(String),
}

/// What a plan is computed from.
enum Goal {
    State(StateDocument),
    Rollback(rollback::Target),
}

/// How to apply.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// On whose behalf items are added and removed.
    pub owner: Option<String>,
    /// Remove what is not listed, if exactly so many items go.
    pub prune: Option<usize>,
    /// Whether changes that cannot be undone are agreed to.
    pub allows_irreversible: bool,
    /// How long to wait for another run.
    pub lock_timeout: Duration,
}

/// Applies desired states on one bus.
pub struct StateManager<'a> {
    /// The bus.
    pub bus: &'a Bus,
    /// The plugins there are.
    pub catalog: &'a Catalog,
    /// Where the lock, the ledger and checkpoints lie.
    pub root: &'a StateRoot,
    /// Where what is read after a change is kept, if anywhere.
    pub cache: Option<cached::Cache>,
    /// Hears how far long steps are.
    pub progress: &'a mut dyn Progress,
    /// Counts the times a person asked to stop.
    pub interrupts: Arc<AtomicUsize>,
}

impl StateManager<'_> {
    /// Brings the machine to `desired`, or leaves it as it was.
    ///
    /// Fails before anything is changed with an error; from the first call on, the outcome is in the report.
    pub fn apply_state(
        &mut self,
        desired: Desired,
        options: &Options,
        confirm: &mut dyn Confirm,
        witness: &mut dyn Witness,
    ) -> Result<Applied> {
        if let Some(recording) = self.bus.replayed() {
            return Err(Error::refused("a recording only repeats what was: nothing can be changed on it")
                .on(recording.service.clone())
                .hint("--dry-run shows the plan; to make the changes, leave --address replay:... out"));
        }
        self.bus.stop_when(Arc::clone(&self.interrupts));
        let _lock = self.lock(options.lock_timeout)?;
        let (given, goal, options) = self.unpack(desired, options)?;
        let planned = self.compute_goal(&goal, &options)?;
        let plan = &planned.plan;
        if let Some(given) = &given {
            given.check_fresh(plan)?;
        }
        witness.planned(plan);
        if plan.is_empty() {
            return Ok(Applied { report: Report::new("", &[]), error: None });
        }
        self.validate(&planned.plugins, plan, &options)?;
        if plan.actions.iter().any(|action| action.requires_confirmation) {
            confirm.confirm(&confirmation::text(plan))?;
        }
        let run = checkpoints::new_run(self.root, plan)?;
        let rolls_back = if let Goal::Rollback(target) = &goal { target.runs.clone() } else { Vec::new() };
        checkpoints::write(self.root, &checkpoint(&run, &planned, rolls_back))?;
        let mut report = Report::new(&run, &plan.actions);
        // From here on a wish to stop is heard between steps, not while waiting for one.
        self.bus.stop_when(Arc::default());
        let consent = Consent::was_given();
        let (begun, error) = self.act(&consent, &planned.plugins, plan, &mut report, witness);
        let error = error.or_else(|| self.verify(&planned.plugins, &plan.actions, &mut report));
        let error = error.or_else(|| self.let_go(&consent, &planned.plugins, &begun));
        // What nobody would remember having added must not stay either.
        let error = error.or_else(|| self.record(plan, &|_| true).err());
        if error.is_some() {
            self.undo(&consent, &planned, &begun, &mut report);
            self.own_what_remains(&planned, &mut report);
        }
        report.outcome = match (&error, report.residue.is_empty()) {
            (None, _) => RunOutcome::Applied,
            (Some(_), true) => RunOutcome::Undone,
            (Some(_), false) => RunOutcome::Residue,
        };
        if report.outcome == RunOutcome::Undone {
            checkpoints::remove(self.root, &run);
        }
        let error = error.map(|error| final_error(error, &report));
        Ok(Applied { report, error })
    }

    /// The plan for `desired`, without changing anything.
    pub fn plan(&mut self, desired: Desired, options: &Options) -> Result<Plan> {
        self.bus.stop_when(Arc::clone(&self.interrupts));
        let (given, goal, options) = self.unpack(desired, options)?;
        let planned = self.compute_goal(&goal, &options)?;
        if let Some(given) = given {
            given.check_fresh(&planned.plan)?;
        }
        Ok(planned.plan)
    }

    fn unpack(&self, desired: Desired, options: &Options) -> Result<(Option<Plan>, Goal, Options)> {
        match desired {
            Desired::State(document) => Ok((None, Goal::State(document), options.clone())),
            Desired::Rollback(id) => Ok((None, Goal::Rollback(rollback::target(self.root, &id)?), options.clone())),
            Desired::Plan(plan) => {
                let goal = match rollback::run_of(&plan.desired) {
                    Some(run) => Goal::Rollback(rollback::target(self.root, &run)?),
                    None => Goal::State(StateDocument::from_json(&plan.desired)?),
                };
                let of_plan = Options { owner: plan.owner.clone(), prune: plan.prune, ..options.clone() };
                Ok((Some(*plan), goal, of_plan))
            }
        }
    }

    fn compute_goal(&mut self, goal: &Goal, options: &Options) -> Result<Planned> {
        match goal {
            Goal::State(document) => self.compute(document, options),
            Goal::Rollback(target) => self.compute_rollback(target),
        }
    }

    fn lock(&mut self, timeout: Duration) -> Result<Lock> {
        let path = self.root.lock();
        self.root.make_parent(&path)?;
        let interrupts = &self.interrupts;
        let is_interrupted = || interrupts.load(Ordering::Relaxed) > 0;
        Lock::take(&path, timeout, &mut |text| self.progress.say(text, None), &is_interrupted)
    }

    /// Everything that can be refused is refused before the first call: checks, and what cannot be undone.
    fn validate(&self, plugins: &Plugins, plan: &Plan, options: &Options) -> Result<()> {
        let mut errors = Vec::new();
        for action in &plan.actions {
            if action.undo.class == UndoClass::Irreversible && !options.allows_irreversible {
                errors.push(
                    Error::refused(format!("{:?} cannot be undone", action.title))
                        .on(action.resources.join(", "))
                        .hint("say --allow-irreversible to do it all the same"),
                );
            }
            if let Some(Err(error)) =
                plugins.get(&action.plugin).map(|plugin| plugin.check_among(self.bus, action, &plan.actions))
            {
                errors.push(error);
            }
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    /// Makes the calls in order until one fails or a person asks to stop.
    fn act(
        &mut self,
        consent: &Consent,
        plugins: &Plugins,
        plan: &Plan,
        report: &mut Report,
        witness: &mut dyn Witness,
    ) -> (Begun, Option<Error>) {
        let mut begun = Begun { done: Vec::new(), failed: None, kept: BTreeMap::new() };
        for (position, action) in plan.actions.iter().enumerate() {
            if self.is_interrupted() {
                return (begun, Some(Error::failed("interrupted").on(format!("before {:?}", action.title))));
            }
            let Some(plugin) = plugins.get(&action.plugin) else { continue };
            if plan.checkpoints.contains_key(&action.plugin) && !begun.kept.contains_key(&action.plugin) {
                match self.bus.acting(consent, || plugin.keep(self.bus)) {
                    Ok(checkpoint) => begun.kept.extend(checkpoint.map(|kept| (action.plugin.clone(), kept))),
                    Err(error) => {
                        let what = format!("{} could not keep its state, so it is not changed", action.plugin);
                        return (begun, Some(Error { message: format!("{what}: {}", error.message), ..error }));
                    }
                }
            }
            self.progress.say(&action.title, None);
            let started = Instant::now();
            let outcome = self.bus.acting(consent, || plugin.perform(self.bus, action, self.progress));
            let entry = &mut report.actions[position];
            entry.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match outcome {
                Ok(()) => {
                    entry.result = ActionResult::Done;
                    let title = std::slice::from_ref(&action.title);
                    witness.action_ended(true, if action.done.is_empty() { title } else { &action.done });
                    begun.done.push(position);
                }
                Err(failure) => {
                    entry.result = ActionResult::Failed;
                    entry.error = Some(failure.error.message.clone());
                    witness.action_ended(false, &[format!("{}: {}", action.title, failure.error.message)]);
                    begun.failed = Some((position, failure.touched));
                    return (begun, Some(failure.error.or_on(action.resources.join(", "))));
                }
            }
        }
        // Who asks to stop during the last step wants what was done to be taken back as well.
        let error = self.is_interrupted().then(|| Error::failed("interrupted").on("after the last step"));
        (begun, error)
    }

    /// Lets the services' own checkpoints go: from here on nothing goes back by itself.
    fn let_go(&mut self, consent: &Consent, plugins: &Plugins, begun: &Begun) -> Option<Error> {
        let end = |(name, checkpoint): (&String, &Value)| {
            let plugin = plugins.get(name)?;
            self.bus.acting(consent, || plugin.end(self.bus, checkpoint, true)).err()
        };
        Error::all(begun.kept.iter().filter_map(end).collect())
    }

    /// Reads again: what a service said it did counts only when it shows.
    fn verify(&mut self, plugins: &Plugins, actions: &[Action], report: &mut Report) -> Option<Error> {
        let mut errors = Vec::new();
        for (position, action) in actions.iter().enumerate() {
            let Some(plugin) = plugins.get(&action.plugin) else { continue };
            for change in self.not_holding(plugin.as_ref(), &action.changes) {
                let resource = change.resource();
                let want = crate::plugin::Want::of_changes([&change]);
                let now = plugin.query(self.bus, &want, self.progress).values.remove(&resource.key);
                let error = mismatch(&change, now.as_ref());
                report.actions[position].result = ActionResult::Failed;
                report.actions[position].error = Some(error.message.clone());
                errors.push(error);
            }
        }
        Error::all(errors)
    }

    /// What was added, is there, and could not be taken back is ours all the same: leaving it out later removes it.
    fn own_what_remains(&mut self, planned: &Planned, report: &mut Report) {
        let mut kept: Vec<Change> = Vec::new();
        for action in &planned.plan.actions {
            let Some(plugin) = planned.plugins.get(&action.plugin) else { continue };
            let remains = |change: &&Change| report.residue.iter().any(|r| r.resource == change.resource().to_string());
            let adds = action.changes.iter().filter(|change| change.brings_item()).filter(remains);
            let adds: Vec<Change> = adds.cloned().collect();
            let absent = if adds.is_empty() { Vec::new() } else { self.not_holding(plugin.as_ref(), &adds) };
            kept.extend(adds.into_iter().filter(|change| !absent.contains(change)));
        }
        if let Err(error) = self.record(&planned.plan, &|change| kept.contains(change)) {
            report.residue.push(report::Residue { resource: "ownership".into(), message: error.message });
        }
    }

    /// Notes in the ledger those changes of `plan` that count.
    fn record(&self, plan: &Plan, counts: &dyn Fn(&Change) -> bool) -> Result<()> {
        let changes = plan.actions.iter().flat_map(|action| &action.changes).filter(|change| counts(change));
        let changes: Vec<Change> =
            changes.filter(|change| change.brings_item() || change.takes_item()).cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let mut ledger = Ledger::read(self.root)?;
        ledger.note(plan.owner.as_deref().unwrap_or_default(), &changes);
        ledger.write(self.root)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_interrupted_twice(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 1
    }
}

/// The plugins of a run, by name.
type Plugins = BTreeMap<String, Box<dyn StatePlugin>>;

/// The error of a run that failed after it began: its exit code says whether anything remains.
fn final_error(mut error: Error, report: &Report) -> Error {
    if report.residue.is_empty() {
        // Whatever the cause was, the machine is as it was. Where nothing had to be undone, the cause is the whole story.
        let has_undone = report.actions.iter().any(|action| action.result == ActionResult::Undone);
        if has_undone {
            error.kind = Kind::Failed;
        }
        let end = if has_undone { "everything that was done was undone" } else { "nothing was changed" };
        error.message = format!("{} ({end})", error.message);
        return error;
    }
    let list = report.residue.iter().map(|r| format!("{}: {}", r.resource, r.message)).collect::<Vec<_>>().join("; ");
    error.kind = Kind::Residue;
    error.message = format!("{}; not everything could be undone: {list}", error.message);
    error.hint("look at what remains by hand; the checkpoint of the run says what was there before")
}

/// Names a run: its time, and what it does.
/// What is kept before a run: the values it is to change. Of sets and collections, only what changes in them.
fn checkpoint(run: &str, planned: &Planned, rolls_back: Vec<String>) -> checkpoints::Checkpoint {
    let changes = planned.plan.actions.iter().flat_map(|action| &action.changes);
    let before = changes.filter_map(|change| {
        let resource = change.resource();
        let value = planned.current.get(&resource.plugin)?.get(&resource.key)?;
        Some((resource.to_string(), if resource.item.is_some() { change.before() } else { value.clone() }))
    });
    let came_along = planned.plan.actions.iter().flat_map(|action| undo::announced(action, &planned.current));
    checkpoints::Checkpoint {
        kind: "checkpoint".into(),
        version: 1,
        run: run.to_owned(),
        time: time::rfc3339(SystemTime::now()),
        rolls_back,
        before: before.chain(came_along).collect(),
        plan: planned.plan.clone(),
    }
}

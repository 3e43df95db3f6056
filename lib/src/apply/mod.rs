//! Applying a desired state. [`StateManager::apply_state`] reads as the whole story: lock, query, diff, plan, compare,
//! validate, confirm, record the intent, checkpoint, act, verify, undo on failure, record the outcome.
//!
//! Never prints and never asks by itself: [`Confirm`] and [`Witness`] are given by the caller.

mod acting;
pub mod cached;
pub mod checkpoints;
pub mod confirmation;
mod ledger;
mod mismatch;
mod order;
pub mod pending;
mod planning;
pub mod query;
pub mod record;
pub mod recover;
pub mod report;
mod rollback;
pub mod scenarios;
mod secrets;
pub mod select;
pub mod step;
pub mod timings;
mod trail;
mod undo;
mod vault;
pub mod watch;

pub use report::{ActionResult, Applied, Report, RunOutcome};
pub use trail::Trail;

use crate::base::{Error, Kind, Progress, Result, time};
use crate::bus::{Bus, Consent};
use crate::plugin::{Catalog, StatePlugin};
use crate::state::{Plan, StateDocument, UndoClass};
use crate::store::{Lock, StateRoot};
use pending::Pending;
use planning::Planned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use step::Step;

/// Asks for agreement to the exact calls.
pub trait Confirm {
    /// Shows `text` and asks; an error of the kind [`Kind::Refused`] is a no.
    fn confirm(&mut self, text: &dyn Fn() -> String) -> Result<()>;

    /// Shows `text` and asks for `number` to be typed: nobody agrees to removals by habit.
    fn confirm_number(&mut self, text: &dyn Fn() -> String, number: usize) -> Result<()>;
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
    /// Whether only to look: then not even the cache is written.
    pub is_check: bool,
    /// How long to wait for another run.
    pub lock_timeout: Duration,
    /// Whether what was done goes back by itself unless somebody confirms it, and after how long.
    pub confirm_within: Option<pending::Window>,
}

/// Applies desired states on one bus.
pub struct StateManager<'a> {
    /// The bus.
    pub bus: &'a Bus,
    /// The plugins there are.
    pub catalog: &'a Catalog,
    /// Where the lock, the ledger and checkpoints lie.
    pub root: &'a StateRoot,
    /// Where runs are recorded.
    pub trail: Trail,
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
        self.step(Step::Parse);
        let (given, goal, options) = self.unpack(desired, options)?;
        let planned = self.compute_goal(&goal, &options).inspect_err(|error| self.trail.refusal(None, error))?;
        let plan = &planned.plan;
        witness.planned(plan);
        if !plan.is_empty() {
            self.step(Step::Vectorize);
        }
        let intentions = trail::intentions(plan);
        let mut asking = self.trail.ask_for_vectors(&intentions);
        let fresh = given.as_ref().map_or(Ok(()), |given| given.check_fresh(plan));
        let agreed = fresh.and_then(|()| self.agree(&planned, &options, confirm));
        agreed.inspect_err(|error| self.trail.refusal(Some(plan), error))?;
        if plan.is_empty() {
            return Ok(Applied { report: Report::new("", &[]), error: None });
        }
        self.check_free(plan)?;
        let run = checkpoints::new_run(self.root, plan)?;
        let intent = self.trail.intent(&run, plan, intentions, &self.versions(plan))?;
        let mut report = Report::new(&run, &plan.actions);
        let window = options.confirm_within.as_ref();
        let prepared = self.prepare(&run, &goal, &planned, window);
        let waiting = prepared.or_else(|error| self.not_begun(&run, plan, error))?;
        // From here on a wish to stop is heard between steps, not while waiting for one.
        self.bus.stop_when(Arc::default());
        let consent = Consent::was_given();
        self.step(Step::Apply);
        let (begun, error) = self.act(&consent, &planned.plugins, plan, &mut report, witness);
        self.step(Step::Cache);
        let error = error.or_else(|| self.verify(&goal, &options, &planned, &mut report));
        let error = error.or_else(|| waiting.as_ref().and_then(too_late));
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
        match report.outcome {
            RunOutcome::Undone => checkpoints::remove(self.root, &run),
            RunOutcome::Applied if matches!(goal, Goal::Rollback(_)) => checkpoints::complete(self.root, &run),
            _ => {}
        }
        recover::forget_kept(self.root, &run);
        let error = error.map(|error| final_error(error, &report));
        report.confirm_by = waiting.as_ref().filter(|_| error.is_none()).map(|waiting| waiting.deadline.clone());
        self.step(Step::Append);
        report.embeddings = asking.counts();
        let recorded = self.trail.outcome(&report, plan, error.as_ref());
        let (outcome, lost) = recorded.map_or_else(|error| (None, Some(error)), |block| (Some(block), None));
        let error = lost.or(error);
        self.trail.keep_vectors(&asking, &[Some(intent), outcome].into_iter().flatten().collect::<Vec<_>>());
        if error.is_some() {
            self.stop_waiting(waiting.as_ref(), window);
        }
        Ok(Applied { report, error })
    }

    fn step(&mut self, step: Step) {
        self.progress.step(&step.label());
    }

    /// Nothing else that changes the same plugins is under way.
    fn check_free(&self, plan: &Plan) -> Result<()> {
        let waiting = pending::all(self.root)?;
        let plugins = |run: String| {
            let checkpoint = checkpoints::find(self.root, &run).ok().flatten();
            let plugins = checkpoint
                .map(|checkpoint| checkpoint.plan.into_owned().actions.into_iter().map(|action| action.plugin));
            (run, plugins.into_iter().flatten().collect())
        };
        let broken_off: Vec<(String, Vec<String>)> = self.trail.open_runs()?.into_iter().map(plugins).collect();
        pending::check_free(plan, &waiting, &broken_off)
    }

    /// What is there before the first call: the checkpoint, and what takes the run back if nobody confirms it.
    fn prepare(
        &self,
        run: &str,
        goal: &Goal,
        planned: &Planned,
        window: Option<&pending::Window>,
    ) -> Result<Option<Pending>> {
        let rolls_back = if let Goal::Rollback(target) = goal { target.runs.clone() } else { Vec::new() };
        checkpoints::write(self.root, &checkpoint(run, planned, rolls_back))?;
        let Some(window) = window else { return Ok(None) };
        let mut waiting = Pending::new(run, &planned.plan, window);
        // First the file, then the timer: what finds no file takes nothing back.
        waiting.write(self.root)?;
        waiting.timer = Some(window.timer.arm(run, window.length)?);
        waiting.write(self.root)?;
        Ok(Some(waiting))
    }

    /// Ends a run that made no call.
    fn not_begun(&self, run: &str, plan: &Plan, error: Error) -> Result<Option<Pending>> {
        checkpoints::remove(self.root, run);
        let _ = pending::remove(self.root, run);
        let mut report = Report::new(run, &plan.actions);
        report.outcome = RunOutcome::Undone;
        Err(self.trail.outcome(&report, plan, Some(&error)).err().unwrap_or(error))
    }

    fn stop_waiting(&self, waiting: Option<&Pending>, window: Option<&pending::Window>) {
        let Some(waiting) = waiting else { return };
        let _ = pending::remove(self.root, &waiting.run);
        if let (Some(window), Some(armed)) = (window, &waiting.timer) {
            window.timer.disarm(armed);
        }
    }

    /// The versions of the plugins that a plan speaks of.
    fn versions(&self, plan: &Plan) -> BTreeMap<String, String> {
        let names = plan.actions.iter().map(|action| &action.plugin);
        let version = |name: &String| {
            let entry = self.catalog.entry(name).ok()?;
            Some((name.clone(), entry.manifest.plugin.version.to_string()))
        };
        names.filter_map(version).collect()
    }

    /// Everything that stands between a plan and its first call: the checks, and a person's word.
    fn agree(&self, planned: &Planned, options: &Options, confirm: &mut dyn Confirm) -> Result<()> {
        self.validate(&planned.plugins, &planned.plan, options)?;
        let text = || confirmation::text(&planned.plan);
        match options.prune {
            Some(number) if !planned.plan.is_empty() => confirm.confirm_number(&text, number),
            _ if planned.plan.actions.iter().any(|action| action.requires_confirmation) => confirm.confirm(&text),
            _ => Ok(()),
        }
    }

    /// The plan for `desired`, without changing anything.
    pub fn plan(&mut self, desired: Desired, options: &Options) -> Result<Plan> {
        self.bus.stop_when(Arc::clone(&self.interrupts));
        self.step(Step::Parse);
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
            errors.extend(vault::missing(action, self.bus));
            let checked = plugins.get(&action.plugin).map(|plugin| plugin.check_among(self.bus, action, &plan.actions));
            if let Some(Err(error)) = checked {
                errors.push(error);
            }
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_interrupted_twice(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 1
    }
}

/// The plugins of a run, by name.
type Plugins = BTreeMap<String, Box<dyn StatePlugin>>;

/// An error when nobody could confirm in time any more.
fn too_late(waiting: &Pending) -> Option<Error> {
    waiting.remaining().is_zero().then(|| {
        Error::failed("the time to confirm was over before everything was done")
            .on(waiting.run.clone())
            .hint("allow more time with --confirm-within")
    })
}

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

/// What is kept before a run: the values it is to change. Of sets and collections, only what changes in them.
fn checkpoint<'a>(run: &str, planned: &'a Planned, rolls_back: Vec<String>) -> checkpoints::Checkpoint<'a> {
    let changes = planned.plan.actions.iter().flat_map(|action| &action.changes);
    let before = changes.filter_map(|change| {
        let resource = change.resource();
        let value = planned.current.get(&resource.plugin)?.get(&resource.key)?;
        Some((resource.to_string(), if resource.item.is_some() { change.before().into_owned() } else { value.clone() }))
    });
    let came_along = planned.plan.actions.iter().flat_map(|action| undo::announced(action, &planned.current));
    checkpoints::Checkpoint {
        kind: "checkpoint".into(),
        version: 1,
        run: run.to_owned(),
        time: time::rfc3339(SystemTime::now()),
        // Until it has ended well: a rollback that is broken off can be tried again.
        is_partial: !rolls_back.is_empty(),
        rolls_back,
        before: before.chain(came_along).collect(),
        plan: Cow::Borrowed(&planned.plan),
    }
}

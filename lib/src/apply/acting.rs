//! Acting: the calls in order, what is read afterwards, and whose it is then.

use super::ledger::Ledger;
use super::mismatch::{disturbed, mismatch};
use super::planning::Planned;
use super::recover;
use super::report::{self, ActionResult, Report};
use super::undo::{Begun, settle, waits};
use super::{Goal, Options, Plugins, StateManager, Witness, vault};
use crate::base::{Error, Result};
use crate::bus::Consent;
use crate::plugin::Failure;
use crate::state::{Action, Change, Plan};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Instant;

impl StateManager<'_> {
    /// Makes the calls in order until one fails or a person asks to stop.
    pub(super) fn act(
        &mut self,
        consent: &Consent,
        plugins: &Plugins,
        plan: &Plan,
        report: &mut Report,
        witness: &mut dyn Witness,
    ) -> (Begun, Option<Error>) {
        let mut begun = Begun { done: Vec::new(), failed: None, kept: BTreeMap::new(), is_guess: false };
        for (position, action) in plan.actions.iter().enumerate() {
            if self.is_interrupted() {
                return (begun, Some(Error::failed("interrupted").on(format!("before {:?}", action.title))));
            }
            let Some(plugin) = plugins.get(&action.plugin) else { continue };
            if plan.checkpoints.contains_key(&action.plugin) && !begun.kept.contains_key(&action.plugin) {
                match self.bus.acting(consent, || plugin.keep(self.bus)) {
                    Ok(checkpoint) => {
                        begun.kept.extend(checkpoint.map(|kept| (action.plugin.clone(), kept)));
                        recover::note_kept(self.root, &report.run, &begun.kept);
                    }
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
                    // What was written and not noted is written once more: no reason to take anything back.
                    let _ = self.note_secrets(&action.changes);
                    let entry = &mut report.actions[position];
                    entry.result = ActionResult::Done;
                    let title = std::slice::from_ref(&action.title);
                    witness.action_ended(true, if action.done.is_empty() { title } else { &action.done });
                    begun.done.push(position);
                }
                Err(failure) => {
                    let failure = Failure { error: vault::concealed(action, failure.error), ..failure };
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
    pub(super) fn let_go(&mut self, consent: &Consent, plugins: &Plugins, begun: &Begun) -> Option<Error> {
        let end = |(name, checkpoint): (&String, &Value)| {
            let plugin = plugins.get(name)?;
            self.bus.acting(consent, || plugin.end(self.bus, checkpoint, true)).err()
        };
        Error::all(begun.kept.iter().filter_map(end).collect())
    }

    /// Reads again: what a service said it did counts only when it shows, and only if all else holds that is wanted.
    pub(super) fn verify(
        &mut self,
        goal: &Goal,
        options: &Options,
        planned: &Planned,
        report: &mut Report,
    ) -> Option<Error> {
        // As a rule one look shows both: nothing is left to be done, and every change is there.
        if let Goal::State(document) = goal
            && let Ok(found) = self.differences(document, options, &planned.plugins)
            && found.is_nothing_but(&|change| follows(planned, change))
            && planned.plan.actions.iter().all(|action| holds(planned, action, &found.current))
        {
            return None;
        }
        self.verify_actions(&planned.plugins, &planned.plan.actions, report)
            .or_else(|| self.verify_goal(goal, options, planned))
    }

    /// What was wanted and had not to be changed may have been changed by a call that was made for something else.
    fn verify_goal(&mut self, goal: &Goal, options: &Options, planned: &Planned) -> Option<Error> {
        let changes: Vec<Change> = planned.plan.actions.iter().flat_map(|action| action.changes.clone()).collect();
        let longest = planned.plugins.values().map(|plugin| settle(plugin.as_ref(), &changes)).max();
        let mut left = Vec::new();
        for wait in waits(longest.unwrap_or_default()) {
            std::thread::sleep(wait);
            left = match goal {
                Goal::State(document) => match self.differences(document, options, &planned.plugins) {
                    Ok(found) => {
                        let changes = found.changes.values().flatten().filter(|change| !follows(planned, change));
                        let changes = changes.map(disturbed);
                        changes.chain(found.errors).collect()
                    }
                    Err(error) => vec![error],
                },
                Goal::Rollback(target) => self.not_back(target, &planned.plugins).iter().map(disturbed).collect(),
            };
            if left.is_empty() {
                return None;
            }
        }
        Error::all(left)
    }

    fn verify_actions(&mut self, plugins: &Plugins, actions: &[Action], report: &mut Report) -> Option<Error> {
        let mut errors = Vec::new();
        for (position, action) in actions.iter().enumerate() {
            let Some(plugin) = plugins.get(&action.plugin) else { continue };
            for change in self.not_holding(plugin.as_ref(), &action.changes) {
                let resource = change.resource();
                let want = crate::plugin::Want::of_changes([&change]);
                let now = self.read(plugin.as_ref(), &want).ok().and_then(|mut now| now.values.remove(&resource.key));
                let error = mismatch(&change, now.as_ref());
                report.actions[position].result = ActionResult::Failed;
                report.actions[position].error = Some(error.message.clone());
                errors.push(error);
            }
        }
        Error::all(errors)
    }

    /// What was added, is there, and could not be taken back is ours all the same: leaving it out later removes it.
    pub(super) fn own_what_remains(&mut self, planned: &Planned, report: &mut Report) {
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
    pub(super) fn record(&self, plan: &Plan, counts: &dyn Fn(&Change) -> bool) -> Result<()> {
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
}

/// Whether a difference is one for the next run.
fn follows(planned: &Planned, change: &Change) -> bool {
    let name = change.resource().plugin;
    let before = planned.current.get(&name);
    planned.plugins.get(&name).zip(before).is_some_and(|(plugin, before)| plugin.follows(change, before))
}

/// Whether all changes of an action show in what was read.
fn holds(planned: &Planned, action: &Action, current: &BTreeMap<String, Map<String, Value>>) -> bool {
    let (Some(plugin), Some(now)) = (planned.plugins.get(&action.plugin), current.get(&action.plugin)) else {
        return false;
    };
    let shows = |change: &Change| {
        let spec = plugin.keys().get(&change.resource().key);
        spec.is_some_and(|spec| change.holds_in(now, spec) == Some(true))
    };
    action.changes.iter().all(shows)
}

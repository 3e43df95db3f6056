//! Taking back what a failed run did: the reverse of each change, newest first, planned and made by the same code as
//! the changes themselves, then read again. What cannot be proven to be as it was is residue.

use super::planning::Planned;
use super::report::{ActionResult, Report, Residue};
use super::{StateManager, vault};
use crate::base::Error;
use crate::bus::Consent;
use crate::plugin::{StatePlugin, Touched, Want};
use crate::state::document::items_of;
use crate::state::{Action, Change, UndoClass};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What acting left behind: which actions were begun, and how sure it is that a failed one changed nothing.
pub struct Begun {
    /// Positions of actions that were made, in order.
    pub done: Vec<usize>,
    /// By plugin, the checkpoint that its service keeps itself.
    pub kept: BTreeMap<String, Value>,
    /// The action that failed, and what is known about it.
    pub failed: Option<(usize, Touched)>,
    /// Whether nobody knows which of the actions were made: then only what shows is taken back.
    pub is_guess: bool,
}

/// What is known of an action that is to be undone.
struct Trace {
    touched: Touched,
    /// Whether it failed, so that it was perhaps not made at all.
    was_begun_only: bool,
    /// Whether it may have changed something although all reads as before.
    may_hide: bool,
}

impl StateManager<'_> {
    /// Undoes what was begun and lists what remains in `report`.
    pub(super) fn undo(&mut self, consent: &Consent, planned: &Planned, begun: &Begun, report: &mut Report) {
        // The service's own way back comes first; what it did not take back is undone like everything else.
        for (name, checkpoint) in &begun.kept {
            if let Some(plugin) = planned.plugins.get(name) {
                let _ = self.bus.acting(consent, || plugin.end(self.bus, checkpoint, false));
            }
        }
        let failed = begun.failed.iter().map(|(position, touched)| (*position, *touched));
        let done = begun.done.iter().rev().map(|position| (*position, Touched::Surely));
        for (position, touched) in failed.chain(done) {
            if touched == Touched::No {
                continue;
            }
            let action = &planned.plan.actions[position];
            if self.is_interrupted_twice() {
                remains(report, action, "the undo was interrupted before it came to this");
                continue;
            }
            let Some(plugin) = planned.plugins.get(&action.plugin) else { continue };
            let was_begun_only = begun.failed.is_some_and(|(failed, _)| failed == position);
            let is_unseen = !was_begun_only && report.actions[position].error.is_some();
            let trace = Trace {
                touched,
                was_begun_only,
                may_hide: !begun.is_guess && (is_unseen || !begun.kept.contains_key(&action.plugin)),
            };
            let (has_reversed, residue) = self.undo_action(consent, plugin.as_ref(), action, &planned.current, trace);
            // A failed action that turned out to have changed nothing stays a failed one.
            if residue.is_empty() && (has_reversed || !was_begun_only) {
                report.actions[position].result = ActionResult::Undone;
            }
            report.residue.extend(residue);
        }
    }

    /// Whether anything had to be taken back, and what remains.
    fn undo_action(
        &mut self,
        consent: &Consent,
        plugin: &dyn StatePlugin,
        action: &Action,
        before: &BTreeMap<String, Map<String, Value>>,
        Trace { touched, was_begun_only, may_hide }: Trace,
    ) -> (bool, Vec<Residue>) {
        if action.changes.is_empty() {
            return (false, Vec::new());
        }
        if touched == Touched::Perhaps {
            // What came of it may take as long to show as a success.
            std::thread::sleep(settle(plugin, &action.changes));
        }
        let now = match self.read(plugin, &Want::of_changes(&action.changes)) {
            Ok(now) => now,
            Err(error) => return (false, action.resources.iter().map(|r| residue_of(r, &error.message)).collect()),
        };
        let empty = Map::new();
        let before = before.get(&action.plugin).unwrap_or(&empty);
        let mut residue = Vec::new();
        let (mut reverse, mut unseen): (Vec<Change>, Vec<Change>) = Default::default();
        for change in action.changes.iter().map(Change::reverse) {
            let resource = change.resource();
            let Some(spec) = plugin.keys().get(&resource.key) else { continue };
            match change.holds_in(&now.values, spec) {
                None => {
                    let why = now.problems.first().map_or_else(String::new, |problem| format!(": {}", problem.message));
                    residue.push(residue_of(&resource.to_string(), &format!("it cannot be read any more{why}")));
                }
                // It reads as before. After a call that was seen changing things and then broke off, reading is no
                // proof: a half-installed package, say, is neither installed nor untouched.
                Some(true) if touched == Touched::Surely && was_begun_only => residue.push(residue_of(
                    &resource.to_string(),
                    "the service had begun to change it when it failed; it may be half done",
                )),
                // The service said that it did it. What does not show, or not yet, is taken back all the same.
                Some(true)
                    if touched == Touched::Surely && may_hide && action.undo.class != UndoClass::Irreversible =>
                {
                    unseen.push(change);
                }
                Some(true) => {}
                Some(false) if action.undo.class == UndoClass::Irreversible => {
                    residue.push(residue_of(&resource.to_string(), "it was changed, and this cannot be undone"));
                }
                Some(false) => reverse.push(change),
            }
        }
        reverse.extend(side_effects(action, before, &now.values));
        let made = if reverse.is_empty() { Ok(()) } else { self.make(consent, plugin, &reverse, &now.values) };
        // What counts is what reads as before, whatever the service said about the calls.
        for change in self.not_holding(plugin, &reverse) {
            let message = match &made {
                Ok(()) => "it was undone, but does not read as before".to_owned(),
                Err(error) => format!("it could not be undone: {}", error.message),
            };
            residue.push(residue_of(&change.resource().to_string(), &message));
        }
        for change in unseen {
            let made = self.make(consent, plugin, std::slice::from_ref(&change), &now.values);
            // Whether an item is there is seen; what else a call did may not be.
            if let (Err(error), false) = (made, change.brings_item() || change.takes_item()) {
                let message = format!(
                    "the service accepted the call, shows nothing of it, and did not take it back: {}",
                    error.message
                );
                residue.push(residue_of(&change.resource().to_string(), &message));
            }
        }
        (!reverse.is_empty(), residue)
    }

    /// Plans and makes `changes` without asking: consent to an apply is consent to its undo, which was shown.
    fn make(
        &mut self,
        consent: &Consent,
        plugin: &dyn StatePlugin,
        changes: &[Change],
        current: &Map<String, Value>,
    ) -> Result<(), Error> {
        let actions = plugin.plan_back(self.bus, changes, current, self.progress)?;
        for action in &actions {
            let outcome = self.bus.acting(consent, || plugin.perform(self.bus, action, self.progress));
            outcome.map_err(|failure| vault::concealed(action, failure.error))?;
            let _ = self.note_secrets(&action.changes);
        }
        Ok(())
    }

    /// The changes that reading again does not show, after bounded retries: some services settle late.
    pub(super) fn not_holding(&mut self, plugin: &dyn StatePlugin, changes: &[Change]) -> Vec<Change> {
        let mut left: Vec<Change> = changes.to_vec();
        for wait in waits(settle(plugin, changes)) {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(wait);
            let want = Want::of_changes(&left);
            let Ok(now) = self.read_again(plugin, &want) else { break };
            left.retain(|change| {
                let spec = plugin.keys().get(&change.resource().key);
                spec.is_none_or(|spec| change.holds_in(&now.values, spec) != Some(true))
            });
        }
        left
    }
}

/// How long to wait before each time of reading again: some services settle late.
pub fn waits(longest: Duration) -> impl Iterator<Item = Duration> {
    let started = Instant::now();
    let usual = [0, 20, 50, 100, 200, 400, 800].map(Duration::from_millis);
    let more = std::iter::repeat(Duration::from_secs(1)).take_while(move |_| started.elapsed() < longest);
    usual.into_iter().chain(more)
}

/// How long the service may take to show these changes, beyond what is usual.
pub fn settle(plugin: &dyn StatePlugin, changes: &[Change]) -> Duration {
    let of_change = |change: &Change| plugin.keys().get(change.key()).map_or(Duration::ZERO, |spec| spec.settle);
    changes.iter().map(of_change).max().unwrap_or_default()
}

/// Items that joined a set together with those asked for, as the service's preview had announced: its dependencies.
fn side_effects(action: &Action, before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<Change> {
    let Some(preview) = &action.preview else { return Vec::new() };
    let Some(Change::Add { plugin, key, .. }) = action.changes.first() else { return Vec::new() };
    let items = |state: &Map<String, Value>| state.get(key).and_then(|set| items_of("", set).ok()).unwrap_or_default();
    let (before, now) = (items(before), items(now));
    preview
        .also
        .iter()
        .filter(|item| now.contains(item) && !before.contains(item))
        .map(|item| Change::Remove { plugin: plugin.clone(), key: key.clone(), item: item.clone() })
        .collect()
}

/// Whether the items that the service's preview announced besides those asked for were there before, by resource.
pub fn announced(action: &Action, current: &BTreeMap<String, Map<String, Value>>) -> Vec<(String, Value)> {
    let Some(preview) = &action.preview else { return Vec::new() };
    let Some(Change::Add { plugin, key, .. }) = action.changes.first() else { return Vec::new() };
    let set = current.get(plugin).and_then(|state| items_of("", state.get(key)?).ok()).unwrap_or_default();
    let is_there = |item: &String| (format!("{plugin}/{key}/{item}"), Value::Bool(set.contains(item)));
    preview.also.iter().map(is_there).collect()
}

fn remains(report: &mut Report, action: &Action, message: &str) {
    report.residue.extend(action.resources.iter().map(|resource| residue_of(resource, message)));
}

fn residue_of(resource: &str, message: &str) -> Residue {
    Residue { resource: resource.into(), message: message.into() }
}

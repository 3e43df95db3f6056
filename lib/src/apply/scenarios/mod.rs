//! Running a plugin's scenarios: on its recordings, where nothing can change, or live, where everything is changed back.

mod compare;
mod write;

pub use compare::compare;

use super::{Confirm, Desired, Options, RunOutcome, StateManager, Trail, Witness};
use crate::base::{Error, Progress, Result};
use crate::bus::{Bus, Target};
use crate::plugin::scenario::Scenario;
use crate::plugin::{Catalog, Want};
use crate::state::{Plan, StateDocument};
use crate::store::{StateRoot, file};
use compare::{call_of, compare_plan, difference, text_of};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// How the scenarios of a plugin went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestReport {
    /// Always `test_report`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin.
    pub plugin: String,
    /// What answered.
    pub mode: Mode,
    /// The scenarios, by name.
    pub scenarios: Vec<ScenarioReport>,
}

/// What answers while a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// The scenario's recording.
    Replay,
    /// The service.
    Live,
}

/// How one scenario went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What it shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How it went.
    pub result: ScenarioResult,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where what came is not what was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// How a scenario went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ScenarioResult {
    /// All came as was said.
    Passed,
    /// Something did not.
    Failed,
    /// It cannot run this way.
    Skipped,
}

/// Something that came otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// Where in the scenario: `then.calls[0].args`.
    pub place: String,
    /// What was said.
    pub expected: Value,
    /// What came.
    pub actual: Value,
}

/// What came of a scenario on its recording, to be compared or written down.
#[derive(Debug)]
pub struct Seen {
    /// What could be read.
    pub state: Map<String, Value>,
    /// What could not.
    pub problems: Vec<Error>,
    /// The plan for what is wanted, if something is.
    pub plan: Option<Result<Plan>>,
}

/// Runs scenarios of one plugin.
pub struct Runner<'a> {
    /// The plugin is in it.
    pub catalog: &'a Catalog,
    /// The plugin's name.
    pub plugin: &'a str,
    /// Where live runs are recorded.
    pub trail: &'a Trail,
    /// Hears how far it is.
    pub progress: &'a mut dyn Progress,
    /// Counts the times a person asked to stop.
    pub interrupts: Arc<AtomicUsize>,
}

impl Runner<'_> {
    /// Runs `scenario` on its recording. `root` holds nothing that counts: whatever op-dbus added, it added elsewhere.
    pub fn replay(&mut self, scenario: &Scenario, root: &StateRoot) -> ScenarioReport {
        let started = Instant::now();
        if scenario.recording.is_none() {
            return report(scenario, started, Err("it names no recording; run it with --live".into()));
        }
        let differences = match self.see(scenario, root) {
            Ok(seen) => compare(&scenario.then, &seen),
            Err(error) => vec![difference("given", json!("a recording that can be read"), text_of(&error))],
        };
        report(scenario, started, Ok(differences))
    }

    /// Writes what comes of `scenario` on its recording into its file, as what must come of it, unless that is so
    /// already; whether it did.
    pub fn write(&mut self, scenario: &Scenario, root: &StateRoot) -> Result<bool> {
        let seen = self.see(scenario, root)?;
        if compare(&scenario.then, &seen).is_empty() {
            return Ok(false);
        }
        let text = file::read(&scenario.file)?.unwrap_or_default();
        let text = write::with_seen(&text, scenario, self.plugin, &seen)?;
        std::fs::write(&scenario.file, text)
            .map_err(|error| Error::io("write the scenario", &scenario.file, &error))?;
        Ok(true)
    }

    /// What comes of `scenario` on its recording.
    pub fn see(&mut self, scenario: &Scenario, root: &StateRoot) -> Result<Seen> {
        let file = scenario.recording.as_deref().unwrap_or(&scenario.file);
        let bus = Bus::connect(&Target::Address(format!("replay:{}", file.display())), None)?;
        let plugin = self.catalog.entry(self.plugin)?.plugin()?;
        bus.allow(plugin.safe_calls());
        let queried = plugin.query(&bus, &Want::State, self.progress);
        let plan = scenario.when.clone().map(|when| self.manager(&bus, root).plan(Desired::State(when), &options()));
        Ok(Seen { state: queried.values, problems: queried.problems, plan })
    }

    /// Runs `scenario` on the service itself: brings its start about, applies what is wanted, looks that a second run
    /// has nothing to do, and goes back to the start. The caller has asked whether that may be.
    pub fn live(&mut self, scenario: &Scenario, bus: &Bus, root: &StateRoot) -> ScenarioReport {
        let started = Instant::now();
        let Some(start) = &scenario.start else {
            return report(scenario, started, Err("it names no state to start from: [given] state = ...".into()));
        };
        let mut differences = Vec::new();
        self.bring_about("given.state", start, bus, root, &mut differences);
        if differences.is_empty() {
            if let Some(when) = &scenario.when {
                self.live_change(scenario, when, bus, root, &mut differences);
            }
            // Also after a failure: whatever was changed is to be as it was given.
            self.bring_about("undo", start, bus, root, &mut differences);
        }
        report(scenario, started, Ok(differences))
    }

    fn live_change(
        &mut self,
        scenario: &Scenario,
        when: &StateDocument,
        bus: &Bus,
        root: &StateRoot,
        differences: &mut Vec<Difference>,
    ) {
        let plan = self.manager(bus, root).plan(Desired::State(when.clone()), &options());
        if scenario.then.error.is_some() {
            compare_plan(&scenario.then, &plan, differences);
            return;
        }
        // The arguments may depend on the machine; which calls are made does not.
        let members = |plan: &Plan| plan.actions.iter().map(|action| action.call.member.clone()).collect::<Vec<_>>();
        let expected = scenario.then.calls.iter().flatten().map(|call| call.member.clone()).collect::<Vec<_>>();
        match plan {
            Ok(plan) if members(&plan) == expected => {}
            Ok(plan) => differences.push(difference("then.calls", json!(expected), json!(members(&plan)))),
            Err(error) => return differences.push(difference("then.calls", json!(expected), text_of(&error))),
        }
        self.bring_about("when", when, bus, root, differences);
    }

    /// Applies `state`, which includes verifying it, and looks that applying it again would make no call.
    fn bring_about(
        &mut self,
        place: &str,
        state: &StateDocument,
        bus: &Bus,
        root: &StateRoot,
        differences: &mut Vec<Difference>,
    ) {
        let mut manager = self.manager(bus, root);
        let applied = manager.apply_state(Desired::State(state.clone()), &options(), &mut Agreed, &mut Agreed);
        let failure = match applied {
            Ok(applied) => applied.error.map(|error| (applied.report.outcome, error)),
            Err(error) => Some((RunOutcome::Unchanged, error)),
        };
        if let Some((outcome, error)) = failure {
            let mut actual = text_of(&error);
            actual["outcome"] = json!(outcome);
            return differences.push(difference(place, json!("applied and verified"), actual));
        }
        match manager.plan(Desired::State(state.clone()), &options()) {
            Ok(plan) if plan.is_empty() => {}
            Ok(plan) => {
                let calls: Vec<Value> = plan.actions.iter().map(call_of).collect();
                differences.push(difference(&format!("{place} a second time"), json!([]), json!(calls)));
            }
            Err(error) => {
                differences.push(difference(&format!("{place} a second time"), json!([]), text_of(&error)));
            }
        }
    }

    fn manager<'m>(&'m mut self, bus: &'m Bus, root: &'m StateRoot) -> StateManager<'m> {
        let (trail, interrupts) = (self.trail.clone(), self.interrupts.clone());
        StateManager { bus, catalog: self.catalog, root, trail, cache: None, progress: &mut *self.progress, interrupts }
    }
}

impl TestReport {
    /// How many scenarios ended with `result`.
    #[must_use]
    pub fn count(&self, result: ScenarioResult) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.result == result).count()
    }
}

/// Agrees to everything: whoever runs scenarios live has been asked once for all of them.
struct Agreed;

impl Confirm for Agreed {
    fn confirm(&mut self, _text: &dyn Fn() -> String) -> Result<()> {
        Ok(())
    }

    fn confirm_number(&mut self, _text: &dyn Fn() -> String, _number: usize) -> Result<()> {
        Ok(())
    }
}

impl Witness for Agreed {
    fn action_ended(&mut self, _is_done: bool, _lines: &[String]) {}

    fn planned(&mut self, _plan: &Plan) {}
}

fn options() -> Options {
    Options { lock_timeout: Duration::from_secs(10), ..Options::default() }
}

/// A scenario's report: its differences, or why it was skipped.
fn report(
    scenario: &Scenario,
    started: Instant,
    outcome: std::result::Result<Vec<Difference>, String>,
) -> ScenarioReport {
    let (result, reason, differences) = match outcome {
        Ok(differences) if differences.is_empty() => (ScenarioResult::Passed, None, differences),
        Ok(differences) => (ScenarioResult::Failed, None, differences),
        Err(reason) => (ScenarioResult::Skipped, Some(reason), Vec::new()),
    };
    ScenarioReport {
        name: scenario.name.clone(),
        description: scenario.description.clone(),
        result,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        reason,
        differences,
    }
}

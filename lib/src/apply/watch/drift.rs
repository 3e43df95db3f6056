//! A watch against a document: what differs from it, as it comes and goes. Signals say when to look; what differs is what
//! a plan for the document would change.

use super::record::{Drifted, Presence, Record, Settled};
use crate::base::{Error, Kind, Result};
use crate::state::{Change, Plan, StateDocument};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Signals come in bursts, and one look at their end is enough.
const CALM: Duration = Duration::from_millis(20);

/// What a document wants, and what differs from it.
#[derive(Debug)]
pub struct Against {
    document: StateDocument,
    drifting: BTreeMap<String, Change>,
    /// When to look; nothing is known to have changed otherwise.
    due: Option<Instant>,
    has_begun: bool,
    /// Why it could not be compared, once it was said.
    problem: Option<Error>,
}

impl Against {
    /// Compares with `document`.
    #[must_use]
    pub fn new(document: StateDocument) -> Self {
        Self { document, drifting: BTreeMap::new(), due: None, has_begun: false, problem: None }
    }

    /// What there is to tell after a record of the watch, or after a moment without one. `plan` looks at the machine.
    pub fn hear(
        &mut self,
        record: Option<&Record>,
        plan: &mut dyn FnMut(&StateDocument) -> Result<Plan>,
    ) -> Vec<Record> {
        let mut told = Vec::new();
        match record {
            Some(Record::Watching(_)) => {
                self.has_begun = true;
                told.extend(self.compare(plan));
                told.extend(record.cloned());
                return told;
            }
            // What is there when a watch begins is compared all at once.
            Some(Record::Change(_)) if self.has_begun => self.due = Some(Instant::now() + CALM),
            Some(Record::Service(service)) => {
                told.extend(record.cloned());
                if service.state == Presence::Back && self.has_begun {
                    self.due = Some(Instant::now() + CALM);
                }
            }
            Some(Record::Problem(_)) => told.extend(record.cloned()),
            _ => {}
        }
        if self.due.is_some_and(|due| Instant::now() >= due) {
            told.extend(self.compare(plan));
        }
        told
    }

    fn compare(&mut self, plan: &mut dyn FnMut(&StateDocument) -> Result<Plan>) -> Vec<Record> {
        self.due = None;
        let plan = match plan(&self.document) {
            Ok(plan) => plan,
            Err(error) => {
                // A service that is on its way is asked again when it says something, or when nothing else happens.
                if matches!(error.kind, Kind::Unavailable | Kind::Timeout) {
                    self.due = Some(Instant::now() + 50 * CALM);
                }
                let is_new = self.problem.as_ref() != Some(&error);
                self.problem = Some(error.clone());
                return if is_new { vec![Record::problem("", &error)] } else { Vec::new() };
            }
        };
        self.problem = None;
        let changes = plan.actions.into_iter().flat_map(|action| action.changes);
        let now: BTreeMap<String, Change> = changes.map(|change| (change.resource().to_string(), change)).collect();
        let settled = self.drifting.iter().filter(|(resource, _)| !now.contains_key(*resource));
        let mut told: Vec<Record> = settled.map(|(resource, change)| Settled::of(resource, change).into()).collect();
        let drifted = now.iter().filter(|(resource, change)| self.drifting.get(*resource) != Some(change));
        told.extend(drifted.map(|(resource, change)| Record::from(Drifted::of(resource, change))));
        self.drifting = now;
        told
    }
}

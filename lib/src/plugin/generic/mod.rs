//! The generic plugin: interprets a mapping, or, without one, reads everything readable and writes nothing.
//!
//! It knows no service by name; all it knows of one is the mapping and what the service says of itself.

mod arguments;
mod checkpoint;
mod checks;
mod collection;
pub mod convert;
mod interface;
mod job;
mod observe;
mod perform;
mod planning;
mod reading;
pub mod rows;
mod sets;
mod sources;
mod transaction;

use super::manifest::Manifest;
use super::mapping::Mapping;
use super::{Failure, Queried, Source, StatePlugin, Touched, Want};
use crate::base::{Call, Error, Progress, Result};
use crate::bus::{Bus, SafeCall};
use crate::state::{Action, Change, KeySpec};
use interface::LiveInterfaces;
use serde_json::{Map, Value};
use sources::SecretProperty;
use std::collections::BTreeMap;

/// A plugin made of data: a service's name and, when there is one, its mapping.
#[derive(Debug)]
pub struct GenericPlugin {
    name: String,
    service: String,
    dependencies: Vec<String>,
    mapping: Option<Mapping>,
    no_keys: BTreeMap<String, KeySpec>,
    live: LiveInterfaces,
    secrets: Vec<SecretProperty>,
}

impl GenericPlugin {
    /// The plugin a manifest and a mapping describe.
    #[must_use]
    pub fn new(manifest: &Manifest, mapping: Option<Mapping>) -> Self {
        Self {
            name: manifest.plugin.name.clone(),
            service: manifest.plugin.dbus_service.clone().unwrap_or_default(),
            dependencies: manifest.dependencies.keys().cloned().collect(),
            secrets: mapping.as_ref().map(sources::secrets).unwrap_or_default(),
            mapping,
            no_keys: BTreeMap::new(),
            live: LiveInterfaces::default(),
        }
    }

    /// A service nobody made a plugin for, under its own name: it can be read.
    #[must_use]
    pub fn ad_hoc(service: &str) -> Self {
        Self {
            name: service.to_owned(),
            service: service.to_owned(),
            dependencies: Vec::new(),
            mapping: None,
            no_keys: BTreeMap::new(),
            live: LiveInterfaces::default(),
            secrets: Vec::new(),
        }
    }

    /// The same, keeping to itself also what other mappings of the service call secret: a secret is one whoever asks.
    #[must_use]
    pub fn keeping<'m>(mut self, mappings: impl IntoIterator<Item = &'m Mapping>) -> Self {
        self.secrets.extend(mappings.into_iter().flat_map(sources::secrets));
        self
    }

    /// Compares the mapping's fingerprint with the live service, without anything else.
    pub fn check_fingerprint(&self, bus: &Bus) -> Result<()> {
        self.mapping.as_ref().map_or(Ok(()), |mapping| self.live.check_fingerprint(bus, mapping))
    }

    fn need_mapping(&self) -> Result<&Mapping> {
        self.mapping.as_ref().ok_or_else(|| self.no_mapping())
    }

    fn planner<'p>(
        &'p self,
        bus: &'p Bus,
        current: &'p Map<String, Value>,
        progress: &'p mut dyn Progress,
    ) -> Result<planning::Planner<'p>> {
        let mapping = self.need_mapping()?;
        Ok(planning::Planner { bus, mapping, plugin: &self.name, live: &self.live, current, progress, is_back: false })
    }

    fn no_mapping(&self) -> Error {
        let hint = if self.name == self.service {
            format!(
                "make it a plugin: op-install create NAME --from-dbus {}; then op-install map NAME drafts a \
                 semantic-mapping.toml for it",
                self.service
            )
        } else {
            format!(
                "op-install map {} drafts a semantic-mapping.toml for it; op-discover {} shows its members",
                self.name, self.service
            )
        };
        Error::refused("this plugin has no mapping, so it can only be read").on(self.name.clone()).hint(hint)
    }
}

impl StatePlugin for GenericPlugin {
    fn name(&self) -> &str {
        &self.name
    }

    fn service(&self) -> Option<&str> {
        Some(&self.service)
    }

    fn is_secret(&self, path: &str, interface: &str, name: &str) -> bool {
        self.secrets.iter().any(|secret| secret.is(path, interface, name))
    }

    fn hide_secrets(&self, observed: &mut Value) {
        sources::hide(&self.secrets, observed);
    }

    fn keys(&self) -> &BTreeMap<String, KeySpec> {
        self.mapping.as_ref().map_or(&self.no_keys, |mapping| &mapping.specs)
    }

    fn sources(&self) -> BTreeMap<String, Source> {
        self.mapping.as_ref().map(sources::of).unwrap_or_default()
    }

    fn read_only_because(&self) -> Option<Error> {
        match &self.mapping {
            None => Some(self.no_mapping()),
            Some(mapping) if !mapping.can_write() => Some(
                Error::refused("the mapping of this plugin says no way to write anything")
                    .on(self.name.clone())
                    .hint("extend the mapping with write, or add and remove"),
            ),
            Some(_) => None,
        }
    }

    fn dependencies(&self) -> Vec<String> {
        self.dependencies.clone()
    }

    fn mapping_digest(&self) -> Option<String> {
        self.mapping.as_ref().map(|mapping| mapping.digest.clone())
    }

    fn safe_calls(&self) -> Vec<SafeCall> {
        self.mapping.as_ref().map(Mapping::safe_calls).unwrap_or_default()
    }

    fn query(&self, bus: &Bus, want: &Want, progress: &mut dyn Progress) -> Queried {
        let mut queried = match &self.mapping {
            Some(mapping) => match self.live.check_fingerprint(bus, mapping) {
                Ok(()) => reading::read(bus, mapping, &self.name, want, progress),
                Err(error) => Queried { problems: vec![error.or_on(self.name.clone())], ..Queried::default() },
            },
            None => Queried::default(),
        };
        let sees_all = *want == Want::All || (self.mapping.is_none() && *want == Want::State);
        if sees_all {
            match observe::everything(bus, &self.service, self.mapping.is_some(), progress) {
                Ok((mut observed, problems)) => {
                    self.hide_secrets(&mut observed);
                    queried.observed = Some(observed);
                    queried.problems.extend(problems.into_iter().map(|error| error.or_on(self.name.clone())));
                }
                Err(error) => queried.problems.push(error),
            }
        }
        queried
    }

    fn plan(
        &self,
        bus: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.planner(bus, current, progress)?.plan(changes)
    }

    fn plan_back(
        &self,
        bus: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        planning::Planner { is_back: true, ..self.planner(bus, current, progress)? }.plan(changes)
    }

    fn checkpoint_call(&self) -> Result<Option<Call>> {
        self.mapping.as_ref().map_or(Ok(None), checkpoint::call)
    }

    fn keep(&self, bus: &Bus) -> Result<Option<Value>> {
        self.mapping.as_ref().map_or(Ok(None), |mapping| checkpoint::create(bus, mapping))
    }

    fn end(&self, bus: &Bus, checkpoint: &Value, is_good: bool) -> Result<()> {
        let mapping = self.need_mapping()?;
        if is_good {
            checkpoint::commit(bus, mapping, checkpoint)
        } else {
            checkpoint::rollback(bus, mapping, checkpoint)
        }
    }

    fn check(&self, bus: &Bus, action: &Action) -> Result<()> {
        checks::run(bus, self.need_mapping()?, action)
    }

    fn perform(&self, bus: &Bus, action: &Action, progress: &mut dyn Progress) -> Result<(), Failure> {
        let mapping = self.need_mapping().map_err(|error| Failure { error, touched: Touched::No })?;
        perform::perform(bus, mapping, action, progress)
    }
}

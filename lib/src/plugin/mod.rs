//! Plugins: what makes a service, or a part of the host, into declarative state. The trait they share, the files that
//! describe them, the catalog of those installed, and the generic plugin that interprets a mapping.
//!
//! Never asks a person anything, never writes to the state root.

pub mod author;
pub mod builtin;
pub mod catalog;
pub mod generic;
pub mod inventory;
pub mod listing;
pub mod manifest;
pub mod mapping;
pub mod scenario;
pub mod source;

pub use catalog::{Catalog, Origin};
pub use generic::GenericPlugin;
pub use inventory::Inventory;
pub use manifest::Manifest;
pub use mapping::Mapping;
pub use source::Source;

use crate::base::{Call, Error, Progress, Result};
use crate::bus::{Bus, SafeCall};
use crate::state::{Action, Change, KeySpec, PluginState};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a query found.
#[derive(Debug, Default)]
pub struct Queried {
    /// Value of each key that could be read.
    pub values: Map<String, Value>,
    /// What was seen beyond the mapped keys, when that was asked for.
    pub observed: Option<Value>,
    /// Why the other keys could not be read.
    pub problems: Vec<Error>,
}

/// Keys, and the items of each that matter; all of them when none is named.
pub type Wanted = BTreeMap<String, Option<BTreeSet<String>>>;

/// By key, the items that one owner added.
pub type Owned = BTreeMap<String, BTreeSet<String>>;

/// How much a query is to bring home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The mapped keys; everything, for a plugin without mapping.
    State,
    /// These keys only, and of collections these items only: what an apply needs.
    Keys(Wanted),
    /// The mapped keys, and everything else that can be seen under `observed`.
    All,
}

impl Want {
    /// These keys, with all their items.
    #[must_use]
    pub fn keys(keys: impl IntoIterator<Item = String>) -> Self {
        Self::Keys(keys.into_iter().map(|key| (key, None)).collect())
    }

    /// What these changes are about.
    #[must_use]
    pub fn of_changes<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Self {
        let mut wanted = Wanted::new();
        for change in changes {
            let items = wanted.entry(change.key().to_owned()).or_insert_with(|| Some(BTreeSet::new()));
            match (items, change.item()) {
                (Some(items), Some(item)) => drop(items.insert(item.to_owned())),
                (items, _) => *items = None,
            }
        }
        Self::Keys(wanted)
    }

    /// Whether the value of `key` is wanted.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Keys(keys) => keys.contains_key(key),
            Self::State | Self::All => true,
        }
    }

    /// The items of `key` that are wanted; all when none is named.
    #[must_use]
    pub fn items(&self, key: &str) -> Option<&BTreeSet<String>> {
        match self {
            Self::Keys(keys) => keys.get(key)?.as_ref(),
            Self::State | Self::All => None,
        }
    }
}

/// Why an action failed, and what is known about the machine after it.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Whether something may have changed.
    pub touched: Touched,
}

/// What is known about the machine after a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// The call was refused or never reached its work: nothing changed.
    No,
    /// Nobody answered, or with an error that may have come half-way: reading again tells.
    Perhaps,
    /// The service was seen changing things: reading again cannot prove that nothing is half done.
    Surely,
}

/// One part of a machine's state: read it, plan changes to it, make them.
///
/// Every plugin, generated or built in, gets the same safety from `apply` by keeping to this.
pub trait StatePlugin {
    /// The plugin's name.
    fn name(&self) -> &str;

    /// Bus name of the service it speaks to; none for one that is built in.
    fn service(&self) -> Option<&str> {
        None
    }

    /// Whether a property of the service must not be shown.
    fn is_secret(&self, _path: &str, _interface: &str, _name: &str) -> bool {
        false
    }

    /// Takes what must not be shown out of everything that was seen: objects of interfaces of properties.
    fn hide_secrets(&self, _observed: &mut Value) {}

    /// What is known about each key of its state.
    fn keys(&self) -> &BTreeMap<String, KeySpec>;

    /// Where the value of each key that may be shown comes from; a secret one is not there. What is built in shows all.
    fn sources(&self) -> BTreeMap<String, Source> {
        self.keys().keys().map(|key| (key.clone(), Source::Answer { path: None })).collect()
    }

    /// Why nothing of it can be written, and the way out; `None` when something can.
    fn read_only_because(&self) -> Option<Error> {
        None
    }

    /// Names of plugins to be applied before this one.
    fn dependencies(&self) -> Vec<String> {
        Vec::new()
    }

    /// Digest of what decides how it acts.
    fn mapping_digest(&self) -> Option<String>;

    /// What may be called while reading and planning.
    fn safe_calls(&self) -> Vec<SafeCall> {
        Vec::new()
    }

    /// Reads the current state, live.
    fn query(&self, bus: &Bus, want: &Want, progress: &mut dyn Progress) -> Queried;

    /// What is desired in the form that a query prints, when a document may say it in others, and all that follows from it
    /// of what there is now. `owned` goes unless it is desired. Everything that cannot be is refused here.
    fn normalise(&self, desired: &PluginState, _current: &Map<String, Value>, _owned: &Owned) -> Result<PluginState> {
        Ok(desired.clone())
    }

    /// [`StatePlugin::normalise`] knowing what is to change in the plugins that depend on this one.
    fn normalise_among(
        &self,
        desired: &PluginState,
        current: &Map<String, Value>,
        owned: &Owned,
        _above: &[&Change],
    ) -> Result<PluginState> {
        self.normalise(desired, current, owned)
    }

    /// Whether what goes of it has nothing to do with what comes or changes, so that it can go first.
    fn goes_freely(&self) -> bool {
        false
    }

    /// Whether what still differs after a run only follows from what others did in it, and `before` could not be known: it
    /// is for the next run.
    fn follows(&self, _change: &Change, _before: &Map<String, Value>) -> bool {
        false
    }

    /// Turns changes into exact calls, without making any that is not safe. Ids and needs are numbered by the caller.
    fn plan(
        &self,
        bus: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Action>>;

    /// [`StatePlugin::plan`] for changes that lead back to what there was: that needs to pass no rule, it was there.
    fn plan_back(
        &self,
        bus: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.plan(bus, changes, current, progress)
    }

    /// The call by which the service itself keeps its state before it is changed, if it can.
    fn checkpoint_call(&self) -> Result<Option<Call>> {
        Ok(None)
    }

    /// Has the service keep its state; what the checkpoint is called.
    fn keep(&self, _bus: &Bus) -> Result<Option<Value>> {
        Ok(None)
    }

    /// Ends a checkpoint: the state stays when `is_good`, else the service goes back.
    fn end(&self, _bus: &Bus, _checkpoint: &Value, _is_good: bool) -> Result<()> {
        Ok(())
    }

    /// Whether an action's pre-checks pass now.
    fn check(&self, bus: &Bus, action: &Action) -> Result<()>;

    /// [`StatePlugin::check`] among all actions of a plan: what one of them needs, another may bring.
    fn check_among(&self, bus: &Bus, action: &Action, _all: &[Action]) -> Result<()> {
        self.check(bus, action)
    }

    /// Makes an action's call and waits until the service says it is done.
    fn perform(&self, bus: &Bus, action: &Action, progress: &mut dyn Progress) -> Result<(), Failure>;
}

/// Reads TOML; errors name the file, the line and the column.
pub(crate) fn from_toml<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let place = match error.span() {
            Some(span) => {
                let before = &text[..span.start.min(text.len())];
                let line = before.matches('\n').count() + 1;
                let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
                format!("{file}:{line}:{column}")
            }
            None => file.to_owned(),
        };
        Error::bad_input(error.message().trim().to_owned()).on(place)
    })
}

//! From a desired state to a plan: the plugins it speaks of, what they have now, the difference, the calls.

use super::ledger::Ledger;
use super::order::{in_order, number, removals_first};
use super::step::Step;
use super::{Options, Plugins, StateManager, vault};
use crate::base::{Call, Error, Kind, Result, digest};
use crate::bus::names;
use crate::plugin::{GenericPlugin, Queried, StatePlugin, Want, Wanted};
use crate::state::{Action, Change, Plan, PluginState, Removal, StateDocument, Strategy, by_name, diff_plugin};
use crate::store::file::{self, Durability};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A plan, the plugins that perform it, and what they had when it was made.
pub struct Planned {
    pub plan: Plan,
    pub plugins: Plugins,
    pub current: BTreeMap<String, Map<String, Value>>,
}

impl Planned {
    /// Numbers the actions and makes the plan of them.
    pub fn new(
        desired: Value,
        owner: Option<String>,
        prune: Option<usize>,
        mut actions: Vec<Action>,
        plugins: Plugins,
        current: BTreeMap<String, Map<String, Value>>,
    ) -> Result<Self> {
        number(&mut actions, &plugins);
        vault::mark_irreversible(&mut actions);
        let with_actions: BTreeSet<&str> = actions.iter().map(|action| action.plugin.as_str()).collect();
        let mappings = with_actions
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), plugins[name].mapping_digest()?)))
            .collect();
        let checkpoints = checkpoints(&actions, &plugins)?;
        let plan = Plan::new(desired, owner, prune, mappings, actions).with_checkpoints(checkpoints);
        Ok(Self { plan, plugins, current })
    }
}

/// What each plugin has, and how that differs from a document.
#[derive(Default)]
pub struct Differences {
    pub current: BTreeMap<String, Map<String, Value>>,
    pub changes: BTreeMap<String, Vec<Change>>,
    pub errors: Vec<Error>,
}

impl Differences {
    /// Whether nothing is unclear, and nothing differs but what `is_for_later`.
    pub fn is_nothing_but(&self, is_for_later: &dyn Fn(&Change) -> bool) -> bool {
        self.errors.is_empty() && self.changes.values().flatten().all(is_for_later)
    }
}

/// What there is of a plugin, and what is wanted of it.
struct Read<'d> {
    name: String,
    state: Result<Cow<'d, PluginState>>,
    now: Option<(Wanted, Queried)>,
    removal: Removal,
}

/// How what was read differs from what is wanted.
fn compare(plugins: &Plugins, read: Vec<Read<'_>>) -> Differences {
    let mut found = Differences::default();
    // What stands on others comes last, and what becomes of it matters to them. Errors stay in their order.
    let mut errors: Vec<Vec<Error>> = Vec::new();
    for Read { name, state, now, removal } in read.into_iter().rev() {
        errors.push(std::mem::take(&mut found.errors));
        let plugin = &plugins[&name];
        let (state, (wanted, now)) = match (state, now) {
            (Ok(state), Some(now)) => (state, now),
            (Err(error), _) => {
                found.errors.push(error);
                continue;
            }
            (Ok(_), None) => continue,
        };
        found.errors.extend(unclear_items(&name, &wanted, &now.problems));
        let is_above = |other: &&String| plugins[*other].dependencies().contains(&name);
        let above = found.changes.keys().filter(is_above).flat_map(|other| &found.changes[other]);
        let above: Vec<&Change> = above.collect();
        let normalised = plugin.normalise_among(&state, &now.values, &removal.owned, &above);
        match normalised.and_then(|state| diff_plugin(&name, &state, &now.values, plugin.keys(), &removal)) {
            Ok(changes) => drop(found.changes.insert(name.clone(), changes)),
            // Why a key could not be read is the better error than that it could not be compared.
            Err(error) => found.errors.extend(better_reasons(error, &now.problems)),
        }
        found.current.insert(name, now.values);
    }
    errors.push(found.errors);
    found.errors = errors.into_iter().rev().flatten().collect();
    found
}

impl StateManager<'_> {
    /// Computes the plan, live. Every problem of every plugin is reported, not only the first.
    pub(super) fn compute(&mut self, document: &StateDocument, options: &Options) -> Result<Planned> {
        let mut errors = Vec::new();
        let mut plugins: Plugins = BTreeMap::new();
        for (name, state) in &document.plugins {
            match self.plugin_for(name, state) {
                Ok(Some(plugin)) => drop(plugins.insert(name.clone(), plugin)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        errors.extend(document.plugins.iter().flat_map(|(name, state)| vault::check_document(name, state, &plugins)));
        give_up_on(&mut errors)?;
        let order = in_order(&plugins)?;
        self.step(Step::Query);
        let read = self.read_wanted(document, options, &plugins, &order, Self::read)?;
        self.step(Step::Diff);
        let Differences { current, changes, mut errors } = compare(&plugins, read);
        give_up_on(&mut errors)?;
        check_prune(options, changes.values().flatten())?;
        let mut actions: Vec<Action> = Vec::new();
        for name in &order {
            let of_plugin = &changes[name];
            if of_plugin.is_empty() {
                continue;
            }
            if !options.is_check {
                self.keep_diff(name, of_plugin);
            }
            match plugins[name].plan(self.bus, of_plugin, &current[name], self.progress) {
                Ok(planned) => actions.extend(planned),
                Err(error) => errors.push(error),
            }
        }
        give_up_on(&mut errors)?;
        let plugin = |name: &str| plugins.get(name);
        let depends = |name: &str| plugin(name).map(|plugin| plugin.dependencies()).unwrap_or_default();
        let actions = removals_first(actions, &depends, &|name| plugin(name).is_some_and(|p| p.goes_freely()));
        let desired = document.to_json_to_apply();
        Planned::new(desired, options.owner.clone(), options.prune, actions, plugins, current)
    }

    /// What a document says and nothing compares, since it is only shown, and what is not so: keys, and members of their
    /// items.
    pub fn not_compared(&mut self, document: &StateDocument) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, state) in &document.plugins {
            let Ok(Some(plugin)) = self.plugin_for(name, state) else { continue };
            let said = only_shown(plugin.as_ref(), &state.values);
            if said.is_empty() {
                continue;
            }
            self.bus.allow(plugin.safe_calls());
            let now =
                plugin.query(self.bus, &Want::keys(said.iter().map(|(key, ..)| key.clone())), self.progress).values;
            for (key, item, member) in said {
                let value = |of: &Map<String, Value>| match (&item, &member) {
                    (Some(item), Some(member)) => of.get(&key)?.get(item)?.get(member).cloned(),
                    _ => of.get(&key).cloned(),
                };
                if value(&now) != value(&state.values) {
                    found.insert(member.map_or(format!("{name}.{key}"), |member| format!("{name}.{key}.*.{member}")));
                }
            }
        }
        found
    }

    /// How what there is after a change differs from `document`.
    pub(super) fn differences(
        &mut self,
        document: &StateDocument,
        options: &Options,
        plugins: &Plugins,
    ) -> Result<Differences> {
        let order = in_order(plugins)?;
        let read = self.read_wanted(document, options, plugins, &order, Self::read_again)?;
        Ok(compare(plugins, read))
    }

    /// What there is of everything a document speaks of.
    fn read_wanted<'d>(
        &mut self,
        document: &'d StateDocument,
        options: &Options,
        plugins: &Plugins,
        order: &[String],
        read: fn(&mut Self, &dyn StatePlugin, &Want) -> Result<Queried>,
    ) -> Result<Vec<Read<'d>>> {
        let ledger = Ledger::read(self.root)?;
        let mut all = Vec::new();
        for name in order {
            let plugin = &plugins[name];
            let owned = options.owner.as_deref().map(|owner| ledger.of(owner, name)).unwrap_or_default();
            let removal = Removal { owned, is_prune: options.prune.is_some() };
            let state = by_name(name, &document.plugins[name], plugin.keys());
            let now = match &state {
                Ok(state) => {
                    self.bus.allow(plugin.safe_calls());
                    let wanted = wanted(plugin.as_ref(), state, &removal);
                    let now = read(self, plugin.as_ref(), &Want::Keys(wanted.clone()))?;
                    Some((wanted, now))
                }
                Err(_) => None,
            };
            all.push(Read { name: name.clone(), state, now, removal });
        }
        Ok(all)
    }

    /// The plugin a document speaks of; `None` when it says nothing that could be applied.
    pub(super) fn plugin_for(&self, name: &str, state: &PluginState) -> Result<Option<Box<dyn StatePlugin>>> {
        let says_nothing = state.values.is_empty() && state.absent.is_empty();
        if says_nothing && state.observed.is_some() {
            return Ok(None);
        }
        let plugin: Box<dyn StatePlugin> = if name.contains('.') {
            names::check(name).map_err(|e| e.on(format!("plugins.{name}")))?;
            Box::new(GenericPlugin::ad_hoc(name))
        } else {
            let entry = self
                .catalog
                .entry(name)
                .map_err(|e| if e.kind == Kind::BadInput { e.on(format!("plugins.{name}")) } else { e })?;
            if let (None, Some(problem)) = (&entry.mapping, entry.problems.first()) {
                return Err(problem.clone());
            }
            entry.check_on(self.bus)?;
            entry.plugin()?
        };
        match plugin.read_only_because() {
            Some(error) if plugin.keys().is_empty() && !says_nothing => Err(error),
            _ => Ok(Some(plugin)),
        }
    }

    /// Keeps a computed difference for people to look at, unless it is one from a recording. It is a cache: failing to
    /// write it is no failure.
    fn keep_diff(&self, plugin: &str, changes: &[Change]) {
        if self.bus.replayed().is_some() {
            return;
        }
        #[derive(Serialize)]
        struct Diff<'a> {
            kind: &'a str,
            version: u32,
            plugin: &'a str,
            changes: &'a [Change],
        }
        let content = Diff { kind: "diff", version: 1, plugin, changes };
        let path = self.root.diff(plugin, &digest::of("diff", &content));
        if path.exists() || self.root.make_parent(&path).is_err() {
            return;
        }
        if let Ok(bytes) = serde_json::to_vec(&content) {
            let _ = file::replace(&path, &bytes, Durability::Cache);
        }
    }
}

/// What `values` say that is only shown: the key, and of an item that and the member.
fn only_shown(plugin: &dyn StatePlugin, values: &Map<String, Value>) -> Vec<(String, Option<String>, Option<String>)> {
    let mut said = Vec::new();
    for (key, value) in values {
        let Some(spec) = plugin.keys().get(key) else { continue };
        if spec.strategy == Strategy::None {
            said.push((key.clone(), None, None));
            continue;
        }
        let shown = spec.items.members.iter().filter(|(_, member)| member.is_only_shown).map(|(name, _)| name);
        let items = value.as_object().filter(|_| spec.strategy.has_items());
        for member in shown {
            let has = items.into_iter().flatten().filter(|(_, item)| item.get(member).is_some());
            said.extend(has.map(|(item, _)| (key.clone(), Some(item.clone()), Some(member.clone()))));
        }
    }
    said
}

/// How the services of the plugins that act keep their state themselves.
fn checkpoints(actions: &[Action], plugins: &Plugins) -> Result<BTreeMap<String, Call>> {
    let names: BTreeSet<&String> = actions.iter().map(|action| &action.plugin).collect();
    let mut calls = BTreeMap::new();
    for name in names {
        if let Some(call) = plugins[name].checkpoint_call()? {
            calls.insert(name.clone(), call);
        }
    }
    Ok(calls)
}

/// The keys a document speaks of, and of collections the items that it names or that may go.
fn wanted(plugin: &dyn StatePlugin, state: &PluginState, removal: &Removal) -> Wanted {
    let keys: BTreeSet<&String> = state.values.keys().chain(state.absent.keys()).collect();
    let items = |key: &String| {
        let has_items = plugin.keys().get(key).is_some_and(|spec| spec.strategy.has_items());
        let named = state.values.get(key).and_then(Value::as_object).into_iter().flat_map(|items| items.keys());
        let gone = state.absent.get(key).into_iter().flatten();
        let owned = removal.owned.get(key).into_iter().flatten();
        has_items.then(|| named.chain(gone).chain(owned).cloned().collect())
    };
    keys.into_iter().map(|key| (key.clone(), items(key))).collect()
}

/// Items that are named and cannot be told: one of two that share a name is not changed by chance.
fn unclear_items(plugin: &str, wanted: &Wanted, problems: &[Error]) -> Vec<Error> {
    let items = wanted.iter().flat_map(|(key, items)| items.iter().flatten().map(move |item| (key, item)));
    let places: BTreeSet<String> = items.map(|(key, item)| format!("plugins.{plugin}.{key}.{item}")).collect();
    let is_named = |error: &&Error| error.subject.as_ref().is_some_and(|subject| places.contains(subject));
    problems.iter().filter(is_named).cloned().collect()
}

fn give_up_on(errors: &mut Vec<Error>) -> Result<()> {
    Error::all(std::mem::take(errors)).map_or(Ok(()), Err)
}

/// Puts the reason a key could not be read in the place of the complaint that it could not be compared.
fn better_reasons(error: Error, problems: &[Error]) -> Vec<Error> {
    let mut all = vec![error];
    let also = std::mem::take(&mut all[0].also);
    all.extend(also);
    all.into_iter()
        .map(|error| problems.iter().find(|problem| problem.subject == error.subject).cloned().unwrap_or(error))
        .collect()
}

fn check_prune<'c>(options: &Options, changes: impl Iterator<Item = &'c Change>) -> Result<()> {
    let Some(expected) = options.prune else { return Ok(()) };
    let going: Vec<String> = changes.filter(|change| change.takes_item()).map(|c| c.resource().to_string()).collect();
    if going.len() == expected {
        return Ok(());
    }
    let mut shown = going.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
    if going.len() > 20 {
        shown.push_str(", ...");
    }
    let s = if expected == 1 { "" } else { "s" };
    let error = Error::refused(format!("--prune expects {expected} removal{s}, but {} would happen", going.len()));
    Err(match going.len() {
        0 => error.hint("nothing is there that is not listed: leave --prune out"),
        going => error.on(shown).hint(format!("look at the list; if that is what you want, say --prune {going}")),
    })
}

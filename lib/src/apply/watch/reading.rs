//! Reading what is watched: all of it, what a signal hints at, what has to be polled.

use super::Part;
use super::cells::{Cell, OBSERVED};
use super::record::Freshness;
use super::worker::Watched;
use crate::base::{Error, Kind, Silent};
use crate::bus::introspection::EmitsChanged;
use crate::bus::read::{self, PropertyGroup};
use crate::bus::{Manner, walk};
use crate::plugin::{Source, StatePlugin, Want};
use crate::state::select::written;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A watch starts no service again: it would keep awake what wants to sleep.
const MANNER: Manner = Manner { may_activate: false, timeout: None };
/// So many changes in a row that a hint led to, and an answer counts as announced ...
const ANNOUNCED: u32 = 2;
/// ... and is polled only each so many times.
const SELDOM: u32 = 12;

/// Finds out how changes of properties become known, from what the service says about them.
pub fn classify(watched: &mut Watched<'_>) {
    if watched.part != Part::Properties {
        return;
    }
    let mut nodes = BTreeMap::new();
    for position in 0..watched.cells.len() {
        let Source::Property { group, name } = &watched.cells[position].source else { continue };
        let node = nodes.entry(group.path.clone()).or_insert_with(|| {
            read::introspect(watched.context.bus, &group.service, &group.path, MANNER).unwrap_or_default()
        });
        let property = node.interfaces.get(&group.interface).and_then(|i| i.properties.get(name));
        // What says nothing of itself is not trusted to say when it changes.
        let class = property.map_or(Freshness::Poll, |property| class_of(property.emits_changed));
        watched.cells[position].class = class;
    }
}

fn class_of(emits: EmitsChanged) -> Freshness {
    match emits {
        EmitsChanged::True => Freshness::Signal,
        EmitsChanged::Invalidates => Freshness::Hint,
        EmitsChanged::Const | EmitsChanged::False => Freshness::Poll,
    }
}

/// Reads everything, and says whether all of it could be read. Without `how`, at the beginning, nothing is told yet of
/// what was read.
pub fn everything(watched: &mut Watched<'_>, how: Option<Freshness>) -> bool {
    let all: BTreeSet<usize> = (0..watched.cells.len()).collect();
    match watched.part {
        Part::Properties => mapped(watched, how),
        Part::Answers => all.into_iter().filter(|&position| !answer(watched, position, how).0).count() == 0,
        Part::Observed => observed(watched, how),
    }
}

/// Reads all mapped properties as a query does, so that a service with another interface than the mapping's is refused.
fn mapped(watched: &mut Watched<'_>, how: Option<Freshness>) -> bool {
    let keys = watched.cells.iter().map(|cell| cell.key().to_owned());
    let mut queried = watched.plugin.query(watched.context.bus, &Want::keys(keys), &mut Silent);
    watched.is_refused = queried.problems.iter().any(|p| p.kind == Kind::InterfaceChanged) && queried.values.is_empty();
    if watched.is_refused {
        queried.problems.iter().for_each(|error| watched.problem(error));
        return false;
    }
    let mut is_whole = true;
    for position in 0..watched.cells.len() {
        let cell = &watched.cells[position];
        match queried.values.remove(cell.key()) {
            Some(value) => keep(watched, position, value, how),
            None => {
                let subject = subject_of(cell);
                let problem = queried.problems.iter().find(|problem| problem.subject.as_ref() == Some(&subject));
                let error = problem.or(queried.problems.first()).cloned();
                unreadable(watched, position, error.unwrap_or_else(|| Error::failed("it was not answered")));
                is_whole = false;
            }
        }
    }
    is_whole
}

/// Reads properties, and says whether all could be read.
pub fn properties(watched: &mut Watched<'_>, positions: &BTreeSet<usize>, how: Option<Freshness>) -> bool {
    let mut groups: BTreeMap<PropertyGroup, Vec<String>> = BTreeMap::new();
    let mut places: Vec<(usize, PropertyGroup, String)> = Vec::new();
    for &position in positions {
        let Source::Property { group, name } = &watched.cells[position].source else { continue };
        let names = groups.entry(group.clone()).or_default();
        if !names.contains(name) {
            names.push(name.clone());
        }
        places.push((position, group.clone(), name.clone()));
    }
    let read = read::properties(watched.context.bus, &groups, MANNER);
    let mut is_whole = true;
    for (position, group, name) in places {
        let outcome = read.get(&group).and_then(|read| read.get(&name)).cloned();
        match outcome.unwrap_or_else(|| Err(Error::failed("the property was not answered"))) {
            Ok(value) => keep(watched, position, value, how),
            // Beyond the mapped keys objects come and go.
            Err(error) if watched.part == Part::Observed && error.kind == Kind::InterfaceChanged => {
                watched.becomes(position, None, how.unwrap_or(Freshness::Signal));
            }
            Err(error) => {
                is_whole = false;
                unreadable(watched, position, error);
            }
        }
    }
    is_whole
}

/// Asks for one key, and says whether it was answered, and with something new.
fn answer(watched: &mut Watched<'_>, position: usize, how: Option<Freshness>) -> (bool, bool) {
    let key = watched.cells[position].key().to_owned();
    let mut queried = watched.plugin.query(watched.context.bus, &Want::keys([key.clone()]), &mut Silent);
    match queried.values.remove(&key) {
        Some(value) => {
            let has_changed = watched.cells[position].value.as_ref() != Some(&value);
            keep(watched, position, value, how);
            (true, has_changed)
        }
        None => {
            let subject = subject_of(&watched.cells[position]);
            // The values of other keys may have been asked for with it, and are told of where they belong.
            queried.problems.sort_by_key(|problem| problem.subject.as_deref() != Some(&subject));
            let error = queried.problems.into_iter().next();
            unreadable(watched, position, error.unwrap_or_else(|| Error::failed("it was not answered")));
            (false, false)
        }
    }
}

/// Reads what signals hint at, and says whether there was anything new.
pub fn hinted(watched: &mut Watched<'_>, positions: &BTreeSet<usize>) -> bool {
    if watched.part == Part::Observed {
        let before: Vec<Option<Value>> = watched.cells.iter().map(|cell| cell.value.clone()).collect();
        observed(watched, Some(Freshness::Hint));
        return watched.cells.iter().map(|cell| &cell.value).ne(before.iter());
    }
    let mut has_any_changed = false;
    for &position in positions {
        if watched.is_in_doubt() {
            break;
        }
        let (_, has_changed) = answer(watched, position, Some(Freshness::Hint));
        let cell = &mut watched.cells[position];
        if has_changed {
            cell.hits += 1;
            has_any_changed = true;
        }
        if cell.hits >= ANNOUNCED {
            cell.class = Freshness::Hint;
        }
    }
    has_any_changed
}

/// Reads what nobody announces; now and then also what hints were trusted to announce.
pub fn polled(watched: &mut Watched<'_>) {
    watched.polls = watched.polls.wrapping_add(1);
    let is_turn = |cell: &Cell| {
        let is_trusted = watched.part == Part::Answers && watched.polls.is_multiple_of(SELDOM);
        cell.class == Freshness::Poll || is_trusted
    };
    let positions: BTreeSet<usize> = (0..watched.cells.len())
        .filter(|position| is_turn(&watched.cells[*position]) && !watched.hinted.contains(position))
        .collect();
    if watched.part != Part::Answers {
        properties(watched, &positions, Some(Freshness::Poll));
        return;
    }
    for position in positions {
        // To ask on would start it again.
        if watched.is_in_doubt() {
            break;
        }
        if let (_, true) = answer(watched, position, Some(Freshness::Poll)) {
            let cell = &mut watched.cells[position];
            (cell.hits, cell.class) = (0, Freshness::Poll);
        }
    }
}

/// Walks the whole service.
fn observed(watched: &mut Watched<'_>, how: Option<Freshness>) -> bool {
    let service = watched.plugin.service().unwrap_or_default().to_owned();
    let walked = walk::walk(watched.context.bus, &service, walk::Want::Values, MANNER, &mut |_| {});
    let tree = match walked {
        Ok(tree) => tree,
        Err(error) => {
            watched.problem(&error.or_on(format!("plugins.{}", watched.plugin.name())));
            return false;
        }
    };
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    for (path, interfaces) in &tree.values {
        for (interface, properties) in interfaces.as_object().into_iter().flatten() {
            let described = tree.interfaces.get(interface);
            for (name, value) in properties.as_object().into_iter().flatten() {
                if watched.plugin.is_secret(path, interface, name) {
                    continue;
                }
                let class = described.and_then(|interface| interface.properties.get(name));
                let class = class.map_or(Freshness::Signal, |property| class_of(property.emits_changed));
                let place = (path.clone(), interface.clone(), name.clone());
                let position = match watched.index.get(&place).and_then(|positions| positions.first()) {
                    Some(position) => *position,
                    None => watched.add(observed_cell(&*watched.plugin, place, class)),
                };
                watched.cells[position].class = class;
                seen.insert(position);
                keep(watched, position, value.clone(), how);
            }
        }
    }
    for position in (0..watched.cells.len()).filter(|position| !seen.contains(position)) {
        watched.becomes(position, None, how.unwrap_or(Freshness::Hint));
    }
    if let Some(first) = tree.problems.first() {
        let more = tree.problems.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let error = Error::new(Kind::Partial, format!("{first}{more}"));
        watched.problem(&error.on(format!("plugins.{}", watched.plugin.name())));
    }
    // A service says of some properties for ever that they cannot be read.
    true
}

/// A property beyond the mapped keys.
pub fn observed_cell(plugin: &dyn StatePlugin, place: (String, String, String), class: Freshness) -> Cell {
    let (path, interface, name) = place;
    let names = [plugin.name(), OBSERVED, &path, &interface, &name].map(str::to_owned).to_vec();
    let group = PropertyGroup { service: plugin.service().unwrap_or_default().to_owned(), path, interface };
    Cell { names, source: Source::Property { group, name }, class, hits: 0, is_set: false, value: None }
}

fn keep(watched: &mut Watched<'_>, position: usize, value: Value, how: Option<Freshness>) {
    watched.is_readable(&subject_of(&watched.cells[position]));
    match how {
        Some(how) => watched.becomes(position, Some(value), how),
        None => watched.cells[position].value = Some(value),
    }
}

fn unreadable(watched: &mut Watched<'_>, position: usize, error: Error) {
    let subject = subject_of(&watched.cells[position]);
    watched.unreadable(error.on(subject));
}

/// What messages call a value.
fn subject_of(cell: &Cell) -> String {
    if cell.names.len() == 2 { format!("plugins.{}.{}", cell.names[0], cell.names[1]) } else { written(&cell.names) }
}

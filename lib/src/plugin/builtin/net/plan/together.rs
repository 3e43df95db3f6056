//! What several changes have a part in: who joins whom, and what goes together.

use super::super::wishes::item::{LISTS, at, list};
use super::super::{INTERFACES, ops};
use super::parts::{exact, part_of, spec, with_link};
use super::{Phase, Planner, Step};
use crate::state::{Change, Undo, UndoClass};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Planner<'_> {
    /// Who joins whom: each port is told once, whichever side a change is of.
    pub(super) fn controllers(&mut self, changes: &[Change]) {
        let mut targets: BTreeMap<String, (Option<String>, Vec<Change>)> = BTreeMap::new();
        let name_in = |entry: &Value| entry.as_str().or_else(|| entry["name"].as_str()).map(str::to_owned);
        for change in changes.iter().filter(|change| change.key() == INTERFACES) {
            let Some(name) = change.item() else { continue };
            let (now, after) = (self.now(name), self.after(name));
            if after.is_null() || now["controller"] == after["controller"] {
                continue;
            }
            let part = matches!(change, Change::Update { .. }).then(|| part_of(change, "controller"));
            let controller = after["controller"].as_str().map(str::to_owned);
            targets.insert(name.to_owned(), (controller, part.into_iter().collect()));
        }
        for change in changes.iter().filter(|change| change.key() == INTERFACES) {
            let Some(name) = change.item() else { continue };
            let (now, after) = (self.now(name), self.after(name));
            for path in LISTS[2..].iter().filter(|_| !after.is_null()) {
                let (is, will) = (list(now, path), list(after, path));
                let joining = will.iter().filter(|port| !is.contains(port)).map(|port| (port, true));
                let leaving = is.iter().filter(|port| !will.contains(port)).map(|port| (port, false));
                let member = path.split('.').next().unwrap_or(path);
                let is_update = matches!(change, Change::Update { .. });
                let is_told = |step: &Step| step.action.changes.contains(&part_of(change, member));
                let mut part = (is_update && !self.steps.iter().any(is_told)).then(|| part_of(change, member));
                for (port, is_in) in joining.chain(leaving) {
                    let Some(port) = name_in(port).filter(|port| !self.after(port).is_null()) else { continue };
                    if !is_in && self.now(&port)["controller"] != *name {
                        continue;
                    }
                    let target = targets.entry(port).or_insert_with(|| (is_in.then(|| name.to_owned()), Vec::new()));
                    target.1.extend(part.take());
                }
            }
        }
        for (port, (controller, parts)) in targets {
            let is = self.now(&port)["controller"].clone();
            let will = json!(controller);
            if is == will || controller.as_ref().is_some_and(|controller| self.after(controller).is_null()) {
                continue;
            }
            let title = match &controller {
                Some(controller) => format!("Make {port} a port of {controller}"),
                None => format!("Take {port} out of {}", is.as_str().unwrap_or_default()),
            };
            let undo =
                if self.now(&port).is_null() { with_link() } else { exact(ops::set(&port, json!({"controller": is}))) };
            let rank = i64::from(controller.is_some());
            self.step(
                (Phase::Controller, rank),
                &port,
                title,
                ops::set(&port, json!({"controller": will})),
                undo,
                None,
            );
            if let Some(step) = self.steps.last_mut() {
                step.action.changes = parts;
            }
        }
    }

    /// Deletions belong together: what one takes along, the others' ways back need.
    pub(super) fn deletes(&mut self, changes: &[Change]) {
        let gone: Vec<(&str, &Value, &Change)> = changes
            .iter()
            .filter(|change| change.key() == INTERFACES)
            .filter_map(|change| match change {
                Change::Delete { item, from, .. } => Some((item.as_str(), from, change)),
                _ => None,
            })
            .collect();
        let mut done: Vec<&str> = Vec::new();
        let mut of_all: Vec<Change> = gone.iter().map(|(_, _, change)| (*change).clone()).collect();
        let mut ordered = gone.clone();
        ordered.sort_by_key(|(name, ..)| -self.depth(name));
        for (position, (name, from, _)) in ordered.iter().enumerate() {
            let peer = at(from, "veth.peer").and_then(Value::as_str);
            if peer.is_some_and(|peer| done.contains(&peer)) {
                continue;
            }
            done.push(name);
            let with = peer.filter(|peer| gone.iter().any(|(other, ..)| other == peer));
            let title = format!("Delete {name}{}", with.map(|peer| format!(" and {peer}")).unwrap_or_default());
            let undo = Undo { class: UndoClass::Compensating, call: Some(ops::create(name, &spec(from))) };
            let rank = i64::try_from(position).unwrap_or(0);
            self.step((Phase::Delete, rank), name, title, ops::delete(name), undo, None);
            if let Some(step) = self.steps.last_mut() {
                step.action.changes = std::mem::take(&mut of_all);
            }
        }
    }
}

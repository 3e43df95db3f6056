//! From changes to operations: bridges, ports, flows, and what goes in reverse. Each operation is a transaction of its own,
//! and all changes of a bridge's flows are one.

use super::database::Snapshot;
use super::flow::of_item;
use super::wishes::not_ours;
use super::{BRIDGES, FLOWS, NAME, PORTS, items};
use crate::base::{Call, Error, Result};
use crate::state::{Action, Change, Undo, UndoClass};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub const DATABASE: &str = "ovsdb";
pub const OPENFLOW: &str = "openflow";

/// Plans `changes` of what there is.
pub fn plan(snapshot: &Snapshot, changes: &[Change], current: &Map<String, Value>) -> Result<Vec<Action>> {
    let (mut first, mut last, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut flows: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for key in [BRIDGES, PORTS] {
        let mut going = Vec::new();
        for change in changes.iter().filter(|change| change.key() == key) {
            match row(snapshot, key, change) {
                Ok(action) if change.takes_item() => going.push(action),
                Ok(action) => first.push(action),
                Err(error) => {
                    errors.push(error.or_on(format!("plugins.{NAME}.{key}.{}", change.item().unwrap_or_default())))
                }
            }
        }
        // Ports go before their bridges.
        last.splice(0..0, going);
    }
    for change in changes.iter().filter(|change| change.key() == FLOWS) {
        if let Some((bridge, _)) = change.item().and_then(of_item) {
            flows.entry(bridge).or_default().push(change);
        }
    }
    Error::all(errors).map_or(Ok(()), Err)?;
    first.extend(flows.into_iter().map(|(bridge, changes)| bundle(bridge, &changes, current)));
    first.extend(last);
    Ok(first)
}

fn action(changes: Vec<Change>, title: String, call: Call, undo: Undo) -> Action {
    Action::new(NAME, changes, title, call, undo)
}

/// A change of a bridge or a port.
fn row(snapshot: &Snapshot, key: &str, change: &Change) -> Result<Action> {
    let what = if key == BRIDGES { "bridge" } else { "port" };
    let name = change.item().unwrap_or_default();
    let is_ours = match key {
        BRIDGES => snapshot.bridges.get(name).map(|bridge| bridge.is_ours),
        _ => snapshot.ports.get(name).map(|port| port.is_ours),
    };
    if is_ours == Some(false) && !matches!(change, Change::Create { .. }) {
        return Err(not_ours(what, name));
    }
    let call = |verb: &str, args: Vec<Value>| Call::on_host(DATABASE, &format!("{what} {name}"), verb, args);
    let undo = |class: UndoClass, call: Call| Undo { class, call: Some(call) };
    let on = |members: &Value| match members["bridge"].as_str() {
        Some(bridge) => format!(" on {bridge}"),
        None => String::new(),
    };
    let (title, call, undo) = match change {
        Change::Create { to, .. } => {
            let title = format!("Create {what} {name}{}", on(to));
            (title, call("create", vec![to.clone()]), undo(UndoClass::Exact, call("delete", vec![to.clone()])))
        }
        Change::Update { from, to, .. } => {
            let title = format!("Set {} of {what} {name}", told(to));
            let back = call("set", vec![to.clone(), from.clone()]);
            (title, call("set", vec![from.clone(), to.clone()]), undo(UndoClass::Exact, back))
        }
        // What op-dbus does not know of a row does not come back.
        Change::Delete { from, .. } => {
            let from = plain(from);
            let title = format!("Delete {what} {name}{}", on(&from));
            let back = undo(UndoClass::Compensating, call("create", vec![from.clone()]));
            (title, call("delete", vec![from]), back)
        }
        _ => return Err(Error::failed("this is no change of an item")),
    };
    Ok(action(vec![change.clone()], title, call, undo))
}

/// A row without what is only shown.
fn plain(members: &Value) -> Value {
    let mut members = members.clone();
    if let Value::Object(map) = &mut members {
        map.retain(|name, _| !["managed", "ofport", "error", "bond"].contains(&name.as_str()));
    }
    members
}

fn told(members: &Value) -> String {
    let one = |(name, value): (&String, &Value)| format!("{name} to {value}");
    members.as_object().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

/// All changes of the flows of a bridge, at once or not at all.
fn bundle(bridge: &str, changes: &[&Change], current: &Map<String, Value>) -> Action {
    let (mut lines, mut back) = (Vec::new(), Vec::new());
    let (mut added, mut changed, mut removed) = (0, 0, 0);
    for change in changes {
        let name = change.item().unwrap_or_default();
        let line = |verb: &str, members: &Value| {
            let flow = items::flow_of(name, members).map(|(_, flow)| flow).unwrap_or_default();
            json!(format!("{verb} {}", flow.to_add()))
        };
        match change {
            Change::Create { to, .. } => {
                added += 1;
                lines.push(line("add", to));
                back.push(line("delete", to));
            }
            Change::Update { to, .. } => {
                changed += 1;
                let now = current.get(FLOWS).and_then(|all| all.get(name)).unwrap_or(&Value::Null);
                let mut after = now.clone();
                for (member, value) in to.as_object().into_iter().flatten() {
                    after[member] = value.clone();
                }
                // Only this keeps the counters of a flow.
                let is_of_actions = to.as_object().is_some_and(|to| to.len() == 1 && to.contains_key("actions"));
                let verb = if is_of_actions { "modify" } else { "add" };
                lines.push(line(verb, &after));
                back.push(line(verb, now));
            }
            Change::Delete { from, .. } => {
                removed += 1;
                lines.push(line("delete", from));
                back.push(line("add", from));
            }
            _ => {}
        }
    }
    let counts = [(added, "add"), (changed, "change"), (removed, "remove")];
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, verb)| format!("{verb} {count}"));
    let title = format!("Flows of {bridge}: {}", told.collect::<Vec<_>>().join(", "));
    let call = |lines| Call::on_host(OPENFLOW, &format!("bridge {bridge}"), "bundle", lines);
    let undo = Undo { class: UndoClass::Exact, call: Some(call(back)) };
    action(changes.iter().map(|change| (*change).clone()).collect(), title, call(lines), undo)
}

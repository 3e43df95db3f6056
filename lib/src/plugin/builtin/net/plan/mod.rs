//! From changes to operations in an order that works: links before what stands on them, ports before they are up,
//! addresses on links that are up, routes over addresses, deletions after all that, files last.
//!
//! A change belongs to the first operation that serves it: whatever of them fails, it is taken back as a whole.

mod beside;
mod parts;
mod together;

use super::kernel::Snapshot;
use super::settings::Settings;
use super::wishes::item::{LISTS, at, list};
use super::{DNS, INTERFACES, NAME, PROFILES, ROUTES, ops, owners};
use crate::base::{Call, Error, Result};
use crate::state::{Action, Change, Undo};
use parts::{difference, exact, ipv6_title, part_of, set_title, spec, updated, with_link};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// When an operation has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    DeleteRoute,
    Create,
    Set,
    Controller,
    /// A bridge follows the MTU of its ports unless it is set after they joined.
    BridgeMtu,
    State,
    Ipv6,
    AddAddress,
    DeleteAddress,
    AddRoute,
    Delete,
    Files,
}

struct Step {
    phase: Phase,
    rank: i64,
    action: Action,
}

/// Plans `changes` from what there is now.
pub struct Planner<'a> {
    settings: &'a Settings,
    snapshot: &'a Snapshot,
    /// What a query shows.
    current: &'a Map<String, Value>,
    /// The links that change, as they are to be; null for those that go.
    after: BTreeMap<&'a str, Value>,
    steps: Vec<Step>,
    errors: Vec<Error>,
}

impl<'a> Planner<'a> {
    pub fn new(settings: &'a Settings, snapshot: &'a Snapshot, current: &'a Map<String, Value>) -> Self {
        Self { settings, snapshot, current, after: BTreeMap::new(), steps: Vec::new(), errors: Vec::new() }
    }

    /// The actions; `is_back` when they lead to what there was before, which nobody may refuse.
    pub fn plan(mut self, changes: &'a [Change], is_back: bool) -> Result<Vec<Action>> {
        for change in changes.iter().filter(|change| change.key() == INTERFACES) {
            let Some(name) = change.item() else { continue };
            let after = match change {
                Change::Create { to, .. } => to.clone(),
                Change::Update { from, to, .. } => updated(self.now(name).clone(), from, to),
                _ => Value::Null,
            };
            self.after.insert(name, after);
            if !is_back {
                self.check_manager(name);
            }
        }
        for change in changes {
            match (change.key(), change) {
                (INTERFACES, Change::Create { item, .. }) => self.create(item, change, changes),
                (INTERFACES, Change::Update { item, from, to, .. }) => self.update(item, from, to, change),
                (ROUTES, Change::Set { to, .. }) => self.routes(to, change),
                (DNS, Change::Set { from, to, .. }) => self.dns(from, to, change),
                (PROFILES, _) => self.profile(change),
                _ => {}
            }
        }
        self.controllers(changes);
        self.deletes(changes);
        Error::all(self.errors).map_or(Ok(()), Err)?;
        self.steps.sort_by_key(|step| (step.phase, step.rank));
        Ok(self.steps.into_iter().map(|step| step.action).collect())
    }

    fn now(&self, name: &str) -> &'a Value {
        self.current.get(INTERFACES).and_then(|items| items.get(name)).unwrap_or(&Value::Null)
    }

    fn after(&self, name: &str) -> &Value {
        self.after.get(name).unwrap_or_else(|| self.now(name))
    }

    fn text_after(&self, name: &str, path: &str) -> Option<&str> {
        at(self.after(name), path)?.as_str()
    }

    /// How many links a link stands on.
    fn depth(&self, name: &str) -> i64 {
        let mut depth = 0;
        let mut at_name = name.to_owned();
        while let Some(base) =
            self.text_after(&at_name, "vlan.base-iface").or_else(|| at(self.now(&at_name), "vlan.base-iface")?.as_str())
        {
            at_name = base.to_owned();
            depth += 1;
            if depth > 16 {
                break;
            }
        }
        depth
    }

    fn check_manager(&mut self, name: &str) {
        let index = self.snapshot.named(name).map(|link| link.index);
        let Some(manager) = index.and_then(|index| owners::manager(self.settings, name, index)) else { return };
        let what = format!("{manager} manages {name} and would undo what is done to it");
        let hint = format!(
            "change it through {manager}, or add {name:?} to take_over in [settings] of plugin.toml and take it out there"
        );
        self.errors.push(Error::refused(what).on(format!("{NAME}/{INTERFACES}/{name}")).hint(hint));
    }

    fn step(
        &mut self,
        (phase, rank): (Phase, i64),
        name: &str,
        title: String,
        call: Call,
        undo: Undo,
        change: Option<Change>,
    ) {
        let mut action = Action::new(NAME, change.into_iter().collect(), title, call, undo);
        if action.resources.is_empty() {
            action.resources = vec![format!("{NAME}/{INTERFACES}/{name}")];
        }
        self.steps.push(Step { phase, rank, action });
    }

    fn create(&mut self, name: &str, change: &Change, changes: &[Change]) {
        let to = self.after(name).clone();
        let is_new = |name: &&str| self.after.contains_key(name) && self.now(name).is_null();
        let peer = at(&to, "veth.peer").and_then(Value::as_str).filter(is_new).map(str::to_owned);
        let of_peer = |step: &&mut Step| {
            step.phase == Phase::Create
                && peer.as_ref().is_some_and(|peer| step.action.call.path == ops::delete(peer).path)
        };
        // Both ends of a pair come at once; of the second, members are set then.
        let is_with_peer = match self.steps.iter_mut().find(of_peer) {
            Some(step) => {
                step.action.changes.push(change.clone());
                true
            }
            None => false,
        };
        if !is_with_peer {
            let kind = at(&to, "type").and_then(Value::as_str).unwrap_or("link");
            let has_file =
                |change: &Change| change.key() == PROFILES && change.item() == Some(name) && !change.takes_item();
            let is_kept = self.current.get(PROFILES).is_some_and(|all| all.get(name).is_some());
            let till = if is_kept || changes.iter().any(has_file) { "" } else { ", until the next start" };
            let with = peer.map(|peer| format!(" and {peer}")).unwrap_or_default();
            let title = format!("Create {kind} {name}{with}{till}");
            let rank = self.depth(name);
            let call = ops::create(name, &spec(&to));
            self.step((Phase::Create, rank), name, title, call, exact(ops::delete(name)), Some(change.clone()));
        }
        let is_bridge = at(&to, "type").is_some_and(|kind| kind == "linux-bridge");
        for (member, is_late) in [("mac-address", false), ("mtu", is_bridge)] {
            let Some(value) = at(&to, member).filter(|value| !value.is_null() && (is_with_peer || is_late)) else {
                continue;
            };
            let phase = if is_late { Phase::BridgeMtu } else { Phase::Set };
            self.step(
                (phase, 0),
                name,
                set_title(name, member, value),
                ops::set(name, json!({ member: value })),
                with_link(),
                None,
            );
        }
        if at(&to, "state").is_none_or(|state| state == "up") {
            let call = ops::set(name, json!({"state": "up"}));
            self.step((Phase::State, self.depth(name)), name, format!("Take {name} up"), call, with_link(), None);
        }
        let default = std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6");
        let is_on_by_default = default.is_ok_and(|text| text.trim() == "0");
        if let Some(is_on) = at(&to, "ipv6.enabled").and_then(Value::as_bool).filter(|is_on| *is_on != is_on_by_default)
        {
            self.step(
                (Phase::Ipv6, 0),
                name,
                ipv6_title(name, is_on),
                ops::ipv6_switch(name, is_on),
                with_link(),
                None,
            );
        }
        for path in &LISTS[..2] {
            for entry in list(&to, path) {
                self.add_address(name, entry, with_link(), None);
            }
        }
    }

    fn add_address(&mut self, name: &str, entry: &Value, undo: Undo, change: Option<Change>) {
        let call = ops::address(name, true, entry);
        let title = format!("Give {name} the address {}", call.args[0].as_str().unwrap_or_default());
        self.step((Phase::AddAddress, 0), name, title, call, undo, change);
    }

    fn update(&mut self, name: &str, from: &Value, to: &Value, change: &Change) {
        let (now, after) = (self.now(name).clone(), self.after(name).clone());
        let members = to.as_object().into_iter().chain(from.as_object()).flat_map(Map::keys);
        let mut members: Vec<&String> = members.collect();
        members.sort_unstable();
        members.dedup();
        for member in members {
            let part = part_of(change, member);
            let (is, will) = (&now[member.as_str()], &after[member.as_str()]);
            match member.as_str() {
                "mtu" | "mac-address" if is != will => {
                    let depth = self.depth(name);
                    let is_less = will.as_u64() < is.as_u64();
                    let undo = exact(ops::set(name, json!({ member: is })));
                    let call = ops::set(name, json!({ member: will }));
                    let is_bridge = after["type"] == "linux-bridge" && member == "mtu";
                    let phase = if is_bridge { Phase::BridgeMtu } else { Phase::Set };
                    let rank = if is_less { -depth } else { depth };
                    self.step((phase, rank), name, set_title(name, member, will), call, undo, Some(part));
                }
                "state" if is != will => {
                    let word = will.as_str().unwrap_or("up");
                    let undo = exact(ops::set(name, json!({ "state": is })));
                    let call = ops::set(name, json!({ "state": will }));
                    self.step(
                        (Phase::State, self.depth(name)),
                        name,
                        format!("Take {name} {word}"),
                        call,
                        undo,
                        Some(part),
                    );
                }
                "ipv4" => self.addresses(name, LISTS[0], &now, &after, Some(part)),
                "ipv6" => self.ipv6(name, &now, &after, part),
                "bridge" | "link-aggregation" => self.options(name, member, is, will, &part),
                "type" | "veth" | "vlan" if is != will => {
                    let error = Error::refused(format!("the {member} of {name} cannot become {will}"));
                    self.errors.push(error.on(format!("{NAME}/{INTERFACES}/{name}")));
                }
                _ => {}
            }
        }
    }

    fn ipv6(&mut self, name: &str, now: &Value, after: &Value, part: Change) {
        let (is, will) = (at(now, "ipv6.enabled"), at(after, "ipv6.enabled"));
        let Some(is_on) = will.and_then(Value::as_bool).filter(|_| is != will) else {
            return self.addresses(name, LISTS[1], now, after, Some(part));
        };
        let undo = exact(ops::ipv6_switch(name, !is_on));
        self.step((Phase::Ipv6, 0), name, ipv6_title(name, is_on), ops::ipv6_switch(name, is_on), undo, Some(part));
        if is_on {
            self.addresses(name, LISTS[1], now, after, None);
        }
    }

    fn addresses(&mut self, name: &str, path: &str, now: &Value, after: &Value, mut change: Option<Change>) {
        let (is, will) = (list(now, path), list(after, path));
        for entry in will.iter().filter(|entry| !is.contains(entry)) {
            self.add_address(name, entry, exact(ops::address(name, false, entry)), change.take());
        }
        // IPv6 addresses go by themselves when the link goes down.
        let goes_by_itself = path == LISTS[1] && at(after, "state").is_some_and(|state| state == "down");
        for entry in is.iter().filter(|entry| !will.contains(entry)) {
            let call = ops::address(name, false, entry);
            let title = format!("Take the address {} from {name}", call.args[0].as_str().unwrap_or_default());
            let phase = if goes_by_itself { Phase::DeleteRoute } else { Phase::DeleteAddress };
            self.step((phase, 1), name, title, call, exact(ops::address(name, true, entry)), change.take());
        }
    }

    /// Options of a bridge or a bond; its ports are told where they join.
    fn options(&mut self, name: &str, member: &str, is: &Value, will: &Value, part: &Change) {
        if is["mode"] != will["mode"] {
            let error = Error::refused(format!("the mode of {name} cannot become {}", will["mode"]));
            self.errors.push(error.on(format!("{NAME}/{INTERFACES}/{name}")));
        }
        let (old, new) = difference(&is["options"], &will["options"]);
        if new.as_object().is_none_or(Map::is_empty) {
            return;
        }
        let set = |options: &Value| ops::set(name, json!({ member: { "options": options } }));
        let title = format!("Set {member} options of {name} to {new}");
        self.step((Phase::Set, 0), name, title, set(&new), exact(set(&old)), Some(part.clone()));
    }
}

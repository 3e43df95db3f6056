//! From a document to a desired state in the form of a query: what is nested or listed becomes items by name, policies
//! become flows, what goes with a bridge or a port is written out. Everything that cannot be is refused here.

use super::canon::{self, Known, Wish};
use super::database::{SYSTEM, Snapshot};
use super::flow::{self, Flow};
use super::leaving::Left;
use super::settings::Settings;
use super::{BRIDGES, FLOWS, FOREIGN, NAME, POLICIES, PORTS, policy};
use crate::base::{Error, Result};
use crate::plugin::Owned;
use crate::state::PluginState;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

type Items = Map<String, Value>;

/// What is wished, while it is worked out.
pub struct Wishes<'a> {
    pub settings: &'a Settings,
    pub snapshot: &'a Snapshot,
    pub known: &'a Known,
    /// What a query shows.
    pub current: &'a Map<String, Value>,
    pub(super) bridges: Items,
    pub(super) ports: Items,
    pub(super) flows: Vec<Wish>,
    /// By key, the items that are to go.
    pub(super) absent: BTreeMap<&'static str, BTreeSet<String>>,
    pub(super) errors: Vec<Error>,
    /// By bridge, the guests that leave it by the same document.
    pub(super) left: Left,
}

impl<'a> Wishes<'a> {
    pub fn new(
        settings: &'a Settings,
        snapshot: &'a Snapshot,
        known: &'a Known,
        current: &'a Map<String, Value>,
    ) -> Self {
        let (bridges, ports, flows) = (Map::new(), Map::new(), Vec::new());
        let (absent, errors, left) = (BTreeMap::new(), Vec::new(), Left::new());
        Self { settings, snapshot, known, current, bridges, ports, flows, absent, errors, left }
    }

    /// The same, when these guests go.
    pub fn left(self, left: Left) -> Self {
        Self { left, ..self }
    }

    /// The desired state in the form of a query; every problem when there are some.
    pub fn normalised(mut self, desired: &PluginState, owned: &Owned) -> Result<PluginState> {
        // What is read here is not copied: it may be ten thousand flows.
        let is_ours = |key: &str| [BRIDGES, PORTS, FLOWS, POLICIES].contains(&key);
        let values = desired.values.iter().filter(|(key, _)| !is_ours(key));
        let values = values.map(|(key, value)| (key.clone(), value.clone())).collect();
        let absent = desired.absent.iter().filter(|(key, _)| !is_ours(key));
        let absent = absent.map(|(key, items)| (key.clone(), items.clone())).collect();
        let mut state = PluginState { values, absent, observed: desired.observed.clone() };
        let is_said = |key: &str| desired.values.contains_key(key) || desired.absent.contains_key(key);
        let has_flows = is_said(FLOWS) || is_said(POLICIES);
        for key in [BRIDGES, PORTS, FLOWS] {
            let listed = desired.absent.get(key).into_iter().flatten().cloned();
            self.absent.insert(key, listed.collect());
        }
        self.read(desired);
        for (key, said) in [(BRIDGES, &self.bridges), (PORTS, &self.ports)] {
            if desired.values.contains_key(key) {
                let left_out = owned.get(key).into_iter().flatten().filter(|name| !said.contains_key(*name));
                let left_out: Vec<String> = left_out.cloned().collect();
                self.absent.entry(key).or_default().extend(left_out);
            }
        }
        self.check_ports();
        self.check_fail_modes();
        self.take_along();
        let mut policies_gone = BTreeSet::new();
        self.policies(desired, &mut policies_gone);
        Error::all(std::mem::take(&mut self.errors)).map_or(Ok(()), Err)?;
        let flows = self.flow_items(&policies_gone)?;
        for (key, items, is_said) in
            [(BRIDGES, self.bridges, is_said(BRIDGES)), (PORTS, self.ports, is_said(PORTS)), (FLOWS, flows, has_flows)]
        {
            if is_said || !items.is_empty() {
                state.values.insert(key.into(), Value::Object(items));
            }
        }
        for (key, items) in self.absent.into_iter().filter(|(_, items)| !items.is_empty()) {
            state.absent.insert(key.into(), items.into_iter().collect());
        }
        Ok(state)
    }

    pub(super) fn error(&mut self, place: &str, error: Error) {
        self.errors.push(error.or_on(format!("plugins.{NAME}.{place}")));
    }

    /// Takes the document apart.
    fn read(&mut self, desired: &PluginState) {
        for (name, mut members) in self.items(desired, BRIDGES) {
            let nested = (members.remove(PORTS), members.remove(FLOWS));
            if self.is_to_go(BRIDGES, &name, &members) {
                continue;
            }
            if let Some(Value::Array(list)) = members.get_mut("protocols") {
                list.sort_by_key(ToString::to_string);
            }
            match nested.0 {
                Some(Value::Object(ports)) => {
                    for (port, value) in ports {
                        let Value::Object(mut inner) = value else {
                            self.error(
                                &format!("{BRIDGES}.{name}.{PORTS}.{port}"),
                                Error::bad_input("this is no object of members"),
                            );
                            continue;
                        };
                        let is_here = inner.get("bridge").is_none_or(|bridge| *bridge == *name);
                        if !is_here {
                            self.error(
                                &format!("{BRIDGES}.{name}.{PORTS}.{port}.bridge"),
                                Error::bad_input("it is listed at another bridge"),
                            );
                        }
                        inner.insert("bridge".into(), json!(name));
                        self.add_port(port, inner);
                    }
                }
                None => {}
                Some(_) => {
                    self.error(&format!("{BRIDGES}.{name}.{PORTS}"), Error::bad_input("ports are an object by name"))
                }
            }
            if let Some(flows) = nested.1 {
                self.add_flows(&format!("{BRIDGES}.{name}.{FLOWS}"), &flows, Some(&name));
            }
            if let Some(error) = bad_name(&name).filter(|_| !self.snapshot.bridges.contains_key(&name)) {
                self.error(&format!("{BRIDGES}.{name}"), error);
            }
            self.bridges.insert(name, Value::Object(members));
        }
        for (name, members) in self.items(desired, PORTS) {
            self.add_port(name, members);
        }
        if let Some(flows) = desired.values.get(FLOWS) {
            self.add_flows(FLOWS, flows, None);
        }
    }

    /// The items of a key that are objects.
    fn items(&mut self, desired: &PluginState, key: &str) -> Vec<(String, Items)> {
        let mut found = Vec::new();
        match desired.values.get(key) {
            None => {}
            Some(Value::Object(items)) => {
                for (name, value) in items {
                    match value {
                        Value::Object(members) => found.push((name.clone(), members.clone())),
                        _ => self.error(&format!("{key}.{name}"), Error::bad_input("this is no object of members")),
                    }
                }
            }
            Some(_) => self.error(key, Error::bad_input("this is no object of items by name")),
        }
        found
    }

    /// Whether an item says that it is to go.
    fn is_to_go(&mut self, key: &'static str, name: &str, members: &Items) -> bool {
        let is_gone = members.get("state").is_some_and(|state| state == "absent");
        if is_gone {
            self.absent.entry(key).or_default().insert(name.to_owned());
        } else if self.absent.get(key).is_some_and(|gone| gone.contains(name)) {
            self.error(&format!("{key}.{name}"), Error::bad_input("it is both wanted and absent"));
        }
        is_gone
    }

    fn add_port(&mut self, name: String, mut members: Items) {
        if self.is_to_go(PORTS, &name, &members.clone()) {
            return;
        }
        if let Some(Value::Array(list)) = members.get_mut("trunks") {
            list.sort_by_key(Value::as_u64);
        }
        if self.ports.contains_key(&name) {
            self.error(&format!("{PORTS}.{name}"), Error::bad_input("this port is listed twice"));
        }
        self.ports.insert(name, Value::Object(members));
    }

    fn add_flows(&mut self, place: &str, flows: &Value, bridge: Option<&str>) {
        let full = |at: &str| format!("plugins.{NAME}.{place}{at}");
        let mut wished = Vec::new();
        match (flows, bridge) {
            (Value::Array(list), _) => {
                for (i, one) in list.iter().enumerate() {
                    let place = full(&format!("[{i}]"));
                    wished.push(match one {
                        Value::Object(members) => {
                            let mut members = Cow::Borrowed(members);
                            if let Some(bridge) = bridge {
                                members.to_mut().insert("bridge".into(), json!(bridge));
                            }
                            canon::wish(&place, &members, flow::cookie(None))
                        }
                        _ => Err(Error::bad_input("a flow is an object").on(place)),
                    });
                }
            }
            // As a query prints them.
            (Value::Object(items), None) => {
                for (name, value) in items {
                    let place = full(&format!(".{name:?}"));
                    wished.push(match (flow::of_item(name), value) {
                        (Some((bridge, of_name)), Value::Object(members)) => {
                            let mut members = members.clone();
                            members.insert("bridge".into(), json!(bridge));
                            members.insert("table".into(), json!(of_name.table));
                            members.insert("priority".into(), json!(of_name.priority));
                            members.insert("match".into(), json!(of_name.fields));
                            canon::wish(&place, &members, flow::cookie(None))
                        }
                        _ => {
                            let hint =
                                "an item is called \"BRIDGE table=0,priority=1,FIELDS\"; a list of flows is taken too";
                            Err(Error::bad_input("this is no flow").on(place).hint(hint))
                        }
                    });
                }
            }
            _ => wished.push(Err(Error::bad_input("this is no list of flows").on(full("")))),
        }
        for wish in wished {
            match wish {
                Ok(wish) => self.flows.push(wish),
                Err(error) => self.errors.push(error),
            }
        }
    }

    pub(super) fn is_bridge_after(&self, name: &str) -> bool {
        let is_gone = self.absent.get(BRIDGES).is_some_and(|gone| gone.contains(name));
        !is_gone && (self.bridges.contains_key(name) || self.snapshot.bridges.contains_key(name))
    }

    pub(super) fn no_bridge(name: &str) -> Error {
        Error::bad_input(format!("there is no bridge {name}"))
            .hint("ovs-vsctl list-br shows those there are; the same document can make one")
    }

    /// Each port is on a bridge, and can be there.
    fn check_ports(&mut self) {
        for (name, members) in self.ports.clone() {
            let place = format!("{PORTS}.{name}");
            let said = members["bridge"].as_str();
            let Some(bridge) = said.or_else(|| Some(self.snapshot.ports.get(&name)?.bridge.as_str())) else {
                self.error(&format!("{place}.bridge"), Error::bad_input("a port says its bridge"));
                continue;
            };
            if !self.is_bridge_after(bridge) {
                self.error(&format!("{place}.bridge"), Self::no_bridge(bridge));
            }
            if name == bridge {
                self.error(
                    &place,
                    Error::bad_input("a bridge has a port of its own name already").hint("leave it out"),
                );
            }
            let kind = members["type"].as_str().unwrap_or(SYSTEM);
            if let Some(error) = bad_name(&name).filter(|_| !self.snapshot.ports.contains_key(&name)) {
                self.error(&place, error);
            }
            if kind == "patch" && !self.snapshot.ports.contains_key(&name) && members["options"]["peer"].is_null() {
                self.error(&format!("{place}.options.peer"), Error::bad_input("a patch port says its peer"));
            }
            let vlan = |value: &Value| value.is_null() || value.as_u64().is_some_and(|tag| tag < 4096);
            let trunks = members["trunks"].as_array().is_none_or(|list| list.iter().all(vlan));
            for (member, is_right) in [("tag", vlan(&members["tag"])), ("trunks", trunks)] {
                if !is_right {
                    let error = Error::bad_input(format!("{} is no VLAN", members[member])).hint("0 to 4095");
                    self.error(&format!("{place}.{member}"), error);
                }
            }
        }
    }

    /// A bridge whose fail mode changes forgets its flows, those of others too.
    fn check_fail_modes(&mut self) {
        for (name, members) in self.bridges.clone() {
            let Some(bridge) = self.snapshot.bridges.get(&name).filter(|bridge| bridge.is_ours) else { continue };
            let is_other = |mode: &&str| FAIL_MODES.contains(mode) && bridge.members["fail_mode"] != **mode;
            let others = self.foreign(&name).into_iter().find(|(identity, _)| identity != DEFAULT);
            if let (Some(_), Some((_, text))) = (members["fail_mode"].as_str().filter(is_other), others) {
                let message = format!("Open vSwitch would forget flows of others with it: {text}");
                self.error(&format!("{BRIDGES}.{name}.fail_mode"), Error::refused(message).hint(TAKE_OFF_FLOWS));
            }
        }
    }

    /// The flows of others on a bridge, by identity.
    pub(super) fn foreign(&self, bridge: &str) -> BTreeMap<String, String> {
        let texts = self.current.get(FOREIGN).and_then(|all| all.get(bridge)).and_then(Value::as_array);
        let texts = texts.into_iter().flatten().filter_map(Value::as_str);
        texts.filter_map(|text| Some((Flow::parse(text)?.identity(), text.to_owned()))).collect()
    }

    /// The ports of a bridge when all is done.
    pub(super) fn ports_after(&self, bridge: &str) -> BTreeSet<String> {
        let gone = self.absent.get(PORTS);
        let there = self.snapshot.shown_ports().filter(|(_, port)| port.bridge == bridge).map(|(name, _)| name);
        let there = there.filter(|name| gone.is_none_or(|gone| !gone.contains(*name)));
        let wished = self.ports.iter().filter(|(_, members)| members["bridge"] == *bridge).map(|(name, _)| name);
        there.chain(wished).cloned().collect()
    }

    /// Makes flows of policies. What a policy gave before and does not give now is to go.
    fn policies(&mut self, desired: &PluginState, gone: &mut BTreeSet<u64>) {
        for name in desired.absent.get(POLICIES).into_iter().flatten() {
            gone.insert(flow::cookie(Some(name)));
        }
        for (name, members) in self.items(desired, POLICIES) {
            let place = format!("{POLICIES}.{name}");
            let cookie = flow::cookie(Some(&name));
            gone.insert(cookie);
            if members.get("state").is_some_and(|state| state == "absent") {
                continue;
            }
            let policy = match policy::read(&members) {
                Ok(policy) => policy,
                Err(error) => {
                    self.error(&place, error);
                    continue;
                }
            };
            if let Some(bridge) = policy.bridge.as_ref().filter(|bridge| !self.is_bridge_after(bridge)) {
                self.error(&format!("{place}.bridge"), Self::no_bridge(bridge));
            }
            let bridges = self.snapshot.bridges.keys().chain(self.bridges.keys());
            let bridges: BTreeSet<String> = bridges.filter(|name| self.is_bridge_after(name)).cloned().collect();
            for bridge in bridges {
                for port in self.ports_after(&bridge) {
                    let at = format!("plugins.{NAME}.{place}.flows for {port}");
                    let flows = policy.flows(self.settings, &bridge, &port);
                    let wishes = flows.map(|flows| flows.iter().map(|flow| canon::wish(&at, flow, cookie)).collect());
                    match wishes.and_then(|wishes: Vec<Result<Wish>>| wishes.into_iter().collect::<Result<Vec<_>>>()) {
                        Ok(wishes) => self.flows.extend(wishes),
                        Err(error) => self.error(&place, error),
                    }
                }
            }
        }
    }
}

/// What a bridge does that has no controller.
pub const FAIL_MODES: [&str; 2] = ["standalone", "secure"];

pub const TAKE_OFF_FLOWS: &str = "take them off first: ovs-ofctl del-flows";

/// The flow that a bridge without flows gets by itself.
pub const DEFAULT: &str = "table=0,priority=0";

/// Why something of others is left alone.
pub fn not_ours(what: &str, name: &str) -> Error {
    Error::refused(format!("the {what} {name} was not made by op-dbus"))
        .hint(format!("to hand it over: ovs-vsctl set {what} {name} external_ids:op-dbus=managed"))
}

fn bad_name(name: &str) -> Option<Error> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || "/,:()[]=#\"'".contains(c);
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    (name.is_empty() || name.len() > 15 || name.contains(is_bad) || is_number).then(|| {
        Error::bad_input("this is no name of a bridge or a port")
            .hint("1 to 15 characters, no spaces, slashes, commas, colons or brackets, and not only digits")
    })
}

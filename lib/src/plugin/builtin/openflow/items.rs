//! Flows that are wished, as items; and what may not be.

use super::canon::Wish;
use super::flow::{self, Flow, item};
use super::wishes::{DEFAULT, Wishes};
use super::{BRIDGES, FLOWS, FOREIGN, NAME, PORTS, ofctl};
use crate::base::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a query shows of a flow; its name says the rest.
pub fn members(flow: &Flow) -> Map<String, Value> {
    let mut members = Map::from_iter([
        ("actions".to_owned(), json!(flow.actions)),
        ("cookie".to_owned(), json!(format!("{:#x}", flow.cookie))),
    ]);
    let timeouts = [flow.idle_timeout, flow.hard_timeout, flow.importance];
    for (name, value) in OPTIONAL.iter().zip(timeouts).filter(|(_, value)| *value > 0) {
        members.insert((*name).into(), json!(value));
    }
    if !flow.flags.is_empty() {
        members.insert("flags".into(), json!(flow.flags));
    }
    members
}

/// Members that a flow may lack.
pub const OPTIONAL: [&str; 3] = ["idle_timeout", "hard_timeout", "importance"];

/// The flow of an item.
pub fn flow_of(name: &str, members: &Value) -> Option<(String, Flow)> {
    let (bridge, identity) = flow::of_item(name)?;
    let number = |name: &str| members[name].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let cookie = members["cookie"].as_str().and_then(|text| flow::parse_cookie(text).ok()).unwrap_or(flow::NAMESPACE);
    let flags = members["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let flow = Flow {
        cookie,
        idle_timeout: number(OPTIONAL[0]),
        hard_timeout: number(OPTIONAL[1]),
        importance: number(OPTIONAL[2]),
        flags: flags.map(str::to_owned).collect(),
        actions: members["actions"].as_str().unwrap_or("drop").to_owned(),
        ..identity
    };
    Some((bridge.to_owned(), flow))
}

impl Wishes<'_> {
    /// The items of the flows; those that are to go join `absent`. `policies` are the cookies of policies that are spoken of.
    pub(super) fn flow_items(&mut self, policies: &BTreeSet<u64>) -> Result<Map<String, Value>> {
        self.check_bridges_of_flows();
        let gone_ports = self.absent.get(PORTS).cloned().unwrap_or_default();
        // What speaks of a port that is not there is not there.
        let flows = std::mem::take(&mut self.flows);
        let is_moot = |wish: &Wish| wish.is_absent && !self.knows_ports(wish);
        let flows: Vec<Wish> = flows.into_iter().filter(|wish| !is_moot(wish)).collect();
        Error::all(std::mem::take(&mut self.errors)).map_or(Ok(()), Err)?;
        let ports_of = |bridge: &str| {
            let numbers = self.snapshot.numbers(bridge).into_iter().map(|(name, number)| (number, name.to_owned()));
            (self.ports_after(bridge), numbers.collect())
        };
        let canonical = self.known.canonical(self.settings, &flows, &ports_of)?;
        let mut foreign: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        let mut found: Map<String, Value> = Map::new();
        let mut places: BTreeMap<String, &str> = BTreeMap::new();
        let nothing = json!({});
        let there = self.current.get(FLOWS).unwrap_or(&nothing);
        let mut errors = Vec::new();
        for (wish, flow) in flows.iter().zip(&canonical) {
            let identity = flow.identity();
            let name = item(&wish.bridge, &identity);
            if let Some(other) = places.insert(name.clone(), &wish.place) {
                errors.push(
                    Error::bad_input(format!("this flow is listed twice, here and at {other}: {identity}"))
                        .on(wish.place.clone()),
                );
            }
            if wish.is_absent {
                self.absent.entry(FLOWS).or_default().insert(name);
                continue;
            }
            let others = foreign.entry(&wish.bridge).or_insert_with(|| self.foreign(&wish.bridge));
            let is_default = identity == DEFAULT && self.gets_default_flow(&wish.bridge);
            let conflict =
                others.get(&identity).map(String::as_str).or(is_default.then_some("priority=0,actions=NORMAL"));
            if let Some(other) = conflict {
                let hint = match is_default || identity == DEFAULT {
                    true => "\"fail_mode\": \"secure\" makes a bridge without that flow; else choose another priority",
                    false => {
                        "a switch keeps one flow of a table, priority and match: choose another priority, or remove that one"
                    }
                };
                let message = format!("it would replace a flow of others: {other}");
                errors.push(Error::refused(message).on(wish.place.clone()).hint(hint));
            }
            let mut members = members(flow);
            let now = &there[&name];
            for lacking in OPTIONAL.iter().chain(&["flags"]).filter(|member| !now[**member].is_null()) {
                members.entry(*lacking).or_insert(Value::Null);
            }
            found.insert(name, Value::Object(members));
        }
        let gone_bridges = self.absent.get(BRIDGES).cloned().unwrap_or_default();
        let own = there.as_object().into_iter().flatten();
        let left = own.filter(|(name, _)| !found.contains_key(*name)).filter(|(name, members)| {
            let Some((bridge, flow)) = flow_of(name, members) else { return false };
            let has_lost_port = || gone_ports.iter().any(|port| flow.names_port(port));
            gone_bridges.contains(&bridge) || policies.contains(&flow.cookie) || has_lost_port()
        });
        let left: Vec<String> = left.map(|(name, _)| name.clone()).collect();
        self.absent.entry(FLOWS).or_default().extend(left);
        Error::all(errors).map_or(Ok(found), Err)
    }

    /// Flows are on bridges that are there, whose flows can be read.
    fn check_bridges_of_flows(&mut self) {
        let bridges: BTreeMap<String, String> =
            self.flows.iter().rev().map(|wish| (wish.bridge.clone(), wish.place.clone())).collect();
        for (bridge, place) in bridges {
            if !self.is_bridge_after(&bridge) {
                self.errors.push(Self::no_bridge(&bridge).on(format!("{place}.bridge")));
                continue;
            }
            let after = self.bridges.get(&bridge).and_then(|members| members["protocols"].as_array());
            let is_spoken = after.is_none_or(|list| list.is_empty() || list.iter().any(|one| one == ofctl::VERSION));
            if !is_spoken {
                let message = format!("flows are written by {}, and the bridge is not to speak it", ofctl::VERSION);
                self.errors.push(Error::refused(message).on(format!("plugins.{NAME}.{BRIDGES}.{bridge}.protocols")));
            }
            let is_there = self.snapshot.bridges.contains_key(&bridge);
            let is_read = self.current.get(FOREIGN).is_some_and(|all| all.get(&bridge).is_some());
            if is_there && !is_read && self.current.contains_key(FLOWS) {
                let message = format!("the flows of {bridge} cannot be read, so nothing of them can be changed");
                self.errors.push(Error::refused(message).on(place).hint(format!("see why: op-query --plugin {NAME}")));
            }
        }
    }

    /// Whether a bridge that is made gets a flow by itself.
    fn gets_default_flow(&self, bridge: &str) -> bool {
        let is_new = !self.snapshot.bridges.contains_key(bridge);
        is_new && self.bridges.get(bridge).is_some_and(|members| members["fail_mode"] != "secure")
    }

    /// Whether all ports are there of which a flow speaks.
    fn knows_ports(&self, wish: &Wish) -> bool {
        let names = self.ports_after(&wish.bridge);
        let mut is_known = true;
        wish.said.each_port(&mut |port| {
            is_known &= port == wish.bridge || port.parse::<u32>().is_ok() || names.contains(port);
        });
        is_known
    }
}

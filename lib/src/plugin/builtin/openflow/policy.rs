//! Flow policies: a selector of ports and templates of flows. Each port that is selected gets the flows, with variables
//! filled in.

use super::flow::NAMESPACE;
use super::settings::Settings;
use super::{FLOWS, PORTS, items};
use crate::base::{Error, Result, name::matches};
use crate::state::Change;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A policy of a document.
#[derive(Debug)]
pub struct Policy {
    /// The bridge whose ports are meant; those of all bridges when none is named.
    pub bridge: Option<String>,
    selector: Selector,
    variables: BTreeMap<String, String>,
    templates: Vec<Map<String, Value>>,
}

#[derive(Debug)]
enum Selector {
    /// Ports of containers by their numbers.
    Containers(Vec<RangeInclusive<u64>>),
    /// Ports by name; `*` stands for any text.
    Ports(Vec<String>),
}

/// Reads a policy.
pub fn read(said: &Map<String, Value>) -> Result<Policy> {
    let known = ["bridge", "selector", "variables", "flows"];
    if let Some(other) = said.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::bad_input(format!("a policy has no {other:?}")).hint(format!("it has {}", known.join(", "))));
    }
    let text = |name: &str| match said.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Error::bad_input(format!("its {name} is no text: {other}"))),
    };
    let selector = text("selector")?.ok_or_else(|| Error::bad_input("a policy has a selector").hint(SELECTORS))?;
    let mut variables = BTreeMap::new();
    for (name, value) in said.get("variables").and_then(Value::as_object).into_iter().flatten() {
        variables.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let templates = said.get("flows").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let templates: Option<Vec<Map<String, Value>>> = templates.iter().map(|flow| flow.as_object().cloned()).collect();
    let templates = templates.filter(|templates| !templates.is_empty()).ok_or_else(|| {
        Error::bad_input("a policy has a list of flows")
            .hint(r#"[{"priority": 100, "match": "in_port={port}", "actions": "NORMAL"}]"#)
    })?;
    Ok(Policy { bridge: text("bridge")?, selector: selector_of(&selector)?, variables, templates })
}

/// Whether a flow of a policy only differs because a guest that was started or stopped by the same run brought its port or
/// took it away: the port was not there `before`, or has no name any more.
pub fn follows(change: &Change, before: &Map<String, Value>) -> bool {
    let (Change::Create { item, to: members, .. } | Change::Delete { item, from: members, .. }) = change else {
        return false;
    };
    let Some((_, of)) = items::flow_of(item, members).filter(|_| change.key() == FLOWS) else { return false };
    let was_there = |port: &str| before.get(PORTS).is_some_and(|ports| ports.get(port).is_some());
    let mut has_changed = false;
    of.each_port(&mut |port| has_changed |= !was_there(port));
    of.cookie != NAMESPACE && has_changed
}

const SELECTORS: &str = "container:100-199 or port:veth*; several are separated by commas";

fn selector_of(text: &str) -> Result<Selector> {
    let wrong = || Error::bad_input(format!("{text:?} selects nothing")).hint(SELECTORS);
    match text.split_once(':') {
        Some(("container", ranges)) => {
            let range = |part: &str| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                (first <= last).then_some(first..=last)
            };
            ranges.split(',').map(range).collect::<Option<_>>().map(Selector::Containers).ok_or_else(wrong)
        }
        Some(("port", patterns)) if !patterns.trim().is_empty() => {
            Ok(Selector::Ports(patterns.split(',').map(|pattern| pattern.trim().to_owned()).collect()))
        }
        _ => Err(wrong()),
    }
}

impl Policy {
    /// The flows for one port of `bridge`; nothing when it is not selected.
    pub fn flows(&self, settings: &Settings, bridge: &str, port: &str) -> Result<Vec<Map<String, Value>>> {
        if self.bridge.as_ref().is_some_and(|named| named != bridge) {
            return Ok(Vec::new());
        }
        let numbers = settings.container_ports.iter().find_map(|pattern| numbers_in(pattern, port));
        let is_selected = match &self.selector {
            Selector::Ports(patterns) => patterns.iter().any(|pattern| matches(pattern, port)),
            Selector::Containers(ranges) => {
                numbers.as_ref().is_some_and(|(id, _)| ranges.iter().any(|range| range.contains(id)))
            }
        };
        if !is_selected {
            return Ok(Vec::new());
        }
        let mut variables = self.variables.clone();
        variables.insert("port".into(), port.to_owned());
        variables.insert("bridge".into(), bridge.to_owned());
        if let Some((id, n)) = numbers {
            variables.insert("id".into(), id.to_string());
            variables.insert("n".into(), n.to_string());
        }
        let filled = |template: &Map<String, Value>| {
            let mut flow = Map::new();
            for (name, value) in template {
                let value = match value {
                    Value::String(text) => json!(fill(text, &variables)?),
                    other => other.clone(),
                };
                flow.insert(name.clone(), value);
            }
            flow.insert("bridge".into(), json!(bridge));
            Ok(flow)
        };
        self.templates.iter().map(filled).collect()
    }
}

/// The numbers `{id}` and `{n}` of a name that is like `pattern`.
fn numbers_in(pattern: &str, name: &str) -> Option<(u64, u64)> {
    let (head, rest) = pattern.split_once("{id}")?;
    let (middle, tail) = rest.split_once("{n}")?;
    let (id, n) = name.strip_prefix(head)?.strip_suffix(tail)?.split_once(middle)?;
    Some((id.parse().ok()?, n.parse().ok()?))
}

/// `text` with `{NAME}` replaced by the variable of that name.
fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| Error::bad_input(format!("{text:?} has no closing brace")))?;
        let value = variables.get(name).ok_or_else(|| {
            let known = variables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::bad_input(format!("{text:?}: there is no variable {name:?}")).hint(format!("there are: {known}"))
        })?;
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(said: &Value) -> Result<Policy> {
        read(said.as_object().unwrap())
    }

    #[test]
    fn a_policy_is_filled_in_for_each_port_it_selects() {
        let settings = Settings::default();
        let flows = json!([{"priority": 7, "match": "in_port={port},ip,nw_src={net}.{id}", "actions": "output:{up}"}]);
        let said =
            json!({"selector": "container:100-199,300", "variables": {"net": "10.0.0", "up": "eth1"}, "flows": flows});
        let one = policy(&said).unwrap();
        let found = one.flows(&settings, "br0", "veth105i0").unwrap();
        let expected = json!({"bridge": "br0", "priority": 7, "match": "in_port=veth105i0,ip,nw_src=10.0.0.105", "actions": "output:eth1"});
        assert_eq!(json!(found), json!([expected]));
        for other in ["veth200i0", "veth10i", "eth0", "xveth105i0"] {
            assert!(one.flows(&settings, "br0", other).unwrap().is_empty(), "{other}");
        }
        assert_eq!(one.flows(&settings, "br0", "fwln300o1").unwrap().len(), 1);
        let by_name =
            json!({"bridge": "br1", "selector": "port:up*", "flows": [{"match": "in_port={id}", "actions": "drop"}]});
        let by_name = policy(&by_name).unwrap();
        assert!(by_name.flows(&settings, "br0", "up1").unwrap().is_empty());
        assert!(by_name.flows(&settings, "br1", "up1").unwrap_err().message.contains("no variable \"id\""));
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        let flows = json!([{"actions": "drop"}]);
        for selector in ["", "container", "container:", "container:9-1", "container:a", "port:", "vlan:1"] {
            assert!(policy(&json!({"selector": selector, "flows": flows})).is_err(), "{selector}");
        }
        assert!(policy(&json!({"selector": "port:a", "flows": []})).is_err());
        assert!(policy(&json!({"selector": "port:a", "flow": []})).is_err());
    }
}

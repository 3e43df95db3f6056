//! Items and changes taken apart and put together. Pure.

use crate::base::Call;
use crate::state::{Change, Undo, UndoClass};
use serde_json::{Map, Value, json};

/// What a link is made of; the rest is set when it is there.
pub fn spec(item: &Value) -> Value {
    let made = ["type", "mtu", "mac-address", "vlan", "veth", "bridge", "link-aggregation"];
    let part = |name: &str| Some((name.to_owned(), item.get(name).filter(|value| !value.is_null())?.clone()));
    let mut spec: Map<String, Value> = made.into_iter().filter_map(part).collect();
    if spec.get("type").is_some_and(|kind| kind == "linux-bridge") {
        spec.remove("mtu");
    }
    for member in ["bridge", "link-aggregation"] {
        if let Some(Value::Object(inner)) = spec.get_mut(member) {
            inner.remove("port");
        }
    }
    Value::Object(spec)
}

/// An item with the members of `to`, and without those that only `from` has.
pub fn updated(mut now: Value, from: &Value, to: &Value) -> Value {
    let (Some(item), Some(from), Some(to)) = (now.as_object_mut(), from.as_object(), to.as_object()) else {
        return to.clone();
    };
    from.keys().filter(|name| !to.contains_key(*name)).for_each(|name| drop(item.remove(name)));
    for (name, new) in to {
        let old = item.remove(name).unwrap_or(Value::Null);
        let new = match (&old, from.get(name), new) {
            (Value::Object(_), Some(from @ Value::Object(_)), Value::Object(_)) => updated(old, from, new),
            _ => new.clone(),
        };
        if !new.is_null() {
            item.insert(name.clone(), new);
        }
    }
    now
}

/// Of two objects of options, what differs in each; what one lacks is off.
pub fn difference(is: &Value, will: &Value) -> (Value, Value) {
    let (Some(a), Some(b)) = (is.as_object(), will.as_object()) else { return (json!({}), will.clone()) };
    let (mut old, mut new) = (Map::new(), Map::new());
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        let off = json!(false);
        let (x, y) = (a.get(name).unwrap_or(&off), b.get(name).unwrap_or(&off));
        if x == y {
            continue;
        }
        let (x, y) = if x.is_object() && y.is_object() { difference(x, y) } else { (x.clone(), y.clone()) };
        old.insert(name.clone(), x);
        new.insert(name.clone(), y);
    }
    (Value::Object(old), Value::Object(new))
}

/// The part of an update that is about one member.
pub fn part_of(change: &Change, member: &str) -> Change {
    let Change::Update { plugin, key, item, from, to } = change else { return change.clone() };
    let only = |value: &Value| json!({ member: value.get(member).cloned().unwrap_or(Value::Null) });
    Change::Update { plugin: plugin.clone(), key: key.clone(), item: item.clone(), from: only(from), to: only(to) }
}

pub fn exact(call: Call) -> Undo {
    Undo { class: UndoClass::Exact, call: Some(call) }
}

/// What is set on a link that is being made goes with it.
pub fn with_link() -> Undo {
    Undo { class: UndoClass::Exact, call: None }
}

pub fn set_title(name: &str, member: &str, value: &Value) -> String {
    format!("Set {member} of {name} to {}", value.as_str().map_or(value.to_string(), str::to_owned))
}

pub fn ipv6_title(name: &str, is_on: bool) -> String {
    format!("Switch IPv6 of {name} {}", if is_on { "on" } else { "off" })
}

//! Whether what is there is what was wanted of an item, or of one of its members.

use super::diff::{keeps_removed, same};
use super::spec::{ItemSpec, MemberSpec};
use serde_json::Value;

/// The item of that name.
pub fn item_of<'v>(collection: &'v Value, item: &str) -> Option<&'v Value> {
    collection.as_object()?.get(item)
}

/// Whether `now` has what an item was made with.
pub fn is_made(to: &Value, now: &Value, spec: &ItemSpec) -> bool {
    let (Value::Object(to), Value::Object(now)) = (to, now) else { return to == now };
    to.iter().all(|(name, wanted)| {
        now.get(name).map_or_else(|| is_nothing(wanted), |now| holds(wanted, now, spec.members.get(name)))
    })
}

/// Whether `now` has the members of `to`, and none that this change takes away.
pub fn is_updated(from: &Value, to: &Value, now: &Value, spec: &ItemSpec) -> bool {
    let (Value::Object(wanted), Value::Object(has)) = (to, now) else { return to == now };
    let is_there = wanted.iter().all(|(name, wanted)| match (has.get(name), spec.members.get(name)) {
        (None, _) => is_nothing(wanted),
        (Some(now), Some(member)) if member.is_set => same_items(wanted, now),
        (Some(now), member) => holds(wanted, now, member),
    });
    is_there && !keeps_removed(from, to, now)
}

/// Null and what holds nothing: a service may say either, or nothing at all.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether `now` is what is wanted: all of a value, the mentioned part of an object, the listed part of a set.
pub fn holds(wanted: &Value, now: &Value, member: Option<&MemberSpec>) -> bool {
    let is_set = member.is_some_and(|member| member.is_set);
    let is_unordered = member.is_some_and(|member| member.is_unordered);
    match (wanted, now) {
        (Value::Array(wanted), Value::Array(now)) if is_set => wanted.iter().all(|item| has(now, item)),
        (Value::Array(_), Value::Array(_)) if is_unordered => same_items(wanted, now),
        (Value::Object(wanted), Value::Object(now)) => wanted
            .iter()
            .all(|(name, wanted)| now.get(name).map_or_else(|| wanted.is_null(), |now| holds(wanted, now, None))),
        _ => same(wanted, now),
    }
}

/// Whether an item is in a list.
pub fn has(list: &[Value], item: &Value) -> bool {
    list.iter().any(|other| same(item, other))
}

fn same_items(a: &Value, b: &Value) -> bool {
    let none = Vec::new();
    let list = |value: &Value| value.as_array().cloned().or_else(|| value.is_null().then(|| none.clone()));
    match (list(a), list(b)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().all(|item| has(&b, item)),
        _ => same(a, b),
    }
}

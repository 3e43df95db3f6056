//! Whether what is there is what was wanted of an item, or of one of its members.

use super::diff::{keeps_removed, same};
use super::spec::{ItemSpec, MemberSpec};
use crate::base::name::matches;
use serde_json::Value;

/// What a value says its type with.
const VARIANT: &str = "$variant";

/// The item of that name.
pub fn item_of<'v>(collection: &'v Value, item: &str) -> Option<&'v Value> {
    collection.as_object()?.get(item)
}

/// A value without the type that a document may say beside it: `{"$variant": {"signature": "b", "value": true}}`.
pub fn bare(value: &Value) -> &Value {
    let only = value.as_object().filter(|map| map.len() == 1);
    let inner = only.and_then(|map| map.get(VARIANT)).and_then(|variant| variant.get("value"));
    inner.map_or(value, bare)
}

/// `value` with the types that `like` says beside its own.
pub fn typed_like(like: &Value, value: Value) -> Value {
    let mut typed = like.clone();
    match typed.get_mut(VARIANT).filter(|_| !std::ptr::eq(bare(like), like)).and_then(|v| v.get_mut("value")) {
        Some(inner) => {
            *inner = typed_like(inner, value);
            typed
        }
        None => value,
    }
}

/// Whether `now` has what an item was made with.
pub fn is_made(to: &Value, now: &Value, spec: &ItemSpec) -> bool {
    let (Value::Object(to), Value::Object(now)) = (to, now) else { return to == now };
    to.iter().all(|(name, wanted)| match (now.get(name), spec.members.get(name)) {
        // No wish has what is only shown, but an item that was deleted has it: back, it is another one there.
        (_, Some(member)) if member.is_only_shown => true,
        (Some(now), member) => holds(wanted, now, member, spec, name),
        // Not every service tells how something was made.
        (None, member) => is_nothing(wanted) || member.is_some_and(|member| member.is_origin),
    })
}

/// Whether `now` has the members of `to`, and none that this change takes away.
pub fn is_updated(from: &Value, to: &Value, now: &Value, spec: &ItemSpec) -> bool {
    let (Value::Object(wanted), Value::Object(has)) = (to, now) else { return to == now };
    let is_there = wanted.iter().all(|(name, wanted)| match (has.get(name), spec.members.get(name)) {
        (None, _) => is_nothing(wanted),
        (Some(now), Some(member)) if member.is_set => same_items(wanted, now),
        (Some(now), member) => holds(wanted, now, member, spec, name),
    });
    is_there && !keeps_removed(from, to, now, &|path, now| is_filled_in(now, spec, path), "")
}

/// Null and what holds nothing: a service may say either, or nothing at all.
pub fn is_nothing(value: &Value) -> bool {
    match bare(value) {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        _ => false,
    }
}

/// Whether `now` is all that the service says by itself where it was told nothing.
fn is_filled_in(now: &Value, spec: &ItemSpec, path: &str) -> bool {
    let is_known = || spec.filled_in.iter().any(|(at, value)| matches(at, path) && same(value, now));
    match bare(now) {
        Value::Object(map) if !map.is_empty() => {
            map.iter().all(|(name, now)| is_filled_in(now, spec, &join(path, name))) || is_known()
        }
        now => is_nothing(now) || is_known(),
    }
}

/// The path of `name` below `path`.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether `now` is what is wanted: all of a value, the mentioned part of an object, the listed part of a set; and for
/// null, nothing but what the service fills in. `path` is the value's in the item.
pub fn holds(wanted: &Value, now: &Value, member: Option<&MemberSpec>, spec: &ItemSpec, path: &str) -> bool {
    let is_set = member.is_some_and(|member| member.is_set);
    let is_unordered = member.is_some_and(|member| member.is_unordered);
    match (bare(wanted), bare(now)) {
        (Value::Null, now) => is_filled_in(now, spec, path),
        (Value::Array(wanted), Value::Array(now)) if is_set => wanted.iter().all(|item| has(now, item)),
        (wanted @ Value::Array(_), now @ Value::Array(_)) if is_unordered => same_items(wanted, now),
        (Value::Object(wanted), Value::Object(now)) => wanted.iter().all(|(name, wanted)| match now.get(name) {
            Some(now) => holds(wanted, now, None, spec, &join(path, name)),
            None => is_nothing(wanted),
        }),
        (wanted, now) => same(wanted, now),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_item_is_back_without_what_it_only_shows() {
        let shown = MemberSpec { is_only_shown: true, ..MemberSpec::default() };
        let members = [("number".to_owned(), shown), ("tag".to_owned(), MemberSpec::default())];
        let spec = ItemSpec { members: members.into(), ..ItemSpec::default() };
        let deleted = json!({"number": 1, "tag": 5, "unknown": 3});
        assert!(is_made(&deleted, &json!({"number": 2, "tag": 5, "unknown": 3}), &spec));
        assert!(is_made(&deleted, &json!({"tag": 5, "unknown": 3}), &spec));
        assert!(!is_made(&deleted, &json!({"number": 1, "tag": 6, "unknown": 3}), &spec));
        assert!(!is_made(&deleted, &json!({"number": 1, "tag": 5, "unknown": 4}), &spec));
        assert!(!is_made(&deleted, &json!({"number": 1, "unknown": 3}), &spec));
    }
    #[test]
    fn how_an_item_was_made_may_be_untold_but_not_told_otherwise() {
        let origin = MemberSpec { is_origin: true, ..MemberSpec::default() };
        let members = [("uses".to_owned(), origin), ("tag".to_owned(), MemberSpec::default())];
        let spec = ItemSpec { members: members.into(), ..ItemSpec::default() };
        let made = json!({"uses": 5, "tag": 5});
        assert!(is_made(&made, &json!({"tag": 5}), &spec));
        assert!(!is_made(&made, &json!({"tag": 5, "uses": 4}), &spec));
        assert!(!is_made(&made, &json!({"uses": 5}), &spec));
    }
}

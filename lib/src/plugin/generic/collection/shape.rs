//! What an item looks like in a document, and what a document's members are for the service. Pure.

use super::super::convert;
use super::items::{Item, Items};
use crate::base::{Error, Result};
use crate::plugin::mapping::{KeySection, MemberSection, StateSection};
use serde_json::{Map, Value};

/// The value at a dotted path.
#[must_use]
pub fn at_path<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, part| value.as_object()?.get(part))
}

/// Whether there is something at a dotted path, in any of the elements where there is a list on the way.
#[must_use]
pub fn mentions(value: &Value, path: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, path)),
        Value::Object(map) => {
            if let Some(variant) = map.get("$variant") {
                return variant.get("value").is_some_and(|value| mentions(value, path));
            }
            let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            match (map.get(first).filter(|value| !value.is_null()), rest) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(value), Some(rest)) => mentions(value, rest),
            }
        }
        _ => false,
    }
}

/// Puts `new` at a dotted path.
pub fn put(value: &mut Map<String, Value>, path: &str, new: Value) {
    match path.split_once('.') {
        None => drop(value.insert(path.to_owned(), new)),
        Some((first, rest)) => {
            let inner = value.entry(first.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, new);
            }
        }
    }
}

/// Takes away what is at a dotted path.
pub fn take(value: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => drop(value.remove(path)),
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = value.get_mut(first) {
                take(inner, rest);
            }
        }
    }
}

/// The items as a state document shows them; what could not be converted is a problem of its own.
pub fn to_state(items: &Items, section: &StateSection, place: &str) -> (Value, Vec<Error>) {
    let mut state = Map::new();
    let mut problems: Vec<Error> = Vec::new();
    for (name, error) in &items.problems {
        problems
            .push(error.clone().on(name.as_ref().map_or_else(|| place.to_owned(), |name| format!("{place}.{name}"))));
    }
    for (name, item) in &items.found {
        match item_to_state(item, section) {
            Ok(value) => drop(state.insert(name.clone(), value)),
            Err(error) => problems.push(error.or_on(format!("{place}.{name}"))),
        }
    }
    (Value::Object(state), problems)
}

fn item_to_state(item: &Item, section: &StateSection) -> Result<Value> {
    let read = section.read.as_ref();
    if section.members.is_empty() {
        let mut shown = match &item.value {
            Some(Value::Object(map)) => map.clone(),
            Some(other) => return Err(Error::failed(format!("the item's value is {other}, not a dictionary"))),
            None => item
                .columns
                .iter()
                .filter(|(name, _)| *name != super::items::PATH)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        };
        if let Some(KeySection::Column(path)) = &section.key {
            take(&mut shown, path);
        }
        read.iter().flat_map(|read| &read.omit).for_each(|path| take(&mut shown, path));
        for (path, source) in read.iter().flat_map(|read| &read.derived) {
            if item.value.as_ref().is_some_and(|value| at_path(value, source).is_some()) {
                take(&mut shown, path);
            }
        }
        return Ok(Value::Object(shown));
    }
    let mut shown = Map::new();
    for (name, member) in section.members.iter().filter(|(_, member)| !member.internal && !member.secret) {
        if let Some(value) = member_to_state(item, member, read.and_then(|read| read.interface.as_deref()))? {
            shown.insert(name.clone(), value);
        }
    }
    Ok(Value::Object(shown))
}

/// A member as a document shows it; nothing when the item has none.
pub fn member_to_state(item: &Item, member: &MemberSection, own: Option<&str>) -> Result<Option<Value>> {
    let Some(raw) = raw_member(item, member, own) else { return Ok(member.default.clone()) };
    let value = match member.values.get(&convert::to_text(raw)).or_else(|| member.values.get("*")) {
        Some(value) => value.clone(),
        None => convert::read(raw.clone(), &member.convert)?,
    };
    Ok(Some(value))
}

/// A member as the service has it.
pub fn raw_member<'i>(item: &'i Item, member: &MemberSection, own: Option<&str>) -> Option<&'i Value> {
    if let Some(property) = &member.property {
        let other = member.interface.as_deref().filter(|interface| Some(*interface) != own);
        return match other {
            Some(interface) => item.columns.get(&format!("{interface}.{property}")),
            None => item.columns.get(property),
        };
    }
    if let Some(column) = &member.column {
        return item.columns.get(column);
    }
    at_path(item.value.as_ref()?, member.path.as_deref()?)
}

/// What a document says of a member, as the service wants it.
pub fn to_raw(value: &Value, member: &MemberSection) -> Result<Value> {
    if !member.values.is_empty() {
        let found = member.values.iter().find(|(text, ours)| *ours == value && text.as_str() != "*");
        if let Some((text, _)) = found {
            return Ok(convert::from_text(text));
        }
    }
    let hinted = |error: Error| match (&error.hint, &member.validate.hint) {
        (None, Some(hint)) => error.hint(hint),
        _ => error,
    };
    let raw = convert::write(value.clone(), &member.convert).map_err(hinted)?;
    // What the service will say in other words could never be seen to hold.
    match convert::read(raw.clone(), &member.convert)? {
        same if same == *value => Ok(raw),
        // Of a list, the item that reads otherwise.
        Value::Array(other) if value.as_array().is_some_and(|list| list.len() == other.len()) => {
            let items = value.as_array().into_iter().flatten().zip(other);
            let differ = items.filter(|(item, other)| *item != other);
            let errors = differ.map(|(item, other)| reads_otherwise(item, &other));
            Err(Error::all(errors.collect()).unwrap_or_else(|| Error::failed("a list differs from itself")))
        }
        other => Err(reads_otherwise(value, &other)),
    }
}

fn reads_otherwise(value: &Value, other: &Value) -> Error {
    Error::bad_input(format!("{value} is the same as {other}, which is how it reads")).hint(format!("write {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_put_and_taken() {
        let Value::Object(mut map) = json!({"a": {"b": 1, "c": 2}}) else { panic!() };
        put(&mut map, "a.d.e", json!(3));
        put(&mut map, "a.b", json!(4));
        take(&mut map, "a.c");
        take(&mut map, "x.y");
        assert_eq!(json!(map), json!({"a": {"b": 4, "d": {"e": 3}}}));
        assert_eq!(at_path(&json!(map), "a.d.e"), Some(&json!(3)));
        assert_eq!(at_path(&json!(map), "a.b.c"), None);
        let value = json!({"peers": [{"key": "k"}, {"secret": null}], "v": {"$variant": {"signature": "a{sv}", "value": {"x": 1}}}});
        let found =
            ["peers", "peers.key", "peers.secret", "peers.key.x", "v.x", "v.y"].map(|path| mentions(&value, path));
        assert_eq!(found, [true, true, false, false, true, false]);
    }

    #[test]
    fn values_go_both_ways() {
        let member: MemberSection =
            toml::from_str("property = 'T'\n[values]\n0 = 'standard'\n1 = 'administrator'").unwrap();
        let item = Item { columns: [("T".to_owned(), json!(1))].into(), ..Item::default() };
        assert_eq!(member_to_state(&item, &member, None).unwrap(), Some(json!("administrator")));
        assert_eq!(to_raw(&json!("standard"), &member).unwrap(), json!(0));
        let member: MemberSection = toml::from_str("property = 'DNS'\nconvert = ['ip']").unwrap();
        assert_eq!(to_raw(&json!(["192.0.2.1"]), &member).unwrap(), json!([[2, [192, 0, 2, 1]]]));
        let error = to_raw(&json!(["2001:DB8:0::53"]), &member).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("write \"2001:db8::53\""));
    }
}

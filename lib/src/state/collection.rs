//! The difference of collections: objects of items, each an object of members. Compared item by item and member by
//! member; what is not mentioned stays.

use super::change::Change;
use super::diff::{Removal, check_writable, overlay};
use super::document::{PluginState, wrong};
use super::holding::{bare, has, holds, is_nothing};
use super::spec::{KeySpec, MemberSpec, Strategy};
use crate::base::{Error, Kind, Result};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The member of an item that says whether it is to be there.
const STATE: &str = "state";

/// The member of an item that lists what is to leave its sets.
const ABSENT: &str = "absent";

/// What a document says about one item.
enum Wish<'a> {
    Absent,
    Present { members: Cow<'a, Map<String, Value>>, absent: BTreeMap<&'a String, &'a Value> },
}

/// Compares the items of one key.
pub fn diff(
    at: &str,
    key: &str,
    desired: &PluginState,
    current: &Map<String, Value>,
    spec: &KeySpec,
    removal: &Removal,
) -> Result<Vec<Change>> {
    let place = format!("plugins.{at}.{key}");
    let Some(Value::Object(there)) = current.get(key) else {
        return Err(Error::new(
            Kind::Unavailable,
            "the service did not tell which items it has, so nothing can be planned",
        )
        .on(place)
        .hint(format!("see why: op-query --plugin {at}")));
    };
    let nothing = Map::new();
    let wanted = match desired.values.get(key) {
        None => &nothing,
        Some(Value::Object(items)) => items,
        Some(other) => return Err(wrong(&place, "an object of items", other)),
    };
    let diff = Diff { at, key, spec };
    let mut changes = Vec::new();
    let mut errors = Vec::new();
    let mut gone: BTreeSet<&String> = desired.absent.get(key).into_iter().flatten().collect();
    for (item, value) in wanted {
        let place = format!("{place}.{item}");
        let outcome = wish(&place, value, spec).and_then(|wish| match (wish, there.get(item)) {
            (Wish::Absent, _) => {
                gone.insert(item);
                Ok(None)
            }
            (Wish::Present { .. }, _) if gone.contains(item) => {
                Err(Error::bad_input(format!("{item:?} is both wanted and absent")))
            }
            (Wish::Present { members, .. }, None) => diff.create(item, members.into_owned()).map(Some),
            (Wish::Present { members, absent }, Some(now)) => diff.update(item, &members, &absent, now),
        });
        match outcome {
            Ok(change) => changes.extend(change),
            Err(error) => errors.push(error.or_on(place)),
        }
    }
    let is_stated = desired.values.contains_key(key);
    let owned = removal.owned.get(key).filter(|_| is_stated);
    let left_out = owned.into_iter().flatten().filter(|item| !wanted.contains_key(*item) && !spec.protects(item));
    let gone: BTreeSet<&String> = gone.into_iter().chain(left_out).collect();
    for item in gone {
        let Some(now) = there.get(item) else { continue };
        match diff.delete(item, now) {
            Ok(change) => changes.push(change),
            Err(error) => errors.push(error.or_on(format!("{place}.{item}"))),
        }
    }
    Error::all(errors).map_or(Ok(changes), Err)
}

fn wish<'a>(place: &str, value: &'a Value, spec: &KeySpec) -> Result<Wish<'a>> {
    let Value::Object(map) = value else { return Err(wrong(place, "an object of members", value)) };
    let is_word = |name: &str| !spec.items.members.contains_key(name);
    if is_word(STATE) {
        match map.get(STATE).map(|state| state.as_str()) {
            Some(Some("absent")) if map.len() == 1 => return Ok(Wish::Absent),
            Some(Some("absent")) => {
                return Err(Error::bad_input("an absent item has no other members").on(place));
            }
            None | Some(Some("present")) => {}
            Some(_) if spec.items.is_open => {}
            Some(_) => {
                return Err(Error::bad_input(format!("{} is neither \"absent\" nor \"present\"", map[STATE]))
                    .on(format!("{place}.{STATE}")));
            }
        }
    }
    let mut members = Cow::Borrowed(map);
    if members.get(STATE).is_some_and(|state| state == "present") && is_word(STATE) {
        members.to_mut().remove(STATE);
    }
    let mut absent = BTreeMap::new();
    if is_word(ABSENT) && members.contains_key(ABSENT) {
        members.to_mut().remove(ABSENT);
        let Value::Object(lists) = &map[ABSENT] else {
            return Err(wrong(&format!("{place}.{ABSENT}"), "an object of lists", &map[ABSENT]));
        };
        for (name, list) in lists {
            let is_set = spec.items.members.get(name).is_some_and(|member| member.is_set);
            if !is_set || !list.is_array() {
                return Err(Error::bad_input("only what is in a set of the item can be listed as absent")
                    .on(format!("{place}.{ABSENT}.{name}")));
            }
            absent.insert(name, list);
        }
    }
    Ok(Wish::Present { members, absent })
}

struct Diff<'a> {
    at: &'a str,
    key: &'a str,
    spec: &'a KeySpec,
}

impl Diff<'_> {
    fn place(&self, item: &str, member: &str) -> String {
        format!("plugins.{}.{}.{item}.{member}", self.at, self.key)
    }

    fn create(&self, item: &str, mut members: Map<String, Value>) -> Result<Change> {
        let spec = &self.spec.items;
        members.retain(|name, _| spec.members.get(name).is_none_or(|member| !member.is_only_shown));
        for (name, value) in &mut members {
            if let (true, Value::Array(list)) = (spec.members.get(name).is_some_and(|member| member.is_set), value) {
                *list = once(list);
            }
        }
        if self.spec.strategy == Strategy::ServiceStateDiff {
            let hint = "check the spelling; this key changes what is there and makes nothing new";
            return Err(Error::bad_input(format!("the service knows no {item:?}"))
                .hint(self.spec.name_hint.as_deref().unwrap_or(hint)));
        }
        check_writable(self.spec)?;
        if !spec.can_create {
            return Err(Error::refused(format!("there is no {item:?}, and the mapping says no way to make one"))
                .hint("check the spelling, or make it by other means first"));
        }
        let mut errors = Vec::new();
        for (name, value) in &members {
            match spec.members.get(name) {
                None if spec.is_open => {}
                None => errors.push(self.unknown(item, name)),
                Some(member) if !member.can_create && !member.can_write => errors.push(
                    Error::refused("the mapping says no way to write it")
                        .on(self.place(item, name))
                        .hint("leave it out"),
                ),
                Some(member) => errors.extend(check_choice(member, value).err().map(|e| e.on(self.place(item, name)))),
            }
        }
        Error::all(errors).map_or(Ok(()), Err)?;
        let (plugin, key) = (self.at.to_owned(), self.key.to_owned());
        Ok(Change::Create { plugin, key, item: item.to_owned(), to: Value::Object(members) })
    }

    fn unknown(&self, item: &str, name: &str) -> Error {
        let known = self.spec.items.members.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Error::bad_input("the items have no such member")
            .on(self.place(item, name))
            .hint(format!("the members of an item of {} are: {known}", self.key))
    }

    fn delete(&self, item: &str, now: &Value) -> Result<Change> {
        check_writable(self.spec)?;
        if self.spec.protects(item) {
            return Err(Error::refused(format!("{item:?} is protected and is never removed"))
                .hint("the mapping lists what is protected and why"));
        }
        if !self.spec.items.can_delete {
            return Err(
                Error::refused("the mapping says no way to delete an item").hint("leave it out of the document")
            );
        }
        let (plugin, key) = (self.at.to_owned(), self.key.to_owned());
        Ok(Change::Delete { plugin, key, item: item.to_owned(), from: now.clone() })
    }

    fn update(
        &self,
        item: &str,
        members: &Map<String, Value>,
        absent: &BTreeMap<&String, &Value>,
        now: &Value,
    ) -> Result<Option<Change>> {
        let Value::Object(now) = now else { return Err(wrong(&self.place(item, ""), "an object of members", now)) };
        let mut from = Map::new();
        let mut to = Map::new();
        let mut errors = Vec::new();
        let names: BTreeSet<&String> = members.keys().chain(absent.keys().copied()).collect();
        for name in names {
            match self.member(item, name, members.get(name), absent.get(name).copied(), now) {
                Ok(Some((old, new))) => {
                    from.insert(name.clone(), old);
                    to.insert(name.clone(), new);
                }
                Ok(None) => {}
                Err(error) => errors.push(error.or_on(self.place(item, name))),
            }
        }
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        if to.is_empty() {
            return Ok(None);
        }
        self.check_hidden(item, now, &to)?;
        let (plugin, key, item) = (self.at.to_owned(), self.key.to_owned(), item.to_owned());
        Ok(Some(Change::Update { plugin, key, item, from: Value::Object(from), to: Value::Object(to) }))
    }

    /// An item is not written as a whole when the service keeps a part of it to itself: it would be lost.
    fn check_hidden(&self, item: &str, now: &Map<String, Value>, to: &Map<String, Value>) -> Result<()> {
        let spec = &self.spec.items;
        let is_whole = to.keys().any(|name| spec.members.get(name).is_none_or(|member| member.is_of_whole));
        let path = |path: &&String| {
            let mut at = Some(now);
            path.split('.').all(|part| {
                let found = at.and_then(|map| map.get(part));
                at = found.and_then(Value::as_object);
                found.is_some()
            })
        };
        match spec.hidden.iter().find(path).filter(|_| is_whole && spec.can_update) {
            Some(hidden) => Err(Error::refused(format!(
                "{item:?} has {hidden}, which the service does not tell in full, so writing it would drop what is not told"
            ))
            .hint("change this one with the service's own tool")),
            None => Ok(()),
        }
    }

    /// What becomes of one member: its old and its new value, or nothing.
    fn member(
        &self,
        item: &str,
        name: &str,
        wanted: Option<&Value>,
        absent: Option<&Value>,
        now: &Map<String, Value>,
    ) -> Result<Option<(Value, Value)>> {
        let items = &self.spec.items;
        let open = MemberSpec { can_write: items.can_update, ..MemberSpec::default() };
        let spec = match items.members.get(name) {
            Some(spec) => spec,
            None if items.is_open => &open,
            None => return Err(self.unknown(item, name)),
        };
        if spec.is_only_shown {
            return Ok(None);
        }
        let there = now.get(name).unwrap_or(&Value::Null);
        if spec.is_origin && there.is_null() {
            return Ok(None);
        }
        let to = if spec.is_set {
            let wanted = match wanted {
                None => Vec::new(),
                Some(Value::Array(list)) => list.clone(),
                Some(other) => return Err(wrong(&self.place(item, name), "a list", other)),
            };
            let absent = absent.and_then(Value::as_array).cloned().unwrap_or_default();
            if let Some(both) = wanted.iter().find(|item| has(&absent, item)) {
                return Err(Error::bad_input(format!("{both} is both wanted and absent")));
            }
            let before = there.as_array().cloned().unwrap_or_default();
            let is_kept = |gone: &&Value| has(&before, gone) && spec.protects(gone);
            if let Some(kept) = absent.iter().find(is_kept) {
                return Err(Error::refused(format!("{kept} is protected and is never removed from {item:?}"))
                    .hint("the mapping lists what is protected and why; use the service's own tool if it must go"));
            }
            let wanted = once(&wanted);
            let mut list: Vec<Value> = before.iter().filter(|item| !has(&absent, item)).cloned().collect();
            let is_shorter = list.len() < before.len();
            list.extend(wanted.iter().filter(|item| !has(&before, item)).cloned());
            if list.len() == before.len() && !is_shorter {
                return Ok(None);
            }
            Value::Array(list)
        } else {
            let Some(wanted) = wanted else { return Ok(None) };
            if there.is_array() && !items.is_open && !bare(wanted).is_array() && !wanted.is_null() {
                return Err(wrong(&self.place(item, name), "a list", wanted));
            }
            let is_so =
                if there.is_null() { is_nothing(wanted) } else { holds(wanted, there, Some(spec), items, name) };
            if is_so {
                return Ok(None);
            }
            overlay(there, wanted)
        };
        check_writable(self.spec)?;
        if spec.is_origin {
            return Err(Error::refused(format!("it was made with {there}, and that cannot become {to}"))
                .hint("leave it out, or delete the item and make it again"));
        }
        if !spec.can_write {
            return Err(Error::refused(format!("it is {there}, and the mapping says no way to write it"))
                .hint("it can only be read; leave it out, or say what it is"));
        }
        if spec.keeps(&to) && self.spec.protects(item) {
            return Err(Error::refused(format!("{item:?} is protected and keeps {name} = {there}"))
                .hint("the mapping lists what is protected and why"));
        }
        let given: Vec<&Value> = match (&to, there.as_array()) {
            (Value::Array(list), before) if spec.is_set => {
                list.iter().filter(|one| !before.is_some_and(|before| has(before, one))).collect()
            }
            (to, _) => vec![to],
        };
        if let Some(never) = given.into_iter().find(|one| spec.forbids(item, one)) {
            return Err(Error::refused(format!("{item:?} is never given {name} = {never}"))
                .hint("the mapping lists which items are not, and why"));
        }
        check_choice(spec, &to)?;
        if !spec.values.is_empty() && !there.is_null() && !spec.values.contains(there) {
            return Err(Error::refused(format!("the service says {there}, which cannot be changed to {to}"))
                .hint(format!("the values it can be changed between are: {}", list_of(&spec.values))));
        }
        let from = if spec.is_set && there.is_null() { Value::Array(Vec::new()) } else { there.clone() };
        Ok(Some(pruned(from, to)))
    }
}

fn check_choice(spec: &MemberSpec, value: &Value) -> Result<()> {
    if spec.values.is_empty() || spec.values.contains(value) {
        return Ok(());
    }
    Err(Error::bad_input(format!("{value} is none of {}", list_of(&spec.values))))
}

/// A set: what is listed twice is in it once.
fn once(list: &[Value]) -> Vec<Value> {
    let mut set: Vec<Value> = Vec::new();
    list.iter().for_each(|item| {
        if !has(&set, item) {
            set.push(item.clone())
        }
    });
    set
}

fn list_of(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// Of two objects, only what differs; what one lacks, the other has as it is.
fn pruned(from: Value, to: Value) -> (Value, Value) {
    let (Value::Object(mut from), Value::Object(mut to)) = (from.clone(), to.clone()) else { return (from, to) };
    let names: Vec<String> = from.keys().cloned().collect();
    for name in names {
        match (&from[&name], to.get(&name)) {
            (old, Some(new)) if old == new => {
                from.remove(&name);
                to.remove(&name);
            }
            (old @ Value::Object(_), Some(new @ Value::Object(_))) => {
                let (old, new) = pruned(old.clone(), new.clone());
                from.insert(name.clone(), old);
                to.insert(name, new);
            }
            _ => {}
        }
    }
    (Value::Object(from), Value::Object(to))
}

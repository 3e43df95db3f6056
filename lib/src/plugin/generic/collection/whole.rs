//! Items as a whole: what a new one is made of, and what a service gets that is sent all of one, or the parts that
//! differ.

use super::super::planning::Planner;
use super::changes::{Wish, in_members};
use super::items::Item;
use super::protection;
use super::shape::{at_path, mentions, put, take, to_raw};
use super::words::{done, title};
use crate::base::{Call, Error, Result};
use crate::plugin::mapping::file::{ReadSection, StateSection};
use crate::plugin::mapping::{KeySection, MergeWrite, Operation};
use crate::state::plan::Undo;
use crate::state::{Action, Change, UndoClass};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Checks names and values against the mapping's rules.
    pub(in super::super) fn check_items(&self, key: &str, section: &StateSection, change: &Change) -> Result<()> {
        let (Change::Create { item, to, .. } | Change::Update { item, to, .. }) = change else { return Ok(()) };
        let place = format!("{}.{item}", self.place(key));
        let mut errors = Vec::new();
        if matches!(change, Change::Create { .. }) {
            errors.extend(self.check_value(&place, &json!(item), &section.validate).err());
        }
        if let (Change::Create { .. }, Some(pattern)) = (change, &section.key_pattern) {
            let regex =
                regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(|e| Error::bad_input(e.to_string()))?;
            if !regex.is_match(item) {
                errors.push(
                    Error::bad_input(format!("{item:?} is no name for an item here"))
                        .on(place.clone())
                        .hint(section.validate.hint.clone().unwrap_or_else(|| format!("a name looks like {pattern}"))),
                );
            }
        }
        for (name, value) in to.as_object().into_iter().flatten() {
            if let Some(member) = section.members.get(name).filter(|_| !value.is_null()) {
                errors.extend(self.check_value(&format!("{place}.{name}"), value, &member.validate).err());
            }
        }
        if let (Some(read), true) = (&section.read, section.members.is_empty()) {
            errors.extend(
                misplaced(section, read, to).into_iter().map(|(path, error)| error.on(format!("{place}.{path}"))),
            );
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    /// Writes what has no call of its own together, as the item's new value.
    pub(super) fn whole(
        &mut self,
        key: &str,
        section: &StateSection,
        operation: &Operation,
        wish: &Wish<'_>,
    ) -> Result<Vec<Action>> {
        let Change::Update { plugin, key: _, item: name, .. } = wish.change else { return Ok(Vec::new()) };
        let of_whole = |member: &String| section.members.get(member).is_none_or(|member| member.write.is_none());
        let part = |map: &Map<String, Value>| -> Map<String, Value> {
            map.iter().filter(|(member, _)| of_whole(member)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let (from, to) = (part(wish.from), part(wish.to));
        if to.is_empty() {
            return Ok(Vec::new());
        }
        let at = format!("{}.{name}", self.place(key));
        let Some(now) = wish.now else {
            return Err(Error::failed("it is not there any more, so it cannot be changed").on(at));
        };
        if !self.is_back {
            protection::check_members(section, name, now, &to).map_err(|error| error.on(at.clone()))?;
        }
        self.check_refusal(key, operation, name)?;
        let call = self.whole_call(key, section, operation, wish, now, (&from, &to))?;
        let back = self.whole_call(key, section, operation, wish, now, (&to, &from)).ok();
        let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        // A service that only merges cannot take away what was not there before.
        let is_new = |map: &Map<String, Value>| map.values().any(has_null);
        let class = match (&back, operation.merge) {
            (None, _) => UndoClass::Irreversible,
            _ if drops_hidden(section, now, &call) => UndoClass::Irreversible,
            (Some(_), MergeWrite::Patch) if is_new(&from) => UndoClass::Irreversible,
            _ => method.section.undo.unwrap_or(UndoClass::Exact),
        };
        let change = Change::Update {
            plugin: plugin.clone(),
            key: key.to_owned(),
            item: name.clone(),
            from: Value::Object(from),
            to: Value::Object(to),
        };
        let members = wish.to.keys().filter(|m| of_whole(m)).cloned().collect::<Vec<_>>().join(", ");
        let title = title(operation, "Change {member} of {item}", key, name, &members, &Value::Null);
        let undo = Undo { class, call: back.filter(|_| class != UndoClass::Irreversible) };
        let mut action = self.action(&method, call, title, undo, vec![change], None);
        action.done = done(operation, key, name);
        Ok(vec![action])
    }

    fn whole_call(
        &mut self,
        key: &str,
        section: &StateSection,
        operation: &Operation,
        wish: &Wish<'_>,
        now: &Item,
        (from, to): (&Map<String, Value>, &Map<String, Value>),
    ) -> Result<Call> {
        let at = format!("{}.{}", self.place(key), wish.name);
        let has = now.value.clone().unwrap_or(Value::Null);
        let mut whole = has.as_object().cloned().unwrap_or_default();
        // What the service makes from something else would speak against it, or for it when it is gone.
        let derived = section.read.iter().flat_map(|read| &read.derived);
        derived.filter(|(_, source)| at_path(&has, source).is_some()).for_each(|(path, _)| take(&mut whole, path));
        let has = whole.clone();
        let mut touched: BTreeSet<String> = BTreeSet::new();
        for (name, value) in to {
            let old = from.get(name).unwrap_or(&Value::Null);
            let (path, value) = match section.members.get(name) {
                Some(member) => {
                    let path = member.path.clone().unwrap_or_else(|| name.clone());
                    let place = || format!("{at}.{name}");
                    let raw = if value.is_null() { Ok(Value::Null) } else { to_raw(value, member) };
                    let raw = raw.map_err(|error| error.or_on(place()))?;
                    (path, raw)
                }
                None => (name.clone(), merged(has.get(name), old, value)),
            };
            touched.insert(path.split('.').next().unwrap_or_default().to_owned());
            if value.is_null() { take(&mut whole, &path) } else { put(&mut whole, &path, value) }
        }
        if operation.merge == MergeWrite::Patch {
            whole.retain(|name, _| touched.contains(name));
        }
        let method = self.method_on(operation, now.path.as_deref())?;
        let types = self.types_of(section, Some(now))?;
        let value = Value::Object(whole);
        let find = self.words(key, section, wish, to, Some(&value));
        let call = self.method_call(&method, operation, &at, &find, Some((&["value"], &types)));
        call.map_err(|error| in_members(error, section, &at))
    }

    /// Whether an item has something that the service would take, and does not tell.
    pub(super) fn has_hidden(section: &StateSection, item: &Item) -> bool {
        let hidden = section.read.iter().flat_map(|read| &read.hidden);
        item.value.as_ref().is_some_and(|value| hidden.into_iter().any(|path| at_path(value, path).is_some()))
    }

    /// The value of a new item, its name at the place where the service keeps it.
    pub(super) fn new_value(
        &self,
        at: &str,
        section: &StateSection,
        to: &Map<String, Value>,
        name: &str,
    ) -> Result<Value> {
        let mut value = Map::new();
        for (member_name, wanted) in to {
            match section.members.get(member_name) {
                Some(member) => {
                    if let Some(path) = &member.path {
                        let raw = to_raw(wanted, member).map_err(|error| error.or_on(format!("{at}.{member_name}")))?;
                        put(&mut value, path, raw);
                    }
                }
                None => {
                    if let Some(wanted) = without_null(wanted) {
                        value.insert(member_name.clone(), wanted);
                    }
                }
            }
        }
        let is_of_value = section.read.as_ref().is_some_and(|read| read.get.is_some());
        if let (Some(KeySection::Column(path)), true) = (&section.key, is_of_value) {
            let is_column = section.fields.contains(path);
            if !is_column && (path.contains('.') || section.members.values().all(|m| m.path.is_none())) {
                put(&mut value, path, json!(name));
            }
        }
        Ok(Value::Object(value))
    }
}

/// Whether the call sends an item without a part whose content the service has never told: it could not be sent back.
fn drops_hidden(section: &StateSection, now: &Item, call: &Call) -> bool {
    let Some(read) = &section.read else { return false };
    let has = |path: &&String| now.value.as_ref().is_some_and(|value| at_path(value, path).is_some());
    let is_sent = |path: &str| call.args.iter().any(|arg| mentions(arg, path));
    read.hidden.iter().filter(has).any(|path| !is_sent(path))
}

/// What a document says in the wrong place: the item's name in the item, what the service makes from something else,
/// what no item may have, and what none can be without.
fn misplaced(section: &StateSection, read: &ReadSection, to: &Value) -> Vec<(String, Error)> {
    let says = |path: &str| mentions(to, path);
    let mut found: Vec<(String, Error)> = Vec::new();
    if let (Some(KeySection::Column(path)), true) = (&section.key, read.get.is_some())
        && says(path)
    {
        found.push((
            path.clone(),
            Error::bad_input("this is the item's name, which stands before it").hint("leave it out"),
        ));
    }
    for (path, source) in read.derived.iter().filter(|(path, _)| says(path)) {
        let error = Error::bad_input(format!("the service makes this from {source}"));
        found.push((path.clone(), error.hint(format!("say {source}"))));
    }
    for path in section.required.iter().filter(|path| takes_away(to, path)) {
        let error = Error::bad_input("nothing here can be without this, so it is not taken away");
        found.push((path.clone(), error.hint("leave it out; null takes away what may be missing")));
    }
    for (path, values) in &section.never {
        if let Some(value) = at_path(to, path).filter(|value| values.contains(value)) {
            let error = Error::refused(format!("nothing is given {value} here"));
            found.push((path.clone(), error.hint("the mapping lists what is not given, and why")));
        }
    }
    found
}

/// Whether null stands at a path, or before it on the way.
fn takes_away(value: &Value, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (value.get(first), rest) {
        (Some(Value::Null), _) => true,
        (Some(value), Some(rest)) => takes_away(value, rest),
        _ => false,
    }
}

/// A value without the members that are null.
fn without_null(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => Some(Value::Object(
            map.iter().filter_map(|(name, value)| Some((name.clone(), without_null(value)?))).collect(),
        )),
        other => Some(other.clone()),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

/// What is there, without what only `old` has, and with what `new` says.
fn merged(has: Option<&Value>, old: &Value, new: &Value) -> Value {
    match (has, new) {
        // With its type beside it, it is whole already.
        (_, Value::Object(typed)) if typed.contains_key("$variant") => new.clone(),
        (Some(Value::Object(has)), Value::Object(new)) => {
            let nothing = Map::new();
            let old = old.as_object().unwrap_or(&nothing);
            let mut out = has.clone();
            out.retain(|name, _| new.contains_key(name) || !old.contains_key(name));
            for (name, value) in new {
                let old = old.get(name).unwrap_or(&Value::Null);
                let value = merged(has.get(name), old, value);
                if value.is_null() {
                    out.remove(name)
                } else {
                    out.insert(name.clone(), value)
                };
            }
            Value::Object(out)
        }
        _ => without_null(new).unwrap_or(Value::Null),
    }
}

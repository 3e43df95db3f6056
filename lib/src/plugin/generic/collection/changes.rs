//! From changes of items to exact calls: makes, members in their order, whole items, deletes.

use super::super::planning::Planner;
use super::super::{arguments, convert, reading, rows};
use super::items::{self, Item};
use super::shape::{at_path, put, raw_member, take, to_raw};
use crate::base::{Call, Error, Result};
use crate::bus::value::{self, VariantTypes};
use crate::plugin::mapping::file::StateSection;
use crate::plugin::mapping::items::{covers, is_collection};
use crate::plugin::mapping::{KeySection, MemberSection, MergeWrite, Method, Operation, Target, check_value, template};
use crate::state::plan::Undo;
use crate::state::{Action, Change, UndoClass};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One change of one item, with what the service has of it.
struct Wish<'a> {
    change: &'a Change,
    name: &'a str,
    now: Option<&'a Item>,
    to: &'a Map<String, Value>,
    from: &'a Map<String, Value>,
}

impl Planner<'_> {
    /// The actions for the items of one key.
    pub(in super::super) fn collection(
        &mut self,
        key: &str,
        section: &StateSection,
        of_key: &[&Change],
    ) -> Result<Vec<Action>> {
        let names: BTreeSet<String> = of_key.iter().filter_map(|change| change.item().map(str::to_owned)).collect();
        if names.is_empty() || !is_collection(section) {
            return Ok(Vec::new());
        }
        let there = items::read(self.bus, self.mapping, section, Some(&names), self.progress)
            .map_err(|error| error.or_on(self.place(key)))?;
        let none = Map::new();
        let wishes: Vec<Wish<'_>> = of_key.iter().filter_map(|change| wish(change, &there.found, &none)).collect();
        let mut errors = Vec::new();
        let mut actions = Vec::new();
        let mut keep = |outcome: Result<Vec<Action>>| match outcome {
            Ok(some) => actions.extend(some),
            Err(error) => errors.push(error),
        };
        for wish in &wishes {
            if let (Change::Create { .. }, Some(operation)) = (wish.change, &section.create) {
                keep(self.create(key, section, operation, wish));
            }
        }
        for name in in_order(section) {
            let member = &section.members[name];
            let Some(write) = &member.write else { continue };
            let mut written = Vec::new();
            for wish in wishes.iter().filter(|wish| wish.to.contains_key(name)) {
                match self.member(key, section, (name, member), write, wish) {
                    Ok(some) => written.extend(some),
                    Err(error) => keep(Err(error.or_on(self.place_of(key, wish, name)))),
                }
            }
            if !written.is_empty() {
                keep(self.hooks(std::iter::once((key, &member.after))).map(|after| [written, after].concat()));
            }
        }
        for wish in &wishes {
            if let (Change::Update { .. }, Some(operation)) = (wish.change, &section.update) {
                keep(self.whole(key, section, operation, wish));
            }
        }
        for wish in &wishes {
            if let (Change::Delete { .. }, Some(operation)) = (wish.change, &section.delete) {
                keep(self.delete(key, section, operation, wish).map(|action| vec![action]));
            }
        }
        Error::all(errors).map_or(Ok(actions), Err)
    }

    fn place_of(&self, key: &str, wish: &Wish<'_>, member: &str) -> String {
        format!("{}.{}.{member}", self.place(key), wish.name)
    }

    /// Checks names and values against the mapping's rules.
    pub(in super::super) fn check_items(&self, key: &str, section: &StateSection, change: &Change) -> Result<()> {
        let (Change::Create { item, to, .. } | Change::Update { item, to, .. }) = change else { return Ok(()) };
        let place = format!("{}.{item}", self.place(key));
        let mut errors = Vec::new();
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
                errors.extend(check_value(&format!("{place}.{name}"), value, &member.validate).err());
            }
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    fn create(
        &mut self,
        key: &str,
        section: &StateSection,
        operation: &Operation,
        wish: &Wish<'_>,
    ) -> Result<Vec<Action>> {
        let at = format!("{}.{}", self.place(key), wish.name);
        let mut to = wish.to.clone();
        for (name, default) in &operation.defaults {
            if at_path(&json!(to), name).is_none() {
                put(&mut to, name, default.clone());
            }
        }
        let value = self.new_value(section, &to, wish.name).map_err(|error| error.or_on(at.clone()))?;
        let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        self.check_refusal(key, operation, wish.name)?;
        let types = self.types_of(section, None)?;
        let find = self.words(key, section, wish, &to, Some(&value));
        let call = self.method_call(&method, operation, &at, &find, Some((&["value"], &types)));
        let call = call.map_err(|error| in_members(error, section, &at))?;
        let class = match &section.delete {
            Some(_) => method.section.undo.unwrap_or(UndoClass::Compensating),
            None => UndoClass::Irreversible,
        };
        let title = title(operation, "Create {item} in {key}", key, wish.name, "", &Value::Null);
        let undo = Undo { class, call: None };
        let mut action = self.action(&method, call, title, undo, vec![wish.change.clone()], None);
        action.done = done(operation, key, wish.name);
        let is_covered = |name: &str| section.members.get(name).is_none_or(|member| covers(operation, name, member));
        let mut actions = vec![action];
        let rest: Map<String, Value> =
            wish.to.iter().filter(|(name, _)| !is_covered(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
        for name in in_order(section).into_iter().filter(|name| rest.contains_key(*name)) {
            let member = &section.members[name];
            let Some(write) = &member.write else { continue };
            let follow = Wish { to: &rest, ..*wish };
            actions.push(
                self.follow_up(key, section, (name, member), write, &follow, &method.member)
                    .map_err(|error| error.or_on(self.place_of(key, wish, name)))?,
            );
        }
        Ok(actions)
    }

    /// Gives an item that is about to be made a member: on an object that is not there yet.
    fn follow_up(
        &mut self,
        key: &str,
        section: &StateSection,
        (name, member): (&str, &MemberSection),
        write: &Operation,
        wish: &Wish<'_>,
        factory: &str,
    ) -> Result<Action> {
        let value = &wish.to[name];
        let operation = chosen(write, value)?;
        let raw = to_raw(value, member)?;
        let types = VariantTypes::none();
        if operation.property.is_some() {
            let action = self.property_follow_up(key, section, (name, member), operation, wish, &raw)?;
            return Ok(Action { via: Some(factory.to_owned()), ..action });
        }
        let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        let find = self.words(key, section, wish, wish.to, Some(&raw));
        let at = self.place_of(key, wish, name);
        let call = self.method_call(&method, operation, &at, &find, Some((&["value"], &types)))?;
        let title = title(operation, "Set {member} of {item} to {value}", key, wish.name, name, value);
        let mut action = self.action(&method, call, title, exact(), Vec::new(), None);
        if method.section.on == Some(Target::Item) {
            action.via = Some(factory.to_owned());
        }
        action.resources = vec![wish.change.resource().to_string()];
        Ok(action)
    }

    /// Sets a property of an item that is about to be made. Its type is that of the items there are.
    fn property_follow_up(
        &mut self,
        key: &str,
        section: &StateSection,
        (name, member): (&str, &MemberSection),
        operation: &Operation,
        wish: &Wish<'_>,
        raw: &Value,
    ) -> Result<Action> {
        let at = self.place_of(key, wish, name);
        let others = items::read(self.bus, self.mapping, section, None, self.progress)?;
        let Some(path) = others.found.into_values().find_map(|item| item.path) else {
            return Err(Error::refused("there is no item yet that would tell this property's type")
                .on(at)
                .hint("make the item without it first; then write it"));
        };
        let interface = self.interface_of(section, member, operation);
        let property = operation.property.as_deref().unwrap_or_default();
        let mut call = self.property_call(&path, &interface, property, raw, &VariantTypes::none(), &at)?;
        call.path.clone_from(&self.mapping.path);
        let title = title(operation, "Set {member} of {item} to {value}", key, wish.name, name, &wish.to[name]);
        let resources = vec![wish.change.resource().to_string()];
        Ok(Action { title, resources, ..self.bare_action(call) })
    }

    fn interface_of(&self, section: &StateSection, member: &MemberSection, operation: &Operation) -> String {
        let own = section.read.as_ref().and_then(|read| read.interface.as_deref());
        let interface = operation.interface.as_deref().or(member.interface.as_deref()).or(own);
        interface.unwrap_or(&self.mapping.interface).to_owned()
    }

    /// Writes one member of an item that is there.
    fn member(
        &mut self,
        key: &str,
        section: &StateSection,
        (name, member): (&str, &MemberSection),
        write: &Operation,
        wish: &Wish<'_>,
    ) -> Result<Option<Action>> {
        let Change::Update { plugin, item, .. } = wish.change else { return Ok(None) };
        let (to, from) = (&wish.to[name], wish.from.get(name).unwrap_or(&Value::Null));
        let (operation, call) = self.member_call(key, section, (name, member), write, wish, to)?;
        let back = self.member_call(key, section, (name, member), write, wish, from).ok().map(|(_, call)| call);
        let only = |value: &Value| Value::Object(Map::from_iter([(name.to_owned(), value.clone())]));
        let change = Change::Update {
            plugin: plugin.clone(),
            key: key.to_owned(),
            item: item.clone(),
            from: only(from),
            to: only(to),
        };
        let title = title(operation, "Set {member} of {item} to {value}", key, wish.name, name, to);
        let mut action = match operation.method.as_deref() {
            Some(method) => {
                let method = self.mapping.method(method)?;
                let class = match (&back, method.section.undo) {
                    (None, _) => UndoClass::Irreversible,
                    (_, Some(class)) => class,
                    (_, None) => UndoClass::Exact,
                };
                let undo = Undo { class, call: back.filter(|_| class != UndoClass::Irreversible) };
                self.action(&method, call, title, undo, vec![change], None)
            }
            None => {
                let class = if back.is_some() { UndoClass::Exact } else { UndoClass::Irreversible };
                let undo = Undo { class, call: back };
                Action { title, undo, changes: vec![change], ..self.bare_action(call) }
            }
        };
        action.done = done(operation, key, wish.name);
        Ok(Some(action))
    }

    fn member_call<'o>(
        &mut self,
        key: &str,
        section: &StateSection,
        (name, member): (&str, &MemberSection),
        write: &'o Operation,
        wish: &Wish<'_>,
        to: &Value,
    ) -> Result<(&'o Operation, Call)> {
        if to.is_null() {
            return Err(Error::refused(format!("{name} has no value that could be written back")));
        }
        let operation = chosen(write, to)?;
        self.check_refusal(key, operation, wish.name)?;
        let at = self.place_of(key, wish, name);
        let raw = to_raw(to, member)?;
        let types = self.types_of(section, wish.now)?;
        let path = wish.now.and_then(|item| item.path.as_deref());
        if let Some(property) = &operation.property {
            let interface = self.interface_of(section, member, operation);
            let path = operation.path.as_deref().or(path).unwrap_or(&self.mapping.path).to_owned();
            return Ok((operation, self.property_call(&path, &interface, property, &raw, &types, &at)?));
        }
        let method = self.method_on(operation, path)?;
        let find = self.words(key, section, wish, wish.to, Some(&raw));
        Ok((operation, self.method_call(&method, operation, &at, &find, Some((&["value"], &types)))?))
    }

    /// Writes what has no call of its own together, as the item's new value.
    fn whole(
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
        self.check_refusal(key, operation, name)?;
        let call = self.whole_call(key, section, operation, wish, now, (&from, &to))?;
        let back = self.whole_call(key, section, operation, wish, now, (&to, &from)).ok();
        let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        // A service that only merges cannot take away what was not there before.
        let is_new = |map: &Map<String, Value>| map.values().any(has_null);
        let class = match (&back, operation.merge) {
            (None, _) => UndoClass::Irreversible,
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
        let has: Map<String, Value> = now.value.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let mut whole = has.clone();
        let mut touched: BTreeSet<String> = BTreeSet::new();
        for (name, value) in to {
            let old = from.get(name).unwrap_or(&Value::Null);
            let (path, value) = match section.members.get(name) {
                Some(member) => {
                    let path = member.path.clone().unwrap_or_else(|| name.clone());
                    let raw = if value.is_null() { Value::Null } else { to_raw(value, member)? };
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

    fn delete(&mut self, key: &str, section: &StateSection, operation: &Operation, wish: &Wish<'_>) -> Result<Action> {
        let at = format!("{}.{}", self.place(key), wish.name);
        let Some(now) = wish.now else {
            return Err(Error::failed("it is not there any more, so it cannot be deleted").on(at));
        };
        self.check_refusal(key, operation, wish.name)?;
        let method = self.method_on(operation, now.path.as_deref())?;
        let types = VariantTypes::none();
        let find = self.words(key, section, wish, wish.to, None);
        let call = self.method_call(&method, operation, &at, &find, Some((&["item"], &types)))?;
        let class = match &section.create {
            Some(_) => method.section.undo.unwrap_or(UndoClass::Compensating),
            None => UndoClass::Irreversible,
        };
        let title = title(operation, "Delete {item} from {key}", key, wish.name, "", &Value::Null);
        let undo = Undo { class, call: None };
        let mut action = self.action(&method, call, title, undo, vec![wish.change.clone()], None);
        action.done = done(operation, key, wish.name);
        Ok(action)
    }

    /// The method of an operation, on the item's object where it is one of those.
    fn method_on<'m>(&'m self, operation: &Operation, path: Option<&str>) -> Result<Method<'m>> {
        let mut method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        if let (Some(Target::Item), Some(path)) = (method.section.on, path) {
            path.clone_into(&mut method.path);
        }
        Ok(method)
    }

    /// The value of a new item, its name at the place where the service keeps it.
    fn new_value(&self, section: &StateSection, to: &Map<String, Value>, name: &str) -> Result<Value> {
        let mut value = Map::new();
        for (member_name, wanted) in to {
            match section.members.get(member_name) {
                Some(member) => {
                    if let Some(path) = &member.path {
                        put(&mut value, path, to_raw(wanted, member)?);
                    }
                }
                None => drop(value.insert(member_name.clone(), wanted.clone())),
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

    /// The types of the variants in an item's value: the mapping's, then those it has now.
    fn types_of(&self, section: &StateSection, now: Option<&Item>) -> Result<VariantTypes> {
        let mut types = VariantTypes::none();
        for (key, text) in &section.variant_types {
            types
                .by_key
                .insert(key.clone(), value::single_type(text).map_err(|e| e.or_on(self.mapping.source.clone()))?);
        }
        Ok(match now {
            Some(item) => types.or(item.types.clone()),
            None => types,
        })
    }

    /// What a mapping's dollar words stand for: the name, the value, the members as wanted or as they are, the columns.
    fn words<'w>(
        &self,
        key: &'w str,
        section: &'w StateSection,
        wish: &'w Wish<'_>,
        to: &'w Map<String, Value>,
        value: Option<&'w Value>,
    ) -> impl Fn(&str) -> Option<Value> + use<'w> {
        let own = section.read.as_ref().and_then(|read| read.interface.as_deref());
        move |word: &str| match word {
            "item" => Some(json!(wish.name)),
            "items" => Some(json!([wish.name])),
            "id" => match &section.key {
                Some(KeySection::Part(part)) => {
                    let codecs: Vec<String> = part.convert.iter().filter(|c| *c != "label").cloned().collect();
                    convert::write(json!(wish.name), &codecs).ok()
                }
                _ => Some(json!(wish.name)),
            },
            "value" => value.cloned(),
            "key" => Some(json!(key)),
            "path" => wish.now.and_then(|item| item.path.clone()).map(Value::String),
            word => {
                if let Some(member) = section.members.get(word) {
                    let wanted = to.get(word).and_then(|wanted| to_raw(wanted, member).ok());
                    return wanted.or_else(|| raw_member(wish.now?, member, own).cloned());
                }
                to.get(word).cloned().or_else(|| wish.now?.columns.get(word).cloned())
            }
        }
    }

    /// Refuses a call that another reading says must not be made.
    fn check_refusal(&mut self, key: &str, operation: &Operation, name: &str) -> Result<()> {
        let Some(refuse) = &operation.refuse_if else { return Ok(()) };
        let method = self.mapping.method(&refuse.method)?;
        let words = |word: &str| (word == "item").then(|| json!(name));
        let args = template::fill(refuse.args.as_deref().unwrap_or_default(), &words)?;
        let place = format!("{}.{name}", self.place(key));
        let rows =
            reading::ask(self.bus, self.mapping, &method, args, &refuse.fields, self.progress).map_err(|mut e| {
                e.message = format!("could not make sure that this may be done: {}", e.message);
                e.on(place.clone())
            })?;
        if rows.iter().any(|row| rows::part(row, &refuse.r#match).as_deref() == Some(name)) {
            return Err(Error::refused(template::text(&refuse.reason, &[("item", name)])).on(place));
        }
        Ok(())
    }

    /// The call that sets a property, its value checked to fit.
    pub(in super::super) fn property_call(
        &self,
        path: &str,
        interface: &str,
        name: &str,
        value: &Value,
        types: &VariantTypes,
        at: &str,
    ) -> Result<Call> {
        let property = self.live.property(self.bus, self.mapping, path, interface, name)?;
        let value = arguments::typed(value, &property.type_signature, types)?;
        let args = vec![
            json!(interface),
            json!(name),
            json!({"$variant": {"signature": property.type_signature, "value": value}}),
        ];
        arguments::check_property(&value, &property.type_signature, at)?;
        Ok(Call::new(&self.mapping.service, path, "org.freedesktop.DBus.Properties", "Set")
            .with("ssv", args)
            .in_manner(self.mapping.manner(None)))
    }
}

fn wish<'a>(change: &'a Change, there: &'a BTreeMap<String, Item>, none: &'a Map<String, Value>) -> Option<Wish<'a>> {
    let name = change.item()?;
    let (from, to) = match change {
        Change::Create { to, .. } => (none, to.as_object()?),
        Change::Update { from, to, .. } => (from.as_object()?, to.as_object()?),
        Change::Delete { from, .. } => (from.as_object().unwrap_or(none), none),
        _ => return None,
    };
    Some(Wish { change, name, now: there.get(name), to, from })
}

fn in_order(section: &StateSection) -> Vec<&str> {
    let first = section.order.iter().filter(|name| section.members.contains_key(*name));
    let rest = section.members.keys().filter(|name| !section.order.contains(name));
    first.chain(rest).map(String::as_str).collect()
}

/// An error about a part of an item's value, at the member that a document calls it.
fn in_members(mut error: Error, section: &StateSection, at: &str) -> Error {
    error.also = std::mem::take(&mut error.also).into_iter().map(|other| in_members(other, section, at)).collect();
    let part = error.subject.as_ref().and_then(|subject| subject.strip_prefix(at)?.strip_prefix('.'));
    let found = part.and_then(|part| {
        section.members.iter().find_map(|(name, member)| {
            let rest = part.strip_prefix(member.path.as_deref()?)?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then(|| format!("{at}.{name}{rest}"))
        })
    });
    match found {
        Some(place) => error.on(place),
        None => error,
    }
}

/// The call for this value.
fn chosen<'o>(write: &'o Operation, value: &Value) -> Result<&'o Operation> {
    if write.when.is_empty() {
        return Ok(write);
    }
    write.when.get(&convert::to_text(value)).ok_or_else(|| {
        let known = write.when.keys().cloned().collect::<Vec<_>>().join(", ");
        Error::bad_input(format!("there is no way to make it {value}")).hint(format!("it can be made: {known}"))
    })
}

fn exact() -> Undo {
    Undo { class: UndoClass::Exact, call: None }
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
        _ => new.clone(),
    }
}

fn title(operation: &Operation, default: &str, key: &str, item: &str, member: &str, value: &Value) -> String {
    let words = [("item", item), ("key", key), ("member", member), ("value", &super::super::planning::short(value))];
    template::text(operation.title.as_deref().unwrap_or(default), &words)
}

fn done(operation: &Operation, key: &str, item: &str) -> Vec<String> {
    operation.done.iter().map(|done| template::text(done, &[("item", item), ("items", item), ("key", key)])).collect()
}

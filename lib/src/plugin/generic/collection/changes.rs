//! From changes of items to exact calls: makes, members in their order, whole items, deletes.

use super::super::planning::{Planner, chosen};
use super::super::{arguments, convert};
use super::items::{self, Item};
use super::protection;
use super::shape::{at_path, put, to_raw};
use super::words::{done, title};
use crate::base::{Call, Error, Result};
use crate::bus::value::VariantTypes;
use crate::plugin::mapping::file::StateSection;
use crate::plugin::mapping::items::{covers, is_collection};
use crate::plugin::mapping::{MemberSection, Operation, Target};
use crate::state::plan::Undo;
use crate::state::{Action, Change, UndoClass};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One change of one item, with what the service has of it.
pub(super) struct Wish<'a> {
    pub change: &'a Change,
    pub name: &'a str,
    pub now: Option<&'a Item>,
    pub to: &'a Map<String, Value>,
    pub from: &'a Map<String, Value>,
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
        for (name, value) in in_order(section) {
            let member = &section.members[name];
            let Some(write) = &member.write else { continue };
            let mut written = Vec::new();
            let is_now = |to: &Value| is_its_turn(section, name, value.as_ref(), to);
            for wish in wishes.iter().filter(|wish| wish.to.get(name).is_some_and(is_now)) {
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
        let value = self.new_value(&at, section, &to, wish.name).map_err(|error| error.or_on(at.clone()))?;
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
        let turns = in_order(section);
        let is_now = |(name, value): &&(&str, Option<Value>)| {
            rest.get(*name).is_some_and(|to| is_its_turn(section, name, value.as_ref(), to))
        };
        for (name, _) in turns.iter().filter(is_now) {
            let name = *name;
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
        let only = |value: &Value| Map::from_iter([(name.to_owned(), value.clone())]);
        if let Some(now) = wish.now {
            protection::check_has(section, wish.name, now, (name, member))?;
        }
        if let Some(now) = wish.now.filter(|_| !self.is_back) {
            protection::check_members(section, wish.name, now, &only(to))?;
        }
        let (operation, call) = self.member_call(key, section, (name, member), write, wish, to)?;
        let back = self.member_call(key, section, (name, member), write, wish, from).ok().map(|(_, call)| call);
        let change = Change::Update {
            plugin: plugin.clone(),
            key: key.to_owned(),
            item: item.clone(),
            from: Value::Object(only(from)),
            to: Value::Object(only(to)),
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

    fn delete(&mut self, key: &str, section: &StateSection, operation: &Operation, wish: &Wish<'_>) -> Result<Action> {
        let at = format!("{}.{}", self.place(key), wish.name);
        let Some(now) = wish.now else {
            return Err(Error::failed("it is not there any more, so it cannot be deleted").on(at));
        };
        if !self.is_back {
            protection::check_delete(section, wish.name, now).map_err(|error| error.on(at.clone()))?;
        }
        self.check_refusal(key, operation, wish.name)?;
        let method = self.method_on(operation, now.path.as_deref())?;
        let types = VariantTypes::none();
        let find = self.words(key, section, wish, wish.to, None);
        let call = self.method_call(&method, operation, &at, &find, Some((&["item"], &types)))?;
        let class = match &section.create {
            // It could be made again, but not with what the service does not tell.
            Some(_) if Self::has_hidden(section, now) => UndoClass::Irreversible,
            Some(_) => method.section.undo.unwrap_or(UndoClass::Compensating),
            None => UndoClass::Irreversible,
        };
        let title = title(operation, "Delete {item} from {key}", key, wish.name, "", &Value::Null);
        let undo = Undo { class, call: None };
        let mut action = self.action(&method, call, title, undo, vec![wish.change.clone()], None);
        action.done = done(operation, key, wish.name);
        Ok(action)
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

/// The turns in which members are written: each member, or one value of it.
fn in_order(section: &StateSection) -> Vec<(&str, Option<Value>)> {
    let turn = |word: &'_ String| word.split_once('=').map(|(_, value)| convert::from_text(value));
    let name_of = |word: &'_ String| word.split('=').next().unwrap_or_default().len();
    let first = section.order.iter().map(|word| (&word[..name_of(word)], turn(word)));
    let rest = section.members.keys().filter(|name| !section.order.contains(name)).map(|name| (name.as_str(), None));
    first.filter(|(name, _)| section.members.contains_key(*name)).chain(rest).collect()
}

/// Whether a member that becomes `to` is written in this turn: that of its value, or where there is none, its own.
fn is_its_turn(section: &StateSection, name: &str, value: Option<&Value>, to: &Value) -> bool {
    match value {
        Some(value) => value == to,
        None => !section.order.iter().any(|word| *word == format!("{name}={}", convert::to_text(to))),
    }
}

/// An error about a part of an item's value, at the member that a document calls it.
pub(super) fn in_members(mut error: Error, section: &StateSection, at: &str) -> Error {
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

fn exact() -> Undo {
    Undo { class: UndoClass::Exact, call: None }
}

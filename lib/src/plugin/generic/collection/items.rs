//! Finding and reading items: listed, introspected, managed or looked for; with their properties and values.

use super::super::reading::{self, ask};
use super::super::{convert, rows};
use crate::base::{Error, Kind, Progress, Result};
use crate::bus::read::{self, PropertyGroup};
use crate::bus::value::VariantTypes;
use crate::bus::{Bus, Call};
use crate::plugin::mapping::collection::{KeySection, Query};
use crate::plugin::mapping::file::ReadSection;
use crate::plugin::mapping::{Mapping, StateSection, template};
use rows::Row;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Items of one key that are read; a service that lists without end must not fill the memory.
const MAX_ITEMS: usize = 100_000;

/// The column that holds an object's path.
pub const PATH: &str = "path";

/// One item, as the service has it.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Its object, when it has one.
    pub path: Option<String>,
    /// What is known about it: the source's fields, and the properties of its object. Those of another interface than
    /// the items' own are named `INTERFACE.PROPERTY`.
    pub columns: Row,
    /// What `get` answers.
    pub value: Option<Value>,
    /// The types of the variants in it.
    pub types: VariantTypes,
}

/// The items of one key by name, and what is wrong with others.
#[derive(Debug, Default)]
pub struct Items {
    /// By name.
    pub found: BTreeMap<String, Item>,
    /// Items that have no name or share one; the name is that of the item, where there is one.
    pub problems: Vec<(Option<String>, Error)>,
}

pub(super) struct Reader<'a> {
    pub(super) bus: &'a Bus,
    pub(super) mapping: &'a Mapping,
    pub(super) section: &'a StateSection,
    pub(super) source: &'a ReadSection,
    pub(super) key: &'a KeySection,
}

/// Reads the items of a key: all, or those of these names.
pub fn read(
    bus: &Bus,
    mapping: &Mapping,
    section: &StateSection,
    names: Option<&BTreeSet<String>>,
    progress: &mut dyn Progress,
) -> Result<Items> {
    let (Some(source), Some(key)) = (&section.read, &section.key) else {
        return Err(Error::bad_input("the mapping does not say where the items are"));
    };
    let reader = Reader { bus, mapping, section, source, key };
    // What can be no name is not asked for: the service could take it for an error, and no name at all for all of them.
    let pattern = reader.pattern()?;
    let can_be = |name: &&String| pattern.as_ref().is_none_or(|pattern| pattern.is_match(name));
    let names: Option<BTreeSet<String>> = names.map(|names| names.iter().filter(can_be).cloned().collect());
    if names.as_ref().is_some_and(BTreeSet::is_empty) {
        return Ok(Items::default());
    }
    let names = names.as_ref();
    let mut items = reader.sources(names, progress)?;
    check_number(&items)?;
    reader.properties(&mut items)?;
    reader.values(&mut items)?;
    let mut named = reader.named(items)?;
    reader.join(&mut named, names, progress)?;
    let counts = |item: &Item| {
        rows::passes(&item.columns, &section.filter) && !rows::is_excluded(&item.columns, &section.exclude)
    };
    named.found.retain(|name, item| names.is_none_or(|names| names.contains(name)) && counts(item));
    Ok(named)
}

/// The objects that a set is made of, as rows: the source's fields, and the properties that the set speaks of.
pub fn rows(bus: &Bus, mapping: &Mapping, section: &StateSection, progress: &mut dyn Progress) -> Result<Vec<Row>> {
    let (Some(source), Some(item)) = (&section.read, &section.item) else {
        return Err(Error::bad_input("the mapping does not say where the items are"));
    };
    let reader = Reader { bus, mapping, section, source, key: &KeySection::Part(item.clone()) };
    let mut items = reader.sources(None, progress)?;
    check_number(&items)?;
    reader.properties(&mut items)?;
    Ok(items.into_iter().map(|item| item.columns).collect())
}

fn check_number(items: &[Item]) -> Result<()> {
    if items.len() > MAX_ITEMS {
        return Err(Error::failed(format!("the service lists more than {MAX_ITEMS} items")));
    }
    Ok(())
}

impl Reader<'_> {
    /// The items as their source lists them, not yet named.
    fn sources(&self, names: Option<&BTreeSet<String>>, progress: &mut dyn Progress) -> Result<Vec<Item>> {
        if let (Some(names), Some(find)) = (names, &self.source.find) {
            return self.find(find, names, progress);
        }
        let of_path = |path: String| Item {
            columns: Row::from([(PATH.to_owned(), json!(path))]),
            path: Some(path),
            ..Item::default()
        };
        if let Some(parent) = &self.source.children {
            let node = read::introspect(self.bus, &self.mapping.service, parent, self.mapping.manner(None))?;
            let base = parent.trim_end_matches('/');
            return Ok(node.children.iter().map(|child| of_path(format!("{base}/{child}"))).collect());
        }
        if let Some(manager) = &self.source.manager {
            return self.managed(manager);
        }
        let reference = self.source.objects.as_deref().or(self.source.method.as_deref()).unwrap_or_default();
        let (reference, args) = match (&self.source.named, names) {
            (Some(named), Some(names)) => (named.method.as_str(), self.args(named, &|word| in_names(word, names))?),
            _ => (reference, template::fill(self.source.args.as_deref().unwrap_or_default(), &|_| None)?),
        };
        let method = self.mapping.method(reference)?;
        let own = vec![if self.source.objects.is_some() { PATH.to_owned() } else { self.key.column_ref().clone() }];
        let fields = if self.section.fields.is_empty() { &own } else { &self.section.fields };
        let rows = ask(self.bus, self.mapping, &method, args, fields, progress)?;
        let has_objects = self.source.objects.is_some();
        rows.into_iter()
            .map(|columns| {
                let path = columns.get(PATH).and_then(Value::as_str).map(str::to_owned);
                match (&path, has_objects) {
                    (None, true) => Err(Error::bad_input("the mapping names no column \"path\" that holds objects")
                        .hint("say which with fields = [..., \"path\", ...]")),
                    _ => Ok(Item { path: path.filter(|_| has_objects), columns, ..Item::default() }),
                }
            })
            .collect()
    }

    pub(super) fn args(&self, query: &Query, find: &dyn Fn(&str) -> Option<Value>) -> Result<Vec<Value>> {
        template::fill(query.args.as_deref().unwrap_or_default(), find)
    }

    /// Looks for each name; an error of the service's own means that there is none of that name.
    fn find(&self, find: &Query, names: &BTreeSet<String>, progress: &mut dyn Progress) -> Result<Vec<Item>> {
        let method = self.mapping.method(&find.method)?;
        let mut items = Vec::new();
        for name in names {
            progress.say(&format!("looking for {name}"), None);
            let word = |word: &str| self.word_of_name(word, name);
            // A name that cannot be converted, a link that is not there for example, is one that is not there.
            let Ok(args) = self.args(find, &word) else { continue };
            let call = reading::reading_call(self.mapping, &method, args)?;
            let label = call.label();
            match self.bus.call(call).and_then(|reply| reply.single(&label)) {
                Ok(Value::String(path)) => items.push(Item {
                    columns: Row::from([(PATH.to_owned(), json!(path))]),
                    path: Some(path),
                    ..Item::default()
                }),
                Ok(other) => return Err(Error::bad_input(format!("find answered {other}, not an object")).on(label)),
                Err(error) if is_answer(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    /// `$item` and `$items` as people write them; `$id`: what the name is converted from.
    pub(super) fn word_of_name(&self, word: &str, name: &str) -> Option<Value> {
        match (word, self.key) {
            ("item", _) => Some(json!(name)),
            ("items", _) => Some(json!([name])),
            ("id", KeySection::Part(part)) => {
                let codecs: Vec<String> = part.convert.iter().filter(|codec| *codec != "label").cloned().collect();
                convert::write(json!(name), &codecs).ok()
            }
            _ => None,
        }
    }

    fn managed(&self, manager: &str) -> Result<Vec<Item>> {
        let call = Call::new(&self.mapping.service, manager, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
            .in_manner(self.mapping.manner(None));
        let label = call.label();
        let Value::Object(objects) = self.bus.call(call)?.single(&label)? else {
            return Err(Error::failed("GetManagedObjects answered with no dictionary").on(label));
        };
        let own = self.source.interface.as_deref().unwrap_or(&self.mapping.interface);
        let mut items = Vec::new();
        for (path, interfaces) in objects {
            let Value::Object(interfaces) = interfaces else { continue };
            if !interfaces.contains_key(own) {
                continue;
            }
            let mut columns = Row::from([(PATH.to_owned(), json!(path))]);
            for (interface, properties) in interfaces {
                let Value::Object(properties) = properties else { continue };
                for (name, value) in properties {
                    columns.insert(if interface == own { name } else { format!("{interface}.{name}") }, value);
                }
            }
            items.push(Item { path: Some(path), columns, ..Item::default() });
        }
        Ok(items)
    }

    /// Reads the properties that members, the key and the filters speak of, of all objects at once.
    fn properties(&self, items: &mut Vec<Item>) -> Result<()> {
        if self.source.manager.is_some() {
            return Ok(());
        }
        let own = self.source.interface.as_deref();
        let of_fields = |column: &String| self.section.fields.contains(column) || column == PATH;
        let mut wanted: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
        for member in self.section.members.values().filter(|member| !member.secret) {
            if let (Some(property), Some(interface)) = (&member.property, member.interface.as_deref().or(own)) {
                wanted.entry(interface).or_default().insert(property);
            }
        }
        if let Some(own) = own {
            // A plain text names a path into what `get` answers, where there is a `get`; a table, always a column.
            let is_of_value = self.source.get.is_some() && matches!(self.key, KeySection::Column(_));
            let key = Some(self.key.column_ref()).filter(|_| !is_of_value);
            let needs = self.section.members.values().flat_map(|member| member.needs.keys());
            let of_rows = [&self.section.filter, &self.section.exclude, &self.section.protected_if];
            let columns = key.into_iter().chain(of_rows.into_iter().flat_map(BTreeMap::keys));
            let columns = columns.chain(needs);
            wanted.entry(own).or_default().extend(columns.filter(|column| !of_fields(column)));
        }
        wanted.retain(|_, names| !names.is_empty());
        let mut groups: BTreeMap<PropertyGroup, Vec<String>> = BTreeMap::new();
        for path in items.iter().filter_map(|item| item.path.as_ref()) {
            for (interface, names) in &wanted {
                let group = self.group(path, interface);
                groups.insert(group, names.iter().map(|name| (*name).clone()).collect());
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let mut read = read::properties(self.bus, &groups, self.mapping.manner(None));
        let mut errors = Vec::new();
        items.retain_mut(|item| {
            let Some(path) = &item.path else { return true };
            let mut failures = Vec::new();
            for interface in wanted.keys() {
                for (name, value) in read.remove(&self.group(path, interface)).unwrap_or_default() {
                    let column = if own == Some(interface) { name } else { format!("{interface}.{name}") };
                    match value {
                        Ok(value) => drop(item.columns.insert(column, value)),
                        Err(error) => failures.push(error),
                    }
                }
            }
            // One property less is a member less; an object that answers nothing is gone, or not for us to see.
            let is_silent = !failures.is_empty() && !item.columns.keys().any(|column| !of_fields(column));
            if is_silent && let Some(error) = failures.into_iter().find(|error| !is_gone(error)) {
                errors.push(error);
            }
            !is_silent
        });
        match errors.into_iter().next() {
            Some(error) if items.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    fn group(&self, path: &str, interface: &str) -> PropertyGroup {
        PropertyGroup { service: self.mapping.service.clone(), path: path.into(), interface: interface.into() }
    }

    /// Asks each item for its value, all at once.
    fn values(&self, items: &mut Vec<Item>) -> Result<()> {
        let Some(get) = &self.source.get else { return Ok(()) };
        let mut method = self.mapping.method(&get.method)?;
        let mut calls = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if let (Some(path), Some(_)) = (&item.path, method.section.on) {
                method.path.clone_from(path);
            }
            let name = item.columns.get(self.key.column_ref()).cloned();
            let find = |word: &str| match word {
                "item" => name.clone(),
                column => item.columns.get(column).cloned(),
            };
            calls.push((at, reading::reading_call(self.mapping, &method, self.args(get, &find)?)?));
        }
        let mut replies: BTreeMap<usize, Result<(Value, VariantTypes)>> = BTreeMap::new();
        self.bus.pump(calls, |at, reply| {
            let outcome = reply.and_then(|reply| {
                let types = reply.variant_types()?;
                Ok((reply.single("the reply")?, types))
            });
            replies.insert(at, outcome);
            Vec::new()
        });
        let mut at = 0;
        let mut failure = None;
        items.retain_mut(|item| {
            let reply = replies.remove(&at);
            at += 1;
            match reply {
                Some(Ok((value, types))) => {
                    item.value = Some(value);
                    item.types = types;
                    true
                }
                Some(Err(error)) if !is_gone(&error) => {
                    failure.get_or_insert(error);
                    false
                }
                _ => false,
            }
        });
        failure.map_or(Ok(()), Err)
    }
}

pub(super) fn in_names(word: &str, names: &BTreeSet<String>) -> Option<Value> {
    (word == "items").then(|| json!(names))
}

/// Whether an error is the service's own: what was asked for is not there.
pub(super) fn is_answer(error: &Error) -> bool {
    matches!(error.kind, Kind::Failed) && error.dbus_error.is_some()
}

/// Whether an error says that the object is not there any more.
fn is_gone(error: &Error) -> bool {
    let name = error.dbus_error.as_deref().and_then(|name| name.strip_prefix("org.freedesktop.DBus.Error."));
    matches!(name, Some("UnknownObject" | "UnknownMethod" | "UnknownInterface"))
}

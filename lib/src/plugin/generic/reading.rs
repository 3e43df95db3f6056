//! Reading the mapped keys of a service: properties together, methods one by one.

use super::collection;
use super::rows::{self, Row};
use super::transaction;
use crate::base::{Error, Progress, Result};
use crate::bus::read::{self, PropertyGroup};
use crate::bus::{Bus, Call};
use crate::plugin::mapping::file::ReadSection;
use crate::plugin::mapping::items::{is_collection, is_of_this_machine};
use crate::plugin::mapping::{Mapping, Method, StateSection, fixed_of, template};
use crate::plugin::{Queried, Want};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads the keys `want` names.
pub fn read(bus: &Bus, mapping: &Mapping, plugin: &str, want: &Want, progress: &mut dyn Progress) -> Queried {
    let mut queried = Queried::default();
    let is_wanted = |key: &str| match want {
        // A call may need the values of other keys too: then they are read with it.
        Want::Keys(keys) => keys.keys().any(|wanted| wanted == key || mapping.mentions(wanted, key)),
        Want::State | Want::All => true,
    };
    let sections = mapping.file.state_mapping.iter().filter(|(key, section)| is_wanted(key) && !section.secret);
    let mut groups: BTreeMap<PropertyGroup, Vec<String>> = BTreeMap::new();
    let mut of_properties: Vec<(&str, PropertyGroup, &str)> = Vec::new();
    let mut of_methods: Vec<(&str, &StateSection, &ReadSection)> = Vec::new();
    let mut of_items: Vec<(&str, &StateSection)> = Vec::new();
    for (key, section) in sections {
        let Some(read) = &section.read else { continue };
        if bus.is_remote() && is_of_this_machine(section) {
            let error = Error::failed("its names are those of the machine that the service runs on");
            let error = error.hint("run op-query and op-apply there: ssh HOST op-query");
            queried.problems.push(error.on(format!("plugins.{plugin}.{key}")));
            continue;
        }
        if is_collection(section) {
            of_items.push((key, section));
            continue;
        }
        match &read.property {
            Some(property) => {
                let group = property_group(mapping, read);
                let names = groups.entry(group.clone()).or_default();
                if !names.contains(property) {
                    names.push(property.clone());
                }
                of_properties.push((key, group, property));
            }
            None => of_methods.push((key, section, read)),
        }
    }
    let properties = read::properties(bus, &groups, mapping.manner(None));
    for (key, group, property) in of_properties {
        let outcome = properties.get(&group).and_then(|read| read.get(property)).cloned();
        let outcome = outcome.unwrap_or_else(|| Err(Error::failed("the property was not answered")));
        keep(&mut queried, plugin, key, outcome);
    }
    for (key, section, read) in of_methods {
        let outcome = by_method(bus, mapping, section, read, progress);
        keep(&mut queried, plugin, key, outcome);
    }
    for (key, section) in of_items {
        match collection::read(bus, mapping, section, want.items(key), progress) {
            Ok(items) => {
                let (value, problems) = collection::to_state(&items, section, &format!("plugins.{plugin}.{key}"));
                queried.values.insert(key.to_owned(), value);
                queried.problems.extend(problems);
            }
            Err(error) => keep(&mut queried, plugin, key, Err(error)),
        }
    }
    queried
}

fn keep(queried: &mut Queried, plugin: &str, key: &str, outcome: Result<Value>) {
    match outcome {
        Ok(value) => drop(queried.values.insert(key.to_owned(), value)),
        Err(mut error) => {
            let call = error.subject.take().map(|call| format!(" (asked {call})")).unwrap_or_default();
            error.message = format!("could not read it: {}{call}", error.message);
            queried.problems.push(error.on(format!("plugins.{plugin}.{key}")));
        }
    }
}

/// The object and interface a key's property is on.
pub fn property_group(mapping: &Mapping, read: &ReadSection) -> PropertyGroup {
    PropertyGroup {
        service: mapping.service.clone(),
        path: read.path.clone().unwrap_or_else(|| mapping.path.clone()),
        interface: read.interface.clone().unwrap_or_else(|| mapping.interface.clone()),
    }
}

fn by_method(
    bus: &Bus,
    mapping: &Mapping,
    section: &StateSection,
    read: &ReadSection,
    progress: &mut dyn Progress,
) -> Result<Value> {
    if read.has_objects() {
        return rows::to_value(collection::rows(bus, mapping, section, progress)?, section);
    }
    let method = mapping.method(read.method.as_deref().unwrap_or_default())?;
    let args = template::fill(read.args.as_deref().unwrap_or_default(), &|_| None)?;
    if method.transaction.is_none() && section.fields.is_empty() {
        let call = reading_call(mapping, &method, args)?;
        let label = call.label();
        return bus.call(call)?.single(&label);
    }
    let rows = ask(bus, mapping, &method, args, &section.fields, progress)?;
    rows::to_value(rows, section)
}

/// Calls a safe method with its free arguments, as a transaction if it is one, and returns rows.
pub fn ask(
    bus: &Bus,
    mapping: &Mapping,
    method: &Method<'_>,
    free_args: Vec<Value>,
    fields: &[String],
    progress: &mut dyn Progress,
) -> Result<Vec<Row>> {
    let call = reading_call(mapping, method, free_args)?;
    if method.transaction.is_some() {
        return transaction::run(bus, mapping, method, &call, progress).map_err(|failure| failure.error);
    }
    let label = call.label();
    let value = bus.call(call)?.single(&label)?;
    rows::from_reply(&value, fields).map_err(|error| error.or_on(label))
}

/// The call of a method that reads. Its argument types come from the mapping, so that reading needs no introspection.
pub fn reading_call(mapping: &Mapping, method: &Method<'_>, free_args: Vec<Value>) -> Result<Call> {
    let args = template::with_fixed(free_args, &fixed_of(method.section))?;
    let types = match &method.section.arg_types {
        Some(types) => types.concat(),
        None if args.is_empty() => String::new(),
        None => {
            return Err(Error::bad_input("a method that is called with arguments while reading needs its arg_types")
                .on(format!("{}: methods.{}", mapping.source, method.name))
                .hint(format!("op-discover {} shows them", mapping.service)));
        }
    };
    Ok(Call::new(&method.service, &method.path, &method.interface, &method.member)
        .with(&types, args)
        .in_manner(mapping.manner(Some(method.section))))
}

//! The examples of the shipped mappings, against the mappings.

use super::markdown::{blocks, read};
use super::{Plugin, files, plugins};
use op_dbus::bus::value::{VariantTypes, encode, single_type};
use op_dbus::plugin::generic::convert;
use op_dbus::plugin::mapping::file::ReadSection;
use op_dbus::plugin::mapping::items::is_collection;
use op_dbus::plugin::mapping::{MemberSection, StateSection, check_value};
use op_dbus::state::{PluginState, Removal, StateDocument, diff_plugin};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

#[test]
fn examples_use_known_keys_and_right_values_and_change_something() {
    for plugin in plugins() {
        let folder = plugin.folder.join("examples");
        let story = read(&folder.join("README.md"));
        let examples = files(&folder, ".json");
        assert!(examples.len() >= 2, "{}", plugin.name);
        assert_eq!(story.matches("\n## ").count(), examples.len(), "{}", plugin.place("a story without its example"));
        for example in examples {
            let place = example.display().to_string();
            let name = example.file_name().unwrap().to_str().unwrap();
            let document: Value = serde_json::from_str(&read(&example)).unwrap();
            let mut document = StateDocument::from_json(&document).unwrap();
            let desired = document.plugins.remove(&plugin.name).unwrap_or_else(|| panic!("{place}"));
            assert!(document.plugins.is_empty(), "{place} speaks of other plugins too");
            let (_, tail) =
                story.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no story for {place}"));
            let start = blocks(tail).remove(0).2;
            let start = PluginState::from_json(name, &serde_json::from_str(&start).unwrap()).unwrap();
            check_values(&plugin, &place, &desired);
            check_values(&plugin, &place, &start);
            let diff = |current| diff_plugin(name, &desired, current, &plugin.mapping.specs, &Removal::default());
            let changes = diff(&start.values).unwrap();
            let changed: BTreeSet<String> = changes.iter().map(|change| change.resource().key).collect();
            let mentioned: BTreeSet<String> = desired.values.keys().chain(desired.absent.keys()).cloned().collect();
            assert!(!changes.is_empty() && changed.is_subset(&mentioned), "{place}");
            let mut done = start.values.clone();
            for (key, value) in &desired.values {
                match (done.get_mut(key), value) {
                    (Some(Value::Object(items)), Value::Object(wanted)) if plugin.has_items(key) => make(items, wanted),
                    _ => drop(done.insert(key.clone(), value.clone())),
                }
            }
            for (key, items) in &desired.absent {
                match &mut done[key] {
                    Value::Object(map) => map.retain(|item, _| !items.contains(item)),
                    list => list.as_array_mut().unwrap().retain(|item| !items.iter().any(|gone| item == gone)),
                }
            }
            assert_eq!(diff(&done).unwrap(), [], "{place} is no no-op the second time");
        }
    }
}

impl Plugin {
    fn has_items(&self, key: &str) -> bool {
        self.mapping.file.state_mapping.get(key).is_some_and(is_collection)
    }
}

/// Every value has a known key, passes the key's rules, and fits the type the service has for it.
fn check_values(plugin: &Plugin, place: &str, state: &PluginState) {
    let absent = state.absent.iter().map(|(key, items)| (key, json!(items)));
    for (key, value) in state.values.iter().map(|(key, value)| (key, value.clone())).chain(absent) {
        let section = plugin.mapping.file.state_mapping.get(key).unwrap_or_else(|| panic!("{place} has no key {key}"));
        if let (Value::Object(items), true) = (&value, is_collection(section)) {
            items.values().for_each(|item| check_item(plugin, place, section, item));
            continue;
        }
        check_value(key, &value, &section.validate).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some(ReadSection { property: Some(property), interface, .. }) = &section.read {
            let interface = interface.as_ref().unwrap_or(&plugin.mapping.interface);
            let signature = single_type(&plugin.interfaces[interface].properties[property].type_signature).unwrap();
            encode(&value, &signature, key, &known_types(section)).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

/// The members of an item pass their rules and fit the types of their properties.
fn check_item(plugin: &Plugin, place: &str, section: &StateSection, item: &Value) {
    if section.members.is_empty() {
        return check_open_item(plugin, place, section, item);
    }
    let own = section.read.as_ref().and_then(|read| read.interface.as_ref());
    for (name, value) in
        item.as_object().unwrap().iter().filter(|(name, _)| !["state", "absent"].contains(&name.as_str()))
    {
        let member = section.members.get(name).unwrap_or_else(|| panic!("{place} has no member {name}"));
        check_value(name, value, &member.validate).unwrap_or_else(|error| panic!("{place}: {error}"));
        // Where each value has a call of its own, the value itself is not sent.
        let is_sent = member.write.as_ref().is_none_or(|write| write.when.is_empty());
        if let Some(property) = member.property.as_ref().filter(|_| is_sent) {
            let interface = member.interface.as_ref().or(own).unwrap();
            let signature = single_type(&plugin.interfaces[interface].properties[property].type_signature).unwrap();
            let value = raw(member, value);
            encode(&value, &signature, name, &VariantTypes::none()).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

/// An item that may hold anything fits the type that the service has for items, with the types that the mapping knows.
fn check_open_item(plugin: &Plugin, place: &str, section: &StateSection, item: &Value) {
    let method = section.create.as_ref().unwrap().method.as_ref().unwrap();
    let types = plugin.mapping.method(method).unwrap().section.arg_types.clone().unwrap().concat();
    if item["state"] != "absent" {
        let encoded = encode(item, &single_type(&types).unwrap(), place, &known_types(section));
        encoded.unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

fn known_types(section: &StateSection) -> VariantTypes {
    let known = section.variant_types.iter().map(|(key, text)| (key.clone(), single_type(text).unwrap()));
    VariantTypes { by_key: known.collect() }
}

/// The value as the service has it.
fn raw(member: &MemberSection, value: &Value) -> Value {
    let of_table = member.values.iter().find(|(_, ours)| *ours == value).map(|(text, _)| convert::from_text(text));
    of_table.unwrap_or_else(|| convert::write(value.clone(), &member.convert).unwrap())
}

/// Items as they are once a document holds.
fn make(items: &mut Map<String, Value>, wanted: &Map<String, Value>) {
    for (name, wanted) in wanted {
        if wanted["state"] == "absent" {
            items.remove(name);
            continue;
        }
        let item = items.entry(name).or_insert_with(|| json!({})).as_object_mut().unwrap();
        for (member, value) in wanted.as_object().unwrap().iter().filter(|(member, _)| *member != "absent") {
            match (item.get_mut(member), value) {
                (Some(Value::Array(now)), Value::Array(more)) if wanted.get("absent").is_some() => {
                    now.extend(more.clone());
                }
                (Some(now @ Value::Object(_)), Value::Object(more)) => put(now, more),
                _ => drop(item.insert(member.clone(), value.clone())),
            }
        }
        for (member, gone) in wanted.get("absent").and_then(Value::as_object).into_iter().flatten() {
            let list = item[member].as_array_mut().unwrap();
            list.retain(|value| !gone.as_array().unwrap().contains(value));
        }
    }
}

/// What a document says on top of what is there.
fn put(now: &mut Value, more: &Map<String, Value>) {
    for (name, value) in more {
        match (&mut now[name], value) {
            (now @ Value::Object(_), Value::Object(more)) => put(now, more),
            (now, value) => *now = value.clone(),
        }
    }
}

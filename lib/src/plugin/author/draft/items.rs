//! What makes and deletes the items of a collection.

use super::collections::Items;
use super::pairs::{nothing_of, pinned};
use super::{Drafter, Entry, MethodDraft, Table, flat};
use crate::base::name::snake_case;
use crate::bus::introspection::Method;
use crate::plugin::author::words;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const CREATING: &[&str] = &["create", "add", "new", "define", "register"];
const DELETING: &[&str] = &["delete", "remove", "destroy", "undefine", "unregister"];

impl Drafter<'_> {
    /// The call that makes an item; false when there is none, or what it takes cannot be told.
    pub(super) fn create(
        &mut self,
        items: &Items,
        column: Option<&str>,
        is_whole: bool,
        members: &BTreeMap<String, String>,
        entry: &mut Entry,
    ) -> bool {
        let Some((path, owner, member, method)) = self.about(items, CREATING) else { return false };
        let mut args = Vec::new();
        let mut fixed = BTreeMap::new();
        let mut defaults = Map::new();
        let mut notes = Vec::new();
        let mut has_name = false;
        for (position, arg) in method.inputs.iter().enumerate() {
            let name = arg.name.clone().unwrap_or_else(|| format!("argument {position}"));
            let (own, types) = (flat(&name), arg.type_signature.as_str());
            let is_key =
                types == "s" && !has_name && column.is_none_or(|c| flat(c).ends_with(&own) || own.ends_with(&flat(c)));
            let is_alike = |property: &str| {
                let property = flat(property);
                property == own || property.ends_with(&own) || own.ends_with(&property)
            };
            let of_member = members.iter().find(|(property, _)| is_alike(property));
            if is_whole && types.starts_with("a{s") {
                args.push(json!("$value"));
                has_name = true;
            } else if is_key {
                args.push(json!("$item"));
                has_name = true;
            } else if let Some((property, member)) = of_member {
                args.push(json!(format!("${member}")));
                defaults.insert(member.clone(), nothing_of(&items.interface.properties[property].type_signature));
                notes.push(format!("{name} is {member}"));
            } else if let Some((value, _, note)) = pinned(arg, position + 1 == method.inputs.len()) {
                fixed.insert(position, value);
                notes.push(note);
            } else if matches!(types, "s" | "as" | "i" | "u") {
                fixed.insert(position, nothing_of(types));
                notes.push(format!("{name} ({types}) is unknown, so it is given nothing: look whether that will do"));
            } else {
                has_name = false;
                break;
            }
        }
        if !has_name {
            entry.why.push(format!("{member} may make one, but what it takes cannot be told from here"));
            return false;
        }
        self.take(&owner, &member);
        let method = MethodDraft { fixed, ..self.method(Some(&path), &owner, &member, &method) };
        let mut table = Table::new(&["state_mapping", &items.key, "create"]).line("method", &json!(method.name));
        table = table.line("args", &Value::Array(args));
        if !defaults.is_empty() {
            table = table.line("defaults", &Value::Object(defaults));
        }
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        table.note = Some(format!("likely: {member} has the name of an item{notes}"));
        entry.tables.push(table);
        entry.methods.push(method);
        true
    }

    /// The call that deletes an item.
    pub(super) fn delete(
        &mut self,
        items: &Items,
        column: Option<&str>,
        members: &BTreeMap<String, String>,
        entry: &mut Entry,
    ) {
        let own = items.interface.methods.iter().find(|(member, method)| {
            method.inputs.is_empty() && DELETING.contains(&words::words(member).join("_").as_str())
        });
        if let Some((member, method)) = own {
            self.take(&items.name, member);
            let method = self.method(None, &items.name, member, method);
            let mut table = Table::new(&["state_mapping", &items.key, "delete"]).line("method", &json!(method.name));
            table.note = Some(format!("sure: an item has {member}. Is there one that must never go? See protected"));
            entry.tables.push(table);
            entry.methods.push(method);
            return;
        }
        let Some((path, owner, member, method)) = self.about(items, DELETING) else { return };
        let mut args = Vec::new();
        let mut fixed = BTreeMap::new();
        let mut notes = Vec::new();
        let mut internal = None;
        for (position, arg) in method.inputs.iter().enumerate() {
            let name = arg.name.clone().unwrap_or_default();
            let by_name = items
                .interface
                .properties
                .keys()
                .find(|p| flat(p) == flat(&name) || (!name.is_empty() && flat(p).ends_with(&flat(&name))));
            match (arg.type_signature.as_str(), by_name) {
                ("o", _) => args.push(json!("$path")),
                ("s", property) if property.map(String::as_str) == column || property.is_none() => {
                    args.push(json!("$item"))
                }
                (types, Some(property)) if types != "b" => {
                    let word = members.get(property).cloned().unwrap_or_else(|| snake_case(property));
                    args.push(json!(format!("${word}")));
                    notes.push(format!("{name} is {property}"));
                    internal = Some((property.clone(), word)).filter(|(p, _)| !members.contains_key(p));
                }
                _ => match pinned(arg, position + 1 == method.inputs.len()) {
                    Some((value, _, note)) => {
                        fixed.insert(position, value);
                        notes.push(note);
                    }
                    None => return,
                },
            }
        }
        if let Some((property, word)) = internal {
            entry.tables.retain(|table| table.name.get(3) != Some(&word));
            let table = Table::new(&["state_mapping", &items.key, "members", &word]).line("property", &json!(property));
            entry.tables.push(table.line("internal", &json!(true)));
        }
        self.take(&owner, &member);
        let method = MethodDraft { fixed, ..self.method(Some(&path), &owner, &member, &method) };
        let mut table = Table::new(&["state_mapping", &items.key, "delete"]).line("method", &json!(method.name));
        table = table.line("args", &Value::Array(args));
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        table.note = Some(format!(
            "likely: {member} has the name of an item{notes}. Is there one that must never go? See protected"
        ));
        entry.tables.push(table);
        entry.methods.push(method);
    }

    /// A method of a manager that does something to one item: `CreateUser`, `AddConnection`.
    fn about(&self, items: &Items, verbs: &[&str]) -> Option<(String, String, String, Method)> {
        let is_about = |member: &str| {
            let parts = words::words(member);
            let (verb, rest) = parts.split_first()?;
            (verbs.contains(&verb.as_str()) && rest.join("_") == items.noun)
                .then(|| verbs.iter().position(|v| v == verb))?
        };
        // zone.addService is not about the items of config.service.
        let is_above = |owner: &str| {
            let base = owner.strip_suffix(".Manager").unwrap_or(owner);
            items.name.starts_with(&format!("{base}."))
        };
        let mut found: Vec<(usize, &(String, String), String)> = Vec::new();
        for single in self.singles.iter().filter(|(_, name)| is_above(name)) {
            let Some(interface) = self.surface.interfaces.get(&single.1) else { continue };
            let free = interface.methods.keys().filter(|member| self.is_free(&single.1, member));
            found.extend(free.filter_map(|member| Some((is_about(member)?, single, member.clone()))));
        }
        found.sort();
        let (_, (path, owner), member) = found.into_iter().next()?;
        let method = self.surface.method(owner, &member)?.clone();
        Some((path.clone(), owner.clone(), member, method))
    }
}

//! Methods that belong together: what gets and sets a value, and what adds to, removes from and lists a set.

use super::pairs::{Free, pinned, write};
use super::switches::SWITCHES;
use super::{Drafter, Entry, Kind, MethodDraft, Safe, Sureness, Table, described};
use crate::bus::introspection::{Arg, Interface, Method};
use crate::bus::value::complete_types;
use crate::plugin::author::words::{self, plural, singular};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Words that put in and those that take out again.
pub const OPPOSITES: &[(&str, &[&str])] = &[
    ("add", &["remove", "delete"]),
    ("enable", &["disable"]),
    ("install", &["remove", "uninstall"]),
    ("register", &["unregister", "deregister"]),
    ("allow", &["disallow", "deny"]),
    ("block", &["unblock"]),
    ("mask", &["unmask"]),
    ("trust", &["untrust", "distrust"]),
    ("append", &["remove"]),
    ("insert", &["remove", "delete"]),
];

/// Words that list.
const LISTING: &[&str] = &["get", "list", "enumerate", "get_all", "list_all"];

/// What reads a set: a property, or a method.
enum SetReader {
    Property(String),
    Method(String),
}

impl Drafter<'_> {
    /// Keys for the families of an object's methods.
    pub(super) fn families(&mut self, path: &str, name: &str) {
        let interface = self.interface(name);
        for (member, method) in &interface.methods {
            let parts = words::words(member);
            let Some((verb, noun)) = parts.split_first() else { continue };
            if noun.is_empty() || !self.is_free(name, member) {
                continue;
            }
            let noun = noun.join("_");
            if ["set", "switch", "select", "change"].contains(&verb.as_str()) {
                self.getter_and_setter(path, name, &interface, member, method, &noun);
                continue;
            }
            let off = SWITCHES.iter().find(|(word, _)| word == verb);
            if off.is_some_and(|(_, off)| self.switch(path, name, &interface, (member, method), off, &noun)) {
                continue;
            }
            if let Some((_, opposites)) = OPPOSITES.iter().find(|(word, _)| word == verb) {
                self.set(path, name, &interface, (member, method), opposites, &noun);
            }
        }
    }

    /// `getLogDenied() -> s` and `setLogDenied(s)`.
    fn getter_and_setter(
        &mut self,
        path: &str,
        name: &str,
        interface: &Interface,
        member: &str,
        method: &Method,
        noun: &str,
    ) {
        let names =
            ["get_", "get_active_", "get_current_", "active_", "current_", ""].map(|prefix| format!("{prefix}{noun}"));
        let rank = |(other, getter): &(&String, &Method)| {
            let text = words::words(other).join("_");
            let answers = getter.inputs.is_empty() && getter.outputs.len() == 1;
            names.iter().position(|name| *name == text).filter(|_| answers)
        };
        let getters = interface.methods.iter().filter_map(|one| Some((rank(&one)?, one)));
        let Some((_, (getter_name, getter))) = getters.min_by_key(|(rank, _)| *rank) else { return };
        let wanted = getter.output_signature();
        if words::is_secret(getter_name) || words::writing_word(getter_name).is_some() || wanted.contains('h') {
            return;
        }
        let doubtful = MethodDraft { safe: Safe::Doubtful, ..self.method(Some(path), name, getter_name, getter) };
        let reader = self.reader(Some(path), name, getter_name, getter).unwrap_or(doubtful);
        let Some((fixed, notes, _)) = value_and_pins(&method.inputs, &wanted) else { return };
        let setter = MethodDraft { fixed, ..self.method(Some(path), name, member, method) };
        let key = self.key(noun, name);
        let table = Table::new(&["state_mapping", &key])
            .line("description", &json!(described(noun)))
            .line("read", &json!({"method": reader.name}))
            .line("diff_strategy", &json!("value_comparison"))
            .raw("write", write(&setter.name, &[Free::Value], &BTreeMap::new()));
        let mut why = format!("{getter_name} answers with what {member} takes ({wanted})");
        notes.iter().for_each(|note| why.push_str(&format!("; {note}")));
        if !setter.outputs.is_empty() {
            let said = &setter.outputs;
            why.push_str(&format!(
                "; what {member} answers ({said}) nobody looks at: reading again tells whether it worked"
            ));
        }
        let is_exact = member.to_lowercase().starts_with("set") && words::words(getter_name)[0] == "get";
        let sureness = match (reader.safe == Safe::Doubtful, is_exact && notes.is_empty()) {
            (true, _) => Sureness::Guess,
            (false, true) => Sureness::Sure,
            (false, false) => Sureness::Likely,
        };
        self.take(name, member);
        self.take(name, getter_name);
        self.entries.push(Entry {
            key,
            kind: Kind::Writable,
            sureness,
            why: vec![why],
            methods: vec![reader, setter],
            tables: vec![table],
            is_taken: sureness != Sureness::Guess,
            choice: None,
        });
    }

    /// `AddLamp(s)`, `RemoveLamp(s)` and what lists the lamps.
    fn set(
        &mut self,
        path: &str,
        name: &str,
        interface: &Interface,
        (member, add): (&String, &Method),
        opposites: &[&str],
        noun: &str,
    ) {
        let one = singular(noun);
        let is_remover = |(other, _): &(&String, &Method)| {
            let parts = words::words(other);
            let Some((verb, rest)) = parts.split_first() else { return false };
            opposites.contains(&verb.as_str()) && singular(&rest.join("_")) == one
        };
        let Some((remove_name, remove)) = interface.methods.iter().find(is_remover) else { return };
        let Some((add_fixed, mut notes, add_at)) = item_and_pins(&add.inputs) else { return };
        let Some((remove_fixed, more, _)) = item_and_pins(&remove.inputs) else { return };
        notes.extend(more);
        let Some(source) = self.set_reader(name, interface, &plural(&one), &one) else { return };
        let add_method = MethodDraft { fixed: add_fixed, ..self.method(Some(path), name, member, add) };
        let remove_method = MethodDraft { fixed: remove_fixed, ..self.method(Some(path), name, remove_name, remove) };
        let key = self.key(&plural(&one), name);
        let mut table = Table::new(&["state_mapping", &key]).line("description", &json!(described(&plural(&one))));
        let mut methods = vec![add_method.clone(), remove_method.clone()];
        let mut sureness = if notes.is_empty() { Sureness::Sure } else { Sureness::Likely };
        let listed = match source {
            SetReader::Property(property) => {
                let mut read = Map::from_iter([("property".to_owned(), json!(property))]);
                read.extend(self.place(path, name));
                table = table.line("read", &Value::Object(read));
                self.take(name, &property);
                property
            }
            SetReader::Method(lister) => {
                let method = &interface.methods[&lister];
                let Some(reader) = self.reader(Some(path), name, &lister, method) else { return };
                table = table.line("read", &json!({"method": reader.name}));
                let output = method.output_signature();
                if output.starts_with("a(") {
                    table = table.line("fields", &json!([one])).line("item", &json!({"field": one}));
                    notes.push(format!("the first column of {output} is taken for the item"));
                    sureness = Sureness::Guess;
                }
                methods.insert(0, reader);
                self.take(name, &lister);
                lister
            }
        };
        table = table
            .line("add", &json!({"method": add_method.name}))
            .line("remove", &json!({"method": remove_method.name}));
        let mut why = format!("{member} and {remove_name} take one item, and {listed} has all of them");
        notes.iter().for_each(|note| why.push_str(&format!("; {note}")));
        self.take(name, member);
        self.take(name, remove_name);
        let mut reasons = vec![why];
        if add.inputs[add_at].type_signature == "s" {
            reasons.push("is there an item that must never go? Then name it in protected".into());
        }
        self.entries.push(Entry {
            key,
            kind: Kind::Writable,
            sureness,
            why: reasons,
            methods,
            tables: vec![table],
            is_taken: sureness != Sureness::Guess,
            choice: None,
        });
    }

    /// `ListUnits() -> a(ssb)`: what is left of the methods that read, shown as rows or texts.
    pub(super) fn queries(&mut self) {
        for (path, name) in self.singles.clone() {
            for (member, method) in self.interface(&name).methods {
                let output = method.output_signature();
                let rows = output.strip_prefix("a(").and_then(|rest| rest.strip_suffix(')'));
                let columns = rows.and_then(|inner| complete_types(inner).ok()).map(|types| types.len());
                let is_listing =
                    method.inputs.is_empty() && method.outputs.len() == 1 && (columns.is_some() || output == "as");
                let reader = self.reader(Some(&path), &name, &member, &method).filter(|_| is_listing);
                let (Some(reader), true) = (reader, self.is_free(&name, &member)) else { continue };
                let many = words::words(&member)[1..].join("_");
                if many.is_empty() {
                    continue;
                }
                let key = self.key(&many, &name);
                let mut table = Table::new(&["state_mapping", &key])
                    .line("description", &json!(described(&many)))
                    .line("read", &json!({"method": reader.name}));
                if let Some(columns) = columns {
                    let one = singular(&many);
                    let field = |i: usize| if i == 0 { one.clone() } else { format!("column_{i}") };
                    table = table.line("fields", &(0..columns).map(field).collect());
                    if rows.is_some_and(|inner| inner.starts_with('s')) {
                        table = table.line("key", &json!(one));
                    }
                }
                self.take(&name, &member);
                self.entries.push(Entry {
                    key,
                    kind: Kind::Query,
                    sureness: Sureness::Likely,
                    why: vec![format!("{member} answers with {output}")],
                    methods: vec![reader],
                    tables: vec![table],
                    is_taken: false,
                    choice: None,
                });
            }
        }
    }

    /// What lists the items of a set: a property by the name of many, or a method.
    fn set_reader(&self, name: &str, interface: &Interface, many: &str, one: &str) -> Option<SetReader> {
        let is_it = |text: &str| {
            let text = words::words(text).join("_");
            text == many || text == one
        };
        let property = interface
            .properties
            .iter()
            .find(|(property, p)| p.type_signature == "as" && p.access.is_readable() && is_it(property));
        if let Some((property, _)) = property {
            return Some(SetReader::Property(property.clone()));
        }
        let lists = |(member, method): &(&String, &Method)| {
            let text = words::words(member).join("_");
            let noun = LISTING.iter().find_map(|verb| text.strip_prefix(&format!("{verb}_")));
            let output = method.output_signature();
            noun.is_some_and(is_it)
                && method.inputs.is_empty()
                && (output == "as" || output.starts_with("a(s"))
                && self.is_free(name, member)
        };
        interface.methods.iter().find(lists).map(|(member, _)| SetReader::Method(member.clone()))
    }
}

pub(super) type Pins = (BTreeMap<usize, Value>, Vec<String>, usize);

/// The one argument of type `wanted`, all others pinned; nothing when that cannot be.
fn value_and_pins(inputs: &[Arg], wanted: &str) -> Option<Pins> {
    let at = inputs.iter().position(|arg| arg.type_signature == wanted)?;
    pins(inputs, at)
}

/// The one argument that is the item, a text or a list of texts, all others pinned.
fn item_and_pins(inputs: &[Arg]) -> Option<Pins> {
    let at = inputs.iter().position(|arg| matches!(arg.type_signature.as_str(), "s" | "as"))?;
    pins(inputs, at)
}

/// All but the argument at `at` pinned; with none there, all of them.
pub(super) fn pins(inputs: &[Arg], at: usize) -> Option<Pins> {
    let mut fixed = BTreeMap::new();
    let mut notes = Vec::new();
    for (position, arg) in inputs.iter().enumerate().filter(|(position, _)| *position != at) {
        let (value, is_sure, note) = pinned(arg, position + 1 == inputs.len())?;
        fixed.insert(position, value);
        if !is_sure {
            notes.push(note);
        }
    }
    Some((fixed, notes, at))
}

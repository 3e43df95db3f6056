//! Properties and what sets them: the service itself, a setter of the same name, or one setter for several.

use super::{Drafter, Entry, Kind, MethodDraft, Sureness, Table, described, flat, render};
use crate::base::name::snake_case;
use crate::bus::introspection::{Arg, Interface, Method};
use crate::plugin::author::words;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A property and what sets it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The property.
    pub property: String,
    /// The setter; none when the service lets the property be set.
    pub setter: Option<Setter>,
    /// How sure that is.
    pub sureness: Sureness,
    /// Why.
    pub why: String,
}

/// A method that sets.
#[derive(Debug, Clone)]
pub struct Setter {
    /// The member.
    pub member: String,
    /// What is pinned.
    pub fixed: BTreeMap<usize, Value>,
    /// The arguments that are left, in order: `$value`, or another property's name.
    pub free: Vec<Free>,
}

/// An argument that is not pinned.
#[derive(Debug, Clone, PartialEq)]
pub enum Free {
    /// The property's own value.
    Value,
    /// Another property.
    Other(String),
    /// Nobody knows: something that fits its type.
    Unknown(Value),
}

impl Drafter<'_> {
    /// Keys for the properties of an object.
    pub(super) fn pairs(&mut self, path: &str, name: &str) {
        let interface = self.interface(name);
        let found = find(&interface, &|member| self.is_free(name, member));
        let key_of: BTreeMap<String, String> = found
            .iter()
            .map(|pair| (pair.property.clone(), self.key(&snake_case(&pair.property).replace('-', "_"), name)))
            .collect();
        for pair in found {
            let key = key_of[&pair.property].clone();
            let type_signature = interface.properties[&pair.property].type_signature.clone();
            let mut read = Map::from_iter([("property".to_owned(), json!(pair.property))]);
            read.extend(self.place(path, name));
            let mut table = Table::new(&["state_mapping", &key])
                .line("description", &json!(described(&pair.property)))
                .line("read", &Value::Object(read.clone()));
            let mut methods = Vec::new();
            match &pair.setter {
                None => table = table.line("write", &Value::Object(read)),
                Some(setter) => {
                    let method = self.method(Some(path), name, &setter.member, &interface.methods[&setter.member]);
                    let method = MethodDraft { fixed: setter.fixed.clone(), ..method };
                    table = table.raw("write", write(&method.name, &setter.free, &key_of));
                    self.take(name, &setter.member);
                    methods.push(method);
                }
            }
            self.take(name, &pair.property);
            let mut why = vec![pair.why.clone()];
            if type_signature == "s" || type_signature == "as" {
                why.extend(values_of(&interface, &pair.property));
            }
            if type_signature.contains('v') {
                table = table.line("diff_strategy", &json!("merge_strategy"));
                why.push("a dictionary: only the members that a document mentions are compared".into());
            }
            self.entries.push(Entry {
                key,
                kind: Kind::Writable,
                sureness: pair.sureness,
                why,
                methods,
                tables: vec![table],
                is_taken: pair.sureness != Sureness::Guess,
                choice: None,
            });
        }
    }

    /// Keys for what is left of the properties: they can only be read. Taken when there is nothing else to begin with.
    pub(super) fn read_only(&mut self) {
        let has_any = self.entries.iter().any(Entry::is_active);
        for (path, name) in self.singles.clone() {
            for (property, known) in self.interface(&name).properties {
                if !known.access.is_readable() || !self.is_free(&name, &property) {
                    continue;
                }
                let key = self.key(&snake_case(&property).replace('-', "_"), &name);
                let mut read = Map::from_iter([("property".to_owned(), json!(property))]);
                read.extend(self.place(&path, &name));
                let mut table = Table::new(&["state_mapping", &key])
                    .line("description", &json!(described(&property)))
                    .line("read", &Value::Object(read));
                if known.emits_changed != crate::bus::introspection::EmitsChanged::Const {
                    table = table.line("diff_strategy", &json!("none"));
                }
                let is_object = matches!(known.type_signature.as_str(), "o" | "ao");
                self.entries.push(Entry {
                    key,
                    kind: Kind::ReadOnly,
                    sureness: if is_object { Sureness::Guess } else { Sureness::Sure },
                    why: vec![format!("{property} ({}) can only be read", known.type_signature)],
                    methods: Vec::new(),
                    tables: vec![table],
                    is_taken: !has_any && !is_object,
                    choice: None,
                });
            }
        }
    }
}

/// `{ method = "set_scene" }`, with args where they are needed.
pub fn write(method: &str, free: &[Free], key_of: &BTreeMap<String, String>) -> String {
    let arg = |free: &Free| match free {
        Free::Value => json!("$value"),
        Free::Other(property) => json!(format!("${}", key_of.get(property).map_or("value", String::as_str))),
        Free::Unknown(value) => value.clone(),
    };
    let mut call = Map::from_iter([("method".to_owned(), json!(method))]);
    if free != [Free::Value] {
        call.insert("args".into(), free.iter().map(arg).collect());
    }
    render::toml(&Value::Object(call))
}

/// The properties of an interface that can be written, and by what.
pub fn find(interface: &Interface, is_free: &dyn Fn(&str) -> bool) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let readable: Vec<&String> = interface
        .properties
        .iter()
        .filter(|(name, p)| p.access.is_readable() && is_free(name))
        .map(|(n, _)| n)
        .collect();
    let mut left = Vec::new();
    for property in readable {
        if words::is_secret(property) {
            continue;
        }
        if interface.properties[property].access.is_writable() {
            let why = format!("the service lets {property} be set");
            pairs.push(Pair { property: property.clone(), setter: None, sureness: Sureness::Sure, why });
            continue;
        }
        match by_name(interface, property, is_free) {
            Some(pair) => pairs.push(pair),
            None => left.push(property),
        }
    }
    let used: Vec<String> = pairs.iter().filter_map(|pair| Some(pair.setter.as_ref()?.member.clone())).collect();
    for (member, method) in interface.methods.iter().filter(|(member, _)| is_free(member) && !used.contains(member)) {
        pairs.extend(by_arguments(interface, &left, member, method));
    }
    pairs
}

/// A setter that has the property's name.
fn by_name(interface: &Interface, property: &str, is_free: &dyn Fn(&str) -> bool) -> Option<Pair> {
    let own = flat(property);
    let verbs = |member: &str| {
        let name = flat(member);
        let after = |verb: &str| name.strip_prefix(verb).is_some_and(|rest| rest == own);
        match () {
            () if after("set") || name.strip_suffix("set").is_some_and(|rest| rest == own) => Some(Sureness::Sure),
            () if ["save", "change", "update"].into_iter().any(after) => Some(Sureness::Likely),
            // EnableThing(b) and ThingEnabled
            () if own.strip_suffix("enabled").is_some_and(|thing| name == format!("enable{thing}")) => {
                Some(Sureness::Likely)
            }
            () => None,
        }
    };
    let mut candidates: Vec<(Sureness, &String, &Method)> = interface
        .methods
        .iter()
        .filter(|(member, method)| is_free(member) && !method.deprecated && !words::is_secret(member))
        .filter_map(|(member, method)| Some((verbs(member)?, member, method)))
        .collect();
    candidates.sort_by_key(|(sureness, member, method)| (*sureness, method.inputs.len(), (*member).clone()));
    let (by_verb, member, method) = candidates.into_iter().next()?;
    let wanted = &interface.properties[property].type_signature;
    let at = value_argument(property, wanted, &method.inputs)?;
    let has_same_type = method.inputs[at].type_signature == *wanted;
    let (setter, sureness, mut notes) = setter(interface, property, member, method, at);
    let mut sureness = sureness.max(by_verb);
    if !has_same_type {
        sureness = sureness.max(Sureness::Likely);
        notes.push(format!("the property is {wanted:?}, the argument {:?}", method.inputs[at].type_signature));
    }
    let same = if has_same_type { ", of the same type" } else { "" };
    let mut why = format!("{member} has the name of {property}{same}");
    for note in notes {
        why.push_str(&format!("; {note}"));
    }
    Some(Pair { property: property.to_owned(), setter: Some(setter), sureness, why })
}

/// The argument that takes the value: the one of the same name, or the first of the same type.
fn value_argument(property: &str, wanted: &str, inputs: &[Arg]) -> Option<usize> {
    let is_number = |types: &str| matches!(types, "y" | "n" | "q" | "i" | "u" | "x" | "t");
    let fits = |arg: &Arg| arg.type_signature == wanted || (is_number(&arg.type_signature) && is_number(wanted));
    let is_named = |arg: &Arg| arg.name.as_deref().is_some_and(|name| flat(name) == flat(property));
    inputs
        .iter()
        .position(|arg| fits(arg) && is_named(arg))
        .or_else(|| inputs.iter().position(|arg| arg.type_signature == wanted))
        .or_else(|| inputs.iter().position(fits))
}

/// Everything about a setter but its value: what is pinned, what is not known.
fn setter(
    interface: &Interface,
    property: &str,
    member: &str,
    method: &Method,
    at: usize,
) -> (Setter, Sureness, Vec<String>) {
    let mut setter = Setter { member: member.to_owned(), fixed: BTreeMap::new(), free: Vec::new() };
    let (mut sureness, mut notes) = (Sureness::Sure, Vec::new());
    for (position, arg) in method.inputs.iter().enumerate() {
        if position == at {
            setter.free.push(Free::Value);
            continue;
        }
        let name = arg.name.clone().unwrap_or_else(|| format!("argument {position}"));
        let other = interface.properties.iter().find(|(other, p)| {
            *other != property && flat(other) == flat(&name) && p.type_signature == arg.type_signature
        });
        match (pinned(arg, position + 1 == method.inputs.len()), other) {
            (_, Some((other, _))) => {
                setter.free.push(Free::Other(other.clone()));
                notes.push(format!("{name} is the property {other}"));
                sureness = sureness.max(Sureness::Likely);
            }
            (Some((value, is_sure, note)), None) => {
                setter.fixed.insert(position, value);
                notes.push(note);
                sureness = sureness.max(if is_sure { Sureness::Sure } else { Sureness::Likely });
            }
            (None, None) => {
                setter.free.push(Free::Unknown(nothing_of(&arg.type_signature)));
                notes.push(format!("nobody can tell from here what {name} ({}) has to be", arg.type_signature));
                sureness = Sureness::Guess;
            }
        }
    }
    (setter, sureness, notes)
}

/// What an argument that is no part of the state is pinned to, whether that is sure, and what it is.
pub fn pinned(arg: &Arg, is_last: bool) -> Option<(Value, bool, String)> {
    let name = arg.name.as_deref().unwrap_or_default();
    match arg.type_signature.as_str() {
        "b" if words::is_interactive(name) => {
            Some((json!(false), true, format!("{name} = false: op-dbus asks its questions itself")))
        }
        "b" if name.is_empty() && is_last => {
            Some((json!(false), false, "the last boolean is taken for \"interactive\" and is false".into()))
        }
        "b" => Some((json!(false), false, format!("{} = false, which should do the least", or_it(name)))),
        "a{sv}" if is_last => Some((json!({}), false, format!("no {} are given", or_options(name)))),
        "u" | "t" | "i" | "x" if words::words(name).iter().any(|word| word == "flags" || word == "timeout") => {
            Some((json!(0), false, format!("{name} = 0")))
        }
        _ => None,
    }
}

fn or_it(name: &str) -> &str {
    if name.is_empty() { "a boolean" } else { name }
}

fn or_options(name: &str) -> &str {
    if name.is_empty() { "options" } else { name }
}

/// A value of a type that says nothing.
pub fn nothing_of(type_signature: &str) -> Value {
    match type_signature {
        "b" => json!(false),
        "s" | "g" => json!(""),
        "o" => json!("/"),
        "d" | "y" | "n" | "q" | "i" | "u" | "x" | "t" => json!(0),
        types if types.starts_with("a{") => json!({}),
        _ => json!([]),
    }
}

/// One setter for several properties: each of its arguments is one of them.
fn by_arguments(interface: &Interface, left: &[&String], member: &str, method: &Method) -> Vec<Pair> {
    let object = flat(member);
    let Some(object) = object.strip_prefix("set") else { return Vec::new() };
    let mut setter = Setter { member: member.to_owned(), fixed: BTreeMap::new(), free: Vec::new() };
    let mut properties: Vec<&String> = Vec::new();
    let mut notes = Vec::new();
    for (position, arg) in method.inputs.iter().enumerate() {
        let name = flat(arg.name.as_deref().unwrap_or_default());
        let is_it = |property: &&&String| {
            let same_type = interface.properties[**property].type_signature == arg.type_signature;
            // X11Layout and layout, in SetX11Keyboard
            let rest = flat(property).strip_suffix(name.as_str()).map(str::to_owned);
            same_type && !name.is_empty() && rest.is_some_and(|rest| object.starts_with(&rest))
        };
        match (left.iter().find(is_it), pinned(arg, position + 1 == method.inputs.len())) {
            (Some(property), _) if !properties.contains(property) => {
                properties.push(property);
                setter.free.push(Free::Other((*property).clone()));
            }
            (None, Some((value, _, note))) => {
                setter.fixed.insert(position, value);
                notes.push(note);
            }
            _ => return Vec::new(),
        }
    }
    if properties.is_empty() {
        return Vec::new();
    }
    let pair = |property: &&String| {
        let mut why = format!("{member} has an argument for each of these properties");
        for note in &notes {
            why.push_str(&format!("; {note}"));
        }
        Pair { property: (*property).clone(), setter: Some(setter.clone()), sureness: Sureness::Likely, why }
    };
    properties.iter().map(pair).collect()
}

/// A method that lists the values a property takes: `ListTimezones` for `Timezone`.
fn values_of(interface: &Interface, property: &str) -> Option<String> {
    let many = flat(&words::plural(&snake_case(property)));
    let is_it = |(member, method): &(&String, &Method)| {
        let name = flat(member);
        let listed = ["list", "get", "enumerate"].iter().any(|verb| name.strip_prefix(verb) == Some(many.as_str()));
        listed && method.inputs.is_empty() && method.output_signature() == "as"
    };
    let (member, _) = interface.methods.iter().find(is_it)?;
    Some(format!("{member} lists the values it takes: say in validate what they look like"))
}

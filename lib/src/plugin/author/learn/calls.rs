//! One call: is it about the service's state, and which property shows what it did?

use super::{LearnedCall, LearnedChange};
use crate::base::name::snake_case;
use crate::bus::SeenCall;
use crate::bus::walk::is_standard;
use crate::plugin::author::draft::{Draft, Entry, Kind, MethodDraft, Safe, Sureness, Table, described};
use crate::plugin::author::{Surface, words};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const LEFT_OUT: &str = "(left out)";

/// Makes entries of calls, one after the other.
pub struct Learner<'a> {
    /// The service afterwards.
    pub after: &'a Surface,
    /// What names and types alone say.
    pub drafted: Vec<Entry>,
    /// Objects that were not there before.
    pub new_objects: Vec<&'a str>,
    /// What changed.
    pub changes: &'a [LearnedChange],
    /// The entries so far.
    pub draft: &'a mut Draft,
}

/// What a call writes, and how that was seen.
struct Written {
    at: usize,
    path: String,
    interface: String,
    property: String,
    sureness: Sureness,
    why: String,
}

impl Learner<'_> {
    /// Makes what can be made of a call.
    pub fn call(&mut self, call: &SeenCall) -> LearnedCall {
        let interface = self.interface_of(call);
        let inputs =
            self.after.method(&interface, &call.member).map(|method| method.inputs.clone()).unwrap_or_default();
        let is_secret = |at: usize| {
            let by_argument = inputs.get(at).and_then(|arg| arg.name.as_deref()).is_some_and(words::is_secret);
            by_argument
                || words::is_secret(&call.member)
                || call.args.get(at).is_some_and(|value| masked(value) != *value)
        };
        let shown = call.args.iter().enumerate();
        let by_name = |at: usize| {
            let argument = inputs.get(at).and_then(|arg| arg.name.as_deref());
            words::is_secret(&call.member) || argument.is_some_and(words::is_secret)
        };
        let shown = shown.map(|(at, value)| if by_name(at) { json!(LEFT_OUT) } else { masked(value) }).collect();
        let mut learned = LearnedCall {
            path: call.path.clone(),
            interface: interface.clone(),
            member: call.member.clone(),
            type_signature: call.type_signature.clone(),
            args: shown,
            error: call.error.clone(),
            became: String::new(),
        };
        learned.became = match () {
            () if call.error.is_some() => "nothing: it failed".into(),
            () if interface == "org.freedesktop.DBus.Properties" && call.member == "Set" => self.property_set(call),
            () if is_standard(&interface) => "nothing: it asks what every service answers".into(),
            () if words::is_reading(&call.member) => "nothing: its name says that it reads".into(),
            () => self.method_call(call, &interface, &is_secret),
        };
        learned
    }

    /// A caller may leave the interface out.
    fn interface_of(&self, call: &SeenCall) -> String {
        if !call.interface.is_empty() {
            return call.interface.clone();
        }
        self.after.interfaces_with(&call.member).next().unwrap_or_default().to_owned()
    }

    fn property_set(&mut self, call: &SeenCall) -> String {
        let (Some(interface), Some(property)) =
            (call.args.first().and_then(Value::as_str), call.args.get(1).and_then(Value::as_str))
        else {
            return "nothing: it is no call of Properties.Set".into();
        };
        let why = format!("{property} was set");
        self.known_or(call, interface, property, &why, |this, key| {
            let mut place = Map::from_iter([("property".to_owned(), json!(property))]);
            place.extend(this.place(&call.path, interface));
            Table::new(&["state_mapping", key])
                .line("description", &json!(property))
                .line("read", &Value::Object(place.clone()))
                .line("write", &Value::Object(place))
        })
    }

    fn method_call(&mut self, call: &SeenCall, interface: &str, is_secret: &dyn Fn(usize) -> bool) -> String {
        if let Some(key) = self.of_items(call, interface) {
            return key;
        }
        let Some(written) = self.written(call, interface) else { return self.by_name(call, interface, is_secret) };
        let Some(method) = self.after.method(interface, &call.member).cloned() else {
            return "nothing: the service does not describe the method".into();
        };
        let mut drafted = MethodDraft {
            name: snake_case(&call.member),
            member: call.member.clone(),
            interface: Some(interface.to_owned()).filter(|name| *name != self.draft.interface),
            path: Some(call.path.clone()).filter(|path| *path != self.draft.path),
            is_on_item: false,
            outputs: method.output_signature(),
            inputs: method.inputs.clone(),
            fixed: BTreeMap::new(),
            safe: Safe::No,
            more: Vec::new(),
        };
        let mut why = vec![written.why.clone()];
        let mut args = Vec::new();
        for (at, value) in call.args.iter().enumerate() {
            let name =
                method.inputs.get(at).and_then(|arg| arg.name.clone()).unwrap_or_else(|| format!("argument {at}"));
            if at == written.at {
                args.push(json!("$value"));
            } else if value.is_boolean() && words::is_interactive(&name) {
                drafted.fixed.insert(at, json!(false));
                if *value == json!(true) {
                    why.push(format!(
                        "{name} = false, though the command said true: op-dbus asks its questions itself"
                    ));
                }
            } else if let Some(other) = self.other(call, interface, &written.property, value, at) {
                args.push(json!(format!("${}", snake_case(&other))));
                why.push(format!("{name} has the value of {other}, which has to be a key too"));
            } else if is_secret(at) {
                why.push(format!("{name} is left out: its name speaks of a secret"));
                return format!("nothing: {name} speaks of a secret");
            } else {
                drafted.fixed.insert(at, value.clone());
                why.push(format!("{name} = {value}, as the command said"));
            }
        }
        let mut call_table = Map::from_iter([("method".to_owned(), json!(drafted.name))]);
        if args.len() > 1 {
            call_table.insert("args".into(), Value::Array(args));
        }
        let key = snake_case(&written.property).replace('-', "_");
        let mut read = Map::from_iter([("property".to_owned(), json!(written.property))]);
        read.extend(self.place(&written.path, &written.interface));
        let table = Table::new(&["state_mapping", &key])
            .line("description", &json!(described(&written.property)))
            .line("read", &Value::Object(read))
            .line("write", &Value::Object(call_table));
        self.push(Entry {
            key: key.clone(),
            kind: Kind::Writable,
            sureness: written.sureness,
            why,
            methods: vec![drafted],
            tables: vec![table],
            is_taken: true,
            choice: None,
        });
        key
    }

    /// The property that a call writes: one that changed to the value of an argument, or, if nothing had to change, one
    /// of the method's name that has such a value.
    fn written(&self, call: &SeenCall, interface: &str) -> Option<Written> {
        let own = flat(&call.member);
        let mut found: Vec<(u32, Written)> = Vec::new();
        for (at, value) in call.args.iter().enumerate() {
            for change in self.changes.iter().filter(|change| is_same(&change.to, value)) {
                let name = flat(&change.property);
                let is_named = own.ends_with(&name);
                let is_here = change.path == call.path && change.interface == interface;
                // A boolean is true by chance as often as not.
                if value.is_boolean() && !is_named {
                    continue;
                }
                let score =
                    u32::from(is_here) * 4 + u32::from(is_named) * 3 + u32::from(own == format!("set{name}")) * 2;
                let why = format!("after {}, {} was {value}, as argument {at}", call.member, change.property);
                let sureness = if is_named && is_here { Sureness::Sure } else { Sureness::Likely };
                let (path, interface) = (change.path.clone(), change.interface.clone());
                found.push((score, Written { at, path, interface, property: change.property.clone(), sureness, why }));
            }
        }
        found.sort_by_key(|(score, written)| (std::cmp::Reverse(*score), written.at));
        if let Some((_, written)) = found.into_iter().next() {
            return Some(written);
        }
        let properties = &self.after.interfaces.get(interface)?.properties;
        let (property, _) = properties.iter().find(|(property, _)| own == format!("set{}", flat(property)))?;
        let now = self.after.value(&call.path, interface, property)?;
        let at = call.args.iter().position(|value| is_same(now, value))?;
        let why = format!("{} was seen, and {property} has the value of argument {at}, as before", call.member);
        let (path, interface) = (call.path.clone(), interface.to_owned());
        Some(Written { at, path, interface, property: property.clone(), sureness: Sureness::Likely, why })
    }

    /// Another property that has the value of another argument, and its name.
    fn other(&self, call: &SeenCall, interface: &str, written: &str, value: &Value, at: usize) -> Option<String> {
        let arg = self.after.method(interface, &call.member)?.inputs.get(at)?.name.clone()?;
        let properties = &self.after.interfaces.get(interface)?.properties;
        let is_it = |property: &&String| {
            *property != written
                && flat(property).ends_with(&flat(&arg))
                && self.after.value(&call.path, interface, property).is_some_and(|now| is_same(now, value))
        };
        properties.keys().find(is_it).cloned()
    }
}

/// Letters and digits alone, in lower case.
pub fn flat(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Equal, numbers by what they count.
pub fn is_same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}

/// A value without the members whose names speak of secrets.
fn masked(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(map) => {
            let one = |(key, value): (&String, &Value)| match words::is_secret(key) {
                true => (key.clone(), json!(LEFT_OUT)),
                false => (key.clone(), masked(value)),
            };
            Value::Object(map.iter().map(one).collect())
        }
        other => other.clone(),
    }
}

//! What is switched on by one method and off by another: `enablePanicMode()`, `disablePanicMode()` and
//! `queryPanicMode() -> b`.

use super::families::pins;
use super::{Drafter, Entry, Kind, MethodDraft, Sureness, Table, described, render};
use crate::bus::introspection::{Interface, Method};
use crate::plugin::author::words;
use serde_json::{Map, Value, json};

/// Words that switch on, and those that switch off again.
pub const SWITCHES: &[(&str, &[&str])] = &[
    ("enable", &["disable"]),
    ("activate", &["deactivate"]),
    ("lock", &["unlock"]),
    ("mute", &["unmute"]),
    ("block", &["unblock"]),
    ("hide", &["unhide", "show"]),
    ("pause", &["resume", "unpause"]),
];

/// What comes before or after the thing in the name of what tells whether it is on.
const TOLD: &[(&str, &str)] =
    &[("query_", ""), ("is_", ""), ("get_", ""), ("has_", ""), ("", ""), ("", "_enabled"), ("is_", "_enabled")];

impl Drafter<'_> {
    /// A key for two methods that take nothing but what can be pinned, and something of their name that is a boolean.
    pub(super) fn switch(
        &mut self,
        path: &str,
        name: &str,
        interface: &Interface,
        (member, on): (&String, &Method),
        opposites: &[&str],
        noun: &str,
    ) -> bool {
        let is_off = |(other, _): &(&String, &Method)| {
            let parts = words::words(other);
            let Some((verb, rest)) = parts.split_first() else { return false };
            opposites.contains(&verb.as_str()) && rest.join("_") == noun && self.is_free(name, other)
        };
        let Some((off_name, off)) = interface.methods.iter().find(is_off) else { return false };
        let none = usize::MAX;
        let (Some((on_fixed, mut notes, _)), Some((off_fixed, more, _))) =
            (pins(&on.inputs, none), pins(&off.inputs, none))
        else {
            return false;
        };
        notes.extend(more);
        let is_told = |text: &str| {
            let text = words::words(text).join("_");
            TOLD.iter().any(|(before, after)| text == format!("{before}{noun}{after}"))
        };
        let key = self.key(noun, name);
        let mut table = Table::new(&["state_mapping", &key]).line("description", &json!(described(noun)));
        let (mut methods, mut sureness) = (Vec::new(), Sureness::Likely);
        let property = interface.properties.iter().find(|(property, known)| {
            known.type_signature == "b"
                && known.access.is_readable()
                && is_told(property)
                && self.is_free(name, property)
        });
        let reader = interface.methods.iter().find_map(|(other, method)| {
            let fits = method.inputs.is_empty() && method.output_signature() == "b" && is_told(other);
            Some((other, self.reader(Some(path), name, other, method).filter(|_| fits)?))
        });
        let told = match (property, reader) {
            (Some((property, _)), _) => {
                let mut read = Map::from_iter([("property".to_owned(), json!(property))]);
                read.extend(self.place(path, name));
                table = table.line("read", &Value::Object(read));
                property.clone()
            }
            (None, Some((other, reader))) => {
                table = table
                    .line("read", &json!({"method": reader.name}))
                    .line("diff_strategy", &json!("value_comparison"));
                methods.push(reader);
                other.clone()
            }
            (None, None) => return false,
        };
        if !notes.is_empty() {
            sureness = Sureness::Guess;
        }
        let on = MethodDraft { fixed: on_fixed, ..self.method(Some(path), name, member, on) };
        let off = MethodDraft { fixed: off_fixed, ..self.method(Some(path), name, off_name, off) };
        let mut when = Table::new(&["state_mapping", &key, "write", "when"]);
        for (value, method) in [("true", &on), ("false", &off)] {
            when = when.raw(value, render::toml(&json!({"method": method.name, "args": []})));
        }
        let mut why = vec![format!("{member} and {off_name} switch on and off what {told} tells")];
        why.extend(notes);
        why.push(
            "does it cut off who is working on the machine, or can it not be taken back? Then leave it out".into(),
        );
        for used in [member.as_str(), off_name.as_str(), told.as_str()] {
            self.take(name, used);
        }
        methods.extend([on, off]);
        self.entries.push(Entry {
            key,
            kind: Kind::Writable,
            sureness,
            why,
            methods,
            tables: vec![table, when],
            is_taken: sureness != Sureness::Guess,
            choice: None,
        });
        true
    }
}

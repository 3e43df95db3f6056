//! Each use of a method: may it be made there, with these arguments?

use super::uses::MethodUse;
use super::{Lint, parts};
use crate::bus::introspection::Method as Live;
use crate::plugin::author::{Level, words};
use crate::plugin::mapping::{Method, fixed_of};
use serde_json::{Value, json};

impl<'a> Lint<'a> {
    /// One use of a method: its arguments, and whether it may be made at all.
    pub(super) fn usage(&mut self, one: &MethodUse<'a>, method: &Method<'_>) {
        let at = parts(&one.place);
        if one.role.must_be_safe() && !method.section.safe {
            let why = "only safe methods are called while reading and planning, so this always fails (exit code 5)";
            let hint = match words::is_reading(&method.member) {
                true => format!("if {} changes nothing, say so: [methods.{}] safe = true", method.member, method.name),
                false => format!(
                    "is it {} that reads? If it changes nothing, say [methods.{}] safe = true",
                    method.member, method.name
                ),
            };
            let what = format!("{} is called to read, and is not called safe", method.member);
            self.add(Level::Error, "unsafe_read", &at, what, why, &hint);
        }
        if one.role.writes() && method.section.safe {
            self.add(
                Level::Error,
                "safe_write",
                &at,
                format!("{} writes this key, and is called safe", method.member),
                "a safe method passes the gate while reading and planning, where nothing may be changed",
                &format!(
                    "say safe = false in [methods.{}], or tell the two apart by their fixed arguments",
                    method.name
                ),
            );
        }
        for word in one.args.into_iter().flat_map(words_in) {
            if one.role.words().contains(&word.as_str()) || one.names.contains(&word.as_str()) {
                continue;
            }
            let mut known: Vec<String> =
                one.role.words().iter().chain(&one.names).map(|word| format!("${word}")).collect();
            known.dedup();
            let known = if known.is_empty() { "only literals".to_owned() } else { known.join(", ") };
            self.add(
                Level::Error,
                "word",
                &[&at[..], &["args"]].concat(),
                format!("${word} has no meaning here"),
                "a call with an argument that has no value is never made",
                &format!("here may stand {known}; write $${word} if the text is meant"),
            );
        }
        let Some(live) = self.surface.and_then(|s| s.method(&method.interface, &method.member)).cloned() else {
            return;
        };
        self.count(one, method, &live, &at);
        self.interactive(one, method, &live, &at);
    }

    fn count(&mut self, one: &MethodUse<'_>, method: &Method<'_>, live: &Live, at: &[&str]) {
        let fixed = fixed_of(method.section);
        let free: Vec<String> = (0..live.inputs.len())
            .filter(|i| !fixed.iter().any(|(position, _)| position == i))
            .map(|i| format!("{} {}", live.inputs[i].type_signature, live.inputs[i].name.as_deref().unwrap_or("?")))
            .collect();
        let given = match one.args {
            Some(args) => args.len(),
            None if one.role.fills_in() && free.len() == 1 => 1,
            None => 0,
        };
        if given != free.len() {
            let fixed = if fixed.is_empty() { String::new() } else { format!(" beside the {} fixed", fixed.len()) };
            self.add(
                Level::Error,
                "args",
                at,
                format!(
                    "{} needs {} arguments{fixed} ({}), and is given {given}",
                    method.member,
                    free.len(),
                    free.join(", ")
                ),
                "a call with another number of arguments than the method has is never made",
                "give each one in args, in the method's order, or pin it with fixed",
            );
        }
    }

    /// Questions are op-dbus's own: a service that asks too blocks where nobody can answer.
    fn interactive(&mut self, one: &MethodUse<'_>, method: &Method<'_>, live: &Live, at: &[&str]) {
        let fixed = fixed_of(method.section);
        for (position, arg) in live.inputs.iter().enumerate() {
            if arg.type_signature != "b" || !arg.name.as_deref().is_some_and(words::is_interactive) {
                continue;
            }
            let before = (0..position).filter(|i| !fixed.iter().any(|(p, _)| p == i)).count();
            let given = fixed.iter().find(|(p, _)| *p == position).map(|(_, value)| value.clone());
            if given.or_else(|| one.args?.get(before).cloned()) == Some(json!(false)) {
                continue;
            }
            self.add(
                Level::Warning,
                "interactive",
                at,
                format!(
                    "argument {position} of {} ({}) is not false",
                    method.member,
                    arg.name.as_deref().unwrap_or("?")
                ),
                "polkit may then put up a question of its own, which nobody sees in a script or at boot",
                &format!("pin it: [methods.{}] fixed = {{ {position} = false }}", method.name),
            );
        }
    }
}

/// The words with a dollar in arguments.
fn words_in(args: &[Value]) -> Vec<String> {
    let of_one = |arg: &Value| match arg {
        Value::String(text) => {
            text.strip_prefix('$').filter(|word| !word.starts_with('$')).map(str::to_owned).into_iter().collect()
        }
        Value::Array(items) => words_in(items),
        Value::Object(map) => words_in(&map.values().cloned().collect::<Vec<_>>()),
        _ => Vec::new(),
    };
    args.iter().flat_map(of_one).collect()
}

//! A draft as TOML: what is taken as it is, what waits for a word or is a guess as comments.

use super::{Draft, Entry, Kind, MethodDraft, Safe, Table, needs_member_of};
use crate::plugin::author::lint::fingerprint_text;
use crate::plugin::mapping::default_path;
use serde_json::Value;
use std::collections::BTreeSet;

/// Columns of a comment.
const WIDTH: usize = 118;

/// The words that say what an inline table is about; the others follow.
const ORDER: [&str; 9] =
    ["method", "signal", "property", "objects", "children", "manager", "field", "path", "interface"];

/// A JSON value in TOML, on one line. There is no null in TOML: members that are null are left out.
#[must_use]
pub fn toml(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => toml_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| format!("{} = {}", toml_key(key), toml(value));
            let mut known: Vec<(&String, &Value)> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            known.sort_by_key(|(key, _)| ORDER.iter().position(|word| word == key).unwrap_or(ORDER.len()));
            let members = known.into_iter().map(member);
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

/// JSON's escapes are TOML's, but for what JSON leaves as it is.
fn toml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { key.to_owned() } else { toml_text(key) }
}

/// The whole file.
pub fn mapping(draft: &Draft) -> String {
    let mut text = String::new();
    let service = &draft.service;
    let intro = match draft.is_learned {
        true => format!(
            "Learned by op-install map --learn from calls to {service} that were seen while a command ran: entries to \
             be read, finished, and copied into the plugin's semantic-mapping.toml."
        ),
        false => format!(
            "Drafted by op-install map from what {service} says of itself ({}): a beginning, to be read and finished. \
             Names and types are all it knows.",
            draft.source
        ),
    };
    prose(&mut text, &intro);
    text.push_str("#\n");
    for note in &draft.notes {
        prose(&mut text, note);
        text.push_str("#\n");
    }
    prose(
        &mut text,
        "sure: names and types fit; what a method really does, they cannot say. likely: something was assumed. guess: \
         look before you use it. Lines that begin with # and no space are TOML: take the # away to use them.",
    );
    text.push_str("#\n");
    prose(
        &mut text,
        "No method is called safe here unless its author gave their word. A safe method is called by queries and dry \
         runs, with nobody asked: say safe = true only of what changes nothing at all.",
    );
    let mut service = Table::new(&["service"]);
    if draft.path != default_path(&draft.service) {
        service = service.line("path", &draft.path.clone().into());
    }
    if draft.interface != draft.service {
        service = service.line("interface", &draft.interface.clone().into());
    }
    if !service.lines.is_empty() {
        text.push('\n');
        table(&mut text, &service, false);
    }
    let mut written = BTreeSet::new();
    let active = draft.entries.iter().filter(|entry| entry.is_active());
    active.for_each(|one| entry(&mut text, one, &mut written));
    let waiting: Vec<&Entry> = draft.entries.iter().filter(|entry| entry.is_taken && !entry.is_active()).collect();
    section(&mut text, "Waiting for your word that a method only reads", &waiting, &mut written);
    let is_left = |entry: &&Entry| !entry.is_taken && !matches!(entry.kind, Kind::ReadOnly | Kind::Query);
    let left: Vec<&Entry> = draft.entries.iter().filter(is_left).collect();
    section(&mut text, "Guesses, and what to finish by hand", &left, &mut written);
    let queries: Vec<&Entry> = draft.entries.iter().filter(|e| !e.is_taken && e.kind == Kind::Query).collect();
    section(&mut text, "What methods answer with; fields are to be named", &queries, &mut written);
    let is_read_only = |entry: &&Entry| !entry.is_taken && entry.kind == Kind::ReadOnly;
    let read_only: Vec<&Entry> = draft.entries.iter().filter(is_read_only).collect();
    section(&mut text, "What can only be read; diff_strategy none: shown, never compared", &read_only, &mut written);
    if !draft.fingerprint.is_empty() {
        text.push_str(&format!("\n{}", fingerprint_text(&draft.fingerprint)));
    }
    if !draft.unused.is_empty() {
        text.push_str("\n# --- Nothing was made of these ---\n#\n");
        draft.unused.iter().for_each(|member| text.push_str(&format!("# {}\n", on_one_line(member))));
    }
    text
}

fn section(text: &mut String, title: &str, entries: &[&Entry], written: &mut BTreeSet<String>) {
    if entries.is_empty() {
        return;
    }
    text.push_str(&format!("\n# --- {title} ---\n"));
    entries.iter().for_each(|one| entry(text, one, written));
}

fn entry(text: &mut String, entry: &Entry, written: &mut BTreeSet<String>) {
    let is_off = !entry.is_active();
    text.push('\n');
    let is_obvious = entry.kind == Kind::ReadOnly && is_off;
    for (i, why) in entry.why.iter().enumerate().filter(|_| !is_obvious) {
        prose(text, &if i == 0 { format!("{}: {why}.", entry.sureness.as_str()) } else { format!("{why}.") });
    }
    for method in &entry.methods {
        if written.insert(method.name.clone()) {
            self::method(text, method, is_off);
            text.push('\n');
        }
    }
    for (i, one) in entry.tables.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        if let Some(note) = &one.note {
            prose(text, &format!("{note}."));
        }
        table(text, one, is_off || one.is_offered);
    }
}

fn method(text: &mut String, method: &MethodDraft, is_off: bool) {
    let mut one = Table::new(&["methods", &method.name]);
    if needs_member_of(&method.name, &method.member) {
        one = one.line("member", &method.member.clone().into());
    }
    if let Some(interface) = &method.interface {
        one = one.line("interface", &interface.clone().into());
    }
    if method.is_on_item {
        one = one.raw("on", "\"item\"");
    } else if let Some(path) = &method.path {
        one = one.line("path", &path.clone().into());
    }
    match method.safe {
        Safe::No => {}
        Safe::Doubtful => prose(
            text,
            &format!(
                "{} would be called to read, and its name does not say that it only reads. Whether it may be called \
                 safe, its documentation says.",
                method.signature()
            ),
        ),
        Safe::Unasked => {
            prose(text, &format!("Only if {} changes nothing at all: take the # away.", method.signature()));
            one = one.raw("safe", "true");
        }
        Safe::Agreed => one = one.raw("safe", "true").raw("side_effects", "false"),
    }
    let names: Vec<Value> = method.inputs.iter().map(|arg| arg.name.clone().unwrap_or_default().into()).collect();
    if names.iter().any(|name| name != "") {
        one = one.line("args_mapping", &Value::Array(names));
    }
    let types: Vec<Value> = method.inputs.iter().map(|arg| arg.type_signature.clone().into()).collect();
    one = one.line("arg_types", &Value::Array(types));
    if !method.fixed.is_empty() {
        let fixed = method.fixed.iter().map(|(at, value)| (at.to_string(), value.clone()));
        one = one.line("fixed", &Value::Object(fixed.collect()));
    }
    table(text, &one, is_off);
    let off = if is_off { "#" } else { "" };
    method.more.iter().for_each(|line| text.push_str(&format!("{off}{line}\n")));
}

fn table(text: &mut String, table: &Table, is_off: bool) {
    let off = if is_off { "#" } else { "" };
    let name = table.name.iter().map(|part| toml_key(part)).collect::<Vec<_>>().join(".");
    text.push_str(&format!("{off}[{name}]\n"));
    for (key, value) in &table.lines {
        text.push_str(&format!("{off}{} = {value}\n", toml_key(key)));
    }
}

/// A service's names are its own affair, but they end no comment.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Comment lines, broken between words.
fn prose(text: &mut String, prose: &str) {
    let mut line = String::from("#");
    for word in on_one_line(prose).split_whitespace() {
        if line.chars().count() + word.chars().count() + 1 > WIDTH && line != "#" {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

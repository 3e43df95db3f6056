//! Writing down what came of a scenario as what must come of it, for an author to read and agree to.

use super::Seen;
use crate::base::{Error, Result};
use crate::plugin::scenario::{Scenario, Then};
use crate::state::PluginState;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A list of more items is not written down as the value of a key.
const MAX_ITEMS: usize = 12;

/// `text`, which is `scenario`'s file, with what came of it in the place of its `then`.
pub fn with_seen(text: &str, scenario: &Scenario, plugin: &str, seen: &Seen) -> Result<String> {
    let place = scenario.file.display().to_string();
    let refused = |message: &str| {
        Error::bad_input(message)
            .on(place.clone())
            .hint("write then as the last table, under [then], or on one line: then = { calls = [] }")
    };
    let is_then = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix("[then").or_else(|| line.strip_prefix("then"));
        rest.is_some_and(|rest| rest.starts_with([']', '.', ' ', '=']))
    };
    let first =
        text.lines().position(is_then).ok_or_else(|| refused("the file has no [then] that could be replaced"))?;
    let lines: Vec<&str> = text.lines().collect();
    let is_table = lines[first].trim_start().starts_with('[');
    let after = if is_table { lines.len() } else { first + 1 };
    let ends_elsewhere = lines[first..after].iter().any(|line| line.starts_with('[') && !is_then(line));
    if ends_elsewhere || (!is_table && !lines[first].trim_end().ends_with('}')) {
        return Err(refused("what follows [then] would be lost"));
    }
    let mut kept: Vec<&str> = lines[..first].iter().chain(&lines[after..]).copied().collect();
    while kept.last().is_some_and(|line| line.trim().is_empty()) {
        kept.pop();
    }
    let then = then_text(scenario, plugin, seen).map_err(|error| error.or_on(place.clone()))?;
    Ok(format!("{}\n\n{then}", kept.join("\n")))
}

fn then_text(scenario: &Scenario, plugin: &str, seen: &Seen) -> Result<String> {
    let old = &scenario.then;
    let mut text = String::from("[then]\n");
    let query = query_of(scenario, plugin, seen);
    if !query.is_empty() {
        text.push_str(&format!("query = {}\n", toml(&Value::Object(query))?));
    }
    for (name, lists) in [("contains", &old.contains), ("lacks", &old.lacks)] {
        if !lists.is_empty() {
            text.push_str(&format!("{name} = {}\n", toml(&serde_json::json!(lists))?));
        }
    }
    let error = match &seen.plan {
        Some(Ok(plan)) => {
            let calls = plan.actions.iter().map(|action| {
                let args = toml(&Value::Array(action.call.args.clone()))?;
                Ok(format!("  {{ member = {}, args = {args} }},\n", quoted(&action.call.member)))
            });
            let calls: String = calls.collect::<Result<_>>()?;
            text.push_str(&if calls.is_empty() { "calls = []\n".to_owned() } else { format!("calls = [\n{calls}]\n") });
            None
        }
        Some(Err(error)) => Some(error),
        None => seen.problems.first(),
    };
    if let Some(error) = error {
        text.push_str(&format!("\n[then.error]\nkind = {}\n", quoted(error.kind.as_str())));
        if let Some(subject) = &error.subject {
            text.push_str(&format!("subject = {}\n", quoted(subject)));
        }
        text.push_str(&format!("message = {}\n", quoted(&error.message)));
    }
    Ok(text)
}

/// The values that were mentioned before, and those of the keys that are wanted; without either, all that are short.
fn query_of(scenario: &Scenario, plugin: &str, seen: &Seen) -> Map<String, Value> {
    let Then { query, contains, lacks, .. } = &scenario.then;
    let of_plugin = scenario.when.as_ref().and_then(|when| when.plugins.get(plugin));
    let wanted = of_plugin.into_iter().flat_map(|PluginState { values, .. }| values.keys());
    let mut keys: BTreeSet<&String> = query.keys().chain(wanted).collect();
    if keys.is_empty() && scenario.when.is_none() {
        keys.extend(seen.state.keys());
    }
    keys.retain(|key| !contains.contains_key(*key) && !lacks.contains_key(*key));
    let is_short = |value: &Value| value.as_array().is_none_or(|items| items.len() <= MAX_ITEMS);
    let values = keys.into_iter().filter_map(|key| Some((key.clone(), seen.state.get(key)?.clone())));
    values.filter(|(key, value)| query.contains_key(key) || is_short(value)).collect()
}

/// A value as TOML on one line.
fn toml(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Null => return Err(Error::bad_input("TOML has no word for null, so this cannot be written down")),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect::<Result<_>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| Ok(format!("{} = {}", bare_or_quoted(key), toml(value)?));
            let fields: Vec<String> = fields.iter().map(field).collect::<Result<_>>()?;
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    })
}

fn bare_or_quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// JSON's text is TOML's but for one character.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

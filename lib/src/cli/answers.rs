//! What `op-query` prints besides state: selected values, answers from the cache, timings.

use super::Out;
use super::escape::one_line;
use super::show::state_rows;
use crate::apply::cached::{Age, Answer};
use crate::apply::query::Found;
use crate::apply::select::Selected;
use crate::apply::timings::Timings;
use crate::apply::watch::Record;
use crate::base::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Prints selected values on standard output: the document, for people a line a path, or the values alone.
pub fn selection(out: &mut Out, selected: &Selected, is_raw: bool) -> Result<()> {
    if is_raw {
        return selected.values.iter().try_for_each(|(_, value)| match value {
            Value::String(text) => out.raw(text),
            value => out.raw(&value.to_string()),
        });
    }
    if out.look().is_json {
        return out.document(selected);
    }
    let row = |(path, value): &(String, Value)| vec![path.clone(), value.to_string()];
    let Some(ages) = &selected.ages else {
        return out.table(&["PATH", "VALUE"], &selected.values.iter().map(row).collect::<Vec<_>>());
    };
    let with_age =
        |value: &(String, Value)| [row(value), vec![ages.get(&value.0).map(ago).unwrap_or_default()]].concat();
    out.table(&["PATH", "VALUE", "AGE"], &selected.values.iter().map(with_age).collect::<Vec<_>>())
}

/// Prints what was kept, with its age: the document, or for people a line a key.
pub fn cached(out: &mut Out, answer: &Answer) -> Result<()> {
    if out.look().is_json {
        return out.document(&answer.to_document());
    }
    let mut rows = state_rows(&answer.document);
    for row in &mut rows {
        // A row is about PLUGIN.KEY, or, beyond the keys, about "PLUGIN PATH INTERFACE.PROPERTY".
        let (name, key) = match row[0].split_once(' ') {
            Some((name, _)) => (name, "observed"),
            None => row[0].split_once('.').unwrap_or_default(),
        };
        let age = answer.ages.get(name).and_then(|keys| keys.get(key)).map(ago);
        row.push(age.unwrap_or_default());
    }
    out.table(&["KEY", "VALUE", "AGE"], &rows)
}

/// Prints how long a query took on standard error.
pub fn timings(out: &mut Out, timings: &Timings) {
    out.aside_document(timings, &timings.lines());
}

/// Prints one record of a watch: a document, or for people a line.
pub fn record(out: &mut Out, record: &Record) -> Result<()> {
    if out.look().is_json { out.ndjson(record) } else { out.text(&one_line(&record.line())) }
}

/// What one machine of several answered: a line of `op-query --host A --host B`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostAnswer {
    kind: &'static str,
    version: u32,
    /// The machine, as it was named.
    pub host: String,
    /// What op-query would have ended with, had it asked this machine alone.
    pub exit_code: u8,
    /// The state document, or the selection where paths were given; none when nothing could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
    /// What could not be read, and why: as `error` in what programs say on standard error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Value>,
    /// The same, for people: a row for each value, and the errors with the machine's name.
    #[serde(skip)]
    pub rows: Vec<Vec<String>>,
    /// See `problems`.
    #[serde(skip)]
    pub errors: Vec<Error>,
}

impl HostAnswer {
    /// The line for what was found, or why nothing was.
    #[must_use]
    pub fn new(host: &str, answer: Result<(Found, Option<Selected>)>) -> Self {
        let (document, rows, errors) = match answer {
            Err(error) => (None, Vec::new(), vec![error]),
            Ok((found, Some(selected))) => {
                let rows = selected.values.iter().map(|(path, value)| vec![path.clone(), value.to_string()]).collect();
                let has_values = !selected.values.is_empty() || found.problems.is_empty();
                (has_values.then(|| json!(selected)), rows, found.problems)
            }
            Ok((found, None)) => {
                let has_values = !found.document.plugins.is_empty() || found.problems.is_empty();
                (has_values.then(|| json!(found.document)), state_rows(&found.document), found.problems)
            }
        };
        let exit_code = match (&document, errors.first()) {
            (_, None) => 0,
            (Some(_), _) => 3,
            (None, Some(error)) => error.kind.exit_code(),
        };
        let mut problems: Vec<Value> = errors.iter().map(Error::to_json).collect();
        let named = |error: Error| match error.subject.clone() {
            Some(subject) if subject.contains(host) => error,
            Some(subject) => error.on(format!("{host}: {subject}")),
            None => error.on(host),
        };
        Self {
            kind: "host",
            version: 1,
            host: host.to_owned(),
            exit_code,
            document,
            problems: problems.iter_mut().map(|problem| problem["error"].take()).collect(),
            rows: rows.into_iter().map(|row: Vec<String>| [vec![host.to_owned()], row].concat()).collect(),
            errors: errors.into_iter().map(named).collect(),
        }
    }
}

/// Prints values of several machines for people.
pub fn hosts(out: &mut Out, rows: &[Vec<String>]) -> Result<()> {
    out.table(&["HOST", "KEY", "VALUE"], rows)
}

fn ago(age: &Age) -> String {
    match age.age_s {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

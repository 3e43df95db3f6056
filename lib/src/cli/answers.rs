//! What `op-query` prints besides state: selected values, answers from the cache, timings.

use super::Out;
use super::escape::one_line;
use super::show::state_rows;
use crate::apply::cached::{Age, Answer};
use crate::apply::select::Selected;
use crate::apply::timings::Timings;
use crate::apply::watch::Record;
use crate::base::Result;
use serde_json::Value;

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

fn ago(age: &Age) -> String {
    match age.age_s {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

//! A mapping that cannot be read: all its mistakes, section by section, since a reader stops at the first.

use crate::base::Error;
use crate::plugin::author::places::{Places, line_of};
use crate::plugin::author::{Finding, Level, words};
use crate::plugin::mapping::file::{ServiceSection, TransactionSection};
use crate::plugin::mapping::{JobSection, MappingFile, MethodSection, StateSection};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

const WHY: &str = "the mapping is refused as a whole, so the plugin reads and writes nothing";

/// The mistakes of `text`, of which the reader named one with `error`, or all those that it found after reading.
pub fn findings(text: &str, file: &str, places: &Places, error: &Error) -> Vec<Finding> {
    let (table, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let one = |error: &toml::de::Error| finding(text, file, error, "syntax", "");
        return syntax.iter().map(one).collect();
    }
    let mut found: Vec<Finding> = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let check = match name {
            "methods" => each::<MethodSection>,
            "transactions" => each::<TransactionSection>,
            "jobs" => each::<JobSection>,
            "state_mapping" => each::<StateSection>,
            "fingerprint" => each::<String>,
            "service" => whole::<ServiceSection>,
            // Whatever else there is: alone in a file it shows its own first mistake.
            _ => {
                let mut alone = DeTable::new();
                alone.insert(key.clone(), value.clone());
                let read = MappingFile::deserialize(Deserializer::from(Spanned::new(key.span(), alone)));
                found.extend(read.err().map(|e| finding(text, file, &e, "mapping", name)));
                continue;
            }
        };
        found.extend(
            check(value).into_iter().map(|(path, e)| finding(text, file, &e, "mapping", &format!("{name}{path}"))),
        );
    }
    // The reader's own: the first mistake in what is written, or else all mistakes in what it means.
    for mut one in Finding::of_error("mapping", WHY, error) {
        one.place = places.of_subject(&one.place);
        (one.what, one.hint) = match one.what.starts_with("unknown field") {
            true => explained(&one.what),
            false => (one.what, one.hint),
        };
        let line: Vec<&str> = one.place.splitn(3, ':').take(2).collect();
        let is_known = |other: &Finding| other.place.splitn(3, ':').take(2).eq(line.iter().copied());
        if !found.iter().any(|other| is_known(other) && other.what == one.what) {
            found.push(one);
        }
    }
    found
}

type Mistakes = Vec<(String, toml::de::Error)>;

fn whole<T: DeserializeOwned>(value: &Spanned<DeValue<'_>>) -> Mistakes {
    T::deserialize(ValueDeserializer::from(value.clone())).err().map(|e| (String::new(), e)).into_iter().collect()
}

fn each<T: DeserializeOwned>(value: &Spanned<DeValue<'_>>) -> Mistakes {
    match value.get_ref() {
        DeValue::Table(table) => table
            .iter()
            .flat_map(|(key, value)| {
                let place = format!(".{}", key.get_ref());
                whole::<T>(value).into_iter().map(move |(_, e)| (place.clone(), e))
            })
            .collect(),
        _ => whole::<std::collections::BTreeMap<String, T>>(value),
    }
}

fn finding(text: &str, file: &str, error: &toml::de::Error, rule: &str, path: &str) -> Finding {
    let place = match error.span() {
        Some(span) => format!("{file}:{}", line_of(text, span.start)),
        None => file.to_owned(),
    };
    let place = if path.is_empty() { place } else { format!("{place}: {path}") };
    let (what, hint) = explained(error.message().trim());
    Finding::new(Level::Error, rule, place, what).why(WHY).hint(hint)
}

/// What is wrong and the way out. Where the reader lists every word there is, the nearest say more.
fn explained(message: &str) -> (String, String) {
    const TABLES: &str = "docs/SEMANTIC-MAPPING-FORMAT.md has a table for each section";
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let Some((word, known)) = unknown else { return (message.to_owned(), TABLES.to_owned()) };
    let known = known.split('`').skip(1).step_by(2);
    let near = words::nearest(word, known);
    let hint = match near.as_slice() {
        [] => TABLES.to_owned(),
        near => format!("did you mean {}? {TABLES}", near.join(" or ")),
    };
    (format!("there is no word {word:?} here"), hint)
}

//! Rows: what query methods and transactions answer with, before it becomes state. Pure.

use super::convert;
use crate::base::{Error, Result};
use crate::plugin::mapping::{Accepted, KeySection, PartSection, StateSection};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One row: values by column name.
pub type Row = BTreeMap<String, Value>;

/// Names the columns of what a method returned: a list of tuples, of single values, or a dictionary.
pub fn from_reply(value: &Value, fields: &[String]) -> Result<Vec<Row>> {
    match value {
        Value::Array(items) => items.iter().map(|item| row(item, fields)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| row(&Value::Array(vec![Value::String(key.clone()), value.clone()]), fields))
            .collect(),
        _ => Err(Error::bad_input("the method answered with one value, not with rows").hint("leave fields out")),
    }
}

/// Names the columns of one tuple.
pub fn row(value: &Value, fields: &[String]) -> Result<Row> {
    let columns: &[Value] = match value {
        Value::Array(columns) => columns,
        single => std::slice::from_ref(single),
    };
    if columns.len() < fields.len() {
        return Err(Error::bad_input(format!(
            "the mapping names {} fields, the service gives {}",
            fields.len(),
            columns.len()
        ))
        .hint("compare fields = [...] with op-discover SERVICE"));
    }
    Ok(fields.iter().cloned().zip(columns.iter().cloned()).collect())
}

/// Whether a row has the values that count.
#[must_use]
pub fn passes(row: &Row, filter: &BTreeMap<String, Accepted>) -> bool {
    filter.iter().all(|(field, accepted)| row.get(field).is_some_and(|value| accepted.accepts(value)))
}

/// The column, or the part of it, as text.
#[must_use]
pub fn part(row: &Row, part: &PartSection) -> Option<String> {
    let text = match row.get(&part.field)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match &part.split {
        Some(separator) => match usize::try_from(part.part) {
            Ok(at) => text.split(separator.as_str()).nth(at).map(str::to_owned),
            Err(_) => text.rsplit(separator.as_str()).nth(part.part.unsigned_abs() - 1).map(str::to_owned),
        },
        None => Some(text),
    }
}

/// Whether a row has a value that must not count.
#[must_use]
pub fn is_excluded(row: &Row, exclude: &BTreeMap<String, Accepted>) -> bool {
    exclude.iter().any(|(field, accepted)| row.get(field).is_some_and(|value| accepted.accepts(value)))
}

/// Makes the value of a key from rows: a set of items, an object by a column, or a list of rows.
///
/// Fails when the mapping speaks of a column the rows do not have: a misspelt filter would otherwise make everything
/// look missing.
pub fn to_value(rows: Vec<Row>, section: &StateSection) -> Result<Value> {
    if let Some(first) = rows.first() {
        let named = section
            .filter
            .keys()
            .chain(section.item.iter().map(|item| &item.field))
            .chain(section.key.iter().map(|key| key.column_ref()));
        for column in named {
            if !first.contains_key(column) {
                let known = first.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(Error::bad_input(format!("the rows have no column {column:?}"))
                    .hint(format!("the columns are: {known}")));
            }
        }
    }
    let counts = |row: &Row| passes(row, &section.filter) && !is_excluded(row, &section.exclude);
    let rows = rows.into_iter().filter(counts);
    if let Some(item) = &section.item {
        let texts = rows.filter_map(|row| part(&row, item)).filter(|item| !item.is_empty());
        let ours = texts.map(|text| Ok(convert::to_text(&convert::read(Value::String(text), &item.convert)?)));
        return Ok(ours.collect::<Result<BTreeSet<String>>>()?.into_iter().map(Value::String).collect());
    }
    let Some(key) = section.key.as_ref().map(KeySection::column_ref) else {
        return Ok(rows.map(|row| Value::Object(row.into_iter().collect())).collect());
    };
    let mut map = Map::new();
    for mut row in rows {
        let name = match row.remove(key).unwrap_or_default() {
            Value::String(name) => name,
            other => other.to_string(),
        };
        if map.insert(name.clone(), Value::Object(row.into_iter().collect())).is_some() {
            return Err(Error::bad_input(format!("two rows have the key {name:?}, so {key:?} cannot key them")));
        }
    }
    Ok(Value::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn section(text: &str) -> StateSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn rows_become_sets_objects_and_lists() {
        let reply = json!([[1, "b;1;amd64", "B"], [1, "a;2;all", "A"], [2, "c;3;all", "C"]]);
        let rows = || from_reply(&reply, &["info".into(), "id".into(), "text".into()]).unwrap();
        let set = section("filter = { info = [1] }\nitem = { field = 'id', split = ';', part = 0 }");
        assert_eq!(to_value(rows(), &set).unwrap(), json!(["a", "b"]));
        let keyed = section("filter = { info = 2 }\nkey = 'id'");
        assert_eq!(to_value(rows(), &keyed).unwrap(), json!({"c;3;all": {"info": 2, "text": "C"}}));
        assert_eq!(to_value(rows(), &section("")).unwrap().as_array().unwrap().len(), 3);
    }

    #[test]
    fn rows_that_do_not_fit_are_errors() {
        assert!(from_reply(&json!([[1]]), &["a".into(), "b".into()]).is_err());
        assert!(from_reply(&json!(1), &["a".into()]).is_err());
        let twice = from_reply(&json!([["x", 1], ["x", 2]]), &["k".into(), "v".into()]).unwrap();
        assert!(to_value(twice.clone(), &section("key = 'k'")).is_err());
        let misspelt = to_value(twice, &section("filter = { kk = 'x' }")).unwrap_err();
        assert_eq!(misspelt.hint.as_deref(), Some("the columns are: k, v"));
    }
}

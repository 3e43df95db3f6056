//! Which documents a search looks at: conditions on their metadata.

use crate::base::{Error, Result};
use rusqlite::types::Value as Sql;
use serde_json::Value;

/// How a document's value is compared with the filter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    /// As it is written, and as SQL; two characters before one.
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::NotEqual, "!=", "IS NOT"),
        (Self::LessOrEqual, "<=", "<="),
        (Self::GreaterOrEqual, ">=", ">="),
        (Self::Equal, "=", "="),
        (Self::Less, "<", "<"),
        (Self::Greater, ">", ">"),
    ];

    fn sql(self) -> &'static str {
        Self::ALL.into_iter().find(|(this, ..)| *this == self).map_or("=", |(.., sql)| sql)
    }
}

/// Conditions that must all hold: `host=web1`, `severity>=4`, `unit!=cron.service`. A name with points leads into objects:
/// `unit.state=failed`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    conditions: Vec<(String, Compare, Value)>,
}

impl Filter {
    /// Reads conditions. A value that is JSON counts as that (`4`, `true`, `"4"`), everything else as text.
    pub fn parse<S: AsRef<str>>(conditions: &[S]) -> Result<Self> {
        conditions
            .iter()
            .map(|text| condition(text.as_ref()))
            .collect::<Result<_>>()
            .map(|conditions| Self { conditions })
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The condition on a table with a column `metadata`, and its parameters.
    pub(super) fn sql(&self) -> (String, Vec<Sql>) {
        let mut parameters = Vec::new();
        let parts = self.conditions.iter().map(|(name, compare, value)| {
            let path: String = name.split('.').map(|part| format!(".\"{part}\"")).collect();
            parameters.push(Sql::Text(format!("${path}")));
            parameters.push(match value {
                Value::Null => Sql::Null,
                Value::Bool(is_true) => Sql::Integer(i64::from(*is_true)),
                Value::Number(n) => n.as_i64().map_or_else(|| Sql::Real(n.as_f64().unwrap_or(0.0)), Sql::Integer),
                Value::String(text) => Sql::Text(text.clone()),
                other => Sql::Text(other.to_string()),
            });
            let operator = if value.is_null() && *compare == Compare::Equal { "IS" } else { compare.sql() };
            format!("json_extract(metadata, ?) {operator} ?")
        });
        (parts.collect::<Vec<_>>().join(" AND "), parameters)
    }
}

fn condition(text: &str) -> Result<(String, Compare, Value)> {
    let wrong = |what: &str| {
        Error::usage(what.to_owned())
            .on(format!("{text:?}"))
            .hint("write NAME=VALUE, or with != < <= > >= between them")
    };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(|| wrong("this is no condition"))?;
    let (name, rest) = text.split_at(at);
    let (compare, sign, _) = Compare::ALL
        .into_iter()
        .find(|(_, sign, _)| rest.starts_with(sign))
        .ok_or_else(|| wrong("this is no condition"))?;
    if name.is_empty() || name.contains('"') || name.split('.').any(str::is_empty) {
        return Err(wrong("the condition has no name that metadata can have"));
    }
    let value = &rest[sign.len()..];
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), compare, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let filter =
            Filter::parse(&["host=web1", "severity>=4", "unit.name!=a=b", "is_ok=true", "note=\"4\""]).unwrap();
        let (sql, parameters) = filter.sql();
        assert_eq!(sql.matches("json_extract(metadata, ?)").count(), 5);
        assert!(sql.contains(" >= ? AND ") && sql.contains(" IS NOT ? AND "), "{sql}");
        let text = |s: &str| Sql::Text(s.to_owned());
        assert_eq!(
            parameters[..6],
            [
                text("$.\"host\""),
                text("web1"),
                text("$.\"severity\""),
                Sql::Integer(4),
                text("$.\"unit\".\"name\""),
                text("a=b")
            ]
        );
        assert_eq!((&parameters[7], &parameters[9]), (&Sql::Integer(1), &text("4")));
        for bad in ["", "host", "=x", "a..b=1", "a\"b=1", "a!b"] {
            assert!(Filter::parse(&[bad]).is_err(), "{bad}");
        }
    }
}

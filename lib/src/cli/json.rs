//! One JSON document, strictly: no key twice, nothing after it, bounded depth, errors with line and column.

use crate::base::{Error, Result};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};
use std::fmt;

/// The one document in `text`; `name` is what errors call it.
///
/// Depth is bounded by serde_json at 128. A key that stands twice in one object is an error, since it is nowhere said
/// which of the two would count.
pub fn parse_json(text: &str, name: &str) -> Result<Value> {
    let mut reader = Deserializer::from_str(text);
    let value = Strict { path: &Path::Top }.deserialize(&mut reader).map_err(|e| refused(&e, text, name))?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(_) if is_stream(text) => {
            Err(Error::bad_input("there are several documents in it, one is read").on(name).hint(
                "a stream of documents becomes one with `jq -s`, for example `jq -s 'reduce .[] as $d ({}; . * $d)'`",
            ))
        }
        Err(e) => Err(refused(&e, text, name)),
    }
}

fn refused(error: &serde_json::Error, document: &str, name: &str) -> Error {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let message = match message.strip_prefix(DUPLICATE) {
        Some(path) => format!("the key {path} stands there twice"),
        None => format!("this is no JSON: {message}"),
    };
    // serde_json counts a line end as column 0 of the next line.
    let (line, column) = match (error.line(), error.column()) {
        (line @ 2.., 0) => (line - 1, document.lines().nth(line - 2).map_or(0, str::len) + 1),
        place => place,
    };
    Error::bad_input(message).on(format!("{name}:{line}:{column}"))
}

fn is_stream(text: &str) -> bool {
    Deserializer::from_str(text).into_iter::<de::IgnoredAny>().take(1000).all(|document| document.is_ok())
}

const DUPLICATE: &str = "duplicate key ";

/// Where a value stands in the document; text only when somebody asks.
enum Path<'a> {
    Top,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Key(Self::Top, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Strict<'a> {
    path: &'a Path<'a>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict { path: &Path::Index(self.path, array.len()) })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!("{DUPLICATE}{path}")));
            }
            let value = entries.next_value_seed(Strict { path: &path })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use proptest::prelude::*;

    #[test]
    fn documents_that_are_refused() {
        for (text, subject, message) in [
            ("{\"a\":1,\"a\":1}", "x:1:10", "the key a stands there twice"),
            ("{\"p\":{\"b\":[0,{\"k\":1,\n\"k\":2}]}}", "x:2:3", "the key p.b[1].k stands there twice"),
            ("[{\"\":1,\"\":2}]", "x:1:9", "the key [0]. stands there twice"),
            ("{\n  \"a\": tru\n}", "x:2:11", "this is no JSON: expected ident"),
            ("{\"a\": 1,}", "x:1:9", "this is no JSON: trailing comma"),
            ("{\"a\": 1", "x:1:7", "this is no JSON: EOF while parsing an object"),
            ("{} x", "x:1:4", "this is no JSON: trailing characters"),
            ("NaN", "x:1:1", "this is no JSON: expected value"),
            ("1e999", "x:1:5", "this is no JSON: number out of range"),
            ("\"\\ud800\"", "x:1:8", "this is no JSON: unexpected end of hex escape"),
            ("{}\n{}\n", "x", "several documents"),
            ("1 2", "x", "several documents"),
        ] {
            let error = parse_json(text, "x").unwrap_err();
            assert_eq!(error.kind, Kind::BadInput, "{text}");
            assert_eq!(error.subject.as_deref(), Some(subject), "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
        let stream = parse_json("{}\n{}\n", "x").unwrap_err();
        assert!(stream.hint.unwrap().contains("jq -s"));
        let deep = parse_json(&"[".repeat(100_000), "x").unwrap_err();
        assert!(deep.message.contains("recursion limit"), "{deep}");
    }

    proptest! {
        #[test]
        fn the_same_value_as_serde_json_reads(text in "[\\[\\]{}:,\"a-c0-9.e \\-]{0,40}") {
            let ours = parse_json(&text, "x").ok();
            let theirs = serde_json::from_str::<Value>(&text).ok();
            prop_assert!(ours == theirs || ours.is_none());
        }
    }
}

//! D-Bus values for the tests, on purpose not the library's: two codecs that agree are a proof, one codec is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A D-Bus value that knows its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    /// `y`
    Y(u8),
    /// `b`
    B(bool),
    /// `n`
    N(i16),
    /// `q`
    Q(u16),
    /// `i`
    I(i32),
    /// `u`
    U(u32),
    /// `x`
    X(i64),
    /// `t`
    T(u64),
    /// `d`
    D(f64),
    /// `s`
    S(String),
    /// `o`
    O(String),
    /// `g`
    G(String),
    /// `v`
    V(Box<Val>),
    /// `a...`: the element's type signature, then the elements.
    A(String, Vec<Val>),
    /// `(...)`
    R(Vec<Val>),
    /// `{..}`, only inside of an array.
    E(Box<(Val, Val)>),
}

impl Val {
    /// A string.
    #[must_use]
    pub fn s(text: &str) -> Self {
        Self::S(text.to_owned())
    }

    /// A list of strings.
    #[must_use]
    pub fn strings<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::A("s".into(), items.into_iter().map(|item| Self::s(item.as_ref())).collect())
    }

    /// A dictionary entry.
    #[must_use]
    pub fn entry(key: Self, value: Self) -> Self {
        Self::E(Box::new((key, value)))
    }

    /// The type signature.
    #[must_use]
    pub fn sig(&self) -> String {
        match self {
            Self::Y(_) => "y".into(),
            Self::B(_) => "b".into(),
            Self::N(_) => "n".into(),
            Self::Q(_) => "q".into(),
            Self::I(_) => "i".into(),
            Self::U(_) => "u".into(),
            Self::X(_) => "x".into(),
            Self::T(_) => "t".into(),
            Self::D(_) => "d".into(),
            Self::S(_) => "s".into(),
            Self::O(_) => "o".into(),
            Self::G(_) => "g".into(),
            Self::V(_) => "v".into(),
            Self::A(element, _) => format!("a{element}"),
            Self::R(fields) => format!("({})", fields.iter().map(Self::sig).collect::<String>()),
            Self::E(entry) => format!("{{{}{}}}", entry.0.sig(), entry.1.sig()),
        }
    }

    /// The text of an `s`, `o` or `g`.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::S(text) | Self::O(text) | Self::G(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::A(_, items) => items,
            _ => &[],
        }
    }

    /// The form op-dbus documents for JSON, written from the document and not from its code.
    #[must_use]
    pub fn json(&self) -> Value {
        const EXACT: u64 = 1 << 53;
        match self {
            Self::Y(n) => json!(n),
            Self::B(b) => json!(b),
            Self::N(n) => json!(n),
            Self::Q(n) => json!(n),
            Self::I(n) => json!(n),
            Self::U(n) => json!(n),
            Self::X(n) if n.unsigned_abs() > EXACT => json!(n.to_string()),
            Self::X(n) => json!(n),
            Self::T(n) if *n > EXACT => json!(n.to_string()),
            Self::T(n) => json!(n),
            Self::D(d) if d.is_nan() => json!({"$double": "NaN"}),
            Self::D(d) if d.is_infinite() => json!({"$double": if *d > 0.0 { "inf" } else { "-inf" }}),
            Self::D(d) => json!(d),
            Self::S(text) | Self::O(text) | Self::G(text) => json!(text),
            Self::V(inner) => inner.json(),
            Self::A(element, items) if element == "y" => bytes_json(items),
            Self::A(element, items) if element.starts_with('{') => {
                let mut map = Map::new();
                for item in items {
                    if let Self::E(entry) = item {
                        map.insert(key_text(&entry.0), entry.1.json());
                    }
                }
                Value::Object(map)
            }
            Self::A(_, items) | Self::R(items) => items.iter().map(Self::json).collect(),
            Self::E(entry) => json!([entry.0.json(), entry.1.json()]),
        }
    }

    /// The form `busctl --json=short` prints.
    #[must_use]
    pub fn busctl_json(&self) -> Value {
        match self {
            Self::X(n) => json!(n),
            Self::T(n) => json!(n),
            Self::D(d) => json!(d),
            Self::V(inner) => json!({"type": inner.sig(), "data": inner.busctl_json()}),
            Self::A(element, items) if element.starts_with('{') => {
                let mut map = Map::new();
                for item in items {
                    if let Self::E(entry) = item {
                        let key = entry.0.busctl_json();
                        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                        map.insert(key, entry.1.busctl_json());
                    }
                }
                Value::Object(map)
            }
            Self::A(_, items) | Self::R(items) => items.iter().map(Self::busctl_json).collect(),
            other => other.json(),
        }
    }
}

fn key_text(key: &Val) -> String {
    let text = match key {
        Val::X(n) => n.to_string(),
        Val::T(n) => n.to_string(),
        other => match other.json() {
            Value::String(text) => text,
            other => other.to_string(),
        },
    };
    if text.starts_with('$') { format!("${text}") } else { text }
}

fn bytes_json(items: &[Val]) -> Value {
    let bytes: Vec<u8> =
        items.iter().filter_map(|item| if let Val::Y(byte) = item { Some(*byte) } else { None }).collect();
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.chars().any(char::is_control) => json!(text),
        _ => json!({"$bytes": STANDARD.encode(&bytes)}),
    }
}

/// The complete types in a type signature; `None` when it is none.
#[must_use]
pub fn split(signature: &str) -> Option<Vec<&str>> {
    let mut rest = signature;
    let mut types = Vec::new();
    while !rest.is_empty() {
        let length = one(rest.as_bytes())?;
        types.push(&rest[..length]);
        rest = &rest[length..];
    }
    Some(types)
}

fn one(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'a' => Some(1 + one(&bytes[1..])?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *bytes.get(at)? != close {
                at += one(&bytes[at..])?;
            }
            Some(at + 1)
        }
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => Some(1),
        _ => None,
    }
}

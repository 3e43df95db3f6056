//! References to secrets in values: `{"$secret":"NAME"}` stands for what only the call that needs it gets to see.

use super::Result as Found;
use serde_json::{Map, Value, json};

/// The member that makes an object a reference.
pub const TAG: &str = "$secret";

/// Knows secrets by name.
pub trait Secrets: std::fmt::Debug + Send + Sync {
    /// The secret of that name.
    fn get(&self, name: &str) -> Found<String>;
}

/// The name in a reference. Of a secret that is there and nobody knows, the name is empty.
#[must_use]
pub fn name(value: &Value) -> Option<&str> {
    value.as_object().filter(|map| map.len() == 1)?.get(TAG)?.as_str()
}

/// A reference.
#[must_use]
pub fn reference(name: &str) -> Value {
    json!({TAG: name})
}

/// Whether a text can be a secret's name: it becomes the name of a file and of a variable.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.chars().all(is_plain)
}

/// Every reference in a value, with its JSON pointer.
#[must_use]
pub fn all(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, at: String, found: &mut Vec<(String, String)>) {
    if let Some(name) = name(value) {
        return found.push((at, name.to_owned()));
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, inner)| collect(inner, format!("{at}/{}", escaped(key)), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| collect(inner, format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A JSON pointer as mappings write paths: dots between, places in lists left out.
#[must_use]
pub fn dotted(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).filter(|part| part.parse::<usize>().is_err());
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect::<Vec<_>>().join(".")
}

/// Whether what lies at `path` is one of the secrets, or a part of one.
#[must_use]
pub fn is_secret(path: &str, secrets: &[String]) -> bool {
    let is_below = |secret: &String| {
        secret.is_empty()
            || path == secret
            || path.strip_prefix(secret.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    secrets.iter().any(is_below)
}

/// The paths of secrets at which `value` has something that is no reference.
#[must_use]
pub fn literals(value: &Value, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for path in secrets {
        let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
        if has_literal(value, &parts) {
            found.push(path.clone());
        }
    }
    found
}

fn has_literal(value: &Value, parts: &[&str]) -> bool {
    match (value, parts) {
        (Value::Array(items), _) => items.iter().any(|item| has_literal(item, parts)),
        (Value::Object(map), [first, rest @ ..]) => map.get(*first).is_some_and(|inner| has_literal(inner, rest)),
        (_, [_, ..]) | (Value::Null, []) => false,
        (Value::Object(map), []) if name(value).is_none() => map.values().any(|inner| has_literal(inner, &[])),
        (value, []) => name(value).is_none(),
    }
}

/// Puts `reference` at `pointer` where the way there exists; the last step is made.
pub fn put(value: &mut Value, pointer: &str, reference: Value) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        *value = reference;
        return;
    };
    let last = last.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.insert(last, reference)),
        Some(Value::Array(items)) => {
            if let Some(place) = last.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
                *place = reference;
            }
        }
        _ => {}
    }
}

/// `args` with every reference resolved by `get`; nothing when there is none.
pub fn resolved<E>(args: &[Value], get: &dyn Fn(&str) -> Result<String, E>) -> Result<Option<Vec<Value>>, E> {
    if args.iter().all(|arg| all(arg).is_empty()) {
        return Ok(None);
    }
    args.iter().map(|arg| replace(arg, get)).collect::<Result<Vec<_>, E>>().map(Some)
}

fn replace<E>(value: &Value, get: &dyn Fn(&str) -> Result<String, E>) -> Result<Value, E> {
    if let Some(name) = name(value) {
        return get(name).map(Value::String);
    }
    Ok(match value {
        Value::Object(map) => {
            let one = |(key, inner): (&String, &Value)| Ok((key.clone(), replace(inner, get)?));
            Value::Object(map.iter().map(one).collect::<Result<Map<_, _>, E>>()?)
        }
        Value::Array(items) => Value::Array(items.iter().map(|inner| replace(inner, get)).collect::<Result<_, E>>()?),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_named_and_resolved() {
        let value = json!({"a": {"psk": {"$secret": "wifi"}}, "peers": [{"key": {"$secret": "k/1"}}], "b": 1});
        let found = all(&value);
        assert_eq!(found, [("/a/psk".into(), "wifi".into()), ("/peers/0/key".into(), "k/1".into())]);
        assert_eq!(dotted("/peers/0/key"), "peers.key");
        let secrets = ["a.psk".to_owned(), "peers.key".to_owned()];
        assert!(is_secret("a.psk", &secrets) && !is_secret("a.pskx", &secrets) && is_secret("a.psk.x", &secrets));
        assert_eq!(literals(&value, &secrets), [""; 0]);
        assert_eq!(
            literals(&json!({"a": {"psk": "x"}, "peers": [{"key": null}, {"key": 1}]}), &secrets),
            ["a.psk", "peers.key"]
        );
        let get = |name: &str| if name == "wifi" { Ok("12345678".to_owned()) } else { Err(name.to_owned()) };
        assert_eq!(resolved(&[json!(1)], &get), Ok(None));
        assert_eq!(resolved(&[value["a"].clone()], &get), Ok(Some(vec![json!({"psk": "12345678"})])));
        assert_eq!(resolved(&[value], &get), Err("k/1".to_owned()));
        assert!(is_name("wifi-1.psk") && !is_name("a/b") && !is_name("") && !is_name(".x"));
    }
}

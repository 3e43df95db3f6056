//! What must not be in a recording, and taking it out of what a service said.

use super::{LeftOut, OBJECT_MANAGER, PROPERTIES, RecordedCall};
use serde_json::{Map, Value};

/// Something that must not be in a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// A property, a method's reply, or a signal.
    Member {
        /// Its interface.
        interface: String,
        /// Its name.
        name: String,
        /// Why it must not.
        why: String,
    },
    /// What stands at these keys, one in the other, wherever they stand in a reply.
    Keys {
        /// The keys, the outermost first.
        keys: Vec<String>,
        /// Why it must not.
        why: String,
    },
    /// A text that a document said: each call that says it, or is answered with it.
    Text(String),
}

impl Hidden {
    pub(super) fn left_out(&self) -> LeftOut {
        match self {
            Self::Text(_) => LeftOut { what: "calls that say it".into(), why: "a document says it as a secret".into() },
            Self::Member { interface, name, why } => LeftOut { what: format!("{interface}.{name}"), why: why.clone() },
            Self::Keys { keys, why } => LeftOut { what: keys.join("."), why: why.clone() },
        }
    }

    pub(super) fn is_member(&self, of: &str, called: &str) -> bool {
        matches!(self, Self::Member { interface, name, .. } if interface == of && name == called)
    }
}

/// What is hidden and what `call` asks for.
pub(super) fn asked_for<'h>(all: &'h [Hidden], call: &RecordedCall) -> Option<&'h Hidden> {
    let arg = |position: usize| call.args.get(position).and_then(Value::as_str).unwrap_or_default();
    let is_get = call.is(PROPERTIES, "Get");
    all.iter()
        .find(|hidden| hidden.is_member(&call.interface, &call.member) || (is_get && hidden.is_member(arg(0), arg(1))))
}

/// Whether a call, or what came back, says what is hidden where nothing can be taken out: a call with other arguments is
/// another call.
pub(super) fn is_said_by(all: &[Hidden], call: &RecordedCall) -> bool {
    let has_keys = |keys: &[String]| call.args.iter().any(|arg| remove_keys(&mut arg.clone(), keys) > 0);
    let reply = call.reply.iter().flat_map(|reply| &reply.values);
    let said = || call.args.iter().chain(reply.clone()).chain(call.signals.iter().flat_map(|signal| &signal.args));
    let is_in = |part: &str, text: &str| part == text || (text.len() > 3 && part.contains(text));
    let in_error = |text: &str| call.error.as_ref().is_some_and(|error| is_in(&error.message, text));
    all.iter().any(|hidden| match hidden {
        Hidden::Member { .. } => false,
        Hidden::Keys { keys, .. } => has_keys(keys),
        Hidden::Text(text) => is_in(&call.path, text) || in_error(text) || said().any(|value| says(value, text)),
    })
}

/// Whether a value has the text in it. A short one is looked for as a whole: "1" is in everything.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(said) => said == text || (text.len() > 3 && said.contains(text)),
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::Object(fields) => fields.iter().any(|(name, field)| name == text || says(field, text)),
        Value::Number(number) => number.to_string() == text,
        _ => false,
    }
}

/// Takes out of the values of a reply what is hidden in them, and says what that was.
pub(super) fn take_out(all: &[Hidden], call: &RecordedCall, values: &mut [Value]) -> Vec<LeftOut> {
    let mut found = Vec::new();
    let mut take_from = |interface: &str, properties: &mut Map<String, Value>| {
        for hidden in all {
            if let Hidden::Member { interface: of, name, .. } = hidden
                && of == interface
                && properties.remove(&super::escaped(name)).is_some()
            {
                found.push(hidden.left_out());
            }
        }
    };
    if let Some(Value::Object(value)) = values.first_mut() {
        if call.is(PROPERTIES, "GetAll") {
            take_from(call.args.first().and_then(Value::as_str).unwrap_or_default(), value);
        } else if call.is(OBJECT_MANAGER, "GetManagedObjects") {
            for (interface, properties) in value.values_mut().filter_map(Value::as_object_mut).flatten() {
                if let Value::Object(properties) = properties {
                    take_from(interface, properties);
                }
            }
        }
    }
    for hidden in all {
        if let Hidden::Keys { keys, .. } = hidden
            && values.iter_mut().map(|value| remove_keys(value, keys)).sum::<usize>() > 0
        {
            found.push(hidden.left_out());
        }
    }
    found
}

/// Removes what stands at `keys`, wherever they begin, and counts what that was.
fn remove_keys(value: &mut Value, keys: &[String]) -> usize {
    let Some((last, way)) = keys.split_last() else { return 0 };
    let below = match value {
        Value::Array(items) => items.iter_mut().map(|item| remove_keys(item, keys)).sum(),
        Value::Object(fields) => fields.values_mut().map(|field| remove_keys(field, keys)).sum(),
        _ => 0,
    };
    let holder = way.iter().try_fold(&mut *value, |value, key| inside(value)?.get_mut(&super::escaped(key)));
    let removed = holder.and_then(inside).and_then(|fields| fields.remove(&super::escaped(last)));
    below + usize::from(removed.is_some())
}

/// The fields of an object, or of the object in a variant.
fn inside(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let is_variant = value.pointer("/$variant/value").is_some();
    let value = if is_variant { value.pointer_mut("/$variant/value")? } else { value };
    value.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_found_wherever_they_are_said() {
        let call = |args: Value, reply: Value| RecordedCall {
            service: None,
            path: "/".into(),
            interface: "a.b".into(),
            member: "M".into(),
            type_signature: String::new(),
            args: vec![args],
            reply: Some(super::super::Values { type_signature: String::new(), values: vec![reply] }),
            error: None,
            signals: Vec::new(),
        };
        let hidden = |text: &str| [Hidden::Text(text.into())];
        for (text, is_said) in [("hunter2", true), ("hunter", true), ("1", false), ("7", true), ("none", false)] {
            let asked = call(json!([{"a": "with hunter2 in it", "b": 7}, "12"]), json!(null));
            assert_eq!(is_said_by(&hidden(text), &asked), is_said, "{text} in arguments");
            let answered = call(json!(null), json!({"hunter2": 1, "hunter": 2, "7": "x"}));
            assert_eq!(is_said_by(&hidden(text), &answered), is_said || text == "1", "{text} in a reply");
        }
        let keys = [Hidden::Keys { keys: vec!["wifi".into(), "psk".into()], why: String::new() }];
        assert!(is_said_by(&keys, &call(json!({"wifi": {"psk": "x"}}), json!(null))));
        assert!(!is_said_by(&keys, &call(json!({"wifi": {"ssid": "x"}}), json!(null))));
    }

    #[test]
    fn keys_are_removed_wherever_they_begin() {
        let variant = |value: Value| json!({"$variant": {"signature": "x", "value": value}});
        let keys = ["wifi".to_owned(), "psk".to_owned()];
        let settings = |psk: bool| {
            let mut wifi = json!({"ssid": variant(json!("home"))});
            if psk {
                wifi["psk"] = variant(json!("hunter2"));
            }
            json!([{"wifi": wifi, "psk": 1}, variant(json!({"wifi": variant(wifi.clone())}))])
        };
        let mut value = settings(true);
        assert_eq!(remove_keys(&mut value, &keys), 2);
        assert_eq!(value, settings(false));
        assert_eq!(remove_keys(&mut value, &keys), 0);
    }
}

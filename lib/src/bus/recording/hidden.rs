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
}

impl Hidden {
    pub(super) fn left_out(&self) -> LeftOut {
        match self {
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

//! What a mapping calls secret, as what a recorder must not note.

use crate::bus::recording::Hidden;
use crate::plugin::Mapping;
use crate::plugin::mapping::StateSection;
use crate::plugin::mapping::items;
use crate::state::PluginState;
use serde_json::Value;

/// Everything through which `mapping` reads a secret: properties, keys in replies, and where neither can be told apart
/// from what is around it, the whole reply.
pub(super) fn of(mapping: &Mapping) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    for section in mapping.file.state_mapping.values() {
        if section.secret {
            whole_key(mapping, section, &mut hidden);
        }
        for path in section.read.iter().flat_map(|read| &read.secret) {
            hidden.push(Hidden::Keys { keys: path.split('.').map(str::to_owned).collect(), why: why() });
        }
        let own = section.read.as_ref().and_then(|read| read.interface.as_ref()).unwrap_or(&mapping.interface);
        for member in section.members.values().filter(|member| member.secret || section.secret) {
            if let Some(name) = &member.property {
                hidden.push(of_interface(member.interface.as_ref().unwrap_or(own), name));
            }
            if let Some(path) = &member.path {
                hidden.push(Hidden::Keys { keys: path.split('.').map(str::to_owned).collect(), why: why() });
            }
            // A column has no name on the wire, only a position among its neighbours.
            if member.column.is_some() {
                replies(mapping, section, &mut hidden);
            }
        }
    }
    hidden
}

/// The texts that a document has where `mapping` says that a secret is.
pub(super) fn said(mapping: &Mapping, state: &PluginState) -> Vec<Hidden> {
    let mut texts = Vec::new();
    for (key, section) in &mapping.file.state_mapping {
        let absent = state.absent.get(key).into_iter().flatten().cloned().map(Value::String);
        let values: Vec<Value> = state.values.get(key).cloned().into_iter().chain(absent).collect();
        if section.secret {
            values.iter().for_each(|value| leaves(value, &mut texts));
            continue;
        }
        for item in values.iter().filter_map(Value::as_object).flat_map(|items| items.values()) {
            let members = section.members.iter().filter(|(_, member)| member.secret).map(|(name, _)| name.as_str());
            let paths = section.read.iter().flat_map(|read| &read.secret).map(String::as_str);
            let found = members.chain(paths).filter_map(|path| item.pointer(&format!("/{}", path.replace('.', "/"))));
            found.for_each(|value| leaves(value, &mut texts));
        }
    }
    texts.sort();
    texts.dedup();
    texts.into_iter().map(Hidden::Text).collect()
}

/// Every text and number in a value; whether something is so, and nothing at all, are no secrets.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => into.push(text.clone()),
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, into)),
        _ => {}
    }
}

fn whole_key(mapping: &Mapping, section: &StateSection, hidden: &mut Vec<Hidden>) {
    let Some(read) = &section.read else { return };
    if let Some(name) = &read.property {
        hidden.push(of_interface(read.interface.as_ref().unwrap_or(&mapping.interface), name));
    }
    replies(mapping, section, hidden);
}

/// The replies that the rows and values of a key come from.
fn replies(mapping: &Mapping, section: &StateSection, hidden: &mut Vec<Hidden>) {
    for method in items::readers(section) {
        if let Ok(method) = mapping.method(&method) {
            hidden.push(of_interface(&method.interface, &method.member));
        }
    }
}

fn of_interface(interface: &str, name: &str) -> Hidden {
    Hidden::Member { interface: interface.to_owned(), name: name.to_owned(), why: why() }
}

fn why() -> String {
    "the mapping calls it secret".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_of_a_document() {
        let text = r#"
            [state_mapping.token]
            secret = true
            read = { property = "Token" }
            [state_mapping.lamps]
            key = "name"
            fields = ["name", "room", "code", "wifi"]
            read = { method = "list", secret = ["wifi.psk"] }
            members = { room = { column = "room" }, code = { column = "code", secret = true }, wifi = { column = "wifi" } }
        "#;
        let mapping = Mapping::parse(text, "m.toml", "org.example.Lamps").unwrap();
        let lamps = json!({"a": {"room": "hall", "code": [1234, "open"], "wifi": {"psk": "hush", "ssid": "home"}}});
        let state = json!({"token": "abc", "lamps": lamps});
        let state = PluginState::from_json("plugins.lamps", &state).unwrap();
        let texts = ["1234", "abc", "hush", "open"].map(|text| Hidden::Text(text.into()));
        assert_eq!(said(&mapping, &state), texts);
    }
}

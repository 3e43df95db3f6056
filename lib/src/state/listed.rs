//! Collections as documents may also write them: a list of items that each say their name, and an item that is to go by
//! what it says of itself. They become objects by name before anything is compared.

use super::document::{PluginState, wrong};
use super::spec::{ItemSpec, KeySpec};
use crate::base::{Error, Result};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The same state with the items of each collection by name. `at` is the plugin's name.
pub fn by_name<'s>(
    at: &str,
    state: &'s PluginState,
    specs: &BTreeMap<String, KeySpec>,
) -> Result<Cow<'s, PluginState>> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for (key, value) in &state.values {
        let Some(spec) = specs.get(key).map(|spec| &spec.items) else { continue };
        let place = format!("plugins.{at}.{key}");
        match items(&place, value, spec) {
            Ok(items) => found.extend(items.map(|items| (key.clone(), Value::Object(items)))),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(()), Err)?;
    // What is written by name already is not copied: it may be thousands of items.
    let mut state = Cow::Borrowed(state);
    if !found.is_empty() {
        state.to_mut().values.extend(found);
    }
    Ok(state)
}

fn items(place: &str, value: &Value, spec: &ItemSpec) -> Result<Option<Map<String, Value>>> {
    if spec.key.is_none() && spec.presence.is_none() {
        return Ok(None);
    }
    let mut found = Map::new();
    let mut errors = Vec::new();
    match (value, &spec.key) {
        (Value::Array(list), Some(key)) => {
            for (i, item) in list.iter().enumerate() {
                let at = format!("{place}[{i}]");
                let name = match item.get(key) {
                    Some(Value::String(name)) if !name.is_empty() => name.clone(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(other) => {
                        errors.push(wrong(&format!("{at}.{key}"), "a name", other));
                        continue;
                    }
                    None => {
                        errors.push(Error::bad_input(format!("an item of a list says its {key:?}")).on(at));
                        continue;
                    }
                };
                if found.insert(name.clone(), plain(item, spec)).is_some() {
                    errors.push(Error::bad_input(format!("{name:?} is listed twice")).on(at));
                }
            }
        }
        (Value::Object(map), key) => {
            for (name, item) in map {
                let says = key.as_ref().and_then(|key| Some((key, item.get(key)?)));
                if let Some((key, said)) = says.filter(|(_, said)| !super::diff::same(said, &json!(name))) {
                    errors.push(
                        Error::bad_input(format!("its {key} is {said}, not {name:?}"))
                            .on(format!("{place}.{name}.{key}")),
                    );
                }
                found.insert(name.clone(), plain(item, spec));
            }
        }
        _ => return Ok(None),
    }
    Error::all(errors).map_or(Ok(Some(found)), Err)
}

/// An item without its name; one that is to go says nothing else.
fn plain(item: &Value, spec: &ItemSpec) -> Value {
    let Value::Object(members) = item else { return item.clone() };
    let is_absent = |member: &String| members.get(member).is_some_and(|said| said == "absent");
    if spec.presence.as_ref().is_some_and(is_absent) {
        return json!({"state": "absent"});
    }
    let mut members = members.clone();
    if let Some(key) = &spec.key {
        members.remove(key);
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(containers: &Value) -> Result<Value> {
        let items = ItemSpec { key: Some("id".into()), presence: Some("status".into()), ..ItemSpec::default() };
        let specs = BTreeMap::from([("containers".to_owned(), KeySpec { items, ..KeySpec::default() })]);
        let state = PluginState::from_json("plugins.lxc", &json!({"containers": containers}))?;
        Ok(by_name("lxc", &state, &specs)?.values["containers"].clone())
    }

    #[test]
    fn a_list_is_an_object_by_name() {
        let list = json!([{"id": "100", "hostname": "web"}, {"id": 101}]);
        assert_eq!(read(&list).unwrap(), json!({"100": {"hostname": "web"}, "101": {}}));
        let object = json!({"100": {"id": 100, "hostname": "web"}});
        assert_eq!(read(&object).unwrap(), json!({"100": {"hostname": "web"}}));
        let gone = json!([{"id": "100", "hostname": "web", "status": "absent"}]);
        assert_eq!(read(&gone).unwrap(), json!({"100": {"state": "absent"}}));
    }

    #[test]
    fn a_list_with_unclear_names_is_refused() {
        let error = read(&json!([{"id": "1"}, {"id": 1}, {"hostname": "x"}, {"id": true}])).unwrap_err();
        assert_eq!(error.subject.as_deref(), Some("plugins.lxc.containers[1]"));
        assert_eq!(error.also.len(), 2);
        let error = read(&json!({"100": {"id": "101"}})).unwrap_err();
        assert_eq!(error.subject.as_deref(), Some("plugins.lxc.containers.100.id"));
    }
}

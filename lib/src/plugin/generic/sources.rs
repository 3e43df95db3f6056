//! Where each key of a mapping comes from.

use super::reading::property_group;
use crate::plugin::Source;
use crate::plugin::mapping::{Mapping, StateSection};
use serde_json::Value;
use std::collections::BTreeMap;

/// The source of each key that may be shown.
pub fn of(mapping: &Mapping) -> BTreeMap<String, Source> {
    let shown = mapping.file.state_mapping.iter().filter(|(_, section)| !section.secret);
    shown.filter_map(|(key, section)| Some((key.clone(), source(mapping, section)?))).collect()
}

fn source(mapping: &Mapping, section: &StateSection) -> Option<Source> {
    let read = section.read.as_ref()?;
    if let Some(name) = &read.property {
        return Some(Source::Property { group: property_group(mapping, read), name: name.clone() });
    }
    let method = read.method.as_ref().and_then(|reference| mapping.method(reference).ok());
    Some(Source::Answer { path: method.filter(|method| method.transaction.is_none()).map(|method| method.path) })
}

/// Takes the secret properties out of everything that was seen: objects of interfaces of properties.
pub fn hide_secrets(mapping: &Mapping, observed: &mut Value) {
    for section in mapping.file.state_mapping.values().filter(|section| section.secret) {
        let Some(read) = &section.read else { continue };
        let Some(name) = &read.property else { continue };
        let group = property_group(mapping, read);
        let properties = observed.get_mut(&group.path).and_then(|object| object.get_mut(&group.interface));
        if let Some(properties) = properties.and_then(Value::as_object_mut) {
            properties.remove(name);
        }
    }
}

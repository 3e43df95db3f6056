//! Where each key of a mapping comes from.

use super::reading::property_group;
use crate::plugin::Source;
use crate::plugin::mapping::items::is_collection;
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
    if is_collection(section) {
        return Some(Source::Answer { path: None });
    }
    if let Some(name) = &read.property {
        return Some(Source::Property { group: property_group(mapping, read), name: name.clone() });
    }
    let method = read.method.as_ref().and_then(|reference| mapping.method(reference).ok());
    Some(Source::Answer { path: method.filter(|method| method.transaction.is_none()).map(|method| method.path) })
}

/// Takes the secret properties out of everything that was seen: objects of interfaces of properties.
pub fn hide_secrets(mapping: &Mapping, observed: &mut Value) {
    for section in mapping.file.state_mapping.values() {
        let Some(read) = &section.read else { continue };
        let group = property_group(mapping, read);
        if let (true, Some(name)) = (section.secret, &read.property) {
            hide(observed.get_mut(&group.path), &group.interface, name);
        }
        for member in section.members.values().filter(|member| member.secret || section.secret) {
            let Some(name) = &member.property else { continue };
            let interface = member.interface.as_ref().unwrap_or(&group.interface);
            let objects = observed.as_object_mut().into_iter().flat_map(|objects| objects.values_mut());
            objects.for_each(|object| hide(Some(object), interface, name));
        }
    }
}

fn hide(object: Option<&mut Value>, interface: &str, name: &str) {
    let properties = object.and_then(|object| object.get_mut(interface)).and_then(Value::as_object_mut);
    properties.map(|properties| properties.remove(name));
}

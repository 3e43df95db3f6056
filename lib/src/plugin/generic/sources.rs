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

/// A property that is secret, on one object or on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretProperty {
    path: Option<String>,
    interface: String,
    name: String,
}

impl SecretProperty {
    /// Whether it is this one.
    pub fn is(&self, path: &str, interface: &str, name: &str) -> bool {
        self.path.as_deref().is_none_or(|own| own == path) && self.interface == interface && self.name == name
    }
}

/// The properties that a mapping calls secret.
pub fn secrets(mapping: &Mapping) -> Vec<SecretProperty> {
    let mut found = Vec::new();
    for section in mapping.file.state_mapping.values() {
        let Some(read) = &section.read else { continue };
        let group = property_group(mapping, read);
        if let (true, Some(name)) = (section.secret, &read.property) {
            let (path, interface) = (Some(group.path.clone()), group.interface.clone());
            found.push(SecretProperty { path, interface, name: name.clone() });
        }
        for member in section.members.values().filter(|member| member.secret || section.secret) {
            let Some(name) = &member.property else { continue };
            let interface = member.interface.as_ref().unwrap_or(&group.interface).clone();
            found.push(SecretProperty { path: None, interface, name: name.clone() });
        }
    }
    found
}

/// Takes the secret properties out of everything that was seen: objects of interfaces of properties.
pub fn hide(secrets: &[SecretProperty], observed: &mut Value) {
    for SecretProperty { path, interface, name } in secrets {
        let objects = observed.as_object_mut().into_iter().flatten();
        let objects = objects.filter(|(own, _)| path.as_ref().is_none_or(|path| path == *own));
        for (_, object) in objects {
            let properties = object.get_mut(interface).and_then(Value::as_object_mut);
            properties.map(|properties| properties.remove(name));
        }
    }
}

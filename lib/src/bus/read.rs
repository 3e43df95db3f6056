//! Reading properties and one object's interfaces: the safe calls that everything above is built from.

use super::introspection::{self, Node};
use super::value::VariantTypes;
use super::{Bus, Call, Manner};
use crate::base::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Some properties of one interface of one object, to be read together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PropertyGroup {
    /// Bus name of the service.
    pub service: String,
    /// Object path.
    pub path: String,
    /// Interface.
    pub interface: String,
}

/// The values of the wanted properties, each with its own outcome.
pub type Properties = BTreeMap<String, Result<Value>>;

/// Reads the `wanted` properties of several groups at once: one `GetAll` a group, and a `Get` for each property of a
/// group whose `GetAll` fails or leaves it out, since one property that errors makes `GetAll` fail as a whole.
pub fn properties(
    bus: &Bus,
    wanted: &BTreeMap<PropertyGroup, Vec<String>>,
    manner: Manner,
) -> BTreeMap<PropertyGroup, Properties> {
    let mut read: BTreeMap<PropertyGroup, Properties> = BTreeMap::new();
    let first = wanted.keys().map(|group| ((group.clone(), None), get_all(group, manner))).collect();
    bus.pump(first, |(group, property): (PropertyGroup, Option<String>), reply| {
        let label = format!("{} {} {}", group.service, group.path, group.interface);
        let value = reply.and_then(|reply| reply.single(&label));
        let into = read.entry(group.clone()).or_default();
        if let Some(property) = property {
            into.insert(property, value);
            return Vec::new();
        }
        let mut missing = Vec::new();
        match value {
            Ok(Value::Object(mut all)) => {
                for name in &wanted[&group] {
                    match all.remove(name) {
                        Some(value) => drop(into.insert(name.clone(), Ok(value))),
                        None => missing.push(name.clone()),
                    }
                }
            }
            // Nobody there: asking again for each property would only say so again. Being denied all of them is another
            // matter: some may be allowed.
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Timeout) => {
                for name in &wanted[&group] {
                    into.insert(name.clone(), Err(error.clone()));
                }
            }
            _ => missing.clone_from(&wanted[&group]),
        }
        missing.into_iter().map(|name| ((group.clone(), Some(name.clone())), get(&group, &name, manner))).collect()
    });
    read
}

fn get_all(group: &PropertyGroup, manner: Manner) -> Call {
    Call::new(&group.service, &group.path, PROPERTIES, "GetAll")
        .with("s", vec![json!(group.interface)])
        .in_manner(manner)
}

fn get(group: &PropertyGroup, property: &str, manner: Manner) -> Call {
    Call::new(&group.service, &group.path, PROPERTIES, "Get")
        .with("ss", vec![json!(group.interface), json!(property)])
        .in_manner(manner)
}

/// Introspects one object.
pub fn introspect(bus: &Bus, service: &str, path: &str, manner: Manner) -> Result<Node> {
    let call = Call::new(service, path, "org.freedesktop.DBus.Introspectable", "Introspect").in_manner(manner);
    let label = call.label();
    let xml = bus.call(call)?.single(&label)?;
    introspection::parse(xml.as_str().unwrap_or_default()).map_err(|error: Error| error.or_on(label))
}

/// The type signatures of the variants in `a{sv}` property `property` now, by key.
pub fn variant_types_now(bus: &Bus, group: &PropertyGroup, property: &str, manner: Manner) -> Result<VariantTypes> {
    // The value itself travels in a variant, whose key is empty and whose contents count from there.
    bus.call(get(group, property, manner))?.variant_types()
}

/// All values of one interface of one object, without knowing their names.
pub fn all_properties(bus: &Bus, group: &PropertyGroup, manner: Manner) -> Result<Map<String, Value>> {
    let label = format!("{} {} {}", group.service, group.path, group.interface);
    match bus.call(get_all(group, manner))?.single(&label)? {
        Value::Object(values) => Ok(values),
        _ => Err(Error::failed("GetAll returned no dictionary").on(label)),
    }
}

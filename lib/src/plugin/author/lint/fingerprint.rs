//! The fingerprint: type signatures of what the mapping relies on, and what it should say.

use super::Lint;
use crate::plugin::author::{Level, words};
use std::collections::BTreeMap;

impl Lint<'_> {
    /// Compares what the mapping pins with the service, and returns what would be right.
    pub(super) fn fingerprint(&mut self) -> BTreeMap<String, String> {
        let Some(surface) = self.surface else { return BTreeMap::new() };
        let mut right = BTreeMap::new();
        for one in &self.uses.methods {
            let Ok(method) = self.mapping.method(one.reference) else { continue };
            if method.service != self.mapping.service {
                continue;
            }
            if let Some(live) = surface.method(&method.interface, &method.member) {
                right.insert(format!("{}.{}", method.interface, method.member), live.input_signature());
            }
        }
        for one in &self.uses.properties {
            if let Some(live) = surface.property(one.interface, one.name) {
                right.insert(format!("{}.{}", one.interface, one.name), live.type_signature.clone());
            }
        }
        let pinned = &self.mapping.file.fingerprint;
        if pinned.is_empty() && !right.is_empty() {
            self.add(
                Level::Advice,
                "no_fingerprint",
                &["fingerprint"],
                "the mapping has no fingerprint",
                "with one, a service whose members have other types is refused before anything is called (exit code 6)",
                "the one that fits is printed with this report; copy it",
            );
        }
        for (name, signature) in pinned {
            let at = ["fingerprint", name.as_str()];
            let found = name.rsplit_once('.').and_then(|(interface, member)| {
                let method = surface.method(interface, member).map(crate::bus::introspection::Method::input_signature);
                method.or_else(|| Some(surface.property(interface, member)?.type_signature.clone()))
            });
            match found {
                Some(live) if live == *signature => {}
                Some(live) => self.add(
                    Level::Error,
                    "fingerprint",
                    &at,
                    format!("the mapping pins {name} to {signature:?}, the service has {live:?}"),
                    "each plan that uses it is refused (exit code 6)",
                    &format!("if the mapping fits this version, write {name:?} = {live:?}"),
                ),
                None if name.rsplit_once('.').is_some_and(|(i, _)| {
                    surface.is_live && !surface.interfaces.contains_key(i) && self.is_of_items(i)
                }) => {}
                None => {
                    let near = words::nearest(name, right.keys().map(String::as_str));
                    let hint = near.first().map_or(String::new(), |near| format!("did you mean {near:?}?"));
                    let what = format!("the service has no {name}");
                    self.add(Level::Error, "fingerprint", &at, what, "what is not there cannot be compared", &hint);
                }
            }
        }
        right
    }
}

/// A `[fingerprint]` section, as it is written.
#[must_use]
pub fn to_toml(fingerprint: &BTreeMap<String, String>) -> String {
    let lines = fingerprint.iter().map(|(name, signature)| format!("{name:?} = {signature:?}\n"));
    std::iter::once("[fingerprint]\n".to_owned()).chain(lines).collect()
}

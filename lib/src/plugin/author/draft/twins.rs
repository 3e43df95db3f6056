//! What a service shows twice: an object under its old name and its new one, or at two paths. One of them is drafted.

use crate::bus::introspection::Interface;
use crate::plugin::author::Surface;
use serde_json::Value;
use std::collections::BTreeSet;

/// Interfaces of fewer members are alike by chance.
const FEW: usize = 3;

/// What is not drafted, because something else is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its object; none when it is about items.
    pub path: Option<String>,
    /// Its interface.
    pub interface: String,
    /// The object and the interface that are drafted.
    pub of: (Option<String>, String),
}

impl Twin {
    /// What is said of it above the draft.
    pub fn note(&self) -> String {
        let place = |path: &Option<String>, interface: &str| match path {
            Some(path) => format!("{interface} at {path}"),
            None => interface.to_owned(),
        };
        let (own, other) = (place(&self.path, &self.interface), place(&self.of.0, &self.of.1));
        format!(
            "{own} says the same as {other}, and is taken for another name of it: only the latter is drafted. Which of them \
             stays, the service's documentation says."
        )
    }
}

/// Objects with their interfaces, in order, without those that are there already under another name.
pub fn singles(surface: &Surface, all: Vec<(String, String)>) -> (Vec<(String, String)>, Vec<Twin>) {
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut twins = Vec::new();
    for one in all {
        let is_same = |other: &(String, String), small: &(String, String)| {
            includes(surface, &other.1, &small.1) && shows_the_same(surface, other, small)
        };
        if let Some(other) = kept.iter().find(|other| is_same(other, &one)) {
            let of = (Some(other.0.clone()), other.1.clone());
            twins.push(Twin { path: Some(one.0), interface: one.1, of });
        } else if let Some(at) = kept.iter().position(|other| is_same(&one, other)) {
            // The other one says more.
            let (path, interface) = std::mem::replace(&mut kept[at], one.clone());
            twins.push(Twin { path: Some(path), interface, of: (Some(one.0), one.1) });
        } else {
            kept.push(one);
        }
    }
    (kept, twins)
}

/// Interfaces of items without those of the same items under another name.
pub fn items(surface: &Surface, all: BTreeSet<String>) -> (BTreeSet<String>, Vec<Twin>) {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let mut twins = Vec::new();
    let count = |name: &str| surface.objects_with(name).count();
    for name in all {
        let is_same = |other: &&String| {
            surface.interfaces.get(*other) == surface.interfaces.get(&name) && count(other) == count(&name)
        };
        let other = kept.iter().find(is_same).filter(|_| count(&name) > 0 && size(surface, &name) >= FEW).cloned();
        match other {
            Some(other) => twins.push(Twin { path: None, interface: name, of: (None, other) }),
            None => drop(kept.insert(name)),
        }
    }
    (kept, twins)
}

/// Whether the objects at `paths` are one object: they show the same values, and are not numbered.
pub fn are_one(surface: &Surface, paths: &[&String], interface: &str) -> bool {
    let values: Vec<Option<&Value>> = paths.iter().map(|path| surface.values.get(*path)?.get(interface)).collect();
    let is_numbered = paths.iter().any(|path| path.ends_with(|c: char| c.is_ascii_digit()));
    let is_alike = values.iter().all(|value| value.is_some() && *value == values[0]);
    is_alike && !is_numbered && size(surface, interface) >= FEW
}

fn size(surface: &Surface, interface: &str) -> usize {
    surface.interfaces.get(interface).map_or(0, |known| known.methods.len() + known.properties.len())
}

/// Whether all members of `small` are members of `large` too, with the same types.
fn includes(surface: &Surface, large: &str, small: &str) -> bool {
    let (Some(large), Some(few)) = (surface.interfaces.get(large), surface.interfaces.get(small)) else { return false };
    let Interface { methods, properties, .. } = few;
    size(surface, small) >= FEW
        && methods.iter().all(|(name, method)| large.methods.get(name) == Some(method))
        && properties.iter().all(|(name, property)| large.properties.get(name) == Some(property))
}

/// Whether nothing tells the two apart: what both show has the same values, as far as the service was asked.
fn shows_the_same(surface: &Surface, large: &(String, String), small: &(String, String)) -> bool {
    let of =
        |(path, interface): &(String, String)| surface.values.get(path).and_then(|all| all.get(interface)?.as_object());
    match (of(large), of(small)) {
        (Some(large), Some(small)) => small.iter().all(|(name, value)| large.get(name) == Some(value)),
        (None, None) => large.1 != small.1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn surface(old: &Value, new: &Value) -> Surface {
        let members = "<property name='A' type='s' access='read'/><property name='B' type='s' access='read'/>\
                       <method name='M'/>";
        let node = |path: &str, name: &str, more: &str| {
            format!("<node name='{path}'><interface name='{name}'>{members}{more}</interface></node>")
        };
        let more = "<property name='C' type='s' access='read'/>";
        let xml = format!("<node>{}{}</node>", node("old", "a.Old", ""), node("new", "b.New", more));
        let mut surface = Surface::of_texts("a.Old", &[("x".into(), xml)]).unwrap();
        let values = json!({"/old": {"a.Old": old}, "/new": {"b.New": new}});
        surface.values = values.as_object().unwrap().clone();
        surface
    }

    #[test]
    fn the_same_under_two_names_is_there_once() {
        let all = vec![("/old".to_owned(), "a.Old".to_owned()), ("/new".to_owned(), "b.New".to_owned())];
        let same = surface(&json!({"A": "1", "B": "2"}), &json!({"A": "1", "B": "2", "C": "3"}));
        let (kept, twins) = singles(&same, all.clone());
        assert_eq!(kept, all[1..], "the one that says more");
        assert!(twins[0].note().starts_with("a.Old at /old says the same as b.New at /new"), "{twins:?}");
        let turned = vec![all[1].clone(), all[0].clone()];
        assert_eq!(singles(&same, turned).0, all[1..], "in any order");
        // Two things of one kind are two things.
        let other = surface(&json!({"A": "1", "B": "2"}), &json!({"A": "1", "B": "x", "C": "3"}));
        assert_eq!(singles(&other, all.clone()), (all, Vec::new()));
    }
}

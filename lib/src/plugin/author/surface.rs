//! What a service shows: its interfaces by name, and, as far as that is known, which objects have them.

use crate::base::{Error, Result};
use crate::bus::introspection::{self, Interface, Method, Node, Property};
use crate::bus::walk::{Tree, is_standard};
use crate::bus::{Bus, Manner};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// Interfaces, objects and, of a live service, values.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// Bus name of the service.
    pub service: String,
    /// Interface by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Interface names of the objects whose paths are known.
    pub objects: BTreeMap<String, BTreeSet<String>>,
    /// Object managers whose paths are known.
    pub managers: BTreeSet<String>,
    /// Values of properties by object path, interface and property; of a live service only.
    pub values: Map<String, Value>,
    /// Where all this is from, for people.
    pub source: String,
    /// What could not be read.
    pub problems: Vec<String>,
    /// Whether the service itself was asked: then an interface that is missing may only have no object now.
    pub is_live: bool,
}

impl Surface {
    /// What a walk found on the live service.
    #[must_use]
    pub fn of_tree(service: &str, tree: Tree) -> Self {
        Self {
            service: service.to_owned(),
            interfaces: tree.interfaces,
            objects: tree.objects,
            managers: BTreeSet::new(),
            values: tree.values,
            source: format!("{service}, live"),
            problems: tree.problems,
            is_live: true,
        }
    }

    /// Asks the objects above others whether they manage them: a walk leaves standard interfaces out.
    pub fn find_managers(&mut self, bus: &Bus) {
        const MOST: usize = 16;
        let mut above: BTreeSet<String> = BTreeSet::new();
        for path in self.objects.keys() {
            above.extend(
                path.match_indices('/').map(|(at, _)| if at == 0 { "/".to_owned() } else { path[..at].to_owned() }),
            );
        }
        for path in above.into_iter().take(MOST) {
            let node = crate::bus::read::introspect(bus, &self.service, &path, Manner::default());
            if node.is_ok_and(|node| node.interfaces.contains_key(OBJECT_MANAGER)) {
                self.managers.insert(path);
            }
        }
    }

    /// The live service, and what files say about interfaces that no object has now: those of objects made for a call.
    #[must_use]
    pub fn with_absent_of(mut self, files: &Self) -> Self {
        let mut added = false;
        for (name, interface) in &files.interfaces {
            if !self.interfaces.contains_key(name) && !is_standard(name) {
                self.interfaces.insert(name.clone(), interface.clone());
                added = true;
            }
        }
        if added {
            self.source = format!("{}; what no object has now: {}", self.source, files.source);
        }
        self
    }

    /// What the files `introspection.xml` and `introspection-*.xml` of a plugin's folder say; `None` when there is none.
    pub fn of_folder(service: &str, folder: &Path) -> Result<Option<Self>> {
        let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list the plugin's files", folder, &e))?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|n| is_ours(n)).collect();
        names.sort_by_key(|name| (name != "introspection.xml", name.clone()));
        if names.is_empty() {
            return Ok(None);
        }
        let mut texts = Vec::new();
        for name in names {
            let path = folder.join(&name);
            let text = crate::store::file::read(&path)?.unwrap_or_default();
            texts.push((path.display().to_string(), text));
        }
        Self::of_texts(service, &texts).map(Some)
    }

    /// What introspection texts say; each has a name for messages.
    pub fn of_texts(service: &str, texts: &[(String, String)]) -> Result<Self> {
        let mut surface = Self { service: service.to_owned(), ..Self::default() };
        let mut errors = Vec::new();
        for (name, text) in texts {
            match introspection::parse(text) {
                Ok(node) => surface.add(&node, None),
                Err(error) => errors.push(error.on(name.clone())),
            }
        }
        let names: Vec<&str> = texts.iter().map(|(name, _)| name.rsplit('/').next().unwrap_or(name)).collect();
        surface.source = names.join(", ");
        Error::all(errors).map_or(Ok(surface), Err)
    }

    /// Adds a node. A file says where its inner nodes are, seen from the root, and never where itself is.
    fn add(&mut self, node: &Node, path: Option<&str>) {
        for (name, interface) in &node.interfaces {
            let known = self.interfaces.entry(name.clone()).or_default();
            known.methods.extend(interface.methods.clone());
            known.properties.extend(interface.properties.clone());
            known.signals.extend(interface.signals.clone());
            let Some(path) = path else { continue };
            if name == OBJECT_MANAGER {
                self.managers.insert(path.to_owned());
            }
            if !is_standard(name) {
                self.objects.entry(path.to_owned()).or_default().insert(name.clone());
            }
        }
        for (name, inner) in &node.inline {
            self.add(inner, Some(&format!("{}/{name}", path.unwrap_or_default())));
        }
    }

    /// The interfaces that `known` does not describe, as introspection XML.
    #[must_use]
    pub fn beyond(&self, known: &Self) -> Option<String> {
        let new =
            self.interfaces.iter().filter(|(name, _)| !is_standard(name) && !known.interfaces.contains_key(*name));
        let interfaces: BTreeMap<String, Interface> = new.map(|(name, one)| (name.clone(), one.clone())).collect();
        (!interfaces.is_empty()).then(|| introspection::to_xml(&Node { interfaces, ..Node::default() }))
    }

    /// The same, of a service whose name is known.
    #[must_use]
    pub fn named(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// Takes the shortest interface's name for the service's, as services have it by convention.
    pub fn guess_service(self) -> Result<Self> {
        let own = self.interfaces.keys().filter(|name| !is_standard(name)).min_by_key(|name| name.len());
        match own.cloned() {
            Some(name) => Ok(self.named(&name)),
            None => Err(Error::bad_input("no interface of a service is described there").on(self.source)),
        }
    }

    /// A method.
    #[must_use]
    pub fn method(&self, interface: &str, member: &str) -> Option<&Method> {
        self.interfaces.get(interface)?.methods.get(member)
    }

    /// A property.
    #[must_use]
    pub fn property(&self, interface: &str, name: &str) -> Option<&Property> {
        self.interfaces.get(interface)?.properties.get(name)
    }

    /// Interfaces that have a method, or a property, of this name.
    pub fn interfaces_with<'a>(&'a self, member: &'a str) -> impl Iterator<Item = &'a str> {
        let has = move |interface: &Interface| {
            interface.methods.contains_key(member) || interface.properties.contains_key(member)
        };
        self.interfaces.iter().filter(move |(_, interface)| has(interface)).map(|(name, _)| name.as_str())
    }

    /// Whether it is known that the object at `path` lacks `interface`.
    #[must_use]
    pub fn lacks(&self, path: &str, interface: &str) -> bool {
        !is_standard(interface) && self.objects.get(path).is_some_and(|names| !names.contains(interface))
    }

    /// The value a property has on an object, when the service was asked.
    #[must_use]
    pub fn value(&self, path: &str, interface: &str, property: &str) -> Option<&Value> {
        self.values.get(path)?.get(interface)?.get(property)
    }

    /// The paths of the objects that have `interface`.
    pub fn objects_with<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = &'a str> {
        self.objects.iter().filter(move |(_, names)| names.contains(interface)).map(|(path, _)| path.as_str())
    }
}

fn is_ours(name: &str) -> bool {
    name == "introspection.xml" || (name.starts_with("introspection-") && name.ends_with(".xml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_where_inner_objects_are() {
        let generated = "<node><node name='org/x'><interface name='a.b'><method name='M'/></interface>\
                         <interface name='org.freedesktop.DBus.ObjectManager'/></node></node>";
        let copied = "<node><interface name='a.c'><property name='P' type='s' access='read'/></interface></node>";
        let texts = [("f/introspection.xml", generated), ("f/introspection-c.xml", copied)];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let surface = Surface::of_texts("a.b", &texts).unwrap();
        assert_eq!(surface.objects_with("a.b").collect::<Vec<_>>(), ["/org/x"]);
        assert_eq!(surface.managers.iter().collect::<Vec<_>>(), ["/org/x"]);
        assert!(surface.method("a.b", "M").is_some() && surface.property("a.c", "P").is_some());
        assert!(surface.lacks("/org/x", "a.c") && !surface.lacks("/elsewhere", "a.c"));
        assert_eq!(surface.source, "introspection.xml, introspection-c.xml");
        assert_eq!(surface.interfaces_with("P").collect::<Vec<_>>(), ["a.c"]);
        let broken = Surface::of_texts("a.b", &[("x.xml".into(), "<node".into())]).unwrap_err();
        assert_eq!(broken.subject.as_deref(), Some("x.xml"));
    }
}

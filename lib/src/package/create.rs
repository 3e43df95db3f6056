//! A plugin generated from what a service says of itself: readable at once, writable when someone writes a mapping.

use crate::base::name::{PluginName, snake_case};
use crate::base::{Error, Result};
use crate::bus::introspection::{self, Node, to_xml};
use crate::bus::walk::Tree;
use crate::plugin::manifest::is_bus_name;
use crate::store::Store;
use crate::store::file::Durability;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names of plugins that are, or will be, part of the programs: nobody else may have them.
pub const BUILT_IN: [&str; 4] = ["lxc", "net", "openflow", "netmaker"];

/// The introspection document: what `op-discover SERVICE` prints and `op-install create NAME -` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IntrospectionDocument {
    /// Always `introspection`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Bus name of the service.
    pub service: String,
    /// What was found.
    #[serde(flatten)]
    pub tree: Tree,
}

impl IntrospectionDocument {
    /// The document of a walk.
    #[must_use]
    pub fn new(service: &str, tree: Tree) -> Self {
        Self { kind: "introspection".into(), version: 1, service: service.into(), tree }
    }

    /// Reads a document.
    pub fn from_json(document: &Value, name: &str) -> Result<Self> {
        let hint = "make one with op-discover SERVICE";
        if document.get("kind").and_then(Value::as_str) != Some("introspection") {
            return Err(Error::bad_input("this is no introspection document").on(name).hint(hint));
        }
        let read: Self = serde_json::from_value(document.clone())
            .map_err(|e| Error::bad_input(format!("the introspection document is damaged: {e}")).on(name).hint(hint))?;
        match read.version {
            1 => Ok(read),
            other => Err(Error::bad_input(format!("this program reads version 1, not {other}")).on(name)),
        }
    }
}

/// Writes the plugin `name` for what `document` describes; the folder it is in.
///
/// It is a draft: whoever made it may write a mapping into it. It appears complete or not at all, and one that is
/// there already is left alone.
pub fn create(store: &Store, name: &PluginName, document: &IntrospectionDocument) -> Result<PathBuf> {
    if BUILT_IN.contains(&name.as_str()) {
        return Err(Error::bad_input("this name belongs to a plugin that is built in")
            .on(name.as_str())
            .hint(format!("choose another; taken are: {}", BUILT_IN.join(", "))));
    }
    let (root, volumes) = (store.root(), store.volumes());
    let folder = root.plugin(name);
    if folder.exists() {
        return Err(Error::refused("this plugin is there already")
            .on(folder.display().to_string())
            .hint(format!("remove it first: op-install remove {name}")));
    }
    if document.tree.interfaces.is_empty() {
        return Err(Error::bad_input("the service describes no interface of its own, so there is nothing to read")
            .on(document.service.clone()));
    }
    let xml = described(document)?;
    let staging = store.staging(root.path(), name.as_str());
    volumes.create(&staging)?;
    let written = write_files(&staging, name, document, &xml)
        .and_then(|()| volumes.sync(&staging))
        .and_then(|()| volumes.rename(&staging, &folder));
    if written.is_err() {
        // The failure that matters is the first; what cannot be deleted now is swept later.
        let _ = volumes.delete(&staging);
    }
    written.map(|()| folder)
}

/// Writes a drafted mapping. One that is there stays, unless `is_forced`.
pub fn draft_file(file: &Path, text: &str, is_forced: bool) -> Result<()> {
    if is_forced {
        return crate::store::file::replace(file, text.as_bytes(), Durability::Durable);
    }
    let mut new = fs::OpenOptions::new();
    let written = new.write(true).create_new(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| Error::io("write the draft", file, &e))
}

/// The document's introspection as XML. A document may come from anybody: a name in it that D-Bus does not know would
/// otherwise be written into files that mean more than it does.
fn described(document: &IntrospectionDocument) -> Result<String> {
    if !is_bus_name(&document.service) {
        return Err(Error::bad_input("a plugin needs the name of a service, and this is none")
            .on(format!("{:?}", document.service))
            .hint("for example org.example.Service; op-discover lists those of the bus"));
    }
    let xml = to_xml(&as_node(&document.tree));
    let is_well_formed = introspection::parse(&xml);
    is_well_formed.map_err(|e| e.on(document.service.clone()).hint("make the document with op-discover SERVICE"))?;
    Ok(xml)
}

fn write_files(staging: &Path, name: &PluginName, document: &IntrospectionDocument, xml: &str) -> Result<()> {
    fs::create_dir(staging.join("examples")).map_err(|e| Error::io("make a folder", staging, &e))?;
    let write = |file: &str, text: &str| {
        let path = staging.join(file);
        fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))
    };
    write("plugin.toml", &manifest(name, document))?;
    write("introspection.xml", xml)?;
    write("README.md", &readme(name, document))?;
    write("examples/select.json", &format!("{{\"version\":1,\"plugins\":{{\"{name}\":{{}}}}}}\n"))
}

fn manifest(name: &PluginName, document: &IntrospectionDocument) -> String {
    format!(
        "[plugin]\nname = \"{name}\"\nversion = \"0.1.0\"\ndescription = \"What {0} says of itself\"\n\
         source = \"auto-generated\"\ndbus_service = \"{0}\"\n\
         # It can be read. With a semantic-mapping.toml beside this file it can be written too.\n",
        document.service
    )
}

fn readme(name: &PluginName, document: &IntrospectionDocument) -> String {
    let mut text = format!(
        "# {name}\n\nGenerated from the introspection of `{}`. It can be read:\n\n    op-query --plugin {name}\n\n\
         To make it writable, draft a `semantic-mapping.toml`, and read it:\n\n    op-install map {name}\n\n## Candidates\n\n\
         Properties that a method seems to set (a guess by their names; look before you map):\n\n",
        document.service
    );
    let mut has_any = false;
    for (interface, members) in &document.tree.interfaces {
        for property in members.properties.keys() {
            let setter = format!("Set{property}");
            if let Some(method) = members.methods.get(&setter) {
                text.push_str(&format!(
                    "- `{}`: property `{property}` of `{interface}`, method `{setter}({})`\n",
                    snake_case(property),
                    method.input_signature()
                ));
                has_any = true;
            }
        }
    }
    if !has_any {
        text.push_str("- none\n");
    }
    text
}

/// One node for each distinct set of interfaces, at the first object that has it: thousands of alike objects are one.
fn as_node(tree: &Tree) -> Node {
    let mut root = Node::default();
    let mut seen: BTreeSet<&BTreeSet<String>> = BTreeSet::new();
    for (path, names) in &tree.objects {
        if !seen.insert(names) {
            continue;
        }
        let interfaces =
            names.iter().filter_map(|name| Some((name.clone(), tree.interfaces.get(name)?.clone()))).collect();
        let node = Node { interfaces, ..Node::default() };
        match path.trim_start_matches('/') {
            "" => root.interfaces = node.interfaces,
            relative => {
                root.children.push(relative.to_owned());
                root.inline.insert(relative.to_owned(), node);
            }
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_from_a_document_are_checked_before_they_are_written() {
        let document = |service: &str, path: &str, interface: &str, property: &str| {
            let document = json!({"kind": "introspection", "version": 1, "service": service,
                "objects": {path: [interface]},
                "interfaces": {interface: {"properties": {property: {"type_signature": "s", "access": "read"}}}}});
            IntrospectionDocument::from_json(&document, "test").unwrap()
        };
        assert!(described(&document("a.b", "/a/b", "a.b", "P")).is_ok());
        for bad in [
            document("a.b\"\nread_only = false\n#", "/a/b", "a.b", "P"),
            document(":1.7", "/a/b", "a.b", "P"),
            document("a.b", "/a/../b", "a.b", "P"),
            document("a.b", "/a/b", "a.b\n# Lies", "P"),
            document("a.b", "/a/b", "a.b", "P`\n"),
        ] {
            assert_eq!(described(&bad).unwrap_err().kind, crate::base::Kind::BadInput, "{bad:?}");
        }
    }
}

//! A service described by XML files instead of by itself: for one that is not running, and is not to be started.

use super::introspection::{self, Node};
use super::walk::{Tree, is_standard};
use crate::base::{Error, Result};
use std::path::{Path, PathBuf};

/// Where services install descriptions of their interfaces.
pub const INTERFACES: &str = "/usr/share/dbus-1/interfaces";

/// The tree of `service` from the XML files at `places` (files, or folders of them).
///
/// A file that is named counts as a whole. Of a folder, the interfaces count whose name is the service's or begins
/// with it and a dot. Files do not say where objects are: everything is shown at the path the service's name suggests,
/// unless a file has nodes of its own.
pub fn read(places: &[PathBuf], service: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    let default_path = format!("/{}", service.replace('.', "/"));
    for place in places {
        let is_folder = place.is_dir();
        for file in if is_folder { xml_files(place)? } else { vec![place.clone()] } {
            let text = crate::store::file::read(&file)?
                .ok_or_else(|| Error::bad_input("there is no such file").on(file.display().to_string()))?;
            match introspection::parse(&text) {
                Ok(node) => add(&mut tree, &node, &default_path, service, is_folder),
                // A folder holds other services' files too: a bad one among them is no reason to say nothing.
                Err(error) if is_folder => tree.problems.push(format!("{}: {}", file.display(), error.message)),
                Err(error) => return Err(error.or_on(file.display().to_string())),
            }
        }
    }
    if tree.interfaces.is_empty() {
        let places = places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Error::bad_input(format!("no interface of {service} is described in {places}"))
            .on(service)
            .hint("name the file with --xml FILE, or start the service with --activate"));
    }
    Ok(tree)
}

fn add(tree: &mut Tree, node: &Node, path: &str, service: &str, only_its_own: bool) {
    for (name, interface) in &node.interfaces {
        let is_its_own = name == service || name.strip_prefix(service).is_some_and(|rest| rest.starts_with('.'));
        if is_standard(name) || (only_its_own && !is_its_own) {
            continue;
        }
        tree.objects.entry(path.to_owned()).or_default().insert(name.clone());
        tree.interfaces.entry(name.clone()).or_insert_with(|| interface.clone());
    }
    for (name, inline) in &node.inline {
        let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
        add(tree, inline, &child, service, only_its_own);
    }
}

fn xml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list the descriptions", folder, &e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml"))
        .collect();
    files.sort();
    Ok(files)
}

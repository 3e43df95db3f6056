//! Whether the tree of a package is a plugin, and the one it says it is.

use super::archive;
use super::contents::{Contents, Entry};
use super::create::BUILT_IN;
use super::signature::Binding;
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::bus::introspection;
use crate::plugin::manifest::Source;
use crate::plugin::{Manifest, Mapping};
use semver::Version;

/// The files of a plugin: by path, and what they hold.
pub struct Files<'a> {
    /// The paths of all files.
    pub paths: Vec<&'a str>,
    /// The text of one of them.
    pub read: &'a dyn Fn(&str) -> Result<Option<String>>,
}

/// A plugin whose files were read.
#[derive(Debug)]
pub struct Checked {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What `plugin.toml` says.
    pub manifest: Manifest,
    /// The mapping, when it has one.
    pub mapping: Option<Mapping>,
}

impl<'a> Files<'a> {
    /// The files of a tree.
    #[must_use]
    pub fn of(contents: &'a Contents, read: &'a dyn Fn(&str) -> Result<Option<String>>) -> Self {
        let entries = contents.entries().iter();
        let paths = entries.filter(|(_, entry)| **entry != Entry::Folder).map(|(path, _)| path.as_str()).collect();
        Self { paths, read }
    }

    fn text(&self, path: &str) -> Result<Option<String>> {
        if !self.paths.contains(&path) {
            return Ok(None);
        }
        (self.read)(path).map_err(|e| e.on(path))
    }
}

/// Reads the files of a plugin; every mistake is reported.
pub fn check(files: &Files<'_>) -> Result<Checked> {
    let text = files
        .text("plugin.toml")?
        .ok_or_else(|| Error::bad_input("the package has no plugin.toml").hint("it is no plugin"))?;
    let manifest = Manifest::parse(&text, "plugin.toml")?;
    let name = PluginName::new(&manifest.plugin.name)?;
    let version = Version::parse(&manifest.plugin.version)
        .map_err(|e| Error::bad_input(format!("this is no version: {e}")).on("plugin.toml: plugin.version"))?;
    check_built_in(&manifest, files)?;
    let mut errors = Vec::new();
    let mut mapping = None;
    if let Some(text) = files.text("semantic-mapping.toml")? {
        let service = manifest.plugin.dbus_service.as_deref().unwrap_or_default();
        match Mapping::parse(&text, "semantic-mapping.toml", service) {
            Ok(parsed) => mapping = Some(parsed),
            Err(error) => errors.push(error),
        }
    }
    for path in &files.paths {
        let is_introspection = path.starts_with("introspection") && path.ends_with(".xml");
        let is_example = path.starts_with("examples/") && path.ends_with(".json");
        if !is_introspection && !is_example {
            continue;
        }
        let text = files.text(path)?.unwrap_or_default();
        let read = if is_introspection {
            introspection::parse(&text).map(drop)
        } else {
            serde_json::from_str::<serde_json::Value>(&text)
                .map(drop)
                .map_err(|e| Error::bad_input(format!("it is no JSON document: {e}")))
        };
        errors.extend(read.err().map(|e| e.or_on(*path)));
    }
    Error::all(errors).map_or(Ok(Checked { name, version, manifest, mapping }), Err)
}

/// A package of what is built in holds what is said of it: its version, examples, documentation. The code comes with
/// op-dbus, and where things are on a host, the programs that are run among them, is no package's business.
fn check_built_in(manifest: &Manifest, files: &Files<'_>) -> Result<()> {
    let is_built_in = BUILT_IN.contains(&manifest.plugin.name.as_str());
    let refuse = |message: &str, at: &str, hint: String| Err(Error::untrusted(message).on(at).hint(hint));
    if is_built_in != (manifest.plugin.source == Source::BuiltIn) {
        let hint = format!("built in are: {}; they say source = \"built-in\", and no other does", BUILT_IN.join(", "));
        return refuse("a package cannot be, or replace, a plugin that is built in", "plugin.toml", hint);
    }
    if is_built_in && !manifest.settings.is_empty() {
        let names: Vec<&str> = manifest.settings.keys().map(String::as_str).collect();
        let hint = format!("take out {}: each host says them in a folder of its own", names.join(", "));
        return refuse("no package says where things are on a host", "plugin.toml: settings", hint);
    }
    if is_built_in && files.paths.contains(&"semantic-mapping.toml") {
        return refuse("what is built in has no mapping", "semantic-mapping.toml", "take it out".to_owned());
    }
    Ok(())
}

impl Checked {
    /// Compares with everything else that says what it is: the signature, the file's name, and the subvolume's.
    pub fn must_be(&self, binding: Option<&Binding>, file_name: &str, subvolume: &str) -> Result<()> {
        let own = format!("{} {}", self.name, self.version);
        let mut claims = Vec::new();
        claims.extend(binding.map(|b| ("its signature", format!("{} {}", b.name, b.version))));
        claims.extend(archive::parse_file_name(file_name).map(|(n, v)| ("its file's name", format!("{n} {v}"))));
        let of_subvolume = subvolume.split_once("@v").filter(|(name, _)| PluginName::new(name).is_ok());
        claims.extend(of_subvolume.map(|(n, v)| ("its subvolume's name", format!("{n} {v}"))));
        let wrong: Vec<String> = claims
            .into_iter()
            .filter(|(_, claim)| *claim != own)
            .map(|(who, claim)| format!("{who} says {claim}"))
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::untrusted(format!("plugin.toml says {own}, but {}", wrong.join(", ")))
            .hint("a package is not passed off as another: get the right one"))
    }
}

//! `op-install lint`: a mapping held against what the service says of itself, and against good practice. Every finding
//! says what, where, why, and the way out; all of them, not only the first.

mod broken;
mod calls;
mod collections;
mod fingerprint;
mod folder;
mod keys;
mod members;
mod uses;

use super::places::Places;
use super::{Finding, Level, LintReport, Surface};
use crate::base::{Error, Result};
use crate::plugin::manifest::Source;
use crate::plugin::{Manifest, Mapping};
use crate::store::{file, layout};
pub use fingerprint::to_toml as fingerprint_text;
use std::path::{Path, PathBuf};
use uses::Uses;

/// The files of a plugin, as texts, and what its service says.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Where `plugin.toml` is, for messages, and what it says.
    pub manifest: (String, Option<String>),
    /// Where `semantic-mapping.toml` is, for messages, and what it says.
    pub mapping: (String, Option<String>),
    /// Where `README.md` is, for messages, and what it says.
    pub readme: (String, Option<String>),
    /// The state documents in `examples/`, by the names of their files.
    pub examples: Vec<(String, String)>,
    /// Whether there are scenarios, by which the plugin is tested.
    pub has_scenarios: bool,
    /// What of it root ignores, since others can write it.
    pub untrusted: Vec<String>,
    /// The service, by its introspection.
    pub surface: Option<Surface>,
}

impl Subject {
    /// Reads the plugin folder at `path`; the path of a file in it will do as well.
    pub fn read(path: &Path) -> Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if !path.exists() {
            return Err(Error::bad_input("there is no such folder or file")
                .on(path.display().to_string())
                .hint("name a plugin's folder, its semantic-mapping.toml, or a plugin of op-install list"));
        }
        let text = |name: &str| -> Result<(String, Option<String>)> {
            let file = folder.join(name);
            Ok((file.display().to_string(), file::read(&file)?))
        };
        let mapping = match path.is_file() && path.extension().is_some_and(|ending| ending == "toml") {
            true if !path.ends_with("plugin.toml") => (path.display().to_string(), file::read(path)?),
            _ => text("semantic-mapping.toml")?,
        };
        let files = [folder.to_owned(), folder.join("plugin.toml"), PathBuf::from(&mapping.0)];
        let is_open = |file: &&PathBuf| file.exists() && layout::is_open_to_others(file);
        let mut subject = Self {
            untrusted: files.iter().filter(is_open).map(|file| file.display().to_string()).collect(),
            manifest: text("plugin.toml")?,
            mapping,
            readme: text("README.md")?,
            examples: examples(&folder.join("examples"))?,
            has_scenarios: std::fs::read_dir(folder.join("scenarios"))
                .is_ok_and(|mut entries| entries.next().is_some()),
            surface: None,
        };
        let service = subject.service().unwrap_or_default();
        subject.surface = Surface::of_folder(&service, folder)?;
        Ok(subject)
    }

    /// The bus name of the service, when the manifest says it.
    #[must_use]
    pub fn service(&self) -> Option<String> {
        let (file, text) = &self.manifest;
        Manifest::parse(text.as_deref()?, file).ok()?.plugin.dbus_service
    }
}

fn examples(folder: &Path) -> Result<Vec<(String, String)>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    files.into_iter().map(|path| Ok((path.display().to_string(), file::read(&path)?.unwrap_or_default()))).collect()
}

/// Checks a plugin.
#[must_use]
pub fn lint(subject: &Subject) -> LintReport {
    let mut findings = Vec::new();
    let manifest = folder::manifest(subject, &mut findings);
    folder::untrusted(subject, &mut findings);
    let name = manifest.as_ref().map(|manifest| manifest.plugin.name.clone()).unwrap_or_default();
    if let Some(manifest) = manifest.as_ref().filter(|manifest| manifest.plugin.source == Source::BuiltIn) {
        folder::built_in(subject, manifest, &mut findings);
        folder::documents(subject, &mut findings);
        return LintReport::new(&name, "what is built in", findings, std::collections::BTreeMap::new());
    }
    let source = subject.surface.as_ref().map_or_else(|| "nothing".to_owned(), |surface| surface.source.clone());
    folder::introspection(subject, &mut findings);
    let mut pinned = std::collections::BTreeMap::new();
    let service = manifest.as_ref().and_then(|manifest| manifest.plugin.dbus_service.clone());
    let (file, text) = &subject.mapping;
    match (text, service) {
        (None, _) => folder::no_mapping(file, &name, &mut findings),
        // Without its service a mapping can still be read; what it relies on cannot be looked up.
        (Some(text), service) => {
            let places = Places::read(text, file);
            match Mapping::parse(text, file, service.as_deref().unwrap_or("org.example.Unknown")) {
                Err(error) => findings.extend(broken::findings(text, file, &places, &error)),
                Ok(mapping) => {
                    let mut lint = Lint {
                        mapping: &mapping,
                        uses: Uses::of(&mapping),
                        places,
                        surface: None,
                        findings: Vec::new(),
                    };
                    lint.surface = subject.surface.as_ref().filter(|_| service.is_some());
                    lint.members();
                    lint.keys();
                    pinned = lint.fingerprint();
                    findings.append(&mut lint.findings);
                    if let Some(manifest) = &manifest {
                        folder::contradictions(subject, manifest, &mapping, &mut findings);
                    }
                    if !name.is_empty() {
                        folder::examples(subject, &name, &mapping, &mut findings);
                    }
                }
            }
            folder::documents(subject, &mut findings);
        }
    }
    LintReport::new(&name, &source, findings, pinned)
}

/// One mapping being checked.
struct Lint<'a> {
    mapping: &'a Mapping,
    uses: Uses<'a>,
    places: Places,
    surface: Option<&'a Surface>,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn add(&mut self, level: Level, rule: &str, place: &[&str], what: impl Into<String>, why: &str, hint: &str) {
        let place = self.places.at(place);
        self.findings.push(Finding::new(level, rule, place, what).why(why).hint(hint));
    }
}

/// A place's parts as texts, for [`Places`].
fn parts(place: &[String]) -> Vec<&str> {
    place.iter().map(String::as_str).collect()
}

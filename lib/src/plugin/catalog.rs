//! The plugins there are: installed under the state root, and shipped beside the programs. Installing or removing a
//! folder is all it takes; nothing is registered anywhere.

use super::manifest::Source;
use super::{GenericPlugin, Manifest, Mapping, StatePlugin, builtin};
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use crate::bus::{Bus, names};
use crate::store::{StateRoot, file, layout};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where a plugin's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `@plugin-NAME` under the state root.
    Installed,
    /// In the folder of shipped mappings.
    Shipped,
}

impl Origin {
    /// The word for it in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Shipped => "shipped",
        }
    }
}

/// One plugin, its files read.
#[derive(Debug)]
pub struct Entry {
    /// What `plugin.toml` says.
    pub manifest: Manifest,
    /// The mapping, when there is one that is valid.
    pub mapping: Option<Mapping>,
    /// Where the folder is.
    pub folder: PathBuf,
    /// Which of the two places it is in.
    pub origin: Origin,
    /// Where the mapping comes from: a generated plugin without one uses the shipped mapping of the same service.
    pub mapping_origin: Option<Origin>,
    /// What is wrong with it: an invalid mapping.
    pub problems: Vec<Error>,
    /// What its manifest claims and is not so. What is so counts.
    pub contradictions: Vec<String>,
}

impl Entry {
    /// The plugin, ready to work.
    pub fn plugin(&self) -> Result<Box<dyn StatePlugin>> {
        if self.manifest.plugin.source == Source::BuiltIn {
            return builtin::open(&self.manifest);
        }
        Ok(Box::new(GenericPlugin::new(&self.manifest, self.mapping.clone())))
    }

    /// Whether it works on the machine that `bus` leads to: what is built in works on this host alone.
    pub fn check_on(&self, bus: &Bus) -> Result<()> {
        let is_elsewhere = bus.is_remote() || bus.replayed().is_some();
        if self.manifest.plugin.source == Source::BuiltIn && is_elsewhere {
            return Err(Error::refused("this plugin is built in, and works on the host it runs on, not over a bus")
                .on(format!("plugins.{}", self.manifest.plugin.name))
                .hint("run it there, for example: ssh HOST op-query; or leave the plugin out"));
        }
        Ok(())
    }

    /// Whether it can write anything.
    #[must_use]
    pub fn can_apply(&self) -> bool {
        match self.manifest.plugin.source {
            Source::BuiltIn => self.plugin().is_ok_and(|plugin| plugin.read_only_because().is_none()),
            _ => self.mapping.as_ref().is_some_and(Mapping::can_write),
        }
    }
}

/// Finds plugins by name and by service.
#[derive(Debug)]
pub struct Catalog {
    folders: BTreeMap<String, Vec<(Origin, PathBuf)>>,
    mappings: PathBuf,
    /// The shipped folders by service, once that was asked for.
    shipped: OnceLock<BTreeMap<String, Vec<(String, PathBuf)>>>,
}

impl Catalog {
    /// Lists the plugin folders of `root` and of the shipped `mappings`; reads no plugin yet.
    pub fn open(root: &StateRoot, mappings: &Path) -> Result<Self> {
        let mut folders: BTreeMap<String, Vec<(Origin, PathBuf)>> = BTreeMap::new();
        for folder in sub_folders(root.path())? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = name.strip_prefix("@plugin-").and_then(|name| PluginName::new(name).ok());
            if let Some(name) = name {
                folders.entry(name.to_string()).or_default().push((Origin::Installed, folder));
            }
        }
        if mappings.is_dir() && layout::is_trusted(mappings) {
            for folder in sub_folders(mappings)? {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if PluginName::new(&name).is_ok() && folder.join("plugin.toml").is_file() {
                    folders.entry(name).or_default().push((Origin::Shipped, folder));
                }
            }
        }
        Ok(Self { folders, mappings: mappings.to_owned(), shipped: OnceLock::new() })
    }

    /// The catalog of one plugin, whose folder lies anywhere, and its name.
    pub fn of_folder(folder: &Path) -> Result<(Self, String)> {
        if !folder.is_dir() {
            return Err(Error::bad_input("there is no such folder").on(folder.display().to_string()));
        }
        let name = read_entry(folder, Origin::Installed)?.manifest.plugin.name;
        let folders = BTreeMap::from([(name.clone(), vec![(Origin::Installed, folder.to_owned())])]);
        Ok((Self { folders, mappings: PathBuf::new(), shipped: OnceLock::new() }, name))
    }

    /// The names of all plugins.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.folders.keys().map(String::as_str)
    }

    /// Where the plugin called `name` is, also when its files cannot be read.
    #[must_use]
    pub fn folder(&self, name: &str) -> Option<(Origin, &Path)> {
        self.folders.get(name)?.first().map(|(origin, folder)| (*origin, folder.as_path()))
    }

    /// Reads the plugin called `name`.
    pub fn entry(&self, name: &str) -> Result<Entry> {
        let Some(places) = self.folders.get(name) else { return Err(self.unknown(name)) };
        let mut entry = read_entry(&places[0].1, places[0].0)?;
        if entry.mapping.is_none() && entry.problems.is_empty() && entry.origin == Origin::Installed {
            // A generated plugin never hides a mapping that was shipped for the same service.
            let shipped = self.shipped_for(name, entry.manifest.plugin.dbus_service.as_deref());
            if let Some(shipped) = shipped {
                entry.mapping = shipped.mapping;
                entry.mapping_origin = Some(Origin::Shipped);
                entry.problems.extend(shipped.problems);
            }
        }
        let file = entry.folder.join("plugin.toml").display().to_string();
        let claims = entry.manifest.contradictions(entry.can_apply());
        entry.contradictions = claims.into_iter().map(|claim| format!("{file}: {claim}")).collect();
        Ok(entry)
    }

    /// Where the plugin called `name` comes from, and what its manifest says, without reading more of it. Nothing when
    /// that cannot be read.
    #[must_use]
    pub fn manifest_of(&self, name: &str) -> Option<(Origin, Manifest)> {
        let (origin, folder) = self.folders.get(name)?.first()?;
        let text = file::read(&folder.join("plugin.toml")).ok()??;
        let manifest = Manifest::parse(&text, "").ok().filter(|_| layout::is_trusted(folder))?;
        Some((*origin, manifest))
    }

    /// What each installed plugin needs. One whose manifest cannot be read needs nothing.
    pub fn installed_dependencies(&self) -> impl Iterator<Item = (&str, BTreeMap<String, String>)> {
        self.folders.iter().filter_map(|(name, places)| {
            let (_, folder) = places.first().filter(|(origin, _)| *origin == Origin::Installed)?;
            Some((name.as_str(), manifest_of(folder)?.dependencies))
        })
    }

    /// The version of the shipped plugin called `name`.
    #[must_use]
    pub fn shipped_version(&self, name: &str) -> Option<semver::Version> {
        let (_, folder) = self.folders.get(name)?.iter().find(|(origin, _)| *origin == Origin::Shipped)?;
        semver::Version::parse(&manifest_of(folder)?.plugin.version).ok()
    }

    /// The names of the plugins for `service`, from what their manifests say.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut by_service: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, places) in &self.folders {
            let manifest = file::read(&places[0].1.join("plugin.toml")).ok().flatten();
            let service = manifest.and_then(|text| Manifest::parse(&text, "").ok()?.plugin.dbus_service);
            if let Some(service) = service {
                by_service.entry(service).or_default().insert(name.clone());
            }
        }
        by_service
    }

    /// The service of this bus name, read without a plugin, but for what any mapping of it calls secret. A unique name stands
    /// for the well-known names of its owner.
    #[must_use]
    pub fn ad_hoc(&self, bus: &Bus, name: &str) -> GenericPlugin {
        let plugin = GenericPlugin::ad_hoc(name);
        if !name.starts_with(':') {
            return self.keeping_secrets(plugin);
        }
        let owned = names::services(bus, None).unwrap_or_default();
        let owned = owned.into_iter().filter(|service| service.owner.as_deref() == Some(name));
        owned.fold(plugin, |plugin, service| plugin.keeping(&self.mappings_of(&service.name)))
    }

    fn keeping_secrets(&self, plugin: GenericPlugin) -> GenericPlugin {
        let mappings = plugin.service().map(|service| self.mappings_of(service)).unwrap_or_default();
        plugin.keeping(&mappings)
    }

    /// The plugin of an entry, keeping to itself what any mapping of its service calls secret.
    pub fn plugin_keeping_secrets(&self, entry: &Entry) -> Result<Box<dyn StatePlugin>> {
        if entry.manifest.plugin.source == Source::BuiltIn {
            return entry.plugin();
        }
        Ok(Box::new(self.keeping_secrets(GenericPlugin::new(&entry.manifest, entry.mapping.clone()))))
    }

    fn mappings_of(&self, service: &str) -> Vec<Mapping> {
        let is_of = |folder: &Path| {
            let text = file::read(&folder.join("plugin.toml")).ok().flatten();
            text.and_then(|text| Manifest::parse(&text, "").ok()?.plugin.dbus_service).as_deref() == Some(service)
        };
        let places = self.folders.values().flatten().filter(|(_, folder)| is_of(folder));
        places.filter_map(|(origin, folder)| read_entry(folder, *origin).ok()?.mapping).collect()
    }

    fn shipped_for(&self, name: &str, service: Option<&str>) -> Option<Entry> {
        let by_service = self.shipped.get_or_init(|| {
            let mut by_service: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
            for (name, places) in &self.folders {
                for (_, folder) in places.iter().filter(|(origin, _)| *origin == Origin::Shipped) {
                    if let Some(service) = manifest_of(folder).and_then(|manifest| manifest.plugin.dbus_service) {
                        by_service.entry(service).or_default().push((name.clone(), folder.clone()));
                    }
                }
            }
            by_service
        });
        let mut candidates: Vec<_> = by_service.get(service?)?.iter().collect();
        candidates.sort_by_key(|(n, _)| n != name);
        candidates
            .into_iter()
            .filter_map(|(_, folder)| read_entry(folder, Origin::Shipped).ok())
            .find(|entry| entry.mapping.is_some() && entry.manifest.plugin.dbus_service.as_deref() == service)
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> = self.names().collect();
        let mut hint = if known.is_empty() {
            format!("no plugins are installed, and none are shipped in {}", self.mappings.display())
        } else {
            format!("there are: {}", known.join(", "))
        };
        hint.push_str("; make one with op-install create NAME --from-dbus SERVICE");
        Error::bad_input("there is no such plugin").on(name).hint(hint)
    }
}

fn manifest_of(folder: &Path) -> Option<Manifest> {
    Manifest::parse(&file::read(&folder.join("plugin.toml")).ok()??, "").ok()
}

fn sub_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list the plugins", folder, &error)),
    };
    // A link is looked through.
    let is_folder = |entry: &std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        _ => entry.path().is_dir(),
    };
    let mut folders: Vec<PathBuf> = entries.flatten().filter(is_folder).map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

fn read_entry(folder: &Path, origin: Origin) -> Result<Entry> {
    if !layout::is_trusted(folder) {
        return Err(Error::new(Kind::Denied, "others can write this plugin, so what it calls safe cannot be trusted")
            .on(folder.display().to_string())
            .hint(format!("chown -R root {0} && chmod -R go-w {0}", folder.display())));
    }
    let manifest_file = folder.join("plugin.toml");
    let text = file::read(&manifest_file)?
        .ok_or_else(|| Error::bad_input("the plugin has no plugin.toml").on(folder.display().to_string()))?;
    let deny_foreign = |file: &Path| match layout::is_trusted(file) {
        true => Ok(()),
        false => Err(Error::new(Kind::Denied, "others can write this file, so what it says cannot be trusted")
            .on(file.display().to_string())
            .hint(format!("chown root {0} && chmod go-w {0}", file.display()))),
    };
    // It names the service that the mapping's safe calls go to.
    deny_foreign(&manifest_file)?;
    let manifest = Manifest::parse(&text, &manifest_file.display().to_string())?;
    let mapping_file = folder.join("semantic-mapping.toml");
    let mut problems = Vec::new();
    let mut mapping = None;
    if let Some(text) = file::read(&mapping_file)? {
        deny_foreign(&mapping_file)?;
        let service = manifest.plugin.dbus_service.as_deref().unwrap_or_default();
        match Mapping::parse(&text, &mapping_file.display().to_string(), service) {
            Ok(parsed) => mapping = Some(parsed),
            Err(error) => problems.push(error),
        }
    }
    let mapping_origin = mapping.as_ref().map(|_| origin);
    Ok(Entry {
        manifest,
        mapping,
        folder: folder.to_owned(),
        origin,
        mapping_origin,
        problems,
        contradictions: Vec::new(),
    })
}

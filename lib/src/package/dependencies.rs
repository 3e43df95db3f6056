//! What a plugin needs to be there: other plugins, services of the bus, op-dbus itself.

use super::proposal::Machine;
use super::resolve::PROGRAM;
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::bus::names;
use crate::plugin::{Catalog, Manifest};
use semver::{Version, VersionReq};
use std::collections::BTreeMap;

/// Refuses a plugin whose dependencies are not there; every one is named. Services are looked for when there is a bus.
pub fn check(manifest: &Manifest, machine: &Machine<'_>) -> Result<()> {
    let mut errors = Vec::new();
    let mut services = None;
    for (name, wanted) in &manifest.dependencies {
        let subject = format!("plugin.toml: dependencies.{name}");
        let requirement = VersionReq::parse(wanted).unwrap_or_default();
        let found = if name == PROGRAM {
            Version::parse(env!("CARGO_PKG_VERSION")).ok()
        } else if name.contains('.') {
            let Some(bus) = machine.bus() else { continue };
            if services.is_none() {
                services = Some(names::available(bus)?);
            }
            if !services.as_ref().is_some_and(|services| services.contains(name)) {
                errors.push(
                    Error::refused(format!("it needs the service {name}, and this bus has none"))
                        .on(subject)
                        .hint("install what brings that service first"),
                );
            }
            continue;
        } else {
            plugin(machine, name)
        };
        match found {
            Some(version) if requirement.matches(&version) => {}
            Some(version) => errors.push(
                Error::refused(format!("it needs {name} {wanted}, and there is {version}"))
                    .on(subject)
                    .hint(format!("install a version of {name} that fits first")),
            ),
            None => errors.push(
                Error::refused(format!("it needs {name} {wanted}, which is not installed"))
                    .on(subject)
                    .hint(format!("install {name} first")),
            ),
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Whether it needs plugins that are not there in a version that fits.
#[must_use]
pub fn lacks_plugins(manifest: &Manifest, machine: &Machine<'_>) -> bool {
    manifest.dependencies.iter().filter(|(name, _)| *name != PROGRAM && !name.contains('.')).any(|(name, wanted)| {
        let requirement = VersionReq::parse(wanted).unwrap_or_default();
        !plugin(machine, name).is_some_and(|version| requirement.matches(&version))
    })
}

/// The version of a plugin that is there, or comes.
fn plugin(machine: &Machine<'_>, name: &str) -> Option<Version> {
    machine.coming.get(name).cloned().or_else(|| {
        machine.catalog.entry(name).ok().and_then(|entry| Version::parse(&entry.manifest.plugin.version).ok())
    })
}

/// Refuses to let go of a plugin that others need; every one is named. A shipped one of the same name may do as well.
pub fn must_not_be_needed(catalog: &Catalog, name: &PluginName) -> Result<()> {
    must_fit(catalog, name, catalog.shipped_version(name.as_str()).as_ref(), &BTreeMap::new()).map_err(|error| {
        error.hint(format!("remove what needs it first, or say --ignore-dependencies: op-install remove {name}"))
    })
}

/// Refuses that `name` becomes `version`, or goes, when an installed plugin needs another. What is `coming` was chosen to fit.
pub fn must_fit(
    catalog: &Catalog,
    name: &PluginName,
    version: Option<&Version>,
    coming: &BTreeMap<String, Version>,
) -> Result<()> {
    let mut errors = Vec::new();
    for (other, dependencies) in catalog.installed_dependencies() {
        let Some(wanted) =
            dependencies.get(name.as_str()).filter(|_| other != name.as_str() && !coming.contains_key(other))
        else {
            continue;
        };
        let requirement = VersionReq::parse(wanted).unwrap_or_default();
        if version.is_some_and(|version| requirement.matches(version)) {
            continue;
        }
        let what = match version {
            Some(version) => format!("{other} needs {name} {wanted}, and this would be {version}"),
            None => format!("{other} needs {name} {wanted}"),
        };
        errors.push(Error::refused(what).on(name.as_str()));
    }
    Error::all(errors).map_or(Ok(()), Err)
}

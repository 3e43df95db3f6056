//! What a plugin needs to be there: other plugins, services of the bus, op-dbus itself.

use super::proposal::Machine;
use super::resolve::PROGRAM;
use crate::base::{Error, Result};
use crate::bus::names;
use crate::plugin::Manifest;
use semver::{Version, VersionReq};

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
            let coming = machine.coming.get(name).cloned();
            coming.or_else(|| {
                machine.catalog.entry(name).ok().and_then(|entry| Version::parse(&entry.manifest.plugin.version).ok())
            })
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

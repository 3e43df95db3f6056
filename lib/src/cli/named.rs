//! Packages by name: chosen from registries with everything they need, fetched, and installed in order.

use super::packages::{InstallOptions, Surroundings};
use super::{Cli, show_packages};
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use crate::bus::names;
use crate::package::fetch::Fetched;
use crate::package::install::InstallationReport;
use crate::package::keyring::TrustedKey;
use crate::package::ledger::Ledger;
use crate::package::lockfile::{Locked, Lockfile};
use crate::package::proposal::{LazyBus, Machine};
use crate::package::registry::offers;
use crate::package::registry::source::Registry;
use crate::package::resolve::{Candidate, Chosen, World, resolve};
use crate::package::stream::{Limits, Memory, unpack};
use crate::package::trail::{Trail, Verb};
use crate::package::verify::{Policy, verify};
use crate::package::{archive, dependencies};
use crate::plugin::{Catalog, Manifest, Origin};
use crate::store::StateRoot;
use semver::{Version, VersionReq};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A plugin that is asked for, and the versions that will do.
pub type Wanted = (String, VersionReq);

/// Reads `NAME` or `NAME@VERSIONS`; none when it is the path or the URL of a package.
pub fn parse_wanted(what: &str) -> Result<Option<Wanted>> {
    let (name, requirement) = what.split_once('@').unwrap_or((what, "*"));
    if PluginName::new(name).is_err() {
        return Ok(None);
    }
    // A version alone means that one, as everywhere else here.
    let exact = Version::parse(requirement.strip_prefix('v').unwrap_or(requirement));
    let requirement = exact.map_or_else(|_| requirement.to_owned(), |version| format!("={version}"));
    let parsed = VersionReq::parse(&requirement).map_err(|e| {
        Error::usage(format!("{requirement:?} is no version and no range of versions: {e}"))
            .on(what)
            .hint("for example packagekit@1.2.0 or packagekit@^1.2")
    })?;
    Ok(Some((name.to_owned(), parsed)))
}

/// A package that was chosen and fetched.
struct Ready {
    chosen: Chosen,
    fetched: Fetched,
    policy: Policy,
}

impl Cli {
    /// Installs what is `wanted` from registries, and what it needs. Everything is fetched and its signature checked
    /// before anything is installed.
    pub fn install_named(
        &mut self,
        wanted: &[Wanted],
        upgraded: BTreeSet<String>,
        options: &InstallOptions,
    ) -> Result<InstallationReport> {
        let what = wanted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let verb = if upgraded.is_empty() { Verb::Install } else { Verb::Upgrade };
        self.recorded(verb, &what, options, |cli, root, trail| {
            let policy = cli.policy(root, options)?;
            let registries = cli.registries(root, &policy.keyring)?;
            if registries.is_empty() {
                return Err(Error::refused("no registry is known, so nothing is found by its name")
                    .on(&*what)
                    .hint("op-install registry add URL; a package is installed from a file or a URL, too"));
            }
            let store = if options.dry_run { None } else { Some(cli.package_store(root, trail, options)?) };
            let (catalog, bus) = (cli.catalog(root)?, cli.lazy_bus());
            let mut world = offers::world(&registries, &catalog)?;
            world.upgraded = upgraded;
            for (name, _) in wanted {
                if !is_packaged(root, &catalog, name)? {
                    // A draft, or what is shipped, is not what is asked for.
                    world.present.remove(name);
                }
            }
            let around = Surroundings { root: root.clone(), store, bus, policy, coming: BTreeMap::new() };
            cli.install_chosen(&around, trail, &registries, world, wanted, None, options)
        })
    }

    /// Installs a package that was fetched together with the plugins that it needs and that are not there, from registries.
    /// Nothing, when it lacks none, or no registry is known.
    pub(super) fn install_with_needs(
        &mut self,
        around: &Surroundings,
        trail: &Trail,
        catalog: &Catalog,
        fetched: &Fetched,
        options: &InstallOptions,
    ) -> Result<Option<InstallationReport>> {
        if !around.root.registries().is_dir() {
            return Ok(None);
        }
        // What is wrong with the package is said when it is judged.
        let Ok(manifest) = peek(fetched, &around.policy) else { return Ok(None) };
        let Ok(version) = Version::parse(&manifest.plugin.version) else { return Ok(None) };
        if !dependencies::lacks_plugins(&manifest, &around.machine(catalog, options)) {
            return Ok(None);
        }
        let registries = self.registries(&around.root, &around.policy.keyring)?;
        if registries.is_empty() {
            return Ok(None);
        }
        let name = manifest.plugin.name;
        let mut world = offers::world(&registries, catalog)?;
        let given = Candidate { version: version.clone(), dependencies: manifest.dependencies, is_yanked: false };
        world.present.remove(&name);
        world.offers.insert(name.clone(), vec![given]);
        let only = VersionReq::parse(&format!("={version}")).map_err(|e| Error::failed(e.to_string()))?;
        let given = Some((name.as_str(), fetched));
        self.install_chosen(around, trail, &registries, world, &[(name.clone(), only)], given, options).map(Some)
    }

    /// Chooses from the world what is `wanted` and what it needs, and installs what is new of it in order. What is `given`
    /// was fetched already.
    #[expect(clippy::too_many_arguments, reason = "the last step of two ways")]
    fn install_chosen(
        &mut self,
        around: &Surroundings,
        trail: &Trail,
        registries: &[Registry],
        mut world: World,
        wanted: &[Wanted],
        given: Option<(&str, &Fetched)>,
        options: &InstallOptions,
    ) -> Result<InstallationReport> {
        let lock = match &options.lock {
            Some(path) => Lockfile::read(Path::new(path))?,
            None => None,
        };
        world.services = services(&world, &around.bus)?;
        world.locked = lock.as_ref().map(Lockfile::versions).transpose()?;
        let chosen = resolve(wanted, &world)?;
        let unchanged = chosen.iter().filter(|chosen| !chosen.is_new);
        let unchanged = unchanged.map(|chosen| (chosen.name.clone(), chosen.version.to_string())).collect();
        let mut ready = Vec::new();
        for chosen in chosen.into_iter().filter(|chosen| chosen.is_new) {
            ready.push(match given.filter(|(name, _)| *name == chosen.name) {
                Some((_, fetched)) => Ready { chosen, fetched: fetched.clone(), policy: around.policy.clone() },
                None => self.make_ready(around, registries, lock.as_ref(), chosen, options)?,
            });
        }
        if around.store.is_some() {
            self.agree_to_company(wanted, &ready, options)?;
        }
        let coming = ready.iter().map(|ready| (ready.chosen.name.clone(), ready.chosen.version.clone())).collect();
        let mut report =
            InstallationReport { kind: "installation".into(), version: 1, packages: Vec::new(), unchanged };
        for ready in &ready {
            // What was installed a moment ago counts.
            let catalog = self.catalog(&around.root)?;
            let machine = Machine { coming: BTreeMap::clone(&coming), ..around.machine(&catalog, options) };
            report.packages.push(self.install_judged(
                around,
                trail,
                &machine,
                &ready.fetched,
                &ready.policy,
                options,
            )?);
        }
        if let (Some(path), None, false) = (&options.lock, &lock, options.dry_run) {
            lockfile(&report, &around.root)?.write(Path::new(path))?;
        }
        Ok(report)
    }

    /// The newest versions of what was installed from packages: of `names`, else of all.
    pub fn upgrade(&mut self, names: &[String], options: &InstallOptions) -> Result<InstallationReport> {
        let root = self.root()?;
        let catalog = self.catalog(&root)?;
        let mut wanted = Vec::new();
        for name in names {
            let parsed = PluginName::new(name)?;
            if !is_packaged(&root, &catalog, parsed.as_str())? {
                return Err(Error::bad_input("this was not installed from a package, so there is nothing to upgrade")
                    .on(name.clone())
                    .hint(format!("op-install {name}")));
            }
            wanted.push((name.clone(), VersionReq::STAR));
        }
        if names.is_empty() {
            for name in catalog.names() {
                if is_packaged(&root, &catalog, name)? {
                    wanted.push((name.to_owned(), VersionReq::STAR));
                }
            }
        }
        if wanted.is_empty() {
            let (packages, unchanged) = (Vec::new(), BTreeMap::new());
            return Ok(InstallationReport { kind: "installation".into(), version: 1, packages, unchanged });
        }
        let upgraded = wanted.iter().map(|(name, _)| name.clone()).collect();
        self.install_named(&wanted, upgraded, options)
    }

    fn make_ready(
        &mut self,
        around: &Surroundings,
        registries: &[Registry],
        lock: Option<&Lockfile>,
        chosen: Chosen,
        options: &InstallOptions,
    ) -> Result<Ready> {
        let (registry, package) = offers::package(registries, &chosen.name, &chosen.version)?;
        let place = registry.place()?.join(&package.path);
        let fetched = self.fetch(&around.root, &place, options)?;
        let mut policy = Policy { allow_unsigned: false, ..around.policy.clone() };
        if let Some(key) = &registry.source.key {
            policy.keyring = policy.keyring.with(TrustedKey::parse(key, Path::new("the registry's key"))?);
        }
        let sha256 = verify(&fetched, &policy)?.sha256;
        if sha256 != package.sha256 {
            return Err(Error::untrusted("this is another package than the registry's index says")
                .on(fetched.source)
                .hint(format!("op-install registry refresh {}", registry.source.name)));
        }
        if let Some(lock) = lock {
            lock.must_hold(&chosen.name, &sha256)?;
        }
        Ok(Ready { chosen, fetched, policy })
    }

    /// Asks once when something comes along that nobody asked for.
    fn agree_to_company(&self, wanted: &[Wanted], ready: &[Ready], options: &InstallOptions) -> Result<()> {
        let company: Vec<&Chosen> = ready
            .iter()
            .map(|ready| &ready.chosen)
            .filter(|chosen| !wanted.iter().any(|(name, _)| *name == chosen.name))
            .collect();
        if company.is_empty() {
            return Ok(());
        }
        self.confirm(options.yes, &show_packages::company(wanted, &company))
    }
}

/// What the manifest of a package says, once its signature is good.
fn peek(fetched: &Fetched, policy: &Policy) -> Result<Manifest> {
    verify(fetched, policy)?;
    let mut memory = Memory::default();
    unpack(archive::decompress(&fetched.bytes)?, Limits::default(), &mut memory)?;
    Manifest::parse(&memory.text("plugin.toml")?.unwrap_or_default(), "plugin.toml")
}

/// The services of the bus, when anything there is to choose needs one.
fn services(world: &World, bus: &LazyBus) -> Result<Option<BTreeSet<String>>> {
    let mut needs = world.offers.values().flatten().flat_map(|candidate| candidate.dependencies.keys());
    if !needs.any(|name| name.contains('.')) {
        return Ok(None);
    }
    match LazyBus::force(bus) {
        Some(bus) => Ok(Some(names::available(bus)?.into_iter().collect())),
        None => Ok(None),
    }
}

/// Whether the active version of a plugin was installed from a package.
fn is_packaged(root: &StateRoot, catalog: &Catalog, name: &str) -> Result<bool> {
    if catalog.folder(name).is_none_or(|(origin, _)| origin != Origin::Installed) {
        return Ok(false);
    }
    let Ok(entry) = catalog.entry(name) else { return Ok(false) };
    let ledger = Ledger::read(root, &PluginName::new(name)?)?;
    let version = Version::parse(&entry.manifest.plugin.version);
    let active = version.map(|version| ledger.active(&version).to_string()).unwrap_or_default();
    Ok(ledger.versions.get(&active).is_some_and(|record| record.sha256.is_some()))
}

/// What was chosen, with what was there already.
fn lockfile(report: &InstallationReport, root: &StateRoot) -> Result<Lockfile> {
    let mut lock = Lockfile { kind: "lock".into(), version: 1, packages: BTreeMap::new() };
    for package in &report.packages {
        let (version, sha256) = (&package.proposal.plugin_version, &package.proposal.sha256);
        let locked = Locked { plugin_version: version.clone(), sha256: sha256.clone() };
        lock.packages.insert(package.proposal.plugin.clone(), locked);
    }
    for (name, version) in &report.unchanged {
        let ledger = Ledger::read(root, &PluginName::new(name)?)?;
        if let Some(sha256) = ledger.versions.get(version).and_then(|record| record.sha256.clone()) {
            lock.packages.insert(name.clone(), Locked { plugin_version: version.clone(), sha256 });
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files() {
        let parsed = |what: &str| parse_wanted(what).map(|w| w.map(|(name, versions)| format!("{name} {versions}")));
        for (what, expected) in [
            ("packagekit", Some("packagekit *")),
            ("packagekit@1.2.0", Some("packagekit =1.2.0")),
            ("packagekit@v1.2.0", Some("packagekit =1.2.0")),
            ("packagekit@^1.2", Some("packagekit ^1.2")),
            ("packagekit@>=1, <3", Some("packagekit >=1, <3")),
            ("./packagekit", None),
            ("packagekit-v1.0.0.btrfs.zst", None),
            ("https://example.org/packagekit-v1.0.0.btrfs.zst", None),
            ("file:/packagekit", None),
        ] {
            assert_eq!(parsed(what).unwrap().as_deref(), expected, "{what}");
        }
        assert!(parsed("packagekit@new").is_err());
    }
}

//! What the programs need for packages: keys, the way to the network, and the machine they are judged for.

use super::{Cli, show_packages};
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use crate::bus::Bus;
use crate::http::{Network, Proxies};
use crate::package::dependencies::must_not_be_needed;
use crate::package::fetch::{Fetched, Fetching, Place};
use crate::package::install::{InstallReport, InstallationReport, examine, install};
use crate::package::keyring::{Keyring, TrustedKey};
use crate::package::proposal::{LazyBus, Machine, Proposal};
use crate::package::registry::source::{self, Registry};
use crate::package::remove::{self, Needed};
use crate::package::rollback::{RollbackReport, rollback};
use crate::package::trail::{Trail, Verb, trust_changed};
use crate::package::verify::Policy;
use crate::package::{adopt, versions};
use crate::plugin::Catalog;
use crate::store::{StateRoot, Store, file};
use semver::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was said on the command line about installing.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// `--key`: these keys count, and no others.
    pub keys: Vec<String>,
    /// `--allow-unsigned`
    pub allow_unsigned: bool,
    /// `--allow-downgrade`
    pub allow_downgrade: bool,
    /// `--gpg`
    pub gpg: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--yes`
    pub yes: bool,
    /// `--lock`
    pub lock: Option<String>,
    /// `--lock-timeout`
    pub lock_timeout: Option<String>,
}

impl Cli {
    /// What is asked of packages: the keys that count are those named, else those in the folder of trusted keys.
    pub fn policy(&self, root: &StateRoot, options: &InstallOptions) -> Result<Policy> {
        let keyring = self.keyring(root, &options.keys)?;
        let gpg = options.gpg.then(StateRoot::trusted_gpg);
        Ok(Policy { keyring, allow_unsigned: options.allow_unsigned, gpg })
    }

    /// The keys that count, less what was revoked: by the list beside them, and by the lists of registries.
    pub fn keyring(&self, root: &StateRoot, keys: &[String]) -> Result<Keyring> {
        let folder = Keyring::of_folder(&StateRoot::trusted_keys());
        let mut keyring = match keys {
            [] => folder?,
            keys => {
                let mut named = Keyring::of_files(&keys.iter().map(PathBuf::from).collect::<Vec<_>>())?;
                named.revoke(folder?.revoked().clone());
                named
            }
        };
        for registry in source::all(root, &keyring)?.0 {
            keyring.revoke(registry.revoked.unwrap_or_default());
        }
        Ok(keyring)
    }

    /// The text of a public key's file, once it is one.
    pub fn public_key(&self, path: &str) -> Result<String> {
        let missing = || Error::bad_input("there is no such key file").on(path);
        let text = file::read(Path::new(path))?.ok_or_else(missing)?;
        TrustedKey::parse(&text, Path::new(path)).map(|_| text)
    }

    /// The way to the network.
    #[must_use]
    pub fn network(&self) -> Network {
        let text = |names: &[&str]| names.iter().find_map(|name| self.env.text(name)).map(str::to_owned);
        Network {
            certificates: self.env.get("SSL_CERT_FILE").map(PathBuf::from),
            proxies: Proxies {
                http: text(&["http_proxy"]),
                https: text(&["https_proxy", "HTTPS_PROXY"]),
                all: text(&["all_proxy", "ALL_PROXY"]),
                none: text(&["no_proxy", "NO_PROXY"]),
            },
            timeout: self.common.timeout,
        }
    }

    /// How to fetch.
    #[must_use]
    pub fn fetching(&self, root: &StateRoot, wants_gpg: bool) -> Fetching {
        Fetching { network: self.network(), downloads: Some(root.downloads()), wants_gpg }
    }

    /// Fetches what lies at `place`, with progress.
    pub fn fetch(&mut self, root: &StateRoot, place: &Place, options: &InstallOptions) -> Result<Fetched> {
        let fetching = self.fetching(root, options.gpg);
        let mut progress = self.out.progress();
        let fetched = fetching.package_at(place, &mut progress);
        progress.finish();
        fetched
    }

    /// A bus that is connected to when something is to be asked of it.
    #[must_use]
    pub fn lazy_bus(&self) -> LazyBus {
        let (target, timeout) = (self.common.bus.clone(), self.common.timeout);
        LazyBus::new(Box::new(move || Bus::connect(&target, timeout).ok()))
    }

    /// The registries that can be used; for each that cannot, a warning.
    pub fn registries(&mut self, root: &StateRoot, keyring: &Keyring) -> Result<Vec<Registry>> {
        let (good, bad) = source::all(root, keyring)?;
        for (source, error) in bad {
            self.out.warn(&format!("the registry {} is left out: {error}", source.name));
        }
        Ok(good)
    }

    /// Where changes of plugins are recorded.
    pub fn package_trail(&self, root: &StateRoot, verb: Verb) -> Result<Trail> {
        Trail::open(root, self.actor(), &self.program, verb)
    }

    /// Records a change of whom or what is asked and believed.
    pub fn record_trust(&self, root: &StateRoot, what: &str, about: serde_json::Value) -> Result<()> {
        trust_changed(root, self.actor(), &self.program, what, about)
    }

    /// The state root, locked to change its plugins. What a run before left open is ended.
    pub(super) fn package_store(&mut self, root: &StateRoot, trail: &Trail, options: &InstallOptions) -> Result<Store> {
        let store = self.store(root, options.lock_timeout.as_deref())?;
        trail.settle(&store)?;
        Ok(store)
    }

    /// Does something about packages, and records when it is refused; a dry run is none.
    pub(super) fn recorded<T>(
        &mut self,
        verb: Verb,
        what: &str,
        options: &InstallOptions,
        act: impl FnOnce(&mut Self, &StateRoot, &Trail) -> Result<T>,
    ) -> Result<T> {
        let root = self.root()?;
        let trail = self.package_trail(&root, verb)?;
        let done = act(self, &root, &trail);
        if let Err(error) = &done
            && matches!(error.kind, Kind::Untrusted | Kind::Refused)
            && !options.dry_run
        {
            trail.refusal(what, None, error);
        }
        done
    }

    /// Fetches, judges and, unless it is a dry run, installs the package at a path or URL, and what it needs and lacks.
    pub fn install_file(&mut self, what: &str, options: &InstallOptions) -> Result<InstallationReport> {
        let place = Place::of(what)?;
        // Without the password that an address may have.
        let shown = place.to_string();
        self.recorded(Verb::Install, &shown, options, |cli, root, trail| {
            let policy = cli.policy(root, options)?;
            let fetched = cli.fetch(root, &place, options).map_err(|e| e.or_on(&*shown))?;
            let store = if options.dry_run { None } else { Some(cli.package_store(root, trail, options)?) };
            let (catalog, bus) = (cli.catalog(root)?, cli.lazy_bus());
            let around = Surroundings { root: root.clone(), store, bus, policy, coming: BTreeMap::new() };
            if let Some(report) = cli.install_with_needs(&around, trail, &catalog, &fetched, options)? {
                return Ok(report);
            }
            let report = cli.install_fetched(&around, trail, &catalog, &fetched, options)?;
            let (packages, unchanged) = (vec![report], BTreeMap::new());
            Ok(InstallationReport { kind: "installation".into(), version: 1, packages, unchanged })
        })
    }

    /// Judges and, where there is a store, installs what was fetched.
    pub(super) fn install_fetched(
        &mut self,
        around: &Surroundings,
        trail: &Trail,
        catalog: &Catalog,
        fetched: &Fetched,
        options: &InstallOptions,
    ) -> Result<InstallReport> {
        self.install_judged(around, trail, &around.machine(catalog, options), fetched, &around.policy, options)
    }

    /// The same with the machine it is judged for.
    pub(super) fn install_judged(
        &mut self,
        around: &Surroundings,
        trail: &Trail,
        machine: &Machine<'_>,
        fetched: &Fetched,
        policy: &Policy,
        options: &InstallOptions,
    ) -> Result<InstallReport> {
        match &around.store {
            None => examine(machine, fetched, policy),
            Some(store) => install(store, trail, machine, fetched, policy, &mut |p| self.agree(options.yes, p)),
        }
    }

    /// Looks at a version that was put into the state root by hand, and makes it active.
    pub fn adopt(
        &mut self,
        name: &str,
        version: Option<&str>,
        package: Option<&str>,
        options: &InstallOptions,
    ) -> Result<InstallReport> {
        let name = PluginName::new(name)?;
        let version = version.map(versions::parse).transpose()?;
        self.recorded(Verb::Adopt, name.as_str(), options, |cli, root, trail| {
            let policy = cli.policy(root, options)?;
            let package = match package {
                Some(what) => Some(cli.fetch(root, &Place::of(what)?, options)?),
                None => None,
            };
            let store = cli.package_store(root, trail, options)?;
            let received = adopt::find(root, &name, version.as_ref())?;
            let (catalog, bus) = (cli.catalog(root)?, cli.lazy_bus());
            let around = Surroundings { root: root.clone(), store: None, bus, policy, coming: BTreeMap::new() };
            let machine = around.machine(&catalog, options);
            let mut agree = |proposal: &Proposal| cli.agree(options.yes, proposal);
            adopt::adopt(&store, trail, &machine, &received, package, &around.policy, &mut agree)
        })
    }

    /// Makes another installed version active.
    pub fn roll_back(&mut self, name: &str, to: Option<&str>, options: &InstallOptions) -> Result<RollbackReport> {
        let name = PluginName::new(name)?;
        let to = to.map(versions::parse).transpose()?;
        self.recorded(Verb::Rollback, name.as_str(), options, |cli, root, trail| {
            let store = cli.package_store(root, trail, options)?;
            rollback(&store, trail, &name, to.as_ref())
        })
    }

    /// Removes a plugin, or one version of it.
    pub fn remove(
        &mut self,
        name: &PluginName,
        version: Option<&Version>,
        needed: Needed,
        options: &InstallOptions,
    ) -> Result<()> {
        self.recorded(Verb::Remove, name.as_str(), options, |cli, root, trail| {
            if let Some(version) = version {
                cli.confirm(options.yes, &format!("This removes version {version} of {name}."))?;
                let store = cli.package_store(root, trail, options)?;
                return remove::remove_version(&store, trail, name, version);
            }
            remove::must_be_installed(root, name)?;
            let catalog = cli.catalog(root)?;
            if needed == Needed::Refuse {
                must_not_be_needed(&catalog, name)?;
            }
            let plugin = root.plugin(name);
            let text = format!("This removes {} and everything in it, and all its versions.", plugin.display());
            cli.confirm(options.yes, &text)?;
            let store = cli.package_store(root, trail, options)?;
            // It may be needed since the question was asked.
            remove::remove(&store, trail, &cli.catalog(root)?, name, needed)
        })
    }

    fn agree(&self, has_said_yes: bool, proposal: &Proposal) -> Result<()> {
        let text = show_packages::proposal(proposal);
        self.confirm(has_said_yes, &text).map_err(|error| match error.kind {
            Kind::Refused if error.hint.is_some() => {
                let reasons = proposal.reasons.join("; ");
                Error { message: format!("{} ({reasons})", error.message), ..error }.on(proposal.plugin.clone())
            }
            _ => error,
        })
    }
}

/// What a package is judged with.
pub(super) struct Surroundings {
    pub(super) root: StateRoot,
    /// The root, locked; none for a dry run.
    pub(super) store: Option<Store>,
    pub(super) bus: LazyBus,
    pub(super) policy: Policy,
    pub(super) coming: BTreeMap<String, Version>,
}

impl Surroundings {
    pub(super) fn machine<'a>(&'a self, catalog: &'a Catalog, options: &InstallOptions) -> Machine<'a> {
        Machine {
            root: &self.root,
            catalog,
            bus: &self.bus,
            allow_downgrade: options.allow_downgrade,
            coming: self.coming.clone(),
        }
    }
}

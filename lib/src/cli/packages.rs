//! What the programs need for packages: keys, the way to the network, and the machine they are judged for.

use super::{Cli, show_packages};
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use crate::bus::Bus;
use crate::http::{Network, Proxies};
use crate::package::fetch::{Fetched, Fetching, Place};
use crate::package::install::{InstallReport, examine, install};
use crate::package::keyring::{Keyring, TrustedKey};
use crate::package::proposal::{LazyBus, Machine, Proposal};
use crate::package::registry::source::{self, Registry};
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

    /// Fetches, judges and, unless it is a dry run, installs the package at a path or URL.
    pub fn install_file(&mut self, what: &str, options: &InstallOptions) -> Result<InstallReport> {
        let root = self.root()?;
        let policy = self.policy(&root, options)?;
        let place = Place::of(what)?;
        let fetched = self.fetch(&root, &place, options).map_err(|e| e.or_on(what))?;
        let store = if options.dry_run { None } else { Some(self.store(&root, options.lock_timeout.as_deref())?) };
        let (catalog, bus) = (self.catalog(&root)?, self.lazy_bus());
        let coming = BTreeMap::new();
        self.install_fetched(&Surroundings { root, store, bus, policy, coming }, &catalog, &fetched, options)
    }

    /// Judges and, where there is a store, installs what was fetched.
    pub(super) fn install_fetched(
        &mut self,
        around: &Surroundings,
        catalog: &Catalog,
        fetched: &Fetched,
        options: &InstallOptions,
    ) -> Result<InstallReport> {
        let machine = around.machine(catalog, options);
        match &around.store {
            None => examine(&machine, fetched, &around.policy),
            Some(store) => install(store, &machine, fetched, &around.policy, &mut |p| self.agree(options.yes, p)),
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
        let root = self.root()?;
        let name = PluginName::new(name)?;
        let version = version.map(versions::parse).transpose()?;
        let policy = self.policy(&root, options)?;
        let package = match package {
            Some(what) => Some(self.fetch(&root, &Place::of(what)?, options)?),
            None => None,
        };
        let store = self.store(&root, options.lock_timeout.as_deref())?;
        let received = adopt::find(&root, &name, version.as_ref())?;
        let (catalog, bus) = (self.catalog(&root)?, self.lazy_bus());
        let around = Surroundings { root, store: None, bus, policy, coming: BTreeMap::new() };
        let machine = around.machine(&catalog, options);
        adopt::adopt(&store, &machine, &received, package, &around.policy, &mut |p| self.agree(options.yes, p))
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
    fn machine<'a>(&'a self, catalog: &'a Catalog, options: &InstallOptions) -> Machine<'a> {
        Machine {
            root: &self.root,
            catalog,
            bus: &self.bus,
            allow_downgrade: options.allow_downgrade,
            coming: self.coming.clone(),
        }
    }
}

//! What the programs need for packages: keys, the way to the network, and the machine they are judged for.

use super::{Cli, show_packages};
use crate::base::{Error, Kind, Result};
use crate::http::{Network, Proxies};
use crate::package::fetch::{Fetched, Fetching};
use crate::package::install::{InstallReport, examine, install};
use crate::package::keyring::Keyring;
use crate::package::proposal::{LazyBus, Machine, Proposal};
use crate::package::verify::Policy;
use crate::store::StateRoot;
use std::path::PathBuf;

/// What was said on the command line about installing.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// `--key`: these keys count, and no others.
    pub keys: Vec<String>,
    /// `--allow-unsigned`
    pub allow_unsigned: bool,
    /// `--allow-downgrade`
    pub allow_downgrade: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--yes`
    pub yes: bool,
    /// `--lock-timeout`
    pub lock_timeout: Option<String>,
}

impl Cli {
    /// The keys that count: those named, else those in the folder of trusted keys.
    pub fn policy(&self, keys: &[String], allow_unsigned: bool) -> Result<Policy> {
        let files: Vec<PathBuf> = keys.iter().map(PathBuf::from).collect();
        let keyring =
            if files.is_empty() { Keyring::of_folder(&StateRoot::trusted_keys())? } else { Keyring::of_files(&files)? };
        Ok(Policy { keyring, allow_unsigned })
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

    /// Fetches what `what` names, with progress.
    pub fn fetch(&mut self, root: &StateRoot, what: &str) -> Result<Fetched> {
        let fetching = Fetching { network: self.network(), downloads: Some(root.downloads()), wants_gpg: false };
        let mut progress = self.out.progress();
        let fetched = fetching.package(what, &mut progress);
        progress.finish();
        fetched
    }

    /// Fetches, judges and, unless it is a dry run, installs what `what` names.
    pub fn install(&mut self, what: &str, options: &InstallOptions) -> Result<InstallReport> {
        let root = self.root()?;
        let policy = self.policy(&options.keys, options.allow_unsigned)?;
        let fetched = self.fetch(&root, what)?;
        let store = if options.dry_run { None } else { Some(self.store(&root, options.lock_timeout.as_deref())?) };
        let catalog = self.catalog(&root)?;
        let (target, timeout) = (self.common.bus.clone(), self.common.timeout);
        let bus: LazyBus = LazyBus::new(Box::new(move || crate::bus::Bus::connect(&target, timeout).ok()));
        let machine = Machine { root: &root, catalog: &catalog, bus: &bus, allow_downgrade: options.allow_downgrade };
        match &store {
            None => examine(&machine, &fetched, &policy),
            Some(store) => {
                install(store, &machine, &fetched, &policy, &mut |proposal| self.agree(options.yes, proposal))
            }
        }
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

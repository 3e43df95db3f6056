//! What installing a package would do: judged in memory or in a folder, before anything becomes active.

use super::check::{Checked, Files, check};
use super::contents::Contents;
use super::ledger::{Ledger, SignedBy};
use super::powers::{Powers, PowersChange};
use super::stream::Unpacked;
use super::trust::Trust;
use super::verify::Verified;
use super::{dependencies, fetch::Fetched};
use crate::base::{Error, Kind, Result};
use crate::bus::{Bus, names};
use crate::plugin::manifest::Source;
use crate::plugin::{Catalog, GenericPlugin, Origin};
use crate::store::StateRoot;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::cell::LazyCell;
use std::collections::BTreeMap;

/// What is known of the machine the package would be installed on.
pub struct Machine<'a> {
    /// The state root.
    pub root: &'a StateRoot,
    /// The plugins there are.
    pub catalog: &'a Catalog,
    /// The bus, connected to when something is to be asked.
    pub bus: &'a LazyBus,
    /// Whether an older version may replace a newer one.
    pub allow_downgrade: bool,
    /// Plugins that this run installs, too.
    pub coming: BTreeMap<String, Version>,
}

/// A bus that is connected to when it is first needed; `None` when there is none.
pub type LazyBus = LazyCell<Option<Bus>, Box<dyn FnOnce() -> Option<Bus>>>;

impl Machine<'_> {
    /// The bus, when there is one to be asked.
    #[must_use]
    pub fn bus(&self) -> Option<&Bus> {
        LazyBus::force(self.bus).as_ref()
    }
}

/// What installing a package would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Proposal {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub plugin_version: String,
    /// How far it would be trusted.
    pub trust: Trust,
    /// Where it comes from.
    pub source: String,
    /// SHA-256 of the package.
    pub sha256: String,
    /// The tree digest.
    pub tree: String,
    /// The key it is signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<SignedBy>,
    /// What it would take the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
    /// What changes in what the plugin may do.
    #[serde(flatten)]
    pub change: PowersChange,
    /// What its plugin.toml claims and is not so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
    /// Why somebody has to agree; nobody has to when there is no reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What a package takes the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Replaced {
    /// Its version.
    pub plugin_version: String,
    /// How far it is trusted.
    pub trust: Trust,
    /// `installed` or `shipped`.
    pub origin: String,
}

/// What was found out about a package.
pub struct Judged {
    /// The plugin in it.
    pub checked: Checked,
    /// What installing it would do.
    pub proposal: Proposal,
}

/// Judges a package that was verified and unpacked; `read` gives the text of its files.
pub fn judge(
    machine: &Machine<'_>,
    fetched: &Fetched,
    verified: &Verified,
    unpacked: &Unpacked,
    contents: &Contents,
    read: &dyn Fn(&str) -> Result<Option<String>>,
) -> Result<Judged> {
    let tree = contents.digest();
    let binding = verified.signed.as_ref().map(|signed| &signed.binding);
    if binding.and_then(|binding| binding.tree.as_ref()).is_some_and(|signed| *signed != tree) {
        return Err(Error::untrusted("the package holds another tree than its signature says").on(tree));
    }
    let checked = check(&Files::of(contents, read))?;
    checked.must_be(binding, &fetched.file_name, &unpacked.subvolume.name)?;
    dependencies::check(&checked.manifest, machine)?;
    dependencies::must_fit(machine.catalog, &checked.name, Some(&checked.version), &machine.coming)
        .map_err(|error| error.hint("install versions of both that fit together by name, or remove the other first"))?;
    check_service(&checked, machine)?;
    let (replaces, powers_before, key_before) = before(machine, &checked)?;
    let replaced = replaces.as_ref().filter(|replaced| replaced.origin == Origin::Installed.as_str());
    if let Some(old) = replaced.and_then(|replaced| Version::parse(&replaced.plugin_version).ok())
        && old > checked.version
        && !machine.allow_downgrade
    {
        return Err(Error::refused(format!("version {old} is installed, and this is the older {}", checked.version))
            .on(checked.name.as_str())
            .hint(format!(
                "say --allow-downgrade; a version that was installed before is back with: op-install rollback {} --to {}",
                checked.name, checked.version
            )));
    }
    let change = Powers::of(checked.mapping.as_ref()).since(&powers_before);
    let trust = verified.trust();
    let is_built_in = checked.manifest.plugin.source == Source::BuiltIn;
    let can_apply = is_built_in || checked.mapping.as_ref().is_some_and(crate::plugin::Mapping::can_write);
    let proposal = Proposal {
        plugin: checked.name.to_string(),
        plugin_version: checked.version.to_string(),
        trust,
        source: fetched.source.clone(),
        sha256: verified.sha256.clone(),
        tree,
        signed_by: SignedBy::of(verified),
        reasons: reasons(replaces.as_ref(), trust, &change, key_before.as_ref(), SignedBy::of(verified).as_ref()),
        replaces,
        contradictions: checked.manifest.contradictions(can_apply),
        change,
    };
    Ok(Judged { checked, proposal })
}

/// What is there now under the plugin's name, what it may do, and who signed it.
fn before(machine: &Machine<'_>, checked: &Checked) -> Result<(Option<Replaced>, Powers, Option<SignedBy>)> {
    // One that cannot be read is replaced like none: it can do nothing.
    let Ok(entry) = machine.catalog.entry(checked.name.as_str()) else { return Ok((None, Powers::default(), None)) };
    let version = Version::parse(&entry.manifest.plugin.version)
        .map_err(|e| Error::failed(format!("the installed version cannot be read: {e}")))?;
    let (version, trust, key) = match entry.origin {
        Origin::Shipped => (version, Trust::Core, None),
        Origin::Installed => {
            let ledger = Ledger::read(machine.root, &checked.name)?;
            let version = ledger.active(&version);
            let record = ledger.versions.get(&version.to_string());
            let trust = record.map_or(Trust::Generated, |record| record.trust);
            let key = record.and_then(|record| record.signed_by.clone());
            (version, trust, key)
        }
    };
    let replaced = Replaced { plugin_version: version.to_string(), trust, origin: entry.origin.as_str().to_owned() };
    Ok((Some(replaced), Powers::of(entry.mapping.as_ref()), key))
}

/// Why somebody has to agree: what was trusted more gives way, or what is there may do more than before.
fn reasons(
    replaces: Option<&Replaced>,
    trust: Trust,
    change: &PowersChange,
    key_before: Option<&SignedBy>,
    key: Option<&SignedBy>,
) -> Vec<String> {
    let Some(replaced) = replaces else { return Vec::new() };
    let mut reasons = Vec::new();
    if replaced.trust < trust {
        reasons.push(format!(
            "it takes the place of the {} version {}, which is trusted more ({} > {trust})",
            replaced.origin, replaced.plugin_version, replaced.trust
        ));
    }
    if let (Some(before), Some(key)) = (key_before, key)
        && before.key != key.key
    {
        reasons.push(format!("it is signed with another key than the version before ({})", before.key));
    }
    // What was made here could do nothing, and whoever installs a package wants it to.
    if replaced.trust != Trust::Generated && !change.gained.is_empty() {
        reasons.push("it may do more than the version before".to_owned());
    }
    reasons
}

/// Compares the mapping's fingerprint with the service, if that is running.
fn check_service(checked: &Checked, machine: &Machine<'_>) -> Result<()> {
    let Some(mapping) = checked.mapping.as_ref().filter(|mapping| !mapping.file.fingerprint.is_empty()) else {
        return Ok(());
    };
    let Some(bus) = machine.bus().filter(|bus| names::owner_of(bus, &mapping.service).is_ok()) else { return Ok(()) };
    let plugin = GenericPlugin::new(&checked.manifest, Some(mapping.clone()));
    match plugin.check_fingerprint(bus) {
        Err(error) if error.kind != Kind::InterfaceChanged => Ok(()),
        checked => checked,
    }
}

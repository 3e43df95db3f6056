//! Packages and the versions of plugins for people, or as documents.

use super::Out;
use super::named::Wanted;
use crate::base::{Result, size};
use crate::package::install::{InstallOutcome, InstallReport, InstallationReport};
use crate::package::proposal::Proposal;
use crate::package::publish::PublishReport;
use crate::package::resolve::Chosen;
use crate::package::revocation::Revocations;
use crate::package::rollback::RollbackReport;
use crate::package::versions::{PluginReport, Verdict, VerifyReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What `op-snapshot keygen` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeysReport {
    /// Always `keys`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The number of the key.
    pub key: String,
    /// The file of the secret key.
    pub secret: String,
    /// The file of the public key.
    pub public: String,
    /// Whether the secret key has a password.
    pub is_protected: bool,
}

/// What `op-snapshot revoke` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RevokedReport {
    /// Always `revoked`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The list.
    pub list: String,
    /// Its number.
    pub number: u64,
    /// The keys that count no longer, and why.
    pub keys: BTreeMap<String, String>,
    /// The packages that count no longer, and why.
    pub packages: BTreeMap<String, String>,
}

/// Prints what was installed, or would be.
pub fn installed(out: &mut Out, report: &InstallReport) -> Result<()> {
    for claim in &report.proposal.contradictions {
        out.warn(claim);
    }
    if out.look().is_json {
        return out.document(report);
    }
    out.text(&lines(report))
}

/// Prints what was installed by name, or would be.
pub fn installation(out: &mut Out, report: &InstallationReport) -> Result<()> {
    for claim in report.packages.iter().flat_map(|package| &package.proposal.contradictions) {
        out.warn(claim);
    }
    if out.look().is_json {
        return out.document(report);
    }
    let mut text: String = report.packages.iter().map(lines).collect();
    let stays = report.unchanged.iter().map(|(name, version)| format!("{name} {version} is installed and stays.\n"));
    text.extend(stays);
    if text.is_empty() {
        text.push_str("Nothing is installed from packages.\n");
    }
    out.text(&text)
}

/// What comes along with what is asked for, as text.
#[must_use]
pub fn company(wanted: &[Wanted], company: &[&Chosen]) -> String {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("With {}, because it needs them, come:\n", names.join(", "));
    text.extend(company.iter().map(|chosen| format!("  {} {}\n", chosen.name, chosen.version)));
    text
}

fn lines(report: &InstallReport) -> String {
    let Proposal { plugin, plugin_version, .. } = &report.proposal;
    let mut text = match report.outcome {
        InstallOutcome::Installed => format!("Installed {plugin} {plugin_version} in {}\n", report.folder),
        InstallOutcome::Unchanged => format!("Nothing to do: {plugin} {plugin_version} is installed and active.\n"),
        InstallOutcome::WouldInstall => proposal(&report.proposal),
    };
    if let Some(kept) = &report.draft_kept_as {
        text.push_str(&format!("The draft that was there is kept as {kept}: op-install rollback {plugin}\n"));
    }
    text
}

/// What installing a package would do, as text.
#[must_use]
pub fn proposal(proposal: &Proposal) -> String {
    let Proposal { plugin, plugin_version, trust, source, .. } = proposal;
    let mut text = format!("{plugin} {plugin_version} from {source}\n  trust: {trust}");
    match &proposal.signed_by {
        Some(key) => text.push_str(&format!(", signed with {} ({})\n", key.key, key.comment)),
        None => text.push_str(", signed by nobody who is trusted\n"),
    }
    if let Some(replaced) = &proposal.replaces {
        let (version, trust) = (&replaced.plugin_version, replaced.trust);
        text.push_str(&format!("  takes the place of: {} version {version} ({trust})\n", replaced.origin));
    }
    for (heading, lines) in [
        ("It may now", &proposal.change.gained),
        ("It may no longer", &proposal.change.lost),
        ("To be agreed to, since", &proposal.reasons),
    ] {
        if !lines.is_empty() {
            text.push_str(&format!("{heading}:\n"));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    }
    text
}

/// Prints everything about one plugin.
pub fn plugin(out: &mut Out, report: &PluginReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let PluginReport { plugin, plugin_version, trust, .. } = report;
    let mut text = format!(
        "{plugin} {plugin_version}: {}\n  {}, {trust}, in {}\n",
        report.description, report.origin, report.folder
    );
    if let Some(service) = &report.service {
        text.push_str(&format!("  service: {service}\n"));
    }
    if report.may.is_empty() {
        text.push_str("It may read properties, and nothing else.\n");
    } else {
        text.push_str("It may:\n");
        text.extend(report.may.iter().map(|line| format!("  {line}\n")));
    }
    out.text(&text)?;
    if report.versions.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = report
        .versions
        .iter()
        .map(|version| {
            let record = version.record.as_ref();
            let key = record.and_then(|record| record.signed_by.as_ref());
            vec![
                version.plugin_version.clone(),
                if version.is_active { "yes" } else { "" }.into(),
                record.map(|record| record.trust.to_string()).unwrap_or_default(),
                key.map(|key| key.key.clone()).unwrap_or_default(),
                record.map_or_else(|| "by hand".into(), |record| record.source.clone()),
            ]
        })
        .collect();
    out.table(&["VERSION", "ACTIVE", "TRUST", "KEY", "FROM"], &rows)
}

/// Prints which version is active now.
pub fn rolled_back(out: &mut Out, report: &RollbackReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let RollbackReport { plugin, to, from, .. } = report;
    match from {
        Some(from) if from == to => out.text(&format!("Nothing to do: {plugin} {to} is active.\n")),
        Some(from) => out.text(&format!("{plugin} is {to} again; it was {from}.\n")),
        None => out.text(&format!("{plugin} is {to}.\n")),
    }
}

/// Prints whether what is installed is what was signed.
pub fn verified(out: &mut Out, report: &VerifyReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let rows: Vec<Vec<String>> = report
        .versions
        .iter()
        .map(|version| {
            let verdict = match version.verdict {
                Verdict::Good => "good",
                Verdict::Unsigned => "unsigned",
                Verdict::Bad => "BAD",
            };
            vec![
                version.plugin.clone(),
                version.plugin_version.clone(),
                if version.is_active { "yes" } else { "" }.into(),
                verdict.into(),
                version.detail.clone().unwrap_or_default(),
            ]
        })
        .collect();
    out.table(&["PLUGIN", "VERSION", "ACTIVE", "IT IS", "WHY"], &rows)
}

/// Prints which keys were made.
pub fn keys(out: &mut Out, id: &str, secret: &Path, public: &Path, is_protected: bool) -> Result<()> {
    if out.look().is_json {
        return out.document(&KeysReport {
            kind: "keys".into(),
            version: 1,
            key: id.into(),
            secret: secret.display().to_string(),
            public: public.display().to_string(),
            is_protected,
        });
    }
    let secret = secret.display();
    let hint = if is_protected { "" } else { "\nWhoever reads it can sign in your name: it has no password." };
    out.text(&format!("Made the key {id}.\n{secret} is secret.{hint}\n{} is for everybody.\n", public.display()))
}

/// Prints which list was written.
pub fn revoked(out: &mut Out, path: &Path, list: &Revocations) -> Result<()> {
    if out.look().is_json {
        return out.document(&RevokedReport {
            kind: "revoked".into(),
            version: 1,
            list: path.display().to_string(),
            number: list.number,
            keys: list.keys.clone(),
            packages: list.packages.clone(),
        });
    }
    let (keys, packages) = (list.keys.len(), list.packages.len());
    out.text(&format!(
        "{}: list number {} of {keys} keys and {packages} packages\nPut it and its .minisig beside the registry's \
         index.json, or have it taken over: op-install keys revoked FILE\n",
        path.display(),
        list.number
    ))
}

/// Prints what was published.
pub fn published(out: &mut Out, report: &PublishReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let PublishReport { plugin, plugin_version, package, sha256, tree, .. } = report;
    let size = size::for_people(report.size_bytes);
    let signature = match (&report.signature, &report.key) {
        (Some(signature), Some(key)) => format!("{signature}, with the key {key}"),
        _ => "none: it can be installed with --allow-unsigned only".into(),
    };
    out.text(&format!(
        "Published {plugin} {plugin_version}\n  package:   {package} ({size})\n  signature: {signature}\n  sha256:    {sha256}\n  \
         tree:      {tree}\n"
    ))
}

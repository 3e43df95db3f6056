//! Registries and keys for people, or as documents.

use super::Out;
use crate::base::Result;
use crate::package::keyring::Keyring;
use crate::package::registry::build::BuildReport;
use crate::package::registry::mirror::MirrorReport;
use crate::package::registry::offers::SearchReport;
use crate::package::registry::source::RegistriesReport;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// What `op-install keys` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyringReport {
    /// Always `keyring`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The keys.
    pub keys: Vec<KeyReport>,
}

/// One key of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyReport {
    /// Its number.
    pub key: String,
    /// Its comment.
    pub comment: String,
    /// The file it is in.
    pub file: String,
    /// Whether signatures made with it count now.
    pub counts: bool,
    /// The last day on which it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Why it was revoked, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

impl KeyringReport {
    /// What is said of a ring.
    #[must_use]
    pub fn of(keyring: &Keyring) -> Self {
        let now = SystemTime::now();
        let report = |key: &crate::package::keyring::TrustedKey| {
            let revoked = keyring.revoked().keys.get(&key.id).cloned();
            KeyReport {
                key: key.id.clone(),
                comment: key.comment.clone(),
                file: key.file.display().to_string(),
                counts: revoked.is_none() && !key.has_expired(now),
                expires: key.expires.clone(),
                revoked,
            }
        };
        Self { kind: "keyring".into(), version: 1, keys: keyring.keys().iter().map(report).collect() }
    }
}

/// Prints the keys that are trusted.
pub fn keyring(out: &mut Out, report: &KeyringReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let row = |key: &KeyReport| {
        let state = match (&key.revoked, key.counts) {
            (Some(why), _) => format!("revoked: {why}"),
            (None, false) => "expired".into(),
            (None, true) => "yes".into(),
        };
        vec![key.key.clone(), state, key.expires.clone().unwrap_or_default(), key.comment.clone(), key.file.clone()]
    };
    out.table(&["KEY", "COUNTS", "EXPIRES", "COMMENT", "FILE"], &report.keys.iter().map(row).collect::<Vec<_>>())
}

/// Prints the registries that are asked.
pub fn registries(out: &mut Out, report: &RegistriesReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let rows: Vec<Vec<String>> = report
        .registries
        .iter()
        .map(|registry| {
            vec![
                registry.name.clone(),
                registry.url.clone(),
                registry.number.to_string(),
                registry.expires_at.clone(),
                registry.packages.to_string(),
                registry.key.clone().unwrap_or_default(),
            ]
        })
        .collect();
    out.table(&["REGISTRY", "URL", "NUMBER", "CURRENT UNTIL", "PACKAGES", "KEY"], &rows)?;
    for registry in &report.registries {
        if let Some(problem) = &registry.problem {
            out.warn(&format!("{}: {problem}", registry.name));
        }
    }
    Ok(())
}

/// Prints what was made.
pub fn built(out: &mut Out, report: &BuildReport) -> Result<()> {
    for path in &report.unchecked {
        out.warn(&format!("{path}: its signature is by a key that is not known here and was not checked"));
    }
    if out.look().is_json {
        return out.document(report);
    }
    out.text(&format!(
        "{}: {} packages of {}, number {}, current until {}, signed with {}\n",
        report.index, report.packages, report.registry, report.number, report.expires_at, report.key
    ))
}

/// Prints what was found.
pub fn found(out: &mut Out, report: &SearchReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let rows: Vec<Vec<String>> = report
        .found
        .iter()
        .map(|found| {
            let is_yanked = found.versions.get(&found.plugin_version).is_some_and(Option::is_some);
            vec![
                found.name.clone(),
                format!("{}{}", found.plugin_version, if is_yanked { " (taken back)" } else { "" }),
                found.present.clone().unwrap_or_default(),
                if found.can_apply { "query, apply" } else { "query" }.into(),
                found.trust.to_string(),
                found.registry.clone(),
                found.description.clone(),
            ]
        })
        .collect();
    out.table(&["PLUGIN", "NEWEST", "HERE", "CAN", "TRUST", "REGISTRY", "ABOUT"], &rows)
}

/// Prints what was copied.
pub fn mirrored(out: &mut Out, report: &MirrorReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    out.text(&format!(
        "{} number {} is in {}: {} packages fetched, {} were there\n",
        report.registry, report.number, report.folder, report.fetched, report.unchanged
    ))
}

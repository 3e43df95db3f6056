//! Another installed version is made active again, in one step.

use super::contents::Contents;
use super::install::{active_version, is_draft, keep_draft, switch};
use super::ledger::{self, DRAFT, Ledger};
use super::standby;
use super::stream::Limits;
use super::trail::{Change, Trail};
use super::versions::snapshots;
use crate::base::name::PluginName;
use crate::base::{Error, Kind, Result};
use crate::store::{Access, Store};
use semver::Version;
use serde::{Deserialize, Serialize};

/// What `op-install rollback` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RollbackReport {
    /// Always `rolled_back`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name.
    pub plugin: String,
    /// The version that was active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version that is active.
    pub to: String,
    /// The name of this run in the audit trail; absent when it was so before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Makes another installed version active: `to`, else the one that was active before this one.
pub fn rollback(store: &Store, trail: &Trail, name: &PluginName, to: Option<&Version>) -> Result<RollbackReport> {
    let done = roll_back(store, trail, name, to);
    if let Err(error) = &done
        && error.kind != Kind::BadInput
    {
        trail.refusal(name.as_str(), Some(name), error);
    }
    done
}

fn roll_back(store: &Store, trail: &Trail, name: &PluginName, to: Option<&Version>) -> Result<RollbackReport> {
    let root = store.root();
    let mut ledger = Ledger::read(root, name)?;
    let active = root.plugin(name);
    let from = active_version(&active, &ledger);
    let target = choose(store, name, to, &ledger, from.as_ref())?;
    let report = |from: Option<&Version>, run: Option<String>| RollbackReport {
        kind: "rolled_back".into(),
        version: 1,
        plugin: name.to_string(),
        from: from.map(ToString::to_string),
        to: target.to_string(),
        run,
    };
    if from.as_ref() == Some(&target) {
        return Ok(report(from.as_ref(), None));
    }
    let tree = |version: &Version| ledger.versions.get(&version.to_string()).and_then(|record| record.tree.clone());
    let after = Some((target.clone(), tree(&target)));
    let before = from.clone().map(|from| (from.clone(), tree(&from)));
    let to_draft = ledger.versions.get(&target.to_string()).is_some_and(|record| record.source == DRAFT);
    let run = trail.begin(store, name, &Change { before, after, ..Change::default() })?;
    let done = (|| {
        ledger::prepare(store)?;
        let incoming = match standby::of(store, name, &target, &ledger) {
            Some(standby) => standby,
            None => {
                must_be_whole(store, name, &target, &ledger)?;
                let access = if to_draft { Access::Writable } else { Access::ReadOnly };
                let staging = store.staging(root.path(), name.as_str());
                store.volumes().snapshot(&root.plugin_snapshot(name, &target), &staging, access)?;
                staging
            }
        };
        let mut from = from.clone();
        if is_draft(store.volumes(), &active, &ledger, from.as_ref())? {
            from = Some(keep_draft(store, name, &mut ledger, &active, from.as_ref())?);
        }
        let was_noted = ledger.active.clone();
        ledger.activate(&target, from.as_ref());
        ledger.write_ahead(store, name)?;
        if let Err(error) = switch(store, name, &incoming) {
            // What it says of the active version is told apart from what is active by this alone.
            let _ = Ledger { active: was_noted, ..ledger }.write(store, name);
            return Err(error);
        }
        Ok(from)
    })();
    let (run, from) = run.end(store, done)?;
    Ok(report(from.as_ref(), Some(run)))
}

/// The version that is meant; it is there, and somebody looked at it.
fn choose(
    store: &Store,
    name: &PluginName,
    to: Option<&Version>,
    ledger: &Ledger,
    from: Option<&Version>,
) -> Result<Version> {
    let there = snapshots(store.root(), name)?;
    let list = there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() { "no other version is installed".into() } else { format!("installed are: {list}") };
    let before = || {
        let mut history = ledger.history.iter().rev().filter_map(|version| Version::parse(version).ok());
        history.find(|version| Some(version) != from && there.contains(version))
    };
    let target = to.cloned().or_else(before).ok_or_else(|| {
        Error::bad_input("no version was active before this one")
            .on(name.as_str())
            .hint(format!("{list}; say --to VERSION"))
    })?;
    if !there.contains(&target) {
        return Err(Error::bad_input(format!("version {target} is not installed")).on(name.as_str()).hint(list));
    }
    if from != Some(&target) && !ledger.versions.contains_key(&target.to_string()) {
        return Err(Error::untrusted("this version was put here by hand, and nobody looked at it yet")
            .on(format!("{name} {target}"))
            .hint(format!("op-install adopt {name} --version {target}")));
    }
    Ok(target)
}

/// Refuses a version that is not what was installed: what is known of it says nothing about what lies there.
fn must_be_whole(store: &Store, name: &PluginName, version: &Version, ledger: &Ledger) -> Result<()> {
    let Some(tree) = ledger.versions.get(&version.to_string()).and_then(|record| record.tree.as_ref()) else {
        return Ok(());
    };
    let path = store.root().plugin_snapshot(name, version);
    if Contents::of_folder(&path, Limits::default())?.digest() == *tree {
        return Ok(());
    }
    Err(Error::untrusted("this version is not what was installed").on(path.display().to_string()).hint(format!(
        "op-install verify {name} says what differs; remove it, and install it again: op-install remove {name} --version {version}"
    )))
}

//! Hourly snapshots of the cache: `@cache-snapshots/cache@YYYY-MM-DD-HH:00`, UTC, the newest 24 that exist.
//!
//! Names are all there is: nothing else records what was taken when, so what is deleted by hand is simply gone, and a
//! crash between making one and deleting another is mended by the next run.

use super::volumes::{Access, Volume, is_staging};
use super::{StateRoot, Store, Volumes};
use crate::base::time::{Hour, rfc3339};
use crate::base::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How many snapshots are kept.
pub const KEPT: usize = 24;
const PREFIX: &str = "cache@";

/// What `op-snapshot rotate` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rotation {
    /// Always `rotation`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The snapshot that was made; absent when this hour has one, or there is no cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// The snapshots that were deleted, in this order.
    pub deleted: Vec<String>,
    /// How many there are now.
    pub kept: usize,
}

/// What `op-snapshot list` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshots {
    /// Always `snapshots`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The snapshots, the oldest hour first.
    pub snapshots: Vec<Snapshot>,
}

/// One snapshot of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// Its name, for example `cache@2025-01-15-10:00`.
    pub name: String,
    /// When its hour began, as RFC 3339 in UTC.
    pub hour: String,
    /// Where it is.
    pub folder: String,
    /// A btrfs subvolume, which shares what it holds with the cache; a plain folder is a copy.
    pub is_subvolume: bool,
    /// Read-only, as it was made.
    pub is_sealed: bool,
}

/// What `op-snapshot restore` and `op-snapshot delete` print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotReport {
    /// Always `snapshot`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Its name.
    pub snapshot: String,
    /// What was done.
    pub outcome: SnapshotOutcome,
}

/// What was done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SnapshotOutcome {
    /// The cache is what it was then.
    Restored,
    /// It is gone.
    Deleted,
}

/// The name of an hour's snapshot.
#[must_use]
pub fn name_of(hour: Hour) -> String {
    format!("{PREFIX}{hour}")
}

/// The hour of a snapshot's name.
#[must_use]
pub fn hour_of(name: &str) -> Option<Hour> {
    Hour::parse(name.strip_prefix(PREFIX)?)
}

/// The snapshots there are, the oldest hour first.
pub fn list(root: &StateRoot, volumes: &dyn Volumes) -> Result<Snapshots> {
    let row = |(hour, volume): (Hour, Volume)| Snapshot {
        name: volume.name,
        hour: rfc3339(hour.began()),
        folder: volume.path.display().to_string(),
        is_subvolume: volume.is_subvolume,
        is_sealed: volume.is_sealed,
    };
    let snapshots = found(root, volumes)?.into_iter().map(row).collect();
    Ok(Snapshots { kind: "snapshots".into(), version: 1, snapshots })
}

/// Takes the snapshot of `hour` unless it is there, then deletes the oldest beyond the [`KEPT`] newest.
pub fn rotate(store: &Store, hour: Hour) -> Result<Rotation> {
    let (root, volumes) = (store.root(), store.volumes());
    let target = root.cache_snapshots().join(name_of(hour));
    let mut made = None;
    if volumes.look(&root.cache())?.is_some() && volumes.look(&target)?.is_none() {
        store.ensure(&root.cache_snapshots())?;
        volumes.snapshot(&root.cache(), &target, Access::ReadOnly)?;
        made = Some(name_of(hour));
    }
    let hours: Vec<Hour> = found(root, volumes)?.into_iter().map(|(hour, _)| hour).collect();
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for old in superfluous(&hours, hour) {
        match volumes.delete(&root.cache_snapshots().join(name_of(old))) {
            Ok(()) => deleted.push(name_of(old)),
            Err(error) => errors.push(error),
        }
    }
    if let Some(mut error) = Error::all(errors) {
        // One that could not be deleted is tried again next time; meanwhile there are more than there should be.
        error.kind = Kind::Residue;
        return Err(error);
    }
    let kept = hours.len() - deleted.len();
    Ok(Rotation { kind: "rotation".into(), version: 1, made, deleted, kept })
}

/// Which of the snapshots of `hours` go, the oldest first, when it is `now`.
///
/// Those of hours that are still to come were taken by a clock that was wrong, and count as older than all others: after
/// it was ahead they go first, and do not push out each new snapshot at once; after it was behind, what it made then is the
/// oldest by name. So, whichever way a clock jumps, what was taken first goes first, and never the one taken now.
fn superfluous(hours: &[Hour], now: Hour) -> Vec<Hour> {
    let mut by_age = hours.to_vec();
    by_age.sort_by_key(|&hour| (hour <= now, hour));
    by_age.truncate(by_age.len().saturating_sub(KEPT));
    by_age
}

/// Makes the cache what it was when the snapshot `name` was taken. What was cached since then is gone; whoever has the
/// cache open keeps what they opened until they open it again.
pub fn restore(store: &Store, name: &str) -> Result<SnapshotReport> {
    let (root, volumes) = (store.root(), store.volumes());
    let snapshot = find(root, volumes, name)?;
    let staging = store.staging(root.path(), "@cache");
    let compresses = volumes.is_compressed(&root.cache());
    let put = volumes.snapshot(&snapshot.path, &staging, Access::Writable).and_then(|()| {
        if compresses {
            volumes.compress(&staging)?;
        }
        match volumes.look(&root.cache())? {
            Some(_) => volumes.exchange(&staging, &root.cache()),
            None => volumes.rename(&staging, &root.cache()),
        }
    });
    // Either the copy that did not become the cache, or what the cache was; what cannot be deleted is swept later.
    let cleared = if volumes.look(&staging)?.is_some() { volumes.delete(&staging) } else { Ok(()) };
    put.and(cleared)?;
    Ok(report(snapshot.name, SnapshotOutcome::Restored))
}

/// Deletes the snapshot `name`.
pub fn delete(store: &Store, name: &str) -> Result<SnapshotReport> {
    let snapshot = find(store.root(), store.volumes(), name)?;
    store.volumes().delete(&snapshot.path)?;
    Ok(report(snapshot.name, SnapshotOutcome::Deleted))
}

/// The snapshot that a person means with `name`: its name, or the hour alone.
pub fn find(root: &StateRoot, volumes: &dyn Volumes, name: &str) -> Result<Volume> {
    let folder = root.cache_snapshots();
    let hour = Hour::parse(name).or_else(|| hour_of(name)).ok_or_else(|| {
        Error::bad_input("this is no name of a snapshot")
            .on(format!("{name:?}"))
            .hint("for example cache@2025-01-15-10:00; op-snapshot list shows what there is")
    })?;
    let unknown = || {
        let hint = "op-snapshot list shows what there is";
        Error::bad_input("there is no such snapshot").on(folder.join(name_of(hour)).display().to_string()).hint(hint)
    };
    volumes.look(&folder.join(name_of(hour)))?.ok_or_else(unknown)
}

fn found(root: &StateRoot, volumes: &dyn Volumes) -> Result<Vec<(Hour, Volume)>> {
    let listed = volumes.list(&root.cache_snapshots())?.into_iter();
    Ok(listed.filter_map(|volume| Some((hour_of(&volume.name)?, volume))).collect())
}

/// What lies beside the snapshots and is none: it is never counted and never deleted.
pub fn others(root: &StateRoot) -> Result<Vec<PathBuf>> {
    let folder = root.cache_snapshots();
    let names = super::volumes::names(&folder)?.into_iter();
    Ok(names.filter(|name| hour_of(name).is_none() && !is_staging(name)).map(|name| folder.join(name)).collect())
}

fn report(snapshot: String, outcome: SnapshotOutcome) -> SnapshotReport {
    SnapshotReport { kind: "snapshot".into(), version: 1, snapshot, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: i64, count: i64) -> Vec<Hour> {
        (0..count).map(|i| Hour::parse("2025-01-15-10:00").unwrap().plus(from + i)).collect()
    }

    /// What is left when each hour of `runs` rotates in turn.
    fn left(mut there: Vec<Hour>, runs: &[Hour]) -> Vec<Hour> {
        for &now in runs {
            if !there.contains(&now) {
                there.push(now);
            }
            let gone = superfluous(&there, now);
            assert!(!gone.contains(&now), "the one that was just taken stays");
            there.retain(|hour| !gone.contains(hour));
            assert!(there.len() <= KEPT);
        }
        there.sort();
        there
    }

    #[test]
    fn the_newest_that_exist_stay_whatever_was_missed() {
        assert_eq!(left(vec![], &hours(0, 30)), hours(6, 24));
        let with_gaps: Vec<Hour> = hours(0, 100).into_iter().step_by(4).collect();
        assert_eq!(left(vec![], &with_gaps), with_gaps[1..]);
        assert_eq!(left(hours(0, 40), &hours(500, 1)), [&hours(17, 23)[..], &hours(500, 1)].concat());
    }

    #[test]
    fn a_clock_that_was_ahead_pushes_out_nothing_afterwards() {
        let wrong = hours(100_000, 24);
        assert_eq!(left(hours(0, 24), &wrong), wrong, "while it was wrong, those were the newest");
        let after = left(wrong.clone(), &hours(24, 10));
        assert_eq!(after, [&hours(24, 10)[..], &wrong[10..]].concat(), "one wrong one goes for each right one");
        assert_eq!(left(wrong, &hours(24, 24)), hours(24, 24));
    }

    #[test]
    fn a_clock_that_was_behind_costs_only_what_it_took() {
        let before = hours(0, 24);
        let during = left(before.clone(), &hours(-100_000, 3));
        assert_eq!(during, [&hours(-100_000, 3)[..], &before[3..]].concat());
        let after = left(during, &hours(24, 3));
        assert_eq!(after, hours(3, 24), "its snapshots are the oldest by name, and go first");
    }

    #[test]
    fn names() {
        let hour = Hour::parse("2025-01-15-10:00").unwrap();
        assert_eq!(name_of(hour), "cache@2025-01-15-10:00");
        assert_eq!(hour_of("cache@2025-01-15-10:00"), Some(hour));
        for other in ["cache@2025-01-15T10Z", "cache@", "2025-01-15-10:00", "keep@2025-01-15-10:00", "..", ""] {
            assert_eq!(hour_of(other), None, "{other}");
        }
    }
}

//! The state root and its snapshots for people, or as documents.

use super::Out;
use crate::base::{Result, size};
use crate::store::cache::{Rotation, SnapshotOutcome, SnapshotReport, Snapshots};
use crate::store::doctor::{Doctor, Promise, Stored};
use crate::store::init::RootReport;

/// Prints what was made of the state root.
pub fn root(out: &mut Out, report: &RootReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let mut text = String::new();
    for (what, names) in [
        ("Made", &report.made),
        ("Made subvolumes of", &report.converted),
        ("Compressed from now on", &report.compressed),
        ("Deleted what was left unfinished", &report.swept),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("{what}: {}\n", names.join(", ")));
        }
    }
    if let Some(image) = &report.image {
        let size = size::for_people(image.size_bytes);
        text.push_str(&format!("Made a btrfs image of {size}: {}\nIt is mounted by {}\n", image.file, image.unit));
        if let Some(former) = &image.former {
            text.push_str(&format!("What was there before is still in {former}; delete it when you are content\n"));
        }
    }
    if text.is_empty() {
        text.push_str("Nothing to do: everything is as it should be.\n");
    }
    let volumes = if report.are_subvolumes { "subvolumes" } else { "plain folders" };
    out.text(&format!("{text}{} is on {}: its volumes are {volumes}.\n", report.root, report.file_system))
}

/// Prints what a root promises, what mends what it does not, and what is stored.
pub fn doctor(out: &mut Out, doctor: &Doctor) -> Result<()> {
    if out.look().is_json {
        return out.document(doctor);
    }
    let (free, size) = (size::for_people(doctor.free_bytes), size::for_people(doctor.size_bytes));
    out.text(&format!("{} is on {} ({}), {free} of {size} free.\n\n", doctor.root, doctor.device, doctor.file_system))?;
    let row = |promise: &Promise| {
        let kept = if promise.is_kept { "yes" } else { "no" };
        vec![promise.promise.clone(), kept.into(), promise.detail.clone()]
    };
    out.table(&["PROMISE", "KEPT", "WHY"], &doctor.promises.iter().map(row).collect::<Vec<_>>())?;
    let mut mends: Vec<&str> = doctor.promises.iter().filter_map(|promise| promise.mend.as_deref()).collect();
    mends.dedup();
    if !mends.is_empty() {
        out.text(&format!("\nWhat mends it:\n  {}\n", mends.join("\n  ")))?;
    }
    if doctor.stored.is_empty() {
        return Ok(());
    }
    out.text("\n")?;
    let rows: Vec<Vec<String>> = doctor.stored.iter().map(stored).collect();
    out.table(&["STORED", "FILES", "RAW", "ON DISK", "SHARE"], &rows)
}

fn stored(kind: &Stored) -> Vec<String> {
    let share = kind.stored_bytes.filter(|_| kind.raw_bytes > 0).map(|bytes| bytes * 100 / kind.raw_bytes);
    vec![
        kind.kind.clone(),
        kind.files.to_string(),
        size::for_people(kind.raw_bytes),
        kind.stored_bytes.map_or_else(|| "unknown".into(), size::for_people),
        share.map_or_else(String::new, |percent| format!("{percent} %")),
    ]
}

/// Prints what a rotation did.
pub fn rotation(out: &mut Out, rotation: &Rotation) -> Result<()> {
    if out.look().is_json {
        return out.document(rotation);
    }
    let mut text = match &rotation.made {
        Some(name) => format!("Took {name}.\n"),
        None if rotation.kept == 0 => "Nothing to do: there is no cache.\n".to_owned(),
        None => "No snapshot to take: this hour has one, or there is no cache.\n".to_owned(),
    };
    if !rotation.deleted.is_empty() {
        text.push_str(&format!("Deleted: {}\n", rotation.deleted.join(", ")));
    }
    out.text(&format!("{text}There are {} snapshots.\n", rotation.kept))
}

/// Prints the snapshots there are.
pub fn snapshots(out: &mut Out, snapshots: &Snapshots) -> Result<()> {
    if out.look().is_json {
        return out.document(snapshots);
    }
    let kind = |is_subvolume| if is_subvolume { "subvolume" } else { "copy" }.to_owned();
    let rows: Vec<Vec<String>> =
        snapshots.snapshots.iter().map(|s| vec![s.name.clone(), s.hour.clone(), kind(s.is_subvolume)]).collect();
    out.table(&["SNAPSHOT", "HOUR", "IS A"], &rows)
}

/// Prints what was done with a snapshot.
pub fn snapshot(out: &mut Out, report: &SnapshotReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    out.text(&match report.outcome {
        SnapshotOutcome::Restored => format!("The cache is what it was in {}.\n", report.snapshot),
        SnapshotOutcome::Deleted => format!("Deleted {}.\n", report.snapshot),
    })
}

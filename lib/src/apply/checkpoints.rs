//! Checkpoints: what there was before each run and what the run was to do, kept so that it can be rolled back.
//!
//! ```text
//! @state/checkpoints/RUN.json     RUN is NUMBER-TIME-DIGEST; numbers grow, whatever the clock does
//! ```
//!
//! One is written before a run's first call. The run that undid everything it did takes its own away again.

use crate::base::{Error, Result, digest, time};
use crate::state::Plan;
use crate::store::file::{self, Durability};
use crate::store::{StateRoot, layout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// How many checkpoints are kept.
const KEPT: usize = 200;

/// What there was before a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Checkpoint<'a> {
    /// Always `checkpoint`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// When it began.
    pub time: String,
    /// The runs that this one rolls back, if it is a rollback.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rolls_back: Vec<String>,
    /// Whether it did not end as it was to: of a rollback, that it was broken off, so that what it rolls back is not gone.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_partial: bool,
    /// The values that the run was to change, by resource.
    pub before: BTreeMap<String, Value>,
    /// What it was to do.
    pub plan: Cow<'a, Plan>,
}

/// The number in a run's name; 0 for names from before there were numbers.
pub(super) fn number_of(run: &str) -> u64 {
    run.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

/// The names of the runs there are checkpoints of, oldest first.
pub fn runs(root: &StateRoot) -> Result<Vec<String>> {
    let folder = root.checkpoints();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list the checkpoints", &folder, &error)),
    };
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    let mut runs: Vec<String> = entries.flatten().filter_map(name).filter(|run| !run.starts_with('.')).collect();
    runs.sort_by_key(|run| (number_of(run), run.clone()));
    Ok(runs)
}

/// A name for a new run, after all there are.
pub fn new_run(root: &StateRoot, plan: &Plan) -> Result<String> {
    let last = runs(root)?.last().map_or(0, |run| number_of(run));
    let now = SystemTime::now();
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = digest::of_bytes("run", format!("{nanos} {} {}", std::process::id(), plan.digest).as_bytes());
    let unique: String = unique.trim_start_matches("sha256:").chars().take(8).collect();
    Ok(format!("{}-{}-{unique}", last + 1, time::rfc3339(now).replace([':', '-'], "")))
}

/// Reads the checkpoint of a run.
pub fn read(root: &StateRoot, run: &str) -> Result<Checkpoint<'static>> {
    let path = root.checkpoint(run);
    layout::check_owner(&path)?;
    let text = file::read(&path)?.ok_or_else(|| unknown(root, run))?;
    let damaged = |why: String| {
        Error::bad_input(format!("the checkpoint is damaged: {why}"))
            .on(path.display().to_string())
            .hint("what it would go back to cannot be known; bring the state about with a document")
    };
    let checkpoint: Checkpoint<'static> = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if checkpoint.kind != "checkpoint" || checkpoint.version != 1 {
        return Err(damaged(format!("it is a {} of version {}", checkpoint.kind, checkpoint.version)));
    }
    Ok(checkpoint)
}

/// Reads the checkpoint of a run, if there is one.
pub fn find(root: &StateRoot, run: &str) -> Result<Option<Checkpoint<'static>>> {
    if root.checkpoint(run).try_exists().unwrap_or(true) { read(root, run).map(Some) } else { Ok(None) }
}

fn unknown(root: &StateRoot, run: &str) -> Error {
    let known = runs(root).unwrap_or_default();
    let newest: Vec<&str> = known.iter().rev().take(5).map(String::as_str).collect();
    let hint = match newest.as_slice() {
        [] => "nothing was applied here yet".to_owned(),
        newest => format!("the newest runs are: {}", newest.join(", ")),
    };
    Error::bad_input("there is no checkpoint of this run").on(run.to_owned()).hint(hint)
}

/// Writes a checkpoint, durably, and lets the oldest go.
pub fn write(root: &StateRoot, checkpoint: &Checkpoint<'_>) -> Result<()> {
    let path = root.checkpoint(&checkpoint.run);
    root.make_parent(&path)?;
    let bytes = serde_json::to_vec(checkpoint).map_err(|e| Error::failed(e.to_string()))?;
    file::replace(&path, &bytes, Durability::Durable).map_err(|e| {
        e.hint("nothing was changed: without a checkpoint nothing is; free some space there, or choose another --root")
    })?;
    let runs = runs(root)?;
    for old in &runs[..runs.len().saturating_sub(KEPT)] {
        // What waits to be confirmed may be old, and is needed.
        if root.pending(old).exists() {
            continue;
        }
        let _ = std::fs::remove_file(root.checkpoint(old));
    }
    Ok(())
}

/// Notes that a rollback has ended well. Where that cannot be written, it can be rolled back to once more.
pub fn complete(root: &StateRoot, run: &str) {
    let Ok(mut checkpoint) = read(root, run) else { return };
    if !std::mem::take(&mut checkpoint.is_partial) {
        return;
    }
    if let Ok(bytes) = serde_json::to_vec(&checkpoint) {
        let _ = file::replace(&root.checkpoint(run), &bytes, Durability::Durable);
    }
}

/// Takes the checkpoint of a run away that left nothing behind.
pub fn remove(root: &StateRoot, run: &str) {
    let path: PathBuf = root.checkpoint(run);
    let _ = std::fs::remove_file(path);
}

/// The checkpoints from `id` on, newest first. `last` is the newest run that was not rolled back and is no rollback; a
/// beginning of a run's name will do where it is the only one.
pub fn since(root: &StateRoot, id: &str) -> Result<Vec<Checkpoint<'static>>> {
    let all = runs(root)?;
    if id == "last" {
        let mut gone: Vec<String> = Vec::new();
        let mut newer = Vec::new();
        for run in all.iter().rev() {
            let checkpoint = read(root, run)?;
            let is_rollback = !checkpoint.rolls_back.is_empty();
            if !checkpoint.is_partial {
                gone.extend(checkpoint.rolls_back.iter().cloned());
            }
            newer.push(checkpoint);
            if !is_rollback && !gone.contains(run) {
                return Ok(newer);
            }
        }
        return Err(Error::bad_input("there is no run that could be rolled back")
            .on(id)
            .hint("nothing was applied here, or all of it was rolled back already"));
    }
    let fitting: Vec<&String> = all.iter().filter(|run| *run == id || run.starts_with(id)).collect();
    let first = match fitting.iter().find(|run| **run == id).or(fitting.first()) {
        Some(run) if fitting.len() == 1 || *run == id => *run,
        Some(_) => {
            let list = fitting.iter().map(|run| run.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::bad_input(format!("this can mean any of {list}")).on(id));
        }
        None => return Err(unknown(root, id)),
    };
    let from = all.iter().position(|run| run == first).unwrap_or_default();
    all[from..].iter().rev().map(|run| read(root, run)).collect()
}

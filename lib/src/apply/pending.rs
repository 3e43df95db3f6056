//! Runs that wait to be confirmed: until somebody says so in time, they go back by themselves.
//!
//! ```text
//! @state/pending/RUN.json     there from before the run's first call until it is confirmed or taken back
//! ```

use crate::base::{Error, Kind, Result, time};
use crate::state::Plan;
use crate::store::file::{self, Durability};
use crate::store::{StateRoot, boot, layout};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A run that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pending {
    /// Always `pending`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// The plugins it changes; nobody else changes them meanwhile.
    pub plugins: Vec<String>,
    /// How long it waits, in milliseconds.
    pub window_ms: u64,
    /// When it goes back, by the clock of the machine.
    pub deadline: String,
    /// The same as milliseconds since the machine was started: no clock that is set moves it.
    pub deadline_uptime_ms: u64,
    /// Which start of the machine that was.
    pub boot: String,
    /// What takes it back: `unit NAME`, or `process ID`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timer: Option<String>,
    /// What is to be taken back on which bus: options of the programs.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub options: Vec<String>,
}

/// All of them, as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Waiting {
    /// Always `waiting`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The runs, oldest first.
    pub runs: Vec<Pending>,
}

impl Waiting {
    /// The document of these.
    #[must_use]
    pub fn new(runs: &[Pending]) -> Self {
        Self { kind: "waiting".into(), version: 1, runs: runs.to_vec() }
    }
}

/// How long a run waits to be confirmed, and what takes it back if nobody does.
#[derive(Debug, Clone)]
pub struct Window {
    /// How long.
    pub length: Duration,
    /// What takes it back.
    pub timer: Arc<dyn Timer>,
}

/// Takes runs back when their time is over, whatever became of the program that made them.
pub trait Timer: Debug {
    /// Has `run` taken back after this long; says what does it.
    fn arm(&self, run: &str, after: Duration) -> Result<String>;

    /// Lets it be.
    fn disarm(&self, armed: &str);

    /// The options that the program needs to take it back on the same bus and root.
    fn options(&self) -> Vec<String>;
}

impl Pending {
    /// What waits from now on for `window`.
    #[must_use]
    pub fn new(run: &str, plan: &Plan, window: &Window) -> Self {
        let mut plugins: Vec<String> = plan.actions.iter().map(|action| action.plugin.clone()).collect();
        plugins.sort();
        plugins.dedup();
        let uptime = boot::uptime().unwrap_or_default() + window.length;
        Self {
            kind: "pending".into(),
            version: 1,
            run: run.to_owned(),
            plugins,
            window_ms: ms(window.length),
            deadline: time::rfc3339(SystemTime::now() + window.length),
            deadline_uptime_ms: ms(uptime),
            boot: boot::boot_id(),
            timer: None,
            options: window.timer.options(),
        }
    }

    /// How long it still waits. After a restart of the machine only its clock can say, and never more than was given.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let window = Duration::from_millis(self.window_ms);
        let left = if self.boot == boot::boot_id() {
            let now = ms(boot::uptime().unwrap_or_default());
            Duration::from_millis(self.deadline_uptime_ms.saturating_sub(now))
        } else {
            let deadline = time::parse_rfc3339(&self.deadline).unwrap_or(SystemTime::UNIX_EPOCH);
            deadline.duration_since(SystemTime::now()).unwrap_or_default()
        };
        left.min(window)
    }

    /// Writes it, durably.
    pub fn write(&self, root: &StateRoot) -> Result<()> {
        let path = root.pending(&self.run);
        root.make_parent(&path)?;
        let bytes = serde_json::to_vec(self).map_err(|e| Error::failed(e.to_string()))?;
        file::replace(&path, &bytes, Durability::Durable)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that waits, oldest first.
pub fn all(root: &StateRoot) -> Result<Vec<Pending>> {
    let folder = root.pending_folder();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list what waits to be confirmed", &folder, &error)),
    };
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    let runs = entries.flatten().filter_map(name).filter(|run| !run.starts_with('.'));
    let mut found = runs.filter_map(|run| read(root, &run).transpose()).collect::<Result<Vec<_>>>()?;
    found.sort_by_key(|pending| (super::checkpoints::number_of(&pending.run), pending.run.clone()));
    Ok(found)
}

/// What waits under this name.
pub fn read(root: &StateRoot, run: &str) -> Result<Option<Pending>> {
    let path = root.pending(run);
    layout::check_owner(&path)?;
    let Some(text) = file::read(&path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::bad_input(format!("what waits to be confirmed is damaged: {error}"))
            .on(path.display().to_string())
            .hint(format!("the checkpoint still is there: op-apply --rollback {run}, after moving this file away"))
    })
}

/// The one that a person means: a whole name or the beginning of one; the only one when nothing is said.
pub fn find(root: &StateRoot, id: Option<&str>) -> Result<Pending> {
    let mut all = all(root)?;
    let list = all.iter().map(|pending| pending.run.clone()).collect::<Vec<_>>().join(", ");
    all.retain(|pending| id.is_none_or(|id| pending.run == id || pending.run.starts_with(id)));
    match (all.len(), all.pop()) {
        (1, Some(pending)) => Ok(pending),
        (0, _) if list.is_empty() => Err(Error::bad_input("nothing waits to be confirmed")
            .or_on(id.unwrap_or("pending"))
            .hint("it was confirmed or taken back already: op-audit log says which")),
        (0, _) => Err(Error::bad_input("this does not wait to be confirmed")
            .or_on(id.unwrap_or("pending"))
            .hint(format!("what waits: {list}"))),
        _ => Err(Error::bad_input("several runs wait to be confirmed").hint(format!("say which: {list}"))),
    }
}

/// It waits no more. Durably: a file that comes back after a power cut would take back what was confirmed.
pub fn remove(root: &StateRoot, run: &str) -> Result<()> {
    file::remove(&root.pending(run))
}

/// An error when a run other than `run` waits, or was broken off, that changes one of the plan's plugins.
pub fn check_free(plan: &Plan, waiting: &[Pending], broken_off: &[(String, Vec<String>)]) -> Result<()> {
    let plugins: Vec<&String> = plan.actions.iter().map(|action| &action.plugin).collect();
    let touches = |others: &[String]| others.iter().any(|other| plugins.contains(&other));
    if let Some((run, of_run)) = broken_off.iter().find(|(_, of_run)| touches(of_run)) {
        return Err(Error::new(Kind::Locked, format!("run {run} was broken off and may be half done"))
            .on(of_run.join(", "))
            .hint("op-apply --recover takes back what it did"));
    }
    match waiting.iter().find(|pending| touches(&pending.plugins)) {
        Some(pending) => Err(Error::new(Kind::Locked, format!("run {} waits to be confirmed", pending.run))
            .on(pending.plugins.join(", "))
            .hint(format!("op-apply confirm {0} keeps it, op-apply revert {0} takes it back", pending.run))),
        None => Ok(()),
    }
}

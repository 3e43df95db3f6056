//! `op-install map --learn`: runs a command while the calls to one service, or its calls to any, are watched, and looks
//! at what was called before and after.

use super::Cli;
use crate::base::{Error, Kind, Result, Silent};
use crate::bus::monitor::Watched;
use crate::bus::{Bus, Manner, Monitor, SeenCall, Target, names, walk};
use crate::plugin::author::Surface;
use crate::plugin::author::learn::{Learned, LearnedKey, learn, may_write};
use crate::plugin::{StatePlugin, Want};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A service may answer before it shows what it did.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the mark may take to be heard.
const LAG: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);

/// How long one call of the look at all services may take: one that hangs is not what is learnt from.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was learnt of one service.
#[derive(Debug)]
pub struct Lesson {
    /// What was learnt.
    pub learned: Learned,
    /// The service afterwards.
    pub surface: Surface,
    /// Keys of the plugin's own mapping that read differently afterwards.
    pub keys: Vec<LearnedKey>,
    /// Whether the service was looked at before.
    pub is_before_known: bool,
    /// Calls that may have changed something.
    pub writes: usize,
}

impl Lesson {
    /// The keys that were learnt, those of the mapping first.
    pub fn learned_keys(&self) -> impl Iterator<Item = &str> {
        let entries = self.learned.draft.entries.iter();
        let (active, rest): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.is_active());
        active.into_iter().chain(rest).map(|entry| entry.key.as_str())
    }
}

/// How the command ended.
#[derive(Debug)]
pub struct Ended {
    /// The command's exit code; 128 + N when signal N killed it, as a shell says it.
    pub exit_code: i32,
    /// Seconds the command took.
    pub seconds: f64,
}

/// Runs `command` and learns from what it, or anybody meanwhile, called on `service`. What `plugin` can read already is
/// compared too.
pub fn run(
    cli: &mut Cli,
    service: &str,
    command: &[String],
    plugin: Option<&dyn StatePlugin>,
) -> Result<(Lesson, Ended)> {
    check(cli, command)?;
    let bus = cli.connect()?;
    let before = cli.survey(&bus, service, walk::Want::Values)?;
    let known = keys_of(&bus, plugin);
    let monitor = Monitor::start(&cli.common.bus, &bus, service)?;
    let (calls, ended) = watched(&bus, service, monitor, command)?;
    let surface = cli.survey(&bus, service, walk::Want::Values)?;
    let keys = keys_of(&bus, plugin).into_iter().filter_map(|(key, to)| {
        let from = known.get(&key)?.clone();
        (from != to).then_some(LearnedKey { key, from, to })
    });
    let keys = keys.collect();
    let learned = learn(Some(&before), &surface, &calls);
    let writes = calls.iter().filter(|call| may_write(call)).count();
    Ok((Lesson { learned, surface, keys, is_before_known: true, writes }, ended))
}

/// Runs `command` and learns from what it called on whichever services: those of which it may have changed something,
/// the one that taught the most first.
pub fn run_on_any(cli: &mut Cli, command: &[String]) -> Result<(Vec<Lesson>, Ended)> {
    check(cli, command)?;
    let bus = cli.connect()?;
    let running = names::services(&bus, None)?.into_iter().filter(|service| service.running);
    let running: Vec<String> = running.map(|service| service.name).filter(|name| name != names::BUS_NAME).collect();
    let before = look(cli, &bus, &running);
    let monitor = Monitor::start_any(&cli.common.bus, &bus)?;
    let (calls, ended) = watched(&bus, &command[0], monitor, command)?;
    let mut called: BTreeMap<String, Vec<SeenCall>> = BTreeMap::new();
    for call in calls {
        called.entry(call.service.clone()).or_default().push(call);
    }
    called.retain(|_, calls| calls.iter().any(may_write));
    let mut lessons = Vec::new();
    for (service, calls) in &called {
        let surface = cli.survey(&bus, service, walk::Want::Values)?;
        let before = before.iter().find(|before| before.service == *service);
        let learned = learn(before, &surface, calls);
        let writes = calls.iter().filter(|call| may_write(call)).count();
        lessons.push(Lesson { learned, surface, keys: Vec::new(), is_before_known: before.is_some(), writes });
    }
    lessons.sort_by_key(|lesson| {
        let active = lesson.learned.draft.entries.iter().filter(|entry| entry.is_active()).count();
        std::cmp::Reverse((active, lesson.learned.draft.entries.len(), lesson.learned.changes.len(), lesson.writes))
    });
    Ok((lessons, ended))
}

fn check(cli: &Cli, command: &[String]) -> Result<()> {
    if matches!(cli.common.bus, Target::Host(_)) {
        return Err(Error::usage("a command of this machine is not seen on another one's bus")
            .hint("run op-install there: ssh HOST op-install map --learn ..."));
    }
    if command.is_empty() {
        return Err(
            Error::usage("there is no command to learn from").hint("write it after --: -- hostnamectl chassis vm")
        );
    }
    Ok(())
}

/// What all running services show, asked at the same time. One that does not answer was not looked at.
fn look(cli: &mut Cli, bus: &Bus, services: &[String]) -> Vec<Surface> {
    let progress = cli.out.progress();
    let count = services.len();
    let mut on_object = |seen: usize| progress.spinner(&format!("{count} services: {seen} objects"));
    let limit = cli.common.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
    let manner = Manner { may_activate: false, timeout: Some(limit) };
    let trees = walk::walk_all(bus, services, walk::Want::Values, manner, &mut on_object);
    let looked = services.iter().zip(trees);
    looked.filter_map(|(service, tree)| Some(Surface::of_tree(service, tree.ok()?))).collect()
}

/// Runs the command, and listens until everything was heard that it said.
fn watched(bus: &Bus, subject: &str, mut monitor: Monitor, command: &[String]) -> Result<(Vec<SeenCall>, Ended)> {
    let program = &command[0];
    let begun = Instant::now();
    // Standard output carries our document: what the command says goes beside it.
    let spawned = Command::new(program).args(&command[1..]).stdout(Stdio::from(std::io::stderr())).spawn();
    let mut child = spawned
        .map_err(|e| Error::new(Kind::Unavailable, format!("could not start the command: {e}")).on(program.clone()))?;
    let failed = |e: std::io::Error| Error::failed(format!("could not wait for the command: {e}")).on(program.clone());
    let status = loop {
        if monitor.listen(GLANCE) == Watched::Closed {
            let _ = child.wait();
            return Err(Error::new(Kind::Unavailable, "the bus closed the connection that watched").on(subject));
        }
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    let settled = Instant::now() + SETTLE;
    while Instant::now() < settled {
        monitor.listen(GLANCE);
    }
    heard_all(bus, subject, &mut monitor)?;
    Ok((monitor.into_calls(), Ended { exit_code: exit_code(status), seconds }))
}

/// What the plugin's mapping reads now; a key that cannot be read is left out.
fn keys_of(bus: &Bus, plugin: Option<&dyn StatePlugin>) -> Map<String, Value> {
    let Some(plugin) = plugin.filter(|plugin| plugin.mapping_digest().is_some()) else { return Map::new() };
    bus.allow(plugin.safe_calls());
    plugin.query(bus, &Want::State, &mut Silent).values
}

/// Makes a harmless call of our own: when it was heard, so was everything before it.
fn heard_all(bus: &Bus, subject: &str, monitor: &mut Monitor) -> Result<()> {
    monitor.mark(bus, LAG);
    let end = Instant::now() + LAG;
    while Instant::now() < end {
        match monitor.listen(GLANCE) {
            Watched::Mark => return Ok(()),
            Watched::Anything => {}
            Watched::Closed => break,
        }
    }
    Err(Error::new(Kind::Timeout, "the connection that watched did not hear everything in time").on(subject))
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

//! `op-install map --learn`: runs a command while the calls to one service are watched, and looks at the service before
//! and after.

use super::Cli;
use crate::base::{Error, Kind, Result, Silent};
use crate::bus::monitor::Watched;
use crate::bus::{Bus, Call, Manner, Monitor, Target, walk};
use crate::plugin::author::Surface;
use crate::plugin::author::learn::{Learned, LearnedKey, learn};
use crate::plugin::{GenericPlugin, StatePlugin, Want};
use serde_json::{Map, Value};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A service may answer before it shows what it did.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the mark may take to be heard.
const LAG: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);

/// What was learnt, and how the command ended.
#[derive(Debug)]
pub struct Lesson {
    /// What was learnt.
    pub learned: Learned,
    /// The service afterwards.
    pub surface: Surface,
    /// Keys of the plugin's own mapping that read differently afterwards.
    pub keys: Vec<LearnedKey>,
    /// The command's exit code; 128 + N when signal N killed it, as a shell says it.
    pub exit_code: i32,
    /// Seconds the command took.
    pub seconds: f64,
}

/// Runs `command` and learns from what it, or anybody meanwhile, called on `service`. What `plugin` can read already is
/// compared too.
pub fn run(cli: &mut Cli, service: &str, command: &[String], plugin: Option<&GenericPlugin>) -> Result<Lesson> {
    if matches!(cli.common.bus, Target::Host(_)) {
        return Err(Error::usage("a command of this machine is not seen on another one's bus")
            .hint("run op-install there: ssh HOST op-install map --learn ..."));
    }
    let Some((program, args)) = command.split_first() else {
        return Err(
            Error::usage("there is no command to learn from").hint("write it after --: -- hostnamectl chassis vm")
        );
    };
    let bus = cli.connect()?;
    let before = cli.survey(&bus, service, walk::Want::Values)?;
    let known = keys_of(&bus, plugin);
    let mut monitor = Monitor::start(&cli.common.bus, &bus, service)?;
    let begun = Instant::now();
    // Standard output carries our document: what the command says goes beside it.
    let mut child =
        Command::new(program).args(args).stdout(Stdio::from(std::io::stderr())).spawn().map_err(|e| {
            Error::new(Kind::Unavailable, format!("could not start the command: {e}")).on(program.clone())
        })?;
    let failed = |e: std::io::Error| Error::failed(format!("could not wait for the command: {e}")).on(program.clone());
    let status = loop {
        if monitor.listen(GLANCE) == Watched::Closed {
            let _ = child.wait();
            return Err(Error::new(Kind::Unavailable, "the bus closed the connection that watched").on(service));
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
    heard_all(&bus, service, &mut monitor)?;
    let after = cli.survey(&bus, service, walk::Want::Values)?;
    let keys = keys_of(&bus, plugin).into_iter().filter_map(|(key, to)| {
        let from = known.get(&key)?.clone();
        (from != to).then_some(LearnedKey { key, from, to })
    });
    let keys = keys.collect();
    let learned = learn(&before, &after, &monitor.into_calls());
    Ok(Lesson { learned, surface: after, keys, exit_code: exit_code(status), seconds })
}

/// What the plugin's mapping reads now; a key that cannot be read is left out.
fn keys_of(bus: &Bus, plugin: Option<&GenericPlugin>) -> Map<String, Value> {
    let Some(plugin) = plugin.filter(|plugin| plugin.mapping_digest().is_some()) else { return Map::new() };
    bus.allow(plugin.safe_calls());
    plugin.query(bus, &Want::State, &mut Silent).values
}

/// Makes a harmless call of our own: when it was heard, so was everything before it.
fn heard_all(bus: &Bus, service: &str, monitor: &mut Monitor) -> Result<()> {
    // Whatever it answers: only that it was sent counts.
    let call = Call::new(service, "/", "org.freedesktop.DBus.Peer", "Ping");
    let _ = bus.call(call.in_manner(Manner { may_activate: false, timeout: Some(LAG) }));
    let end = Instant::now() + LAG;
    while Instant::now() < end {
        match monitor.listen(GLANCE) {
            Watched::Mark => return Ok(()),
            Watched::Anything => {}
            Watched::Closed => break,
        }
    }
    Err(Error::new(Kind::Timeout, "the connection that watched did not hear everything in time").on(service))
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

//! What takes a run back that nobody confirms: a timer of systemd, which outlives the shell, the terminal and this
//! program; where systemd is not process 1, a small process of our own that waits, and says so.

use super::Cli;
use crate::apply::pending::Timer;
use crate::base::{Error, Kind, Result};
use crate::bus::{Bus, Call, Consent, Target};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// What may be passed on: the environment of a unit can be read by everybody, so nothing that could be a secret.
const PASSED: &[&str] = &[
    "OP_DBUS_ROOT",
    "OP_DBUS_MAPPINGS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "HOME",
    "PATH",
];

/// Starts `op-apply revert RUN --when-due`, by systemd or by itself.
#[derive(Debug)]
pub struct RevertTimer {
    program: PathBuf,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    manager: Option<Target>,
}

impl Cli {
    /// What takes back what is done on the chosen bus and root. Another machine's runs cannot be: the timer would need
    /// the very network that was perhaps cut.
    pub fn timer(&self) -> Result<RevertTimer> {
        let bus = match &self.common.bus {
            Target::System => vec!["--system".to_owned()],
            Target::Session => vec!["--session".to_owned()],
            Target::Address(address) => vec![format!("--address={address}")],
            Target::Host(host) => {
                return Err(Error::usage("another machine could not take back what cuts it off")
                    .on(format!("--host {host}"))
                    .hint(format!("run it there: ssh {host} op-apply --confirm-within ...")));
            }
        };
        let root = format!("--root={}", self.root()?.path().display());
        let timeout = self.common.timeout.map(|timeout| format!("--timeout={}ms", timeout.as_millis()));
        let passed = |name: &&str| Some(((*name).to_owned(), self.env.text(name)?.to_owned()));
        let manager = match &self.common.bus {
            Target::System | Target::Session if is_systemd() => Some(self.common.bus.clone()),
            _ => None,
        };
        Ok(RevertTimer {
            program: std::env::current_exe()
                .map_err(|e| Error::failed(format!("could not find the program itself: {e}")))?,
            options: bus.into_iter().chain([root]).chain(timeout).collect(),
            environment: PASSED.iter().filter_map(passed).collect(),
            manager,
        })
    }
}

/// Whether systemd is process 1, by the sign that it leaves for just this question.
fn is_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
        && std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() == "systemd")
}

impl RevertTimer {
    /// Whether it is a process of our own, which dies when the machine is started again.
    #[must_use]
    pub fn is_process(&self) -> bool {
        self.manager.is_none()
    }

    fn arguments(&self, run: &str) -> Vec<String> {
        let words = ["revert", run, "--when-due", "--lock-timeout=15m", "--quiet", "--json"].map(str::to_owned);
        words.into_iter().chain(self.options.iter().cloned()).collect()
    }

    fn start_unit(&self, manager: &Target, run: &str, after: Duration) -> Result<String> {
        let variant = |signature: &str, value: Value| json!({"$variant": {"signature": signature, "value": value}});
        let unit = format!("op-dbus-revert-{run}");
        let about = format!("Take back run {run} of op-dbus, which nobody confirmed");
        let environment: Vec<String> = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = self.program.display().to_string();
        let argv: Vec<String> = std::iter::once(path.clone()).chain(self.arguments(run)).collect();
        let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let timer = json!([
            ["Description", variant("s", json!(about))],
            ["TimersMonotonic", variant("a(st)", json!([["OnActiveSec", after_us]]))],
            ["AccuracyUSec", variant("t", json!(50_000))],
            ["RemainAfterElapse", variant("b", json!(false))],
        ]);
        // A service that does not answer yet, or a bus that starts again, is tried again; what ended ended.
        let service = json!([
            ["Description", variant("s", json!(about))],
            ["Type", variant("s", json!("oneshot"))],
            ["ExecStart", variant("a(sasb)", json!([[path, argv, false]]))],
            ["Environment", variant("as", json!(environment))],
            ["CollectMode", variant("s", json!("inactive-or-failed"))],
            ["Restart", variant("s", json!("on-failure"))],
            ["RestartUSec", variant("t", json!(10_000_000))],
            ["RestartPreventExitStatus", variant("(aiai)", json!([[4, 65], []]))],
        ]);
        let args = vec![
            json!(format!("{unit}.timer")),
            json!("replace"),
            timer,
            json!([[format!("{unit}.service"), service]]),
        ];
        call_manager(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", args)?;
        Ok(format!("unit {unit}.timer"))
    }

    fn start_process(&self, run: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(run)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own: what ends the shell's jobs does not end it.
        let child = command.current_dir("/").process_group(0).spawn();
        let child = child.map_err(|e| {
            Error::failed(format!("could not start what takes the run back: {e}"))
                .on(self.program.display().to_string())
        })?;
        Ok(format!("process {}", child.id()))
    }
}

fn call_manager(manager: &Target, member: &str, signature: &str, args: Vec<Value>) -> Result<()> {
    let bus = Bus::connect(manager, Some(Duration::from_secs(5)))?;
    let interface = format!("{SYSTEMD}.Manager");
    let call = Call::new(SYSTEMD, "/org/freedesktop/systemd1", &interface, member).with(signature, args);
    // Arming is part of what was agreed to with --confirm-within.
    bus.acting(&Consent::was_given(), || bus.call(call)).map(drop)
}

impl Timer for RevertTimer {
    fn arm(&self, run: &str, after: Duration) -> Result<String> {
        let Some(manager) = &self.manager else { return self.start_process(run) };
        self.start_unit(manager, run, after).map_err(|error| {
            Error::new(Kind::Failed, format!("could not arm the timer that takes the run back: {}", error.message))
                .on("systemd")
                .hint("nothing was changed; without --confirm-within no timer is needed")
        })
    }

    fn disarm(&self, armed: &str) {
        // A process ends by itself when there is nothing left to wait for.
        if let (Some(unit), Some(manager)) = (armed.strip_prefix("unit "), &self.manager) {
            let _ = call_manager(manager, "StopUnit", "ss", vec![json!(unit), json!("replace")]);
        }
    }

    fn options(&self) -> Vec<String> {
        self.options.clone()
    }
}

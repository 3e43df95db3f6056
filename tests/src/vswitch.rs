//! A real Open vSwitch in user space, in a network namespace of a test's own, and the plugin `openflow` with it.

use crate::command::Output;
use crate::netns::Netns;
use crate::private_bus::spawn;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The folder of `tests/tools.sh`.
///
/// # Panics
/// When it cannot be made: the reason is on stderr.
#[must_use]
pub fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let script = crate::repository().join("tests/tools.sh");
        let output = Command::new(script).stderr(std::process::Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/tools.sh failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// The two daemons. Dropping it ends them, and the namespace takes along what they made.
#[derive(Debug)]
pub struct Vswitch {
    /// Where it is.
    pub case: Netns,
    database: Option<Child>,
    daemon: Option<Child>,
}

impl Vswitch {
    /// Starts both.
    #[must_use]
    pub fn start() -> Self {
        let case = Netns::start("none");
        std::fs::create_dir_all(case.path("mappings/openflow")).unwrap();
        std::fs::create_dir_all(case.path("run")).unwrap();
        let ofctl = tools().join("bin/ovs-ofctl").display().to_string();
        let run = case.path("run");
        let manifest = format!(
            "[plugin]\nname = \"openflow\"\nversion = \"1.0.0\"\nsource = \"built-in\"\n\n[settings]\ndatabase = {:?}\nrun = {run:?}\n\
             ofctl = {ofctl:?}\ntimeout_s = 5\n",
            case.path("run/db.sock"),
        );
        std::fs::write(case.path("mappings/openflow/plugin.toml"), manifest).unwrap();
        let mut one = Self { case, database: None, daemon: None };
        let schema = tools().join("usr/share/openvswitch/vswitch.ovsschema").display().to_string();
        one.tool("ovsdb-tool", &["create", &one.case.path("conf.db"), &schema]);
        one.start_database();
        one.tool("ovs-vsctl", &["--no-wait", "init"]);
        one.start_daemon();
        one
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Child {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.case.holder()))
            .arg(tools().join("bin").join(program))
            .args(args);
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let run = self.case.path("run");
        for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(name, &run);
        }
        spawn(command)
    }

    /// Starts ovsdb-server.
    pub fn start_database(&mut self) {
        let socket = self.case.path("run/db.sock");
        let _ = std::fs::remove_file(&socket);
        let (file, remote) = (self.case.path("conf.db"), format!("--remote=punix:{socket}"));
        let log = format!("--log-file={}", self.case.path("run/ovsdb.log"));
        self.database = Some(self.spawn("ovsdb-server", &[&file, &remote, "--pidfile", "-vconsole:off", &log]));
        wait_for(&socket);
    }

    /// Starts ovs-vswitchd.
    pub fn start_daemon(&mut self) {
        let file = self.case.path("run/ovs-vswitchd.pid");
        let _ = std::fs::remove_file(&file);
        let database = format!("unix:{}", self.case.path("run/db.sock"));
        let log = format!("--log-file={}", self.case.path("run/vswitchd.log"));
        self.daemon = Some(self.spawn("ovs-vswitchd", &[&database, "--pidfile", "-vconsole:off", &log]));
        wait_for(&file);
        // Only what changes something is waited for.
        let pid = std::fs::read_to_string(&file).unwrap();
        let started = format!("external_ids:started={}", pid.trim());
        self.tool("ovs-vsctl", &["--timeout=10", "set", "Open_vSwitch", ".", &started]);
    }

    /// Ends ovsdb-server.
    pub fn kill_database(&mut self) {
        end(&mut self.database);
    }

    /// Ends ovs-vswitchd, which forgets all flows.
    pub fn kill_daemon(&mut self) {
        end(&mut self.daemon);
    }

    /// Runs one of Open vSwitch's own tools, which must succeed.
    #[track_caller]
    pub fn tool(&self, name: &str, args: &[&str]) -> String {
        let program = tools().join("bin").join(name).display().to_string();
        let run = format!("OVS_RUNDIR={}", self.case.path("run"));
        self.case.run(&[&["env", &run, &program], args].concat(), "").ok()
    }

    /// The flows of a bridge, sorted, as `ovs-ofctl` shows them.
    #[track_caller]
    #[must_use]
    pub fn flows(&self, bridge: &str) -> Vec<String> {
        let text = self.tool("ovs-ofctl", &["-O", "OpenFlow14", "--no-stats", "--names", "dump-flows", bridge]);
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.sort_unstable();
        lines
    }

    /// Applies a state of `openflow`.
    #[must_use]
    pub fn apply(&self, args: &[&str], state: &Value) -> Output {
        self.case.op("op-apply", &[&["--yes", "--plugin", "openflow"], args].concat(), &state.to_string())
    }

    /// The state of `openflow`.
    #[track_caller]
    #[must_use]
    pub fn query(&self) -> Value {
        let output = self.case.op("op-query", &["--plugin", "openflow"], "");
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.json()["plugins"]["openflow"].clone()
    }
}

impl Drop for Vswitch {
    fn drop(&mut self) {
        end(&mut self.daemon);
        end(&mut self.database);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[track_caller]
fn wait_for(file: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !Path::new(file).exists() {
        assert!(Instant::now() < end, "{file} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! A bus of the tests' own: a `dbus-daemon` with a configuration, socket and services in a temporary folder. It has
//! the default limits of a system bus, 128 pending replies among them, and never anything to do with the machine's.

use crate::synth::wire::Connection;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A running bus; it ends when dropped, and also when the test's process dies.
#[derive(Debug)]
pub struct PrivateBus {
    folder: tempfile::TempDir,
    address: String,
    child: Child,
}

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=@DIR@/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>@DIR@/services</servicedir>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

impl PrivateBus {
    /// Starts a bus.
    ///
    /// # Panics
    /// When there is no `dbus-daemon` or no `setpriv`, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a bus with more elements in its configuration, `<limit .../>` for example.
    ///
    /// # Panics
    /// See [`PrivateBus::start`].
    #[must_use]
    pub fn start_with(more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("op-dbus-bus-").tempdir().expect("a temporary folder");
        let dir = folder.path().display().to_string();
        std::fs::create_dir(folder.path().join("services")).expect("a folder for services");
        let config = folder.path().join("bus.conf");
        let text = CONFIG.replace("@DIR@", &dir).replace("</busconfig>", &format!("{more}</busconfig>"));
        std::fs::write(&config, text).expect("the bus's configuration");
        let mut command = Command::new("dbus-daemon");
        command.arg(format!("--config-file={}", config.display())).args([
            "--nofork",
            "--nopidfile",
            "--print-address=1",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // What it starts must not find the machine's own bus.
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={dir}/bus"));
        let mut child = spawn(command);
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut ready);
        }
        assert!(ready.starts_with("unix:"), "the private bus did not start: {ready:?}");
        Self { address: format!("unix:path={dir}/bus"), folder, child }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder of its own, for whatever should go with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a service activatable: the bus starts `exec`, a command line, when somebody calls `name`.
    ///
    /// # Panics
    /// When the bus does not take it.
    pub fn add_activatable(&self, name: &str, exec: &str) {
        let file: PathBuf = self.folder.path().join("services").join(format!("{name}.service"));
        // A system bus wants a user, and ignores it without its set-user-id helper.
        let text = format!("[D-BUS Service]\nName={name}\nExec={exec}\nUser=root\n");
        std::fs::write(file, text).expect("a service file");
        let mut connection = Connection::open(&self.address).expect("the private bus");
        connection.bus("ReloadConfig", Vec::new()).expect("the bus reads its configuration again");
    }

    /// Makes the synthetic service of `seed` activatable, its state in a file, with more arguments; the file's path.
    ///
    /// # Panics
    /// See [`PrivateBus::add_activatable`].
    pub fn add_synth(&self, seed: u64, args: &[&str]) -> PathBuf {
        let state = self.folder.path().join(format!("state-{seed}.json"));
        let program = crate::program("op-dbus-synth");
        let mut exec = format!("{} --address {} --seed {seed}", program.display(), self.address);
        exec.push_str(&format!(" --state {}", state.display()));
        args.iter().for_each(|arg| exec.push_str(&format!(" {arg}")));
        self.add_activatable(&crate::synth::Spec::from_seed(seed).service, &exec);
        state
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program that is killed when this process dies, however it dies.
///
/// The kernel's signal comes when the *thread* that started the child ends, and every test is a thread: so one thread
/// that never ends starts all children.
///
/// # Panics
/// When the program cannot be started.
#[must_use]
pub fn spawn(command: Command) -> Child {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, of_tests) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in of_tests {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    let what = format!("{command:?}");
    let order = (bound_to_us(&command), answer);
    starter.lock().unwrap_or_else(PoisonError::into_inner).send(order).expect("the starter never ends");
    let child = child.recv().expect("the starter answers");
    child.unwrap_or_else(|error| panic!("could not start {what}: {error}"))
}

/// The same command through `setpriv --pdeathsig`, with its environment, folder and standard output.
fn bound_to_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound.stdin(Stdio::null()).stdout(Stdio::piped());
    bound
}

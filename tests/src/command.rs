//! Commands that run somewhere else - in a session, a container, a virtual machine - with their own exit codes and
//! streams.

use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where commands run: a session, a container, a virtual machine. What the cases share takes any of them.
pub trait Place: Debug {
    /// Starts a command there.
    #[doc(hidden)]
    fn begin(&self, argv: &[&str], stdin: &str) -> Started;

    /// A file there, if it can be read.
    #[doc(hidden)]
    fn read(&self, path: &str) -> Option<String>;

    /// Runs a command to its end, with `stdin` as its standard input. It has no terminal; its working directory is
    /// `/`, and its environment is clean (`env NAME=VALUE COMMAND` sets more).
    ///
    /// # Panics
    /// When the harness itself fails. A command that fails or does not exist (127) is an [`Output`] like any other.
    fn run(&self, argv: &[&str], stdin: &str) -> Output {
        self.begin(argv, stdin).wait()
    }

    /// Runs a `bash` script.
    ///
    /// # Panics
    /// As [`Place::run`].
    fn sh(&self, script: &str) -> Output {
        self.run(&["bash", "-c", script], "")
    }

    /// Starts a command and does not wait for it.
    ///
    /// # Panics
    /// As [`Place::run`].
    fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_>;
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 + N when signal N killed it, as a shell says it.
    pub code: i32,
    /// Standard output. Bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// A command that `spawn` started. Dropping it does not end it; the end of where it runs does.
#[derive(Debug)]
pub struct Running<'p> {
    place: &'p dyn Place,
    command: Started,
    pid_file: String,
}

impl<'p> Running<'p> {
    pub(crate) fn start(place: &'p dyn Place, argv: &[&str], stdin: &str) -> Self {
        static SPAWNED: AtomicU32 = AtomicU32::new(0);
        let number = SPAWNED.fetch_add(1, Ordering::Relaxed);
        let pid_file = format!("/run/op-spawned-{number}");
        let mut wrapped = vec!["sh", "-c", r#"echo $$ >"$0"; exec "$@""#, &pid_file];
        wrapped.extend(argv);
        let command = place.begin(&wrapped, stdin);
        Running { place, command, pid_file }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When the harness itself fails.
    pub fn wait(self) -> Output {
        self.command.wait()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.command.child.try_wait(), Ok(None))
    }

    /// Sends a signal ("INT", "KILL", ...) to the command, not to its children.
    ///
    /// # Panics
    /// When the command does not run (any more).
    pub fn signal(&self, name: &str) {
        self.place.begin(&["kill", &format!("-{name}"), &self.pid().to_string()], "").wait().ok();
    }

    /// Its process id where it runs.
    ///
    /// # Panics
    /// When it does not start within ten seconds.
    pub fn pid(&self) -> u32 {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let text = self.place.read(&self.pid_file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
                return pid;
            }
            assert!(Instant::now() < end, "the command did not start: {}", read_all(&self.command.stderr));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it wrote to standard output so far.
    pub fn stdout_so_far(&self) -> String {
        read_all(&self.command.stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr_so_far(&self) -> String {
        read_all(&self.command.stderr)
    }
}

impl Output {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it failed, with all that it said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output as JSON, whatever the exit code is.
    ///
    /// # Panics
    /// When it is no JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON: {error}\nstdout: {}\nstderr: {}", self.stdout, self.stderr),
        }
    }
}

/// A started command and the files its streams go to.
#[derive(Debug)]
pub struct Started {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Started {
    /// Starts `command` with `stdin` as its standard input.
    pub(crate) fn start(command: &mut Command, stdin: &str) -> Self {
        // Files and not pipes: nobody has to read while the command writes, so nothing can block.
        let [input, stdout, stderr] = std::array::from_fn(|_| tempfile::tempfile().expect("a temporary file"));
        input.write_all_at(stdin.as_bytes(), 0).expect("the temporary file takes the input");
        let again = |file: &File| file.try_clone().expect("a second descriptor");
        command.stdin(input).stdout(again(&stdout)).stderr(again(&stderr));
        Self { child: command.spawn().expect("bash runs the harness's script"), stdout, stderr }
    }

    pub(crate) fn wait(mut self) -> Output {
        let status = self.child.wait().expect("the child is ours");
        Output { code: exit_code(status), stdout: read_all(&self.stdout), stderr: read_all(&self.stderr) }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it ended by itself or by a signal")
}

/// Reads from the start without moving the offset, which the writing process shares.
pub(crate) fn read_all(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().expect("an open file").len()).expect("it fits")];
    file.read_exact_at(&mut bytes, 0).expect("nobody shortens it");
    String::from_utf8_lossy(&bytes).into_owned()
}

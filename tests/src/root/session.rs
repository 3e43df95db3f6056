//! One entered root: commands run in it with their own exit codes and streams.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{RealRoot, SessionOptions, scripts};

/// A running copy of the root. Dropping it kills every process in it and takes its file system away; so does the
/// end of the test program, however it ends.
#[derive(Debug)]
pub struct Session {
    outer: Child,
    /// The bus ends when this pipe closes, also when the test program was killed and drops nothing.
    _alive: ChildStdin,
    leader: u32,
    spawned: AtomicU32,
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

/// A command that [`Session::spawn`] started. Dropping it does not end it; the session's end does.
#[derive(Debug)]
pub struct Running<'s> {
    session: &'s Session,
    command: Started,
    pid_file: String,
}

impl Session {
    pub(super) fn start(root: &RealRoot, options: &SessionOptions) -> Session {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pid_file = directory.path().join("pid");
        let messages = tempfile::tempfile().expect("a temporary file");
        let mut enter = Command::new(scripts().join("enter.sh"));
        enter.args(options.bind_arguments()).arg("--pid-file").arg(&pid_file).arg(&root.path);
        enter.arg("/op/src/tests/root/bus.sh");
        if !options.services.is_empty() {
            enter.arg("--services").arg(options.services.join(" "));
        }
        enter.args(["sh", "-c", "echo ready; exec cat >/dev/null"]);
        enter.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages.try_clone().expect("a second descriptor"));
        let mut outer = enter.spawn().expect("bash runs tests/root/enter.sh");
        let alive = outer.stdin.take().expect("stdin is piped");
        let mut line = String::new();
        let _ = BufReader::new(outer.stdout.take().expect("stdout is piped")).read_line(&mut line);
        if line != "ready\n" {
            drop(alive);
            let status = outer.wait().expect("the child is ours");
            panic!("tests/root/enter.sh ended with {status}: {}", read_all(&messages));
        }
        let leader = fs::read_to_string(&pid_file).expect("enter.sh wrote its pid file");
        let leader = leader.trim().parse().expect("a process id");
        Session { outer, _alive: alive, leader, spawned: AtomicU32::new(0) }
    }

    /// Runs a command to its end, with `stdin` as its standard input. It has no terminal; its working directory is
    /// `/`, and its environment is clean (`env NAME=VALUE COMMAND` sets more).
    ///
    /// # Panics
    /// When the harness itself fails. A command that fails or does not exist (127) is an [`Output`] like any other.
    pub fn run(&self, argv: &[&str], stdin: &str) -> Output {
        self.begin(argv, stdin).wait()
    }

    /// Runs a `bash` script.
    ///
    /// # Panics
    /// As [`Session::run`].
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["bash", "-c", script], "")
    }

    /// Starts a command and does not wait for it.
    ///
    /// # Panics
    /// As [`Session::run`].
    pub fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed);
        let pid_file = format!("/run/op-spawned-{number}");
        let mut wrapped = vec!["sh", "-c", r#"echo $$ >"$0"; exec "$@""#, &pid_file];
        wrapped.extend(argv);
        let command = self.begin(&wrapped, stdin);
        Running { session: self, command, pid_file }
    }

    /// Makes a default route that leads nowhere, for services that do nothing "offline" (PackageKit's `RefreshCache`).
    ///
    /// # Panics
    /// When that fails, so also the second time.
    pub fn pretend_online(&self) {
        self.run(&["/op/src/tests/root/online.sh"], "").ok();
    }

    /// What the bus and the daemons wrote to their standard error so far.
    ///
    /// # Panics
    /// As [`Session::run`].
    pub fn log(&self) -> String {
        self.run(&["cat", "/run/op-bus/log"], "").ok()
    }

    /// The id, on this machine, of the first process in the session: `/proc/ID/root` is its file system.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    fn begin(&self, argv: &[&str], stdin: &str) -> Started {
        // Files and not pipes: nobody has to read while the command writes, so nothing can block.
        let [input, stdout, stderr] = std::array::from_fn(|_| tempfile::tempfile().expect("a temporary file"));
        input.write_all_at(stdin.as_bytes(), 0).expect("the temporary file takes the input");
        let again = |file: &File| file.try_clone().expect("a second descriptor");
        let mut run = Command::new(scripts().join("run.sh"));
        run.arg(self.leader.to_string()).args(argv);
        run.stdin(input).stdout(again(&stdout)).stderr(again(&stderr));
        Started { child: run.spawn().expect("bash runs tests/root/run.sh"), stdout, stderr }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Once this process is gone, so is everything in its pid namespace: the kernel waits for that before it
        // reports the exit. Until `outer` is waited for, the id cannot belong to another process.
        if matches!(self.outer.try_wait(), Ok(None)) {
            let _ = Command::new("sh").arg("-c").arg(format!("kill -KILL {}", self.leader)).status();
        }
        let _ = self.outer.wait();
    }
}

impl Running<'_> {
    /// Waits for the end.
    ///
    /// # Panics
    /// As [`Session::run`].
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
        self.session.sh(&format!("kill -{name} {}", self.pid())).ok();
    }

    /// Its process id inside of the session.
    ///
    /// # Panics
    /// When it does not start within ten seconds.
    pub fn pid(&self) -> u32 {
        let path = format!("/proc/{}/root{}", self.session.leader, self.pid_file);
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
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

/// A started `run.sh` and the files its streams go to.
#[derive(Debug)]
struct Started {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Started {
    fn wait(mut self) -> Output {
        let status = self.child.wait().expect("the child is ours");
        Output { code: exit_code(status), stdout: read_all(&self.stdout), stderr: read_all(&self.stderr) }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it ended by itself or by a signal")
}

/// Reads from the start without moving the offset, which the writing process shares.
fn read_all(file: &File) -> String {
    let mut bytes = vec![0; usize::try_from(file.metadata().expect("an open file").len()).expect("it fits")];
    file.read_exact_at(&mut bytes, 0).expect("nobody shortens it");
    String::from_utf8_lossy(&bytes).into_owned()
}

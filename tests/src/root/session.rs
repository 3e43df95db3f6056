//! One entered root: commands run in it with their own exit codes and streams.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{RealRoot, SessionOptions, scripts};
use crate::command::{Output, Place, Running, Started, read_all};

/// A running copy of the root. Dropping it kills every process in it and takes its file system away; so does the
/// end of the test program, however it ends.
#[derive(Debug)]
pub struct Session {
    outer: Child,
    /// The bus ends when this pipe closes, also when the test program was killed and drops nothing.
    _alive: ChildStdin,
    leader: u32,
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
        Session { outer, _alive: alive, leader }
    }

    /// As [`Place::run`].
    ///
    /// # Panics
    /// As that.
    pub fn run(&self, argv: &[&str], stdin: &str) -> Output {
        Place::run(self, argv, stdin)
    }

    /// As [`Place::sh`].
    ///
    /// # Panics
    /// As that.
    pub fn sh(&self, script: &str) -> Output {
        Place::sh(self, script)
    }

    /// As [`Place::spawn`].
    ///
    /// # Panics
    /// As that.
    pub fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        Running::start(self, argv, stdin)
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
}

impl Place for Session {
    fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        Running::start(self, argv, stdin)
    }

    fn begin(&self, argv: &[&str], stdin: &str) -> Started {
        let mut run = Command::new(scripts().join("run.sh"));
        run.arg(self.leader.to_string()).args(argv);
        Started::start(&mut run, stdin)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root{path}", self.leader)).ok()
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

//! A program that prints records, one JSON document a line, as a test reads it: each line with the moment it came.

use crate::private_bus::spawn;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A running `op-query --watch`, killed when dropped.
#[derive(Debug)]
pub struct Watching {
    child: Child,
    lines: Receiver<(Instant, String)>,
    /// Every record so far.
    pub seen: Vec<Value>,
}

impl Watching {
    /// Starts `op-query --watch` on the bus at `address`, with plugins from `mappings` and its state in `root`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(address: &str, mappings: &Path, root: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(crate::program("op-query"));
        command.args(["--watch", "--address", address, "--root"]).arg(root).args(args);
        command.env("OP_DBUS_MAPPINGS", mappings).stdout(Stdio::piped());
        let mut child = spawn(command);
        let stdout = child.stdout.take().expect("standard output is piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// The next record and when it came; nothing when it takes longer than `limit` or the program has ended.
    ///
    /// # Panics
    /// When the line is no JSON.
    pub fn next(&mut self, limit: Duration) -> Option<(Instant, Value)> {
        match self.lines.recv_timeout(limit) {
            Ok((at, line)) => {
                let record: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                self.seen.push(record.clone());
                Some((at, record))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits for a record that `is_it`, and returns it with the moment it came.
    ///
    /// # Panics
    /// When it does not come within ten seconds.
    #[track_caller]
    pub fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let end = Instant::now() + Duration::from_secs(10);
        while let Some((at, record)) = self.next(end.saturating_duration_since(Instant::now())) {
            if is_it(&record) {
                return (at, record);
            }
        }
        panic!("not within ten seconds: {what}; so far:\n{}", self.told());
    }

    /// Waits until everything that is there was told, and returns what was told before.
    ///
    /// # Panics
    /// As [`Watching::until`].
    #[track_caller]
    pub fn begun(&mut self) -> Vec<Value> {
        self.until("everything is told", |record| record["kind"] == "watching");
        self.seen.clone()
    }

    /// The records until nothing has come for `quiet`.
    pub fn rest(&mut self, quiet: Duration) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some((_, record)) = self.next(quiet) {
            rest.push(record);
        }
        rest
    }

    /// Every record so far, one a line.
    #[must_use]
    pub fn told(&self) -> String {
        self.seen.iter().map(|record| format!("{record}\n")).collect()
    }

    /// Sends a signal ("INT", ...).
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// Waits for the end; the exit code.
    ///
    /// # Panics
    /// When it does not end within ten seconds.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            assert!(Instant::now() < end, "it did not end; so far:\n{}", self.told());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

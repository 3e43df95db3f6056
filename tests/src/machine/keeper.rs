//! The script that keeps a machine.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::command::read_all;

/// A started `boot.sh` or `vm.sh`. Dropping it ends the machine, and waits until nothing is left of it.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Child,
    /// The machine ends when this pipe closes, also when the test program was killed and drops nothing.
    alive: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
    messages: File,
    run_folder: PathBuf,
}

impl Keeper {
    pub(super) fn start(command: &mut Command) -> Keeper {
        let messages = tempfile::tempfile().expect("a temporary file");
        let again = messages.try_clone().expect("a second descriptor");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(again);
        let mut process = command.spawn().expect("bash runs the machine's script");
        let alive = process.stdin.take();
        let says = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Keeper { process, alive, says, messages, run_folder: PathBuf::new() }
    }

    /// Waits for the line that says so.
    pub(super) fn wait_until_ready(&mut self) {
        let mut line = String::new();
        let _ = self.says.read_line(&mut line);
        let Some(run) = line.trim_end().strip_prefix("ready ") else {
            self.alive = None;
            let status = self.process.wait().expect("the child is ours");
            panic!("the machine's script ended with {status}: {}", read_all(&self.messages));
        };
        self.run_folder = PathBuf::from(run);
    }

    pub(super) fn run_folder(&self) -> &Path {
        &self.run_folder
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.alive = None;
        let _ = self.process.wait();
    }
}

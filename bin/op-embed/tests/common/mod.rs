//! The program in a root of its own.

#![allow(dead_code, reason = "each test program uses a part")]

use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub struct Host(tempfile::TempDir);

/// How a run ended and what it printed.
pub struct Output {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub fn floats(&self) -> Vec<f32> {
        self.stdout.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }
}

impl Host {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        Self(folder)
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// The program with arguments, in an environment that has nothing else.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_in(&[], args)
    }

    fn command_in(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let words: Vec<&str> = [wrapper, &[env!("CARGO_BIN_EXE_op-embed")], args].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OP_DBUS_ROOT", self.root())
            .env("OP_DBUS_MODELS", self.root().join("none"))
            .env("HOME", self.0.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str], stdin: &str) -> Output {
        self.run_bytes(args, stdin.as_bytes())
    }

    pub fn run_bytes(&self, args: &[&str], stdin: &[u8]) -> Output {
        self.wrapped(&[], args, stdin)
    }

    /// The program as the last argument of another one.
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.command_in(wrapper, args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A program that refuses its arguments reads no input.
            scope.spawn(move || pipe.write_all(stdin));
            child.wait_with_output().unwrap()
        });
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub fn records(output: &Output) -> Vec<Value> {
    output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The error document, the last line on standard error.
pub fn error(output: &Output) -> Value {
    let last = output.stderr.lines().last().unwrap_or_default();
    serde_json::from_str::<Value>(last).unwrap_or_else(|_| panic!("no error in {:?}", output.stderr))["error"].take()
}

pub fn values(record: &Value) -> Vec<f64> {
    record["vector"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

//! A service that nobody knows, and the programs on a root of their own.

#![allow(clippy::unwrap_used, dead_code, reason = "a test's failure is its report; not every test needs all of it")]

use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::program;
use op_dbus_tests::synth::{Control, Synth};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub struct Case {
    pub bus: PrivateBus,
    pub synth: Synth,
    pub control: Control,
    pub folder: TempDir,
    pub root: PathBuf,
}

impl Case {
    pub fn start(seed: u64) -> Self {
        let bus = PrivateBus::start();
        let synth = Synth::start(&bus, seed, &[]);
        let folder = tempfile::tempdir().unwrap();
        synth.spec.write_plugin(&folder.path().join("mappings")).unwrap();
        let root = folder.path().join("root");
        Self { control: synth.control(), bus, synth, folder, root }
    }

    fn command(&self, before: &[&str], name: &str, args: &[&str]) -> Command {
        let program = program(name);
        let argv: Vec<&Path> = before.iter().map(Path::new).chain([program.as_path()]).collect();
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).args(args).args(["--address", self.bus.address(), "--root"]).arg(&self.root);
        command.env("OP_DBUS_MAPPINGS", self.folder.path().join("mappings"));
        // What is asked on the side would make each run another one.
        command.env("OP_DBUS_EMBED_LEVEL", "none");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, before: &[&str], name: &str, args: &[&str], stdin: &str) -> Output {
        let mut child = self.command(before, name, args).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// An apply that runs.
    pub fn start_apply(&self, document: &Value) -> Child {
        let mut child = self.command(&[], "op-apply", &["--yes", "--allow-irreversible"]).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(document.to_string().as_bytes());
        child
    }

    pub fn apply(&self, before: &[&str], document: &Value) -> Output {
        self.run(before, "op-apply", &["--yes", "--allow-irreversible"], &document.to_string())
    }

    #[track_caller]
    pub fn verify(&self) -> Value {
        let verdict = self.run(&[], "op-audit", &["verify"], "");
        assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
        serde_json::from_slice(&verdict.stdout).unwrap()
    }

    pub fn recover(&self) -> (i32, Value) {
        let output = self.run(&[], "op-apply", &["--recover"], "");
        let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code().unwrap(), document)
    }

    pub fn truth(&mut self) -> Value {
        self.control.dump()["keys"].clone()
    }

    /// Two values for the first key that is written by one call and read back.
    pub fn documents(&self) -> [Value; 2] {
        let spec = &self.synth.spec;
        let keys: Vec<&str> =
            spec.writable_keys().into_iter().filter(|key| spec.other_value(key, 1).is_some()).collect();
        [1, 2].map(|n| {
            let values: serde_json::Map<String, Value> =
                keys.iter().take(3).map(|key| ((*key).to_owned(), spec.other_value(key, n).unwrap().json())).collect();
            json!({"plugins": {&spec.plugin: values}})
        })
    }
}

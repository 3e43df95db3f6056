//! The front as it is installed: the real executable among stand-in programs.

// A test may unwrap: its failure is its report.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// A folder with a copy of op-dbus and another one in `$PATH`.
///
/// One at a time: a program that is being written while a sibling test forks cannot be started ("text file busy").
struct Machine {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Machine {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = Self { folder: tempfile::tempdir().unwrap(), _alone: alone };
        fs::create_dir(machine.beside()).unwrap();
        fs::create_dir(machine.in_path()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_op-dbus"), machine.beside().join("op-dbus")).unwrap();
        machine
    }

    fn beside(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    fn in_path(&self) -> PathBuf {
        self.folder.path().join("path")
    }

    fn op_dbus(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.beside().join("op-dbus"));
        command.args(args).env("PATH", format!("relative::{}:/usr/bin:/bin", self.in_path().display()));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.op_dbus(args).output().unwrap()
    }
}

fn stand_in(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> Value {
    assert_eq!(output.stdout, b"", "errors do not go to standard output");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    serde_json::from_str::<Value>(&stderr).unwrap_or_else(|e| panic!("{stderr}: {e}"))["error"].clone()
}

#[test]
fn a_verb_is_its_program_with_its_arguments() {
    let machine = Machine::new();
    for name in ["op-query", "op-install"] {
        stand_in(&machine.beside(), name, r#"echo "$(basename "$0")"; for a in "$@"; do echo "<$a>"; done"#);
    }
    for (args, expected) in [
        (&["query"][..], "op-query\n"),
        (&["query", "--plugin", "a b", "--", "-x", ""], "op-query\n<--plugin>\n<a b>\n<-->\n<-x>\n<>\n"),
        (&["--root", "/r", "query", "x"], "op-query\n<--root>\n</r>\n<x>\n"),
        (&["plugin", "list"], "op-install\n<list>\n"),
        (&["plugin"], "op-install\n<--help>\n"),
        (&["help", "query"], "op-query\n<--help>\n"),
    ] {
        let output = machine.run(args);
        assert_eq!(stdout(&output), expected, "{args:?}: {output:?}");
        assert!(output.status.success());
    }
}

#[test]
fn beside_itself_first_then_in_path_and_any_op_program_there() {
    let machine = Machine::new();
    stand_in(&machine.in_path(), "op-query", "echo path");
    stand_in(&machine.in_path(), "op-foo", "echo foo \"$@\"");
    assert_eq!(stdout(&machine.run(&["query"])), "path\n");
    stand_in(&machine.beside(), "op-query", "echo beside");
    assert_eq!(stdout(&machine.run(&["query"])), "beside\n");
    assert_eq!(stdout(&machine.run(&["foo", "--bar"])), "foo --bar\n");
    fs::set_permissions(machine.beside().join("op-query"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(stdout(&machine.run(&["query"])), "path\n");
}

#[test]
fn exit_codes_signals_and_streams_pass_through() {
    let machine = Machine::new();
    stand_in(&machine.beside(), "op-apply", "cat; echo err >&2; exit 6");
    stand_in(&machine.beside(), "op-audit", "kill -TERM $$");
    let output = Command::new("sh")
        .args(["-c", r#"printf in | "$0" apply"#])
        .arg(machine.beside().join("op-dbus"))
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str(), &output.stderr[..]), (Some(6), "in", &b"err\n"[..]));
    assert_eq!(machine.run(&["audit"]).status.signal(), Some(15));
}

#[test]
fn a_program_that_is_not_installed() {
    let machine = Machine::new();
    for args in [&["apply", "x"][..], &["plugin", "list"], &["help", "audit"]] {
        let output = machine.run(args);
        assert_eq!(output.status.code(), Some(69), "{args:?}");
        let error = error(&output);
        assert_eq!(error["kind"], "unavailable");
        assert!(error["message"].as_str().unwrap().ends_with("is not installed"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("beside op-dbus"), "{error}");
    }
    stand_in(&machine.beside(), "op-embed", "");
    fs::write(machine.beside().join("op-embed"), "#!/nonexistent/interpreter\n").unwrap();
    assert_eq!(machine.run(&["embed"]).status.code(), Some(69));
}

#[test]
fn wrong_use() {
    let machine = Machine::new();
    stand_in(&machine.in_path(), "op-evil", "echo evil");
    for (args, hint) in [
        (&["qurey"][..], "did you mean \"query\"?"),
        (&["frobnicate"], "op-dbus --help"),
        (&[], "op-dbus --help"),
        (&["../path/op-evil"], "op-dbus --help"),
        (&["/../../path/op-evil"], "op-dbus --help"),
        (&["dbus"], "op-dbus --help"),
        (&[""], "op-dbus --help"),
        (&["--jsn", "query"], "did you mean --json?"),
        (&["--plugin", "x", "query"], "come after it"),
        (&["--session", "--system", "query"], "leave one of them out"),
    ] {
        let output = machine.run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        let error = error(&output);
        assert_eq!(error["kind"], "usage");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{args:?}: {error}");
    }
    let text = machine.run(&["--no-json", "qurey"]);
    assert_eq!(
        String::from_utf8(text.stderr).unwrap(),
        "error: there is no verb \"qurey\"\n  hint: did you mean \"query\"?\n"
    );
}

#[test]
fn help_and_version() {
    let machine = Machine::new();
    stand_in(&machine.in_path(), "op-query", "");
    for args in [&["--help"][..], &["help"], &["-h"], &["--json", "--help"]] {
        let output = machine.run(args);
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        let line = |verb: &str| text.lines().find(|line| line.trim_start().starts_with(verb)).unwrap().to_owned();
        assert!(!line("query").contains("not installed"), "{text}");
        for verb in ["discover", "apply", "install", "snapshot", "embed", "audit"] {
            assert!(line(verb).ends_with("(not installed)"), "{text}");
        }
    }
    let output = machine.run(&["--version"]);
    assert_eq!(stdout(&output), format!("op-dbus {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_one_does_not() {
    let machine = Machine::new();
    let mut child = machine.op_dbus(&["--help"]);
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let output = child.stdout(write).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = machine.op_dbus(&["--help"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output)["message"].as_str().unwrap().contains("standard output"));
}

#[test]
fn arguments_that_are_not_utf8_reach_the_program() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let machine = Machine::new();
    stand_in(&machine.beside(), "op-query", r#"printf %s "$1""#);
    let output = machine.op_dbus(&["query"]).arg(OsStr::from_bytes(b"a\xff")).output().unwrap();
    assert_eq!(output.stdout, b"a\xff");
}

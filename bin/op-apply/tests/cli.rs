//! The program without a bus: its command line, and input that is refused before anything else is asked for.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(args: &[&str], stdin: &str) -> (i32, String, String) {
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_op-apply"))
        .args(args)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .env("OP_DBUS_ROOT", root.path())
        .env("OP_DBUS_MAPPINGS", mappings())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments reads no input.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The shipped mappings.
fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings")
}

fn error(stderr: &str) -> Value {
    serde_json::from_str::<Value>(stderr).unwrap()["error"].take()
}

#[test]
fn help_and_version() {
    let (code, stdout, _) = run(&["--version"], "");
    assert_eq!((code, stdout.as_str()), (0, "op-apply 0.1.0\n"));
    let (code, stdout, _) = run(&["--help"], "");
    assert_eq!(code, 0);
    for word in ["--dry-run", "--yes", "--address", "op-apply want.json"] {
        assert!(stdout.contains(word), "{word} is missing in {stdout}");
    }
}

#[test]
fn wrong_use_is_64() {
    for args in [
        &["--dri-run"][..],
        &["--prune", "many"],
        &["--lock-timeout", "soon"],
        &["a", "b"],
        &["--session", "--system"],
        &["--owner", ""],
        &["--owner", " "],
    ] {
        let (code, stdout, stderr) = run(args, r#"{"plugins":{}}"#);
        assert_eq!((code, stdout.as_str()), (64, ""), "{args:?}: {stderr}");
    }
}

#[test]
fn a_plan_is_not_narrowed_by_options() {
    for args in [["--plugin", "hostname"], ["--owner", "me"], ["--prune", "1"]] {
        let (code, stdout, stderr) = run(&[&args[..], &["-"]].concat(), r#"{"kind":"plan","version":1}"#);
        assert_eq!((code, stdout.as_str()), (64, ""), "{args:?}: {stderr}");
        assert_eq!(error(&stderr)["subject"], args[0]);
    }
}

#[test]
fn unreadable_input_is_65_and_says_where() {
    for (input, words) in [
        ("", "there is nothing in it"),
        ("{", "standard input:1:1"),
        ("[]", "expected an object"),
        (r#"{"plugins":{"hostname":1}}"#, "plugins.hostname"),
        (r#"{"plugin":{}}"#, "no such key"),
        (r#"{"kind":"inventory","version":1,"services":[]}"#, "inventory"),
        (r#"{"kind":"plan","version":1}"#, "plan"),
        (r#"{"plugins":{},"plugins":{}}"#, "twice"),
        ("{\"plugins\":{}}\n{\"plugins\":{}}\n", "jq -s"),
    ] {
        let (code, stdout, stderr) = run(&["-"], input);
        assert_eq!((code, stdout.as_str()), (65, ""), "{input}: {stderr}");
        assert!(stderr.contains(words), "{words:?} is missing in {stderr} for {input}");
    }
}

#[test]
fn a_bus_that_is_not_there_is_69_with_a_hint() {
    let (code, _, stderr) = run(&["--yes"], r#"{"plugins":{"hostname":{"static_hostname":"x"}}}"#);
    assert_eq!(code, 69, "{stderr}");
    let error = error(&stderr);
    assert_eq!(error["kind"], "unavailable");
    assert!(error["hint"].is_string(), "{error}");
}

#[test]
fn the_default_subcommand_may_be_named() {
    let named = run(&["apply", "-"], "{");
    let implied = run(&["-"], "{");
    assert_eq!(named, implied);
}

#[test]
fn it_can_be_stopped_while_it_waits_for_its_document() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_op-apply")).stdin(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    for _ in 0..1000 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("only SIGKILL ended it");
}

/// The first recording of a shipped mapping, as a bus.
fn recording(plugin: &str) -> String {
    let folder = mappings().join(plugin).join("recordings");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    format!("--address=replay:{}", files[0].display())
}

/// What is only shown is not compared: that all is as wanted says nothing of it.
#[test]
fn what_is_not_compared_is_named() {
    for (plugin, state, words) in [
        ("systemd", r#"{"failed_units":["x"]}"#, "only shown: systemd.failed_units."),
        ("udisks2", r#"{"supported_filesystems":["ext9"]}"#, "only shown: udisks2.supported_filesystems."),
        ("upower", r#"{"on_battery":false}"#, "only shown: upower.on_battery."),
    ] {
        let document = format!(r#"{{"plugins":{{"{plugin}":{state}}}}}"#);
        let (code, stdout, stderr) = run(&["--check", "--no-json", &recording(plugin), "-"], &document);
        assert_eq!((code, stdout.as_str()), (0, "Nothing to do: everything is as wanted.\n"), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
    // A document that speaks of nothing but what is compared hears nothing of it.
    let (code, _, stderr) = run(&["--check", &recording("systemd"), "-"], r#"{"plugins":{"systemd":{}}}"#);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn a_recording_and_a_root_are_what_they_should_be() {
    let document = r#"{"plugins":{"systemd":{}}}"#;
    for (args, words) in [
        (["--address=replay:/tmp", "--check"], "no plain file"),
        ([&*recording("systemd"), "--root=/etc/passwd"], "the state root is a folder"),
    ] {
        let (code, stdout, stderr) = run(&args, document);
        assert_eq!((code, stdout.as_str()), (65, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

//! The program on the file system the tests run on; what it does on each kind of file system is in the tests crate.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(root: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_op-snapshot"));
    let output = command.args(args).env("OP_DBUS_ROOT", root).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(root: &Path, args: &[&str]) -> Value {
    let (code, stdout, stderr) = run(root, args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn help_and_version() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(root.path(), &["--version"]).1, "op-snapshot 0.1.0\n");
    let (code, stdout, _) = run(root.path(), &["--help"]);
    assert_eq!(code, 0);
    for command in ["init", "doctor", "rotate", "list", "restore", "delete"] {
        assert!(stdout.contains(command), "{command}: {stdout}");
    }
}

#[test]
fn a_root_is_made_looked_at_and_its_cache_kept_by_the_hour() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    assert_eq!(json(&root, &["list"])["snapshots"], serde_json::json!([]));
    let doctor = json(&root, &["doctor"]);
    assert_eq!(doctor["promises"][0]["is_kept"], false, "{doctor}");
    assert!(!root.exists(), "who only looks makes nothing");

    let made = json(&root, &["init"]);
    assert_eq!((made["kind"].as_str(), made["made"].as_array().unwrap().len()), (Some("root"), 6));
    assert_eq!(json(&root, &["init"])["made"], serde_json::json!([]), "what is right is left alone");

    std::fs::create_dir(root.join("@cache/queries")).unwrap();
    std::fs::write(root.join("@cache/queries/a.json"), "old").unwrap();
    let rotation = json(&root, &["rotate"]);
    let name = rotation["made"].as_str().unwrap().to_owned();
    assert!(name.starts_with("cache@") && name.ends_with(":00"), "{name}");
    let listed = json(&root, &["list"]);
    assert_eq!(listed["snapshots"][0]["name"], name.as_str());
    std::fs::write(root.join("@cache/queries/a.json"), "new").unwrap();

    let (code, stdout, stderr) = run(&root, &["restore", &name]);
    assert_eq!((code, stdout.as_str()), (5, ""), "nobody to ask: {stderr}");
    let hour = name.trim_start_matches("cache@");
    assert_eq!(json(&root, &["restore", hour, "--yes"])["outcome"], "restored", "the hour alone will do");
    assert_eq!(std::fs::read_to_string(root.join("@cache/queries/a.json")).unwrap(), "old");
    assert_eq!(json(&root, &["delete", &name, "-y"])["outcome"], "deleted");
    assert_eq!(json(&root, &["list"])["snapshots"], serde_json::json!([]));

    let (_, table, _) = run(&root, &["doctor", "--no-json"]);
    for word in ["PROMISE", "atomic_exchange", "STORED", "queries"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    for (args, expected) in [
        (&["init", "--no-json"][..], "Nothing to do"),
        (&["rotate", "--no-json"], "Took cache@"),
        (&["rotate", "--no-json"], "No snapshot to take"),
        (&["list", "--no-json"], "cache@"),
    ] {
        let (code, text, stderr) = run(&root, args);
        assert!(code == 0 && text.contains(expected), "{args:?}: {text}{stderr}");
    }
}

#[test]
fn wrong_names_and_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for (args, expected) in [
        (&["restore", "cache@2025-01-15-10:00", "--yes"][..], 65),
        (&["delete", "../../etc", "--yes"], 65),
        (&["delete", "cache@2025-01-15-10:00/../..", "--yes"], 65),
        (&["init", "--at", "/tmp/x"], 64),
        (&["init", "--loop", "much"], 64),
        (&["rotate", "now"], 64),
        (&["rotate", "--lock-timeout", "soon"], 64),
        (&["destroy"], 64),
        (&[], 64),
    ] {
        let (code, stdout, stderr) = run(&root, args);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{args:?}: {stderr}");
    }
    assert!(!root.exists());
}

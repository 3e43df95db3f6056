//! The program without a bus: its command line and its selections.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_op-query"))
        .args(args)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .env("OP_DBUS_ROOT", root.path())
        .env("OP_DBUS_MAPPINGS", root.path().join("none"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn with_file(text: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("selection.json");
    std::fs::write(&file, text).unwrap();
    run(&[file.to_str().unwrap()])
}

#[test]
fn help_and_version() {
    assert_eq!(run(&["--version"]).1, "op-query 0.1.0\n");
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in ["--bare", "--select", "--watch", "--cached", "op-discover | op-query"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn wrong_use_is_64() {
    for args in [
        &["--bare"][..],
        &["--bare", "--plugin", "a", "--plugin", "b"],
        &["--nothing"],
        &["a", "b"],
        &["a.json", "--plugin", "b"],
        &["a.json", "--select", "b"],
        &["--plugin", "a", "--select", "b"],
        &["--select", ""],
        &["--select", "a..b"],
        &["--select", "/a"],
        &["--select", "a", "--bare"],
        &["--raw", "--plugin", "a"],
        &["--max-age", "5m"],
        &["--cached", "--max-age", "soon"],
        &["--cached", "--bare", "--plugin", "a"],
        &["--cached", "--timings"],
        &["--cached", "--host", "a"],
        &["--in", "a.json", "b.json"],
        &["--in", "a.json", "--plugin", "b"],
        &["--in", "a.json", "--cached"],
        &["--in", "a.json", "--select", "/a", "--select", "/b"],
        &["--interval", "1s"],
        &["--count", "1"],
        &["--for", "1s"],
        &["--watch", "--count", "0"],
        &["--watch", "--interval", "1ms"],
        &["--watch", "--for", "long"],
        &["--watch", "--cached"],
        &["--watch", "--all"],
        &["--watch", "--raw", "--select", "a"],
        &["--watch", "-", "a"],
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (64, ""), "{args:?}: {stderr}");
    }
}

#[test]
fn a_selection_that_is_none_is_65() {
    for (text, words) in [
        ("[]", "selection"),
        (r#"{"kind":"plan","version":1}"#, "selection"),
        (r#"{"kind":"inventory","version":1}"#, "op-discover"),
        (r#"{"kind":"inventory","version":2,"services":[]}"#, "version 1"),
    ] {
        let (code, stdout, stderr) = with_file(text);
        assert_eq!((code, stdout.as_str()), (65, ""), "{text}: {stderr}");
        assert!(stderr.contains(words), "{words:?} is missing in {stderr} for {text}");
    }
    assert_eq!(run(&["/nonexistent/selection.json"]).0, 65);
}

#[test]
fn kept_answers_need_no_bus() {
    let (code, stdout, stderr) = run(&["--cached"]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(stderr.contains("op-query"), "{stderr}");
    let (code, stdout, stderr) = run(&["--cached", "--select", "a.b"]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
}

#[test]
fn a_bus_that_is_not_there_is_69() {
    let (code, stdout, stderr) = run(&["--watch", "org.example.Service"]);
    assert_eq!((code, stdout.as_str()), (69, ""), "{stderr}");
    let (code, stdout, stderr) = run(&["--plugin", "org.example.Service"]);
    assert_eq!((code, stdout.as_str()), (69, ""), "{stderr}");
    let (code, _, stderr) = run(&["--address", "nonsense"]);
    assert_eq!(code, 69, "{stderr}");
}

#[test]
fn a_part_of_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("100.json");
    std::fs::write(&file, r#"{"phases": {"pre-start": {"plugins": {"a": {"b": [1, "x"]}}}}, "version": 1}"#).unwrap();
    let part = |more: &[&str]| run(&[&["--in", file.to_str().unwrap()], more].concat());
    for (more, expected) in [
        (&[][..], r#"{"phases":{"pre-start":{"plugins":{"a":{"b":[1,"x"]}}}},"version":1}"#),
        (&["--select", "/phases/pre-start"], r#"{"plugins":{"a":{"b":[1,"x"]}}}"#),
        (&["--select=/phases/pre-start/plugins/a/b/1"], r#""x""#),
    ] {
        let (code, stdout, stderr) = part(more);
        assert_eq!((code, stdout.trim_end(), stderr.as_str()), (0, expected, ""), "{more:?}");
    }
    let (code, stdout, stderr) = part(&["--select", "/phases/post-start"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("/phases/post-start in ") && stderr.contains("phases, version"), "{stderr}");
    assert_eq!(part(&["--select", "phases"]).0, 64);
    assert_eq!(run(&["--in", "/nonexistent/a.json"]).0, 65);
    std::fs::write(&file, "{").unwrap();
    assert_eq!(part(&[]).0, 65);
}

//! The program without a bus: its command line, and services described by files.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use serde_json::Value;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_op-discover"))
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

const XML: &str = r#"<node><interface name="org.example.Lamp"><property name="Lit" type="b" access="readwrite"/>
    <method name="Blink"><arg name="times" type="u" direction="in"/></method></interface>
    <interface name="org.example.Lamps"/></node>"#;

#[test]
fn help_and_version() {
    assert_eq!(run(&["--version"]).1, "op-discover 0.1.0\n");
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("--activate") && stdout.contains("--xml"), "{stdout}");
    let (code, stdout, _) = run(&["record", "--help"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("--leave-out") && stdout.contains("--document"), "{stdout}");
}

/// A recording of a lamp, and nobody else on the bus.
const RECORDING: &str = r#"{"kind":"recording","version":1,"service":"org.example.Lamp",
    "introspection":[{"paths":["/lamp"],"xml":["<node><interface name=\"org.example.Lamp\">",
        "<property name=\"Lit\" type=\"b\" access=\"read\"/></interface></node>"]}],
    "calls":[{"path":"/lamp","interface":"org.freedesktop.DBus.Properties","member":"GetAll","type_signature":"s",
        "args":["org.example.Lamp"],
        "reply":{"type_signature":"a{sv}","values":[{"Lit":{"$variant":{"signature":"b","value":true}}}]}}]}"#;

#[test]
fn a_recording_is_discovered_and_recorded_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lamp.json");
    std::fs::write(&file, RECORDING).unwrap();
    let address = format!("--address=replay:{}", file.display());

    let (code, stdout, stderr) = run(&[&address]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let names: Vec<&Value> = document["services"].as_array().unwrap().iter().map(|service| &service["name"]).collect();
    assert_eq!(names, ["org.example.Lamp", "org.freedesktop.DBus"]);
    let (code, stdout, stderr) = run(&["org.example.Lamp", &address, "--tree"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("property  Lit: b  read"), "{stdout}");

    let again = folder.path().join("again.json");
    let (code, stdout, stderr) = run(&["record", "org.example.Lamp", &address, "--output", again.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("Look through it before you give it away"), "{stderr}");
    let read = |file| serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(read(&again)["calls"], read(&file)["calls"]);
    let (code, stdout, stderr) = run(&["record", "org.example.Lamp", &address, "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["kind"], "recording");

    for (args, expected) in [
        (&["record", "org.example.Other", &address][..], 69),
        (&["record", "lamp", &address], 65),
        (&["record", "org.example.Lamp", &address, "--output", "/nonexistent/x"], 1),
        (&["record", "org.example.Lamp", &address, "--plugin", "nobody"], 65),
        (&["record", "org.example.Lamp", &address, "--document", "/nonexistent"], 65),
        (&["record", &address], 64),
        (&["org.example.Lamp", "--address", "replay:/nonexistent"], 69),
        (&["org.example.Lamp", "--address", "replay:"], 69),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{args:?}: {stderr}");
    }
}

#[test]
fn files_describe_a_service_that_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lamp.xml");
    std::fs::write(&file, XML).unwrap();
    std::fs::write(folder.path().join("broken.xml"), "<node>").unwrap();

    let (code, stdout, stderr) = run(&["org.example.Lamp", "--xml", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["kind"], "introspection");
    assert_eq!(document["interfaces"]["org.example.Lamp"]["properties"]["Lit"]["access"], "readwrite");
    assert!(document["interfaces"]["org.example.Lamps"].is_object(), "a file that is named counts as a whole");

    // Of a folder only what is the service's own counts, and a broken neighbour makes the answer partial.
    let (code, stdout, stderr) = run(&["org.example.Lamp", "--xml", folder.path().to_str().unwrap(), "--tree"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("broken.xml"), "{stderr}");
    assert!(stdout.contains("method    Blink(u times) -> ()") && !stdout.contains("Lamps"), "{stdout}");
}

#[test]
fn wrong_files_are_errors() {
    let (code, _, stderr) = run(&["org.example.Lamp", "--xml", "/nonexistent.xml"]);
    assert_eq!(code, 65, "{stderr}");
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["org.example.Lamp", "--xml", folder.path().to_str().unwrap()]);
    assert_eq!(code, 65, "{stderr}");
    assert!(stderr.contains("--activate"), "{stderr}");
}

#[test]
fn wrong_use_is_64_and_no_bus_is_69() {
    assert_eq!(run(&["a", "b"]).0, 64);
    assert_eq!(run(&["--nothing"]).0, 64);
    assert_eq!(run(&[]).0, 69);
    assert_eq!(run(&["org.example.Lamp"]).0, 69);
}

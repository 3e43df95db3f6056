//! The program without a bus: plugins made from documents, listed, removed.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn run(root: &Path, args: &[&str], stdin: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_op-install"))
        .args(args)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .env("OP_DBUS_ROOT", root)
        .env("OP_DBUS_MAPPINGS", root.join("none"))
        .env("OP_DBUS_HOOK", root.join("hook"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const DOCUMENT: &str = r#"{"kind":"introspection","version":1,"service":"org.example.Lamp",
    "objects":{"/org/example/Lamp":["org.example.Lamp"]},
    "interfaces":{"org.example.Lamp":{
        "methods":{"SetColor":{"inputs":[{"name":"color","type_signature":"s"}],"outputs":[]}},
        "properties":{"Color":{"type_signature":"s","access":"read"}},
        "signals":{}}}}"#;

#[test]
fn help_and_version() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(root.path(), &["--version"], "").1, "op-install 0.1.0\n");
    let (code, stdout, _) = run(root.path(), &["--help"], "");
    assert_eq!(code, 0);
    assert!(stdout.contains("create") && stdout.contains("remove"), "{stdout}");
}

#[test]
fn a_plugin_is_made_listed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run(root.path(), &["create", "lamp", "-"], DOCUMENT);
    assert_eq!(code, 0, "{stderr}");
    let created: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((created["plugin"].as_str(), created["objects"].as_u64()), (Some("lamp"), Some(1)));
    let folder = root.path().join("@plugin-lamp");
    for file in ["plugin.toml", "introspection.xml", "README.md", "examples/select.json"] {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("`SetColor(s)`"), "{readme}");

    let (code, stdout, _) = run(root.path(), &["list"], "");
    let listing: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 0);
    assert_eq!(listing["plugins"][0]["name"], "lamp");
    assert_eq!(listing["plugins"][0]["can_apply"], false);

    assert_eq!(run(root.path(), &["create", "lamp", "-"], DOCUMENT).0, 5, "one that is there is left alone");
    let (code, _, stderr) = run(root.path(), &["remove", "lamp", "--yes"], "");
    assert_eq!(code, 0, "{stderr}");
    assert!(!folder.exists());
    assert_eq!(run(root.path(), &["remove", "lamp", "--yes"], "").0, 65);
    let mut left: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".lock", "@cache", "@timing"], "nothing is left behind but what is on record");
}

#[test]
fn what_a_killed_run_left_behind_is_swept() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join(".staging-lamp-1/examples")).unwrap();
    assert_eq!(run(root.path(), &["list"], "").0, 0);
    assert!(root.path().join(".staging-lamp-1").exists(), "who only looks changes nothing");
    let (code, _, stderr) = run(root.path(), &["create", "lamp", "-"], DOCUMENT);
    assert_eq!(code, 0, "{stderr}");
    assert!(!root.path().join(".staging-lamp-1").exists());
}

#[test]
fn a_manifest_that_contradicts_is_reported() {
    let root = tempfile::tempdir().unwrap();
    run(root.path(), &["create", "lamp", "-"], DOCUMENT);
    let manifest = root.path().join("@plugin-lamp/plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("[plugin]", "[plugin]\nread_only = false")).unwrap();
    let (_, stdout, _) = run(root.path(), &["list"], "");
    assert!(stdout.contains("read_only = false, but the plugin has no mapping"), "{stdout}");
}

#[test]
fn wrong_names_documents_and_use_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for (args, stdin, expected) in [
        (&["create", "Lamp", "-"][..], DOCUMENT, 65),
        (&["create", "../lamp", "-"], DOCUMENT, 65),
        (&["create", "snapshots", "-"], DOCUMENT, 65),
        (&["create", "lxc", "-"], DOCUMENT, 65),
        (&["create", "lamp", "-"], "{}", 65),
        (&["create", "lamp", "-"], "{", 65),
        (&["create", "lamp"], "", 64),
        (&["create", "lamp", "-", "--from-dbus", "org.example.Lamp"], DOCUMENT, 64),
        (&["create", "lamp", "--from-dbus", "org.example.Lamp"], "", 69),
        (&["destroy", "lamp"], "", 64),
        (&[], "", 64),
    ] {
        let (code, stdout, stderr) = run(root.path(), args, stdin);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{args:?}: {stderr}");
    }
    assert!(!root.path().join("@plugin-lamp").exists());
}

const RECORDING: &str = r#"{"kind":"recording","version":1,"service":"org.example.Lamp",
    "introspection":[{"paths":["/org/example/Lamp"],"xml":["<node><interface name=\"org.example.Lamp\">",
        "<method name=\"SetColor\"><arg name=\"color\" type=\"s\" direction=\"in\"/></method>",
        "<property name=\"Color\" type=\"s\" access=\"read\"/></interface></node>"]}],
    "calls":[{"path":"/org/example/Lamp","interface":"org.freedesktop.DBus.Properties","member":"GetAll",
        "type_signature":"s","args":["org.example.Lamp"],
        "reply":{"type_signature":"a{sv}","values":[{"Color":{"$variant":{"signature":"s","value":"red"}}}]}}]}"#;

#[test]
fn a_plugins_scenarios_are_run() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(root.path(), &["create", "lamp", "-"], DOCUMENT).0, 0);
    let (code, _, stderr) = run(root.path(), &["test", "lamp"], "");
    assert_eq!(code, 65, "{stderr}");
    assert!(stderr.contains("no scenarios"), "{stderr}");

    let folder = root.path().join("@plugin-lamp");
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    };
    write("recordings/red.json", RECORDING);
    write(
        "semantic-mapping.toml",
        "[state_mapping.color]\nread = { property = \"Color\" }\nwrite = { method = \"SetColor\" }\n",
    );
    write(
        "scenarios/blue.toml",
        "given = \"recordings/red.json\"\nwhen = { color = \"blue\" }\n\
         then = { query = { color = \"red\" }, calls = [{ member = \"SetColor\", args = [\"blue\"] }] }\n",
    );
    let (code, stdout, stderr) = run(root.path(), &["test", "lamp"], "");
    assert_eq!(code, 0, "{stdout}{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["kind"], &report["scenarios"][0]["result"]), (&"test_report".into(), &"passed".into()));
    // By its path, too; without a bus, live is not possible; nobody agreed.
    assert_eq!(run(root.path(), &["test", folder.to_str().unwrap()], "").0, 0);
    assert_eq!(run(root.path(), &["test", "lamp", "--live", "--yes"], "").0, 69);
    write("scenarios/blue.toml", "given = \"recordings/red.json\"\nthen = { query = { color = \"blue\" } }\n");
    let (code, stdout, stderr) = run(root.path(), &["test", "lamp", "--no-json"], "");
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("blue: then.query.color\n  expected \"blue\"\n  actual   \"red\""), "{stdout}");
    assert_eq!(run(root.path(), &["test", "nobody"], "").0, 65);
    assert_eq!(run(root.path(), &["test", "./nowhere"], "").0, 65);
    assert_eq!(run(root.path(), &["test"], "").0, 64);
}

#[test]
fn what_is_no_service_becomes_no_plugin() {
    let root = tempfile::tempdir().unwrap();
    for service in ["lamp", "../../etc", ":1.7", r#"org.example.Lamp\"\nversion = \"9"#] {
        let document = DOCUMENT.replace("org.example.Lamp\",\n", &format!("{service}\",\n"));
        assert_ne!(document, DOCUMENT);
        let (code, _, stderr) = run(root.path(), &["create", "lamp", "-"], &document);
        assert_eq!(code, 65, "{service}: {stderr}");
        assert!(stderr.contains("a plugin needs the name of a service"), "{stderr}");
        assert!(!root.path().join("@plugin-lamp").exists(), "{service}");
    }
}

#[test]
fn a_mapping_is_drafted_once_and_checked() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(root.path(), &["create", "lamp", "-"], DOCUMENT).0, 0);
    let (code, _, stderr) = run(root.path(), &["lint", "lamp"], "");
    assert_eq!(code, 65);
    assert!(stderr.contains("has errors: 1"), "{stderr}");
    // The service cannot be asked, so the folder's introspection has to do.
    let (code, stdout, stderr) = run(root.path(), &["map", "lamp", "--no-input", "--json"], "");
    assert_eq!(code, 0, "{stderr}");
    let draft: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&draft["kind"], &draft["drafted_from"]), (&"draft".into(), &"introspection.xml".into()));
    assert_eq!(draft["round_trip"], Value::Null);
    let file = root.path().join("@plugin-lamp/semantic-mapping.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("[state_mapping.color]") && text.contains("write = { method = \"set_color\" }"), "{text}");
    let (code, stdout, stderr) = run(root.path(), &["lint", "lamp", "--strict", "--json"], "");
    assert_eq!(code, 0, "{stdout}{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["kind"], &report["errors"], &report["warnings"]), (&"lint".into(), &0.into(), &0.into()));
    // What somebody finished is not overwritten, and can be seen anew beside it.
    std::fs::write(&file, "# mine\n").unwrap();
    let (code, _, stderr) = run(root.path(), &["map", "lamp", "--no-input"], "");
    assert_eq!(code, 5);
    assert!(stderr.contains("not overwritten"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
    let (code, stdout, _) = run(root.path(), &["map", "lamp", "--no-input", "--output", "-"], "");
    assert_eq!((code, stdout.as_str()), (0, text.as_str()));
    assert_eq!(run(root.path(), &["map", "lamp", "--no-input", "--force"], "").0, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn wrong_use_of_the_authors_tools() {
    let root = tempfile::tempdir().unwrap();
    for (args, code, words) in [
        (&["map"][..], 64, "nothing to draft from"),
        (&["map", "a", "b"], 64, "one plugin is mapped at a time"),
        (&["map", "--learn"], 64, "there has to be a command"),
        (&["map", "nobody"], 65, "there is no such plugin"),
        (&["map", "--introspection", "/no/such.xml"], 65, "/no/such.xml"),
        (&["map", "--from-dbus", "org.example.Lamp", "--no-input"], 69, "could not connect"),
        (&["lint", "./nothing"], 65, "no such folder or file"),
        (&["lint", "nobody"], 65, "there is no such plugin"),
    ] {
        let (got, _, stderr) = run(root.path(), args, "");
        assert_eq!(got, code, "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
}

/// A pipe in the place of a file is not waited for, until somebody writes to it.
#[test]
fn a_pipe_is_no_mapping() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(root.path(), &["create", "lamp", "-"], DOCUMENT).0, 0);
    let folder = root.path().join("@plugin-lamp");
    let pipe = folder.join("semantic-mapping.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["lint", "test"] {
        let (code, stdout, stderr) = run(root.path(), &[command, folder.to_str().unwrap()], "");
        assert_eq!((code, stdout.as_str()), (65, ""), "{command}: {stderr}");
        assert!(stderr.contains("no plain file") && stderr.contains("semantic-mapping.toml"), "{stderr}");
    }
}

#[test]
fn the_hookscript_is_called_and_ends_as_it_does() {
    let root = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(root.path(), &["hook", "100"], "");
    assert_eq!(code, 69);
    assert!(stderr.contains("could not start the hookscript") && stderr.contains("OP_DBUS_HOOK"), "{stderr}");
    // Written by another process: this one's own writing descriptor would be inherited by what other tests start.
    let script = "printf '#!/bin/sh\\necho \"$*\"; exit 7\\n' > hook; chmod 755 hook";
    assert!(Command::new("sh").args(["-c", script]).current_dir(root.path()).status().unwrap().success());
    for (args, expected) in [
        (&["100", "101"][..], "install 100 101"),
        (&["install", "100"], "install 100"),
        (&["100", "--unhook"], "install --unhook 100"),
        (&["--storage=shared", "100"], "install --storage shared 100"),
        (&["simulate"], "simulate"),
        (&["simulate", "--really", "100"], "simulate --really 100"),
        (&[], "install"),
    ] {
        let (code, stdout, stderr) = run(root.path(), &[&["hook"], args].concat(), "");
        assert_eq!((code, stdout.trim_end(), stderr.as_str()), (7, expected, ""), "{args:?}");
    }
    for args in
        [&["simulate", "--unhook"][..], &["--unhook", "--storage", "a", "1"], &["--really", "1"], &["--force", "1"]]
    {
        assert_eq!(run(root.path(), &[&["hook"], args].concat(), "").0, 64, "{args:?}");
    }
}

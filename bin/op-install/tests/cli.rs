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
    let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"], "nothing is left behind");
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

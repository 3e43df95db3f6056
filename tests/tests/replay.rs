//! A recording answers as the service did: what is read and planned from it is what is read and planned live.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{fails, install, start};
use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::program;
use op_dbus_tests::root::{Output, RealRoot};
use op_dbus_tests::synth::{Synth, for_seeds};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A program on `address`, with everything it says.
fn run(root: &Path, address: &str, argv: &[&str]) -> (i32, String, String) {
    let output = Command::new(program(argv[0]))
        .args(&argv[1..])
        .args(["--address", address, "--root"])
        .arg(root)
        .env("OP_DBUS_MAPPINGS", root.join("none"))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn document(answer: &(i32, String, String)) -> Value {
    assert_eq!(answer.0, 0, "{answer:?}");
    serde_json::from_str(&answer.1).unwrap()
}

#[test]
fn services_of_any_shape_are_replayed_exactly() {
    let private = PrivateBus::start();
    for_seeds(8, |seed| {
        let synth = Synth::start(&private, seed, &[]);
        let spec = &synth.spec.clone();
        let root = tempfile::tempdir().unwrap();
        spec.install_plugin(root.path()).unwrap();
        let want = root.path().join("want.json");
        std::fs::write(&want, spec.document(1).to_string()).unwrap();
        let want = want.to_str().unwrap();
        let file = root.path().join("recording.json");
        let replay = format!("replay:{}", file.display());

        let mut control = synth.control();
        control.clear_log();
        let plan = ["op-apply", "--dry-run", want];
        let query = ["op-query", "--plugin", &spec.plugin];
        let discover = ["op-discover", &spec.service];
        let everything = ["op-query", "--plugin", &spec.service];
        // Before anything makes transaction objects, which stay.
        let before = [&discover[..], &everything].map(|argv| (argv, run(root.path(), private.address(), argv)));
        let record = ["op-discover", "record", &spec.service, "--plugin", &spec.plugin, "--document", want];
        let recorded =
            run(root.path(), private.address(), &[&record[..], &["--output", file.to_str().unwrap()]].concat());
        assert_eq!(recorded.0, 0, "{recorded:?}");
        assert_eq!(control.changing_calls(), Vec::<Value>::new(), "recording is reading");

        let now = [&plan[..], &query].map(|argv| (argv, run(root.path(), private.address(), argv)));
        for (argv, live) in before.iter().chain(&now) {
            assert_eq!(live.0, 0, "{argv:?}: {live:?}");
            assert_eq!(run(root.path(), &replay, argv), *live, "{argv:?}");
        }
        let refused = run(root.path(), &replay, &["op-apply", "--yes", want]);
        assert_eq!(refused.0, 5, "{refused:?}");
        assert_eq!(control.changing_calls(), Vec::<Value>::new());

        // Once the service is gone only the recording is left, and it can itself be recorded.
        drop(synth);
        assert_eq!(run(root.path(), private.address(), &query).0, 69);
        document(&run(root.path(), &replay, &query));
        let again = run(root.path(), &replay, &record);
        let (mut first, mut second): (Value, Value) =
            (serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap(), serde_json::from_str(&again.1).unwrap());
        first["time"] = Value::Null;
        second["time"] = Value::Null;
        assert_eq!(first["introspection"], second["introspection"]);
    });
}

#[test]
fn real_services_are_replayed_exactly() {
    let session = RealRoot::get().session();
    for service in [
        "org.freedesktop.hostname1",
        "org.freedesktop.locale1",
        "org.freedesktop.login1",
        "org.freedesktop.UPower",
        "org.freedesktop.UDisks2",
        "org.freedesktop.Accounts",
        "org.freedesktop.NetworkManager",
        "org.fedoraproject.FirewallD1",
    ] {
        start(&session, service);
        let recorded = session.run(&["op-discover", "record", service, "--output", "/root/recording.json"], "");
        assert!(matches!(recorded.code, 0 | 3), "{service}: {recorded:?}");
        for argv in [&["op-query", "--plugin", service][..], &["op-discover", service]] {
            let live = session.run(argv, "");
            let replayed = session.run(&[argv, &["--address", "replay:/root/recording.json"]].concat(), "");
            assert_eq!((replayed.code, without_clocks(&replayed)), (live.code, without_clocks(&live)), "{service}");
        }
    }
}

/// What a program printed, without what the mere passing of time changes.
fn without_clocks(output: &Output) -> Value {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, _| !["Timestamp", "IdleSince", "LastCheckin"].iter().any(|part| name.contains(part)));
                map.values_mut().for_each(clear);
            }
            Value::Array(items) => items.iter_mut().for_each(clear),
            _ => {}
        }
    }
    let mut document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    clear(&mut document);
    document
}

#[test]
fn secrets_and_what_is_left_out_are_not_in_it() {
    let session = RealRoot::get().session();
    let service = "org.freedesktop.hostname1";
    let mapping = r#"
        [state_mapping.place]
        read = { property = "Location" }
        secret = true
        [state_mapping.name]
        read = { property = "PrettyHostname" }
    "#;
    install(&session, "vault", service, "", mapping);
    for (member, value) in
        [("SetLocation", "under-the-mat"), ("SetPrettyHostname", "front door"), ("SetDeployment", "mars-7")]
    {
        let path = "/org/freedesktop/hostname1";
        session.run(&["busctl", "call", service, path, service, member, "sb", value, "false"], "").ok();
    }
    let argv = ["op-discover", "record", service, "--plugin", "vault", "--leave-out"];
    let recorded = session.run(&[&argv[..], &["org.freedesktop.hostname1.Deployment"]].concat(), "");
    assert_eq!(recorded.code, 0, "{recorded:?}");
    let recording = recorded.json();
    assert!(recorded.stdout.contains("front door"));
    for hidden in ["under-the-mat", "mars-7"] {
        assert!(!recorded.stdout.contains(hidden) && !recorded.stderr.contains(hidden), "{hidden} was recorded");
    }
    let whys: Vec<&Value> = recording["left_out"].as_array().unwrap().iter().map(|left| &left["what"]).collect();
    assert_eq!(whys, [&json!("org.freedesktop.hostname1.Deployment"), &json!("org.freedesktop.hostname1.Location")]);

    // A replay says why it has no answer.
    op_dbus_tests::ops::write(&session, "/root/r.json", &recorded.stdout);
    install(&session, "door", service, "", "[state_mapping.deployment]\nread = { property = \"Deployment\" }\n");
    let replay = ["--address", "replay:/root/r.json"];
    let asked = session.run(&[&["op-query", "--plugin", "door"], &replay[..]].concat(), "");
    assert_eq!(asked.code, 69, "{asked:?}");
    assert!(asked.stderr.contains("left out of the recording"), "{asked:?}");
}

#[test]
fn what_was_never_recorded_is_said_so() {
    let session = RealRoot::get().session();
    let record =
        ["op-discover", "record", "org.freedesktop.PackageKit", "--plugin", "packagekit", "--output", "/root/p"];
    session.run(&record, "").ok();
    let plan = ["op-apply", "--dry-run", "--address", "replay:/root/p"];
    let want = json!({"plugins": {"packagekit": {"packages": ["greeter-op"]}}}).to_string();
    let asked = session.run(&plan, &want);
    fails(
        &asked,
        69,
        &[
            "Resolve",
            "greeter-op",
            "never recorded",
            "op-discover record org.freedesktop.PackageKit --plugin packagekit",
        ],
    );
    // With the document recorded as well, planning from it is planning live.
    op_dbus_tests::ops::write(&session, "/root/want.json", &want);
    session.run(&[&record[..], &["--document", "/root/want.json"]].concat(), "").ok();
    assert_eq!(session.run(&plan, &want).json(), session.run(&["op-apply", "--dry-run"], &want).json());
    fails(
        &session.run(&["op-apply", "--yes", "--address", "replay:/root/p"], &want),
        5,
        &["nothing can be changed", "--dry-run"],
    );
    let other = session.run(&["op-query", "--plugin", "hostname", "--address", "replay:/root/p"], "");
    assert_eq!(other.code, 69, "{other:?}");
    assert!(other.stderr.contains("the recording is of org.freedesktop.PackageKit"), "{other:?}");
    let missing = session.run(&["op-query", "--address", "replay:/root/nowhere"], "");
    fails(&missing, 69, &["no such recording", "op-discover record"]);
    let refused = session.run(&["op-discover", "record", "org.freedesktop.DBus"], "");
    fails(&refused, 65, &["the bus itself"]);
    let refused = session.run(&["op-discover", "record", "org.freedesktop.hostname1", "--plugin", "packagekit"], "");
    fails(&refused, 65, &["org.freedesktop.PackageKit"]);
    let refused = session.run(&["op-discover", "record", "org.freedesktop.hostname1", "--leave-out", "BootID"], "");
    fails(&refused, 64, &["INTERFACE.MEMBER"]);
}

#[test]
fn one_object_alone_can_be_recorded() {
    let session = RealRoot::get().session();
    let path = "/org/freedesktop/UPower/devices/DisplayDevice";
    let argv = ["op-discover", "record", "org.freedesktop.UPower", "--path", path, "--output", "/root/u.json"];
    session.run(&argv, "").ok();
    let found = session.run(&["op-discover", "org.freedesktop.UPower", "--address", "replay:/root/u.json"], "");
    assert_eq!(found.code, 0, "{found:?}");
    let objects = found.json()["objects"].clone();
    assert_eq!(objects.as_object().unwrap().keys().collect::<Vec<_>>(), [path]);
    let state =
        session.run(&["op-query", "--plugin", "org.freedesktop.UPower", "--address", "replay:/root/u.json"], "");
    assert!(state.json()["plugins"]["org.freedesktop.UPower"]["observed"][path].is_object(), "{state:?}");
}

/// A collection of objects that are listed, with a member nobody may see, and a question to another service.
const PEOPLE: &str = r#"
    [methods.list_cached_users]
    safe = true
    [methods.find_user_by_name]
    arg_types = ["s"]
    safe = true
    [methods.delete_user]
    arg_types = ["x", "b"]
    fixed = { 1 = false }
    [methods.list_sessions]
    service = "org.freedesktop.login1"
    path = "/org/freedesktop/login1"
    interface = "org.freedesktop.login1.Manager"
    safe = true
    [methods.set_real_name]
    on = "item"
    arg_types = ["s"]
    [methods.create_user]
    arg_types = ["s", "s", "i"]
    fixed = { 2 = 0 }
    undo = "irreversible"

    [state_mapping.users]
    key = "UserName"
    read = { objects = "list_cached_users", interface = "org.freedesktop.Accounts.User", find = { method = "find_user_by_name", args = ["$item"] } }
    create = { method = "create_user", args = ["$item", "$real_name"] }
    [state_mapping.users.delete]
    method = "delete_user"
    args = ["$uid"]
    refuse_if = { method = "list_sessions", fields = ["id", "uid", "user"], match = { field = "user" }, reason = "{item} is logged in" }
    [state_mapping.users.members]
    uid = { property = "Uid", internal = true }
    real_name = { property = "RealName", write = { method = "set_real_name" } }
    hint = { property = "PasswordHint", secret = true }
"#;

#[test]
fn collections_and_what_they_ask_others_are_replayed() {
    let session = RealRoot::get().session();
    let service = "org.freedesktop.Accounts";
    install(&session, "people", service, "", PEOPLE);
    session.sh("useradd --create-home --comment 'Anna Alpha' anna; useradd --create-home --comment Ben ben").ok();
    start(&session, "org.freedesktop.login1");
    let set_hint = "path=$(busctl --json=short call org.freedesktop.Accounts /org/freedesktop/Accounts \
        org.freedesktop.Accounts FindUserByName s anna | jq -r '.data[0]'); \
        busctl call org.freedesktop.Accounts $path org.freedesktop.Accounts.User SetPasswordHint s 'under the mat'";
    session.sh(set_hint).ok();
    let rename = json!({"plugins": {"people": {"users": {"anna": {"real_name": "Anna Beta"}}}}}).to_string();
    let delete = json!({"plugins": {"people": {"users": {"ben": {"state": "absent"}}}}}).to_string();
    op_dbus_tests::ops::write(&session, "/root/rename.json", &rename);
    op_dbus_tests::ops::write(&session, "/root/delete.json", &delete);
    let record =
        "op-discover record org.freedesktop.Accounts --plugin people --document rename.json --document delete.json";
    let recorded = session.sh(&format!("cd /root; {record} --output people.json; cat people.json")).ok();
    assert!(!recorded.contains("under the mat") && recorded.contains("Anna Alpha"), "{recorded}");
    let recording: Value = serde_json::from_str(&recorded).unwrap();
    let asked = recording["calls"].as_array().unwrap().iter().find(|call| call["member"] == "ListSessions").unwrap();
    assert_eq!(asked["service"], "org.freedesktop.login1");
    for (argv, document) in [
        (&["op-query", "--plugin", "people"][..], ""),
        (&["op-apply", "--dry-run"], rename.as_str()),
        (&["op-apply", "--dry-run"], delete.as_str()),
    ] {
        let live = session.run(argv, document);
        assert_eq!(live.code, 0, "{argv:?} {document}: {live:?}");
        let replayed = session.run(&[argv, &["--address", "replay:/root/people.json"]].concat(), document);
        assert_eq!(replayed, live, "{argv:?} {document}");
    }
}

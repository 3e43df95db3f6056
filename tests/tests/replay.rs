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
        let asked = [["op-query", "--plugin", service], ["op-discover", "--json", service]];
        let read = || asked.map(|argv| session.run(&argv, ""));
        // A service that has just started may still be finding out where it is.
        let mut before = read();
        let live = loop {
            let recorded = session.run(&["op-discover", "record", service, "--output", "/root/recording.json"], "");
            assert!(matches!(recorded.code, 0 | 3), "{service}: {recorded:?}");
            let after = read();
            if before.each_ref().map(without_clocks) == after.each_ref().map(without_clocks) {
                break after;
            }
            before = after;
        };
        for (argv, live) in asked.into_iter().zip(&live) {
            let replayed = session.run(&[&argv[..], &["--address", "replay:/root/recording.json"]].concat(), "");
            assert_eq!((replayed.code, without_clocks(&replayed)), (live.code, without_clocks(live)), "{service}");
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
fn what_a_mapping_calls_secret_is_so_under_every_name_of_its_service() {
    let session = RealRoot::get().session();
    let service = "org.freedesktop.hostname1";
    session
        .run(
            &[
                "busctl",
                "call",
                service,
                "/org/freedesktop/hostname1",
                service,
                "SetLocation",
                "sb",
                "under-the-mat",
                "false",
            ],
            "",
        )
        .ok();
    let owner =
        session.sh(&format!("busctl call org.freedesktop.DBus / org.freedesktop.DBus GetNameOwner s {service}")).ok();
    let owner = owner.trim().trim_start_matches("s ").trim_matches('"').to_owned();
    let watch = |name: &str| format!("timeout 3 op-query --watch --plugin {name}; :");
    let ask = |name: &str| format!("op-query --all --plugin {name}");
    let asked =
        || [service, &owner].map(|name| [ask(name), watch(name)].map(|script| session.sh(&script).stdout)).concat();
    assert!(asked().iter().all(|text| text.contains("under-the-mat")), "{:?}", asked());
    install(
        &session,
        "vault",
        service,
        "",
        "[state_mapping.place]\nread = { property = \"Location\" }\nsecret = true\n",
    );
    for text in asked() {
        assert!(text.contains("PrettyHostname") && !text.contains("under-the-mat"), "{text}");
    }
}

/// What a planning call is told, and what the service says of it, is no less secret than what is read. The same document
/// alone shows that it would be there.
#[test]
fn secrets_of_documents_are_not_in_it() {
    let session = RealRoot::get().session();
    let service = "org.freedesktop.PackageKit";
    let shipped = session.run(&["cat", "/usr/share/op-dbus/mappings/packagekit/semantic-mapping.toml"], "").ok();
    let secret = "[state_mapping.token]\nsecret = true\nread = { property = \"BackendAuthor\" }\n";
    install(&session, "vault", service, "", &format!("{shipped}\n{secret}"));
    let write = |name: &str, state: Value| {
        op_dbus_tests::ops::write(&session, name, &json!({"plugins": {"vault": state}}).to_string());
    };
    write("/root/plan.json", json!({"packages": ["sentinel-in-a-call"]}));
    write("/root/token.json", json!({"token": "sentinel-in-a-call"}));
    let argv = ["op-discover", "record", service, "--plugin", "vault", "--document", "/root/plan.json"];
    let said = session.run(&argv, "");
    assert!(said.json()["calls"].to_string().contains("sentinel-in-a-call"), "{said:?}");
    let kept = session.run(&[&argv[..], &["--document", "/root/token.json"]].concat(), "");
    assert!(kept.json()["calls"].as_array().unwrap().len() > 3, "{kept:?}");
    assert!(!kept.stdout.contains("sentinel-in-a-call"), "{}", kept.stdout);
    let left = kept.json()["left_out"].to_string();
    assert!(left.contains("org.freedesktop.PackageKit.Transaction.Resolve"), "{left}");
}

/// A service that has something new to say each time it is asked.
const QUEUE: &str = "
import dbus, dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
DBusGMainLoop(set_as_default=True)
class Queue(dbus.service.Object):
    said = 0
    @dbus.service.method('org.example.Queue1', in_signature='', out_signature='s')
    def Next(self):
        self.said += 1
        return 'number %d' % min(self.said, 3)
    @dbus.service.method('org.example.Queue1', in_signature='', out_signature='s')
    def Same(self):
        return 'as ever'
name = dbus.service.BusName('org.example.Queue1', dbus.SystemBus())
Queue(dbus.SystemBus(), '/org/example/Queue1')
GLib.MainLoop().run()
";

#[test]
fn several_answers_to_one_call_are_kept_and_given_back_in_order() {
    let session = RealRoot::get().session();
    let _queue = session.spawn(&["python3", "-c", QUEUE], "");
    let is_there = || session.run(&["busctl", "status", "org.example.Queue1"], "").code == 0;
    op_dbus_tests::ops::wait_until("the queue", is_there);
    let keys = ["a", "b", "c", "d", "e"].map(|key| {
        let member = if key == "e" { "same" } else { "next" };
        format!("[state_mapping.{key}]\nread = {{ method = \"{member}\" }}\ndiff_strategy = \"none\"\n")
    });
    let mapping = format!("[methods.next]\nsafe = true\n[methods.same]\nsafe = true\n{}", keys.concat());
    install(&session, "queue", "org.example.Queue1", "", &mapping);
    let recorded = session.run(&["op-discover", "record", "org.example.Queue1", "--plugin", "queue"], "");
    assert_eq!(recorded.code, 0, "{recorded:?}");
    let recording = recorded.json();
    let calls = recording["calls"].as_array().unwrap();
    let of = |member: &str| calls.iter().filter(|call| call["member"] == member).count();
    assert_eq!((of("Next"), of("Same")), (4, 1), "{recording}");
    op_dbus_tests::ops::write(&session, "/root/q.json", &recorded.stdout);
    let asked = session.run(&["op-query", "--plugin", "queue", "--address", "replay:/root/q.json"], "");
    let said = asked.json()["plugins"]["queue"].clone();
    let order = json!({"a": "number 1", "b": "number 2", "c": "number 3", "d": "number 3", "e": "as ever"});
    assert_eq!(said, order, "{asked:?}");
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

//! What really leaves the programs, as a monitor of the bus sees it: reading and planning make safe calls only.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{Monitor, apply, start};
use op_dbus_tests::root::{RealRoot, SessionOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The members that may be called while reading and planning, and the argument that makes some of them safe.
const SAFE: [(&str, &str, Option<u64>); 24] = [
    ("org.freedesktop.DBus", "Hello", None),
    ("org.freedesktop.DBus", "AddMatch", None),
    ("org.freedesktop.DBus", "RemoveMatch", None),
    ("org.freedesktop.DBus", "ListNames", None),
    ("org.freedesktop.DBus", "ListActivatableNames", None),
    ("org.freedesktop.DBus", "NameHasOwner", None),
    ("org.freedesktop.DBus", "GetNameOwner", None),
    ("org.freedesktop.DBus", "GetConnectionUnixProcessID", None),
    ("org.freedesktop.DBus", "GetConnectionUnixUser", None),
    ("org.freedesktop.DBus", "GetConnectionCredentials", None),
    ("org.freedesktop.DBus", "GetId", None),
    ("org.freedesktop.DBus.Introspectable", "Introspect", None),
    ("org.freedesktop.DBus.Properties", "Get", None),
    ("org.freedesktop.DBus.Properties", "GetAll", None),
    ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", None),
    ("org.freedesktop.DBus.Peer", "Ping", None),
    ("org.freedesktop.DBus.Peer", "GetMachineId", None),
    ("org.freedesktop.PackageKit", "CreateTransaction", None),
    ("org.freedesktop.PackageKit.Transaction", "SetHints", None),
    ("org.freedesktop.PackageKit.Transaction", "GetPackages", None),
    ("org.freedesktop.PackageKit.Transaction", "Resolve", None),
    ("org.freedesktop.PackageKit.Transaction", "GetDetails", None),
    // Flag 4 is "simulate".
    ("org.freedesktop.PackageKit.Transaction", "InstallPackages", Some(4)),
    ("org.freedesktop.PackageKit.Transaction", "RemovePackages", Some(4)),
];

fn is_safe(call: &Value) -> bool {
    SAFE.iter().any(|(interface, member, first)| {
        let first_is = |first: u64| call["payload"]["data"][0] == first;
        call["interface"] == *interface && call["member"] == *member && first.is_none_or(first_is)
    })
}

/// The calls of connections that are new and are no service's, which is what the programs' are.
fn of_programs(calls: &[Value]) -> Vec<&Value> {
    let senders = |member: &str| -> BTreeSet<&str> {
        let such = calls.iter().filter(|call| call["member"] == member);
        such.map(|call| call["sender"].as_str().unwrap()).collect()
    };
    let (new, services) = (senders("Hello"), senders("RequestName"));
    let sender = |call: &&Value| {
        call["sender"].as_str().is_some_and(|sender| new.contains(sender) && !services.contains(sender))
    };
    calls.iter().filter(sender).collect()
}

fn members<'c>(calls: &[&'c Value]) -> BTreeSet<&'c str> {
    calls.iter().map(|call| call["member"].as_str().unwrap()).collect()
}

#[test]
fn reading_and_planning_make_safe_calls_only() {
    // Running from the start: what daemons ask each other as they start is not the programs' doing.
    let daemons = ["hostname", "timedate", "locale", "packagekit", "upower", "networkmanager"];
    let options = daemons.iter().fold(SessionOptions::default(), |options, name| options.service(name));
    let session = RealRoot::get().session_with(&options);
    for package in ["nginx", "postgresql", "telnet"] {
        session.run(&["op-repo", "add", package, "1.0"], "").ok();
    }
    session.sh("apt-get -qq update; apt-get -qq install telnet").ok();
    start(&session, "org.freedesktop.PackageKit");
    let monitor = Monitor::start(&session);

    session.sh("set -o pipefail; op-discover | op-query --all").ok();
    session.run(&["op-discover", "org.freedesktop.NetworkManager"], "").ok();
    session.run(&["op-install", "create", "power", "--from-dbus", "org.freedesktop.UPower"], "").ok();
    session.run(&["op-query", "--plugin", "power", "--all"], "").ok();
    session.run(&["op-discover", "record", "org.freedesktop.hostname1", "--plugin", "hostname"], "").ok();
    let want = r#"{"packages": ["greeter-op"], "absent": {"packages": ["telnet"]}}"#;
    let record = "op-discover record org.freedesktop.PackageKit --plugin packagekit --document <(echo '{WANT}')";
    let recorded = session.sh(&record.replace("{WANT}", want)).json();
    assert!(recorded["calls"].as_array().unwrap().iter().any(|call| call["member"] == "RemovePackages"), "{recorded}");
    let mut planned = 0;
    let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings");
    for folder in fs::read_dir(mappings).unwrap().map(|folder| folder.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(folder.join("examples")).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "json") {
                let output = session.run(&["op-apply", "--dry-run"], &fs::read_to_string(&file).unwrap());
                assert_eq!(output.code, 0, "{}: {output:?}", file.display());
                planned += output.json()["actions"].as_array().unwrap().len();
            }
        }
    }
    assert!(planned >= 8, "{planned}");
    let everything = json!({"plugins": {
        "packagekit": {"packages": ["greeter-op"], "absent": {"packages": ["telnet"]}},
        "hostname": {"static_hostname": "web-1"},
    }});
    for args in [&["--dry-run"][..], &["--check"], &["--dry-run", "--diff"], &[]] {
        // The last one comes as far as the question, and there is no terminal to ask on.
        session.run(&[&["op-apply"], args].concat(), &everything.to_string());
    }
    let calls = monitor.calls();
    let calls = of_programs(&calls);
    let unsafe_calls: Vec<_> = calls.iter().filter(|call| !is_safe(call)).collect();
    assert!(unsafe_calls.is_empty(), "{unsafe_calls:#?}");
    let seen = members(&calls);
    for member in [
        "Introspect",
        "GetAll",
        "GetManagedObjects",
        "GetPackages",
        "Resolve",
        "GetDetails",
        "InstallPackages",
        "RemovePackages",
    ] {
        assert!(seen.contains(member), "{member} was never called: {seen:?}");
    }
    // Discovery and reading without a mapping start nothing: bit 2 is NO_AUTO_START.
    let of_power: Vec<_> = calls.iter().filter(|call| call["destination"] == "org.freedesktop.UPower").collect();
    assert!(of_power.len() > 5);
    for call in of_power {
        assert_eq!(call["flags"].as_u64().unwrap() & 2, 2, "{call}");
    }
}

#[test]
fn the_monitor_sees_what_changes_something() {
    let session = RealRoot::get().session_with(&SessionOptions::default().service("hostname").service("packagekit"));
    let monitor = Monitor::start(&session);
    let want = json!({"plugins": {"hostname": {"location": "here"}, "packagekit": {"packages": ["hello-op"]}}});
    apply(&session, &[], &want).ok();
    let calls = monitor.calls();
    // PackageKit makes calls of its own meanwhile, and its package manager's hooks do.
    let ours = calls.iter().find(|call| call["member"] == "SetLocation").map(|call| &call["sender"]);
    let of_ours = of_programs(&calls).into_iter().filter(|call| Some(&call["sender"]) == ours);
    let not_safe: Vec<&str> =
        of_ours.filter(|call| !is_safe(call)).map(|call| call["member"].as_str().unwrap()).collect();
    assert_eq!(not_safe, ["SetLocation", "InstallPackages"], "each exactly once");
}

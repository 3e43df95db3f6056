//! `op-query --watch`, `--select` and `--cached` on real services, which change in their own ways.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod fits;

use op_dbus_tests::ops::{Monitor, apply, signal, start, wait_until};
use op_dbus_tests::root::{RealRoot, Running};
use serde_json::{Value, json};

const HOSTNAME: &str = "org.freedesktop.hostname1";

/// What a watch has told so far: whole lines.
fn told(watch: &Running<'_>) -> Vec<Value> {
    let text = watch.stdout_so_far();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn told_of(watch: &Running<'_>, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    wait_until(&format!("{what} is told; so far: {}", watch.stdout_so_far()), || {
        found = told(watch).into_iter().find(|record| is_it(record)).unwrap_or_default();
        !found.is_null()
    });
    found
}

#[test]
fn real_services_are_watched() {
    let session = RealRoot::get().session();
    let watch =
        session.spawn(&["op-query", "--watch", "hostname", "timedate", "locale", "packagekit", "--interval", "2s"], "");
    told_of(&watch, "everything", |record| record["kind"] == "watching");
    let before = told(&watch);
    let value = |key: &str| before.iter().find(|record| record["key"] == key).unwrap()["value"].clone();
    assert_eq!((value("static_hostname"), value("timezone")), (json!("op-test"), json!("Etc/UTC")));
    let change = |key: &'static str, to: Value| {
        move |record: &Value| record["kind"] == "change" && record["key"] == key && record["to"] == to
    };
    session.run(&["hostnamectl", "set-location", "rack 1"], "").ok();
    assert_eq!(told_of(&watch, "the location", change("location", json!("rack 1")))["freshness"], "signal");
    let timedate = "org.freedesktop.timedate1";
    session
        .run(
            &[
                "busctl",
                "call",
                timedate,
                "/org/freedesktop/timedate1",
                timedate,
                "SetTimezone",
                "sb",
                "Europe/Vienna",
                "false",
            ],
            "",
        )
        .ok();
    assert_eq!(told_of(&watch, "the time zone", change("timezone", json!("Europe/Vienna")))["freshness"], "signal");
    let locale = "org.freedesktop.locale1";
    session
        .run(
            &[
                "busctl",
                "call",
                locale,
                "/org/freedesktop/locale1",
                locale,
                "SetLocale",
                "asb",
                "1",
                "LANG=en_US.UTF-8",
                "false",
            ],
            "",
        )
        .ok();
    told_of(&watch, "the locale", change("locale", json!(["LANG=en_US.UTF-8"])));
    // A package, and what comes with it, item by item.
    assert_eq!(apply(&session, &[], &json!({"plugins": {"packagekit": {"packages": ["greeter-op"]}}})).code, 0);
    for package in ["greeter-op", "hello-lib-op"] {
        let record = told_of(&watch, package, change("packages", json!(package)));
        assert_eq!((&record["item"], record.get("from")), (&json!(package), None));
    }
    // A service that dies, and is started by somebody else.
    signal(&session, "KILL", HOSTNAME);
    told_of(&watch, "hostnamed's death", |record| record["state"] == "gone" && record["service"] == HOSTNAME);
    session.run(&["hostnamectl", "set-location", "rack 2"], "").ok();
    told_of(&watch, "hostnamed's return", |record| record["state"] == "back");
    told_of(&watch, "what it brought", change("location", json!("rack 2")));
    watch.signal("INT");
    let output = watch.wait();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let problems: Vec<&str> = output.stdout.lines().filter(|line| line.contains("\"kind\":\"problem\"")).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn objects_that_come_and_go_are_watched_without_a_mapping() {
    let session = RealRoot::get().session();
    let manager = "org.freedesktop.NetworkManager";
    start(&session, manager);
    let watch = session.spawn(&["op-query", "--watch", manager], "");
    told_of(&watch, "everything", |record| record["kind"] == "watching");
    session
        .run(
            &["nmcli", "connection", "add", "type", "dummy", "ifname", "d0", "con-name", "d0", "ip4", "10.9.9.1/24"],
            "",
        )
        .ok();
    let is_file =
        |record: &Value| record["item"].as_str().is_some_and(|item| item.ends_with(".Settings.Connection.Filename"));
    let file = "/etc/NetworkManager/system-connections/d0.nmconnection";
    let added = told_of(&watch, "the connection", |record| {
        record["kind"] == "change" && is_file(record) && record["to"] == file
    });
    assert_eq!((added.get("from"), &added["freshness"]), (None, &json!("signal")));
    session.run(&["nmcli", "connection", "delete", "d0"], "").ok();
    let removed =
        told_of(&watch, "its end", |record| record["kind"] == "change" && is_file(record) && record["from"] == file);
    assert_eq!((removed.get("to"), &removed["item"]), (None, &added["item"]));
    watch.signal("TERM");
    assert_eq!(watch.wait().code, 0);
}

#[test]
fn a_watch_makes_safe_calls_only_and_kept_answers_none() {
    let session = RealRoot::get().session();
    let monitor = Monitor::start(&session);
    let watch = session.run(&["op-query", "--watch", "--for", "3s", "--interval", "1s"], "");
    assert_eq!((watch.code, watch.stderr.as_str()), (0, ""));
    let calls = monitor.calls();
    let unsafe_calls: Vec<&Value> = calls
        .iter()
        .filter(|call| {
            let member = call["member"].as_str().unwrap_or_default();
            call["path"].as_str().is_some_and(|path| path != "/org/freedesktop/DBus")
                && (member.starts_with("Set") && member != "SetHints"
                    || member.contains("Install")
                    || member.contains("Remove"))
        })
        .collect();
    assert!(unsafe_calls.is_empty(), "{unsafe_calls:#?}");
    session.run(&["op-query"], "").ok();
    let before = monitor.calls().len();
    let cached = session.run(&["op-query", "--cached"], "").json();
    let plugins: Vec<&String> = cached["plugins"].as_object().unwrap().keys().collect();
    assert!(plugins.len() >= 4, "{plugins:?}");
    session.run(&["op-query", "--cached", "--select", "**"], "").ok();
    // The marks that the monitor itself makes are two calls each.
    let hellos = |calls: &[Value]| calls.iter().filter(|call| call["member"] == "Hello").count();
    let after = monitor.calls();
    let own = after[before..].iter().filter(|call| call["member"] == "NameHasOwner").count();
    assert_eq!(hellos(&after[before..]), own, "{:#?}", &after[before..]);
}

/// Against a document: what differs when the watch begins, what drifts from it, and when it is right again.
#[test]
fn drift_is_told_as_it_comes_and_goes() {
    let session = RealRoot::get().session();
    let want = json!({"plugins": {
        "hostname": {"location": "here", "deployment": "test"},
        "timedate": {"timezone": "Etc/UTC"},
    }});
    op_dbus_tests::ops::write(&session, "/tmp/want.json", &want.to_string());
    assert_eq!(apply(&session, &[], &json!({"plugins": {"hostname": {"location": "here"}}})).code, 0);
    let before = session.sh("find /var/lib/op-dbus -type f | sort | xargs sha256sum").ok();
    let watch = session.spawn(&["op-query", "--watch", "--against", "/tmp/want.json", "--count", "5"], "");
    let record = |kind: &'static str, resource: &'static str| {
        move |record: &Value| record["kind"] == kind && record["resource"] == resource
    };
    told_of(&watch, "the beginning", |record| record["kind"] == "watching");
    let first = told_of(&watch, "the deployment", record("drift", "hostname/deployment"));
    assert_eq!((&first["is"], &first["wanted"]), (&json!(""), &json!("test")));
    assert_eq!(told(&watch).len(), 2, "what is as wanted is not told");
    session.run(&["hostnamectl", "set-location", "there"], "").ok();
    let drift = told_of(&watch, "the location", record("drift", "hostname/location"));
    assert_eq!((&drift["is"], &drift["wanted"]), (&json!("there"), &json!("here")));
    session.run(&["hostnamectl", "set-location", "here"], "").ok();
    told_of(&watch, "that it is right again", record("settled", "hostname/location"));
    // A service that is killed and comes back with something else.
    signal(&session, "KILL", HOSTNAME);
    told_of(&watch, "hostnamed's death", |record| record["state"] == "gone");
    session.run(&["hostnamectl", "set-deployment", "test"], "").ok();
    told_of(&watch, "what it brought", record("settled", "hostname/deployment"));
    session.run(&["hostnamectl", "set-location", "elsewhere"], "").ok();
    let output = watch.wait();
    assert_eq!(output.code, 0, "{output:?}");
    for line in output.stdout.lines() {
        fits::assert_fits("watch", &serde_json::from_str(line).unwrap());
    }
    assert_eq!(session.sh("find /var/lib/op-dbus -type f | sort | xargs sha256sum").ok(), before, "it only reads");
    let output = session.run(&["op-query", "--against", "/tmp/want.json"], "");
    assert!(output.code == 64 && output.stderr.contains("op-apply --check"), "{output:?}");
}

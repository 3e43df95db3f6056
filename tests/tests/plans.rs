//! Plans of real services: made without touching anything, performed exactly or refused.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{Monitor, apply, configuration, fails, is_installed, outcome, plan, property};
use op_dbus_tests::root::RealRoot;
use serde_json::{Value, json};

#[test]
fn a_plan_is_performed_exactly_once() {
    let session = RealRoot::get().session();
    let want = json!({"plugins": {
        "hostname": {"static_hostname": "web-1", "location": "here"},
        "packagekit": {"packages": ["greeter-op"]},
    }});
    let before = configuration(&session);
    let made = plan(&session, &want);
    assert_eq!(configuration(&session), before);
    assert_eq!((&made["kind"], &made["version"]), (&json!("plan"), &json!(1)));
    let members: Vec<&str> =
        made["actions"].as_array().unwrap().iter().map(|a| a["member"].as_str().unwrap()).collect();
    assert_eq!(members, ["SetLocation", "SetStaticHostname", "InstallPackages"]);
    assert_eq!(plan(&session, &want), made, "the same machine and the same wish make the same plan");
    assert_eq!(plan(&session, &made), made, "a plan that is still fresh plans itself");
    for option in [["--plugin", "hostname"], ["--owner", "boot"], ["--prune", "1"]] {
        fails(&apply(&session, &option, &made), 64, &["kind: usage", option[0], "performed as it is"]);
    }
    assert_eq!(configuration(&session), before);
    let output = apply(&session, &[], &made);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert!(is_installed(&session, "greeter-op"));
    fails(&apply(&session, &[], &made), 6, &["kind: stale", "already as wanted"]);
}

#[test]
fn a_plan_is_stale_when_what_it_touches_moved_and_only_then() {
    let session = RealRoot::get().session();
    let made = plan(&session, &json!({"plugins": {"hostname": {"static_hostname": "web-1"}}}));
    let monitor = Monitor::start(&session);
    let set = |member: &str, value: &str| {
        let name = "org.freedesktop.hostname1";
        session
            .run(&["busctl", "call", name, "/org/freedesktop/hostname1", name, member, "sb", value, "false"], "")
            .ok();
    };
    set("SetStaticHostname", "moved");
    fails(
        &apply(&session, &[], &made),
        6,
        &["kind: stale", "hostname/static_hostname has another value now", "op-apply --dry-run"],
    );
    assert_eq!(property(&session, "org.freedesktop.hostname1", "StaticHostname"), "moved");
    let setters = monitor.calls().iter().filter(|call| call["member"] == "SetStaticHostname").count();
    assert_eq!(setters, 1, "only busctl's own");
    set("SetStaticHostname", "op-test");
    set("SetLocation", "unrelated");
    let output = apply(&session, &[], &made);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(property(&session, "org.freedesktop.hostname1", "StaticHostname"), "web-1");
}

#[test]
fn documents_that_cannot_be_right_are_refused() {
    let session = RealRoot::get().session();
    let before = configuration(&session);
    let mut tampered = plan(&session, &json!({"plugins": {"hostname": {"location": "here"}}}));
    tampered["actions"][0]["args"][0] = json!("there");
    fails(&apply(&session, &[], &tampered), 65, &["subject: digest", "--dry-run"]);
    let of = |plugin: &str, state: Value| json!({"plugins": {plugin: state}});
    let cases: [(Value, &[&str]); 10] = [
        (json!({"kind": "inventory", "version": 1, "services": []}), &["kind"]),
        (json!({"kind": "report", "version": 1}), &["kind"]),
        (json!([1]), &["subject: ", "message: "]),
        (
            of("nosuch", json!({"a": 1})),
            &["subject: plugins.nosuch\n", "accounts, firewalld, hostname, locale, login1"],
        ),
        (of("hostname", json!({"nosuch": 1})), &["subject: plugins.hostname.nosuch\n", "static_hostname"]),
        (
            of("hostname", json!({"static_hostname": 7})),
            &["subject: plugins.hostname.static_hostname\n", "7 does not fit s"],
        ),
        (
            of("timedate", json!({"ntp": "on", "timezone": true})),
            &[
                "subject: plugins.timedate.ntp\n",
                "\"on\" does not fit b",
                "subject: plugins.timedate.timezone\n",
                "true does not fit s",
            ],
        ),
        (
            of("locale", json!({"locale": "LANG=C"})),
            &["subject: plugins.locale.locale\n", "\"LANG=C\" does not fit as"],
        ),
        (
            of("locale", json!({"x11_layout": "de", "x11_variant": 5})),
            &["subject: plugins.locale.x11_variant\n", "5 does not fit s"],
        ),
        (
            of("packagekit", json!({"packages": ["no-such-package"]})),
            &["subject: plugins.packagekit.packages\n", "no-such-package"],
        ),
    ];
    for (document, words) in cases {
        let output = apply(&session, &[], &document);
        fails(&output, 65, words);
        assert_eq!(output.stdout, "", "{document}");
        assert!(!output.stderr.contains("subject\":\"plugins.locale.x11_layout"), "{}", output.stderr);
    }
    let stream = "{\"plugins\":{}}\n{\"plugins\":{}}\n";
    fails(&session.run(&["op-apply", "--yes"], stream), 65, &["several documents", "hint: a stream", "jq"]);
    fails(&session.run(&["op-apply", "--yes"], "{"), 65, &["standard input"]);
    assert_eq!(configuration(&session), before);
}

#[test]
fn checking_and_diffing_say_what_is_pending_and_change_nothing() {
    let session = RealRoot::get().session();
    let want = json!({"plugins": {"hostname": {"location": "here"}, "packagekit": {"packages": ["greeter-op"]}}});
    let before = configuration(&session);
    let run = |args: &[&str]| session.run(&[&["op-apply"], args].concat(), &want.to_string());
    for args in [&["--check"][..], &["--dry-run", "--detailed-exitcode"]] {
        let output = run(args);
        assert_eq!((output.code, &output.json()["kind"]), (2, &json!("plan")));
    }
    let plain = run(&["--dry-run"]);
    let diffed = run(&["--dry-run", "--diff"]);
    let diff = "~ hostname/location: \"\" -> \"here\"\n+ packagekit/packages/greeter-op\n";
    assert_eq!((diffed.code, diffed.stdout.as_str(), diffed.stderr.as_str()), (0, plain.stdout.as_str(), diff));
    assert_eq!(configuration(&session), before);
    let output = apply(&session, &["--diff", "--detailed-exitcode"], &want);
    assert_eq!(output.code, 2);
    assert!(output.stderr.starts_with(diff), "{}", output.stderr);
    assert!(is_installed(&session, "greeter-op"));
    assert_eq!(run(&["--check"]).code, 0);
    let kept = session.sh("cat /var/lib/op-dbus/@cache/diffs/packagekit/*.json").json();
    assert_eq!((&kept["kind"], &kept["changes"][0]["item"]), (&json!("diff"), &json!("greeter-op")));
}

//! Going back to what there was before a run, on real services.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::wait_until;
use op_dbus_tests::root::{RealRoot, Session};
use serde_json::{Value, json};

fn session() -> Session {
    RealRoot::get().session()
}

fn apply(session: &Session, document: &Value) -> Value {
    let output = session.run(&["op-apply", "--yes"], &document.to_string());
    assert_eq!(output.code, 0, "{output:?}");
    output.json()
}

fn hostname(session: &Session) -> Value {
    session.run(&["op-query", "--plugin", "hostname"], "").json()["plugins"]["hostname"]["static_hostname"].clone()
}

#[test]
fn runs_are_rolled_back_one_after_the_other() {
    let session = session();
    let before =
        session.sh("op-query --plugin hostname --plugin timedate | jq -c 'del(.plugins.timedate.ntp_synchronized)'");
    let before = before.ok();
    let zone = json!({"plugins": {
        "hostname": {"static_hostname": "web-1", "location": "rack 3"},
        "timedate": {"timezone": "Europe/Berlin"},
        "packagekit": {"packages": ["greeter-op"]},
    }});
    apply(&session, &zone);
    apply(&session, &json!({"plugins": {"hostname": {"static_hostname": "web-2"}}}));

    session.run(&["op-apply", "--rollback", "--yes"], "").ok();
    assert_eq!(hostname(&session), "web-1");
    // The plan of a rollback can be kept, and is stale when the machine moved on.
    session.sh("op-apply --rollback --dry-run > /tmp/plan.json").ok();
    apply(&session, &json!({"plugins": {"hostname": {"location": "elsewhere"}}}));
    assert_eq!(session.run(&["op-apply", "--yes", "/tmp/plan.json"], "").code, 6);
    session.run(&["op-apply", "--rollback", "--yes"], "").ok();
    session.run(&["op-apply", "--yes", "/tmp/plan.json"], "").ok();

    let after =
        session.sh("op-query --plugin hostname --plugin timedate | jq -c 'del(.plugins.timedate.ntp_synchronized)'");
    assert_eq!(after.ok(), before);
    // What the package brought along is gone with it.
    let left = session.sh(
        "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' | grep -E '^(greeter|hello-lib)-op installed' || true",
    );
    assert_eq!(left.stdout, "");
    let none = session.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!(none.code, 65, "{none:?}");
}

#[test]
fn several_runs_go_back_at_once() {
    let session = session();
    let first = hostname(&session);
    let report = apply(&session, &json!({"plugins": {"hostname": {"static_hostname": "a", "location": "one"}}}));
    apply(&session, &json!({"plugins": {"hostname": {"static_hostname": "b"}}}));
    apply(&session, &json!({"plugins": {"hostname": {"static_hostname": "c"}}}));
    let run = report["run"].as_str().unwrap();
    let plan = session.run(&["op-apply", "--rollback", run, "--dry-run"], "").json();
    assert_eq!(plan["actions"].as_array().unwrap().len(), 2, "{plan}");
    session.run(&["op-apply", "--rollback", run, "--yes"], "").ok();
    assert_eq!(hostname(&session), first);
    let again = session.run(&["op-apply", "--rollback", run, "--yes"], "").json();
    assert_eq!(again["outcome"], "unchanged");
    // The rollback was a run like any other.
    let report = session.run(&["op-apply", "--rollback", "4-", "--yes"], "").json();
    assert_eq!(report["outcome"], "applied");
    assert_eq!(hostname(&session), "c");
}

#[test]
fn what_cannot_be_rolled_back_is_said() {
    let session = session();
    let unknown = session.run(&["op-apply", "--rollback", "no-such-run", "--yes"], "");
    assert_eq!(unknown.code, 65);
    assert!(unknown.stderr.contains("nothing was applied here yet"), "{unknown:?}");
    apply(&session, &json!({"plugins": {"hostname": {"location": "one"}}}));
    assert_eq!(session.run(&["op-apply", "--rollback"], "").code, 5, "nobody to ask");
    session.sh("f=$(ls /var/lib/op-dbus/@state/checkpoints/*.json); echo '{' > $f").ok();
    let damaged = session.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!(damaged.code, 65);
    assert!(damaged.stderr.contains("damaged"), "{damaged:?}");
    for wrong in [["want.json", "--yes"], ["--plugin", "x"], ["--owner", "x"]] {
        let output = session.run(&[&["op-apply", "--rollback=last"], &wrong[..]].concat(), "");
        assert_eq!(output.code, 64, "{output:?}");
    }
}

#[test]
fn a_rollback_that_was_broken_off_is_tried_again() {
    let session = session();
    let before = hostname(&session);
    apply(
        &session,
        &json!({"plugins": {
            "hostname": {"static_hostname": "web-1"},
            "packagekit": {"packages": ["greeter-op"]},
        }}),
    );
    let waits =
        "printf '#!/bin/sh\ntouch /run/waits; while [ ! -e /run/go ]; do sleep 0.05; done\n' > $prerm; chmod +x $prerm";
    session.sh(&format!("prerm=/var/lib/dpkg/info/greeter-op.prerm; {waits}")).ok();
    let broken = session.spawn(&["op-apply", "--rollback", "--yes"], "");
    wait_until("the package is being removed", || session.run(&["test", "-e", "/run/waits"], "").code == 0);
    // Once: stop after this step and undo. Twice: do not even undo.
    broken.signal("INT");
    std::thread::sleep(std::time::Duration::from_millis(200));
    broken.signal("INT");
    std::thread::sleep(std::time::Duration::from_millis(200));
    session.run(&["touch", "/run/go"], "").ok();
    let broken = broken.wait();
    assert_eq!(broken.code, 4, "{broken:?}");
    assert_eq!(hostname(&session), "web-1");
    let again = session.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(hostname(&session), before);
    assert_ne!(session.sh("dpkg-query -W -f '${db:Status-Status}' greeter-op | grep -x installed").code, 0);
    assert_eq!(session.run(&["op-apply", "--rollback", "--yes"], "").code, 65, "nothing is left to go back");
}

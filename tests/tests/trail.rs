//! What runs leave behind in the audit trail, and how whole runs go back: on real services, through the programs.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod fits;

use fits::assert_fits;
use op_dbus_tests::ops::{apply, error, fails, outcome, property, wait_until, write};
use op_dbus_tests::root::{RealRoot, Session};
use serde_json::{Value, json};

const HOSTNAME: &str = "org.freedesktop.hostname1";

fn session() -> Session {
    RealRoot::get().session()
}

fn located(place: &str) -> Value {
    json!({"plugins": {"hostname": {"location": place}}})
}

fn location(session: &Session) -> Value {
    property(session, HOSTNAME, "Location")
}

/// The blocks of the trail, after it was verified.
#[track_caller]
fn blocks(session: &Session) -> Vec<Value> {
    let verdict = session.run(&["op-audit", "verify"], "");
    assert_eq!(verdict.code, 0, "{verdict:?}");
    let log = session.run(&["op-audit", "log"], "").ok();
    let blocks: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    blocks.iter().for_each(|block| assert_fits("audit-block", block));
    assert_fits("audit-verdict", &verdict.json());
    assert_eq!(verdict.json()["valid_to"], blocks.len());
    blocks
}

fn kinds(blocks: &[Value]) -> Vec<&str> {
    let said = |block: &'_ Value| match block["header"]["detail"]["outcome"].as_str() {
        Some("applied") => "applied",
        Some("undone") => "undone",
        Some("residue") => "residue",
        _ => ["intent", "refusal", "confirm", "repair", "events"]
            .into_iter()
            .find(|kind| block["header"]["kind"] == *kind)
            .unwrap_or("other"),
    };
    blocks.iter().map(said).collect()
}

#[test]
fn every_run_leaves_its_intent_and_its_outcome() {
    let session = session();
    let report = apply(&session, &[], &located("here")).json();
    assert_eq!(outcome(&report), "applied");
    let first = blocks(&session);
    assert_eq!(kinds(&first), ["intent", "applied"]);
    let [intent, outcome] = [&first[0], &first[1]];
    for block in [intent, outcome] {
        assert_eq!(block["header"]["run"], report["run"]);
        assert_eq!(block["header"]["actor"]["uid"], 0);
        assert!(block["header"]["actor"]["host"].is_string(), "{block}");
        assert!(block["header"]["program"].as_str().unwrap().starts_with("op-apply "));
    }
    assert_eq!(intent["header"]["detail"]["plugins"]["hostname"], "1.0.0");
    assert!(intent["header"]["detail"]["mappings"]["hostname"].as_str().unwrap().starts_with("sha256:"));
    let entry = &intent["entries"][0];
    assert_eq!(entry["call"]["member"], "SetLocation");
    assert_eq!(entry["call"]["args"], json!(["here", false]));
    assert_eq!((&entry["undo"], &entry["plugin"]), (&json!("exact"), &json!("hostname")));
    let digests = |of: &str| entry[of]["hostname/location"].as_str().unwrap().to_owned();
    assert_ne!(digests("before"), digests("after"));
    assert_eq!(outcome["entries"][0]["result"], "done");

    // A run that changes nothing writes nothing, and so does looking.
    apply(&session, &[], &located("here")).ok();
    session.run(&["op-apply", "--dry-run"], &located("there").to_string()).ok();
    assert_eq!(session.run(&["op-apply", "--check"], &located("there").to_string()).code, 2);
    assert_eq!(blocks(&session).len(), 2);

    // Refusals say why and what was refused.
    assert_eq!(session.run(&["op-apply"], &located("there").to_string()).code, 5, "nobody to ask");
    let wrong = json!({"plugins": {"hostname": {"static_hostname": "not a name!"}}});
    let failed = apply(&session, &[], &wrong);
    assert_ne!(failed.code, 0);
    let all = blocks(&session);
    assert_eq!(all[2]["header"]["kind"], "refusal");
    assert_eq!(all[2]["header"]["detail"]["error"]["kind"], "refused");
    assert_eq!(all[2]["entries"][0]["resources"], json!(["hostname/location"]));

    session.run(&["op-apply", "--rollback", "--yes"], "").ok();
    let all = blocks(&session);
    assert_eq!(kinds(&all[all.len() - 2..]), ["intent", "applied"]);
    assert_eq!(location(&session), "");
}

#[test]
fn a_failure_is_recorded_with_what_was_undone() {
    let session = session();
    let want = json!({"plugins": {
        "hostname": {"location": "here"},
        "packagekit": {"packages": ["hello-op"]},
    }});
    session.sh("chattr +i /var/lib/dpkg/status 2>/dev/null; mv /usr/bin/dpkg /usr/bin/dpkg.away").ok();
    let output = apply(&session, &[], &want);
    session.sh("mv /usr/bin/dpkg.away /usr/bin/dpkg; chattr -i /var/lib/dpkg/status 2>/dev/null; true").ok();
    assert_ne!(output.code, 0, "{output:?}");
    let all = blocks(&session);
    let last = all.last().unwrap();
    assert_eq!(last["header"]["detail"]["outcome"], output.json()["outcome"]);
    assert!(last["header"]["detail"]["error"]["message"].is_string(), "{last}");
    let results: Vec<&Value> = last["entries"].as_array().unwrap().iter().map(|entry| &entry["result"]).collect();
    assert!(results.contains(&&json!("undone")) && results.contains(&&json!("failed")), "{last}");
    let search = |text: &str| session.run(&["op-audit", "search", text], "");
    let found = search("packages that failed to install").json();
    assert_fits("audit-hits", &found);
    assert!(found["hits"][0]["text"].as_str().unwrap().contains("hello-op"), "{found}");
    assert_eq!(search("packages that were installed and succeeded").code, 3, "none was");
    let anomalies = session.run(&["op-audit", "anomalies"], "").json();
    assert_fits("audit-anomalies", &anomalies);
    assert_eq!(anomalies["is_learning"], true);
    assert_eq!(location(&session), "");
}

#[test]
fn what_nobody_confirms_goes_back_by_itself() {
    let session = session();
    let output = apply(&session, &["--confirm-within", "2s"], &located("here"));
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("systemd is not process 1 here"), "it says what it cannot promise: {output:?}");
    assert!(output.json()["confirm_by"].is_string());
    assert_eq!(location(&session), "here");
    // Nobody else changes the same plugin meanwhile, and others are free to be changed.
    fails(&apply(&session, &[], &located("there")), 75, &["waits to be confirmed", "op-apply confirm"]);
    let other = json!({"plugins": {"timedate": {"timezone": "Europe/Berlin"}}});
    apply(&session, &[], &other).ok();
    wait_until("it goes back", || location(&session) == "");
    wait_until("nothing waits", || session.run(&["op-apply", "pending"], "").json()["runs"] == json!([]));
    // Only that run went back.
    let zone = session.run(&["op-query", "--bare", "--plugin", "timedate"], "").json();
    assert_eq!(zone["timezone"], "Europe/Berlin");
    let all = blocks(&session);
    assert_eq!(kinds(&all), ["intent", "applied", "intent", "applied", "intent", "undone"]);
    assert_eq!(all[5]["header"]["detail"]["takes_back"], "unconfirmed");
    assert_eq!(all[5]["header"]["run"], all[0]["header"]["run"]);
    apply(&session, &[], &located("there")).ok();
}

#[test]
fn what_is_confirmed_or_taken_back_in_time() {
    let session = session();
    let within = |place: &str| apply(&session, &["--confirm-within=3s"], &located(place)).json();
    let kept = within("here");
    session.run(&["op-apply", "confirm", kept["run"].as_str().unwrap()], "").ok();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(location(&session), "here");
    let again = session.run(&["op-apply", "confirm"], "");
    fails(&again, 65, &["nothing waits to be confirmed"]);

    assert_fits("report", &within("there"));
    assert_fits("waiting", &session.run(&["op-apply", "pending"], "").json());
    assert_eq!(location(&session), "there");
    let report = session.run(&["op-apply", "revert"], "");
    assert_eq!((report.code, outcome(&report.json())), (0, "undone"));
    assert_eq!(location(&session), "here");
    assert_eq!(kinds(&blocks(&session)), ["intent", "applied", "confirm", "intent", "applied", "intent", "undone"]);

    for wrong in [&["--confirm-within", "0s"][..], &["--confirm-within", "5s", "--dry-run"], &["--recover", "--diff"]] {
        let output = apply(&session, wrong, &located("x"));
        assert_eq!(output.code, 64, "{output:?}");
    }
}

/// The program that made the change is killed together with everything of its shell: what takes it back lives on.
#[test]
fn a_killed_shell_takes_back_nothing_less() {
    let session = session();
    session
        .sh("op-apply --yes --confirm-within 2s <<<'{\"plugins\":{\"hostname\":{\"location\":\"here\"}}}'; kill -9 $$");
    assert_eq!(location(&session), "here");
    wait_until("it goes back", || location(&session) == "");
    wait_until("it is recorded", || kinds(&blocks(&session)).last() == Some(&"undone"));
}

#[test]
fn a_run_that_was_killed_is_recovered_and_blocks_nobody_else() {
    let session = session();
    let want = json!({"plugins": {
        "hostname": {"location": "here"},
        "packagekit": {"packages": ["slow-op"]},
    }});
    let running = session.spawn(&["op-apply", "--yes"], &want.to_string());
    wait_until("slow-op's postinst runs", || session.run(&["pgrep", "-f", "slow-op.postinst"], "").code == 0);
    running.signal("KILL");
    running.wait();
    assert_eq!(location(&session), "here");
    // Whoever wants to change the same is told; others are free.
    fails(&apply(&session, &[], &located("there")), 75, &["was broken off", "--recover"]);
    apply(&session, &[], &json!({"plugins": {"timedate": {"timezone": "Europe/Berlin"}}})).ok();
    wait_until("the package is being set up", || session.sh("pkill -x sleep").code == 0);
    wait_until("dpkg has ended", || session.sh("pgrep -x dpkg").code != 0);
    // Deleting what is derived loses nothing.
    session.sh("rm -rf /var/lib/op-dbus/@cache").ok();
    let recovery = session.run(&["op-apply", "--recover"], "");
    assert!(matches!(recovery.code, 0 | 4), "{recovery:?}");
    assert_fits("recovery", &recovery.json());
    let run = &recovery.json()["runs"][0];
    assert_eq!(run["why"], "broken_off");
    assert_eq!(location(&session), "", "{recovery:?}");
    let all = blocks(&session);
    assert_eq!(all.last().unwrap()["header"]["run"], run["run"]);
    assert_eq!(all.last().unwrap()["header"]["detail"]["outcome"], run["outcome"]);
    // Once is enough, and the way is free.
    let again = session.run(&["op-apply", "--recover"], "");
    assert_eq!((again.code, &again.json()["runs"]), (0, &json!([])));
    apply(&session, &[], &located("there")).ok();
}

/// A check reads, says 2 when something differs that nobody knows of, and leaves no trace whatever.
#[test]
fn a_check_changes_nothing_and_knows_what_is_known() {
    let session = session();
    apply(&session, &[], &located("here")).ok();
    let everything = "cd /var/lib/op-dbus && find . -type f -o -type d | sort | xargs stat -c '%n %Y %s %i' && \
                      find . -type f | sort | xargs sha256sum";
    let before = session.sh(everything).ok();
    let check = |more: &[&str]| session.run(&[&["op-apply", "--check"], more].concat(), &located("there").to_string());
    assert_eq!(check(&[]).code, 2);
    let known = |until: &str| {
        let drift = json!([{"resource": "hostname", "until": until, "reason": "moving"}]);
        let list = json!({"kind": "acknowledged", "version": 1, "drift": drift});
        assert_fits("acknowledged", &list);
        write(&session, "/tmp/known", &list.to_string());
        check(&["--acknowledged", "/tmp/known"])
    };
    let output = known("2999-01-01");
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("hostname/location is known to differ until 2999-01-01: moving"), "{output:?}");
    assert_eq!(output.json()["actions"].as_array().unwrap().len(), 1, "the plan still has it");
    let output = known("2020-01-01");
    assert!(output.code == 2 && output.stderr.contains("and that is over"), "{output:?}");
    fails(&known("soon"), 65, &["no moment"]);
    let output = check(&["--acknowledged", "/nonexistent"]);
    assert!(output.code == 2 && output.stderr.contains("no drift is acknowledged"), "{output:?}");
    assert_eq!(session.run(&["op-apply", "--dry-run", "--acknowledged", "x"], &located("x").to_string()).code, 64);
    assert_eq!(session.sh(everything).ok(), before, "a check leaves no trace");
}

/// Two hundred at once: each gets its turn or says that it did not, and the chain is one.
#[test]
fn two_hundred_at_once_make_one_chain() {
    let session = session();
    let script = r#"for n in $(seq 200); do
        op-apply --yes --lock-timeout 120s <<<"{\"plugins\":{\"hostname\":{\"location\":\"$n\"}}}" >/dev/null 2>>/tmp/errors || echo "$n $?" >>/tmp/failed &
    done; wait"#;
    session.sh(script).ok();
    assert_eq!(session.sh("cat /tmp/failed /tmp/errors 2>/dev/null | grep -v '✓'").stdout, "");
    let all = blocks(&session);
    assert_eq!(all.len(), 400);
    for pair in all.chunks(2) {
        assert_eq!((kinds(pair), &pair[0]["header"]["run"]), (vec!["intent", "applied"], &pair[1]["header"]["run"]));
    }
    let last = all[399]["entries"][0]["title"].as_str().unwrap().to_owned();
    assert!(last.contains(location(&session).as_str().unwrap()), "{last}");
}

/// What cannot be recorded is not done; and when the disk fills up afterwards, there still is room for the outcome.
#[test]
fn a_full_disk_refuses_before_the_first_call() {
    let session = session();
    let fill = "dd if=/dev/zero of=/var/lib/op-dbus/@timing/full bs=4k status=none 2>/dev/null; true";
    let mount = "mkdir -p /var/lib/op-dbus/@timing; chmod 755 /var/lib/op-dbus; \
                 mount -t tmpfs -o mode=755,size=512k full /var/lib/op-dbus/@timing";
    session.sh(&format!("{mount}; {fill}")).ok();
    fails(&apply(&session, &[], &located("here")), 1, &["could not keep room", "nothing was changed"]);
    assert_eq!(location(&session), "");
    session.sh("rm /var/lib/op-dbus/@timing/full").ok();
    // Full as soon as the first call is made: by the service itself, so that nothing is left to chance.
    let running = session.spawn(
        &["op-apply", "--yes"],
        &json!({"plugins": {
            "hostname": {"location": "here"}, "packagekit": {"packages": ["slow-op"]},
        }})
        .to_string(),
    );
    wait_until("the first change is made", || location(&session) == "here");
    session.sh(fill).ok();
    running.signal("INT");
    wait_until("the package is being set up", || session.sh("pkill -x sleep").code == 0);
    let output = running.wait();
    assert_ne!(output.code, 0);
    let all = blocks(&session);
    assert_eq!(all.last().unwrap()["header"]["kind"], "outcome", "{output:?}");
}

/// What the trail of one machine says is checked on another, with nothing but a signed head.
#[test]
fn a_proof_is_checked_elsewhere_with_a_head_alone() {
    let (here, elsewhere) = (session(), session());
    apply(&here, &[], &located("here")).ok();
    let head = here.run(&["op-audit", "head"], "").ok();
    let proof = here.run(&["op-audit", "prove", "2/0"], "").ok();
    assert_fits("audit-head", &serde_json::from_str(&head).unwrap());
    assert_fits("audit-proof", &serde_json::from_str(&proof).unwrap());
    write(&elsewhere, "/tmp/head", &head);
    write(&elsewhere, "/tmp/proof", &proof);
    let check = |proof: &str| elsewhere.run(&["op-audit", "check-proof", "--against", "/tmp/head", proof], "");
    let verdict = check("/tmp/proof");
    assert_eq!((verdict.code, &verdict.json()["is_anchored"]), (0, &json!(true)), "{verdict:?}");
    write(&elsewhere, "/tmp/forged", &proof.replace("\"done\"", "\"failed\""));
    assert_eq!(error(&check("/tmp/forged"))["kind"], "untrusted");
}

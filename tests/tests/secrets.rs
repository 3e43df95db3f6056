//! Secrets reach the service they are for, and nothing that op-dbus writes or says: every byte of it is searched, after
//! success and after failure.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{apply, fails, install, outcome, property, write};
use op_dbus_tests::root::{Output, RealRoot, Session};
use serde_json::{Value, json};

/// As good a password as any, and nowhere else by chance.
const SENTINEL: &str = "Sentinel-7f3a9c51e2";
const OTHER: &str = "Sentinel-other-44d0";

fn wifi(psk: &Value) -> Value {
    json!({"plugins": {"networkmanager": {"connections": {"cafe": {
        "connection": {"type": "802-11-wireless", "autoconnect": false},
        "802-11-wireless": {"ssid": "cafe", "mode": "infrastructure"},
        "802-11-wireless-security": {"key-mgmt": "wpa-psk", "psk": psk},
    }}}}})
}

fn named(name: &str) -> Value {
    wifi(&json!({"$secret": name}))
}

fn give(session: &Session, name: &str, text: &str) {
    write(session, &format!("/etc/op-dbus/secrets/{name}"), &format!("{text}\n"));
    session.sh(&format!("chmod 600 /etc/op-dbus/secrets/{name}")).ok();
}

/// The password that NetworkManager has.
fn password(session: &Session) -> String {
    session.sh("nmcli -s -g 802-11-wireless-security.psk connection show cafe").stdout.trim().to_owned()
}

/// Nothing that op-dbus wrote or said has a secret in it.
#[track_caller]
fn nothing_leaked(session: &Session, said: &[&Output]) {
    for output in said {
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains("Sentinel"), "{text}");
        }
    }
    let found = session.sh("grep -rlaF Sentinel /var/lib/op-dbus /tmp /run/log /var/log 2>/dev/null");
    assert_eq!(found.stdout, "", "a secret was written");
    // The search finds what there is.
    session.sh(&format!("echo {SENTINEL} >/var/lib/op-dbus/@timing/planted")).ok();
    let found = session.sh("grep -rlaF Sentinel /var/lib/op-dbus; rm /var/lib/op-dbus/@timing/planted");
    assert_eq!(found.stdout.trim(), "/var/lib/op-dbus/@timing/planted");
}

#[test]
fn a_secret_reaches_its_service_and_nothing_else() {
    let session = RealRoot::get().session();
    give(&session, "wifi", SENTINEL);
    let shown = session.run(&["op-apply", "--dry-run", "--diff"], &named("wifi").to_string());
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains(r#"{"$secret":"wifi"}"#) || shown.stdout.contains("$secret"), "{shown:?}");
    let made = apply(&session, &["--diff"], &named("wifi"));
    assert_eq!((made.code, outcome(&made.json())), (0, "applied"), "{made:?}");
    assert_eq!(password(&session), SENTINEL);
    // The second run has nothing to do, although the service never tells.
    let again = apply(&session, &[], &named("wifi"));
    assert_eq!(outcome(&again.json()), "unchanged");
    let queried = session.run(&["op-query", "--plugin", "networkmanager", "--all"], "");
    let log = session.sh("op-audit log; op-audit export; op-apply pending; op-apply --check </dev/null");
    nothing_leaked(&session, &[&shown, &made, &again, &queried, &log]);

    // Another secret of the same name is written; what was there cannot come back, and that is said before.
    give(&session, "wifi", OTHER);
    let refused = apply(&session, &[], &named("wifi"));
    fails(&refused, 5, &["cannot be undone", "--allow-irreversible"]);
    let rotated = apply(&session, &["--allow-irreversible"], &named("wifi"));
    assert_eq!((rotated.code, password(&session)), (0, OTHER.to_owned()), "{rotated:?}");

    // Under another name, the way back is known: the first one's.
    give(&session, "guests", SENTINEL);
    let renamed = apply(&session, &[], &named("guests"));
    assert_eq!((renamed.code, password(&session)), (0, SENTINEL.to_owned()), "{renamed:?}");
    let back = session.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!((back.code, password(&session)), (0, OTHER.to_owned()), "{back:?}");
    nothing_leaked(&session, &[&refused, &rotated, &renamed, &back]);
}

#[test]
fn a_failure_repeats_no_secret() {
    let session = RealRoot::get().session();
    // Too long for NetworkManager, which says so.
    let long = SENTINEL.repeat(8);
    give(&session, "wifi", &long);
    let failed = apply(&session, &[], &named("wifi"));
    assert_eq!(failed.code, 1, "{failed:?}");
    fails(&failed, 1, &["its words are not repeated"]);
    // A later action fails, and the connection is taken back.
    give(&session, "wifi", SENTINEL);
    let mut both = named("wifi");
    both["plugins"]["packagekit"] = json!({"packages": ["hello-op"]});
    session.sh("mv /usr/bin/dpkg /usr/bin/dpkg.away").ok();
    let undone = apply(&session, &[], &both);
    session.sh("mv /usr/bin/dpkg.away /usr/bin/dpkg").ok();
    assert_ne!(undone.code, 0, "{undone:?}");
    assert_eq!(password(&session), "", "{undone:?}");
    // A run that waits, and goes back.
    let waits = apply(&session, &["--confirm-within", "60s"], &named("wifi"));
    let reverted = session.run(&["op-apply", "revert"], "");
    assert_eq!((waits.code, reverted.code, password(&session)), (0, 0, String::new()), "{reverted:?}");
    nothing_leaked(&session, &[&failed, &undone, &waits, &reverted]);
}

#[test]
fn where_secrets_come_from_and_where_they_may_go() {
    let session = RealRoot::get().session();
    fails(&apply(&session, &[], &wifi(&json!(SENTINEL))), 5, &["this is a secret", "security.psk", "$secret"]);
    let elsewhere = json!({"plugins": {"hostname": {"location": {"$secret": "wifi"}}}});
    fails(&apply(&session, &[], &elsewhere), 65, &["plugins.hostname.location", "what the mapping calls secret"]);
    fails(&apply(&session, &[], &named("../etc/shadow")), 65, &["no name of a secret"]);
    let missing = apply(&session, &[], &named("wifi"));
    fails(&missing, 65, &["no secret of this name", "/etc/op-dbus/secrets/wifi", "$OP_DBUS_SECRET_WIFI"]);

    let by = |environment: &str| {
        let argv = ["env", environment, "op-apply", "--yes", "--allow-irreversible"];
        let output = session.run(&argv, &named("wifi").to_string());
        assert_eq!(output.code, 0, "{output:?}");
        password(&session)
    };
    assert_eq!(by(&format!("OP_DBUS_SECRET_WIFI={SENTINEL}-1")), format!("{SENTINEL}-1"));
    give(&session, "wifi", &format!("{SENTINEL}-2"));
    assert_eq!(by(&format!("OP_DBUS_SECRET_WIFI={SENTINEL}-1")), format!("{SENTINEL}-2"));
    session.sh(&format!("mkdir /run/creds; printf '%s' {SENTINEL}-3 >/run/creds/wifi")).ok();
    assert_eq!(by("CREDENTIALS_DIRECTORY=/run/creds"), format!("{SENTINEL}-3"));
    give(&session, "open", SENTINEL);
    session.sh("chmod 644 /etc/op-dbus/secrets/open").ok();
    let open = apply(&session, &["--allow-irreversible"], &named("open"));
    fails(&open, 77, &["others can read this secret", "chmod 600"]);
    nothing_leaked(&session, &[&open, &missing]);
}

/// A whole key that is secret: written, never read, and known by the digest of what was written.
#[test]
fn a_key_that_is_secret() {
    let session = RealRoot::get().session();
    let mapping = r#"
[methods.set_pretty_hostname]
[state_mapping.token]
secret = true
read = { property = "PrettyHostname" }
write = { method = "set_pretty_hostname", args = ["$value", false] }
"#;
    install(&session, "hidden", "org.freedesktop.hostname1", "", mapping);
    give(&session, "token", SENTINEL);
    let want = json!({"plugins": {"hidden": {"token": {"$secret": "token"}}}});
    fails(&apply(&session, &[], &want), 5, &["cannot be undone"]);
    let made = apply(&session, &["--allow-irreversible"], &want);
    assert_eq!((made.code, outcome(&made.json())), (0, "applied"), "{made:?}");
    assert_eq!(property(&session, "org.freedesktop.hostname1", "PrettyHostname"), SENTINEL);
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "unchanged");
    let queried = session.run(&["op-query", "--plugin", "hidden", "--all"], "");
    nothing_leaked(&session, &[&made, &queried]);
    give(&session, "token", OTHER);
    assert_eq!(apply(&session, &["--allow-irreversible"], &want).code, 0);
    assert_eq!(property(&session, "org.freedesktop.hostname1", "PrettyHostname"), OTHER);
    let literal = json!({"plugins": {"hidden": {"token": SENTINEL}}});
    let refused = apply(&session, &[], &literal);
    fails(&refused, 5, &["plugins.hidden.token", "this is a secret"]);
    nothing_leaked(&session, &[&refused]);
}

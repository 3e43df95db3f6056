//! `op-install map --learn -- COMMAND` on real services: the command alone, and nobody has to know which service it
//! talks to.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{fails, wait_until};
use op_dbus_tests::root::{Output, RealRoot, Session};
use serde_json::{Value, json};

const HOSTNAME: &str = "org.freedesktop.hostname1";
const TIMEDATE: &str = "org.freedesktop.timedate1";

fn start(session: &Session, service: &str) {
    session.run(&["busctl", "--quiet", "call", service, "/", "org.freedesktop.DBus.Peer", "Ping"], "").ok();
}

fn learn(session: &Session, args: &[&str]) -> Output {
    session.run(&[&["op-install", "map", "--learn", "--json"], args].concat(), "")
}

fn learned(session: &Session, command: &[&str]) -> Value {
    let output = learn(session, &[&["--"], command].concat());
    assert_eq!(output.code, 0, "{output:?}");
    let document = output.json();
    assert_eq!(document["lint"]["errors"], 0, "{document}");
    document
}

fn key<'a>(document: &'a Value, name: &str) -> &'a Value {
    let keys = document["keys"].as_array().unwrap();
    keys.iter().find(|key| key["key"] == name).unwrap_or_else(|| panic!("no {name}: {document}"))
}

#[test]
fn a_command_alone_tells_which_service_it_changes() {
    let session = RealRoot::get().session();
    start(&session, HOSTNAME);
    start(&session, "org.freedesktop.Accounts");
    // It asks another service and this one, and changes something here.
    let asks = format!(
        "busctl get-property {TIMEDATE} /org/freedesktop/timedate1 {TIMEDATE} Timezone; \
         busctl call org.freedesktop.Accounts /org/freedesktop/Accounts org.freedesktop.Accounts ListCachedUsers; \
         hostnamectl location 'rack 9'"
    );
    let seen = learned(&session, &["sh", "-c", &asks]);
    assert_eq!((&seen["service"], &seen["learned"]["is_before_known"]), (&json!(HOSTNAME), &json!(true)));
    assert_eq!((&key(&seen, "location")["sureness"], &seen["learned"]["others"]), (&json!("sure"), &Value::Null));
    let changes = seen["learned"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|c| c["property"] == "Location" && c["to"] == "rack 9"), "{changes:?}");
    let calls = seen["learned"]["calls"].as_array().unwrap();
    assert_eq!(calls.iter().map(|call| &call["member"]).collect::<Vec<_>>(), ["SetLocation"]);
    let text = seen["mapping"].as_str().unwrap();
    assert!(text.contains("write = { method = \"set_location\" }") && !text.contains("was not there before"), "{text}");
    // The plugin's name before the dashes is a plugin, behind them it is the program.
    let hostname = learn(&session, &["--", "hostname"]);
    fails(&hostname, 3, &["kind: partial", "subject: hostname", "--from-dbus"]);
    fails(&learn(&session, &["no-such-plugin", "--", "true"]), 65, &["no such plugin"]);
    fails(&learn(&session, &["--"]), 64, &["there has to be a command"]);
    fails(&learn(&session, &["--", "/no/such/program"]), 69, &["could not start the command", "/no/such/program"]);
}

#[test]
fn a_service_that_the_command_starts_has_no_before() {
    let session = RealRoot::get().session();
    let seen = learned(&session, &["timedatectl", "set-timezone", "Europe/Berlin"]);
    assert_eq!((&seen["service"], &seen["learned"]["is_before_known"]), (&json!(TIMEDATE), &json!(false)));
    assert_eq!(seen["learned"]["changes"], json!([]));
    assert_eq!(key(&seen, "timezone")["sureness"], "likely");
    let text = seen["mapping"].as_str().unwrap();
    assert!(text.contains("org.freedesktop.timedate1 was not there before the command"), "{text}");
    // Once more, and it was.
    let seen = learned(&session, &["timedatectl", "set-timezone", "Europe/Paris"]);
    assert_eq!(seen["learned"]["is_before_known"], true);
    assert_eq!(key(&seen, "timezone")["sureness"], "sure");
}

#[test]
fn of_two_services_the_one_that_taught_more_is_drafted_and_the_other_named() {
    let session = RealRoot::get().session();
    start(&session, HOSTNAME);
    start(&session, TIMEDATE);
    let both = "timedatectl set-timezone Asia/Tokyo; hostnamectl location here; hostnamectl icon-name pc";
    let output = learn(&session, &["--", "sh", "-c", both]);
    assert_eq!(output.code, 0, "{output:?}");
    let seen = output.json();
    assert_eq!(seen["service"], HOSTNAME);
    let other = json!([{"service": TIMEDATE, "calls": 1, "keys": ["timezone"]}]);
    assert_eq!(seen["learned"]["others"], other);
    assert!(!output.stdout.contains("Tokyo"), "{}", output.stdout);
    let shown = session.run(&["op-install", "map", "--learn", "--no-json", "--", "sh", "-c", both], "");
    let told = format!("#   {TIMEDATE} too, calls: 1, learnt: timezone");
    assert!(shown.stdout.contains(&told), "{shown:?}");
}

/// A program that ran before, and what services say among themselves, are nobody's business.
#[test]
fn only_programs_that_were_started_meanwhile_are_heard() {
    let session = RealRoot::get().session();
    start(&session, HOSTNAME);
    let before = format!(
        "import dbus, os, time\n\
         host = dbus.SystemBus().get_object('{HOSTNAME}', '/org/freedesktop/hostname1')\n\
         open('/run/ready', 'w')\n\
         while not os.path.exists('/run/go'): time.sleep(0.02)\n\
         host.SetLocation('ELSEWHERE', False, dbus_interface='{HOSTNAME}')\n\
         open('/run/done', 'w')\n"
    );
    let mut other = session.spawn(&["python3", "-c", &before], "");
    wait_until("the other program", || session.run(&["test", "-e", "/run/ready"], "").code == 0);
    let wait = "touch /run/go; while ! test -e /run/done; do sleep 0.02; done";
    let output = learn(&session, &["--", "sh", "-c", wait]);
    assert!(!other.is_running());
    assert_eq!(other.wait().code, 0);
    fails(&output, 3, &["no call was seen that may have changed anything"]);
    assert!(!output.stdout.contains("ELSEWHERE"), "{output:?}");
    // The same call is heard of a program that the command starts, and a secret is not shown even then.
    let password = "busctl call org.freedesktop.Accounts /org/freedesktop/Accounts/User0 \
                    org.freedesktop.Accounts.User SetPassword ss CRYPTED HINT";
    let both = format!("{password}; hostnamectl location HERE");
    let output = learn(&session, &["--", "sh", "-c", &both]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("HERE"), "{output:?}");
    assert!(!output.stdout.contains("CRYPTED") && !output.stdout.contains("HINT"), "{}", output.stdout);
}

//! The tools of a mapping's author on real services: drafts that work as they are, lessons from commands, and nothing
//! called, shown or overwritten that should not be.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{Monitor, apply, fails, outcome, property, wait_until};
use op_dbus_tests::root::{Output, RealRoot, Session};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Makes a plugin for a service.
fn create(session: &Session, name: &str, service: &str) {
    session.run(&["op-install", "create", name, "--from-dbus", service], "").ok();
}

fn map(session: &Session, args: &[&str]) -> Output {
    session.run(&[&["op-install", "map", "--json"], args].concat(), "")
}

/// The keys of a draft that are part of its mapping.
fn active(draft: &Value) -> Vec<&str> {
    let keys = draft["keys"].as_array().unwrap().iter();
    keys.filter(|key| key["is_active"] == true).map(|key| key["key"].as_str().unwrap()).collect()
}

fn mapping_of(session: &Session, name: &str) -> String {
    session.run(&["cat", &format!("/var/lib/op-dbus/@plugin-{name}/semantic-mapping.toml")], "").ok()
}

#[test]
fn drafts_of_real_services_work_as_they_are() {
    let session = RealRoot::get().session();
    for (name, service, keys) in [
        ("host", "org.freedesktop.hostname1", &["static_hostname", "pretty_hostname", "location"][..]),
        ("clock", "org.freedesktop.timedate1", &["timezone", "local_rtc"]),
        ("users", "org.freedesktop.Accounts", &["daemon_version"]),
        ("fire", "org.fedoraproject.FirewallD1", &["cleanup_on_exit"]),
        ("links", "org.freedesktop.NetworkManager", &["wireless_enabled", "devices"]),
        ("power", "org.freedesktop.UPower", &["devices"]),
        ("disks", "org.freedesktop.UDisks2", &["host_nqn"]),
        ("seats", "org.freedesktop.login1", &["wall_message", "seats"]),
    ] {
        create(&session, name, service);
        let output = map(&session, &[name, "--no-input"]);
        assert_eq!(output.code, 0, "{output:?}");
        let draft = output.json();
        assert_eq!((&draft["kind"], &draft["plugin"]), (&json!("draft"), &json!(name)));
        assert_eq!(draft["lint"]["errors"], 0, "{name}: {}", draft["lint"]);
        let trip = &draft["round_trip"];
        assert_eq!((&trip["changes"], &trip["problems"]), (&json!([]), &json!([])), "{name}");
        for key in keys {
            assert!(active(&draft).contains(key), "{name} has {:?}, and no {key}", active(&draft));
        }
        let text = mapping_of(&session, name);
        assert_eq!(text, draft["mapping"].as_str().unwrap());
        assert!(!text.lines().any(|line| line.starts_with("safe")), "{name}: something is called safe\n{text}");
        // It is a plugin like any other: what it reads can be applied, and changes nothing.
        let state = session.run(&["op-query", "--plugin", name], "");
        assert_eq!(state.code, 0, "{state:?}");
        assert_eq!(outcome(&apply(&session, &[], &state.json()).json()), "unchanged");
        let lint = session.run(&["op-install", "lint", name, "--json"], "");
        assert_eq!(lint.code, 0, "{lint:?}");
        assert_eq!(session.run(&["op-install", "lint", name, "--live"], "").code, 0, "{name}");
    }
    let want = json!({"plugins": {"host": {"location": "rack 7"}}});
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "applied");
    assert_eq!(property(&session, "org.freedesktop.hostname1", "Location"), "rack 7");
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "unchanged");
}

#[test]
fn drafting_calls_nothing_but_what_every_service_answers() {
    let session = RealRoot::get().session();
    for service in ["org.freedesktop.Accounts", "org.fedoraproject.FirewallD1", "org.freedesktop.NetworkManager"] {
        // Started before: what a daemon asks others while it starts is its own affair.
        session
            .run(&["busctl", "--quiet", "--timeout=60", "call", service, "/", "org.freedesktop.DBus.Peer", "Ping"], "")
            .ok();
        let monitor = Monitor::start(&session);
        assert_eq!(map(&session, &["--from-dbus", service, "--no-input"]).code, 0);
        let own = [service, "org.freedesktop.DBus"];
        let asked = monitor.calls();
        let asked: Vec<_> =
            asked.iter().filter(|call| own.contains(&call["destination"].as_str().unwrap_or_default())).collect();
        assert!(asked.len() > 3, "{asked:?}");
        for call in asked {
            let (interface, member) = (call["interface"].as_str().unwrap(), call["member"].as_str().unwrap());
            let reads = matches!(
                (interface.rsplit('.').next().unwrap(), member),
                ("Introspectable", "Introspect")
                    | ("Properties", "Get" | "GetAll")
                    | ("ObjectManager", "GetManagedObjects")
            );
            assert!(reads || interface == "org.freedesktop.DBus", "{call}");
        }
    }
}

#[test]
fn users_are_managed_with_a_draft_and_the_authors_word() {
    let session = RealRoot::get().session();
    create(&session, "users", "org.freedesktop.Accounts");
    let draft = map(&session, &["users", "--no-input", "--safe", "ListCachedUsers", "--safe", "find_user_by_name"]);
    assert_eq!(draft.code, 0, "{draft:?}");
    assert!(active(&draft.json()).contains(&"users"));
    let passwd = |name: &str| session.run(&["getent", "passwd", name], "").stdout;
    let want = json!({"plugins": {"users": {"users": {"ada": {"real_name": "Ada L", "shell": "/bin/sh"}}}}});
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "applied");
    assert!(passwd("ada").contains(":Ada L:/home/ada:/bin/sh"), "{}", passwd("ada"));
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "unchanged");
    let gone = json!({"plugins": {"users": {"users": {"ada": {"state": "absent"}}}}});
    assert_eq!(outcome(&apply(&session, &[], &gone).json()), "applied");
    assert_eq!(passwd("ada"), "");
    // A name that does not read is no method to give one's word for.
    fails(&map(&session, &["users", "--force", "--no-input", "--safe", "DeleteUser"]), 65, &["--safe DeleteUser"]);
    fails(&map(&session, &["users", "--no-input"]), 5, &["not overwritten", "--force"]);
}

/// Types answers into a terminal, one after each question.
fn on_terminal(session: &Session, command: &str, answers: &[&str]) -> (String, i32) {
    let keys = r#"mkfifo /run/keys && exec 9<>/run/keys && exec script -qec "$0" /dev/null <&9"#;
    let command = format!("stty -echo; exec {command}");
    let mut running = session.spawn(&["bash", "-c", keys, &command], "");
    for (count, answer) in answers.iter().enumerate() {
        let asked = || running.stdout_so_far().matches("]: ").count();
        wait_until("a question", || asked() > count);
        let end = if answer.starts_with('\x03') { "" } else { "\n" };
        session.run(&["sh", "-c", "cat >/run/keys"], &format!("{answer}{end}")).ok();
    }
    let end = Instant::now() + Duration::from_secs(60);
    while running.is_running() {
        assert!(Instant::now() < end, "it asks for more: {}", running.stdout_so_far());
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = running.wait();
    session.run(&["rm", "/run/keys"], "").ok();
    (output.stdout.replace("\r\n", "\n"), output.code)
}

#[test]
fn the_wizard_asks_what_only_the_author_knows() {
    let session = RealRoot::get().session();
    create(&session, "users", "org.freedesktop.Accounts");
    // Without an answer nothing is safe, so the users wait.
    let (shown, code) = on_terminal(&session, "op-install map users", &["", "", "", "", ""]);
    assert_eq!(code, 0, "{shown}");
    for question in [
        "Take these keys: (y)es, (n)o, (c)hoose each? [y]: ",
        "Take users_languages, which can only be read? [n]: ",
        "ListCachedUsers() -> ao",
        "Do you know that it changes nothing at all? [n]: ",
        "Take them too, to be shown and never compared? [y]: ",
    ] {
        assert!(shown.contains(question), "{question:?} was not asked:\n{shown}");
    }
    assert!(!mapping_of(&session, "users").lines().any(|line| line.starts_with("safe")));
    let answers = ["y", "n", "n", "y", "yes", "2"];
    let (shown, code) = on_terminal(&session, "op-install map users --force", &answers);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("What names an item of users?\n  1) \"UserName\"\n"), "{shown}");
    let text = mapping_of(&session, "users");
    assert_eq!(text.lines().filter(|line| *line == "safe = true").count(), 2, "{text}");
    assert!(text.contains("\n[state_mapping.users]\ndescription = \"Users\"\nkey = \"Uid\"\n"), "{text}");
    assert!(!text.contains("\n[state_mapping.daemon_version]"), "{text}");
    // Ctrl-C at a question leaves everything as it was.
    let (_, code) = on_terminal(&session, "op-install map users --force", &["\x03"]);
    assert_eq!(code, 5);
    assert_eq!(mapping_of(&session, "users"), text);
}

fn learn(session: &Session, args: &[&str]) -> Value {
    let output = session.run(&[&["op-install", "map", "--learn", "--json"], args].concat(), "");
    assert_eq!(output.code, 0, "{output:?}");
    let document = output.json();
    assert_eq!(document["lint"]["errors"], 0, "{document}");
    document
}

#[test]
fn a_command_that_was_watched_becomes_entries() {
    let session = RealRoot::get().session();
    let seen = learn(&session, &["hostname", "--", "hostnamectl", "set-hostname", "learned"]);
    let text = seen["mapping"].as_str().unwrap();
    let entry = "[methods.set_static_hostname]\nargs_mapping = [\"hostname\", \"interactive\"]\narg_types = [\"s\", \"b\"]\n\
                 fixed = { 1 = false }\n\n[state_mapping.static_hostname]\ndescription = \"Static hostname\"\n\
                 read = { property = \"StaticHostname\" }\nwrite = { method = \"set_static_hostname\" }\n";
    assert!(text.contains(entry), "{text}");
    assert_eq!(seen["learned"]["command"]["program"], "hostnamectl");
    assert_eq!(seen["learned"]["command"]["exit_code"], 0);
    let changed = seen["learned"]["changes"].as_array().unwrap();
    assert!(changed.iter().any(|c| c["property"] == "StaticHostname" && c["to"] == "learned"), "{changed:?}");

    let seen = learn(&session, &["timedate", "--", "timedatectl", "set-timezone", "Europe/Berlin"]);
    assert_eq!(active(&seen), ["timezone"]);

    // A property that is set, not a method.
    let seen =
        learn(&session, &["--from-dbus", "org.freedesktop.NetworkManager", "--", "nmcli", "radio", "wifi", "off"]);
    let write = "write = { property = \"WirelessEnabled\" }";
    assert!(seen["mapping"].as_str().unwrap().contains(write), "{seen}");

    // What an item was made of, read from the item.
    let create =
        ["busctl", "call", ACCOUNTS, "/org/freedesktop/Accounts", ACCOUNTS, "CreateUser", "ssi", "ada", "Ada L", "0"];
    let seen = learn(&session, &[&["--from-dbus", ACCOUNTS, "--"], &create[..]].concat());
    let args = "args = [\"$item\", \"$real_name\", \"$account_type\"]";
    assert!(seen["mapping"].as_str().unwrap().contains(args), "{seen}");
}

const ACCOUNTS: &str = "org.freedesktop.Accounts";
const FIREWALL: &str = "org.fedoraproject.FirewallD1";

/// A zone's services, by what firewall-cmd said and the author's word, and then without firewall-cmd.
#[test]
fn a_learned_set_is_applied() {
    let session = RealRoot::get().session();
    let command = ["firewall-cmd", "--add-service=http"];
    let seen = learn(&session, &[&["--from-dbus", FIREWALL, "--safe", "getServices", "--"], &command[..]].concat());
    assert_eq!(active(&seen), ["services"]);
    create(&session, "fire", FIREWALL);
    let file = "/var/lib/op-dbus/@plugin-fire/semantic-mapping.toml";
    session.run(&["sh", "-c", &format!("cat >{file}")], seen["mapping"].as_str().unwrap()).ok();
    let want = json!({"plugins": {"fire": {"services": ["https"], "absent": {"services": ["http"]}}}});
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "applied");
    let services = session.run(&["firewall-cmd", "--list-services"], "").ok();
    let services: Vec<&str> = services.split_whitespace().collect();
    assert!(services.contains(&"https") && !services.contains(&"http"), "{services:?}");
    assert_eq!(outcome(&apply(&session, &[], &want).json()), "unchanged");
    // What the mapping reads by its safe method is compared as well, when something else is learnt.
    let seen = learn(&session, &["fire", "--", "firewall-cmd", "--add-service=ftp"]);
    let keys = seen["learned"]["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &keys[0]["key"]), (1, &json!("services")), "{keys:?}");
    assert!(keys[0]["to"].as_array().unwrap().contains(&json!("ftp")), "{keys:?}");
}

#[test]
fn watching_hears_one_service_only_and_keeps_no_secret() {
    let session = RealRoot::get().session();
    create(&session, "users", ACCOUNTS);
    // While hostnamed is watched, somebody talks to another service about something else, and the command ends badly.
    let elsewhere = "busctl call org.freedesktop.timedate1 / org.freedesktop.DBus.Peer Ping; \
                     busctl call org.freedesktop.Accounts /org/freedesktop/Accounts org.freedesktop.Accounts \
                     FindUserByName s ELSEWHERE; hostnamectl location HERE; exit 7";
    let output =
        session.run(&["op-install", "map", "--json", "--learn", "hostname", "--", "bash", "-c", elsewhere], "");
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("HERE") && !output.stdout.contains("ELSEWHERE"), "{}", output.stdout);
    let document = output.json();
    assert_eq!(document["learned"]["command"]["exit_code"], 7);
    assert_eq!(active(&document), ["location"]);
    // A secret is left out, whoever says it.
    session
        .run(
            &["busctl", "call", ACCOUNTS, "/org/freedesktop/Accounts", ACCOUNTS, "CreateUser", "ssi", "eve", "", "0"],
            "",
        )
        .ok();
    let user = "/org/freedesktop/Accounts/User1000";
    let secret =
        ["busctl", "call", ACCOUNTS, user, "org.freedesktop.Accounts.User", "SetPassword", "ss", "CRYPTED", "HINT"];
    let output = session.run(&[&["op-install", "map", "--json", "--learn", "users", "--"], &secret[..]].concat(), "");
    assert!(output.stdout.contains("SetPassword"), "{output:?}");
    assert!(!output.stdout.contains("CRYPTED") && !output.stdout.contains("HINT"), "{}", output.stdout);
    let secret =
        "nmcli con add type wifi ifname w0 ssid x con-name w0 wifi-sec.key-mgmt wpa-psk wifi-sec.psk topsecret";
    let argv: Vec<&str> = secret.split(' ').collect();
    let seen = ["op-install", "map", "--json", "--learn", "--from-dbus", "org.freedesktop.NetworkManager", "--"];
    let output = session.run(&[&seen[..], &argv].concat(), "");
    assert!(output.stdout.contains("AddConnection") && !output.stdout.contains("topsecret"), "{}", output.stdout);
}

#[test]
fn watching_that_cannot_be_says_why() {
    let session = RealRoot::get().session();
    let learn = |args: &[&str]| session.run(&[&["op-install", "map", "--learn", "--json"], args].concat(), "");
    let service = ["--from-dbus", "org.freedesktop.hostname1"];
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let argv = [&nobody[..], &["op-install", "map", "--learn", "--json"], &service, &["--", "true"]].concat();
    fails(&session.run(&argv, ""), 77, &["kind: denied", "org.freedesktop.hostname1", "run it as root"]);
    fails(&learn(&["hostname"]), 64, &["there has to be a command"]);
    fails(&learn(&["no-such-plugin", "--", "true"]), 65, &["no such plugin"]);
    fails(&learn(&["hostname", "--", "/no/such/program"]), 69, &["could not start the command", "/no/such/program"]);
    let nothing = learn(&["hostname", "--", "true"]);
    assert_eq!((nothing.code, active(&nothing.json()).len()), (3, 0));
    // A call that failed taught nothing.
    let failed = learn(&["hostname", "--", "hostnamectl", "chassis", "toaster"]);
    assert_eq!(failed.code, 3, "{failed:?}");
    let call = failed.json()["learned"]["calls"].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((&call["member"], &call["became"]), (&json!("SetChassis"), &json!("nothing: it failed")));
}

/// What one method switches on and another one off, as it was drafted, on the real firewall.
#[test]
fn a_drafted_switch_is_applied_and_undone() {
    let session = RealRoot::get().session();
    create(&session, "fire", FIREWALL);
    let draft = map(&session, &["fire", "--no-input", "--safe", "queryPanicMode"]);
    assert_eq!(draft.code, 0, "{draft:?}");
    assert!(active(&draft.json()).contains(&"panic_mode"), "{draft:?}");
    let panics = || session.run(&["firewall-cmd", "--query-panic"], "").code == 0;
    let want = |value: Value| json!({"plugins": {"fire": {"panic_mode": value}}});
    assert!(!panics());
    let applied = apply(&session, &[], &want(json!(true))).json();
    assert_eq!(outcome(&applied), "applied");
    assert!(panics());
    assert_eq!(outcome(&apply(&session, &[], &want(json!(true))).json()), "unchanged");
    assert_eq!(session.run(&["op-apply", "--rollback", "--yes"], "").code, 0);
    assert!(!panics(), "the way back is the other call");
    let other = apply(&session, &[], &want(json!("maybe")));
    fails(&other, 65, &["there is no way to make it \"maybe\"", "plugins.fire.panic_mode", "false, true"]);
    // The mapping that ships keeps its hands off: nobody could take it back over the network.
    let shipped = json!({"plugins": {"firewalld": {"panic_mode": true}}});
    fails(&apply(&session, &[], &shipped), 5, &["plugins.firewalld.panic_mode", "can only be read"]);
}

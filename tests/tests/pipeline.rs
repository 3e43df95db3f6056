//! The main job on real services: discover, query, plan, apply, verify; nothing to do the second time.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{apply, configuration, fails, host_and_zone, is_installed, outcome, property, start, write};
use op_dbus_tests::root::RealRoot;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SERVICES: [&str; 7] = [
    "org.fedoraproject.FirewallD1",
    "org.freedesktop.Accounts",
    "org.freedesktop.NetworkManager",
    "org.freedesktop.PackageKit",
    "org.freedesktop.UDisks2",
    "org.freedesktop.UPower",
    "org.freedesktop.login1",
];

#[test]
fn what_was_queried_is_applied_as_nothing_to_do_twice() {
    let session = RealRoot::get().session();
    let state = session.run(&["op-query"], "");
    assert_eq!((state.code, state.stderr.as_str()), (0, ""));
    let plugins: Vec<String> = state.json()["plugins"].as_object().unwrap().keys().cloned().collect();
    let here = [
        "accounts",
        "firewalld",
        "hostname",
        "locale",
        "login1",
        "net",
        "networkmanager",
        "packagekit",
        "timedate",
        "udisks2",
        "upower",
    ];
    assert_eq!(plugins, here);
    let before = configuration(&session);
    for _ in 0..2 {
        let output = session.sh("set -o pipefail; op-query | op-apply --yes");
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        assert_eq!(outcome(&output.json()), "unchanged");
    }
    assert_eq!(configuration(&session), before);
    assert_eq!(
        session.sh("cat /var/lib/op-dbus/@state/ownership.json").code,
        1,
        "nothing was added, so nothing is owned"
    );
    for name in plugins {
        let pipe = format!("set -o pipefail; op-query --bare --plugin {name} | op-apply --plugin {name} --yes");
        assert_eq!(outcome(&session.sh(&pipe).json()), "unchanged", "{name}");
    }
}

#[test]
fn the_whole_pipe_over_many_services_changes_nothing() {
    let session = RealRoot::get().session();
    SERVICES.iter().for_each(|service| start(&session, service));
    let before = configuration(&session);
    let inventory = session.run(&["op-discover"], "").ok();
    let inventory: Value = serde_json::from_str(&inventory).unwrap();
    let running = inventory["services"].as_array().unwrap().iter().filter(|service| service["running"] == true);
    let names: BTreeSet<&str> = running.map(|service| service["name"].as_str().unwrap()).collect();
    assert!(SERVICES.iter().all(|service| names.contains(service)), "{names:?}");
    let state = session.run(&["op-query"], &inventory.to_string());
    assert_eq!(state.code, 0, "{}", state.stderr);
    let state = state.json();
    for name in ["accounts", "firewalld", "login1", "networkmanager", "udisks2", "upower"] {
        assert!(state["plugins"][name].as_object().is_some_and(|keys| !keys.is_empty()), "{name}: {state}");
    }
    assert!(state["plugins"]["packagekit"]["packages"].is_array());
    assert!(state["plugins"]["org.freedesktop.PolicyKit1"]["observed"].is_object(), "nobody mapped it");
    let written = session.run(&["ls", "-A", "/var/lib/op-dbus"], "").stdout;
    assert_eq!(written, "@cache\n", "discovering and querying write a cache and nothing else");

    let output = session.sh("set -o pipefail; op-discover | op-query | op-apply --yes");
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(outcome(&output.json()), "unchanged");
    assert_eq!(configuration(&session), before);
}

#[test]
fn one_document_sets_host_name_time_zone_and_packages() {
    let session = RealRoot::get().session();
    let want = json!({"version": 1, "plugins": {
        "hostname": {"static_hostname": "web-1"},
        "timedate": {"timezone": "Europe/Vienna"},
        "packagekit": {"packages": ["hello-op", "greeter-op"]},
    }});
    let output = apply(&session, &[], &want);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(outcome(&output.json()), "applied");
    let ticks = "✓ Set static_hostname to \"web-1\"\n✓ Installed greeter-op\n✓ Installed hello-op\n✓ Set timezone to \"Europe/Vienna\"\n";
    assert_eq!(output.stderr, ticks);
    assert_eq!(host_and_zone(&session), (json!("web-1"), json!("Europe/Vienna")));
    assert_eq!(
        session.sh("cat /etc/hostname; readlink -f /etc/localtime").ok(),
        "web-1\n/usr/share/zoneinfo/Europe/Vienna\n"
    );
    for package in ["hello-op", "greeter-op", "hello-lib-op"] {
        assert!(is_installed(&session, package), "{package}");
    }
    let again = apply(&session, &["--detailed-exitcode"], &want);
    assert_eq!((again.code, outcome(&again.json())), (0, "unchanged"));
    let query = session.run(&["op-query"], &want.to_string()).ok();
    let query: Value = serde_json::from_str(&query).unwrap();
    assert_eq!(query["plugins"]["hostname"], want["plugins"]["hostname"]);
    assert_eq!(query["plugins"]["timedate"], want["plugins"]["timedate"]);
}

/// The examples of a mapping, and the state that its README says each starts from.
fn examples(folder: &Path) -> Vec<(String, Value, Value)> {
    let readme = fs::read_to_string(folder.join("examples/README.md")).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("examples")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let example = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let section = readme.split(&format!("## {name}\n")).nth(1).unwrap_or_else(|| panic!("no section on {name}"));
        let from = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let document = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        (name, serde_json::from_str(from).unwrap(), document)
    };
    files.iter().map(example).collect()
}

/// What a document wants of its one plugin; items that shall be absent aside.
fn wanted(document: &Value) -> (String, Map<String, Value>) {
    let (name, state) = document["plugins"].as_object().unwrap().iter().next().unwrap();
    let mut state = state.as_object().unwrap().clone();
    state.remove("absent");
    (name.clone(), state)
}

/// What a root without systemd as its first process cannot do, and how its service says so.
const IMPOSSIBLE: [(&str, &str); 1] = [("clock-from-network.json", "NTP not supported")];

#[test]
fn every_example_changes_its_start_and_then_nothing_more() {
    let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings");
    let mut folders: Vec<PathBuf> = fs::read_dir(mappings).unwrap().map(|folder| folder.unwrap().path()).collect();
    // Those of the others need links, users or a booted machine: mappings_network.rs and mappings_system.rs try them.
    let plain = ["hostname", "locale", "packagekit", "timedate"];
    folders.retain(|folder| plain.iter().any(|name| folder.ends_with(name)));
    assert_eq!(folders.len(), plain.len());
    for folder in folders {
        for (name, from, document) in examples(&folder) {
            let session = RealRoot::get().session();
            for package in ["nginx", "postgresql", "telnet", "inetutils-telnet"] {
                session.run(&["op-repo", "add", package, "1.0"], "").ok();
            }
            session.run(&["apt-get", "-qq", "update"], "").ok();
            let (plugin, want) = wanted(&document);
            let from = json!({"plugins": {&plugin: from}});
            let prepared = apply(&session, &[], &from);
            assert_eq!(prepared.code, 0, "{name}: {prepared:?}");
            let output = apply(&session, &["--detailed-exitcode"], &document);
            if let Some((_, why)) = IMPOSSIBLE.iter().find(|(impossible, _)| *impossible == name) {
                fails(&output, 1, &["kind: failed", why, "nothing was changed"]);
                assert_eq!(outcome(&output.json()), "undone");
                let still = apply(&session, &["--detailed-exitcode"], &from);
                assert_eq!((still.code, outcome(&still.json())), (0, "unchanged"), "{name}");
                continue;
            }
            assert_eq!((output.code, outcome(&output.json())), (2, "applied"), "{name}: {output:?}");
            let now = session.run(&["op-query", "--bare", "--plugin", &plugin], "").ok();
            let now: Value = serde_json::from_str(&now).unwrap();
            for (key, value) in want {
                match value.as_array().filter(|_| key == "packages") {
                    Some(items) => {
                        items.iter().for_each(|item| assert!(is_installed(&session, item.as_str().unwrap())))
                    }
                    None => assert_eq!(now[&key], value, "{name} {key}"),
                }
            }
            for item in document["plugins"][&plugin]["absent"]["packages"].as_array().into_iter().flatten() {
                assert!(!is_installed(&session, item.as_str().unwrap()), "{name} {item}");
            }
            let again = apply(&session, &["--detailed-exitcode"], &document);
            assert_eq!((again.code, outcome(&again.json())), (0, "unchanged"), "{name}");
        }
    }
}

#[test]
fn every_mapped_value_can_be_changed_and_changed_back() {
    let session = RealRoot::get().session();
    let other = json!({"plugins": {
        "hostname": {
            "static_hostname": "other", "pretty_hostname": "An other", "icon_name": "computer-server",
            "chassis": "server", "deployment": "staging", "location": "here",
        },
        "timedate": {"timezone": "Asia/Tokyo", "local_rtc": true},
        "locale": {
            "locale": ["LANG=de_DE.UTF-8", "LC_TIME=en_US.UTF-8"],
            "vconsole_keymap": "de", "vconsole_keymap_toggle": "us", "x11_layout": "de", "x11_model": "pc104",
            "x11_variant": "nodeadkeys", "x11_options": "compose:ralt",
        },
    }});
    let names: Vec<&str> = other["plugins"].as_object().unwrap().keys().map(String::as_str).collect();
    let query = || -> Value {
        let all =
            session.run(&["op-query"], &json!({"plugins": {"hostname": {}, "timedate": {}, "locale": {}}}).to_string());
        serde_json::from_str(&all.ok()).unwrap()
    };
    // localed cannot take a variable away, only change it: so there is one from the start, that will be another.
    let start = json!({"plugins": {"locale": {"locale": ["LANG=en_US.UTF-8", "LC_TIME=de_DE.UTF-8"]}}});
    apply(&session, &[], &start).ok();
    let before = query();
    for name in &names {
        let keys = |state: &Value| state["plugins"][name].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let mut mapped = keys(&before);
        mapped.remove("ntp"); // needs systemd
        assert_eq!(keys(&other), mapped, "{name}");
    }
    let output = apply(&session, &[], &other);
    assert_eq!(output.code, 0, "{output:?}");
    let there = query();
    for name in &names {
        for (key, value) in other["plugins"][name].as_object().unwrap() {
            assert_eq!(&there["plugins"][name][key], value, "{name} {key}");
        }
    }
    let output = apply(&session, &[], &before);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(query(), before);
    let fewer = apply(&session, &[], &json!({"plugins": {"locale": {"locale": ["LANG=en_US.UTF-8"]}}}));
    fails(&fewer, 1, &["subject: locale/locale", "the service accepted", "but reads", "was undone"]);
    assert_eq!(query(), before);
}

#[test]
fn the_founding_documents_command_lines_work_as_written() {
    let session = RealRoot::get().session();
    write(
        &session,
        "/root/state.json",
        r#"{"plugins": {"packagekit": {"packages": ["greeter-op"]}, "hostname": {"location": "no"}}}"#,
    );
    let script = "cd /root; set -e -o pipefail
        op-dbus discover > discovered
        op-dbus plugin create packagekit \\
          --from-dbus org.freedesktop.PackageKit > created
        op-dbus query --plugin packagekit > state
        op-dbus apply state.json --plugin packagekit --yes > applied
        jq -n '[inputs]' discovered created state applied";
    let answers = session.sh(script);
    assert_eq!(answers.code, 0, "{answers:?}");
    let answers = answers.json();
    let kinds: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["kind"]).collect();
    assert_eq!(kinds, [&json!("inventory"), &json!("created"), &Value::Null, &json!("report")]);
    assert!(answers[2]["plugins"]["packagekit"]["packages"].as_array().unwrap().contains(&json!("bash")));
    assert_eq!(answers[3]["outcome"], "applied");
    assert!(is_installed(&session, "greeter-op"));
    assert_eq!(property(&session, "org.freedesktop.hostname1", "Location"), "", "--plugin leaves the others out");
    let bare = session.run(&["op-dbus", "query", "--plugin", "packagekit", "--bare"], "").json();
    assert!(bare["packages"].as_array().unwrap().contains(&json!("greeter-op")));
    assert_eq!(session.run(&["op-dbus", "plugin", "list"], "").json()["kind"], "plugins");
    session.run(&["op-dbus", "plugin", "remove", "packagekit", "--yes"], "").ok();
}

#[test]
fn removal_needs_an_owner_a_word_or_a_number() {
    let session = RealRoot::get().session();
    let packages = |list: &[&str]| json!({"plugins": {"packagekit": {"packages": list}}});
    assert_eq!(apply(&session, &[], &packages(&["hello-lib-op"])).code, 0);
    assert_eq!(apply(&session, &["--owner", "boot"], &packages(&["hello-op"])).code, 0);
    // Left out: by nobody, and by another owner.
    for owner in [&[][..], &["--owner", "guest/100"]] {
        let args = [&["--detailed-exitcode"], owner].concat();
        assert_eq!(apply(&session, &args, &packages(&["hello-lib-op"])).code, 0, "{owner:?}");
        assert!(is_installed(&session, "hello-op"));
    }
    let output = apply(&session, &["--owner", "boot"], &packages(&["hello-lib-op"]));
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert!(!is_installed(&session, "hello-op") && is_installed(&session, "hello-lib-op"));
    // What nobody in particular added does not go with an owner's list either.
    assert_eq!(apply(&session, &["--owner", "boot", "--detailed-exitcode"], &packages(&[])).code, 0);
    assert!(is_installed(&session, "hello-lib-op"));

    let absent = |name: &str| json!({"plugins": {"packagekit": {"absent": {"packages": [name]}}}});
    fails(&apply(&session, &[], &absent("bash")), 5, &["kind: refused", "\"bash\" is protected"]);
    assert!(is_installed(&session, "bash"));
    assert_eq!(apply(&session, &["--detailed-exitcode"], &absent("hello-lib-op")).code, 2);
    assert!(!is_installed(&session, "hello-lib-op"));
    assert_eq!(apply(&session, &["--detailed-exitcode"], &absent("hello-lib-op")).code, 0);

    apply(&session, &[], &packages(&["hello-op", "hello-lib-op"])).ok();
    let state = session.run(&["op-query", "--plugin", "packagekit"], "").json();
    let all = state["plugins"]["packagekit"]["packages"].as_array().unwrap();
    let kept: Vec<&str> = all.iter().filter_map(Value::as_str).filter(|name| !name.ends_with("-op")).collect();
    fails(
        &apply(&session, &["--prune", "3"], &packages(&kept)),
        5,
        &["kind: refused", "3 removals, but 2", "packagekit/packages/hello-lib-op", "--prune 2"],
    );
    assert!(is_installed(&session, "hello-op"));
    let output = apply(&session, &["--prune", "1"], &packages(&[&kept[..], &["hello-op", "hello-lib-op"]].concat()));
    fails(&output, 5, &["1 removal, but 0", "leave --prune out"]);
    assert!(!output.stderr.contains("\"subject\""), "{output:?}");
    let output = apply(&session, &["--prune", "2"], &packages(&kept));
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!is_installed(&session, "hello-op") && !is_installed(&session, "hello-lib-op"));
    let ledger = session.sh("cat /var/lib/op-dbus/@state/ownership.json").json();
    assert_eq!(ledger["owned"], json!({}));
}

#[test]
fn another_machine_is_reached_over_ssh() {
    let session = RealRoot::get().session();
    session.run(&["/usr/sbin/sshd"], "").ok();
    let query = session.run(&["op-query", "--host", "root@localhost", "--plugin", "hostname"], "");
    assert_eq!(query.code, 0, "{query:?}");
    assert_eq!(query.json()["plugins"]["hostname"]["static_hostname"], "op-test");
    // What is built in would change this machine, not that one.
    let bridge = json!({"plugins": {"net": {"interfaces": {"br0": {"type": "linux-bridge"}}}}});
    let elsewhere = ["plugins.net", "works on the host it runs on", "ssh HOST"];
    fails(&apply(&session, &["--host", "root@localhost"], &bridge), 5, &elsewhere);
    fails(&session.run(&["op-query", "--host", "root@localhost", "--plugin", "net"], ""), 5, &elsewhere);
    let all = session.run(&["op-query", "--host", "root@localhost"], "").json();
    assert!(all["plugins"].get("net").is_none() && all["plugins"].get("hostname").is_some(), "{all}");
    let wanted = json!({"plugins": {"packagekit": {"packages": ["hello-op"]}}});
    let install = || apply(&session, &["--host", "root@localhost", "--owner", "boot"], &wanted);
    // The disk that would be looked at is not the one that would be filled.
    fails(&install(), 5, &["check_disk_space", "on another machine", "ssh HOST op-apply"]);
    session
        .sh("cp -r /usr/share/op-dbus/mappings/packagekit /var/lib/op-dbus/@plugin-packagekit \
             && sed -i /pre_check/d /var/lib/op-dbus/@plugin-packagekit/semantic-mapping.toml")
        .ok();
    let output = install();
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert!(is_installed(&session, "hello-op"));
    let files = session.sh("cd /var/lib/op-dbus/@state; find . -type f | sed 's/[^/]*Z-[^/]*/RUN/' | sort").ok();
    let machine = session
        .run(&["busctl", "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus.Peer", "GetMachineId"], "")
        .ok();
    let machine = machine.trim().trim_start_matches("s ").trim_matches('"');
    let expected = ["checkpoints/RUN", "lock", "ownership.json"].map(|file| format!("./targets/{machine}/{file}\n"));
    assert_eq!(files, expected.concat());
    // Its ledger is asked while planning, too: what boot added there and no longer lists goes there, and only there.
    let none = json!({"plugins": {"packagekit": {"packages": []}}}).to_string();
    let here = session.run(&["op-apply", "--dry-run", "--owner", "boot"], &none).json();
    let there = session.run(&["op-apply", "--dry-run", "--owner", "boot", "--host", "localhost"], &none).json();
    assert_eq!((&here["actions"], &there["actions"][0]["title"]), (&json!([]), &json!("Remove hello-op")));
    session.run(&["mv", "/usr/bin/systemd-stdio-bridge", "/run/"], "").ok();
    let bridgeless = session.run(&["op-query", "--host", "root@localhost"], "");
    fails(&bridgeless, 69, &["kind: unavailable", "root@localhost", "ssh HOST systemd-stdio-bridge"]);
    fails(&session.run(&["op-query", "--host", "root@no.such.host.invalid"], ""), 69, &["no.such.host.invalid"]);
}

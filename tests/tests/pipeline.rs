//! The main job on real services: discover, query, plan, apply, verify; nothing to do the second time.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{Monitor, apply, fails, host_and_zone, install, is_installed, plan, property, start, write};
use op_dbus_tests::root::{RealRoot, Session};
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

/// Digest of the content of every file that says how the machine is set up.
fn configuration(session: &Session) -> String {
    let files = "find /etc /var/lib/dpkg /srv -type f ! -name 'lock*' -print0 | sort -z | xargs -0 sha256sum";
    session.sh(&format!("set -o pipefail; {files}; readlink /etc/localtime; hostname")).ok()
}

fn outcome(report: &Value) -> &str {
    assert_eq!(report["kind"], "report", "{report}");
    report["outcome"].as_str().unwrap()
}

#[test]
fn what_was_queried_is_applied_as_nothing_to_do_twice() {
    let session = RealRoot::get().session();
    let state = session.run(&["op-query"], "");
    assert_eq!((state.code, state.stderr.as_str()), (0, ""));
    let plugins: Vec<String> = state.json()["plugins"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(plugins, ["hostname", "locale", "packagekit", "timedate"]);
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
    for service in SERVICES.iter().filter(|service| **service != "org.freedesktop.PackageKit") {
        assert!(state["plugins"][service]["observed"].is_object(), "{service}: {}", state["plugins"][service]);
    }
    assert!(state["plugins"]["packagekit"]["packages"].is_array());
    assert_eq!(session.run(&["ls", "/var/lib/op-dbus"], "").code, 2, "discovering and querying write nothing");

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
    folders.retain(|folder| folder.is_dir());
    assert!(folders.len() >= 4);
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
        (of("nosuch", json!({"a": 1})), &["subject: plugins.nosuch\n", "hostname, locale, packagekit, timedate"]),
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
fn a_generated_plugin_reads_and_refuses_to_write() {
    let session = RealRoot::get().session();
    for (name, service) in [
        ("power", "org.freedesktop.UPower"),
        ("users", "org.freedesktop.Accounts"),
        ("seats", "org.freedesktop.login1"),
        ("disks", "org.freedesktop.UDisks2"),
        ("fire", "org.fedoraproject.FirewallD1"),
        ("links", "org.freedesktop.NetworkManager"),
    ] {
        let created = session.run(&["op-install", "create", name, "--from-dbus", service], "");
        assert_eq!(created.code, 0, "{created:?}");
        let state = session.run(&["op-query", "--bare", "--plugin", name], "");
        assert_eq!(state.code, 0, "{name}: {state:?}");
        let observed = state.json()["observed"].as_object().cloned().unwrap();
        assert!(observed.values().any(|object| !object.as_object().unwrap().is_empty()), "{name}: {observed:?}");
        let version =
            observed.get("/org/freedesktop/UPower").map(|o| o["org.freedesktop.UPower"]["DaemonVersion"].clone());
        assert_eq!(version.is_some_and(|version| version.is_string()), name == "power");
        assert_eq!(outcome(&apply(&session, &["--plugin", name], &state.json()).json()), "unchanged");
        let refused = apply(&session, &[], &json!({"plugins": {name: {"anything": 1}}}));
        fails(&refused, 5, &["kind: refused", &format!("subject: {name}"), "no mapping", "semantic-mapping.toml"]);
    }
    let ad_hoc = apply(&session, &[], &json!({"plugins": {"org.freedesktop.UPower": {"anything": 1}}}));
    fails(&ad_hoc, 5, &["kind: refused", "op-install create NAME --from-dbus org.freedesktop.UPower"]);
}

#[test]
fn a_plugin_is_made_from_piped_introspection() {
    let session = RealRoot::get().session();
    start(&session, "org.freedesktop.UPower");
    let pipe = "set -o pipefail; op-discover org.freedesktop.UPower | op-install create power -";
    assert_eq!(session.sh(pipe).json()["plugin"], "power");
    let files = session.run(&["find", "/var/lib/op-dbus", "-type", "f", "-printf", "%P\n"], "").ok();
    let files: BTreeSet<&str> = files.lines().collect();
    let expected = ["README.md", "examples/select.json", "introspection.xml", "plugin.toml"];
    assert_eq!(files, expected.map(|file| format!("@plugin-power/{file}")).iter().map(String::as_str).collect());
    let state = session.sh("set -o pipefail; op-query < /var/lib/op-dbus/@plugin-power/examples/select.json").json();
    assert!(state["plugins"]["power"]["observed"]["/org/freedesktop/UPower"].is_object());
    fails(&session.sh(pipe), 5, &["there already", "op-install remove power"]);
    session.run(&["op-install", "remove", "power", "--yes"], "").ok();
    assert_eq!(session.run(&["ls", "-A", "/var/lib/op-dbus"], "").ok(), "");
}

#[test]
fn a_mapping_file_alone_makes_a_service_writable() {
    let session = RealRoot::get().session();
    session.run(&["op-install", "create", "seats", "--from-dbus", "org.freedesktop.login1"], "").ok();
    let mapping = r#"
        [service]
        interface = "org.freedesktop.login1.Manager"
        [state_mapping.wall_message]
        read = { property = "WallMessage" }
        write = { property = "WallMessage" }
        [state_mapping.announces]
        read = { property = "EnableWallMessages" }
        write = { property = "EnableWallMessages" }
        [state_mapping.docked]
        diff_strategy = "value_comparison"
        read = { property = "Docked" }
    "#;
    write(&session, "/var/lib/op-dbus/@plugin-seats/semantic-mapping.toml", mapping);
    let listed = session.run(&["op-install", "list"], "").json();
    let seats = listed["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == "seats").unwrap();
    assert_eq!((&seats["mapping"], &seats["can_apply"]), (&json!("installed"), &json!(true)));
    let before = session.run(&["op-query", "--bare", "--plugin", "seats"], "").json();
    assert_eq!(before["wall_message"], "");
    let want =
        json!({"plugins": {"seats": {"wall_message": "back at noon", "announces": before["announces"] == false}}});
    let output = apply(&session, &["--detailed-exitcode"], &want);
    assert_eq!(output.code, 2, "{output:?}");
    assert_eq!(property(&session, "org.freedesktop.login1", "WallMessage"), "back at noon");
    assert_eq!(property(&session, "org.freedesktop.login1", "EnableWallMessages"), before["announces"] == false);
    assert_eq!(apply(&session, &["--detailed-exitcode"], &want).code, 0);
    fails(
        &apply(&session, &[], &json!({"plugins": {"seats": {"docked": true}}})),
        5,
        &["plugins.seats.docked", "no way to write"],
    );
    fails(
        &apply(&session, &[], &json!({"plugins": {"seats": {"announces": 1}}})),
        65,
        &["plugins.seats.announces", "1 does not fit b"],
    );

    let mapping =
        "[state_mapping.wireless]\nread = { property = 'WirelessEnabled' }\nwrite = { property = 'WirelessEnabled' }\n";
    install(&session, "links", "org.freedesktop.NetworkManager", "", mapping);
    let now = property(&session, "org.freedesktop.NetworkManager", "WirelessEnabled");
    let want = json!({"plugins": {"links": {"wireless": now == false}}});
    assert_eq!(apply(&session, &["--detailed-exitcode"], &want).code, 2);
    assert_eq!(property(&session, "org.freedesktop.NetworkManager", "WirelessEnabled"), now == false);
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

/// The mapping that the founding document prints. PackageKit does not work that way, and is told from it.
const FOUNDING: &str = r#"
[methods.install_packages]
safe = false
side_effects = true
requires_confirmation = true
args_mapping = ["transaction_flags", "package_ids"]
arg_types = ["u", "as"]

[state_mapping]
"packages" = {
    query_method = "GetPackages",
    apply_method = "InstallPackages",
    remove_method = "RemovePackages",
    diff_strategy = "set_difference"
}
"#;

#[test]
fn the_founding_documents_mapping_is_answered_with_what_is_right() {
    let session = RealRoot::get().session();
    install(&session, "packagekit", "org.freedesktop.PackageKit", "", FOUNDING);
    let query = session.run(&["op-query", "--plugin", "packagekit"], "");
    fails(&query, 5, &["GetPackages", "not marked safe", "safe = true"]);
    // Read in some other way, so that it comes as far as writing.
    let readable = FOUNDING.replace("query_method = \"GetPackages\"", "read = { property = \"MimeTypes\" }");
    for (interface, words) in [
        ("", &["no method InstallPackages on org.freedesktop.PackageKit", "methods.install_packages"][..]),
        (
            "[transactions.one]\ncreate = 'create_transaction'\ninterface = 'org.freedesktop.PackageKit.Transaction'\ndone = { signal = 'Finished' }\n[methods.create_transaction]\nsafe = true\n",
            &["methods.install_packages.arg_types", "\"uas\"", "\"tas\"", "arg_types = [\"t\", \"as\"]"],
        ),
    ] {
        let mut mapping = format!("{readable}{interface}");
        if !interface.is_empty() {
            mapping = mapping.replace("[methods.install_packages]", "[methods.install_packages]\ntransaction = 'one'");
        }
        install(&session, "packagekit", "org.freedesktop.PackageKit", "", &mapping);
        let output = apply(&session, &[], &json!({"plugins": {"packagekit": {"packages": ["greeter-op"]}}}));
        fails(&output, 6, &[&["kind: interface_changed"], words].concat());
    }
    assert!(!is_installed(&session, "greeter-op"));
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
    let output = apply(
        &session,
        &["--host", "root@localhost", "--owner", "boot"],
        &json!({"plugins": {"packagekit": {"packages": ["hello-op"]}}}),
    );
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

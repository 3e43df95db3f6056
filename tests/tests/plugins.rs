//! Services that nobody here has seen: readable with one command, writable with a mapping file alone.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{apply, fails, install, is_installed, outcome, property, start, write};
use op_dbus_tests::root::RealRoot;
use serde_json::json;
use std::collections::BTreeSet;

/// Where a shipped mapping would be found, there is none: a generated plugin alone is what is looked at.
const NO_MAPPINGS: &str = "OP_DBUS_MAPPINGS=/none";

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
        let created = session.run(&["env", NO_MAPPINGS, "op-install", "create", name, "--from-dbus", service], "");
        assert_eq!(created.code, 0, "{created:?}");
        let state = session.run(&["env", NO_MAPPINGS, "op-query", "--bare", "--plugin", name], "");
        assert_eq!(state.code, 0, "{name}: {state:?}");
        let observed = state.json()["observed"].as_object().cloned().unwrap();
        assert!(observed.values().any(|object| !object.as_object().unwrap().is_empty()), "{name}: {observed:?}");
        let version =
            observed.get("/org/freedesktop/UPower").map(|o| o["org.freedesktop.UPower"]["DaemonVersion"].clone());
        assert_eq!(version.is_some_and(|version| version.is_string()), name == "power");
        let op_apply = ["env", NO_MAPPINGS, "op-apply", "--yes"];
        let same = session.run(&[&op_apply[..], &["--plugin", name]].concat(), &state.json().to_string());
        assert_eq!(outcome(&same.json()), "unchanged");
        let refused = session.run(&op_apply, &json!({"plugins": {name: {"anything": 1}}}).to_string());
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
    let expected = expected.map(|file| format!("@plugin-power/{file}"));
    assert_eq!(files, expected.iter().map(String::as_str).chain([".lock"]).collect());
    let state = session.sh("set -o pipefail; export OP_DBUS_MAPPINGS=/none; op-query < /var/lib/op-dbus/@plugin-power/examples/select.json").json();
    assert!(state["plugins"]["power"]["observed"]["/org/freedesktop/UPower"].is_object());
    fails(&session.sh(pipe), 5, &["there already", "op-install remove power"]);
    session.run(&["op-install", "remove", "power", "--yes"], "").ok();
    assert_eq!(session.run(&["ls", "-A", "/var/lib/op-dbus"], "").ok(), ".lock\n@cache\n@timing\n");
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

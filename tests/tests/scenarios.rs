//! The scenarios that ship with the mappings hold, on their recordings and on the real services; and a scenario that
//! does not hold says why.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::plugin::scenario;
use op_dbus_tests::machine::{Machine, MachineOptions, image};
use op_dbus_tests::ops::{configuration, failed, property};
use op_dbus_tests::program;
use op_dbus_tests::root::{Output, RealRoot};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn mappings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // What is built in has no service whose answers could be played.
    folders.retain(|folder| folder.join("semantic-mapping.toml").is_file());
    folders.sort();
    assert!(folders.len() >= 4);
    folders
}

/// `op-install test FOLDER` and more, without any bus.
fn test(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(program("op-install"))
        .arg("test")
        .arg(folder)
        .args(more)
        .env("OP_DBUS_ROOT", root.path())
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "a replay leaves nothing in the state root");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A copy of a shipped plugin, to be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = mappings().into_iter().find(|folder| folder.ends_with(name)).unwrap();
    assert!(Command::new("cp").arg("-r").arg(from.join(".")).arg(copy.path()).status().unwrap().success());
    copy
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("scenarios").join(name), text).unwrap();
}

#[test]
fn every_mapping_has_scenarios_and_they_hold() {
    let mut failures = Vec::new();
    for folder in mappings() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let (code, stdout, stderr) = test(&folder, &[]);
        if code != 0 {
            failures.push(format!("{name}: exit {code}\n{stdout}{stderr}"));
            continue;
        }
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(
            (&report["kind"], &report["plugin"], &report["mode"]),
            (&json!("test_report"), &json!(name), &json!("replay"))
        );
        let scenarios = scenario::load(&folder, name).unwrap();
        let skipped: Vec<&Value> =
            report["scenarios"].as_array().unwrap().iter().filter(|scenario| scenario["result"] != "passed").collect();
        if scenarios.len() < 2 || !scenarios.iter().any(|scenario| scenario.then.error.is_some()) || !skipped.is_empty()
        {
            failures.push(format!(
                "{name}: at least two scenarios, one of them an error, all with a recording: {skipped:?}"
            ));
        }
        if scenarios.iter().any(|scenario| scenario.description.is_empty()) {
            failures.push(format!("{name}: a scenario without a description"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn scenarios_hold_live_and_leave_what_was_given() {
    let session = RealRoot::get().session();
    let before = configuration(&session);
    for name in ["hostname", "timedate", "locale", "packagekit"] {
        let output = session.run(&["op-install", "test", name, "--live", "--yes"], "");
        assert_eq!(output.code, 0, "{output:?}");
        let report = output.json();
        assert_eq!(report["mode"], "live");
        let passed = report["scenarios"].as_array().unwrap().iter().filter(|scenario| scenario["result"] == "passed");
        assert!(passed.count() >= 1, "{report}");
    }
    assert_ne!(configuration(&session), before, "they began with a state of their own");
    assert_eq!(property(&session, "org.freedesktop.hostname1", "StaticHostname"), "debian");
    assert_eq!(property(&session, "org.freedesktop.timedate1", "Timezone"), "Etc/UTC");
    // Nobody agreed.
    let refused = session.run(&["op-install", "test", "hostname", "--live"], "");
    assert!(failed(&refused, 5).contains("no terminal"), "{refused:?}");
    // A replay is no live service.
    let replay = "replay:/usr/share/op-dbus/mappings/hostname/recordings/fresh.json";
    let output = session.run(&["op-install", "test", "hostname", "--live", "--yes", "--address", replay], "");
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("nothing can be changed on it"), "{output:?}");
}

/// Those that can be tried out without systemd; what it is needed for, in the booted machine.
#[test]
fn users_firewall_network_and_logins_hold_live() {
    let session = RealRoot::get().session();
    for (name, only, count) in [
        ("accounts", None, 2),
        ("firewalld", None, 3),
        ("networkmanager", None, 1),
        ("login1", Some("announce-maintenance"), 1),
    ] {
        let scenario = only.map(|only| ["--scenario", only]);
        let argv = ["op-install", "test", name, "--live", "--yes"];
        let output = session.run(&[&argv[..], scenario.as_ref().map_or(&[], |s| &s[..])].concat(), "");
        assert_eq!(passed(&output), count, "{output:?}");
    }
    assert!(session.run(&["id", "-nG", "bob"], "").stdout.contains("sudo"), "it ended as it was given");
    assert_eq!(session.run(&["firewall-cmd", "--query-service=http"], "").code, 1);
}

#[test]
fn units_names_and_logins_hold_live_in_the_booted_machine() {
    image();
    let machine = Machine::boot(&MachineOptions::default());
    for (name, count) in [("systemd", 3), ("resolved", 1), ("login1", 2), ("networkmanager", 1), ("accounts", 2)] {
        let output = machine.run(&["op-install", "test", name, "--live", "--yes"], "");
        assert_eq!(passed(&output), count, "{output:?}");
    }
    assert_eq!(machine.sh("systemctl is-active avahi-daemon; ls /var/lib/systemd/linger").stdout, "active\n");
}

/// How many scenarios passed; none failed.
#[track_caller]
fn passed(output: &Output) -> usize {
    assert_eq!(output.code, 0, "{output:?}");
    let report = output.json();
    assert_eq!(report["mode"], "live");
    report["scenarios"].as_array().unwrap().iter().filter(|scenario| scenario["result"] == "passed").count()
}

#[test]
fn a_live_scenario_that_does_not_hold_says_so_and_goes_back() {
    let session = RealRoot::get().session();
    session.sh("cp -r /usr/share/op-dbus/mappings/hostname /root/h; rm /root/h/scenarios/*").ok();
    // It makes another call than it says; the service shows another icon than it was given.
    let scenario = "given = { state = { location = \"cellar\" } }\nwhen = { location = \"attic\" }\n\
                    then = { calls = [{ member = \"SetDeployment\" }] }\n";
    op_dbus_tests::ops::write(&session, "/root/h/scenarios/wrong.toml", scenario);
    let output = session.run(&["op-install", "test", "/root/h", "--live", "--yes"], "");
    assert_eq!(output.code, 1, "{output:?}");
    let differences = output.json()["scenarios"][0]["differences"].clone();
    assert_eq!(differences, json!([{"place": "then.calls", "expected": ["SetDeployment"], "actual": ["SetLocation"]}]));
    assert_eq!(property(&session, "org.freedesktop.hostname1", "Location"), "cellar");
    let scenario = "given = { state = { chassis = \"vm\" } }\nwhen = { chassis = \"\" }\n\
                    then = { calls = [{ member = \"SetChassis\" }] }\n";
    op_dbus_tests::ops::write(&session, "/root/h/scenarios/wrong.toml", scenario);
    let output = session.run(&["op-install", "test", "/root/h", "--live", "--yes"], "");
    assert_eq!(output.code, 1, "{output:?}");
    let difference = output.json()["scenarios"][0]["differences"][0].clone();
    assert_eq!(
        (&difference["place"], &difference["actual"]["outcome"]),
        (&json!("when"), &json!("undone")),
        "{difference}"
    );
    assert_eq!(property(&session, "org.freedesktop.hostname1", "Chassis"), "vm");
}

#[test]
fn what_comes_otherwise_is_shown() {
    let plugin = copy("hostname");
    let given = "given = \"recordings/fresh.json\"\n";
    for (name, text) in [
        (
            "a",
            "when = { location = \"attic\" }\nthen = { calls = [{ member = \"SetLocation\", args = [\"cellar\", false] }] }",
        ),
        ("b", "when = { location = \"attic\" }\nthen = { calls = [] }"),
        ("c", "when = { location = \"attic\" }\nthen = { error = { kind = \"refused\" } }"),
        (
            "d",
            "when = { no_such_key = 1 }\nthen = { error = { kind = \"bad_input\", message = \"no such key on earth\" } }",
        ),
        ("e", "then = { query = { static_hostname = \"other\", no_such_key = 1 } }"),
        ("f", "then = { contains = { chassis = [\"x\"] } }"),
        ("g", "then = { error = { kind = \"denied\" } }"),
        ("h", "when = { location = \"\" }\nthen = { calls = [{ member = \"SetLocation\" }] }"),
    ] {
        for old in fs::read_dir(plugin.path().join("scenarios")).unwrap() {
            fs::remove_file(old.unwrap().path()).unwrap();
        }
        write(plugin.path(), &format!("{name}.toml"), &format!("{given}{text}\n"));
        let (code, stdout, stderr) = test(plugin.path(), &[]);
        assert_eq!(code, 1, "{name}: {stdout}{stderr}");
        assert!(stderr.contains("1 of 1 scenario failed"), "{stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let shown: Vec<String> = report["scenarios"][0]["differences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| format!("{}: {} / {}", d["place"].as_str().unwrap(), d["expected"], d["actual"]))
            .collect();
        let expected: &[&str] = match name {
            "a" => &[r#"then.calls[0].args: ["cellar",false] / ["attic",false]"#],
            "b" => &[r#"then.calls[0]: null / {"args":["attic",false],"member":"SetLocation"}"#],
            "c" => &[r#"then.error: {"kind":"refused"} / {"calls":[{"args":["attic",false],"member":"SetLocation"}]}"#],
            "e" => &[r#"then.query.no_such_key: 1 / null"#, r#"then.query.static_hostname: "other" / "op-test""#],
            "f" => &[r#"then.contains.chassis: ["x"] / "container""#],
            "g" => &[r#"then.error: {"kind":"denied"} / []"#],
            "h" => &[r#"then.calls[0]: {"member":"SetLocation"} / null"#],
            _ => {
                assert!(shown.len() == 1 && shown[0].contains("no_such_key"), "{shown:?}");
                continue;
            }
        };
        assert_eq!(shown, expected, "{name}");
        let (code, stdout, _) = test(plugin.path(), &["--no-json"]);
        assert_eq!(code, 1);
        assert!(stdout.contains("FAILED") && stdout.contains("expected ") && stdout.contains("actual   "), "{stdout}");
    }
}

#[test]
fn a_scenario_that_cannot_be_read_names_its_mistake() {
    let plugin = copy("hostname");
    for (text, words) in [
        ("given = \"recordings/fresh.json\"\n[then]\ncals = []\n", &["x.toml:3:1", "unknown field `cals`"][..]),
        ("given = \"recordings/fresh.json\"\n[then]\n", &["nothing is said to come of it"]),
        ("given = {}\nthen = { calls = [] }\n", &["nothing is given"]),
        ("given = \"recordings/fresh.json\"\nthen = { calls = [] }\n", &["belong together"]),
        (
            "given = \"recordings/fresh.json\"\nwhen = { location = \"x\" }\nthen = { query = { location = \"\" } }\n",
            &["belong together"],
        ),
        (
            "given = \"../hostname.json\"\nthen = { query = { location = \"\" } }\n",
            &["../hostname.json", "not in the plugin's folder"],
        ),
        (
            "given = \"/etc/passwd\"\nthen = { query = { location = \"\" } }\n",
            &["/etc/passwd", "not in the plugin's folder"],
        ),
        (
            "given = \"recordings/fresh.json\"\nwhen = \"examples/none.json\"\nthen = { calls = [] }\n",
            &["examples/none.json", "no such file"],
        ),
        (
            "given = \"recordings/fresh.json\"\nwhen = \"plugin.toml\"\nthen = { calls = [] }\n",
            &["plugin.toml", "no JSON"],
        ),
        (
            "given = \"recordings/fresh.json\"\nwhen = { absent = 1 }\nthen = { calls = [] }\n",
            &["x.toml: plugins.hostname.absent"],
        ),
        (
            "given = \"recordings/fresh.json\"\nwhen = { a = 1 }\nthen = { calls = [], error = {} }\n",
            &["calls or fails"],
        ),
        ("given = 1\nthen = { calls = [] }\n", &["x.toml:1:9", "expected a recording's file"]),
    ] {
        write(plugin.path(), "x.toml", text);
        let (code, stdout, stderr) = test(plugin.path(), &[]);
        assert_eq!((code, stdout.as_str()), (65, ""), "{text}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "no {word:?} in {stderr}");
        }
    }
    write(plugin.path(), "x.toml", "given = \"recordings/none.json\"\nthen = { query = { location = \"\" } }\n");
    let (code, stdout, _) = test(plugin.path(), &["--scenario", "x"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("there is no such recording"), "{stdout}");
    let (code, _, stderr) = test(plugin.path(), &["--scenario", "nobody"]);
    assert_eq!(code, 65);
    assert!(stderr.contains("there are: already-so"), "{stderr}");
    fs::remove_dir_all(plugin.path().join("scenarios")).unwrap();
    let (code, _, stderr) = test(plugin.path(), &[]);
    assert_eq!(code, 65);
    assert!(stderr.contains("no scenarios") && stderr.contains("docs/PLUGIN-SCENARIOS.md"), "{stderr}");
}

#[test]
fn what_came_is_written_down() {
    let plugin = copy("hostname");
    let scenarios = plugin.path().join("scenarios");
    fs::remove_dir_all(&scenarios).unwrap();
    fs::create_dir(&scenarios).unwrap();
    let given = "# Why this is so.\ngiven = \"recordings/fresh.json\"\n";
    write(
        plugin.path(),
        "a.toml",
        &format!("{given}when = {{ location = \"a\\\"b\\n\\u007F\" }}\nthen = {{ calls = [] }}\n"),
    );
    write(plugin.path(), "b.toml", &format!("{given}[when]\nlocation = \"attic\"\n\n[then]\ncalls = []\n"));
    write(plugin.path(), "c.toml", &format!("{given}then = {{ query = {{ chassis = \"boat\" }} }}\n"));
    let passes = format!("{given}then = {{ query = {{ chassis = \"container\" }} }} # and stays as it is\n");
    write(plugin.path(), "d.toml", &passes);
    assert_eq!(test(plugin.path(), &[]).0, 1);
    let (code, stdout, stderr) = test(plugin.path(), &["--write"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let read = |name: &str| fs::read_to_string(scenarios.join(name)).unwrap();
    // A line break is no location: that it is refused is what came.
    assert!(
        read("a.toml").contains("[then.error]\nkind = \"bad_input\"\nsubject = \"plugins.hostname.location\"\n"),
        "{}",
        read("a.toml")
    );
    let expected = format!(
        "{given}[when]\nlocation = \"attic\"\n\n[then]\nquery = {{ location = \"\" }}\ncalls = [\n  \
         {{ member = \"SetLocation\", args = [\"attic\", false] }},\n]\n"
    );
    assert_eq!(read("b.toml"), expected);
    assert_eq!(read("c.toml"), format!("{given}\n[then]\nquery = {{ chassis = \"container\" }}\n"));
    assert_eq!(read("d.toml"), passes);
    assert_eq!(test(plugin.path(), &[]).0, 0, "what was written holds");
    // Nothing is lost for it.
    let lossy =
        "given = { recording = \"recordings/fresh.json\" }\n[then]\ncalls = []\n[when]\nlocation = \"x\"\n".to_owned();
    write(plugin.path(), "b.toml", &lossy);
    let (code, _, stderr) = test(plugin.path(), &["--write"]);
    assert_eq!(code, 65, "{stderr}");
    assert!(stderr.contains("would be lost"), "{stderr}");
    assert_eq!(read("b.toml"), lossy);
    assert_eq!(test(plugin.path(), &["--write", "--live"]).0, 64);
}

#[test]
fn the_scenarios_of_the_documentation_hold() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PLUGIN-SCENARIOS.md")).unwrap();
    let plugin = copy("hostname");
    fs::remove_dir_all(plugin.path().join("scenarios")).unwrap();
    fs::create_dir(plugin.path().join("scenarios")).unwrap();
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        write(plugin.path(), &format!("block-{number}.toml"), block);
    }
    let (code, stdout, stderr) = test(plugin.path(), &[]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(stdout.matches("\"passed\"").count(), blocks.len(), "{stdout}");
}

//! Collections and jobs on services the engine cannot know: listed, read, made, changed and deleted in every way that
//! the mapping language has words for, by the programs themselves; and what happens when such a service does wrong.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::program;
use op_dbus_tests::synth::for_seeds;
use op_dbus_tests::synth::items::{Items, Listing, Wrong};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use tempfile::TempDir;

struct Case {
    items: Items,
    folder: TempDir,
    address: String,
}

impl Case {
    fn start(bus: &PrivateBus, seed: u64) -> Self {
        let items = Items::start(bus, seed);
        let folder = tempfile::tempdir().unwrap();
        items.write_plugin(&folder.path().join("mappings")).unwrap();
        Self { items, folder, address: bus.address().to_owned() }
    }

    fn run(&self, name: &str, args: &[&str], stdin: &str) -> (i32, Value, String) {
        let mut child = Command::new(program(name))
            .args(["--address", &self.address, "--json"])
            .args(args)
            .env("OP_DBUS_ROOT", self.folder.path().join("root"))
            .env("OP_DBUS_MAPPINGS", self.folder.path().join("mappings"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), document, String::from_utf8(output.stderr).unwrap())
    }

    fn query(&self) -> Value {
        let (code, document, stderr) = self.run("op-query", &["--plugin", &self.items.plugin], "");
        assert_eq!((code, stderr.as_str()), (0, ""), "{}", self.how());
        document["plugins"][&self.items.plugin][&self.items.key].clone()
    }

    fn document(&self, items: &Value) -> String {
        json!({"version": 1, "plugins": {&self.items.plugin: {&self.items.key: items}}}).to_string()
    }

    fn apply(&self, items: &Value) -> (i32, Value, String) {
        self.run("op-apply", &["--yes"], &self.document(items))
    }

    #[track_caller]
    fn applies(&self, items: &Value) {
        let (code, report, stderr) = self.apply(items);
        assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{}\n{stderr}", self.how());
        self.is_unchanged(items);
    }

    #[track_caller]
    fn is_unchanged(&self, items: &Value) {
        let _ = self.items.take_changes();
        let (code, report, stderr) = self.apply(items);
        assert_eq!((code, &report["outcome"]), (0, &json!("unchanged")), "{}\n{stderr}", self.how());
        assert_eq!(self.items.take_changes(), Vec::<String>::new(), "{}", self.how());
    }

    fn first(&self) -> String {
        self.items.store.lock().unwrap().things.keys().next().unwrap().clone()
    }

    fn how(&self) -> String {
        format!("{:?} {:?}, jobs: {}", self.items.listing, self.items.writing, self.items.has_jobs)
    }
}

#[test]
fn what_is_read_is_what_is_there_and_no_change() {
    let bus = PrivateBus::start();
    for_seeds(12, |seed| {
        let case = Case::start(&bus, seed);
        let truth = case.items.truth();
        assert_eq!(case.query(), truth, "{}", case.how());
        case.is_unchanged(&truth);
    });
}

#[test]
fn items_are_made_changed_and_deleted() {
    let bus = PrivateBus::start();
    for_seeds(12, |seed| {
        let case = Case::start(&bus, seed);
        let [on, label, level] = &case.items.members;
        let first = case.first();
        // A new item with members that its making covers and members that it does not.
        let want = json!({"new": {on: true, label: "hello", level: 42}});
        let (code, plan, stderr) = case.run("op-apply", &["--dry-run"], &case.document(&want));
        assert_eq!(code, 0, "{}\n{stderr}", case.how());
        assert!(!plan["actions"].as_array().unwrap().is_empty());
        assert_eq!(case.items.take_changes(), Vec::<String>::new(), "a dry run of {}", case.how());
        case.applies(&want);
        assert_eq!(case.items.truth()["new"], json!({on: true, label: "hello", level: 42}), "{}", case.how());
        // One member of another; the rest of it stays.
        let before = case.items.truth()[&first].clone();
        case.applies(&json!({&first: {label: "changed"}}));
        let mut expected = before.clone();
        expected[label] = json!("changed");
        assert_eq!(case.items.truth()[&first], expected, "{}", case.how());
        let extra = case.items.store.lock().unwrap().things[&first].extra.clone();
        assert!(extra.is_some(), "what nobody mentioned was dropped: {}", case.how());
        // All members at once, and the other item goes.
        let switched = json!(!before[on].as_bool().unwrap());
        case.applies(&json!({&first: {on: switched, level: 9}, "new": {"state": "absent"}}));
        assert_eq!(case.items.truth()[&first], json!({on: switched, label: "changed", level: 9}), "{}", case.how());
        assert_eq!(case.items.truth().get("new"), None);
        // And back, run by run.
        for _ in 0..3 {
            let (code, report, stderr) = case.run("op-apply", &["--rollback", "--yes"], "");
            assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{}\n{stderr}", case.how());
        }
        assert_eq!(case.items.truth()[&first], before, "{}", case.how());
        assert_eq!(case.items.truth().get("new"), None, "{}", case.how());
    });
}

#[test]
fn a_service_that_does_wrong_is_found_out_and_everything_is_undone() {
    let bus = PrivateBus::start();
    for wrong in [Wrong::Lies, Wrong::Normalises, Wrong::Fails] {
        for_seeds(3, |seed| {
            let case = Case::start(&bus, seed);
            let [on, label, level] = &case.items.members;
            let first = case.first();
            let before = case.items.truth();
            case.items.store.lock().unwrap().wrong = wrong;
            let switched = json!(!before[&first][on].as_bool().unwrap());
            let want = json!({&first: {label: "other", on: switched, level: 77}, "new": {label: "x"}});
            let (code, report, stderr) = case.apply(&want);
            // Whole settings are written in one call: a switch that fails fails all of it.
            let end = if wrong == Wrong::Normalises { (4, "residue") } else { (1, "undone") };
            assert_eq!((code, &report["outcome"]), (end.0, &json!(end.1)), "{wrong:?} {}\n{stderr}", case.how());
            let expected = match wrong {
                Wrong::Lies | Wrong::Normalises => "but reads",
                _ if case.items.has_jobs => "badly",
                _ => "the switch is broken",
            };
            assert!(stderr.contains(expected), "{wrong:?} {}\n{stderr}", case.how());
            let now = case.items.truth();
            if wrong == Wrong::Normalises {
                // What it made of the old text, it makes of it again: in capitals it is what it was.
                let text = before[&first][label].as_str().unwrap();
                assert_eq!(now[&first][label].as_str().unwrap().to_lowercase(), text);
            } else {
                assert_eq!(now, before, "{wrong:?} {}", case.how());
            }
        });
    }
}

#[test]
fn a_service_that_is_late_is_waited_for() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let case = Case::start(&bus, seed);
        let label = &case.items.members[1];
        case.items.store.lock().unwrap().wrong = Wrong::IsLate;
        case.applies(&json!({case.first(): {label: "late"}}));
    });
}

#[test]
fn what_a_document_must_not_say_is_refused_and_nothing_is_called() {
    let bus = PrivateBus::start();
    for_seeds(6, |seed| {
        let case = Case::start(&bus, seed);
        let [on, label, _] = &case.items.members;
        let first = case.first();
        for (items, code, word) in [
            (json!({&first: {"nonsense": 1}}), 65, "no such member"),
            (json!({&first: {on: "perhaps"}}), 65, on.as_str()),
            (json!({&first: {label: 7}}), 65, label.as_str()),
            (json!({&first: 7}), 65, "an object of members"),
            (json!([first]), 65, "an object of items"),
            (json!({&first: {"state": "gone"}}), 65, "absent"),
            (json!({&first: {"state": "absent", label: "x"}}), 65, "absent"),
            (json!({"new": {"nonsense": 1}}), 65, "no such member"),
        ] {
            let before = case.items.truth();
            let (found, _, stderr) = case.apply(&items);
            assert_eq!(found, code, "{items} {}\n{stderr}", case.how());
            assert!(stderr.contains(word), "{items} {}\n{stderr}", case.how());
            assert_eq!(case.items.truth(), before);
            assert_eq!(case.items.take_changes(), Vec::<String>::new());
        }
    });
}

#[test]
fn items_of_one_name_are_left_alone() {
    let bus = PrivateBus::start();
    for_seeds(6, |seed| {
        let case = Case::start(&bus, seed);
        let [_, label, _] = &case.items.members;
        let first = case.first();
        case.applies(&json!({"zzz": {label: "second"}}));
        case.items.store.lock().unwrap().wrong = Wrong::HasTwins;
        if case.items.listing == Listing::Names {
            return;
        }
        let (code, document, stderr) = case.run("op-query", &["--plugin", &case.items.plugin], "");
        assert_eq!(code, 3, "{}", case.how());
        assert!(stderr.contains("several items have the name"), "{stderr}");
        assert_eq!(document["plugins"][&case.items.plugin][&case.items.key], json!({}), "{}", case.how());
        let _ = case.items.take_changes();
        let (code, _, stderr) = case.apply(&json!({&first: {label: "which?"}}));
        assert_eq!(code, 1, "{}\n{stderr}", case.how());
        assert!(stderr.contains("several items have the name"), "{stderr}");
        assert_eq!(case.items.take_changes(), Vec::<String>::new());
    });
}

//! `op-query --watch` against services it cannot know: what is told, how soon, and that nobody is bothered for it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is the report; times show with --nocapture"
)]

mod fits;

use fits::assert_fits;
use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::synth::items::Items;
use op_dbus_tests::synth::spec::{ItemSet, Property, SetKind};
use op_dbus_tests::synth::{Control, Synth, Val, for_seeds};
use op_dbus_tests::watching::Watching;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a change must be told within, from its signal.
const PROMPT: Duration = Duration::from_millis(50);
/// An interval that no test waits for.
const NEVER: &str = "1h";
const QUIET: Duration = Duration::from_millis(300);

/// A service, its plugin in a folder, and a state root.
struct Case<'b> {
    bus: &'b PrivateBus,
    synth: Synth,
    control: Control,
    folder: TempDir,
}

impl<'b> Case<'b> {
    fn start(bus: &'b PrivateBus, seed: u64, args: &[&str]) -> Self {
        let synth = Synth::start(bus, seed, args);
        let folder = tempfile::tempdir().unwrap();
        synth.spec.write_plugin(&folder.path().join("mappings")).unwrap();
        Self { bus, control: synth.control(), synth, folder }
    }

    fn watch(&self, args: &[&str]) -> Watching {
        let (mappings, root) = (self.folder.path().join("mappings"), self.folder.path().join("root"));
        Watching::start(self.bus.address(), &mappings, &root, args)
    }

    fn plugin(&self) -> &str {
        &self.synth.spec.plugin
    }

    fn set(&self, kind: SetKind) -> ItemSet {
        self.synth.spec.set(kind).clone()
    }

    /// A property of the main object whose key can be watched.
    fn property(&self) -> Property {
        let spec = &self.synth.spec;
        spec.properties
            .iter()
            .find(|p| p.key.is_some() && p.path == spec.path && spec.other_value(p.key.as_ref().unwrap(), 1).is_some())
            .unwrap()
            .clone()
    }

    /// Changes the property behind everyone's back; what it is then.
    fn poke(&mut self, property: &Property, n: u64) -> Value {
        let key = property.key.as_ref().unwrap();
        let value = self.synth.spec.other_value(key, n).unwrap();
        self.control.poke(key, value.clone());
        value.json()
    }
}

fn is_change(record: &Value, key: &str) -> bool {
    record["kind"] == "change" && record["key"] == key
}

/// Says how long things took, and fails when most took too long; on a machine that has the time, also when one in ten did.
#[track_caller]
fn assert_prompt(what: &str, took: &mut [Duration]) {
    took.sort();
    let (median, late, slowest) = (took[took.len() / 2], took[took.len() * 9 / 10], took[took.len() - 1]);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let text = format!(
        "{what}: told within {median:?} (median), {late:?} (nine of ten), {slowest:?} (slowest of {}), load {}",
        took.len(),
        load.trim()
    );
    println!("{text}");
    assert!(median < PROMPT, "{text}; it must be {PROMPT:?}");
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let is_busy = std::thread::available_parallelism()
        .is_ok_and(|cpus| load > 2.0 * f64::from(u32::try_from(cpus.get()).unwrap()));
    assert!(late < PROMPT || is_busy, "{text}; it must be {PROMPT:?}");
}

#[test]
fn everything_is_told_and_then_each_change_at_once() {
    let bus = PrivateBus::start();
    let took = std::cell::RefCell::new(Vec::new());
    for_seeds(6, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let mut watching = case.watch(&[case.plugin(), "--interval", NEVER]);
        let told = watching.begun();
        let truth = case.control.dump()["keys"].clone();
        let values: serde_json::Map<String, Value> = told
            .iter()
            .filter(|record| record["kind"] == "value")
            .map(|record| (record["key"].as_str().unwrap().to_owned(), record["value"].clone()))
            .collect();
        assert_eq!(Value::Object(values), truth);
        let spec = case.synth.spec.clone();
        for (n, property) in (1..).zip(spec.properties.iter().filter(|property| property.key.is_some())) {
            let key = property.key.as_deref().unwrap();
            let Some(value) = spec.other_value(key, n) else { continue };
            let began = Instant::now();
            case.control.poke(key, value.clone());
            if value.json() == truth[key] {
                continue;
            }
            // A dictionary is told member by member.
            let (at, record) = watching.until(key, |record| is_change(record, key));
            took.borrow_mut().push(at - began);
            assert_eq!(record["freshness"], "signal", "{record}");
            assert_eq!((&record["version"], &record["plugin"]), (&json!(1), &json!(case.plugin())), "{record}");
            match record["item"].as_str() {
                None => assert_eq!((&record["from"], &record["to"]), (&truth[key], &value.json()), "{record}"),
                Some(item) => {
                    assert_eq!(
                        (record.get("from"), record.get("to")),
                        (truth[key].get(item), value.json().get(item)),
                        "{record}"
                    );
                }
            }
        }
        assert!(case.control.changing_calls().is_empty(), "a watch changes nothing");
        watching.seen.iter().for_each(|record| assert_fits("watch", record));
    });
    assert_prompt("a property's new value", &mut took.borrow_mut());
}

#[test]
fn who_announces_everything_is_not_asked_again() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let path = format!("{}.{key}", case.plugin());
        let mut watching = case.watch(&["--select", &path, "--interval", "100ms"]);
        watching.begun();
        case.control.clear_log();
        let value = case.poke(&property, 1);
        let (_, record) = watching.until("the change", |record| is_change(record, &key));
        assert_eq!((record["path"].as_str(), &record["to"]), (Some(&*path), &value));
        assert_eq!(watching.rest(QUIET), Vec::<Value>::new(), "one change, one record");
        assert_eq!(case.control.log(), Vec::<Value>::new(), "nothing was asked");
    });
}

#[test]
fn what_nobody_announces_is_polled_and_what_is_invalidated_is_read_again() {
    let bus = PrivateBus::start();
    let mut took = Vec::new();
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &["--fault", "quiet"]);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let mut watching = case.watch(&[case.plugin(), "--interval", "150ms"]);
        let told = watching.begun();
        let present = told.iter().find(|record| record["key"] == *key).unwrap();
        assert_eq!((&present["kind"], &present["freshness"]), (&json!("value"), &json!("poll")));
        case.poke(&property, 1);
        let (_, record) = watching.until("the polled change", |record| is_change(record, &key));
        assert_eq!(record["freshness"], "poll");
    });
    let took_of = std::cell::RefCell::new(&mut took);
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &["--fault", "invalidates"]);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let mut watching = case.watch(&[case.plugin(), "--interval", NEVER]);
        let told = watching.begun();
        assert_eq!(told.iter().find(|record| record["key"] == *key).unwrap()["freshness"], "hint");
        for n in 1..5 {
            let began = Instant::now();
            let before = case.control.dump()["keys"][&key].clone();
            if case.poke(&property, n) == before {
                continue;
            }
            let (at, record) = watching.until("the change", |record| is_change(record, &key));
            assert_eq!(record["freshness"], "hint");
            took_of.borrow_mut().push(at - began);
            watching.rest(Duration::from_millis(40));
        }
    });
    assert_prompt("an invalidated property", &mut took);
}

#[test]
fn a_signal_of_the_service_is_a_hint_for_what_it_has_to_be_asked() {
    let bus = PrivateBus::start();
    let took = std::cell::RefCell::new(Vec::new());
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let (path, interface) = (case.synth.spec.path.clone(), case.synth.spec.interface.clone());
        let mut watching = case.watch(&[case.plugin(), "--interval", NEVER]);
        watching.begun();
        for kind in [SetKind::AllAtOnce, SetKind::Resolved] {
            let set = case.set(kind);
            let mut items: Vec<String> = set.initial.clone();
            let joining = set.universe.iter().find(|item| !items.contains(&item.name)).unwrap().name.clone();
            let leaving = items.remove(1);
            items.push(joining.clone());
            case.control.poke(&set.key, Val::strings(&items));
            let began = Instant::now();
            case.control.emit(&path, &interface, "SomethingHappened");
            let mut changes = Vec::new();
            while changes.len() < 2 {
                let (at, record) = watching.until("a change of the set", |record| is_change(record, &set.key));
                took.borrow_mut().push(at - began);
                assert_eq!(record["freshness"], "hint");
                changes.push((record["item"].clone(), record.get("from").cloned(), record.get("to").cloned()));
            }
            changes.sort_by_key(|change| change.1.is_none());
            let (leaving, joining) = (json!(leaving), json!(joining));
            assert_eq!(changes[0], (leaving.clone(), Some(leaving), None));
            assert_eq!(changes[1], (joining.clone(), None, Some(joining)));
            watching.rest(Duration::from_millis(200));
        }
        // Signals of others are none of the watch's business.
        let set = case.set(SetKind::AllAtOnce);
        case.control.clear_log();
        let stranger = Synth::start(&bus, seed ^ 0x5555, &[]);
        stranger.control().emit(&path, &interface, "SomethingHappened");
        case.control.poke(&set.key, Val::strings(&set.initial[..1]));
        assert_eq!(watching.rest(QUIET), Vec::<Value>::new());
        let list = &case.synth.spec.methods[set.list.unwrap()].member;
        assert!(case.control.log().iter().all(|call| call["member"] != **list), "nobody asked for the set");
    });
    assert_prompt("an answer after a hint", &mut took.borrow_mut());
}

#[test]
fn what_changes_without_a_word_is_found_by_polling_also_after_hints() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let (path, interface) = (case.synth.spec.path.clone(), case.synth.spec.interface.clone());
        let set = case.set(SetKind::AllAtOnce);
        let mut watching = case.watch(&[case.plugin(), "--interval", "150ms"]);
        watching.begun();
        for (n, how) in [(1, "poll"), (2, "hint"), (3, "hint"), (1, "poll"), (2, "poll")] {
            case.control.poke(&set.key, Val::strings(&set.initial[..n]));
            if how == "hint" {
                case.control.emit(&path, &interface, "SomethingHappened");
            }
            let (_, record) = watching.until("the change", |record| is_change(record, &set.key));
            assert!(record["freshness"] == how || record["freshness"] == "poll", "{record}");
            watching.rest(Duration::from_millis(30));
        }
    });
}

#[test]
fn a_storm_of_signals_is_weathered() {
    let bus = PrivateBus::start();
    for_seeds(1, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let (path, interface) = (case.synth.spec.path.clone(), case.synth.spec.interface.clone());
        let set = case.set(SetKind::AllAtOnce);
        let list = case.synth.spec.methods[set.list.unwrap()].member.clone();
        let mut watching = case.watch(&[case.plugin(), "--interval", NEVER]);
        watching.begun();
        case.control.clear_log();
        for _ in 0..2000 {
            case.control.emit(&path, &interface, "SomethingHappened");
        }
        case.control.poke(&set.key, Val::strings(&set.initial[..1]));
        case.control.emit(&path, &interface, "SomethingElse");
        watching.until("the change at the end", |record| is_change(record, &set.key));
        let asked = case.control.log().iter().filter(|call| call["member"] == *list).count();
        assert!((1..40).contains(&asked), "{asked} times asked for 2000 signals");
    });
}

#[test]
fn a_slow_answer_delays_no_property() {
    let bus = PrivateBus::start();
    let took = std::cell::RefCell::new(Vec::new());
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let (path, interface) = (case.synth.spec.path.clone(), case.synth.spec.interface.clone());
        let set = case.set(SetKind::AllAtOnce);
        let list = case.synth.spec.methods[set.list.unwrap()].member.clone();
        let property = case.property();
        let key = property.key.clone().unwrap();
        let mut watching = case.watch(&[case.plugin(), "--interval", NEVER]);
        watching.begun();
        case.control.set_faults(&[&format!("slow=1500@{list}")]);
        case.control.emit(&path, &interface, "SomethingHappened");
        std::thread::sleep(Duration::from_millis(60));
        for n in 1..8 {
            let before = case.control.dump()["keys"][&key].clone();
            let began = Instant::now();
            if case.poke(&property, n) == before {
                continue;
            }
            let (at, _) = watching.until("the change", |record| is_change(record, &key));
            took.borrow_mut().push(at - began);
        }
    });
    assert_prompt("a property while an answer is slow", &mut took.borrow_mut());
}

#[test]
fn a_service_goes_and_comes_back() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.json").display().to_string();
        let mut case = Case::start(&bus, seed, &["--state", &state]);
        let set = case.set(SetKind::Resolved);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let mut watching = case.watch(&[case.plugin(), "--interval", "200ms"]);
        watching.begun();
        case.control.quit();
        let (_, record) = watching.until("it is gone", |record| record["kind"] == "service");
        assert_eq!((&record["state"], &record["service"]), (&json!("gone"), &json!(case.synth.spec.service)));
        assert_eq!(watching.rest(QUIET), Vec::<Value>::new(), "nobody polls who is gone, and nothing is told twice");
        case.synth = Synth::start(&bus, seed, &["--state", &state]);
        case.control = case.synth.control();
        assert_eq!(watching.until("it is back", |record| record["kind"] == "service").1["state"], "back");
        assert_eq!(watching.rest(QUIET), Vec::<Value>::new(), "nothing changed while it was away");
        // And again, with changes while nobody looks.
        let value = case.poke(&property, 3);
        watching.until("the change", |record| is_change(record, &key));
        case.control.quit();
        watching.until("it is gone", |record| record["state"] == "gone");
        let mut unseen = Synth::start(&bus, seed, &["--state", &state, "--name", "org.op.Unseen"]);
        let mut control = unseen.control();
        control.poke(&set.key, Val::strings(&set.initial[..1]));
        control.quit();
        while unseen.is_running() {
            std::thread::sleep(Duration::from_millis(2));
        }
        case.synth = Synth::start(&bus, seed, &["--state", &state]);
        case.control = case.synth.control();
        let (_, record) = watching.until("what changed meanwhile", |record| is_change(record, &set.key));
        assert_eq!(record["freshness"], "returned");
        assert_eq!(case.control.dump()["keys"][&key], value);
        // It is followed again: by its new connection.
        let before = case.control.dump()["keys"][&key].clone();
        if case.poke(&property, 4) != before {
            watching.until("a change after that", |record| is_change(record, &key));
        }
        assert_eq!(watching.seen.iter().filter(|record| record["kind"] == "problem").count(), 0, "{}", watching.told());
    });
}

#[test]
fn what_cannot_be_read_is_told_once_and_watched_all_the_same() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let (path, interface) = (case.synth.spec.path.clone(), case.synth.spec.interface.clone());
        let set = case.set(SetKind::AllAtOnce);
        let list = case.synth.spec.methods[set.list.unwrap()].member.clone();
        case.control.set_faults(&[&format!("error=a.b.C|not now@{list}")]);
        let mut watching = case.watch(&[case.plugin(), "--interval", "100ms"]);
        let told = watching.begun();
        told.iter().for_each(|record| assert_fits("watch", record));
        let problems: Vec<&Value> = told.iter().filter(|record| record["kind"] == "problem").collect();
        assert_eq!(problems.len(), 1, "{}", watching.told());
        assert_eq!(problems[0]["error"]["subject"], format!("plugins.{}.{}", case.plugin(), set.key));
        assert!(problems[0]["error"]["message"].as_str().unwrap().contains("not now"));
        assert_eq!(watching.rest(QUIET), Vec::<Value>::new(), "told once");
        case.control.set_faults(&[]);
        case.control.emit(&path, &interface, "SomethingHappened");
        let (_, record) = watching.until("it can be read", |record| is_change(record, &set.key));
        assert_eq!((record.get("from"), &record["to"]), (None, &case.control.dump()["keys"][&set.key]));
    });
}

#[test]
fn secrets_are_told_by_nobody() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let file = case.folder.path().join("mappings").join(case.plugin()).join("semantic-mapping.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let head = format!("[state_mapping.{key}]\n");
        assert!(text.contains(&head));
        std::fs::write(&file, text.replace(&head, &format!("{head}secret = true\n"))).unwrap();
        let mut watching = case.watch(&[case.plugin(), "--interval", "100ms"]);
        watching.begun();
        for n in 1..4 {
            case.poke(&property, n);
        }
        watching.rest(QUIET);
        assert!(watching.seen.iter().all(|record| record["key"] != *key), "{}", watching.told());
        let mut refused = case.watch(&["--select", &format!("{}.{key}", case.plugin())]);
        assert_eq!(refused.ended(), Some(3));
    });
}

#[test]
fn paths_say_what_is_told() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let property = case.property();
        let key = property.key.clone().unwrap();
        let other = case.set(SetKind::AllAtOnce);
        let mut watching = case.watch(&["--select", &format!("*.{key}"), "--interval", "100ms"]);
        let told = watching.begun();
        assert_eq!(told.len(), 2, "{}", watching.told());
        assert_eq!(told[0]["path"], format!("{}.{key}", case.plugin()));
        case.control.poke(&other.key, Val::strings(&other.initial[..1]));
        let value = case.poke(&property, 1);
        let rest = watching.rest(QUIET);
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!(rest[0]["to"], value);
        let mut nowhere = case.watch(&["--select", &format!("{}.nonsense", case.plugin())]);
        assert_eq!(nowhere.ended(), Some(3));
    });
}

#[test]
fn it_ends_when_it_is_told_to() {
    let bus = PrivateBus::start();
    let mut case = Case::start(&bus, 7, &[]);
    let plugin = case.plugin().to_owned();
    for signal in ["INT", "TERM"] {
        let mut watching = case.watch(&[&plugin]);
        watching.begun();
        let began = Instant::now();
        watching.signal(signal);
        assert_eq!(watching.ended(), Some(0), "SIG{signal}");
        assert!(began.elapsed() < Duration::from_secs(2), "SIG{signal} is heard at once: {:?}", began.elapsed());
    }
    let mut watching = case.watch(&[&plugin, "--for", "200ms"]);
    assert_eq!(watching.ended(), Some(0), "--for");
    let property = case.property();
    let mut watching = case.watch(&[&plugin, "--count", "2", "--interval", NEVER]);
    watching.begun();
    let mut changes = 0;
    for n in 1..20 {
        if changes >= 2 {
            break;
        }
        case.poke(&property, n);
        changes += watching.rest(Duration::from_millis(60)).len();
    }
    assert_eq!(watching.ended(), Some(0), "--count");
    // The reader goes away, and nothing happens that would be written.
    let head = format!(
        "{} --watch {plugin} --address {} --root {} </dev/null | head -n1",
        op_dbus_tests::program("op-query").display(),
        bus.address(),
        case.folder.path().join("root").display(),
    );
    let began = Instant::now();
    let output = std::process::Command::new("bash")
        .args(["-c", &format!("{head}; echo ${{PIPESTATUS[0]}}")])
        .env("OP_DBUS_MAPPINGS", case.folder.path().join("mappings"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().last(), Some("0"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(5), "a closed pipe ends it: {:?}", began.elapsed());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_bus_that_goes_away_is_69() {
    let bus = PrivateBus::start();
    let folder = tempfile::tempdir().unwrap();
    let synth = Synth::start(&bus, 11, &[]);
    synth.spec.write_plugin(folder.path()).unwrap();
    let (address, plugin) = (bus.address().to_owned(), synth.spec.plugin.clone());
    let mut watching = Watching::start(&address, folder.path(), Path::new(&folder.path().join("root")), &[&plugin]);
    watching.begun();
    drop(bus);
    assert_eq!(watching.ended(), Some(69));
}

#[test]
fn a_service_without_a_mapping_is_watched_property_by_property() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, seed, &[]);
        let property = case.property();
        let service = case.synth.spec.service.clone();
        let mut watching = case.watch(&[&service, "--interval", NEVER]);
        let told = watching.begun();
        let item = format!("{} {}.{}", property.path, property.interface, property.name);
        let present: Vec<&Value> = told.iter().filter(|record| record["item"] == *item).collect();
        assert_eq!(present.len(), 1, "{}", watching.told());
        assert_eq!(present[0]["key"], "observed");
        let value = case.poke(&property, 1);
        let (_, record) = watching.until("the change", |record| record["kind"] == "change" && record["item"] == *item);
        assert_eq!((&record["to"], &record["freshness"]), (&value, &json!("signal")));
        assert!(case.control.changing_calls().is_empty());
    });
}

#[test]
fn items_that_come_change_and_go_are_told_one_by_one() {
    let bus = PrivateBus::start();
    for_seeds(6, |seed| {
        let items = Items::start(&bus, seed);
        let folder = tempfile::tempdir().unwrap();
        let (mappings, root) = (folder.path().join("mappings"), folder.path().join("root"));
        items.write_plugin(&mappings).unwrap();
        let label = items.members[1].clone();
        let first = items.store.lock().unwrap().things.keys().next().unwrap().clone();
        let start = |args: &[&str]| {
            let mut watching =
                Watching::start(bus.address(), &mappings, &root, &[args, &["--interval", "120ms"]].concat());
            watching.begun();
            watching
        };
        let mut watching = start(&[&items.plugin]);
        let of_label = format!("{}.{}.*.{label}", items.plugin, items.key);
        let mut labels = start(&["--select", &of_label]);
        assert_eq!(watching.seen[0]["value"], items.truth());
        let before = items.truth()[&first].clone();
        items.store.lock().unwrap().things.get_mut(&first).unwrap().label = "another".into();
        let (_, record) = watching.until("the item changes", |record| is_change(record, &items.key));
        assert_eq!((&record["item"], &record["from"], &record["to"]), (&json!(first), &before, &items.truth()[&first]));
        assert_eq!(record["path"], format!("{}.{}.{first}", items.plugin, items.key));
        let (_, record) = labels.until("its label changes", |record| is_change(record, &items.key));
        assert_eq!((&record["from"], &record["to"]), (&before[&label], &json!("another")));
        assert_eq!(record["path"], format!("{}.{}.{first}.{label}", items.plugin, items.key));
        items.store.lock().unwrap().things.get_mut(&first).unwrap().level += 1;
        watching.until("another member changes", |record| is_change(record, &items.key));
        assert_eq!(labels.rest(QUIET), Vec::<Value>::new(), "the label is what it was");
        let gone = items.store.lock().unwrap().things.remove(&first).unwrap();
        let (_, record) = watching.until("the item goes", |record| is_change(record, &items.key));
        assert_eq!((&record["item"], record.get("to")), (&json!(first), None));
        assert_eq!(labels.until("its label goes", |record| is_change(record, &items.key)).1.get("to"), None);
        let mut newcomer = gone;
        newcomer.label = "new".into();
        items.store.lock().unwrap().things.insert("newcomer".into(), newcomer);
        let (_, record) = watching.until("an item comes", |record| is_change(record, &items.key));
        assert_eq!(
            (&record["item"], record.get("from"), &record["to"][&label]),
            (&json!("newcomer"), None, &json!("new"))
        );
        assert_eq!(items.take_changes(), Vec::<String>::new(), "a watch changes nothing");
    });
}

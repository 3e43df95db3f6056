//! The generic plugin against services it cannot know: reading, planning and performing every call pattern. The
//! service's own words are the judge: its state, and the log of what it was asked to do.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is the report; times show with --nocapture"
)]

use op_dbus::base::progress::Silent;
use op_dbus::bus::{Bus, Consent, Target};
use op_dbus::plugin::{GenericPlugin, Manifest, Mapping, StatePlugin, Touched, Want};
use op_dbus::state::document::PluginState;
use op_dbus::state::{Action, Change, Removal, diff_plugin};
use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::synth::spec::{SetKind, Writing};
use op_dbus_tests::synth::{Control, Spec, Synth, for_seeds};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

struct Case {
    synth: Synth,
    control: Control,
    bus: Bus,
    plugin: GenericPlugin,
}

impl Case {
    fn start(private: &PrivateBus, seed: u64) -> Self {
        let synth = Synth::start(private, seed, &[]);
        let control = synth.control();
        let (bus, plugin) = connect(private, &synth.spec);
        Self { synth, control, bus, plugin }
    }

    fn spec(&self) -> &Spec {
        &self.synth.spec
    }

    fn query(&self) -> Map<String, Value> {
        let queried = self.plugin.query(&self.bus, &Want::State, &mut Silent);
        assert!(queried.problems.is_empty(), "{:#?}", queried.problems);
        queried.values
    }

    /// What the service says it has, without the keys that are not the plugin's.
    fn truth(&mut self) -> Value {
        self.control.dump()["keys"].clone()
    }

    fn changes(&self, desired: &Value, absent: &Value) -> Vec<Change> {
        let mut state = desired.clone();
        if absent.as_object().is_some_and(|map| !map.is_empty()) {
            state["absent"] = absent.clone();
        }
        let state = PluginState::from_json("plugins.p", &state).unwrap();
        let current = self.query();
        diff_plugin(self.plugin.name(), &state, &current, self.plugin.keys(), &Removal::default()).unwrap()
    }

    fn plan(&self, changes: &[Change]) -> Vec<Action> {
        self.plugin
            .plan(&self.bus, changes, &self.query(), &mut Silent)
            .unwrap_or_else(|error| panic!("could not plan {changes:#?}: {error:#?}"))
    }

    fn perform(&self, action: &Action) {
        self.bus.acting(&Consent::was_given(), || {
            self.plugin.check(&self.bus, action).unwrap_or_else(|error| panic!("{action:#?}: {error:#?}"));
            let done = self.plugin.perform(&self.bus, action, &mut Silent);
            done.unwrap_or_else(|failure| panic!("{action:#?}: {failure:#?}"));
        });
    }

    fn assert_nothing_changed(&mut self, while_what: &str) {
        let calls = self.control.changing_calls();
        assert!(calls.is_empty(), "{while_what} made calls that change something: {calls:#?}");
    }
}

fn connect(private: &PrivateBus, spec: &Spec) -> (Bus, GenericPlugin) {
    let manifest = Manifest::parse(&spec.plugin_toml(), "plugin.toml").unwrap();
    let mapping = Mapping::parse(&spec.mapping_toml(), "semantic-mapping.toml", &spec.service).unwrap();
    let plugin = GenericPlugin::new(&manifest, Some(mapping));
    let bus = Bus::connect(&Target::Address(private.address().to_owned()), Some(Duration::from_secs(5))).unwrap();
    bus.allow(plugin.safe_calls());
    (bus, plugin)
}

#[test]
fn what_is_read_is_what_is_there() {
    let private = PrivateBus::start();
    for_seeds(20, |seed| {
        let mut case = Case::start(&private, seed);
        let (read, truth) = (Value::Object(case.query()), case.truth());
        for (key, value) in truth.as_object().unwrap() {
            assert_eq!(read.get(key), Some(value), "{key}");
        }
        assert_eq!(read, truth);
        case.assert_nothing_changed("reading");
        let observed = case.plugin.query(&case.bus, &Want::All, &mut Silent);
        assert!(observed.problems.is_empty(), "{:#?}", observed.problems);
        case.assert_nothing_changed("reading everything");
    });
}

#[test]
fn what_was_read_is_no_change() {
    let private = PrivateBus::start();
    for_seeds(10, |seed| {
        let case = Case::start(&private, seed);
        let state = Value::Object(case.query());
        assert_eq!(case.changes(&state, &json!({})), Vec::new());
    });
}

#[test]
fn each_key_is_planned_without_touching_and_then_set() {
    let private = PrivateBus::start();
    for_seeds(20, |seed| {
        let mut case = Case::start(&private, seed);
        let desired = case.spec().desired(1);
        for (key, value) in desired.as_object().unwrap() {
            case.control.clear_log();
            let changes = case.changes(&json!({key: value}), &json!({}));
            if changes.is_empty() {
                continue;
            }
            let actions = case.plan(&changes);
            case.assert_nothing_changed("planning");
            let writers = case.spec().writers(key);
            assert!(actions.iter().any(|action| writers.contains(&action.call.member)), "{key}: {actions:#?}");
            actions.iter().for_each(|action| case.perform(action));
            let (now, truth) = (case.query(), case.truth());
            assert_eq!(now.get(key), truth.get(key), "{key}");
            if case.spec().property(key).is_some() {
                assert_eq!(truth[key], *value, "{key}");
            }
        }
        // Everything that was wanted is there, and wanting it again changes nothing.
        assert_eq!(case.changes(&desired, &json!({})), Vec::new());
    });
}

#[test]
fn one_document_sets_everything_and_undo_takes_it_back() {
    let private = PrivateBus::start();
    for_seeds(10, |seed| {
        let mut case = Case::start(&private, seed);
        let before = case.truth();
        let actions = case.plan(&case.changes(&case.spec().desired(2), &json!({})));
        let several = case.spec().methods.iter().find(
            |method| matches!(&method.role, op_dbus_tests::synth::spec::Role::Set(properties) if properties.len() > 1),
        );
        let member = &several.unwrap().member;
        assert!(actions.iter().filter(|action| action.call.member == *member).count() <= 1, "one call sets them all");
        case.assert_nothing_changed("planning");
        actions.iter().for_each(|action| case.perform(action));
        assert_eq!(case.changes(&case.spec().desired(2), &json!({})), Vec::new());
        let hooks = case.control.dump()["hooks"].clone();
        assert_eq!(hooks, json!({"before": 1, "after": 1}));
        let transactional = case.spec().set(SetKind::Transaction).key.clone();
        for action in actions.iter().rev() {
            let Some(call) = action.undo.call.clone() else { continue };
            case.perform(&Action { call, ..action.clone() });
        }
        let (mut after, mut before) = (case.truth(), before);
        // What came along with an item stays when the item goes.
        (after[&transactional], before[&transactional]) = (Value::Null, Value::Null);
        assert_eq!(after, before);
    });
}

#[test]
fn items_leave_and_protected_ones_do_not() {
    let private = PrivateBus::start();
    for_seeds(10, |seed| {
        let mut case = Case::start(&private, seed);
        for set in case.spec().sets.clone() {
            case.control.clear_log();
            let changes = case.changes(&json!({}), &json!({&set.key: [set.initial[1], set.initial[2]]}));
            assert_eq!(changes.len(), 2);
            let actions = case.plan(&changes);
            case.assert_nothing_changed("planning");
            actions.iter().for_each(|action| case.perform(action));
            assert_eq!(case.truth()[&set.key], json!([set.initial[0]]), "{:?}", set.kind);
            let state = json!({"absent": {&set.key: [set.protected[0]]}});
            let state = PluginState::from_json("plugins.p", &state).unwrap();
            let name = case.plugin.name();
            assert!(diff_plugin(name, &state, &case.query(), case.plugin.keys(), &Removal::default()).is_err());
        }
    });
}

#[test]
fn a_preview_says_what_comes_along() {
    let private = PrivateBus::start();
    for_seeds(10, |seed| {
        let mut case = Case::start(&private, seed);
        let set = case.spec().set(SetKind::Transaction).clone();
        let Some(item) = set.universe.iter().find(|item| !item.needs.is_empty()) else { return };
        if set.initial.contains(&item.needs[0]) {
            return;
        }
        let mut wanted = set.initial.clone();
        wanted.push(item.name.clone());
        let actions = case.plan(&case.changes(&json!({&set.key: wanted}), &json!({})));
        let preview = actions[0].preview.clone().unwrap();
        assert_eq!(preview.also, item.needs);
        let all = set.universe.iter().filter(|one| one.name == item.name || item.needs.contains(&one.name));
        let (download, installed) = all.fold((0, 0), |sum, one| (sum.0 + one.download, sum.1 + one.installed));
        assert_eq!((preview.download_bytes, preview.installed_bytes), (Some(download), Some(installed)));
        case.assert_nothing_changed("a preview");
    });
}

/// The action that adds an item by a transaction.
fn install(case: &Case) -> Action {
    let set = case.spec().set(SetKind::Transaction);
    let mut wanted = set.initial.clone();
    wanted.push(set.universe[4].name.clone());
    case.plan(&case.changes(&json!({&set.key: wanted}), &json!({}))).remove(0)
}

#[test]
fn a_transaction_that_fails_says_whether_it_touched_anything() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        for (fault, touched, text) in [
            ("transaction-error=out of luck", Touched::No, "out of luck"),
            ("transaction-error-late=out of luck", Touched::Surely, "out of luck"),
            ("transaction-vanish=before", Touched::Perhaps, "went away"),
            ("transaction-vanish=after", Touched::Surely, "went away"),
            ("transaction-silent", Touched::Perhaps, "said nothing"),
            ("error=org.x.No|not now", Touched::No, "not now"),
        ] {
            let mut case = Case::start(&private, seed);
            let action = install(&case);
            case.control.set_faults(&[fault]);
            let failure = case
                .bus
                .acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &action, &mut Silent))
                .expect_err(fault);
            // A service may send signals before it replies: then the reply is what is missing.
            let is_lost = fault.contains("vanish") && failure.error.message.contains("without replying");
            assert!(is_lost || failure.error.message.contains(text), "{fault}: {failure:?}");
            let is_known = failure.touched == touched || (touched == Touched::Perhaps && failure.touched > touched);
            assert!(is_known, "{fault}: {failure:?}");
        }
    });
}

/// A mapping that names no signal for it cannot know: then reading again has to tell.
#[test]
fn a_failed_transaction_without_a_telling_signal_is_looked_into() {
    let private = PrivateBus::start();
    for_seeds(3, |seed| {
        let mut case = Case::start(&private, seed);
        let all = case.spec().mapping_toml();
        let mapping: Vec<&str> = all.lines().filter(|line| !line.starts_with("touched = ")).collect();
        assert_ne!(mapping.len(), all.lines().count(), "the signal was named");
        let mapping = Mapping::parse(&mapping.join("\n"), "semantic-mapping.toml", &case.spec().service).unwrap();
        let manifest = Manifest::parse(&case.spec().plugin_toml(), "plugin.toml").unwrap();
        case.plugin = GenericPlugin::new(&manifest, Some(mapping));
        let action = install(&case);
        case.control.set_faults(&["transaction-error-late=out of luck"]);
        let performed = case.bus.acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &action, &mut Silent));
        let failure = performed.expect_err("it failed");
        assert_eq!(failure.touched, Touched::Perhaps, "{failure:?}");
    });
}

/// An error of the service's own may come after half of the work; only being turned away proves that nothing was done.
#[test]
fn a_call_that_ends_badly_is_looked_into_unless_it_was_turned_away() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        let mut case = Case::start(&private, seed);
        let set = case.spec().set(SetKind::OneByOne).clone();
        let mut wanted = set.initial.clone();
        wanted.push(set.universe[4].name.clone());
        let action = case.plan(&case.changes(&json!({&set.key: wanted}), &json!({}))).remove(0);
        for (fault, touched) in [
            ("error=org.x.No|not now", Touched::Perhaps),
            ("error=org.freedesktop.DBus.Error.AccessDenied|no", Touched::No),
        ] {
            case.control.set_faults(&[fault]);
            let performed =
                case.bus.acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &action, &mut Silent));
            let failure = performed.expect_err(fault);
            assert_eq!(failure.touched, touched, "{fault}: {failure:?}");
        }
    });
}

/// These services begin to change the machine, and say so, before they reply to the call; then they are gone. Without
/// a reply nobody may say that nothing was touched.
#[test]
fn a_lost_reply_may_have_touched_something() {
    let private = PrivateBus::start();
    for seed in [120_905_953_367_507, 276_938_026_999_170] {
        let mut case = Case::start(&private, seed);
        let action = install(&case);
        case.control.set_faults(&["transaction-vanish=after"]);
        let performed = case.bus.acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &action, &mut Silent));
        let failure = performed.expect_err("it vanished");
        assert_eq!(failure.touched, Touched::Surely, "seed {seed}: {failure:?}");
    }
}

#[test]
fn nobody_else_can_end_a_transaction() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        let mut case = Case::start(&private, seed);
        let action = install(&case);
        case.control.set_faults(&["forge", "transaction-error=it failed in truth"]);
        let performed = case.bus.acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &action, &mut Silent));
        let failure = performed.expect_err("a forged end was believed");
        assert!(failure.error.message.contains("it failed in truth") && failure.touched == Touched::No, "{failure:?}");
    });
}

#[test]
fn already_so_is_good_and_other_errors_are_not() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        let mut case = Case::start(&private, seed);
        let set = case.spec().set(SetKind::OneByOne).clone();
        let mut wanted = set.initial.clone();
        wanted.push(set.universe[4].name.clone());
        let actions = case.plan(&case.changes(&json!({&set.key: wanted}), &json!({})));
        case.control.set_faults(&["already"]);
        actions.iter().for_each(|action| case.perform(action));
        let error = case.spec().methods[set.add].already.clone().unwrap().0;
        case.control.set_faults(&[&format!("error={error}|quite another text")]);
        let performed =
            case.bus.acting(&Consent::was_given(), || case.plugin.perform(&case.bus, &actions[0], &mut Silent));
        assert!(performed.is_err(), "the text did not fit");
    });
}

#[test]
fn a_changed_interface_is_refused() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        let mut case = Case::start(&private, seed);
        let spec = case.spec().clone();
        let property = spec.properties.iter().find(|p| matches!(p.writing, Writing::Method(_))).unwrap();
        let Writing::Method(method) = property.writing else { unreachable!() };
        let key = property.key.as_deref().unwrap();
        let changes = case.changes(&json!({key: spec.other_value(key, 1).unwrap().json()}), &json!({}));
        for fault in ["renamed", "retyped"] {
            case.control.set_faults(&[&format!("{fault}@{}", spec.methods[method].member)]);
            let (bus, plugin) = connect(&private, &spec);
            let current = case.query();
            let planned = plugin.plan(&bus, &changes, &current, &mut Silent);
            if fault == "renamed" || spec.has_fingerprint {
                assert_eq!(planned.expect_err(fault).kind.exit_code(), 6, "{fault}");
            }
            case.assert_nothing_changed(fault);
        }
    });
}

#[test]
fn reading_bears_what_services_do() {
    let private = PrivateBus::start();
    for_seeds(5, |seed| {
        let mut case = Case::start(&private, seed);
        let truth = case.truth();
        case.control.set_faults(&["getall-fails"]);
        assert_eq!(Value::Object(case.query()), truth, "one by one");
        case.control.set_faults(&["error=org.freedesktop.DBus.Error.AccessDenied|not all of it@GetAll"]);
        assert_eq!(Value::Object(case.query()), truth, "one that is denied does not deny the others");
        case.control.set_faults(&["slow=100"]);
        assert_eq!(Value::Object(case.query()), truth);
        for fault in ["wrong-reply", "error=org.x.No|no@*"] {
            case.control.set_faults(&[fault]);
            let queried = case.plugin.query(&case.bus, &Want::State, &mut Silent);
            assert!(!queried.problems.is_empty(), "{fault}");
        }
        case.assert_nothing_changed("all of this");
    });
}

#[test]
fn hostile_introspection_is_bounded() {
    let private = PrivateBus::start();
    for_seeds(1, |seed| {
        let mut case = Case::start(&private, seed);
        let changes = case.changes(&case.spec().desired(5), &json!({}));
        let current = case.query();
        for kind in ["deep", "huge", "wide", "entities", "external", "cycle", "names", "types", "cut", "text"] {
            case.control.set_faults(&[&format!("hostile-xml={kind}@*")]);
            let (bus, plugin) = connect(&private, case.spec());
            let started = Instant::now();
            let planned = plugin.plan(&bus, &changes, &current, &mut Silent);
            println!("planning with {kind}: {:?}", started.elapsed());
            assert!(planned.is_err() || kind == "cycle", "{kind} was believed");
            assert!(started.elapsed() < Duration::from_secs(10), "{kind} took {:?}", started.elapsed());
        }
        case.assert_nothing_changed("planning");
    });
}

#[test]
fn a_walk_of_a_cycle_ends() {
    let private = PrivateBus::start();
    for_seeds(1, |seed| {
        let mut case = Case::start(&private, seed);
        case.control.set_faults(&["hostile-xml=cycle"]);
        let started = Instant::now();
        let queried = GenericPlugin::ad_hoc(&case.spec().service).query(&case.bus, &Want::State, &mut Silent);
        println!("walking a cycle: {:?}", started.elapsed());
        assert!(!queried.problems.is_empty(), "it says that it stopped");
        assert!(started.elapsed() < Duration::from_secs(120), "it took {:?}", started.elapsed());
    });
}

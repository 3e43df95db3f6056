//! The synthetic services themselves: whoever tests with them must be able to trust them. Judged by busctl and gdbus.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the report")]

use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::synth::spec::{Access, SetKind, Writing};
use op_dbus_tests::synth::walk_floor::{What, calls_of_walk, measure};
use op_dbus_tests::synth::wire::{Connection, Message};
use op_dbus_tests::synth::{Control, Spec, Synth, Val, for_seeds, walk};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

fn busctl(bus: &PrivateBus, args: &[&str]) -> String {
    let output = Command::new("busctl")
        .arg(format!("--address={}", bus.address()))
        .arg("--json=short")
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "busctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= a.abs() * 1e-12),
    }
}

/// Sets a property as a stranger would.
fn set(connection: &mut Connection, spec: &Spec, key: &str, value: Val) -> std::io::Result<Vec<Val>> {
    let property = spec.property(key).unwrap();
    let args = vec![Val::s(&property.interface), Val::s(&property.name), Val::V(Box::new(value))];
    connection.call(Message::call(&spec.service, &property.path, "org.freedesktop.DBus.Properties", "Set", args))
}

fn get(connection: &mut Connection, spec: &Spec, key: &str) -> std::io::Result<Vec<Val>> {
    let property = spec.property(key).unwrap();
    let args = vec![Val::s(&property.interface), Val::s(&property.name)];
    connection.call(Message::call(&spec.service, &property.path, "org.freedesktop.DBus.Properties", "Get", args))
}

/// A key written by `Set`.
fn plain_key(spec: &Spec) -> String {
    let mut properties = spec.properties.iter();
    properties.find(|property| property.writing == Writing::Property).and_then(|p| p.key.clone()).unwrap()
}

#[test]
fn introspection_is_right() {
    let bus = PrivateBus::start();
    for_seeds(5, |seed| {
        let synth = Synth::start(&bus, seed, &[]);
        let spec = &synth.spec;
        let listing = busctl(&bus, &["introspect", "--list", &spec.service, &spec.path]);
        for method in spec.methods.iter().filter(|method| method.path == spec.path) {
            let line = listing.lines().find(|line| line.starts_with(&format!(".{} ", method.member)));
            let line = line.unwrap_or_else(|| panic!("{} is missing in {listing}", method.member));
            assert!(method.inputs.is_empty() || line.contains(&format!(" {} ", method.input_sig())), "{line}");
        }
        for property in spec.properties.iter().filter(|property| property.path == spec.path) {
            assert!(listing.contains(&format!(".{} ", property.name)), "{}", property.name);
        }
        let tree = busctl(&bus, &["tree", "--list", &spec.service]);
        assert!(tree.lines().any(|line| line == spec.second_path), "{tree}");
        let gdbus = Command::new("gdbus")
            .args([
                "introspect",
                "--address",
                bus.address(),
                "--dest",
                &spec.service,
                "--object-path",
                "/",
                "--recurse",
            ])
            .output()
            .unwrap();
        assert!(gdbus.status.success(), "{}", String::from_utf8_lossy(&gdbus.stderr));
    });
}

#[test]
fn a_seed_gives_one_service_and_another_seed_another() {
    assert_eq!(Spec::from_seed(7).mapping_toml(), Spec::from_seed(7).mapping_toml());
    assert_ne!(Spec::from_seed(7).service, Spec::from_seed(8).service);
    for seed in 0..200 {
        let spec = Spec::from_seed(seed);
        let parsed = op_dbus::plugin::Mapping::parse(&spec.mapping_toml(), "synthetic", &spec.service);
        assert!(parsed.is_ok(), "seed {seed}: {parsed:?}");
        assert!(op_dbus::plugin::Manifest::parse(&spec.plugin_toml(), "plugin.toml").is_ok(), "seed {seed}");
    }
}

#[test]
fn values_of_every_type_go_in_and_out() {
    let bus = PrivateBus::start();
    for_seeds(5, |seed| {
        let synth = Synth::start(&bus, seed, &[]);
        let spec = &synth.spec;
        let mut connection = Connection::open(bus.address()).unwrap();
        for property in spec.properties.iter().filter(|p| p.access != Access::Write && p.key.is_some()) {
            let args = ["get-property", &spec.service, &property.path, &property.interface, &property.name];
            // busctl has no JSON for dictionaries whose keys are no strings.
            // Nor for the doubles that JSON has no number for.
            let text = format!("{:?}", property.initial);
            let odd_keys = text.split("A(\"{").skip(1).any(|rest| !rest.starts_with(['s', 'o', 'g']));
            if !odd_keys && !text.contains("NaN") && !text.contains("inf") {
                let printed: Value = serde_json::from_str(&busctl(&bus, &args)).unwrap();
                assert_eq!(printed["type"], property.initial.sig(), "{}", property.name);
                assert!(same(&printed["data"], &property.initial.busctl_json()), "{printed} {:?}", property.initial);
            }
            let key = property.key.as_deref().unwrap();
            if property.writing != Writing::Property {
                assert!(set(&mut connection, spec, key, property.initial.clone()).is_err(), "{key} is read-only");
                continue;
            }
            let new = spec.other_value(key, 1).unwrap();
            set(&mut connection, spec, key, new.clone()).unwrap();
            let read = get(&mut connection, spec, key).unwrap();
            assert_eq!(read[0].json(), new.json());
        }
        let dump = synth.control().dump();
        let key = plain_key(spec);
        assert_eq!(dump["keys"][&key], spec.other_value(&key, 1).unwrap().json());
        assert_ne!(synth.control().changing_calls(), Vec::<Value>::new());
    });
}

#[test]
fn faults_do_what_they_say() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let synth = Synth::start(&bus, seed, &[]);
        let spec = &synth.spec;
        let mut control = synth.control();
        let mut me = Connection::open(bus.address()).unwrap();
        let key = plain_key(spec);
        let property = spec.property(&key).unwrap();
        let (old, new) = (property.initial.clone(), spec.other_value(&key, 3).unwrap());

        control.set_faults(&["slow=300"]);
        let start = Instant::now();
        get(&mut me, spec, &key).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(300));

        control.set_faults(&["error=org.x.Error.No|because:1"]);
        let error = set(&mut me, spec, &key, new.clone()).unwrap_err().to_string();
        assert!(error.contains("org.x.Error.No") && error.contains("because"), "{error}");

        control.set_faults(&[&format!("lie@{}:1", property.name)]);
        set(&mut me, spec, &key, new.clone()).unwrap();
        assert_eq!(control.dump()["keys"][&key], old.json(), "a lie changes nothing");
        set(&mut me, spec, &key, new.clone()).unwrap();
        assert_eq!(control.dump()["keys"][&key], new.json(), "it lied once only");

        if property.initial.sig() != "b" {
            control.set_faults(&["normalise"]);
            set(&mut me, spec, &key, old.clone()).unwrap();
            assert_ne!(control.dump()["keys"][&key], old.json());
        }

        control.set_faults(&["getall-fails"]);
        let all = |member: &str| {
            Message::call(
                &spec.service,
                &spec.path,
                "org.freedesktop.DBus.Properties",
                member,
                vec![Val::s(&spec.interface)],
            )
        };
        assert!(me.call(all("GetAll")).is_err());
        get(&mut me, spec, &key).unwrap();

        control.set_faults(&["wrong-reply"]);
        assert_ne!(get(&mut me, spec, &key).unwrap()[0].sig(), "v");

        control.set_faults(&["hostile-xml=entities"]);
        let xml = Message::call(&spec.service, &spec.path, "org.freedesktop.DBus.Introspectable", "Introspect", vec![]);
        assert!(me.call(xml.clone()).unwrap()[0].text().unwrap().contains("<!ENTITY"));

        let setter = spec.methods.iter().find(|method| !method.inputs.is_empty() && !method.safe).unwrap();
        for fault in ["renamed", "retyped"] {
            control.set_faults(&[&format!("{fault}@{}", setter.member)]);
            let changed = me.call(xml.clone()).unwrap()[0].text().unwrap().to_owned();
            assert_eq!(changed.contains(&format!("\"{}\"", setter.member)), fault == "retyped");
        }

        control.set_faults(&[]);
        let honest = me.call(xml).unwrap()[0].text().unwrap().to_owned();
        assert!(honest.contains(&setter.member));
    });
}

#[test]
fn what_vanishes_comes_back_with_its_state() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let spec = Spec::from_seed(seed);
        bus.add_synth(seed, &[]);
        let mut control = Control::connect(bus.address(), &spec.service);
        assert_eq!(control.dump()["starts"], 1, "the bus starts it");
        let key = plain_key(&spec);
        let mut me = Connection::open(bus.address()).unwrap();
        for (fault, is_done, number) in [("before", false, 1), ("between", true, 2), ("after", true, 3)] {
            let new = spec.other_value(&key, number + 10).unwrap();
            let was = control.dump()["keys"][&key].clone();
            control.set_faults(&[&format!("vanish={fault}")]);
            let reply = set(&mut me, &spec, &key, new.clone());
            assert_eq!(reply.is_ok(), fault == "after", "{fault}: {reply:?}");
            std::thread::sleep(Duration::from_millis(100));
            let now = control.dump();
            assert_eq!(now["keys"][&key], if is_done { new.json() } else { was }, "{fault}");
            assert_eq!(now["starts"], number + 1);
        }
        assert!(control.changing_calls().len() >= 3, "the log outlives the process too");
        control.quit();
    });
}

/// Runs a method of a new transaction object and returns its signals, in order, up to the one that ends it.
fn transact(bus: &PrivateBus, spec: &Spec, install: bool, limit: Duration) -> Vec<Message> {
    let t = &spec.transaction;
    let set = spec.set(SetKind::Transaction);
    let mut me = Connection::open(bus.address()).unwrap();
    let rule = format!("type='signal',interface='{}'", t.interface);
    me.bus("AddMatch", vec![Val::s(&rule)]).unwrap();
    let create = &spec.methods[t.create];
    let made = Message::call(&spec.service, &create.path, &create.interface, &create.member, vec![]);
    let path = me.call(made).unwrap()[0].text().unwrap().to_owned();
    let call = |method: &op_dbus_tests::synth::spec::Method, free: Vec<Val>| {
        let mut free = free.into_iter();
        let constant = |at: usize| method.fixed.iter().find(|(fixed, _)| *fixed == at).map(|(_, value)| value.clone());
        let args = (0..method.inputs.len()).map(|at| constant(at).unwrap_or_else(|| free.next().unwrap())).collect();
        Message::call(&spec.service, &path, &t.interface, &method.member, args)
    };
    me.call(call(&t.setup, vec![])).unwrap();
    let target = &set.universe[set.initial.len()];
    let run = if install { call(&t.install, vec![Val::strings([&target.id])]) } else { call(&t.list, vec![]) };
    me.queue(run);
    me.flush().unwrap();
    let deadline = Instant::now() + limit;
    let mut signals = Vec::new();
    while Instant::now() < deadline {
        if me.wait(Some(Duration::from_millis(50))).is_err() {
            break;
        }
        while let Some(message) = me.next_message().unwrap() {
            let is_end = message.member == t.done.name && message.path == path;
            if !message.member.is_empty() && message.path == path {
                signals.push(message);
            }
            if is_end {
                return signals;
            }
        }
    }
    signals
}

#[test]
fn transactions_are_legal_in_any_order() {
    let bus = PrivateBus::start();
    for_seeds(4, |seed| {
        let synth = Synth::start(&bus, seed, &[]);
        let (spec, mut control) = (&synth.spec, synth.control());
        let set = spec.set(SetKind::Transaction);
        let t = &spec.transaction;
        let wait = Duration::from_secs(5);
        let items = |signals: &[Message]| signals.iter().filter(|signal| signal.member == t.item.name).count();
        assert_eq!(items(&transact(&bus, spec, false, wait)), set.universe.len());
        assert!(control.changing_calls().is_empty());

        for fault in ["transaction-error=no", "lie"] {
            control.set_faults(&[fault]);
            transact(&bus, spec, true, wait);
            assert_eq!(control.dump()["keys"][&set.key].as_array().unwrap().len(), 3, "{fault}");
        }
        control.set_faults(&["transaction-stalls"]);
        assert!(transact(&bus, spec, true, Duration::from_millis(200)).is_empty());
        control.set_faults(&["forge"]);
        let forged = transact(&bus, spec, true, wait);
        assert!(forged.iter().any(|signal| format!("{:?}", signal.body).contains("forged")), "{forged:?}");
        std::thread::sleep(Duration::from_millis(50));
        control.set_faults(&[]);
        let installed = control.dump()["keys"][&set.key].clone();
        assert!(installed.as_array().unwrap().iter().any(|name| *name == set.universe[3].name), "{installed}");
    });
}

#[test]
fn the_large_service_is_right_for_busctl_and_gdbus() {
    let bus = PrivateBus::start();
    let _synth = Synth::start(&bus, 0, &["--walk", "200", "--object-manager"]);
    let tree = busctl(&bus, &["tree", "--list", walk::SERVICE]);
    assert_eq!(tree.lines().count(), 200 + 40 + 4, "{tree}");
    let path = walk::object_path(41);
    for (number, interface) in walk::INTERFACES.iter().enumerate() {
        for (name, value) in walk::properties(41, number) {
            let printed = busctl(&bus, &["get-property", walk::SERVICE, &path, interface, name]);
            let printed: Value = serde_json::from_str(&printed).unwrap();
            assert!(same(&printed["data"], &value.busctl_json()), "{printed}");
        }
    }
    let manager = "org.freedesktop.DBus.ObjectManager";
    let managed = busctl(&bus, &["call", walk::SERVICE, walk::ROOT, manager, "GetManagedObjects"]);
    let managed: Value = serde_json::from_str(&managed).unwrap();
    assert_eq!(managed["data"][0].as_object().unwrap().len(), 200);
    let gdbus = Command::new("gdbus")
        .args(["introspect", "--address", bus.address(), "--dest", walk::SERVICE, "--object-path", &path])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&gdbus.stdout).contains("Count = 124"), "{gdbus:?}");

    assert_eq!(measure(bus.address(), walk::SERVICE, What::Walk).unwrap().calls, calls_of_walk(200));
    assert_eq!(measure(bus.address(), walk::SERVICE, What::Managed).unwrap().calls, 1);
    assert_eq!(measure(bus.address(), walk::SERVICE, What::GetAll(200)).unwrap().calls, 600);
}

#[test]
fn the_bus_keeps_the_limits_of_a_system_bus() {
    let bus = PrivateBus::start();
    let synth = Synth::start(&bus, 1, &["--fault", "slow=400@*"]);
    let spec = &synth.spec;
    let mut me = Connection::open(bus.address()).unwrap();
    for _ in 0..200 {
        me.queue(Message::call(&spec.service, &spec.path, "org.freedesktop.DBus.Peer", "Ping", vec![]));
    }
    me.flush().unwrap();
    let (mut good, mut refused) = (0, 0);
    while good + refused < 200 {
        me.wait(Some(Duration::from_secs(5))).unwrap();
        while let Some(message) = me.next_message().unwrap() {
            if message.reply_to == 0 {
                continue;
            }
            if message.error.is_empty() { good += 1 } else { refused += 1 }
        }
    }
    assert_eq!((good, refused), (128, 72));
}

#[test]
fn a_bus_ends_with_its_owner() {
    let bus = PrivateBus::start();
    let socket = bus.folder().join("bus");
    assert!(Connection::open(bus.address()).is_ok() && socket.exists());
    let address = bus.address().to_owned();
    let mut synth = Synth::start(&bus, 1, &[]);
    drop(bus);
    assert!(Connection::open(&address).is_err());
    let deadline = Instant::now() + Duration::from_secs(5);
    while synth.is_running() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!synth.is_running(), "a service ends with its bus");
}

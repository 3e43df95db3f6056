//! Recordings: what is refused, one folder a case (add `recordings_hostile/NAME/recording.json`, run with
//! `OP_DBUS_BLESS=1`, read the error.txt it wrote), and what a replay answers.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::{Error, Kind};
use op_dbus::bus::recording::{MAX_BYTES, Recording};
use op_dbus::bus::{Bus, Call, Consent, Manner, SafeCall, Target, names, walk};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn hostile_recordings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings_hostile");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "{} lost cases", folder.display());
    let mut failures = Vec::new();
    for case in cases {
        let text = fs::read_to_string(case.join("recording.json")).unwrap();
        let actual = match Recording::parse(&text, "r.json") {
            Ok(_) => "accepted\n".to_owned(),
            Err(error) => {
                assert_eq!(error.kind, Kind::BadInput, "{}", case.display());
                format!("{error}\n")
            }
        };
        let file = case.join("error.txt");
        if std::env::var_os("OP_DBUS_BLESS").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if actual != expected || actual == "accepted\n" {
            failures.push(format!("{}: expected\n{expected}\nbut it is\n{actual}", case.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const SERVICE: &str = "org.example.Lamps";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

fn variant(signature: &str, value: &Value) -> Value {
    json!({"$variant": {"signature": signature, "value": value}})
}

/// A service with a manager of two lamps, of which one was introspected, a factory, and a refusal.
fn recording() -> Value {
    let lamp = |lit: bool| json!({"org.example.Lamp": {"Lit": variant("b", &json!(lit)), "Watts": variant("t", &json!("18446744073709551615"))}});
    json!({
        "kind": "recording", "version": 1, "service": SERVICE,
        "left_out": [{"what": "org.example.Lamps.Owner", "why": "the mapping calls it secret"}],
        "introspection": [
            {"paths": ["/lamps"], "xml": ["<node><interface name=\"org.freedesktop.DBus.ObjectManager\"/>",
                "<interface name=\"org.example.Lamps\"><property name=\"Count\" type=\"u\" access=\"read\"/></interface>",
                "<node name=\"one\"/><node name=\"two\"/></node>"]},
            {"paths": ["/lamps/one"], "xml": ["<node><interface name=\"org.example.Lamp\"><property name=\"Lit\" type=\"b\" access=\"read\"/></interface></node>"]},
        ],
        "calls": [
            {"path": "/lamps", "interface": "org.freedesktop.DBus.ObjectManager", "member": "GetManagedObjects",
             "reply": {"type_signature": "a{oa{sa{sv}}}", "values": [{"/lamps/one": lamp(true), "/lamps/two": lamp(false)}]}},
            {"path": "/lamps", "interface": PROPERTIES, "member": "GetAll", "type_signature": "s", "args": ["org.example.Lamps"],
             "reply": {"type_signature": "a{sv}", "values": [{"Count": variant("u", &json!(2)), "$$odd": variant("s", &json!("$"))}]}},
            {"path": "/lamps", "interface": "org.example.Lamps", "member": "Find", "type_signature": "s", "args": ["one"],
             "reply": {"type_signature": "o", "values": ["/lamps/one"]},
             "signals": [{"member": "Found", "type_signature": "s", "args": ["one"]},
                         {"path": "/lamps/one", "interface": "org.example.Lamp", "member": "Blinked"}]},
            {"path": "/lamps", "interface": "org.example.Lamps", "member": "Find", "type_signature": "s", "args": ["three"],
             "error": {"name": "org.example.Error.NoLamp", "message": "there is no third"}},
            {"service": "org.example.Owners", "path": "/", "interface": "org.example.Owners", "member": "List",
             "reply": {"type_signature": "as", "values": [["anna"]]}},
        ],
    })
}

struct Replayed {
    bus: Bus,
    _folder: tempfile::TempDir,
}

fn replay(recording: &Value) -> Result<Replayed, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json");
    fs::write(&file, recording.to_string()).unwrap();
    let bus = Bus::connect(&Target::Address(format!("replay:{}", file.display())), None)?;
    let safe = |service: &str, interface: &str, member: &str| SafeCall {
        service: service.into(),
        interface: interface.into(),
        member: member.into(),
        fixed: vec![],
    };
    bus.allow([
        safe(SERVICE, "org.example.Lamps", "Find"),
        safe(SERVICE, "org.example.Owners", "List"),
        safe("org.example.Owners", "org.example.Owners", "List"),
    ]);
    Ok(Replayed { bus, _folder: folder })
}

fn call(path: &str, interface: &str, member: &str) -> Call {
    Call::new(SERVICE, path, interface, member)
}

fn find(name: &str) -> Call {
    call("/lamps", "org.example.Lamps", "Find").with("s", vec![json!(name)])
}

fn get(path: &str, interface: &str, property: &str) -> Call {
    call(path, PROPERTIES, "Get").with("ss", vec![json!(interface), json!(property)])
}

#[test]
fn what_was_recorded_is_answered() {
    let Replayed { bus, .. } = &replay(&recording()).unwrap();
    assert_eq!(bus.replayed().unwrap().service, SERVICE);
    assert_eq!(bus.call(find("one")).unwrap().values, [json!("/lamps/one")]);
    let refused = bus.call(find("three")).unwrap_err();
    assert_eq!(
        (refused.dbus_error.as_deref(), refused.message.as_str()),
        (Some("org.example.Error.NoLamp"), "there is no third")
    );
    // What is part of a larger answer is known as well, with its type.
    assert_eq!(bus.call(get("/lamps", "org.example.Lamps", "Count")).unwrap().values, [json!(2)]);
    assert_eq!(bus.call(get("/lamps", "org.example.Lamps", "$odd")).unwrap().values, [json!("$")]);
    let watts = bus.call(get("/lamps/two", "org.example.Lamp", "Watts")).unwrap();
    assert_eq!(watts.values, [json!("18446744073709551615")]);
    assert_eq!(watts.variant_types().unwrap().get("").unwrap().to_string(), "t");
    let all = call("/lamps/two", PROPERTIES, "GetAll").with("s", vec![json!("org.example.Lamp")]);
    assert_eq!(bus.call(all).unwrap().values[0]["Lit"], false);
    // The other lamp is described by the one that was introspected; the way to them is made up.
    let tree = walk::walk(bus, SERVICE, walk::Want::Values, Manner::default(), &mut |_| {}).unwrap();
    assert_eq!(tree.problems, Vec::<String>::new());
    assert_eq!(tree.objects.keys().collect::<Vec<_>>(), ["/lamps", "/lamps/one", "/lamps/two"]);
    assert_eq!(tree.values["/lamps/two"]["org.example.Lamp"]["Lit"], false);
    let introspect = call("/lamps/two", "org.freedesktop.DBus.Introspectable", "Introspect");
    assert!(bus.call(introspect).unwrap().values[0].as_str().unwrap().contains("org.example.Lamp"));
}

#[test]
fn signals_follow_their_call_to_whoever_listens() {
    let Replayed { bus, .. } = &replay(&recording()).unwrap();
    let here = bus.subscribe(SERVICE, Some("/lamps"), "org.example.Lamps").unwrap();
    let soon = || Instant::now() + Duration::from_secs(60);
    let started = Instant::now();
    assert!(bus.next_signal(soon()).is_none(), "nothing was called");
    bus.call(find("one")).unwrap();
    let (id, signal) = bus.next_signal(soon()).unwrap();
    assert_eq!((id, signal.member.as_str(), signal.args), (here, "Found", vec![json!("one")]));
    assert!(bus.next_signal(soon()).is_none(), "the lamp's own signal was not asked for");
    let there = bus.subscribe(SERVICE, None, "org.example.Lamp").unwrap();
    bus.unsubscribe(here);
    bus.call(find("one")).unwrap();
    let (id, signal) = bus.next_signal(soon()).unwrap();
    assert_eq!((id, signal.path.as_str(), signal.member.as_str()), (there, "/lamps/one", "Blinked"));
    assert!(started.elapsed() < Duration::from_secs(10), "a replay never waits");
}

#[test]
fn the_bus_has_the_recorded_services_alone() {
    let Replayed { bus, .. } = &replay(&recording()).unwrap();
    let of_another = |service: &str| Call::new(service, "/", "org.example.Owners", "List");
    assert_eq!(bus.call(of_another("org.example.Owners")).unwrap().values, [json!(["anna"])]);
    assert!(bus.call(of_another(SERVICE)).unwrap_err().message.contains("never recorded"));
    assert_eq!(
        names::available(bus).unwrap().into_iter().collect::<Vec<_>>(),
        [SERVICE, "org.example.Owners", "org.freedesktop.DBus"]
    );
    let services = names::services(bus, None).unwrap();
    assert!(services.iter().all(|service| service.running && service.pid.is_none()));
    names::start(bus, SERVICE).unwrap();
    let owner = names::owner_of(bus, SERVICE).unwrap();
    assert!(owner.starts_with(':'));
    for error in
        [names::start(bus, "org.example.Other").unwrap_err(), names::owner_of(bus, "org.example.Other").unwrap_err()]
    {
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
    }
    let error = bus.call(Call::new("org.example.Other", "/", PROPERTIES, "GetAll").with("s", vec![json!("a.b")]));
    assert!(error.unwrap_err().message.contains("of org.example.Lamps alone"));
}

#[test]
fn nothing_else_is_answered() {
    let Replayed { bus, .. } = &replay(&recording()).unwrap();
    let never = |call: Call, words: &[&str]| {
        let error = bus.call(call).unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no {word:?} in {error}");
        }
    };
    never(
        find("two"),
        &["/lamps org.example.Lamps.Find(\"two\")", "never recorded", "op-discover record org.example.Lamps"],
    );
    never(get("/lamps", "org.example.Lamps", "Colour"), &["never recorded"]);
    never(get("/lamps", "org.example.Lamps", "Owner"), &["left out", "secret"]);
    never(get("/lamps/three", "org.example.Lamp", "Lit"), &["never recorded"]);
    never(call("/other", "org.freedesktop.DBus.Introspectable", "Introspect"), &["never recorded"]);
    // The same text as an object path is another call.
    never(call("/lamps", "org.example.Lamps", "Find").with("o", vec![json!("/one")]), &["never recorded"]);
    // The gate is as closed as on a bus; and open, there is still nobody who could change anything.
    let set = call("/lamps", PROPERTIES, "Set").with("ssv", vec![json!("a.b"), json!("C"), variant("u", &json!(1))]);
    assert_eq!(bus.call(set.clone()).unwrap_err().kind, Kind::Refused);
    bus.acting(&Consent::was_given(), || never(set, &["never recorded"]));
}

#[test]
fn a_recording_has_a_size() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.json");
    fs::File::create(&file).unwrap().set_len(MAX_BYTES + 1).unwrap();
    let error = Bus::connect(&Target::Address(format!("replay:{}", file.display())), None).err().unwrap();
    assert_eq!(error.kind, Kind::BadInput);
    assert!(error.message.contains("is larger than"), "{error}");
}

#[test]
fn the_text_is_the_document() {
    let read = Recording::parse(&recording().to_string(), "r").unwrap();
    let text = read.to_text();
    assert_eq!(Recording::parse(&text, "r").unwrap(), read);
    assert!(text.starts_with("{\n  \"kind\": \"recording\",\n  \"version\": 1,\n  \"service\": "), "{text}");
    assert!(text.contains("\n      \"signals\": [{\"args\":[\"one\"],\"member\":\"Found\","), "{text}");
}

/// Replaces the value at a random place of the document.
fn damage(document: &mut Value, mut at: usize, with: &Value) {
    fn walk<'v>(value: &'v mut Value, at: &mut usize) -> Option<&'v mut Value> {
        if *at == 0 {
            return Some(value);
        }
        *at -= 1;
        match value {
            Value::Array(items) => items.iter_mut().find_map(|item| walk(item, at)),
            Value::Object(map) => map.values_mut().find_map(|item| walk(item, at)),
            _ => None,
        }
    }
    if let Some(place) = walk(document, &mut at) {
        *place = with.clone();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_damaged_recording_is_refused_or_answers(
        places in prop::collection::vec((0_usize..160, prop::sample::select(vec![
            json!(null), json!(1), json!("x"), json!(""), json!("/"), json!("a.b"), json!("a{sv}"), json!([]), json!({}), json!(["x"]),
            json!({"x": 1}), json!({"$variant": {"signature": "s", "value": "x"}}), json!({"$bytes": "AA=="}),
        ])), 1..4),
        name in "[a-z]{0,3}",
    ) {
        let mut document = recording();
        for (at, with) in &places {
            damage(&mut document, *at, with);
        }
        let Ok(Replayed { bus, .. }) = replay(&document) else { return Ok(()) };
        let read = bus.replayed().unwrap();
        prop_assert_eq!(&Recording::parse(&read.to_text(), "r").unwrap(), read);
        let _ = bus.call(find(&name));
        let _ = bus.call(find("one"));
        let _ = bus.call(get("/lamps/one", "org.example.Lamp", "Lit"));
        let _ = walk::walk(&bus, SERVICE, walk::Want::Values, Manner::default(), &mut |_| {});
    }

    #[test]
    fn any_text_is_a_recording_or_an_error(text in "[\\[\\]{}:,\"a-z0-9 ]{0,80}") {
        let _ = Recording::parse(&text, "r");
    }
}

#[test]
fn answers_come_in_the_order_in_which_they_were_given() {
    let mut queue = recording();
    let find = |path: &str| {
        json!({"path": "/lamps", "interface": "org.example.Lamps", "member": "Find", "type_signature": "s",
               "args": ["next"], "reply": {"type_signature": "o", "values": [path]}})
    };
    let calls = queue["calls"].as_array_mut().unwrap();
    calls.extend([find("/lamps/one"), find("/lamps/two"), find("/lamps/one"), find("/lamps/three")]);
    let replayed = replay(&queue).unwrap();
    let next = || replayed.bus.call(self::find("next")).unwrap().values[0].clone();
    let said: Vec<Value> = (0..6).map(|_| next()).collect();
    let order = ["one", "two", "one", "three", "three", "three"];
    assert_eq!(said, order.map(|name| json!(format!("/lamps/{name}"))));
    // Another one who asks hears them from the first.
    let again = replay(&queue).unwrap();
    assert_eq!(again.bus.call(self::find("next")).unwrap().values[0], "/lamps/one");
}

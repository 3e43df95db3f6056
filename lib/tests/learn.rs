//! What is made of calls that were seen: of an invented service, before and after.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::bus::SeenCall;
use op_dbus::plugin::Mapping;
use op_dbus::plugin::author::Surface;
use op_dbus::plugin::author::learn::{Learned, learn};
use serde_json::{Value, json};

const SERVICE: &str = "org.example.Lamp1";
const PATH: &str = "/org/example/Lamp1";

const XML: &str = r#"<node><node name="org/example/Lamp1">
  <interface name="org.example.Lamp1">
    <property name="Scene" type="s" access="read"/>
    <property name="Mood" type="s" access="read"/>
    <property name="Layout" type="s" access="read"/>
    <property name="Hours" type="u" access="read"/>
    <property name="Lit" type="b" access="read"/>
    <property name="Brightness" type="y" access="readwrite"/>
    <method name="SetScene"><arg name="scene" type="s" direction="in"/><arg name="fade" type="u" direction="in"/>
      <arg name="interactive" type="b" direction="in"/></method>
    <method name="Arrange"><arg name="where" type="s" direction="in"/><arg name="layout" type="s" direction="in"/></method>
    <method name="SetLit"><arg name="lit" type="b" direction="in"/></method>
    <method name="Unlock"><arg name="password" type="s" direction="in"/></method>
    <method name="Join"><arg name="network" type="a{sv}" direction="in"/></method>
    <method name="Calibrate"><arg name="depth" type="u" direction="in"/></method>
    <method name="GetReport"><arg name="report" type="s" direction="out"/></method>
  </interface></node></node>"#;

fn surface(values: &Value) -> Surface {
    let mut surface = Surface::of_texts(SERVICE, &[("x.xml".into(), XML.into())]).unwrap();
    surface.values = json!({PATH: {SERVICE: values}}).as_object().unwrap().clone();
    surface
}

fn seen(member: &str, types: &str, args: &Value) -> SeenCall {
    SeenCall {
        sender: ":1.9".into(),
        path: PATH.into(),
        interface: SERVICE.into(),
        member: member.into(),
        type_signature: types.into(),
        args: args.as_array().unwrap().clone(),
        ..SeenCall::default()
    }
}

fn before() -> Surface {
    surface(&json!({"Scene": "off", "Mood": "calm", "Layout": "row", "Hours": 1, "Lit": false, "Brightness": 10}))
}

fn lesson(after: &Value, calls: &[SeenCall]) -> Learned {
    let mut values =
        json!({"Scene": "off", "Mood": "calm", "Layout": "row", "Hours": 1, "Lit": false, "Brightness": 10});
    values.as_object_mut().unwrap().extend(after.as_object().unwrap().clone());
    learn(Some(&before()), &surface(&values), calls)
}

/// The mapping of a lesson, which has to be one.
fn mapping(learned: &Learned) -> (String, Mapping) {
    let text = learned.draft.text();
    let mapping = Mapping::parse(&text, "x.toml", SERVICE).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, mapping)
}

#[test]
fn the_argument_that_became_a_property_is_the_value_and_the_rest_is_pinned() {
    let learned = lesson(&json!({"Scene": "work"}), &[seen("SetScene", "sub", &json!(["work", 300, true]))]);
    let (text, mapping) = mapping(&learned);
    assert!(text.contains("fixed = { 1 = 300, 2 = false }\n"), "questions are op-dbus's own: {text}");
    assert_eq!(mapping.file.state_mapping.keys().collect::<Vec<_>>(), ["scene"]);
    assert_eq!(learned.calls[0].became, "scene");
    assert_eq!((&learned.changes[0].from, &learned.changes[0].to), (&json!("off"), &json!("work")));
}

#[test]
fn a_method_of_another_name_is_known_by_what_it_did() {
    let learned = lesson(&json!({"Mood": "wild"}), &[seen("Arrange", "ss", &json!(["wild", "row"]))]);
    let (text, mapping) = mapping(&learned);
    assert_eq!(mapping.file.state_mapping.keys().collect::<Vec<_>>(), ["mood"]);
    assert!(text.contains("# likely: after Arrange, Mood was \"wild\", as argument 0."), "{text}");
    // The other argument has the value of another property, and its name.
    assert!(text.contains("write = { method = \"arrange\", args = [\"$value\", \"$layout\"] }"), "{text}");
}

#[test]
fn a_boolean_counts_only_under_its_name() {
    let by_chance = lesson(&json!({"Lit": true}), &[seen("SetScene", "sub", &json!(["off", 0, true]))]);
    assert_eq!(by_chance.calls[0].became, "scene", "its value is as it was, and its name is the property's");
    let named = lesson(&json!({"Lit": true}), &[seen("SetLit", "b", &json!([true]))]);
    assert_eq!(named.calls[0].became, "lit");
}

#[test]
fn a_property_that_was_set_is_set() {
    let set = SeenCall {
        interface: "org.freedesktop.DBus.Properties".into(),
        ..seen("Set", "ssv", &json!([SERVICE, "Brightness", 80]))
    };
    let (text, _) = mapping(&lesson(&json!({"Brightness": 80}), &[set]));
    assert!(text.contains("write = { property = \"Brightness\" }"), "{text}");
}

#[test]
fn what_fails_reads_or_shows_nothing_becomes_no_entry() {
    let failed =
        SeenCall { error: Some("org.example.Error.No".into()), ..seen("SetScene", "sub", &json!(["x", 0, false])) };
    let learned = lesson(&json!({}), &[failed, seen("GetReport", "", &json!([]))]);
    assert!(learned.draft.entries.is_empty());
    assert_eq!(learned.calls[0].became, "nothing: it failed");
    assert_eq!(learned.calls[1].became, "nothing: its name says that it reads");
    // What it did cannot be seen: its table is begun, as a comment.
    let learned = lesson(&json!({}), &[seen("Calibrate", "u", &json!([3]))]);
    let (text, mapping) = mapping(&learned);
    assert!(mapping.file.methods.is_empty());
    assert!(text.contains("#[methods.calibrate]\n#arg_types = [\"u\"]\n"), "{text}");
}

#[test]
fn secrets_are_in_nothing_that_is_shown() {
    let join = json!([{"ssid": "here", "psk": "HUSH", "more": {"wep-key0": "HUSH"}}]);
    let calls = [seen("Unlock", "s", &json!(["HUSH"])), seen("Join", "a{sv}", &join)];
    let learned = lesson(&json!({"Scene": "HUSH-not"}), &calls);
    let shown = format!("{} {}", learned.draft.text(), json!(learned.calls));
    assert!(!shown.replace("HUSH-not", "").contains("HUSH"), "{shown}");
    assert!(shown.contains("here"), "{shown}");
}

//! Plans: stable digests, nothing in them can be changed unseen, staleness, and canonical JSON.
//!
//! `plans/golden.json` is a whole plan, written with `OP_DBUS_BLESS=1`: a digest that changes by accident shows there.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::call::Manner;
use op_dbus::base::{Call, Kind, digest};
use op_dbus::state::plan::Preview;
use op_dbus::state::{Action, Change, Plan, Undo, UndoClass};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn set(key: &str, from: &Value, to: &Value) -> Change {
    Change::Set { plugin: "hostname".into(), key: key.into(), from: from.clone(), to: to.clone() }
}

fn add(item: &str) -> Change {
    Change::Add { plugin: "packagekit".into(), key: "packages".into(), item: item.into() }
}

fn remove(item: &str) -> Change {
    Change::Remove { plugin: "packagekit".into(), key: "packages".into(), item: item.into() }
}

fn action(id: &str, call: Call, changes: Vec<Change>) -> Action {
    Action {
        id: id.into(),
        plugin: changes.first().map_or_else(String::new, |change| change.resource().plugin),
        resources: changes.iter().map(|change| change.resource().to_string()).collect(),
        title: format!("Call {}", call.member),
        call,
        via: None,
        undo: Undo { class: UndoClass::Exact, call: None },
        requires_confirmation: false,
        needs: Vec::new(),
        preview: None,
        done: Vec::new(),
        changes,
    }
}

fn hostname_call(to: &str) -> Call {
    Call::new("org.freedesktop.hostname1", "/org/freedesktop/hostname1", "org.freedesktop.hostname1", "SetHostname")
        .with("sb", vec![json!(to), json!(false)])
}

fn plan_of(actions: Vec<Action>) -> Plan {
    let mappings = BTreeMap::from([("hostname".to_owned(), digest::of_json("mapping", &json!(1)))]);
    Plan::new(json!({"version": 1, "plugins": {}}), None, None, mappings, actions)
}

/// A plan in which every field has a value.
fn golden() -> Plan {
    let mut name = action("1", hostname_call("web"), vec![set("static_hostname", &json!("db"), &json!("web"))]);
    name.undo.call = Some(hostname_call("db"));
    let packages =
        Call::new("org.freedesktop.PackageKit", "/1_abc", "org.freedesktop.PackageKit.Transaction", "InstallPackages")
            .with("tas", vec![json!(9_007_199_254_740_993_u64), json!(["nginx;1.0;amd64;debian"])]);
    let mut install = action("2", packages, vec![add("nginx"), remove("telnet")]);
    install.via = Some("CreateTransaction".into());
    install.undo.class = UndoClass::Compensating;
    install.requires_confirmation = true;
    install.needs = vec!["1".into()];
    install.preview = Some(Preview {
        also: vec!["libpcre2".into()],
        download_bytes: Some(u64::MAX),
        installed_bytes: Some(0),
        text: "Installs nginx".into(),
    });
    install.done = vec!["Installed nginx".into()];
    let desired = json!({
        "version": 1,
        "plugins": {
            "hostname": {"static_hostname": "web"},
            "packagekit": {"packages": ["nginx"], "absent": {"packages": ["telnet"]}},
            "x": {"big": u64::MAX, "small": -1, "half": 0.5, "none": null, "yes": true, "€": {"empty": []}},
        }
    });
    let mappings = BTreeMap::from([
        ("hostname".to_owned(), digest::of_bytes("mapping", b"one")),
        ("packagekit".to_owned(), digest::of_bytes("mapping", b"two")),
    ]);
    Plan::new(desired, Some("boot".into()), Some(1), mappings, vec![name, install])
}

#[test]
fn the_golden_plan() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/golden.json");
    let plan = golden();
    let text = serde_json::to_string_pretty(&plan).unwrap() + "\n";
    if std::env::var_os("OP_DBUS_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(text, kept);
    let read = Plan::from_json(&serde_json::from_str(&kept).unwrap()).unwrap();
    assert_eq!(read, plan);
    assert_eq!(plan.digest, "sha256:d3b19b29074e807acc00aa827fecd8f9d208c54e193f8fd66bdcef3d16656459");
    assert!(plan.digest.starts_with(&format!("sha256:{}", plan.id)) && plan.id.len() == 12);
}

/// Every place of a document, as a JSON pointer.
fn places(at: &str, value: &Value, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| places(&format!("{at}/{i}"), item, found));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| places(&format!("{at}/{}", escaped(key)), item, found));
        }
        _ => {}
    }
}

/// What somebody could make of a value.
fn tampered(value: &Value) -> Vec<Value> {
    let mut forms = match value {
        Value::Null => vec![json!(false), json!("")],
        Value::Bool(yes) => vec![json!(!yes), Value::Null],
        Value::Number(number) => {
            let mut forms = vec![json!("7"), Value::Null];
            if let Some(number) = number.as_u64() {
                forms.extend([json!(number ^ 1), json!(number / 2 + 1_000)]);
            } else if let Some(number) = number.as_i64() {
                forms.extend([json!(number ^ 1), json!(-number)]);
            } else if let Some(number) = number.as_f64() {
                forms.push(json!(number + 1.0));
            }
            forms
        }
        Value::String(text) => vec![json!(format!("{text} ")), json!(format!("{text}x")), json!(""), Value::Null],
        Value::Array(items) => {
            let mut more = items.clone();
            more.push(items.first().cloned().unwrap_or_else(|| json!("x")));
            let mut forms = vec![json!(more), Value::Null, json!({})];
            if !items.is_empty() {
                forms.extend([json!([]), json!(items[1..])]);
            }
            if items.len() > 1 && items.iter().any(|item| *item != items[0]) {
                forms.push(items.iter().rev().cloned().collect());
            }
            forms
        }
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("surely-unknown".into(), Value::Null);
            let mut forms = vec![Value::Object(more), Value::Null, json!([])];
            for key in map.keys() {
                let mut less = map.clone();
                less.remove(key);
                forms.push(Value::Object(less));
            }
            forms
        }
    };
    forms.retain(|form| form != value);
    forms
}

/// Changes every place of `plan` in every way; each must be refused.
fn check_tampering(plan: &Value) -> usize {
    let mut found = Vec::new();
    places("", plan, &mut found);
    let mut tried = 0;
    for place in found {
        for form in tampered(plan.pointer(&place).unwrap()) {
            let mut other = plan.clone();
            *other.pointer_mut(&place).unwrap() = form.clone();
            match Plan::from_json(&other) {
                Err(error) => assert_eq!(error.kind, Kind::BadInput, "{place} = {form}"),
                Ok(_) => panic!("{place} = {form} was not noticed"),
            }
            tried += 1;
        }
    }
    tried
}

#[test]
fn every_change_of_the_golden_plan_is_refused() {
    assert!(check_tampering(&json!(golden())) > 300);
}

#[test]
fn refusals_say_what_is_wrong() {
    let with = |pointer: &str, value: Value| {
        let mut plan = json!(golden());
        *plan.pointer_mut(pointer).unwrap() = value;
        Plan::from_json(&plan).unwrap_err().to_string()
    };
    let changed = "digest: the plan was changed after it was made: its digest does not fit its content\n  \
                   hint: make a new one with op-apply --dry-run; to change what is done, change the state document";
    assert_eq!(with("/actions/0/args/0", json!("evil")), changed);
    assert_eq!(with("/id", json!("000000000000")), changed);
    assert_eq!(with("/actions/1/args/0", json!(9_007_199_254_740_992_u64)), changed);
    assert_eq!(
        with("/kind", json!("report")),
        "kind: this is a document of the kind \"report\", not a plan\n  hint: make one with op-apply --dry-run"
    );
    assert_eq!(
        with("/version", json!(2)),
        "version: this program reads version 1, not 2\n  \
         hint: make a new one with op-apply --dry-run, or upgrade op-dbus"
    );
    let error = Plan::from_json(&json!([])).unwrap_err();
    assert!(error.message.starts_with("this is no plan: "), "{error}");
}

#[test]
fn a_plan_that_was_written_again_is_the_same() {
    let plan = golden();
    let text = backwards(&json!(plan));
    assert_eq!(Plan::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), plan);
}

#[test]
fn freshness() {
    let hostname =
        |from: &str, to: &str| action("1", hostname_call(to), vec![set("static_hostname", &json!(from), &json!(to))]);
    let planned = plan_of(vec![hostname("db", "web")]);
    let stale = |now: &Plan| {
        let error = planned.check_fresh(now).unwrap_err();
        assert_eq!(error.kind, Kind::Stale);
        assert_eq!(error.subject.as_deref(), Some(&*format!("plan {}", planned.id)));
        error.message.strip_prefix("the plan is stale: ").unwrap().to_owned()
    };
    planned.check_fresh(&planned.clone()).unwrap();
    // The manner of a call does not travel in the document.
    let mut in_manner = planned.clone();
    in_manner.actions[0].call.manner = Manner { may_activate: true, timeout: Some(Duration::from_secs(1)) };
    let kept = Plan::from_json(&json!(in_manner)).unwrap();
    kept.check_fresh(&in_manner).unwrap();
    // The world moved.
    assert_eq!(stale(&plan_of(vec![hostname("dns", "web")])), "hostname/static_hostname has another value now");
    assert_eq!(stale(&plan_of(vec![])), "hostname/static_hostname is already as wanted");
    let more = plan_of(vec![
        hostname("db", "web"),
        action("2", hostname_call("x"), vec![set("icon", &json!("a"), &json!("b"))]),
    ]);
    assert_eq!(stale(&more), "hostname/icon differs now as well");
    let other = plan_of(vec![action("1", hostname_call("x"), vec![set("icon", &json!("a"), &json!("b"))])]);
    assert_eq!(stale(&other), "hostname/static_hostname is already as wanted; hostname/icon differs now as well");
    // Nothing is left to do, and so nothing is said of the mapping.
    let without_actions = Plan { mappings: BTreeMap::new(), ..plan_of(vec![]) };
    assert_eq!(stale(&without_actions), "hostname/static_hostname is already as wanted");
    // The mapping moved, or went away.
    let mut remapped = planned.clone();
    remapped.mappings.insert("hostname".into(), "sha256:other".into());
    assert_eq!(stale(&remapped), "the mapping of hostname is another one now");
    remapped.mappings.clear();
    assert_eq!(stale(&remapped), "the mapping of hostname is another one now");
    // Everything is as it was, and yet another call would be made.
    let mut other_call = planned.clone();
    other_call.actions[0].call.args[1] = json!(true);
    assert_eq!(stale(&other_call), "the same differences lead to other calls now");
    let mut other_value = planned.clone();
    other_value.actions[0].changes = vec![set("static_hostname", &json!("db"), &json!("mail"))];
    assert_eq!(stale(&other_value), "the same differences lead to other calls now");
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from)
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z~/\u{e9}\u{20ac}]{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn change() -> impl Strategy<Value = Change> {
    let name = || "[a-z]{1,3}";
    prop_oneof![
        (name(), name(), json(), json()).prop_map(|(plugin, key, from, to)| Change::Set { plugin, key, from, to }),
        (name(), name(), "[a-z/]{1,4}").prop_map(|(plugin, key, item)| Change::Add { plugin, key, item }),
        (name(), name(), "[a-z/]{1,4}").prop_map(|(plugin, key, item)| Change::Remove { plugin, key, item }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let action = (vec(change(), 0..3), vec(json(), 0..3), any::<bool>()).prop_map(|(changes, args, confirm)| {
        let mut action = action("1", hostname_call("x").with("v", args), changes);
        action.requires_confirmation = confirm;
        action
    });
    (json(), vec(action, 0..3)).prop_map(|(desired, actions)| Plan::new(desired, None, None, BTreeMap::new(), actions))
}

/// The value with the keys of every object in the reverse order of how they are kept, as text.
fn backwards(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(backwards).collect::<Vec<_>>().join(" , ")),
        Value::Object(map) => {
            let members = map.iter().rev().map(|(key, value)| format!("{} : {}", json!(key), backwards(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" ,\n"))
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_change_of_any_plan_is_refused(plan in plan()) {
        let document = json!(plan);
        prop_assert_eq!(&Plan::from_json(&document).unwrap(), &plan);
        check_tampering(&document);
    }
}

proptest! {
    #[test]
    fn reverse_twice_is_nothing(change in change()) {
        let reverse = change.reverse();
        prop_assert_eq!(reverse.resource(), change.resource());
        prop_assert_eq!(reverse.reverse(), change);
    }

    #[test]
    fn the_base_is_what_is_touched(plan in plan()) {
        let touched: BTreeSet<String> =
            plan.actions.iter().flat_map(|action| &action.changes).map(|c| c.resource().to_string()).collect();
        prop_assert_eq!(plan.base.keys().cloned().collect::<BTreeSet<_>>(), touched);
        for change in plan.actions.iter().flat_map(|action| &action.changes) {
            let is_only = |other: &&Change| other.resource() == change.resource();
            if plan.actions.iter().flat_map(|action| &action.changes).filter(is_only).count() == 1 {
                let expected = match change {
                    Change::Set { from, .. } | Change::Update { from, .. } | Change::Delete { from, .. } => from.clone(),
                    Change::Add { .. } | Change::Create { .. } => json!(false),
                    Change::Remove { .. } => json!(true),
                };
                prop_assert_eq!(&plan.base[&change.resource().to_string()], &digest::of_json("base", &expected));
            }
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_order_or_blanks(value in json()) {
        let other: Value = serde_json::from_str(&backwards(&value)).unwrap();
        prop_assert_eq!(digest::of_json("x", &other), digest::of_json("x", &value));
        prop_assert_ne!(digest::of_json("x", &value), digest::of_json("y", &value));
        let pretty: Value = serde_json::from_str(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
        prop_assert_eq!(digest::of_json("x", &pretty), digest::of_json("x", &value));
    }

    #[test]
    fn other_integers_have_other_digests(numbers in btree_set(any::<u64>(), 2..5), shift in 0_u32..64) {
        let numbers: BTreeSet<u64> = numbers.iter().flat_map(|n| [n >> shift, (n >> shift).wrapping_add(1)]).collect();
        let digests: BTreeSet<String> = numbers.iter().map(|n| digest::of_json("x", &json!([n]))).collect();
        prop_assert_eq!(digests.len(), numbers.len());
    }
}

fn assert_canonical(value: &Value, canonical: &str) {
    assert_eq!(digest::of_json("x", value), digest::of_bytes("x", canonical.as_bytes()), "{value} is {canonical}");
}

#[test]
fn numbers_as_in_rfc_8785() {
    // Appendix B.
    for (bits, text) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_canonical(&json!(f64::from_bits(bits)), text);
    }
    // Integers that a double cannot hold, or only by luck, are their decimal text.
    for (value, text) in [
        (json!(9_007_199_254_740_992_u64), "9007199254740992"),
        (json!(9_007_199_254_740_993_u64), r#""9007199254740993""#),
        (json!(-9_007_199_254_740_992_i64), "-9007199254740992"),
        (json!(-9_007_199_254_740_993_i64), r#""-9007199254740993""#),
        (json!(u64::MAX), r#""18446744073709551615""#),
        (json!(i64::MIN), r#""-9223372036854775808""#),
    ] {
        assert_canonical(&value, text);
    }
}

#[test]
fn texts_and_order_as_in_rfc_8785() {
    // Section 3.2.2.
    let value = serde_json::from_str(
        r#"{
          "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
          "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
          "literals": [null, true, false]
        }"#,
    )
    .unwrap();
    let canonical = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_canonical(&value, canonical);
    // Section 3.2.3: keys are sorted by their UTF-16 code units, so an emoji comes before a Hebrew presentation form.
    let value = serde_json::from_str(
        r#"{
          "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
          "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#,
    )
    .unwrap();
    let canonical = concat!(
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",",
        "\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",",
        "\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
    assert_canonical(&value, canonical);
}

//! State documents, one folder a case: add `documents/NAME/case.json`, run with `OP_DBUS_BLESS=1`, read what it wrote.
//!
//! `case.json` holds `document` and, for the bare form, `plugin`. Beside it lies state.json, what was understood, or
//! error.txt with the kind of the failure and its text.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Kind;
use op_dbus::state::{PluginState, StateDocument};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} lost cases", folder.display());
    let is_blessing = std::env::var_os("OP_DBUS_BLESS").is_some();
    let mut failures = Vec::new();
    for folder in &cases {
        let name = folder.file_name().unwrap().display();
        let case: Value = serde_json::from_str(&fs::read_to_string(folder.join("case.json")).unwrap()).unwrap();
        let (file, actual, other) = match StateDocument::from_json_for(&case["document"], case["plugin"].as_str()) {
            Ok(state) => {
                let again = state.to_json();
                assert_eq!(StateDocument::from_json(&again).unwrap(), state, "{name}");
                ("state.json", serde_json::to_string_pretty(&again).unwrap() + "\n", "error.txt")
            }
            Err(error) => {
                assert_eq!(error.kind, Kind::BadInput, "{name}");
                ("error.txt", format!("{error}\n"), "state.json")
            }
        };
        if is_blessing {
            fs::write(folder.join(file), &actual).unwrap();
            let _ = fs::remove_file(folder.join(other));
        }
        let expected = fs::read_to_string(folder.join(file)).unwrap_or_default();
        if actual != expected || folder.join(other).exists() {
            failures.push(format!("{name}: expected {file}\n{expected}\nbut it is\n{actual}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn plugin_state()(
        values in btree_map("[a-z_$]{1,6}", json(), 0..4),
        absent in btree_map("[a-z_]{1,6}", vec("[^\\x00]{1,6}", 0..3), 0..3),
        observed in option::of(json()),
    ) -> PluginState {
        let values: Map<String, Value> = values.into_iter().filter(|(key, _)| key != "absent").collect();
        PluginState { values, absent, observed }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(plugins in btree_map("[a-z-]{1,8}", plugin_state(), 0..4)) {
        let state = StateDocument { plugins };
        let document = state.to_json();
        prop_assert_eq!(&StateDocument::from_json(&document).unwrap(), &state);
        let text = document.to_string();
        prop_assert_eq!(StateDocument::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), state);
    }

    #[test]
    fn what_one_plugin_prints_it_accepts(state in plugin_state()) {
        let read = StateDocument::from_json_for(&serde_json::json!(state), Some("it")).unwrap();
        prop_assert_eq!(&read.plugins["it"], &state);
    }

    #[test]
    fn no_document_makes_it_panic(document in json(), plugin in option::of("[a-z]{1,4}")) {
        let _ = StateDocument::from_json_for(&document, plugin.as_deref());
    }
}

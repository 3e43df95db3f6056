//! What was wanted shows in one look, and what was lost beside it shows too.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod trail_case;

use op_dbus_tests::synth::spec::Merging;
use serde_json::{Map, Value, json};
use trail_case::Case;

#[test]
fn a_service_that_forgets_what_was_not_mentioned_is_noticed() {
    let mut tried = 0;
    for seed in 1..=5 {
        let mut case = Case::start(seed);
        let spec = case.synth.spec.clone();
        let property = spec.properties.iter().find(|property| property.merging == Merging::Replace).unwrap();
        let key = property.key.clone().unwrap();
        let (was, other) = (property.initial.json(), spec.other_value(&key, 1).unwrap().json());
        // One entry changes; the others are not mentioned, and must stay.
        let changed = other.as_object().unwrap().iter().find(|(name, value)| was[name.as_str()] != **value);
        let Some((name, value)) = changed.filter(|_| was.as_object().unwrap().len() > 1) else { continue };
        tried += 1;
        let wanted: Map<String, Value> = Map::from_iter([(name.clone(), value.clone())]);
        let document = json!({"plugins": {&spec.plugin: {&key: wanted}}});
        let started = case.truth();
        case.control.set_faults(&[&format!("forgets@{}:1", property.name)]);
        let output = case.apply(&[], &document);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("the service accepted"), "seed {seed}: {stderr}");
        // What was lost comes back, unless nobody knows its type any more: then that is said.
        match output.status.code() {
            Some(1) => assert_eq!((&report["outcome"], &case.truth()), (&json!("undone"), &started), "seed {seed}"),
            Some(4) => assert!(stderr.contains("the type of this variant is not known"), "seed {seed}: {stderr}"),
            code => panic!("seed {seed}: {code:?} {stderr}"),
        }
        // A service that does not forget is believed.
        case.control.set_faults(&[]);
        assert_eq!(case.apply(&[], &document).status.code(), Some(0), "seed {seed}");
    }
    assert!(tried >= 2, "{tried}");
}

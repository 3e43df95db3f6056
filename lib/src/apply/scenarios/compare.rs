//! What came of a scenario against what was said to come.

use super::{Difference, Seen};
use crate::base::{Error, Result};
use crate::plugin::scenario::{ExpectedCall, Then};
use crate::state::{Action, Plan};
use serde_json::{Map, Value, json};

/// Everything in which `seen` is not what `then` says.
#[must_use]
pub fn compare(then: &Then, seen: &Seen) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare_value(
        "then.query",
        &Value::Object(then.query.clone()),
        &Value::Object(seen.state.clone()),
        &mut differences,
    );
    for (name, lists, is_wanted) in [("contains", &then.contains, true), ("lacks", &then.lacks, false)] {
        for (key, items) in lists {
            let place = format!("then.{name}.{key}");
            let Some(list) = seen.state.get(key).and_then(Value::as_array) else {
                differences.push(difference(&place, json!(items), seen.state.get(key).cloned().unwrap_or_default()));
                continue;
            };
            let wrong: Vec<&Value> = items.iter().filter(|item| list.contains(item) != is_wanted).collect();
            if !wrong.is_empty() {
                let what = if is_wanted { "these are not in it" } else { "these are in it" };
                differences.push(difference(&place, json!(items), json!({ what: wrong })));
            }
        }
    }
    // Why a value is missing is worth more than that it is.
    if !differences.is_empty() && !seen.problems.is_empty() {
        let problems: Vec<Value> = seen.problems.iter().map(text_of).collect();
        differences.push(difference("then.query", json!("no problems"), json!(problems)));
    }
    match (&seen.plan, &then.error) {
        (Some(plan), _) => compare_plan(then, plan, &mut differences),
        (None, Some(expected)) => {
            if !seen.problems.iter().any(|problem| expected.is_met_by(problem)) {
                let problems: Vec<Value> = seen.problems.iter().map(text_of).collect();
                differences.push(difference("then.error", error_of(then), json!(problems)));
            }
        }
        (None, None) => {}
    }
    differences
}

pub(super) fn compare_plan(then: &Then, plan: &Result<Plan>, differences: &mut Vec<Difference>) {
    match (plan, &then.error) {
        (Err(error), Some(expected)) if expected.is_met_by(error) => {}
        (Err(error), Some(_)) => differences.push(difference("then.error", error_of(then), text_of(error))),
        (Err(error), None) => {
            let expected: Vec<Value> = then.calls.iter().flatten().map(expected_call).collect();
            differences.push(difference("then.calls", json!(expected), text_of(error)));
        }
        (Ok(plan), Some(_)) => {
            let calls: Vec<Value> = plan.actions.iter().map(call_of).collect();
            differences.push(difference("then.error", error_of(then), json!({ "calls": calls })));
        }
        (Ok(plan), None) => {
            let expected = then.calls.as_deref().unwrap_or_default();
            for position in 0..expected.len().max(plan.actions.len()) {
                let place = format!("then.calls[{position}]");
                match (expected.get(position), plan.actions.get(position)) {
                    (Some(expected), Some(action)) => compare_call(&place, expected, action, differences),
                    (expected, action) => differences.push(difference(
                        &place,
                        expected.map(expected_call).unwrap_or_default(),
                        action.map(call_of).unwrap_or_default(),
                    )),
                }
            }
        }
    }
}

fn compare_call(place: &str, expected: &ExpectedCall, action: &Action, differences: &mut Vec<Difference>) {
    let call = &action.call;
    let parts = [
        ("member", Some(json!(expected.member)), json!(call.member)),
        ("args", expected.args.as_ref().map(|args| json!(args)), json!(call.args)),
        ("path", expected.path.as_ref().map(|path| json!(path)), json!(call.path)),
        ("interface", expected.interface.as_ref().map(|name| json!(name)), json!(call.interface)),
    ];
    for (part, expected, actual) in parts {
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            differences.push(difference(&format!("{place}.{part}"), expected, actual));
        }
    }
}

/// Of objects, what `expected` mentions counts; everything else must be equal.
fn compare_value(place: &str, expected: &Value, actual: &Value, differences: &mut Vec<Difference>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, expected) in expected {
                let actual = actual.get(key).unwrap_or(&Value::Null);
                compare_value(&format!("{place}.{key}"), expected, actual, differences);
            }
        }
        _ if expected == actual => {}
        _ => differences.push(difference(place, expected.clone(), actual.clone())),
    }
}

pub(super) fn difference(place: &str, expected: Value, actual: Value) -> Difference {
    Difference { place: place.to_owned(), expected, actual }
}

pub(super) fn call_of(action: &Action) -> Value {
    json!({"member": action.call.member, "args": action.call.args})
}

fn expected_call(call: &ExpectedCall) -> Value {
    let mut value = json!({"member": call.member});
    for (name, part) in [("args", json!(call.args)), ("path", json!(call.path)), ("interface", json!(call.interface))] {
        if !part.is_null() {
            value[name] = part;
        }
    }
    value
}

fn error_of(then: &Then) -> Value {
    let error = then.error.clone().unwrap_or_default();
    let parts = [("kind", error.kind), ("subject", error.subject), ("message", error.message)];
    parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), json!(part?)))).collect::<Map<_, _>>().into()
}

pub(super) fn text_of(error: &Error) -> Value {
    error.to_json()["error"].clone()
}

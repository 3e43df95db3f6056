//! What the bus itself would say, were the recorded services its only ones.

use super::super::Call;
use super::super::names::BUS_NAME;
use super::replay::Answer;
use super::{RecordedError, Values};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Unique name of the recorded services.
pub(super) const OWNER: &str = ":1.1";
/// What `StartServiceByName` says of a service that runs.
const ALREADY_RUNNING: u32 = 2;

/// The bus's answer to `call`; `None` for what it is not asked.
pub(super) fn answer(services: &BTreeSet<String>, call: &Call) -> Option<Answer> {
    let name = call.args.first().and_then(Value::as_str).unwrap_or_default();
    let is_there = services.contains(name) || [OWNER, BUS_NAME].contains(&name);
    let one = |type_signature: &str, value: Value| {
        Some(Answer::Reply(Values { type_signature: type_signature.into(), values: vec![value] }))
    };
    let no_owner = |error: &str| {
        let message = format!("{name} is not in the recording");
        Some(Answer::Error(RecordedError { name: format!("org.freedesktop.DBus.Error.{error}"), message }))
    };
    match call.member.as_str() {
        "ListNames" => {
            let names = [BUS_NAME, OWNER].into_iter().chain(services.iter().map(String::as_str));
            one("as", names.collect())
        }
        "ListActivatableNames" => one("as", json!([])),
        "NameHasOwner" => one("b", json!(is_there)),
        "GetNameOwner" if name == BUS_NAME => one("s", json!(BUS_NAME)),
        "GetNameOwner" if is_there => one("s", json!(OWNER)),
        "GetNameOwner" => no_owner("NameHasNoOwner"),
        "StartServiceByName" if is_there => one("u", json!(ALREADY_RUNNING)),
        "StartServiceByName" => no_owner("ServiceUnknown"),
        "AddMatch" | "RemoveMatch" => Some(Answer::Reply(Values::default())),
        _ => None,
    }
}

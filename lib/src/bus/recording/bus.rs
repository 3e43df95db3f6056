//! What the bus itself would say, were the recorded service its only one.

use super::super::Call;
use super::super::names::BUS_NAME;
use super::replay::Answer;
use super::{RecordedError, Values};
use serde_json::{Value, json};

/// Unique name of the recorded service.
pub(super) const OWNER: &str = ":1.1";
/// What `StartServiceByName` says of a service that runs.
const ALREADY_RUNNING: u32 = 2;

/// The bus's answer to `call`; `None` for what it is not asked.
pub(super) fn answer(service: &str, call: &Call) -> Option<Answer> {
    let name = call.args.first().and_then(Value::as_str).unwrap_or_default();
    let is_there = [service, OWNER, BUS_NAME].contains(&name);
    let one = |type_signature: &str, value: Value| {
        Some(Answer::Reply(Values { type_signature: type_signature.into(), values: vec![value] }))
    };
    let no_owner = |error: &str| {
        let message = format!("the recording is of {service}: {name} is not in it");
        Some(Answer::Error(RecordedError { name: format!("org.freedesktop.DBus.Error.{error}"), message }))
    };
    match call.member.as_str() {
        "ListNames" => one("as", json!([BUS_NAME, OWNER, service])),
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

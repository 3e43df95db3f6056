//! What a service reads after it said that all is well, and what was wanted.

use crate::base::Error;
use crate::state::Change;
use serde_json::Value;

/// The error for a change that does not show; `now` is the key's value.
pub fn mismatch(change: &Change, now: Option<&Value>) -> Error {
    let resource = change.resource().to_string();
    let now = match change.item() {
        // Of an item, only the members that matter: it may have a hundred others.
        Some(item) => now.map(|all| item_now(change, all.get(item))),
        None => now.cloned(),
    };
    let now = now.map_or_else(|| "nothing readable".into(), |now| now.to_string());
    let message = match change {
        Change::Set { to, .. } => format!("the service accepted {to}, but reads {now}"),
        Change::Add { item, .. } => format!("the service says it added {item:?}, but does not list it"),
        Change::Remove { item, .. } => format!("the service says it removed {item:?}, but still lists it"),
        Change::Create { item, to, .. } => format!("{item:?} was made as {to}, but reads {now}"),
        Change::Update { to, .. } => format!("the service accepted {to}, but reads {now}"),
        Change::Delete { item, .. } => format!("the service says it deleted {item:?}, but still has it"),
    };
    Error::failed(message).on(resource).hint("the service normalised, refused or ignored it without an error")
}

/// The error for what was so before anything was done, or was no part of what was done, and is not so after it. `change`
/// is what would still have to be done.
pub fn disturbed(change: &Change) -> Error {
    let message = match change {
        Change::Set { from, to, .. } => format!("it is to be {to}, and reads {from} after everything was done"),
        Change::Update { from, to, .. } => {
            format!("it is to be {to}, and reads {} after everything was done", mentioned(to, from))
        }
        Change::Add { item, .. } | Change::Create { item, .. } => {
            format!("{item:?} is to be there, and is not after everything was done")
        }
        Change::Remove { item, .. } | Change::Delete { item, .. } => {
            format!("{item:?} is not to be there, and is after everything was done")
        }
    };
    let hint = "one of the calls changed more than it was made for, or somebody else did: see whether all that the \
                document says can hold together";
    Error::failed(message).on(change.resource().to_string()).hint(hint)
}

fn item_now(change: &Change, item: Option<&Value>) -> Value {
    let (Change::Create { to, .. } | Change::Update { to, .. }) = change else { return Value::Null };
    item.map_or(Value::Null, |item| mentioned(to, item))
}

/// The part of `now` that `wanted` speaks of.
fn mentioned(wanted: &Value, now: &Value) -> Value {
    match (wanted, now) {
        (Value::Object(wanted), Value::Object(now)) => {
            let part = |(name, now): (&String, &Value)| Some((name.clone(), mentioned(wanted.get(name)?, now)));
            Value::Object(now.iter().filter_map(part).collect())
        }
        _ => now.clone(),
    }
}

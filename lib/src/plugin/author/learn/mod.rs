//! `op-install map --learn`: from calls that were seen, and what a service showed before and after, to mapping entries.
//!
//! A property that now has the value of an argument is what the call writes; everything else it was given is pinned.

mod calls;
mod entries;
mod sets;

use super::draft::Draft;
use super::{Surface, words};
use crate::bus::SeenCall;
use crate::bus::walk::is_standard;
use calls::Learner;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A call that was seen, as the document tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LearnedCall {
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method.
    pub member: String,
    /// The arguments' type signature.
    pub type_signature: String,
    /// The arguments; those whose names speak of a secret are left out.
    pub args: Vec<Value>,
    /// The D-Bus error it was answered with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// What was made of it: a key of the state, or why nothing was.
    pub became: String,
}

/// A property that had another value afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LearnedChange {
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The property.
    pub property: String,
    /// What it was.
    pub from: Value,
    /// What it is.
    pub to: Value,
}

/// A key of the plugin's own mapping that read differently afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LearnedKey {
    /// The key.
    pub key: String,
    /// What it was.
    pub from: Value,
    /// What it is.
    pub to: Value,
}

/// What was learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The entries.
    pub draft: Draft,
    /// The calls.
    pub calls: Vec<LearnedCall>,
    /// The properties that changed.
    pub changes: Vec<LearnedChange>,
}

/// Whether a call may have changed something: it was no question by its name, and it did not fail.
#[must_use]
pub fn may_write(call: &SeenCall) -> bool {
    call.error.is_none() && (!is_standard(&call.interface) || call.member == "Set") && !words::is_reading(&call.member)
}

/// Learns from `calls` between two looks at a service; without the first when it was started only by them.
#[must_use]
pub fn learn(before: Option<&Surface>, after: &Surface, calls: &[SeenCall]) -> Learned {
    let mut draft = Draft::of(after);
    let drafted = std::mem::take(&mut draft.entries);
    draft.unused.clear();
    draft.is_learned = true;
    draft.notes.clear();
    if before.is_none() {
        draft.notes.push(format!(
            "{} was not there before the command, so that nothing could be compared: what a call did is taken from names \
             and from what is there now. Now that it runs, learning once more, with other values, shows it.",
            after.service
        ));
    }
    let changes = before.map(|before| changes(before, after)).unwrap_or_default();
    let is_new = |path: &&String| before.is_some_and(|before| !before.objects.contains_key(*path));
    let new_objects = after.objects.keys().filter(is_new).map(String::as_str).collect();
    let mut learner = Learner { after, drafted, new_objects, changes: &changes, draft: &mut draft };
    let calls = calls.iter().map(|call| learner.call(call)).collect();
    Learned { draft, calls, changes }
}

fn changes(before: &Surface, after: &Surface) -> Vec<LearnedChange> {
    let mut found = Vec::new();
    for (path, interfaces) in members(&Value::Object(after.values.clone())) {
        for (interface, properties) in members(&interfaces) {
            for (property, to) in members(&properties) {
                match before.value(&path, &interface, &property) {
                    Some(from) if *from != to && !words::is_secret(&property) => found.push(LearnedChange {
                        path: path.clone(),
                        interface: interface.clone(),
                        property,
                        from: from.clone(),
                        to,
                    }),
                    _ => {}
                }
            }
        }
    }
    found
}

fn members(value: &Value) -> Vec<(String, Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

//! A service's own checkpoint: made before the first change, let go when all is well, gone back to when not.

use super::{perform, reading};
use crate::base::{Call, Result};
use crate::bus::Bus;
use crate::plugin::mapping::{Mapping, Operation, template};
use serde_json::Value;

/// The call that makes the checkpoint; none when the service keeps none.
pub fn call(mapping: &Mapping) -> Result<Option<Call>> {
    let Some(section) = &mapping.file.checkpoint else { return Ok(None) };
    prepared(mapping, &section.create, None).map(Some)
}

/// Makes a checkpoint; what it is called.
pub fn create(bus: &Bus, mapping: &Mapping) -> Result<Option<Value>> {
    let Some(call) = call(mapping)? else { return Ok(None) };
    let label = call.label();
    bus.call(call)?.single(&label).map(Some)
}

/// Lets the checkpoint go.
pub fn commit(bus: &Bus, mapping: &Mapping, checkpoint: &Value) -> Result<()> {
    let Some(section) = &mapping.file.checkpoint else { return Ok(()) };
    end(bus, mapping, &section.commit, checkpoint)
}

/// Goes back to the checkpoint.
pub fn rollback(bus: &Bus, mapping: &Mapping, checkpoint: &Value) -> Result<()> {
    let Some(section) = &mapping.file.checkpoint else { return Ok(()) };
    end(bus, mapping, &section.rollback, checkpoint)
}

fn end(bus: &Bus, mapping: &Mapping, operation: &Operation, checkpoint: &Value) -> Result<()> {
    let call = prepared(mapping, operation, Some(checkpoint))?;
    let method = mapping.method(operation.method.as_deref().unwrap_or_default())?;
    match bus.call(call) {
        Err(error) if perform::is_already_so(&method, &error) => Ok(()),
        other => other.map(drop),
    }
}

fn prepared(mapping: &Mapping, operation: &Operation, checkpoint: Option<&Value>) -> Result<Call> {
    let method = mapping.method(operation.method.as_deref().unwrap_or_default())?;
    let words = |word: &str| checkpoint.filter(|_| word == "checkpoint").cloned();
    reading::reading_call(mapping, &method, template::fill(operation.args.as_deref().unwrap_or_default(), &words)?)
}

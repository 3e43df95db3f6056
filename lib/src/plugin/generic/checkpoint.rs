//! A service's own checkpoint: made before the first change, let go when all is well, gone back to when not.

use super::{perform, reading};
use crate::base::{Call, Error, Result};
use crate::bus::Bus;
use crate::bus::read::{self, PropertyGroup};
use crate::plugin::mapping::{Mapping, Operation, template};
use serde_json::Value;
use std::collections::BTreeMap;

/// The call that makes the checkpoint; none when the service keeps none.
pub fn call(mapping: &Mapping) -> Result<Option<Call>> {
    let Some(section) = &mapping.file.checkpoint else { return Ok(None) };
    prepared(mapping, &section.create, None).map(Some)
}

/// Makes a checkpoint; what it is called.
pub fn create(bus: &Bus, mapping: &Mapping) -> Result<Option<Value>> {
    let Some(call) = call(mapping)? else { return Ok(None) };
    let label = call.label();
    let made = bus.call(call).and_then(|reply| reply.single(&label));
    made.map(Some).map_err(|error| with_pending(bus, mapping, error))
}

/// The error of a checkpoint that could not be made, with what there is to know about one that is there already: that of a
/// run that died.
fn with_pending(bus: &Bus, mapping: &Mapping, error: Error) -> Error {
    let pending = || {
        let section = mapping.file.checkpoint.as_ref()?;
        let (name, hint) = (section.pending.as_ref()?, section.pending_hint.as_ref()?);
        let group = PropertyGroup {
            service: mapping.service.clone(),
            path: mapping.path.clone(),
            interface: mapping.interface.clone(),
        };
        let wanted = BTreeMap::from([(group.clone(), vec![name.clone()])]);
        let mut found = read::properties(bus, &wanted, mapping.manner(None));
        let list = found.remove(&group)?.remove(name)?.ok()?;
        let first = list.as_array()?.first()?.as_str()?.to_owned();
        Some(template::text(hint, &[("checkpoint", &first)]))
    };
    match pending() {
        Some(hint) => error.hint(hint),
        None => error,
    }
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

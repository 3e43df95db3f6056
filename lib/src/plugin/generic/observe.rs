//! Everything a service shows without being asked anything but its properties.

use crate::base::{Error, Kind, Progress, Result};
use crate::bus::walk::{self, Want};
use crate::bus::{Bus, Manner};
use serde_json::Value;

/// Values of all readable properties by object path, interface and property, and what could not be read.
pub fn everything(
    bus: &Bus,
    service: &str,
    may_activate: bool,
    progress: &mut dyn Progress,
) -> Result<(Value, Vec<Error>)> {
    let manner = Manner { may_activate, timeout: None };
    let mut on_object = |count: usize| progress.say(&format!("reading {service}: {count} objects"), None);
    let tree = walk::walk(bus, service, Want::Values, manner, &mut on_object).map_err(|error| {
        if error.kind == Kind::Unavailable {
            error.hint(format!(
                "it is not running and reading never starts a service; op-discover {service} --activate does"
            ))
        } else {
            error
        }
    })?;
    let problems = tree.problems.into_iter().map(|problem| Error::new(Kind::Partial, problem)).collect();
    Ok((Value::Object(tree.values), problems))
}

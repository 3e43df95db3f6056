//! Making a planned call: plainly, or as a transaction.

use super::{collection, job, transaction};
use crate::base::{Error, Kind, Progress, Result};
use crate::bus::{Bus, Call};
use crate::plugin::mapping::{Mapping, Method};
use crate::plugin::{Failure, Touched};
use crate::state::Action;
use std::time::Duration;

/// Nobody waits longer for a service to come to rest.
const MAX_PAUSE_MS: u64 = 60_000;

/// Makes `action`'s call and waits until the service says it is done.
pub fn perform(bus: &Bus, mapping: &Mapping, action: &Action, progress: &mut dyn Progress) -> Result<(), Failure> {
    let method = method_of(mapping, action);
    let outcome = match &method {
        Some(method) if method.transaction.is_some() => {
            transaction::run(bus, mapping, method, &action.call, progress).map(|_| ())
        }
        Some(Method { section, .. }) if section.job.is_some() => {
            let job = section.job.as_ref().and_then(|job| mapping.file.jobs.get(job));
            let call = action.call.clone().in_manner(mapping.manner(Some(section)));
            match (job, located(bus, mapping, action, call, progress)) {
                (Some(job), Ok(call)) => job::run(bus, mapping, job, call, progress),
                (_, Err(error)) => Err(Failure { error, touched: Touched::No }),
                (None, _) => Ok(()),
            }
        }
        _ => {
            let call = match located(bus, mapping, action, action.call.clone(), progress) {
                Ok(call) => call,
                Err(error) => return Err(Failure { error, touched: Touched::No }),
            };
            let mut call = call;
            call.manner = mapping.manner(method.as_ref().map(|method| method.section));
            bus.call(call).map(|_| ()).map_err(|error| {
                // Silence means nobody knows, and an error of the service's own may come after half of the work.
                let touched = if was_turned_away(&error) { Touched::No } else { Touched::Perhaps };
                Failure { error, touched }
            })
        }
    };
    let pause = method.as_ref().and_then(|method| method.section.pause_ms).filter(|_| outcome.is_ok());
    std::thread::sleep(Duration::from_millis(pause.unwrap_or_default().min(MAX_PAUSE_MS)));
    match outcome {
        Err(failure) if method.is_some_and(|method| is_already_so(&method, &failure.error)) => Ok(()),
        other => other,
    }
}

/// The call on the object it is for: of an item that was made a moment ago, that is only known now.
fn located(bus: &Bus, mapping: &Mapping, action: &Action, mut call: Call, progress: &mut dyn Progress) -> Result<Call> {
    let (Some(_), Some(resource)) = (&action.via, action.resources.first()) else { return Ok(call) };
    let mut parts = resource.splitn(3, '/').skip(1);
    let (Some(key), Some(item)) = (parts.next(), parts.next()) else { return Ok(call) };
    let Some(section) = mapping.file.state_mapping.get(key) else { return Ok(call) };
    let names = std::collections::BTreeSet::from([item.to_owned()]);
    for wait_ms in [0, 20, 50, 100, 200, 400, 800, 1600] {
        std::thread::sleep(Duration::from_millis(wait_ms));
        let items = collection::read(bus, mapping, section, Some(&names), progress)?;
        if let Some(path) = items.found.get(item).and_then(|item| item.path.clone()) {
            call.path = path;
            return Ok(call);
        }
    }
    Err(Error::failed("it was made, but the service does not list it").on(resource.clone()))
}

/// Whether the call surely reached no work: it was not allowed, has no such member, or was no call at all; or the bus
/// itself says that it has no service of that name and could start none.
pub fn was_turned_away(error: &Error) -> bool {
    if matches!(error.kind, Kind::Denied | Kind::InterfaceChanged | Kind::BadInput | Kind::Refused) {
        return true;
    }
    let name = error.dbus_error.as_deref().and_then(|name| name.strip_prefix("org.freedesktop.DBus.Error."));
    name.is_some_and(|name| matches!(name, "ServiceUnknown" | "NameHasNoOwner") || name.starts_with("Spawn."))
}

/// The method of the mapping that an action calls; none for a property write.
pub fn method_of<'a>(mapping: &'a Mapping, action: &Action) -> Option<Method<'a>> {
    let methods = mapping.file.methods.keys().filter_map(|name| mapping.method(name).ok());
    methods
        .filter(|method| method.interface == action.call.interface && method.member == action.call.member)
        // Of several names for one member (simulated and real), the one whose constants the call has.
        .find(|method| {
            crate::plugin::mapping::fixed_of(method.section)
                .iter()
                .all(|(position, value)| action.call.args.get(*position) == Some(value))
        })
}

/// Whether an error is one that the mapping says means "it is so already": `NAME`, or `NAME: text in the message`.
pub fn is_already_so(method: &Method<'_>, error: &Error) -> bool {
    method.section.already_ok.iter().any(|accepted| {
        let (name, text) = accepted.split_once(':').map_or((accepted.as_str(), ""), |(n, t)| (n, t.trim()));
        error.dbus_error.as_deref() == Some(name) && error.message.contains(text)
    })
}

//! Who is on the bus: names, owners, process ids, units, and what could be started.

use super::{Bus, Call};
use crate::base::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The bus's own name; its interface has the same one.
pub const BUS_NAME: &str = "org.freedesktop.DBus";

/// One service of a bus: the owner of a well-known name, running or startable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Service {
    /// The well-known name, for example `org.freedesktop.hostname1`.
    pub name: String,
    /// Whether someone owns the name now.
    pub running: bool,
    /// Whether the bus can start it.
    pub activatable: bool,
    /// The owner's unique name, for example `:1.7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The owner's process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The systemd unit the process belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A call to the bus itself.
pub(super) fn bus_call(member: &str, type_signature: &str, args: Vec<Value>) -> Call {
    Call::new(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, member).with(type_signature, args)
}

/// The unique name of the owner of `service`; an error when nobody owns it.
pub fn owner_of(bus: &Bus, service: &str) -> Result<String> {
    let reply = bus.call(bus_call("GetNameOwner", "s", vec![json!(service)]))?;
    match reply.values.first() {
        Some(Value::String(owner)) => Ok(owner.clone()),
        _ => Err(Error::new(Kind::Unavailable, "the bus named no owner").on(service)),
    }
}

/// Refuses what can be no service's name, before a bus is asked for it.
pub fn check(service: &str) -> Result<()> {
    zbus::names::BusName::try_from(service).map(drop).map_err(|_| {
        Error::bad_input("this is no name of a service")
            .on(format!("{service:?}"))
            .hint("such a name has dots, for example org.example.Service; op-discover lists those of the bus")
    })
}

/// Starts `service` if it is not running and the bus knows how.
pub fn start(bus: &Bus, service: &str) -> Result<()> {
    check(service)?;
    bus.call(bus_call("StartServiceByName", "su", vec![json!(service), json!(0)])).map(drop).map_err(|e| e.on(service))
}

/// The well-known names that are owned or can be started, without anything else about them.
pub fn available(bus: &Bus) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut failures = Vec::new();
    let first = ["ListNames", "ListActivatableNames"].map(|member| ((), bus_call(member, "", Vec::new()))).into();
    bus.pump(first, |(), reply| {
        match reply {
            Ok(mut reply) => found.extend(well_known(&reply.values.pop().unwrap_or_default())),
            Err(error) => failures.push(error),
        }
        Vec::new()
    });
    Error::all(failures).map_or(Ok(found), Err)
}

/// Every service of the bus, sorted by name. `proc` is where process information lies (`/proc`), or `None` when the
/// bus is another machine's.
pub fn services(bus: &Bus, proc: Option<&Path>) -> Result<Vec<Service>> {
    let mut found: BTreeMap<String, Service> = BTreeMap::new();
    let mut failures = Vec::new();
    let first = vec![
        (Question::Running, bus_call("ListNames", "", Vec::new())),
        (Question::Activatable, bus_call("ListActivatableNames", "", Vec::new())),
    ];
    bus.pump(first, |question, reply| {
        let value = reply.map(|mut reply| reply.values.pop().unwrap_or_default());
        match (question, value) {
            (Question::Running, Ok(names)) => well_known(&names)
                .flat_map(|name| {
                    let service = found.entry(name.clone()).or_default();
                    service.running = true;
                    let arg = vec![json!(name)];
                    [
                        (Question::Owner(name.clone()), bus_call("GetNameOwner", "s", arg.clone())),
                        (Question::Pid(name), bus_call("GetConnectionUnixProcessID", "s", arg)),
                    ]
                })
                .collect(),
            (Question::Activatable, Ok(names)) => {
                well_known(&names).for_each(|name| found.entry(name).or_default().activatable = true);
                Vec::new()
            }
            (Question::Owner(name), Ok(Value::String(owner))) => {
                found.entry(name).or_default().owner = Some(owner);
                Vec::new()
            }
            (Question::Pid(name), Ok(pid)) => {
                found.entry(name).or_default().pid = pid.as_u64().and_then(|pid| u32::try_from(pid).ok());
                Vec::new()
            }
            (Question::Running | Question::Activatable, Err(error)) => {
                failures.push(error);
                Vec::new()
            }
            // A name may vanish between the two questions: it stays in the list without what was not learnt.
            _ => Vec::new(),
        }
    });
    if let Some(error) = Error::all(failures) {
        return Err(error);
    }
    Ok(found
        .into_iter()
        .map(|(name, mut service)| {
            service.name = name;
            service.unit = service.pid.zip(proc).and_then(|(pid, proc)| unit_of(proc, pid));
            service
        })
        .collect())
}

enum Question {
    Running,
    Activatable,
    Owner(String),
    Pid(String),
}

fn well_known(names: &Value) -> impl Iterator<Item = String> + '_ {
    names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| !name.starts_with(':'))
        .map(Into::into)
}

fn unit_of(proc: &Path, pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).ok()?;
    unit_in_cgroup(&text)
}

/// The unit in the text of `/proc/PID/cgroup`: the last path element that names one, of the unified hierarchy or of
/// systemd's own.
fn unit_in_cgroup(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("0::") || line.contains(":name=systemd:"))?;
    let path = line.splitn(3, ':').nth(2)?;
    let is_unit =
        |element: &&str| [".service", ".scope", ".socket", ".mount"].iter().any(|kind| element.ends_with(kind));
    path.split('/').rfind(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{check, unit_in_cgroup};

    #[test]
    fn service_names() {
        for good in ["org.freedesktop.hostname1", "a.b", ":1.7", "org.freedesktop.DBus"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "hostname", "a..b", "../../etc", "a.b\"\n[x]", "a.\u{e9}", "--x", &"a.".repeat(200)] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains("no name of a service"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn units() {
        for (text, unit) in [
            ("0::/system.slice/systemd-hostnamed.service\n", Some("systemd-hostnamed.service")),
            ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope\n", Some("x.scope")),
            ("12:cpu:/\n1:name=systemd:/system.slice/dbus.service\n", Some("dbus.service")),
            ("0::/\n", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(unit_in_cgroup(text).as_deref(), unit, "{text:?}");
        }
    }
}

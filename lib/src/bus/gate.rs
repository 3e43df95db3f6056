//! The gate every call passes on its way out. While it is closed, only what is known to be safe leaves the program:
//! a mistake in planning or in a mapping then is a refusal, not a change.

use super::Call;
use crate::base::{Error, Result};
use serde_json::Value;

/// What a mapping calls safe: a member, and the constants that some of its arguments must have for that to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct SafeCall {
    /// Bus name of the service.
    pub service: String,
    /// Interface of the member.
    pub interface: String,
    /// Method name.
    pub member: String,
    /// Argument position and the value it must have, for example `(0, 4)` for PackageKit's "simulate" flag.
    pub fixed: Vec<(usize, Value)>,
}

/// The proof that changing calls may be made; `apply` makes one after the confirmation, and nothing else does.
#[derive(Debug)]
pub struct Consent(());

impl Consent {
    /// To be called only where a person, or `--yes` in their place, has agreed to the exact calls.
    #[must_use]
    pub fn was_given() -> Self {
        Self(())
    }
}

/// The gate of one connection. It starts closed.
#[derive(Debug, Default)]
pub struct Gate {
    safe: Vec<SafeCall>,
    is_open: bool,
}

/// Members of the standard interfaces that only read.
const STANDARD: &[(&str, &[&str])] = &[
    ("org.freedesktop.DBus.Introspectable", &["Introspect"]),
    ("org.freedesktop.DBus.Properties", &["Get", "GetAll"]),
    ("org.freedesktop.DBus.ObjectManager", &["GetManagedObjects"]),
    ("org.freedesktop.DBus.Peer", &["Ping", "GetMachineId"]),
];

/// Members of the bus itself that only read, subscribe this connection, or start a service that was asked for.
const BUS: &[&str] = &[
    "ListNames",
    "ListActivatableNames",
    "NameHasOwner",
    "GetNameOwner",
    "GetConnectionUnixProcessID",
    "GetConnectionUnixUser",
    "GetConnectionCredentials",
    "GetId",
    "AddMatch",
    "RemoveMatch",
    "StartServiceByName",
];

impl Gate {
    /// Lets calls through that a mapping calls safe.
    pub fn allow(&mut self, safe: impl IntoIterator<Item = SafeCall>) {
        for call in safe {
            if !self.safe.contains(&call) {
                self.safe.push(call);
            }
        }
    }

    /// Opens the gate for calls that change things, until [`Gate::close`].
    pub fn open(&mut self, _consent: &Consent) {
        self.is_open = true;
    }

    /// Closes the gate again.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// Whether calls that change things may leave.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether `call` may leave now; the error says why not.
    pub fn check(&self, call: &Call) -> Result<()> {
        if self.is_open || is_standard(call) || self.safe.iter().any(|safe| safe.covers(call)) {
            return Ok(());
        }
        Err(Error::refused("this call is not marked safe, and only safe calls are made while reading or planning")
            .on(call.label())
            .hint("if it only reads, say so in the mapping: [methods.NAME] safe = true"))
    }
}

impl SafeCall {
    fn covers(&self, call: &Call) -> bool {
        self.service == call.service
            && self.interface == call.interface
            && self.member == call.member
            && self.fixed.iter().all(|(position, value)| call.args.get(*position) == Some(value))
    }
}

fn is_standard(call: &Call) -> bool {
    if call.interface == "org.freedesktop.DBus" {
        return call.service == "org.freedesktop.DBus" && BUS.contains(&call.member.as_str());
    }
    STANDARD.iter().any(|(interface, members)| *interface == call.interface && members.contains(&call.member.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(interface: &str, member: &str, args: Vec<Value>) -> Call {
        Call::new("org.example.S", "/", interface, member).with("", args)
    }

    #[test]
    fn a_closed_gate_lets_only_reading_out() {
        let mut gate = Gate::default();
        assert!(gate.check(&call("org.freedesktop.DBus.Properties", "GetAll", vec![])).is_ok());
        assert!(gate.check(&call("org.freedesktop.DBus.Properties", "Set", vec![])).is_err());
        assert!(gate.check(&call("org.freedesktop.DBus", "ListNames", vec![])).is_err(), "not the bus itself");
        assert!(gate.check(&call("org.example.I", "List", vec![])).is_err());
        gate.open(&Consent::was_given());
        assert!(gate.check(&call("org.freedesktop.DBus.Properties", "Set", vec![])).is_ok());
        gate.close();
        assert!(gate.check(&call("org.freedesktop.DBus.Properties", "Set", vec![])).is_err());
    }

    #[test]
    fn a_safe_call_is_safe_with_its_constants_only() {
        let mut gate = Gate::default();
        gate.allow([SafeCall {
            service: "org.example.S".into(),
            interface: "org.example.I".into(),
            member: "Install".into(),
            fixed: vec![(0, json!(4))],
        }]);
        assert!(gate.check(&call("org.example.I", "Install", vec![json!(4), json!(["a"])])).is_ok());
        assert!(gate.check(&call("org.example.I", "Install", vec![json!(0), json!(["a"])])).is_err());
        assert!(gate.check(&call("org.example.I", "Install", vec![])).is_err());
        assert!(gate.check(&call("org.example.I", "Remove", vec![json!(4)])).is_err());
    }
}

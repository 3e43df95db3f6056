//! What comes back from a call, and what a service's errors mean to us.

use super::value::{self, VariantTypes};
use crate::base::{Error, Kind, Result};
use serde_json::Value;

/// What a method returned.
#[derive(Debug, Clone)]
pub struct Reply {
    /// One value for each complete type of the reply's type signature.
    pub values: Vec<Value>,
    pub(super) message: zbus::Message,
}

impl Reply {
    /// The types of the variants in the reply, so that they can be written back as they are.
    pub fn variant_types(&self) -> Result<VariantTypes> {
        let body = self.message.body();
        let data = body.data();
        value::decode_variant_types(body.signature(), data.bytes(), data.context().endian())
    }

    /// The only value of a reply that has one.
    pub fn single(mut self, call: &str) -> Result<Value> {
        let count = self.values.len();
        match self.values.pop() {
            Some(value) if count == 1 => Ok(value),
            _ => Err(Error::failed(format!("the reply has {count} values where one was expected")).on(call)),
        }
    }
}

/// One signal that arrived for a subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Object path it came from.
    pub path: String,
    /// Its interface.
    pub interface: String,
    /// Its name.
    pub member: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// Who refused a call, and to whom: what helps depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the bus answered in the service's place, so that its policy is what forbids.
    pub is_by_bus: bool,
    /// Whether root asked, whom nobody can make more than that.
    pub is_to_root: bool,
}

impl Refusal {
    fn hint(self) -> &'static str {
        match (self.is_to_root, self.is_by_bus) {
            (false, _) => "run it as root, or allow it in the bus policy or in polkit",
            (true, true) => {
                "this bus forbids it even to root: a file in /etc/dbus-1/system.d can allow it in the bus policy, with \
                 <policy user=\"root\"><allow send_destination=\"SERVICE\"/></policy>; or use the tool that the \
                 distribution has for it"
            }
            (true, false) => {
                "the service itself, or polkit, forbids it even to root; its log says why, and a rule in \
                 /etc/polkit-1/rules.d can allow what polkit forbids"
            }
        }
    }
}

/// Turns a service's error reply into ours: the kind follows from the D-Bus error name.
#[must_use]
pub fn error_of_reply(label: &str, name: &str, message: &str, refusal: Refusal) -> Error {
    const BUS: &str = "org.freedesktop.DBus.Error.";
    /// What the bus says of a call to itself.
    const OF_THE_BUS: [&str; 8] = [
        "InvalidArgs",
        "InvalidSignature",
        "LimitsExceeded",
        "MatchRuleInvalid",
        "MatchRuleNotFound",
        "NoMemory",
        "NotSupported",
        "UnixProcessIdUnknown",
    ];
    let (kind, hint) = match name.strip_prefix(BUS) {
        Some("ServiceUnknown" | "NameHasNoOwner") => {
            (Kind::Unavailable, Some("start the service, or see which ones the bus offers with op-discover"))
        }
        Some("NoReply" | "Disconnected" | "NoServer") => {
            (Kind::Unavailable, Some("the service went away or did not answer; see its log"))
        }
        Some("Timeout" | "TimedOut") => (Kind::Timeout, Some("allow more time with --timeout")),
        Some(start) if start.starts_with("Spawn.") => {
            (Kind::Unavailable, Some("the bus could not start the service; see its log"))
        }
        Some("AccessDenied" | "AuthFailed" | "InteractiveAuthorizationRequired") => {
            (Kind::Denied, Some(refusal.hint()))
        }
        Some("UnknownMethod" | "UnknownInterface" | "UnknownProperty" | "UnknownObject") => (
            Kind::InterfaceChanged,
            Some(
                "compare with op-discover SERVICE; the service may be another version than the mapping was written for",
            ),
        ),
        // The bus answers for a service that does not run: what it says then is why it could not be started.
        reason if refusal.is_by_bus && !reason.is_some_and(|reason| OF_THE_BUS.contains(&reason)) => (
            Kind::Unavailable,
            Some(
                "the bus could not start the service: systemctl status says why; a masked unit starts again after systemctl unmask",
            ),
        ),
        _ if name.contains("NotAuthorized") || name.contains("PolicyKit") => (Kind::Denied, Some(refusal.hint())),
        _ => (Kind::Failed, None),
    };
    let text = if message.is_empty() { "the service refused without saying why" } else { message };
    let error = Error::new(kind, text).on(label).dbus(name);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bus_says_for_a_service_is_why_it_does_not_start() {
        let kind = |name: &str, is_by_bus| {
            let refusal = Refusal { is_by_bus, is_to_root: true };
            error_of_reply("x", name, "Unit x.service is masked", refusal).kind
        };
        for name in ["com.example.manager1.UnitMasked", "org.freedesktop.DBus.Error.FileExists"] {
            assert_eq!((kind(name, true), kind(name, false)), (Kind::Unavailable, Kind::Failed), "{name}");
        }
        assert_eq!(kind("org.freedesktop.DBus.Error.LimitsExceeded", true), Kind::Failed);
    }

    #[test]
    fn what_helps_against_a_refusal_depends_on_who_refused_whom() {
        let hint = |is_by_bus: bool, is_to_root: bool| {
            let name = "org.freedesktop.DBus.Error.AccessDenied";
            let error = error_of_reply("x", name, "Rejected", Refusal { is_by_bus, is_to_root });
            assert_eq!(error.kind, Kind::Denied);
            error.hint.unwrap()
        };
        assert!(hint(true, false).contains("run it as root") && hint(false, false).contains("run it as root"));
        assert!(hint(true, true).contains("/etc/dbus-1/system.d") && !hint(true, true).contains("as root"));
        assert!(hint(false, true).contains("polkit") && !hint(false, true).contains("bus policy"));
    }
}

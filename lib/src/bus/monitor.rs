//! Watching what others call on services. A connection of its own that hears and never speaks.
//!
//! A monitor could hear everything on the bus, secrets included. This one asks the bus for the calls to one service and
//! for its error replies only, looks at each message's header before anything else, and drops what is not that service's
//! without reading what it carries.
//!
//! When no service is named, it asks for all calls and errors, and drops as unread all calls of connections that were
//! there before, of services among themselves, and to the bus itself: left are those of programs that were started since.

use super::connection::Target;
use super::names::{self, BUS_NAME};
use super::pump::{Received, next};
use super::walk::is_standard;
use super::wire::Wire;
use super::{Bus, Call, Manner, value};
use crate::base::{Error, Kind, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, Instant};
use zbus::Message;
use zbus::message::Type;

/// Calls that are kept at most: a command that makes more is no example of a setting.
const MAX_CALLS: usize = 4096;
const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A method call that somebody made to the watched service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenCall {
    /// Who called: a unique name.
    pub sender: String,
    /// The service that was called: its well-known name.
    pub service: String,
    /// The object.
    pub path: String,
    /// The interface; empty when the caller left it out.
    pub interface: String,
    /// The method.
    pub member: String,
    /// The arguments' type signature.
    pub type_signature: String,
    /// The arguments.
    pub args: Vec<Value>,
    /// The D-Bus error it was answered with.
    pub error: Option<String>,
    /// Its number, by which its reply is known.
    pub serial: u32,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Something, or nothing within the time.
    Anything,
    /// The call of [`Monitor::mark`]: all before it was heard.
    Mark,
    /// The bus closed the connection.
    Closed,
}

/// A running watch.
pub struct Monitor {
    wire: Wire,
    scope: Scope,
    own: String,
    calls: Vec<SeenCall>,
}

/// What is listened to.
enum Scope {
    /// One service, and the connection that owns its name.
    One {
        service: String,
        owner: String,
    },
    Any(Everyone),
}

/// Who is on the bus.
#[derive(Default)]
struct Everyone {
    /// Connections that were there before.
    old: BTreeSet<String>,
    /// Who owns each well-known name.
    owners: BTreeMap<String, String>,
    /// Connections that own, or owned, a well-known name.
    services: BTreeSet<String>,
}

impl Everyone {
    fn owns(&mut self, name: &str, owner: &str) {
        if owner.is_empty() {
            self.owners.remove(name);
        } else {
            self.owners.insert(name.to_owned(), owner.to_owned());
            self.services.insert(owner.to_owned());
        }
    }

    /// The well-known name of `destination`; of several names of one connection the one that the interface begins with.
    fn service(&self, destination: &str, interface: &str) -> Option<String> {
        if !destination.starts_with(':') {
            return Some(destination.to_owned());
        }
        let mut names = self.owners.iter().filter(|(_, owner)| *owner == destination).map(|(name, _)| name);
        let first = names.clone().next();
        names.find(|name| interface.starts_with(*name)).or(first).cloned()
    }
}

impl Monitor {
    /// Starts watching calls to `service` on the bus of `bus`, whose own calls are left out.
    ///
    /// Needs the right to watch: root on the system bus.
    pub fn start(target: &Target, bus: &Bus, service: &str) -> Result<Self> {
        let owner = names::owner_of(bus, service)?;
        let rules = vec![
            format!("type='method_call',destination='{service}'"),
            format!("type='method_call',destination='{owner}'"),
            format!("type='error',sender='{owner}'"),
        ];
        Self::watch(target, bus, service, rules, Scope::One { service: service.to_owned(), owner })
    }

    /// Starts watching the calls that programs started from now on make to any service, but for those that only ask
    /// what every service answers.
    ///
    /// Needs the right to watch: root on the system bus.
    pub fn start_any(target: &Target, bus: &Bus) -> Result<Self> {
        let names = format!("type='signal',sender='{BUS_NAME}',member='NameOwnerChanged'");
        let rules = vec!["type='method_call'".to_owned(), "type='error'".to_owned(), names];
        let mut monitor = Self::watch(target, bus, "the bus", rules, Scope::Any(Everyone::default()))?;
        let mut everyone = Everyone::default();
        for service in names::services(bus, None)? {
            everyone.owns(&service.name, service.owner.as_deref().unwrap_or_default());
        }
        let listed = bus.call(names::bus_call("ListNames", "", Vec::new()))?.single(BUS_NAME)?;
        let listed = listed.as_array().into_iter().flatten().filter_map(Value::as_str);
        everyone.old = listed.filter(|name| name.starts_with(':')).map(str::to_owned).collect();
        monitor.scope = Scope::Any(everyone);
        Ok(monitor)
    }

    fn watch(target: &Target, bus: &Bus, subject: &str, rules: Vec<String>, scope: Scope) -> Result<Self> {
        let Some(own) = bus.unique_name() else {
            return Err(Error::usage("on a recording nothing happens that could be watched").on(subject));
        };
        let wire = Wire::connect(target, None)?;
        let asked = zbus::block_on(async {
            let path = "/org/freedesktop/DBus";
            let interface = "org.freedesktop.DBus.Monitoring";
            let body = (rules, 0_u32);
            wire.connection.call_method(Some(BUS_NAME), path, Some(interface), "BecomeMonitor", &body).await
        });
        asked.map_err(|error| {
            Error::new(Kind::Denied, format!("the bus lets nobody watch without the right to: {error}"))
                .on(subject)
                .hint("run it as root: watching shows what others say to the service")
        })?;
        Ok(Self { wire, scope, own, calls: Vec::new() })
    }

    /// Listens for one message, at most as long as `limit`.
    pub fn listen(&mut self, limit: Duration) -> Watched {
        let mut stream = self.wire.stream.borrow_mut();
        let received = zbus::block_on(async {
            let mut limit = pin!(self.wire.runtime.sleep_until(Instant::now() + limit));
            next(&mut stream, &mut limit).await
        });
        drop(stream);
        match received {
            Received::Message(message) => self.keep(&message),
            Received::Nothing => Watched::Anything,
            Received::Closed => Watched::Closed,
        }
    }

    /// Makes a harmless call on `bus`, the one the watch was started with: [`Watched::Mark`] tells that it was heard.
    pub fn mark(&self, bus: &Bus, limit: Duration) {
        let service = match &self.scope {
            Scope::One { service, .. } => service,
            Scope::Any(_) => BUS_NAME,
        };
        // Whatever it answers: only that it was sent counts.
        let call = Call::new(service, "/", PEER, "Ping");
        let _ = bus.call(call.in_manner(Manner { may_activate: false, timeout: Some(limit) }));
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn into_calls(self) -> Vec<SeenCall> {
        match self.scope {
            Scope::One { .. } => self.calls,
            // Who started a service by a call is no service; who became one is.
            Scope::Any(everyone) => {
                self.calls.into_iter().filter(|call| !everyone.services.contains(&call.sender)).collect()
            }
        }
    }

    /// Looks at the header first: what is of no concern is dropped as it came.
    fn keep(&mut self, message: &Message) -> Watched {
        let header = message.header();
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let sender = text(header.sender().map(|name| name.as_str()));
        let member = text(header.member().map(|name| name.as_str()));
        match message.message_type() {
            Type::MethodCall => {
                if sender == self.own {
                    return if member == "Ping" { Watched::Mark } else { Watched::Anything };
                }
                let interface = text(header.interface().map(|name| name.as_str()));
                let destination = text(header.destination().map(|name| name.as_str()));
                let Some(service) = self.concerns(&sender, &destination, &interface, &member) else {
                    return Watched::Anything;
                };
                let (Some(path), true) = (header.path(), self.calls.len() < MAX_CALLS) else {
                    return Watched::Anything;
                };
                let Ok(args) = value::decode_message(message) else { return Watched::Anything };
                self.calls.push(SeenCall {
                    sender,
                    service,
                    path: path.to_string(),
                    interface,
                    member,
                    type_signature: message.body().signature().to_string_no_parens(),
                    args,
                    error: None,
                    serial: message.primary_header().serial_num().get(),
                });
            }
            Type::Error => {
                let to = text(header.destination().map(|name| name.as_str()));
                let answered = header.reply_serial().map(std::num::NonZeroU32::get);
                // Its name tells why; what else it carries is between the two.
                let name = header.error_name().map_or("unknown", |name| name.as_str()).to_owned();
                let call = self.calls.iter_mut().rfind(|call| call.sender == to && Some(call.serial) == answered);
                if let Some(call) = call {
                    call.error = Some(name);
                }
            }
            Type::Signal if sender == BUS_NAME => {
                if let (Scope::Any(everyone), Ok(args)) = (&mut self.scope, value::decode_message(message))
                    && let [Value::String(name), _, Value::String(owner)] = &args[..]
                    && !name.starts_with(':')
                {
                    everyone.owns(name, owner);
                }
            }
            _ => {}
        }
        Watched::Anything
    }

    /// The service that a call is to, when it is one that is watched for.
    fn concerns(&self, sender: &str, destination: &str, interface: &str, member: &str) -> Option<String> {
        match &self.scope {
            Scope::One { service, owner } => (destination == service || destination == owner).then(|| service.clone()),
            Scope::Any(everyone) => {
                let is_new = !everyone.old.contains(sender) && !everyone.services.contains(sender);
                let is_plain = is_standard(interface) && !(interface == PROPERTIES && member == "Set");
                if !is_new || is_plain || destination == BUS_NAME {
                    return None;
                }
                everyone.service(destination, interface)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_connection() {
        let mut everyone = Everyone::default();
        for name in ["org.a.Old", "org.a.Main", "org.b"] {
            everyone.owns(name, if name == "org.b" { ":1.2" } else { ":1.1" });
        }
        let of = |everyone: &Everyone, to: &str, interface: &str| everyone.service(to, interface);
        assert_eq!(of(&everyone, "org.c", "x").as_deref(), Some("org.c"));
        assert_eq!(of(&everyone, ":1.1", "org.a.Old.Manager").as_deref(), Some("org.a.Old"));
        assert_eq!(of(&everyone, ":1.1", "").as_deref(), Some("org.a.Main"));
        assert_eq!(of(&everyone, ":1.9", "org.a.Main"), None);
        everyone.owns("org.b", "");
        assert_eq!(of(&everyone, ":1.2", "org.b"), None);
        assert!(everyone.services.contains(":1.2"), "who left was a service all the same");
    }
}

//! Watching what others call on one service. A connection of its own that hears and never speaks.
//!
//! A monitor could hear everything on the bus, secrets included. This one asks the bus for the calls to one service and
//! for its error replies only, looks at each message's header before anything else, and drops what is not that service's
//! without reading what it carries.

use super::connection::Target;
use super::pump::{Received, next};
use super::wire::Wire;
use super::{Bus, value};
use crate::base::{Error, Kind, Result};
use serde_json::Value;
use std::pin::pin;
use std::time::{Duration, Instant};
use zbus::Message;
use zbus::message::Type;

/// Calls that are kept at most: a command that makes more is no example of a setting.
const MAX_CALLS: usize = 4096;

/// A method call that somebody made to the watched service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenCall {
    /// Who called: a unique name.
    pub sender: String,
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
    /// A call of the connection that started the watch: all before it was heard.
    Mark,
    /// The bus closed the connection.
    Closed,
}

/// A running watch.
pub struct Monitor {
    wire: Wire,
    service: String,
    owner: String,
    own: String,
    calls: Vec<SeenCall>,
}

impl Monitor {
    /// Starts watching calls to `service` on the bus of `bus`, whose own calls are left out.
    ///
    /// Needs the right to watch: root on the system bus.
    pub fn start(target: &Target, bus: &Bus, service: &str) -> Result<Self> {
        let owner = super::names::owner_of(bus, service)?;
        let rules = vec![
            format!("type='method_call',destination='{service}'"),
            format!("type='method_call',destination='{owner}'"),
            format!("type='error',sender='{owner}'"),
        ];
        let Some(own) = bus.unique_name() else {
            return Err(Error::usage("on a recording nothing happens that could be watched").on(service));
        };
        let wire = Wire::connect(target, None)?;
        let asked = zbus::block_on(async {
            let path = "/org/freedesktop/DBus";
            let interface = "org.freedesktop.DBus.Monitoring";
            let body = (rules, 0_u32);
            let bus = Some(super::names::BUS_NAME);
            wire.connection.call_method(bus, path, Some(interface), "BecomeMonitor", &body).await
        });
        asked.map_err(|error| {
            Error::new(Kind::Denied, format!("the bus lets nobody watch without the right to: {error}"))
                .on(service)
                .hint("run it as root: watching shows what others say to the service")
        })?;
        Ok(Self { wire, service: service.to_owned(), owner, own, calls: Vec::new() })
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

    /// The calls so far, in order.
    #[must_use]
    pub fn into_calls(self) -> Vec<SeenCall> {
        self.calls
    }

    /// Looks at the header first: what is not the service's is dropped as it came.
    fn keep(&mut self, message: &Message) -> Watched {
        let header = message.header();
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        match message.message_type() {
            Type::MethodCall => {
                let is_to_it =
                    header.destination().is_some_and(|to| to.as_str() == self.service || to.as_str() == self.owner);
                if !is_to_it {
                    return Watched::Anything;
                }
                if sender == self.own {
                    return Watched::Mark;
                }
                let (Some(path), Some(member)) = (header.path(), header.member()) else { return Watched::Anything };
                if self.calls.len() >= MAX_CALLS {
                    return Watched::Anything;
                }
                let Ok(args) = value::decode_message(message) else { return Watched::Anything };
                self.calls.push(SeenCall {
                    sender,
                    path: path.to_string(),
                    interface: header.interface().map(ToString::to_string).unwrap_or_default(),
                    member: member.to_string(),
                    type_signature: message.body().signature().to_string_no_parens(),
                    args,
                    error: None,
                    serial: message.primary_header().serial_num().get(),
                });
            }
            Type::Error if sender == self.owner => {
                let to = header.destination().map(ToString::to_string).unwrap_or_default();
                let answered = header.reply_serial().map(std::num::NonZeroU32::get);
                // Its name tells why; what else it carries is between the two.
                let name = header.error_name().map_or("unknown", |name| name.as_str()).to_owned();
                let call = self.calls.iter_mut().rfind(|call| call.sender == to && Some(call.serial) == answered);
                if let Some(call) = call {
                    call.error = Some(name);
                }
            }
            _ => {}
        }
        Watched::Anything
    }
}

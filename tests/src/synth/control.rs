//! The tests' side of the control interface. A test that cannot reach its service has failed: so everything panics.

use super::value::Val;
use super::wire::{Connection, Message};
use super::{CONTROL_INTERFACE, CONTROL_PATH};
use serde_json::Value;

/// A connection to the control interface of a service. It starts the service if the bus knows how.
#[derive(Debug)]
pub struct Control {
    connection: Connection,
    service: String,
}

impl Control {
    /// Connects to the bus.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn connect(address: &str, service: &str) -> Self {
        let connection = Connection::open(address).unwrap_or_else(|error| panic!("could not reach {address}: {error}"));
        Self { connection, service: service.to_owned() }
    }

    fn call(&mut self, member: &str, body: Vec<Val>) -> Vec<Val> {
        let call = Message::call(&self.service, CONTROL_PATH, CONTROL_INTERFACE, member, body);
        self.connection.call(call).unwrap_or_else(|error| panic!("{member} of {}: {error}", self.service))
    }

    fn json(&mut self, member: &str) -> Value {
        let reply = self.call(member, Vec::new());
        let text = reply.first().and_then(Val::text).unwrap_or_default();
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{member}: {error}"))
    }

    /// Replaces all faults, each `KIND[=ARG][@TARGET][:N]` (see [`super::fault`]).
    pub fn set_faults(&mut self, faults: &[&str]) {
        self.call("SetFaults", vec![Val::strings(faults)]);
    }

    /// Everything the service knows: `keys` is what a query of its plugin must answer, `objects` its properties,
    /// `hooks` how often they were called, `starts` how often the process was started on its state.
    pub fn dump(&mut self) -> Value {
        self.json("Dump")
    }

    /// Every call it was sent: `path`, `interface`, `member`, `args`, `sender`, `auto_start`, and `changes`, which is
    /// the service's own opinion on whether the call is one that changes something.
    pub fn log(&mut self) -> Vec<Value> {
        self.json("Log").as_array().cloned().unwrap_or_default()
    }

    /// The calls that change something: while reading and planning there must be none.
    pub fn changing_calls(&mut self) -> Vec<Value> {
        self.log().into_iter().filter(|call| call["changes"] == true).collect()
    }

    /// Forgets the calls.
    pub fn clear_log(&mut self) {
        self.call("ClearLog", Vec::new());
    }

    /// Changes a key behind everyone's back: a property to a value of its type, a set to a list of names.
    pub fn poke(&mut self, key: &str, value: Val) {
        self.call("Poke", vec![Val::s(key), Val::V(Box::new(value))]);
    }

    /// Sends a signal without arguments.
    pub fn emit(&mut self, path: &str, interface: &str, member: &str) {
        self.call("Emit", vec![Val::s(path), Val::s(interface), Val::s(member)]);
    }

    /// Ends the service.
    pub fn quit(&mut self) {
        self.call("Quit", Vec::new());
    }
}

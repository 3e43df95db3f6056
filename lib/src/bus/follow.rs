//! Following services: every signal they send, and their coming and going, in the order in which it happens.
//!
//! Unlike a subscription, following outlives the service: the name counts, not who owns it just now.

use super::connection::{Bus, Link};
use super::names::{self, BUS_NAME};
use super::pump::Received;
use super::{Signal, value};
use crate::base::{Error, Kind, Result};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use zbus::Message;
use zbus::message::Type;

/// Own objects that are remembered, to know their last signals by.
const OWN: usize = 64;
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// What happened to a followed service.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// It sent a signal. Arguments are read of the standard interfaces' signals only: of others it is enough to know that
    /// they came.
    Signal(Signal),
    /// Somebody owns its name now, who did not before.
    Came,
    /// Nobody owns its name any more.
    Left,
}

/// Ends a connection from another thread, so that nobody who waits on it has to look whether it is over.
pub struct Stopper(zbus::Connection);

impl Stopper {
    /// Ends the connection, and every wait on it.
    pub fn stop(self) {
        // It is over either way.
        let _ = zbus::block_on(self.0.close());
    }
}

/// The services that are followed, and what they did that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Following {
    services: Vec<Followed>,
    queue: VecDeque<(String, Happening)>,
    /// Objects that were subscribed to, the last ones: made for a question of this connection's own.
    own: VecDeque<String>,
}

#[derive(Debug)]
struct Followed {
    service: String,
    owner: Option<String>,
}

impl Bus {
    /// Follows `service` from now on: the signals of the objects `paths`, or of all of them, and its coming and going.
    /// Says whether anybody owns the name now.
    pub fn follow(&self, service: &str, paths: Option<&[&str]>) -> Result<bool> {
        names::check(service)?;
        self.following.borrow_mut().services.push(Followed { service: service.to_owned(), owner: None });
        let signals = format!("type='signal',sender='{service}'");
        let mut rules = vec![format!(
            "type='signal',sender='{BUS_NAME}',interface='{BUS_NAME}',member='NameOwnerChanged',arg0='{service}'"
        )];
        match paths {
            None => rules.push(signals),
            Some(paths) => rules.extend(paths.iter().map(|path| format!("{signals},path='{path}'"))),
        }
        for rule in rules {
            self.call(names::bus_call("AddMatch", "s", vec![rule.into()]))?;
        }
        let owner = match names::owner_of(self, service) {
            Ok(owner) => Some(owner),
            Err(error) if error.kind == Kind::Unavailable && !self.is_closed() => None,
            Err(error) => return Err(error),
        };
        let is_there = owner.is_some();
        let mut following = self.following.borrow_mut();
        if let Some(followed) = following.services.iter_mut().find(|followed| followed.service == service) {
            followed.owner = owner;
        }
        // The answer is later than these.
        following.queue.retain(|(of, happening)| of != service || matches!(happening, Happening::Signal(_)));
        Ok(is_there)
    }

    /// What ends this connection from another thread. From now on only that ends a wait, or what is waited for.
    pub fn stopper(&self) -> Option<Stopper> {
        match &self.link {
            Link::Wire(wire) => {
                self.glance.set(Duration::from_secs(3600));
                Some(Stopper(wire.connection.clone()))
            }
            Link::Replay(_) => None,
        }
    }

    /// Whether the object at `path` was subscribed to: then its signals answer a question that was asked here.
    #[must_use]
    pub fn is_own(&self, path: &str) -> bool {
        self.following.borrow().own.iter().any(|own| own == path)
    }

    pub(super) fn remember_own(&self, path: Option<&str>) {
        let Some(path) = path.filter(|path| !self.is_own(path)) else { return };
        let own = &mut self.following.borrow_mut().own;
        if own.len() == OWN {
            own.pop_front();
        }
        own.push_back(path.to_owned());
    }

    /// What happens next, and to which service; nothing when `deadline` passes, somebody asks to stop, or the bus goes
    /// away.
    pub fn next_happening(&self, deadline: Instant) -> Option<(String, Happening)> {
        loop {
            if let Some(next) = self.following.borrow_mut().queue.pop_front() {
                return Some(next);
            }
            match self.receive_one(deadline) {
                Received::Message(message) => self.keep_signal(&message),
                Received::Nothing | Received::Closed => return None,
            }
        }
    }

    /// What has happened already, without waiting: what came in while something else was waited for.
    pub fn take_happenings(&self) -> Vec<(String, Happening)> {
        self.following.borrow_mut().queue.drain(..).collect()
    }

    /// The error of a bus that went away.
    pub fn gone(&self) -> Option<Error> {
        self.is_closed().then(|| {
            Error::new(Kind::Unavailable, "the bus closed the connection").hint("run it again when the bus is back")
        })
    }

    pub(super) fn keep_happening(&self, message: &Message) {
        if message.message_type() != Type::Signal || self.following.borrow().services.is_empty() {
            return;
        }
        let header = message.header();
        let (Some(path), Some(interface), Some(member), Some(sender)) =
            (header.path(), header.interface(), header.member(), header.sender())
        else {
            return;
        };
        let mut following = self.following.borrow_mut();
        let Following { services, queue, .. } = &mut *following;
        if sender == BUS_NAME && member == "NameOwnerChanged" {
            let args = value::decode_message(message).unwrap_or_default();
            let text = |at: usize| args.get(at).and_then(Value::as_str).unwrap_or_default();
            for followed in services.iter_mut().filter(|followed| followed.service == text(0)) {
                followed.owner = Some(text(2).to_owned()).filter(|owner| !owner.is_empty());
                let happening = if followed.owner.is_some() { Happening::Came } else { Happening::Left };
                queue.push_back((followed.service.clone(), happening));
            }
            return;
        }
        let is_standard = matches!(interface.as_str(), PROPERTIES | OBJECT_MANAGER);
        for followed in services.iter().filter(|followed| followed.owner.as_deref() == Some(sender.as_str())) {
            let signal = Signal {
                path: path.to_string(),
                interface: interface.to_string(),
                member: member.to_string(),
                args: if is_standard { value::decode_message(message).unwrap_or_default() } else { Vec::new() },
            };
            queue.push_back((followed.service.clone(), Happening::Signal(signal)));
        }
    }
}

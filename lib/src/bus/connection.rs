//! One connection to one bus. The only place a message leaves through, and the only place that waits.
//!
//! Callers are plain synchronous code: [`Bus::call`] for one call, [`Bus::pump`] for many at once with a bounded
//! number in flight. Nothing here knows a service.

use super::follow::Following;
use super::gate::{Consent, Gate, SafeCall};
use super::pump::Received;
use super::recording::{Recorder, Recording, Replay};
use super::wire::Wire;
use super::{Call, Reply, Signal, value};
use crate::base::{Error, Result, Secrets};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use zbus::Message;
use zbus::message::{Flags, Type};

/// Replies that may be pending at once. The default system bus drops replies beyond 128 (`docs/REAL-SERVICES.md`).
pub const MAX_IN_FLIGHT: usize = 64;

/// How long a call may take when nobody says otherwise: the D-Bus convention.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(25);

/// Which bus to talk to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// The system bus, or `DBUS_SYSTEM_BUS_ADDRESS`.
    #[default]
    System,
    /// The session bus.
    Session,
    /// A D-Bus address such as `unix:path=/run/x`, or `replay:FILE` for a recording instead of a bus.
    Address(String),
    /// The system bus of `[USER@]HOST`, through ssh and systemd-stdio-bridge as `busctl -H` does it.
    Host(String),
}

/// A connection with its gate.
pub struct Bus {
    pub(super) link: Link,
    pub(super) recorder: RefCell<Option<Recorder>>,
    gate: RefCell<Gate>,
    subscriptions: RefCell<Vec<Subscription>>,
    signals: RefCell<VecDeque<(u64, Signal)>>,
    pub(super) following: RefCell<Following>,
    pub(super) is_closed: Cell<bool>,
    /// How often a wait without a call looks whether somebody asked to stop.
    pub(super) glance: Cell<Duration>,
    timeout: Option<Duration>,
    is_remote: bool,
    interrupts: RefCell<Arc<AtomicUsize>>,
    secrets: RefCell<Option<Arc<dyn Secrets>>>,
}

/// What answers.
pub(super) enum Link {
    Wire(Box<Wire>),
    Replay(Box<Replay>),
}

struct Subscription {
    id: u64,
    sender: String,
    rule: String,
    path: Option<String>,
    interface: String,
}

/// A running subscription; ends with [`Bus::unsubscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionId(u64);

impl Bus {
    /// Connects and says hello. `timeout` is the limit of every call; one that names a shorter limit keeps it.
    pub fn connect(target: &Target, timeout: Option<Duration>) -> Result<Self> {
        let link = match target.replayed() {
            Some(file) => Link::Replay(Box::new(Replay::open(file)?)),
            None => Link::Wire(Box::new(Wire::connect(target, timeout)?)),
        };
        Ok(Self {
            link,
            recorder: RefCell::default(),
            gate: RefCell::default(),
            subscriptions: RefCell::default(),
            signals: RefCell::default(),
            following: RefCell::default(),
            is_closed: Cell::default(),
            glance: Cell::new(super::pump::GLANCE),
            timeout,
            is_remote: matches!(target, Target::Host(_)),
            interrupts: RefCell::default(),
            secrets: RefCell::default(),
        })
    }

    /// Asks `secrets` for what references in arguments stand for.
    pub fn resolve_with(&self, secrets: Arc<dyn Secrets>) {
        *self.secrets.borrow_mut() = Some(secrets);
    }

    /// The secret of that name.
    pub fn secret(&self, name: &str) -> Result<String> {
        match &*self.secrets.borrow() {
            Some(secrets) => secrets.get(name),
            None => Err(Error::refused("nothing here resolves secrets").on(name)),
        }
    }

    /// The arguments with their secrets, if they have any. Only what was agreed to gets one.
    fn resolved(&self, args: &[serde_json::Value]) -> Result<Option<Vec<serde_json::Value>>> {
        let is_open = self.gate.borrow().is_open();
        crate::base::secret::resolved(args, &|name| match is_open {
            true => self.secret(name),
            false => Err(Error::refused("a secret leaves only with a call that was agreed to").on(name)),
        })
    }

    /// Whether the bus is another machine's.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// Whether the bus has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// The name the bus gave this connection, for example `:1.42`; none when a recording answers.
    #[must_use]
    pub fn unique_name(&self) -> Option<String> {
        match &self.link {
            Link::Wire(wire) => wire.connection.unique_name().map(ToString::to_string),
            Link::Replay(_) => None,
        }
    }

    /// The recording that answers instead of a bus, if that is so.
    #[must_use]
    pub fn replayed(&self) -> Option<&Recording> {
        match &self.link {
            Link::Wire(_) => None,
            Link::Replay(replay) => Some(replay.recording()),
        }
    }

    /// Notes every call to a service from now on, its reply, and the signals subscribed to, until
    /// [`Bus::stop_recording`].
    pub fn start_recording(&self, recorder: Recorder) {
        *self.recorder.borrow_mut() = Some(recorder);
    }

    /// What was noted since [`Bus::start_recording`].
    pub fn stop_recording(&self) -> Option<Recording> {
        self.recorder.borrow_mut().take().map(Recorder::finish)
    }

    /// Lets the calls a mapping calls safe out while the gate is closed.
    pub fn allow(&self, safe: impl IntoIterator<Item = SafeCall>) {
        self.gate.borrow_mut().allow(safe);
    }

    /// Gives up waiting as soon as `interrupts` is more than none. Not for use while changes are made: nobody would
    /// know what became of a call that was not waited for.
    pub fn stop_when(&self, interrupts: Arc<AtomicUsize>) {
        *self.interrupts.borrow_mut() = interrupts;
    }

    /// Whether waiting is to be given up.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupts.borrow().load(Ordering::Relaxed) > 0
    }

    /// Runs `work` with the gate open, and closes it whatever happens.
    pub fn acting<T>(&self, consent: &Consent, work: impl FnOnce() -> T) -> T {
        self.gate.borrow_mut().open(consent);
        let done = work();
        self.gate.borrow_mut().close();
        done
    }

    /// Makes one call and waits for its reply.
    pub fn call(&self, call: Call) -> Result<Reply> {
        let label = call.label();
        let mut result = None;
        self.pump(vec![((), call)], |(), reply| {
            result = Some(reply);
            Vec::new()
        });
        result.unwrap_or_else(|| Err(Error::failed("no reply was delivered").on(label)))
    }

    /// Receives the signals of `interface` that the owner of `service` sends, from `path` or from any object.
    ///
    /// Subscribe before the call that causes them. Signals of any other sender are ignored, so that nobody can
    /// pretend to be the service.
    pub fn subscribe(&self, service: &str, path: Option<&str>, interface: &str) -> Result<SubscriptionId> {
        let sender =
            if service == super::names::BUS_NAME { service.to_owned() } else { super::names::owner_of(self, service)? };
        let mut rule = format!("type='signal',sender='{service}',interface='{interface}'");
        if let Some(path) = path {
            rule.push_str(&format!(",path='{path}'"));
        }
        self.call(super::names::bus_call("AddMatch", "s", vec![rule.clone().into()]))?;
        self.remember_own(path);
        let mut subscriptions = self.subscriptions.borrow_mut();
        let id = subscriptions.last().map_or(1, |last| last.id + 1);
        subscriptions.push(Subscription {
            id,
            sender,
            rule,
            path: path.map(str::to_owned),
            interface: interface.to_owned(),
        });
        Ok(SubscriptionId(id))
    }

    /// Ends a subscription and forgets what it had not delivered.
    pub fn unsubscribe(&self, id: SubscriptionId) {
        let found = {
            let mut subscriptions = self.subscriptions.borrow_mut();
            let position = subscriptions.iter().position(|s| s.id == id.0);
            position.map(|position| subscriptions.remove(position))
        };
        self.signals.borrow_mut().retain(|(of, _)| *of != id.0);
        if let Some(subscription) = found {
            // A rule that outlives its use costs a few messages; the connection's end removes it.
            let _ = self.call(super::names::bus_call("RemoveMatch", "s", vec![subscription.rule.into()]));
        }
    }

    /// The next signal of any subscription, in order of arrival; `None` when `deadline` passes or the bus goes away.
    pub fn next_signal(&self, deadline: Instant) -> Option<(SubscriptionId, Signal)> {
        loop {
            if let Some((id, signal)) = self.signals.borrow_mut().pop_front() {
                return Some((SubscriptionId(id), signal));
            }
            match self.receive_one(deadline) {
                Received::Message(message) => self.keep_signal(&message),
                Received::Nothing | Received::Closed => return None,
            }
        }
    }

    pub(super) fn keep_signal(&self, message: &Message) {
        if message.message_type() != Type::Signal {
            return;
        }
        self.keep_happening(message);
        let header = message.header();
        let (Some(path), Some(interface), Some(member), Some(sender)) =
            (header.path(), header.interface(), header.member(), header.sender())
        else {
            return;
        };
        let subscriptions = self.subscriptions.borrow();
        let mut is_wanted = false;
        let wanted = subscriptions.iter().filter(|s| {
            s.sender == sender.as_str()
                && s.interface == interface.as_str()
                && s.path.as_deref().is_none_or(|p| p == path.as_str())
        });
        for subscription in wanted {
            is_wanted = true;
            let Ok(args) = value::decode_message(message) else { continue };
            let signal =
                Signal { path: path.to_string(), interface: interface.to_string(), member: member.to_string(), args };
            self.signals.borrow_mut().push_back((subscription.id, signal));
        }
        if let Some(recorder) = self.recorder.borrow_mut().as_mut().filter(|_| is_wanted) {
            recorder.signal(message);
        }
    }

    /// How long `call` may take: what a mapping allows a slow method is no more than a person who said a limit allows.
    pub(super) fn limit(&self, call: &Call) -> Duration {
        match (self.timeout, call.manner.timeout) {
            (Some(asked), Some(own)) => asked.min(own),
            (asked, own) => asked.or(own).unwrap_or(DEFAULT_TIMEOUT),
        }
    }

    pub(super) fn message_for(&self, call: &Call) -> Result<Message> {
        self.gate.borrow().check(call)?;
        let mut builder = Message::method_call(call.path.as_str(), call.member.as_str())
            .destination(call.service.as_str())
            .interface(call.interface.as_str());
        if !call.manner.may_activate {
            builder = builder.with_flags(Flags::NO_AUTO_START);
        }
        let invalid = |error: zbus::Error| {
            Error::bad_input(format!("this is no valid call: {error}"))
                .on(call.label())
                .hint("service, path, interface and member must be valid D-Bus names")
        };
        if call.type_signature.is_empty() && call.args.is_empty() {
            return builder.build(&()).map_err(invalid);
        }
        let types = value::complete_types(&call.type_signature)?;
        let places: Vec<String> = (0..call.args.len()).map(|i| format!("argument {i}")).collect();
        let variants = value::VariantTypes::none();
        let signature = value::body_signature(&types);
        let values = match self.resolved(&call.args)? {
            None => value::encode_body(&call.args, &signature, &places, &variants),
            Some(args) => value::encode_secret_body(&args, &signature, &places, &variants),
        };
        let values = values.map_err(|e| {
            let place = e.subject.clone().unwrap_or_default();
            e.on(format!("{place} of {}", call.label()))
        })?;
        builder.build(&value::to_body(values)?).map_err(invalid)
    }
}

impl Target {
    /// The file of `replay:FILE`.
    #[must_use]
    pub fn replayed(&self) -> Option<&std::path::Path> {
        match self {
            Self::Address(address) => address.strip_prefix("replay:").map(std::path::Path::new),
            _ => None,
        }
    }
}

//! Many calls at once over one connection: sent in batches, a bounded number in flight, replies by serial number.
//!
//! The whole of a pump runs inside one entry into the runtime: entering and leaving it for each message costs more than
//! the message.

use super::call::{self, Refusal};
use super::connection::{Bus, Link, MAX_IN_FLIGHT};
use super::recording::Replay;
use super::wire::Wire;
use super::{Call, Reply, value};
use crate::base::{Error, Kind, Result};
use futures_core::Stream;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};
use zbus::message::Type;
use zbus::{Message, MessageStream};

/// What waiting for a message brought.
pub(super) enum Received {
    Message(Message),
    /// The deadline passed.
    Nothing,
    /// The bus closed the connection.
    Closed,
}

/// How often a wait looks whether somebody asked to stop.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// The next message, or nothing once `limit` has passed.
pub(super) async fn next(stream: &mut MessageStream, limit: &mut Pin<&mut impl Future<Output = ()>>) -> Received {
    poll_fn(|cx| match Pin::new(&mut *stream).poll_next(cx) {
        Poll::Ready(Some(Ok(message))) => Poll::Ready(Received::Message(message)),
        Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Received::Closed),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| Received::Nothing),
    })
    .await
}

/// The error of what was cut off because somebody asked to stop.
pub(super) fn interrupted() -> Error {
    Error::failed("interrupted")
}

struct Pending<T> {
    tag: T,
    call: Call,
    deadline: Instant,
}

/// Calls that wait and calls that are under way.
struct Pump<'a, T, F> {
    bus: &'a Bus,
    waiting: VecDeque<(T, Call)>,
    in_flight: HashMap<u32, Pending<T>>,
    on_reply: F,
}

impl Bus {
    /// Makes calls, [`MAX_IN_FLIGHT`] at a time; each reply may ask for more. Returns when none is left.
    ///
    /// `tag` comes back with the reply it belongs to; replies arrive in the service's order. `on_reply` only looks and
    /// says what to ask next: it must not use the bus itself.
    pub fn pump<T>(&self, first: Vec<(T, Call)>, on_reply: impl FnMut(T, Result<Reply>) -> Vec<(T, Call)>) {
        let in_flight = HashMap::with_capacity(MAX_IN_FLIGHT);
        let mut pump = Pump { bus: self, waiting: first.into(), in_flight, on_reply };
        match &self.link {
            Link::Wire(wire) => {
                let mut stream = wire.stream.borrow_mut();
                zbus::block_on(pump.run(wire, &mut stream));
            }
            Link::Replay(replay) => pump.replay(replay),
        }
    }

    /// Waits for one message until `deadline`.
    pub(super) fn receive_one(&self, deadline: Instant) -> Received {
        match &self.link {
            Link::Wire(wire) => {
                let mut stream = wire.stream.borrow_mut();
                zbus::block_on(self.receive(wire, &mut stream, deadline))
            }
            // Everything a recording has to say was said with the call.
            Link::Replay(_) => Received::Closed,
        }
    }

    async fn receive(&self, wire: &Wire, stream: &mut MessageStream, deadline: Instant) -> Received {
        loop {
            let now = Instant::now();
            let mut limit = pin!(wire.runtime.sleep_until(deadline.min(now + self.glance.get())));
            match next(stream, &mut limit).await {
                Received::Nothing if now < deadline && !self.is_interrupted() => {}
                received => {
                    self.is_closed.set(self.is_closed.get() || matches!(received, Received::Closed));
                    return received;
                }
            }
        }
    }
}

impl<T, F: FnMut(T, Result<Reply>) -> Vec<(T, Call)>> Pump<'_, T, F> {
    /// Answers every call from a recording.
    fn replay(&mut self, replay: &Replay) {
        while let Some((tag, call)) = self.waiting.pop_front() {
            let message = self.bus.message_for(&call);
            match message.and_then(|message| Ok((replay.answer(&call, &message)?, message))) {
                Ok((answers, message)) => {
                    let serial = message.primary_header().serial_num().get();
                    self.note(serial, &call);
                    self.in_flight.insert(serial, Pending { tag, call, deadline: Instant::now() });
                    answers.iter().for_each(|answer| self.deliver(answer));
                }
                Err(error) => self.answer(tag, Err(error)),
            }
        }
    }

    async fn run(&mut self, wire: &Wire, stream: &mut MessageStream) {
        loop {
            // Refilling by halves lets one write carry many calls.
            if self.in_flight.len() <= MAX_IN_FLIGHT / 2 && !self.waiting.is_empty() {
                self.send(wire).await;
            }
            let Some(deadline) = self.in_flight.values().map(|pending| pending.deadline).min() else {
                if self.waiting.is_empty() {
                    return;
                }
                continue;
            };
            // The timer is set once for a batch, not once for each message.
            let mut limit = pin!(wire.runtime.sleep_until(deadline.min(Instant::now() + GLANCE)));
            loop {
                match next(stream, &mut limit).await {
                    Received::Message(message) => self.deliver(&message),
                    Received::Nothing => {
                        if self.bus.is_interrupted() {
                            self.waiting.clear();
                            self.fail_all(&interrupted());
                            self.waiting.clear();
                            return;
                        }
                        self.give_up_on_late();
                        break;
                    }
                    Received::Closed => {
                        self.bus.is_closed.set(true);
                        self.fail_all(&Error::new(Kind::Unavailable, "the bus closed the connection"));
                    }
                }
                // A refill may bring calls that are due earlier: then the timer is set again.
                let wants_refill = self.in_flight.len() <= MAX_IN_FLIGHT / 2 && !self.waiting.is_empty();
                if wants_refill || self.in_flight.is_empty() {
                    break;
                }
            }
        }
    }

    async fn send(&mut self, wire: &Wire) {
        let mut batch = Vec::with_capacity(MAX_IN_FLIGHT);
        while self.in_flight.len() < MAX_IN_FLIGHT {
            let Some((tag, call)) = self.waiting.pop_front() else { break };
            match self.bus.message_for(&call) {
                Ok(message) => {
                    let deadline = Instant::now() + self.bus.limit(&call);
                    let serial = message.primary_header().serial_num().get();
                    self.note(serial, &call);
                    self.in_flight.insert(serial, Pending { tag, call, deadline });
                    batch.push(message);
                }
                Err(error) => self.answer(tag, Err(error)),
            }
        }
        if let Err(error) = wire.connection.send_all(&batch).await {
            self.fail_all(&Error::new(Kind::Unavailable, format!("could not send to the bus: {error}")));
        }
    }

    fn note(&self, serial: u32, call: &Call) {
        if let Some(recorder) = self.bus.recorder.borrow_mut().as_mut() {
            recorder.sent(serial, call);
        }
    }

    fn deliver(&mut self, message: &Message) {
        let Some(serial) = message.header().reply_serial() else {
            self.bus.keep_signal(message);
            return;
        };
        if let Some(pending) = self.in_flight.remove(&serial.get()) {
            if let Some(recorder) = self.bus.recorder.borrow_mut().as_mut() {
                recorder.answered(serial.get(), message);
            }
            let reply = reply_of(&pending.call, message, self.bus.is_remote());
            self.answer(pending.tag, reply);
        }
    }

    fn give_up_on_late(&mut self) {
        let now = Instant::now();
        let late: Vec<u32> =
            self.in_flight.iter().filter(|(_, pending)| pending.deadline <= now).map(|(serial, _)| *serial).collect();
        for serial in late {
            if let Some(pending) = self.in_flight.remove(&serial) {
                let limit = self.bus.limit(&pending.call);
                let error = Error::new(Kind::Timeout, format!("no reply within {limit:?}"))
                    .on(pending.call.label())
                    .hint("allow more time with --timeout");
                self.answer(pending.tag, Err(error));
            }
        }
    }

    /// What is left to send fails the same way, at once, when its turn comes.
    fn fail_all(&mut self, error: &Error) {
        for (_, pending) in std::mem::take(&mut self.in_flight) {
            self.answer(pending.tag, Err(error.clone().on(pending.call.label())));
        }
    }

    fn answer(&mut self, tag: T, reply: Result<Reply>) {
        self.waiting.extend((self.on_reply)(tag, reply));
    }
}

fn reply_of(call: &Call, message: &Message, is_remote: bool) -> Result<Reply> {
    let values = value::decode_message(message).map_err(|error| error.or_on(call.label()))?;
    if message.message_type() == Type::Error {
        let header = message.header();
        let name = header.error_name().map_or("unknown", |name| name.as_str());
        let text = values.first().and_then(serde_json::Value::as_str).unwrap_or_default();
        let refusal = Refusal {
            is_by_bus: header.sender().is_some_and(|sender| sender.as_str() == super::names::BUS_NAME),
            // Who one is on another machine is not known here.
            is_to_root: !is_remote && rustix::process::geteuid().is_root(),
        };
        return Err(call::error_of_reply(&call.label(), name, text, refusal));
    }
    Ok(Reply { values, message: message.clone() })
}

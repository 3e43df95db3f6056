//! Answering from a recording. Nothing is made up: what was never recorded is an error that says so.

use super::super::Call;
use super::super::names::BUS_NAME;
use super::{INTROSPECTABLE, MAX_BYTES, PROPERTIES, RecordedCall, RecordedError, Recording, Values, body, bus};
use crate::base::{Error, Kind, Result};
use crate::store::file;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use zbus::Message;

/// What comes back from one call.
pub(super) enum Answer {
    Reply(Values),
    Error(RecordedError),
}

/// A recording, ready to answer.
pub struct Replay {
    recording: Recording,
    name: String,
    /// Positions of each call by what it looks like on the wire, so that only the very same call is it, and how many of
    /// them were asked for.
    calls: HashMap<Wire, (Vec<usize>, Cell<usize>)>,
    described: BTreeMap<String, usize>,
    /// Typed values by object path, interface and property, from every reply that holds properties.
    properties: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// Interface set of every object that an object manager listed.
    managed: BTreeMap<String, BTreeSet<String>>,
    /// Every object path that is spoken of.
    paths: BTreeSet<String>,
    /// The service, and others that were asked for it.
    services: BTreeSet<String>,
}

/// Service, path, interface, member, type signature and bytes of a call.
type Wire = ([String; 5], Vec<u8>);

impl Replay {
    /// Reads the recording in `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let text = file::read_up_to(path, MAX_BYTES)?.ok_or_else(|| {
            Error::new(Kind::Unavailable, "there is no such recording")
                .on(name.clone())
                .hint("make one with op-discover record SERVICE --output FILE")
        })?;
        Self::new(Recording::parse(&text, &name)?, &name)
    }

    /// Answers from `recording`, which errors call `name`.
    pub fn new(recording: Recording, name: &str) -> Result<Self> {
        let mut replay = Self {
            name: name.to_owned(),
            calls: HashMap::new(),
            described: BTreeMap::new(),
            properties: BTreeMap::new(),
            managed: BTreeMap::new(),
            paths: BTreeSet::new(),
            services: BTreeSet::from([recording.service.clone()]),
            recording,
        };
        for (position, described) in replay.recording.introspection.iter().enumerate() {
            for path in &described.paths {
                replay.described.entry(path.clone()).or_insert(position);
            }
        }
        for (position, call) in replay.recording.calls.iter().enumerate() {
            let service = call.service.as_ref().unwrap_or(&replay.recording.service);
            let wire = wire(service, &call.request(&super::at("calls", position))?);
            replay.services.insert(service.clone());
            replay.calls.entry(wire).or_default().0.push(position);
        }
        replay.learn_properties();
        let known = replay.described.keys().chain(replay.managed.keys()).chain(replay.properties.keys());
        replay.paths = known.cloned().chain(replay.own_calls().map(|call| call.path.clone())).collect();
        Ok(replay)
    }

    /// The recording itself.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    fn own_calls(&self) -> impl Iterator<Item = &RecordedCall> {
        self.recording.calls.iter().filter(|call| call.service.is_none())
    }

    fn learn_properties(&mut self) {
        let calls: Vec<RecordedCall> = self.own_calls().filter(|call| holds_properties(call)).cloned().collect();
        for call in calls.iter().filter(|call| call.is(PROPERTIES, "GetAll")) {
            if let (Some(Value::Object(values)), Some(interface)) =
                (call.single(), call.args.first().and_then(Value::as_str))
            {
                let of_path = self.properties.entry(call.path.clone()).or_default();
                of_path.entry(interface.to_owned()).or_insert_with(|| values.clone());
            }
        }
        for (path, interfaces) in calls.iter().filter_map(RecordedCall::managed).flatten() {
            let Some(interfaces) = interfaces.as_object() else { continue };
            self.managed.insert(path.clone(), interfaces.keys().cloned().collect());
            let of_path = self.properties.entry(path.clone()).or_default();
            for (interface, values) in interfaces {
                let values = values.as_object().cloned().unwrap_or_default();
                of_path.entry(interface.clone()).or_insert(values);
            }
        }
    }

    /// What comes back from `call`, which `message` is: the reply, then its signals.
    pub fn answer(&self, call: &Call, message: &Message) -> Result<Vec<Message>> {
        let own = &self.recording.service;
        let service = if call.service == bus::OWNER { own } else { &call.service };
        let answer = if call.service == BUS_NAME {
            bus::answer(&self.services, call)
        } else if let Some((positions, asked)) = self.calls.get(&wire(service, message)) {
            // One answer after the other, as they came, and then the last one again and again.
            let at = asked.get().min(positions.len() - 1);
            asked.set(at + 1);
            return self.recorded(positions[at], message);
        } else if service == own {
            self.derived(call)
        } else if self.services.contains(service) {
            None
        } else {
            return Err(Error::new(Kind::Unavailable, format!("the recording is of {own} alone"))
                .on(call.label())
                .hint(format!("record that one as well: op-discover record {service}")));
        };
        let answer = answer.ok_or_else(|| self.never_recorded(call))?;
        Ok(vec![reply(&answer, message, &call.label())?])
    }

    fn recorded(&self, position: usize, message: &Message) -> Result<Vec<Message>> {
        let call = &self.recording.calls[position];
        let place = format!("{}: {}", self.name, super::at("calls", position));
        let answer = match (&call.reply, &call.error) {
            (Some(values), _) => Answer::Reply(values.clone()),
            (None, Some(error)) => Answer::Error(error.clone()),
            (None, None) => return Err(Error::bad_input("a call has a reply or an error, one of them").on(place)),
        };
        let mut messages = vec![reply(&answer, message, &place)?];
        for signal in &call.signals {
            messages.push(signal.message(call, &place)?);
        }
        Ok(messages)
    }

    /// The answer to a call that was not made itself, but whose answer is part of others.
    fn derived(&self, call: &Call) -> Option<Answer> {
        let text = |position: usize| call.args.get(position).and_then(Value::as_str);
        let (type_signature, value) = match (call.interface.as_str(), call.member.as_str()) {
            (INTROSPECTABLE, "Introspect") => ("s", json!(self.introspection(&call.path)?)),
            (PROPERTIES, "GetAll") => ("a{sv}", json!(self.properties.get(&call.path)?.get(text(0)?)?)),
            (PROPERTIES, "Get") => {
                ("v", self.properties.get(&call.path)?.get(text(0)?)?.get(&super::escaped(text(1)?))?.clone())
            }
            ("org.freedesktop.DBus.Peer", "Ping") => return Some(Answer::Reply(Values::default())),
            _ => return None,
        };
        Some(Answer::Reply(Values { type_signature: type_signature.into(), values: vec![value] }))
    }

    /// What the object said of itself; or what another said that its manager lists with the same interfaces; or, for
    /// a path on the way to recorded objects, that they are there.
    fn introspection(&self, path: &str) -> Option<String> {
        let text = |position: &usize| self.recording.introspection[*position].xml.join("\n");
        if let Some(position) = self.described.get(path) {
            return Some(text(position));
        }
        if let Some(interfaces) = self.managed.get(path) {
            let mut alike = self.managed.iter().filter(|(_, set)| *set == interfaces);
            return alike.find_map(|(other, _)| self.described.get(other)).map(text);
        }
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.paths.range(prefix.clone()..).take_while(|known| known.starts_with(&prefix));
        let children: BTreeSet<&str> =
            below.filter_map(|known| known[prefix.len()..].split('/').next()).filter(|name| !name.is_empty()).collect();
        (path == "/" || !children.is_empty()).then(|| super::node_of(children.into_iter()))
    }

    fn never_recorded(&self, call: &Call) -> Error {
        let args: Vec<String> = call.args.iter().map(Value::to_string).collect();
        let named = match (call.interface.as_str(), call.args.as_slice()) {
            (PROPERTIES, [Value::String(interface), Value::String(property)]) => format!("{interface}.{property}"),
            _ => format!("{}.{}", call.interface, call.member),
        };
        let left_out = self.recording.left_out.iter().find(|left| left.what.ends_with(&named));
        let message = match left_out {
            Some(left) => format!("this was left out of the recording: {}", left.why),
            None => "this call was never recorded".to_owned(),
        };
        let plugin = self.recording.plugin.as_ref().map(|name| format!(" --plugin {name}")).unwrap_or_default();
        Error::new(Kind::Unavailable, format!("{message}; {} can only repeat what was", self.name))
            .on(format!("{}({})", call.label(), args.join(", ")))
            .hint(format!(
                "where the service is, record again with what asks for it: op-discover record {}{plugin} [--document FILE]",
                self.recording.service
            ))
    }
}

fn holds_properties(call: &RecordedCall) -> bool {
    call.is(PROPERTIES, "GetAll") || call.managed().is_some()
}

fn wire(service: &str, message: &Message) -> Wire {
    let header = message.header();
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let body = message.body();
    let names = [
        service.to_owned(),
        text(header.path().map(|path| path.as_str())),
        text(header.interface().map(|name| name.as_str())),
        text(header.member().map(|name| name.as_str())),
        body.signature().to_string(),
    ];
    (names, body.data().bytes().to_vec())
}

fn reply(answer: &Answer, to: &Message, place: &str) -> Result<Message> {
    let header = to.header();
    let built = match answer {
        Answer::Reply(values) => {
            let body = body(&values.type_signature, &values.values, place)?;
            Message::method_return(&header).sender(bus::OWNER).build(&body)
        }
        Answer::Error(error) => {
            Message::error(&header, error.name.as_str()).sender(bus::OWNER).build(&(error.message.as_str(),))
        }
    };
    built.map_err(|error| Error::bad_input(format!("this cannot be sent: {error}")).on(place))
}

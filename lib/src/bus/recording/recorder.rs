//! Noting what leaves and what comes back.

use super::super::names::BUS_NAME;
use super::super::walk::is_standard;
use super::super::{Call, introspection, value};
use super::hidden::{self, Hidden};
use super::{Described, INTROSPECTABLE, LeftOut, RecordedCall, RecordedError, RecordedSignal, Recording};
use super::{MAX_BYTES, MAX_DEPTH, OBJECT_MANAGER, Values, body, is_shallow};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use zbus::Message;
use zbus::message::Type;

/// Notes the calls to a service, and those to others that are made for it. Of the bus itself nothing is noted.
#[derive(Debug)]
pub struct Recorder {
    service: String,
    hidden: Vec<Hidden>,
    calls: Vec<Noted>,
    by_serial: HashMap<u32, usize>,
    left_out: BTreeSet<LeftOut>,
    bytes: u64,
}

#[derive(Debug)]
struct Noted {
    call: RecordedCall,
    answered: bool,
}

impl Recorder {
    /// Notes what is asked of `service`, and nothing of what is in `hidden`.
    #[must_use]
    pub fn new(service: &str, hidden: Vec<Hidden>) -> Self {
        Self {
            service: service.to_owned(),
            hidden,
            calls: Vec::new(),
            by_serial: HashMap::new(),
            left_out: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(in crate::bus) fn sent(&mut self, serial: u32, call: &Call) {
        if call.service == BUS_NAME {
            return;
        }
        let call = RecordedCall {
            service: (call.service != self.service).then(|| call.service.clone()),
            path: call.path.clone(),
            interface: call.interface.clone(),
            member: call.member.clone(),
            type_signature: call.type_signature.clone(),
            args: call.args.clone(),
            reply: None,
            error: None,
            signals: Vec::new(),
        };
        self.by_serial.insert(serial, self.calls.len());
        self.calls.push(Noted { call, answered: false });
    }

    pub(in crate::bus) fn answered(&mut self, serial: u32, message: &Message) {
        let Some(position) = self.by_serial.remove(&serial) else { return };
        let call = &self.calls[position].call;
        let label = format!("{} {}.{}", call.path, call.interface, call.member);
        if let Some(hidden) = hidden::asked_for(&self.hidden, call) {
            self.left_out.insert(hidden.left_out());
            return;
        }
        let decoded = self.take_bytes(message).then(|| value::decode_message_typed(message));
        let (type_signature, mut values) = match decoded {
            Some(Ok(decoded)) => decoded,
            Some(Err(error)) => return self.leave_out(label, &error.message),
            None => return self.leave_out(label, "the recording is too large"),
        };
        if message.message_type() == Type::Error {
            let name = message.header().error_name().map_or_else(String::new, |name| name.to_string());
            let text = values.first().and_then(Value::as_str).unwrap_or_default().to_owned();
            let noted = &mut self.calls[position];
            noted.call.error = Some(RecordedError { name, message: text });
            noted.answered = true;
            return;
        }
        // What cannot be given back exactly, such as a file descriptor, is better not there than nearly right.
        if let Err(error) = body(&type_signature, &values, &label) {
            return self.leave_out(label, &error.message);
        }
        if !values.iter().all(|value| is_shallow(value, MAX_DEPTH)) {
            return self.leave_out(label, "its reply is nested deeper than a document can be");
        }
        self.left_out.extend(hidden::take_out(&self.hidden, &self.calls[position].call, &mut values));
        let noted = &mut self.calls[position];
        noted.call.reply = Some(Values { type_signature, values });
        noted.answered = true;
    }

    /// Notes a signal with the call that it follows: the last one on its object, or else the last one at all.
    pub(in crate::bus) fn signal(&mut self, message: &Message) {
        let header = message.header();
        let (Some(path), Some(interface), Some(member)) = (header.path(), header.interface(), header.member()) else {
            return;
        };
        if interface.as_str().starts_with("org.freedesktop.DBus") {
            return;
        }
        let label = format!("{} {interface}.{member}", path.as_str());
        let is_hidden = self.hidden.iter().any(|hidden| hidden.is_member(interface.as_str(), member.as_str()));
        let decoded =
            if is_hidden || !self.take_bytes(message) { None } else { value::decode_message_typed(message).ok() };
        let fits = |args: &[Value]| args.iter().all(|value| is_shallow(value, MAX_DEPTH));
        let decoded = decoded.filter(|(types, args)| fits(args) && body(types, args, &label).is_ok());
        let Some((type_signature, args)) = decoded else {
            return self.leave_out(label, "the signal could not be kept");
        };
        let on_object = self.calls.iter().rposition(|noted| noted.call.path == path.as_str());
        let Some(position) = on_object.or_else(|| self.calls.len().checked_sub(1)) else { return };
        let call = &mut self.calls[position].call;
        let unless = |same: bool, text: &str| (!same).then(|| text.to_owned());
        call.signals.push(RecordedSignal {
            path: unless(call.path == path.as_str(), path.as_str()),
            interface: unless(call.interface == interface.as_str(), interface.as_str()),
            member: member.to_string(),
            type_signature,
            args,
        });
    }

    /// The recording of what was noted. The caller adds when it was made, and for which plugin.
    #[must_use]
    pub fn finish(mut self) -> Recording {
        let unanswered =
            self.calls.iter().filter(|noted| !noted.answered && hidden::asked_for(&self.hidden, &noted.call).is_none());
        let unanswered =
            unanswered.map(|Noted { call, .. }| format!("{} {}.{}", call.path, call.interface, call.member));
        for what in unanswered.collect::<BTreeSet<_>>() {
            if !self.left_out.iter().any(|left| left.what == what) {
                self.left_out.insert(LeftOut { what, why: "no reply came".into() });
            }
        }
        let mut calls: Vec<RecordedCall> = std::mem::take(&mut self.calls)
            .into_iter()
            .filter(|noted| noted.answered)
            .map(|noted| noted.call)
            .collect();
        calls.retain(|call| {
            let is_said = hidden::is_said_by(&self.hidden, call);
            if is_said {
                let what = format!("{}.{}", call.interface, call.member);
                self.left_out.insert(LeftOut { what, why: "it says a secret of a document or a mapping".into() });
            }
            !is_said
        });
        one_object_of_each_factory(&mut calls);
        let repeated = repeated(&calls);
        let mut seen = BTreeSet::new();
        let mut introspection: BTreeMap<String, Vec<String>> = BTreeMap::new();
        calls.retain(|call| {
            let identity = identity(call);
            if !repeated.contains(&identity) && !seen.insert(identity) {
                return false;
            }
            let is_own = call.service.is_none() && call.is(INTROSPECTABLE, "Introspect");
            let xml = call.single().and_then(Value::as_str).filter(|_| is_own);
            if let Some(xml) = xml {
                let xml = bare(xml).unwrap_or_else(|| xml.to_owned());
                introspection.entry(xml).or_default().push(call.path.clone());
            }
            xml.is_none()
        });
        let lines = |xml: &str| xml.split('\n').map(str::to_owned).collect();
        let mut introspection: Vec<Described> =
            introspection.into_iter().map(|(xml, paths)| Described { paths, xml: lines(&xml) }).collect();
        introspection.iter_mut().for_each(|described| described.paths.sort());
        introspection.sort_by(|a, b| a.paths.cmp(&b.paths));
        Recording {
            kind: "recording".into(),
            version: 1,
            service: self.service,
            time: None,
            plugin: None,
            left_out: self.left_out.into_iter().collect(),
            introspection,
            calls,
        }
    }

    /// Whether there is room for `message`.
    fn take_bytes(&mut self, message: &Message) -> bool {
        // JSON is a few times longer than the wire.
        self.bytes = self.bytes.saturating_add(message.data().bytes().len() as u64);
        self.bytes < MAX_BYTES / 4
    }

    fn leave_out(&mut self, what: String, why: &str) {
        self.left_out.insert(LeftOut { what, why: why.to_owned() });
    }
}

/// What makes two calls the same: service, object path, interface, member, type signature, arguments.
type Identity = [String; 6];

fn identity(call: &RecordedCall) -> Identity {
    let args = Value::Array(call.args.clone()).to_string();
    let service = call.service.clone().unwrap_or_default();
    [service, call.path.clone(), call.interface.clone(), call.member.clone(), call.type_signature.clone(), args]
}

/// The calls that were answered differently each time, all of which are kept in order. What shows properties shows one
/// moment, the first: nothing was changed meanwhile, and clocks and counters that went on tell nothing.
fn repeated(calls: &[RecordedCall]) -> BTreeSet<Identity> {
    let mut first: BTreeMap<Identity, &RecordedCall> = BTreeMap::new();
    let mut differ = BTreeSet::new();
    let is_moment = |call: &RecordedCall| is_standard(&call.interface);
    for call in calls.iter().filter(|call| !is_moment(call)) {
        let identity = identity(call);
        match first.get(&identity) {
            Some(known)
                if (&known.reply, &known.error, &known.signals) != (&call.reply, &call.error, &call.signals) =>
            {
                differ.insert(identity);
            }
            Some(_) => {}
            None => drop(first.insert(identity, call)),
        }
    }
    differ
}

/// The children alone, of an object that is there only for them: what all objects say fills pages and says nothing.
fn bare(xml: &str) -> Option<String> {
    let node = introspection::parse(xml).ok()?;
    let is_plain = |name: &String| is_standard(name) && name != OBJECT_MANAGER;
    let is_bare = node.interfaces.keys().all(is_plain) && node.inline.is_empty();
    is_bare.then(|| super::node_of(node.children.iter().map(String::as_str)))
}

/// A method that returned another object each time it was called makes one for each use. In the recording all of them
/// are the first: whoever replays it gets that one, and finds there what was done with any.
fn one_object_of_each_factory(calls: &mut [RecordedCall]) {
    let mut made: BTreeMap<Identity, Vec<String>> = BTreeMap::new();
    for call in calls.iter() {
        let is_path = call.reply.as_ref().is_some_and(|reply| reply.type_signature == "o");
        if let (true, Some(Value::String(path))) = (is_path, call.single()) {
            let paths = made.entry(identity(call)).or_default();
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
    }
    let first: BTreeMap<String, String> = made
        .into_values()
        .filter(|paths| paths.len() > 1)
        .flat_map(|paths| paths[1..].iter().map(|path| (path.clone(), paths[0].clone())).collect::<Vec<_>>())
        .collect();
    let rename = |path: &mut String| {
        if let Some(other) = first.get(path.as_str()) {
            path.clone_from(other);
        }
    };
    for call in calls {
        rename(&mut call.path);
        call.signals.iter_mut().filter_map(|signal| signal.path.as_mut()).for_each(rename);
        let reply = call.reply.as_mut().filter(|reply| reply.type_signature == "o");
        if let Some(Value::String(path)) = reply.and_then(|reply| reply.values.first_mut()) {
            rename(path);
        }
    }
}

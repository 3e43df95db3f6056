//! The large service for measuring walks: as fast as a service can be, so that what is measured is the walker.
//!
//! Every reply's body is made before the first call; serving is parsing a header, copying a body, and patching numbers.
//! One thread reads many calls at once and writes their replies at once.
//!
//! ```text
//! /org/op/Synth              ObjectManager, when asked for
//!   g00 .. g39               40 groups
//!     o0000 ..               objects: 3 interfaces of 10 properties each
//! ```

use super::value::Val;
use super::wire::{Connection, Message, encode, kind, message_length};
use super::xml::STANDARD;
use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::rc::Rc;

/// The bus name of the service, unless told otherwise.
pub const SERVICE: &str = "org.op.Synth";
/// The object that has the others below it.
pub const ROOT: &str = "/org/op/Synth";
/// Groups that the objects are in.
pub const GROUPS: usize = 40;
/// The interfaces of every object.
pub const INTERFACES: [&str; 3] = ["org.op.Synth.Alpha", "org.op.Synth.Beta", "org.op.Synth.Gamma"];
/// The longest message a bus takes by default.
const MAX_BODY: usize = (32 << 20) - 1024;
const MANAGER_XML: &str = "<interface name=\"org.freedesktop.DBus.ObjectManager\"><method name=\"GetManagedObjects\"><arg name=\"objects\" type=\"a{oa{sa{sv}}}\" direction=\"out\"/></method></interface>";

/// The path of the object number `n`.
#[must_use]
pub fn object_path(n: usize) -> String {
    format!("{ROOT}/g{:02}/o{n:04}", n % GROUPS)
}

/// The properties of one interface of object number `n`.
#[must_use]
pub fn properties(n: usize, interface: usize) -> Vec<(&'static str, Val)> {
    let number = u32::try_from(n * INTERFACES.len() + interface).unwrap_or(0);
    let variant = |value| Val::V(Box::new(value));
    let options =
        vec![Val::entry(Val::s("mode"), variant(Val::s("auto"))), Val::entry(Val::s("limit"), variant(Val::U(number)))];
    vec![
        ("Name", Val::S(format!("object {n} of {}", INTERFACES[interface]))),
        ("Count", Val::U(number)),
        ("Enabled", Val::B(n.is_multiple_of(2))),
        ("SizeBytes", Val::T(u64::from(number) << 34)),
        ("Ratio", Val::D(f64::from(number) / 8.0)),
        ("Tags", Val::strings(["one", "two", "three"])),
        ("Offset", Val::I(-i32::try_from(n).unwrap_or(0))),
        ("Peer", Val::O(object_path(n / 2))),
        ("Options", Val::A("{sv}".into(), options)),
        ("Pair", Val::R(vec![Val::s("left"), Val::U(number)])),
    ]
}

/// A reply's body, and its type signature.
#[derive(Debug)]
struct Body {
    signature: &'static str,
    bytes: Vec<u8>,
}

/// An object, or a path with objects below it.
#[derive(Debug)]
struct Place {
    xml: Rc<Body>,
    /// The number of the object, if it is one.
    number: Option<usize>,
}

#[derive(Debug)]
struct Server {
    places: HashMap<Vec<u8>, Place>,
    /// `GetAll` by object number and interface.
    values: Vec<Body>,
    managed: Option<Body>,
    serial: u32,
}

/// Serves `objects` objects as `name` until the bus is gone. `ready` is called once the name is owned.
pub fn serve(address: &str, name: &str, objects: usize, has_manager: bool, ready: impl FnOnce(&str)) -> Result<()> {
    let mut server = Server::new(objects, has_manager);
    let mut connection = Connection::open(address)?;
    connection.request_name(name)?;
    ready(name);
    // Calls may have come with the name.
    let mut incoming = connection.take_unread();
    let (mut start, mut end) = (0, incoming.len());
    incoming.resize(1 << 20, 0);
    let stream = &mut connection.stream;
    let mut outgoing = Vec::with_capacity(1 << 20);
    server.serial = 1000;
    loop {
        while let Some(length) = message_length(&incoming[start..end])? {
            let Some(message) = incoming[start..end].get(..length) else { break };
            server.answer(message, &mut outgoing);
            start += length;
        }
        stream.write_all(&outgoing)?;
        outgoing.clear();
        if start > 0 {
            incoming.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
        if end == incoming.len() {
            incoming.resize(end * 2, 0);
        }
        let count = stream.read(&mut incoming[end..])?;
        if count == 0 {
            return Ok(());
        }
        end += count;
    }
}

impl Server {
    fn new(objects: usize, has_manager: bool) -> Self {
        let mut places = HashMap::new();
        let mut values = Vec::with_capacity(objects * INTERFACES.len());
        let mut managed = Vec::new();
        let object_xml = xml(&[], &interfaces_xml());
        let mut groups: Vec<Vec<String>> = vec![Vec::new(); GROUPS.min(objects)];
        for number in 0..objects {
            let path = object_path(number);
            groups[number % GROUPS].push(path[path.len() - path.rsplit('/').next().map_or(0, str::len)..].to_owned());
            let mut interfaces = Vec::new();
            for (interface, name) in INTERFACES.iter().enumerate() {
                let entry = |(name, value)| Val::entry(Val::s(name), Val::V(Box::new(value)));
                let all = Val::A("{sv}".into(), properties(number, interface).into_iter().map(entry).collect());
                values.push(Body { signature: "a{sv}", bytes: encode(std::slice::from_ref(&all)) });
                if has_manager {
                    interfaces.push(Val::entry(Val::s(name), all));
                }
            }
            if has_manager {
                managed.push(Val::entry(Val::O(path.clone()), Val::A("{sa{sv}}".into(), interfaces)));
            }
            places.insert(path.into_bytes(), Place { xml: object_xml.clone(), number: Some(number) });
        }
        for (number, group) in groups.iter().enumerate() {
            let path = format!("{ROOT}/g{number:02}").into_bytes();
            places.insert(path, Place { xml: xml(group, ""), number: None });
        }
        let groups: Vec<String> = (0..groups.len()).map(|number| format!("g{number:02}")).collect();
        let manager = if has_manager { MANAGER_XML } else { "" };
        places.insert(ROOT.as_bytes().to_vec(), Place { xml: xml(&groups, manager), number: None });
        for (path, child) in [("/", "org"), ("/org", "op"), ("/org/op", "Synth")] {
            places.insert(path.as_bytes().to_vec(), Place { xml: xml(&[child.to_owned()], ""), number: None });
        }
        let managed = has_manager
            .then(|| Body { signature: "a{oa{sa{sv}}}", bytes: encode(&[Val::A("{oa{sa{sv}}}".into(), managed)]) });
        Self { places, values, managed, serial: 0 }
    }

    fn answer(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if message[1] != kind::CALL || message[2] & super::wire::NO_REPLY != 0 {
            return;
        }
        let head = Head::of(message);
        self.serial = self.serial.wrapping_add(1).max(1000);
        let place = self.places.get(head.path);
        let body = match (head.interface, head.member, place) {
            (b"org.freedesktop.DBus.Introspectable" | b"", b"Introspect", Some(place)) => Some(&*place.xml),
            (b"org.freedesktop.DBus.Properties" | b"", b"GetAll", Some(Place { number: Some(number), .. })) => {
                let interface = INTERFACES.iter().position(|name| name.as_bytes() == head.first_text());
                interface.map(|interface| &self.values[number * INTERFACES.len() + interface])
            }
            (b"org.freedesktop.DBus.ObjectManager" | b"", b"GetManagedObjects", Some(_))
                if head.path == ROOT.as_bytes() =>
            {
                self.managed.as_ref().filter(|body| body.bytes.len() <= MAX_BODY)
            }
            _ => None,
        };
        match body {
            Some(body) => reply(out, self.serial, &head, body),
            // What walks do not do may be slow.
            None => self.rarely(message, out),
        }
    }

    fn rarely(&self, message: &[u8], out: &mut Vec<u8>) {
        let Ok(call) = Message::parse(message) else { return };
        let number = self.places.get(call.path.as_bytes()).and_then(|place| place.number);
        let text = |at: usize| call.body.get(at).and_then(Val::text).unwrap_or_default();
        let interface = INTERFACES.iter().position(|name| *name == text(0));
        let mut reply = match (call.member.as_str(), number, interface) {
            ("Ping", _, _) => call.reply(Vec::new()),
            ("GetMachineId", _, _) => call.reply(vec![Val::s(&"0".repeat(32))]),
            ("Get", Some(number), Some(interface)) => {
                let mut all = properties(number, interface).into_iter();
                match all.find(|(name, _)| *name == text(1)) {
                    Some((_, value)) => call.reply(vec![Val::V(Box::new(value))]),
                    None => call.refuse("org.freedesktop.DBus.Error.UnknownProperty", "there is no such property"),
                }
            }
            ("GetAll", _, None) if text(0).starts_with("org.freedesktop.DBus") || text(0).is_empty() => {
                call.reply(vec![Val::A("{sv}".into(), Vec::new())])
            }
            ("Set", Some(_), Some(_)) => {
                call.refuse("org.freedesktop.DBus.Error.PropertyReadOnly", "everything here is read-only")
            }
            ("GetManagedObjects", _, _) if self.managed.is_some() => {
                call.refuse("org.freedesktop.DBus.Error.LimitsExceeded", "the answer is longer than a message may be")
            }
            _ => call.refuse("org.freedesktop.DBus.Error.UnknownMethod", "there is no such method here"),
        };
        reply.serial = self.serial;
        out.extend(reply.bytes());
    }
}

fn reply(out: &mut Vec<u8>, serial: u32, head: &Head<'_>, body: &Body) {
    let start = out.len();
    let signature = body.signature.as_bytes();
    out.extend([b'l', kind::REPLY, super::wire::NO_REPLY, 1]);
    out.extend(u32::try_from(body.bytes.len()).unwrap_or(0).to_le_bytes());
    out.extend(serial.to_le_bytes());
    out.extend([0; 4]);
    out.extend([5, 1, b'u', 0]);
    out.extend(head.serial);
    out.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(0)]);
    out.extend(signature);
    out.push(0);
    // A message starts where the last one's body ended, which need not be a multiple of 8 in the buffer.
    let align = |out: &mut Vec<u8>| out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    align(out);
    out.extend([6, 1, b's', 0]);
    out.extend(u32::try_from(head.sender.len()).unwrap_or(0).to_le_bytes());
    out.extend(head.sender);
    out.push(0);
    let fields = u32::try_from(out.len() - start - 16).unwrap_or(0).to_le_bytes();
    out[start + 12..start + 16].copy_from_slice(&fields);
    align(out);
    out.extend(&body.bytes);
}

/// What a walk's calls say, without copying.
#[derive(Debug, Default)]
struct Head<'a> {
    serial: [u8; 4],
    path: &'a [u8],
    interface: &'a [u8],
    member: &'a [u8],
    sender: &'a [u8],
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn of(message: &'a [u8]) -> Self {
        let number = |at: usize| {
            let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
            u32::from_le_bytes(bytes) as usize
        };
        let mut head = Head { serial: message[8..12].try_into().unwrap_or_default(), ..Self::default() };
        let end = 16 + number(12);
        let mut at = 16;
        while at + 4 < end {
            let (code, letter) = (message[at], message[at + 2]);
            at += 4;
            match letter {
                b's' | b'o' => {
                    let length = number(at);
                    let text = message.get(at + 4..at + 4 + length).unwrap_or_default();
                    match code {
                        1 => head.path = text,
                        2 => head.interface = text,
                        3 => head.member = text,
                        7 => head.sender = text,
                        _ => {}
                    }
                    at += 4 + length + 1;
                }
                b'g' => at += 1 + usize::from(message[at]) + 1,
                _ => at += 4,
            }
            at = at.next_multiple_of(8);
        }
        head.body = message.get(end.next_multiple_of(8)..).unwrap_or_default();
        head
    }

    fn first_text(&self) -> &'a [u8] {
        let length = self.body.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        self.body.get(4..4 + length).unwrap_or_default()
    }
}

fn xml(children: &[String], interfaces: &str) -> Rc<Body> {
    let children: String = children.iter().map(|child| format!("<node name=\"{child}\"/>")).collect();
    let text = format!("<node>{STANDARD}{interfaces}{children}</node>\n");
    let mut bytes = encode(&[Val::S(text)]);
    bytes.shrink_to_fit();
    Rc::new(Body { signature: "s", bytes })
}

fn interfaces_xml() -> String {
    let one = |(number, name): (usize, &&str)| {
        let members: String = properties(0, number)
            .iter()
            .map(|(name, value)| format!("<property name=\"{name}\" type=\"{}\" access=\"read\"/>", value.sig()))
            .collect();
        format!("<interface name=\"{name}\">{members}</interface>")
    };
    INTERFACES.iter().enumerate().map(one).collect()
}

/// Appends a call with at most one text as its body: what a walk needs, made with nothing in between.
pub(super) fn call_bytes(
    out: &mut Vec<u8>,
    serial: u32,
    to: &str,
    path: &str,
    member: (&str, &str),
    arg: Option<&str>,
) {
    let start = out.len();
    let body = arg.map_or(0, |arg| arg.len() + 5);
    out.extend([b'l', kind::CALL, super::wire::NO_AUTO_START, 1]);
    out.extend(u32::try_from(body).unwrap_or(0).to_le_bytes());
    out.extend(serial.to_le_bytes());
    out.extend([0; 4]);
    for (code, letter, text) in [(1, b'o', path), (2, b's', member.0), (3, b's', member.1), (6, b's', to)] {
        out.resize(start + (out.len() - start).next_multiple_of(8), 0);
        out.extend([code, 1, letter, 0]);
        out.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        out.extend(text.bytes().chain([0]));
    }
    if arg.is_some() {
        out.resize(start + (out.len() - start).next_multiple_of(8), 0);
        out.extend([8, 1, b'g', 0, 1, b's', 0]);
    }
    let fields = u32::try_from(out.len() - start - 16).unwrap_or(0).to_le_bytes();
    out[start + 12..start + 16].copy_from_slice(&fields);
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    if let Some(arg) = arg {
        out.extend(u32::try_from(arg.len()).unwrap_or(0).to_le_bytes());
        out.extend(arg.bytes().chain([0]));
    }
}

/// Where the body of `message` begins, and the number of the call it answers.
pub(super) fn reply_head(message: &[u8]) -> (usize, u32) {
    let number = |at: usize| {
        let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u32::from_le_bytes(bytes)
    };
    let end = 16 + number(12) as usize;
    let mut at = 16;
    let mut reply_to = 0;
    while at + 4 < end {
        let (code, letter) = (message[at], message[at + 2]);
        at += 4;
        if code == 5 {
            reply_to = number(at);
            break;
        }
        at += match letter {
            b'g' => 2 + usize::from(message[at]),
            b's' | b'o' => 5 + number(at) as usize,
            _ => 4,
        };
        at = at.next_multiple_of(8);
    }
    (end.next_multiple_of(8), reply_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_read_back() {
        let mut server = Server::new(80, true);
        server.serial = 1000;
        let mut out = Vec::new();
        let get_all = ("org.freedesktop.DBus.Properties", "GetAll");
        let mut call = Vec::new();
        call_bytes(&mut call, 7, SERVICE, &object_path(41), get_all, Some(INTERFACES[1]));
        assert_eq!(message_length(&call).unwrap(), Some(call.len()));
        server.answer(&call, &mut out);
        server.answer(&call, &mut out);
        let first = message_length(&out).unwrap().unwrap();
        for message in [&out[..first], &out[first..]] {
            let read = Message::parse(message).unwrap();
            assert_eq!(read.reply_to, 7);
            assert_eq!(read.body[0].items().len(), 10);
            assert_eq!(reply_head(message).1, 7);
        }
    }
}

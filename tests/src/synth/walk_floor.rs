//! The floor of a walk: the same calls as a walker's, made by a client that does nothing else. What it needs is the
//! service's and the bus's time; nobody can be faster over that bus.

use super::walk::{GROUPS, INTERFACES, ROOT, call_bytes, object_path, reply_head};
use super::wire::{Connection, kind, message_length};
use std::collections::VecDeque;
use std::io::{Error, Read, Result, Write};
use std::time::{Duration, Instant};

/// Calls that are under way at once.
const IN_FLIGHT: usize = 64;
const INTROSPECT: (&str, &str) = ("org.freedesktop.DBus.Introspectable", "Introspect");
const GET_ALL: (&str, &str) = ("org.freedesktop.DBus.Properties", "GetAll");
const MANAGED: (&str, &str) = ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects");

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// `Introspect` of every object from the root down, and `GetAll` of every interface.
    Walk,
    /// One `GetManagedObjects`.
    Managed,
    /// `GetAll` of every interface of so many objects, whose paths are known.
    GetAll(usize),
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// From the first call to the last reply, on a connection that was there.
    pub time: Duration,
    /// Calls made.
    pub calls: usize,
    /// Bytes of all replies.
    pub bytes: usize,
}

struct Call {
    path: String,
    interface: Option<&'static str>,
}

struct Client<'a> {
    connection: Connection,
    service: &'a str,
    waiting: VecDeque<Call>,
    /// The call with serial `n + FIRST`.
    made: Vec<Call>,
    /// What every leaf says, so that it is looked at once.
    leaf: Vec<u8>,
    leaf_interfaces: Vec<&'static str>,
}

/// Serials before this one were used for the greeting.
const FIRST: u32 = 100;

/// Measures `what` on `service` at `address`.
pub fn measure(address: &str, service: &str, what: What) -> Result<Floor> {
    let connection = Connection::open(address)?;
    let mut client = Client {
        connection,
        service,
        waiting: VecDeque::new(),
        made: Vec::new(),
        leaf: Vec::new(),
        leaf_interfaces: Vec::new(),
    };
    match what {
        What::Walk => client.waiting.push_back(Call { path: "/".into(), interface: None }),
        What::Managed => {}
        What::GetAll(objects) => {
            let calls = (0..objects)
                .flat_map(|n| INTERFACES.iter().map(move |name| Call { path: object_path(n), interface: Some(name) }));
            client.waiting.extend(calls);
        }
    }
    let start = Instant::now();
    let bytes = client.run(what == What::Managed)?;
    Ok(Floor { time: start.elapsed(), calls: client.made.len(), bytes })
}

impl Client<'_> {
    fn run(&mut self, is_managed: bool) -> Result<usize> {
        let mut outgoing = Vec::with_capacity(1 << 16);
        let mut incoming = vec![0; 1 << 20];
        let (mut start, mut end, mut total) = (0, 0, 0);
        let mut in_flight = 0;
        if is_managed {
            call_bytes(&mut outgoing, FIRST, self.service, ROOT, MANAGED, None);
            self.made.push(Call { path: ROOT.into(), interface: Some(MANAGED.0) });
            in_flight = 1;
        }
        loop {
            while in_flight < IN_FLIGHT {
                let Some(call) = self.waiting.pop_front() else { break };
                let member = if call.interface.is_some() { GET_ALL } else { INTROSPECT };
                let serial = FIRST + u32::try_from(self.made.len()).map_err(Error::other)?;
                call_bytes(&mut outgoing, serial, self.service, &call.path, member, call.interface);
                self.made.push(call);
                in_flight += 1;
            }
            if in_flight == 0 {
                return Ok(total);
            }
            if !outgoing.is_empty() {
                self.connection.stream.write_all(&outgoing)?;
                outgoing.clear();
            }
            if start > 0 {
                incoming.copy_within(start..end, 0);
                (start, end) = (0, end - start);
            }
            if end == incoming.len() {
                incoming.resize(end * 2, 0);
            }
            let count = self.connection.stream.read(&mut incoming[end..])?;
            if count == 0 {
                return Err(Error::other("the bus is gone"));
            }
            end += count;
            while let Some(length) = message_length(&incoming[start..end])? {
                let Some(message) = incoming[start..end].get(..length) else { break };
                start += length;
                let (body, reply_to) = reply_head(message);
                let Some(call) = reply_to.checked_sub(FIRST).and_then(|n| self.made.get(n as usize)) else { continue };
                if message[1] == kind::ERROR {
                    return Err(Error::other(format!("{} answered with an error", call.path)));
                }
                in_flight -= 1;
                total += length;
                if call.interface.is_none() {
                    let path = call.path.clone();
                    self.introspected(&path, &message[body..]);
                }
            }
        }
    }

    fn introspected(&mut self, path: &str, xml: &[u8]) {
        if xml != self.leaf {
            let text = String::from_utf8_lossy(xml);
            let names = |tag: &'static str| {
                let parts = text.match_indices(tag).map(|(at, _)| &text[at + tag.len()..]).collect::<Vec<_>>();
                parts.into_iter().filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect::<Vec<_>>()
            };
            let children = names("<node name=\"");
            let is_mine = |name: &&&'static str| names("<interface name=\"").iter().any(|found| found == **name);
            let interfaces: Vec<&'static str> = INTERFACES.iter().filter(is_mine).copied().collect();
            let parent = if path == "/" { "" } else { path };
            let calls = children.iter().map(|child| Call { path: format!("{parent}/{child}"), interface: None });
            self.waiting.extend(calls);
            if !children.is_empty() {
                return;
            }
            self.leaf = xml.to_vec();
            self.leaf_interfaces = interfaces;
        }
        for interface in &self.leaf_interfaces {
            self.waiting.push_back(Call { path: path.to_owned(), interface: Some(interface) });
        }
    }
}

/// Calls a whole walk of `objects` objects takes.
#[must_use]
pub fn calls_of_walk(objects: usize) -> usize {
    4 + GROUPS.min(objects) + objects + objects * INTERFACES.len()
}

//! The wire format, little-endian only, and one connection to a bus: what the synthetic services and the measuring
//! client are made of. No D-Bus library, so that nothing between a test and the bytes can be wrong the same way twice.

use super::value::{Val, split};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Kinds of messages.
pub mod kind {
    /// A method call.
    pub const CALL: u8 = 1;
    /// A reply.
    pub const REPLY: u8 = 2;
    /// An error reply.
    pub const ERROR: u8 = 3;
    /// A signal.
    pub const SIGNAL: u8 = 4;
}

/// Flag of a call whose reply nobody wants.
pub const NO_REPLY: u8 = 1;
/// Flag of a call that starts no service.
pub const NO_AUTO_START: u8 = 2;
/// The longest message the specification allows.
const MAX_MESSAGE: usize = 1 << 27;

/// A message. Absent texts are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// See [`kind`].
    pub kind: u8,
    /// See [`NO_REPLY`] and [`NO_AUTO_START`].
    pub flags: u8,
    /// Number of the message, by its sender.
    pub serial: u32,
    /// Object path.
    pub path: String,
    /// Interface.
    pub interface: String,
    /// Method or signal.
    pub member: String,
    /// Name of the error.
    pub error: String,
    /// Number of the message this one answers.
    pub reply_to: u32,
    /// Bus name it goes to.
    pub destination: String,
    /// Unique name it comes from.
    pub sender: String,
    /// The body.
    pub body: Vec<Val>,
}

impl Message {
    /// A call.
    #[must_use]
    pub fn call(destination: &str, path: &str, interface: &str, member: &str, body: Vec<Val>) -> Self {
        Self {
            kind: kind::CALL,
            destination: destination.into(),
            path: path.into(),
            interface: interface.into(),
            member: member.into(),
            body,
            ..Self::default()
        }
    }

    /// A signal to everyone.
    #[must_use]
    pub fn signal(path: &str, interface: &str, member: &str, body: Vec<Val>) -> Self {
        Self {
            kind: kind::SIGNAL,
            flags: NO_REPLY,
            path: path.into(),
            interface: interface.into(),
            member: member.into(),
            body,
            ..Self::default()
        }
    }

    /// The reply to this call.
    #[must_use]
    pub fn reply(&self, body: Vec<Val>) -> Self {
        Self {
            kind: kind::REPLY,
            flags: NO_REPLY,
            reply_to: self.serial,
            destination: self.sender.clone(),
            body,
            ..Self::default()
        }
    }

    /// The error reply to this call.
    #[must_use]
    pub fn refuse(&self, name: &str, text: &str) -> Self {
        Self { kind: kind::ERROR, error: name.into(), ..self.reply(vec![Val::s(text)]) }
    }

    /// The type signature of the body.
    #[must_use]
    pub fn signature(&self) -> String {
        self.body.iter().map(Val::sig).collect()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| put(&mut body, value));
        let mut out = vec![b'l', self.kind, self.flags, 1];
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        let field = |code: u8, value: Val| Val::R(vec![Val::Y(code), Val::V(Box::new(value))]);
        let mut fields = Vec::new();
        let texts =
            [(2, &self.interface), (3, &self.member), (4, &self.error), (6, &self.destination), (7, &self.sender)];
        if !self.path.is_empty() {
            fields.push(field(1, Val::O(self.path.clone())));
        }
        fields.extend(texts.iter().filter(|(_, text)| !text.is_empty()).map(|(code, text)| field(*code, Val::s(text))));
        if self.reply_to != 0 {
            fields.push(field(5, Val::U(self.reply_to)));
        }
        if !self.body.is_empty() {
            fields.push(field(8, Val::G(self.signature())));
        }
        put(&mut out, &Val::A("(yv)".into(), fields));
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    /// Reads the whole message in `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut message = Self { kind: bytes[1], flags: bytes[2], ..Self::default() };
        reader.at = 8;
        message.serial = u32::from_le_bytes(reader.take()?);
        let Val::A(_, fields) = reader.value("a(yv)")? else { return Err(broken("header")) };
        let mut signature = String::new();
        for field in fields {
            let Val::R(pair) = field else { continue };
            let [Val::Y(code), Val::V(value)] = pair.as_slice() else { continue };
            let text = value.text().unwrap_or_default().to_owned();
            match (code, value.as_ref()) {
                (1, _) => message.path = text,
                (2, _) => message.interface = text,
                (3, _) => message.member = text,
                (4, _) => message.error = text,
                (5, Val::U(serial)) => message.reply_to = *serial,
                (6, _) => message.destination = text,
                (7, _) => message.sender = text,
                (8, _) => signature = text,
                _ => {}
            }
        }
        reader.align(8);
        let body = bytes.get(reader.at..).ok_or_else(|| broken("body"))?;
        message.body = decode(&signature, body)?;
        Ok(message)
    }
}

/// The bytes of `values` as a body.
#[must_use]
pub fn encode(values: &[Val]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| put(&mut out, value));
    out
}

/// The values of a body.
pub fn decode(signature: &str, bytes: &[u8]) -> Result<Vec<Val>> {
    let mut reader = Reader { bytes, at: 0 };
    split(signature).ok_or_else(|| broken("signature"))?.into_iter().map(|one| reader.value(one)).collect()
}

/// Appends zeros up to a multiple of `to`.
pub fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

fn put(out: &mut Vec<u8>, value: &Val) {
    let mut number = |bytes: &[u8]| {
        pad(out, bytes.len());
        out.extend(bytes);
    };
    match value {
        Val::Y(n) => number(&[*n]),
        Val::B(b) => number(&u32::from(*b).to_le_bytes()),
        Val::N(n) => number(&n.to_le_bytes()),
        Val::Q(n) => number(&n.to_le_bytes()),
        Val::I(n) => number(&n.to_le_bytes()),
        Val::U(n) => number(&n.to_le_bytes()),
        Val::X(n) => number(&n.to_le_bytes()),
        Val::T(n) => number(&n.to_le_bytes()),
        Val::D(n) => number(&n.to_le_bytes()),
        Val::S(text) | Val::O(text) => {
            number(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            out.extend(text.bytes().chain([0]));
        }
        Val::G(text) => {
            out.push(u8::try_from(text.len()).unwrap_or(0));
            out.extend(text.bytes().chain([0]));
        }
        Val::V(inner) => {
            put(out, &Val::G(inner.sig()));
            put(out, inner);
        }
        Val::A(element, items) => {
            pad(out, 4);
            let length_at = out.len();
            out.extend([0; 4]);
            pad(out, alignment(element));
            let start = out.len();
            items.iter().for_each(|item| put(out, item));
            let length = u32::try_from(out.len() - start).unwrap_or(0).to_le_bytes();
            out[length_at..length_at + 4].copy_from_slice(&length);
        }
        Val::R(fields) => {
            pad(out, 8);
            fields.iter().for_each(|field| put(out, field));
        }
        Val::E(entry) => {
            pad(out, 8);
            put(out, &entry.0);
            put(out, &entry.1);
        }
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("broken message: {what}"))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.align(N);
        let bytes = self.bytes.get(self.at..self.at + N).ok_or_else(|| broken("too short"))?;
        self.at += N;
        bytes.try_into().map_err(|_| broken("too short"))
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let bytes = self.bytes.get(self.at..self.at + length).ok_or_else(|| broken("text"))?;
        self.at += length + 1;
        String::from_utf8(bytes.to_vec()).map_err(|_| broken("text is not UTF-8"))
    }

    fn value(&mut self, signature: &str) -> Result<Val> {
        Ok(match signature.as_bytes().first() {
            Some(b'y') => Val::Y(u8::from_le_bytes(self.take()?)),
            Some(b'b') => Val::B(u32::from_le_bytes(self.take()?) != 0),
            Some(b'n') => Val::N(i16::from_le_bytes(self.take()?)),
            Some(b'q') => Val::Q(u16::from_le_bytes(self.take()?)),
            Some(b'i') => Val::I(i32::from_le_bytes(self.take()?)),
            Some(b'u' | b'h') => Val::U(u32::from_le_bytes(self.take()?)),
            Some(b'x') => Val::X(i64::from_le_bytes(self.take()?)),
            Some(b't') => Val::T(u64::from_le_bytes(self.take()?)),
            Some(b'd') => Val::D(f64::from_le_bytes(self.take()?)),
            Some(letter @ (b's' | b'o')) => {
                let length = u32::from_le_bytes(self.take()?) as usize;
                let text = self.text(length)?;
                if *letter == b's' { Val::S(text) } else { Val::O(text) }
            }
            Some(b'g') => {
                let [length] = self.take()?;
                Val::G(self.text(length.into())?)
            }
            Some(b'v') => {
                let Val::G(inner) = self.value("g")? else { return Err(broken("variant")) };
                Val::V(Box::new(self.value(&inner)?))
            }
            Some(b'a') => {
                let element = &signature[1..];
                let length = u32::from_le_bytes(self.take()?) as usize;
                self.align(alignment(element));
                let end = self.at + length;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(element)?);
                }
                Val::A(element.to_owned(), items)
            }
            Some(open @ (b'(' | b'{')) => {
                self.align(8);
                let inner = split(&signature[1..signature.len() - 1]).ok_or_else(|| broken("signature"))?;
                let mut fields = inner.into_iter().map(|one| self.value(one)).collect::<Result<Vec<Val>>>()?;
                match (open, fields.len()) {
                    (b'(', _) => Val::R(fields),
                    (_, 2) => {
                        let value = fields.pop().ok_or_else(|| broken("entry"))?;
                        let key = fields.pop().ok_or_else(|| broken("entry"))?;
                        Val::entry(key, value)
                    }
                    _ => return Err(broken("entry")),
                }
            }
            _ => return Err(broken("signature")),
        })
    }
}

/// A connection to a bus, greeted.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: UnixStream,
    /// Our unique name.
    pub name: String,
    serial: u32,
    incoming: Vec<u8>,
    read_to: usize,
    outgoing: Vec<u8>,
    /// Calls that came while a reply was waited for: a bus that starts a service delivers them with its name.
    held: VecDeque<Message>,
}

impl Connection {
    /// Connects to `unix:path=...` and says hello.
    pub fn open(address: &str) -> Result<Self> {
        let path = address
            .strip_prefix("unix:path=")
            .map(|rest| rest.split(',').next().unwrap_or(rest))
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("{address:?} is no unix:path= address")))?;
        let mut stream = UnixStream::connect(path)?;
        let uid: String = rustix::process::getuid().as_raw().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK") {
            return Err(Error::new(ErrorKind::PermissionDenied, "the bus refused EXTERNAL"));
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut connection = Self {
            stream,
            name: String::new(),
            serial: 0,
            incoming: Vec::new(),
            read_to: 0,
            outgoing: Vec::new(),
            held: VecDeque::new(),
        };
        let hello = connection.bus("Hello", Vec::new())?;
        connection.name = hello.first().and_then(Val::text).unwrap_or_default().to_owned();
        Ok(connection)
    }

    /// Asks for a bus name.
    pub fn request_name(&mut self, name: &str) -> Result<()> {
        match self.bus("RequestName", vec![Val::s(name), Val::U(4)])?.first() {
            Some(Val::U(1)) => Ok(()),
            other => Err(Error::other(format!("the name {name} was not granted: {other:?}"))),
        }
    }

    /// Calls a method of the bus itself.
    pub fn bus(&mut self, member: &str, body: Vec<Val>) -> Result<Vec<Val>> {
        let bus = "org.freedesktop.DBus";
        self.call(Message::call(bus, "/org/freedesktop/DBus", bus, member, body))
    }

    /// Makes a call and waits up to 20 s for its reply. Signals that come in between are dropped.
    pub fn call(&mut self, message: Message) -> Result<Vec<Val>> {
        let serial = self.queue(message);
        self.flush()?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            while let Some(reply) = self.next_unread()? {
                if reply.kind == kind::CALL {
                    self.held.push_back(reply);
                } else if reply.reply_to == serial {
                    return match reply.kind {
                        kind::REPLY => Ok(reply.body),
                        _ => Err(Error::other(format!("{}: {:?}", reply.error, reply.body))),
                    };
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(ErrorKind::TimedOut, "no reply"));
            }
            self.wait(Some(left))?;
        }
    }

    /// Numbers `message` and puts it behind what is to be sent.
    pub fn queue(&mut self, mut message: Message) -> u32 {
        self.serial += 1;
        message.serial = self.serial;
        self.outgoing.extend(message.bytes());
        self.serial
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<()> {
        let done = self.stream.write_all(&self.outgoing);
        self.outgoing.clear();
        done
    }

    /// Waits until bytes are there or the time is over, and takes them. Fails when the bus is gone.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<()> {
        let limit = limit.map(|limit| rustix::event::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut polled = [rustix::event::PollFd::from_borrowed_fd(self.stream.as_fd(), rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut polled, limit.as_ref())? == 0 {
            return Ok(());
        }
        self.incoming.drain(..self.read_to);
        self.read_to = 0;
        let start = self.incoming.len();
        self.incoming.resize(start + (1 << 16), 0);
        let count = self.stream.read(&mut self.incoming[start..])?;
        self.incoming.truncate(start + count);
        if count == 0 { Err(Error::new(ErrorKind::UnexpectedEof, "the bus is gone")) } else { Ok(()) }
    }

    /// The bytes that came and were not looked at; they are gone from here.
    pub fn take_unread(&mut self) -> Vec<u8> {
        let mut unread: Vec<u8> = self.held.drain(..).flat_map(|message| message.bytes()).collect();
        unread.extend(&self.incoming[self.read_to..]);
        self.incoming.clear();
        self.read_to = 0;
        unread
    }

    /// The next whole message among the bytes that came.
    pub fn next_message(&mut self) -> Result<Option<Message>> {
        match self.held.pop_front() {
            Some(held) => Ok(Some(held)),
            None => self.next_unread(),
        }
    }

    fn next_unread(&mut self) -> Result<Option<Message>> {
        let bytes = &self.incoming[self.read_to..];
        let Some(length) = message_length(bytes)? else { return Ok(None) };
        let Some(whole) = bytes.get(..length) else { return Ok(None) };
        let message = Message::parse(whole);
        self.read_to += length;
        message.map(Some)
    }
}

/// The length of the message that begins `bytes`; `None` when its header is not all there.
pub fn message_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.get(..16) else { return Ok(None) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let length = (16 + number(12)).next_multiple_of(8) + number(4);
    if head[0] != b'l' || length > MAX_MESSAGE { Err(broken("start")) } else { Ok(Some(length)) }
}

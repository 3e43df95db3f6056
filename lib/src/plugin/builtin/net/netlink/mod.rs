//! Speaking with the kernel about links, addresses and routes: one request, one answer, over a socket that waits.

pub mod codec;
pub mod numbers;

use crate::base::{Error, Kind, Result};
use codec::{Body, messages, u32_at};
use numbers::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The kernel never takes so long; a sandbox that swallows messages does.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A dump that something changed under is asked for again, so often.
const TRIES: usize = 5;

/// A connection to the kernel's routing part, in the network namespace of this process.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one.
    pub fn open() -> Result<Self> {
        // No protocol is number 0: NETLINK_ROUTE.
        let opened = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        let opened = opened.and_then(|fd| {
            rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(TIMEOUT))?;
            rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
            Ok(Self { fd, sequence: 0 })
        });
        opened.map_err(|errno| {
            Error::failed(format!("could not open a netlink socket: {errno}"))
                .hint("is this sandbox allowed AF_NETLINK? (RestrictAddressFamilies= of the unit)")
        })
    }

    /// Asks for everything of one kind; the bodies of the answers.
    pub fn dump(&mut self, kind: u16, body: &Body) -> Result<Vec<Vec<u8>>> {
        for _ in 0..TRIES {
            if let Some(found) = self.try_dump(kind, body)? {
                return Ok(found);
            }
        }
        Err(Error::failed("the kernel's lists changed each time they were read").hint("try again when it is quieter"))
    }

    /// One attempt; nothing when the list changed meanwhile.
    fn try_dump(&mut self, kind: u16, body: &Body) -> Result<Option<Vec<Vec<u8>>>> {
        let lost = |errno: Errno| Error::failed(format!("could not read from the kernel: {errno}"));
        let sequence = self.send(kind, NLM_F_DUMP, body).map_err(lost)?;
        let mut found = Vec::new();
        let mut is_whole = true;
        loop {
            let datagram = self.receive().map_err(lost)?;
            for message in messages(&datagram).filter(|message| message.sequence == sequence) {
                is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(is_whole.then_some(found)),
                    NLMSG_ERROR => return Err(lost(errno_of(message.body).unwrap_or(Errno::INVAL))),
                    _ => found.push(message.body.to_vec()),
                }
            }
        }
    }

    /// Has the kernel change something.
    pub fn request(&mut self, kind: u16, flags: u16, body: &Body) -> Result<(), Errno> {
        let sequence = self.send(kind, flags | NLM_F_ACK, body)?;
        loop {
            let datagram = self.receive()?;
            for message in messages(&datagram).filter(|message| message.sequence == sequence) {
                if message.kind == NLMSG_ERROR {
                    return errno_of(message.body).map_or(Ok(()), Err);
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &Body) -> Result<u32, Errno> {
        self.sequence += 1;
        let bytes = body.clone().into_message(kind, flags | NLM_F_REQUEST, self.sequence);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        Ok(self.sequence)
    }

    fn receive(&self) -> Result<Vec<u8>, Errno> {
        // The kernel never sends more at once.
        let mut buffer = vec![0; 1 << 16];
        loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The error in an answer; nothing when all is well.
fn errno_of(body: &[u8]) -> Option<Errno> {
    let code = u32_at(body, 0)?.cast_signed();
    (code != 0).then(|| Errno::from_raw_os_error(code.saturating_neg()))
}

/// What the kernel's refusal means, for people.
pub fn refusal(attempt: &str, errno: Errno) -> Error {
    let (kind, hint) = match errno {
        Errno::PERM => (Kind::Denied, "changing links needs root (CAP_NET_ADMIN)"),
        Errno::ACCESS => {
            (Kind::Failed, "is IPv6 switched off? \"ipv6\": {\"enabled\": true} switches it on for the link")
        }
        Errno::OPNOTSUPP => {
            (Kind::Failed, "this kernel or driver cannot do that; is the kernel module of this type there?")
        }
        Errno::NODEV | Errno::NXIO => (Kind::Failed, "the link went away meanwhile: query again"),
        Errno::EXIST => (Kind::Failed, "somebody else made it meanwhile: query again"),
        Errno::BUSY => (Kind::Failed, "the link is in use: take it down first, or detach it from its controller"),
        Errno::NETUNREACH | Errno::HOSTUNREACH => {
            (Kind::Failed, "no address of the link reaches this next hop: declare the address, too")
        }
        Errno::NETDOWN => (Kind::Failed, "the link it stands on is down: declare that \"state\": \"up\", too"),
        _ => (Kind::Failed, "compare with what op-query --plugin net shows"),
    };
    Error::new(kind, format!("the kernel refused to {attempt}: {errno}")).hint(hint)
}

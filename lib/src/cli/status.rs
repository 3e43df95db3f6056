//! The line that `systemctl status` shows of a program systemd has started: what it is doing, and how that ended.
//!
//! The protocol is sd_notify(3): a datagram to the socket that `$NOTIFY_SOCKET` names. Nobody waits for it, and nothing
//! depends on it being read.

use super::env::Env;
use super::escape::one_line;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the line is told.
#[derive(Debug)]
pub(super) struct Status {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Status {
    /// The socket of this environment, if systemd listens.
    pub fn of(env: &Env) -> Option<Self> {
        let name = env.get("NOTIFY_SOCKET")?.as_bytes();
        let to = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(std::path::Path::new(env.get("NOTIFY_SOCKET")?)),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, to: to.ok()? })
    }

    /// Tells what is going on, as one line.
    pub fn say(&self, text: &str) {
        let line = one_line(text.trim_end());
        // Who does not listen loses a line of status and nothing else.
        let _ = self.socket.send_to_addr(format!("STATUS={line}").as_bytes(), &self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let status = Status::of(&Env::from([("NOTIFY_SOCKET", path.to_str().unwrap())])).unwrap();
        status.say("reading\nhostname\n");
        let mut bytes = [0; 64];
        let length = systemd.recv(&mut bytes).unwrap();
        let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(told.starts_with("STATUS=reading") && told.ends_with("hostname") && !told.contains('\n'), "{told:?}");
        drop(systemd);
        status.say("nobody listens any more");
        assert!(Status::of(&Env::default()).is_none());
    }
}

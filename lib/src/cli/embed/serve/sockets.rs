//! Sockets to listen on: opened here, or by systemd.
#![allow(unsafe_code, reason = "a file descriptor that was opened for us is a number in the environment")]

use super::Where;
use crate::base::{Error, Kind, Result};
use crate::cli::{Cli, Env};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the descriptors begin that were passed on.
const FIRST: RawFd = 3;

/// One socket that is listened on.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener, String),
    Tcp(TcpListener, String),
}

pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Accepted {
    /// The same connection, to end it by.
    pub(super) fn handle(&self) -> Option<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().ok().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().ok().map(Self::Tcp),
        }
    }

    /// Whoever reads from it finds its end.
    pub(super) fn read_no_more(&self) {
        // A connection that has ended by itself cannot be ended.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Read),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Read),
        };
    }
}

/// All of them. A socket file that was made here goes away with it.
#[derive(Debug)]
pub struct Listening {
    listeners: Vec<Listener>,
    made: Option<PathBuf>,
}

impl Listener {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Unix(_, name) | Self::Tcp(_, name) => name,
        }
    }
}

impl Listening {
    /// What systemd opened, and what `place` says; without either, the state root's socket.
    pub fn open(place: &Where, cli: &Cli) -> Result<Self> {
        let mut listeners = passed_on(&cli.env)?;
        let mut made = None;
        if let Some(address) = &place.http {
            listeners.push(tcp(address)?);
        }
        let usual = || cli.root().map(|root| root.path().join("embed.sock"));
        let path = match &place.socket {
            Some(path) => Some(PathBuf::from(path)),
            None if listeners.is_empty() => Some(usual()?),
            None => None,
        };
        if let Some(path) = path {
            listeners.push(unix(&path)?);
            made = Some(path);
        }
        for listener in &listeners {
            let set = match listener {
                Listener::Unix(listener, _) => listener.set_nonblocking(true),
                Listener::Tcp(listener, _) => listener.set_nonblocking(true),
            };
            set.map_err(|e| Error::failed(format!("could not listen: {e}")).on(listener.name()))?;
        }
        Ok(Self { listeners, made })
    }

    pub(super) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Who connects within `wait`.
    pub(super) fn accept(&self, wait: Duration) -> Result<Vec<Accepted>> {
        let mut fds: Vec<PollFd<'_>> = self
            .listeners
            .iter()
            .map(|listener| match listener {
                Listener::Unix(listener, _) => PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
                Listener::Tcp(listener, _) => PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            })
            .collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::failed(format!("could not wait for connections: {error}"))),
        }
        let mut accepted = vec![];
        for listener in &self.listeners {
            // Nobody there, or gone again: there is nothing to say about either.
            match listener {
                Listener::Unix(listener, _) => {
                    if let Ok((stream, _)) = listener.accept() {
                        let _ = stream.set_nonblocking(false);
                        accepted.push(Accepted::Unix(stream));
                    }
                }
                Listener::Tcp(listener, _) => {
                    if let Ok((stream, _)) = listener.accept() {
                        let _ = stream.set_nonblocking(false);
                        accepted.push(Accepted::Tcp(stream));
                    }
                }
            }
        }
        Ok(accepted)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn unix(path: &Path) -> Result<Listener> {
    let subject = || path.display().to_string();
    if UnixStream::connect(path).is_ok() {
        return Err(Error::new(Kind::Locked, "another server answers on this socket").on(subject()));
    }
    if std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()))
    {
        // A server that was killed has left it.
        std::fs::remove_file(path).map_err(|e| Error::io("remove the old socket", path, &e))?;
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::io("make the socket's folder", parent, &e))?;
    }
    // Only its owner may connect, from the first moment on.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(|e| Error::io("listen on the socket", path, &e))?;
    Ok(Listener::Unix(listener, subject()))
}

/// A loopback address, and no other: there is neither a password nor encryption.
fn tcp(text: &str) -> Result<Listener> {
    let wrong = |what: &str| Error::usage(what).on(format!("--http {text}")).hint("--http 127.0.0.1:8080");
    let address: SocketAddr = match text.parse::<u16>() {
        Ok(port) => SocketAddr::from(([127, 0, 0, 1], port)),
        Err(_) => text.parse().map_err(|_| wrong("this is no address and port"))?,
    };
    if !address.ip().is_loopback() {
        return Err(wrong("only this machine may ask, so the address is a loopback one"));
    }
    let listener = TcpListener::bind(address).map_err(|e| {
        let kind = if e.kind() == std::io::ErrorKind::PermissionDenied { Kind::Denied } else { Kind::Unavailable };
        Error::new(kind, format!("could not listen: {e}")).on(format!("--http {text}"))
    })?;
    let name = listener.local_addr().map_or_else(|_| text.to_owned(), |address| format!("http://{address}"));
    Ok(Listener::Tcp(listener, name))
}

/// The sockets systemd opened for this process: `LISTEN_PID` names it, `LISTEN_FDS` says how many.
fn passed_on(env: &Env) -> Result<Vec<Listener>> {
    let is_ours = env.text("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count: RawFd = env.text("LISTEN_FDS").filter(|_| is_ours).and_then(|n| n.parse().ok()).unwrap_or(0);
    (FIRST..FIRST + count.clamp(0, 16)).map(passed_on_as).collect()
}

fn passed_on_as(number: RawFd) -> Result<Listener> {
    let wrong = |what: String| Error::usage(what).on(format!("file descriptor {number}"));
    // SAFETY: LISTEN_PID says that this descriptor was opened for this process, and nothing else has taken it: it is asked
    // for once, before any thread is started.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let unix = UnixListener::from(fd);
    if unix.local_addr().is_ok() {
        return Ok(Listener::Unix(unix, "a unix socket of systemd's".into()));
    }
    let tcp = TcpListener::from(OwnedFd::from(unix));
    match tcp.local_addr() {
        Ok(address) if address.ip().is_loopback() => Ok(Listener::Tcp(tcp, format!("http://{address}"))),
        Ok(_) => Err(wrong("only this machine may ask, so a port that was passed on is a loopback one".into())),
        Err(error) => Err(wrong(format!("what was passed on is no socket to listen on: {error}"))),
    }
}

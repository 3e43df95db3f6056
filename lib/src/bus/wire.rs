//! The connection to a real bus: how it is made, and what it is made of.

use super::Target;
use super::connection::DEFAULT_TIMEOUT;
use crate::base::{Error, Kind, Result};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use zbus::MessageStream;
use zbus::address::transport::{Transport, Unixexec};

/// A connection, the messages that arrive on it, and the runtime that waits for them.
pub(super) struct Wire {
    pub connection: zbus::Connection,
    pub stream: RefCell<MessageStream>,
    pub runtime: zruntime::SharedRuntime,
}

impl Wire {
    /// Connects and says hello, within `timeout`.
    pub fn connect(target: &Target, timeout: Option<Duration>) -> Result<Self> {
        let builder = match target {
            Target::System => zbus::connection::Builder::system(),
            Target::Session => zbus::connection::Builder::session(),
            Target::Address(address) => zbus::connection::Builder::address(address.as_str()),
            Target::Host(host) => zbus::connection::Builder::address(over_ssh(host)?),
        };
        let builder = builder.max_queued(NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN));
        let failed = |cause: &dyn std::fmt::Display| {
            let error = Error::new(Kind::Unavailable, format!("could not connect to the bus: {cause}"))
                .on(target_label(target));
            match target {
                Target::System => error.hint("is a system bus running? --session and --address choose another"),
                Target::Session => error.hint("is DBUS_SESSION_BUS_ADDRESS set?"),
                Target::Address(_) => error.hint("a D-Bus address looks like unix:path=/run/dbus/system_bus_socket"),
                Target::Host(_) => error.hint("try: ssh HOST systemd-stdio-bridge --help"),
            }
        };
        let runtime = zruntime::SharedRuntime::current().map_err(|e| failed(&e))?;
        let connection = zbus::block_on(async {
            let mut connecting = pin!(builder.build());
            let mut limit = pin!(runtime.sleep(timeout.unwrap_or(DEFAULT_TIMEOUT)));
            poll_fn(|cx| {
                if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
                    return Poll::Ready(done.map_err(|e| failed(&e)));
                }
                limit.as_mut().poll(cx).map(|()| Err(failed(&"no answer in time")))
            })
            .await
        })?;
        let stream = RefCell::new(MessageStream::from(&connection));
        Ok(Self { connection, stream, runtime })
    }
}

/// The transport that runs ssh as `busctl -H` does. No address text: zbus does not decode `%40` in the arguments of one.
fn over_ssh(host: &str) -> Result<zbus::Address> {
    if host.is_empty() || host.starts_with('-') || host.contains(char::is_whitespace) {
        return Err(Error::usage("this is no host").on(format!("{host:?}")).hint("write --host [USER@]HOST"));
    }
    let args = ["-xT", "--", host, "systemd-stdio-bridge"].map(Into::into).to_vec();
    Ok(Transport::Unixexec(Unixexec::new("ssh".into(), None, args)).into())
}

fn target_label(target: &Target) -> String {
    match target {
        Target::System => "the system bus".into(),
        Target::Session => "the session bus".into(),
        Target::Address(address) => address.clone(),
        Target::Host(host) => format!("the system bus of {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_hosts() {
        let address = over_ssh("root@pve1").unwrap();
        let Transport::Unixexec(exec) = address.transport() else { panic!("{address}") };
        assert_eq!(exec.args(), ["-xT", "--", "root@pve1", "systemd-stdio-bridge"]);
        for bad in ["", "-oProxyCommand=x", "a b"] {
            assert!(over_ssh(bad).is_err(), "{bad}");
        }
    }
}

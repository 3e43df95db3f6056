//! A method call as data: plans hold it, confirmations show it, the bus makes it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// One method call, complete: nothing about it is decided later.
///
/// Serialized, it is the call as plans and confirmations show it; two calls that look the same there are equal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Call {
    /// Bus name of the service; `host` for an operation that a built-in plugin makes.
    pub service: String,
    /// Object path; of an operation of this host what it changes.
    pub path: String,
    /// Interface of the member; of an operation of this host how it is made: `command`, `file`, `netlink`.
    pub interface: String,
    /// Method name; of an operation of this host what is done.
    pub member: String,
    /// Type signature of the arguments, for example `sb`; empty for an operation of this host.
    pub type_signature: String,
    /// The arguments in their JSON forms; variants as `{"$variant":{"signature","value"}}`.
    pub args: Vec<Value>,
    /// How to make the call. Not part of the document, nor of what makes two calls equal.
    #[serde(skip)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub manner: Manner,
}

/// What stands for the bus name when an operation of this host is meant and no service: no bus name is like it.
pub const HOST: &str = "host";

/// How a call is made: may it start the service, and how long may it take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Whether the bus may start the service for this call. Discovery never does.
    pub may_activate: bool,
    /// How long to wait for the reply; the connection's own limit when absent.
    pub timeout: Option<Duration>,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        let Self { service, path, interface, member, type_signature, args, manner: _ } = self;
        (service, path, interface, member, type_signature, args)
            == (&other.service, &other.path, &other.interface, &other.member, &other.type_signature, &other.args)
    }
}

impl Call {
    /// A call without arguments that does not start the service.
    pub fn new(service: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            service: service.into(),
            path: path.into(),
            interface: interface.into(),
            member: member.into(),
            type_signature: String::new(),
            args: Vec::new(),
            manner: Manner::default(),
        }
    }

    /// An operation of this host that a built-in plugin makes: `means` is how (`command`, `file`, `netlink`), `subject`
    /// what is changed, `verb` what is done to it.
    pub fn on_host(means: &str, subject: &str, verb: &str, args: Vec<Value>) -> Self {
        Self { args, ..Self::new(HOST, subject, means, verb) }
    }

    /// Whether it is an operation of this host, and not a D-Bus call.
    #[must_use]
    pub fn is_on_host(&self) -> bool {
        self.service == HOST
    }

    /// Gives the arguments and their type signature.
    #[must_use]
    pub fn with(mut self, type_signature: &str, args: Vec<Value>) -> Self {
        self.type_signature = type_signature.into();
        self.args = args;
        self
    }

    /// Says how to make the call.
    #[must_use]
    pub fn in_manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// `service path interface.member`, for messages; `means verb subject` for an operation of this host.
    #[must_use]
    pub fn label(&self) -> String {
        if self.is_on_host() {
            return format!("{} {} {}", self.interface, self.member, self.path);
        }
        format!("{} {} {}.{}", self.service, self.path, self.interface, self.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_read_from_a_plan_is_the_call_that_was_planned() {
        let manner = Manner { may_activate: true, timeout: Some(Duration::from_secs(60)) };
        let call = Call::new("a.b", "/", "a.b", "Set").with("sb", vec![json!("x"), json!(false)]).in_manner(manner);
        let read: Call = serde_json::from_value(serde_json::to_value(&call).unwrap()).unwrap();
        assert_ne!(read.manner, call.manner);
        assert_eq!(read, call);
        assert_ne!(read, call.clone().with("sb", vec![json!("y"), json!(false)]));
        assert_ne!(read, Call { member: "Get".into(), ..call });
    }
}

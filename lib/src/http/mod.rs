//! Downloads and requests: the one place that speaks HTTP. Everything is bounded, in bytes and in time, and what was cut off
//! is gone on with where it ended.

mod get;
mod proxy;
mod request;
mod roots;

pub use get::{Partial, get};
pub use proxy::Proxies;
pub use request::{Answer, request};

use std::path::PathBuf;
use std::time::Duration;

/// How to get out: what the options and the environment said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// A file of certificates to trust instead of the system's (`$SSL_CERT_FILE`).
    pub certificates: Option<PathBuf>,
    /// The proxies.
    pub proxies: Proxies,
    /// How long nothing may come before a server is given up (`--timeout`).
    pub timeout: Option<Duration>,
}

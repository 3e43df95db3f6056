//! Where things are: `[settings]` of `plugin.toml`.

use crate::base::{Error, Result};
use crate::http::Network;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The settings, each with the place it has on most hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder of netclient's files.
    pub files: PathBuf,
    /// netclient itself.
    pub netclient: PathBuf,
    /// What tells of WireGuard's peers.
    pub wg: PathBuf,
    /// How long a host may take to become a member of a network.
    pub timeout_s: u64,
    /// The server whose objects are state too: `https://api.example.com`.
    pub server: Option<String>,
    /// The name of the secret by which the server knows us: its master key, or a token of a user.
    pub token: String,
    /// A file of certificates to trust instead of the system's.
    pub certificates: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            files: "/etc/netclient".into(),
            netclient: "/usr/bin/netclient".into(),
            wg: "/usr/bin/wg".into(),
            timeout_s: 60,
            server: None,
            token: "netmaker".into(),
            certificates: None,
        }
    }
}

impl Settings {
    /// How the server is reached.
    pub fn network(&self) -> Network {
        let certificates = self.certificates.clone();
        Network { certificates, timeout: Some(Duration::from_secs(self.timeout_s.max(1))), ..Network::default() }
    }

    /// The server. A key would be told to who listens, so it is never asked without TLS.
    pub fn server(&self) -> Result<&str> {
        let server = self.server.as_deref().ok_or_else(|| {
            Error::bad_input("no server is named whose objects these could be")
                .on("netmaker: plugin.toml: settings.server")
                .hint("name it in [settings]: server = \"https://api.example.com\"")
        })?;
        match server.strip_prefix("https://") {
            Some(name) if !name.is_empty() => Ok(server.trim_end_matches('/')),
            _ => Err(Error::refused("the key would be sent without TLS")
                .on("netmaker: plugin.toml: settings.server")
                .hint("the address begins with https://")),
        }
    }
}

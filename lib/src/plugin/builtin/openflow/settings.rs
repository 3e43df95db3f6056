//! Where things are on this host: `[settings]` of `plugin.toml`.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The settings, each with the place it has on most hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Socket of the configuration database.
    pub database: PathBuf,
    /// Where ovs-vswitchd has its sockets.
    pub run: PathBuf,
    /// The program that speaks OpenFlow.
    pub ofctl: PathBuf,
    /// The kernel's list of links.
    pub links: PathBuf,
    /// How long ovs-vswitchd may take to realise a change.
    pub timeout_s: u64,
    /// Names of the ports of containers and virtual machines: `{id}` and `{n}` stand for numbers.
    pub container_ports: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let ports = ["veth{id}i{n}", "fwln{id}o{n}", "tap{id}i{n}"];
        Self {
            database: "/run/openvswitch/db.sock".into(),
            run: "/run/openvswitch".into(),
            ofctl: "/usr/bin/ovs-ofctl".into(),
            links: "/proc/net/dev".into(),
            timeout_s: 10,
            container_ports: ports.map(str::to_owned).to_vec(),
        }
    }
}

impl Settings {
    /// The limit of [`Settings::timeout_s`].
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Where a bridge takes OpenFlow.
    pub fn management(&self, bridge: &str) -> String {
        format!("unix:{}", self.run.join(format!("{bridge}.mgmt")).display())
    }
}

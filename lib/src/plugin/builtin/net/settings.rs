//! Where things are on this host: `[settings]` of `plugin.toml`.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The settings, each with the place it has on most hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// By what a link that is `persistent` comes back after a start.
    pub persistence: Persistence,
    /// Folder of ifupdown2's further files.
    pub interfaces_dir: PathBuf,
    /// Folder of systemd-networkd's own files.
    pub networkd_dir: PathBuf,
    /// The name servers' file.
    pub resolv_conf: PathBuf,
    /// Where systemd-networkd says which links it manages.
    pub networkd_links: PathBuf,
    /// Folder of NetworkManager's own profiles.
    pub networkmanager_dir: PathBuf,
    /// Where NetworkManager says which links it manages.
    pub networkmanager_devices: PathBuf,
    /// Links that are changed although another program manages them; `*` stands for any text.
    pub take_over: Vec<String>,
    /// The port at which people come in: the link they come by is not taken down.
    pub ssh_port: u16,
}

/// By what links come back after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// What this host has.
    Auto,
    /// ifupdown2, as Proxmox has it: `/etc/network/interfaces.d`.
    Interfaces,
    /// systemd-networkd: `/etc/systemd/network`.
    Networkd,
    /// NetworkManager: `/etc/NetworkManager/system-connections`.
    #[serde(rename = "networkmanager")]
    NetworkManager,
    /// Nothing.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            persistence: Persistence::Auto,
            interfaces_dir: "/etc/network/interfaces.d".into(),
            networkd_dir: "/etc/systemd/network".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            networkd_links: "/run/systemd/netif/links".into(),
            networkmanager_dir: "/etc/NetworkManager/system-connections".into(),
            networkmanager_devices: "/run/NetworkManager/devices".into(),
            take_over: Vec::new(),
            ssh_port: 22,
        }
    }
}

/// What says that ifupdown2 brings links up here.
const IFUPDOWN2: [&str; 2] = ["/usr/sbin/ifreload", "/sbin/ifreload"];

impl Settings {
    /// Whether networkd was started: the folders in which it tells of itself are always there, the file is not.
    fn networkd_runs(&self) -> bool {
        self.networkd_links.with_file_name("state").exists()
    }

    /// By what links come back on this host; never [`Persistence::Auto`].
    pub fn mechanism(&self) -> Persistence {
        match self.persistence {
            Persistence::Auto if IFUPDOWN2.iter().any(|program| Path::new(program).exists()) => Persistence::Interfaces,
            Persistence::Auto if self.networkd_runs() && self.networkd_dir.is_dir() => Persistence::Networkd,
            Persistence::Auto if self.networkmanager_devices.is_dir() && self.networkmanager_dir.is_dir() => {
                Persistence::NetworkManager
            }
            Persistence::Auto => Persistence::None,
            said => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_brings_links_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = Settings {
            networkd_links: at("netif/links"),
            networkd_dir: at("network"),
            networkmanager_devices: at("devices"),
            networkmanager_dir: at("connections"),
            ..Settings::default()
        };
        for name in ["netif/links", "network"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let mechanism = || format!("{:?}", settings.mechanism());
        if mechanism() == "Interfaces" {
            return;
        }
        assert_eq!(mechanism(), "None", "its folders are there, it is not");
        for name in ["devices", "connections"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        assert_eq!(mechanism(), "NetworkManager");
        std::fs::write(at("netif/state"), "").unwrap();
        assert_eq!(mechanism(), "Networkd");
    }
}

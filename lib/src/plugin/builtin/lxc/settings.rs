//! Where things of containers are on this host.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[settings]` of the plugin. What is not said is where Proxmox VE has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Proxmox's cluster file system.
    pub pve: PathBuf,
    /// Proxmox's container tool.
    pub pct: PathBuf,
    /// Where LXC has its containers; the control sockets of those that run are named after it.
    pub lxc: PathBuf,
    /// Where LXC's tools are, for hosts without Proxmox.
    pub lxc_tools: PathBuf,
    /// The kernel's list of Unix sockets: a container that runs has one.
    pub unix_sockets: PathBuf,
    /// The kernel's list of links.
    pub links: PathBuf,
    /// Where Proxmox locks containers.
    pub config_locks: PathBuf,
    /// Where Proxmox locks storages.
    pub storage_locks: PathBuf,
    /// Makes SSH host keys.
    pub ssh_keygen: PathBuf,
    /// Unpacks archives.
    pub tar: PathBuf,
    /// Copies folders.
    pub cp: PathBuf,
    /// The storage for new containers that name none.
    pub storage: Option<String>,
    /// How long to wait for a lock of Proxmox.
    pub lock_timeout_s: u64,
    /// How long a container may take to shut down.
    pub stop_timeout_s: u64,
    /// A storage with less free space gets no new container.
    pub min_free_mib: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pve: "/etc/pve".into(),
            pct: "/usr/sbin/pct".into(),
            lxc: "/var/lib/lxc".into(),
            lxc_tools: "/usr/bin".into(),
            unix_sockets: "/proc/net/unix".into(),
            links: "/sys/class/net".into(),
            config_locks: "/run/lock/lxc".into(),
            storage_locks: "/var/lock/pve-manager".into(),
            ssh_keygen: "/usr/bin/ssh-keygen".into(),
            tar: "/usr/bin/tar".into(),
            cp: "/usr/bin/cp".into(),
            storage: None,
            lock_timeout_s: 10,
            stop_timeout_s: 60,
            min_free_mib: 256,
        }
    }
}

impl Settings {
    /// Whether this host is a Proxmox node. One whose cluster file system is not mounted is one all the same: its tool is
    /// there.
    #[must_use]
    pub fn is_proxmox(&self) -> bool {
        self.is_mounted() || self.pct.exists()
    }

    /// Whether Proxmox's cluster file system is there: it alone has this link.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        self.pve.join("local").is_symlink()
    }

    /// Whether this host has LXC and no Proxmox.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.is_proxmox() && self.lxc.is_dir() && self.lxc_tools.join("lxc-start").exists()
    }

    /// Where what is known of golden images is kept.
    #[must_use]
    pub fn golden(&self) -> PathBuf {
        if self.is_plain() { self.lxc.join("op-dbus-golden") } else { self.pve.join("op-dbus/golden") }
    }

    /// The configuration file of a container of Proxmox.
    #[must_use]
    pub fn config(&self, node: &str, id: &str) -> PathBuf {
        self.pve.join("nodes").join(node).join("lxc").join(format!("{id}.conf"))
    }

    /// The lock of one container.
    #[must_use]
    pub fn config_lock(&self, id: &str) -> PathBuf {
        self.config_locks.join(format!("pve-config-{id}.lock"))
    }

    /// The lock of one storage of this node.
    #[must_use]
    pub fn storage_lock(&self, storage: &str) -> PathBuf {
        self.storage_locks.join(format!("pve-storage-{storage}"))
    }
}

/// A path as text.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

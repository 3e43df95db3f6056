//! What containers there are: Proxmox's files and the kernel's list of sockets. Nothing is run and nothing is locked.

use super::config::Config;
use super::members;
use super::settings::Settings;
use crate::base::{Error, Kind, Result};
use crate::store::file;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A container that Proxmox has.
#[derive(Debug, Clone)]
pub struct Found {
    /// The Proxmox node it is on.
    pub node: String,
    /// Whether that is this one.
    pub is_here: bool,
    /// Its configuration.
    pub config: Config,
}

/// The name of this Proxmox node.
pub fn this_node(settings: &Settings) -> Result<String> {
    let local = settings.pve.join("local");
    let link = fs::read_link(&local).ok();
    let name = link.as_deref().and_then(|link| link.file_name()).and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::new(Kind::Unavailable, "Proxmox's cluster file system is not mounted, so its containers cannot be seen")
            .on(settings.pve.display().to_string())
            .hint("systemctl start pve-cluster; journalctl -u pve-cluster says why it does not")
    })
}

/// Refuses to write where Proxmox would not: a cluster without quorum is read-only.
pub fn check_writable(settings: &Settings, node: &str) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    if settings.is_plain() {
        return Ok(());
    }
    let folder = settings.pve.join("nodes").join(node).join("lxc");
    let is_open = |found: std::io::Result<fs::Metadata>, bits: u32| found.is_ok_and(|m| m.mode() & bits != 0);
    if is_open(settings.pve.join("local").symlink_metadata(), 0o222) && is_open(folder.metadata(), 0o200) {
        return Ok(());
    }
    Err(Error::refused("the cluster has no quorum, so Proxmox's configuration is read-only and nothing can be changed")
        .on(settings.pve.display().to_string())
        .hint("see `pvecm status`; bring the other nodes back first"))
}

/// The names of the Proxmox nodes.
fn nodes(settings: &Settings) -> Result<Vec<String>> {
    let folder = settings.pve.join("nodes");
    let entries = fs::read_dir(&folder).map_err(|error| Error::io("list the Proxmox nodes", &folder, &error))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The containers of the cluster by number; those called `only` when that is said.
pub fn containers(settings: &Settings, only: Option<&BTreeSet<String>>) -> Result<BTreeMap<String, Found>> {
    let here = this_node(settings)?;
    let mut found = BTreeMap::new();
    for node in nodes(settings)? {
        let is_here = node == here;
        let names: Vec<String> = match only {
            Some(names) => names.iter().cloned().collect(),
            None => {
                let entries = fs::read_dir(settings.pve.join("nodes").join(&node).join("lxc"));
                let names =
                    entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.filter_map(|name| name.strip_suffix(".conf").map(str::to_owned)).collect()
            }
        };
        for id in names.into_iter().filter(|id| is_id(id)) {
            if let Some(text) = file::read(&settings.config(&node, &id))? {
                found.insert(id, Found { node: node.clone(), is_here, config: Config::parse(&text) });
            }
        }
    }
    Ok(found)
}

/// Whether a text is the number of a guest.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (3..=9).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The Proxmox node on which a virtual machine has this number.
pub fn machine_at(settings: &Settings, id: &str) -> Result<Option<String>> {
    let has =
        |node: &String| settings.pve.join("nodes").join(node).join("qemu-server").join(format!("{id}.conf")).exists();
    Ok(nodes(settings)?.into_iter().find(has))
}

/// The containers that run: each has a control socket.
pub fn running(settings: &Settings) -> Result<BTreeSet<String>> {
    let sockets = fs::read(&settings.unix_sockets)
        .map_err(|error| Error::io("read which containers run", &settings.unix_sockets, &error))?;
    Ok(running_in(&String::from_utf8_lossy(&sockets), &settings.lxc.display().to_string()))
}

fn running_in(sockets: &str, lxc: &str) -> BTreeSet<String> {
    let begin = format!(" @{lxc}/");
    let ids = sockets.lines().filter_map(|line| {
        let (_, rest) = line.split_once(&begin)?;
        rest.strip_suffix("/command")
    });
    ids.map(str::to_owned).collect()
}

/// A container as it is in the state document.
#[must_use]
pub fn item_of(id: &str, found: &Found, running: &BTreeSet<String>) -> Map<String, Value> {
    let mut item = members::of_config(&found.config);
    item.insert("node".into(), json!(found.node));
    if found.is_here {
        item.insert("status".into(), json!(if running.contains(id) { "running" } else { "stopped" }));
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_control_socket_runs() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 29302 @/var/lib/lxc/101/command\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 29303 @/var/lib/lxc/102/other\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 29304 /run/dbus/system_bus_socket\n";
        assert_eq!(running_in(sockets, "/var/lib/lxc"), BTreeSet::from(["101".to_owned()]));
        assert!(is_id("100") && is_id("999999999") && !is_id("99") && !is_id("0100") && !is_id("1e3"));
    }
}

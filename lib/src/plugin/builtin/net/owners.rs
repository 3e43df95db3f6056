//! Whose a link is besides ours: another program's that manages it, or of whoever comes in by it.

use super::kernel::Snapshot;
use super::netlink::numbers::RT_TABLE_MAIN;
use super::profile::networkmanager;
use super::settings::Settings;
use crate::base::name::matches;
use crate::store::file;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The program that manages a link, and would undo what is done to it; nothing when there is none, or when the settings
/// say to take the link over.
pub fn manager(settings: &Settings, name: &str, index: u32) -> Option<&'static str> {
    if settings.take_over.iter().any(|pattern| matches(pattern, name)) {
        return None;
    }
    let read = |folder: &Path| file::read(&folder.join(index.to_string())).ok().flatten().unwrap_or_default();
    let networkd = read(&settings.networkd_links);
    let of_networkd =
        value(&networkd, "ADMIN_STATE").is_some_and(|state| !matches!(state, "unmanaged" | "initialized" | "pending"));
    if of_networkd && !value(&networkd, "NETWORK_FILE").is_some_and(|file| file.contains("/50-op-dbus-")) {
        return Some("systemd-networkd");
    }
    let device = read(&settings.networkmanager_devices);
    // What NetworkManager calls generated it only watches.
    let is_managed = matches!(value(&device, "managed"), Some("true" | "1" | "managed"));
    let is_ours = value(&device, "connection-uuid").is_some_and(|uuid| uuid == networkmanager::uuid(name));
    let of_nm = is_managed && !is_ours && value(&device, "nm-generated") != Some("true");
    of_nm.then_some("NetworkManager")
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// Why a link must not go away: whoever depends on it. Nothing when nobody does.
pub fn dependent(settings: &Settings, now: &Snapshot, name: &str) -> Option<String> {
    let link = now.named(name)?;
    let is_default = |route: &&super::kernel::Route| {
        route.link == Some(link.index) && route.prefix_length == 0 && route.table == RT_TABLE_MAIN
    };
    if now.routes.iter().any(|route| is_default(&route)) {
        return Some("the default route leads over it".into());
    }
    let sessions = sessions(settings.ssh_port);
    let mut own = now.addresses.iter().filter(|address| address.index == link.index).map(|address| address.ip);
    own.find(|ip| sessions.contains(ip)).map(|ip| format!("somebody is logged in over ssh by its address {ip}"))
}

/// The addresses at which somebody is connected to ssh.
pub fn sessions(port: u16) -> BTreeSet<IpAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(|line| connected_at(line, port)).collect()
}

/// The local address of a line of `/proc/net/tcp`, when it is an established connection to this port.
fn connected_at(line: &str, port: u16) -> Option<IpAddr> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (ip, found) = local.split_once(':')?;
    if state != ESTABLISHED || u16::from_str_radix(found, 16) != Ok(port) || !ip.is_ascii() {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match ip.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_logged_in() {
        let line = "   1: 0100007F:0016 0100007F:D2F0 01 00000000:00000000 02:000A 00000000     0        0 1 4";
        assert_eq!(connected_at(line, 22), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(connected_at(line, 2222), None);
        assert_eq!(connected_at(&line.replace(" 01 ", " 0A "), 22), None, "who listens is nobody yet");
        let mapped = line.replace("0100007F:0016", "0000000000000000FFFF00000100007F:0016");
        assert_eq!(connected_at(&mapped, 22), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(connected_at("  sl  local_address rem_address   st", 22), None);
        assert_eq!(connected_at("1: é000007:0016 x 01", 22), None);
    }

    #[test]
    fn who_manages_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            networkd_links: folder.path().join("links"),
            networkmanager_devices: folder.path().join("devices"),
            take_over: vec!["br*".into()],
            ..Settings::default()
        };
        let write = |what: &str, text: &str| {
            let path = folder.path().join(what);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let of = |name: &str, index| manager(&settings, name, index);
        assert_eq!(of("eth0", 2), None);
        write(
            "links/2",
            "# This is private data.\nADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/lan.network\n",
        );
        write("links/3", "ADMIN_STATE=unmanaged\n");
        write("links/4", "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/50-op-dbus-eth4.network\n");
        write("devices/5", "[device]\nmanaged=true\nconnection-uuid=1\n");
        write("devices/6", "[device]\nmanaged=true\nnm-generated=true\n");
        write("devices/7", "[device]\nmanaged=false\n");
        assert_eq!(
            [2, 3, 4, 5, 6, 7].map(|index| of("eth0", index)),
            [Some("systemd-networkd"), None, None, Some("NetworkManager"), None, None]
        );
        assert_eq!(of("br0", 2), None, "the settings say so");
    }
}

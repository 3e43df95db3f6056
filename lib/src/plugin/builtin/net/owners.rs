//! Whose a link is besides ours: another program's that manages it, or of whoever comes in by it.

use super::kernel::Snapshot;
use super::netlink::numbers::RT_TABLE_MAIN;
use super::profile::networkmanager;
use super::settings::Settings;
use crate::base::name::matches;
use crate::store::file;
use std::cell::OnceCell;
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
    let is_managed = matches!(value(&device, "managed"), Some("true" | "1" | "managed"));
    let is_left_alone = |uuid: &str| uuid == networkmanager::uuid(name) || is_only_watched(settings, uuid);
    let of_nm = is_managed && !value(&device, "connection-uuid").is_some_and(is_left_alone);
    of_nm.then_some("NetworkManager")
}

/// Whether NetworkManager made this profile to show what somebody else has set up. Those lie in memory, beside its state
/// of devices, and are marked so; one that it made for a wired link without any is generated too, but not external.
fn is_only_watched(settings: &Settings, uuid: &str) -> bool {
    let in_memory = settings.networkmanager_devices.with_file_name("system-connections");
    let Ok(profiles) = std::fs::read_dir(in_memory) else { return false };
    profiles.flatten().filter_map(|profile| file::read(&profile.path()).ok().flatten()).any(|profile| {
        value(&profile, "uuid") == Some(uuid) && value(&profile, "external").is_some_and(|is| is == "true")
    })
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// Why a link must not go away: whoever depends on it. Nothing when nobody does.
pub fn dependent(sessions: &Sessions, now: &Snapshot, name: &str) -> Option<String> {
    let link = now.named(name)?;
    let is_default = |route: &&super::kernel::Route| {
        route.link == Some(link.index) && route.prefix_length == 0 && route.table == RT_TABLE_MAIN
    };
    if now.routes.iter().any(|route| is_default(&route)) {
        return Some("the default route leads over it".into());
    }
    let mut own = now.addresses.iter().filter(|address| address.index == link.index).map(|address| address.ip);
    own.find(|ip| sessions.has(*ip)).map(|ip| format!("somebody is logged in over ssh by its address {ip}"))
}

/// The addresses at which somebody is connected to ssh. The kernel takes ten milliseconds to tell, so it is asked once, and
/// not before it matters.
#[derive(Debug)]
pub struct Sessions {
    port: u16,
    found: OnceCell<BTreeSet<IpAddr>>,
}

impl Sessions {
    /// Of the service at this port.
    pub fn at(port: u16) -> Self {
        Self { port, found: OnceCell::new() }
    }

    /// Whether somebody is connected at this address.
    pub fn has(&self, ip: IpAddr) -> bool {
        let read = || {
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
            let tables = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
            tables.iter().flat_map(|table| table.lines()).filter_map(|line| connected_at(line, self.port)).collect()
        };
        self.found.get_or_init(read).contains(&ip)
    }
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
        write("devices/6", "[device]\nmanaged=true\nconnection-uuid=2\nnm-owned=false\n");
        write("devices/7", "[device]\nmanaged=false\n");
        write("devices/8", &format!("[device]\nmanaged=true\nconnection-uuid={}\n", networkmanager::uuid("eth0")));
        write("system-connections/2.nmconnection", "[connection]\nuuid=2\n\n[.nmmeta]\nexternal=true\n");
        write("system-connections/1.nmconnection", "[connection]\nuuid=1\n\n[.nmmeta]\nnm-generated=true\n");
        assert_eq!(
            [2, 3, 4, 5, 6, 7, 8].map(|index| of("eth0", index)),
            [Some("systemd-networkd"), None, None, Some("NetworkManager"), None, None, None]
        );
        assert_eq!(of("br0", 2), None, "the settings say so");
    }
}

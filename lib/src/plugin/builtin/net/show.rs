//! What the kernel has, in nmstate's words: links by name, routes as a sorted list.

use super::kernel::{Address, Link, Route, Snapshot};
use super::netlink::numbers as n;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Modes of a bond, by the kernel's numbers.
pub const BOND_MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// Options of a bridge: the path in nmstate's words, the kernel's number, its size, and how many of its units are one.
pub const BRIDGE_OPTIONS: &[(&str, u16, Size, u32)] = &[
    ("group-forward-mask", n::IFLA_BR_GROUP_FWD_MASK, Size::U16, 1),
    ("mac-ageing-time", n::IFLA_BR_AGEING_TIME, Size::U32, 100),
    ("multicast-snooping", n::IFLA_BR_MCAST_SNOOPING, Size::Bool8, 1),
    ("stp.enabled", n::IFLA_BR_STP_STATE, Size::Bool32, 1),
    ("stp.forward-delay", n::IFLA_BR_FORWARD_DELAY, Size::U32, 100),
    ("stp.hello-time", n::IFLA_BR_HELLO_TIME, Size::U32, 100),
    ("stp.max-age", n::IFLA_BR_MAX_AGE, Size::U32, 100),
    ("stp.priority", n::IFLA_BR_PRIORITY, Size::U16, 1),
    ("vlan-filtering", n::IFLA_BR_VLAN_FILTERING, Size::Bool8, 1),
];

/// How an option travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Bool8,
    Bool32,
    U16,
    U32,
}

impl Size {
    /// Whether it is true or false.
    pub fn is_bool(self) -> bool {
        matches!(self, Self::Bool8 | Self::Bool32)
    }
}

/// All links, by name.
pub fn interfaces(now: &Snapshot) -> Map<String, Value> {
    now.links.values().map(|link| (link.name.clone(), interface(now, link))).collect()
}

/// The word for a link's type; `linux-bridge` is nmstate's.
pub fn type_of(link: &Link) -> String {
    match (&*link.kind, link.hardware) {
        ("bridge", _) => "linux-bridge".into(),
        ("", n::ARPHRD_ETHER) => "ethernet".into(),
        ("", n::ARPHRD_LOOPBACK) => "loopback".into(),
        ("", _) => "unknown".into(),
        (kind, _) => kind.into(),
    }
}

fn interface(now: &Snapshot, link: &Link) -> Value {
    let mut item = json!({
        "type": type_of(link),
        "state": if link.is_up { "up" } else { "down" },
        "mtu": link.mtu,
        "ipv4": family(now, link, true),
        "ipv6": family(now, link, false),
    });
    if let Some(mac) = &link.mac {
        item["mac-address"] = json!(mac);
    }
    if let Some(controller) = now.name_of(link.controller) {
        item["controller"] = json!(controller);
    }
    let ports = |show: &dyn Fn(&str) -> Value| {
        let ports = now.links.values().filter(|port| port.controller == Some(link.index));
        sorted(ports.map(|port| show(&port.name)).collect())
    };
    let base = now.name_of(link.base);
    match &*link.kind {
        "bridge" => {
            let ports = ports(&|name| json!({ "name": name }));
            item["bridge"] = json!({"options": bridge_options(link), "port": ports});
        }
        "bond" => {
            if let Some((mode, miimon)) = link.bond {
                let mode = BOND_MODES.get(usize::from(mode)).copied().unwrap_or("unknown");
                item["link-aggregation"] =
                    json!({"mode": mode, "options": {"miimon": miimon}, "port": ports(&|name| json!(name))});
            }
        }
        "vlan" => {
            if let Some((id, protocol)) = link.vlan {
                let protocol = if protocol == 0x88a8 { "802.1ad" } else { "802.1q" };
                item["vlan"] = json!({"id": id, "protocol": protocol});
                base.iter().for_each(|base| item["vlan"]["base-iface"] = json!(base));
            }
        }
        "veth" => base.iter().for_each(|peer| item["veth"] = json!({ "peer": peer })),
        _ => {}
    }
    item
}

fn bridge_options(link: &Link) -> Value {
    let mut options = json!({"stp": {}});
    for (path, number, size, units) in BRIDGE_OPTIONS {
        let Some(value) = link.bridge.get(number) else { continue };
        let value = if size.is_bool() { json!(*value != 0) } else { json!(value / units) };
        match path.split_once('.') {
            Some((group, name)) => options[group][name] = value,
            // Not a word of nmstate, so it is shown where it says something.
            None if *path == "vlan-filtering" && value == json!(false) => {}
            None => options[*path] = value,
        }
    }
    options
}

fn family(now: &Snapshot, link: &Link, is_v4: bool) -> Value {
    let of_link = |address: &&Address| address.index == link.index && address.ip.is_ipv4() == is_v4;
    let all: Vec<&Address> = now.addresses.iter().filter(of_link).filter(|address| !address.is_kernels).collect();
    let listed = all.iter().filter(|address| address.is_permanent);
    let listed = sorted(listed.map(|found| address(found.ip, found.prefix_length)).collect());
    let is_enabled = if is_v4 { !all.is_empty() } else { link.has_ipv6 };
    let mut value = json!({"enabled": is_enabled, "address": listed});
    if all.iter().any(|address| !address.is_permanent) {
        value[if is_v4 { "dhcp" } else { "autoconf" }] = json!(true);
    }
    value
}

/// An address in nmstate's words.
pub fn address(ip: IpAddr, prefix_length: u8) -> Value {
    json!({"ip": ip.to_string(), "prefix-length": prefix_length})
}

/// Protocols of routes that people and files set. The others belong to the kernel, to DHCP, to routing daemons.
const OF_PEOPLE: [u8; 2] = [3, n::RTPROT_STATIC];

/// Routes that were set by people or files.
pub fn routes(now: &Snapshot) -> Value {
    let is_set = |route: &&Route| OF_PEOPLE.contains(&route.protocol) && route.table != n::RT_TABLE_LOCAL;
    let list = now.routes.iter().filter(is_set).map(|route| {
        let mut value = json!({
            "destination": format!("{}/{}", route.destination, route.prefix_length),
            "metric": route.metric,
            "table-id": route.table,
        });
        route.gateway.iter().for_each(|gateway| value["next-hop-address"] = json!(gateway.to_string()));
        now.name_of(route.link).iter().for_each(|name| value["next-hop-interface"] = json!(name));
        value
    });
    json!({"config": sorted(list.collect())})
}

/// A list in the order that does not depend on how it came about.
pub fn sorted(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_cached_key(ToString::to_string);
    list.dedup();
    list
}

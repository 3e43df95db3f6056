//! ifupdown2, as Proxmox has it: `/etc/network/interfaces.d/op-dbus-NAME`.
//!
//! ```text
//! auto br0
//! iface br0 inet static
//!     address 192.0.2.1/24
//!     bridge-ports v0
//! ```

use super::super::show::BRIDGE_OPTIONS;
use super::super::wishes::item::{at, list};
use super::{Files, ROUTES, addresses, setting, word};
use crate::base::Error;
use crate::store::file;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How our files are called.
pub const PREFIX: &str = "op-dbus-";

/// Words of ifupdown2 for options of a bridge.
const BRIDGE_WORDS: [(&str, &str); 6] = [
    ("stp.enabled", "bridge-stp"),
    ("stp.forward-delay", "bridge-fd"),
    ("stp.hello-time", "bridge-hello"),
    ("stp.max-age", "bridge-maxage"),
    ("mac-ageing-time", "bridge-ageing"),
    ("vlan-filtering", "bridge-vlan-aware"),
];

/// The file of a link.
pub fn render(folder: &Path, name: &str, declared: &Value) -> Files {
    let mut text = String::new();
    if at(declared, "state").is_none_or(|state| state == "up") {
        text.push_str(&format!("auto {name}\n"));
    }
    let (v4, v6) = (addresses(declared, "ipv4.address"), addresses(declared, "ipv6.address"));
    text.push_str(&format!("iface {name} inet {}\n", if v4.is_empty() { "manual" } else { "static" }));
    let mut line = |key: &str, value: &str| text.push_str(&format!("    {key} {value}\n"));
    v4.iter().for_each(|address| line("address", address));
    for (path, key) in [("mtu", "mtu"), ("mac-address", "hwaddress")] {
        at(declared, path).iter().for_each(|value| line(key, &word(value, "", "").to_lowercase()));
    }
    let names = |path: &str| {
        let names: Vec<&str> =
            list(declared, path).iter().filter_map(|port| port.as_str().or_else(|| port["name"].as_str())).collect();
        if names.is_empty() { "none".into() } else { names.join(" ") }
    };
    match at(declared, "type").and_then(Value::as_str) {
        Some("linux-bridge") => {
            line("bridge-ports", &names("bridge.port"));
            for (path, key) in BRIDGE_WORDS {
                let value = at(declared, &format!("bridge.options.{path}"));
                value.iter().for_each(|value| line(key, &word(value, "on", "off")));
            }
            debug_assert!(BRIDGE_WORDS.iter().all(|(path, _)| BRIDGE_OPTIONS.iter().any(|(known, ..)| known == path)));
        }
        Some("bond") => {
            line("bond-slaves", &names("link-aggregation.port"));
            at(declared, "link-aggregation.mode").iter().for_each(|mode| line("bond-mode", &word(mode, "", "")));
            let miimon = at(declared, "link-aggregation.options.miimon");
            miimon.iter().for_each(|miimon| line("bond-miimon", &miimon.to_string()));
        }
        Some("vlan") => {
            at(declared, "vlan.base-iface").iter().for_each(|base| line("vlan-raw-device", &word(base, "", "")));
            at(declared, "vlan.id").iter().for_each(|id| line("vlan-id", &id.to_string()));
            at(declared, "vlan.protocol").iter().for_each(|protocol| line("vlan-protocol", &word(protocol, "", "")));
        }
        Some("veth") => {
            line("link-type", "veth");
            at(declared, "veth.peer").iter().for_each(|peer| line("veth-peer-name", &word(peer, "", "")));
        }
        Some("dummy") => line("link-type", "dummy"),
        _ => {}
    }
    for route in list(declared, ROUTES) {
        let mut way = word(&route["destination"], "", "");
        for (member, key) in [("next-hop-address", "via"), ("metric", "metric"), ("table-id", "table")] {
            route.get(member).iter().for_each(|value| way.push_str(&format!(" {key} {}", word(value, "", ""))));
        }
        line("post-up", &format!("ip route replace {way} dev {name}"));
    }
    if !v6.is_empty() {
        text.push_str(&format!("iface {name} inet6 static\n"));
        v6.iter().for_each(|address| text.push_str(&format!("    address {address}\n")));
    }
    vec![(folder.join(format!("{PREFIX}{name}")), text)]
}

/// Why a file of ours would not be read, or would contradict another.
pub fn conflict(folder: &Path, name: &str) -> Option<Error> {
    let main = folder.parent().unwrap_or(Path::new("/")).join("interfaces");
    let main_text = file::read(&main).ok().flatten().unwrap_or_default();
    let last = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reads_folder = |line: &str| line.trim_start().starts_with("source") && line.contains(&last);
    if !main_text.lines().any(reads_folder) {
        let what = format!("{} does not read {}", main.display(), folder.display());
        let hint = format!("add the line: source {}/*; or see {}", folder.display(), setting("interfaces_dir"));
        return Some(Error::refused(what).hint(hint));
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let others =
        entries.filter(|path| !path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(PREFIX)));
    let others: Vec<PathBuf> = others.chain([main]).collect();
    let describes = |path: &&PathBuf| {
        let text = file::read(path).ok().flatten().unwrap_or_default();
        text.lines().any(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("iface") && words.next() == Some(name)
        })
    };
    let other = others.iter().find(describes)?;
    let what = format!("{} describes {name} already", other.display());
    Some(Error::refused(what).hint("take it out there, or leave \"persistent\" out here"))
}

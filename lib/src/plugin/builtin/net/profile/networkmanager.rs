//! NetworkManager: `/etc/NetworkManager/system-connections/op-dbus-NAME.nmconnection`, a key file, which only root may read.
//!
//! ```text
//! [connection]
//! id=op-dbus-br0
//! uuid=...
//! type=bridge
//! interface-name=br0
//! ```

use super::super::wishes::item::{at, list};
use super::{Files, ROUTES, addresses, word};
use crate::base::{Error, digest};
use crate::store::file;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How our files are called.
pub const PREFIX: &str = "op-dbus-";
/// How they end.
pub const ENDING: &str = ".nmconnection";

/// NetworkManager's words for options of a bridge.
const BRIDGE_WORDS: [(&str, &str); 9] = [
    ("group-forward-mask", "group-forward-mask"),
    ("mac-ageing-time", "ageing-time"),
    ("multicast-snooping", "multicast-snooping"),
    ("stp.enabled", "stp"),
    ("stp.forward-delay", "forward-delay"),
    ("stp.hello-time", "hello-time"),
    ("stp.max-age", "max-age"),
    ("stp.priority", "priority"),
    ("vlan-filtering", "vlan-filtering"),
];

/// The profile's own name among NetworkManager's: the same for the same link.
pub fn uuid(link: &str) -> String {
    let digest = digest::of_bytes("networkmanager profile", link.as_bytes());
    let hex = &digest["sha256:".len()..];
    // Version 8: made by rules of our own.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}

/// The file of a link, seen among all that are declared.
pub fn render(folder: &Path, name: &str, declared: &Value, all: &BTreeMap<String, Value>) -> Files {
    let mut text = String::new();
    let kind = match at(declared, "type").and_then(Value::as_str).unwrap_or("ethernet") {
        "linux-bridge" => "bridge",
        other => other,
    };
    let mut section = |title: &str, lines: &[(&str, Option<String>)]| {
        if lines.iter().any(|(_, value)| value.is_some()) {
            let begin = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{begin}[{title}]\n"));
            lines.iter().for_each(|(key, value)| {
                value.iter().for_each(|value| text.push_str(&format!("{key}={value}\n")));
            });
        }
    };
    let said = |path: &str| at(declared, path).map(|value| word(value, "true", "false"));
    let controller = at(declared, "controller").and_then(Value::as_str).filter(|name| !name.is_empty());
    let of_bond = |name: &str| all.get(name).and_then(|declared| at(declared, "type")?.as_str()) == Some("bond");
    let is_down = at(declared, "state").is_some_and(|state| state == "down");
    section(
        "connection",
        &[
            ("id", Some(format!("{PREFIX}{name}"))),
            ("uuid", Some(uuid(name))),
            ("type", Some(kind.to_owned())),
            ("interface-name", Some(name.to_owned())),
            ("autoconnect", is_down.then(|| "false".to_owned())),
            // Newer versions say controller, and understand these.
            ("master", controller.map(str::to_owned)),
            ("slave-type", controller.map(|name| if of_bond(name) { "bond" } else { "bridge" }.to_owned())),
        ],
    );
    section("ethernet", &[("mtu", said("mtu")), ("cloned-mac-address", said("mac-address"))]);
    match kind {
        "bridge" => {
            let option = |(path, key): (&str, &'static str)| (key, said(&format!("bridge.options.{path}")));
            section("bridge", &BRIDGE_WORDS.map(option));
        }
        "bond" => {
            section(
                "bond",
                &[("mode", said("link-aggregation.mode")), ("miimon", said("link-aggregation.options.miimon"))],
            );
        }
        "vlan" => section(
            "vlan",
            &[("parent", said("vlan.base-iface")), ("id", said("vlan.id")), ("protocol", said("vlan.protocol"))],
        ),
        "veth" => section("veth", &[("peer", said("veth.peer"))]),
        _ => {}
    }
    // A port has no addresses of its own.
    if controller.is_none() {
        for (family, none) in [("ipv4", "disabled"), ("ipv6", "ignore")] {
            let lines = of_family(declared, family, none);
            let lines: Vec<(&str, Option<String>)> =
                lines.iter().map(|(key, value)| (key.as_str(), Some(value.clone()))).collect();
            section(family, &lines);
        }
    }
    vec![(folder.join(format!("{PREFIX}{name}{ENDING}")), text)]
}

fn of_family(declared: &Value, family: &str, none: &str) -> Vec<(String, String)> {
    let addresses = addresses(declared, &format!("{family}.address"));
    let is_off = at(declared, &format!("{family}.enabled")).is_some_and(|value| *value == Value::Bool(false));
    let method = match (addresses.is_empty(), is_off) {
        (false, _) => "manual",
        (true, true) => "disabled",
        (true, false) => none,
    };
    let mut lines = vec![("method".to_owned(), method.to_owned())];
    let numbered = |what: &str, at: usize| format!("{what}{}", at + 1);
    lines.extend(addresses.into_iter().enumerate().map(|(at, address)| (numbered("address", at), address)));
    let is_of = |route: &&Value| {
        route["destination"].as_str().is_some_and(|destination| destination.contains(':') == (family == "ipv6"))
    };
    for (at, route) in list(declared, ROUTES).iter().filter(is_of).enumerate() {
        let said = |member: &str| route.get(member).map(|value| word(value, "", ""));
        let way = [said("destination"), said("next-hop-address"), said("metric")];
        let way: Vec<String> = way.into_iter().map(Option::unwrap_or_default).collect();
        lines.push((numbered("route", at), way.join(",").trim_end_matches(',').to_owned()));
        if let Some(table) = said("table-id").filter(|table| table != "254" && table != "0") {
            lines.push((numbered("route", at) + "_options", format!("table={table}")));
        }
    }
    lines
}

/// Why a file of ours would contradict another.
pub fn conflict(folder: &Path, name: &str) -> Option<Error> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(PREFIX));
    let line = format!("interface-name={name}");
    let describes = |path: &PathBuf| {
        let text = file::read(path).ok().flatten().unwrap_or_default();
        text.lines().any(|found| found.trim() == line)
    };
    let other = entries.into_iter().find(|path| !is_ours(path) && describes(path))?;
    let what = format!("{} describes {name} already", other.display());
    Some(
        Error::refused(what)
            .hint("delete that connection, or leave \"persistent\" out here; see also the plugin networkmanager"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_always_the_same_uuid() {
        let one = uuid("br0");
        assert_eq!((one.len(), &one[14..15], &one[19..20]), (36, "8", "8"));
        assert_eq!(one, uuid("br0"));
        assert_ne!(one, uuid("br1"));
    }
}

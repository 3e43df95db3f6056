//! systemd-networkd: `/etc/systemd/network/50-op-dbus-NAME.netdev` makes a link, `.network` sets it up.

use super::super::wishes::item::{at, list};
use super::{Files, ROUTES, addresses, word};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// How our files are called.
pub const PREFIX: &str = "50-op-dbus-";

/// networkd's words for options of a bridge.
const BRIDGE_WORDS: [(&str, &str); 8] = [
    ("group-forward-mask", "GroupForwardMask"),
    ("mac-ageing-time", "AgeingTimeSec"),
    ("multicast-snooping", "MulticastSnooping"),
    ("stp.enabled", "STP"),
    ("stp.forward-delay", "ForwardDelaySec"),
    ("stp.hello-time", "HelloTimeSec"),
    ("stp.max-age", "MaxAgeSec"),
    ("stp.priority", "Priority"),
];

/// The files of a link, seen among all that are declared.
pub fn render(folder: &Path, name: &str, declared: &Value, all: &BTreeMap<String, Value>) -> Files {
    let file = |ending: &str| folder.join(format!("{PREFIX}{name}{ending}"));
    let netdev = netdev(name, declared).map(|text| (file(".netdev"), text));
    netdev.into_iter().chain([(file(".network"), network(name, declared, all))]).collect()
}

fn netdev(name: &str, declared: &Value) -> Option<String> {
    let kind = match at(declared, "type").and_then(Value::as_str)? {
        "linux-bridge" => "bridge",
        kind @ ("bond" | "vlan" | "veth" | "dummy") => kind,
        _ => return None,
    };
    let mut text = format!("[NetDev]\nName={name}\nKind={kind}\n");
    let mut line = |key: &str, path: &str| {
        at(declared, path).iter().for_each(|value| text.push_str(&format!("{key}={}\n", word(value, "yes", "no"))));
    };
    line("MTUBytes", "mtu");
    line("MACAddress", "mac-address");
    text.push_str(match kind {
        "bridge" => "\n[Bridge]\n",
        "bond" => "\n[Bond]\n",
        "vlan" => "\n[VLAN]\n",
        "veth" => "\n[Peer]\n",
        _ => "",
    });
    let mut line = |key: &str, path: &str, unit: &str| {
        at(declared, path)
            .iter()
            .for_each(|value| text.push_str(&format!("{key}={}{unit}\n", word(value, "yes", "no"))));
    };
    match kind {
        "bridge" => {
            BRIDGE_WORDS.iter().for_each(|(path, key)| line(key, &format!("bridge.options.{path}"), ""));
            line("VLANFiltering", "bridge.options.vlan-filtering", "");
        }
        "bond" => {
            line("Mode", "link-aggregation.mode", "");
            line("MIIMonitorSec", "link-aggregation.options.miimon", "ms");
        }
        "vlan" => {
            line("Id", "vlan.id", "");
            line("Protocol", "vlan.protocol", "");
        }
        "veth" => line("Name", "veth.peer", ""),
        _ => {}
    }
    Some(text)
}

fn network(name: &str, declared: &Value, all: &BTreeMap<String, Value>) -> String {
    let mut text = format!("[Match]\nName={name}\n");
    let is_down = at(declared, "state").is_some_and(|state| state == "down");
    let link = [
        at(declared, "mtu").map(|mtu| format!("MTUBytes={mtu}\n")),
        is_down.then(|| "ActivationPolicy=down\n".to_owned()),
    ];
    if link.iter().any(Option::is_some) {
        text.push_str("\n[Link]\n");
        link.into_iter().flatten().for_each(|line| text.push_str(&line));
    }
    // A bridge without carrier has its addresses all the same, as it has them now.
    text.push_str("\n[Network]\nConfigureWithoutCarrier=yes\n");
    for path in ["ipv4.address", "ipv6.address"] {
        addresses(declared, path).iter().for_each(|address| text.push_str(&format!("Address={address}\n")));
    }
    if let Some(controller) = at(declared, "controller").and_then(Value::as_str) {
        let kind = all.get(controller).and_then(|declared| at(declared, "type")?.as_str());
        let key = if kind == Some("bond") { "Bond" } else { "Bridge" };
        text.push_str(&format!("{key}={controller}\n"));
    }
    let stands_on_it = |declared: &Value| at(declared, "vlan.base-iface").and_then(Value::as_str) == Some(name);
    for (vlan, _) in all.iter().filter(|(_, declared)| stands_on_it(declared)) {
        text.push_str(&format!("VLAN={vlan}\n"));
    }
    for route in list(declared, ROUTES) {
        text.push_str("\n[Route]\n");
        for (member, key) in [
            ("destination", "Destination"),
            ("next-hop-address", "Gateway"),
            ("metric", "Metric"),
            ("table-id", "Table"),
        ] {
            route.get(member).iter().for_each(|value| text.push_str(&format!("{key}={}\n", word(value, "", ""))));
        }
    }
    text
}

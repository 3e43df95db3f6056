//! Bridges and ports that are to go: what goes with them, and whether they may.

use super::database::Port;
use super::wishes::{DEFAULT, TAKE_OFF_FLOWS, Wishes, not_ours};
use super::{BRIDGES, PORTS};
use crate::base::Error;
use crate::state::Change;
use serde_json::Value;
use std::collections::BTreeMap;

impl Wishes<'_> {
    /// What goes with a bridge that goes, and whether it may.
    pub(super) fn take_along(&mut self) {
        for name in self.absent.get(BRIDGES).cloned().unwrap_or_default() {
            let Some(bridge) = self.snapshot.bridges.get(&name) else { continue };
            let place = format!("{BRIDGES}.{name}");
            if !bridge.is_ours {
                self.error(&place, not_ours("bridge", &name));
                continue;
            }
            let of_bridge: Vec<(&String, &Port)> =
                self.snapshot.shown_ports().filter(|(_, port)| port.bridge == name).collect();
            let foreign: Vec<&str> =
                of_bridge.iter().filter(|(_, p)| !p.is_ours).map(|(name, _)| name.as_str()).collect();
            // Those of guests go with them, which is looked at again when the bridge goes.
            if !foreign.is_empty() && !are_of(&foreign, self.left.get(&name).cloned().unwrap_or_default()) {
                self.error(&place, still_on_it(&foreign));
            }
            let others = self.foreign(&name).into_iter().filter(|(identity, _)| identity != DEFAULT);
            if let Some((_, text)) = others.into_iter().next() {
                let message = format!("flows of others are on it: {text}");
                self.error(&place, Error::refused(message).hint(TAKE_OFF_FLOWS));
            }
            let own = of_bridge.iter().filter(|(_, port)| port.is_ours);
            let own: Vec<String> = own.map(|(name, _)| (*name).clone()).collect();
            self.absent.entry(PORTS).or_default().extend(own);
        }
        for name in self.absent.get(PORTS).cloned().unwrap_or_default() {
            if self.snapshot.ports.get(&name).is_some_and(|port| !port.is_ours) {
                self.error(&format!("{PORTS}.{name}"), not_ours("port", &name));
            }
        }
    }
}

/// Why a bridge stays.
pub fn still_on_it(ports: &[&str]) -> Error {
    Error::refused(format!("ports of others are on it: {}", ports.join(", "))).hint(
        "take them off first: ovs-vsctl del-port; containers that are taken away by the same document take theirs along",
    )
}

/// By bridge, the guests that have a port there and go: one name for each port.
pub type Left = BTreeMap<String, Vec<String>>;

/// Who leaves which bridge: items of other plugins that go and are running say so by a `bridge` of theirs.
pub fn left(above: &[&Change]) -> Left {
    let mut left = Left::new();
    for change in above {
        if let Change::Delete { item, from, .. } = change
            && from.get("status").is_none_or(|status| status == "running")
        {
            collect(item, from, &mut left);
        }
    }
    left
}

fn collect(item: &str, value: &Value, left: &mut Left) {
    match value {
        Value::Object(members) => {
            if let Some(bridge) = members.get("bridge").and_then(Value::as_str) {
                left.entry(bridge.to_owned()).or_default().push(item.to_owned());
            }
            members.values().for_each(|value| collect(item, value, left));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(item, value, left)),
        _ => {}
    }
}

/// Whether each of these ports can be of one of these guests. Proxmox VE calls ports by their guest, LXC by chance.
fn are_of(ports: &[&str], mut guests: Vec<String>) -> bool {
    let (named, others): (Vec<&str>, Vec<&str>) = ports.iter().partition(|port| guest_of(port).is_some());
    let mut is_one = |port: &str| {
        let at = guests.iter().position(|guest| guest_of(port).is_none_or(|of| of == guest));
        at.map(|at| guests.swap_remove(at)).is_some()
    };
    named.into_iter().chain(others).all(&mut is_one)
}

/// The guest of `veth100i0` of a container, `tap100i0` of a virtual machine, `fwln100o0` of either behind the firewall.
fn guest_of(port: &str) -> Option<&str> {
    let forms = [("veth", 'i'), ("tap", 'i'), ("fwln", 'o')];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    forms.iter().find_map(|(before, between)| {
        let (guest, number) = port.strip_prefix(before)?.split_once(*between)?;
        (is_number(guest) && is_number(number)).then_some(guest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn goes(item: &str, from: Value) -> Change {
        Change::Delete { plugin: "lxc".into(), key: "containers".into(), item: item.into(), from }
    }

    #[test]
    fn who_goes_leaves_its_bridges() {
        let networks = json!({"status": "running", "networks": {"net0": {"bridge": "br0"}, "net1": {"bridge": "br1"}, "net2": {}}});
        let stopped = json!({"status": "stopped", "networks": {"net0": {"bridge": "br0"}}});
        let (web, old) = (goes("web", networks), goes("old", stopped));
        let (plugin, key, item) = ("lxc".to_owned(), "containers".to_owned(), "b".to_owned());
        let stays = Change::Update { plugin, key, item, from: json!({"bridge": "br0"}), to: json!({"bridge": "br3"}) };
        let web_only = |bridge: &str| (bridge.to_owned(), vec!["web".to_owned()]);
        assert_eq!(left(&[&web, &old, &stays]), Left::from([web_only("br0"), web_only("br1")]));
    }

    #[test]
    fn ports_of_guests_that_go() {
        for (ports, guests, expected) in [
            (&["veth100i0", "vethA1b2C3"][..], &["100", "web"][..], true),
            (&["vethA1b2C3", "veth100i0"], &["web", "100"], true),
            (&["veth101i0"], &["100"], false),
            (&["vethA1b2C3", "eth1"], &["web"], false),
            (&["fwln100o0", "tap7i1"], &["7", "100"], true),
            (&["eth1"], &[], false),
        ] {
            let guests = guests.iter().map(|guest| (*guest).to_owned()).collect();
            assert_eq!(are_of(ports, guests), expected, "{ports:?}");
        }
    }
}

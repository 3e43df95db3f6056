//! Bridges and ports that are to go: what goes with them, and whether they may.

use super::database::Port;
use super::wishes::{DEFAULT, TAKE_OFF_FLOWS, Wishes, not_ours};
use super::{BRIDGES, PORTS};
use crate::base::Error;

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
            if !foreign.is_empty() {
                let message = format!("ports of others are on it: {}", foreign.join(", "));
                self.error(&place, Error::refused(message).hint("take them off first: ovs-vsctl del-port"));
            }
            let others = self.foreign(&name).into_iter().filter(|(identity, _)| identity != DEFAULT);
            if let Some((_, text)) = others.into_iter().next() {
                let message = format!("flows of others are on it: {text}");
                self.error(&place, Error::refused(message).hint(TAKE_OFF_FLOWS));
            }
            let own: Vec<String> = of_bridge.iter().map(|(name, _)| (*name).clone()).collect();
            self.absent.entry(PORTS).or_default().extend(own);
        }
        for name in self.absent.get(PORTS).cloned().unwrap_or_default() {
            if self.snapshot.ports.get(&name).is_some_and(|port| !port.is_ours) {
                self.error(&format!("{PORTS}.{name}"), not_ours("port", &name));
            }
        }
    }
}

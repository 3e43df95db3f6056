//! What links have to do with each other: ports and controllers, VLANs and what they stand on, the two ends of a pair.

use super::Wishes;
use super::item::{ItemWish, LISTS, MADE, at, list, put};
use crate::base::Error;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The name in an entry of a list of ports.
fn port_name(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("name")?.as_str())
}

impl Wishes<'_> {
    pub(super) fn check_relations(&mut self) {
        self.check_pairs();
        self.check_new();
        self.ports_have_controllers();
        self.controllers_have_ports();
        self.check_bases();
        self.check_loops();
        self.check_absent();
        self.check_addresses();
        self.check_mtus();
    }

    /// What the driver takes, and what a VLAN's base can carry.
    fn check_mtus(&mut self) {
        let mut wrong = Vec::new();
        for (name, wish) in &self.items {
            let Some(mtu) = at(&wish.members, "mtu").and_then(Value::as_u64) else { continue };
            let (least, most) = self.snapshot.named(name).map_or((0, 0), |link| link.mtu_range);
            let of_base = self.text_after(name, "vlan.base-iface").and_then(|base| self.after(base, "mtu")?.as_u64());
            if mtu < u64::from(least) || (most != 0 && mtu > u64::from(most)) {
                wrong.push((name.clone(), format!("is {mtu}, but the driver takes {least} to {most}")));
            } else if let Some(base) = of_base.filter(|base| mtu > *base) {
                wrong.push((name.clone(), format!("is {mtu}, but the link it stands on carries {base}")));
            }
        }
        for (name, what) in wrong {
            self.error(&name, "mtu", Error::bad_input(format!("the MTU {what}")));
        }
    }

    /// A link that is to be made says of what type it is, and what that type needs.
    fn check_new(&mut self) {
        let new: Vec<String> = self.items.keys().filter(|name| self.now(name).is_none()).cloned().collect();
        for name in new {
            let Some(kind) = self.text_after(&name, "type").map(str::to_owned) else {
                let known = MADE.map(|(kind, _)| kind).join(", ");
                let error = Error::bad_input("there is no such link, and the document does not say of what type it is");
                self.error(&name, "type", error.hint(format!("check the spelling, or make it: {known}")));
                continue;
            };
            let needs: &[&str] = match &*kind {
                "vlan" => &["vlan.base-iface", "vlan.id"],
                "bond" => &["link-aggregation.mode"],
                "veth" => &["veth.peer"],
                _ => &[],
            };
            for path in needs {
                if self.after(&name, path).is_none() {
                    self.error(&name, path, Error::bad_input(format!("a new {kind} needs this")));
                }
            }
        }
        // What cannot change on a link that is there.
        let fixed = [("vlan.id", "VLAN id"), ("vlan.base-iface", "base"), ("vlan.protocol", "VLAN protocol")];
        let fixed = fixed.into_iter().chain([("veth.peer", "peer"), ("link-aggregation.mode", "mode")]);
        let changed: Vec<(String, &str, String)> = fixed
            .flat_map(|(path, word)| self.items.iter().map(move |(name, wish)| (name, wish, path, word)))
            .filter_map(|(name, wish, path, word)| {
                let (wanted, now) = (at(&wish.members, path)?, at(self.now(name)?, path)?);
                (wanted != now)
                    .then(|| (name.clone(), path, format!("the {word} of {name} is {now} and cannot become {wanted}")))
            })
            .collect();
        for (name, path, what) in changed {
            let hint = "delete the link first (\"state\": \"absent\"), in a run of its own";
            self.error(&name, path, Error::refused(what).hint(hint));
        }
    }

    /// The two ends of a pair name each other, come together and go together.
    fn check_pairs(&mut self) {
        let new = |wishes: &Self| -> Vec<(String, String)> {
            let is_new = |name: &&String| wishes.now(name).is_none();
            let with_peer = |name: &String| Some((name.clone(), wishes.text_after(name, "veth.peer")?.to_owned()));
            wishes.items.keys().filter(is_new).filter_map(with_peer).collect()
        };
        for (name, peer) in new(self) {
            let what = if peer == name {
                Some("a link is not its own peer".to_owned())
            } else if super::bad_name(&peer).is_some() {
                Some("no link can have this name".into())
            } else if self.now(&peer).is_some() {
                Some(format!("there is a link {peer} already"))
            } else if self.absent.contains(&peer) {
                Some(format!("{peer} is to be absent"))
            } else {
                None
            };
            if let Some(what) = what {
                self.error(&name, "veth.peer", Error::bad_input(what).hint("both ends of a pair are made together"));
                continue;
            }
            let Some(other) = self.items.get_mut(&peer) else { continue };
            match at(&other.members, "veth.peer").and_then(Value::as_str) {
                Some(back) if back != name => {
                    let error = Error::bad_input(format!("{name} calls {peer} its peer, which calls {back} its own"));
                    self.error(&name, "veth.peer", error);
                }
                _ if at(&other.members, "type").is_some_and(|kind| kind != "veth") => {
                    let error = Error::bad_input(format!("{peer} is to be of another type, and so no end of a pair"));
                    self.error(&name, "veth.peer", error);
                }
                _ => {
                    put(&mut other.members, "veth.peer", json!(name));
                    put(&mut other.members, "type", json!("veth"));
                }
            }
        }
        let going: Vec<(String, String)> = self
            .absent
            .iter()
            .filter_map(|name| Some((name.clone(), at(self.now(name)?, "veth.peer")?.as_str()?.to_owned())))
            .collect();
        for (name, peer) in going {
            if self.items.contains_key(&peer) {
                let error = Error::bad_input(format!("{name} is absent, and its peer {peer} is wanted"));
                self.error(&name, "state", error.hint("both ends of a pair go together"));
            }
            self.absent.insert(peer);
        }
    }

    /// The list of ports of a link, for what it is when all is done.
    fn list_of(&self, controller: &str) -> Option<&'static str> {
        match self.text_after(controller, "type") {
            Some("linux-bridge") => Some(LISTS[2]),
            Some("bond") => Some(LISTS[3]),
            _ => None,
        }
    }

    /// A port that is listed has this controller; one that leaves the list has none.
    fn ports_have_controllers(&mut self) {
        let mut said: Vec<(String, &str, String, bool)> = Vec::new();
        for (name, wish) in &self.items {
            for path in &LISTS[2..] {
                let wished = list(&wish.members, path).iter().map(|entry| (entry, true));
                let gone = wish.gone.get(path).into_iter().flatten().map(|entry| (entry, false));
                let ports = wished.chain(gone).filter_map(|(entry, is_in)| Some((port_name(entry)?, is_in)));
                said.extend(ports.map(|(port, is_in)| (name.clone(), *path, port.to_owned(), is_in)));
            }
        }
        for (name, path, port, is_in) in said {
            if self.list_of(&name) != Some(path) {
                self.error(&name, path, Error::bad_input("a link of this type has no such ports"));
                continue;
            }
            if is_in && !self.is_there_after(&port) {
                let error = Error::bad_input(format!("there is no link {port} that could be its port"));
                self.error(&name, path, error.hint("check the spelling, or declare the link in the same document"));
                continue;
            }
            let now =
                self.now(&port).and_then(|port| at(port, "controller")).and_then(Value::as_str).map(str::to_owned);
            let wished = self.items.get(&port).and_then(|wish| at(&wish.members, "controller")).cloned();
            match wished {
                Some(other) if is_in && other != *name => {
                    let what = format!("{port} is listed as its port, and is wished to belong to {other}");
                    self.error(&name, path, Error::bad_input(what));
                }
                Some(_) => {}
                None if is_in => self.imply(&port, "controller", json!(name)),
                None if now.as_deref() == Some(&name) => self.imply(&port, "controller", Value::Null),
                None => {}
            }
        }
    }

    /// A link that gets a controller is listed there, and no longer where it was.
    fn controllers_have_ports(&mut self) {
        let wished: Vec<(String, Value)> = self
            .items
            .iter()
            .filter_map(|(name, wish)| Some((name.clone(), at(&wish.members, "controller")?.clone())))
            .collect();
        for (port, controller) in wished {
            let before =
                self.now(&port).and_then(|now| at(now, "controller")).and_then(Value::as_str).map(str::to_owned);
            let left = before.filter(|before| controller != **before && self.is_there_after(before));
            if let Some((left, path)) = left.and_then(|left| Some((left.clone(), self.list_of(&left)?))) {
                let entry = entry_of(path, &port);
                self.items.entry(left).or_insert_with(empty).gone.entry(path).or_default().push(entry);
            }
            let Some(controller) = controller.as_str() else { continue };
            let Some(path) = self.list_of(controller).filter(|_| self.is_there_after(controller)) else {
                let error = Error::bad_input(format!("there is no bridge or bond {controller:?} it could belong to"));
                self.error(&port, "controller", error.hint("check the spelling, or declare it in the same document"));
                continue;
            };
            if path == LISTS[2] && self.text_after(&port, "type") == Some("linux-bridge") {
                let error = Error::bad_input(format!("{port} is a bridge, and no bridge is a port of another"));
                self.error(&port, "controller", error.hint("join them by a veth pair"));
            }
            let entry = entry_of(path, &port);
            let wish = self.items.entry(controller.to_owned()).or_insert_with(empty);
            let mut ports = list(&wish.members, path).to_vec();
            if !ports.contains(&entry) {
                ports.push(entry);
                put(&mut wish.members, path, Value::Array(ports));
            }
        }
    }

    fn imply(&mut self, name: &str, path: &str, value: Value) {
        put(&mut self.items.entry(name.to_owned()).or_insert_with(empty).members, path, value);
    }

    /// What a VLAN stands on is there.
    fn check_bases(&mut self) {
        let bases: Vec<(String, String)> = self
            .items
            .keys()
            .filter_map(|name| Some((name.clone(), self.text_after(name, "vlan.base-iface")?.to_owned())))
            .collect();
        for (name, base) in bases {
            if !self.is_there_after(&base) {
                let error = Error::bad_input(format!("there is no link {base} it could stand on"));
                self.error(
                    &name,
                    "vlan.base-iface",
                    error.hint("check the spelling, or declare it in the same document"),
                );
            } else if self.text_after(&base, "state") == Some("down") && self.text_after(&name, "state") == Some("up") {
                let error = Error::bad_input(format!("it stands on {base}, which is down"));
                self.error(&name, "state", error.hint(format!("declare {base} \"state\": \"up\", too")));
            }
        }
    }

    /// No link stands on itself, whatever is in between.
    fn check_loops(&mut self) {
        let below = |name: &str| -> Vec<String> {
            let base = self.text_after(name, "vlan.base-iface").map(str::to_owned);
            let ports =
                self.items.keys().map(String::as_str).chain(self.snapshot.links.values().map(|link| &*link.name));
            let ports = ports.filter(|port| self.text_after(port, "controller") == Some(name)).map(str::to_owned);
            base.into_iter().chain(ports).collect()
        };
        let mut looped = Vec::new();
        for start in self.items.keys() {
            let (mut seen, mut left) = (BTreeSet::new(), below(start));
            while let Some(next) = left.pop() {
                if next == *start {
                    looped.push(start.clone());
                    break;
                }
                if seen.insert(next.clone()) {
                    left.extend(below(&next));
                }
            }
        }
        if !looped.is_empty() {
            let error =
                Error::bad_input(format!("these links would stand on each other in a circle: {}", looped.join(", ")));
            self.error(&looped[0].clone(), "", error);
        }
    }

    /// What is to go can go, and nothing stands on it that stays.
    fn check_absent(&mut self) {
        let names: Vec<String> = self.absent.iter().filter(|name| self.now(name).is_some()).cloned().collect();
        for name in names {
            let kind = self.now(&name).and_then(|now| now["type"].as_str()).unwrap_or_default().to_owned();
            if matches!(&*kind, "ethernet" | "loopback" | "unknown") {
                let error = Error::refused(format!("{name} is no link that was made, so it cannot be deleted"));
                self.error(&name, "state", error.hint("\"state\": \"down\" takes it down"));
            }
            let index = self.snapshot.named(&name).map(|link| link.index);
            let on_it = |link: &&super::super::kernel::Link| link.base == index && !matches!(&*link.kind, "veth" | "");
            let above = self.snapshot.links.values().filter(on_it).map(|link| link.name.clone());
            let staying: Vec<String> = above.filter(|above| !self.absent.contains(above)).collect();
            if !staying.is_empty() {
                let error = Error::refused(format!("{} stands on it and would go with it", staying.join(", ")));
                self.error(&name, "state", error.hint("list them as absent, too"));
            }
        }
    }

    /// IPv6 addresses do not stay on a link that is down.
    fn check_addresses(&mut self) {
        let is_off = |name: &&String| self.after(name, "ipv6.enabled").is_some_and(|is_on| *is_on == json!(false));
        let lists = |name: &&String| {
            let now = self.now(name).map(|now| list(now, LISTS[1])).unwrap_or_default();
            list(&self.items[*name].members, LISTS[1]).iter().any(|entry| !now.contains(entry))
        };
        let off: Vec<String> = self.items.keys().filter(is_off).filter(lists).cloned().collect();
        for name in off {
            let error = Error::bad_input("IPv6 is switched off on this link");
            self.error(&name, LISTS[1], error.hint("switch it on: \"ipv6\": {\"enabled\": true, ...}"));
        }
        let is_down = |name: &&String| self.text_after(name, "state") == Some("down");
        let has_some = |name: &&String| !list(&self.items[*name].members, LISTS[1]).is_empty();
        let wrong: Vec<String> = self.items.keys().filter(is_down).filter(has_some).cloned().collect();
        for name in wrong {
            let error = Error::bad_input("the link is down, and the kernel keeps no IPv6 address on such a link");
            self.error(&name, LISTS[1], error.hint("take it up, or list no IPv6 address"));
        }
    }
}

fn empty() -> ItemWish {
    ItemWish { members: json!({}), ..ItemWish::default() }
}

fn entry_of(path: &str, port: &str) -> Value {
    if path == LISTS[2] { json!({ "name": port }) } else { json!(port) }
}

//! Routes: what a document lists, in its one form, with those that are there.

use super::super::kernel::Address;
use super::super::netlink::numbers::RT_TABLE_MAIN;
use super::super::{NAME, ROUTES};
use super::Wishes;
use super::item::{LISTS, list, merged};
use crate::base::Error;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What is wished of the routes.
#[derive(Debug, Default)]
pub struct RouteWishes {
    /// All routes as they are to be; nothing when they stay as they are.
    pub list: Option<Vec<Value>>,
    /// Those a document lists.
    pub wished: Vec<Value>,
    /// Those that go.
    pub gone: Vec<Value>,
}

/// The members of a route.
const MEMBERS: [&str; 6] = ["destination", "next-hop-address", "next-hop-interface", "metric", "table-id", "state"];

impl Wishes<'_> {
    /// What becomes of the routes. Those over a link that goes away or down go with it: written out, so that the way back
    /// sets them again.
    pub(super) fn routes(&mut self, said: Option<&Value>) -> RouteWishes {
        let there = list(self.current.get(ROUTES).unwrap_or(&Value::Null), "config").to_vec();
        let mut wishes = RouteWishes::default();
        for (i, entry) in self.entries(said).iter().enumerate() {
            let place = format!("plugins.{NAME}.{ROUTES}.config[{i}]");
            let Some(entry) = entry.as_object() else {
                self.errors.push(Error::bad_input("this is no route").on(place));
                continue;
            };
            let is_gone = entry.get("state").is_some_and(|state| state == "absent");
            match route_of(entry, is_gone) {
                // Of a route that is to go, what is not said may be anything.
                Ok(pattern) if is_gone => {
                    let is_meant = |route: &&Value| pattern.iter().all(|(name, value)| route.get(name) == Some(value));
                    wishes.gone.extend(there.iter().filter(is_meant).cloned());
                }
                Ok(route) => {
                    let route = Value::Object(route);
                    self.check_route(&place, &route, there.contains(&route));
                    wishes.wished.push(route);
                }
                Err(what) => {
                    let hint = "{\"destination\": \"198.51.100.0/24\", \"next-hop-address\": \"192.0.2.1\", \
                                \"next-hop-interface\": \"br0\"}";
                    self.errors.push(Error::bad_input(what).on(place).hint(hint));
                }
            }
        }
        if let Some(both) = wishes.wished.iter().find(|route| wishes.gone.contains(route)) {
            let error = Error::bad_input(format!("the route to {} is both wanted and absent", both["destination"]));
            self.errors.push(error.on(format!("plugins.{NAME}.{ROUTES}.config")));
        }
        let by_gone = |route: &&Value| {
            let name = route["next-hop-interface"].as_str().unwrap_or_default();
            let is_v4 = route["destination"].as_str().is_some_and(|text| !text.contains(':'));
            self.absent.contains(name) || self.goes_down(name) || (is_v4 && self.loses_all(name))
        };
        wishes.gone.extend(there.iter().filter(by_gone).cloned());
        let all = merged(&there, &wishes.wished, &wishes.gone);
        self.check_conflicts(&all, &wishes.wished);
        wishes.list = (said.is_some() || all != there).then_some(all);
        wishes
    }

    /// Whether a link has no IPv4 address any more: the kernel drops its routes then.
    fn loses_all(&self, name: &str) -> bool {
        let now = list(self.now(name).unwrap_or(&Value::Null), LISTS[0]);
        let Some(wish) = self.items.get(name).filter(|_| !now.is_empty()) else { return false };
        let gone = wish.gone.get(LISTS[0]).map(Vec::as_slice).unwrap_or_default();
        merged(now, list(&wish.members, LISTS[0]), gone).is_empty()
    }

    fn entries(&mut self, said: Option<&Value>) -> Vec<Value> {
        let Some(said) = said else { return Vec::new() };
        let is_known = |said: &Map<String, Value>| said.keys().all(|name| matches!(&**name, "config" | "running"));
        match (said.as_object().is_some_and(is_known), said.get("config")) {
            (true, Some(Value::Array(entries))) => entries.clone(),
            (true, None) => Vec::new(),
            _ => {
                let error = Error::bad_input("this is not what routes look like").hint("{\"config\": [ROUTE, ...]}");
                self.errors.push(error.on(format!("plugins.{NAME}.{ROUTES}")));
                Vec::new()
            }
        }
    }

    /// The link is there and up, and reaches the next hop.
    fn check_route(&mut self, place: &str, route: &Value, is_there: bool) {
        let name = route["next-hop-interface"].as_str().unwrap_or_default();
        let what = if !self.is_there_after(name) {
            format!("there is no link {name}")
        } else if self.text_after(name, "state") == Some("down") {
            format!("the link {name} is down")
        } else {
            let gateway = route.get("next-hop-address").and_then(|ip| ip.as_str()?.parse().ok());
            match gateway {
                Some(gateway) if !is_there && !self.reaches(name, gateway) => {
                    format!("no address of {name} reaches {gateway}")
                }
                _ => return,
            }
        };
        let hint = "declare the link with its addresses in the same document";
        self.errors.push(Error::bad_input(what).on(place).hint(hint));
    }

    fn reaches(&self, name: &str, gateway: IpAddr) -> bool {
        let path = if gateway.is_ipv4() { LISTS[0] } else { LISTS[1] };
        let wish = self.items.get(name);
        let gone = wish.and_then(|wish| wish.gone.get(path)).map(Vec::as_slice).unwrap_or_default();
        let wished = wish.map(|wish| list(&wish.members, path)).unwrap_or_default();
        let index = self.snapshot.named(name).map(|link| link.index);
        let of_link = |address: &&Address| Some(address.index) == index;
        let there = self.snapshot.addresses.iter().filter(of_link);
        let mut there = there.map(|address| super::super::show::address(address.ip, address.prefix_length));
        let is_near = |entry: &Value| {
            let ip = entry["ip"].as_str().and_then(|ip| ip.parse().ok());
            let prefix = entry["prefix-length"].as_u64().and_then(|prefix| u8::try_from(prefix).ok());
            ip.zip(prefix).is_some_and(|(ip, prefix)| network(ip, prefix) == network(gateway, prefix))
        };
        let is_link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let routes = list(self.current.get(ROUTES).unwrap_or(&Value::Null), "config");
        let is_on_link = |route: &Value| {
            let reaches = route["destination"].as_str().and_then(cidr).is_some_and(|(ip, prefix)| {
                ip.is_ipv4() == gateway.is_ipv4() && network(ip, prefix) == network(gateway, prefix)
            });
            route["next-hop-interface"] == name && route.get("next-hop-address").is_none() && reaches
        };
        is_link_local
            || wished.iter().any(is_near)
            || there.any(|entry| !gone.contains(&entry) && is_near(&entry))
            || routes.iter().any(is_on_link)
    }

    /// Two routes of one table to one destination need different metrics: a foreign one is not replaced.
    fn check_conflicts(&mut self, all: &[Value], wished: &[Value]) {
        let identity = |route: &Value| ["destination", "table-id", "metric"].map(|name| route[name].clone());
        for route in wished {
            let other = all.iter().find(|other| *other != route && identity(other) == identity(route));
            if let Some(other) = other {
                let what = format!("there is another route to {} with this metric: {other}", route["destination"]);
                let hint = "list that one with \"state\": \"absent\", or give this one another \"metric\"";
                self.errors.push(Error::refused(what).on(format!("plugins.{NAME}.{ROUTES}.config")).hint(hint));
            }
        }
    }
}

/// A route in its one form; of one that is to go, what was said of it.
fn route_of(entry: &Map<String, Value>, is_gone: bool) -> Result<Map<String, Value>, String> {
    if let Some(name) = entry.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("a route has no member {name:?}; it has {}", MEMBERS.join(", ")));
    }
    let mut route = Map::new();
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut is_v4 = true;
    match entry.get("destination").map(|value| (value, value.as_str().and_then(cidr))) {
        Some((_, Some((ip, prefix)))) => {
            is_v4 = ip.is_ipv4();
            if network(ip, prefix) != ip {
                return Err(format!("{ip}/{prefix} is no network: did you mean {}/{prefix}?", network(ip, prefix)));
            }
            route.insert("destination".into(), json!(format!("{ip}/{prefix}")));
        }
        Some((value, None)) => return Err(format!("{value} is no network: 198.51.100.0/24, or 2001:db8::/32")),
        None if is_gone => {}
        None => return Err("a route has a destination; 0.0.0.0/0 is the default".into()),
    }
    if let Some(said) = text("next-hop-address") {
        let ip: IpAddr = said.parse().map_err(|_| format!("{said:?} is no address of a next hop"))?;
        if ip.is_ipv4() != is_v4 {
            return Err(format!("{ip} is of another family than the destination"));
        }
        if !ip.is_unspecified() {
            route.insert("next-hop-address".into(), json!(ip.to_string()));
        }
    }
    match text("next-hop-interface") {
        Some(name) => drop(route.insert("next-hop-interface".into(), json!(name))),
        None if is_gone => {}
        None => return Err("a route has a next-hop-interface".into()),
    }
    let defaults = [("metric", if is_v4 { 0 } else { 1024 }), ("table-id", RT_TABLE_MAIN)];
    for (name, default) in defaults {
        match entry.get(name) {
            Some(value) if value.as_u64().is_some_and(|number| u32::try_from(number).is_ok()) => {
                let is_default = value == &json!(0) && (name == "table-id" || !is_v4);
                route.insert(name.into(), if is_default { json!(default) } else { value.clone() });
            }
            Some(value) if value == &json!(-1) => drop(route.insert(name.into(), json!(default))),
            Some(value) => return Err(format!("{name} is {value}, no number it could be")),
            None if is_gone => {}
            None => drop(route.insert(name.into(), json!(default))),
        }
    }
    Ok(route)
}

/// Address and length of a network's prefix.
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
}

/// The network an address is in.
fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::from((ip.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::from((ip.to_bits() & mask).to_be_bytes())
        }
    }
}

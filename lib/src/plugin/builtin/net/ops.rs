//! The operations on this host, as calls that plans show, and how each is made.

use super::kernel::{Snapshot, link};
use super::netlink::codec::Body;
#[allow(clippy::wildcard_imports, reason = "the names of the kernel's headers")]
use super::netlink::numbers::*;
use super::netlink::{Socket, refusal};
use super::show::{BOND_MODES, BRIDGE_OPTIONS, Size};
use super::wishes::item::at;
use super::wishes::routes::cidr;
use crate::base::{Call, Error, Result};
use crate::store::file::{self, Durability};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NETLINK: &str = "netlink";
const FILE: &str = "file";
const LINK: &str = "link ";
const ROUTE: &str = "route ";

/// Makes a link of `item`.
pub fn create(name: &str, item: &Value) -> Call {
    Call::on_host(NETLINK, &format!("{LINK}{name}"), "create", vec![item.clone()])
}

/// Deletes a link.
pub fn delete(name: &str) -> Call {
    Call::on_host(NETLINK, &format!("{LINK}{name}"), "delete", Vec::new())
}

/// Sets one thing of a link.
pub fn set(name: &str, what: Value) -> Call {
    Call::on_host(NETLINK, &format!("{LINK}{name}"), "set", vec![what])
}

/// Gives a link an address, or takes it.
pub fn address(name: &str, is_add: bool, entry: &Value) -> Call {
    let verb = if is_add { "add-address" } else { "delete-address" };
    let text = format!("{}/{}", entry["ip"].as_str().unwrap_or_default(), entry["prefix-length"]);
    Call::on_host(NETLINK, &format!("{LINK}{name}"), verb, vec![json!(text)])
}

/// Adds a route, or deletes it.
pub fn route(is_add: bool, route: &Value) -> Call {
    let subject = format!("{ROUTE}{}", route["destination"].as_str().unwrap_or_default());
    Call::on_host(NETLINK, &subject, if is_add { "add" } else { "delete" }, vec![route.clone()])
}

/// Writes a file whole, or removes it when there is nothing to write.
pub fn write(path: &str, content: Option<&str>) -> Call {
    match content {
        Some(content) => Call::on_host(FILE, path, "write", vec![json!(content)]),
        None => Call::on_host(FILE, path, "delete", Vec::new()),
    }
}

/// The switch of IPv6 of a link.
pub fn ipv6_switch(name: &str, is_on: bool) -> Call {
    write(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), Some(if is_on { "0" } else { "1" }))
}

/// Makes a call.
pub fn perform(call: &Call) -> Result<()> {
    let first = call.args.first().unwrap_or(&Value::Null);
    if call.interface == FILE {
        return perform_file(Path::new(&call.path), first.as_str());
    }
    let mut kernel = Kernel { socket: Socket::open()? };
    let outcome = match (call.path.strip_prefix(LINK), call.path.strip_prefix(ROUTE), &*call.member) {
        (Some(name), _, "create") => kernel.create(name, first),
        (Some(name), _, "delete") => kernel.delete(name),
        (Some(name), _, "set") => kernel.set(name, first),
        (Some(name), _, "add-address") => kernel.address(name, first, true),
        (Some(name), _, "delete-address") => kernel.address(name, first, false),
        (_, Some(_), "add") => kernel.route(first, true),
        (_, Some(_), "delete") => kernel.route(first, false),
        _ => Err(Errno::INVAL),
    };
    let what = first.as_str().map(|text| format!(" {text} of")).unwrap_or_default();
    let attempt = format!("{}{what} {}", call.member.replace('-', " "), call.path);
    outcome.map_err(|errno| refusal(&attempt, errno).on(call.label()))
}

/// The mode of files that daemons read under users of their own.
const MODE: u32 = 0o644;

fn perform_file(path: &Path, content: Option<&str>) -> Result<()> {
    let Some(content) = content else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
            _ => Ok(()),
        };
    };
    if path.starts_with("/proc") {
        return std::fs::write(path, content).map_err(|error| Error::io("write", path, &error));
    }
    file::replace(path, content.as_bytes(), Durability::Durable)?;
    if path.extension().is_some_and(|ending| ending == "nmconnection") {
        // NetworkManager reads none that others can read, too.
        return Ok(());
    }
    let mode = std::fs::Permissions::from_mode(MODE);
    std::fs::set_permissions(path, mode).map_err(|error| Error::io("let daemons read", path, &error))
}

struct Kernel {
    socket: Socket,
}

impl Kernel {
    /// A link now.
    fn link(&mut self, name: &str) -> Result<super::kernel::Link, Errno> {
        let links = self.socket.dump(RTM_GETLINK, &Body::new(&[0; 16])).map_err(|_| Errno::IO)?;
        links.iter().filter_map(|body| link(body)).find(|link| link.name == name).ok_or(Errno::NODEV)
    }

    fn create(&mut self, name: &str, item: &Value) -> Result<(), Errno> {
        let base = match at(item, "vlan.base-iface").and_then(Value::as_str) {
            Some(base) => Some(self.link(base)?.index),
            None => None,
        };
        self.socket.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &new_link(name, item, base))
    }

    fn delete(&mut self, name: &str) -> Result<(), Errno> {
        let index = self.link(name)?.index;
        self.socket.request(RTM_DELLINK, 0, &of_link(index, None))
    }

    fn set(&mut self, name: &str, what: &Value) -> Result<(), Errno> {
        let link = self.link(name)?;
        if let Some(controller) = what.get("controller") {
            return self.set_controller(&link, controller.as_str());
        }
        if let Some(state) = what.get("state") {
            return self.socket.request(RTM_NEWLINK, 0, &of_link(link.index, Some(state == "up")));
        }
        let mut body = of_link(link.index, None);
        put_common(&mut body, what);
        let kind = if what.get("bridge").is_some() { "bridge" } else { "bond" };
        let data = kind_data(kind, what);
        if !data.0.is_empty() {
            put_info(&mut body, kind, &data);
        }
        self.socket.request(RTM_NEWLINK, 0, &body)
    }

    /// A bond takes only links that are down, takes them up itself, and leaves them down.
    fn set_controller(&mut self, port: &super::kernel::Link, controller: Option<&str>) -> Result<(), Errno> {
        let new = match controller {
            Some(name) => Some(self.link(name)?),
            None => None,
        };
        let is_into_bond = new.as_ref().is_some_and(|new| new.kind == "bond") && port.is_up;
        if is_into_bond {
            self.socket.request(RTM_NEWLINK, 0, &of_link(port.index, Some(false)))?;
        }
        let mut body = of_link(port.index, None);
        body.put_u32(IFLA_MASTER, new.as_ref().map_or(0, |new| new.index));
        let outcome = self.socket.request(RTM_NEWLINK, 0, &body);
        if port.is_up {
            let up = self.socket.request(RTM_NEWLINK, 0, &of_link(port.index, Some(true)));
            return outcome.and(up);
        }
        outcome
    }

    fn address(&mut self, name: &str, entry: &Value, is_add: bool) -> Result<(), Errno> {
        let index = self.link(name)?.index;
        let (ip, prefix) = entry.as_str().and_then(cidr).ok_or(Errno::INVAL)?;
        if is_add {
            return self.socket.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &of_address(index, ip, prefix));
        }
        // With the first address of a network a kernel takes all others of it, and routes, unless it is told to keep them.
        let others = self.others(index)?;
        let keeps = std::path::PathBuf::from(format!("/proc/sys/net/ipv4/conf/{name}/promote_secondaries"));
        let is_taking = others.len() > 1 && std::fs::read_to_string(&keeps).is_ok_and(|text| text.trim() == "0");
        let is_told = is_taking && std::fs::write(&keeps, "1").is_ok();
        let outcome = self.socket.request(RTM_DELADDR, 0, &of_address(index, ip, prefix));
        if is_told {
            let _ = std::fs::write(&keeps, "0");
        }
        outcome?;
        let left = self.others(index)?;
        for (other, prefix) in others.into_iter().filter(|other| *other != (ip, prefix) && !left.contains(other)) {
            self.socket.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &of_address(index, other, prefix))?;
        }
        Ok(())
    }

    /// The IPv4 addresses of a link that stay by themselves.
    fn others(&mut self, index: u32) -> Result<Vec<(IpAddr, u8)>, Errno> {
        let now = Snapshot::read(&mut self.socket).map_err(|_| Errno::IO)?;
        let of_link = now.addresses.iter().filter(|other| other.index == index && other.is_permanent);
        Ok(of_link.filter(|other| other.ip.is_ipv4()).map(|other| (other.ip, other.prefix_length)).collect())
    }

    fn route(&mut self, route: &Value, is_add: bool) -> Result<(), Errno> {
        let name = route["next-hop-interface"].as_str().ok_or(Errno::INVAL)?;
        let index = self.link(name)?.index;
        let body = of_route(route, index, is_add).ok_or(Errno::INVAL)?;
        match is_add {
            true => self.socket.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body),
            false => self.socket.request(RTM_DELROUTE, 0, &body),
        }
    }
}

/// The fixed part of a message about a link, with its state where that changes.
fn of_link(index: u32, is_up: Option<bool>) -> Body {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(is_up) = is_up {
        fixed[8..12].copy_from_slice(&(if is_up { IFF_UP } else { 0 }).to_ne_bytes());
        fixed[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    Body::new(&fixed)
}

fn put_common(body: &mut Body, item: &Value) {
    if let Some(mtu) = at(item, "mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok()) {
        body.put_u32(IFLA_MTU, mtu);
    }
    if let Some(mac) = at(item, "mac-address").and_then(Value::as_str) {
        let bytes: Vec<u8> = mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        body.put(IFLA_ADDRESS, &bytes);
    }
}

fn put_info(body: &mut Body, kind: &str, data: &Body) {
    let mut info = Body::default();
    info.put_text(IFLA_INFO_KIND, kind);
    if !data.0.is_empty() {
        info.nest(IFLA_INFO_DATA, data);
    }
    body.nest(IFLA_LINKINFO, &info);
}

/// The message that makes a link.
fn new_link(name: &str, item: &Value, base: Option<u32>) -> Body {
    let mut body = of_link(0, None);
    body.put_text(IFLA_IFNAME, name);
    put_common(&mut body, item);
    base.iter().for_each(|base| body.put_u32(IFLA_LINK, *base));
    let kind = match at(item, "type").and_then(Value::as_str).unwrap_or_default() {
        "linux-bridge" => "bridge",
        kind => kind,
    };
    put_info(&mut body, kind, &kind_data(kind, item));
    body
}

/// What is told of a link of this kind alone.
fn kind_data(kind: &str, item: &Value) -> Body {
    let mut data = Body::default();
    let number = |path: &str| at(item, path).and_then(Value::as_u64);
    match kind {
        "veth" => {
            let mut peer = of_link(0, None);
            peer.put_text(IFLA_IFNAME, at(item, "veth.peer").and_then(Value::as_str).unwrap_or_default());
            data.nest(VETH_INFO_PEER, &peer);
        }
        "vlan" => {
            let id = number("vlan.id").and_then(|id| u16::try_from(id).ok());
            id.iter().for_each(|id| data.put(IFLA_VLAN_ID, &id.to_ne_bytes()));
            if at(item, "vlan.protocol").is_some_and(|protocol| protocol == "802.1ad") {
                data.put(IFLA_VLAN_PROTOCOL, &0x88a8u16.to_be_bytes());
            }
        }
        "bond" => {
            let mode = at(item, "link-aggregation.mode").and_then(Value::as_str);
            let mode = mode.and_then(|mode| BOND_MODES.iter().position(|known| *known == mode));
            mode.and_then(|mode| u8::try_from(mode).ok()).iter().for_each(|mode| data.put(IFLA_BOND_MODE, &[*mode]));
            let miimon = number("link-aggregation.options.miimon").and_then(|miimon| u32::try_from(miimon).ok());
            miimon.iter().for_each(|miimon| data.put_u32(IFLA_BOND_MIIMON, *miimon));
        }
        "bridge" => {
            for (path, kind, size, units) in BRIDGE_OPTIONS {
                let value = match at(item, &format!("bridge.options.{path}")) {
                    Some(Value::Bool(is_on)) => u32::from(*is_on),
                    Some(value) => value.as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(0) * units,
                    None => continue,
                };
                let bytes = value.to_le_bytes();
                match size {
                    Size::Bool8 => data.put(*kind, &bytes[..1]),
                    Size::U16 => data.put(*kind, &u16::from_le_bytes([bytes[0], bytes[1]]).to_ne_bytes()),
                    Size::Bool32 | Size::U32 => data.put_u32(*kind, value),
                }
            }
        }
        _ => {}
    }
    data
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn of_address(index: u32, ip: IpAddr, prefix: u8) -> Body {
    let scope = if ip.is_loopback() { RT_SCOPE_HOST } else { RT_SCOPE_UNIVERSE };
    let mut fixed = [family(ip), prefix, 0, scope, 0, 0, 0, 0];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut body = Body::new(&fixed);
    body.put(IFA_LOCAL, &octets(ip));
    body.put(IFA_ADDRESS, &octets(ip));
    body
}

fn of_route(route: &Value, index: u32, is_add: bool) -> Option<Body> {
    let (ip, prefix) = cidr(route["destination"].as_str()?)?;
    let number = |name: &str| route[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let gateway: Option<IpAddr> = route["next-hop-address"].as_str().and_then(|ip| ip.parse().ok());
    let table = number("table-id").unwrap_or(RT_TABLE_MAIN);
    let scope = match (is_add, gateway, ip) {
        (false, ..) => RT_SCOPE_NOWHERE,
        (_, None, IpAddr::V4(_)) => RT_SCOPE_LINK,
        _ => RT_SCOPE_UNIVERSE,
    };
    let protocol = if is_add { RTPROT_STATIC } else { 0 };
    let small = u8::try_from(table).unwrap_or(0);
    let mut body = Body::new(&[family(ip), prefix, 0, 0, small, protocol, scope, RTN_UNICAST, 0, 0, 0, 0]);
    if prefix > 0 {
        body.put(RTA_DST, &octets(ip));
    }
    gateway.iter().for_each(|gateway| body.put(RTA_GATEWAY, &octets(*gateway)));
    body.put_u32(RTA_OIF, index);
    number("metric").filter(|metric| *metric > 0).iter().for_each(|metric| body.put_u32(RTA_PRIORITY, *metric));
    body.put_u32(RTA_TABLE, table);
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::super::kernel;
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_would_be_read() {
        let item = json!({"type": "vlan", "mtu": 1400, "mac-address": "02:00:00:00:00:01",
                          "vlan": {"base-iface": "eth0", "id": 5, "protocol": "802.1ad"}});
        let found = link(&new_link("eth0.5", &item, Some(3)).0).unwrap();
        assert_eq!((&*found.kind, found.vlan, found.base, found.mtu), ("vlan", Some((5, 0x88a8)), Some(3), 1400));
        assert_eq!(found.mac.as_deref(), Some("02:00:00:00:00:01"));
        let item = json!({"type": "bond", "link-aggregation": {"mode": "802.3ad", "options": {"miimon": 100}}});
        assert_eq!(link(&new_link("b", &item, None).0).unwrap().bond, Some((4, 100)));
        let options = json!({"mac-ageing-time": 10, "vlan-filtering": true, "stp": {"enabled": false, "priority": 7}});
        let item = json!({"type": "linux-bridge", "bridge": {"options": options}});
        let found = link(&new_link("br0", &item, None).0).unwrap();
        let expected =
            [(IFLA_BR_AGEING_TIME, 1000), (IFLA_BR_STP_STATE, 0), (IFLA_BR_PRIORITY, 7), (IFLA_BR_VLAN_FILTERING, 1)];
        assert_eq!(found.bridge.into_iter().collect::<Vec<_>>(), expected);
        let found = kernel::address(&of_address(2, "2001:db8::1".parse().unwrap(), 64).0).unwrap();
        assert_eq!((found.index, found.prefix_length, found.ip.to_string().as_str()), (2, 64, "2001:db8::1"));
        let route =
            json!({"destination": "198.51.100.0/24", "next-hop-address": "192.0.2.1", "metric": 7, "table-id": 1000});
        let found = kernel::route(&of_route(&route, 4, true).unwrap().0).unwrap();
        assert_eq!((found.link, found.metric, found.table, found.protocol), (Some(4), 7, 1000, RTPROT_STATIC));
        assert_eq!(found.gateway, Some("192.0.2.1".parse().unwrap()));
    }
}

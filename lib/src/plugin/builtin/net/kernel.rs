//! What the kernel has: links, addresses and routes, parsed from its messages. Never trusts a message to be whole.

use super::netlink::Socket;
use super::netlink::codec::{Body, attribute, attributes, text, u16_at, u32_at};
#[allow(clippy::wildcard_imports, reason = "the names of the kernel's headers")]
use super::netlink::numbers::*;
use crate::base::Result;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything at one time.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By index.
    pub links: BTreeMap<u32, Link>,
    /// Of all links.
    pub addresses: Vec<Address>,
    /// Of all tables, plain ones only.
    pub routes: Vec<Route>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// The kernel's word: `bridge`, `veth`; empty for hardware.
    pub kind: String,
    pub hardware: u16,
    pub is_up: bool,
    pub mtu: u32,
    /// The MTUs it can have; 0 is no bound.
    pub mtu_range: (u32, u32),
    pub mac: Option<String>,
    /// The link it stands on, or its peer, where that is in the same namespace.
    pub base: Option<u32>,
    pub controller: Option<u32>,
    pub has_ipv6: bool,
    pub vlan: Option<(u16, u16)>,
    pub bond: Option<(u8, u32)>,
    /// A bridge's options, by the kernel's numbers.
    pub bridge: BTreeMap<u16, u32>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub ip: IpAddr,
    pub prefix_length: u8,
    /// Whether it has no end: not from DHCP or an advertisement.
    pub is_permanent: bool,
    /// Whether the kernel gave it by itself.
    pub is_kernels: bool,
}

/// One route to a network by one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub destination: IpAddr,
    pub prefix_length: u8,
    pub gateway: Option<IpAddr>,
    pub link: Option<u32>,
    pub metric: u32,
    pub table: u32,
    pub protocol: u8,
}

impl Snapshot {
    /// Reads all there is.
    pub fn read(socket: &mut Socket) -> Result<Self> {
        let links = socket.dump(RTM_GETLINK, &Body::new(&[0; 16]))?;
        let links: BTreeMap<u32, Link> =
            links.iter().filter_map(|body| link(body)).map(|link| (link.index, link)).collect();
        let addresses = socket.dump(RTM_GETADDR, &Body::new(&[0; 8]))?;
        let mut addresses: Vec<Address> = addresses.iter().filter_map(|body| address(body)).collect();
        for address in &mut addresses {
            let mac = links.get(&address.index).and_then(|link| link.mac.as_deref());
            address.is_kernels |= is_made_of(mac, address.ip);
        }
        let routes = socket.dump(RTM_GETROUTE, &Body::new(&[0; 12]))?;
        Ok(Self { links, addresses, routes: routes.iter().filter_map(|body| route(body)).collect() })
    }

    /// The link of that name.
    pub fn named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The name of a link.
    pub fn name_of(&self, index: Option<u32>) -> Option<&str> {
        Some(self.links.get(&index?)?.name.as_str())
    }
}

/// A link of a message's body.
pub fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        hardware: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        is_up: u32_at(body, 8)? & IFF_UP != 0,
        ..Link::default()
    };
    let mut is_elsewhere = false;
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MIN_MTU => link.mtu_range.0 = u32_at(value, 0)?,
            IFLA_MAX_MTU => link.mtu_range.1 = u32_at(value, 0)?,
            IFLA_ADDRESS if value.len() == 6 => {
                link.mac = Some(value.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"));
            }
            IFLA_LINK => link.base = u32_at(value, 0).filter(|index| *index != 0),
            IFLA_LINK_NETNSID => is_elsewhere = true,
            IFLA_MASTER => link.controller = u32_at(value, 0).filter(|index| *index != 0),
            IFLA_AF_SPEC => {
                let conf = attribute(value, u16::from(AF_INET6)).and_then(|inet6| attribute(inet6, IFLA_INET6_CONF));
                link.has_ipv6 = conf.and_then(|conf| u32_at(conf, DEVCONF_DISABLE_IPV6 * 4)) == Some(0);
            }
            IFLA_LINKINFO => info(&mut link, value),
            _ => {}
        }
    }
    if is_elsewhere {
        link.base = None;
    }
    (!link.name.is_empty()).then_some(link)
}

fn info(link: &mut Link, value: &[u8]) {
    link.kind = attribute(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
    let data = attribute(value, IFLA_INFO_DATA).unwrap_or_default();
    let number = |kind: u16| {
        attribute(data, kind).and_then(|value| match value.len() {
            1 => Some(u32::from(value[0])),
            2 => u16_at(value, 0).map(u32::from),
            _ => u32_at(value, 0),
        })
    };
    let small = |kind: u16| number(kind).and_then(|number| u16::try_from(number).ok());
    match &*link.kind {
        "vlan" => {
            let protocol = small(IFLA_VLAN_PROTOCOL).map_or(0x8100, u16::from_be);
            link.vlan = small(IFLA_VLAN_ID).map(|id| (id, protocol));
        }
        "bond" => {
            let mode = attribute(data, IFLA_BOND_MODE).and_then(|value| value.first().copied());
            link.bond = mode.map(|mode| (mode, number(IFLA_BOND_MIIMON).unwrap_or_default()));
        }
        "bridge" => {
            link.bridge = attributes(data).filter_map(|(kind, _)| Some((kind, number(kind)?))).collect();
        }
        _ => {}
    }
}

/// An address of a message's body.
pub fn address(body: &[u8]) -> Option<Address> {
    let (family, prefix_length) = (*body.first()?, *body.get(1)?);
    let mut flags = u32::from(*body.get(2)?);
    let index = u32_at(body, 4)?;
    let (mut ip, mut is_local, mut is_kernels) = (None, false, false);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            IFA_LOCAL => (ip, is_local) = (ip_of(family, value), true),
            IFA_ADDRESS if !is_local => ip = ip_of(family, value),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            IFA_PROTO => is_kernels = value.first() == Some(&IFAPROT_KERNEL_LL),
            _ => {}
        }
    }
    let is_permanent = flags & IFA_F_PERMANENT != 0;
    Some(Address { index, ip: ip?, prefix_length, is_permanent, is_kernels })
}

/// A route of a message's body; nothing for what is no way to a network by one link.
pub fn route(body: &[u8]) -> Option<Route> {
    let (family, prefix_length) = (*body.first()?, *body.get(1)?);
    let (protocol, kind) = (*body.get(5)?, *body.get(7)?);
    if kind != RTN_UNICAST || u32_at(body, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let destination = match family {
        AF_INET => IpAddr::from([0; 4]),
        AF_INET6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let table = u32::from(*body.get(4)?);
    let mut route = Route { destination, prefix_length, gateway: None, link: None, metric: 0, table, protocol };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            RTA_DST => route.destination = ip_of(family, value)?,
            RTA_GATEWAY => route.gateway = ip_of(family, value),
            RTA_OIF => route.link = u32_at(value, 0),
            RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_MULTIPATH | RTA_VIA => return None,
            _ => {}
        }
    }
    Some(route)
}

fn ip_of(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

/// Whether an address is the link-local one that a kernel makes of a MAC address. Old kernels do not say who made it.
fn is_made_of(mac: Option<&str>, ip: IpAddr) -> bool {
    let (Some(mac), IpAddr::V6(ip)) = (mac, ip) else { return false };
    let bytes: Vec<u8> = mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let [a, b, c, d, e, f] = bytes[..] else { return false };
    ip.octets() == [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_vlan_as_a_kernel_tells_it() {
        let mut fixed = [0; 16];
        fixed[2] = 1;
        fixed[4] = 7;
        fixed[8] = 1;
        let (mut body, mut info, mut data) = (Body::new(&fixed), Body::default(), Body::default());
        body.put_text(IFLA_IFNAME, "eth0.5");
        body.put_u32(IFLA_MTU, 1496);
        body.put_u32(IFLA_LINK, 3);
        body.put(IFLA_ADDRESS, &[0xaa, 0, 0, 0, 0, 1]);
        data.put(IFLA_VLAN_ID, &5u16.to_ne_bytes());
        data.put(IFLA_VLAN_PROTOCOL, &0x88a8u16.to_be_bytes());
        info.put_text(IFLA_INFO_KIND, "vlan");
        info.nest(IFLA_INFO_DATA, &data);
        body.nest(IFLA_LINKINFO, &info);
        let found = link(&body.0).unwrap();
        assert_eq!((&*found.name, &*found.kind, found.index, found.base), ("eth0.5", "vlan", 7, Some(3)));
        assert_eq!((found.vlan, found.is_up, found.mtu), (Some((5, 0x88a8)), true, 1496));
        assert_eq!(found.mac.as_deref(), Some("AA:00:00:00:00:01"));
        body.put_u32(IFLA_LINK_NETNSID, 0);
        assert_eq!(link(&body.0).unwrap().base, None, "what is in another namespace has no name here");
    }

    #[test]
    fn who_made_an_address() {
        let mut body = Body::new(&[AF_INET6, 64, 0, 0, 2, 0, 0, 0]);
        body.put(IFA_ADDRESS, &std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0xa800, 0xff, 0xfe00, 1).octets());
        body.put_u32(IFA_FLAGS, IFA_F_PERMANENT);
        let found = address(&body.0).unwrap();
        assert!(found.is_permanent && !found.is_kernels);
        assert!(is_made_of(Some("AA:00:00:00:00:01"), found.ip));
        assert!(!is_made_of(Some("AA:00:00:00:00:02"), found.ip));
        body.put(IFA_PROTO, &[IFAPROT_KERNEL_LL]);
        assert!(address(&body.0).unwrap().is_kernels);
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_sends_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (link(&bytes), address(&bytes), route(&bytes));
        }

        #[test]
        fn whatever_an_attribute_holds_is_read(
            kind in 0u16..64,
            value in prop::collection::vec(any::<u8>(), 0..120),
            fixed in prop::collection::vec(any::<u8>(), 16),
        ) {
            let mut body = Body::new(&fixed);
            body.put_text(IFLA_IFNAME, "x");
            body.put(kind, &value);
            let mut info = Body::default();
            info.put_text(IFLA_INFO_KIND, ["vlan", "bond", "bridge"][usize::from(kind % 3)]);
            info.put(IFLA_INFO_DATA, &value);
            body.nest(IFLA_LINKINFO, &info);
            let _ = (link(&body.0), address(&body.0), route(&body.0));
        }
    }
}

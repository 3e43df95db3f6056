//! What an administrator is told before anything is touched.

use super::settings::Settings;
use super::{golden, host, making, storage};
use crate::base::{Error, Result};
use crate::state::{Action, Change};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

type Problems = Vec<Error>;

/// Options of a network, as Proxmox has them.
const OF_NETWORKS: &[&str] = &[
    "bridge",
    "firewall",
    "gw",
    "gw6",
    "host-managed",
    "hwaddr",
    "ip",
    "ip6",
    "link_down",
    "mtu",
    "name",
    "rate",
    "tag",
    "trunks",
    "type",
];

/// Options of a mount.
const OF_MOUNTS: &[&str] =
    &["acl", "backup", "keepattrs", "mountoptions", "mp", "quota", "replicate", "ro", "shared", "size", "volume"];

/// Options of `features`.
const OF_FEATURES: &[&str] = &["force_rw_sys", "fuse", "keyctl", "mknod", "mount", "nesting"];

/// Checks the members that are asked for, as they will be. `at` is the container's place.
pub fn members(settings: &Settings, node: &str, at: &str, asked: &Value, after: &Map<String, Value>) -> Result<()> {
    let mut problems = Problems::new();
    for name in asked.as_object().into_iter().flatten().map(|(name, _)| name) {
        let Some(value) = after.get(name) else { continue };
        let place = format!("{at}.{name}");
        match (name.as_str(), value) {
            ("hostname", Value::String(text)) if !is_host_name(text) => problems.push(
                Error::bad_input(format!("{text:?} is no host name"))
                    .on(place)
                    .hint("labels of letters, digits and `-`, at most 63 each, with dots between them"),
            ),
            ("cores", Value::Number(number)) if !(1..=8192).contains(&number.as_u64().unwrap_or(0)) => {
                problems.push(Error::bad_input("a container has 1 to 8192 cores").on(place).hint("null: all of them"));
            }
            ("memory", Value::Number(number)) if number.as_u64().unwrap_or(0) < 16 => {
                problems.push(Error::bad_input("a container has at least 16 MiB of memory").on(place));
            }
            ("tags", Value::Array(tags)) => {
                for tag in tags.iter().filter(|tag| !tag.as_str().is_some_and(is_tag)) {
                    problems.push(
                        Error::bad_input(format!("{tag} is no tag")).on(place.clone()).hint("letters, digits, _ - + ."),
                    );
                }
            }
            ("features", Value::Object(features)) => {
                problems.extend(unknown(&place, features, OF_FEATURES));
            }
            ("nameserver" | "searchdomain" | "startup", Value::String(text)) => {
                problems.extend(wrong_list(name, text).map(|error| error.on(place)));
            }
            ("hookscript", Value::String(volume)) => problems.extend(hookscript(settings, &place, volume).err()),
            ("networks", Value::Object(networks)) => {
                let named = asked[name].as_object();
                let is_asked = |key: &String| named.is_some_and(|named| named.contains_key(key));
                for (key, network) in networks.iter().filter(|(key, _)| is_asked(key)) {
                    problems.extend(network_problems(&format!("{place}.{key}"), network));
                    let is_same = |(other, there): &(&String, &Value)| *other < key && there["name"] == network["name"];
                    if let Some((other, _)) = networks.iter().find(is_same).filter(|_| network["name"].is_string()) {
                        let message = format!("{other} has this name inside the container, too");
                        problems.push(Error::bad_input(message).on(format!("{place}.{key}.name")));
                    }
                }
            }
            ("mounts", Value::Object(mounts)) => {
                let named = asked[name].as_object();
                let is_asked = |key: &String| named.is_some_and(|named| named.contains_key(key));
                for (key, mount) in mounts.iter().filter(|(key, _)| is_asked(key)) {
                    problems.extend(mount_problems(settings, node, &format!("{place}.{key}"), mount));
                }
            }
            _ => {}
        }
    }
    Error::all(problems).map_or(Ok(()), Err)
}

fn unknown(place: &str, options: &Map<String, Value>, known: &[&str]) -> Problems {
    let of = |name: &String| {
        Error::bad_input("there is no such option")
            .on(format!("{place}.{name}"))
            .hint(format!("the options are: {}", known.join(", ")))
    };
    options.keys().filter(|name| !known.contains(&name.as_str())).map(of).collect()
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Why a text is not what Proxmox takes for name servers, domains, or the order of starting.
fn wrong_list(name: &str, text: &str) -> Option<Error> {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split([' ', ',', ';']).map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (is_right, hint): (&dyn Fn(&String) -> bool, _) = match name {
        "nameserver" => (&|part| part.parse::<IpAddr>().is_ok(), "addresses with spaces between them"),
        "searchdomain" => (&|part| is_host_name(part.trim_end_matches('.')), "domains with spaces between them"),
        _ => (&|part| is_of_startup(part), "order=1,up=30,down=60: each is a number and may be left out"),
    };
    let wrong = parts(text).into_iter().find(|part| !is_right(part))?;
    Some(Error::bad_input(format!("{wrong:?} is no such value")).hint(hint))
}

fn is_of_startup(part: &str) -> bool {
    let (word, number) = part.split_once('=').unwrap_or(("order", part));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    matches!(word, "order" | "up" | "down") && is_number
}

fn is_tag(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_first) && text.bytes().all(|byte| is_first(byte) || b"-+.".contains(&byte))
}

fn hookscript(settings: &Settings, place: &str, volume: &str) -> Result<()> {
    let wrong = |message: &str, hint: &str| Err(Error::bad_input(message).on(place).hint(hint));
    let Some((name, file)) = volume.split_once(":snippets/").filter(|(_, file)| !file.contains('/')) else {
        return wrong("this is no hookscript", "STORAGE:snippets/NAME, for example local:snippets/op-dbus-hook");
    };
    let storages = storage::read(&settings.pve)?;
    let found = storage::named(&storages, name).map_err(|error| error.on(place))?;
    let Some(folder) = &found.path else { return Ok(()) };
    let path = folder.join("snippets").join(file);
    if rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file() {
        return Ok(());
    }
    wrong(
        &format!("there is no executable file {}, so the container could not be started", path.display()),
        "op-dbus-hook install puts op-dbus's own there",
    )
}

fn network_problems(place: &str, network: &Value) -> Problems {
    let Value::Object(options) = network else { return Vec::new() };
    let mut problems = unknown(place, options, OF_NETWORKS);
    let mut wrong = |name: &str, message: String, hint: &str| {
        problems.push(Error::bad_input(message).on(format!("{place}.{name}")).hint(hint));
    };
    if !options.contains_key("name") {
        wrong("name", "a network has a name inside the container".into(), "for example \"name\": \"eth0\"");
    }
    for (name, value) in options {
        let Some(text) = value.as_str() else { continue };
        let is_right = match name.as_str() {
            "name" => text.len() < 16 && !text.is_empty() && !text.contains(['/', ' ', ':']),
            "ip" => matches!(text, "dhcp" | "manual") || is_network::<Ipv4Addr>(text, 32),
            "ip6" => matches!(text, "auto" | "dhcp" | "manual") || is_network::<Ipv6Addr>(text, 128),
            "gw" => text.parse::<Ipv4Addr>().is_ok(),
            "gw6" => text.parse::<Ipv6Addr>().is_ok(),
            "hwaddr" => is_mac(text),
            "type" => text == "veth",
            _ => true,
        };
        if !is_right {
            let hint = match name.as_str() {
                "ip" => "an address with its prefix, as in 10.0.0.5/24; dhcp; manual",
                "ip6" => "an address with its prefix, as in fd00::5/64; auto; dhcp; manual",
                "gw" | "gw6" => "an address without prefix",
                "hwaddr" => "six bytes, the first of them even: BC:24:11:00:00:01; leave it out for a new one",
                _ => "see pct(1)",
            };
            wrong(name, format!("{text:?} is no such value"), hint);
        }
    }
    for (gateway, address) in [("gw", "ip"), ("gw6", "ip6")] {
        let of = |name: &str| options.get(name).and_then(Value::as_str);
        if let (Some(gw), Some(ip)) = (of(gateway), of(address))
            && is_outside(gw, ip)
        {
            wrong(gateway, format!("{gw} is not in the network of {ip}"), "the container would have no way out");
        }
    }
    problems
}

fn is_network<A: std::str::FromStr>(text: &str, longest: u8) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    address.parse::<A>().is_ok() && prefix.parse::<u8>().is_ok_and(|prefix| (1..=longest).contains(&prefix))
}

fn is_outside(gateway: &str, network: &str) -> bool {
    let Some((address, prefix)) = network.split_once('/') else { return false };
    let bits = |text: &str| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => Some((u128::from(v4.to_bits()) << 96, 32)),
        // A gateway of a link needs no address of the network.
        Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => None,
        Ok(IpAddr::V6(v6)) => Some((v6.to_bits(), 128)),
        Err(_) => None,
    };
    let (Some((gw, _)), Some((ip, longest)), Ok(prefix)) = (bits(gateway), bits(address), prefix.parse::<u32>()) else {
        return false;
    };
    // Nothing can be outside of networks that hold one or two addresses.
    prefix > 0 && prefix < longest - 1 && (gw ^ ip).leading_zeros() < prefix
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<Option<u8>> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2)).collect();
    bytes.len() == 6 && bytes.iter().all(Option::is_some) && bytes[0].is_some_and(|first| first & 1 == 0)
}

fn mount_problems(settings: &Settings, node: &str, place: &str, mount: &Value) -> Problems {
    let Value::Object(options) = mount else { return Vec::new() };
    let mut problems = unknown(place, options, OF_MOUNTS);
    let text = |name: &str| options.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut wrong = |name: &str, message: String, hint: String| {
        problems.push(Error::bad_input(message).on(format!("{place}.{name}")).hint(hint));
    };
    let inside = text("mp");
    if !inside.starts_with('/') || inside.split('/').any(|part| part == "..") || inside == "/" {
        wrong("mp", format!("{inside:?} is no place in the container"), "an absolute path, as in /srv/data".into());
    }
    let volume = text("volume");
    if volume.starts_with('/') {
        if !Path::new(volume).exists() {
            wrong(
                "volume",
                format!("there is no {volume} on this host, so the container could not start"),
                "make it first".into(),
            );
        }
        return problems;
    }
    let Some((name, of_storage)) = volume.split_once(':') else {
        wrong("volume", format!("{volume:?} is no volume"), "a path of this host, or STORAGE:VOLUME".into());
        return problems;
    };
    if !of_storage.is_empty() && of_storage.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // Proxmox makes a volume of that size and writes its name here: what was wished would never be so.
        let hint = format!("make it first, and name it: pvesm alloc {name} VMID '' {of_storage}G");
        wrong("volume", format!("{volume:?} is a size, and no volume"), hint);
        return problems;
    }
    let storages = storage::read(&settings.pve).and_then(|storages| {
        let found = storage::named(&storages, name)?;
        if found.is_on(node) { Ok(()) } else { Err(Error::refused(format!("{node} does not have this storage"))) }
    });
    problems.extend(storages.err().map(|error| error.on(format!("{place}.volume"))));
    problems
}

/// Refuses the number of a new container that any guest of the cluster has, or that is none.
pub fn new_id(settings: &Settings, at: &str, id: &str) -> Result<()> {
    if !host::is_id(id) {
        return Err(Error::bad_input("a container is called by its number")
            .on(at)
            .hint("100 to 999999999, written without leading zeros"));
    }
    making::check_free(settings, id)
        .map_err(|error| error.on(at).hint("use another number; pvesh get /cluster/nextid tells a free one"))
}

/// The volume of the archive that a container is unpacked from.
pub fn archive(settings: &Settings, node: &str, at: &str, template: &str) -> Result<String> {
    let storages = storage::read(&settings.pve)?;
    let mut found: BTreeMap<(Vec<u64>, String), String> = BTreeMap::new();
    let mut all = Vec::new();
    let with_archives = storages.values().filter(|s| s.is_on(node) && s.content.iter().any(|c| c == "vztmpl"));
    for storage in with_archives {
        let Some(folder) = &storage.path else { continue };
        for name in crate::store::volumes::names(&folder.join("template/cache"))? {
            let is_archive = [".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"].iter().any(|end| name.ends_with(end));
            if !is_archive {
                continue;
            }
            let volume = format!("{}:vztmpl/{name}", storage.name);
            let is_it = volume == template || name == template;
            let is_called = name.strip_prefix(template).is_some_and(|rest| rest.starts_with(['-', '_', '.']));
            if is_it || is_called {
                let numbers = name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
                found.insert((numbers, name.clone()), volume);
            }
            all.push(name);
        }
    }
    found.pop_last().map(|(_, volume)| volume).ok_or_else(|| {
        let there = if all.is_empty() { "there are none".to_owned() } else { format!("there are: {}", all.join(", ")) };
        Error::bad_input(format!("no archive of the storages is called {template:?}")).on(at).hint(format!(
            "{there}; pveam update && pveam available, then pveam download STORAGE NAME; or name a golden_image"
        ))
    })
}

/// Refuses a golden image that is of something else than the template a document also names.
pub fn same_template(at: &str, image: &golden::Image, template: &str) -> Result<()> {
    if image.is_of(template) {
        return Ok(());
    }
    Err(Error::refused(format!("the golden image {} is of {}, not of {template}", image.name, image.template()))
        .on(format!("{at}.template"))
        .hint("leave `template` out, or name another golden image: op-snapshot golden list"))
}

/// Refuses a bridge that is not there and that no other action of the plan makes.
pub fn bridges(settings: &Settings, at: &str, wanted: &Value, all: &[Action]) -> Result<()> {
    let comes = |bridge: &str| {
        all.iter().flat_map(|action| &action.changes).any(|change| match change {
            Change::Create { item, .. } | Change::Add { item, .. } => item == bridge,
            _ => false,
        })
    };
    let goes = |bridge: &str| {
        let changes = all.iter().flat_map(|action| &action.changes);
        changes.filter(|change| change.takes_item()).any(|change| change.item() == Some(bridge))
    };
    let mut problems = Problems::new();
    for (key, bridge) in super::members::bridges(wanted) {
        let is_plain = !bridge.is_empty() && !bridge.contains('/');
        let is_there = is_plain && settings.links.join(&bridge).exists() && !goes(&bridge);
        if !(comes(&bridge) || is_there) {
            problems.push(
                Error::refused(format!("there is no bridge {bridge} on this host"))
                    .on(format!("{at}.networks.{key}.bridge"))
                    .hint("`ip -br link show type bridge` shows those there are; the same document can make one: plugins.net"),
            );
        }
    }
    Error::all(problems).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn networks_are_checked_option_by_option() {
        let place = |network: Value| -> Vec<String> {
            network_problems("n", &network).into_iter().filter_map(|error| error.subject).collect()
        };
        let right = json!({"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24", "gw": "10.0.0.1", "ip6": "auto"});
        assert_eq!(place(right), [""; 0]);
        let wrong =
            json!({"bridge": "b", "ip": "10.0.0.5", "gw": "10.0.0.0/8", "hwaddr": "01:00:00:00:00:00", "vlan": 5});
        assert_eq!(place(wrong), ["n.vlan", "n.name", "n.gw", "n.hwaddr", "n.ip"]);
        assert_eq!(place(json!({"name": "eth0", "ip": "10.0.0.5/24", "gw": "10.0.1.1"})), ["n.gw"]);
        assert_eq!(place(json!({"name": "eth0", "ip6": "fd00::5/64", "gw6": "fe80::1"})), [""; 0]);
        assert_eq!(place(json!({"name": "eth0", "ip6": "fd00::5/64", "gw6": "fd01::1"})), ["n.gw6"]);
        assert!(is_host_name("web-1.example") && !is_host_name("-web") && !is_host_name("a..b") && !is_tag("-x"));
    }

    #[test]
    fn lists_are_what_proxmox_takes() {
        for (name, text, is_right) in [
            ("nameserver", "192.0.2.1 2001:db8::1", true),
            ("nameserver", "zz", false),
            ("searchdomain", "example.org, b.example.", true),
            ("searchdomain", "a b_c", false),
            ("startup", "order=1,up=30", true),
            ("startup", "3", true),
            ("startup", "nonsense", false),
            ("startup", "up=", false),
        ] {
            assert_eq!(wrong_list(name, text).is_none(), is_right, "{name} {text}");
        }
    }
}

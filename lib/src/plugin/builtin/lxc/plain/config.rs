//! LXC's own configuration files: `lxc.KEY = value`, lists as repeated lines. No I/O.
//!
//! What is ours of a file is replaced where it stands; every other line stays as it is.

use super::super::rootfs::SHIFT;
use crate::base::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The line that keeps how op-dbus made the container.
const ORIGIN: &str = "# op-dbus ";

/// Members that LXC has a place for.
pub const MEMBERS: [&str; 5] = ["hostname", "memory", "mounts", "networks", "onboot"];

/// Options of a network: ours, and LXC's.
const NETWORK: [(&str, &str); 8] = [
    ("bridge", "link"),
    ("gw", "ipv4.gateway"),
    ("gw6", "ipv6.gateway"),
    ("hwaddr", "hwaddr"),
    ("ip", "ipv4.address"),
    ("ip6", "ipv6.address"),
    ("mtu", "mtu"),
    ("name", "name"),
];

fn key_of(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    line.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
}

/// `lxc.net.0.link` as 0 and `link`.
fn network_key(key: &str) -> Option<(u8, &str)> {
    let (number, word) = key.strip_prefix("lxc.net.")?.split_once('.')?;
    Some((number.parse().ok()?, word))
}

/// A mount in the form that we write: `/srv srv none bind,ro,create=dir`.
fn mount(value: &str) -> Option<Value> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [volume, inside, "none", options, ..] = words[..] else { return None };
    let is_ro = match options.strip_prefix("bind,")?.strip_prefix("ro,") {
        Some("create=dir" | "create=file") => true,
        None if matches!(options, "bind,create=dir" | "bind,create=file") => false,
        _ => return None,
    };
    let mut found = json!({"volume": volume, "mp": format!("/{}", inside.trim_start_matches('/'))});
    if is_ro {
        found["ro"] = json!(true);
    }
    Some(found).filter(|_| volume.starts_with('/'))
}

/// MiB of `512M`, `1G` or a number of bytes.
fn mib(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" => Some(number >> 20),
        "K" | "k" | "KB" => Some(number >> 10),
        "M" | "m" | "MB" => Some(number),
        "G" | "g" | "GB" => Some(number << 10),
        _ => None,
    }
}

/// The members of a container, as its file tells them.
#[must_use]
pub fn members(text: &str) -> Map<String, Value> {
    let mut networks: BTreeMap<u8, Map<String, Value>> = BTreeMap::new();
    let (mut mounts, mut is_unprivileged) = (Vec::new(), false);
    let mut item = Map::from_iter([("onboot".to_owned(), json!(false))]);
    for line in text.lines() {
        if let Some(origin) = line.strip_prefix(ORIGIN) {
            let words = origin.split_whitespace().filter_map(|word| word.split_once('='));
            item.extend(words.map(|(name, value)| (name.to_owned(), json!(value))));
        }
        let Some((key, value)) = key_of(line) else { continue };
        match key {
            "lxc.uts.name" => drop(item.insert("hostname".into(), json!(value))),
            "lxc.arch" => drop(item.insert("arch".into(), json!(value))),
            "lxc.rootfs.path" => drop(item.insert("rootfs".into(), json!(value))),
            "lxc.start.auto" => drop(item.insert("onboot".into(), json!(value == "1"))),
            "lxc.cgroup2.memory.max" => item.extend(mib(value).map(|mib| ("memory".to_owned(), json!(mib)))),
            "lxc.idmap" => is_unprivileged = true,
            "lxc.mount.entry" => mounts.extend(mount(value)),
            _ => {
                let Some((number, word)) = network_key(key) else { continue };
                let network = networks.entry(number).or_default();
                match NETWORK.iter().find(|(_, theirs)| *theirs == word) {
                    Some((ours, _)) => {
                        let number = value.parse::<u64>().ok().filter(|_| *ours == "mtu");
                        network.insert((*ours).to_owned(), number.map_or_else(|| json!(value), |number| json!(number)));
                    }
                    None if word == "type" && value != "veth" => drop(network.insert("type".into(), json!(value))),
                    None => {}
                }
            }
        }
    }
    let networks: Map<String, Value> =
        networks.into_iter().map(|(at, network)| (format!("net{at}"), Value::Object(network))).collect();
    item.insert("networks".into(), Value::Object(networks));
    let mounts = mounts.into_iter().enumerate().map(|(at, mount)| (format!("mp{at}"), mount));
    item.insert("mounts".into(), Value::Object(mounts.collect()));
    item.insert("unprivileged".into(), json!(is_unprivileged));
    item
}

/// Whether a line says what we say, for these networks that stay.
fn is_ours(line: &str, networks: &BTreeSet<u8>) -> bool {
    let Some((key, value)) = key_of(line) else { return false };
    match key {
        "lxc.uts.name" | "lxc.start.auto" | "lxc.cgroup2.memory.max" => true,
        "lxc.mount.entry" => mount(value).is_some(),
        _ => network_key(key).is_some_and(|(number, word)| {
            let is_known = matches!(word, "type" | "flags") || NETWORK.iter().any(|(_, theirs)| *theirs == word);
            is_known || !networks.contains(&number)
        }),
    }
}

/// The lines of these members. `at` is the container's place in the document.
fn lines(at: &str, item: &Map<String, Value>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut one = |key: &str, value: Option<String>| lines.extend(value.map(|value| format!("{key} = {value}")));
    one("lxc.uts.name", item.get("hostname").and_then(Value::as_str).map(str::to_owned));
    one("lxc.cgroup2.memory.max", item.get("memory").filter(|value| !value.is_null()).map(|value| format!("{value}M")));
    one("lxc.start.auto", item.get("onboot").and_then(Value::as_bool).filter(|is_on| *is_on).map(|_| "1".to_owned()));
    let mut errors = Vec::new();
    for (key, network) in item.get("networks").and_then(Value::as_object).into_iter().flatten() {
        let number = key.strip_prefix("net").and_then(|number| number.parse::<u8>().ok());
        let (Some(number), Some(network)) = (number, network.as_object()) else {
            errors.push(
                Error::bad_input("there is no such network").on(format!("{at}.networks.{key}")).hint("net0, net1, ..."),
            );
            continue;
        };
        let kind = network.get("type").map_or_else(|| "veth".to_owned(), text);
        one(&format!("lxc.net.{number}.type"), Some(kind));
        one(&format!("lxc.net.{number}.flags"), Some("up".to_owned()));
        for (name, value) in network.iter().filter(|(name, value)| *name != "type" && !value.is_null()) {
            match NETWORK.iter().find(|(ours, _)| ours == name) {
                Some((ours, _))
                    if matches!(text(value).as_str(), "dhcp" | "auto" | "manual") && ours.starts_with("ip") =>
                {
                    let error = Error::bad_input(format!("LXC alone gives no address by {:?}", text(value)));
                    let hint = "leave it out: then the container finds its addresses by itself";
                    errors.push(error.on(format!("{at}.networks.{key}.{name}")).hint(hint));
                }
                Some((_, theirs)) => one(&format!("lxc.net.{number}.{theirs}"), Some(text(value))),
                None => errors.push(no_place(&format!("{at}.networks.{key}.{name}"))),
            }
        }
    }
    for (key, mount) in item.get("mounts").and_then(Value::as_object).into_iter().flatten() {
        let Some(options) = mount.as_object() else { continue };
        let of = |name: &str| options.get(name).and_then(Value::as_str).unwrap_or_default();
        let other = options.keys().find(|name| !["mp", "ro", "volume"].contains(&name.as_str()));
        errors.extend(other.map(|name| no_place(&format!("{at}.mounts.{key}.{name}"))));
        if !of("volume").starts_with('/') || of("volume").contains(char::is_whitespace) {
            let error = Error::bad_input("LXC mounts paths of this host").on(format!("{at}.mounts.{key}.volume"));
            errors.push(error.hint("an absolute path without spaces"));
        }
        let ro = if options.get("ro") == Some(&Value::Bool(true)) { "ro," } else { "" };
        let kind = if std::path::Path::new(of("volume")).is_file() { "file" } else { "dir" };
        let inside = of("mp").trim_start_matches('/');
        one("lxc.mount.entry", Some(format!("{} {inside} none bind,{ro}create={kind} 0 0", of("volume"))));
    }
    Error::all(errors).map_or(Ok(lines), Err)
}

/// The error of something that only Proxmox has.
pub fn no_place(at: &str) -> Error {
    Error::bad_input("LXC without Proxmox has no place for this")
        .on(at)
        .hint(format!("what it has: golden_image, template, unprivileged, status, {}", MEMBERS.join(", ")))
}

/// The file with these members instead of those it has.
pub fn with(at: &str, text: &str, item: &Map<String, Value>) -> Result<String> {
    let networks = item.get("networks").and_then(Value::as_object).into_iter().flatten();
    let networks = networks.filter_map(|(key, _)| key.strip_prefix("net")?.parse().ok()).collect();
    let new = lines(at, item)?;
    let mut out: Vec<&str> = Vec::new();
    let mut place = None;
    for line in text.lines() {
        if is_ours(line, &networks) {
            place = place.or(Some(out.len()));
        } else {
            out.push(line);
        }
    }
    let place = place.unwrap_or(out.len());
    out.splice(place..place, new.iter().map(String::as_str));
    Ok(out.join("\n") + "\n")
}

/// The file of a new container, without the addresses that are drawn when it is made.
pub fn of_new(
    at: &str,
    origin: &[(&str, &str)],
    rootfs: &str,
    is_unprivileged: bool,
    item: &Map<String, Value>,
) -> Result<String> {
    let origin: Vec<String> = origin.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("{ORIGIN}{}\n", origin.join(" "));
    let mut include = |name: &str| {
        let path = format!("/usr/share/lxc/config/{name}.conf");
        if std::path::Path::new(&path).exists() {
            text.push_str(&format!("lxc.include = {path}\n"));
        }
    };
    include("common");
    if is_unprivileged {
        include("userns");
        for kind in ["u", "g"] {
            text.push_str(&format!("lxc.idmap = {kind} 0 {SHIFT} 65536\n"));
        }
    }
    text.push_str(&format!("lxc.rootfs.path = btrfs:{rootfs}\nlxc.apparmor.profile = generated\n"));
    text.push_str("lxc.apparmor.allow_nesting = 1\n");
    with(at, &text, item)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# op-dbus golden_image=small\nlxc.include = /usr/share/lxc/config/common.conf\n\
        lxc.rootfs.path = btrfs:/var/lib/lxc/web/rootfs\nlxc.uts.name = \"web\"\nlxc.net.0.type = veth\n\
        lxc.net.0.link = lxcbr0\nlxc.net.0.flags = up\nlxc.net.0.veth.pair = vweb\nlxc.net.0.ipv4.address = 10.0.0.5/24\n\
        lxc.mount.entry = /srv srv none bind,ro,create=dir 0 0\nlxc.mount.entry = shm dev/shm tmpfs defaults 0 0\n\
        lxc.cgroup2.memory.max = 1G\nlxc.start.auto = 1\n";

    #[test]
    fn members_come_from_lines_and_lead_back_to_them() {
        let item = members(FILE);
        assert_eq!((&item["hostname"], &item["memory"], &item["onboot"]), (&json!("web"), &json!(1024), &json!(true)));
        assert_eq!(item["networks"], json!({"net0": {"bridge": "lxcbr0", "ip": "10.0.0.5/24"}}));
        assert_eq!(item["mounts"], json!({"mp0": {"volume": "/srv", "mp": "/srv", "ro": true}}));
        assert_eq!((&item["golden_image"], &item["unprivileged"]), (&json!("small"), &json!(false)));
        let again = with("c", FILE, &item).unwrap();
        assert_eq!(members(&again), item);
        for line in ["lxc.net.0.veth.pair = vweb", "lxc.mount.entry = shm dev/shm tmpfs defaults 0 0"] {
            assert!(again.contains(line), "what is not ours stays: {again}");
        }
        let type_first = again.find("lxc.net.0.type").unwrap() < again.find("veth.pair").unwrap();
        assert!(type_first, "LXC wants the type first: {again}");
    }

    #[test]
    fn a_network_that_goes_takes_all_its_lines() {
        let mut item = members(FILE);
        item.insert("networks".into(), json!({}));
        item.remove("memory");
        let after = with("c", FILE, &item).unwrap();
        assert!(!after.contains("lxc.net.") && !after.contains("memory") && after.contains("common.conf"), "{after}");
    }

    #[test]
    fn what_lxc_has_no_place_for_is_named() {
        let item = json!({"networks": {"net0": {"name": "eth0", "tag": 5}}, "mounts": {"mp0": {"volume": "fast:1", "mp": "/x"}}});
        let error = lines("c.web", item.as_object().unwrap()).unwrap_err();
        assert_eq!((error.subject.as_deref(), error.also.len()), (Some("c.web.networks.net0.tag"), 1), "{error}");
    }
}

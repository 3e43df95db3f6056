//! The members of a container in a state document, and the keys of Proxmox they are made of. No I/O.

use super::config::{self, Config};
use crate::base::{Error, Result};
use crate::state::{ItemSpec, KeySpec, MemberSpec, Strategy};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The one key of the plugin's state.
pub const CONTAINERS: &str = "containers";

/// What a value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Whole,
    Switch,
    /// Words with `;` between them.
    Words,
    /// `a=b,c=d`.
    Options,
    /// Keys with a number, each of options: `net0`, `net1`.
    Numbered(&'static str),
}

/// Members that are keys of Proxmox, and what a file that does not say it means.
const MEMBERS: &[(&str, &str, Shape, Option<i64>)] = &[
    ("cores", "cores", Shape::Whole, None),
    ("description", "description", Shape::Text, None),
    ("features", "features", Shape::Options, None),
    ("hookscript", "hookscript", Shape::Text, None),
    ("hostname", "hostname", Shape::Text, None),
    ("memory", "memory", Shape::Whole, Some(512)),
    ("mounts", "mp", Shape::Numbered("volume"), None),
    ("nameserver", "nameserver", Shape::Text, None),
    ("networks", "net", Shape::Numbered("name"), None),
    ("onboot", "onboot", Shape::Switch, Some(0)),
    ("protection", "protection", Shape::Switch, Some(0)),
    ("searchdomain", "searchdomain", Shape::Text, None),
    ("startup", "startup", Shape::Text, None),
    ("swap", "swap", Shape::Whole, Some(512)),
    ("tags", "tags", Shape::Words, None),
    ("unprivileged", "unprivileged", Shape::Switch, Some(0)),
];

/// Members that say how a container is made.
const ORIGINS: [&str; 2] = ["golden_image", "template"];

/// Options whose value is yes or no.
const SWITCHES: &[&str] = &[
    "acl",
    "backup",
    "firewall",
    "force_rw_sys",
    "fuse",
    "host-managed",
    "keepattrs",
    "keyctl",
    "link_down",
    "mknod",
    "nesting",
    "quota",
    "replicate",
    "ro",
    "shared",
];

/// Options whose value is a whole number.
const NUMBERS: &[&str] = &["mtu", "tag"];

/// What the diff is told about containers.
pub fn spec() -> KeySpec {
    let written = MemberSpec { can_write: true, can_create: true, ..MemberSpec::default() };
    let origin = MemberSpec { can_create: true, is_origin: true, ..MemberSpec::default() };
    let shown = MemberSpec { is_only_shown: true, ..MemberSpec::default() };
    let mut members: BTreeMap<String, MemberSpec> =
        MEMBERS.iter().map(|(name, ..)| ((*name).to_owned(), written.clone())).collect();
    members.extend(ORIGINS.map(|name| (name.to_owned(), origin.clone())));
    for name in ["arch", "is_template", "lock", "node", "ostype", "pending", "rootfs"] {
        members.insert(name.to_owned(), shown.clone());
    }
    if let Some(tags) = members.get_mut("tags") {
        tags.is_unordered = true;
    }
    let fixed = MemberSpec { can_create: true, ..MemberSpec::default() };
    members.insert("unprivileged".into(), fixed.clone());
    members.insert("storage".into(), fixed.clone());
    members.insert("disk_gib".into(), fixed);
    members.insert("status".into(), MemberSpec { values: vec![json!("running"), json!("stopped")], ..written });
    KeySpec {
        strategy: Strategy::Collection,
        name_hint: Some("a container is called by its number, 100 to 999999999; with LXC alone by its name".into()),
        settle: Duration::from_secs(5),
        items: ItemSpec {
            key: Some("id".into()),
            presence: Some("status".into()),
            members,
            can_create: true,
            can_delete: true,
            ..ItemSpec::default()
        },
        ..KeySpec::default()
    }
}

/// The members of a container that Proxmox has. `status` is added by who knows it.
#[must_use]
pub fn of_config(config: &Config) -> Map<String, Value> {
    let mut item = Map::new();
    for (name, key, shape, default) in MEMBERS {
        let value = match shape {
            // An object without anything in it is what taking the last one away leads to.
            Shape::Numbered(first) => Some(numbered(config, key, first)),
            Shape::Options => Some(options_to_value(config.keys.get(*key).map_or("", String::as_str), "name")),
            // None and an empty one are the same to Proxmox.
            _ if *key == "description" => Some(json!(config.description)),
            _ => config.keys.get(*key).map(|text| to_value(text, *shape)),
        };
        let default =
            || default.map(|default| if *shape == Shape::Switch { json!(default != 0) } else { json!(default) });
        item.extend(value.or_else(default).map(|value| ((*name).to_owned(), value)));
    }
    item.extend(config.origin.iter().map(|(name, value)| (name.clone(), json!(value))));
    for name in ["arch", "lock", "ostype", "rootfs"] {
        item.extend(config.keys.get(name).map(|value| (name.to_owned(), json!(value))));
    }
    if let Some(rootfs) = config.keys.get("rootfs") {
        let options = config::options(rootfs, "volume");
        let of = |wanted: &str| options.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        item.extend(of("volume").and_then(|volume| volume.split_once(':')).map(|(s, _)| ("storage".into(), json!(s))));
        item.extend(of("size").and_then(gib).map(|size| ("disk_gib".into(), json!(size))));
    }
    if config.keys.get("template").is_some_and(|value| value == "1") {
        item.insert("is_template".into(), json!(true));
    }
    if !config.pending.is_empty() {
        item.insert("pending".into(), json!(config.pending));
    }
    item
}

fn gib(size: &str) -> Option<u64> {
    let (number, unit) = size.split_at(size.len().checked_sub(1)?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "G" => Some(number),
        "T" => Some(number << 10),
        _ => None,
    }
}

fn numbered(config: &Config, prefix: &str, first: &str) -> Value {
    let of_prefix = |key: &&String| key.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u16>().is_ok());
    let found = config.keys.keys().filter(of_prefix);
    Value::Object(found.map(|key| (key.clone(), options_to_value(&config.keys[key], first))).collect())
}

fn to_value(text: &str, shape: Shape) -> Value {
    match shape {
        Shape::Whole => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        Shape::Switch => json!(text == "1"),
        Shape::Words => text.split([';', ',', ' ']).filter(|word| !word.is_empty()).collect(),
        Shape::Options => options_to_value(text, "name"),
        Shape::Text | Shape::Numbered(_) => json!(text),
    }
}

fn options_to_value(text: &str, first: &str) -> Value {
    let one = |(name, value): (&str, &str)| {
        let value = match value.parse::<i64>() {
            _ if SWITCHES.contains(&name) => json!(value == "1"),
            Ok(number) if NUMBERS.contains(&name) => json!(number),
            _ => json!(value),
        };
        (name.to_owned(), value)
    };
    Value::Object(config::options(text, first).into_iter().map(one).collect())
}

/// The keys of Proxmox that make these members; `None` for a key that is to go. `at` is the container's place.
pub fn to_keys(at: &str, item: &Map<String, Value>) -> Result<BTreeMap<String, Option<String>>> {
    let mut keys = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, key, shape, _) in MEMBERS {
        let Some(value) = item.get(*name) else { continue };
        let place = format!("{at}.{name}");
        if let (Shape::Numbered(first), Value::Object(entries)) = (shape, value) {
            for (entry, value) in entries {
                let is_numbered = entry.strip_prefix(key).is_some_and(|rest| rest.parse::<u8>().is_ok());
                if !is_numbered {
                    errors.push(
                        Error::bad_input(format!("{entry:?} is no such thing"))
                            .on(format!("{place}.{entry}"))
                            .hint(format!("they are called {key}0, {key}1, ...")),
                    );
                }
                match options_to_text(&format!("{place}.{entry}"), value, first) {
                    Ok(text) => drop(keys.insert(entry.clone(), text)),
                    Err(error) => errors.push(error),
                }
            }
            continue;
        }
        match to_text(&place, value, *shape) {
            Ok(text) => drop(keys.insert((*key).to_owned(), text)),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(keys), Err)
}

fn wrong(place: &str, expected: &str, found: &Value) -> Error {
    Error::bad_input(format!("expected {expected}, found {found}")).on(place)
}

fn to_text(place: &str, value: &Value, shape: Shape) -> Result<Option<String>> {
    let text = match (shape, value) {
        (_, Value::Null) => return Ok(None),
        (Shape::Text, Value::String(text)) => text.clone(),
        (Shape::Whole, Value::Number(number)) if number.is_u64() => number.to_string(),
        (Shape::Switch, Value::Bool(is_on)) => u8::from(*is_on).to_string(),
        (Shape::Words, Value::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().ok_or_else(|| wrong(place, "a list of words", word)));
            words.collect::<Result<Vec<_>>>()?.join(";")
        }
        (Shape::Options, _) => return options_to_text(place, value, "name"),
        (Shape::Text, other) => return Err(wrong(place, "a text", other)),
        (Shape::Whole, other) => return Err(wrong(place, "a whole number", other)),
        (Shape::Switch, other) => return Err(wrong(place, "true or false", other)),
        (Shape::Words, other) => return Err(wrong(place, "a list of words", other)),
        (Shape::Numbered(_), other) => return Err(wrong(place, "an object", other)),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn options_to_text(place: &str, value: &Value, first: &str) -> Result<Option<String>> {
    let Value::Object(options) = value else {
        return if value.is_null() { Ok(None) } else { Err(wrong(place, "an object", value)) };
    };
    let mut words = Vec::new();
    let mut names: Vec<&String> = options.keys().collect();
    names.sort_by_key(|name| (*name != first, *name));
    for name in names {
        let text = match &options[name] {
            Value::Null => continue,
            Value::Bool(is_on) => u8::from(*is_on).to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            other => return Err(wrong(&format!("{place}.{name}"), "a text", other)),
        };
        if text.is_empty() || text.contains([',', '\n']) {
            return Err(Error::bad_input("it is empty, or has a comma in it").on(format!("{place}.{name}")));
        }
        words.push(if name == "volume" { text } else { format!("{name}={text}") });
    }
    Ok(Some(words.join(",")).filter(|text| !text.is_empty()))
}

/// `now` after a change from `from` to `to`, of which both hold only what changes: null and what is left out go.
#[must_use]
pub fn changed(now: &Value, from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut all = now.as_object().cloned().unwrap_or_default();
    for gone in from.keys().filter(|name| !to.contains_key(*name)) {
        all.remove(gone);
    }
    for (name, to) in to {
        let nothing = Value::Null;
        let now = all.get(name).unwrap_or(&nothing).clone();
        match changed(&now, from.get(name).unwrap_or(&nothing), to) {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value)),
        }
    }
    Value::Object(all)
}

/// The bridges that the networks of these members are on, with the network's key.
#[must_use]
pub fn bridges(item: &Value) -> BTreeSet<(String, String)> {
    let networks = item.get("networks").and_then(Value::as_object).into_iter().flatten();
    networks.filter_map(|(key, net)| Some((key.clone(), net.get("bridge")?.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "arch: amd64\ncores: 2\nfeatures: nesting=1,mount=nfs\nhostname: web\nmp0: /srv,mp=/data,ro=1\n\
        net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,tag=5,firewall=1\nonboot: 1\nostype: debian\n\
        rootfs: fast:100/vm-100-disk-0.raw,size=8G\ntags: a;b\nunprivileged: 1\n";

    #[test]
    fn members_come_from_keys_and_lead_back_to_them() {
        let config = Config::parse(FILE);
        let item = of_config(&config);
        assert_eq!(item["networks"]["net0"]["tag"], json!(5));
        assert_eq!(item["mounts"], json!({"mp0": {"volume": "/srv", "mp": "/data", "ro": true}}));
        assert_eq!((&item["memory"], &item["onboot"], &item["disk_gib"]), (&json!(512), &json!(true), &json!(8)));
        assert_eq!((&item["tags"], &item["storage"]), (&json!(["a", "b"]), &json!("fast")));
        let keys = to_keys("at", &item).unwrap();
        for (key, text) in &config.keys {
            if let Some(again) = keys.get(key) {
                let sorted = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
                assert_eq!(sorted(again.as_ref().unwrap()), sorted(text), "{key}");
            }
        }
        assert_eq!(keys["mp0"].as_deref(), Some("/srv,mp=/data,ro=1"));
    }

    #[test]
    fn a_change_is_laid_over_what_there_is() {
        let now = json!({"networks": {"net0": {"name": "eth0", "bridge": "vmbr0"}, "net1": {"name": "eth1"}}});
        let from = json!({"networks": {"net0": {"bridge": "vmbr0"}, "net1": {"name": "eth1"}}});
        let to = json!({"networks": {"net0": {"bridge": "vmbr1", "tag": 5}, "net1": null}});
        let after = changed(&now, &from, &to);
        assert_eq!(after, json!({"networks": {"net0": {"name": "eth0", "bridge": "vmbr1", "tag": 5}}}));
        assert_eq!(changed(&after, &to, &from), now);
    }

    #[test]
    fn ill_typed_members_are_all_named() {
        let item = json!({"cores": "2", "onboot": 1, "tags": "a", "networks": {"eth0": {}, "net0": {"name": ["x"]}}});
        let error = to_keys("c.100", item.as_object().unwrap()).unwrap_err();
        assert_eq!(error.also.len(), 4, "{error}");
    }
}

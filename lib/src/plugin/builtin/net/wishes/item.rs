//! What a document says about one link, in the one form that everything else works with. Every mistake is told.

use super::super::show::{BOND_MODES, BRIDGE_OPTIONS, sorted};
use crate::base::Error;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Lists of which only what is listed is ours: foreign entries stay.
pub const LISTS: [&str; 4] = ["ipv4.address", "ipv6.address", "bridge.port", "link-aggregation.port"];

/// Types of links that can be made, and the member that each needs.
pub const MADE: [(&str, Option<&str>); 5] = [
    ("linux-bridge", None),
    ("bond", Some("link-aggregation")),
    ("vlan", Some("vlan")),
    ("veth", Some("veth")),
    ("dummy", None),
];

/// What is wished of one link.
#[derive(Debug, Clone, Default)]
pub struct ItemWish {
    /// Its members; of the [`LISTS`] what is to be there.
    pub members: Value,
    /// Of the [`LISTS`] what is to go.
    pub gone: BTreeMap<&'static str, Vec<Value>>,
    /// Whether it comes back after a start; nothing when the document does not say.
    pub persistent: Option<bool>,
}

/// The value at a path with dots.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// The list at a path with dots; an empty one when there is none.
pub fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Writes a value at a path with dots.
pub fn put(value: &mut Value, path: &str, new: Value) {
    let mut place = value;
    for name in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = new;
}

/// Takes what is at a path with dots.
pub fn take(value: &mut Value, path: &str) -> Option<Value> {
    let (above, name) = path.rsplit_once('.').map_or((None, path), |(above, name)| (Some(above), name));
    let place = match above {
        Some(above) => value.pointer_mut(&format!("/{}", above.replace('.', "/")))?,
        None => value,
    };
    place.as_object_mut()?.remove(name)
}

/// `there` with what is wished and without what is to go.
pub fn merged(there: &[Value], wished: &[Value], gone: &[Value]) -> Vec<Value> {
    sorted(there.iter().filter(|entry| !gone.contains(entry)).chain(wished).cloned().collect())
}

/// Reads what a document says at `place` about the link `name`, which is `now`.
pub fn read(place: &str, said: &Map<String, Value>, now: Option<&Value>, errors: &mut Vec<Error>) -> ItemWish {
    let mut wish = ItemWish { members: Value::Object(said.clone()), ..ItemWish::default() };
    let mut reader = Reader { place, now, errors };
    wish.persistent = take(&mut wish.members, "persistent")
        .and_then(|value| value.as_bool().or_else(|| reader.wrong("persistent", "is neither true nor false")));
    if let Some(kind) = at(&wish.members, "type").cloned() {
        reader.kind(&mut wish.members, &kind);
    }
    reader.number(&wish.members, "mtu", 68, 65535);
    let shown_mac = now.and_then(|now| at(now, "mac-address"));
    if let Some(mac) = at(&wish.members, "mac-address").filter(|mac| Some(*mac) != shown_mac).cloned() {
        match mac.as_str().map(mac_of) {
            Some(Some(mac)) => put(&mut wish.members, "mac-address", json!(mac)),
            _ => {
                reader.wrong("mac-address", "is no MAC address: six bytes, for example 02:00:00:00:00:01").unwrap_or(())
            }
        }
    }
    if at(&wish.members, "controller").is_some_and(|controller| controller == "") {
        put(&mut wish.members, "controller", Value::Null);
    }
    reader.family(&mut wish, "ipv4", true);
    reader.family(&mut wish, "ipv6", false);
    reader.bridge(&mut wish);
    reader.bond(&mut wish);
    reader.number(&wish.members, "vlan.id", 0, 4094);
    wish
}

/// `AA:BB:CC:DD:EE:FF`, of one link alone.
fn mac_of(text: &str) -> Option<String> {
    let bytes: Vec<u8> = text
        .split([':', '-'])
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect::<Option<_>>()?;
    let is_own = bytes.len() == 6 && bytes[0] & 1 == 0 && bytes.iter().any(|byte| *byte != 0);
    is_own.then(|| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

struct Reader<'a> {
    place: &'a str,
    now: Option<&'a Value>,
    errors: &'a mut Vec<Error>,
}

impl Reader<'_> {
    fn error(&mut self, path: &str, error: Error) {
        self.errors.push(error.on(format!("{}.{path}", self.place)));
    }

    fn wrong<T>(&mut self, path: &str, what: &str) -> Option<T> {
        self.error(path, Error::bad_input(format!("this {what}")));
        None
    }

    fn kind(&mut self, members: &mut Value, kind: &Value) {
        let kind = if kind == "bridge" { "linux-bridge" } else { kind.as_str().unwrap_or_default() };
        put(members, "type", json!(kind));
        let known = MADE.map(|(name, _)| name).join(", ");
        match self.now.and_then(|now| at(now, "type")).and_then(Value::as_str) {
            Some(now) if now == kind => {}
            // nmstate's documents call both ends of a pair so.
            Some("veth") if kind == "ethernet" => drop(take(members, "type")),
            Some(now) => {
                let error = Error::refused(format!("the link is of the type {now}, which cannot become {kind}"));
                self.error("type", error.hint("delete it first (\"state\": \"absent\"), in a run of its own"));
            }
            None if MADE.iter().any(|(name, _)| *name == kind) => {}
            None if matches!(kind, "ethernet" | "loopback") => {
                let error = Error::bad_input("there is no such link, and hardware is not made by a document");
                self.error("type", error.hint("look at the names: op-query --plugin net"));
            }
            None => {
                let error = Error::bad_input(format!("links of the type {kind:?} are not made by this plugin"));
                self.error("type", error.hint(format!("it makes: {known}")));
            }
        }
    }

    fn number(&mut self, members: &Value, path: &str, least: u64, most: u64) {
        let Some(value) = at(members, path) else { return };
        let is_so = self.now.is_some_and(|now| at(now, path) == Some(value));
        if !is_so && value.as_u64().is_none_or(|number| !(least..=most).contains(&number)) {
            self.wrong(path, &format!("is {value}, not a number from {least} to {most}")).unwrap_or(())
        }
    }

    /// Objects of a list: those to be there, those to go (`"state": "absent"`).
    fn entries(
        &mut self,
        wish: &mut ItemWish,
        path: &'static str,
        mut read: impl FnMut(&Value) -> Result<Value, String>,
    ) {
        let Some(said) = take(&mut wish.members, path) else { return };
        let Value::Array(said) = said else { return self.wrong(path, "is no list").unwrap_or(()) };
        let mut wished = Vec::new();
        for (i, entry) in said.iter().enumerate() {
            let mut bare = entry.clone();
            let is_gone = match take(&mut bare, "state") {
                Some(state) if state == "absent" => true,
                Some(state) if state != "present" => {
                    self.wrong(&format!("{path}[{i}].state"), "is neither \"present\" nor \"absent\"").unwrap_or(());
                    continue;
                }
                _ => false,
            };
            match read(&bare) {
                Ok(entry) if is_gone => wish.gone.entry(path).or_default().push(entry),
                Ok(entry) => wished.push(entry),
                Err(what) => self.wrong(&format!("{path}[{i}]"), &what).unwrap_or(()),
            }
        }
        if let Some(both) = wished.iter().find(|entry| wish.gone.get(path).is_some_and(|gone| gone.contains(entry))) {
            self.wrong(path, &format!("says of {both} that it is wanted and absent")).unwrap_or(())
        }
        put(&mut wish.members, path, Value::Array(sorted(wished)));
    }

    fn family(&mut self, wish: &mut ItemWish, family: &'static str, is_v4: bool) {
        let Some(said) = at(&wish.members, family) else { return };
        if !said.is_object() {
            return self.wrong(family, "is no object").unwrap_or(());
        }
        let path = if is_v4 { LISTS[0] } else { LISTS[1] };
        self.entries(wish, path, |entry| address_of(entry, is_v4));
        for dynamic in ["dhcp", "autoconf"] {
            let there = self.now.and_then(|now| at(now, family)?.get(dynamic)).is_some_and(|now| now == &json!(true));
            let wanted = take(&mut wish.members, &format!("{family}.{dynamic}"));
            if wanted.is_some_and(|wanted| wanted == json!(true)) && !there {
                let error = Error::refused("this plugin gives addresses that stay; it runs no DHCP client");
                let hint =
                    "leave it out, and let systemd-networkd or NetworkManager (plugin networkmanager) have the link";
                self.error(&format!("{family}.{dynamic}"), error.hint(hint));
            }
        }
        if let Some(Value::Object(said)) = wish.members.get_mut(family) {
            // What nmstate says about addresses that are given dynamically.
            said.retain(|name, _| !name.starts_with("auto-"));
        }
        let there = self.now.map(|now| list(now, path)).unwrap_or_default();
        let enabled = at(&wish.members, &format!("{family}.enabled")).cloned();
        match enabled {
            None => {}
            Some(Value::Bool(true)) if is_v4 => drop(take(&mut wish.members, "ipv4.enabled")),
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) if !list(&wish.members, path).is_empty() => {
                self.wrong(&format!("{family}.enabled"), "is false, but addresses are listed").unwrap_or(());
            }
            Some(Value::Bool(false)) => {
                wish.gone.insert(path, there.to_vec());
                if is_v4 {
                    take(&mut wish.members, "ipv4.enabled");
                }
                put(&mut wish.members, path, json!([]));
            }
            Some(_) => self.wrong(&format!("{family}.enabled"), "is neither true nor false").unwrap_or(()),
        }
        self.known(&wish.members, family, &["enabled", "address"]);
    }

    /// Names what an object holds that nobody knows.
    fn known(&mut self, members: &Value, path: &str, known: &[&str]) {
        let Some(said) = at(members, path) else { return };
        let Some(said) = said.as_object() else { return self.wrong(path, "is no object").unwrap_or(()) };
        for name in said.keys().filter(|name| !known.contains(&name.as_str())) {
            let error = Error::bad_input("there is no such member").hint(format!("known are: {}", known.join(", ")));
            self.error(&format!("{path}.{name}"), error);
        }
    }

    fn bridge(&mut self, wish: &mut ItemWish) {
        self.entries(wish, LISTS[2], |entry| match entry.as_object() {
            Some(port) if port.len() == 1 && port.get("name").is_some_and(Value::is_string) => Ok(entry.clone()),
            _ => Err("is no port: {\"name\": LINK}; what else a port can be told is not written".into()),
        });
        self.known(&wish.members, "bridge", &["options", "port"]);
        let words: Vec<&str> = BRIDGE_OPTIONS.iter().map(|(path, ..)| path.split('.').next().unwrap_or(path)).collect();
        self.known(&wish.members, "bridge.options", &words);
        let stp: Vec<&str> = BRIDGE_OPTIONS.iter().filter_map(|(path, ..)| path.strip_prefix("stp.")).collect();
        self.known(&wish.members, "bridge.options.stp", &stp);
        for (path, _, size, units) in BRIDGE_OPTIONS {
            let path = format!("bridge.options.{path}");
            match at(&wish.members, &path) {
                Some(value) if size.is_bool() && !value.is_boolean() => {
                    self.wrong(&path, "is neither true nor false").unwrap_or(());
                }
                Some(_) if !size.is_bool() => {
                    let most = if *size == super::super::show::Size::U16 { u16::MAX.into() } else { u32::MAX / units };
                    self.number(&wish.members, &path, 0, most.into());
                }
                _ => {}
            }
        }
        // It is shown only where it is true.
        let filtering = "bridge.options.vlan-filtering";
        if at(&wish.members, filtering) == Some(&json!(false)) {
            match self.now.and_then(|now| at(now, filtering)) {
                Some(_) => put(&mut wish.members, filtering, Value::Null),
                None => drop(take(&mut wish.members, filtering)),
            }
        }
    }

    fn bond(&mut self, wish: &mut ItemWish) {
        self.entries(wish, LISTS[3], |entry| {
            entry.is_string().then(|| entry.clone()).ok_or_else(|| "is no link's name".into())
        });
        self.known(&wish.members, "link-aggregation", &["mode", "options", "port"]);
        self.known(&wish.members, "link-aggregation.options", &["miimon"]);
        self.number(&wish.members, "link-aggregation.options.miimon", 0, i32::MAX as u64);
        let shown = self.now.and_then(|now| at(now, "link-aggregation.mode"));
        if let Some(mode) = at(&wish.members, "link-aggregation.mode").filter(|mode| Some(*mode) != shown).cloned() {
            let by_number = mode.as_u64().and_then(|mode| BOND_MODES.get(usize::try_from(mode).ok()?));
            match by_number.copied().or(mode.as_str()).filter(|mode| BOND_MODES.contains(mode)) {
                Some(mode) => put(&mut wish.members, "link-aggregation.mode", json!(mode.to_owned())),
                None => {
                    let what = format!("is {mode}, none of {}", BOND_MODES.join(", "));
                    self.wrong("link-aggregation.mode", &what).unwrap_or(());
                }
            }
        }
    }
}

fn address_of(entry: &Value, is_v4: bool) -> Result<Value, String> {
    let what = "is no address: {\"ip\": \"192.0.2.1\", \"prefix-length\": 24}";
    let object = entry.as_object().ok_or(what)?;
    // What nmstate shows of an address that has no end.
    let is_known =
        |name: &String| matches!(&**name, "ip" | "prefix-length" | "valid-life-time" | "preferred-life-time");
    if !object.keys().all(is_known) {
        return Err(what.into());
    }
    let ip: IpAddr = object.get("ip").and_then(Value::as_str).and_then(|ip| ip.parse().ok()).ok_or(what)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = object.get("prefix-length").and_then(Value::as_u64).and_then(|prefix| u8::try_from(prefix).ok());
    let prefix = prefix.filter(|prefix| *prefix <= most);
    let prefix = prefix.ok_or_else(|| format!("has a prefix-length that is no number from 0 to {most}"))?;
    if ip.is_ipv4() != is_v4 {
        return Err(format!("is of the other family: {ip}"));
    }
    if ip.is_multicast() || ip.is_unspecified() {
        return Err(format!("is {ip}, which no link can have"));
    }
    Ok(super::super::show::address(ip, prefix))
}

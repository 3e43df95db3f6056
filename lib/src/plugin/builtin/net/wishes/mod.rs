//! From a document to a desired state in the form of a query: arrays become objects, lists get what is there already,
//! and what follows from a wish - the port's side of a bridge, the peer of a pair, the files - is written out, so that
//! the plan shows it and its undo is exact. Everything that cannot be is refused here, before anything is touched.

pub mod item;
mod relations;
pub mod routes;

use super::kernel::Snapshot;
use super::settings::Settings;
use super::{DNS, INTERFACES, NAME, PROFILES, ROUTES, owners, profile};
use crate::base::{Error, Result};
use crate::plugin::Owned;
use crate::state::PluginState;
use item::{ItemWish, LISTS, at, list, merged, put};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is wished, while it is worked out.
pub struct Wishes<'a> {
    pub settings: &'a Settings,
    pub snapshot: &'a Snapshot,
    /// What a query shows.
    pub current: &'a Map<String, Value>,
    pub items: BTreeMap<String, ItemWish>,
    /// Links that are to go.
    pub absent: BTreeSet<String>,
    pub errors: Vec<Error>,
}

/// The desired state in the form of a query; every problem when there are some.
pub fn normalised(
    settings: &Settings,
    snapshot: &Snapshot,
    desired: &PluginState,
    current: &Map<String, Value>,
    owned: &Owned,
) -> Result<PluginState> {
    let items = BTreeMap::new();
    let mut wishes = Wishes { settings, snapshot, current, items, absent: BTreeSet::new(), errors: Vec::new() };
    let mut state = desired.clone();
    if desired.values.contains_key(INTERFACES) || desired.absent.contains_key(INTERFACES) {
        wishes.read(desired, owned);
        wishes.check_relations();
        wishes.check_going();
    }
    let routes = wishes.routes(desired.values.get(ROUTES));
    if let Some(dns) = desired.values.get(DNS) {
        state.values.insert(DNS.into(), wishes.dns(dns));
    }
    let shown = current.get(PROFILES).cloned().unwrap_or(json!({}));
    if desired.values.get(PROFILES).is_some_and(|said| *said != shown) || desired.absent.contains_key(PROFILES) {
        let error = Error::bad_input("files follow from \"persistent\" of the links and are not written by themselves");
        wishes.errors.push(error.on(format!("plugins.{NAME}.{PROFILES}")).hint("leave it out"));
    }
    let profiles = profile::wanted(&mut wishes, &routes);
    if let Some(error) = Error::all(std::mem::take(&mut wishes.errors)) {
        return Err(error);
    }
    if let Some(list) = &routes.list {
        state.values.insert(ROUTES.into(), json!({ "config": list }));
    }
    state.values.remove(PROFILES);
    if !profiles.wanted.is_empty() {
        state.values.insert(PROFILES.into(), Value::Object(profiles.wanted));
    }
    if !profiles.absent.is_empty() {
        state.absent.insert(PROFILES.into(), profiles.absent);
    }
    let is_stated = desired.values.contains_key(INTERFACES);
    if is_stated || !wishes.items.is_empty() {
        let items = wishes.items.iter().map(|(name, wish)| (name.clone(), wishes.desired_item(name, wish))).collect();
        state.values.insert(INTERFACES.into(), Value::Object(items));
    }
    if !wishes.absent.is_empty() {
        state.absent.insert(INTERFACES.into(), wishes.absent.into_iter().collect());
    }
    Ok(state)
}

impl Wishes<'_> {
    /// A link as a query shows it.
    pub fn now(&self, name: &str) -> Option<&Value> {
        self.current.get(INTERFACES)?.get(name)
    }

    /// Whether a link is there when all is done.
    pub fn is_there_after(&self, name: &str) -> bool {
        let is_made = self.items.contains_key(name) || self.now(name).is_some();
        is_made && !self.absent.contains(name)
    }

    /// What a member of a link is when all is done.
    pub fn after(&self, name: &str, path: &str) -> Option<&Value> {
        let wished = self.items.get(name).and_then(|wish| at(&wish.members, path));
        wished.or_else(|| at(self.now(name)?, path)).filter(|value| !value.is_null())
    }

    /// A text that a link has when all is done.
    pub fn text_after(&self, name: &str, path: &str) -> Option<&str> {
        self.after(name, path)?.as_str()
    }

    pub fn place(name: &str) -> String {
        format!("plugins.{NAME}.{INTERFACES}.{name}")
    }

    pub fn error(&mut self, name: &str, path: &str, error: Error) {
        let dot = if path.is_empty() { "" } else { "." };
        self.errors.push(error.on(format!("{}{dot}{path}", Self::place(name))));
    }

    /// Whether a link goes down that is up.
    pub fn goes_down(&self, name: &str) -> bool {
        let wished = self.items.get(name).and_then(|wish| at(&wish.members, "state"));
        wished.is_some_and(|state| state == "down") && self.now(name).is_some_and(|now| now["state"] == "up")
    }

    fn read(&mut self, desired: &PluginState, owned: &Owned) {
        self.absent = desired.absent.get(INTERFACES).into_iter().flatten().cloned().collect();
        let said = match desired.values.get(INTERFACES) {
            Some(Value::Array(list)) => self.by_name(list),
            Some(Value::Object(items)) => items.clone(),
            Some(_) => {
                let error = Error::bad_input("this is neither an object of links by name nor nmstate's list of links");
                return self.errors.push(error.on(format!("plugins.{NAME}.{INTERFACES}")));
            }
            None => Map::new(),
        };
        for (name, value) in &said {
            let Value::Object(members) = value else {
                self.error(name, "", Error::bad_input("this is no object of members"));
                continue;
            };
            let mut members = members.clone();
            if members.remove("name").is_some_and(|inner| inner != **name) {
                self.error(name, "name", Error::bad_input("this is another name than that of the item"));
            }
            if members.get("state").is_some_and(|state| state == "absent") {
                self.absent.insert(name.clone());
                continue;
            }
            if self.absent.contains(name) {
                self.error(name, "", Error::bad_input("this link is both wanted and absent"));
            }
            if let Some(what) = bad_name(name).filter(|_| self.now(name).is_none()) {
                let hint = "a link's name has 1 to 15 characters, none of them a space, a colon or a slash";
                self.error(name, "", Error::bad_input(what).hint(hint));
            }
            let now = self.current.get(INTERFACES).and_then(|items| items.get(name));
            let mut wish = item::read(&Self::place(name), &members, now, &mut self.errors);
            if now.is_none() && at(&wish.members, "state").is_none() {
                put(&mut wish.members, "state", json!("up"));
            }
            self.items.insert(name.clone(), wish);
        }
        if desired.values.contains_key(INTERFACES) {
            let left_out = owned.get(INTERFACES).into_iter().flatten().filter(|name| !said.contains_key(*name));
            self.absent.extend(left_out.cloned());
        }
    }

    /// nmstate's list of links as an object.
    fn by_name(&mut self, list: &[Value]) -> Map<String, Value> {
        let mut items = Map::new();
        for (i, item) in list.iter().enumerate() {
            let place = format!("plugins.{NAME}.{INTERFACES}[{i}]");
            match item.get("name").and_then(Value::as_str) {
                None => self.errors.push(Error::bad_input("a link in a list has a \"name\"").on(place)),
                Some(name) if items.contains_key(name) => {
                    self.errors.push(Error::bad_input(format!("{name} is listed twice")).on(place));
                }
                Some(name) => drop(items.insert(name.to_owned(), item.clone())),
            }
        }
        items
    }

    /// What a link's item is to be, with what is there of its lists.
    fn desired_item(&self, name: &str, wish: &ItemWish) -> Value {
        let mut item = wish.members.clone();
        let now = self.now(name).unwrap_or(&Value::Null);
        for path in LISTS {
            let gone = wish.gone.get(path).map(Vec::as_slice).unwrap_or_default();
            if at(&item, path).is_some() || !gone.is_empty() {
                let whole = merged(list(now, path), list(&item, path), gone);
                put(&mut item, path, Value::Array(whole));
            }
        }
        if self.goes_down(name) && !list(now, "ipv6.address").is_empty() {
            // The kernel takes them away: written out, so that the way back gives them again.
            put(&mut item, "ipv6.address", json!([]));
        }
        item
    }

    /// What goes away or down must not be what somebody depends on.
    fn check_going(&mut self) {
        let names = |wishes: &Self| -> Vec<String> {
            let down = wishes.items.keys().filter(|name| wishes.goes_down(name));
            wishes.absent.iter().chain(down).cloned().collect()
        };
        let sessions = owners::Sessions::at(self.settings.ssh_port);
        for name in names(self) {
            if let Some(why) = owners::dependent(&sessions, self.snapshot, &name) {
                let what = format!("{name} must stay: {why}");
                let hint = "move the route, or come in by another way; then do this in a run of its own";
                self.error(&name, "state", Error::refused(what).hint(hint));
            }
        }
        let mut lost = Vec::new();
        for (name, wish) in &self.items {
            let gone = LISTS[..2].iter().filter_map(|path| wish.gone.get(path)).flatten();
            let ips = gone.filter_map(|entry| entry["ip"].as_str()?.parse::<IpAddr>().ok());
            lost.extend(ips.filter(|ip| sessions.has(*ip)).map(|ip| (name.clone(), ip)));
        }
        for (name, ip) in lost {
            let error = Error::refused(format!("{ip} must stay: somebody is logged in over ssh by it"));
            self.error(&name, "address", error.hint("come in by another address first"));
        }
    }

    /// Name servers and search domains, each in its one form.
    fn dns(&mut self, said: &Value) -> Value {
        let place = format!("plugins.{NAME}.{DNS}");
        let mut config = Map::new();
        let known = |name: &String| matches!(&**name, "config" | "running");
        let is_known = said.as_object().is_some_and(|said| said.keys().all(known));
        let parts = said.get("config").and_then(Value::as_object).filter(|_| is_known);
        let Some(parts) = parts else {
            let hint = "{\"config\": {\"server\": [\"192.0.2.1\"], \"search\": [\"example.org\"]}}";
            self.errors.push(Error::bad_input("this is not what name servers look like").on(place).hint(hint));
            return said.clone();
        };
        for (name, value) in parts {
            let place = format!("{place}.config.{name}");
            let texts: Option<Vec<&str>> = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
            let is_plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
            match (&**name, texts) {
                ("server", Some(texts)) if texts.iter().all(|text| text.parse::<IpAddr>().is_ok()) => {
                    let ips = texts.iter().filter_map(|text| text.parse::<IpAddr>().ok());
                    config.insert(name.clone(), ips.map(|ip| ip.to_string()).collect());
                }
                ("search", Some(texts)) if texts.iter().all(|text| is_plain(text)) => {
                    config.insert(name.clone(), json!(texts));
                }
                ("server", _) => self.errors.push(Error::bad_input("this is no list of IP addresses").on(place)),
                ("search", _) => self.errors.push(Error::bad_input("this is no list of domains").on(place)),
                _ => {
                    let error = Error::bad_input("there is no such member").hint("known are: server, search");
                    self.errors.push(error.on(place));
                }
            }
        }
        json!({ "config": config })
    }
}

/// What is wrong with a link's name.
fn bad_name(name: &str) -> Option<String> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    match name.len() {
        0 => Some("a link has a name".into()),
        16.. => Some(format!("the name is {} characters long", name.len())),
        _ if name.contains(is_bad) || matches!(name, "." | ".." | "all" | "default") => {
            Some("a link cannot have this name".into())
        }
        _ => None,
    }
}

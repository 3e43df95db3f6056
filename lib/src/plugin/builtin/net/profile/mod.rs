//! What brings links back after a start: files of the host's own mechanism, one link each, named after op-dbus. What a
//! document declared is kept in each file's first line, so that a later document adds to it, and foreign addresses that
//! are there now do not become ours.

mod interfaces;
mod networkd;
pub mod networkmanager;

use super::settings::{Persistence, Settings};
use super::wishes::Wishes;
use super::wishes::item::{ItemWish, LISTS, at, list, merged, put, take};
use super::wishes::routes::RouteWishes;
use super::{NAME, PROFILES};
use crate::base::{Error, Result};
use crate::store::file;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How the first line of our files begins; what was declared follows, as JSON.
const HEADER: &str = "# op-dbus: ";

/// The member of what was declared that holds the routes over the link.
const ROUTES: &str = "routes";

/// No file of a link is larger.
const MAX_BYTES: u64 = 1 << 20;

/// What becomes of the files.
#[derive(Debug, Default)]
pub struct Profiles {
    /// By link, the files it is to have.
    pub wanted: Map<String, Value>,
    /// Links that are to have none.
    pub absent: Vec<String>,
}

/// By link, our files and what is in them.
pub fn query(settings: &Settings) -> Result<Map<String, Value>> {
    let mut found: Map<String, Value> = Map::new();
    let folders: [(&Path, &str, &[&str]); 3] = [
        (&settings.interfaces_dir, interfaces::PREFIX, &[""]),
        (&settings.networkd_dir, networkd::PREFIX, &[".netdev", ".network"]),
        (&settings.networkmanager_dir, networkmanager::PREFIX, &[networkmanager::ENDING]),
    ];
    for (folder, prefix, endings) in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
            let Some(link) = endings.iter().rev().find_map(|ending| rest.strip_suffix(ending)) else { continue };
            let Some(text) = file::read_up_to(&entry.path(), MAX_BYTES)? else { continue };
            let item = found.entry(link).or_insert_with(|| json!({"files": {}}));
            item["files"][entry.path().display().to_string()] = json!(text);
        }
    }
    Ok(found)
}

/// What a file says was declared.
fn declared_in(profile: &Value) -> Option<Value> {
    let files = profile.get("files")?.as_object()?;
    files.values().find_map(|text| serde_json::from_str(text.as_str()?.lines().next()?.strip_prefix(HEADER)?).ok())
}

/// The files that the wishes lead to.
pub fn wanted(wishes: &mut Wishes<'_>, routes: &RouteWishes) -> Profiles {
    let there = wishes.current.get(PROFILES).and_then(Value::as_object).cloned().unwrap_or_default();
    let mechanism = wishes.settings.mechanism();
    let mut after: BTreeMap<String, Value> =
        there.iter().filter_map(|(name, profile)| Some((name.clone(), declared_in(profile)?))).collect();
    let mut profiles = Profiles::default();
    let via = |route: &Value| route["next-hop-interface"].as_str().unwrap_or_default().to_owned();
    let of_routes = routes.wished.iter().chain(&routes.gone).map(via).filter(|name| there.contains_key(name));
    let names: BTreeSet<String> = wishes.items.keys().chain(&wishes.absent).cloned().chain(of_routes).collect();
    let nothing = ItemWish { members: json!({}), ..ItemWish::default() };
    for name in &names {
        let wish = wishes.items.get(name).cloned().unwrap_or_else(|| nothing.clone());
        if wishes.absent.contains(name) || wish.persistent == Some(false) {
            after.remove(name);
            profiles.absent.extend(there.contains_key(name).then(|| name.clone()));
            continue;
        }
        let is_kept = there.contains_key(name);
        if wish.persistent.is_none() && !is_kept {
            continue;
        }
        let is_new = |route: &&Value| {
            let all = list(wishes.current.get(super::ROUTES).unwrap_or(&Value::Null), "config");
            via(route) == *name && (wish.persistent.is_some() || !all.contains(route))
        };
        let added: Vec<Value> = routes.wished.iter().filter(is_new).cloned().collect();
        let mut told = wish.members.clone();
        if wish.persistent.is_none() {
            told = differing(&told, wishes.now(name).unwrap_or(&Value::Null));
        }
        let mut declared = after.remove(name).unwrap_or(json!({}));
        for path in LISTS {
            let gone = wish.gone.get(path).map(Vec::as_slice).unwrap_or_default();
            let whole = merged(list(&declared, path), list(&told, path), gone);
            take(&mut told, path);
            if !whole.is_empty() || at(&declared, path).is_some() {
                put(&mut declared, path, Value::Array(whole));
            }
        }
        overlay(&mut declared, &told);
        let over = merged(list(&declared, ROUTES), &added, &routes.gone);
        put(&mut declared, ROUTES, Value::Array(over));
        if let Some(kind) = wishes.text_after(name, "type") {
            put(&mut declared, "type", json!(kind));
        }
        if wish.persistent == Some(true) && !is_kept {
            check(wishes, mechanism, name);
        }
        after.insert(name.clone(), declared);
    }
    for (name, declared) in &after {
        if mechanism == Persistence::None {
            // What an earlier mechanism left stays as it is.
            profiles.wanted.extend(there.get(name).map(|profile| (name.clone(), profile.clone())));
            continue;
        }
        let rendered = match mechanism {
            Persistence::Networkd => networkd::render(&wishes.settings.networkd_dir, name, declared, &after),
            Persistence::NetworkManager => {
                networkmanager::render(&wishes.settings.networkmanager_dir, name, declared, &after)
            }
            _ => interfaces::render(&wishes.settings.interfaces_dir, name, declared),
        };
        let mut files: Map<String, Value> = Map::new();
        // A file that is not written any more goes.
        let old = there.get(name).and_then(|profile| profile["files"].as_object());
        old.into_iter().flatten().for_each(|(path, _)| drop(files.insert(path.clone(), Value::Null)));
        let header = format!("{HEADER}{declared}\n");
        files.extend(
            rendered.into_iter().map(|(path, text)| (path.display().to_string(), json!(header.clone() + &text))),
        );
        let is_same = old.is_some_and(|old| *old == files);
        if names.contains(name) || !is_same {
            profiles.wanted.insert(name.clone(), json!({ "files": files }));
        }
    }
    match mechanism {
        Persistence::Networkd => check_parts(wishes, &after, &names, "networkd"),
        Persistence::NetworkManager => check_parts(wishes, &after, &names, "NetworkManager"),
        _ => {}
    }
    profiles
}

/// Whether this host can bring the link back, and nobody else does already.
fn check(wishes: &mut Wishes<'_>, mechanism: Persistence, name: &str) {
    let error = match mechanism {
        Persistence::Interfaces => interfaces::conflict(&wishes.settings.interfaces_dir, name),
        Persistence::Networkd => None,
        Persistence::NetworkManager => networkmanager::conflict(&wishes.settings.networkmanager_dir, name),
        _ => Some(
            Error::refused(
                "nothing on this host would bring the link back after a start: neither ifupdown2 nor networkd nor NetworkManager",
            )
            .hint("leave \"persistent\" out, and have op-dbus.service apply the document at each start"),
        ),
    };
    if let Some(error) = error {
        wishes.error(name, "persistent", error);
    }
}

/// Both read what a link belongs to in that link's own file: a port's; networkd also a VLAN's base.
fn check_parts(wishes: &mut Wishes<'_>, after: &BTreeMap<String, Value>, names: &BTreeSet<String>, who: &str) {
    let mut missing = Vec::new();
    for (name, declared) in after.iter().filter(|(name, _)| names.contains(*name)) {
        let ports = LISTS[2..].iter().flat_map(|path| list(declared, path));
        let ports = ports.filter_map(|port| port.as_str().or_else(|| port.get("name")?.as_str()));
        let base = at(declared, "vlan.base-iface").and_then(Value::as_str).filter(|_| who == "networkd");
        let parts = ports.chain(base).filter(|part| !after.contains_key(*part));
        missing.extend(parts.map(|part| (name.clone(), part.to_owned())));
    }
    for (name, part) in missing {
        let error = Error::refused(format!("{who} joins {part} and {name} only if {part} is persistent, too"));
        wishes.error(&name, "persistent", error.hint(format!("declare {part} with \"persistent\": true")));
    }
}

/// Of what is wished, what is not so now.
fn differing(wished: &Value, now: &Value) -> Value {
    let (Value::Object(wished), Value::Object(now)) = (wished, now) else { return wished.clone() };
    let part = |(name, wished): (&String, &Value)| match (wished, now.get(name)) {
        (Value::Array(wished), Some(Value::Array(now))) => {
            let new = wished.iter().filter(|entry| !now.contains(entry)).cloned();
            Some((name.clone(), new.collect()))
        }
        (Value::Object(_), Some(now @ Value::Object(_))) => Some((name.clone(), differing(wished, now))),
        (wished, Some(now)) if wished == now => None,
        (Value::Null, None) => None,
        _ => Some((name.clone(), wished.clone())),
    };
    Value::Object(wished.iter().filter_map(part).collect())
}

/// Writes `top` over `base`; null takes away.
fn overlay(base: &mut Value, top: &Value) {
    let Value::Object(top) = top else { return };
    for (name, value) in top {
        match value {
            Value::Null => drop(base.as_object_mut().and_then(|base| base.remove(name))),
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                if !base[name].is_object() {
                    base[name] = json!({});
                }
                overlay(&mut base[name], value);
            }
            _ => base[name] = value.clone(),
        }
    }
}

/// Addresses of a family as text, with their prefixes.
fn addresses(declared: &Value, path: &str) -> Vec<String> {
    let text = |entry: &Value| Some(format!("{}/{}", entry["ip"].as_str()?, entry["prefix-length"]));
    list(declared, path).iter().filter_map(text).collect()
}

/// The value of an option as a file's word.
fn word(value: &Value, yes: &str, no: &str) -> String {
    match value {
        Value::Bool(true) => yes.into(),
        Value::Bool(false) => no.into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

type Files = Vec<(PathBuf, String)>;

/// The place of a plugin's setting, for hints.
pub(super) fn setting(name: &str) -> String {
    format!("{NAME}: plugin.toml: settings.{name}")
}

//! What cannot be, before anything is touched.

use super::server::{Objects, TYPES};
use super::{CLIENTS, HOST, HOSTS, KEYS, NAME, NETWORKS, OF_SERVER, SERVER_NETWORKS, settings::Settings};
use crate::base::{Error, Result};
use crate::state::PluginState;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Whether all can be that is desired.
pub fn desired(settings: &Settings, desired: &PluginState, current: &Map<String, Value>) -> Result<()> {
    let mut errors = Vec::new();
    if OF_SERVER.iter().any(|key| desired.values.contains_key(*key) || desired.absent.contains_key(*key)) {
        errors.extend(settings.server().err());
    }
    let items = |key: &str| desired.values.get(key).and_then(Value::as_object).into_iter().flatten();
    let mut wrong = |key: &str, item: &str, member: &str, message: String, hint: &str| {
        let dot = if member.is_empty() { "" } else { "." };
        errors.push(Error::bad_input(message).on(format!("plugins.{NAME}.{key}.{item}{dot}{member}")).hint(hint));
    };
    let is_absent = |members: &Value| members["state"] == "absent";
    let named = [SERVER_NETWORKS, NETWORKS].map(|key| items(key).map(move |(name, members)| (key, name, members)));
    for (key, name, members) in named.into_iter().flatten().filter(|(.., members)| !is_absent(members)) {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 32 || !name.chars().all(is_plain) {
            let hint = "1 to 32 small letters, digits, - and _";
            wrong(key, name, "", "this is no name of a network".into(), hint);
        }
        for (member, is_v4) in [("addressrange", true), ("addressrange6", false)] {
            if let Some(text) = members[member].as_str().filter(|text| !is_range(text, is_v4)) {
                let hint = if is_v4 {
                    "a range like 10.101.0.0/16, at most /30"
                } else {
                    "a range like fd00:101::/64, at most /126"
                };
                wrong(key, name, member, format!("{text:?} is no range of addresses"), hint);
            }
        }
        let is_new = current.get(SERVER_NETWORKS).is_some_and(|there| there.get(name).is_none());
        let is_of_server = key == SERVER_NETWORKS;
        if is_new && is_of_server && members["addressrange"].is_null() && members["addressrange6"].is_null() {
            wrong(
                SERVER_NETWORKS,
                name,
                "addressrange",
                "a network has a range of addresses".into(),
                "10.101.0.0/16, for example",
            );
        }
    }
    for (tag, members) in items(KEYS).filter(|(_, members)| !is_absent(members)) {
        if !(3..=32).contains(&tag.len()) {
            wrong(KEYS, tag, "", "a key is called by its tag".into(), "3 to 32 characters");
        }
        let is_new = current.get(KEYS).is_some_and(|there| there.get(tag).is_none());
        let kind = members["type"].as_str();
        if is_new && kind.is_none_or(|kind| !TYPES.contains(&kind)) {
            wrong(KEYS, tag, "type", "a key has a type".into(), "time (with expires), uses (with uses) or unlimited");
        }
        for (of, member) in [("uses", "uses"), ("time", "expires")] {
            if is_new && kind == Some(of) && members[member].as_u64().is_none_or(|number| number == 0) {
                let hint = if of == "time" { "seconds since 1970: date -d tomorrow +%s" } else { "1 or more" };
                wrong(KEYS, tag, member, format!("a key of the type {of} says {member}"), hint);
            }
        }
    }
    for (name, members) in items(CLIENTS).filter(|(_, members)| !is_absent(members)) {
        if name.split('/').count() != 2 || name.starts_with('/') || name.ends_with('/') {
            wrong(CLIENTS, name, "", "a client is called NETWORK/CLIENT".into(), "mesh1/phone, for example");
        }
        let is_new = current.get(CLIENTS).is_some_and(|there| there.get(name).is_none());
        if is_new && members["gateway"].is_null() {
            wrong(CLIENTS, name, "gateway", "a client comes in by a gateway".into(), "the name of a host that is one");
        }
    }
    if let Some(said) = desired.values.get(HOST).and_then(Value::as_object) {
        let known = ["listen_port", "mtu", "endpoint"];
        for (member, value) in said {
            let now = current.get(HOST).map_or(&Value::Null, |host| &host[member]);
            let is_right = match member.as_str() {
                "listen_port" => value.as_u64().is_some_and(|port| (1..=65535).contains(&port)),
                "mtu" => value.as_u64().is_some_and(|mtu| (1280..=65535).contains(&mtu)),
                "endpoint" => value.as_str().is_some_and(|ip| ip.parse::<IpAddr>().is_ok()),
                _ => value == now,
            };
            if !is_right {
                let hint = format!("what can be changed: {}", known.join(", "));
                errors.push(
                    Error::bad_input(format!("it cannot become {value}"))
                        .on(format!("plugins.{NAME}.{HOST}.{member}"))
                        .hint(hint),
                );
            }
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

fn is_range(text: &str, is_v4: bool) -> bool {
    let Some((ip, bits)) = text.split_once('/') else { return false };
    let (Ok(ip), Ok(bits)) = (ip.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    ip.is_ipv4() == is_v4 && bits > 0 && bits <= if is_v4 { 30 } else { 126 }
}

/// What the server's objects do not allow.
pub fn objects(objects: &Objects, desired: &PluginState) -> Result<()> {
    let mut errors = Vec::new();
    let items = |key: &str| desired.values.get(key).and_then(Value::as_object).into_iter().flatten();
    let gone = items(SERVER_NETWORKS).filter(|(_, members)| members["state"] == "absent").map(|(name, _)| name);
    for name in gone.chain(desired.absent.get(SERVER_NETWORKS).into_iter().flatten()) {
        let members = objects.members(name);
        if !members.is_empty() {
            let message = format!("hosts are in it: {}", members.join(", "));
            errors.push(
                Error::refused(message)
                    .on(format!("plugins.{NAME}.{SERVER_NETWORKS}.{name}"))
                    .hint("take them out first"),
            );
        }
    }
    let is_network =
        |name: &str| objects.networks.contains_key(name) || items(SERVER_NETWORKS).any(|(new, _)| new == name);
    for key in [HOSTS, KEYS] {
        for (name, members) in items(key) {
            let named = members["networks"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for network in named.filter(|network| !is_network(network)) {
                errors.push(
                    Error::bad_input(format!("the server has no network {network}"))
                        .on(format!("plugins.{NAME}.{key}.{name}.networks")),
                );
            }
        }
    }
    for (name, members) in items(CLIENTS) {
        let Some((network, _)) = name.split_once('/') else { continue };
        let gateway = members["gateway"].as_str();
        if let Some(gateway) = gateway.filter(|gateway| objects.gateway(gateway, network).is_none()) {
            let message = format!("the host {gateway:?} is no gateway of the network {network}");
            errors.push(Error::bad_input(message).on(format!("plugins.{NAME}.{CLIENTS}.{name}.gateway")));
        }
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// Whether a token can still be used for a network, as far as this server knows it.
pub fn token(objects: &Objects, network: &str, text: &str, now: u64) -> Result<()> {
    let decoded = super::host::decoded(text.trim()).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(said) = decoded.filter(|said| said["value"].is_string()) else {
        return Err(Error::bad_input("the secret is no token of an enrollment key")
            .hint("the server's dashboard shows it with the key"));
    };
    let Some(key) = objects.keys.values().find(|key| key["value"] == said["value"]) else { return Ok(()) };
    if key["networks"].as_array().is_some_and(|list| !list.is_empty() && !list.iter().any(|one| one == network)) {
        let message = format!("the token is not of the network {network}, but of {}", key["networks"]);
        return Err(Error::bad_input(message).hint("name a token of the network itself"));
    }
    let is_used_up = key["type"] == 2 && key["uses_remaining"].as_u64() == Some(0);
    let is_over = key["type"] == 1 && key["expiration"].as_u64().is_some_and(|end| end > 0 && end < now);
    let why = if is_used_up { "was used as often as it may" } else { "is over" };
    match is_used_up || is_over {
        true => Err(Error::refused(format!("the token {why}")).hint("make another enrollment key")),
        false => Ok(()),
    }
}

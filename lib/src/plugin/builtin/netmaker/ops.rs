//! How an operation is made. netclient ends with 0 whatever came of it, so only its files say whether it did what it was
//! told.

use super::plan::{COMMAND, PUSHED};
use super::server::{OF_NETWORK, Server, TYPES};
use super::settings::Settings;
use super::{CLIENTS, host};
use crate::base::{Call, Error, Kind, Result, secret};
use crate::bus::Bus;
use crate::plugin::{Failure, Touched};
use serde_json::{Map, Value, json};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Makes it. `item` is what it is made for: a token does not say by itself into which network it leads.
pub fn perform(settings: &Settings, bus: &Bus, call: &Call, item: &str) -> Result<(), Failure> {
    let failure = |touched: Touched| move |error: Error| Failure { error: error.or_on(call.label()), touched };
    if call.interface != COMMAND {
        let server = Server::open(settings, bus).map_err(failure(Touched::No))?;
        return change(&server, call).map_err(failure(Touched::Perhaps));
    }
    let args = secret::resolved(&call.args, &|name| bus.secret(name)).map_err(failure(Touched::No))?;
    let args = args.as_ref().unwrap_or(&call.args);
    let before = host::networks(settings).map_err(failure(Touched::No))?;
    let said = run(settings, &call.member, args).map_err(failure(Touched::No))?;
    settled(settings, call, item, &said).map_err(|error| {
        let error = if call.member == "join" { elsewhere(settings, &before).unwrap_or(error) } else { error };
        failure(Touched::Perhaps)(error)
    })
}

/// Leaves the networks that a token led into that was meant for another one.
fn elsewhere(settings: &Settings, before: &Map<String, Value>) -> Option<Error> {
    let now = host::networks(settings).ok()?;
    let entered: Vec<&str> = now.keys().filter(|name| !before.contains_key(*name)).map(String::as_str).collect();
    let networks = entered.join(", ");
    let left = entered.iter().try_for_each(|name| run(settings, "leave", &[json!(name)]).map(drop));
    let left = if left.is_ok() { "and was told to leave it" } else { "and did not leave it" };
    (!entered.is_empty()).then(|| {
        Error::failed(format!("the token let this host into {networks}; netclient went there, {left}"))
            .hint("name a token of the network itself")
    })
}

/// Runs netclient; what it says at last.
fn run(settings: &Settings, verb: &str, args: &[Value]) -> Result<String> {
    let words = args.iter().filter_map(Value::as_str).map(str::trim);
    let output = Command::new(&settings.netclient)
        .arg(verb)
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .output();
    let output = output.map_err(|error| {
        Error::new(Kind::Unavailable, format!("it could not be started: {error}"))
            .hint("is netclient installed? where it is can be said in [settings] of plugin.toml")
    })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned())
}

/// Waits until netclient's files show what was done.
fn settled(settings: &Settings, call: &Call, item: &str, said: &str) -> Result<()> {
    let name = call.args.first().and_then(Value::as_str).unwrap_or_default();
    let end = Instant::now() + Duration::from_secs(settings.timeout_s);
    let mut pause = Duration::from_millis(20);
    loop {
        let now = host::networks(settings)?;
        let is_connected = |name: &str| now.get(name).map(|node| node["connected"] == true);
        let is_done = match &*call.member {
            "join" => now.contains_key(item),
            "leave" => !now.contains_key(name),
            "connect" => is_connected(name) == Some(true),
            "disconnect" => is_connected(name) == Some(false),
            _ => is_pushed(settings, call)?,
        };
        if is_done {
            return Ok(());
        }
        if Instant::now() > end {
            let message = format!("netclient did not do it within {} s, and says: {said}", settings.timeout_s);
            return Err(Error::failed(message).hint("journalctl -u netclient tells more"));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

fn is_pushed(settings: &Settings, call: &Call) -> Result<bool> {
    let now = host::host(settings)?.unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(call.args.chunks(2).all(|pair| {
        let member = PUSHED.iter().find(|(_, option)| pair[0] == *option).map_or("", |(member, _)| *member);
        now.get(member).is_some_and(|is| Some(text(is).as_str()) == pair[1].as_str())
    }))
}

/// Changes an object of the server.
fn change(server: &Server<'_>, call: &Call) -> Result<()> {
    let kinds = ["network", "enrollment key", "host", "client"];
    let named = kinds.into_iter().find_map(|kind| Some((kind, call.path.strip_prefix(kind)?.strip_prefix(' ')?)));
    let (what, name) = named.unwrap_or_default();
    let nothing = json!({});
    let arg = |at: usize| call.args.get(at).unwrap_or(&nothing);
    let gone = || Error::new(Kind::Stale, format!("the {what} {name} is not there any more"));
    let path = |parts: &[&str]| parts.iter().map(|part| format!("/{}", escaped(part))).collect::<String>();
    match (what, &*call.member) {
        ("network", "create") => {
            let mut body = arg(0).clone();
            body["netid"] = json!(name);
            server.ask("POST", "/api/networks", Some(&body))
        }
        ("network", "set") => {
            // The whole of it is written, so what is not mentioned comes from what is there.
            let mut body = server.ask("GET", &format!("/api/networks{}", path(&[name])), None)?;
            for field in OF_NETWORK.iter().filter(|field| arg(1).get(**field).is_some()) {
                body[*field] = arg(1)[*field].clone();
            }
            server.ask("PUT", &format!("/api/networks{}", path(&[name])), Some(&body))
        }
        ("network", _) => server.ask("DELETE", &format!("/api/networks{}", path(&[name])), None),
        ("enrollment key", "create") => server.ask("POST", "/api/v1/enrollment-keys", Some(&key(name, arg(0)))),
        ("enrollment key", _) => {
            let objects = server.objects()?;
            let value = objects.keys.get(name).and_then(|key| key["value"].as_str()).ok_or_else(gone)?;
            server.ask("DELETE", &format!("/api/v1/enrollment-keys{}", path(&[value])), None)
        }
        ("host", _) => return memberships(server, name, arg(0), arg(1)),
        ("client", verb) => {
            let (network, client) = name.split_once('/').ok_or_else(gone)?;
            let body = client_body(client, if verb == "set" { arg(1) } else { arg(0) });
            match verb {
                "create" => {
                    let gateway = arg(0)["gateway"].as_str().unwrap_or_default();
                    let objects = server.objects()?;
                    let node = objects.gateway(gateway, network).ok_or_else(|| {
                        Error::refused(format!("the host {gateway:?} is no gateway of the network {network}"))
                            .on(format!("plugins.netmaker.{CLIENTS}.{name}.gateway"))
                    })?;
                    server.ask("POST", &format!("/api/extclients{}", path(&[network, node])), Some(&body))
                }
                "set" => {
                    let at = format!("/api/extclients{}", path(&[network, client]));
                    let mut whole = server.ask("GET", &at, None)?;
                    body.as_object().into_iter().flatten().for_each(|(field, value)| whole[field] = value.clone());
                    server.ask("PUT", &at, Some(&whole))
                }
                _ => server.ask("DELETE", &format!("/api/extclients{}", path(&[network, client])), None),
            }
        }
        _ => return Err(Error::failed("there is no such operation")),
    }
    .map(drop)
}

fn key(tag: &str, members: &Value) -> Value {
    let kind = TYPES.iter().position(|kind| members["type"] == *kind).map_or(3, |at| at + 1);
    let networks = members.get("networks").cloned().unwrap_or(json!([]));
    json!({
        "tags": [tag],
        "networks": networks,
        "type": kind,
        "unlimited": kind == 3,
        "uses_remaining": members["uses"].as_u64().unwrap_or(0),
        "expiration": members["expires"].as_u64().unwrap_or(0),
    })
}

fn client_body(client: &str, members: &Value) -> Value {
    let mut body = json!({ "clientid": client });
    for (member, field) in [("dns", "dns"), ("enabled", "enabled"), ("extra_allowed_ips", "extraallowedips")] {
        if let Some(value) = members.get(member).filter(|value| !value.is_null()) {
            body[field] = value.clone();
        }
    }
    body
}

/// Takes a host into networks and out of them.
fn memberships(server: &Server<'_>, name: &str, from: &Value, to: &Value) -> Result<()> {
    let objects = server.objects()?;
    let id = objects.hosts.get(name).and_then(|host| host["id"].as_str());
    let id = id.ok_or_else(|| Error::new(Kind::Stale, format!("the host {name} is not there any more")))?;
    let list = |value: &Value| -> Vec<String> {
        value["networks"].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let (was, will) = (list(from), list(to));
    for (verb, network) in was
        .iter()
        .filter(|one| !will.contains(one))
        .map(|one| ("DELETE", one))
        .chain(will.iter().filter(|one| !was.contains(one)).map(|one| ("POST", one)))
    {
        server.ask(verb, &format!("/api/hosts/{}/networks/{}", escaped(id), escaped(network)), None)?;
    }
    Ok(())
}

/// A part of a path.
fn escaped(part: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    part.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

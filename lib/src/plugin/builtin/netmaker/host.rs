//! This host's side: netclient's files, of which only what is no secret is read, and WireGuard's own word.

use super::settings::Settings;
use crate::base::{Error, Result};
use crate::store::file;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::process::Command;

/// Of netclient.json what is shown, by the name it has here. The rest is keys, and what moves by itself.
const OF_HOST: [(&str, &str); 7] = [
    ("name", "name"),
    ("interface", "interface"),
    ("listen_port", "listenport"),
    ("mtu", "mtu"),
    ("endpoint", "endpointip"),
    ("static_port", "isstaticport"),
    ("public_key", "publickey"),
];

fn read(settings: &Settings, name: &str) -> Result<Option<Value>> {
    let path = settings.files.join(name);
    let Some(text) = file::read(&path)? else { return Ok(None) };
    // What stands in it is not repeated: there are keys in it.
    let parsed = serde_json::from_str(&text).map(Some);
    parsed.map_err(|error| {
        let at = format!("line {}", error.line());
        Error::failed(format!("this file of netclient is no JSON ({at})")).on(path.display().to_string())
    })
}

/// The networks this host is a member of.
pub fn networks(settings: &Settings) -> Result<Map<String, Value>> {
    let nodes = read(settings, "nodes.json")?.unwrap_or(json!({}));
    let mut found = Map::new();
    for (name, node) in nodes.as_object().into_iter().flatten() {
        let mut members = Map::from_iter([("connected".to_owned(), json!(node["connected"] == true))]);
        members.extend(node["server"].as_str().map(|server| ("server".to_owned(), json!(server))));
        for member in ["address", "address6"] {
            members.extend(ip_net(&node[member]).map(|address| (member.to_owned(), json!(address))));
        }
        found.insert(name.clone(), Value::Object(members));
    }
    Ok(found)
}

/// The host as netclient knows it; nothing where it never joined.
pub fn host(settings: &Settings) -> Result<Option<Map<String, Value>>> {
    let Some(file) = read(settings, "netclient.json")? else { return Ok(None) };
    let mut found = Map::new();
    for (member, field) in OF_HOST {
        let value = match field {
            "publickey" => key(&file[field]).map(Value::String),
            _ => Some(file[field].clone()).filter(|value| !value.is_null() && *value != ""),
        };
        found.extend(value.map(|value| (member.to_owned(), value)));
    }
    Ok(Some(found))
}

/// Go's form of a network: `{"IP":"10.101.0.5","Mask":"//8AAA=="}`. Its zero has no address.
fn ip_net(value: &Value) -> Option<String> {
    let ip: IpAddr = value["IP"].as_str()?.parse().ok()?;
    let mask = decoded(value["Mask"].as_str()?)?;
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    Some(format!("{ip}/{bits}"))
}

/// Go's form of a WireGuard key, 32 numbers, as WireGuard writes it.
fn key(value: &Value) -> Option<String> {
    let bytes = value.as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect::<Option<Vec<u8>>>()?;
    (bytes.len() == 32).then(|| encoded(&bytes))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        let letters = (0..4).map(|at| char::from(ALPHABET[(number >> (18 - 6 * at) & 63) as usize]));
        text.extend(letters.take(part.len() + 1));
    }
    text + &"=".repeat((3 - bytes.len() % 3) % 3)
}

/// The bytes of a text in base64.
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut number, mut bits) = (0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        number = number << 6 | u32::try_from(ALPHABET.iter().position(|known| *known == letter)?).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(number >> bits & 255).ok()?);
        }
    }
    Some(bytes)
}

/// What WireGuard tells of a link: who is there, and when it was last heard of. Nothing when there is no such link.
pub fn wireguard(settings: &Settings, link: &str) -> Option<Value> {
    let output =
        Command::new(&settings.wg).args(["show", link, "dump"]).env_clear().env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| peers(link, &String::from_utf8_lossy(&output.stdout)))?
}

/// The private key of the link and the preshared keys of peers are dropped here.
fn peers(link: &str, dump: &str) -> Option<Value> {
    let mut lines = dump.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let [_, public, port, _] = lines.next()?[..] else { return None };
    let mut peers = Map::new();
    for line in lines {
        let [key, _, endpoint, allowed, handshake, received, sent, _] = line[..] else { continue };
        let number = |text: &str| json!(text.parse::<u64>().unwrap_or(0));
        let mut allowed: Vec<&str> = allowed.split(',').filter(|range| *range != "(none)").collect();
        allowed.sort_unstable();
        let mut peer = json!({"allowed_ips": allowed, "latest_handshake": number(handshake),
                              "received_bytes": number(received), "sent_bytes": number(sent)});
        if endpoint != "(none)" {
            peer["endpoint"] = json!(endpoint);
        }
        peers.insert(key.to_owned(), peer);
    }
    Some(json!({"interface": link, "public_key": public, "listen_port": port.parse::<u64>().ok()?, "peers": peers}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_go_are_read() {
        assert_eq!(ip_net(&json!({"IP": "10.101.0.5", "Mask": "//8AAA=="})), Some("10.101.0.5/16".into()));
        assert_eq!(ip_net(&json!({"IP": "fd00::5", "Mask": "//////////8AAAAAAAAAAA=="})), Some("fd00::5/64".into()));
        assert_eq!(ip_net(&json!({"IP": "", "Mask": null})), None);
        assert_eq!(ip_net(&json!("10.0.0.1/24")), None);
        let mut bytes = vec![0u8; 32];
        (bytes[0], bytes[31]) = (7, 255);
        assert_eq!(key(&json!(bytes)).unwrap(), "BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8=");
        assert_eq!(decoded("BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8=").unwrap(), bytes);
        assert_eq!(decoded("AQID").unwrap(), [1, 2, 3]);
        assert_eq!(decoded("!"), None);
    }

    #[test]
    fn no_key_is_kept_of_a_dump() {
        let dump = "PRIVATE\tPUBLIC\t51821\toff\nPEER\tPSK\t192.0.2.2:51821\t10.66.0.2/32,fd00::2/128\t1700000000\t92\t180\t20\n\
                    OTHER\t(none)\t(none)\t(none)\t0\t0\t0\toff\n";
        let found = peers("netmaker", dump).unwrap();
        assert!(!found.to_string().contains("PRIVATE") && !found.to_string().contains("PSK"));
        assert_eq!(found["peers"]["PEER"]["allowed_ips"], json!(["10.66.0.2/32", "fd00::2/128"]));
        assert_eq!(found["peers"]["OTHER"]["allowed_ips"], json!([]));
        assert_eq!((&found["listen_port"], &found["public_key"]), (&json!(51821), &json!("PUBLIC")));
    }
}

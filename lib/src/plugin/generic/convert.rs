//! What services say in numbers and bytes, as people write it, and back. Each codec is exact both ways, or refuses.

use crate::base::{Error, Result};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The codecs there are; `join:X` stands for any separator, `mark:X` for any mark.
pub const CODECS: [&str; 10] =
    ["label", "link", "user", "ip", "ports", "bytestring", "join:X", "mark:X", "not", "usec"];

/// The codecs that know the names of the machine they run on.
const OF_THIS_MACHINE: [&str; 2] = ["link", "user"];

/// Whether a codec is right on the service's own machine only.
#[must_use]
pub fn is_of_this_machine(codecs: &[String]) -> bool {
    codecs.iter().any(|codec| OF_THIS_MACHINE.contains(&codec.as_str()))
}

/// Whether every codec exists.
pub fn check(codecs: &[String]) -> Result<()> {
    let is_known = |codec: &&String| {
        let parameter = codec.strip_prefix("join:").or_else(|| codec.strip_prefix("mark:"));
        parameter.map_or_else(|| CODECS.contains(&codec.as_str()), |parameter| !parameter.is_empty())
    };
    match codecs.iter().find(|codec| !is_known(codec)) {
        Some(codec) => Err(Error::bad_input(format!("there is no codec {codec:?}"))
            .hint(format!("the codecs are: {}", CODECS.join(", ")))),
        None => Ok(()),
    }
}

/// The service's value as people write it.
pub fn read(value: Value, codecs: &[String]) -> Result<Value> {
    codecs.iter().try_fold(value, |value, codec| match &value {
        Value::Array(items) if !is_single(codec, items) => items.iter().map(|item| read_one(codec, item)).collect(),
        value => read_one(codec, value),
    })
}

/// What people write as the service's value.
pub fn write(value: Value, codecs: &[String]) -> Result<Value> {
    codecs.iter().rev().try_fold(value, |value, codec| match &value {
        Value::Array(items) => items.iter().map(|item| write_one(codec, item)).collect(),
        value => write_one(codec, value),
    })
}

/// Whether a list is what the codec takes as one value: a tuple, or bytes.
fn is_single(codec: &str, items: &[Value]) -> bool {
    match codec {
        "ip" => matches!(items, [Value::Number(_), rest] if !rest.is_number()),
        "bytestring" => false,
        _ if codec.starts_with("mark:") => matches!(items, [Value::String(_), Value::Bool(_)]),
        _ => codec.starts_with("join:") && items.iter().all(Value::is_string) && !items.is_empty(),
    }
}

fn unfit(codec: &str, value: &Value) -> Error {
    Error::bad_input(format!("{value} is nothing that the codec {codec:?} can convert"))
}

fn read_one(codec: &str, value: &Value) -> Result<Value> {
    let fail = || unfit(codec, value);
    Ok(match codec {
        "label" => json!(from_label(value.as_str().ok_or_else(fail)?).ok_or_else(fail)?),
        "link" => json!(link_name(number(value).ok_or_else(fail)?)?),
        "user" => json!(user_name(number(value).ok_or_else(fail)?)?),
        "ip" => match value.as_array().map(Vec::as_slice) {
            Some([_, bytes]) => json!(address(&bytes_of(bytes).ok_or_else(fail)?).ok_or_else(fail)?.to_string()),
            _ => return Err(fail()),
        },
        "bytestring" => {
            let bytes = bytes_of(value).ok_or_else(fail)?;
            let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
            json!(std::str::from_utf8(text).map_err(|_| fail())?)
        }
        // The service's own spelling is the right one.
        "ports" => value.clone(),
        "not" => json!(!value.as_bool().ok_or_else(fail)?),
        "usec" => match number(value).ok_or_else(fail)? {
            whole if whole.is_multiple_of(1_000_000) => json!(whole / 1_000_000),
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            part => json!(part as f64 / 1e6),
        },
        _ if codec.starts_with("mark:") => match value.as_array().map(Vec::as_slice) {
            Some([Value::String(text), Value::Bool(is_marked)]) => {
                let mark = codec.strip_prefix("mark:").filter(|_| *is_marked).unwrap_or_default();
                json!(format!("{mark}{text}"))
            }
            _ => return Err(fail()),
        },
        join => {
            let separator = join.strip_prefix("join:").unwrap_or_default();
            let parts: Option<Vec<&str>> = value.as_array().and_then(|parts| parts.iter().map(Value::as_str).collect());
            json!(parts.ok_or_else(fail)?.join(separator))
        }
    })
}

fn write_one(codec: &str, value: &Value) -> Result<Value> {
    let fail = || unfit(codec, value);
    let text = || value.as_str().ok_or_else(|| Error::bad_input(format!("expected a text, found {value}")));
    Ok(match codec {
        "label" => json!(to_label(text()?)),
        "link" => json!(link_index(text()?)?),
        "user" => json!(user_id(text()?)?),
        "ip" => {
            let address: IpAddr = text()?
                .parse()
                .map_err(|_| Error::bad_input(format!("{value} is no IP address")).hint("192.0.2.1 or 2001:db8::1"))?;
            match address {
                IpAddr::V4(v4) => json!([2, v4.octets()]),
                IpAddr::V6(v6) => json!([10, v6.octets()]),
            }
        }
        "ports" => {
            let parts: Result<Vec<String>> = text()?.split('/').map(port_or_range).collect();
            json!(parts?.join("/"))
        }
        "bytestring" => json!([text()?.as_bytes(), &[0]].concat()),
        "not" => json!(!value.as_bool().ok_or_else(fail)?),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
        "usec" => match value.as_f64() {
            Some(seconds) if (0.0..1e12).contains(&seconds) => json!((seconds * 1e6).round() as u64),
            _ => return Err(fail()),
        },
        _ if codec.starts_with("mark:") => {
            let mark = codec.strip_prefix("mark:").unwrap_or_default();
            let (text, is_marked) = text()?.strip_prefix(mark).map_or((text()?, false), |rest| (rest, true));
            json!([text, is_marked])
        }
        join => {
            let separator = join.strip_prefix("join:").unwrap_or_default();
            json!(text()?.split(separator).collect::<Vec<_>>())
        }
    })
}

/// A port, or a range of ports, as services that know their order write it: `080` is `80`, `80-80` too, and `90-80` is
/// `80-90`. Anything else is as it is.
fn port_or_range(text: &str) -> Result<String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    if !is_number(low) || !is_number(high) {
        return Ok(text.to_owned());
    }
    let port = |text: &str| {
        let port = text.trim_start_matches('0');
        let port = if port.is_empty() { "0" } else { port };
        port.parse::<u16>().map_err(|_| Error::bad_input(format!("{text} is no port")).hint("a port is 0 to 65535"))
    };
    let (low, high) = (port(low)?, port(high)?);
    Ok(if low == high { low.to_string() } else { format!("{}-{}", low.min(high), low.max(high)) })
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Bytes as they come: a list of numbers, a text, or base64.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Array(items) => items.iter().map(|item| u8::try_from(item.as_u64()?).ok()).collect(),
        Value::Object(_) => crate::bus::value::bytes_of(value),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// `_34` is `4`: how object paths write what is not a letter, or a digit in the first place.
fn from_label(label: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = label.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'_' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn to_label(text: &str) -> String {
    let escape = |(at, byte): (usize, u8)| match byte {
        b'a'..=b'z' | b'A'..=b'Z' => (byte as char).to_string(),
        b'0'..=b'9' if at > 0 => (byte as char).to_string(),
        _ => format!("_{byte:02x}"),
    };
    text.bytes().enumerate().map(escape).collect()
}

fn link_name(index: u64) -> Result<String> {
    let links = std::fs::read_dir("/sys/class/net").map_err(|e| Error::failed(format!("could not list links: {e}")))?;
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("ifindex")).is_ok_and(|text| text.trim().parse() == Ok(index))
    };
    let found = links.flatten().find(is_it);
    found
        .and_then(|entry| entry.file_name().into_string().ok())
        .ok_or_else(|| Error::failed(format!("no link of this machine has the index {index}")))
}

fn link_index(name: &str) -> Result<u64> {
    let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let text = is_plain.then(|| std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()).flatten();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Error::bad_input(format!("this machine has no link {name:?}")).hint("ip link lists them"))
}

/// The name; the number of a user that only some other source of users knows, as listings have it.
fn user_name(uid: u64) -> Result<String> {
    Ok(passwd(|name, id| (id == uid).then(|| name.to_owned()))?.unwrap_or_else(|| uid.to_string()))
}

fn user_id(name: &str) -> Result<u64> {
    if let Some(id) = passwd(|known, id| (known == name).then_some(id))? {
        return Ok(id);
    }
    let Ok(id) = name.parse() else {
        return Err(Error::bad_input(format!("/etc/passwd has no user {name:?}"))
            .hint("check the spelling; users from elsewhere are named by their number"));
    };
    // It would read as the name, and could never be seen to hold.
    match passwd(|known, other| (other == id).then(|| known.to_owned()))? {
        Some(known) => Err(Error::bad_input(format!("/etc/passwd calls the user {id} {known:?}"))
            .hint(format!("write {known:?}, which is how it reads"))),
        None => Ok(id),
    }
}

fn passwd<T>(find: impl Fn(&str, u64) -> Option<T>) -> Result<Option<T>> {
    let text = std::fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::failed(format!("could not read /etc/passwd: {error}")))?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        find(fields.next()?, fields.nth(1)?.parse().ok()?)
    }))
}

/// A value as a text of a mapping's table says it: `true`, `0`, or the text itself.
#[must_use]
pub fn from_text(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::Null)) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The text of a value in a mapping's table.
#[must_use]
pub fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codecs(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn codecs_go_both_ways() {
        for (list, service, ours) in [
            ("label", json!("dbus_2eservice"), json!("dbus.service")),
            ("label", json!("_34"), json!("4")),
            ("ip", json!([2, [192, 0, 2, 1]]), json!("192.0.2.1")),
            (
                "ip",
                json!([[2, [192, 0, 2, 1]], [10, [32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]]),
                json!(["192.0.2.1", "2001:db8::1"]),
            ),
            ("join:/", json!(["80", "tcp"]), json!("80/tcp")),
            ("join:/", json!([["80", "tcp"], ["53", "udp"]]), json!(["80/tcp", "53/udp"])),
            ("mark:~", json!(["example.org", false]), json!("example.org")),
            ("mark:~", json!([["corp", true], [".", true]]), json!(["~corp", "~."])),
            ("join:/ ports", json!([["80", "tcp"], ["1-65535", "udp"]]), json!(["80/tcp", "1-65535/udp"])),
            ("not", json!(true), json!(false)),
            ("usec", json!(1_500_000), json!(1.5)),
            ("usec", json!(2_000_000), json!(2)),
            ("link", json!(1), json!("lo")),
            ("user", json!(0), json!("root")),
            ("user", json!(4_000_000_000_u64), json!("4000000000")),
        ] {
            assert_eq!(read(service.clone(), &codecs(list)).unwrap(), ours, "{list}");
            assert_eq!(write(ours, &codecs(list)).unwrap(), service, "{list}");
        }
        assert_eq!(read(json!("_31"), &codecs("label link")).unwrap(), json!("lo"));
        assert_eq!(
            write(json!("/dev/vda"), &codecs("bytestring")).unwrap().as_array().unwrap().last(),
            Some(&json!(0))
        );
        assert_eq!(read(json!([]), &codecs("ip")).unwrap(), json!([]));
    }

    #[test]
    fn ports_are_written_as_they_read() {
        for (given, written) in [
            ("080/tcp", "80/tcp"),
            ("80-80/tcp", "80/tcp"),
            ("90-80/tcp", "80-90/tcp"),
            ("0/tcp", "0/tcp"),
            ("00443/tcp/08443/192.0.2.7", "443/tcp/8443/192.0.2.7"),
            ("80/tcp//2001:db8::1", "80/tcp//2001:db8::1"),
            ("80/tcp//", "80/tcp//"),
        ] {
            assert_eq!(write(json!(given), &codecs("ports")).unwrap(), json!(written), "{given}");
        }
        for wrong in ["99999/tcp", "1-65536/tcp", "123456789012345678901234567890/tcp"] {
            let error = write(json!(wrong), &codecs("join:/ ports")).unwrap_err();
            assert!(error.message.contains("is no port"), "{error}");
        }
    }

    #[test]
    fn a_number_that_has_a_name_goes_by_its_name() {
        let error = write(json!("0"), &codecs("user")).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("write \"root\", which is how it reads"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(read(json!("_3"), &codecs("label")).is_err());
        assert!(write(json!("1.2.3"), &codecs("ip")).is_err());
        assert!(write(json!("no-such-link"), &codecs("link")).is_err());
        assert!(write(json!("../.."), &codecs("link")).is_err());
        assert!(check(&codecs("label base64")).is_err());
        assert!(check(&codecs("join:")).is_err());
        assert!(check(&codecs("mark:")).is_err());
        assert!(check(&codecs("mark:~ join:/ user")).is_ok());
        assert!(write(json!("no-such-user"), &codecs("user")).is_err());
        assert!(read(json!(["a", 1]), &codecs("mark:~")).is_err());
        assert!(check(&codecs("join:/ ip")).is_ok());
    }
}

//! Flows of documents in the one form that a switch prints, with ports by name: what is compared, and shown.

use super::flow::{DEFAULT_PRIORITY, Flow, KEPT_FLAGS, parse_cookie};
use super::ofctl;
use super::settings::Settings;
use crate::base::{Error, Result};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// `ovs-ofctl` takes numbers of ports without a switch, and a port that is still to come has none: each name gets one of
/// these for as long as a flow is read.
const FIRST_STAND_IN: u32 = 60000;
const LAST_STAND_IN: u32 = 65279;

/// What was read already, so that a run reads each flow once.
#[derive(Debug, Default)]
pub struct Known {
    stand_ins: RefCell<BTreeMap<String, u32>>,
    flows: RefCell<HashMap<String, Flow>>,
}

/// A flow as a document says it.
#[derive(Debug)]
pub struct Wish {
    /// Where the document says it.
    pub place: String,
    pub bridge: String,
    pub is_absent: bool,
    /// What it says; the fields and actions in its own words.
    pub said: Flow,
}

/// Reads a flow of a document. `cookie` is that of its policy.
pub fn wish(place: &str, members: &Map<String, Value>, cookie: u64) -> Result<Wish> {
    let number = |name: &str, max: u64, default: u64| match members.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().filter(|number| *number <= max).ok_or_else(|| {
            Error::bad_input(format!("{value} is no number from 0 to {max}")).on(format!("{place}.{name}"))
        }),
    };
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(""),
        // More lines would be more flows, and a # would hide the rest of one.
        Some(Value::String(text)) if !text.contains(['\n', '\r', '#']) => Ok(text.trim().trim_end_matches(',')),
        Some(_) => Err(Error::bad_input("this is no text on one line, without #").on(format!("{place}.{name}"))),
    };
    let known = [
        "bridge",
        "table",
        "priority",
        "match",
        "actions",
        "idle_timeout",
        "hard_timeout",
        "importance",
        "flags",
        "cookie",
        "state",
    ];
    if let Some(other) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let hint = format!("a flow has {}", known.join(", "));
        return Err(Error::bad_input("there is no such member").on(format!("{place}.{other}")).hint(hint));
    }
    let bridge = text("bridge")?.to_owned();
    if bridge.is_empty() {
        return Err(Error::bad_input("a flow says its bridge").on(place));
    }
    let is_absent = match members.get("state").map(Value::as_str) {
        None | Some(Some("present")) => false,
        Some(Some("absent")) => true,
        Some(_) => return Err(Error::bad_input("it is present or absent").on(format!("{place}.state"))),
    };
    let actions = text("actions")?;
    if actions.is_empty() && !is_absent {
        return Err(Error::bad_input("a flow says its actions").on(place).hint("to discard what matches: \"drop\""));
    }
    let mut flags = Vec::new();
    for flag in members.get("flags").and_then(Value::as_array).into_iter().flatten() {
        match flag.as_str().filter(|flag| KEPT_FLAGS.contains(flag)) {
            Some(flag) => flags.push(flag.to_owned()),
            None => {
                let hint = format!("there are {}", KEPT_FLAGS.join(", "));
                return Err(Error::bad_input(format!("{flag} is no flag of a flow"))
                    .on(format!("{place}.flags"))
                    .hint(hint));
            }
        }
    }
    flags.sort_unstable();
    let cookie = match members.get("cookie") {
        None | Some(Value::Null) => cookie,
        Some(said) => {
            parse_cookie(said.as_str().unwrap_or_default()).map_err(|error| error.on(format!("{place}.cookie")))?
        }
    };
    for member in ["match", "actions"] {
        if let Some(wrong) = mangled(text(member)?) {
            return Err(Error::bad_input(format!("{wrong} is no address, or no VLAN")).on(format!("{place}.{member}")));
        }
    }
    let small = |name: &str| number(name, u64::from(u16::MAX), 0).map(|number| u32::try_from(number).unwrap_or(0));
    let said = Flow {
        table: u8::try_from(number("table", 253, 0)?).unwrap_or(0),
        priority: u16::try_from(number("priority", u64::from(u16::MAX), u64::from(DEFAULT_PRIORITY))?).unwrap_or(0),
        fields: text("match")?.to_owned(),
        cookie,
        idle_timeout: small("idle_timeout")?,
        hard_timeout: small("hard_timeout")?,
        importance: small("importance")?,
        flags,
        actions: if is_absent { "drop".to_owned() } else { actions.to_owned() },
    };
    Ok(Wish { place: place.to_owned(), bridge, is_absent, said })
}

/// What `ovs-ofctl` would take and make something else of: `10.0.0.300` is 10.0.0.44 for it, and VLAN 5000 is 904.
fn mangled(text: &str) -> Option<&str> {
    let is_octets = |part: &&str| part.split('.').count() == 4 && part.chars().all(|c| c.is_ascii_digit() || c == '.');
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ':'));
    let mut addresses = parts.flat_map(|part| part.rsplit(':').take(1)).filter(is_octets);
    let mut vlans = text.split(',').filter_map(|field| field.trim().strip_prefix("dl_vlan="));
    let is_beyond = |id: &&str| id.parse::<u32>().is_ok_and(|id| id > 4095);
    addresses.find(|part| part.parse::<std::net::Ipv4Addr>().is_err()).or_else(|| vlans.find(is_beyond))
}

/// The ports there are on a bridge when all is done, by name, with the numbers of those that have one.
pub type PortsOf<'a> = dyn Fn(&str) -> (BTreeSet<String>, BTreeMap<i64, String>) + 'a;

impl Known {
    /// The canonical flows of `wishes`, in their order; every problem when there are some.
    pub fn canonical(&self, settings: &Settings, wishes: &[Wish], ports_of: &PortsOf<'_>) -> Result<Vec<Flow>> {
        let mut errors = Vec::new();
        let mut ports = BTreeMap::new();
        let mut texts = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let (names, _) = ports.entry(wish.bridge.as_str()).or_insert_with(|| ports_of(&wish.bridge));
            texts.push(self.with_stand_ins(wish, names, &mut errors));
        }
        Error::all(std::mem::take(&mut errors)).map_or(Ok(()), Err)?;
        let mut new: Vec<(usize, String)> = Vec::new();
        {
            let known = self.flows.borrow();
            let mut seen = BTreeSet::new();
            for (at, text) in texts.iter().enumerate() {
                if !known.contains_key(text) && seen.insert(text) {
                    new.push((at, text.clone()));
                }
            }
        }
        if !new.is_empty() {
            let (places, new): (Vec<usize>, Vec<String>) = new.into_iter().unzip();
            match ofctl::canonical(settings, &new)? {
                Ok(flows) => self.flows.borrow_mut().extend(new.into_iter().zip(flows)),
                Err(wrong) => {
                    let of = |wrong: ofctl::Wrong| {
                        let hint = wrong.error.hint.is_none();
                        let error = wrong.error.on(wishes[places[wrong.position]].place.clone());
                        if hint { error.hint("man ovs-fields and man ovs-actions tell the language") } else { error }
                    };
                    return Err(Error::all(wrong.into_iter().map(of).collect()).unwrap_or_else(|| Error::failed("")));
                }
            }
        }
        let known = self.flows.borrow();
        let stand_ins = self.stand_ins.borrow();
        let by_stand_in: BTreeMap<String, &String> =
            stand_ins.iter().map(|(name, at)| (at.to_string(), name)).collect();
        let mut flows = Vec::with_capacity(wishes.len());
        for (wish, text) in wishes.iter().zip(&texts) {
            let Some(flow) = known.get(text) else { continue };
            let (_, numbers) = &ports[wish.bridge.as_str()];
            let flow = flow.clone().renamed(&mut |port| {
                by_stand_in.get(port).map(|name| (*name).clone()).or_else(|| numbers.get(&port.parse().ok()?).cloned())
            });
            errors.extend(strays(wish, &flow));
            flows.push(flow);
        }
        Error::all(errors).map_or(Ok(flows), Err)
    }

    /// The text that `ovs-ofctl` reads without a switch.
    fn with_stand_ins(&self, wish: &Wish, names: &BTreeSet<String>, errors: &mut Vec<Error>) -> String {
        let mut stand_ins = self.stand_ins.borrow_mut();
        let mut unknown = Vec::new();
        let flow = wish.said.clone().renamed(&mut |port| {
            if let Ok(number) = port.parse::<u32>() {
                if (FIRST_STAND_IN..=LAST_STAND_IN).contains(&number) {
                    unknown.push(port.to_owned());
                }
                return None;
            }
            if port == wish.bridge {
                return Some("LOCAL".into());
            }
            if !names.contains(port) {
                unknown.push(port.to_owned());
                return None;
            }
            let next = FIRST_STAND_IN + u32::try_from(stand_ins.len()).unwrap_or(0);
            Some(stand_ins.entry(port.to_owned()).or_insert(next).to_string())
        });
        if stand_ins.len() > (LAST_STAND_IN - FIRST_STAND_IN) as usize {
            errors.push(Error::refused("flows speak of more ports than can be told apart").on(wish.place.clone()));
        }
        if let (Some(port), false) = (unknown.first(), wish.is_absent) {
            let message = format!("there is no port {port} on the bridge {}", wish.bridge);
            let hint = "ovs-vsctl list-ports shows those there are; the same document can make one";
            errors.push(Error::bad_input(message).on(wish.place.clone()).hint(hint));
        }
        flow.to_add()
    }
}

/// What else a match would have said than fields.
fn strays(wish: &Wish, flow: &Flow) -> Option<Error> {
    let rest = |flow: &Flow| {
        let Flow { table, priority, cookie, idle_timeout, hard_timeout, importance, .. } = *flow;
        (table, priority, cookie, idle_timeout, hard_timeout, importance)
    };
    let is_same = rest(&wish.said) == rest(flow) && wish.said.flags == flow.flags;
    (!is_same).then(|| {
        Error::bad_input("the match holds more than fields")
            .on(format!("{}.match", wish.place))
            .hint("table, priority, cookie, timeouts and flags are members of their own")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_become_something_else_is_seen() {
        for right in [
            "ip,nw_src=10.0.0.0/24",
            "ip,nw_dst=10.0.0.1/255.0.255.0",
            "tcp,tp_dst=80,dl_vlan=4095",
            "ipv6,ipv6_src=fe80::1/64",
            "mod_nw_src:10.0.0.1,set_field:10.0.0.2->nw_dst",
            "reg0=1",
            "set_field:::ffff:10.0.0.1->ipv6_src",
        ] {
            assert_eq!(mangled(right), None, "{right}");
        }
        for (wrong, part) in [
            ("ip,nw_src=10.0.0.300", "10.0.0.300"),
            ("mod_nw_src:10.0.999.1", "10.0.999.1"),
            ("ip, dl_vlan=5000", "5000"),
            ("arp,arp_spa=10.0.0.256/24", "10.0.0.256"),
            ("ip,nw_src=10.0.0.0/255.0.256.0", "255.0.256.0"),
        ] {
            assert_eq!(mangled(wrong), Some(part), "{wrong}");
        }
    }
}

//! Flows as text. `ovs-ofctl` alone knows the whole language; what is read here is the one form in which it prints them.

use crate::base::{Error, Result};

/// The cookies that say that a flow is of op-dbus, `opd` in ASCII; the other bits say of which policy.
pub const NAMESPACE: u64 = 0x6f70_6400_0000_0000;
pub const MASK: u64 = 0xffff_ff00_0000_0000;

/// The priority of a flow that says none.
pub const DEFAULT_PRIORITY: u16 = 32768;

/// What may stand among the fields and is none.
const FLAGS: [&str; 5] = ["send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"];

/// The flags that a switch keeps.
pub const KEPT_FLAGS: [&str; 3] = ["send_flow_rem", "no_packet_counts", "no_byte_counts"];

/// Ports that have no name of a link.
const RESERVED: [&str; 10] =
    ["LOCAL", "IN_PORT", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "NONE", "ANY", "TABLE", "UNSET"];

/// What a port's name or number follows, where `ovs-ofctl` takes or prints one.
const BEFORE_PORTS: [&str; 8] =
    ["in_port=", "actset_output=", "output:", "output(port=", "enqueue:", "enqueue(", "resubmit(", "resubmit:"];

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flow {
    pub table: u8,
    pub priority: u16,
    /// The fields, without table and priority.
    pub fields: String,
    pub cookie: u64,
    pub idle_timeout: u32,
    pub hard_timeout: u32,
    pub importance: u32,
    pub flags: Vec<String>,
    pub actions: String,
}

impl Flow {
    /// Reads a line of `dump-flows` or `parse-flows`.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.split_once("): ADD").map_or(line, |(_, rest)| rest);
        let (head, actions) = line.split_once("actions=")?;
        let mut flow = Self { priority: DEFAULT_PRIORITY, actions: actions.trim_end().to_owned(), ..Self::default() };
        let mut fields = Vec::new();
        for token in head.split([' ', ',']).filter(|token| !token.is_empty()) {
            let (name, value) = token.split_once(['=', ':']).unwrap_or((token, ""));
            match name {
                "cookie" => flow.cookie = u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?,
                "table" => flow.table = value.parse().ok()?,
                "priority" => flow.priority = value.parse().ok()?,
                "idle_timeout" | "idle" => flow.idle_timeout = value.parse().ok()?,
                "hard_timeout" | "hard" => flow.hard_timeout = value.parse().ok()?,
                "importance" => flow.importance = value.parse().ok()?,
                _ if FLAGS.contains(&token) => flow.flags.push(token.to_owned()),
                _ => fields.push(token),
            }
        }
        flow.flags.retain(|flag| KEPT_FLAGS.contains(&&**flag));
        flow.flags.sort_unstable();
        flow.fields = fields.join(",");
        Some(flow)
    }

    /// What makes it this flow and no other of its bridge; the cookie is no part of that.
    pub fn identity(&self) -> String {
        let mut text = format!("table={},priority={}", self.table, self.priority);
        if !self.fields.is_empty() {
            text.push(',');
            text.push_str(&self.fields);
        }
        text
    }

    /// Whether it is of op-dbus.
    pub fn is_ours(&self) -> bool {
        self.cookie & MASK == NAMESPACE
    }

    /// The flow as `ovs-ofctl` takes it.
    pub fn to_add(&self) -> String {
        let mut text = format!("cookie={:#x},{}", self.cookie, self.identity());
        let timeouts = [self.idle_timeout, self.hard_timeout, self.importance];
        for (name, value) in ["idle_timeout", "hard_timeout", "importance"].iter().zip(timeouts) {
            if value > 0 {
                text.push_str(&format!(",{name}={value}"));
            }
        }
        for flag in &self.flags {
            text.push(',');
            text.push_str(flag);
        }
        format!("{text},actions={}", self.actions)
    }

    /// The same with its ports called otherwise.
    pub fn renamed(self, rename: &mut dyn FnMut(&str) -> Option<String>) -> Self {
        let (fields, actions) = (ports(&self.fields, rename), ports(&self.actions, rename));
        Self { fields, actions, ..self }
    }

    /// Says each of its ports to `hear`.
    pub fn each_port(&self, hear: &mut dyn FnMut(&str)) {
        for text in [&self.fields, &self.actions] {
            let _ = ports(text, &mut |port| {
                hear(port);
                None
            });
        }
    }

    /// Whether it speaks of this port.
    pub fn names_port(&self, port: &str) -> bool {
        let mut is_named = false;
        self.each_port(&mut |name| is_named |= name == port);
        is_named
    }
}

/// The name of a flow among those of all bridges.
pub fn item(bridge: &str, identity: &str) -> String {
    format!("{bridge} {identity}")
}

/// The bridge of an item, and a flow that has its identity.
pub fn of_item(name: &str) -> Option<(&str, Flow)> {
    let (bridge, identity) = name.split_once(' ')?;
    let flow = Flow::parse(&format!("{identity} actions="))?;
    Some((bridge, flow))
}

/// `text` with each port called as `rename` says, where it says something.
pub fn ports(text: &str, rename: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(before) = BEFORE_PORTS.iter().find(|before| rest.starts_with(**before)) {
            let (head, tail) = rest.split_at(before.len());
            let end = tail.find([',', ':', ')', '(', '[', ' ']).unwrap_or(tail.len());
            let name = &tail[..end];
            out.push_str(head);
            let is_word = name.is_empty() || RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name));
            // Of a field of the packet, what follows is in brackets.
            let is_port = !is_word && !tail[end..].starts_with('[');
            match is_port.then(|| rename(name)).flatten() {
                Some(other) => out.push_str(&other),
                None => out.push_str(name),
            }
            rest = &tail[end..];
        }
        let end = rest.find([',', '(', ' ']).map_or(rest.len(), |end| end + 1);
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

/// The cookie of the flows of a policy; of none, those that are listed.
pub fn cookie(policy: Option<&str>) -> u64 {
    let Some(policy) = policy else { return NAMESPACE };
    let digest = crate::base::digest::of_bytes("flow policy", policy.as_bytes());
    let hex = digest.rsplit(':').next().unwrap_or_default();
    let low = u64::from_str_radix(hex.get(..10).unwrap_or_default(), 16).unwrap_or(1);
    NAMESPACE | low.max(1)
}

/// The number in a cookie of a document.
pub fn parse_cookie(text: &str) -> Result<u64> {
    let number = text.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.filter(|cookie| cookie & MASK == NAMESPACE).ok_or_else(|| {
        Error::bad_input(format!("{text:?} is no cookie of op-dbus"))
            .hint(format!("leave it out, or write one like {NAMESPACE:#x}: other cookies are those of others"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_flow_are_one() {
        let dumped = " cookie=0x6f70640000000001, table=1, idle_timeout=5, hard_timeout=7, send_flow_rem priority=10,in_port=7,dl_vlan=5 \
                      actions=pop_vlan,set_field:00:11:22:33:44:55->eth_dst,resubmit(,2),output:9";
        let parsed = "OFPT_FLOW_MOD (OF1.4) (xid=0x1): ADD table:1 priority=10,in_port=7,dl_vlan=5 cookie:0x6f70640000000001 idle:5 hard:7 \
                      send_flow_rem check_overlap actions=pop_vlan,set_field:00:11:22:33:44:55->eth_dst,resubmit(,2),output:9";
        let flow = Flow::parse(dumped).unwrap();
        assert_eq!(Some(&flow), Flow::parse(parsed).as_ref());
        assert_eq!(flow.identity(), "table=1,priority=10,in_port=7,dl_vlan=5");
        assert!(flow.is_ours());
        assert_eq!(Flow::parse(&flow.to_add()), Some(flow.clone()));
        assert_eq!(of_item(&item("br0", &flow.identity())).unwrap().1.identity(), flow.identity());
        let plain = Flow::parse("OFPT_FLOW_MOD (OF1.4) (xid=0x1): ADD actions=drop").unwrap();
        assert_eq!((plain.identity(), plain.is_ours()), ("table=0,priority=32768".into(), false));
        let default = Flow::parse(" priority=0 actions=NORMAL").unwrap();
        assert_eq!(default.identity(), "table=0,priority=0");
    }

    #[test]
    fn ports_are_found_where_they_stand() {
        let text = "in_port=7,set_field:7->reg0,output:9,resubmit(,2),resubmit(9,3),output(port=3,max_len=9),group:9,\
                    learn(table=9,output:NXM_OF_IN_PORT[]),clone(output:9,NORMAL),LOCAL,enqueue:4:1,tp_dst=9,output:LOCAL";
        let renamed = ports(text, &mut |port| Some(format!("p{port}")));
        assert_eq!(
            renamed,
            "in_port=p7,set_field:7->reg0,output:p9,resubmit(,2),resubmit(p9,3),output(port=p3,max_len=9),group:9,\
             learn(table=9,output:NXM_OF_IN_PORT[]),clone(output:p9,NORMAL),LOCAL,enqueue:p4:1,tp_dst=9,output:LOCAL"
        );
        let flow = Flow::parse("ip,in_port=a actions=output:b").unwrap();
        assert!(flow.names_port("a") && flow.names_port("b") && !flow.names_port("c"));
    }

    #[test]
    fn cookies_are_of_a_policy() {
        assert_eq!(cookie(None), NAMESPACE);
        assert_ne!(cookie(Some("web")), cookie(Some("db")));
        assert_eq!(cookie(Some("web")) & MASK, NAMESPACE);
        assert_eq!(parse_cookie(&format!("{:#x}", cookie(Some("web")))).unwrap(), cookie(Some("web")));
        assert!(parse_cookie("0xdead").is_err() && parse_cookie("1").is_err());
    }
}

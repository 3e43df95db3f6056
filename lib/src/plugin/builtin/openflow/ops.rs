//! How an operation is made: one transaction of the database that waits for what was planned with, or one bundle of flows.
//! It counts when ovs-vswitchd has realised it.

use super::database::{MARK, Port, SYSTEM, Snapshot};
use super::flow::{Flow, MASK, NAMESPACE};
use super::leaving::still_on_it;
use super::ovsdb::Client;
use super::plan::OPENFLOW;
use super::settings::Settings;
use super::{NAME, ofctl};
use crate::base::{Call, Error, Kind, Result};
use crate::plugin::{Failure, Touched};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Makes it.
pub fn perform(settings: &Settings, call: &Call) -> Result<(), Failure> {
    let untouched = |error: Error| Failure { error: error.or_on(call.label()), touched: Touched::No };
    let (what, name) = call.path.split_once(' ').unwrap_or(("", &call.path));
    if call.interface == OPENFLOW {
        let lines = bundle(settings, name, &call.args).map_err(untouched)?;
        // All or nothing: but whoever was not answered does not know which.
        let perhaps = |error: Error| Failure { error: error.or_on(call.label()), touched: Touched::Perhaps };
        return ofctl::bundle(settings, name, &lines).map_err(perhaps);
    }
    let mut client = Client::open(&settings.database, settings.timeout()).map_err(untouched)?;
    let now = match (what, &*call.member) {
        ("bridge", "delete") => left_by_others(settings, &mut client, name),
        _ => Snapshot::of(&mut client),
    };
    let now = now.map_err(untouched)?;
    let nothing = json!({});
    let arg = |at: usize| call.args.get(at).unwrap_or(&nothing);
    // Open vSwitch forgets all flows of a bridge whose fail mode changes.
    let forgets = what == "bridge" && arg(1).get("fail_mode").is_some();
    let kept = if forgets { own_flows(settings, name).map_err(untouched)? } else { Vec::new() };
    let operations = match (what, &*call.member) {
        ("bridge", "create") => Ok(create_bridge(name, arg(0))),
        ("bridge", "set") => set_bridge(&now, name, arg(0), arg(1)),
        ("bridge", "delete") => delete_bridge(&now, name),
        ("port", "create") => create_port(&now, name, arg(0)),
        ("port", "set") => set_port(&now, name, arg(0), arg(1)),
        ("port", "delete") => delete_port(&now, name),
        _ => Err(Error::failed("there is no such operation")),
    };
    let mut operations = operations.map_err(untouched)?;
    operations
        .push(json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}));
    operations.push(json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}));
    operations.push(json!({"op": "comment", "comment": format!("op-apply {NAME}: {} {}", call.member, call.path)}));
    let at = operations.len() - 2;
    let results = client.transact(operations).map_err(|error| {
        let touched = if error.kind == Kind::Unavailable { Touched::Perhaps } else { Touched::No };
        Failure { error: error.or_on(call.label()), touched }
    })?;
    let wanted = results[at]["rows"][0]["next_cfg"].as_i64().unwrap_or(i64::MAX);
    let settled = realised(settings, &mut client, wanted).and_then(|after| match &*call.member {
        "delete" => Ok(()),
        "set" if !kept.is_empty() => ofctl::bundle(settings, name, &kept),
        _ => usable(&after, name),
    });
    settled.map_err(|error| Failure { error: error.or_on(call.label()), touched: Touched::Perhaps })
}

/// The lines that give a bridge its flows of ours again.
fn own_flows(settings: &Settings, bridge: &str) -> Result<Vec<String>> {
    let flows = ofctl::dump(settings, bridge)?.into_iter().filter(Flow::is_ours);
    Ok(flows.map(|flow| format!("add {}", flow.to_add())).collect())
}

/// Waits until no port of others is on a bridge that goes: those of a guest that went are taken off by who put them there.
fn left_by_others(settings: &Settings, client: &mut Client, bridge: &str) -> Result<Snapshot> {
    let end = Instant::now() + settings.timeout();
    let mut pause = Duration::from_millis(1);
    loop {
        let now = Snapshot::of(client)?;
        let others = now.shown_ports().filter(|(_, port)| port.bridge == bridge && !port.is_ours);
        let others: Vec<&str> = others.map(|(name, _)| name.as_str()).collect();
        if others.is_empty() {
            return Ok(now);
        }
        if Instant::now() > end {
            return Err(still_on_it(&others));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until ovs-vswitchd has done what the database says.
fn realised(settings: &Settings, client: &mut Client, wanted: i64) -> Result<Snapshot> {
    let end = Instant::now() + settings.timeout();
    let mut pause = Duration::from_millis(1);
    loop {
        let now = Snapshot::of(client)?;
        if now.realised >= wanted {
            return Ok(now);
        }
        if Instant::now() > end {
            let message = format!("ovs-vswitchd did not realise the change within {} s", settings.timeout_s);
            return Err(Error::new(Kind::Timeout, message).hint(
                "is it running? systemctl status ovs-vswitchd; timeout_s in [settings] of plugin.toml waits longer",
            ));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A row is there at once; whether the port works is said beside it.
fn usable(now: &Snapshot, name: &str) -> Result<()> {
    let Some(port) = now.ports.get(name) else { return Ok(()) };
    match (&port.error, port.number) {
        (Some(error), _) => Err(Error::failed(format!("Open vSwitch cannot use {name}: {error}"))),
        (None, Some(number)) if number < 0 => Err(Error::failed(format!("Open vSwitch cannot open {name}"))
            .hint("its log says why; is the datapath_type one that this host has?")),
        _ => Ok(()),
    }
}

fn wait(table: &str, name: &str, columns: &[&str], row: Option<&Value>) -> Value {
    let only =
        |row: &Value| columns.iter().map(|column| ((*column).to_owned(), row[*column].clone())).collect::<Map<_, _>>();
    let rows: Vec<Map<String, Value>> = row.map(only).into_iter().collect();
    json!({"op": "wait", "timeout": 0, "table": table, "where": [["name", "==", name]], "columns": columns, "until": "==", "rows": rows})
}

fn mark() -> Value {
    json!(["map", [[MARK, "managed"]]])
}

/// A member as a column: null is the empty set.
fn column(value: &Value) -> Value {
    match value {
        Value::Null => json!(["set", []]),
        Value::Array(list) => json!(["set", list]),
        Value::Object(map) => json!(["map", map.iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>()]),
        other => other.clone(),
    }
}

fn columns(members: &Value, names: &[&str]) -> Map<String, Value> {
    let found = names.iter().filter_map(|name| Some(((*name).to_owned(), column(members.get(*name)?))));
    let is_default = |name: &str, value: &Value| matches!(name, "datapath_type" | "type") && *value == SYSTEM;
    found.map(|(name, value)| if is_default(&name, &value) { (name, json!("")) } else { (name, value) }).collect()
}

const OF_BRIDGE: [&str; 3] = ["datapath_type", "fail_mode", "protocols"];
const OF_PORT: [&str; 3] = ["tag", "trunks", "vlan_mode"];
const OF_INTERFACE: [&str; 2] = ["type", "options"];

fn create_bridge(name: &str, to: &Value) -> Vec<Value> {
    let mut bridge = columns(to, &OF_BRIDGE);
    bridge.insert("name".into(), json!(name));
    bridge.insert("ports".into(), json!(["named-uuid", "port"]));
    bridge.insert("external_ids".into(), mark());
    let insert =
        |table: &str, id: &str, row: Value| json!({"op": "insert", "table": table, "uuid-name": id, "row": row});
    vec![
        wait("Bridge", name, &["name"], None),
        insert("Interface", "interface", json!({"name": name, "type": "internal"})),
        insert("Port", "port", json!({"name": name, "interfaces": ["named-uuid", "interface"]})),
        insert("Bridge", "bridge", Value::Object(bridge)),
        mutate_root("insert", &json!(["named-uuid", "bridge"])),
    ]
}

fn mutate_root(verb: &str, bridge: &Value) -> Value {
    json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["bridges", verb, ["set", [bridge]]]]})
}

fn mutate_ports(bridge: &str, verb: &str, port: &Value) -> Value {
    json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]], "mutations": [["ports", verb, ["set", [port]]]]})
}

fn gone(what: &str, name: &str) -> Error {
    Error::new(Kind::Stale, format!("the {what} {name} is not there any more"))
}

/// What was planned with is still there.
fn check_same(name: &str, planned: &Value, now: &Map<String, Value>) -> Result<()> {
    for (member, value) in planned.as_object().into_iter().flatten() {
        let is = now.get(member).unwrap_or(&Value::Null);
        let is_within =
            |part: &Map<String, Value>| part.iter().all(|(key, value)| is.get(key).unwrap_or(&Value::Null) == value);
        if is != value && !value.as_object().is_some_and(is_within) {
            return Err(Error::new(
                Kind::Stale,
                format!("{member} of {name} is {is} now and was {value} when this was planned"),
            ));
        }
    }
    Ok(())
}

fn set_bridge(now: &Snapshot, name: &str, from: &Value, to: &Value) -> Result<Vec<Value>> {
    let bridge = now.bridges.get(name).ok_or_else(|| gone("bridge", name))?;
    check_same(name, from, &bridge.members)?;
    Ok(vec![
        wait("Bridge", name, &[&OF_BRIDGE[..], &["external_ids"]].concat(), Some(&bridge.row)),
        json!({"op": "update", "table": "Bridge", "where": [["name", "==", name]], "row": columns(to, &OF_BRIDGE)}),
    ])
}

fn delete_bridge(now: &Snapshot, name: &str) -> Result<Vec<Value>> {
    let bridge = now.bridges.get(name).ok_or_else(|| gone("bridge", name))?;
    Ok(vec![
        wait("Bridge", name, &["ports", "external_ids"], Some(&bridge.row)),
        mutate_root("delete", &json!(["uuid", bridge.uuid])),
    ])
}

fn create_port(now: &Snapshot, name: &str, to: &Value) -> Result<Vec<Value>> {
    let bridge = to["bridge"].as_str().unwrap_or_default();
    let there = now.bridges.get(bridge).ok_or_else(|| gone("bridge", bridge))?;
    let mut interface = columns(to, &OF_INTERFACE);
    interface.insert("name".into(), json!(name));
    let mut port = columns(to, &OF_PORT);
    port.insert("name".into(), json!(name));
    port.insert("interfaces".into(), json!(["named-uuid", "interface"]));
    port.insert("external_ids".into(), mark());
    Ok(vec![
        wait("Port", name, &["name"], None),
        wait("Bridge", bridge, &["name"], Some(&there.row)),
        json!({"op": "insert", "table": "Interface", "uuid-name": "interface", "row": interface}),
        json!({"op": "insert", "table": "Port", "uuid-name": "port", "row": port}),
        mutate_ports(bridge, "insert", &json!(["named-uuid", "port"])),
    ])
}

fn set_port(now: &Snapshot, name: &str, from: &Value, to: &Value) -> Result<Vec<Value>> {
    let port = now.ports.get(name).ok_or_else(|| gone("port", name))?;
    check_same(name, from, &port.members)?;
    let mut operations = vec![wait("Port", name, &[&OF_PORT[..], &["external_ids"]].concat(), Some(&port.row))];
    let row = columns(to, &OF_PORT);
    if !row.is_empty() {
        operations.push(json!({"op": "update", "table": "Port", "where": [["name", "==", name]], "row": row}));
    }
    if let Some(options) = to.get("options") {
        operations.push(wait("Interface", name, &["options"], Some(&port.interface)));
        let row = json!({"options": column(&merged(port, options))});
        operations.push(json!({"op": "update", "table": "Interface", "where": [["name", "==", name]], "row": row}));
    }
    Ok(operations)
}

/// The options of a port with some of them changed.
fn merged(port: &Port, options: &Value) -> Value {
    let mut all = port.members.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in options.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}

fn delete_port(now: &Snapshot, name: &str) -> Result<Vec<Value>> {
    let port = now.ports.get(name).ok_or_else(|| gone("port", name))?;
    Ok(vec![
        wait("Port", name, &["external_ids"], Some(&port.row)),
        mutate_ports(&port.bridge, "delete", &json!(["uuid", port.uuid])),
    ])
}

/// The lines for `ovs-ofctl`, ports by number. A flow of others that came in the meantime is seen.
fn bundle(settings: &Settings, bridge: &str, args: &[Value]) -> Result<Vec<String>> {
    let now = Snapshot::read(settings)?;
    let numbers: BTreeMap<&str, i64> = now.numbers(bridge);
    // What is changed and deleted is guarded by its cookie.
    let adds = args.iter().any(|arg| arg.as_str().is_some_and(|arg| arg.starts_with("add ")));
    let there = if adds { ofctl::dump(settings, bridge)? } else { Vec::new() };
    let foreign: BTreeMap<String, Flow> =
        there.into_iter().filter(|flow| !flow.is_ours()).map(|flow| (flow.identity(), flow)).collect();
    let mut lines = Vec::with_capacity(args.len());
    for arg in args {
        let (verb, text) = arg.as_str().and_then(|arg| arg.split_once(' ')).unwrap_or_default();
        let said = Flow::parse(text).ok_or_else(|| Error::failed(format!("this is no flow: {arg}")))?;
        let mut unknown = None;
        let flow = said.renamed(&mut |port| {
            if port.parse::<u32>().is_ok() {
                return None;
            }
            let number = numbers.get(port).map(ToString::to_string);
            unknown = number.is_none().then(|| port.to_owned()).or(unknown.take());
            number
        });
        if let Some(port) = unknown {
            return Err(Error::failed(format!(
                "the port {port} of {bridge} has no number: it is not there or not usable"
            )));
        }
        let identity = flow.identity();
        if let Some(other) = foreign.get(&identity).filter(|_| verb == "add") {
            return Err(Error::refused(format!("it would replace a flow of others: {}", other.to_add())));
        }
        // By a whole cookie the switch would look through all flows that have it, for each line.
        let ours = format!("cookie={NAMESPACE:#x}/{MASK:#x},{identity}");
        lines.push(match verb {
            "add" => format!("add {}", flow.to_add()),
            "modify" => format!("modify_strict {ours},actions={}", flow.actions),
            _ => format!("delete_strict {ours}"),
        });
    }
    Ok(lines)
}

//! What the database tells: bridges, ports and their interfaces, and whose they are.

use super::ovsdb::{Client, pairs, set, uuid};
use super::settings::Settings;
use crate::base::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The key in `external_ids` that says that a row is of op-dbus.
pub const MARK: &str = "op-dbus";

/// The type of what carries the traffic in the kernel.
pub const SYSTEM: &str = "system";

/// What is there.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub bridges: BTreeMap<String, Bridge>,
    pub ports: BTreeMap<String, Port>,
    /// How many changes of the configuration were asked for, and realised.
    pub asked: i64,
    pub realised: i64,
}

/// A bridge.
#[derive(Debug, Clone)]
pub struct Bridge {
    pub uuid: String,
    pub is_ours: bool,
    /// What a query shows.
    pub members: Map<String, Value>,
    /// The row as the database tells it.
    pub row: Value,
}

/// A port.
#[derive(Debug, Clone)]
pub struct Port {
    pub uuid: String,
    pub bridge: String,
    pub is_ours: bool,
    pub is_local: bool,
    /// Its number in flows; none while it has none, negative when it never gets one.
    pub number: Option<i64>,
    /// Why it cannot be used.
    pub error: Option<String>,
    pub members: Map<String, Value>,
    pub row: Value,
    /// Its first interface.
    pub interface: Value,
}

impl Snapshot {
    /// Reads it.
    pub fn read(settings: &Settings) -> Result<Self> {
        Self::of(&mut Client::open(&settings.database, settings.timeout())?)
    }

    /// Reads it over a connection.
    pub fn of(client: &mut Client) -> Result<Self> {
        let select =
            |table: &str, columns: &[&str]| json!({"op": "select", "table": table, "where": [], "columns": columns});
        let results = client.transact(vec![
            select("Bridge", &["_uuid", "name", "ports", "datapath_type", "fail_mode", "protocols", "external_ids"]),
            select("Port", &["_uuid", "name", "interfaces", "tag", "trunks", "vlan_mode", "external_ids"]),
            select("Interface", &["_uuid", "name", "type", "options", "ofport", "error"]),
            select("Open_vSwitch", &["next_cfg", "cur_cfg"]),
        ])?;
        let rows = |at: usize| results[at]["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        let interfaces: BTreeMap<String, &Value> =
            rows(2).iter().filter_map(|row| Some((uuid(&row["_uuid"])?, row))).collect();
        let mut found = Self::default();
        if let Some(root) = rows(3).first() {
            (found.asked, found.realised) = (number(&root["next_cfg"]), number(&root["cur_cfg"]));
        }
        let mut bridge_of = BTreeMap::new();
        for row in rows(0) {
            let (Some(id), Some(name)) = (uuid(&row["_uuid"]), row["name"].as_str()) else { continue };
            bridge_of.extend(set(&row["ports"]).into_iter().filter_map(|port| Some((uuid(port)?, name.to_owned()))));
            let bridge = Bridge { uuid: id, is_ours: is_ours(row), members: bridge_members(row), row: row.clone() };
            found.bridges.insert(name.to_owned(), bridge);
        }
        for row in rows(1) {
            let (Some(id), Some(name)) = (uuid(&row["_uuid"]), row["name"].as_str()) else { continue };
            let Some(bridge) = bridge_of.get(&id) else { continue };
            let of_port = set(&row["interfaces"]).into_iter().filter_map(uuid);
            let of_port: Vec<&Value> = of_port.filter_map(|id| interfaces.get(&id).copied()).collect();
            found.ports.insert(name.to_owned(), port(id, name, bridge, row, &of_port));
        }
        Ok(found)
    }

    /// The numbers of a bridge's ports in flows, by name.
    pub fn numbers(&self, bridge: &str) -> BTreeMap<&str, i64> {
        let ports = self.ports.iter().filter(|(_, port)| port.bridge == bridge && !port.is_local);
        ports.filter_map(|(name, port)| Some((&**name, port.number.filter(|number| *number > 0)?))).collect()
    }

    /// The ports that a query shows.
    pub fn shown_ports(&self) -> impl Iterator<Item = (&String, &Port)> {
        self.ports.iter().filter(|(_, port)| !port.is_local)
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn is_ours(row: &Value) -> bool {
    pairs(&row["external_ids"]).iter().any(|(key, _)| key == MARK)
}

fn bridge_members(row: &Value) -> Map<String, Value> {
    let text = |value: &Value, default: &str| match set(value).first().and_then(|value| value.as_str()) {
        None | Some("") => json!(default),
        Some(text) => json!(text),
    };
    let mut protocols: Vec<&Value> = set(&row["protocols"]);
    protocols.sort_by_key(|protocol| protocol.to_string());
    Map::from_iter([
        ("datapath_type".to_owned(), text(&row["datapath_type"], SYSTEM)),
        ("fail_mode".to_owned(), text(&row["fail_mode"], "standalone")),
        ("protocols".to_owned(), json!(protocols)),
        ("managed".to_owned(), json!(is_ours(row))),
    ])
}

fn port(uuid: String, name: &str, bridge: &str, row: &Value, interfaces: &[&Value]) -> Port {
    let first = interfaces.first().copied().unwrap_or(&Value::Null);
    let one = |value: &Value| set(value).first().map(|value| (*value).clone());
    let number = one(&first["ofport"]).and_then(|number| number.as_i64());
    let error = interfaces.iter().find_map(|interface| Some(one(&interface["error"])?.as_str()?.to_owned()));
    let kind = match first["type"].as_str() {
        None | Some("") => SYSTEM,
        Some(kind) => kind,
    };
    let mut members = Map::from_iter([
        ("bridge".to_owned(), json!(bridge)),
        ("type".to_owned(), json!(kind)),
        ("managed".to_owned(), json!(is_ours(row))),
    ]);
    let options: Map<String, Value> = pairs(&first["options"]).into_iter().collect();
    if !options.is_empty() {
        members.insert("options".into(), Value::Object(options));
    }
    for column in ["tag", "vlan_mode"] {
        members.extend(one(&row[column]).map(|value| (column.to_owned(), value)));
    }
    let mut trunks: Vec<&Value> = set(&row["trunks"]);
    trunks.sort_by_key(|vlan| vlan.as_i64());
    if !trunks.is_empty() {
        members.insert("trunks".into(), json!(trunks));
    }
    members.extend(number.map(|number| ("ofport".to_owned(), json!(number))));
    members.extend(error.as_ref().map(|error| ("error".to_owned(), json!(error))));
    if interfaces.len() > 1 {
        let names: Vec<&Value> = interfaces.iter().map(|interface| &interface["name"]).collect();
        members.insert("bond".into(), json!(names));
    }
    let is_local = name == bridge;
    let (row, interface, is_ours) = (row.clone(), first.clone(), is_ours(row));
    Port { uuid, bridge: bridge.to_owned(), is_ours, is_local, number, error, members, row, interface }
}

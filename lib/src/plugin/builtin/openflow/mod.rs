//! Bridges, ports and flows of Open vSwitch: the first two through its database, flows through `ovs-ofctl`.
//!
//! ```text
//! document -> wishes (items, policies; what cannot be is refused) -> canon (flows as a switch prints them) -> diff
//!          -> plan -> ops (a transaction that waits for what was planned with; a bundle) -> ovs-vswitchd
//! ```
//! What others made is shown, and never touched: rows without the mark, flows with other cookies.

mod canon;
mod database;
mod flow;
mod items;
mod leaving;
mod ofctl;
mod ops;
mod ovsdb;
mod plan;
mod policy;
mod settings;
mod wishes;

use crate::base::{Error, Kind, Progress, Result, digest};
use crate::bus::Bus;
use crate::plugin::{Failure, Manifest, Owned, Queried, StatePlugin, Want};
use crate::state::{Action, Change, ItemSpec, KeySpec, MemberSpec, PluginState, Strategy};
use database::{SYSTEM, Snapshot};
use serde_json::{Map, Value, json};
use settings::Settings;
use std::collections::BTreeMap;

/// The name of the plugin.
pub(super) const NAME: &str = "openflow";
const BRIDGES: &str = "bridges";
const PORTS: &str = "ports";
const FLOWS: &str = "flows";
const FOREIGN: &str = "foreign_flows";
const POLICIES: &str = "policies";

/// The plugin.
#[derive(Debug)]
pub struct OpenFlowPlugin {
    settings: Settings,
    dependencies: Vec<String>,
    keys: BTreeMap<String, KeySpec>,
    known: canon::Known,
}

/// Opens the plugin with the settings of its manifest.
pub(super) fn open(manifest: &Manifest) -> Result<Box<dyn StatePlugin>> {
    let mut dependencies: Vec<String> = manifest.dependencies.keys().cloned().collect();
    // Links are there before they are ports.
    dependencies.push("net".into());
    let settings = super::settings(manifest)?;
    Ok(Box::new(OpenFlowPlugin { settings, dependencies, keys: keys(), known: canon::Known::default() }))
}

/// Whether this host has Open vSwitch.
pub(super) fn is_there(manifest: &Manifest) -> bool {
    super::settings::<Settings>(manifest).is_ok_and(|settings| settings.database.exists())
}

fn keys() -> BTreeMap<String, KeySpec> {
    let written = || MemberSpec { can_write: true, can_create: true, ..MemberSpec::default() };
    let made = || MemberSpec { can_create: true, ..MemberSpec::default() };
    let shown = || MemberSpec { is_only_shown: true, ..MemberSpec::default() };
    let unordered = || MemberSpec { is_unordered: true, ..written() };
    let one_of =
        |values: &[&str]| MemberSpec { values: values.iter().map(|value| json!(value)).collect(), ..written() };
    let collection = |members: &[(&str, MemberSpec)]| {
        let members = members.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect();
        let items = ItemSpec { members, can_update: true, can_create: true, can_delete: true, ..ItemSpec::default() };
        KeySpec { strategy: Strategy::Collection, items, ..KeySpec::default() }
    };
    let bridges = collection(&[
        ("datapath_type", made()),
        ("fail_mode", one_of(&wishes::FAIL_MODES)),
        ("protocols", unordered()),
        ("managed", shown()),
    ]);
    let ports = collection(&[
        ("bridge", made()),
        ("type", made()),
        ("tag", written()),
        ("trunks", unordered()),
        ("vlan_mode", written()),
        ("options", written()),
        ("managed", shown()),
        ("ofport", shown()),
        ("error", shown()),
        ("bond", shown()),
    ]);
    let names = ["actions", "cookie", "idle_timeout", "hard_timeout", "importance"];
    let mut flows: Vec<(&str, MemberSpec)> = names.map(|name| (name, written())).to_vec();
    flows.push(("flags", unordered()));
    let policies = ["bridge", "selector", "variables", "flows"].map(|name| (name, written()));
    BTreeMap::from([
        (BRIDGES.into(), bridges),
        (PORTS.into(), ports),
        (FLOWS.into(), collection(&flows)),
        (FOREIGN.into(), KeySpec { strategy: Strategy::None, ..KeySpec::default() }),
        (POLICIES.into(), collection(&policies)),
    ])
}

impl OpenFlowPlugin {
    /// Everything: a bridge takes its ports and flows along, and a flow speaks of ports.
    fn read(&self, queried: &mut Queried) -> Result<()> {
        let now = Snapshot::read(&self.settings)?;
        let members = |members: &Map<String, Value>| Value::Object(members.clone());
        let bridges: Map<String, Value> =
            now.bridges.iter().map(|(name, b)| (name.clone(), members(&b.members))).collect();
        let ports: Map<String, Value> =
            now.shown_ports().map(|(name, port)| (name.clone(), members(&port.members))).collect();
        let (mut flows, mut foreign) = (Map::new(), Map::new());
        let mut is_read = now.bridges.is_empty();
        for bridge in now.bridges.keys() {
            let numbers: BTreeMap<String, String> =
                now.numbers(bridge).into_iter().map(|(name, number)| (number.to_string(), name.to_owned())).collect();
            match ofctl::dump(&self.settings, bridge) {
                Ok(found) => {
                    is_read = true;
                    let mut of_others = Vec::new();
                    for flow in found.into_iter().map(|flow| flow.renamed(&mut |port| numbers.get(port).cloned())) {
                        match flow.is_ours() {
                            true => {
                                let name = flow::item(bridge, &flow.identity());
                                flows.insert(name, Value::Object(items::members(&flow)));
                            }
                            false => of_others.push(json!(flow.to_add())),
                        }
                    }
                    foreign.insert(bridge.clone(), Value::Array(of_others));
                }
                Err(error) => {
                    let message = match &error.subject {
                        Some(subject) => format!("{subject}: {}", error.message),
                        None => error.message.clone(),
                    };
                    queried.problems.push(Error { message, ..error }.on(format!("plugins.{NAME}.{FLOWS}")));
                }
            }
        }
        let values = &mut queried.values;
        values.insert(BRIDGES.into(), Value::Object(bridges));
        values.insert(PORTS.into(), Value::Object(ports));
        if is_read {
            values.insert(FLOWS.into(), Value::Object(flows));
            values.insert(FOREIGN.into(), Value::Object(foreign));
        }
        Ok(())
    }

    /// What is written counts when ovs-vswitchd sees it.
    fn check_daemon(&self) -> Result<()> {
        let file = self.settings.run.join("ovs-vswitchd.pid");
        let pid = std::fs::read_to_string(&file).unwrap_or_default();
        let is_running =
            pid.trim().parse::<u32>().is_ok_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
        if is_running {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, "ovs-vswitchd is not running, so nothing would come of a change")
            .on(file.display().to_string())
            .hint("systemctl start openvswitch-switch; where it has its files is said in [settings] of plugin.toml"))
    }

    /// A port of the kernel's is a link that is there, or that the same document makes.
    fn check_link(&self, change: &Change, all: &[Action]) -> Result<()> {
        let Change::Create { key, item, to, .. } = change else { return Ok(()) };
        if key != PORTS || to["type"].as_str().is_some_and(|kind| kind != SYSTEM) {
            return Ok(());
        }
        let links = std::fs::read_to_string(&self.settings.links).unwrap_or_default();
        let is_there = links.lines().filter_map(|line| line.split_once(':')).any(|(name, _)| name.trim() == item);
        let comes = all.iter().filter(|action| action.plugin != NAME).flat_map(|action| &action.changes);
        let mut comes = comes.filter(|change| change.brings_item() && change.item() == Some(item));
        if is_there || comes.next().is_some() {
            return Ok(());
        }
        Err(Error::bad_input(format!("there is no link {item} that could be a port"))
            .on(format!("plugins.{NAME}.{PORTS}.{item}"))
            .hint("`ip -br link` shows those there are; the same document can make one (plugins.net), and \"type\": \"internal\" makes one of Open vSwitch"))
    }
}

impl StatePlugin for OpenFlowPlugin {
    fn name(&self) -> &str {
        NAME
    }

    fn keys(&self) -> &BTreeMap<String, KeySpec> {
        &self.keys
    }

    fn dependencies(&self) -> Vec<String> {
        self.dependencies.clone()
    }

    fn mapping_digest(&self) -> Option<String> {
        Some(digest::of_json("settings", &json!(self.settings)))
    }

    fn query(&self, _: &Bus, _: &Want, _: &mut dyn Progress) -> Queried {
        let mut queried = Queried::default();
        if let Err(error) = self.read(&mut queried) {
            queried.problems.push(error.or_on(NAME));
        }
        queried
    }

    fn normalise(&self, desired: &PluginState, current: &Map<String, Value>, owned: &Owned) -> Result<PluginState> {
        self.normalise_among(desired, current, owned, &[])
    }

    fn normalise_among(
        &self,
        desired: &PluginState,
        current: &Map<String, Value>,
        owned: &Owned,
        above: &[&Change],
    ) -> Result<PluginState> {
        let now = Snapshot::read(&self.settings)?;
        let left = leaving::left(above);
        wishes::Wishes::new(&self.settings, &now, &self.known, current).left(left).normalised(desired, owned)
    }

    fn follows(&self, change: &Change, before: &Map<String, Value>) -> bool {
        policy::follows(change, before)
    }

    fn plan(
        &self,
        _: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        _: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        plan::plan(&Snapshot::read(&self.settings)?, changes, current)
    }

    fn check(&self, bus: &Bus, action: &Action) -> Result<()> {
        self.check_among(bus, action, &[])
    }

    fn check_among(&self, _: &Bus, action: &Action, all: &[Action]) -> Result<()> {
        self.check_daemon()?;
        let checks = action.changes.iter().map(|change| self.check_link(change, all));
        Error::all(checks.filter_map(Result::err).collect()).map_or(Ok(()), Err)
    }

    fn perform(&self, _: &Bus, action: &Action, _: &mut dyn Progress) -> Result<(), Failure> {
        ops::perform(&self.settings, &action.call)
    }
}

//! Links, bridges, VLANs, bonds, pairs, addresses and routes of this host, in nmstate's words, over rtnetlink. No program
//! is run and nothing is kept: what is there is asked of the kernel each time.
//!
//! ```text
//! document -> wishes (what follows is written out, what cannot be is refused) -> diff -> plan (order) -> ops (netlink)
//! ```
//! Never makes a DHCP client's work, never touches links in other network namespaces.

mod kernel;
mod netlink;
mod ops;
mod owners;
mod plan;
mod profile;
mod resolv;
mod settings;
mod show;
mod wishes;

use crate::base::{Error, Kind, Progress, Result, digest};
use crate::bus::Bus;
use crate::plugin::{Failure, Manifest, Owned, Queried, StatePlugin, Touched, Want};
use crate::state::{Action, Change, ItemSpec, KeySpec, MemberSpec, PluginState, Strategy};
use kernel::Snapshot;
use netlink::Socket;
use plan::Planner;
use serde_json::{Map, Value, json};
use settings::Settings;
use std::collections::BTreeMap;

const NAME: &str = "net";
const INTERFACES: &str = "interfaces";
const ROUTES: &str = "routes";
const DNS: &str = "dns-resolver";
const PROFILES: &str = "profiles";

/// The plugin.
#[derive(Debug)]
pub struct NetPlugin {
    settings: Settings,
    keys: BTreeMap<String, KeySpec>,
}

/// Opens the plugin with the settings of its manifest.
pub(super) fn open(manifest: &Manifest) -> Result<Box<dyn StatePlugin>> {
    let settings: Settings = super::settings(manifest)?;
    let keys = keys(&settings);
    Ok(Box::new(NetPlugin { settings, keys }))
}

/// Whether this host has links to speak of.
pub(super) fn is_there(_: &Manifest) -> bool {
    std::path::Path::new("/proc/net/dev").exists()
}

fn keys(settings: &Settings) -> BTreeMap<String, KeySpec> {
    let written = || MemberSpec { can_write: true, can_create: true, ..MemberSpec::default() };
    let made = || MemberSpec { can_create: true, ..MemberSpec::default() };
    let shown = || MemberSpec { is_only_shown: true, ..MemberSpec::default() };
    let states = vec![json!("up"), json!("down")];
    let mut members = BTreeMap::from([("state".to_owned(), MemberSpec { values: states, ..written() })]);
    let of = |names: &[&str], spec: &dyn Fn() -> MemberSpec| {
        names.iter().map(|name| ((*name).to_owned(), spec())).collect::<Vec<_>>()
    };
    members.extend(of(&["mtu", "mac-address", "ipv4", "ipv6", "bridge", "link-aggregation", "controller"], &written));
    members.extend(of(&["type", "vlan", "veth"], &made));
    // What nmstate shows of links.
    members.extend(of(&["min-mtu", "max-mtu", "permanent-mac-address", "driver"], &shown));
    let items = ItemSpec { members, can_update: true, can_create: true, can_delete: true, ..ItemSpec::default() };
    let protected = vec!["lo".to_owned()];
    let links = KeySpec { strategy: Strategy::Collection, items, protected, ..KeySpec::default() };
    let files = of(&["files"], &written).into_iter().collect();
    let items =
        ItemSpec { members: files, can_update: true, can_create: true, can_delete: true, ..ItemSpec::default() };
    let merged = || KeySpec { strategy: Strategy::MergeStrategy, ..KeySpec::default() };
    BTreeMap::from([
        (INTERFACES.into(), links),
        (ROUTES.into(), KeySpec { is_unordered: true, ..merged() }),
        (DNS.into(), KeySpec { writable: resolv::writable(settings), ..merged() }),
        (PROFILES.into(), KeySpec { strategy: Strategy::Collection, items, ..KeySpec::default() }),
    ])
}

impl NetPlugin {
    fn snapshot() -> Result<Snapshot> {
        Snapshot::read(&mut Socket::open()?)
    }

    fn all(&self) -> Result<Map<String, Value>> {
        let now = Self::snapshot()?;
        Ok(Map::from_iter([
            (INTERFACES.to_owned(), Value::Object(show::interfaces(&now))),
            (ROUTES.to_owned(), show::routes(&now)),
            (DNS.to_owned(), resolv::query(&self.settings)?),
            (PROFILES.to_owned(), Value::Object(profile::query(&self.settings)?)),
        ]))
    }

    fn actions(&self, changes: &[Change], current: &Map<String, Value>, is_back: bool) -> Result<Vec<Action>> {
        Planner::new(&self.settings, &Self::snapshot()?, current).plan(changes, is_back)
    }
}

impl StatePlugin for NetPlugin {
    fn name(&self) -> &str {
        NAME
    }

    fn keys(&self) -> &BTreeMap<String, KeySpec> {
        &self.keys
    }

    fn mapping_digest(&self) -> Option<String> {
        Some(digest::of_json("settings", &json!(self.settings)))
    }

    /// One key of it follows from the others, so whatever is wanted, all is brought.
    fn query(&self, _: &Bus, want: &Want, _: &mut dyn Progress) -> Queried {
        match self.all() {
            Ok(mut values) => {
                // A link's deletion takes routes with it, and files.
                if let Want::Keys(keys) = want {
                    values.retain(|key, _| keys.contains_key(key) || key != DNS);
                }
                Queried { values, ..Queried::default() }
            }
            Err(error) => Queried { problems: vec![error.or_on(NAME)], ..Queried::default() },
        }
    }

    fn normalise(&self, desired: &PluginState, current: &Map<String, Value>, owned: &Owned) -> Result<PluginState> {
        wishes::normalised(&self.settings, &Self::snapshot()?, desired, current, owned)
    }

    fn plan(
        &self,
        _: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        _: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.actions(changes, current, false)
    }

    fn plan_back(
        &self,
        _: &Bus,
        changes: &[Change],
        current: &Map<String, Value>,
        _: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.actions(changes, current, true)
    }

    fn check(&self, _: &Bus, action: &Action) -> Result<()> {
        const NET_ADMIN: u64 = 1 << 12;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let rights = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        match rights {
            Some(rights) if rights & NET_ADMIN == 0 && action.call.interface != "file" => {
                Err(Error::new(Kind::Denied, "changing links needs root (CAP_NET_ADMIN)")
                    .on(action.call.label())
                    .hint("run op-apply as root"))
            }
            _ => Ok(()),
        }
    }

    fn perform(&self, _: &Bus, action: &Action, _: &mut dyn Progress) -> Result<(), Failure> {
        // One operation may be several requests: reading again tells how far it came.
        ops::perform(&action.call).map_err(|error| Failure { error, touched: Touched::Perhaps })
    }
}

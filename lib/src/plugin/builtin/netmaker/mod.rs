//! A WireGuard mesh by Netmaker: this host's membership through netclient and its files, and the server's objects over
//! its REST API.
//!
//! ```text
//! /etc/netclient/*.json, wg show -> host      https://SERVER/api -> server      document -> checks -> diff -> plan -> ops
//! ```
//! Keys and tokens are names of secrets in documents, and nothing that is one is ever shown.

mod checks;
mod host;
mod ops;
mod plan;
mod server;
mod settings;

use crate::base::{Error, Kind, Progress, Result, digest, secret};
use crate::bus::Bus;
use crate::plugin::{Failure, Manifest, Owned, Queried, StatePlugin, Want};
use crate::state::{Action, Change, ItemSpec, KeySpec, MemberSpec, PluginState, Strategy};
use serde_json::{Map, Value, json};
use server::Server;
use settings::Settings;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// The name of the plugin.
pub(super) const NAME: &str = "netmaker";
const HOST: &str = "host";
const NETWORKS: &str = "networks";
const WIREGUARD: &str = "wireguard";
const SERVER_NETWORKS: &str = "server_networks";
const HOSTS: &str = "server_hosts";
const KEYS: &str = "enrollment_keys";
const CLIENTS: &str = "external_clients";
const OF_SERVER: [&str; 4] = [SERVER_NETWORKS, HOSTS, KEYS, CLIENTS];
const TOKEN: &str = "enrollment_token";

/// The plugin.
#[derive(Debug)]
pub struct NetmakerPlugin {
    settings: Settings,
    dependencies: Vec<String>,
    keys: BTreeMap<String, KeySpec>,
    /// What the server told last, with the identifiers that are not shown.
    objects: RefCell<Option<server::Objects>>,
}

/// Opens the plugin with the settings of its manifest.
pub(super) fn open(manifest: &Manifest) -> Result<Box<dyn StatePlugin>> {
    let mut dependencies: Vec<String> = manifest.dependencies.keys().cloned().collect();
    dependencies.push("net".into());
    let settings: Settings = super::settings(manifest)?;
    Ok(Box::new(NetmakerPlugin { settings, dependencies, keys: keys(), objects: RefCell::default() }))
}

/// Whether this host has a mesh, or a server is named.
pub(super) fn is_there(manifest: &Manifest) -> bool {
    let settings = super::settings::<Settings>(manifest);
    settings.is_ok_and(|settings| settings.server.is_some() || settings.files.join("netclient.json").exists())
}

fn keys() -> BTreeMap<String, KeySpec> {
    let written = || MemberSpec { can_write: true, can_create: true, ..MemberSpec::default() };
    let made = || MemberSpec { can_create: true, ..MemberSpec::default() };
    let shown = || MemberSpec { is_only_shown: true, ..MemberSpec::default() };
    // What says only how something is made is not told afterwards.
    let origin = || MemberSpec { is_origin: true, ..made() };
    let unordered = || MemberSpec { is_unordered: true, ..written() };
    let collection = |members: &[(&str, MemberSpec)]| {
        let members = members.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect();
        let items = ItemSpec { members, can_update: true, can_create: true, can_delete: true, ..ItemSpec::default() };
        KeySpec { strategy: Strategy::Collection, items, ..KeySpec::default() }
    };
    let mut networks = collection(&[
        ("connected", written()),
        (TOKEN, origin()),
        ("server", shown()),
        ("address", shown()),
        ("address6", shown()),
    ]);
    networks.secrets = vec![TOKEN.into()];
    let of_network = server::OF_NETWORK.map(|name| (name, written()));
    let mut hosts =
        collection(&[("networks", unordered()), ("id", shown()), ("version", shown()), ("endpoint", shown())]);
    hosts.strategy = Strategy::ServiceStateDiff;
    let kinds = server::TYPES.iter().map(|kind| json!(kind)).collect();
    let key = collection(&[
        ("networks", MemberSpec { is_unordered: true, ..made() }),
        ("type", MemberSpec { values: kinds, ..made() }),
        ("uses", origin()),
        ("expires", origin()),
        ("uses_remaining", shown()),
    ]);
    let client = collection(&[
        ("gateway", made()),
        ("dns", written()),
        ("enabled", written()),
        ("extra_allowed_ips", unordered()),
        ("address", shown()),
        ("address6", shown()),
        ("public_key", shown()),
    ]);
    let settle = Duration::from_secs(5);
    BTreeMap::from([
        (HOST.into(), KeySpec { strategy: Strategy::MergeStrategy, ..KeySpec::default() }),
        (NETWORKS.into(), KeySpec { settle, ..networks }),
        (WIREGUARD.into(), KeySpec { strategy: Strategy::None, ..KeySpec::default() }),
        (SERVER_NETWORKS.into(), collection(&of_network)),
        (HOSTS.into(), KeySpec { settle, ..hosts }),
        (KEYS.into(), key),
        (CLIENTS.into(), client),
    ])
}

impl NetmakerPlugin {
    fn read_host(&self, values: &mut Map<String, Value>) -> Result<()> {
        values.insert(NETWORKS.into(), Value::Object(host::networks(&self.settings)?));
        let found = host::host(&self.settings)?.unwrap_or_default();
        let link = found.get("interface").and_then(Value::as_str).map(str::to_owned);
        values.insert(HOST.into(), Value::Object(found));
        let wireguard = link.and_then(|link| host::wireguard(&self.settings, &link));
        values.extend(wireguard.map(|found| (WIREGUARD.to_owned(), found)));
        Ok(())
    }

    fn read_server(&self, bus: &Bus, values: &mut Map<String, Value>) -> Result<()> {
        let objects = Server::open(&self.settings, bus)?.objects()?;
        values.extend(objects.state());
        *self.objects.borrow_mut() = Some(objects);
        Ok(())
    }

    /// A host joins by a token that can still be used, and with netclient.
    fn check_join(&self, bus: &Bus, change: &Change) -> Result<()> {
        let Change::Create { key, to, item, .. } = change else { return Ok(()) };
        let Some(name) = to.get(TOKEN).and_then(secret::name).filter(|_| key == NETWORKS) else { return Ok(()) };
        let text = bus.secret(name)?;
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let at = format!("plugins.{NAME}.{NETWORKS}.{item}.{TOKEN}");
        if self.settings.server.is_some() && self.objects.borrow().is_none() {
            *self.objects.borrow_mut() = Some(Server::open(&self.settings, bus)?.objects()?);
        }
        let nothing = server::Objects::default();
        let objects = self.objects.borrow();
        checks::token(objects.as_ref().unwrap_or(&nothing), item, &text, now).map_err(|error| error.on(at))
    }
}

impl StatePlugin for NetmakerPlugin {
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

    fn query(&self, bus: &Bus, want: &Want, _: &mut dyn Progress) -> Queried {
        let mut queried = Queried::default();
        if [HOST, NETWORKS, WIREGUARD].iter().any(|key| want.has(key)) {
            let error = self.read_host(&mut queried.values).err();
            queried.problems.extend(error.map(|error| of_key(error, NETWORKS)));
        }
        if self.settings.server.is_some()
            && OF_SERVER.iter().any(|key| want.has(key))
            && let Err(error) = self.read_server(bus, &mut queried.values)
        {
            let keys = OF_SERVER.iter().filter(|key| want.has(key));
            // Once is enough for a person; a difference asks for each key.
            let count = if matches!(want, Want::Keys(_)) { OF_SERVER.len() } else { 1 };
            queried.problems.extend(keys.take(count).map(|key| of_key(error.clone(), key)));
        }
        queried.values.retain(|key, _| want.has(key));
        queried
    }

    fn normalise(&self, desired: &PluginState, current: &Map<String, Value>, _: &Owned) -> Result<PluginState> {
        checks::desired(&self.settings, desired, current)?;
        if let Some(objects) = &*self.objects.borrow() {
            checks::objects(objects, desired)?;
        }
        Ok(desired.clone())
    }

    fn plan(&self, _: &Bus, changes: &[Change], _: &Map<String, Value>, _: &mut dyn Progress) -> Result<Vec<Action>> {
        plan::plan(&self.settings.netclient.display().to_string(), changes, false)
    }

    fn plan_back(
        &self,
        _: &Bus,
        changes: &[Change],
        _: &Map<String, Value>,
        _: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        plan::plan(&self.settings.netclient.display().to_string(), changes, true)
    }

    fn check(&self, bus: &Bus, action: &Action) -> Result<()> {
        if action.call.interface == plan::COMMAND && !self.settings.netclient.exists() {
            return Err(Error::new(Kind::Unavailable, "netclient is not there")
                .on(self.settings.netclient.display().to_string())
                .hint("install it; where it is can be said in [settings] of plugin.toml"));
        }
        let checks = action.changes.iter().map(|change| self.check_join(bus, change));
        Error::all(checks.filter_map(Result::err).collect()).map_or(Ok(()), Err)
    }

    fn perform(&self, bus: &Bus, action: &Action, progress: &mut dyn Progress) -> Result<(), Failure> {
        progress.say(&action.title, None);
        let item = action.changes.first().and_then(Change::item).unwrap_or_default();
        ops::perform(&self.settings, bus, &action.call, item)
    }
}

/// Why a key could not be read.
fn of_key(error: Error, key: &str) -> Error {
    let message = match &error.subject {
        Some(subject) => format!("{subject}: {}", error.message),
        None => error.message.clone(),
    };
    Error { message, subject: Some(format!("plugins.{NAME}.{key}")), ..error }
}

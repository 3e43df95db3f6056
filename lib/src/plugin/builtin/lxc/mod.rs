//! Containers of Proxmox VE, through its own files, locks and `pct`. Golden images make new ones in the time of a
//! snapshot.
//!
//! | | |
//! |---|---|
//! | `config` `members` `storage` | Proxmox's texts, and the state they are made into |
//! | `host` | what there is |
//! | `checks` `plan` `create` `leftovers` | what is refused, what is done, what killed runs leave |
//! | `golden` `making` `rootfs` | golden images |
//! | `plain` | the same with LXC alone |

mod checks;
mod command;
mod config;
mod create;
pub mod golden;
mod host;
mod leftovers;
mod locks;
pub mod making;
mod members;
mod plain;
mod plan;
mod rootfs;
mod settings;
mod source;
mod storage;

pub use settings::Settings;

use crate::base::{Error, Progress, Result, digest};
use crate::bus::Bus;
use crate::plugin::{Failure, Manifest, Queried, StatePlugin, Touched, Want};
use crate::state::{Action, Change, KeySpec};
use create::Creation;
use members::CONTAINERS;
use plan::Planner;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the plugin.
pub const NAME: &str = "lxc";

/// What containers stand on, and is therefore made before them.
const UNDER: [&str; 2] = ["net", "openflow"];

/// The containers of this host.
#[derive(Debug)]
pub struct Lxc {
    name: String,
    dependencies: Vec<String>,
    settings: Settings,
    keys: BTreeMap<String, KeySpec>,
}

/// The plugin with the settings of its manifest.
pub fn open(manifest: &Manifest) -> Result<Box<dyn StatePlugin>> {
    let mut dependencies: Vec<String> = manifest.dependencies.keys().cloned().collect();
    dependencies.extend(UNDER.map(str::to_owned));
    Ok(Box::new(Lxc {
        name: manifest.plugin.name.clone(),
        dependencies,
        settings: settings_of(manifest)?,
        keys: BTreeMap::from([(CONTAINERS.to_owned(), members::spec())]),
    }))
}

/// Where things are, by the plugin's manifest.
pub fn settings_of(manifest: &Manifest) -> Result<Settings> {
    super::settings(manifest)
}

/// Whether this host has containers.
#[must_use]
pub fn is_there(manifest: &Manifest) -> bool {
    settings_of(manifest).is_ok_and(|settings| settings.is_proxmox() || settings.is_plain())
}

impl Lxc {
    fn planner(&self, is_back: bool) -> Planner<'_> {
        Planner { settings: &self.settings, plugin: &self.name, is_back }
    }

    fn read(&self, want: &Want) -> Result<Map<String, Value>> {
        let only = want.items(CONTAINERS);
        golden::node(&self.settings)?;
        if self.settings.is_plain() {
            return plain::read(&self.settings, want);
        }
        let running = host::running(&self.settings)?;
        let found = host::containers(&self.settings, only)?;
        Ok(found.iter().map(|(id, found)| (id.clone(), Value::Object(host::item_of(id, found, &running)))).collect())
    }

    fn plan_with(&self, changes: &[Change], is_back: bool) -> Result<Vec<Action>> {
        if self.settings.is_plain() {
            return self.plain_planner(is_back).plan(changes);
        }
        self.planner(is_back).plan(changes)
    }

    fn plain_planner(&self, is_back: bool) -> plain::Planner<'_> {
        plain::Planner { settings: &self.settings, plugin: &self.name, is_back }
    }

    /// Makes a container from a golden image, if that is still what was agreed to.
    fn create(&self, action: &Action) -> Result<(), Failure> {
        let before = |error: Error| Failure { error, touched: Touched::No };
        let Some(Change::Create { item, to, .. }) = action.changes.first() else {
            return Err(before(Error::failed("the action makes no container")));
        };
        let at = action.resources.join(", ");
        let nothing = Map::new();
        let to = to.as_object().unwrap_or(&nothing);
        let stale = || Error::failed("the golden image or the storage changed since it was agreed to").on(at.clone());
        if self.settings.is_plain() {
            let creation = self.plain_planner(false).creation(item, to).map_err(before)?;
            if creation.arguments() != action.call.args {
                return Err(before(stale()));
            }
            return plain::create(&self.settings, &creation);
        }
        let creation: Creation = self.planner(false).snapshot(&at, item, to, None).map_err(before)?;
        if creation.arguments() != action.call.args {
            return Err(before(stale()));
        }
        create::create(&self.settings, &creation)
    }

    /// Takes away what a killed run left of a container.
    fn take_back(&self, action: &Action) -> Result<(), Failure> {
        let ids = action.changes.iter().filter_map(Change::item);
        let taken = golden::node(&self.settings).and_then(|node| {
            let one = |id: &str| match self.settings.is_plain() {
                true => plain::take_back(&self.settings, id),
                false => leftovers::take_back(&self.settings, &node, id),
            };
            ids.map(one).collect::<Result<Vec<()>>>()
        });
        taken.map(|_| ()).map_err(|error| Failure { error, touched: Touched::Perhaps })
    }
}

impl StatePlugin for Lxc {
    fn name(&self) -> &str {
        &self.name
    }

    fn keys(&self) -> &BTreeMap<String, KeySpec> {
        &self.keys
    }

    fn dependencies(&self) -> Vec<String> {
        self.dependencies.clone()
    }

    fn goes_freely(&self) -> bool {
        true
    }

    fn mapping_digest(&self) -> Option<String> {
        Some(digest::of_json("settings", &json!(self.settings)))
    }

    fn query(&self, _bus: &Bus, want: &Want, _progress: &mut dyn Progress) -> Queried {
        let mut queried = Queried::default();
        if !want.has(CONTAINERS) {
            return queried;
        }
        match self.read(want) {
            Ok(items) => drop(queried.values.insert(CONTAINERS.to_owned(), Value::Object(items))),
            Err(error) => queried.problems.push(Error {
                message: match &error.subject {
                    Some(subject) => format!("{subject}: {}", error.message),
                    None => error.message.clone(),
                },
                subject: Some(format!("plugins.{}.{CONTAINERS}", self.name)),
                ..error
            }),
        }
        queried
    }

    fn plan(
        &self,
        _bus: &Bus,
        changes: &[Change],
        _current: &Map<String, Value>,
        _progress: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.plan_with(changes, false)
    }

    fn plan_back(
        &self,
        _bus: &Bus,
        changes: &[Change],
        _current: &Map<String, Value>,
        _progress: &mut dyn Progress,
    ) -> Result<Vec<Action>> {
        self.plan_with(changes, true)
    }

    fn check(&self, bus: &Bus, action: &Action) -> Result<()> {
        self.check_among(bus, action, &[])
    }

    fn check_among(&self, _bus: &Bus, action: &Action, all: &[Action]) -> Result<()> {
        let mut errors = Vec::new();
        for change in &action.changes {
            if let (Some(id), Change::Create { to, .. } | Change::Update { to, .. }) = (change.item(), change) {
                let at = format!("plugins.{}.{CONTAINERS}.{id}", self.name);
                errors.extend(checks::bridges(&self.settings, &at, to, all).err());
                // One that is started needs those that it has, too.
                if matches!(change, Change::Update { .. }) && to["status"] == "running" {
                    let mut has = self.read(&Want::of_changes([change]))?.remove(id).unwrap_or_default();
                    if let Some(networks) = has["networks"].as_object_mut() {
                        networks.retain(|key, _| to["networks"].get(key).is_none());
                    }
                    errors.extend(checks::bridges(&self.settings, &at, &has, all).err());
                }
            }
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    fn perform(&self, _bus: &Bus, action: &Action, progress: &mut dyn Progress) -> Result<(), Failure> {
        match (action.call.interface.as_str(), action.call.member.as_str()) {
            ("btrfs", "take-back") => return self.take_back(action),
            ("btrfs", _) => return self.create(action),
            ("file", _) => {
                let text = action.call.args.first().and_then(Value::as_str).unwrap_or_default();
                let written = plain::write(Path::new(&action.call.path), text);
                return written.map_err(|error| Failure { error, touched: Touched::Perhaps });
            }
            _ => {}
        }
        progress.say(&action.title, None);
        let words = action.call.args.iter().map(|arg| arg.as_str().unwrap_or_default().to_owned());
        let args: Vec<String> =
            std::iter::once(action.call.member.clone()).filter(|verb| !verb.is_empty()).chain(words).collect();
        command::run(Path::new(&action.call.path), &args).map(|_| ())
    }
}

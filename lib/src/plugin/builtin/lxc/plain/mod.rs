//! Containers of LXC alone, where there is no Proxmox: the same state by name, read from files, made from golden images,
//! and everything else through `lxc-*`.
//!
//! ```text
//! /var/lib/lxc/NAME/config            read, and replaced whole
//! /var/lib/lxc/NAME/rootfs            a subvolume
//! /var/lib/lxc/NAME/partial           LXC's own word for a container that is being made
//! /var/lib/lxc/op-dbus-golden/NAME    golden images, and NAME.json: what is known of them
//! ```

pub mod config;
mod create;

pub use create::{Creation, create, take_back};

use super::host;
use super::members::{CONTAINERS, changed};
use super::settings::{Settings, shown};
use super::{checks, golden};
use crate::base::{Call, Error, Kind, Result};
use crate::plugin::Want;
use crate::state::{Action, Change, Undo, UndoClass};
use crate::store::{file, volumes};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a container that is being made has.
const PARTIAL: &str = "partial";

/// The file of a container.
fn config_of(settings: &Settings, name: &str) -> PathBuf {
    settings.lxc.join(name).join("config")
}

/// Whether a run of ours was making this and did not come to its end.
fn is_half_made(settings: &Settings, name: &str) -> bool {
    let folder = settings.lxc.join(name);
    file::read(&folder.join(PARTIAL)).ok().flatten().is_some_and(|text| text.starts_with("op-dbus"))
}

/// The containers there are, as items of the state.
pub fn read(settings: &Settings, want: &Want) -> Result<Map<String, Value>> {
    let names = match want.items(CONTAINERS) {
        Some(only) => only.iter().filter(|name| golden::check_name(name).is_ok()).cloned().collect(),
        None => volumes::names(&settings.lxc)?,
    };
    let running = host::running(settings)?;
    let mut found = Map::new();
    for name in names {
        let half_made = is_half_made(settings, &name);
        let Some(text) = file::read(&config_of(settings, &name))?.or_else(|| half_made.then(String::new)) else {
            continue;
        };
        let mut item = config::members(&text);
        if half_made {
            item.insert("lock".into(), json!("create"));
        }
        item.insert("status".into(), json!(if running.contains(&name) { "running" } else { "stopped" }));
        found.insert(name, Value::Object(item));
    }
    Ok(found)
}

/// Plans changes of one state.
pub struct Planner<'p> {
    pub settings: &'p Settings,
    pub plugin: &'p str,
    pub is_back: bool,
}

impl Planner<'_> {
    /// The actions for these changes: what is made first, what goes last.
    pub fn plan(&self, changes: &[Change]) -> Result<Vec<Action>> {
        let running = host::running(self.settings)?;
        let (mut actions, mut last, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let Some(name) = change.item() else { continue };
            let outcome = match change {
                Change::Delete { .. } => {
                    last.push(self.delete(change, name, running.contains(name)));
                    continue;
                }
                _ if is_half_made(self.settings, name) => {
                    Err(Error::new(Kind::Locked, "a run that was broken off has left it half made").hint(
                        "op-apply --recover takes it back; so does \"status\": \"absent\", if no run is under way",
                    ))
                }
                Change::Create { to, .. } => self.create(change, name, to),
                Change::Update { from, to, .. } => self.update(change, name, from, to),
                _ => Ok(Vec::new()),
            };
            match outcome {
                Ok(some) => actions.extend(some),
                Err(error) => errors.push(error.or_on(self.at(name))),
            }
        }
        actions.extend(last);
        Error::all(errors).map_or(Ok(actions), Err)
    }

    fn at(&self, name: &str) -> String {
        format!("plugins.{}.{CONTAINERS}.{name}", self.plugin)
    }

    fn action(&self, change: &Change, title: String, call: Call, undo: Undo) -> Action {
        let done = vec![title.clone()];
        Action { done, ..Action::new(self.plugin, vec![change.clone()], title, call, undo) }
    }

    /// A call of one of LXC's tools.
    fn tool(&self, name: &str, of: &str, more: &[&str]) -> Call {
        let program = shown(&self.settings.lxc_tools.join(name));
        let words = ["-P", &shown(&self.settings.lxc), "-n", of].map(str::to_owned);
        let all = words.into_iter().chain(more.iter().map(|word| (*word).to_owned()));
        Call::on_host("command", &program, "", all.map(Value::String).collect())
    }

    /// Everything that can be wrong with the members that are asked for.
    fn check(&self, name: &str, asked: &Value, after: &Map<String, Value>) -> Result<()> {
        let at = self.at(name);
        // What is only shown is in what goes back.
        let shown: &[&str] = if self.is_back { &["lock", "rootfs"] } else { &[] };
        let known = [&["golden_image", "status", "template", "unprivileged"], shown].concat();
        let names = asked.as_object().into_iter().flatten().map(|(name, _)| name);
        let other = names.filter(|name| !known.contains(&name.as_str()) && !config::MEMBERS.contains(&name.as_str()));
        let mut errors: Vec<Error> = other.map(|name| config::no_place(&format!("{at}.{name}"))).collect();
        errors.extend(checks::members(self.settings, golden::LOCAL, &at, asked, after).err());
        Error::all(errors).map_or(Ok(()), Err)
    }

    fn create(&self, change: &Change, name: &str, to: &Value) -> Result<Vec<Action>> {
        golden::check_name(name).map_err(|error| error.on(self.at(name)))?;
        let nothing = Map::new();
        let members = to.as_object().unwrap_or(&nothing);
        self.check(name, to, members)?;
        let creation = self.creation(name, members)?;
        let call = Call::on_host("btrfs", &shown(&creation.rootfs), "snapshot", creation.arguments());
        let undo = Undo { class: UndoClass::Compensating, call: Some(self.tool("lxc-destroy", name, &[])) };
        let title = format!("Create container {name} from golden image {}", creation.image.name);
        let mut actions = vec![self.action(change, title, call, undo)];
        if members.get("status").is_some_and(|status| status == "running") {
            let mut started = self.start(change, name, true);
            started.changes.clear();
            actions.push(started);
        }
        Ok(actions)
    }

    /// The creation of a container, everything about it checked.
    pub fn creation(&self, name: &str, to: &Map<String, Value>) -> Result<Creation> {
        let at = self.at(name);
        if self.is_back && to.get("golden_image").is_none() {
            return Err(Error::refused("what was in the container is gone, so it cannot be made again").on(at));
        }
        let creation = Creation::new(self.settings, &at, name, to)?;
        if let Some(template) = to.get("template").and_then(Value::as_str) {
            checks::same_template(&at, &creation.image, template)?;
        }
        if to.get("unprivileged").is_some_and(|wanted| *wanted != json!(creation.image.unprivileged)) {
            let kind = if creation.image.unprivileged { "unprivileged" } else { "privileged" };
            return Err(Error::refused(format!("the golden image's files are those of {kind} containers"))
                .on(format!("{at}.unprivileged"))
                .hint("leave it out, or make a golden image for the other kind"));
        }
        creation.image.check()?;
        if self.settings.lxc.join(name).symlink_metadata().is_ok() {
            return Err(Error::refused(format!("there is a folder {}/{name} already", shown(&self.settings.lxc)))
                .on(at)
                .hint("it is no container: look at it, and move it away"));
        }
        Ok(creation)
    }

    fn update(&self, change: &Change, name: &str, from: &Value, to: &Value) -> Result<Vec<Action>> {
        let path = config_of(self.settings, name);
        let Some(text) = file::read(&path)? else {
            return Err(Error::failed("the container is not there any more"));
        };
        let without = |value: &Value| {
            let mut value = value.clone();
            let status = value.as_object_mut().and_then(|map| map.remove("status"));
            (value, status)
        };
        let ((from, was), (to, status)) = (without(from), without(to));
        let part = |from: Value, to: Value| match change.clone() {
            Change::Update { plugin, key, item, .. } => Change::Update { plugin, key, item, from, to },
            other => other,
        };
        let mut actions = Vec::new();
        let names: BTreeMap<&String, ()> =
            [&from, &to].into_iter().filter_map(Value::as_object).flatten().map(|(name, _)| (name, ())).collect();
        if !names.is_empty() {
            let after = changed(&Value::Object(config::members(&text)), &from, &to);
            let nothing = Map::new();
            let members = after.as_object().unwrap_or(&nothing);
            if !self.is_back {
                self.check(name, &to, members)?;
            }
            let new = config::with(&self.at(name), &text, members)?;
            let what: Vec<&str> = names.keys().map(|name| name.as_str()).collect();
            let write = |text: &str| Call::on_host("file", &shown(&path), "write", vec![json!(text)]);
            let undo = Undo { class: UndoClass::Exact, call: Some(write(&text)) };
            let title = format!("Set {} of container {name}", what.join(", "));
            actions.push(self.action(&part(from.clone(), to.clone()), title, write(&new), undo));
        }
        if let Some(status) = status {
            let part = part(json!({"status": was}), json!({"status": status}));
            actions.push(self.start(&part, name, status == "running"));
        }
        Ok(actions)
    }

    fn start(&self, change: &Change, name: &str, is_to_run: bool) -> Action {
        let start = self.tool("lxc-start", name, &[]);
        let stop = self.tool("lxc-stop", name, &["-t", &self.settings.stop_timeout_s.to_string()]);
        let (word, call, back) = if is_to_run { ("Start", start, stop) } else { ("Stop", stop, start) };
        let undo = Undo { class: UndoClass::Compensating, call: Some(back) };
        self.action(change, format!("{word} container {name}"), call, undo)
    }

    fn delete(&self, change: &Change, name: &str, is_running: bool) -> Action {
        let undo = Undo { class: UndoClass::Irreversible, call: None };
        if is_half_made(self.settings, name) {
            let rootfs = shown(&self.settings.lxc.join(name).join("rootfs"));
            let call = Call::on_host("btrfs", &rootfs, "take-back", Vec::new());
            return self.action(change, format!("Take away what is left of container {name}"), call, undo);
        }
        let call = self.tool("lxc-destroy", name, if is_running { &["-f"] } else { &[] });
        self.action(change, format!("Destroy container {name}"), call, undo)
    }
}

/// Replaces a container's file, whole, with the mode and owner it has.
pub fn write(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file::replace(path, text.as_bytes(), file::Durability::Durable)?;
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(path, mode).map_err(|error| Error::io("let it be read", path, &error))
}

//! From changes of containers to what is done on a Proxmox node.

use super::create::Creation;
use super::host::Found;
use super::members::{CONTAINERS, changed};
use super::settings::Settings;
use super::{checks, command, config, golden, host, leftovers, members, storage};
use crate::base::{Call, Error, Kind, Result};
use crate::state::{Action, Change, Undo, UndoClass};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Plans changes of one state.
pub struct Planner<'p> {
    pub settings: &'p Settings,
    pub plugin: &'p str,
    /// Whether it leads back to what there was.
    pub is_back: bool,
}

impl Planner<'_> {
    /// The actions for these changes: what is made first, what goes last.
    pub fn plan(&self, changes: &[Change]) -> Result<Vec<Action>> {
        let node = host::this_node(self.settings)?;
        host::check_writable(self.settings, &node)?;
        let names: BTreeSet<String> = changes.iter().filter_map(|change| change.item().map(str::to_owned)).collect();
        let there = host::containers(self.settings, Some(&names))?;
        let running = host::running(self.settings)?;
        let (mut actions, mut last, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let Some(id) = change.item() else { continue };
            let at = self.at(id);
            let found = there.get(id);
            if let (Change::Delete { .. }, Some(found)) = (change, found.filter(|found| found.is_here))
                && leftovers::is_half_made(&found.config)
            {
                last.push(self.take_back(change, id, found));
                continue;
            }
            let outcome = self.check_free_to_change(id, found, &node).and_then(|()| match change {
                Change::Create { to, .. } => self.create(change, id, &node, to),
                Change::Update { from, to, .. } => {
                    let Some(found) = found else {
                        return Err(Error::failed("the container is not there any more"));
                    };
                    self.update(change, id, found, (from, to), &node)
                }
                Change::Delete { .. } => {
                    last.push(self.delete(change, id, found, running.contains(id))?);
                    Ok(Vec::new())
                }
                _ => Ok(Vec::new()),
            });
            match outcome {
                Ok(some) => actions.extend(some),
                Err(error) => errors.push(error.or_on(at)),
            }
        }
        actions.extend(last);
        Error::all(errors).map_or(Ok(actions), Err)
    }

    fn at(&self, id: &str) -> String {
        format!("plugins.{}.{CONTAINERS}.{id}", self.plugin)
    }

    fn check_free_to_change(&self, id: &str, found: Option<&Found>, node: &str) -> Result<()> {
        let Some(found) = found else { return Ok(()) };
        if !found.is_here {
            return Err(Error::refused(format!(
                "the container is on the Proxmox node {}, and this is {node}",
                found.node
            ))
            .on(self.at(id))
            .hint("apply the document there, or migrate the container: pct migrate"));
        }
        if leftovers::is_half_made(&found.config) {
            return Err(Error::new(Kind::Locked, "a run that was broken off has left it half made")
                .on(self.at(id))
                .hint("op-apply --recover takes it back; so does \"status\": \"absent\", if no run is under way"));
        }
        match found.config.keys.get("lock") {
            None => Ok(()),
            Some(lock) => Err(Error::new(Kind::Locked, format!("CT is locked ({lock})")).on(self.at(id)).hint(
                format!("a task works on it: wait for it; after a crash, look first and then `pct unlock {id}`"),
            )),
        }
    }

    fn action(&self, change: &Change, title: String, call: Call, undo: Undo) -> Action {
        Action::new(self.plugin, vec![change.clone()], title, call, undo)
    }

    fn pct(&self, verb: &str, args: Vec<String>) -> Call {
        Call::on_host("command", &command::pct(self.settings), verb, args.into_iter().map(Value::String).collect())
    }

    fn create(&self, change: &Change, id: &str, node: &str, to: &Value) -> Result<Vec<Action>> {
        let at = self.at(id);
        checks::new_id(self.settings, &at, id)?;
        let Some(to) = to.as_object() else { return Err(Error::bad_input("expected an object of members")) };
        let wanted = Value::Object(to.clone());
        checks::members(self.settings, node, &at, &wanted, to)?;
        let text = |name: &str| to.get(name).and_then(Value::as_str);
        let (call, from) = match (text("golden_image"), text("template")) {
            (Some(image), template) => {
                let creation = self.snapshot(&at, id, to, template)?;
                let subject = creation.volume.display().to_string();
                (Call::on_host("btrfs", &subject, "snapshot", creation.arguments()), format!("golden image {image}"))
            }
            (None, Some(template)) => {
                (self.pct("create", self.unpacked(&at, id, node, to, template)?), template.to_owned())
            }
            (None, None) if self.is_back => {
                return Err(Error::refused("what was in the container is gone, so it cannot be made again").on(at));
            }
            (None, None) => {
                return Err(Error::bad_input("it is not said what the container is made from")
                    .on(at)
                    .hint("name a `golden_image` (op-snapshot golden list) or a `template` (pveam list STORAGE)"));
            }
        };
        let called = text("hostname").map_or_else(String::new, |name| format!(" ({name})"));
        let back = self.pct("destroy", vec![id.to_owned()]);
        let undo = Undo { class: UndoClass::Compensating, call: Some(back) };
        let mut made = self.action(change, format!("Create container {id}{called} from {from}"), call, undo);
        made.done = vec![format!("Created container {id}{called}")];
        let mut actions = vec![made];
        if text("status") == Some("running") {
            let mut started = self.start(change, id, true);
            started.changes.clear();
            actions.push(started);
        }
        Ok(actions)
    }

    /// The creation from a golden image, everything about it checked.
    pub fn snapshot(&self, at: &str, id: &str, to: &Map<String, Value>, template: Option<&str>) -> Result<Creation> {
        let creation = Creation::new(self.settings, at, id, to)?;
        let image = &creation.image;
        if let Some(template) = template {
            checks::same_template(at, image, template)?;
        }
        if to.get("disk_gib").and_then(Value::as_u64).is_some_and(|size| size > 0) {
            return Err(Error::refused(
                "a container from a golden image has no size of its own: it shares the storage's",
            )
            .on(format!("{at}.disk_gib"))
            .hint("leave it out; with `template` alone the container gets a disk of that size"));
        }
        if to.get("unprivileged").is_some_and(|wanted| *wanted != json!(image.unprivileged)) {
            let kind = if image.unprivileged { "unprivileged" } else { "privileged" };
            return Err(Error::refused(format!("the golden image's files are those of {kind} containers"))
                .on(format!("{at}.unprivileged"))
                .hint("leave it out, or make a golden image for the other kind"));
        }
        image.check()?;
        if creation.volume.exists() {
            return Err(Error::refused(format!(
                "there is a volume of that number already: {}",
                creation.volume.display()
            ))
            .on(at.to_owned())
            .hint("a container of this number left it behind: look at it, then pvesm free it"));
        }
        Ok(creation)
    }

    /// The arguments of `pct create`.
    fn unpacked(&self, at: &str, id: &str, node: &str, to: &Map<String, Value>, template: &str) -> Result<Vec<String>> {
        let archive = checks::archive(self.settings, node, &format!("{at}.template"), template)?;
        let storages = storage::read(&self.settings.pve)?;
        let is_for_us =
            |storage: &&storage::Storage| storage.is_on(node) && storage.content.iter().any(|c| c == "rootdir");
        let asked = to.get("storage").and_then(Value::as_str).or(self.settings.storage.as_deref());
        let place = format!("{at}.storage");
        let found = match asked {
            Some(name) => storage::named(&storages, name).map_err(|error| error.on(place.clone()))?,
            None => {
                let mut fit: Vec<_> = storages.values().filter(is_for_us).collect();
                fit.sort_by_key(|storage| !storage.is_btrfs());
                *fit.first().ok_or_else(|| {
                    Error::refused("no storage of this node is for containers")
                        .on(place.clone())
                        .hint("pvesm set STORAGE --content rootdir,...")
                })?
            }
        };
        if !is_for_us(&found) {
            return Err(Error::refused(format!("the storage is switched off, not for {node}, or not for containers"))
                .on(place)
                .hint("pvesm status; pvesm set STORAGE --content rootdir,..."));
        }
        if found.path.is_some() {
            found.check_space(self.settings.min_free_mib)?;
        }
        let default = if found.is_btrfs() { 0 } else { 8 };
        let size = to.get("disk_gib").and_then(Value::as_u64).unwrap_or(default);
        let mut keys = members::to_keys(at, to)?;
        keys.entry("unprivileged".into()).or_insert(Some("1".into()));
        let origin = BTreeMap::from([("template".to_owned(), template.to_owned())]);
        let description = keys.remove("description").flatten().unwrap_or_default();
        let notes = config::Config { description, origin, ..config::Config::default() }.notes();
        keys.insert("description".into(), Some(notes));
        let mut args = vec![id.to_owned(), archive, "--rootfs".into(), format!("{}:{size}", found.name)];
        for (key, value) in keys {
            args.extend(value.into_iter().flat_map(|value| [format!("--{key}"), value]));
        }
        Ok(args)
    }

    fn update(
        &self,
        change: &Change,
        id: &str,
        found: &Found,
        (from, to): (&Value, &Value),
        node: &str,
    ) -> Result<Vec<Action>> {
        let at = self.at(id);
        let now = Value::Object(members::of_config(&found.config));
        let without = |value: &Value| {
            let mut value = value.clone();
            let status = value.as_object_mut().and_then(|map| map.remove("status"));
            (value, status)
        };
        let ((from, was), (to, status)) = (without(from), without(to));
        let mut actions = Vec::new();
        if to.as_object().is_some_and(|map| !map.is_empty()) || from.as_object().is_some_and(|map| !map.is_empty()) {
            let after = changed(&now, &from, &to);
            if let Some(after) = after.as_object().filter(|_| !self.is_back) {
                checks::members(self.settings, node, &at, &to, after)?;
            }
            let there = self.set_arguments(&at, id, &now, &after, found)?;
            let back = self.set_arguments(&at, id, &after, &now, found)?;
            let part = part_of(change, from, to);
            let what = names(&there).join(", ");
            let undo = Undo { class: UndoClass::Exact, call: Some(self.pct("set", back)) };
            let mut action = self.action(&part, format!("Set {what} of container {id}"), self.pct("set", there), undo);
            action.done = vec![format!("Set {what} of container {id}")];
            actions.push(action);
        }
        if let Some(status) = status {
            let part = part_of(change, json!({"status": was}), json!({"status": status}));
            actions.push(self.start(&part, id, status == "running"));
        }
        Ok(actions)
    }

    /// The arguments of `pct set` that lead from `now` to `after`.
    fn set_arguments(&self, at: &str, id: &str, now: &Value, after: &Value, found: &Found) -> Result<Vec<String>> {
        let keys = |value: &Value| {
            let nothing = Map::new();
            members::to_keys(at, value.as_object().unwrap_or(&nothing))
        };
        let (now, mut after) = (keys(now)?, keys(after)?);
        let notes = |keys: &BTreeMap<String, Option<String>>| {
            let description = keys.get("description").cloned().flatten().unwrap_or_default();
            config::Config { description, origin: found.config.origin.clone(), ..config::Config::default() }.notes()
        };
        let is_described = notes(&now) != notes(&after);
        let described = notes(&after);
        after.remove("description");
        let mut args = vec![id.to_owned()];
        for (key, value) in after.iter().filter(|(key, value)| now.get(*key) != Some(*value)) {
            args.extend(value.iter().flat_map(|value| [format!("--{key}"), value.clone()]));
        }
        if is_described && !described.is_empty() {
            args.extend(["--description".to_owned(), described.clone()]);
        }
        let is_gone = |key: &&String| after.get(*key).is_none_or(Option::is_none) && *key != "description";
        let mut gone: Vec<&str> = now
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(key, _)| key)
            .filter(is_gone)
            .map(String::as_str)
            .collect();
        if is_described && described.is_empty() {
            gone.push("description");
        }
        if !gone.is_empty() {
            args.extend(["--delete".to_owned(), gone.join(",")]);
        }
        Ok(args)
    }

    fn start(&self, change: &Change, id: &str, is_to_run: bool) -> Action {
        let start = self.pct("start", vec![id.to_owned()]);
        let seconds = self.settings.stop_timeout_s.to_string();
        let words = [id, "--forceStop", "1", "--timeout", &seconds].map(str::to_owned);
        let stop = self.pct("shutdown", words.into());
        let (word, done, call, back) =
            if is_to_run { ("Start", "Started", start, stop) } else { ("Stop", "Stopped", stop, start) };
        let undo = Undo { class: UndoClass::Compensating, call: Some(back) };
        let mut action = self.action(change, format!("{word} container {id}"), call, undo);
        action.done = vec![format!("{done} container {id}")];
        action
    }

    fn take_back(&self, change: &Change, id: &str, found: &Found) -> Action {
        let rootfs = found.config.keys.get("rootfs").and_then(|text| text.split(',').next()).unwrap_or_default();
        let file = self.settings.config(&found.node, id);
        let call = Call::on_host("btrfs", rootfs, "take-back", vec![json!({"configuration": file})]);
        let undo = Undo { class: UndoClass::Irreversible, call: None };
        let mut action = self.action(change, format!("Take away what is left of container {id}"), call, undo);
        action.done = vec![format!("Took away what was left of container {id}")];
        action
    }

    fn delete(&self, change: &Change, id: &str, found: Option<&Found>, is_running: bool) -> Result<Action> {
        let Some(found) = found else { return Err(Error::failed("the container is not there any more")) };
        if found.config.keys.get("protection").is_some_and(|value| value == "1") {
            return Err(Error::refused(format!("can't remove CT {id} - protection mode enabled"))
                .on(self.at(id))
                .hint("set \"protection\": false first, in a document of its own"));
        }
        if found.config.keys.get("template").is_some_and(|value| value == "1") {
            let images = golden::list(self.settings)?;
            if let Some(image) = images.iter().find(|image| image.template_id.as_deref() == Some(id)) {
                return Err(Error::refused(format!("it is the golden image {}", image.name))
                    .on(self.at(id))
                    .hint(format!("op-snapshot golden delete {} deletes it", image.name)));
            }
        }
        let mut args = vec![id.to_owned()];
        if is_running {
            args.extend(["--force".to_owned(), "1".to_owned()]);
        }
        let undo = Undo { class: UndoClass::Irreversible, call: None };
        let mut action =
            self.action(change, format!("Destroy container {id} and its volumes"), self.pct("destroy", args), undo);
        action.done = vec![format!("Destroyed container {id}")];
        Ok(action)
    }
}

/// The names of the options among the arguments of `pct set`.
fn names(args: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut words = args.iter().skip(1);
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        match option.strip_prefix("--") {
            Some("delete") => names.extend(value.split(',').map(str::to_owned)),
            Some(option) => names.push(option.to_owned()),
            None => {}
        }
    }
    names
}

fn part_of(change: &Change, from: Value, to: Value) -> Change {
    match change.clone() {
        Change::Update { plugin, key, item, .. } => Change::Update { plugin, key, item, from, to },
        other => other,
    }
}

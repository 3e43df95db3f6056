//! Which secrets op-dbus wrote where, by name and keyed digest: services do not tell them, so this is how a second run
//! knows that nothing is to do. The secrets themselves are nowhere.
//!
//! ```text
//! @state/secrets.json    {"version":1,"salt":HEX,"written":{RESOURCE:{POINTER:{"name","digest"}}}}
//! ```

use super::{Plugins, StateManager};
use crate::base::{Error, Result, digest, secret};
use crate::bus::Bus;
use crate::plugin::{Queried, StatePlugin, Want};
use crate::state::{Action, Change, KeySpec, PluginState, UndoClass};
use crate::store::file::{self, Durability};
use crate::store::{StateRoot, layout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;

/// A secret that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    name: String,
    digest: String,
}

/// What was written where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vault {
    version: u32,
    salt: String,
    written: BTreeMap<String, BTreeMap<String, Written>>,
}

impl Vault {
    fn read(root: &StateRoot) -> Result<Self> {
        let path = root.secrets();
        layout::check_owner(&path)?;
        let Some(text) = file::read(&path)? else { return Ok(Self { version: 1, ..Self::default() }) };
        serde_json::from_str(&text).map_err(|error| {
            Error::bad_input(format!("the list of written secrets is damaged: {error}"))
                .on(path.display().to_string())
                .hint("move it away: then every secret of a document is written once more")
        })
    }

    fn write(&mut self, root: &StateRoot) -> Result<()> {
        let path = root.secrets();
        root.make_parent(&path)?;
        let bytes = serde_json::to_vec(self).map_err(|e| Error::failed(e.to_string()))?;
        file::replace(&path, &bytes, Durability::Durable)
    }

    fn digest_of(&self, text: &str) -> String {
        digest::of_bytes("secret", format!("{}\0{text}", self.salt).as_bytes())
    }

    /// What is there now as a reference: the name, or no name where the secret of that name is another one today.
    fn reference(&self, written: &Written, bus: &Bus) -> Value {
        let is_same = bus.secret(&written.name).map_or(true, |text| self.digest_of(&text) == written.digest);
        secret::reference(if is_same { &written.name } else { "" })
    }

    /// Puts into what a plugin told what it never tells.
    fn complete(&self, plugin: &dyn StatePlugin, values: &mut serde_json::Map<String, Value>, bus: &Bus) {
        for (key, spec) in plugin.keys().iter().filter(|(_, spec)| !spec.secrets.is_empty()) {
            if spec.strategy.has_items() {
                let Some(items) = values.get_mut(key).and_then(Value::as_object_mut) else { continue };
                for (item, value) in items {
                    let written = self.written.get(&format!("{}/{key}/{item}", plugin.name()));
                    for (pointer, written) in written.into_iter().flatten() {
                        secret::put(value, pointer, self.reference(written, bus));
                    }
                }
            } else {
                let written = self.written.get(&format!("{}/{key}", plugin.name())).and_then(|paths| paths.get(""));
                let reference = written.map_or_else(|| secret::reference(""), |written| self.reference(written, bus));
                values.insert(key.clone(), reference);
            }
        }
    }

    /// Notes what a change that was made has written or taken away; whether anything is to be noted.
    fn note(&mut self, change: &Change, bus: &Bus) -> Result<bool> {
        let resource = change.resource().to_string();
        let before = self.written.clone();
        let to = match change {
            Change::Set { to, .. } | Change::Create { to, .. } => {
                self.written.remove(&resource);
                to
            }
            Change::Update { to, .. } => to,
            Change::Delete { .. } => {
                self.written.remove(&resource);
                return Ok(self.written != before);
            }
            Change::Add { .. } | Change::Remove { .. } => return Ok(false),
        };
        if let Some(paths) = self.written.get_mut(&resource) {
            // Whatever else is there now, it is not what was written.
            paths.retain(|pointer, _| !is_within(to, pointer));
        }
        for (pointer, name) in secret::all(to).into_iter().filter(|(_, name)| !name.is_empty()) {
            if self.salt.is_empty() {
                self.salt = random()?;
            }
            let digest = self.digest_of(&bus.secret(&name)?);
            self.written.entry(resource.clone()).or_default().insert(pointer, Written { name, digest });
        }
        self.written.retain(|_, paths| !paths.is_empty());
        Ok(self.written != before)
    }
}

/// Whether a change says something about `pointer`: about it, something around it, or something in it.
fn is_within(to: &Value, pointer: &str) -> bool {
    let mut at = pointer;
    loop {
        match to.pointer(at) {
            Some(Value::Object(_) | Value::Array(_)) if at != pointer => return false,
            Some(_) => return true,
            None => {}
        }
        let Some((parent, _)) = at.rsplit_once('/') else { return false };
        at = parent;
    }
}

fn random() -> Result<String> {
    let mut bytes = [0; 32];
    let path = std::path::Path::new("/dev/urandom");
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Error::io("read random bytes from", path, &e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl StateManager<'_> {
    /// What a plugin has now, with references to the secrets that were written.
    pub(super) fn read(&mut self, plugin: &dyn StatePlugin, want: &Want) -> Result<Queried> {
        let mut queried = plugin.query(self.bus, want, self.progress);
        self.complete(plugin, want, &mut queried)?;
        Ok(queried)
    }

    /// The same, kept for those who ask for kept answers.
    pub(super) fn read_again(&mut self, plugin: &dyn StatePlugin, want: &Want) -> Result<Queried> {
        let mut queried = plugin.query(self.bus, want, self.progress);
        if let Some(cache) = &self.cache {
            cache.keep(plugin, want, &queried);
        }
        self.complete(plugin, want, &mut queried)?;
        Ok(queried)
    }

    /// Adds references to the secrets that were written to what a plugin told.
    pub(super) fn complete(&self, plugin: &dyn StatePlugin, want: &Want, queried: &mut Queried) -> Result<()> {
        if plugin.keys().values().any(|spec| !spec.secrets.is_empty()) {
            let vault = Vault::read(self.root)?;
            vault.complete(plugin, &mut queried.values, self.bus);
            queried.values.retain(|key, _| want.has(key));
        }
        Ok(())
    }

    /// Notes the secrets of an action that was made.
    pub(super) fn note_secrets(&self, changes: &[Change]) -> Result<()> {
        let speaks = |change: &Change| match change {
            Change::Set { from, to, .. } | Change::Update { from, to, .. } => has_any(from) || has_any(to),
            Change::Create { to, .. } => has_any(to),
            Change::Delete { .. } => true,
            Change::Add { .. } | Change::Remove { .. } => false,
        };
        if !changes.iter().any(speaks) {
            return Ok(());
        }
        let mut vault = Vault::read(self.root)?;
        let mut is_new = false;
        for change in changes {
            is_new |= vault.note(change, self.bus)?;
        }
        if is_new { vault.write(self.root) } else { Ok(()) }
    }
}

fn has_any(value: &Value) -> bool {
    !secret::all(value).is_empty()
}

/// Whether a call carries a secret: then nobody repeats what the service says about it.
pub fn carries_secret(action: &Action) -> bool {
    action.call.args.iter().any(has_any)
}

/// The secrets of a call that are not there: better known before the first call than in the middle.
pub fn missing(action: &Action, bus: &Bus) -> Vec<Error> {
    let references = action.call.args.iter().flat_map(secret::all);
    references.filter_map(|(_, name)| bus.secret(&name).err()).collect()
}

/// The same error without the service's own words, which may repeat what they are about.
#[must_use]
pub fn concealed(action: &Action, error: Error) -> Error {
    if !carries_secret(action) {
        return error;
    }
    let message = "the service refused; its words are not repeated, since the call carried a secret";
    Error { message: message.into(), hint: None, also: Vec::new(), ..error }
}

/// A secret whose predecessor nobody knows cannot be put back.
pub fn mark_irreversible(actions: &mut [Action]) {
    for action in actions {
        let is_lost = |change: &Change| match change {
            Change::Set { from, to, .. } | Change::Update { from, to, .. } => {
                let known = |pointer: &str| from.pointer(pointer).and_then(secret::name).is_some_and(|n| !n.is_empty());
                secret::all(to).iter().any(|(pointer, _)| !known(pointer))
            }
            _ => false,
        };
        if action.changes.iter().any(is_lost) {
            action.undo.class = UndoClass::Irreversible;
            action.undo.call = None;
        }
    }
}

/// What a document says of secrets in the wrong place, or in the wrong way. No value is repeated.
pub fn check_document(name: &str, state: &PluginState, plugins: &Plugins) -> Vec<Error> {
    let Some(plugin) = plugins.get(name) else { return Vec::new() };
    let mut errors = Vec::new();
    for (key, value) in &state.values {
        let place = format!("plugins.{name}.{key}");
        let Some(spec) = plugin.keys().get(key) else { continue };
        match value.as_object().filter(|_| spec.strategy.has_items()) {
            Some(items) => {
                items.iter().for_each(|(item, value)| check(&format!("{place}.{item}"), value, spec, &mut errors))
            }
            None => check(&place, value, spec, &mut errors),
        }
    }
    errors
}

fn check(place: &str, value: &Value, spec: &KeySpec, errors: &mut Vec<Error>) {
    let at = |path: &str| if path.is_empty() { place.to_owned() } else { format!("{place}.{path}") };
    for (pointer, name) in secret::all(value) {
        let path = secret::dotted(&pointer);
        if !secret::is_secret(&path, &spec.secrets) {
            let error = Error::bad_input("a secret can only be given to what the mapping calls secret").on(at(&path));
            errors.push(error.hint("elsewhere it would be shown: write the value itself, if it is none"));
        } else if !secret::is_name(&name) {
            let error = Error::bad_input("this is no name of a secret").on(at(&path));
            errors.push(error.hint("a name has letters, digits and -_.@"));
        }
    }
    for path in secret::literals(value, &spec.secrets) {
        let error = Error::refused("this is a secret: it would be shown, in the plan and to who asks for the document");
        errors.push(error.on(at(&path)).hint(r#"write {"$secret":"NAME"}; where NAME is looked for: op-apply --help"#));
    }
}

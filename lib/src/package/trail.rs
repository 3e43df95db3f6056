//! What is written into the audit trail about packages: what is about to be made active or removed, what became of it, and
//! what was refused.

use super::contents::Contents;
use super::install::{active_version, is_draft};
use super::ledger::{self, Ledger};
use super::stream::Limits;
use crate::audit::block::Kind;
use crate::audit::chain::{Draft, Ending};
use crate::audit::{Actor, Chain, events, journal, open};
use crate::base::name::PluginName;
use crate::base::{self, Error, Result, digest, time};
use crate::store::{StateRoot, Store, volumes};
use semver::Version;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Whose state these runs change: no `op-apply` takes them back.
const TARGET: &str = "packages";

/// Why plugins change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A package is installed.
    Install,
    /// What is installed gets newer.
    Upgrade,
    /// What was put there by hand is made active.
    Adopt,
    /// Another version is made active again.
    Rollback,
    /// A plugin goes, or one of its versions.
    Remove,
}

impl Verb {
    const ALL: [Self; 5] = [Self::Install, Self::Upgrade, Self::Adopt, Self::Rollback, Self::Remove];

    /// The word for it in the trail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Adopt => "adopt",
            Self::Rollback => "rollback",
            Self::Remove => "remove",
        }
    }
}

/// Where changes of plugins are recorded, and on whose behalf.
#[derive(Debug)]
pub struct Trail {
    chain: Chain,
    actor: Actor,
    program: String,
    verb: Verb,
    is_told: Cell<bool>,
    is_settled: Cell<bool>,
}

/// What is about to change: the version of a plugin that is active, or one that goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    /// The active version, and its tree.
    pub before: Option<(Version, Option<String>)>,
    /// The version that will be active, and its tree.
    pub after: Option<(Version, Option<String>)>,
    /// The one version that goes, when another stays active.
    pub gone: Option<Version>,
    /// What there is to say about the package.
    pub package: Option<Value>,
}

/// A change that was recorded and is under way.
#[derive(Debug)]
pub(super) struct Run<'t> {
    trail: &'t Trail,
    id: String,
    reserve: String,
    entry: Value,
    started: Instant,
}

impl Trail {
    /// The trail of `root`, for what `actor` does with `program`.
    pub fn open(root: &StateRoot, actor: Actor, program: &str, verb: Verb) -> Result<Self> {
        Ok(Self {
            chain: Chain::open(root)?,
            actor,
            program: program.to_owned(),
            verb,
            is_told: Cell::new(false),
            is_settled: Cell::new(false),
        })
    }

    /// Why plugins change.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    fn append(&self, kind: Kind, run: Option<&str>, detail: Value, entry: Value, ending: &Ending<'_>) -> Result<()> {
        let draft = Draft {
            kind,
            run: run.map(str::to_owned),
            actor: self.actor.clone(),
            program: self.program.clone(),
            detail: Some(without_null(detail)),
            entries: vec![without_null(entry)],
        };
        let block = self.chain.append_with(draft, ending)?;
        journal::tell(Path::new(journal::SOCKET), &block);
        Ok(())
    }

    /// Records what is about to be done; what cannot be recorded is not done. What runs before left open is ended first.
    ///
    /// On btrfs it is on the disk with the next commit, as what follows is: no commit has that and lacks this.
    pub(super) fn begin(&self, store: &Store, name: &PluginName, change: &Change) -> Result<Run<'_>> {
        store.ensure(&store.root().path().join("@timing"))?;
        self.settle(store)?;
        let ending = if store.volumes().are_subvolumes() { Ending::Ordered } else { Ending::Recorded };
        let (id, entry) = (run_name(name, self.verb), self.entry(name, change));
        let detail = json!({"verb": self.verb.as_str(), "target": TARGET, "package": change.package});
        let room = 2 * entry.to_string().len() as u64 + (16 << 10);
        // With the plugin's name: what a killed run leaves unsealed is found by it.
        let reserve = format!("{id}.{name}");
        let told = self.chain.reserve(&reserve, room);
        let told = told.and_then(|()| self.append(Kind::Intent, Some(&id), detail, entry.clone(), &ending));
        told.map_err(|error| {
            self.chain.release(&reserve);
            let error = Error { message: format!("the audit trail could not be written: {}", error.message), ..error };
            match error.hint {
                Some(_) => error,
                None => error.hint("nothing was changed: what cannot be recorded is not done"),
            }
        })?;
        Ok(Run { trail: self, id, reserve, entry, started: Instant::now() })
    }

    fn entry(&self, name: &PluginName, change: &Change) -> Value {
        let resource = match &change.gone {
            Some(gone) => format!("@plugin-snapshots/{name}@v{gone}"),
            None => format!("@plugin-{name}"),
        };
        let version = |state: &Option<(Version, Option<String>)>| state.as_ref().map(|(v, _)| v.to_string());
        let tree = |state: &Option<(Version, Option<String>)>| {
            state.as_ref().and_then(|(_, tree)| Some(json!({ &resource: tree.as_ref()? })))
        };
        let undo = if self.verb == Verb::Remove { "irreversible" } else { "exact" };
        json!({
            "id": "a1",
            "plugin": name.as_str(),
            "resources": [resource],
            "title": title(self.verb, name, change),
            "from": version(&change.before),
            "to": version(&change.after),
            "gone": change.gone.as_ref().map(ToString::to_string),
            "before": tree(&change.before),
            "after": tree(&change.after),
            "undo": undo,
        })
    }

    /// Records that a change was refused, or failed before anything was done; once, and not what waits for another run or
    /// was never understood. A refusal that cannot be recorded stays one.
    pub fn refusal(&self, what: &str, plugin: Option<&PluginName>, error: &Error) {
        use base::Kind as Why;
        if matches!(error.kind, Why::Usage | Why::Locked) || self.is_told.replace(true) {
            return;
        }
        let entry = json!({
            "plugin": plugin.map(PluginName::as_str),
            "resources": plugin.map(|name| vec![format!("@plugin-{name}")]),
            "title": format!("{} {what}", capital(self.verb.as_str())),
        });
        let detail = json!({"verb": self.verb.as_str(), "target": TARGET, "error": said(error)});
        let _ = self.append(Kind::Refusal, None, detail, entry, &Ending::Recorded);
    }

    /// Ends what was broken off: says what became of it, as the folders show it. The lock of the volumes is held, so no
    /// run is under way. Done once.
    pub fn settle(&self, store: &Store) -> Result<()> {
        if self.is_settled.replace(true) {
            return Ok(());
        }
        for left in volumes::names(&store.root().path().join("@timing"))? {
            let is_own = |room: &&str| Verb::ALL.iter().any(|verb| room.starts_with(&format!("{}-", verb.as_str())));
            if let Some(room) = left.strip_prefix(".reserve-").filter(is_own) {
                if let Some(Ok(name)) = room.split_once('.').map(|(_, name)| PluginName::new(name)) {
                    seal_left(store, &name)?;
                }
                self.chain.release(room);
            }
        }
        for open in open::runs(&self.chain)?.into_iter().filter(|open| open.target == TARGET) {
            let intent = self.chain.read(open.block)?;
            let mut entry = intent.entries.first().cloned().unwrap_or_default();
            let is_done = is_so(store, &entry)?;
            match is_done {
                true => sealed(store, &entry).map_or(Ok(()), |active| store.volumes().seal(&active))?,
                false => forget_note(store, &entry, intent.header.detail.as_ref())?,
            }
            let outcome = if is_done { "applied" } else { "undone" };
            if let Some(entry) = entry.as_object_mut() {
                entry.retain(|key, _| ["id", "plugin", "resources", "title"].contains(&key.as_str()));
                entry.insert("result".into(), json!(if is_done { "done" } else { "undone" }));
            }
            let detail = json!({"outcome": outcome, "broken_off": true, "target": TARGET});
            self.append(Kind::Outcome, Some(&open.run), detail, entry, &Ending::Recorded)?;
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Records how it ended, and has it on the disk.
    pub(super) fn end<T>(self, store: &Store, done: Result<T>) -> Result<(String, T)> {
        // What failed may have come to be nevertheless, when it failed at the last step.
        let (outcome, result) = match done.as_ref().map_or_else(|_| is_so(store, &self.entry), |_| Ok(true)) {
            Ok(true) => ("applied", "done"),
            Ok(false) => ("undone", "undone"),
            Err(_) => ("residue", "failed"),
        };
        let sealed = if outcome == "applied" { sealed(store, &self.entry) } else { None };
        let mut entry = self.entry;
        if let Some(entry) = entry.as_object_mut() {
            entry.retain(|key, _| ["id", "plugin", "resources", "title"].contains(&key.as_str()));
            entry.insert("result".into(), json!(result));
            entry
                .insert("took_ms".into(), json!(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)));
            if let Err(error) = &done {
                entry.insert("error".into(), json!(error.to_string()));
            }
        }
        let detail = json!({
            "outcome": outcome,
            "error": done.as_ref().err().map(said),
            "target": TARGET,
        });
        self.trail.chain.empty(&self.reserve);
        self.trail.is_told.set(true);
        // On btrfs one commit has the exchange, what is known of the versions, and the outcome on the disk: that of sealing.
        let commits = Cell::new(false);
        let commit = || {
            commits.set(true);
            let volumes = store.volumes();
            sealed.as_ref().map_or(Ok(()), |active| volumes.seal(active))?;
            volumes.commit(store.root().path())
        };
        let append = |ending: &Ending<'_>| self.trail.append(Kind::Outcome, Some(&self.id), detail, entry, ending);
        let told = match store.volumes().are_subvolumes() {
            true => append(&Ending::Committed(&commit)),
            false => commit().and_then(|()| append(&Ending::Recorded)),
        };
        // Its name stands until what is active is sealed: whoever finds it looks after that.
        if told.is_ok() {
            self.trail.chain.release(&self.reserve);
        }
        match (done, told) {
            (Ok(done), Ok(())) => {
                self.trail.is_told.set(false);
                Ok((self.id, done))
            }
            (Ok(_), Err(error)) => {
                let lacks = match commits.get() {
                    true => "a power cut may take it back, and it could not be made read-only",
                    false => "the audit trail does not say so",
                };
                let message = format!("it was done, but {lacks}: {}", error.message);
                Err(Error { kind: base::Kind::Residue, message, ..error })
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Records a change of whom or what is asked and believed: a key, a list of revoked ones, a registry.
pub fn trust_changed(root: &StateRoot, actor: Actor, program: &str, what: &str, about: Value) -> Result<()> {
    events::record(root, (actor, program), ("op-install", TARGET), what, about)
}

/// Seals what a run that was killed made active, unless somebody has written to it since.
fn seal_left(store: &Store, name: &PluginName) -> Result<()> {
    let active = store.root().plugin(name);
    let Ok(ledger) = Ledger::read(store.root(), name) else { return Ok(()) };
    let Some(version) = active_version(&active, &ledger) else { return Ok(()) };
    if is_draft(store.volumes(), &active, &ledger, Some(&version))? { Ok(()) } else { store.volumes().seal(&active) }
}

/// The active version that an intent is about, when it is one that nobody may change: all are, but drafts, whose tree is
/// not known.
fn sealed(store: &Store, entry: &Value) -> Option<PathBuf> {
    let name = PluginName::new(entry["plugin"].as_str()?).ok()?;
    entry["after"].is_object().then(|| store.root().plugin(&name))
}

/// Whether what is active can be what an intent says: it has that tree, or is a draft, whose tree nobody knows.
fn is_of(store: &Store, active: &Path, entry: &Value) -> Result<bool> {
    match entry["after"].as_object().and_then(|after| after.values().next()?.as_str()) {
        Some(tree) => Ok(Contents::of_folder(active, Limits::default()).is_ok_and(|found| found.digest() == tree)),
        None => Ok(store.volumes().look(active)?.is_some_and(|volume| !volume.is_sealed)),
    }
}

/// Whether what an intent says came to be.
fn is_so(store: &Store, entry: &Value) -> Result<bool> {
    let Some(name) = entry["plugin"].as_str().and_then(|name| PluginName::new(name).ok()) else { return Ok(false) };
    let root = store.root();
    if let Some(gone) = entry["gone"].as_str().and_then(|gone| Version::parse(gone).ok()) {
        return Ok(!root.plugin_snapshot(&name, &gone).exists());
    }
    match entry["to"].as_str().and_then(|to| Version::parse(to).ok()) {
        // A ledger that is damaged says nothing about what is active; any may be ahead of the folder.
        Some(to) => {
            let active = root.plugin(&name);
            let is_noted = Ledger::read(root, &name).is_ok_and(|ledger| active_version(&active, &ledger) == Some(to));
            Ok(is_noted && is_of(store, &active, entry)?)
        }
        None if root.plugin(&name).exists() => Ok(false),
        None => super::versions::remove_all(store, &name).map(|()| true),
    }
}

/// Takes back the note about a version that was to come and did not. One that was put there by hand and was to be adopted
/// is unknown again.
fn forget_note(store: &Store, entry: &Value, detail: Option<&Value>) -> Result<()> {
    let name = entry["plugin"].as_str().and_then(|name| PluginName::new(name).ok());
    let to = entry["to"].as_str().and_then(|to| Version::parse(to).ok());
    let (Some(name), Some(to)) = (name, to) else { return Ok(()) };
    let is_adoption = detail.is_some_and(|detail| detail["verb"] == Verb::Adopt.as_str());
    if is_adoption || !store.root().plugin_snapshot(&name, &to).exists() {
        ledger::forget(store, &name, Some(&to))?;
    }
    let Ok(mut ledger) = Ledger::read(store.root(), &name) else { return Ok(()) };
    if ledger.active.as_deref() == Some(&to.to_string()) {
        ledger.active = entry["from"].as_str().map(str::to_owned);
        ledger.write(store, &name)?;
    }
    Ok(())
}

fn title(verb: Verb, name: &PluginName, change: &Change) -> String {
    let word = if verb == Verb::Rollback { "Roll back".to_owned() } else { capital(verb.as_str()) };
    match (&change.before, &change.after, &change.gone) {
        (_, _, Some(gone)) => format!("{word} version {gone} of the plugin {name}"),
        (_, None, None) => format!("{word} the plugin {name}"),
        (None, Some((to, _)), None) => format!("{word} the plugin {name} {to}"),
        (Some((from, _)), Some((to, _)), None) => format!("{word} the plugin {name}: {to} in place of {from}"),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn run_name(name: &PluginName, verb: Verb) -> String {
    let now = SystemTime::now();
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let unique = digest::of_bytes("run", format!("{nanos} {} {name}", std::process::id()).as_bytes());
    let unique: String = unique.trim_start_matches("sha256:").chars().take(8).collect();
    format!("{}-{}-{unique}", verb.as_str(), time::rfc3339(now).replace([':', '-'], ""))
}

fn said(error: &Error) -> Value {
    without_null(json!({"kind": error.kind.as_str(), "message": error.message, "subject": error.subject}))
}

fn without_null(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    value
}

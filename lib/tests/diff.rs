//! The diff of one plugin, one folder a case: add `diff/NAME/case.json`, run with `OP_DBUS_BLESS=1`, read what it wrote.
//!
//! `case.json` holds `why` (what the case shows), `desired` (the plugin's bare state), `current` (its values), `keys`
//! (strategy, what cannot be done, and for collections what items are made of), and, when there are any, `owned` items by
//! key and `prune`. Beside it lies changes.json, or error.txt with the kind of the failure and its text.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::state::document::items_of;
use op_dbus::state::{Change, ItemSpec, KeySpec, MemberSpec, PluginState, Removal, Strategy, Writable, diff_plugin};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    desired: Value,
    current: Map<String, Value>,
    keys: BTreeMap<String, Key>,
    #[serde(default)]
    owned: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    prune: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    strategy: Strategy,
    #[serde(default)]
    unordered: bool,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    no_add: bool,
    #[serde(default)]
    no_remove: bool,
    #[serde(default)]
    protected: Vec<String>,
    /// What is said of members; a key without any is open: its items hold anything.
    #[serde(default)]
    members: BTreeMap<String, Member>,
    #[serde(default)]
    no_create: bool,
    #[serde(default)]
    no_update: bool,
    #[serde(default)]
    no_delete: bool,
    #[serde(default)]
    hidden: Vec<String>,
    #[serde(default)]
    filled_in: BTreeMap<String, Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Member {
    no_write: bool,
    no_create: bool,
    only_shown: bool,
    origin: bool,
    set: bool,
    unordered: bool,
    keep: bool,
    keep_as: Option<Value>,
    never: BTreeMap<String, Vec<String>>,
    whole: bool,
    protected: Vec<String>,
    values: Vec<Value>,
}

impl Member {
    fn spec(&self) -> MemberSpec {
        MemberSpec {
            can_write: !self.no_write,
            can_create: !self.no_create,
            is_only_shown: self.only_shown,
            is_origin: self.origin,
            is_set: self.set,
            is_unordered: self.unordered || self.set,
            protected: self.protected.clone(),
            is_kept: self.keep,
            kept_as: self.keep_as.clone(),
            never: self.never.clone(),
            is_of_whole: self.whole,
            values: self.values.clone(),
        }
    }
}

impl Key {
    fn spec(&self) -> KeySpec {
        let no = || Writable::No { reason: "nothing writes this".into(), hint: "write a mapping".into() };
        KeySpec {
            strategy: self.strategy,
            is_unordered: self.unordered,
            writable: if self.read_only { no() } else { Writable::Yes },
            can_add: !self.no_add,
            can_remove: !self.no_remove,
            protected: self.protected.clone(),
            items: ItemSpec {
                key: None,
                presence: None,
                members: self.members.iter().map(|(name, member)| (name.clone(), member.spec())).collect(),
                is_open: self.members.is_empty(),
                can_update: !self.no_update,
                can_create: !self.no_create,
                can_delete: !self.no_delete,
                hidden: self.hidden.clone(),
                filled_in: self.filled_in.clone(),
            },
            ..KeySpec::default()
        }
    }
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diff");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} lost cases", folder.display());
    let is_blessing = std::env::var_os("OP_DBUS_BLESS").is_some();
    let mut failures = Vec::new();
    for folder in &cases {
        let name = folder.file_name().unwrap().display();
        let text = fs::read_to_string(folder.join("case.json")).unwrap();
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!case.why.is_empty(), "{name}");
        let (file, actual, other) = match run(&case) {
            Ok(changes) => {
                check_meaning(&case, &changes).unwrap_or_else(|problem| failures.push(format!("{name}: {problem}")));
                ("changes.json", serde_json::to_string_pretty(&changes).unwrap() + "\n", "error.txt")
            }
            Err(error) => ("error.txt", format!("{}\n{error}\n", error.kind.as_str()), "changes.json"),
        };
        if is_blessing {
            fs::write(folder.join(file), &actual).unwrap();
            let _ = fs::remove_file(folder.join(other));
        }
        let expected = fs::read_to_string(folder.join(file)).unwrap_or_default();
        if actual != expected || folder.join(other).exists() {
            failures.push(format!("{name}: expected {file}\n{expected}\nbut it is\n{actual}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run(case: &Case) -> op_dbus::base::Result<Vec<Change>> {
    let desired = PluginState::from_json("plugins.it", &case.desired)?;
    let specs = case.keys.iter().map(|(name, key)| (name.clone(), key.spec())).collect();
    let removal = Removal { owned: case.owned.clone(), is_prune: case.prune };
    diff_plugin("it", &desired, &case.current, &specs, &removal)
}

/// What must be true of every diff: each change is one, making them leaves none, and their reverses lead back.
fn check_meaning(case: &Case, changes: &[Change]) -> Result<(), String> {
    let mut values = case.current.clone();
    for change in changes {
        let spec = case.keys[&change.resource().key].spec();
        if change.holds_in(&values, &spec) != Some(false) {
            return Err(format!("{change:?} is no change"));
        }
        make(&mut values, change);
        if change.holds_in(&values, &spec) != Some(true) {
            return Err(format!("{change:?} does not hold once it is made"));
        }
    }
    let after = Case { current: values.clone(), ..case.clone() };
    match run(&after) {
        Ok(left) if left.is_empty() => {}
        other => return Err(format!("after all changes there is still {other:?}")),
    }
    for change in changes.iter().rev().map(Change::reverse) {
        if change.holds_in(&values, &case.keys[&change.resource().key].spec()) != Some(false) {
            return Err(format!("{change:?} holds before it is made"));
        }
        make(&mut values, &change);
    }
    let sorted = |values: &Map<String, Value>| {
        let mut values = values.clone();
        for (name, key) in &case.keys {
            if let (Strategy::SetDifference, Some(set)) = (key.strategy, values.get_mut(name)) {
                *set = json!(items_of("", set).unwrap().into_iter().collect::<BTreeSet<_>>());
            }
        }
        values
    };
    if sorted(&values) != sorted(&case.current) { Err("the reverses do not lead back".into()) } else { Ok(()) }
}

fn make(values: &mut Map<String, Value>, change: &Change) {
    match change {
        Change::Set { key, to, .. } => drop(values.insert(key.clone(), to.clone())),
        Change::Add { key, item, .. } => {
            let mut items = items_of("", &values[key]).unwrap();
            items.push(item.clone());
            values.insert(key.clone(), json!(items));
        }
        Change::Create { key, item, to, .. } => drop(items_of_key(values, key).insert(item.clone(), to.clone())),
        Change::Delete { key, item, .. } => drop(items_of_key(values, key).remove(item)),
        Change::Update { key, item, from, to, .. } => {
            let now = items_of_key(values, key).get_mut(item).unwrap().as_object_mut().unwrap();
            write_members(now, from.as_object().unwrap(), to.as_object().unwrap());
        }
        Change::Remove { key, item, .. } => {
            let mut items = items_of("", &values[key]).unwrap();
            items.retain(|other| other != item);
            values.insert(key.clone(), json!(items));
        }
    }
}

fn items_of_key<'v>(values: &'v mut Map<String, Value>, key: &str) -> &'v mut Map<String, Value> {
    values[key].as_object_mut().unwrap()
}

/// What a service does that is told the members that differ: null and what is not told any more goes.
fn write_members(now: &mut Map<String, Value>, from: &Map<String, Value>, to: &Map<String, Value>) {
    for name in from.keys().chain(to.keys()) {
        match (now.get_mut(name), from.get(name), to.get(name)) {
            (_, _, None | Some(Value::Null)) => drop(now.remove(name)),
            (Some(Value::Object(now)), Some(Value::Object(from)), Some(Value::Object(to))) => {
                write_members(now, from, to);
            }
            (_, _, Some(value)) => drop(now.insert(name.clone(), value.clone())),
        }
    }
}

//! The shipped mappings and their examples, tried on real services: what each starts from, what it makes true, that it
//! does so once, and that only what may be called is called while nobody has agreed.

use crate::Place;
use crate::ops::{Monitor, apply, outcome, wait_until};
use op_dbus::plugin::mapping::fixed_of;
use op_dbus::plugin::{Manifest, Mapping};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What may be called while reading and planning whatever the mapping says: the bus, and what only reads by its nature.
const READING: [(&str, &str); 6] = [
    ("org.freedesktop.DBus.Introspectable", "Introspect"),
    ("org.freedesktop.DBus.Properties", "Get"),
    ("org.freedesktop.DBus.Properties", "GetAll"),
    ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
    ("org.freedesktop.DBus.Peer", "Ping"),
    ("org.freedesktop.DBus.Peer", "GetMachineId"),
];

/// A shipped plugin.
#[derive(Debug)]
pub struct Shipped {
    /// Its name.
    pub name: String,
    /// Its mapping.
    pub mapping: Mapping,
    folder: PathBuf,
}

/// An example of a shipped plugin.
#[derive(Debug, Clone)]
pub struct Example {
    /// The file's name.
    pub name: String,
    /// The bare state that it starts from, by its README.
    pub start: Value,
    /// The document.
    pub document: Value,
}

impl Shipped {
    /// The plugin of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings").join(name);
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let manifest = Manifest::parse(&read("plugin.toml"), name).unwrap();
        let service = manifest.plugin.dbus_service.unwrap();
        let mapping = Mapping::parse(&read("semantic-mapping.toml"), name, &service).unwrap();
        Self { name: name.to_owned(), mapping, folder }
    }

    /// Its example of that name.
    #[must_use]
    pub fn example(&self, name: &str) -> Example {
        let readme = fs::read_to_string(self.folder.join("examples/README.md")).unwrap();
        let story = readme.split(&format!("\n## {name}\n")).nth(1).unwrap_or_else(|| panic!("no section on {name}"));
        let start = story.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let document = fs::read_to_string(self.folder.join("examples").join(name)).unwrap();
        Example {
            name: name.to_owned(),
            start: serde_json::from_str(start).unwrap(),
            document: serde_json::from_str(&document).unwrap(),
        }
    }

    /// The names of its examples, sorted.
    #[must_use]
    pub fn examples(&self) -> BTreeSet<String> {
        let files = fs::read_dir(self.folder.join("examples")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".json")).collect()
    }

    /// The bare state as the plugin reads it now.
    #[track_caller]
    pub fn state(&self, place: &dyn Place) -> Value {
        let output = place.run(&["op-query", "--bare", "--plugin", &self.name], "");
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        output.json()
    }

    /// Checks that an example's start is what there is, that planning it calls nothing that changes anything, that it
    /// changes its start, and then nothing more; and that rolling it back leads to the start again. Meanwhile, `check`
    /// is asked whether others see it too.
    #[track_caller]
    pub fn try_example(&self, place: &dyn Place, example: &str, check: impl FnOnce()) {
        let Example { name, start, document } = self.example(example);
        let before = self.state(place);
        assert!(holds(&start, &before), "{name} starts from {start}, but there is {before}");
        let monitor = Monitor::start(place);
        let plan = place.run(&["op-apply", "--dry-run"], &document.to_string());
        assert_eq!(plan.code, 0, "{name}: {plan:?}");
        assert!(!plan.json()["actions"].as_array().unwrap().is_empty(), "{name} plans nothing");
        assert_eq!(self.calls_that_change(&monitor.calls()), Vec::<Value>::new(), "{name}");
        assert!(holds(&start, &self.state(place)), "{name}: a dry run changed something");

        let output = apply(place, &["--detailed-exitcode"], &document);
        assert_eq!((output.code, outcome(&output.json())), (2, "applied"), "{name}: {output:?}");
        check();
        let monitor = Monitor::start(place);
        let again = apply(place, &["--detailed-exitcode"], &document);
        assert_eq!((again.code, outcome(&again.json())), (0, "unchanged"), "{name}: {again:?}");
        assert_eq!(self.calls_that_change(&monitor.calls()), Vec::<Value>::new(), "{name}");

        let back = place.run(&["op-apply", "--rollback", "--yes", "--allow-irreversible"], "");
        assert_eq!(back.code, 0, "{name}: {back:?}");
        // Some services list late what they let happen at once.
        wait_until(&format!("{name} leads back to {start}"), || holds(&start, &self.state(place)));
    }

    /// Checks that what is read is applied as nothing to do, and calls nothing that changes anything.
    #[track_caller]
    pub fn try_round_trip(&self, place: &dyn Place) {
        let state = place.run(&["op-query", "--plugin", &self.name], "");
        assert_eq!((state.code, state.stderr.as_str()), (0, ""), "{state:?}");
        let monitor = Monitor::start(place);
        let output = apply(place, &["--detailed-exitcode"], &state.json());
        assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
        assert_eq!(self.calls_that_change(&monitor.calls()), Vec::<Value>::new());
    }

    /// Of all calls on the bus, those that are not safe, by short-lived clients that read from the plugin's service: by
    /// the programs, that is.
    #[must_use]
    pub fn calls_that_change(&self, calls: &[Value]) -> Vec<Value> {
        let senders = |member: &str| -> BTreeSet<&str> {
            let such = calls.iter().filter(|call| call["member"] == member);
            such.filter_map(|call| call["sender"].as_str()).collect()
        };
        let (new, services) = (senders("Hello"), senders("RequestName"));
        let to_service = |call: &&Value| call["destination"] == *self.mapping.service && self.is_safe(call);
        let readers: BTreeSet<&str> =
            calls.iter().filter(to_service).filter_map(|call| call["sender"].as_str()).collect();
        let of_clients = calls.iter().filter(|call| {
            let sender = call["sender"].as_str().unwrap_or_default();
            new.contains(sender) && readers.contains(sender) && !services.contains(sender)
        });
        of_clients.filter(|call| !self.is_safe(call)).cloned().collect()
    }

    fn is_safe(&self, call: &Value) -> bool {
        if call["destination"] == "org.freedesktop.DBus" {
            return true;
        }
        let is = |interface: &str, member: &str| call["interface"] == interface && call["member"] == member;
        READING.iter().any(|(interface, member)| is(interface, member))
            || self.mapping.file.methods.keys().any(|name| {
                let method = self.mapping.method(name).unwrap();
                let has = |(position, value): &(usize, Value)| call["payload"]["data"][*position] == *value;
                let is_it = is(&method.interface, &method.member) && call["destination"] == method.service;
                method.section.safe && is_it && fixed_of(method.section).iter().all(has)
            })
    }
}

/// Whether `now` has what `wanted` says: objects by what they mention.
#[must_use]
pub fn holds(wanted: &Value, now: &Value) -> bool {
    match (wanted, now) {
        (Value::Object(wanted), Value::Object(now)) => {
            wanted.iter().all(|(key, wanted)| now.get(key).is_some_and(|now| holds(wanted, now)))
        }
        _ => wanted == now,
    }
}

/// A document about one key of one plugin.
#[must_use]
pub fn document(plugin: &str, key: &str, value: Value) -> Value {
    json!({"version": 1, "plugins": {plugin: {key: value}}})
}

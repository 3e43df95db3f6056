//! A synthetic service that keeps items: how they are listed, read, made, written and deleted comes from a seed, and so
//! do all names. It runs on a thread of the test, which sees its state and sets its faults directly.

use super::random::{Names, Rng};
use super::value::Val;
use super::wire::{Connection, Message, kind};
use crate::private_bus::PrivateBus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// How the items are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// A method answers their objects.
    Objects,
    /// A method answers rows, one column of which is the object.
    Rows,
    /// They are the children of an object.
    Children,
    /// An object manager has them.
    Managed,
    /// A method answers their names; they are no objects.
    Names,
}

/// How they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// A method for each member.
    Setters,
    /// Properties are set.
    Properties,
    /// All settings at once; what is not sent is forgotten.
    Replace,
    /// All settings at once; what is not sent stays.
    Patch,
}

/// What the service does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wrong {
    /// Nothing.
    #[default]
    Nothing,
    /// It says yes to a changed text, and changes nothing.
    Lies,
    /// It writes texts in capitals.
    Normalises,
    /// Its jobs, or calls that switch something, fail.
    Fails,
    /// It shows what it was given only two seconds later.
    IsLate,
    /// It gives all its items the name of the first.
    HasTwins,
}

/// An item: a switch, a text, a number, and something that only the service cares for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// The switch.
    pub on: bool,
    /// The text.
    pub label: String,
    /// The number.
    pub level: u32,
    /// What nobody asked for: a service adds such things by itself.
    pub extra: Option<String>,
    number: usize,
}

/// What the service has, and what it was asked.
#[derive(Debug, Default)]
pub struct Store {
    /// By name.
    pub things: BTreeMap<String, Thing>,
    /// Calls that change something: member, and the item they were about.
    pub changes: Vec<String>,
    /// What it does wrong.
    pub wrong: Wrong,
    made: usize,
}

/// A running service.
#[derive(Debug)]
pub struct Items {
    /// How it works.
    pub listing: Listing,
    /// How it works.
    pub writing: Writing,
    /// Whether the switch is a job.
    pub has_jobs: bool,
    /// Its plugin's name.
    pub plugin: String,
    /// The plugin's only key.
    pub key: String,
    /// The members' names: switch, text, number.
    pub members: [String; 3],
    /// Its state.
    pub store: Arc<Mutex<Store>>,
    service: String,
    path: String,
    interface: String,
    item_interface: String,
    words: BTreeMap<&'static str, String>,
    stop: Arc<AtomicBool>,
}

const WORDS: [&str; 13] =
    ["Name", "On", "Label", "Level", "Extra", "List", "Make", "Delete", "SetOn", "SetLabel", "SetLevel", "Get", "Put"];

impl Items {
    /// Starts the service of `seed`.
    ///
    /// # Panics
    /// When it cannot have its name.
    #[must_use]
    pub fn start(bus: &PrivateBus, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut names = Names::new(seed);
        let listing =
            *rng.pick(&[Listing::Objects, Listing::Rows, Listing::Children, Listing::Managed, Listing::Names]);
        let writing = match listing {
            Listing::Names => *rng.pick(&[Writing::Setters, Writing::Replace, Writing::Patch]),
            Listing::Managed => *rng.pick(&[Writing::Setters, Writing::Properties]),
            _ => *rng.pick(&[Writing::Setters, Writing::Properties, Writing::Replace, Writing::Patch]),
        };
        let has_jobs = writing == Writing::Setters && rng.one_in(2);
        let service = format!("org.{}.{}{}", names.word(), names.camel(), seed % 1_000_000);
        let words = WORDS.iter().map(|word| (*word, names.camel())).collect();
        let mut items = Self {
            listing,
            writing,
            has_jobs,
            plugin: names.word(),
            key: names.snake(),
            members: [names.snake(), names.snake(), names.snake()],
            store: Arc::default(),
            path: format!("/{}", service.replace('.', "/")),
            interface: format!("{service}.{}", names.camel()),
            item_interface: format!("{service}.{}", names.camel()),
            service,
            words,
            stop: Arc::default(),
        };
        for _ in 0..rng.within(1..=4) {
            items.add(&names.word(), rng.one_in(2), &names.word(), u32::try_from(rng.below(100)).unwrap_or(0));
        }
        let mut connection = Connection::open(bus.address()).unwrap();
        connection.request_name(&items.service).unwrap();
        let mut server = Server { items: items.shared(), connection };
        std::thread::spawn(move || server.serve());
        items
    }

    fn add(&mut self, name: &str, on: bool, label: &str, level: u32) {
        let mut store = self.store.lock().unwrap();
        store.made += 1;
        let number = store.made;
        let extra = Some(format!("extra of {name}"));
        store.things.insert(name.to_owned(), Thing { on, label: label.to_owned(), level, extra, number });
    }

    fn shared(&self) -> Self {
        Self {
            plugin: self.plugin.clone(),
            key: self.key.clone(),
            members: self.members.clone(),
            store: Arc::clone(&self.store),
            service: self.service.clone(),
            path: self.path.clone(),
            interface: self.interface.clone(),
            item_interface: self.item_interface.clone(),
            words: self.words.clone(),
            stop: Arc::clone(&self.stop),
            ..*self
        }
    }

    /// What a query of the plugin has to answer for its key.
    #[must_use]
    pub fn truth(&self) -> Value {
        let [on, label, level] = &self.members;
        let store = self.store.lock().unwrap();
        let one = |thing: &Thing| json!({on: thing.on, label: thing.label, level: thing.level});
        Value::Object(store.things.iter().map(|(name, thing)| (name.clone(), one(thing))).collect())
    }

    /// What it was asked to change since the last time.
    #[must_use]
    pub fn take_changes(&self) -> Vec<String> {
        std::mem::take(&mut self.store.lock().unwrap().changes)
    }

    /// Writes its plugin's folder into `parent`.
    pub fn write_plugin(&self, parent: &std::path::Path) -> std::io::Result<()> {
        let folder = parent.join(&self.plugin);
        std::fs::create_dir_all(&folder)?;
        let manifest = format!(
            "[plugin]\nname = {:?}\nversion = \"1.0.0\"\ndbus_service = {:?}\nread_only = false\n",
            self.plugin, self.service
        );
        std::fs::write(folder.join("plugin.toml"), manifest)?;
        std::fs::write(folder.join("semantic-mapping.toml"), self.mapping())
    }

    fn word(&self, word: &'static str) -> &str {
        &self.words[word]
    }

    fn is_by_settings(&self) -> bool {
        matches!(self.writing, Writing::Replace | Writing::Patch)
    }

    /// What an author who knows the service would write.
    fn mapping(&self) -> String {
        let [on, label, level] = &self.members;
        let is_object = self.listing != Listing::Names;
        let item = if is_object { "on = \"item\"\n" } else { "" };
        let name = if is_object { "" } else { "\"s\", " };
        let arg = if is_object { "" } else { "\"$item\", " };
        let mut out = format!("[service]\ninterface = {:?}\n", self.interface);
        let mut method = |name: &str, member: &str, text: &str| {
            let _ = write!(out, "\n[methods.{name}]\nmember = {member:?}\n{text}");
        };
        method("list", self.word("List"), "safe = true\narg_types = []\n");
        let made = if self.is_by_settings() { "\"s\", \"a{sv}\"" } else { "\"s\", \"b\", \"s\"" };
        method("make", self.word("Make"), &format!("arg_types = [{made}]\n"));
        method("delete", self.word("Delete"), &format!("{item}arg_types = [{}]\n", name.trim_end_matches(", ")));
        if self.is_by_settings() {
            method(
                "get",
                self.word("Get"),
                &format!("{item}safe = true\narg_types = [{}]\n", name.trim_end_matches(", ")),
            );
            method("put", self.word("Put"), &format!("{item}arg_types = [{name}\"a{{sv}}\"]\n"));
        }
        if self.writing == Writing::Setters {
            let job = if self.has_jobs { "job = \"switching\"\n" } else { "" };
            method("set_on", self.word("SetOn"), &format!("{item}arg_types = [{name}\"b\"]\n{job}"));
            method("set_label", self.word("SetLabel"), &format!("{item}arg_types = [{name}\"s\"]\n"));
            method("set_level", self.word("SetLevel"), &format!("{item}arg_types = [{name}\"u\"]\n"));
        }
        if !is_object && !self.is_by_settings() {
            method("get", self.word("Get"), "safe = true\narg_types = [\"s\"]\n");
        }
        if self.has_jobs {
            let _ = write!(
                out,
                "\n[jobs.switching]\nid = \"job\"\ndone = {{ signal = \"Ended\", fields = [\"job\", \"how\"], match = {{ how = \"well\" }}, text = \"how\" }}\ntimeout_ms = 5000\n"
            );
        }
        let has_get = self.is_by_settings() || !is_object;
        let key = if is_object { self.word("Name") } else { "name" };
        let _ = write!(out, "\n[state_mapping.{}]\nkey = {key:?}\nsettle_ms = 2200\n", self.key);
        if self.listing == Listing::Rows {
            out.push_str("fields = [\"text\", \"path\", \"number\"]\n");
        }
        let source = match self.listing {
            Listing::Objects | Listing::Rows => "objects = \"list\"".to_owned(),
            Listing::Children => format!("children = \"{}/things\"", self.path),
            Listing::Managed => format!("manager = {:?}", self.path),
            Listing::Names => "method = \"list\"".to_owned(),
        };
        let interface = if is_object { format!(", interface = {:?}", self.item_interface) } else { String::new() };
        let get = match (has_get, is_object) {
            (true, true) => ", get = { method = \"get\" }",
            (true, false) => ", get = { method = \"get\", args = [\"$item\"] }",
            _ => "",
        };
        let _ = writeln!(out, "read = {{ {source}{interface}{get} }}");
        if self.is_by_settings() {
            out.push_str("create = { method = \"make\", args = [\"$item\", \"$value\"] }\n");
            let merge = if self.writing == Writing::Patch { "patch" } else { "replace" };
            let _ = writeln!(out, "update = {{ method = \"put\", args = [{arg}\"$value\"], merge = {merge:?} }}");
            let (on, label, level) = (self.word("On"), self.word("Label"), self.word("Level"));
            let _ = writeln!(out, "variant_types = {{ {on} = \"b\", {label} = \"s\", {level} = \"u\" }}");
        } else {
            let _ = writeln!(
                out,
                "create = {{ method = \"make\", args = [\"$item\", \"${on}\", \"${label}\"], defaults = {{ {on} = false, {label} = \"\" }} }}"
            );
        }
        let _ = writeln!(out, "delete = {{ method = \"delete\", args = [{}] }}", arg.trim_end_matches(", "));
        for (member, word, setter) in
            [(on, "On", "set_on"), (label, "Label", "set_label"), (level, "Level", "set_level")]
        {
            let source = if has_get { "path" } else { "property" };
            let _ = write!(out, "\n[state_mapping.{}.members.{member}]\n{source} = {:?}\n", self.key, self.word(word));
            match self.writing {
                Writing::Setters => {
                    let _ = writeln!(out, "write = {{ method = {setter:?}, args = [{arg}\"$value\"] }}");
                }
                Writing::Properties => {
                    let _ = writeln!(out, "write = {{ property = {:?} }}", self.word(word));
                }
                Writing::Replace | Writing::Patch => {}
            }
        }
        out
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Server {
    items: Items,
    connection: Connection,
}

type Outcome = Result<Vec<Val>, (&'static str, String)>;

impl Server {
    fn serve(&mut self) {
        // The test's own copy says when it is over; this one must not.
        let stop = std::mem::take(&mut self.items.stop);
        while !stop.load(Ordering::Relaxed) {
            loop {
                match self.connection.next_message() {
                    Ok(Some(message)) if message.kind == kind::CALL => self.answer(&message),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            if self.connection.flush().is_err() {
                return;
            }
            match self.connection.wait(Some(Duration::from_millis(50))) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
                _ => {}
            }
        }
    }

    fn answer(&mut self, call: &Message) {
        let mut after = Vec::new();
        let reply = match self.outcome(call, &mut after) {
            Ok(body) => call.reply(body),
            Err((name, text)) => call.refuse(name, &text),
        };
        // A short job has ended before its answer is read.
        for signal in after {
            self.connection.queue(signal);
        }
        self.connection.queue(reply);
    }

    fn outcome(&mut self, call: &Message, after: &mut Vec<Message>) -> Outcome {
        let unknown = || ("org.freedesktop.DBus.Error.UnknownMethod", format!("no {} here", call.member));
        let text = |at: usize| call.body.get(at).and_then(Val::text).unwrap_or_default().to_owned();
        let items = self.items.shared();
        let mut store = items.store.lock().unwrap();
        let at_object = store.things.iter().find(|(_, t)| items.object(t.number) == call.path).map(|(n, _)| n.clone());
        match (call.interface.as_str(), call.member.as_str()) {
            (INTROSPECTABLE, "Introspect") => return items.introspect(&call.path, &store).ok_or_else(unknown),
            (PROPERTIES, "GetAll") => {
                let thing = at_object.as_ref().map(|name| (name, &store.things[name]));
                let all =
                    thing.map(|(name, thing)| items.settings(items.told(&store, name), thing)).unwrap_or_default();
                return Ok(vec![Val::A("{sv}".into(), all)]);
            }
            (MANAGER, "GetManagedObjects") if items.listing == Listing::Managed && call.path == items.path => {
                let objects = store.things.iter().map(|(name, thing)| {
                    let all = Val::A("{sv}".into(), items.settings(items.told(&store, name), thing));
                    let interfaces = Val::A("{sa{sv}}".into(), vec![Val::entry(Val::s(&items.item_interface), all)]);
                    Val::entry(Val::O(items.object(thing.number)), interfaces)
                });
                return Ok(vec![Val::A("{oa{sa{sv}}}".into(), objects.collect())]);
            }
            (PROPERTIES, "Set") => {
                let name = at_object.ok_or_else(unknown)?;
                store.changes.push(format!("Set {} {name}", text(1)));
                let Some(Val::V(value)) = call.body.get(2) else { return Err(unknown()) };
                items.write(&mut store, &name, &text(1), value)?;
                return Ok(Vec::new());
            }
            _ => {}
        }
        let is = |word: &'static str| call.member == items.words[word];
        if is("List") {
            return Ok(vec![items.list(&store)]);
        }
        let (name, rest) = match &at_object {
            Some(name) => (name.clone(), &call.body[..]),
            None => (text(0), call.body.get(1..).unwrap_or_default()),
        };
        if is("Get") {
            let thing = store.things.get(&name).ok_or_else(unknown)?;
            return Ok(vec![Val::A("{sv}".into(), items.settings(items.told(&store, &name), thing))]);
        }
        store.changes.push(format!("{} {name}", call.member));
        if is("Make") {
            if store.things.contains_key(&name) {
                return Err(("org.example.Error.Exists", format!("{name} exists")));
            }
            store.made += 1;
            let number = store.made;
            let extra = Some(format!("extra of {name}"));
            let mut thing = Thing { on: false, label: String::new(), level: 7, extra, number };
            match rest {
                [Val::B(on), Val::S(label)] => (thing.on, thing.label) = (*on, label.clone()),
                [settings] => items.take_settings(&mut thing, settings),
                _ => return Err(unknown()),
            }
            store.things.insert(name, thing);
            return Ok(vec![Val::O(items.object(number))]);
        }
        if !store.things.contains_key(&name) {
            return Err(("org.freedesktop.DBus.Error.UnknownObject", format!("no {name}")));
        }
        if is("Delete") {
            store.things.remove(&name);
            return Ok(Vec::new());
        }
        if is("Put") {
            let Some(settings) = rest.first() else { return Err(unknown()) };
            let is_patch = items.writing == Writing::Patch;
            for entry in settings.items() {
                if let Val::E(pair) = entry
                    && let (Some(word), Val::V(value)) = (pair.0.text(), &pair.1)
                {
                    items.write(&mut store, &name, word, value)?;
                }
            }
            if !is_patch {
                let sent = |word: &'static str| {
                    settings
                        .items()
                        .iter()
                        .any(|entry| matches!(entry, Val::E(pair) if pair.0.text() == Some(&*items.words[word])))
                };
                let (has_extra, has_level) = (sent("Extra"), sent("Level"));
                let thing = store.things.get_mut(&name).ok_or_else(unknown)?;
                thing.extra = thing.extra.take().filter(|_| has_extra);
                thing.level = if has_level { thing.level } else { 0 };
            }
            return Ok(Vec::new());
        }
        for (setter, word) in [("SetOn", "On"), ("SetLabel", "Label"), ("SetLevel", "Level")] {
            if is(setter) {
                let value = rest.first().ok_or_else(unknown)?;
                let outcome = items.write(&mut store, &name, &items.words[word], value);
                if setter == "SetOn" && items.has_jobs {
                    let job = Val::O(format!("{}/job/{}", items.path, store.changes.len()));
                    let how = if outcome.is_ok() { "well" } else { "badly" };
                    let other = Val::O(format!("{}/job/other", items.path));
                    for (job, how) in [(other, "badly"), (job.clone(), how)] {
                        let body = vec![job, Val::s(how)];
                        after.push(Message::signal(&items.path, &items.interface, "Ended", body));
                    }
                    return Ok(vec![job]);
                }
                return outcome.map(|()| Vec::new());
            }
        }
        Err(unknown())
    }
}

impl Items {
    fn object(&self, number: usize) -> String {
        format!("{}/things/{number}", self.path)
    }

    fn list(&self, store: &Store) -> Val {
        let things = store.things.iter();
        match self.listing {
            Listing::Names => Val::strings(store.things.keys()),
            Listing::Rows => Val::A(
                "(sou)".into(),
                things
                    .map(|(name, thing)| {
                        let number = u32::try_from(thing.number).unwrap_or(0);
                        Val::R(vec![Val::s(&format!("the {name}")), Val::O(self.object(thing.number)), Val::U(number)])
                    })
                    .collect(),
            ),
            _ => Val::A("o".into(), things.map(|(_, thing)| Val::O(self.object(thing.number))).collect()),
        }
    }

    /// The name it says an item has.
    fn told<'s>(&self, store: &'s Store, name: &'s str) -> &'s str {
        store.things.keys().next().filter(|_| store.wrong == Wrong::HasTwins).map_or(name, String::as_str)
    }

    fn settings(&self, name: &str, thing: &Thing) -> Vec<Val> {
        let entry = |word: &'static str, value: Val| Val::entry(Val::s(self.word(word)), Val::V(Box::new(value)));
        let mut all = vec![
            entry("Name", Val::s(name)),
            entry("On", Val::B(thing.on)),
            entry("Label", Val::s(&thing.label)),
            entry("Level", Val::U(thing.level)),
        ];
        all.extend(thing.extra.iter().map(|extra| entry("Extra", Val::s(extra))));
        all
    }

    fn take_settings(&self, thing: &mut Thing, settings: &Val) {
        for entry in settings.items() {
            let Val::E(pair) = entry else { continue };
            let Val::V(value) = &pair.1 else { continue };
            self.put(thing, pair.0.text().unwrap_or_default(), value);
        }
    }

    fn put(&self, thing: &mut Thing, word: &str, value: &Val) {
        match value {
            Val::B(on) if word == self.word("On") => thing.on = *on,
            Val::S(label) if word == self.word("Label") => thing.label.clone_from(label),
            Val::U(level) if word == self.word("Level") => thing.level = *level,
            Val::S(extra) if word == self.word("Extra") => thing.extra = Some(extra.clone()),
            _ => {}
        }
    }

    /// Writes one member the way the service does, or does wrong.
    fn write(&self, store: &mut Store, name: &str, word: &str, value: &Val) -> Result<(), (&'static str, String)> {
        let wrong = store.wrong;
        let Some(thing) = store.things.get_mut(name) else {
            return Err(("org.freedesktop.DBus.Error.UnknownObject", format!("no {name}")));
        };
        let is_new_label = word == self.word("Label") && value.text() != Some(&thing.label);
        let is_new_switch = word == self.word("On") && *value != Val::B(thing.on);
        match wrong {
            Wrong::Lies if is_new_label => Ok(()),
            Wrong::Normalises if is_new_label => {
                thing.label = value.text().unwrap_or_default().to_uppercase();
                Ok(())
            }
            Wrong::Fails if is_new_switch => Err(("org.example.Error.Broken", "the switch is broken".to_owned())),
            Wrong::IsLate if is_new_label => {
                let (store, name, label) =
                    (Arc::clone(&self.store), name.to_owned(), value.text().unwrap_or("").to_owned());
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(1700));
                    if let Some(thing) = store.lock().unwrap().things.get_mut(&name) {
                        thing.label = label;
                    }
                });
                Ok(())
            }
            _ => {
                self.put(thing, word, value);
                Ok(())
            }
        }
    }

    fn introspect(&self, path: &str, store: &Store) -> Option<Vec<Val>> {
        let arg = |sig: &str, direction: &str| format!("<arg type=\"{sig}\" direction=\"{direction}\"/>");
        let method = |word: &'static str, inputs: &[&str], output: &str| {
            let inputs: String = inputs.iter().map(|sig| arg(sig, "in")).collect();
            let output = if output.is_empty() { String::new() } else { arg(output, "out") };
            format!("<method name=\"{}\">{inputs}{output}</method>", self.word(word))
        };
        let is_object = self.listing != Listing::Names;
        let name: &[&str] = if is_object { &[] } else { &["s"] };
        let with = |sig: &'static str| [name, &[sig]].concat();
        let job = if self.has_jobs { "o" } else { "" };
        let of_item = [
            method("Delete", name, ""),
            method("Get", name, "a{sv}"),
            method("Put", &with("a{sv}"), ""),
            method("SetOn", &with("b"), job),
            method("SetLabel", &with("s"), ""),
            method("SetLevel", &with("u"), ""),
        ]
        .concat();
        let node = |interface: &str, inner: &str, children: &str| {
            let text = format!("<node><interface name=\"{interface}\">{inner}</interface>{children}</node>");
            Some(vec![Val::S(text)])
        };
        if path == self.path {
            let made: &[&str] = if self.is_by_settings() { &["s", "a{sv}"] } else { &["s", "b", "s"] };
            let rows = if self.listing == Listing::Rows {
                "a(sou)"
            } else if is_object {
                "ao"
            } else {
                "as"
            };
            let own = [method("List", &[], rows), method("Make", made, "o")].concat();
            let own = if is_object { own } else { own + &of_item };
            return node(&self.interface, &own, "<node name=\"things\"/>");
        }
        if path == format!("{}/things", self.path) {
            let children: String =
                store.things.values().map(|thing| format!("<node name=\"{}\"/>", thing.number)).collect();
            return Some(vec![Val::S(format!("<node>{children}</node>"))]);
        }
        let access = if self.writing == Writing::Properties { "readwrite" } else { "read" };
        let property = |word: &'static str, sig: &str| {
            format!("<property name=\"{}\" type=\"{sig}\" access=\"{access}\"/>", self.word(word))
        };
        let properties =
            [property("Name", "s"), property("On", "b"), property("Label", "s"), property("Level", "u")].concat();
        store.things.values().find(|thing| self.object(thing.number) == path)?;
        node(&self.item_interface, &(of_item + &properties), "")
    }
}

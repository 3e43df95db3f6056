//! A running synthetic service: one thread, one connection, and a queue of what is to be sent when.

use super::fault::{Class, Fault};
use super::random::{Rng, other_value};
use super::spec::{Access, Method, Role, SetKind, Spec, Writing};
use super::state::{State, names_of};
use super::transaction::Object;
use super::value::Val;
use super::wire::{Connection, Message, kind};
use super::{CONTROL_INTERFACE, CONTROL_PATH, xml};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How to run a service.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bus.
    pub address: String,
    /// What the service is made from.
    pub seed: u64,
    /// Another bus name than the seed's.
    pub name: Option<String>,
    /// Faults from the start.
    pub faults: Vec<String>,
    /// Where the state outlives the process.
    pub state: Option<PathBuf>,
    /// Between two signals of a transaction, in milliseconds.
    pub pace_ms: u64,
}

/// What is to happen at a time.
#[derive(Debug)]
pub(super) enum Due {
    Send(Message),
    /// Items that join or leave a set, and the transaction's path.
    Change(Vec<String>, Vec<String>),
    Exit,
}

/// What a call leads to.
pub(super) type Outcome = Result<Vec<Val>, (String, String)>;

/// A service.
#[derive(Debug)]
pub struct Service {
    pub(super) spec: Spec,
    pub(super) state: State,
    pub(super) faults: Vec<Fault>,
    pub(super) connection: Connection,
    pub(super) address: String,
    pub(super) forger: Option<Connection>,
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) made: usize,
    pub(super) rng: Rng,
    pub(super) pace: Duration,
    queue: BTreeMap<(Reverse<Instant>, Reverse<u64>), Due>,
    sequence: u64,
    is_over: bool,
}

impl Service {
    /// Connects, takes the name, and is ready.
    pub fn start(options: &Options) -> std::io::Result<Self> {
        let mut spec = Spec::from_seed(options.seed);
        if let Some(name) = &options.name {
            spec.service.clone_from(name);
        }
        let faults = options.faults.iter().map(|text| Fault::parse(text)).collect::<Result<_, _>>();
        let state = State::load(&spec, options.state.clone());
        let mut connection = Connection::open(&options.address)?;
        connection.request_name(&spec.service)?;
        Ok(Self {
            rng: Rng::new(spec.seed ^ state.starts),
            spec,
            state,
            faults: faults.map_err(std::io::Error::other)?,
            connection,
            address: options.address.clone(),
            forger: None,
            objects: BTreeMap::new(),
            made: 0,
            pace: Duration::from_millis(options.pace_ms),
            queue: BTreeMap::new(),
            sequence: 0,
            is_over: false,
        })
    }

    /// Its bus name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.service
    }

    /// Serves until the bus is gone or the service is told to end.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_over {
            let now = Instant::now();
            while let Some(entry) = self.queue.last_entry() {
                if entry.key().0.0 > now {
                    break;
                }
                match entry.remove() {
                    Due::Send(message) => drop(self.connection.queue(message)),
                    Due::Change(add, remove) => self.change_transactional(&add, &remove),
                    Due::Exit => {
                        self.connection.flush()?;
                        self.state.save();
                        return Ok(());
                    }
                }
            }
            while let Some(message) = self.connection.next_message()? {
                if message.kind == kind::CALL {
                    self.handle(&message);
                }
            }
            if self.is_over {
                break;
            }
            if self.queue.last_key_value().is_some_and(|(key, _)| key.0.0 <= Instant::now()) {
                continue;
            }
            self.connection.flush()?;
            let next = self.queue.last_key_value().map(|(key, _)| key.0.0.saturating_duration_since(Instant::now()));
            match self.connection.wait(next) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
        }
        self.connection.flush()
    }

    pub(super) fn later(&mut self, delay: Duration, due: Due) {
        self.sequence += 1;
        self.queue.insert((Reverse(Instant::now() + delay), Reverse(self.sequence)), due);
    }

    /// The argument of the first fault of `kind` that strikes the call.
    pub(super) fn struck(&mut self, kind: &str, name: &str, class: Class) -> Option<String> {
        let fault = self.faults.iter_mut().find(|fault| fault.kind == kind && fault.concerns(name, class))?;
        fault.strikes().then(|| fault.arg.clone())
    }

    fn handle(&mut self, call: &Message) {
        if call.path == CONTROL_PATH && (call.interface.is_empty() || call.interface == CONTROL_INTERFACE) {
            let outcome = self.control(call);
            self.answer(call, outcome, Duration::ZERO);
            return;
        }
        let method = self.method_of(call);
        let is_simulation = method.as_ref().is_some_and(|method| self.is_simulation(method, &call.body));
        let is_set = call.interface == PROPERTIES && call.member == "Set";
        let changes = is_set || method.as_ref().is_some_and(|method| !method.safe && !is_simulation);
        self.state.log.push(json!({
            "path": call.path, "interface": call.interface, "member": call.member, "sender": call.sender,
            "args": call.body.iter().map(Val::json).collect::<Value>(), "changes": changes,
            "auto_start": call.flags & super::wire::NO_AUTO_START == 0,
        }));
        let class = if changes { Class::Change } else { Class::Read };
        let name = match (call.interface.as_str(), call.body.get(1).and_then(Val::text)) {
            (PROPERTIES, Some(property)) => property.to_owned(),
            _ => call.member.clone(),
        };
        self.act(call, method.as_ref(), class, &name);
        self.state.save();
    }

    fn act(&mut self, call: &Message, method: Option<&Method>, class: Class, name: &str) {
        let delay = self.struck("slow", name, class).and_then(|ms| ms.parse().ok()).unwrap_or(0);
        let delay = Duration::from_millis(delay);
        if let Some(error) = self.struck("error", name, class) {
            let (name, text) = error.split_once('|').unwrap_or((&error, "made to fail"));
            self.answer(call, Err((name.into(), text.into())), delay);
            return;
        }
        if let Some((error, text)) = method.and_then(|method| method.already.clone())
            && self.struck("already", name, class).is_some()
        {
            self.answer(call, Err((error, format!("it is {text}"))), delay);
            return;
        }
        let vanish = self.struck("vanish", name, class);
        if vanish.as_deref() == Some("before") {
            self.is_over = true;
            return;
        }
        let is_transactional = method.is_some_and(|method| method.path.is_empty());
        let is_lie = !is_transactional && self.struck("lie", name, class).is_some();
        let outcome = match method {
            _ if is_lie => Ok(Vec::new()),
            Some(method) if method.path.is_empty() => match self.transact(call, method, delay) {
                None => return,
                Some(outcome) => outcome,
            },
            Some(method) => self.invoke(call, method, name),
            None => self.standard(call, name),
        };
        if vanish.as_deref() == Some("between") {
            self.is_over = true;
            return;
        }
        if self.struck("no-reply", name, class).is_some() {
            return;
        }
        if self.struck("wrong-reply", name, class).is_some() {
            let wrong = if call.member == "Introspect" { Val::U(7) } else { Val::R(vec![Val::s("wrong"), Val::Y(1)]) };
            self.answer(call, Ok(vec![wrong, Val::X(-1)]), delay);
            return;
        }
        self.answer(call, outcome, delay);
        if vanish.is_some() {
            self.later(delay, Due::Exit);
        }
    }

    pub(super) fn answer(&mut self, call: &Message, outcome: Outcome, delay: Duration) {
        if call.flags & super::wire::NO_REPLY != 0 {
            return;
        }
        let message = match outcome {
            Ok(body) => call.reply(body),
            Err((name, text)) => call.refuse(&name, &text),
        };
        if delay.is_zero() {
            self.connection.queue(message);
        } else {
            self.later(delay, Due::Send(message));
        }
    }

    /// The methods as they are now, changed interfaces included.
    fn methods_now(&self) -> Vec<Method> {
        let mut methods = self.spec.methods.clone();
        for method in &mut methods {
            let class = if method.safe { Class::Read } else { Class::Change };
            let member = method.member.clone();
            for fault in self.faults.iter().filter(|fault| fault.concerns(&member, class)) {
                match fault.kind.as_str() {
                    "renamed" => method.member.push_str("Renamed"),
                    "retyped" => {
                        if let Some(first) = method.inputs.first_mut() {
                            first.sig = if first.sig == "(ys)" { "s".into() } else { "(ys)".into() };
                        }
                    }
                    _ => {}
                }
            }
        }
        methods
    }

    fn method_of(&self, call: &Message) -> Option<Method> {
        let fits = |method: &Method| {
            method.member == call.member && (call.interface.is_empty() || call.interface == method.interface)
        };
        if self.objects.contains_key(&call.path) {
            return self.spec.transaction_methods().into_iter().find(|method| fits(method)).cloned();
        }
        self.methods_now().into_iter().find(|method| method.path == call.path && fits(method))
    }

    pub(super) fn is_simulation(&self, method: &Method, args: &[Val]) -> bool {
        let t = &self.spec.transaction;
        let flag = if method.member == t.install.member { t.flag_at.0 } else { t.flag_at.1 };
        method.path.is_empty() && !method.safe && args.get(flag) == Some(&t.flags.1)
    }

    fn paths(&self) -> BTreeSet<String> {
        let properties = self.spec.properties.iter().map(|property| property.path.clone());
        let methods = self.spec.methods.iter().map(|method| method.path.clone());
        properties.chain(methods).chain(self.objects.keys().cloned()).collect()
    }

    fn standard(&mut self, call: &Message, name: &str) -> Outcome {
        let unknown = |what: &str| Err((format!("org.freedesktop.DBus.Error.{what}"), format!("no {what} {name}")));
        match (call.interface.as_str(), call.member.as_str()) {
            ("org.freedesktop.DBus.Introspectable" | "", "Introspect") => {
                let honest = xml::node(&self.spec, &call.path, &self.paths(), &self.methods_now());
                let honest = honest.map(|honest| self.annotated(honest));
                let hostile = self.faults.iter().find(|fault| {
                    let at = fault.target.as_deref().unwrap_or(&self.spec.path);
                    fault.kind == "hostile-xml" && (at == "*" || at == call.path || fault.arg == "cycle")
                });
                match (hostile, honest) {
                    (Some(fault), honest) => {
                        let honest = honest.unwrap_or_else(|| "<node></node>".into());
                        Ok(vec![Val::S(xml::hostile(&fault.arg, &honest))])
                    }
                    (None, Some(honest)) => Ok(vec![Val::S(honest)]),
                    (None, None) => unknown("UnknownObject"),
                }
            }
            ("org.freedesktop.DBus.Peer" | "", "Ping") => Ok(Vec::new()),
            ("org.freedesktop.DBus.Peer" | "", "GetMachineId") => Ok(vec![Val::s(&"0".repeat(32))]),
            (PROPERTIES | "", "Get") => match self.property_of(call) {
                Some(at) if self.spec.properties[at].access != Access::Write => {
                    Ok(vec![Val::V(Box::new(self.state.property(&self.spec, at)))])
                }
                Some(_) => unknown("AccessDenied"),
                None => unknown("UnknownProperty"),
            },
            (PROPERTIES | "", "GetAll") => {
                if self.struck("getall-fails", "GetAll", Class::Read).is_some() {
                    return Err(("org.freedesktop.DBus.Error.Failed".into(), "one property cannot be read".into()));
                }
                let interface = call.body.first().and_then(Val::text).unwrap_or_default();
                let mine = self.spec.properties.iter().enumerate().filter(|(_, property)| {
                    property.path == call.path && property.interface == interface && property.access != Access::Write
                });
                let entry = |(at, _): (usize, _)| {
                    let name = &self.spec.properties[at].name;
                    Val::entry(Val::s(name), Val::V(Box::new(self.state.property(&self.spec, at))))
                };
                Ok(vec![Val::A("{sv}".into(), mine.map(entry).collect())])
            }
            (PROPERTIES | "", "Set") => self.set_property(call),
            _ => unknown("UnknownMethod"),
        }
    }

    fn property_of(&self, call: &Message) -> Option<usize> {
        let text = |at: usize| call.body.get(at).and_then(Val::text);
        let (interface, name) = (text(0)?, text(1)?);
        let is_it = |property: &super::spec::Property| {
            property.path == call.path
                && property.name == name
                && (property.interface == interface || interface.is_empty())
        };
        self.spec.properties.iter().position(is_it)
    }

    fn set_property(&mut self, call: &Message) -> Outcome {
        let error = |name: &str| Err((format!("org.freedesktop.DBus.Error.{name}"), "not like this".to_owned()));
        let Some(at) = self.property_of(call) else { return error("UnknownProperty") };
        let property = &self.spec.properties[at];
        if property.writing != Writing::Property {
            return error("PropertyReadOnly");
        }
        match call.body.get(2) {
            Some(Val::V(value)) if value.sig() == property.initial.sig() => {
                let name = property.name.clone();
                self.set(at, value, &name);
                Ok(Vec::new())
            }
            _ => error("InvalidArgs"),
        }
    }

    fn set(&mut self, at: usize, value: &Val, name: &str) {
        let normalised = self.struck("normalise", name, Class::Change).is_some();
        let forgets = self.struck("forgets", name, Class::Change).is_some();
        self.state.values[at] = match value {
            _ if normalised => other_value(&mut self.rng, value),
            Val::A(element, entries) if forgets => {
                let stays = entries.iter().position(|entry| self.state.values[at].items().contains(entry));
                let left = entries.iter().enumerate().filter(|(at, _)| Some(*at) != stays);
                Val::A(element.clone(), left.map(|(_, entry)| entry.clone()).collect())
            }
            _ => value.clone(),
        };
        self.changed(at);
    }

    /// How a property is announced, when it is not as usual: `false` or `invalidates`.
    fn announcement(&self, at: usize) -> Option<&'static str> {
        let name = &self.spec.properties[at].name;
        self.faults.iter().filter(|fault| fault.target.as_ref().is_none_or(|target| target == name)).find_map(|fault| {
            match fault.kind.as_str() {
                "quiet" => Some("false"),
                "invalidates" => Some("invalidates"),
                _ => None,
            }
        })
    }

    /// The introspection, saying how properties are announced.
    fn annotated(&self, mut xml: String) -> String {
        for (at, property) in self.spec.properties.iter().enumerate() {
            let Some(word) = self.announcement(at) else { continue };
            let start = format!("<property name=\"{}\"", property.name);
            let Some(from) = xml.find(&start) else { continue };
            let Some(end) = xml[from..].find("/>") else { continue };
            let annotation = "org.freedesktop.DBus.Property.EmitsChangedSignal";
            let text = format!("><annotation name=\"{annotation}\" value=\"{word}\"/></property>");
            xml.replace_range(from + end..from + end + 2, &text);
        }
        xml
    }

    fn changed(&mut self, at: usize) {
        let announcement = self.announcement(at);
        if announcement == Some("false") {
            return;
        }
        let property = &self.spec.properties[at];
        if announcement == Some("invalidates") {
            let body =
                vec![Val::s(&property.interface), Val::A("{sv}".into(), Vec::new()), Val::strings([&property.name])];
            let signal = Message::signal(&property.path, PROPERTIES, "PropertiesChanged", body);
            self.connection.queue(signal);
            return;
        }
        let value = Val::V(Box::new(self.state.property(&self.spec, at)));
        let changed = Val::A("{sv}".into(), vec![Val::entry(Val::s(&property.name), value)]);
        let body = vec![Val::s(&property.interface), changed, Val::strings(Vec::<&str>::new())];
        let signal = Message::signal(&property.path, PROPERTIES, "PropertiesChanged", body);
        self.connection.queue(signal);
    }

    /// Whether a call has the method's types and constants; the error if not.
    pub(super) fn check_args(method: &Method, call: &Message) -> Outcome {
        let error = |text: String| Err(("org.freedesktop.DBus.Error.InvalidArgs".to_owned(), text));
        if call.signature() != method.input_sig() {
            return error(format!("{} takes {:?}, not {:?}", method.member, method.input_sig(), call.signature()));
        }
        let wrong = method.fixed.iter().find(|(at, constant)| call.body.get(*at) != Some(constant));
        wrong.map_or(Ok(Vec::new()), |(at, constant)| error(format!("argument {at} has to be {:?}", constant.json())))
    }

    fn invoke(&mut self, call: &Message, method: &Method, name: &str) -> Outcome {
        Self::check_args(method, call)?;
        let free: Vec<Val> = method.free(&call.body).into_iter().cloned().collect();
        match &method.role {
            Role::Set(properties) => {
                for (property, value) in properties.iter().zip(&free) {
                    self.set(*property, value, name);
                }
                Ok(Vec::new())
            }
            Role::Merge(property) => {
                let mut entries = self.state.values[*property].items().to_vec();
                let key = |entry: &Val| if let Val::E(pair) = entry { pair.0.text().map(str::to_owned) } else { None };
                for new in free[0].items() {
                    entries.retain(|old| key(old) != key(new));
                    entries.push(new.clone());
                }
                self.set(*property, &Val::A("{sv}".into(), entries), name);
                Ok(Vec::new())
            }
            Role::Switch(property, is_on) => {
                self.set(*property, &Val::B(*is_on), name);
                Ok(Vec::new())
            }
            Role::Query(number) => {
                let query = &self.spec.queries[*number];
                let row: String = query.columns.iter().map(|column| column.sig.as_str()).collect();
                Ok(vec![Val::A(format!("({row})"), query.rows.iter().cloned().map(Val::R).collect())])
            }
            Role::List(number) if self.spec.sets[*number].kind == SetKind::Resolved => {
                Ok(vec![Val::strings(&self.state.sets[*number])])
            }
            Role::List(number) => {
                let element = method.outputs[0].sig[1..].to_owned();
                Ok(vec![Val::A(element, self.state.rows(&self.spec, *number))])
            }
            Role::Add(number) => self.change_set(*number, &free[0], true, method, name),
            Role::Remove(number) => self.change_set(*number, &free[0], false, method, name),
            Role::Find(number) => {
                let wanted: Vec<&str> = free[0].items().iter().filter_map(Val::text).collect();
                let found = self.spec.sets[*number].universe.iter().filter(|item| wanted.contains(&item.name.as_str()));
                let pairs = found.map(|item| Val::R(vec![Val::s(&item.name), Val::O(item.id.clone())]));
                Ok(vec![Val::A("(so)".into(), pairs.collect())])
            }
            Role::Create => Ok(vec![Val::O(self.make_object())]),
            Role::Hook => {
                let which = usize::from(self.spec.methods[self.spec.hooks.after].member == method.member);
                self.state.hooks[which] += 1;
                Ok(Vec::new())
            }
            Role::Trap => Ok(Vec::new()),
        }
    }

    fn change_set(&mut self, number: usize, arg: &Val, is_add: bool, method: &Method, name: &str) -> Outcome {
        let set = &self.spec.sets[number];
        let single = [arg.clone()];
        let ids = if let Val::A(..) = arg { arg.items() } else { &single };
        let Some(mut names) = names_of(set, ids) else {
            return Err((
                format!("{}.Error.Unknown", self.spec.interface),
                format!("something of {} is unknown", arg.json()),
            ));
        };
        let now = &self.state.sets[number];
        if names.iter().any(|name| now.contains(name) == is_add)
            && let Some((error, text)) = &method.already
        {
            return Err((error.clone(), format!("{} is {text}", arg.json())));
        }
        let property = set.property;
        if self.struck("normalise", name, Class::Change).is_some() {
            let universe = &self.spec.sets[number].universe;
            let now = &self.state.sets[number];
            let other = universe.iter().find(|item| now.contains(&item.name) != is_add && !names.contains(&item.name));
            names = other.map(|item| item.name.clone()).into_iter().collect();
        }
        for name in names {
            if is_add {
                self.state.sets[number].insert(name);
            } else {
                self.state.sets[number].remove(&name);
            }
        }
        if let Some(property) = property {
            self.changed(property);
        }
        Ok(Vec::new())
    }

    fn control(&mut self, call: &Message) -> Outcome {
        let error = |text: String| Err((format!("{CONTROL_INTERFACE}.Error"), text));
        match (call.member.as_str(), call.body.as_slice()) {
            ("SetFaults", [list]) => {
                let faults: Result<_, _> = list.items().iter().filter_map(Val::text).map(Fault::parse).collect();
                match faults {
                    Ok(faults) => self.faults = faults,
                    Err(text) => return error(text),
                }
                Ok(Vec::new())
            }
            ("Dump", []) => Ok(vec![Val::S(self.state.dump(&self.spec).to_string())]),
            ("Log", []) => Ok(vec![Val::S(json!(self.state.log).to_string())]),
            ("ClearLog", []) => {
                self.state.log.clear();
                self.state.save();
                Ok(Vec::new())
            }
            ("Poke", [Val::S(key), Val::V(value)]) => {
                let at = self.spec.properties.iter().position(|property| property.key.as_deref() == Some(key));
                let set = self.spec.sets.iter().position(|set| set.key == *key);
                match (at, set) {
                    (Some(at), _) if self.spec.properties[at].initial.sig() == value.sig() => {
                        self.state.values[at] = (**value).clone();
                        self.changed(at);
                    }
                    (None, Some(set)) => {
                        self.state.sets[set] =
                            value.items().iter().filter_map(|i| i.text().map(str::to_owned)).collect();
                    }
                    _ => return error(format!("{key} is no property or set of such a type")),
                }
                self.state.save();
                Ok(Vec::new())
            }
            ("Emit", [Val::S(path), Val::S(interface), Val::S(member)]) => {
                self.connection.queue(Message::signal(path, interface, member, Vec::new()));
                Ok(Vec::new())
            }
            ("Quit", []) => {
                self.is_over = true;
                Ok(Vec::new())
            }
            (member, _) => error(format!("no such control: {member}({})", call.signature())),
        }
    }
}

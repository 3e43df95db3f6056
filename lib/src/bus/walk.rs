//! A whole service as a tree: its objects, their interfaces, and, when asked for, the values of their properties.
//!
//! Concurrent on one connection, and by as few calls as possible: an object manager's one answer stands for all its
//! objects, and then one object is introspected for each distinct set of interfaces. Everything a service says is
//! bounded, since a walk goes wherever the service points.

use super::introspection::{self, Interface, Node};
use super::{Bus, Call, Manner, Reply};
use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// Objects a walk visits at most; a service with more is cut off with a warning in [`Tree::problems`].
pub const MAX_OBJECTS: usize = 100_000;
/// Elements of an object path a walk descends to at most.
pub const MAX_DEPTH: usize = 64;
/// Introspection text a walk reads at most, in bytes: systemd's two hundred objects say half a megabyte.
pub const MAX_BYTES: usize = 256 << 20;
/// Introspection texts that are remembered at most, since thousands of objects are described in the same words.
const MAX_REMEMBERED: usize = 1024;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// What an object without `org.freedesktop.DBus.Properties` answers to `Get`.
const NO_GET: [&str; 2] = ["org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownInterface"];
const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tree {
    /// Interface names of every object that has any beyond the standard ones, by object path.
    pub objects: BTreeMap<String, BTreeSet<String>>,
    /// Every interface seen, by name. Where two objects disagree, the members of both.
    pub interfaces: BTreeMap<String, Interface>,
    /// Property values by object path, interface and property: an object of objects of objects. Only when asked for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Value>,
    /// What could not be read, in the service's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a walk is to bring home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Objects, interfaces and members.
    Structure,
    /// The values of all readable properties as well.
    Values,
}

/// Walks `service` from its root. `on_object` hears the number of objects seen so far.
///
/// Fails when the root cannot be introspected at all; a part that fails later is listed in [`Tree::problems`].
pub fn walk(bus: &Bus, service: &str, want: Want, manner: Manner, on_object: &mut dyn FnMut(usize)) -> Result<Tree> {
    super::names::check(service)?;
    let mut walker = Walker::new(service, want, manner);
    let first = walker.first();
    bus.pump(first, |step, reply| {
        let more = walker.take(step, reply);
        on_object(walker.tree.objects.len());
        more
    });
    walker.end()
}

/// Walks many services at the same time, as [`walk`] walks one: they all take as long as the slowest of them.
pub fn walk_all(
    bus: &Bus,
    services: &[String],
    want: Want,
    manner: Manner,
    on_object: &mut dyn FnMut(usize),
) -> Vec<Result<Tree>> {
    let mut walkers: Vec<Walker> = services.iter().map(|service| Walker::new(service, want, manner)).collect();
    let of = |at: usize, steps: Vec<(Step, Call)>| steps.into_iter().map(move |(step, call)| ((at, step), call));
    let first = walkers.iter_mut().enumerate().flat_map(|(at, walker)| of(at, walker.first())).collect();
    let mut seen = 0;
    bus.pump(first, |(at, step), reply| {
        let known = walkers[at].tree.objects.len();
        let more = walkers[at].take(step, reply);
        seen += walkers[at].tree.objects.len() - known;
        on_object(seen);
        of(at, more).collect()
    });
    walkers.into_iter().map(Walker::end).collect()
}

enum Step {
    Introspect(String),
    /// The manager's path, and the children its introspection named.
    Managed(String, Vec<String>),
    GetAll(String, String),
    Get(String, String, String),
}

struct Walker<'a> {
    service: &'a str,
    want: Want,
    manner: Manner,
    tree: Tree,
    /// Parsed introspection by its text: a service describes thousands of objects in the same words.
    parsed: HashMap<String, Result<Rc<Node>>>,
    visited: HashSet<String>,
    /// Interface set of every object an object manager listed.
    managed: HashMap<String, BTreeSet<String>>,
    /// Interface sets of managed objects of which one was introspected, and whether that one had children.
    sampled: HashMap<BTreeSet<String>, Sample>,
    /// Managed objects waiting for what their set's sample shows.
    held_back: HashMap<BTreeSet<String>, Vec<String>>,
    /// Paths that were asked for by convention before anything named them, and how that failed. A failure counts only
    /// when the path is named after all.
    guessed: HashMap<String, Option<Error>>,
    /// Introspection text read so far.
    bytes: usize,
    root_error: Option<Error>,
}

enum Sample {
    Asked,
    Leaf,
    Branch,
}

impl<'a> Walker<'a> {
    fn new(service: &'a str, want: Want, manner: Manner) -> Self {
        Self {
            service,
            want,
            manner,
            tree: Tree::default(),
            parsed: HashMap::new(),
            visited: HashSet::new(),
            managed: HashMap::new(),
            sampled: HashMap::new(),
            held_back: HashMap::new(),
            guessed: HashMap::new(),
            bytes: 0,
            root_error: None,
        }
    }

    /// The root, and at the same time the path that services have by convention: usually right, and then the walk is
    /// one round trip long instead of one for each level.
    fn first(&mut self) -> Vec<(Step, Call)> {
        let mut first: Vec<(Step, Call)> = self.introspect("/".to_owned()).into_iter().collect();
        let conventional = format!("/{}", self.service.replace('.', "/"));
        for (at, _) in conventional.match_indices('/').skip(1).chain(std::iter::once((conventional.len(), ""))) {
            let path = &conventional[..at];
            self.guessed.insert(path.to_owned(), None);
            first.extend(self.introspect(path.to_owned()));
        }
        first
    }

    fn end(self) -> Result<Tree> {
        self.root_error.map_or(Ok(self.tree), Err)
    }

    fn call(&self, path: &str, interface: &str, member: &str) -> Call {
        Call::new(self.service, path, interface, member).in_manner(self.manner)
    }

    fn introspect(&mut self, path: String) -> Option<(Step, Call)> {
        if !self.visited.insert(path.clone()) {
            if let Some(Some(error)) = self.guessed.remove(&path) {
                self.problem(&path, &error);
            }
            return None;
        }
        if self.visited.len() > MAX_OBJECTS || path.matches('/').count() > MAX_DEPTH {
            let problem = format!("the walk stopped at {path}: more than {MAX_OBJECTS} objects or {MAX_DEPTH} levels");
            if self.tree.problems.len() < 10 {
                self.tree.problems.push(problem);
            }
            return None;
        }
        let call = self.call(&path, INTROSPECTABLE, "Introspect");
        Some((Step::Introspect(path), call))
    }

    fn take(&mut self, step: Step, reply: Result<Reply>) -> Vec<(Step, Call)> {
        match step {
            Step::Introspect(path) => match reply.and_then(|r| r.single(&path)) {
                Ok(xml) => self.node(&path, xml.as_str().unwrap_or_default()),
                Err(error) if path == "/" => {
                    self.root_error = Some(error);
                    Vec::new()
                }
                Err(error) => {
                    match self.guessed.get_mut(&path) {
                        Some(failure) => *failure = Some(error),
                        None => self.problem(&path, &error),
                    }
                    self.sampled_set(&path, None)
                }
            },
            Step::Managed(path, children) => {
                match reply.and_then(|r| r.single(&path)) {
                    Ok(Value::Object(objects)) => self.managed_objects(objects),
                    Ok(_) => {}
                    // Without its answer the objects below are walked like any others.
                    Err(error) => self.problem(&path, &error),
                }
                children.into_iter().filter_map(|child| self.child(join(&path, &child))).collect()
            }
            Step::GetAll(path, interface) => match reply.and_then(|r| r.single(&path)) {
                Ok(Value::Object(values)) => {
                    self.keep(&path, &interface, values);
                    Vec::new()
                }
                Ok(_) => Vec::new(),
                // One property that fails makes GetAll fail as a whole (timedate1 without systemd): ask one by one.
                Err(_) => self.get_each(&path, &interface),
            },
            Step::Get(path, interface, property) => {
                match reply.and_then(|r| r.single(&path)) {
                    Ok(value) => self.keep(&path, &interface, Map::from_iter([(property, value)])),
                    // Described, but this object has no Get: then nothing of it is readable (the bus's own "/").
                    Err(error) if error.dbus_error.as_deref().is_some_and(|name| NO_GET.contains(&name)) => {}
                    Err(error) => self.problem(&format!("{path} {interface}.{property}"), &error),
                }
                Vec::new()
            }
        }
    }

    fn node(&mut self, path: &str, xml: &str) -> Vec<(Step, Call)> {
        self.bytes += xml.len();
        let node = match self.parsed.get(xml) {
            Some(known) => known.clone(),
            None if self.bytes > MAX_BYTES => Err(Error::bad_input(format!(
                "the walk stopped: the service describes itself in over {MAX_BYTES} bytes"
            ))),
            None => {
                let parsed = introspection::parse(xml).map(Rc::new);
                if self.parsed.len() < MAX_REMEMBERED {
                    self.parsed.insert(xml.to_owned(), parsed.clone());
                }
                parsed
            }
        };
        match node {
            Ok(node) => self.place(path, &node),
            Err(error) if path == "/" => {
                self.root_error = Some(error.or_on(format!("introspection of {} /", self.service)));
                Vec::new()
            }
            Err(error) => {
                self.problem(path, &error);
                self.sampled_set(path, None)
            }
        }
    }

    /// Places a node and what is written inside it, and says what to ask next.
    fn place(&mut self, path: &str, node: &Node) -> Vec<(Step, Call)> {
        let mut next = Vec::new();
        let names: BTreeSet<String> = node.interfaces.keys().filter(|name| !is_standard(name)).cloned().collect();
        for (name, interface) in &node.interfaces {
            if !is_standard(name) {
                merge(self.tree.interfaces.entry(name.clone()).or_default(), interface);
            }
        }
        let is_managed = self.managed.contains_key(path);
        if !names.is_empty() {
            self.tree.objects.entry(path.to_owned()).or_default().extend(names.iter().cloned());
        }
        if self.want == Want::Values && !is_managed {
            for name in &names {
                let readable = node.interfaces[name].properties.values().any(|p| p.access.is_readable());
                if readable {
                    let call = self.call(path, PROPERTIES, "GetAll").with("s", vec![json!(name)]);
                    next.push((Step::GetAll(path.to_owned(), name.clone()), call));
                }
            }
        }
        next.extend(self.sampled_set(path, Some(node)));
        for (child, inline) in &node.inline {
            let child = join(path, child);
            if self.visited.insert(child.clone()) {
                next.extend(self.place(&child, inline));
            }
        }
        if node.interfaces.contains_key(OBJECT_MANAGER) {
            let call = self.call(path, OBJECT_MANAGER, "GetManagedObjects");
            next.push((Step::Managed(path.to_owned(), node.children.clone()), call));
        } else {
            for child in &node.children {
                next.extend(self.child(join(path, child)));
            }
        }
        next
    }

    /// A child is introspected, unless an object manager described it and another of its kind was introspected.
    fn child(&mut self, path: String) -> Option<(Step, Call)> {
        let Some(set) = self.managed.get(&path) else { return self.introspect(path) };
        match self.sampled.get(set) {
            None => {
                self.sampled.insert(set.clone(), Sample::Asked);
                self.introspect(path)
            }
            Some(Sample::Asked) => {
                self.held_back.entry(set.clone()).or_default().push(path);
                None
            }
            Some(Sample::Leaf) => None,
            Some(Sample::Branch) => self.introspect(path),
        }
    }

    fn managed_objects(&mut self, objects: Map<String, Value>) {
        for (path, interfaces) in objects {
            let Value::Object(mut interfaces) = interfaces else { continue };
            interfaces.retain(|name, _| !is_standard(name));
            let names: BTreeSet<String> = interfaces.keys().cloned().collect();
            if self.want == Want::Values && !interfaces.is_empty() {
                match self.tree.values.get_mut(&path).and_then(Value::as_object_mut) {
                    Some(known) => known.extend(interfaces),
                    None => drop(self.tree.values.insert(path.clone(), Value::Object(interfaces))),
                }
            }
            if !names.is_empty() {
                self.tree.objects.entry(path.clone()).or_default().extend(names.iter().cloned());
            }
            self.managed.insert(path, names);
        }
    }

    /// When `path` was the sample of a set of managed objects, the others of the set need no introspection, unless
    /// the sample has children: then they may have too.
    fn sampled_set(&mut self, path: &str, node: Option<&Node>) -> Vec<(Step, Call)> {
        let Some(set) = self.managed.get(path).cloned() else { return Vec::new() };
        if !matches!(self.sampled.get(&set), Some(Sample::Asked)) {
            return Vec::new();
        }
        let is_branch = node.is_some_and(|node| !node.children.is_empty());
        self.sampled.insert(set.clone(), if is_branch { Sample::Branch } else { Sample::Leaf });
        let held_back = self.held_back.remove(&set).unwrap_or_default();
        if is_branch { held_back.into_iter().filter_map(|path| self.introspect(path)).collect() } else { Vec::new() }
    }

    fn get_each(&self, path: &str, interface: &str) -> Vec<(Step, Call)> {
        let Some(known) = self.tree.interfaces.get(interface) else { return Vec::new() };
        let readable = known.properties.iter().filter(|(_, property)| property.access.is_readable());
        readable
            .map(|(name, _)| {
                let call = self.call(path, PROPERTIES, "Get").with("ss", vec![json!(interface), json!(name)]);
                (Step::Get(path.to_owned(), interface.to_owned(), name.clone()), call)
            })
            .collect()
    }

    fn keep(&mut self, path: &str, interface: &str, values: Map<String, Value>) {
        let empty = || Value::Object(Map::new());
        let of_path = self.tree.values.entry(path).or_insert_with(empty).as_object_mut();
        let of_interface = of_path.and_then(|of_path| of_path.entry(interface).or_insert_with(empty).as_object_mut());
        if let Some(known) = of_interface {
            known.extend(values);
        }
    }

    fn problem(&mut self, place: &str, error: &Error) {
        // A service of thousands of broken objects need not say so thousands of times.
        if self.tree.problems.len() < 100 {
            self.tree.problems.push(format!("{place}: {}", error.message));
        }
    }
}

/// Whether `interface` is one that every object may have and that says nothing about the service.
#[must_use]
pub fn is_standard(interface: &str) -> bool {
    matches!(
        interface,
        INTROSPECTABLE | PROPERTIES | OBJECT_MANAGER | "org.freedesktop.DBus.Peer" | "org.freedesktop.LogControl1"
    )
}

fn merge(into: &mut Interface, from: &Interface) {
    for (name, method) in &from.methods {
        into.methods.entry(name.clone()).or_insert_with(|| method.clone());
    }
    for (name, property) in &from.properties {
        into.properties.entry(name.clone()).or_insert_with(|| property.clone());
    }
    for (name, signal) in &from.signals {
        into.signals.entry(name.clone()).or_insert_with(|| signal.clone());
    }
}

fn join(parent: &str, child: &str) -> String {
    if parent == "/" { format!("/{child}") } else { format!("{parent}/{child}") }
}

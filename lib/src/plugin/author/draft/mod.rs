//! `op-install map`: a first semantic-mapping.toml from what a service says of itself.
//!
//! It pairs properties with setters, finds what adds and removes, what makes and deletes, and says with every entry how
//! sure it is and why. It calls no method safe: that is the author's word, given to [`Draft::agree`].

mod collections;
mod families;
mod items;
mod model;
mod named;
mod others;
mod pairs;
mod render;
mod switches;
mod twins;

pub use families::OPPOSITES;
pub use model::{Choice, Entry, Kind, MethodDraft, Safe, Sureness, Table};

use super::{Surface, words};
use crate::base::name::{camel_case, snake_case};
use crate::bus::introspection::{Interface, Method};
use crate::bus::walk::is_standard;
use crate::plugin::mapping::default_path;
use model::signature;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twins::Twin;

/// A mapping to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The service.
    pub service: String,
    /// The main object.
    pub path: String,
    /// The main interface.
    pub interface: String,
    /// What it is drafted from, for people.
    pub source: String,
    /// The keys.
    pub entries: Vec<Entry>,
    /// Type signatures of the members that active entries rely on.
    pub fingerprint: BTreeMap<String, String>,
    /// Members nothing was made of.
    pub unused: Vec<String>,
    /// Whether it is of calls that were seen, not of everything there is.
    pub is_learned: bool,
    /// What has to be known before anything of it is used.
    pub notes: Vec<String>,
}

impl Draft {
    /// Drafts a mapping for what `surface` shows.
    #[must_use]
    pub fn of(surface: &Surface) -> Self {
        let mut drafter = Drafter::new(surface);
        drafter.collections();
        drafter.named_items();
        for (path, interface) in drafter.singles.clone() {
            drafter.pairs(&path, &interface);
            drafter.families(&path, &interface);
        }
        drafter.others();
        drafter.queries();
        drafter.read_only();
        drafter.finish()
    }

    /// Every method that seems to read and that an entry needs: `(name, signature, keys)`.
    #[must_use]
    pub fn unasked(&self) -> Vec<(String, String, Vec<String>)> {
        let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
        for entry in &self.entries {
            for method in entry.unasked().filter(|method| method.safe == Safe::Unasked) {
                match found.iter_mut().find(|(name, ..)| *name == method.name) {
                    Some((_, _, keys)) => keys.push(entry.key.clone()),
                    None => found.push((method.name.clone(), method.signature(), vec![entry.key.clone()])),
                }
            }
        }
        found
    }

    /// The author's word that a method only reads, by its name in the mapping or its member. False if there is none
    /// such, or if it does not seem to read: then the table has to be written by hand.
    pub fn agree(&mut self, name: &str) -> bool {
        let mut is_known = false;
        for method in self.entries.iter_mut().flat_map(|entry| &mut entry.methods) {
            if (method.name == name || method.member == name) && matches!(method.safe, Safe::Unasked | Safe::Agreed) {
                method.safe = Safe::Agreed;
                is_known = true;
            }
        }
        is_known
    }

    /// Chooses what names the items of a collection, in TOML.
    pub fn choose(&mut self, key: &str, name: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.key == key) {
            if let Some((_, value)) = entry.tables[0].lines.iter_mut().find(|(word, _)| word == "key") {
                name.clone_into(value);
            }
        }
    }

    /// The mapping's text.
    #[must_use]
    pub fn text(&self) -> String {
        render::mapping(self)
    }
}

/// A draft being made.
struct Drafter<'a> {
    surface: &'a Surface,
    main: (String, String),
    /// Objects of which there is one, with each of their interfaces; the main one first.
    singles: Vec<(String, String)>,
    /// Interfaces that items of a collection have.
    items: BTreeSet<String>,
    /// What is there a second time under another name, and not drafted again.
    twins: Vec<Twin>,
    entries: Vec<Entry>,
    /// `INTERFACE.MEMBER` of what is used already.
    used: BTreeSet<String>,
}

impl<'a> Drafter<'a> {
    fn new(surface: &'a Surface) -> Self {
        let placed = placed(surface);
        let items = item_interfaces(surface, &placed);
        let mut singles: Vec<(String, String)> = Vec::new();
        for (path, names) in &placed {
            let own = names.iter().filter(|name| !items.contains(*name) && surface.interfaces.contains_key(*name));
            singles.extend(own.map(|name| (path.clone(), name.clone())));
        }
        let home = default_path(&surface.service);
        let manager = format!("{}.Manager", surface.service);
        singles.sort_by_key(|(path, name)| {
            let by_name = match name {
                name if *name == surface.service => 0,
                name if *name == manager => 1,
                name if name.starts_with(&surface.service) => 2,
                _ => 3,
            };
            (by_name, *path != home, path.clone(), name.clone())
        });
        let (singles, mut twins) = twins::singles(surface, singles);
        let (items, more) = twins::items(surface, items);
        twins.extend(more);
        let main = singles.first().cloned().unwrap_or((home, surface.service.clone()));
        Self { surface, main, singles, items, twins, entries: Vec::new(), used: BTreeSet::new() }
    }

    fn interface(&self, name: &str) -> Interface {
        self.surface.interfaces.get(name).cloned().unwrap_or_default()
    }

    fn is_free(&self, interface: &str, member: &str) -> bool {
        !self.used.contains(&format!("{interface}.{member}"))
    }

    fn take(&mut self, interface: &str, member: &str) {
        self.used.insert(format!("{interface}.{member}"));
    }

    /// A method's table; one of the same member on another interface gets another name.
    fn method(&self, path: Option<&str>, interface: &str, member: &str, method: &Method) -> MethodDraft {
        let plain = snake_case(member);
        let same = self.entries.iter().flat_map(|entry| &entry.methods).find(|known| known.name == plain);
        let own = Some(interface.to_owned()).filter(|name| *name != self.main.1);
        let clashes = same.is_some_and(|known| known.interface != own || known.member != member);
        let last = interface.rsplit('.').next().unwrap_or_default();
        let name = if clashes { format!("{}_{plain}", snake_case(last)) } else { plain };
        MethodDraft {
            name,
            member: member.to_owned(),
            interface: own,
            path: path.filter(|path| *path != self.main.0).map(str::to_owned),
            is_on_item: path.is_none(),
            inputs: method.inputs.clone(),
            outputs: method.output_signature(),
            fixed: BTreeMap::new(),
            safe: Safe::No,
            more: Vec::new(),
        }
    }

    /// The same for a method that reads, as far as its name and its answer say.
    fn reader(&self, path: Option<&str>, interface: &str, member: &str, method: &Method) -> Option<MethodDraft> {
        let answers = !method.outputs.is_empty() && !method.output_signature().contains('h');
        let may = words::is_reading(member) && answers && !words::is_secret(member);
        may.then(|| MethodDraft { safe: Safe::Unasked, ..self.method(path, interface, member, method) })
    }

    /// A key's name that no entry has yet.
    fn key(&self, wanted: &str, interface: &str) -> String {
        let is_word = matches!(wanted, "value" | "item" | "items" | "id" | "ids" | "key" | "absent" | "observed");
        let is_taken = |name: &str| self.entries.iter().any(|entry| entry.key == name);
        let last = snake_case(interface.rsplit('.').next().unwrap_or_default());
        let mut name = if is_word || is_taken(wanted) { format!("{last}_{wanted}") } else { wanted.to_owned() };
        while is_taken(&name) {
            name.push('_');
        }
        name
    }

    /// `path` and `interface` of a property, where they are not the main ones.
    fn place(&self, path: &str, interface: &str) -> Vec<(String, Value)> {
        let mut place = Vec::new();
        if path != self.main.0 {
            place.push(("path".to_owned(), json!(path)));
        }
        if interface != self.main.1 {
            place.push(("interface".to_owned(), json!(interface)));
        }
        place
    }

    fn finish(mut self) -> Draft {
        self.entries.sort_by_key(|entry| (entry.kind, entry.sureness));
        let mut unused = Vec::new();
        let drafted = |name: &String| !self.twins.iter().any(|twin| twin.interface == *name && twin.of.1 != *name);
        for (name, interface) in self.surface.interfaces.iter().filter(|(name, _)| drafted(name)) {
            if is_standard(name) {
                continue;
            }
            let free = interface.methods.iter().filter(|(member, _)| self.is_free(name, member));
            unused.extend(
                free.map(|(member, m)| format!("{name}.{}", signature(member, &m.inputs, &m.output_signature()))),
            );
        }
        Draft {
            service: self.surface.service.clone(),
            path: self.main.0,
            interface: self.main.1,
            source: self.surface.source.clone(),
            entries: self.entries,
            fingerprint: BTreeMap::new(),
            unused,
            is_learned: false,
            notes: self.twins.iter().map(Twin::note).collect(),
        }
    }
}

/// Objects and their interfaces; what files describe without saying where is where the service's name suggests.
fn placed(surface: &Surface) -> BTreeMap<String, BTreeSet<String>> {
    let mut placed = surface.objects.clone();
    let known: BTreeSet<String> = placed.values().flatten().cloned().collect();
    let homeless = surface.interfaces.keys().filter(|name| !is_standard(name) && !known.contains(*name));
    for name in homeless {
        placed.entry(default_path(&surface.service)).or_default().insert(name.clone());
    }
    placed
}

/// Interfaces of objects that come and go: several objects have them, or a path says that one of many is meant, or a
/// method answers with objects of that name.
fn item_interfaces(surface: &Surface, placed: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut items = BTreeSet::new();
    for name in surface.interfaces.keys().filter(|name| !is_standard(name) && **name != surface.service) {
        let paths: Vec<&String> =
            placed.iter().filter(|(_, names)| names.contains(name)).map(|(path, _)| path).collect();
        let home = default_path(&surface.service);
        // Below a folder of their kind, or numbered.
        let is_one_of_many = |path: &&String| {
            let last = path.rsplit('/').next().unwrap_or_default();
            let below = path.strip_prefix(&home).map_or(0, |rest| rest.matches('/').count());
            (last.ends_with(|c: char| c.is_ascii_digit()) && **path != home) || below > 1
        };
        let is_listed = surface.objects_with(name).next().is_none() && collections::lister(surface, name).is_some();
        if (paths.len() > 1 && !twins::are_one(surface, &paths, name)) || paths.iter().any(is_one_of_many) || is_listed
        {
            items.insert(name.clone());
        }
    }
    items
}

/// `Static hostname` for `StaticHostname`, `Use NTP` for `UseNTP`: better than nothing, and to be replaced.
#[must_use]
pub fn described(member: &str) -> String {
    let upper =
        |word: &String| Some(word.to_ascii_uppercase()).filter(|upper| word.len() > 1 && member.contains(upper));
    let text: Vec<String> =
        words::words(member).iter().map(|word| upper(word).unwrap_or_else(|| word.clone())).collect();
    let text = text.join(" ");
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// Letters and digits alone, in lower case: what is left when two ways of writing a name are the same.
fn flat(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a method's table needs its member said, because its name does not.
#[must_use]
pub fn needs_member_of(name: &str, member: &str) -> bool {
    camel_case(name) != member
}

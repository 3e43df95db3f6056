//! Objects that come and go as the items of a key: where they are listed, what names them, what makes, changes and
//! deletes them.

use super::pairs::{find, write};
use super::{Choice, Drafter, Entry, Kind, MethodDraft, Safe, Sureness, Table, described, flat, render};
use crate::base::name::snake_case;
use crate::bus::introspection::{Interface, Method};
use crate::bus::walk::is_standard;
use crate::plugin::author::Surface;
use crate::plugin::author::words::{self, plural, singular};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const GETTING: &[&str] =
    &["get_settings", "get_all", "get_config", "get_configuration", "get_settings2", "get_properties"];
const UPDATING: &[&str] = &["update", "set_settings", "update2", "set_config", "set_configuration", "modify"];

/// The method that answers with the objects that have this interface.
pub fn lister(surface: &Surface, interface: &str) -> Option<(String, String)> {
    let many = plural(&noun(interface));
    let lists = |member: &str, method: &Method| {
        let text = words::words(member).join("_");
        words::is_reading(member)
            && method.inputs.is_empty()
            && method.output_signature() == "ao"
            && (text.ends_with(&format!("_{many}")))
    };
    let of = |(name, known): (&String, &Interface)| {
        let found = known.methods.iter().filter(|(member, method)| lists(member, method));
        // ListUsers before ListCachedUsers
        found.min_by_key(|(member, _)| member.len()).map(|(member, _)| (name.clone(), member.clone()))
    };
    surface.interfaces.iter().filter(|(name, _)| !is_standard(name) && *name != interface).find_map(of)
}

/// `user` for `org.example.Accounts.User`.
fn noun(interface: &str) -> String {
    singular(&snake_case(interface.rsplit('.').next().unwrap_or_default()))
}

/// What is known about the items of one key.
pub struct Items {
    /// Their interface's name.
    pub name: String,
    /// The interface.
    pub interface: Interface,
    /// What one of them is called.
    pub noun: String,
    /// The key of the state.
    pub key: String,
    /// Their objects, as far as they are known.
    pub paths: Vec<String>,
}

impl Drafter<'_> {
    /// A key for each interface that items have.
    pub(super) fn collections(&mut self) {
        let all = self.items.clone();
        for name in &all {
            // Device.Wired says more about items that Device has already.
            let is_aspect = all.iter().any(|other| name.starts_with(&format!("{other}.")));
            let interface = self.interface(name);
            if is_aspect || (interface.properties.is_empty() && interface.methods.is_empty()) {
                continue;
            }
            let paths: Vec<String> = self.surface.objects_with(name).map(str::to_owned).collect();
            let noun = noun(name);
            let key = self.key(&plural(&noun), name);
            self.collection(&Items { name: name.clone(), interface, noun, key, paths });
        }
    }

    fn collection(&mut self, items: &Items) {
        let mut entry = Entry {
            key: items.key.clone(),
            kind: Kind::Collection,
            sureness: Sureness::Likely,
            why: Vec::new(),
            methods: Vec::new(),
            tables: vec![],
            is_taken: true,
            choice: None,
        };
        let mut table =
            Table::new(&["state_mapping", &items.key]).line("description", &json!(described(&plural(&items.noun))));
        let Some(mut read) = self.source(items, &mut entry) else { return };
        let whole = self.whole(items, &mut entry);
        if let Some((get, _)) = &whole {
            read.insert("get".into(), json!({"method": get}));
        }
        let (names, column) = self.names(items, whole.is_some());
        table = table.raw("key", names[0].clone());
        match &column {
            Some(column) => entry.why.push(format!("{column} names an item")),
            None if whole.is_some() => {
                entry.why.push("what names an item is a guess: look at what get answers with".into());
                entry.sureness = Sureness::Guess;
            }
            None => entry.why.push("no property seems to name an item, so the last part of its path does".into()),
        }
        entry.choice = Some(Choice { candidates: names });
        if let Some(find) = self.finder(items, column.as_deref(), &mut entry) {
            read.insert("find".into(), find);
        }
        entry.tables.push(table);
        entry.tables.push(lines(Table::new(&["state_mapping", &items.key, "read"]), &read));
        let mut members = BTreeMap::new();
        if whole.is_none() {
            members = self.members(items, column.as_deref(), &mut entry);
        }
        if let Some((_, Some(update))) = &whole {
            let table = Table::new(&["state_mapping", &items.key, "update"]);
            entry.tables.push(table.line("method", &json!(update)).line("args", &json!(["$value"])));
        }
        // What could not be made again is not deleted either, unless the author says so.
        if self.create(items, column.as_deref(), whole.is_some(), &members, &mut entry) {
            self.delete(items, column.as_deref(), &members, &mut entry);
        }
        let writes = entry.tables.iter().any(|table| {
            table.lines.iter().any(|(word, _)| word == "write") || table.name.len() > 2 && table.name[2] == "update"
        });
        if !writes && entry.tables.iter().all(|table| table.name.get(2).is_none_or(|word| word != "create")) {
            entry.tables[0].lines.push(("diff_strategy".into(), "\"none\"".into()));
            entry.why.push("nothing of them can be written, so they are shown and never compared".into());
        }
        if entry.sureness == Sureness::Guess {
            entry.is_taken = false;
        }
        self.entries.push(entry);
    }

    /// Where items come from: a manager or children, which are safe to ask, or a method, which has to be called safe.
    fn source(&mut self, items: &Items, entry: &mut Entry) -> Option<Map<String, Value>> {
        let mut read = Map::new();
        let below = |manager: &&String| items.paths.iter().all(|path| path.starts_with(manager.as_str()));
        let parents: BTreeSet<&str> =
            items.paths.iter().filter_map(|path| Some(path.rsplit_once('/')?.0)).filter(|p| !p.is_empty()).collect();
        let lister = lister(self.surface, &items.name);
        let manager = self.surface.managers.iter().filter(below).max_by_key(|path| path.len());
        let with = lister
            .as_ref()
            .map_or(String::new(), |(_, m)| format!("; {m} lists them too, if you know that it only reads"));
        match (manager, parents.iter().next()) {
            (Some(manager), Some(_)) => {
                read.insert("manager".into(), json!(manager));
                entry.why.push(format!("{manager} manages objects with {}{with}", items.name));
            }
            (_, Some(parent)) if parents.len() == 1 => {
                read.insert("children".into(), json!(parent));
                entry.why.push(format!("the objects below {parent} have {}{with}", items.name));
            }
            _ => {
                let (owner, member) = lister?;
                let path = self.singles.iter().find(|(_, name)| *name == owner).map(|(path, _)| path.clone())?;
                let method = &self.interface(&owner).methods[&member];
                let reader = self.reader(Some(&path), &owner, &member, method)?;
                read.insert("objects".into(), json!(reader.name));
                entry.why.push(format!("{member} answers with objects, and {} has their name", items.name));
                self.take(&owner, &member);
                entry.methods.push(reader);
            }
        }
        read.insert("interface".into(), json!(items.name));
        Some(read)
    }

    /// An item's value as one dictionary, and what writes it.
    fn whole(&mut self, items: &Items, entry: &mut Entry) -> Option<(String, Option<String>)> {
        let is_get = |(member, method): &(&String, &Method)| {
            let output = method.output_signature();
            GETTING.contains(&words::words(member).join("_").as_str())
                && method.inputs.is_empty()
                && output.starts_with("a{s")
        };
        let (member, method) = items.interface.methods.iter().rfind(is_get)?;
        let reader = self.reader(None, &items.name, member, method)?;
        let output = method.output_signature();
        self.take(&items.name, member);
        entry.why.push(format!("{member} answers with an item's whole value ({output})"));
        let get = reader.name.clone();
        entry.methods.push(reader);
        let is_update = |(other, method): &(&String, &Method)| {
            UPDATING.contains(&words::words(other).join("_").as_str()) && method.input_signature() == output
        };
        let update = items.interface.methods.iter().find(is_update).map(|(other, method)| {
            self.take(&items.name, other);
            entry.why.push(format!(
                "{other} takes such a value; it is given all of it, which is right whether it replaces or merges"
            ));
            let method = self.method(None, &items.name, other, method);
            let name = method.name.clone();
            entry.methods.push(method);
            name
        });
        Some((get, update))
    }

    /// What may name an item, in TOML, the best first; and the property, when it is one.
    fn names(&self, items: &Items, is_whole: bool) -> (Vec<String>, Option<String>) {
        if is_whole {
            let guesses = [format!("{}.id", items.noun), format!("{}.name", items.noun), "id".into(), "name".into()];
            return (guesses.iter().map(|guess| render::toml(&json!(guess))).collect(), None);
        }
        let rank = |property: &str| {
            let text = snake_case(property);
            let order = [
                format!("{}_name", items.noun),
                "name".to_owned(),
                format!("{}_id", items.noun),
                "id".to_owned(),
                "uuid".to_owned(),
                "interface".to_owned(),
                "native_path".to_owned(),
                "serial".to_owned(),
                "device".to_owned(),
                "uid".to_owned(),
            ];
            order.iter().position(|known| *known == text)
        };
        let is_unique = |property: &str| {
            let mut seen = BTreeSet::new();
            items.paths.iter().all(|path| match self.surface.value(path, &items.name, property) {
                Some(Value::String(text)) => !text.is_empty() && seen.insert(text.clone()),
                Some(Value::Number(number)) => seen.insert(number.to_string()),
                // Without a live service nobody knows, and the name decides.
                _ => self.surface.values.is_empty(),
            })
        };
        let mut named: Vec<(usize, &String)> = items
            .interface
            .properties
            .iter()
            .filter(|(property, p)| matches!(p.type_signature.as_str(), "s" | "t" | "u" | "x") && is_unique(property))
            .filter_map(|(property, _)| Some((rank(property)?, property)))
            .collect();
        named.sort();
        let of_path = "{ field = \"path\", split = \"/\", part = -1 }".to_owned();
        let mut candidates: Vec<String> = named.iter().map(|(_, property)| render::toml(&json!(property))).collect();
        candidates.push(of_path);
        (candidates, named.first().map(|(_, property)| (*property).clone()))
    }

    /// `FindUserByName(s) -> o`
    fn finder(&mut self, items: &Items, column: Option<&str>, entry: &mut Entry) -> Option<Value> {
        let column = flat(column?);
        let verbs = ["find", "get", "lookup"];
        for (path, owner) in self.singles.clone() {
            for (member, method) in &self.interface(&owner).methods {
                let name = flat(member);
                let subject =
                    verbs.iter().find_map(|verb| name.strip_prefix(&format!("{verb}{}by", flat(&items.noun))));
                let is_it = subject.is_some_and(|by| column.ends_with(by))
                    && method.input_signature() == "s"
                    && method.output_signature() == "o";
                if !is_it {
                    continue;
                }
                // A finder is a help and no need: without the author's word it is left out.
                let reader = self.reader(Some(&path), &owner, member, method)?;
                entry
                    .why
                    .push(format!("{member} could find one that is not listed (find), if you know that it only reads"));
                self.take(&owner, member);
                if entry.methods.iter().any(|known| known.safe == Safe::Unasked) {
                    let find = json!({"method": reader.name, "args": ["$item"]});
                    entry.methods.push(reader);
                    return Some(find);
                }
                return None;
            }
        }
        None
    }

    /// The members of items: what can be written, and, as an offer, the rest. Their names by property.
    fn members(&mut self, items: &Items, column: Option<&str>, entry: &mut Entry) -> BTreeMap<String, String> {
        let mut pairs = find(&items.interface, &|member| Some(member) != column);
        pairs.retain(|pair| pair.sureness != Sureness::Guess);
        let name_of: BTreeMap<String, String> =
            items.interface.properties.keys().map(|p| (p.clone(), snake_case(p).replace('-', "_"))).collect();
        let mut shown = BTreeMap::new();
        for pair in &pairs {
            let known = &items.interface.properties[&pair.property];
            let name = &name_of[&pair.property];
            let mut table = Table::new(&["state_mapping", &items.key, "members", name])
                .line("description", &json!(described(&pair.property)))
                .line("property", &json!(pair.property));
            match &pair.setter {
                None => table = table.line("write", &json!({"property": pair.property})),
                Some(setter) => {
                    let method =
                        self.method(None, &items.name, &setter.member, &items.interface.methods[&setter.member]);
                    table = table.raw("write", write(&method.name, &setter.free, &name_of));
                    if !entry.methods.iter().any(|other| other.name == method.name) {
                        entry.methods.push(MethodDraft { fixed: setter.fixed.clone(), ..method });
                    }
                    self.take(&items.name, &setter.member);
                }
            }
            table.note = Some(format!("{}: {} ({})", pair.sureness.as_str(), pair.why, known.type_signature));
            shown.insert(pair.property.clone(), name.clone());
            entry.tables.push(table);
            self.take(&items.name, &pair.property);
        }
        let has_any = !shown.is_empty();
        for (property, known) in &items.interface.properties {
            let is_done = pairs.iter().any(|pair| pair.property == *property) || Some(property.as_str()) == column;
            if is_done || !known.access.is_readable() || words::is_secret(property) {
                continue;
            }
            let mut table = Table::new(&["state_mapping", &items.key, "members", &name_of[property]])
                .line("description", &json!(described(property)))
                .line("property", &json!(property));
            table.is_offered = has_any;
            table.note = Some(format!("it can only be read ({})", known.type_signature));
            entry.tables.push(table);
        }
        shown
    }
}

fn lines(table: Table, map: &Map<String, Value>) -> Table {
    map.iter().fold(table, |table, (key, value)| table.line(key, value))
}

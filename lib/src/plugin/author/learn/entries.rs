//! The entry a call becomes: of what names and types say already, or a new one.

use super::calls::{Learner, flat, is_same};
use crate::base::name::snake_case;
use crate::bus::SeenCall;
use crate::plugin::author::draft::{Entry, Kind, MethodDraft, Safe, Sureness, Table, needs_member_of};
use serde_json::{Value, json};

impl Learner<'_> {
    /// A call about an item of a collection: the drafted collection, with what the call is about.
    pub(super) fn of_items(&mut self, call: &SeenCall, interface: &str) -> Option<String> {
        let uses = |method: &MethodDraft| {
            let own = method.interface.as_deref().unwrap_or(&self.draft.interface);
            method.member == call.member && own == interface && method.safe == Safe::No
        };
        let entry = self.drafted.iter().find(|e| e.kind == Kind::Collection && e.methods.iter().any(uses))?;
        let method = entry.methods.iter().find(|method| uses(method))?.clone();
        let mut entry = entry.clone();
        let mut why = vec![format!("{} was called on {}", call.member, call.path)];
        let makes = self.make(call, &mut entry, &method.name, &mut why);
        let mentions = |table: &Table| table.lines.iter().any(|(_, toml)| toml.contains(&format!("{:?}", method.name)));
        let is_base = |table: &Table| match table.name.get(2).map(String::as_str) {
            None | Some("read") => true,
            // What can be made can be deleted, else nothing could be undone.
            Some("delete") => makes,
            Some(_) => false,
        };
        let (kept, rest): (Vec<Table>, Vec<Table>) =
            entry.tables.into_iter().partition(|table| is_base(table) || mentions(table));
        let words: String = kept.iter().flat_map(|table| &table.lines).map(|(_, toml)| toml.as_str()).collect();
        entry.tables = kept;
        // Members that its arguments speak of come along.
        let is_named =
            |table: &Table| table.name.get(3).is_some_and(|member| words.contains(&format!("\"${member}\"")));
        entry.tables.extend(rest.into_iter().filter(is_named));
        let named: String = entry.tables.iter().flat_map(|table| &table.lines).map(|(_, toml)| toml.as_str()).collect();
        entry.methods.retain(|method| named.contains(&format!("{:?}", method.name)));
        entry.why.splice(0..0, why);
        let key = entry.key.clone();
        self.push(entry);
        Some(key)
    }

    /// When the call made an item: each argument is the property of the new object that has its value. Whether it is the
    /// call that makes items at all.
    fn make(&self, call: &SeenCall, entry: &mut Entry, method: &str, why: &mut Vec<String>) -> bool {
        let is_create = |table: &Table| table.name.get(2).is_some_and(|word| word == "create");
        let Some(create) = entry.tables.iter().position(is_create) else { return false };
        let quoted = format!("{method:?}");
        let lines = &entry.tables[create].lines;
        if !lines.iter().any(|(_, toml)| *toml == quoted) {
            return false;
        }
        if lines.iter().any(|(_, toml)| toml.contains("\"$value\"")) {
            return true;
        }
        let items = entry.tables.iter().filter(|table| table.name.len() == 3).flat_map(|table| &table.lines);
        let interface =
            items.into_iter().find(|(word, _)| word == "interface").map(|(_, toml)| toml.trim_matches('"').to_owned());
        let Some(interface) = interface else { return true };
        let has_it = |path: &&&str| self.after.objects.get(**path).is_some_and(|names| names.contains(&interface));
        let (Some(path), Some(known)) = (self.new_objects.iter().find(has_it), self.after.interfaces.get(&interface))
        else {
            return true;
        };
        let key = entry.tables[0]
            .lines
            .iter()
            .find(|(word, _)| word == "key")
            .map(|(_, toml)| toml.trim_matches('"').to_owned());
        let member_of = |property: &str| {
            let own = format!("{property:?}");
            let table = entry
                .tables
                .iter()
                .find(|table| table.lines.iter().any(|(word, toml)| word == "property" && *toml == own))?;
            table.name.get(3).cloned()
        };
        let Some(made) = entry.methods.iter().find(|known| known.name == method).cloned() else { return true };
        let (mut args, mut fixed, mut defaults) =
            (Vec::new(), std::collections::BTreeMap::new(), serde_json::Map::new());
        for (at, value) in call.args.iter().enumerate() {
            let name = made.inputs.get(at).and_then(|arg| arg.name.clone()).unwrap_or_default();
            let is_telling = value.as_str().is_some_and(|text| !text.is_empty());
            let is_it = |property: &&String| {
                let alike = flat(property).ends_with(&flat(&name)) || flat(&name).ends_with(&flat(property));
                (is_telling || (alike && !name.is_empty()))
                    && self.after.value(path, &interface, property).is_some_and(|now| is_same(now, value))
            };
            let property = known.properties.keys().find(|p| Some(p.as_str()) == key.as_deref() && is_it(p));
            let property = property.or_else(|| known.properties.keys().find(is_it));
            match property {
                Some(property) if Some(property.as_str()) == key.as_deref() => args.push(json!("$item")),
                Some(property) => match member_of(property) {
                    Some(member) => {
                        why.push(format!("{name} became {property} of {path}"));
                        defaults.insert(member.clone(), nothing_like(value));
                        args.push(json!(format!("${member}")));
                    }
                    None => drop(fixed.insert(at, value.clone())),
                },
                None => drop(fixed.insert(at, value.clone())),
            }
        }
        let mut table = Table::new(&["state_mapping", &entry.key, "create"]).line("method", &json!(method));
        table = table.line("args", &Value::Array(args));
        if !defaults.is_empty() {
            table = table.line("defaults", &Value::Object(defaults));
        }
        table.note = Some(format!("sure: {path} was made by {}", call.member));
        entry.tables[create] = table;
        if let Some(made) = entry.methods.iter_mut().find(|known| known.name == method) {
            made.fixed = fixed;
        }
        true
    }

    /// No property tells what the call does: what names and types say, or its table alone.
    pub(super) fn by_name(&mut self, call: &SeenCall, interface: &str, is_secret: &dyn Fn(usize) -> bool) -> String {
        let uses = |method: &MethodDraft| {
            let own = method.interface.as_deref().unwrap_or(&self.draft.interface);
            method.member == call.member && own == interface
        };
        if let Some(entry) = self.drafted.iter().find(|entry| entry.methods.iter().any(uses)) {
            let mut entry = entry.clone();
            entry.why.insert(0, format!("{} was called, and no property shows what it did", call.member));
            let key = entry.key.clone();
            self.push(entry);
            return key;
        }
        if let Some(key) = self.set_of(call, interface, is_secret) {
            return key;
        }
        let Some(method) = self.after.method(interface, &call.member) else {
            return "nothing: the service does not describe the method".into();
        };
        let types: Vec<&str> = method.inputs.iter().map(|arg| arg.type_signature.as_str()).collect();
        let given: Vec<Value> = (call.args.iter().enumerate())
            .map(|(at, value)| if is_secret(at) { json!("...") } else { value.clone() })
            .collect();
        let name = snake_case(&call.member);
        let mut table = Table::new(&["methods", &name]);
        if needs_member_of(&name, &call.member) {
            table = table.line("member", &json!(call.member));
        }
        if interface != self.draft.interface {
            table = table.line("interface", &json!(interface));
        }
        if call.path != self.draft.path {
            table = table.line("path", &json!(call.path));
        }
        let why = vec![
            format!("{} was called with {}, and no property shows what it did", call.member, Value::Array(given)),
            "what is read before and after it, and how it is undone, has to be found by hand".into(),
        ];
        self.push(Entry {
            key: name,
            kind: Kind::Skeleton,
            sureness: Sureness::Guess,
            why,
            methods: Vec::new(),
            tables: vec![table.line("arg_types", &json!(types))],
            is_taken: false,
            choice: None,
        });
        "a table to be finished: no property shows what it did".into()
    }

    /// The drafted entry that reads this property, or a new one.
    pub(super) fn known_or(
        &mut self,
        call: &SeenCall,
        interface: &str,
        property: &str,
        why: &str,
        table: impl FnOnce(&Self, &str) -> Table,
    ) -> String {
        let is_item = self.drafted.iter().find(|entry| {
            let of_items = format!("{interface:?}");
            entry.kind == Kind::Collection
                && entry.tables.iter().flat_map(|t| &t.lines).any(|(_, toml)| *toml == of_items)
        });
        if let Some(entry) = is_item {
            let mut entry = entry.clone();
            let own = format!("{property:?}");
            entry.tables.retain(|table| {
                table.name.len() < 3 || table.name[2] == "read" || table.lines.iter().any(|(_, toml)| *toml == own)
            });
            entry.methods.retain(|method| method.safe != Safe::No);
            entry.why.insert(0, format!("{why} on {}", call.path));
            let key = entry.key.clone();
            self.push(entry);
            return key;
        }
        let key = snake_case(property).replace('-', "_");
        let table = table(self, &key);
        self.push(Entry {
            key: key.clone(),
            kind: Kind::Writable,
            sureness: Sureness::Sure,
            why: vec![why.to_owned()],
            methods: Vec::new(),
            tables: vec![table],
            is_taken: true,
            choice: None,
        });
        key
    }

    /// `path` and `interface` of a property, where they are not the main ones.
    pub(super) fn place(&self, path: &str, interface: &str) -> Vec<(String, Value)> {
        let mut place = Vec::new();
        if path != self.draft.path {
            place.push(("path".to_owned(), json!(path)));
        }
        if interface != self.draft.interface {
            place.push(("interface".to_owned(), json!(interface)));
        }
        place
    }

    /// Keeps an entry; one that is there already gets what it lacks.
    pub(super) fn push(&mut self, entry: Entry) {
        match self.draft.entries.iter_mut().find(|known| known.key == entry.key) {
            None => self.draft.entries.push(entry),
            Some(known) => {
                for table in entry.tables {
                    if !known.tables.iter().any(|other| other.name == table.name) {
                        known.tables.push(table);
                    }
                }
                for method in entry.methods {
                    if !known.methods.iter().any(|other| other.name == method.name) {
                        known.methods.push(method);
                    }
                }
            }
        }
    }
}

/// A value of the same kind that says nothing.
fn nothing_like(value: &Value) -> Value {
    match value {
        Value::Bool(_) => json!(false),
        Value::Number(_) => json!(0),
        Value::Array(_) => json!([]),
        Value::Object(_) => json!({}),
        _ => json!(""),
    }
}

//! Who uses what in a mapping: every method and property that is named anywhere, and what for.

use crate::plugin::Mapping;
use crate::plugin::mapping::file::{PreviewSection, ReadSection, ResolveSection};
use crate::plugin::mapping::{Operation, StateSection, items};
use serde_json::Value;

/// What a method is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes a transaction's object.
    Create,
    /// Prepares a transaction's object.
    Setup,
    /// Reads a key.
    Read,
    /// Writes a key's value.
    Write,
    /// Adds items to a set.
    Add,
    /// Removes items from a set.
    Remove,
    /// Turns names into identifiers.
    Resolve,
    /// Simulates a call.
    Preview,
    /// Asks for sizes.
    Sizes,
    /// Is called before the first or after the last change.
    Hook,
    /// Finds one item of a collection by its name.
    Find,
    /// Answers with one item's value.
    Get,
    /// Brings items, or more of their columns.
    Rows,
    /// Says whether an item must be left alone.
    Refuse,
    /// Makes, changes or deletes an item, or writes a member of it.
    Item,
    /// Makes, keeps or goes back to the service's checkpoint.
    Checkpoint,
}

impl Role {
    /// Whether it is called before anybody agreed to anything.
    pub fn must_be_safe(self) -> bool {
        !matches!(self, Self::Write | Self::Add | Self::Remove | Self::Hook | Self::Item | Self::Checkpoint)
    }

    /// Whether it is there to change something.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Add | Self::Remove | Self::Item)
    }

    /// The words with a dollar that its arguments may have, whatever else the mapping has.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Create | Self::Setup | Self::Read | Self::Hook => &[],
            Self::Write => &["value", "key"],
            Self::Add | Self::Remove => &["items", "item", "ids", "id", "key"],
            Self::Resolve | Self::Rows => &["items"],
            Self::Preview => &["ids", "items"],
            Self::Sizes => &["ids"],
            Self::Find => &["item", "items", "id"],
            Self::Get | Self::Refuse => &["item"],
            Self::Item => &["value", "item", "items", "id", "key", "path"],
            Self::Checkpoint => &["checkpoint"],
        }
    }

    /// Whether one argument that is not fixed is filled in when there are no args.
    pub fn fills_in(self) -> bool {
        matches!(
            self,
            Self::Write | Self::Add | Self::Remove | Self::Resolve | Self::Preview | Self::Sizes | Self::Item
        )
    }
}

/// A method in use.
#[derive(Debug, Clone)]
pub struct MethodUse<'a> {
    /// Its name, as written.
    pub reference: &'a str,
    /// What for.
    pub role: Role,
    /// Where in the file.
    pub place: Vec<String>,
    /// The arguments that are not fixed, when they are said.
    pub args: Option<&'a [Value]>,
    /// What words with a dollar may stand for here besides the role's own: keys, members, columns.
    pub names: Vec<&'a str>,
}

/// A property in use.
#[derive(Debug, Clone)]
pub struct PropertyUse<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its interface.
    pub interface: &'a str,
    /// Its object, unless each item has its own.
    pub path: Option<&'a str>,
    /// Whether it is set, not read.
    pub is_written: bool,
    /// Where in the file.
    pub place: Vec<String>,
}

/// Everything in use.
#[derive(Debug, Clone, Default)]
pub struct Uses<'a> {
    /// Methods.
    pub methods: Vec<MethodUse<'a>>,
    /// Properties.
    pub properties: Vec<PropertyUse<'a>>,
}

/// Where a call is spoken of.
#[derive(Clone)]
struct At<'a> {
    mapping: &'a Mapping,
    place: Vec<String>,
    names: Vec<&'a str>,
    /// The items' interface, for calls about items.
    items: Option<&'a str>,
}

impl At<'_> {
    fn below(&self, parts: &[&str]) -> Self {
        let place = self.place.iter().cloned().chain(parts.iter().map(|part| (*part).to_owned())).collect();
        Self { place, ..self.clone() }
    }
}

impl<'a> Uses<'a> {
    /// What `mapping` uses.
    pub fn of(mapping: &'a Mapping) -> Self {
        let mut uses = Self::default();
        let top = At { mapping, place: Vec::new(), names: Vec::new(), items: None };
        for (name, section) in &mapping.file.transactions {
            let at = top.below(&["transactions", name]);
            uses.method(&section.create, Role::Create, &at.below(&["create"]), Some(&[]));
            uses.list(&section.setup, Role::Setup, &at.below(&["setup"]));
        }
        for (name, section) in &mapping.file.jobs {
            // Like the call itself, these are made after everybody agreed.
            uses.list(&section.setup, Role::Hook, &top.below(&["jobs", name, "setup"]));
        }
        if let Some(checkpoint) = &mapping.file.checkpoint {
            let calls =
                [("create", &checkpoint.create), ("commit", &checkpoint.commit), ("rollback", &checkpoint.rollback)];
            for (word, operation) in calls {
                uses.operation(operation, Role::Checkpoint, &top.below(&["checkpoint", word]));
            }
        }
        for (key, section) in &mapping.file.state_mapping {
            uses.key(section, &top.below(&["state_mapping", key]));
        }
        uses
    }

    fn key(&mut self, section: &'a StateSection, at: &At<'a>) {
        let mut at = at.clone();
        if items::is_collection(section) {
            let read = section.read.as_ref();
            at.items = Some(read.and_then(|read| read.interface.as_deref()).unwrap_or(&at.mapping.interface));
            let tables = [&section.filter, &section.exclude, &section.protected_if];
            let columns = tables.into_iter().flat_map(|table| table.keys()).chain(&section.fields);
            let of_joins = read.iter().flat_map(|read| &read.join).flat_map(|join| &join.fields);
            at.names = section.members.keys().chain(columns).chain(of_joins).map(String::as_str).collect();
            at.names.push("path");
            at.names.extend(section.key.iter().map(|key| key.column_ref().as_str()));
        } else {
            at.names = at.mapping.file.state_mapping.keys().map(String::as_str).collect();
        }
        if let Some(read) = &section.read {
            self.read(read, &at.below(&["read"]));
        }
        if let Some(resolve) = &section.resolve {
            self.resolve(resolve, &at.below(&["resolve"]));
        }
        let operations = [
            ("write", &section.write, Role::Write),
            ("add", &section.add, Role::Add),
            ("remove", &section.remove, Role::Remove),
            ("create", &section.create, Role::Item),
            ("update", &section.update, Role::Item),
            ("delete", &section.delete, Role::Item),
        ];
        for (name, operation, role) in operations {
            if let Some(operation) = operation {
                self.operation(operation, role, &at.below(&[name]));
            }
        }
        for (name, member) in &section.members {
            let at = at.below(&["members", name]);
            if let Some(property) = &member.property {
                let interface = member.interface.as_deref().or(at.items).unwrap_or(&at.mapping.interface);
                self.properties.push(PropertyUse {
                    name: property,
                    interface,
                    path: None,
                    is_written: false,
                    place: at.place.clone(),
                });
            }
            if let Some(write) = &member.write {
                let at = At { items: member.interface.as_deref().or(at.items), ..at.below(&["write"]) };
                self.operation(write, Role::Item, &at);
            }
            self.list(&member.after, Role::Hook, &at.below(&["after"]));
        }
        self.list(&section.before, Role::Hook, &at.below(&["before"]));
        self.list(&section.after, Role::Hook, &at.below(&["after"]));
    }

    fn read(&mut self, read: &'a ReadSection, at: &At<'a>) {
        let args = Some(read.args.as_deref().unwrap_or_default());
        for method in read.method.iter().chain(&read.objects) {
            self.method(method, Role::Read, at, args);
        }
        if let Some(name) = &read.property {
            let interface = read.interface.as_deref().unwrap_or(&at.mapping.interface);
            let path = Some(read.path.as_deref().unwrap_or(&at.mapping.path));
            let place = at.place.clone();
            self.properties.push(PropertyUse { name, interface, path, is_written: false, place });
        }
        let queries =
            [("find", &read.find, Role::Find), ("get", &read.get, Role::Get), ("named", &read.named, Role::Rows)];
        for (word, query, role) in queries {
            if let Some(query) = query {
                let args = Some(query.args.as_deref().unwrap_or_default());
                self.method(&query.method, role, &at.below(&[word]), args);
            }
        }
        for (i, join) in read.join.iter().enumerate() {
            let i = i.to_string();
            let at = at.below(&["join", i.as_str()]);
            if let Some(method) = &join.method {
                self.method(method, Role::Read, &at, Some(join.args.as_deref().unwrap_or_default()));
            }
            for (word, query, role) in [("named", &join.named, Role::Rows), ("each", &join.each, Role::Find)] {
                if let Some(query) = query {
                    self.method(
                        &query.method,
                        role,
                        &at.below(&[word]),
                        Some(query.args.as_deref().unwrap_or_default()),
                    );
                }
            }
        }
    }

    fn list(&mut self, operations: &'a [Operation], role: Role, at: &At<'a>) {
        for (i, operation) in operations.iter().enumerate() {
            let i = i.to_string();
            self.operation(operation, role, &at.below(&[i.as_str()]));
        }
    }

    fn operation(&mut self, operation: &'a Operation, role: Role, at: &At<'a>) {
        if let Some(method) = &operation.method {
            let implied = if role == Role::Checkpoint { Some(&[][..]) } else { None };
            self.method(method, role, at, operation.args.as_deref().or(implied));
        }
        if let Some(name) = &operation.property {
            let interface = operation.interface.as_deref().or(at.items).unwrap_or(&at.mapping.interface);
            let own = Some(at.mapping.path.as_str()).filter(|_| at.items.is_none());
            let path = operation.path.as_deref().or(own);
            self.properties.push(PropertyUse { name, interface, path, is_written: true, place: at.place.clone() });
        }
        if let Some(resolve) = &operation.resolve {
            self.resolve(resolve, &at.below(&["resolve"]));
        }
        if let Some(refuse) = &operation.refuse_if {
            let args = Some(refuse.args.as_deref().unwrap_or_default());
            self.method(&refuse.method, Role::Refuse, &at.below(&["refuse_if"]), args);
        }
        if let Some(PreviewSection { method, args, sizes, .. }) = &operation.preview {
            let at = at.below(&["preview"]);
            self.method(method, Role::Preview, &at, args.as_deref());
            if let Some(sizes) = sizes {
                self.method(&sizes.method, Role::Sizes, &at.below(&["sizes"]), sizes.args.as_deref());
            }
        }
        for (value, other) in &operation.when {
            self.operation(other, role, &at.below(&["when", value]));
        }
    }

    fn resolve(&mut self, resolve: &'a ResolveSection, at: &At<'a>) {
        self.method(&resolve.method, Role::Resolve, at, resolve.args.as_deref());
    }

    fn method(&mut self, reference: &'a str, role: Role, at: &At<'a>, args: Option<&'a [Value]>) {
        let names = match role {
            Role::Write | Role::Add | Role::Remove | Role::Item | Role::Get => at.names.clone(),
            _ => Vec::new(),
        };
        self.methods.push(MethodUse { reference, role, place: at.place.clone(), args, names });
    }
}

//! Who uses what in a mapping: every method and property that is named anywhere, and what for.

use crate::plugin::Mapping;
use crate::plugin::mapping::Operation;
use crate::plugin::mapping::file::{PreviewSection, ResolveSection};
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
}

impl Role {
    /// Whether it is called before anybody agreed to anything.
    pub fn must_be_safe(self) -> bool {
        matches!(self, Self::Create | Self::Setup | Self::Read | Self::Resolve | Self::Preview | Self::Sizes)
    }

    /// Whether it is there to change something.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Add | Self::Remove)
    }

    /// The words with a dollar that its arguments may have, besides the keys of the state.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Create | Self::Setup | Self::Read | Self::Hook => &[],
            Self::Write => &["value", "key"],
            Self::Add | Self::Remove => &["items", "item", "ids", "id", "key"],
            Self::Resolve => &["items"],
            Self::Preview => &["ids", "items"],
            Self::Sizes => &["ids"],
        }
    }

    /// Whether its arguments may stand for other keys of the state.
    pub fn sees_keys(self) -> bool {
        self.writes()
    }

    /// Whether one argument that is not fixed is filled in when there are no args.
    pub fn fills_in(self) -> bool {
        matches!(self, Self::Write | Self::Add | Self::Remove | Self::Resolve | Self::Preview | Self::Sizes)
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
}

/// A property in use.
#[derive(Debug, Clone)]
pub struct PropertyUse<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its interface.
    pub interface: &'a str,
    /// Its object.
    pub path: &'a str,
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

impl<'a> Uses<'a> {
    /// What `mapping` uses.
    pub fn of(mapping: &'a Mapping) -> Self {
        let mut uses = Self::default();
        for (name, section) in &mapping.file.transactions {
            let place = ["transactions", name];
            uses.method(&section.create, Role::Create, &[&place[..], &["create"]].concat(), Some(&[]));
            for (i, step) in section.setup.iter().enumerate() {
                let i = i.to_string();
                let place = [&place[..], &["setup", i.as_str()]].concat();
                uses.operation(mapping, step, Role::Setup, &place);
            }
        }
        for (key, section) in &mapping.file.state_mapping {
            let base = ["state_mapping", key.as_str()];
            if let Some(read) = &section.read {
                let place = [&base[..], &["read"]].concat();
                if let Some(method) = &read.method {
                    let args = Some(read.args.as_deref().unwrap_or_default());
                    uses.method(method, Role::Read, &place, args);
                }
                if let Some(name) = &read.property {
                    uses.property(mapping, name, read.interface.as_deref(), read.path.as_deref(), false, &place);
                }
            }
            if let Some(resolve) = &section.resolve {
                uses.resolve(resolve, &[&base[..], &["resolve"]].concat());
            }
            let operations = [
                ("write", &section.write, Role::Write),
                ("add", &section.add, Role::Add),
                ("remove", &section.remove, Role::Remove),
            ];
            for (name, operation, role) in operations {
                if let Some(operation) = operation {
                    uses.operation(mapping, operation, role, &[&base[..], &[name]].concat());
                }
            }
            for (name, hooks) in [("before", &section.before), ("after", &section.after)] {
                for (i, hook) in hooks.iter().enumerate() {
                    let i = i.to_string();
                    let place = [&base[..], &[name, i.as_str()]].concat();
                    uses.operation(mapping, hook, Role::Hook, &place);
                }
            }
        }
        uses
    }

    fn operation(&mut self, mapping: &'a Mapping, operation: &'a Operation, role: Role, place: &[&str]) {
        if let Some(method) = &operation.method {
            self.method(method, role, place, operation.args.as_deref());
        }
        if let Some(name) = &operation.property {
            self.property(mapping, name, operation.interface.as_deref(), operation.path.as_deref(), true, place);
        }
        if let Some(resolve) = &operation.resolve {
            self.resolve(resolve, &[place, &["resolve"]].concat());
        }
        if let Some(PreviewSection { method, args, sizes, .. }) = &operation.preview {
            let place = [place, &["preview"]].concat();
            self.method(method, Role::Preview, &place, args.as_deref());
            if let Some(sizes) = sizes {
                let place = [&place[..], &["sizes"]].concat();
                self.method(&sizes.method, Role::Sizes, &place, sizes.args.as_deref());
            }
        }
    }

    fn resolve(&mut self, resolve: &'a ResolveSection, place: &[&str]) {
        self.method(&resolve.method, Role::Resolve, place, resolve.args.as_deref());
    }

    fn method(&mut self, reference: &'a str, role: Role, place: &[&str], args: Option<&'a [Value]>) {
        let place = place.iter().map(|part| (*part).to_owned()).collect();
        self.methods.push(MethodUse { reference, role, place, args });
    }

    fn property(
        &mut self,
        mapping: &'a Mapping,
        name: &'a str,
        interface: Option<&'a str>,
        path: Option<&'a str>,
        is_written: bool,
        place: &[&str],
    ) {
        let place = place.iter().map(|part| (*part).to_owned()).collect();
        let interface = interface.unwrap_or(&mapping.interface);
        self.properties.push(PropertyUse { name, interface, path: path.unwrap_or(&mapping.path), is_written, place });
    }
}

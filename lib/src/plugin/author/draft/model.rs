//! What a draft is made of: entries with their methods and tables, not yet TOML.

use super::render;
use crate::bus::introspection::Arg;
use serde_json::Value;
use std::collections::BTreeMap;

/// How sure the draft is of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sureness {
    /// Names and types leave no doubt.
    Sure,
    /// Names say so, and something was assumed.
    Likely,
    /// It may be quite different: look before you use it.
    Guess,
}

impl Sureness {
    /// Its word in comments and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::Likely => "likely",
            Self::Guess => "guess",
        }
    }
}

/// Whether a method may be called while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safe {
    /// It is no method for reading.
    No,
    /// It would have to read, and its name does not say that it does: not to be agreed to in passing.
    Doubtful,
    /// It seems to read, and nobody has given their word for it.
    Unasked,
    /// The author has given their word.
    Agreed,
}

/// A `[methods.NAME]` table to be.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodDraft {
    /// Its name in the mapping.
    pub name: String,
    /// The member.
    pub member: String,
    /// Its interface, when it is not the main one.
    pub interface: Option<String>,
    /// Its object, when it is not the main one.
    pub path: Option<String>,
    /// Whether it is called on the item's object.
    pub is_on_item: bool,
    /// What it takes.
    pub inputs: Vec<Arg>,
    /// The type signature of what it answers.
    pub outputs: String,
    /// Arguments that are pinned.
    pub fixed: BTreeMap<usize, Value>,
    /// Whether it may be called while reading.
    pub safe: Safe,
    /// More lines, already in TOML.
    pub more: Vec<String>,
}

impl MethodDraft {
    /// `ListLamps() -> a(ssb)`, for people.
    #[must_use]
    pub fn signature(&self) -> String {
        signature(&self.member, &self.inputs, &self.outputs)
    }
}

/// `SetTimezone(s timezone, b interactive)`, for people.
pub fn signature(member: &str, inputs: &[Arg], outputs: &str) -> String {
    let arg = |arg: &Arg| match &arg.name {
        Some(name) => format!("{} {name}", arg.type_signature),
        None => arg.type_signature.clone(),
    };
    let inputs = inputs.iter().map(arg).collect::<Vec<_>>().join(", ");
    let answer = if outputs.is_empty() { String::new() } else { format!(" -> {outputs}") };
    format!("{member}({inputs}){answer}")
}

/// A table of the mapping to be: its name and its lines, values already in TOML.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// `["state_mapping", "scene"]`
    pub name: Vec<String>,
    /// Keys and values.
    pub lines: Vec<(String, String)>,
    /// Written as comments even where the entry is taken: what may be added.
    pub is_offered: bool,
    /// What is said above it.
    pub note: Option<String>,
}

impl Table {
    /// A table without lines.
    #[must_use]
    pub fn new(name: &[&str]) -> Self {
        Self { name: name.iter().map(|part| (*part).to_owned()).collect(), ..Self::default() }
    }

    /// With a line more.
    #[must_use]
    pub fn line(mut self, key: &str, value: &Value) -> Self {
        self.lines.push((key.to_owned(), render::toml(value)));
        self
    }

    /// With a line more, its value in TOML already.
    #[must_use]
    pub fn raw(mut self, key: &str, toml: impl Into<String>) -> Self {
        self.lines.push((key.to_owned(), toml.into()));
        self
    }
}

/// What an entry makes of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A value that can be written.
    Writable,
    /// Items with members.
    Collection,
    /// What a method answers with, only to be read.
    Query,
    /// A value that can only be read.
    ReadOnly,
    /// Tables that other entries need, to be finished by hand.
    Skeleton,
}

/// Something only the author knows: which column names the items.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The candidates in TOML, the best first.
    pub candidates: Vec<String>,
}

/// One key of the state to be, with all it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What it makes of the service.
    pub kind: Kind,
    /// How sure the draft is.
    pub sureness: Sureness,
    /// Why, a sentence each.
    pub why: Vec<String>,
    /// The methods it needs.
    pub methods: Vec<MethodDraft>,
    /// Its tables; the first is the key's own.
    pub tables: Vec<Table>,
    /// Whether it is to be part of the mapping.
    pub is_taken: bool,
    /// What names its items, where that can be chosen.
    pub choice: Option<Choice>,
}

impl Entry {
    /// Methods it cannot do without, and that nobody has called safe yet.
    pub fn unasked(&self) -> impl Iterator<Item = &MethodDraft> {
        self.methods.iter().filter(|method| matches!(method.safe, Safe::Unasked | Safe::Doubtful))
    }

    /// Whether it is written as part of the mapping, not as a comment.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_taken && self.unasked().next().is_none()
    }
}

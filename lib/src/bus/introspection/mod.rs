//! What a service says about one of its objects: interfaces, members, child objects.
//!
//! [`parse`] reads the XML of `org.freedesktop.DBus.Introspectable.Introspect`, which is untrusted, and [`to_xml`]
//! writes its canonical form.

mod check;
mod parse;
mod write;

pub use parse::parse;
pub use write::to_xml;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One object: its interfaces and the names of its children.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    /// Interface by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, Interface>,
    /// Path of each child below this object, sorted: `job` or, rarely, several elements like `zone/0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// The children that were described in the same document; the others have to be asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inline: BTreeMap<String, Node>,
}

/// An interface: its members by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interface {
    /// Method by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, Method>,
    /// Property by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Property>,
    /// Signal by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<String, Signal>,
}

/// A method.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Method {
    /// What it is called with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Arg>,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Arg>,
    /// Whether the service advises against it (`org.freedesktop.DBus.Deprecated`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub deprecated: bool,
    /// Whether it never answers (`org.freedesktop.DBus.Method.NoReply`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_reply: bool,
}

impl Method {
    /// The inputs' type signature, `ss` for two strings.
    #[must_use]
    pub fn input_signature(&self) -> String {
        signature_of(&self.inputs)
    }

    /// The outputs' type signature.
    #[must_use]
    pub fn output_signature(&self) -> String {
        signature_of(&self.outputs)
    }
}

/// A signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Signal {
    /// What it carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
}

impl Signal {
    /// The arguments' type signature.
    #[must_use]
    pub fn signature(&self) -> String {
        signature_of(&self.args)
    }
}

/// An argument of a method or signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Arg {
    /// Its name, for people; often absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type: one complete type.
    pub type_signature: String,
}

/// A property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Property {
    /// Its type: one complete type.
    pub type_signature: String,
    /// What may be done with it.
    pub access: Access,
    /// What is heard when it changes.
    #[serde(default, skip_serializing_if = "EmitsChanged::is_default")]
    pub emits_changed: EmitsChanged,
}

/// What may be done with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Access {
    /// Read only.
    Read,
    /// Written only.
    Write,
    /// Read and written.
    ReadWrite,
}

impl Access {
    /// Whether the property can be read.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self != Self::Write
    }

    /// Whether the property can be written.
    #[must_use]
    pub fn is_writable(self) -> bool {
        self != Self::Read
    }

    /// Its word in the XML and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        }
    }
}

/// What is heard when a property changes (`org.freedesktop.DBus.Property.EmitsChangedSignal`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EmitsChanged {
    /// `PropertiesChanged` with the new value.
    #[default]
    True,
    /// `PropertiesChanged` without the new value.
    Invalidates,
    /// Nothing: it never changes.
    Const,
    /// Nothing, though it changes.
    False,
}

impl EmitsChanged {
    /// Its word in the XML and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::Invalidates => "invalidates",
            Self::Const => "const",
            Self::False => "false",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn signature_of(args: &[Arg]) -> String {
    args.iter().map(|arg| arg.type_signature.as_str()).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

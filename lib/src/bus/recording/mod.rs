//! A recording: what a service said of itself and answered, as a document that can stand in for it where it is not.
//!
//! [`Recorder`] notes the calls that leave and what comes back, [`Replay`] answers from that. Values keep their exact
//! types: every variant says its own.

mod bus;
mod hidden;
mod layout;
mod recorder;
mod replay;

pub use hidden::Hidden;
pub use recorder::Recorder;
pub use replay::Replay;

use super::value::{self, Body, VariantTypes};
use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zbus::Message;

/// Largest recording that is written or read: a machine's two hundred units with all their properties are ten.
pub const MAX_BYTES: u64 = 64 << 20;

/// How deep a recorded value may be nested: readers of JSON stop at 128 levels, and the document around it has some.
const MAX_DEPTH: usize = 100;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// The document. Hand edits are welcome: what counts is that every value fits its type signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Recording"))]
pub struct Recording {
    /// Always `recording`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Bus name of the service.
    pub service: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The plugin whose calls are in it, besides what everybody can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// What is not in it, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What the objects say of themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub introspection: Vec<Described>,
    /// The other calls, in the order they were made.
    pub calls: Vec<RecordedCall>,
}

/// Objects that describe themselves in the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Described {
    /// Their object paths.
    pub paths: Vec<String>,
    /// The lines of the XML.
    pub xml: Vec<String>,
}

/// A call and what came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordedCall {
    /// Bus name, when it is another service's that the plugin asks as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Object path.
    pub path: String,
    /// Interface of the method.
    pub interface: String,
    /// Method name.
    pub member: String,
    /// D-Bus type signature of all arguments together; nothing for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub type_signature: String,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// What it returned, unless it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Values>,
    /// How it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// Signals that came after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<RecordedSignal>,
}

/// Values with their types; a variant is `{"$variant":{"signature","value"}}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Values {
    /// D-Bus type signature of all values together; nothing for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub type_signature: String,
    /// The values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
}

/// A service's refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordedError {
    /// D-Bus error name.
    pub name: String,
    /// What the service said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A signal that came after a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordedSignal {
    /// Object path, where it is not the call's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Interface, where it is not the call's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The signal's name.
    pub member: String,
    /// D-Bus type signature of all arguments together; nothing for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub type_signature: String,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
}

/// Something that is not in a recording.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// What: `INTERFACE.MEMBER`, with the object path before it where it is about one object.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Recording {
    /// Reads a recording and checks that all of it can be given back; `name` is what errors call it.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        if text.trim_start().starts_with('[') {
            let error = Error::bad_input("this is a list, not a recording").on(name);
            return Err(error.hint("make one with op-discover record SERVICE"));
        }
        let read: Self = serde_json::from_str(text).map_err(|error| {
            let place = if error.line() == 0 { String::new() } else { format!(":{}:{}", error.line(), error.column()) };
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            Error::bad_input(format!("this is no recording: {message}"))
                .on(format!("{name}{place}"))
                .hint("make one with op-discover record SERVICE")
        })?;
        read.check(name)?;
        Ok(read)
    }

    /// The document as text: what is short is on one line, so that people can read, edit and compare it.
    #[must_use]
    pub fn to_text(&self) -> String {
        layout::text(self)
    }

    fn check(&self, name: &str) -> Result<()> {
        let refused = |message: String, place: String| Error::bad_input(message).on(format!("{name}: {place}"));
        if self.kind != "recording" {
            let message = format!("this is a document of the kind {:?}, not a recording", self.kind);
            return Err(refused(message, "kind".into()).hint("make one with op-discover record SERVICE"));
        }
        if self.version != 1 {
            let message = format!("this program reads version 1, not {}", self.version);
            return Err(refused(message, "version".into()));
        }
        super::names::check(&self.service).map_err(|error| error.on(format!("{name}: service")))?;
        let mut errors = Vec::new();
        for (position, described) in self.introspection.iter().enumerate() {
            for path in &described.paths {
                let call = Message::method_call(path.as_str(), "Introspect").build(&());
                if let Err(error) = call {
                    errors.push(refused(format!("{path:?} is no object path: {error}"), at("introspection", position)));
                }
            }
        }
        for (position, call) in self.calls.iter().enumerate() {
            let place = at("calls", position);
            if let Err(error) = call.check(&place) {
                let subject = error.subject.clone().unwrap_or(place);
                errors.push(error.on(format!("{name}: {subject}")));
            }
        }
        // One damaged call is enough to say so; thousands need not be listed.
        errors.truncate(20);
        Error::all(errors).map_or(Ok(()), Err)
    }
}

impl RecordedCall {
    fn check(&self, place: &str) -> Result<()> {
        if let Some(service) = &self.service {
            super::names::check(service).map_err(|error| error.on(format!("{place}.service")))?;
        }
        self.request(place)?;
        match (&self.reply, &self.error) {
            (Some(reply), None) => drop(body(&reply.type_signature, &reply.values, &format!("{place}.reply.values"))?),
            (None, Some(error)) => {
                let name = zbus::names::ErrorName::try_from(error.name.as_str());
                name.map_err(|_| Error::bad_input("this is no D-Bus error name").on(format!("{place}.error.name")))?;
            }
            _ => return Err(Error::bad_input("a call has a reply or an error, one of them").on(place)),
        }
        for (position, signal) in self.signals.iter().enumerate() {
            signal.message(self, &format!("{place}.{}", at("signals", position)))?;
        }
        Ok(())
    }

    /// The call as a message, for its names and bytes.
    fn request(&self, place: &str) -> Result<Message> {
        let args = body(&self.type_signature, &self.args, &format!("{place}.args"))?;
        let builder = Message::method_call(self.path.as_str(), self.member.as_str());
        builder
            .interface(self.interface.as_str())
            .build(&args)
            .map_err(|error| Error::bad_input(format!("this is no valid call: {error}")).on(place))
    }

    fn is(&self, interface: &str, member: &str) -> bool {
        self.interface == interface && self.member == member
    }

    /// The reply's only value.
    fn single(&self) -> Option<&Value> {
        match self.reply.as_ref()?.values.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// What `GetManagedObjects` returned: properties by interface, by object path.
    fn managed(&self) -> Option<&Map<String, Value>> {
        self.single().filter(|_| self.is(OBJECT_MANAGER, "GetManagedObjects"))?.as_object()
    }
}

impl RecordedSignal {
    fn message(&self, of: &RecordedCall, place: &str) -> Result<Message> {
        let path = self.path.as_deref().unwrap_or(&of.path);
        let interface = self.interface.as_deref().unwrap_or(&of.interface);
        let args = body(&self.type_signature, &self.args, &format!("{place}.args"))?;
        let builder = Message::signal(path, interface, self.member.as_str()).sender(bus::OWNER);
        builder.build(&args).map_err(|error| Error::bad_input(format!("this is no valid signal: {error}")).on(place))
    }
}

/// The body of a message with `values`.
fn body(type_signature: &str, values: &[Value], place: &str) -> Result<Body> {
    let types = value::complete_types(type_signature).map_err(|error| error.on(place))?;
    let places: Vec<String> = (0..values.len()).map(|position| format!("{place}[{position}]")).collect();
    let encoded = value::encode_body(values, &value::body_signature(&types), &places, &VariantTypes::none())
        .map_err(|error| if values.is_empty() { error.on(place) } else { error })?;
    value::to_body(encoded).map_err(|error| error.or_on(place))
}

fn at(list: &str, position: usize) -> String {
    format!("{list}[{position}]")
}

/// Whether `value` is nested no deeper than a document can be that holds it.
fn is_shallow(value: &Value, most: usize) -> bool {
    match value {
        Value::Array(items) => most > 0 && items.iter().all(|item| is_shallow(item, most - 1)),
        Value::Object(fields) => most > 0 && fields.values().all(|field| is_shallow(field, most - 1)),
        _ => true,
    }
}

/// An object that says nothing but who is below it.
fn node_of<'n>(children: impl Iterator<Item = &'n str>) -> String {
    let children: String = children.map(|name| format!("<node name=\"{name}\"/>")).collect();
    format!("<node>{children}</node>")
}

/// A dictionary's key as it is written in JSON.
fn escaped(key: &str) -> String {
    if key.starts_with('$') { format!("${key}") } else { key.to_owned() }
}

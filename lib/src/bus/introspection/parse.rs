//! Introspection XML to [`Node`], streaming. The XML is a stranger's: everything about it is bounded.

use super::check::{
    MAX_NAME, access, child_name, interface_name, member_name, property_name, root_name, type_signature,
};
use super::{Access, Arg, EmitsChanged, Interface, Method, Node, Property, Signal};
use crate::base::{Error, Result};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::collections::{BTreeMap, BTreeSet};

/// Longest document.
const MAX_BYTES: usize = 4 << 20;
/// Deepest element.
const MAX_DEPTH: usize = 64;
/// Most attributes of an element.
const MAX_ATTRIBUTES: usize = 32;
/// Longest attribute value, and longest name of a child.
const MAX_ATTRIBUTE_BYTES: usize = 4096;
/// The elements that mean something here.
const WORDS: [&str; 7] = ["node", "interface", "method", "signal", "property", "arg", "annotation"];
const MAX_INTERFACES: usize = 1024;
const MAX_MEMBERS: usize = 8192;
const MAX_ARGS: usize = 256;
const MAX_CHILDREN: usize = 65536;

/// What is wrong; the place is added where it is known.
pub(super) type Fault = String;

/// Reads the introspection XML of one object.
///
/// Lenient where services are careless: unknown elements with all that is in them and unknown attributes are ignored, the first of several interfaces,
/// members or children of one name counts, the root may have any name or none. A property takes
/// `EmitsChangedSignal` from its interface where it says nothing itself; an unknown value of it counts as `false`,
/// which promises nothing.
///
/// Fails ([`crate::base::Kind::BadInput`]) with line, byte and element when the document is no XML or no introspection
/// of an object, when a name or type signature is none, when an entity is used that XML does not predefine (a DOCTYPE
/// is ignored, so it can define none), or beyond a limit: 4 MiB, 64 elements deep, 1024 interfaces and 65536 children
/// an object, 8192 members an interface, 256 arguments a member, 32 attributes an element and 4096 bytes each.
/// Names of properties may have hyphens besides what D-Bus allows for members.
pub fn parse(xml: &str) -> Result<Node> {
    if xml.len() > MAX_BYTES {
        let size = xml.len();
        return Err(Error::bad_input(format!("introspection XML of {size} bytes is beyond the limit of {MAX_BYTES}")));
    }
    let mut reader = Reader::from_str(xml);
    let mut parser = Parser::default();
    loop {
        let offset = usize::try_from(reader.buffer_position()).unwrap_or(xml.len());
        let event = reader.read_event().map_err(|error| {
            let offset = usize::try_from(reader.error_position()).unwrap_or(xml.len());
            at(xml, offset, parser.innermost(), &error.to_string())
        })?;
        if let Event::Eof = event {
            return parser.finish().map_err(|fault| at(xml, offset, "", &fault));
        }
        parser.event(&event).map_err(|fault| match &event {
            Event::Start(tag) | Event::Empty(tag) => at(xml, offset, tag.name().as_ref(), &fault),
            _ => at(xml, offset, parser.innermost(), &fault),
        })?;
    }
}

/// The error for a fault at byte `offset`.
fn at(xml: &str, offset: usize, element: &str, fault: &str) -> Error {
    let line = 1 + xml.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    // The words are a stranger's and may reach a terminal.
    let plain = |text: &str, most| -> String {
        text.chars().take(most).map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    let (element, fault) = (plain(element, 64), plain(fault, 300));
    let inside = if element.is_empty() { String::new() } else { format!(", <{element}>") };
    Error::bad_input(format!("introspection XML, line {line}, byte {offset}{inside}: {fault}"))
}

/// An open element.
enum Frame {
    Node {
        name: Option<String>,
        node: Node,
        children: BTreeSet<String>,
    },
    Interface {
        name: String,
        interface: Interface,
        properties: BTreeMap<String, RawProperty>,
        default: Emits,
    },
    Method {
        name: String,
        method: Method,
    },
    Signal {
        name: String,
        signal: Signal,
    },
    Property {
        name: String,
        property: RawProperty,
    },
    /// An argument or annotation: nothing inside it matters here.
    Leaf(&'static str),
    /// An element of someone else's, with everything in it.
    Foreign,
}

/// What an `EmitsChangedSignal` annotation said.
type Emits = Option<EmitsChanged>;

/// A property whose interface may still say what it emits.
struct RawProperty {
    type_signature: String,
    access: Access,
    emits: Emits,
}

#[derive(Default)]
struct Parser {
    open: Vec<Frame>,
    root: Option<Node>,
}

impl Parser {
    fn innermost(&self) -> &'static str {
        self.open.last().map_or("", |frame| match frame {
            Frame::Node { .. } => "node",
            Frame::Interface { .. } => "interface",
            Frame::Method { .. } => "method",
            Frame::Signal { .. } => "signal",
            Frame::Property { .. } => "property",
            Frame::Leaf(name) => name,
            Frame::Foreign => "",
        })
    }

    fn finish(self) -> Result<Node, Fault> {
        match (self.open.is_empty(), self.root) {
            (true, Some(root)) => Ok(root),
            (true, None) => Err("there is no <node>".into()),
            (false, _) => Err(format!("the document ends inside {} elements", self.open.len())),
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::Empty(tag) => self.start(tag).and_then(|()| self.end()),
            Event::End(_) => self.end(),
            Event::Text(text) if self.open.is_empty() && !text.trim_start_matches('\u{feff}').trim().is_empty() => {
                Err("there is text outside of <node>".into())
            }
            Event::CData(_) if self.open.is_empty() => Err("there is text outside of <node>".into()),
            Event::GeneralRef(reference)
                if !matches!(self.open.last(), Some(Frame::Foreign))
                    && !reference.is_char_ref()
                    && resolve_predefined_entity(reference).is_none() =>
            {
                Err(format!("the entity {:?} is not one that XML predefines", &**reference))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("elements are nested more than {MAX_DEPTH} deep"));
        }
        // What is written in someone else's elements is theirs: documentation uses entities of its own.
        let is_ours = self.open.is_empty() || WORDS.contains(&tag.name().as_ref());
        if !is_ours || matches!(self.open.last(), Some(Frame::Foreign | Frame::Leaf(_))) {
            self.open.push(Frame::Foreign);
            return Ok(());
        }
        let attributes = attributes(tag)?;
        let get = |name: &str| attributes.get(name).map(String::as_str);
        let require = |name: &str| get(name).ok_or_else(|| format!("the attribute {name:?} is missing"));
        let frame = match (self.open.last_mut(), tag.name().as_ref()) {
            (None, "node") if self.root.is_some() => return Err("there is a second root".into()),
            (None, "node") => {
                get("name").filter(|name| !name.is_empty()).map(root_name).transpose()?;
                Frame::Node { name: None, node: Node::default(), children: BTreeSet::new() }
            }
            (None, _) => return Err("the root is not <node>".into()),
            (Some(Frame::Node { children, .. }), "node") => {
                let name = child_name(require("name")?)?;
                children.insert(name.clone());
                limit(children.len(), MAX_CHILDREN, "children")?;
                Frame::Node { name: Some(name), node: Node::default(), children: BTreeSet::new() }
            }
            (Some(Frame::Node { node, .. }), "interface") => {
                limit(node.interfaces.len() + 1, MAX_INTERFACES, "interfaces")?;
                let name = interface_name(require("name")?)?;
                let (interface, properties) = (Interface::default(), BTreeMap::new());
                Frame::Interface { name, interface, properties, default: None }
            }
            (Some(Frame::Interface { interface, .. }), "method") => {
                limit(interface.methods.len() + 1, MAX_MEMBERS, "methods")?;
                Frame::Method { name: member_name(require("name")?)?, method: Method::default() }
            }
            (Some(Frame::Interface { interface, .. }), "signal") => {
                limit(interface.signals.len() + 1, MAX_MEMBERS, "signals")?;
                Frame::Signal { name: member_name(require("name")?)?, signal: Signal::default() }
            }
            (Some(Frame::Interface { properties, .. }), "property") => {
                limit(properties.len() + 1, MAX_MEMBERS, "properties")?;
                let type_signature = type_signature(require("type")?)?;
                let property = RawProperty { type_signature, access: access(require("access")?)?, emits: None };
                Frame::Property { name: property_name(require("name")?)?, property }
            }
            (Some(Frame::Method { method, .. }), "arg") => {
                let args = match get("direction") {
                    None | Some("in") => &mut method.inputs,
                    Some("out") => &mut method.outputs,
                    Some(other) => return Err(format!("{other:?} is no direction; it is \"in\" or \"out\"")),
                };
                push_arg(args, get("name"), require("type")?)?;
                Frame::Leaf("arg")
            }
            (Some(Frame::Signal { signal, .. }), "arg") => {
                push_arg(&mut signal.args, get("name"), require("type")?)?;
                Frame::Leaf("arg")
            }
            (Some(parent), "annotation") => {
                annotate(parent, get("name").unwrap_or_default(), get("value").unwrap_or_default());
                Frame::Leaf("annotation")
            }
            (Some(_), _) => return Err(format!("this element does not belong into <{}>", self.innermost())),
        };
        self.open.push(frame);
        Ok(())
    }

    /// Closes the innermost element and hands it to the one around it; the first of a name stays.
    fn end(&mut self) -> Result<(), Fault> {
        let closed = self.open.pop().ok_or("an element is closed that was not opened")?;
        match (self.open.last_mut(), closed) {
            (None, Frame::Node { node, children, .. }) => self.root = Some(complete(node, children)),
            (Some(Frame::Node { node: parent, .. }), Frame::Node { name: Some(name), node, children }) => {
                let child = complete(node, children);
                if child != Node::default() {
                    parent.inline.entry(name).or_insert(child);
                }
            }
            (Some(Frame::Node { node, .. }), Frame::Interface { name, mut interface, properties, default }) => {
                interface.properties =
                    properties.into_iter().map(|(name, raw)| (name, raw.complete(default))).collect();
                node.interfaces.entry(name).or_insert(interface);
            }
            (Some(Frame::Interface { interface, .. }), Frame::Method { name, method }) => {
                interface.methods.entry(name).or_insert(method);
            }
            (Some(Frame::Interface { interface, .. }), Frame::Signal { name, signal }) => {
                interface.signals.entry(name).or_insert(signal);
            }
            (Some(Frame::Interface { properties, .. }), Frame::Property { name, property }) => {
                properties.entry(name).or_insert(property);
            }
            _ => {}
        }
        Ok(())
    }
}

impl RawProperty {
    fn complete(self, default: Emits) -> Property {
        let emits_changed = self.emits.or(default).unwrap_or_default();
        Property { type_signature: self.type_signature, access: self.access, emits_changed }
    }
}

fn complete(mut node: Node, children: BTreeSet<String>) -> Node {
    node.children = children.into_iter().collect();
    node
}

fn limit(count: usize, most: usize, what: &str) -> Result<(), Fault> {
    if count > most { Err(format!("there are more than {most} {what}")) } else { Ok(()) }
}

/// The attributes of `tag`, with predefined entities and character references resolved.
fn attributes(tag: &BytesStart<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut attributes = BTreeMap::new();
    for (index, attribute) in tag.attributes().enumerate() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        limit(index + 1, MAX_ATTRIBUTES, "attributes")?;
        if attribute.value.len() > MAX_ATTRIBUTE_BYTES {
            return Err(format!("an attribute is longer than {MAX_ATTRIBUTE_BYTES} bytes"));
        }
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|error| error.to_string())?;
        attributes.insert(attribute.key.as_ref().to_owned(), value.into_owned());
    }
    Ok(attributes)
}

fn annotate(parent: &mut Frame, name: &str, value: &str) {
    let emits = || match value {
        "true" => EmitsChanged::True,
        "invalidates" => EmitsChanged::Invalidates,
        "const" => EmitsChanged::Const,
        _ => EmitsChanged::False,
    };
    match (parent, name.strip_prefix("org.freedesktop.DBus.")) {
        (Frame::Method { method, .. }, Some("Deprecated")) => method.deprecated = value == "true",
        (Frame::Method { method, .. }, Some("Method.NoReply")) => method.no_reply = value == "true",
        (Frame::Property { property, .. }, Some("Property.EmitsChangedSignal")) => property.emits = Some(emits()),
        (Frame::Interface { default, .. }, Some("Property.EmitsChangedSignal")) => *default = Some(emits()),
        _ => {}
    }
}

fn push_arg(args: &mut Vec<Arg>, name: Option<&str>, type_text: &str) -> Result<(), Fault> {
    limit(args.len() + 1, MAX_ARGS, "arguments")?;
    let name = name.filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.len() > MAX_NAME || name.contains(char::is_control)) {
        return Err(format!("an argument's name is longer than {MAX_NAME} bytes or has control characters"));
    }
    args.push(Arg { name: name.map(str::to_owned), type_signature: type_signature(type_text)? });
    Ok(())
}

//! Introspection as XML in one canonical form.

use super::{Arg, EmitsChanged, Interface, Node};
use quick_xml::escape::escape;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// `node` as introspection XML: sorted, two spaces a level, annotations only where they say something.
///
/// Of what [`super::parse`] accepts, `parse(&to_xml(&node))` is `node` again.
#[must_use]
pub fn to_xml(node: &Node) -> String {
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    // Writing to a string cannot fail.
    let _ = write_node(&mut xml, node, 1);
    xml.push_str("</node>\n");
    xml
}

fn write_node(xml: &mut String, node: &Node, level: usize) -> fmt::Result {
    let indent = "  ".repeat(level);
    for (name, interface) in &node.interfaces {
        writeln!(xml, "{indent}<interface name=\"{}\">", escape(name))?;
        write_interface(xml, interface, &format!("{indent}  "))?;
        writeln!(xml, "{indent}</interface>")?;
    }
    let inline = node.inline.iter().map(|(name, child)| (name, Some(child)));
    let mut children: BTreeMap<_, _> = node.children.iter().map(|name| (name, None)).collect();
    children.extend(inline);
    for (name, child) in children {
        match child {
            None => writeln!(xml, "{indent}<node name=\"{}\"/>", escape(name))?,
            Some(child) => {
                writeln!(xml, "{indent}<node name=\"{}\">", escape(name))?;
                write_node(xml, child, level + 1)?;
                writeln!(xml, "{indent}</node>")?;
            }
        }
    }
    Ok(())
}

fn write_interface(xml: &mut String, interface: &Interface, indent: &str) -> fmt::Result {
    for (name, method) in &interface.methods {
        let mut inner = String::new();
        write_args(&mut inner, &method.inputs, " direction=\"in\"", indent)?;
        write_args(&mut inner, &method.outputs, " direction=\"out\"", indent)?;
        if method.deprecated {
            write_annotation(&mut inner, "Deprecated", "true", indent)?;
        }
        if method.no_reply {
            write_annotation(&mut inner, "Method.NoReply", "true", indent)?;
        }
        write_element(xml, "method", &format!("name=\"{}\"", escape(name)), &inner, indent)?;
    }
    for (name, property) in &interface.properties {
        let mut inner = String::new();
        if property.emits_changed != EmitsChanged::True {
            let value = property.emits_changed.as_str();
            write_annotation(&mut inner, "Property.EmitsChangedSignal", value, indent)?;
        }
        let (type_signature, access) = (escape(&property.type_signature), property.access.as_str());
        let attributes = format!("name=\"{}\" type=\"{type_signature}\" access=\"{access}\"", escape(name));
        write_element(xml, "property", &attributes, &inner, indent)?;
    }
    for (name, signal) in &interface.signals {
        let mut inner = String::new();
        write_args(&mut inner, &signal.args, "", indent)?;
        write_element(xml, "signal", &format!("name=\"{}\"", escape(name)), &inner, indent)?;
    }
    Ok(())
}

fn write_element(xml: &mut String, element: &str, attributes: &str, inner: &str, indent: &str) -> fmt::Result {
    if inner.is_empty() {
        writeln!(xml, "{indent}<{element} {attributes}/>")
    } else {
        writeln!(xml, "{indent}<{element} {attributes}>\n{inner}{indent}</{element}>")
    }
}

fn write_args(xml: &mut String, args: &[Arg], direction: &str, indent: &str) -> fmt::Result {
    for arg in args {
        let name = arg.name.as_ref().map(|name| format!(" name=\"{}\"", escape(name))).unwrap_or_default();
        writeln!(xml, "{indent}  <arg{name} type=\"{}\"{direction}/>", escape(&arg.type_signature))?;
    }
    Ok(())
}

fn write_annotation(xml: &mut String, name: &str, value: &str, indent: &str) -> fmt::Result {
    writeln!(xml, "{indent}  <annotation name=\"org.freedesktop.DBus.{name}\" value=\"{value}\"/>")
}

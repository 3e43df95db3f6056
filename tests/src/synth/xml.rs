//! Introspection of a [`Spec`], honest or not.

use super::spec::{Access, Arg, Method, Property, Signal, Spec};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The interfaces every object has.
pub const STANDARD: &str = concat!(
    "<interface name=\"org.freedesktop.DBus.Introspectable\"><method name=\"Introspect\">",
    "<arg name=\"xml_data\" type=\"s\" direction=\"out\"/></method></interface>",
    "<interface name=\"org.freedesktop.DBus.Peer\"><method name=\"Ping\"/><method name=\"GetMachineId\">",
    "<arg name=\"machine_uuid\" type=\"s\" direction=\"out\"/></method></interface>",
    "<interface name=\"org.freedesktop.DBus.Properties\"><method name=\"Get\"><arg type=\"s\" direction=\"in\"/>",
    "<arg type=\"s\" direction=\"in\"/><arg type=\"v\" direction=\"out\"/></method><method name=\"Set\">",
    "<arg type=\"s\" direction=\"in\"/><arg type=\"s\" direction=\"in\"/><arg type=\"v\" direction=\"in\"/></method>",
    "<method name=\"GetAll\"><arg type=\"s\" direction=\"in\"/><arg type=\"a{sv}\" direction=\"out\"/></method>",
    "<signal name=\"PropertiesChanged\"><arg type=\"s\"/><arg type=\"a{sv}\"/><arg type=\"as\"/></signal></interface>"
);

const HEAD: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
                    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// The XML of the object `path`; `objects` are the paths of all objects, `methods` the methods as they are now.
#[must_use]
pub fn node(spec: &Spec, path: &str, objects: &BTreeSet<String>, methods: &[Method]) -> Option<String> {
    let children = children(path, objects);
    let is_object = objects.contains(path);
    if !is_object && children.is_empty() {
        return None;
    }
    let mut out = format!("{HEAD}<node>");
    if is_object {
        out.push_str(STANDARD);
    }
    if path.starts_with(&spec.transaction.prefix) {
        let t = &spec.transaction;
        let own: Vec<Method> = spec.transaction_methods().into_iter().cloned().collect();
        let own: Vec<&Method> = own.iter().collect();
        let signals = [&t.item, &t.size, &t.error, &t.progress, &t.touched, &t.done, &t.noise];
        interface(&mut out, &t.interface, &own, &[], &signals);
    }
    for name in [&spec.interface, &spec.second_interface] {
        let own: Vec<&Method> = methods.iter().filter(|m| m.path == path && m.interface == *name).collect();
        let properties: Vec<&Property> =
            spec.properties.iter().filter(|p| p.path == path && p.interface == *name).collect();
        if !(own.is_empty() && properties.is_empty()) {
            interface(&mut out, name, &own, &properties, &[]);
        }
    }
    for child in children {
        let _ = write!(out, "<node name=\"{child}\"/>");
    }
    out.push_str("</node>\n");
    Some(out)
}

/// The next element of every path below `path`.
fn children(path: &str, objects: &BTreeSet<String>) -> BTreeSet<String> {
    let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
    let below = objects.iter().filter_map(|object| object.strip_prefix(&prefix));
    below.filter(|rest| !rest.is_empty()).filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect()
}

fn interface(out: &mut String, name: &str, methods: &[&Method], properties: &[&Property], signals: &[&Signal]) {
    let _ = write!(out, "<interface name=\"{name}\">");
    for method in methods {
        let _ = write!(out, "<method name=\"{}\">", method.member);
        let mut arg = |arg: &Arg, direction| {
            let _ = write!(out, "<arg name=\"{}\" type=\"{}\" direction=\"{direction}\"/>", arg.name, arg.sig);
        };
        method.inputs.iter().for_each(|input| arg(input, "in"));
        method.outputs.iter().for_each(|output| arg(output, "out"));
        out.push_str("</method>");
    }
    for property in properties {
        let access = match property.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "readwrite",
        };
        let (name, signature) = (&property.name, property.initial.sig());
        let _ = write!(out, "<property name=\"{name}\" type=\"{signature}\" access=\"{access}\"/>");
    }
    for signal in signals {
        let _ = write!(out, "<signal name=\"{}\">", signal.name);
        for column in &signal.columns {
            let _ = write!(out, "<arg name=\"{}\" type=\"{}\"/>", column.arg.name, column.arg.sig);
        }
        out.push_str("</signal>");
    }
    out.push_str("</interface>");
}

/// What a service says that wants to hurt its reader; `honest` is what it would have said.
///
/// `deep`: elements nested 200,000 deep. `huge`: 28 MB of interfaces, all
/// that fits into a message. `wide`: a million children. `entities`: a
/// billion laughs. `external`: an external entity. `cycle`: a child that leads back. `names`: names that are none.
/// `text`: no XML at all. `cut`: half of the honest one. `types`: impossible type signatures.
#[must_use]
pub fn hostile(kind: &str, honest: &str) -> String {
    match kind {
        "deep" => format!("{}{}", "<node name=\"a\">".repeat(200_000), "</node>".repeat(200_000)),
        "huge" => format!("<node>{}</node>", "<interface name=\"a.b\"><method name=\"M\"/></interface>".repeat(500_000)),
        "wide" => {
            let children: String = (0..1_000_000).map(|n| format!("<node name=\"n{n}\"/>")).collect();
            format!("<node>{children}</node>")
        }
        "entities" => {
            let mut out = String::from("<!DOCTYPE node [<!ENTITY a0 \"ha\">");
            for n in 1..20 {
                let _ = write!(out, "<!ENTITY a{n} \"{}\">", format!("&a{};", n - 1).repeat(10));
            }
            out + "]><node name=\"&a19;\"><interface name=\"&a19;\"/></node>"
        }
        "external" => {
            "<!DOCTYPE node [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><node><interface name=\"a.b\"><method name=\"&x;\"/></interface></node>".into()
        }
        // Every object has a child of the same kind: a walk that trusts it never ends.
        "cycle" => honest.replacen("</node>", "<node name=\"again\"/><node name=\"and_again\"/></node>", 1),
        "names" => {
            "<node><node name=\"../..\"/><node name=\"\"/><node name=\"/\"/><interface name=\"no\u{1b}[31mname\"/></node>".into()
        }
        "types" => {
            "<node><interface name=\"a.b\"><property name=\"P\" type=\"a{vs}\" access=\"read\"/><method name=\"M\"><arg type=\"((((\" direction=\"in\"/></method></interface></node>".into()
        }
        "cut" => honest[..honest.len() / 2].to_owned(),
        _ => "this is no XML".into(),
    }
}

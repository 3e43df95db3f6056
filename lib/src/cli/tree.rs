//! A service's objects, interfaces and members as a tree for people.

use super::escape::one_line;
use crate::bus::introspection::{Arg, Interface};
use crate::bus::walk::Tree;
use std::fmt::Write;

/// The tree: each object with its interfaces, then each interface once with its members and their types.
#[must_use]
pub fn render(service: &str, tree: &Tree) -> String {
    let mut out = format!("{}\n", one_line(service));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\nObjects");
    for (path, interfaces) in &tree.objects {
        let names = interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "  {}  {}", one_line(path), one_line(&names));
    }
    for (name, interface) in &tree.interfaces {
        let _ = writeln!(out, "\n{}", one_line(name));
        render_members(&mut out, interface);
    }
    for problem in &tree.problems {
        let _ = writeln!(out, "\ncould not read: {}", one_line(problem));
    }
    out
}

fn render_members(out: &mut String, interface: &Interface) {
    for (name, property) in &interface.properties {
        let _ = writeln!(
            out,
            "  property  {}: {}  {}",
            one_line(name),
            one_line(&property.type_signature),
            property.access.as_str()
        );
    }
    for (name, method) in &interface.methods {
        let _ =
            writeln!(out, "  method    {}({}) -> ({})", one_line(name), args(&method.inputs), args(&method.outputs));
    }
    for (name, signal) in &interface.signals {
        let _ = writeln!(out, "  signal    {}({})", one_line(name), args(&signal.args));
    }
}

fn args(args: &[Arg]) -> String {
    let one = |arg: &Arg| match &arg.name {
        Some(name) => format!("{} {}", one_line(&arg.type_signature), one_line(name)),
        None => one_line(&arg.type_signature).into_owned(),
    };
    args.iter().map(one).collect::<Vec<_>>().join(", ")
}

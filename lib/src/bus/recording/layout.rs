//! A recording as text: indented, but what fits on a line stays on one.

use super::Recording;
use serde_json::{Value, json};

/// Longest line that holds a whole value.
const WIDTH: usize = 160;

pub(super) fn text(recording: &Recording) -> String {
    let Value::Object(mut fields) = json!(recording) else { return String::new() };
    let mut out = String::from("{\n");
    // The order in which a reader wants to know, not the alphabet's.
    let order = ["kind", "version", "service", "time", "plugin", "left_out", "introspection", "calls"];
    let known = order.iter().filter_map(|name| Some((*name, fields.remove(*name)?))).collect::<Vec<_>>();
    for (position, (name, value)) in known.iter().enumerate() {
        out.push_str(&format!("  {}: ", json!(name)));
        write(&mut out, value, 2, name.len() + 6);
        out.push_str(if position + 1 < known.len() { ",\n" } else { "\n" });
    }
    out.push_str("}\n");
    out
}

/// Writes `value` at `indent`, where `before` characters of the line are taken already.
fn write(out: &mut String, value: &Value, indent: usize, before: usize) {
    let flat = value.to_string();
    let is_container = value.as_array().is_some_and(|items| !items.is_empty())
        || value.as_object().is_some_and(|fields| !fields.is_empty());
    // The lists of a whole recording are always one element a line.
    if !is_container || (indent > 2 && before + flat.len() < WIDTH) {
        out.push_str(&flat);
        return;
    }
    let inner = indent + 2;
    let pad = " ".repeat(inner);
    match value {
        Value::Array(items) => {
            out.push_str("[\n");
            for (position, item) in items.iter().enumerate() {
                out.push_str(&pad);
                write(out, item, inner, inner);
                out.push_str(if position + 1 < items.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}]", " ".repeat(indent)));
        }
        Value::Object(fields) => {
            out.push_str("{\n");
            for (position, (name, value)) in fields.iter().enumerate() {
                let name = json!(name).to_string();
                out.push_str(&format!("{pad}{name}: "));
                write(out, value, inner, inner + name.len() + 2);
                out.push_str(if position + 1 < fields.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}}}", " ".repeat(indent)));
        }
        _ => {}
    }
}

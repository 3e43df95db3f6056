//! What a person is shown before anything is called: the exact calls, and how each is taken back.

use crate::state::{Action, Plan, UndoClass};
use serde_json::Value;

/// The text before the question.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for (plugin, call) in &plan.checkpoints {
        let (member, args) = (&call.member, arguments(&call.args));
        out.push_str(&on_one_line(&format!("First {plugin} keeps its own state: {member} {args}")));
        out.push_str("\n\n");
    }
    for action in &plan.actions {
        let line = |name: &str, value: &str| format!("  {name}: {}\n", on_one_line(value));
        if action.call.is_on_host() {
            out.push_str("About to change this host:\n");
            out.push_str(&line("By", &action.call.interface));
            out.push_str(&line("What", &action.call.path));
            out.push_str(&line("Do", &format!("{} {}", action.call.member, arguments(&action.call.args))));
        } else {
            out.push_str("About to call D-Bus method:\n");
            out.push_str(&line("Service", &action.call.service));
            match &action.via {
                Some(factory) => out.push_str(&line("Path", &format!("the object that {factory} makes"))),
                None => out.push_str(&line("Path", &action.call.path)),
            }
            out.push_str(&line("Method", &action.call.member));
            out.push_str(&line("Interface", &action.call.interface));
            out.push_str(&line("Arguments", &arguments(&action.call.args)));
            out.push_str(&line("Types", &action.call.type_signature));
        }
        out.push_str(&line("Changes", &action.title));
        out.push_str(&line("Undo", &undo(action)));
        out.push('\n');
        if let Some(preview) = &action.preview {
            out.push_str(&on_one_line(&preview.text));
            if !preview.also.is_empty() {
                out.push_str(&format!("\nBesides those named: {}", on_one_line(&preview.also.join(", "))));
            }
            out.push_str("\n\n");
        }
    }
    out
}

/// A name that a service or a document gives can forge no line of the text that is agreed to.
fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

fn arguments(args: &[Value]) -> String {
    args.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

fn undo(action: &Action) -> String {
    let class = match action.undo.class {
        UndoClass::Exact => "exact",
        UndoClass::Compensating => "compensating",
        UndoClass::Irreversible => return "none: this cannot be undone".into(),
    };
    match &action.undo.call {
        Some(call) => format!("{} {} ({class})", call.member, arguments(&call.args)),
        None => "nothing to undo".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Call;
    use crate::state::{Undo, plan::Preview};
    use std::collections::BTreeMap;

    #[test]
    fn no_name_forges_a_line() {
        let forged = "a\n  Undo: nothing to worry about\r\u{1b}[2K";
        let action = Action {
            id: "1".into(),
            plugin: "p".into(),
            resources: Vec::new(),
            title: format!("Install {forged}"),
            call: Call::new("a.b", "/a", "a.b", "M").with("s", vec![forged.into()]),
            via: Some(forged.into()),
            undo: Undo { class: UndoClass::Irreversible, call: None },
            requires_confirmation: true,
            needs: Vec::new(),
            preview: Some(Preview { also: vec![forged.into()], text: forged.into(), ..Preview::default() }),
            done: Vec::new(),
            changes: Vec::new(),
        };
        let shown = text(&Plan::new(Value::Null, None, None, BTreeMap::new(), vec![action]));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("  Undo:")).count(), 1, "{shown}");
        assert_eq!(lines.len(), 13, "{shown}");
        assert!(!shown.contains(['\r', '\u{1b}']), "{shown}");
    }
}

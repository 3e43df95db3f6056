//! What a person is shown before anything is called: the exact calls, and how each is taken back.

use crate::state::{Action, Plan, UndoClass};
use serde_json::Value;

/// The text before the question.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for action in &plan.actions {
        out.push_str("About to call D-Bus method:\n");
        let line = |name: &str, value: &str| format!("  {name}: {value}\n");
        out.push_str(&line("Service", &action.call.service));
        match &action.via {
            Some(factory) => out.push_str(&line("Path", &format!("a transaction made by {factory}"))),
            None => out.push_str(&line("Path", &action.call.path)),
        }
        out.push_str(&line("Method", &action.call.member));
        out.push_str(&line("Interface", &action.call.interface));
        out.push_str(&line("Arguments", &arguments(&action.call.args)));
        out.push_str(&line("Types", &action.call.type_signature));
        out.push_str(&line("Changes", &action.title));
        out.push_str(&line("Undo", &undo(action)));
        out.push('\n');
        if let Some(preview) = &action.preview {
            out.push_str(&preview.text);
            out.push_str("\n\n");
        }
    }
    out
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

//! Plans and reports for people, or as documents.

use super::Out;
use super::escape::one_line;
use crate::apply::{Report, RunOutcome, confirmation};
use crate::base::Result;
use crate::base::name::PluginName;
use crate::package::create::IntrospectionDocument;
use crate::plugin::listing::{ListedPlugin, Listing};
use crate::state::{Change, Plan, PluginState, StateDocument};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Prints the state of plugins on standard output: the document, or for people a line a key.
pub fn state(out: &mut Out, document: &StateDocument) -> Result<()> {
    if out.look().is_json {
        return out.document(document);
    }
    out.table(&["KEY", "VALUE"], &state_rows(document))
}

/// A row for each key, and for each property seen beyond them: what it is called, and its value.
pub(super) fn state_rows(document: &StateDocument) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, state) in &document.plugins {
        rows.extend(state.values.iter().map(|(key, value)| vec![format!("{name}.{key}"), value.to_string()]));
        for (path, interface, property, value) in observed(state) {
            rows.push(vec![format!("{name} {path} {interface}.{property}"), value.to_string()]);
        }
    }
    rows
}

/// What was seen beyond the mapped keys, one property each.
fn observed(state: &PluginState) -> impl Iterator<Item = (&str, &str, &str, &Value)> {
    members(state.observed.as_ref().unwrap_or(&Value::Null)).flat_map(|(path, interfaces)| {
        members(interfaces).flat_map(move |(interface, properties)| {
            members(properties)
                .map(move |(property, value)| (path.as_str(), interface.as_str(), property.as_str(), value))
        })
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Prints a plan on standard output: the document, or for people what would be asked.
pub fn plan(out: &mut Out, plan: &Plan) -> Result<()> {
    if out.look().is_json {
        return out.document(plan);
    }
    if plan.is_empty() {
        return out.text("Nothing to do: everything is as wanted.\n");
    }
    out.text(&confirmation::text(plan))?;
    let count = plan.actions.len();
    out.text(&format!("Plan {}: {count} call{}. Nothing was changed.\n", plan.id, if count == 1 { "" } else { "s" }))
}

/// Says which parts of a document were not compared, since they are only shown: whether they are so nobody knows.
pub fn not_compared(out: &mut Out, keys: &BTreeSet<String>) {
    if !keys.is_empty() {
        let keys = keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        out.note(&format!("Not compared, since it is only shown: {keys}. See what is so with op-query."));
    }
}

/// Prints the differences a plan would make go away, on standard error.
pub fn changes(out: &mut Out, plan: &Plan) {
    for change in plan.actions.iter().flat_map(|action| &action.changes) {
        let resource = change.resource().to_string();
        let text = match change {
            Change::Set { from, to, .. } => format!("~ {resource}: {from} -> {to}"),
            Change::Add { .. } => format!("+ {resource}"),
            Change::Remove { .. } | Change::Delete { .. } => format!("- {resource}"),
            Change::Create { to, .. } => format!("+ {resource}: {to}"),
            Change::Update { from, to, .. } => format!("~ {resource}: {from} -> {to}"),
        };
        out.aside(&one_line(&text));
    }
}

/// Prints a report on standard output.
pub fn report(out: &mut Out, report: &Report) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let text = match report.outcome {
        RunOutcome::Unchanged => "Nothing to do: everything is as wanted.\n".to_owned(),
        RunOutcome::Applied => format!("Done and verified (run {}).\n", report.run),
        RunOutcome::Undone => format!("It failed, and everything that was done was undone (run {}).\n", report.run),
        RunOutcome::Residue => {
            let lines: Vec<String> = report
                .residue
                .iter()
                .map(|r| format!("  {}: {}\n", one_line(&r.resource), one_line(&r.message)))
                .collect();
            format!("It failed, and this remains (run {}):\n{}", report.run, lines.concat())
        }
    };
    out.text(&text)
}

/// Prints that a plugin was created, and what can be done with it.
pub fn created(out: &mut Out, name: &PluginName, document: &IntrospectionDocument, folder: &Path) -> Result<()> {
    let (objects, interfaces) = (document.tree.objects.len(), document.tree.interfaces.len());
    if out.look().is_json {
        return out.document(&json!({
            "kind": "created",
            "version": 1,
            "plugin": name.as_str(),
            "service": document.service,
            "folder": folder.display().to_string(),
            "objects": objects,
            "interfaces": interfaces,
        }));
    }
    out.text(&format!(
        "Created {name} from {}: objects: {objects}, interfaces: {interfaces}, in {}\n\
         Read it:       op-query --plugin {name}\n\
         Make it write: op-install map {name}\n",
        document.service,
        folder.display()
    ))
}

/// Prints the list of plugins.
pub fn listing(out: &mut Out, listing: &Listing) -> Result<()> {
    if out.look().is_json {
        return out.document(listing);
    }
    let row = |plugin: &ListedPlugin| {
        vec![
            plugin.name.clone(),
            plugin.plugin_version.clone(),
            plugin.origin.clone(),
            plugin.service.clone().unwrap_or_default(),
            plugin.mapping.clone().unwrap_or_else(|| "none".into()),
            if plugin.can_apply { "query, apply" } else { "query" }.into(),
        ]
    };
    let rows: Vec<Vec<String>> = listing.plugins.iter().map(row).collect();
    out.table(&["PLUGIN", "VERSION", "ORIGIN", "SERVICE", "MAPPING", "CAN"], &rows)?;
    for problem in listing.plugins.iter().flat_map(|plugin| &plugin.problems) {
        out.warn(problem);
    }
    Ok(())
}

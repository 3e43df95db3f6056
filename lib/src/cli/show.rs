//! Plans and reports for people, or as documents.

use super::Out;
use super::escape::one_line;
use crate::apply::pending::{Pending, Waiting};
use crate::apply::recover::{Recovery, TakenBack};
use crate::apply::report::Residue;
use crate::apply::{ActionResult, Report, RunOutcome, confirmation};
use crate::audit::anomaly::{Anomalies, Anomaly, ENOUGH_DAYS, ENOUGH_RUNS};
use crate::audit::prune::Prunable;
use crate::audit::search::{Hit, Hits};
use crate::audit::verify::Verdict;
use crate::base::Result;
use crate::base::name::PluginName;
use crate::package::create::IntrospectionDocument;
use crate::plugin::listing::{ListedPlugin, Listing};
use crate::state::acknowledged::{Drift, Known};
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

/// Says which parts of a document are not so and were not compared, since they are only shown.
pub fn not_compared(out: &mut Out, keys: &BTreeSet<String>) {
    if !keys.is_empty() {
        let keys = keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        out.note(&format!("Not so, and not compared, since it is only shown: {keys}. See what is so with op-query."));
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
        RunOutcome::Applied => match &report.confirm_by {
            Some(moment) => format!(
                "Done and verified. It is taken back at {moment} unless you say: op-apply confirm {}\n",
                report.run
            ),
            None => format!("Done and verified (run {}).\n", report.run),
        },
        RunOutcome::Undone if report.actions.iter().any(|action| action.result == ActionResult::Undone) => {
            format!("It failed, and everything that was done was undone (run {}).\n", report.run)
        }
        RunOutcome::Undone => format!("It failed before anything was changed (run {}).\n", report.run),
        RunOutcome::Residue => format!("It failed, and this remains (run {}):\n{}", report.run, remaining(report)),
    };
    out.text(&text)
}

/// Says what of the drift is known, beside the plan that has all of it; whether there is any that is not.
pub fn drift(out: &mut Out, drift: &Drift) -> bool {
    let because = |known: &Known| known.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    for (resource, known) in &drift.known {
        out.note(&one_line(&format!("{resource} is known to differ until {}{}", known.until, because(known))));
    }
    for (resource, known) in &drift.expired {
        let told = format!("{resource} was known to differ until {}, and that is over{}", known.until, because(known));
        out.warn(&one_line(&told));
    }
    !drift.unknown.is_empty()
}

/// Prints that a run was confirmed.
pub fn confirmed(out: &mut Out, run: &str) -> Result<()> {
    if out.look().is_json {
        return out.document(&json!({"kind": "confirmed", "version": 1, "run": run}));
    }
    out.text(&format!("Confirmed: run {run} stays.\n"))
}

/// Prints the runs that wait to be confirmed.
pub fn waiting(out: &mut Out, waiting: &[Pending]) -> Result<()> {
    if out.look().is_json {
        return out.document(&Waiting::new(waiting));
    }
    let row = |run: &Pending| {
        let timer = run.timer.clone().unwrap_or_else(|| "none".into());
        vec![run.run.clone(), format!("{} s", run.remaining().as_secs()), run.plugins.join(", "), timer]
    };
    let rows: Vec<Vec<String>> = waiting.iter().map(row).collect();
    out.table(&["RUN", "LEFT", "PLUGINS", "TAKEN BACK BY"], &rows)
}

/// Prints what a recovery did.
pub fn recovery(out: &mut Out, recovery: &Recovery) -> Result<()> {
    if out.look().is_json {
        return out.document(recovery);
    }
    let mut text = String::new();
    for TakenBack { report, .. } in &recovery.runs {
        text.push_str(&match report.outcome {
            RunOutcome::Residue => format!("Took back run {}, but not all of it:\n{}", report.run, remaining(report)),
            _ => format!("Took back run {}: all is as it was before.\n", report.run),
        });
    }
    for run in &recovery.waiting {
        text.push_str(&format!("Run {run} still waits to be confirmed: op-apply confirm {run}\n"));
    }
    out.text(if text.is_empty() { "Nothing was left half done.\n" } else { &text })
}

fn remaining(report: &Report) -> String {
    let line = |r: &Residue| format!("  {}: {}\n", one_line(&r.resource), one_line(&r.message));
    report.residue.iter().map(line).collect()
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
            plugin.trust.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = listing.plugins.iter().map(row).collect();
    out.table(&["PLUGIN", "VERSION", "ORIGIN", "SERVICE", "MAPPING", "CAN", "TRUST"], &rows)?;
    for problem in listing.plugins.iter().flat_map(|plugin| &plugin.problems) {
        out.warn(problem);
    }
    Ok(())
}

/// What the lines of `op-audit log` say.
pub const LOG_COLUMNS: [&str; 5] = ["BLOCK", "TIME", "WHAT", "WHO", "RESOURCES"];

/// Prints what was found.
pub fn hits(out: &mut Out, found: &Hits) -> Result<()> {
    if out.look().is_json {
        return out.document(found);
    }
    let place = |hit: &Hit| hit.entry.map_or_else(|| hit.block.to_string(), |entry| format!("{}/{entry}", hit.block));
    let row =
        |hit: &Hit| vec![place(hit), hit.time.clone(), format!("{:.2}", hit.score), one_line(&hit.text).into_owned()];
    let rows: Vec<Vec<String>> = found.hits.iter().map(row).collect();
    out.table(&["BLOCK/ENTRY", "TIME", "FITS", "TEXT"], &rows)
}

/// Prints what is unusual.
pub fn anomalies(out: &mut Out, found: &Anomalies) -> Result<()> {
    if out.look().is_json {
        return out.document(found);
    }
    if found.is_learning {
        let (runs, days) = (found.runs, found.days);
        return out.text(&format!(
            "Learning: {runs} runs on {days} days are not enough to tell what is usual; {ENOUGH_RUNS} on {ENOUGH_DAYS} are.\n"
        ));
    }
    let row = |one: &Anomaly| vec![one.block.to_string(), one.time.clone(), one_line(&one.why).into_owned()];
    let rows: Vec<Vec<String>> = found.anomalies.iter().map(row).collect();
    out.table(&["BLOCK", "TIME", "UNUSUAL"], &rows)
}

/// Prints what was pruned.
pub fn pruned(out: &mut Out, what: Option<&Prunable>) -> Result<()> {
    if out.look().is_json {
        let (from, to) = (what.map(|what| what.from), what.map(|what| what.to));
        return out.document(&json!({"kind": "pruned", "version": 1, "from": from, "to": to}));
    }
    out.text(&match what {
        Some(what) => {
            format!("Took blocks {} to {} away; a summary of them is the newest block.\n", what.from, what.to)
        }
        None => "No block is as old as that.\n".to_owned(),
    })
}

/// Prints what is known about a trail.
pub fn verdict(out: &mut Out, verdict: &Verdict) -> Result<()> {
    if out.look().is_json {
        return out.document(verdict);
    }
    let first = verdict.pruned.as_ref().map_or(1, |pruned| pruned.to + 1);
    let mut text = match verdict.valid_to {
        0 => "Valid: no block\n".to_owned(),
        to => format!("Valid: blocks {first} to {to}, {} entries, head {}\n", verdict.entries, verdict.head),
    };
    if let Some(pruned) = &verdict.pruned {
        let how = if pruned.is_checked { "as a signed summary says" } else { "as a summary says; --trusted checks it" };
        text.push_str(&format!("Pruned: blocks 1 to {}, {} entries, {how}\n", pruned.to, pruned.entries));
    }
    if let Some(broken) = &verdict.broken {
        text.push_str(&format!("Broken: block {}: {}\n", broken.number, broken.why));
    }
    match verdict.anchored_to {
        Some(to) if to == verdict.valid_to => text.push_str("Anchored: all of it\n"),
        Some(to) => text.push_str(&format!("Not anchored: blocks {} to {}\n", to + 1, verdict.valid_to)),
        None => text.push_str("Not anchored: no head was kept elsewhere, or none was given (--against)\n"),
    }
    for line in &verdict.contradicted {
        text.push_str(&format!("Contradicted: {line}\n"));
    }
    for name in &verdict.foreign {
        text.push_str(&format!("Foreign: {}\n", one_line(name)));
    }
    out.text(&text)
}

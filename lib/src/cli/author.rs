//! The author's tools on a terminal or as documents, and the live service they look at.

use super::escape::one_line;
use super::{Cli, Out};
use crate::base::Result;
use crate::bus::{Bus, Manner, names, offline, walk};
use crate::plugin::author::learn::{LearnedChange, LearnedKey};
use crate::plugin::author::lint::fingerprint_text;
use crate::plugin::author::{DraftDocument, LearnedCommand, LearnedService, Level, LintReport, Surface};
use std::path::PathBuf;

impl Cli {
    /// What a service says of itself now. It was named by a person, so it is started if it has to be.
    pub fn survey(&mut self, bus: &Bus, service: &str, want: walk::Want) -> Result<Surface> {
        if names::owner_of(bus, service).is_err() {
            names::start(bus, service)?;
            self.out.note(&format!("{service} was not running; the bus started it"));
        }
        let progress = self.out.progress();
        let mut on_object = |count: usize| progress.spinner(&format!("{service}: {count} objects"));
        let tree = walk::walk(bus, service, want, Manner::default(), &mut on_object)?;
        let mut surface = Surface::of_tree(service, tree);
        surface.find_managers(bus);
        // What the machine describes beside the service: the interfaces of objects of which there is none now.
        let described = offline::read(&[PathBuf::from(offline::INTERFACES)], service).ok().filter(|_| !bus.is_remote());
        Ok(match described {
            Some(tree) => surface
                .with_absent_of(&Surface { source: offline::INTERFACES.into(), ..Surface::of_tree(service, tree) }),
            None => surface,
        })
    }
}

/// Prints a draft: where it went, what is in it, what is open; the text itself when it went nowhere.
pub fn draft(out: &mut Out, draft: &DraftDocument) -> Result<()> {
    if out.look().is_json {
        return out.document(draft);
    }
    let mut text = String::new();
    if draft.file.is_none() {
        text.push_str(&draft.mapping);
        text.push('\n');
    }
    let rows: Vec<String> = draft
        .keys
        .iter()
        .filter(|key| !["read_only", "query"].contains(&key.makes.as_str()) || key.is_active)
        .map(|key| {
            let state = match (key.is_active, key.needs_safe.is_empty()) {
                (true, _) => "taken".to_owned(),
                (false, false) if key.sureness != "guess" => {
                    format!("waits for your word that this only reads: {}", key.needs_safe.join(", "))
                }
                (false, _) => "as a comment".to_owned(),
            };
            format!("  {:<28} {:<7} {state}", key.key, key.sureness)
        })
        .collect();
    let about = if draft.file.is_some() { "" } else { "# " };
    let mut say = |line: &str| text.push_str(&format!("{about}{line}\n"));
    if let Some(file) = &draft.file {
        say(&format!("Wrote {file}, drafted from {}", draft.drafted_from));
    }
    rows.iter().for_each(|row| say(&one_line(row)));
    if let Some(lessons) = &draft.learned {
        let LearnedCommand { program, exit_code, seconds } = &lessons.command;
        say(&format!("{} ended with {exit_code} after {seconds:.1} s", one_line(program)));
        for call in &lessons.calls {
            let args = call.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            say(&one_line(&format!("  {}({args}) on {}: {}", call.member, call.path, call.became)));
        }
        if !lessons.is_before_known {
            say("  the service was not running before, so that nothing could be compared");
        }
        for LearnedService { service, calls, keys } in &lessons.others {
            say(&one_line(&format!("  {service} too, calls: {calls}, learnt: {}", keys.join(", "))));
        }
        for change in &lessons.changes {
            let LearnedChange { path, property, from, to, .. } = change;
            say(&one_line(&format!("  {property} on {path}: {from} -> {to}")));
        }
        for LearnedKey { key, from, to } in &lessons.keys {
            say(&one_line(&format!("  the mapping's {key}: {from} -> {to}")));
        }
    }
    say(&format!(
        "Check: {} errors, {} warnings, {} of advice",
        draft.lint.errors, draft.lint.warnings, draft.lint.advice
    ));
    match &draft.round_trip {
        Some(trip) => {
            say(&format!("Round trip: keys read: {}, changes: {}", trip.read.len(), trip.changes.len()));
            trip.changes.iter().for_each(|change| say(&format!("  would change: {}", one_line(change))));
            trip.problems.iter().for_each(|problem| say(&format!("  could not be read: {}", one_line(problem))));
        }
        None if draft.learned.is_some() => {}
        None => say("Round trip: the service was not asked"),
    }
    out.text(&text)
}

/// Prints what a check found.
pub fn lint(out: &mut Out, report: &LintReport) -> Result<()> {
    if out.look().is_json {
        return out.document(report);
    }
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!(
            "{}: {}: {}",
            finding.level.as_str(),
            one_line(&finding.place),
            one_line(&finding.what)
        ));
        text.push_str(&format!(" [{}]\n", finding.rule));
        for (label, words) in [("why", &finding.why), ("way out", &finding.hint)] {
            if !words.is_empty() {
                text.push_str(&format!("  {label}: {}\n", one_line(words)));
            }
        }
    }
    if report.findings.iter().any(|finding| finding.rule.contains("fingerprint")) && !report.fingerprint.is_empty() {
        text.push_str(&format!("\nThe fingerprint that fits:\n\n{}\n", fingerprint_text(&report.fingerprint)));
    }
    let name = if report.plugin.is_empty() { "the plugin" } else { &report.plugin };
    let counts = [(report.errors, Level::Error), (report.warnings, Level::Warning), (report.advice, Level::Advice)];
    let counts: Vec<String> = counts
        .iter()
        .map(|(count, level)| match (count, level) {
            (_, Level::Advice) => format!("{count} of advice"),
            (1, _) => format!("1 {}", level.as_str()),
            _ => format!("{count} {}s", level.as_str()),
        })
        .collect();
    text.push_str(&format!("{name}, checked against {}: {}\n", report.checked_against, counts.join(", ")));
    out.text(&text)
}

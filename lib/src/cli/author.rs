//! The author's tools on a terminal or as documents, and the live service they look at.

use super::escape::one_line;
use super::{Cli, Out};
use crate::base::Result;
use crate::bus::{Bus, Manner, names, walk};
use crate::plugin::author::lint::fingerprint_text;
use crate::plugin::author::{Level, LintReport, Surface};

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
        Ok(Surface::of_tree(service, tree))
    }
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

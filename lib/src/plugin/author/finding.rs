//! What a check of a mapping found: what, where, why it matters, and the way out.

use crate::base::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// The mapping cannot work so.
    Error,
    /// It works, and probably not as meant, or not safely.
    Warning,
    /// It could be better.
    Advice,
}

impl Level {
    /// Its word in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The rule's name, for example `unknown_member`.
    pub rule: String,
    /// File and line, as far as it is known.
    pub place: String,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// The way out.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub hint: String,
}

impl Finding {
    /// A finding without a way out yet.
    pub fn new(level: Level, rule: &str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            level,
            rule: rule.to_owned(),
            place: place.into(),
            what: what.into(),
            why: String::new(),
            hint: String::new(),
        }
    }

    /// Says why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Findings for an error and those that came with it.
    #[must_use]
    pub fn of_error(rule: &str, why: &str, error: &Error) -> Vec<Self> {
        let one = |error: &Error| {
            let place = error.subject.clone().unwrap_or_default();
            let hint = error.hint.clone().unwrap_or_default();
            Self::new(Level::Error, rule, place, error.message.clone()).why(why).hint(hint)
        };
        std::iter::once(error).chain(&error.also).map(one).collect()
    }
}

/// Everything that was found: the document of `op-install lint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LintReport {
    /// Always `lint`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name; empty when its manifest cannot be read.
    pub plugin: String,
    /// What the mapping was checked against.
    pub checked_against: String,
    /// How many errors.
    pub errors: usize,
    /// How many warnings.
    pub warnings: usize,
    /// How many pieces of advice.
    pub advice: usize,
    /// What was found, by file and line.
    pub findings: Vec<Finding>,
    /// The fingerprint that fits, of every member the mapping relies on and that was found.
    pub fingerprint: BTreeMap<String, String>,
}

impl LintReport {
    /// A report of `findings`.
    #[must_use]
    pub fn new(
        plugin: &str,
        checked_against: &str,
        mut findings: Vec<Finding>,
        fingerprint: BTreeMap<String, String>,
    ) -> Self {
        findings.sort_by(|a, b| natural(&a.place).cmp(&natural(&b.place)).then_with(|| a.cmp(b)));
        findings.dedup();
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self {
            kind: "lint".into(),
            version: 1,
            plugin: plugin.to_owned(),
            checked_against: checked_against.to_owned(),
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            advice: count(Level::Advice),
            findings,
            fingerprint,
        }
    }
}

/// A place for sorting: line 9 comes before line 10.
fn natural(place: &str) -> (String, usize) {
    let mut parts = place.splitn(3, ':');
    let file = parts.next().unwrap_or_default().to_owned();
    (file, parts.next().and_then(|line| line.trim().parse().ok()).unwrap_or(0))
}

//! What becomes of a draft: its own check, the round trip with the live service, and the document that tells of it.

use super::draft::{Draft, Kind};
use super::learn::{LearnedCall, LearnedChange, LearnedKey};
use super::lint::{self, Subject};
use super::{LintReport, Surface};
use crate::base::{Progress, Result};
use crate::bus::Bus;
use crate::plugin::{GenericPlugin, Manifest, Mapping, StatePlugin, Want};
use crate::state::{PluginState, Removal, diff_plugin};
use serde::{Deserialize, Serialize};

/// What reading with a mapping and reading again showed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoundTrip {
    /// Keys that were read.
    pub read: Vec<String>,
    /// What applying their values again would change: nothing, when all is well.
    pub changes: Vec<String>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

impl RoundTrip {
    /// Reads the state, and plans it back: nothing should have to be changed.
    pub fn make(bus: &Bus, manifest: &Manifest, mapping: &Mapping, progress: &mut dyn Progress) -> Self {
        let plugin = GenericPlugin::new(manifest, Some(mapping.clone()));
        bus.allow(plugin.safe_calls());
        let first = plugin.query(bus, &Want::State, progress);
        let mut trip = Self { read: first.values.keys().cloned().collect(), ..Self::default() };
        trip.problems.extend(first.problems.iter().map(ToString::to_string));
        let desired = PluginState { values: first.values, ..PluginState::default() };
        let again = plugin.query(bus, &Want::State, progress);
        match diff_plugin(plugin.name(), &desired, &again.values, plugin.keys(), &Removal::default()) {
            Ok(changes) => trip.changes.extend(changes.iter().map(|change| change.resource().to_string())),
            Err(error) => trip.changes.extend(std::iter::once(&error).chain(&error.also).map(ToString::to_string)),
        }
        trip
    }

    /// Whether everything was read and nothing would change.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.changes.is_empty() && self.problems.is_empty()
    }
}

/// One entry of a draft, as its document tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DraftedKey {
    /// The key of the state.
    pub key: String,
    /// `writable`, `collection`, `query`, `read_only`, or `skeleton` for what a person has to finish.
    pub makes: String,
    /// `sure`, `likely` or `guess`.
    pub sureness: String,
    /// Why.
    pub why: Vec<String>,
    /// Whether it is part of the mapping, or only a comment in it.
    pub is_active: bool,
    /// Methods it needs that nobody has called safe.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub needs_safe: Vec<String>,
}

/// How the command ended that was learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LearnedCommand {
    /// The program; its arguments are its own affair.
    pub program: String,
    /// Its exit code; 128 + N when signal N killed it.
    pub exit_code: i32,
    /// How long it took.
    pub seconds: f64,
}

/// What was seen while a command ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lessons {
    /// The command.
    pub command: LearnedCommand,
    /// The calls to the service, by whomever.
    pub calls: Vec<LearnedCall>,
    /// The properties that had another value afterwards.
    pub changes: Vec<LearnedChange>,
    /// The keys of the plugin's own mapping, if it has one, that read differently afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<LearnedKey>,
    /// Whether the service was looked at before: one that the command's call started was not there to be.
    pub is_before_known: bool,
    /// Other services that the command may have changed something of, when none was named.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub others: Vec<LearnedService>,
}

/// A service that was called too, and that the draft is not for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LearnedService {
    /// The service.
    pub service: String,
    /// How many calls were made to it that may have changed something.
    pub calls: usize,
    /// The keys that were learnt of it.
    pub keys: Vec<String>,
}

/// What was drafted: the document of `op-install map`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DraftDocument {
    /// Always `draft`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The plugin's name, when it is for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plugin: Option<String>,
    /// The service.
    pub service: String,
    /// What it was drafted from.
    pub drafted_from: String,
    /// The file that was written, if one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// The text of semantic-mapping.toml.
    pub mapping: String,
    /// The entries.
    pub keys: Vec<DraftedKey>,
    /// Members nothing was made of.
    pub unused: Vec<String>,
    /// What checking the draft found.
    pub lint: LintReport,
    /// What reading with it showed, when the service was there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub round_trip: Option<RoundTrip>,
    /// What it was learnt from, with `--learn`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub learned: Option<Lessons>,
}

impl DraftDocument {
    /// Checks a draft as the mapping of `manifest`, pins its fingerprint, and tells of it.
    #[must_use]
    pub fn new(draft: &Draft, manifest: &str, surface: &Surface) -> Self {
        let text = draft.text();
        let checked = |text: &str| {
            let name = "semantic-mapping.toml".to_owned();
            lint::lint(&Subject {
                manifest: ("plugin.toml".into(), Some(manifest.to_owned())),
                mapping: (name, Some(text.to_owned())),
                readme: ("README.md".into(), Some("-".into())),
                examples: Vec::new(),
                has_scenarios: true,
                untrusted: Vec::new(),
                surface: Some(surface.clone()),
            })
        };
        let text = Draft { fingerprint: checked(&text).fingerprint, ..draft.clone() }.text();
        let mut lint = checked(&text);
        // Documents and examples are the folder's affair, not the draft's.
        lint.findings.retain(|finding| finding.rule != "no_examples");
        let lint = LintReport::new(&lint.plugin, &lint.checked_against, lint.findings, lint.fingerprint);
        let key = |entry: &super::draft::Entry| DraftedKey {
            key: entry.key.clone(),
            makes: match entry.kind {
                Kind::Writable => "writable",
                Kind::Collection => "collection",
                Kind::Query => "query",
                Kind::ReadOnly => "read_only",
                Kind::Skeleton => "skeleton",
            }
            .into(),
            sureness: entry.sureness.as_str().into(),
            why: entry.why.clone(),
            is_active: entry.is_active(),
            needs_safe: entry.unasked().map(|method| method.member.clone()).collect(),
        };
        Self {
            kind: "draft".into(),
            version: 1,
            plugin: None,
            service: draft.service.clone(),
            drafted_from: draft.source.clone(),
            file: None,
            mapping: text,
            keys: draft.entries.iter().map(key).collect(),
            unused: draft.unused.clone(),
            lint,
            round_trip: None,
            learned: None,
        }
    }

    /// The mapping, parsed.
    pub fn parsed(&self) -> Result<Mapping> {
        Mapping::parse(&self.mapping, "semantic-mapping.toml", &self.service)
    }
}

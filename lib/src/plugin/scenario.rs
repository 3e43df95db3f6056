//! Scenarios: what a plugin's author says must come of it, given a recording, when a state is wanted.
//! `docs/PLUGIN-SCENARIOS.md` is the reference for people.

use super::from_toml;
use crate::base::{Error, Result};
use crate::state::StateDocument;
use crate::store::file;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Where scenarios lie in a plugin's folder.
pub const FOLDER: &str = "scenarios";

/// One scenario, its files found and its documents read.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The file's name without `.toml`.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// What it shows, for people.
    pub description: String,
    /// The recording that answers.
    pub recording: Option<PathBuf>,
    /// The state to bring about first on a live service.
    pub start: Option<StateDocument>,
    /// What is wanted.
    pub when: Option<StateDocument>,
    /// What must come of it.
    pub then: Then,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScenarioFile {
    /// What it shows, for people.
    #[serde(default)]
    description: String,
    /// What answers: on a replay a recording; live, the service, brought to a state first.
    given: Given,
    /// What is wanted: a state document of the plugin, or its bare state.
    when: Option<Wanted>,
    /// What must come of it.
    then: Then,
}

/// What answers.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a recording's file, or a table with recording and state")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
enum Given {
    /// The file of a recording, from the plugin's folder on.
    Recording(String),
    /// A recording, a state, or both.
    Both(GivenTable),
}

/// A recording, a state, or both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct GivenTable {
    /// The file of a recording, from the plugin's folder on.
    recording: Option<String>,
    /// The state that is brought about first on a live service.
    state: Option<Wanted>,
}

/// A state.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a state document's file, or the state itself")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
enum Wanted {
    /// The file of a state document, from the plugin's folder on.
    File(String),
    /// The bare state of the plugin.
    State(Map<String, Value>),
}

/// What must come of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Then {
    /// State that the query shows; of an object, only the keys mentioned count.
    pub query: Map<String, Value>,
    /// Items that lists of the query contain.
    pub contains: BTreeMap<String, Vec<Value>>,
    /// Items that lists of the query do not contain.
    pub lacks: BTreeMap<String, Vec<Value>>,
    /// The calls of the plan, in order and no others.
    pub calls: Option<Vec<ExpectedCall>>,
    /// The failure.
    pub error: Option<ExpectedError>,
}

/// One call of a plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExpectedCall {
    /// Its member.
    pub member: String,
    /// Its arguments; any, when left out.
    pub args: Option<Vec<Value>>,
    /// Its object path; any, when left out.
    pub path: Option<String>,
    /// Its interface; any, when left out.
    pub interface: Option<String>,
}

/// A failure that is wanted; what is left out may be anything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExpectedError {
    /// The word for its kind: `bad_input`.
    pub kind: Option<String>,
    /// What it happened to.
    pub subject: Option<String>,
    /// A part of its message.
    pub message: Option<String>,
}

impl ExpectedError {
    /// Whether `error`, or one that came with it, is this one.
    #[must_use]
    pub fn is_met_by(&self, error: &Error) -> bool {
        std::iter::once(error).chain(&error.also).any(|error| {
            self.kind.as_ref().is_none_or(|kind| kind == error.kind.as_str())
                && self.subject.as_ref().is_none_or(|subject| error.subject.as_ref() == Some(subject))
                && self.message.as_ref().is_none_or(|message| error.message.contains(message))
        })
    }
}

/// Reads every scenario in the `folder` of the plugin called `plugin`, by name. Every mistake in any is reported.
pub fn load(folder: &Path, plugin: &str) -> Result<Vec<Scenario>> {
    let place = folder.join(FOLDER);
    let entries = match std::fs::read_dir(&place) {
        Ok(entries) => entries.collect::<std::io::Result<Vec<_>>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let entries = entries.map_err(|error| Error::io("list the scenarios", &place, &error))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    if files.is_empty() {
        return Err(Error::bad_input("this plugin has no scenarios")
            .on(place.display().to_string())
            .hint("write scenarios/NAME.toml: docs/PLUGIN-SCENARIOS.md shows how"));
    }
    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match load_one(folder, plugin, &file) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(scenarios), Err)
}

fn load_one(folder: &Path, plugin: &str, file: &Path) -> Result<Scenario> {
    let name = file.display().to_string();
    let text = file::read(file)?.unwrap_or_default();
    let ScenarioFile { description, given, when, then } = from_toml(&text, &name)?;
    let given = match given {
        Given::Recording(recording) => GivenTable { recording: Some(recording), state: None },
        Given::Both(both) => both,
    };
    let refuse = |message: &str, hint: &str| Err(Error::bad_input(message).on(name.clone()).hint(hint));
    if given.recording.is_none() && given.state.is_none() {
        return refuse("nothing is given", "say given = \"recordings/NAME.json\", or [given] with state for --live");
    }
    if then == Then::default() {
        return refuse("nothing is said to come of it", "say [then] with query, calls or error");
    }
    if then.calls.is_some() && then.error.is_some() {
        return refuse("a plan has calls or fails", "say calls or error, one of them");
    }
    if when.is_some() != (then.calls.is_some() || then.error.is_some()) && then.error.is_none() {
        return refuse(
            "what is wanted and what is planned for it belong together",
            "say when, and calls or error in [then]; calls = [] means that nothing is to do",
        );
    }
    let inside = |path: &str| inside(folder, path).map_err(|error| error.on(format!("{name}: {path}")));
    let document = |wanted: Wanted| -> Result<StateDocument> {
        let (value, place) = match wanted {
            Wanted::State(state) => (Value::Object(state), name.clone()),
            Wanted::File(path) => {
                let file = inside(&path)?;
                let place = file.display().to_string();
                let text = file::read(&file)?.ok_or_else(|| {
                    Error::bad_input("there is no such file").on(place.clone()).hint(format!("it is named in {name}"))
                })?;
                let value = serde_json::from_str(&text)
                    .map_err(|error| Error::bad_input(format!("this is no JSON: {error}")).on(place.clone()))?;
                (value, place)
            }
        };
        StateDocument::from_json_for(&value, Some(plugin)).map_err(|error| {
            let at = error.subject.clone().unwrap_or_default();
            error.on(format!("{place}: {at}"))
        })
    };
    Ok(Scenario {
        name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        file: file.to_owned(),
        description,
        recording: given.recording.as_deref().map(inside).transpose()?,
        start: given.state.map(&document).transpose()?,
        when: when.map(&document).transpose()?,
        then,
    })
}

/// A file of the plugin's own: what a plugin names must not lead elsewhere.
fn inside(folder: &Path, path: &str) -> Result<PathBuf> {
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.is_empty() || !is_plain {
        return Err(Error::bad_input("this file is not in the plugin's folder").hint("name it from there on"));
    }
    Ok(folder.join(path))
}

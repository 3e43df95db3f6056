//! What a watch tells: one record a line.

use crate::base::{Error, time};
use crate::state::Change;
use serde::Serialize;
use serde_json::Value;
use std::time::SystemTime;

/// One line of `op-query --watch`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Record {
    /// A value as it was found when the watch began.
    Value(Present),
    /// Every value was told: what follows are changes.
    Watching(Watching),
    /// A value is another, or there is one more or one less.
    Change(Changed),
    /// A service went away, or came back.
    Service(ServiceRecord),
    /// Something cannot be read; it is tried again when there is a reason to.
    Problem(Problem),
    /// With `--against`: something is not as the document wants it, or not in another way than before.
    Drift(Drifted),
    /// With `--against`: what drifted is as wanted again.
    Settled(Settled),
}

/// How a change becomes known, and so how late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Freshness {
    /// The service sends the new value: known at once.
    Signal,
    /// The service says that something changed, and the value is read again: known as soon as that is read.
    Hint,
    /// Nobody says anything, so it is read again and again: known an interval later at the latest.
    Poll,
    /// The service was away: known when it came back, and true since some time while it was away.
    Returned,
}

/// A value as it was found when the watch began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Present {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When it was read, in UTC.
    pub time: String,
    /// Path of the value, as `--select` takes it.
    pub path: String,
    /// Plugin name.
    pub plugin: String,
    /// Key of the plugin's state, or `observed`.
    pub key: String,
    /// Beyond the mapped keys: `OBJECT-PATH INTERFACE.PROPERTY`. With `--select`: the member of the key's object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The value.
    pub value: Value,
    /// How changes of it become known.
    pub freshness: Freshness,
}

/// From here on, what is told is what changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Watching {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When, in UTC.
    pub time: String,
    /// The plugins that are watched.
    pub plugins: Vec<String>,
}

/// A change. Without `from` it was not there before, without `to` it is there no more.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Changed {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When the change became known, in UTC.
    pub time: String,
    /// Path of what changed, as `--select` takes it; for an item of a set, the set's.
    pub path: String,
    /// Plugin name.
    pub plugin: String,
    /// Key of the plugin's state, or `observed`.
    pub key: String,
    /// Member of the key's object, or item of its set; beyond the mapped keys `OBJECT-PATH INTERFACE.PROPERTY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The value now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// How the change became known.
    pub freshness: Freshness,
}

/// Whether a service is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Presence {
    /// Nobody owns its name: its values are the last ones known. It is not started for the watch's sake.
    Gone,
    /// Somebody owns its name again, and its values are read again.
    Back,
}

/// A service went away, or came back.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceRecord {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When, in UTC.
    pub time: String,
    /// Plugin name.
    pub plugin: String,
    /// Bus name of its service.
    pub service: String,
    /// Which of the two.
    pub state: Presence,
}

/// Something cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When, in UTC.
    pub time: String,
    /// Plugin name.
    pub plugin: String,
    /// Why, in the form of the error document.
    #[cfg_attr(feature = "schema", schemars(with = "Error"))]
    pub error: Value,
}

/// Something is not as it is wanted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Drifted {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When it became known, in UTC.
    pub time: String,
    /// Plugin name.
    pub plugin: String,
    /// What it is: `PLUGIN/KEY` or `PLUGIN/KEY/ITEM`.
    pub resource: String,
    /// The value it has; of an item, whether it is there, or the members that differ.
    pub is: Value,
    /// The value that is wanted, likewise.
    pub wanted: Value,
}

/// What drifted is as wanted again.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Settled {
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    version: u32,
    /// When it became known, in UTC.
    pub time: String,
    /// Plugin name.
    pub plugin: String,
    /// What it is: `PLUGIN/KEY` or `PLUGIN/KEY/ITEM`.
    pub resource: String,
}

impl Drifted {
    pub(super) fn of(resource: &str, change: &Change) -> Self {
        let (plugin, resource) = (change.resource().plugin, resource.to_owned());
        Self {
            version: 1,
            time: now(),
            plugin,
            resource,
            is: change.before().into_owned(),
            wanted: change.after().into_owned(),
        }
    }
}

impl Settled {
    pub(super) fn of(resource: &str, change: &Change) -> Self {
        Self { version: 1, time: now(), plugin: change.resource().plugin, resource: resource.to_owned() }
    }
}

impl From<Drifted> for Record {
    fn from(drifted: Drifted) -> Self {
        Self::Drift(drifted)
    }
}

impl From<Settled> for Record {
    fn from(settled: Settled) -> Self {
        Self::Settled(settled)
    }
}

/// Where a value is: what all records of it say the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the value.
    pub path: String,
    /// Plugin name.
    pub plugin: String,
    /// Key.
    pub key: String,
    /// Member, item, or property.
    pub item: Option<String>,
}

fn now() -> String {
    time::rfc3339_ms(SystemTime::now())
}

impl Record {
    pub(super) fn value(place: Place, value: Value, freshness: Freshness) -> Self {
        let Place { path, plugin, key, item } = place;
        Self::Value(Present { version: 1, time: now(), path, plugin, key, item, value, freshness })
    }

    pub(super) fn change(place: Place, from: Option<Value>, to: Option<Value>, freshness: Freshness) -> Self {
        let Place { path, plugin, key, item } = place;
        Self::Change(Changed { version: 1, time: now(), path, plugin, key, item, from, to, freshness })
    }

    pub(super) fn watching(plugins: Vec<String>) -> Self {
        Self::Watching(Watching { version: 1, time: now(), plugins })
    }

    pub(super) fn service(plugin: &str, service: &str, state: Presence) -> Self {
        let (plugin, service) = (plugin.to_owned(), service.to_owned());
        Self::Service(ServiceRecord { version: 1, time: now(), plugin, service, state })
    }

    pub(super) fn problem(plugin: &str, error: &Error) -> Self {
        let error = error.to_json().get_mut("error").map(Value::take).unwrap_or_default();
        Self::Problem(Problem { version: 1, time: now(), plugin: plugin.to_owned(), error })
    }

    /// For people, on one line.
    #[must_use]
    pub fn line(&self) -> String {
        let of = |path: &str, item: &Option<String>, is_set: bool| match item {
            Some(item) if is_set => format!("{path} {item:?}"),
            _ => path.to_owned(),
        };
        let clock = |time: &str| time.split_once('T').map_or(time, |(_, clock)| clock.trim_end_matches('Z')).to_owned();
        match self {
            Self::Value(v) => format!("{} {} = {}", clock(&v.time), v.path, v.value),
            Self::Watching(w) => format!("{} watching {}", clock(&w.time), w.plugins.join(", ")),
            Self::Change(c) => {
                let how = match c.freshness {
                    Freshness::Signal | Freshness::Hint => String::new(),
                    Freshness::Poll => " (polled)".into(),
                    Freshness::Returned => " (while its service was away)".into(),
                };
                let is_item = c.item.as_ref().is_some_and(|item| {
                    [&c.from, &c.to].into_iter().flatten().any(|value| value == item)
                        && c.from.is_some() != c.to.is_some()
                });
                let place = of(&c.path, &c.item, false);
                let clock = clock(&c.time);
                match (&c.from, &c.to) {
                    (None, Some(to)) if is_item => format!("{clock} {place} + {to}{how}"),
                    (Some(from), None) if is_item => format!("{clock} {place} - {from}{how}"),
                    (None, Some(to)) => format!("{clock} + {place} = {to}{how}"),
                    (Some(from), None) => format!("{clock} - {place} (was {from}){how}"),
                    (Some(from), Some(to)) => format!("{clock} {place}: {from} -> {to}{how}"),
                    (None, None) => format!("{clock} {place}"),
                }
            }
            Self::Service(s) => {
                let state = if s.state == Presence::Gone { "is gone" } else { "is back" };
                format!("{} {}: {} {state}", clock(&s.time), s.plugin, s.service)
            }
            Self::Drift(d) => format!("{} {}: is {}, wanted {}", clock(&d.time), d.resource, d.is, d.wanted),
            Self::Settled(s) => format!("{} {}: as wanted again", clock(&s.time), s.resource),
            Self::Problem(p) => {
                let text = |field: &str| p.error[field].as_str().unwrap_or_default().to_owned();
                format!("{} {}: {}: {}", clock(&p.time), p.plugin, text("subject"), text("message"))
            }
        }
    }
}

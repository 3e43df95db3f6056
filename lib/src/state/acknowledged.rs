//! Drift that somebody knows about: it counts as none until a moment that was said, and not a second longer.

use crate::base::{Error, Result, time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::SystemTime;

/// What is known to differ, and until when that is fine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Acknowledged {
    /// Always `acknowledged`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The differences.
    pub drift: Vec<Known>,
}

/// One difference that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Known {
    /// What differs: `PLUGIN`, `PLUGIN/KEY` or `PLUGIN/KEY/ITEM`, and everything below it.
    pub resource: String,
    /// Until when: `2026-12-01`, or `2026-12-01T10:00:00Z`.
    pub until: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What is to be said about the differences that were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// Nobody knows of these, or no longer.
    pub unknown: Vec<String>,
    /// These are known, with the moment and the reason.
    pub known: Vec<(String, Known)>,
    /// These were known until a moment that is over.
    pub expired: Vec<(String, Known)>,
}

impl Acknowledged {
    /// Reads and checks the document; every mistake is reported.
    pub fn from_json(document: &Value) -> Result<Self> {
        let read: Self = serde_json::from_value(document.clone()).map_err(|error| {
            Error::bad_input(format!("this is no list of acknowledged drift: {error}"))
                .hint(r#"{"kind":"acknowledged","version":1,"drift":[{"resource":"hostname/location","until":"2026-12-01","reason":"moving"}]}"#)
        })?;
        if read.kind != "acknowledged" || read.version != 1 {
            return Err(Error::bad_input(format!("this is a {} of version {}", read.kind, read.version)).on("kind"));
        }
        let wrong = |(at, known): (usize, &Known)| {
            let error = |why: &str| Some(Error::bad_input(why.to_owned()).on(format!("drift[{at}]")));
            match (moment(&known.until), known.resource.is_empty()) {
                (None, _) => error("\"until\" is no moment: write 2026-12-01 or 2026-12-01T10:00:00Z"),
                (_, true) => error("\"resource\" is empty: that would be everything"),
                _ => None,
            }
        };
        Error::all(read.drift.iter().enumerate().filter_map(wrong).collect()).map_or(Ok(read), Err)
    }

    /// Sorts the resources that differ.
    #[must_use]
    pub fn sort<'r>(&self, resources: impl IntoIterator<Item = &'r str>, now: SystemTime) -> Drift {
        let mut drift = Drift::default();
        for resource in resources {
            let is_about = |known: &&Known| {
                resource == known.resource
                    || resource.strip_prefix(&known.resource).is_some_and(|rest| rest.starts_with('/'))
            };
            let is_over = |known: &Known| moment(&known.until).is_none_or(|until| until <= now);
            let about: Vec<&Known> = self.drift.iter().filter(is_about).collect();
            match (about.iter().find(|known| !is_over(known)), about.first()) {
                (Some(known), _) => drift.known.push((resource.to_owned(), (*known).clone())),
                (None, Some(expired)) => {
                    drift.expired.push((resource.to_owned(), (*expired).clone()));
                    drift.unknown.push(resource.to_owned());
                }
                (None, None) => drift.unknown.push(resource.to_owned()),
            }
        }
        drift
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    time::parse_rfc3339(text).or_else(|| time::parse_rfc3339(&format!("{text}T00:00:00Z")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_until_it_is_over() {
        let document = json!({"kind": "acknowledged", "version": 1, "drift": [
            {"resource": "hostname/location", "until": "2026-01-02", "reason": "moving"},
            {"resource": "packagekit", "until": "2026-01-01T12:00:00Z"},
        ]});
        let list = Acknowledged::from_json(&document).unwrap();
        let at = |text: &str| {
            let drift = list
                .sort(["hostname/location", "packagekit/packages/vim", "hostname/locations"], moment(text).unwrap());
            (drift.known.len(), drift.expired.len(), drift.unknown)
        };
        assert_eq!(at("2026-01-01"), (2, 0, vec!["hostname/locations".to_owned()]));
        assert_eq!(at("2026-01-01T12:00:00Z").0, 1, "over is over");
        assert_eq!(at("2026-01-02").1, 2);
        assert_eq!(at("2026-01-02").2.len(), 3);
    }

    #[test]
    fn mistakes_are_named() {
        for (document, words) in [
            (json!({"kind": "acknowledged", "version": 1, "drift": [{"resource": "a", "until": "soon"}]}), "no moment"),
            (
                json!({"kind": "acknowledged", "version": 1, "drift": [{"resource": "", "until": "2026-01-01"}]}),
                "empty",
            ),
            (json!({"kind": "acknowledged", "version": 1, "drift": [{"resource": "a"}]}), "until"),
            (json!({"kind": "state", "version": 1, "drift": []}), "a state"),
            (json!([]), "no list"),
        ] {
            let error = Acknowledged::from_json(&document).unwrap_err();
            assert!(error.message.contains(words), "{words:?} is missing in {error:?}");
        }
    }
}

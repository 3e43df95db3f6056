//! Looking through the trail: filters, and one line a run.

use super::block::{Block, Kind};
use super::chain::Chain;
use super::index;
use crate::base::Result;
use serde_json::Value;

/// Which blocks are wanted; what is not said does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this moment, as RFC 3339 text.
    pub since: Option<String>,
    /// Before this moment.
    pub until: Option<String>,
    /// Entries of this plugin.
    pub plugin: Option<String>,
    /// Entries about this resource, or what lies below it.
    pub resource: Option<String>,
    /// By this user id, login user id or unit.
    pub actor: Option<String>,
    /// With this outcome or kind: `applied`, `undone`, `residue`, `refusal`, `intent`, ...
    pub outcome: Option<String>,
    /// Of this run.
    pub run: Option<String>,
}

impl Filter {
    /// Whether a block is wanted.
    #[must_use]
    pub fn accepts(&self, block: &Block) -> bool {
        let header = &block.header;
        let actor = |wanted: &String| {
            let actor = &header.actor;
            let is_user = |uid: Option<u32>| uid.is_some_and(|uid| uid.to_string() == *wanted);
            is_user(actor.uid) || is_user(actor.login_uid) || actor.unit.as_ref() == Some(wanted)
        };
        let outcome = |wanted: &String| {
            let kind = serde_json::to_value(header.kind).unwrap_or_default();
            let said = header.detail.as_ref().and_then(|detail| detail.get("outcome"));
            kind == *wanted || said.is_some_and(|said| said == wanted)
        };
        let plugin = |wanted: &String| block.entries.iter().any(|entry| entry["plugin"] == *wanted);
        let resource = |wanted: &String| {
            let below = format!("{wanted}/");
            let is_it = |text: &str| text == wanted || text.starts_with(&below);
            block.entries.iter().any(|entry| resources(entry).any(is_it))
        };
        self.since.as_ref().is_none_or(|since| header.time >= *since)
            && self.until.as_ref().is_none_or(|until| header.time < *until)
            && self.plugin.as_ref().is_none_or(plugin)
            && self.resource.as_ref().is_none_or(resource)
            && self.actor.as_ref().is_none_or(actor)
            && self.outcome.as_ref().is_none_or(outcome)
            && self.run.as_ref().is_none_or(|run| header.run.as_ref().is_some_and(|of| of.starts_with(run.as_str())))
    }
}

pub(super) fn resources(entry: &Value) -> impl Iterator<Item = &str> {
    entry["resources"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The blocks from `from` on that `filter` wants, in order; stops when `each` says so.
pub fn walk(chain: &Chain, from: u64, filter: &Filter, each: &mut dyn FnMut(Block) -> Result<bool>) -> Result<u64> {
    let last = chain.last();
    let index = index::helpful(chain, filter);
    for number in from.max(chain.first())..=last {
        if index.as_ref().is_some_and(|index| index.rules_out(number, filter)) {
            continue;
        }
        let block = chain.read(number)?;
        if filter.accepts(&block) && !each(block)? {
            return Ok(number);
        }
    }
    Ok(last)
}

/// What a block says, on one line, for people.
#[must_use]
pub fn line(block: &Block) -> [String; 5] {
    let header = &block.header;
    let what = match header.kind {
        Kind::Intent => "intent".to_owned(),
        Kind::Outcome => {
            let said = header.detail.as_ref().and_then(|detail| detail.get("outcome")?.as_str()).unwrap_or("outcome");
            said.to_owned()
        }
        Kind::Refusal => "refused".to_owned(),
        Kind::Events => "events".to_owned(),
        Kind::Confirm => "confirmed".to_owned(),
        Kind::Repair => "repaired".to_owned(),
        Kind::Summary => "pruned".to_owned(),
    };
    let actor = &header.actor;
    let who = match (actor.login_uid.or(actor.uid), &actor.unit) {
        (Some(uid), Some(unit)) => format!("{uid} {unit}"),
        (Some(uid), None) => uid.to_string(),
        (None, unit) => unit.clone().unwrap_or_default(),
    };
    let about: Vec<&str> = block.entries.iter().flat_map(resources).collect();
    let shown = about.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let about = if about.len() > 3 { format!("{shown} and {} more", about.len() - 3) } else { shown };
    [header.number.to_string(), header.time.clone(), what, who, about]
}

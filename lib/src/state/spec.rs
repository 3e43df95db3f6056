//! What the diff needs to know about a key: how to compare it, and whether and how it may change.

use crate::base::name::matches;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How the desired and the current value of a key are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Strategy {
    /// A set of items. Additive: what is not listed stays, unless owned, listed as absent, or pruned.
    SetDifference,
    /// One value; equal or not.
    #[default]
    ValueComparison,
    /// An object of which only the mentioned keys are compared.
    MergeStrategy,
    /// Items with members, by name; what is not mentioned of an item, and items that are not mentioned, stay.
    Collection,
    /// Items that are there already, by name; their members are compared and written, none comes or goes.
    ServiceStateDiff,
    /// Shown, never compared and never written.
    None,
}

impl Strategy {
    /// Whether the value is an object of items.
    #[must_use]
    pub fn has_items(self) -> bool {
        matches!(self, Self::Collection | Self::ServiceStateDiff)
    }
}

/// Whether a key can be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Writable {
    /// It can.
    #[default]
    Yes,
    /// It cannot, and why, and what would help.
    No {
        /// Why.
        reason: String,
        /// The way out.
        hint: String,
    },
}

/// What the diff needs to know about one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySpec {
    /// How values are compared.
    pub strategy: Strategy,
    /// Whether the order of a list means nothing.
    pub is_unordered: bool,
    /// Whether the key can be written at all.
    pub writable: Writable,
    /// For a set: whether items can be added.
    pub can_add: bool,
    /// For a set: whether items can be removed.
    pub can_remove: bool,
    /// Items that are never removed, whoever asks; `*` stands for any text.
    pub protected: Vec<String>,
    /// What a right name of an item looks like, for people.
    pub name_hint: Option<String>,
    /// How long the service may take to show what was written, beyond what is usual.
    pub settle: Duration,
    /// Paths within the value, or within each item, that the service takes and never tells; an empty one is all of it.
    pub secrets: Vec<String>,
    /// For a collection: what its items are made of.
    pub items: ItemSpec,
}

impl KeySpec {
    /// Whether `item` is protected.
    #[must_use]
    pub fn protects(&self, item: &str) -> bool {
        self.protected.iter().any(|pattern| matches(pattern, item))
    }
}

/// What the items of a collection are made of, and what may become of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemSpec {
    /// The member that names an item: a list of items is accepted where each says it.
    pub key: Option<String>,
    /// The member that may say `absent`, as `state` may.
    pub presence: Option<String>,
    /// The members there are; empty when an item may hold anything.
    pub members: BTreeMap<String, MemberSpec>,
    /// Whether an item may hold what `members` does not name.
    pub is_open: bool,
    /// Whether items can be written as a whole.
    pub can_update: bool,
    /// Whether items can be made.
    pub can_create: bool,
    /// Whether items can be deleted.
    pub can_delete: bool,
    /// Paths of members whose content the service does not tell: an item that has one is not written as a whole.
    pub hidden: Vec<String>,
    /// By path, what the service says by itself where it was told nothing; `*` stands for any text.
    pub filled_in: BTreeMap<String, serde_json::Value>,
}

/// What the diff needs to know about one member of an item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberSpec {
    /// Whether it can be changed on an item that is there.
    pub can_write: bool,
    /// Whether it can be given to an item that is made.
    pub can_create: bool,
    /// Whether it moves by itself, so that no wish about it counts.
    pub is_only_shown: bool,
    /// Whether it only says how an item is made: of one that was made otherwise it is not told, and does not count.
    pub is_origin: bool,
    /// Whether it is a list of which only what is listed counts.
    pub is_set: bool,
    /// Whether the order of a list means nothing.
    pub is_unordered: bool,
    /// What never leaves a set, whoever asks; `*` stands for any text.
    pub protected: Vec<String>,
    /// Whether a protected item keeps the value it has.
    pub is_kept: bool,
    /// The only value that a protected item may be given.
    pub kept_as: Option<serde_json::Value>,
    /// By value as text, the names of items that are never given it.
    pub never: BTreeMap<String, Vec<String>>,
    /// Whether it is written together with the whole item.
    pub is_of_whole: bool,
    /// The values between which it can be changed; empty when any will do.
    pub values: Vec<serde_json::Value>,
}

impl MemberSpec {
    /// Whether `item` is never given `to`: the member's value, or what joins it when it is a set.
    #[must_use]
    pub fn forbids(&self, item: &str, to: &serde_json::Value) -> bool {
        let text = to.as_str().map_or_else(|| to.to_string(), str::to_owned);
        let never = self.never.iter().filter(|(value, _)| matches(value, &text));
        never.flat_map(|(_, items)| items).any(|pattern| matches(pattern, item))
    }

    /// Whether a protected item must not be given `to`.
    #[must_use]
    pub fn keeps(&self, to: &serde_json::Value) -> bool {
        self.is_kept || self.kept_as.as_ref().is_some_and(|only| only != to)
    }

    /// Whether `value` never leaves the set.
    #[must_use]
    pub fn protects(&self, value: &serde_json::Value) -> bool {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.protected.iter().any(|pattern| matches(pattern, &text))
    }
}

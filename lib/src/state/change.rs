//! A difference that is to go away: what it is about, how it is taken back, and whether it is there already.

use super::diff::{contains, keeps_removed, satisfies};
use super::holding;
use super::spec::{KeySpec, Strategy};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// What a change is about: `PLUGIN/KEY`, or `PLUGIN/KEY/ITEM` for an item of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Plugin name.
    pub plugin: String,
    /// Key of the plugin's state.
    pub key: String,
    /// Item of a set.
    pub item: Option<String>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.key)?;
        match &self.item {
            Some(item) => write!(f, "/{item}"),
            None => Ok(()),
        }
    }
}

/// One difference that is to go away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Change {
    /// A value becomes another.
    Set {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The value now; null when the service has none.
        from: Value,
        /// The value wanted.
        to: Value,
    },
    /// An item joins a set.
    Add {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The item.
        item: String,
    },
    /// An item leaves a set.
    Remove {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The item.
        item: String,
    },
    /// An item joins a collection.
    Create {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The item's name.
        item: String,
        /// The members it is to have; the service may add more.
        to: Value,
    },
    /// Members of an item become others.
    Update {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The item's name.
        item: String,
        /// The members that change, as they are now; null for what is not there.
        from: Value,
        /// The members that change, as they are wanted; null for what is to go.
        to: Value,
    },
    /// An item leaves a collection.
    Delete {
        /// Plugin name.
        plugin: String,
        /// Key.
        key: String,
        /// The item's name.
        item: String,
        /// The members it has now.
        from: Value,
    },
}

impl Change {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Self::Set { key, .. }
        | Self::Add { key, .. }
        | Self::Remove { key, .. }
        | Self::Create { key, .. }
        | Self::Update { key, .. }
        | Self::Delete { key, .. }) = self;
        key
    }

    /// The item it is about, of a set or a collection.
    #[must_use]
    pub fn item(&self) -> Option<&str> {
        match self {
            Self::Set { .. } => None,
            Self::Add { item, .. }
            | Self::Remove { item, .. }
            | Self::Create { item, .. }
            | Self::Update { item, .. }
            | Self::Delete { item, .. } => Some(item),
        }
    }

    /// Whether an item comes with it that was not there.
    #[must_use]
    pub fn brings_item(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Create { .. })
    }

    /// Whether an item goes with it.
    #[must_use]
    pub fn takes_item(&self) -> bool {
        matches!(self, Self::Remove { .. } | Self::Delete { .. })
    }

    /// What the change is about.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let (Self::Set { plugin, .. }
        | Self::Add { plugin, .. }
        | Self::Remove { plugin, .. }
        | Self::Create { plugin, .. }
        | Self::Update { plugin, .. }
        | Self::Delete { plugin, .. }) = self;
        let item = self.item().map(str::to_owned);
        Resource { plugin: plugin.clone(), key: self.key().to_owned(), item }
    }

    /// The change that takes this one back.
    #[must_use]
    pub fn reverse(&self) -> Self {
        match self.clone() {
            Self::Set { plugin, key, from, to } => Self::Set { plugin, key, from: to, to: from },
            Self::Add { plugin, key, item } => Self::Remove { plugin, key, item },
            Self::Remove { plugin, key, item } => Self::Add { plugin, key, item },
            Self::Create { plugin, key, item, to } => Self::Delete { plugin, key, item, from: to },
            Self::Delete { plugin, key, item, from } => Self::Create { plugin, key, item, to: from },
            Self::Update { plugin, key, item, from, to } => Self::Update { plugin, key, item, from: to, to: from },
        }
    }

    /// What was there before: the value, or whether the item was in the set.
    #[must_use]
    pub fn before(&self) -> Cow<'_, Value> {
        match self {
            Self::Set { from, .. } | Self::Update { from, .. } | Self::Delete { from, .. } => Cow::Borrowed(from),
            Self::Add { .. } | Self::Create { .. } => Cow::Owned(Value::Bool(false)),
            Self::Remove { .. } => Cow::Owned(Value::Bool(true)),
        }
    }

    /// What is to be there afterwards, told in the same way.
    #[must_use]
    pub fn after(&self) -> Cow<'_, Value> {
        match self {
            Self::Set { to, .. } | Self::Update { to, .. } | Self::Create { to, .. } => Cow::Borrowed(to),
            Self::Remove { .. } | Self::Delete { .. } => Cow::Owned(Value::Bool(false)),
            Self::Add { .. } => Cow::Owned(Value::Bool(true)),
        }
    }

    /// Whether `current`, the plugin's values, is what this change wants. `None` when the key could not be read.
    ///
    /// A merged object may hold more than is wanted, but nothing that this change takes away.
    #[must_use]
    pub fn holds_in(&self, current: &Map<String, Value>, spec: &KeySpec) -> Option<bool> {
        match self {
            Self::Set { key, from, to, .. } => current.get(key).map(|now| {
                let is_merged = spec.strategy == Strategy::MergeStrategy;
                satisfies(to, now, spec) && !(is_merged && keeps_removed(from, to, now, &|_, _| false, ""))
            }),
            Self::Add { key, item, .. } => contains(current.get(key)?, item),
            Self::Remove { key, item, .. } => contains(current.get(key)?, item).map(|there| !there),
            Self::Create { key, item, to, .. } => Some(
                holding::item_of(current.get(key)?, item).is_some_and(|now| holding::is_made(to, now, &spec.items)),
            ),
            Self::Update { key, item, from, to, .. } => {
                let now = holding::item_of(current.get(key)?, item);
                Some(now.is_some_and(|now| holding::is_updated(from, to, now, &spec.items)))
            }
            Self::Delete { key, item, .. } => Some(holding::item_of(current.get(key)?, item).is_none()),
        }
    }
}

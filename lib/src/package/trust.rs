//! Whom a plugin comes from, and how far it is trusted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a plugin is trusted; the first is trusted most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Shipped with op-dbus, or compiled into it.
    Core,
    /// From a package that was signed with a trusted key.
    Community,
    /// Made on this machine from what a service says of itself, or from a package that nobody signed.
    Generated,
}

impl Trust {
    /// The word for it in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Community => "community",
            Self::Generated => "generated",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! Where the value of a key comes from: what decides how soon a change of it can be known.

use crate::bus::read::PropertyGroup;

/// Where the value of a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A property, exactly as the service has it.
    Property {
        /// The interface of the object.
        group: PropertyGroup,
        /// The property.
        name: String,
    },
    /// What the service answers when it is asked.
    Answer {
        /// The object that is asked; absent when it is several, or one that is made for the question.
        path: Option<String>,
    },
}

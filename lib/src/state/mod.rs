//! Desired state, current state, their difference, and the plan: pure values, no I/O. Given the same documents, the
//! same answer, on every machine.

pub mod acknowledged;
pub mod change;
mod collection;
pub mod diff;
pub mod document;
mod holding;
mod listed;
pub mod plan;
#[cfg(feature = "schema")]
mod schema;
pub mod select;
pub mod spec;

pub use change::{Change, Resource};
pub use diff::{Removal, diff_plugin};
pub use document::{PluginState, StateDocument};
pub use listed::by_name;
pub use plan::{Action, Plan, Undo, UndoClass};
pub use spec::{ItemSpec, KeySpec, MemberSpec, Strategy, Writable};

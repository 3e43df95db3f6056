//! The bus: connect, names, introspection, values, calls. One place through which every call leaves, which knows what
//! is safe. It knows no plugin and no mapping.

pub mod call;
pub mod connection;
pub mod follow;
pub mod gate;
pub mod introspection;
pub mod monitor;
pub mod names;
pub mod offline;
mod pump;
pub mod read;
pub mod recording;
pub mod value;
pub mod walk;
mod wire;

pub use crate::base::{Call, Manner};
pub use call::{Reply, Signal};
pub use connection::{Bus, SubscriptionId, Target};
pub use follow::{Happening, Stopper};
pub use gate::{Consent, SafeCall};
pub use monitor::{Monitor, SeenCall, Watched};
pub use names::Service;
pub use recording::{Recorder, Recording};

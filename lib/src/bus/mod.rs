//! D-Bus: what a service says about itself, and values as JSON.

pub mod introspection;
pub mod value;

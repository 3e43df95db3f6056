//! D-Bus: values as JSON.

pub mod value;

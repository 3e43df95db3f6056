//! The harness of the end-to-end tests: real daemons in a throw-away root, and synthetic services on a private bus.

// A harness that cannot set up its test has nothing better to do than to say so and stop.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::needless_pass_by_value)]
// What a failed test should say goes where the test harness keeps it.
#![allow(clippy::print_stderr)]

pub mod disk;
pub mod ops;
pub mod private_bus;
pub mod root;
pub mod synth;

use std::path::PathBuf;

/// Where the program `name` of this build is: beside the test that runs, or in `OP_DBUS_PROGRAMS`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("OP_DBUS_PROGRAMS") {
        return PathBuf::from(folder).join(name);
    }
    let test = std::env::current_exe().unwrap();
    let places = test.ancestors().skip(1).map(|folder| folder.join(name));
    places.into_iter().take(2).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

//! The harness of the end-to-end tests: real daemons in a throw-away root, and synthetic services on a private bus.

// A harness that cannot set up its test has nothing better to do than to say so and stop.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::needless_pass_by_value)]
// What a failed test should say goes where the test harness keeps it.
#![allow(clippy::print_stderr)]

mod command;
pub mod disk;
pub mod lamp;
pub mod machine;
pub mod mesh;
pub mod netns;
pub mod ops;
pub mod private_bus;
pub mod publisher;
pub mod pve;
pub mod root;
pub mod shipped;
pub mod synth;
pub mod vswitch;
pub mod watching;

pub use command::Place;

use std::path::{Path, PathBuf};

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

/// `--bind` or `--bind-rw`, what is shown, and where.
type Bind = (&'static str, PathBuf, String);

/// The scripts' options for what every place shows - this repository, its mappings, its programs - and for `more`.
fn shown(more: &[Bind]) -> Vec<String> {
    let repository = repository();
    let mut binds = vec![("--bind", repository.clone(), "/op/src".to_owned())];
    binds.push(("--bind", programs(), "/op/bin".to_owned()));
    binds.push(("--bind", repository.join("mappings"), "/usr/share/op-dbus/mappings".to_owned()));
    binds.extend(more.iter().cloned());
    let argument = |(option, host, inside): Bind| [option.to_owned(), format!("{}:{inside}", host.display())];
    binds.into_iter().flat_map(argument).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder of built programs: the one above `deps/`, where cargo puts test programs of the same profile.
fn programs() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

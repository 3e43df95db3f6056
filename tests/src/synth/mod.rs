//! Synthetic D-Bus services: their names, paths, members, types and order of signals come from a seed, so that nothing
//! in the engine can know them. What the seed decided is a [`Spec`]; it also writes the plugin folder for the service.
//!
//! ```no_run
//! use op_dbus_tests::private_bus::PrivateBus;
//! use op_dbus_tests::synth::{self, Synth};
//!
//! // Each seed is new; a failure prints it, and OP_DBUS_SEED=N runs it again.
//! synth::for_seeds(3, |seed| {
//!     let bus = PrivateBus::start();
//!     let synth = Synth::start(&bus, seed, &["--fault", "slow=50"]);
//!     let mappings = tempfile::tempdir().unwrap();
//!     synth.spec.write_plugin(mappings.path()).unwrap();
//!
//!     // The programs under test read the plugin like any shipped mapping.
//!     let output = std::process::Command::new(op_dbus_tests::program("op-query"))
//!         .args(["--address", bus.address(), "--root", "/tmp/some-root", "--plugin", &synth.spec.plugin, "--bare"])
//!         .env("OP_DBUS_MAPPINGS", mappings.path())
//!         .output()
//!         .unwrap();
//!     let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
//!
//!     // What the service itself says, by a control interface that no plugin knows.
//!     let mut control = synth.control();
//!     assert_eq!(answer, control.dump()["keys"]);
//!     assert!(control.changing_calls().is_empty(), "a query must not change anything");
//!
//!     // Faults can be set while it runs: see `synth::fault` for all of them.
//!     let key = &synth.spec.sets[0].key;
//!     let writer = &synth.spec.writers(key)[0];
//!     control.set_faults(&[&format!("lie@{writer}:1")]);
//! });
//! ```

pub mod control;
pub mod desired;
pub mod fault;
mod files;
mod generate;
pub mod items;
mod process;
pub mod random;
pub mod service;
pub mod spec;
mod state;
mod transaction;
pub mod value;
pub mod walk;
pub mod walk_floor;
pub mod wire;
pub mod xml;

pub use control::Control;
pub use process::{Synth, for_seeds};
pub use spec::Spec;
pub use value::Val;

/// The interface tests control a service by. It is not in the introspection, and its calls are not in the log.
pub const CONTROL_INTERFACE: &str = "org.opdbus.Synth.Control";
/// The object of the control interface.
pub const CONTROL_PATH: &str = "/org/opdbus/Synth/Control";

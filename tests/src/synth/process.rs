//! Starting the service program, and trying a test with several seeds.

use super::control::Control;
use super::spec::Spec;
use crate::private_bus::{PrivateBus, spawn};
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// A running `op-dbus-synth`, killed when dropped.
#[derive(Debug)]
pub struct Synth {
    /// What it has.
    pub spec: Spec,
    address: String,
    child: Child,
}

impl Synth {
    /// Starts the service of `seed` on `bus` with more arguments, and waits until it owns its name.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(bus: &PrivateBus, seed: u64, args: &[&str]) -> Self {
        let mut command = Command::new(crate::program("op-dbus-synth"));
        command.args(["--address", bus.address(), "--seed", &seed.to_string()]).args(args).stdout(Stdio::piped());
        let mut child = spawn(command);
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut ready);
        }
        let name = ready.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("seed {seed}: it did not start"));
        let mut spec = Spec::from_seed(seed);
        name.clone_into(&mut spec.service);
        Self { spec, address: bus.address().to_owned(), child }
    }

    /// Its control interface.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::connect(&self.address, &self.spec.service)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Synth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `test` with `count` seeds nobody has tried before, or with the one in `OP_DBUS_SEED`. A failure prints its seed.
///
/// # Panics
/// When `test` does.
pub fn for_seeds(count: u64, test: impl Fn(u64)) {
    let given = std::env::var("OP_DBUS_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = match given {
        Some(seed) => vec![seed],
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut rng = super::random::Rng::new(u64::try_from(now.as_nanos()).unwrap_or(0));
            (0..count).map(|_| rng.number() >> 16).collect()
        }
    };
    for seed in seeds {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            // The test harness shows what is written here when the test fails.
            eprintln!("\nfailed with seed {seed}; run it again with OP_DBUS_SEED={seed}");
            resume_unwind(failure);
        }
    }
}

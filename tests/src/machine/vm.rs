//! The machine as a virtual one: a kernel of its own, two NUMA nodes, disks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::keeper::Keeper;
use super::{Output, Running, scripts};
use crate::command::{Place, Started};

/// What a virtual machine has beside the image itself.
#[derive(Debug, Default, Clone)]
pub struct VmOptions {
    files: Vec<(PathBuf, String)>,
}

/// A virtual machine. Dropping it ends it; so does the end of the test program, however it ends.
#[derive(Debug)]
pub struct Vm {
    keeper: Keeper,
}

impl VmOptions {
    /// Shows a copy of the file or folder `host` at `inside`, read-only. One gigabyte is what fits in all.
    #[must_use]
    pub fn files(mut self, host: &Path, inside: &str) -> Self {
        self.files.push((host.to_owned(), inside.to_owned()));
        self
    }
}

impl Vm {
    /// Starts one from the kept memory of one that has booted; that takes minutes the first time. Visible read-only
    /// are copies of this repository (`/op/src`), its programs `op-*` (`/op/bin`, first in `PATH`) and its mappings.
    /// `/dev/vdc` is an empty disk of a gigabyte.
    ///
    /// # Panics
    /// When it does not come up, or a unit failed: the unit's status is in the panic.
    pub fn start(options: &VmOptions) -> Vm {
        let mut files = vec![(crate::repository().join("mappings"), "/usr/share/op-dbus/mappings".to_owned())];
        let programs = crate::programs().read_dir().expect("the folder of built programs").flatten();
        for program in programs.map(|entry| entry.path()).filter(|path| path.extension().is_none() && path.is_file()) {
            let name = program.file_name().expect("a file has a name").to_string_lossy().into_owned();
            if name.starts_with("op-") {
                files.push((program, format!("/op/bin/{name}")));
            }
        }
        files.extend(options.files.iter().cloned());
        let mut start = Command::new(scripts().join("vm.sh"));
        for (host, inside) in files {
            start.arg("--files").arg(format!("{}:{inside}", host.display()));
        }
        let mut keeper = Keeper::start(&mut start);
        keeper.wait_until_ready();
        Vm { keeper }
    }

    /// As [`Place::run`].
    ///
    /// # Panics
    /// As that.
    pub fn run(&self, argv: &[&str], stdin: &str) -> Output {
        Place::run(self, argv, stdin)
    }

    /// As [`Place::sh`].
    ///
    /// # Panics
    /// As that.
    pub fn sh(&self, script: &str) -> Output {
        Place::sh(self, script)
    }

    /// As [`Place::spawn`].
    ///
    /// # Panics
    /// As that.
    pub fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        Running::start(self, argv, stdin)
    }

    /// Starts its kernel and everything again, as `systemctl reboot` does, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come back within a quarter of an hour.
    pub fn reboot(&self) {
        let boot = || self.sh("cat /proc/sys/kernel/random/boot_id && test -e /run/op-shown");
        let before = boot();
        assert_eq!(before.code, 0, "{}", before.stderr);
        // Its connection ends with it.
        self.sh("systemctl reboot");
        let begun = Instant::now();
        loop {
            let now = boot();
            if now.code == 0 && now.stdout != before.stdout {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(900), "it does not come back: {}", now.stderr);
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Where its console is written to. Gone when it is.
    pub fn run_folder(&self) -> &Path {
        self.keeper.run_folder()
    }
}

impl Place for Vm {
    fn begin(&self, argv: &[&str], stdin: &str) -> Started {
        let mut run = Command::new(scripts().join("vm-run.sh"));
        run.arg(self.run_folder()).args(argv).env_remove("OP_DBUS_TEST_TTY").env("TERM", "dumb");
        Started::start(&mut run, stdin)
    }

    fn read(&self, path: &str) -> Option<String> {
        let output = self.run(&["cat", path], "");
        (output.code == 0).then_some(output.stdout)
    }

    fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        Running::start(self, argv, stdin)
    }
}

//! A booted Debian machine of its own: real systemd as process 1, every real service, btrfs.
//!
//! [`Machine::boot`] starts one as a container in about three seconds, from a snapshot of an image that is built once
//! (two minutes, and it needs the network). [`Vm::start`] starts the same as a virtual machine, for what needs a kernel of
//! its own. What is done in them is gone when they are dropped, and never reaches this machine. The work is done by the
//! scripts in `tests/machine/`, which people can use too (`shell.sh`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Bind;
use crate::command::{Place, Started};

mod keeper;
mod vm;

use keeper::Keeper;

pub use crate::command::{Output, Running};
pub use vm::{Vm, VmOptions};

/// What makes `/root/small` in a machine, the root file system of a container that has one program, and
/// `/root/mappings`, where the plugin `lxc` has little patience.
pub const SMALL_ROOT: &str = "cd /root && mkdir -p small/{bin,sbin,etc/ssh,dev,proc,sys,tmp,root,var/lib} && \
    cp $(command -v busybox) small/bin/busybox && for name in sh sleep ping ip cat hostname true init; do ln -s busybox small/bin/$name; done && \
    ln -s ../bin/busybox small/sbin/init && printf '::respawn:/bin/sleep 1000\\n' > small/etc/inittab && \
    printf 'ID=small\\nVERSION_ID=1\\n' > small/etc/os-release && echo old > small/etc/ssh/ssh_host_ed25519_key && \
    cp -r /usr/share/op-dbus/mappings /root/mappings && echo 'stop_timeout_s = 2' >> /root/mappings/lxc/plugin.toml";

/// What a machine has beside the image itself.
#[derive(Debug, Default, Clone)]
pub struct MachineOptions {
    binds: Vec<Bind>,
}

/// A booted container. Dropping it ends it and takes its file system away; so does the end of the test program,
/// however it ends.
#[derive(Debug)]
pub struct Machine {
    keeper: Keeper,
    folder: TempDir,
    leader: u32,
}

impl MachineOptions {
    /// Shows `host` at `inside`, read-only.
    #[must_use]
    pub fn bind(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(("--bind", host.to_owned(), inside.to_owned()));
        self
    }

    /// Shows `host` at `inside`; what is written there stays on this machine.
    #[must_use]
    pub fn bind_rw(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(("--bind-rw", host.to_owned(), inside.to_owned()));
        self
    }
}

impl Machine {
    /// Boots a fresh machine and waits until systemd says "running". Visible read-only are this repository
    /// (`/op/src`), its built programs (`/op/bin`, first in `PATH`) and its mappings (`/usr/share/op-dbus/mappings`).
    ///
    /// # Panics
    /// When it does not come up, or a unit failed: the unit's status is in the panic.
    pub fn boot(options: &MachineOptions) -> Machine {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut boot = Command::new(scripts().join("boot.sh"));
        boot.args(crate::shown(&options.binds)).arg("--pid-file").arg(folder.path().join("pid"));
        let mut machine = Machine { keeper: Keeper::start(&mut boot), folder, leader: 0 };
        machine.wait_until_ready();
        machine
    }

    /// Boots it again: what is in `/run` and in memory is lost, what is on disk stays. Commands that still run are
    /// stopped by systemd and never heard of again, so there must be none.
    ///
    /// # Panics
    /// As [`Machine::boot`].
    pub fn reboot(&mut self) {
        self.run(&["systemctl", "reboot"], "").ok();
        self.wait_until_ready();
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

    /// The id, on this machine, of its process 1: `/proc/ID/root` is its file system.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// The process on this machine that keeps it: the machine dies with it.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// Where its console is written to, and what says that it runs. Gone when it is.
    pub fn run_folder(&self) -> &Path {
        self.keeper.run_folder()
    }

    fn wait_until_ready(&mut self) {
        self.keeper.wait_until_ready();
        let leader = fs::read_to_string(self.folder.path().join("pid")).expect("boot.sh wrote its pid file");
        self.leader = leader.trim().parse().expect("a process id");
    }
}

impl Place for Machine {
    fn spawn(&self, argv: &[&str], stdin: &str) -> Running<'_> {
        Running::start(self, argv, stdin)
    }

    fn begin(&self, argv: &[&str], stdin: &str) -> Started {
        let mut run = Command::new(scripts().join("run.sh"));
        run.arg(self.leader.to_string()).args(argv).env_remove("OP_DBUS_TEST_TTY").env("TERM", "dumb");
        Started::start(&mut run, stdin)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root{path}", self.leader)).ok()
    }
}

/// The folder of the image that machines are booted from, built first if its recipe changed.
///
/// # Panics
/// When it cannot be built: the reason is on stderr.
pub fn image() -> PathBuf {
    let built = Command::new(scripts().join("build.sh")).stderr(Stdio::inherit()).output();
    let built = built.expect("bash runs tests/machine/build.sh");
    assert!(built.status.success(), "tests/machine/build.sh failed: {}", built.status);
    PathBuf::from(String::from_utf8(built.stdout).expect("a path in UTF-8").trim_end())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("machine")
}

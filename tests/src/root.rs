//! A throw-away Debian root in which the real daemons run on a private system bus.
//!
//! [`RealRoot::get`] builds the root once and keeps it; [`RealRoot::session`] enters a fresh copy of it in a tenth of a
//! second. What is done in a [`Session`] - packages installed, users made, the host name changed - is gone when it is
//! dropped, and never reaches the machine. The work is done by the scripts in `tests/root/`, which people can use too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

mod session;

pub use crate::command::{Output, Running};
pub use session::Session;

/// The root folder of `tests/root/build.sh`. Nobody writes to it: each session works on an overlay.
#[derive(Debug)]
pub struct RealRoot {
    path: PathBuf,
}

/// What a session has beside the root itself.
#[derive(Debug, Default, Clone)]
pub struct SessionOptions {
    binds: Vec<crate::Bind>,
    services: Vec<String>,
}

impl RealRoot {
    /// The root folder, built first if its recipe changed (half a minute, and it needs the network).
    ///
    /// # Panics
    /// When it cannot be built: the reason is on stderr. Building and entering need root.
    pub fn get() -> &'static RealRoot {
        static ROOT: OnceLock<RealRoot> = OnceLock::new();
        ROOT.get_or_init(|| {
            let built = Command::new(scripts().join("build.sh")).stderr(Stdio::inherit()).output();
            let built = built.expect("bash runs tests/root/build.sh");
            assert!(built.status.success(), "tests/root/build.sh failed: {}", built.status);
            let path = String::from_utf8(built.stdout).expect("a path in UTF-8");
            RealRoot { path: PathBuf::from(path.trim_end()) }
        })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Enters a fresh copy: a private system bus runs, and a daemon starts when something first talks to it. Visible
    /// read-only are this repository (`/op/src`), its built programs (`/op/bin`, first in `PATH`) and its mappings
    /// (`/usr/share/op-dbus/mappings`).
    ///
    /// # Panics
    /// When it cannot be entered; the scripts' messages are in the panic.
    pub fn session(&self) -> Session {
        self.session_with(&SessionOptions::default())
    }

    /// The same, with something more.
    ///
    /// # Panics
    /// As [`RealRoot::session`].
    pub fn session_with(&self, options: &SessionOptions) -> Session {
        Session::start(self, options)
    }
}

impl SessionOptions {
    /// Shows `host` at `inside`, read-only.
    #[must_use]
    pub fn bind(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(("--bind", host.to_owned(), inside.to_owned()));
        self
    }

    /// Shows `host` at `inside`; what is written there stays on the machine.
    #[must_use]
    pub fn bind_rw(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(("--bind-rw", host.to_owned(), inside.to_owned()));
        self
    }

    /// Starts a daemon with the session; its short name is in `tests/root/services`.
    #[must_use]
    pub fn service(mut self, short_name: &str) -> Self {
        self.services.push(short_name.to_owned());
        self
    }

    /// `enter.sh`'s options for what every session shows and for what was asked for.
    fn bind_arguments(&self) -> Vec<String> {
        crate::shown(&self.binds)
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("root")
}

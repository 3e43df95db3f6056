//! Proxmox's own locks, taken as Proxmox takes them: `flock` on files that stay.

use super::settings::{Settings, shown};
use crate::base::{Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "holding it open holds the lock")] File);

/// Locks one container against Proxmox's tasks.
pub fn container(settings: &Settings, id: &str) -> Result<Held> {
    take(&settings.config_lock(id), settings)
        .map_err(|error| error.hint("a task of this container is running: wait for it, see the task log"))
}

/// Locks one storage of this node.
pub fn storage(settings: &Settings, name: &str) -> Result<Held> {
    take(&settings.storage_lock(name), settings)
        .map_err(|error| error.hint("a task is making a volume there: wait for it, see the task log"))
}

fn take(path: &Path, settings: &Settings) -> Result<Held> {
    let attempt = |error: &std::io::Error| Error::io("take Proxmox's lock", path, error);
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| attempt(&error))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path).map_err(|error| attempt(&error))?;
    let deadline = Instant::now() + Duration::from_secs(settings.lock_timeout_s);
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Held(file)),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => {
                let message = format!("can't lock file '{}' - got timeout", path.display());
                return Err(Error::new(Kind::Locked, message).on(shown(path)));
            }
            Err(error) => return Err(attempt(&error.into())),
        }
    }
}

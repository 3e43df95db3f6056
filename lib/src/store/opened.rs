//! A state root that one run at a time changes.

use super::volumes::{self, STAGING, Volume, Volumes};
use super::{Lock, StateRoot, Wait, sweep};
use crate::base::{Error, Result};
use std::path::{Path, PathBuf};

/// The state root, locked for changes to its volumes, with the leftovers of crashed runs swept.
///
/// Whoever creates, snapshots, renames, exchanges or deletes volumes holds one. Reading needs none: see
/// [`volumes::at`]. Where both are held, the lock of applying runs is taken first.
#[derive(Debug)]
pub struct Store {
    root: StateRoot,
    volumes: Box<dyn Volumes>,
    swept: Vec<PathBuf>,
    _lock: Lock,
}

impl Store {
    /// Makes the root when there is none, takes its lock, and sweeps.
    pub fn open(root: &StateRoot, wait: &mut Wait) -> Result<Self> {
        let mut store = Self::unswept(root, wait)?;
        store.swept = sweep::sweep(root, &*store.volumes)?;
        Ok(store)
    }

    /// The same without sweeping, for who looks at what is left.
    pub(super) fn unswept(root: &StateRoot, wait: &mut Wait) -> Result<Self> {
        let lock = root.volumes_lock();
        root.make_parent(&lock)?;
        let lock = Lock::take(&lock, wait.timeout, wait.on_wait, wait.is_interrupted)?;
        Ok(Self { root: root.clone(), volumes: volumes::at(root.path())?, swept: Vec::new(), _lock: lock })
    }

    /// Where everything lies.
    #[must_use]
    pub fn root(&self) -> &StateRoot {
        &self.root
    }

    /// What can be done with volumes.
    #[must_use]
    pub fn volumes(&self) -> &dyn Volumes {
        &*self.volumes
    }

    /// What was swept when this was opened.
    #[must_use]
    pub fn swept(&self) -> &[PathBuf] {
        &self.swept
    }

    /// A name in `folder` for something unfinished: gone at the next start, unless it is renamed before.
    #[must_use]
    pub fn staging(&self, folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{STAGING}{name}-{}", std::process::id()))
    }

    /// The volume at `path`, which is made when there is none.
    pub fn ensure(&self, path: &Path) -> Result<Volume> {
        if let Some(volume) = self.volumes.look(path)? {
            return Ok(volume);
        }
        self.volumes.create(path)?;
        let made = self.volumes.look(path)?;
        made.ok_or_else(|| Error::failed("it went away while it was made").on(path.display().to_string()))
    }
}

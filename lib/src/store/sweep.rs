//! What crashed runs leave behind, and how it goes.

use super::StateRoot;
use super::volumes::{Volumes, interrupted, is_staging, names};
use crate::base::{Error, Result};
use std::fs;
use std::path::PathBuf;

/// The unfinished things in the folders where volumes are made.
pub fn leftovers(root: &StateRoot) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [root.path().to_owned(), root.cache_snapshots(), root.plugin_snapshots()] {
        found.extend(names(&folder)?.iter().filter(|name| is_staging(name)).map(|name| folder.join(name)));
    }
    Ok(found)
}

/// Finishes an exchange that was interrupted and deletes every other leftover; what was there.
///
/// Called with the lock held, when nothing that is unfinished can be somebody's work.
pub fn sweep(root: &StateRoot, volumes: &dyn Volumes) -> Result<Vec<PathBuf>> {
    let found = leftovers(root)?;
    for path in &found {
        match interrupted(path) {
            Some(real) => volumes.rename(path, &real)?,
            None if path.is_dir() && !path.is_symlink() => volumes.delete(path)?,
            None => fs::remove_file(path).map_err(|e| Error::io("sweep a leftover", path, &e))?,
        }
    }
    Ok(found)
}

//! How many bytes there are of each kind, and how many the disk holds for them.

use super::{Promise, broken};
use crate::base::{Error, Result};
use crate::store::StateRoot;
use crate::store::volumes::names;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is stored of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stored {
    /// `embeddings`, `queries`, `blocks` and `diffs` (in the cache), `cache_snapshots`, `plugins`, `plugin_snapshots`,
    /// `timing`, `vectors` or `state`.
    pub kind: String,
    /// How many files.
    pub files: u64,
    /// How many bytes reading all of them gives.
    pub raw_bytes: u64,
    /// How many bytes the disk holds for them: compressed, and what several of this kind share once. Absent when it cannot
    /// be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
}

/// Every kind that has files.
pub fn measure(root: &StateRoot, is_btrfs: bool) -> Result<Vec<Stored>> {
    let mut stored = Vec::new();
    for (kind, folders) in kinds(root)? {
        let mut seen = Seen::default();
        for folder in &folders {
            seen.walk(folder)?;
        }
        if seen.files == 0 {
            continue;
        }
        let stored_bytes = if is_btrfs { compressed(&folders) } else { Some(seen.blocks * 512) };
        stored.push(Stored { kind: kind.into(), files: seen.files, raw_bytes: seen.bytes, stored_bytes });
    }
    Ok(stored)
}

/// On btrfs the kernel tells nobody but `compsize` how large a compressed file is.
pub fn is_measured(stored: &[Stored]) -> Option<Promise> {
    let unknown = stored.iter().any(|kind| kind.stored_bytes.is_none());
    unknown.then(|| {
        let detail = "how much compression saves cannot be measured: it takes root and the program compsize";
        broken("measured", detail, "apt-get install btrfs-compsize")
    })
}

fn kinds(root: &StateRoot) -> Result<Vec<(&'static str, Vec<PathBuf>)>> {
    let plugins = names(root.path())?.into_iter();
    let plugins = plugins.filter(|name| name.starts_with("@plugin-") && name != "@plugin-snapshots");
    let mut kinds: Vec<(&str, Vec<PathBuf>)> = ["embeddings", "queries", "blocks", "diffs"]
        .map(|kind| (kind, vec![root.cache().join(kind)]))
        .into_iter()
        .collect();
    kinds.push(("cache_snapshots", vec![root.cache_snapshots()]));
    kinds.push(("plugins", plugins.map(|name| root.path().join(name)).collect()));
    kinds.push(("plugin_snapshots", vec![root.plugin_snapshots()]));
    kinds.extend(["timing", "vectors", "state"].map(|kind| (kind, vec![root.path().join(format!("@{kind}"))])));
    Ok(kinds)
}

#[derive(Default)]
struct Seen {
    files: u64,
    bytes: u64,
    blocks: u64,
    /// Files with several names are counted once.
    linked: BTreeSet<(u64, u64)>,
}

impl Seen {
    fn walk(&mut self, folder: &Path) -> Result<()> {
        for name in names(folder)? {
            let path = folder.join(name);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => self.walk(&path)?,
                Ok(metadata) if metadata.is_file() => {
                    let is_new = metadata.nlink() == 1 || self.linked.insert((metadata.dev(), metadata.ino()));
                    self.files += 1;
                    self.bytes += metadata.size();
                    self.blocks += if is_new { metadata.blocks() } else { 0 };
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at it", &path, &error)),
            }
        }
        Ok(())
    }
}

/// What `compsize` says is used on the disk.
fn compressed(folders: &[PathBuf]) -> Option<u64> {
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        // What was just written has no place on the disk yet.
        let _ = fs::File::open(folder).map(rustix::fs::syncfs);
    }
    let output = Command::new("compsize").arg("-b").args(folders.iter().filter(|folder| folder.is_dir())).output();
    let output = output.ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Files that are all empty take no room, and are a failure to it.
    if String::from_utf8_lossy(&output.stderr).contains("All empty") || said.contains("All empty") {
        return Some(0);
    }
    used(&said).filter(|_| output.status.success())
}

/// The number under `Disk Usage` in the line of the total.
fn used(said: &str) -> Option<u64> {
    let total = said.lines().find_map(|line| line.strip_prefix("TOTAL"))?;
    total.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compsize_says_is_understood() {
        let said = "Processed 2 files, 1 regular extents (1 refs), 1 inline.\n\
                    Type       Perc     Disk Usage   Uncompressed Referenced  \n\
                    TOTAL       10%         4101        40960       40960       \n\
                    zstd        10%         4101        40960       40960       \n";
        assert_eq!(used(said), Some(4101));
        assert_eq!(used("No files.\n"), None);
    }
}

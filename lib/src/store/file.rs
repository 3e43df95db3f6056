//! Files that are replaced whole or not at all.

use super::ordered;
use super::stream::Stream;
use crate::base::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest text file that is read: no manifest, mapping, document or ledger comes near it.
const MAX_BYTES: u64 = 16 << 20;

/// Whether a written file must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the disk before this returns.
    Durable,
    /// The same, and its pages leave the memory again: nobody reads it soon, and others need the room.
    Recorded,
    /// After a power cut there is this file or the one before, whole.
    Whole,
    /// The same, as long as nobody has the folder alone written to the disk before the file system has all written. On
    /// btrfs that takes no trip to the disk.
    Ordered,
    /// Losing it costs time, never data.
    Cache,
}

/// Replaces `path` with `bytes`: readers see the old file or the new one, never a part.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let attempt = |e: &std::io::Error| Error::io("write", path, e);
    let parent = path.parent().unwrap_or(Path::new("."));
    let staging = staging_of(path);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staging)?;
        match durability {
            Durability::Recorded => {
                // Large ones leave the memory while they are written, and all of them in the end.
                let mut stream = Stream::new(file, 0);
                stream.write_all(bytes)?;
                stream.finish()?;
            }
            Durability::Durable | Durability::Whole => {
                file.write_all(bytes)?;
                file.sync_all()?;
            }
            Durability::Ordered => {
                file.write_all(bytes)?;
                ordered::bytes_first(&file)?;
            }
            Durability::Cache => file.write_all(bytes)?,
        }
        fs::rename(&staging, path)?;
        if matches!(durability, Durability::Durable | Durability::Recorded) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&staging);
        attempt(&e)
    })
}

fn staging_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".staging-{name}-{}", std::process::id()))
}

/// Takes a file away, durably; one that is not there is no failure.
pub fn remove(path: &Path) -> Result<()> {
    let removed = fs::remove_file(path).and_then(|()| match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Reads a text file of a bounded size; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<String>> {
    read_up_to(path, MAX_BYTES)
}

/// [`read`] for a file that may be larger or must be smaller.
pub fn read_up_to(path: &Path, max_bytes: u64) -> Result<Option<String>> {
    let attempt = |e: &std::io::Error| Error::io("read", path, e);
    // A pipe that nobody writes to would be waited for without end, by opening it already.
    let length = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(Error::bad_input("this is no plain file").on(path.display().to_string()));
        }
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // What is wrong is said by opening it.
        Err(_) => 0,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(attempt(&error)),
    };
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(max_bytes)).unwrap_or(0) + 1);
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|e| attempt(&e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::bad_input(format!("it is larger than {max_bytes} bytes")).on(path.display().to_string()));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Error::bad_input("it is not UTF-8 text").on(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_staging() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, b"one", Durability::Durable).unwrap();
        replace(&path, b"two", Durability::Cache).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(read(folder.path()).unwrap_err().message, "this is no plain file");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(&pipe).unwrap_err().kind, crate::base::Kind::BadInput);
        assert!(replace(&folder.path().join("missing/a"), b"x", Durability::Cache).is_err());
    }
}

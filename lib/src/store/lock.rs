//! One run at a time: an advisory lock on a file, which the kernel releases whatever happens to the process.

use crate::base::{Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for a lock, and with whom.
pub struct Wait<'a> {
    /// How long another run may take to end.
    pub timeout: Duration,
    /// Told once that it waits.
    pub on_wait: &'a mut dyn FnMut(&str),
    /// Ends the wait.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holding it open holds the lock")] File);

impl Lock {
    /// Takes the lock at `path`, waiting up to `timeout` for another run to end. `on_wait` is told once that it waits,
    /// and the wait ends when `is_interrupted`.
    pub fn take(
        path: &Path,
        timeout: Duration,
        on_wait: &mut dyn FnMut(&str),
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let attempt = |e: &std::io::Error| Error::io("take the lock", path, e);
        let mut file = open(path).map_err(|e| attempt(&e))?;
        let deadline = Instant::now() + timeout;
        let mut has_said_so = false;
        let mut pause = Duration::from_millis(1);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, path) => break,
                // The folder was replaced meanwhile, and others take the lock that is there now.
                Ok(()) => {
                    file = open(path).map_err(|e| attempt(&e))?;
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(attempt(&error.into())),
            }
            let mut holder = String::new();
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
            let holder = holder.trim();
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Locked, format!("another run holds the lock ({holder})"))
                    .on(path.display().to_string())
                    .hint("wait for it to end, or wait longer with --lock-timeout"));
            }
            if is_interrupted() {
                return Err(Error::failed("interrupted while waiting for another run, nothing was changed")
                    .on(path.display().to_string()));
            }
            if !has_said_so {
                on_wait(&format!("waiting for another run ({holder})"));
                has_said_so = true;
            }
            std::thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        // Who holds it is a courtesy to those who wait: failing to say so is no failure. As long as ever, so that the
        // file is not cut: some file systems wait for the disk when a file that was cut is closed.
        let holder = format!("process {:<10}", std::process::id());
        let _ = file.rewind().and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Self(file))
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Whether `file` is what lies at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((&file.metadata(), &path.metadata()), (Ok(held), Ok(there)) if id(held) == id(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_folder_was_replaced_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        std::fs::create_dir(&new).unwrap();
        let path = old.join("lock");
        let first = Lock::take(&path, Duration::ZERO, &mut |_| {}, &|| false).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path, Duration::from_secs(60), &mut |_| {}, &|| false).unwrap()
        });
        std::thread::sleep(Duration::from_millis(100));
        crate::store::volumes::Volumes::exchange(&crate::store::volumes::Directories, &old, &new).unwrap();
        drop(first);
        let second = waiting.join().unwrap();
        let error = Lock::take(&path, Duration::ZERO, &mut |_| {}, &|| false).unwrap_err();
        assert_eq!(error.kind, Kind::Locked, "the one who waited holds the lock that is there now");
        drop(second);
    }

    #[test]
    fn the_second_waits_and_then_gives_up_or_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path, Duration::ZERO, &mut |_| {}, &|| false).unwrap();
        let mut waited = 0;
        let error = Lock::take(&path, Duration::from_millis(60), &mut |_| waited += 1, &|| false).unwrap_err();
        assert_eq!((error.kind, waited), (Kind::Locked, 1));
        let error = Lock::take(&path, Duration::from_secs(60), &mut |_| {}, &|| true).unwrap_err();
        assert_eq!(error.kind, Kind::Failed);
        drop(first);
        assert!(Lock::take(&path, Duration::ZERO, &mut |_| {}, &|| false).is_ok());
    }
}

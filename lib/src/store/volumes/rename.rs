//! Names that change in one step, durably.

use super::{STAGING, split, taken};
use crate::base::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// How a name begins under which [`exchange_in_steps`] keeps one of the two for a moment; the rest is its real name.
const MOVED: &str = "moved-";

/// Gives `from` the name `to`, which must be free.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let attempt = |e: &std::io::Error| Error::io("rename it", from, e);
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(taken(to)),
        Err(error) if is_not_offered(error) => {
            super::must_be_free(to)?;
            fs::rename(from, to).map_err(|e| attempt(&e))?;
        }
        Err(error) => return Err(attempt(&error.into())),
    }
    let (old, new) = (split(from)?.0, split(to)?.0);
    sync_names(new)?;
    if old == new { Ok(()) } else { sync_names(old) }
}

/// Gives `from` the name `to`; what has that name gets the other. Not written to the disk yet.
pub fn swap(from: &Path, to: &Path) -> Result<()> {
    let attempt =
        |e: Errno| Error::io("rename it", from, &e.into()).on(format!("{} and {}", from.display(), to.display()));
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(error) if is_not_offered(error) => rename(from, to),
            done => done.map_err(attempt),
        },
        Err(error) if is_not_offered(error) && to.symlink_metadata().is_ok() => exchange_in_steps(from, to),
        Err(error) if is_not_offered(error) => rename(from, to),
        Err(error) => Err(attempt(error)),
    }
}

/// Exchanges two names in one folder.
pub fn exchange(a: &Path, b: &Path) -> Result<()> {
    let (folder, _) = split(a)?;
    let both = || format!("{} and {}", a.display(), b.display());
    if folder != split(b)?.0 {
        return Err(Error::failed("names are exchanged in one folder only").on(both()));
    }
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => sync_names(folder),
        Err(error) if is_not_offered(error) => exchange_in_steps(a, b),
        Err(error) => Err(Error::io("exchange names", a, &error.into()).on(both())),
    }
}

/// Exchanges two names, and says whether the file system can: in one step or not at all.
#[must_use]
pub fn can_exchange(a: &Path, b: &Path) -> bool {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok()
}

/// What is done where the file system cannot exchange: `a` is missing for a moment. A crash in that moment is mended by
/// the sweep, which sees it with [`interrupted`]; after it `b` is what is missing, and what was `a` may go.
pub fn exchange_in_steps(a: &Path, b: &Path) -> Result<()> {
    let (folder, name) = split(a)?;
    let aside = folder.join(format!("{STAGING}{MOVED}{name}"));
    rename(a, &aside)?;
    if let Err(error) = rename(b, a) {
        return rename(&aside, a).and(Err(error));
    }
    rename(&aside, b)
}

/// The name that `path` had before an exchange in steps was interrupted, when it is missing now.
pub fn interrupted(path: &Path) -> Option<PathBuf> {
    let (folder, name) = split(path).ok()?;
    let name = name.strip_prefix(STAGING)?.strip_prefix(MOVED)?;
    let real = folder.join(name);
    (!name.is_empty() && real.symlink_metadata().is_err()).then_some(real)
}

/// Writes the names in a folder to the disk.
pub fn sync_names(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io("write the names in the folder to the disk", folder, &e))
}

fn is_not_offered(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path.join("v")).unwrap_or_default()
    }

    #[test]
    fn both_ways_of_exchanging_do_the_same() {
        for exchange in [exchange as fn(&Path, &Path) -> Result<()>, exchange_in_steps] {
            let folder = tempfile::tempdir().unwrap();
            let (a, b) = (folder.path().join("a"), folder.path().join("b"));
            for path in [&a, &b] {
                fs::create_dir(path).unwrap();
                fs::write(path.join("v"), path.display().to_string()).unwrap();
            }
            exchange(&a, &b).unwrap();
            assert_eq!((text(&a), text(&b)), (b.display().to_string(), a.display().to_string()));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
            assert!(exchange(&a, &folder.path().join("missing")).is_err());
            assert_eq!(text(&a), b.display().to_string(), "what failed changed nothing");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn an_interrupted_exchange_is_seen_while_the_name_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let (a, aside) = (folder.path().join("a"), folder.path().join(".staging-moved-a"));
        fs::create_dir(&aside).unwrap();
        assert_eq!(interrupted(&aside), Some(a.clone()));
        rename(&aside, &a).unwrap();
        fs::create_dir(&aside).unwrap();
        assert_eq!(interrupted(&aside), None, "the name is there, so what is aside may go");
        assert_eq!(interrupted(&folder.path().join(".staging-a-1")), None);
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        assert!(rename(&a, &b).is_err());
        assert!(a.is_dir());
    }
}

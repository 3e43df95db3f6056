//! Which file system a path is on, as the kernel lists mounts.

use crate::base::{Error, Result};
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type, for example `ext4`.
    pub kind: String,
    /// What is mounted, for example `/dev/sda1`.
    pub source: String,
}

/// The mount that `path`, or the nearest folder above it that exists, is on.
pub fn of(path: &Path) -> Result<Mount> {
    let table = Path::new("/proc/self/mountinfo");
    let text =
        std::fs::read_to_string(table).map_err(|e| Error::io("read which file systems are mounted", table, &e))?;
    let real = path.ancestors().find_map(|place| place.canonicalize().ok()).unwrap_or_else(|| path.to_owned());
    find(&text, &real).ok_or_else(|| Error::failed("no mounted file system holds it").on(path.display().to_string()))
}

/// The mount of `path` in a mount table. Of several at one place the last covers the others.
fn find(table: &str, path: &Path) -> Option<Mount> {
    let holds = |mount: &Mount| path.starts_with(&mount.point);
    table.lines().filter_map(line).filter(holds).max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /sub /mnt rw,noatime master:1 - ext4 /dev/root rw`
fn line(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let point = front.split(' ').nth(4)?;
    let mut back = back.split(' ');
    Some(Mount { point: unescape(point).into(), kind: back.next()?.to_owned(), source: unescape(back.next()?) })
}

/// `a\040b` for `a b`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_holds_a_path() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     2 1 8:2 / /var rw,noatime shared:2 - xfs /dev/sda2 rw\n\
                     3 2 0:9 / /var/lib/op\\040dbus rw - tmpfs a\\134b rw\n\
                     4 3 7:0 / /var/lib/op\\040dbus rw - btrfs /dev/loop0 rw\n";
        let kind = |path: &str| find(table, Path::new(path)).unwrap().kind;
        assert_eq!(
            ["/", "/variable", "/var/lib", "/var/lib/op dbus/@cache", "/var/lib/op dbus"].map(kind),
            ["ext4", "ext4", "xfs", "btrfs", "btrfs"]
        );
        assert_eq!(unescape("a\\134b\\04"), "a\\b\\04");
        assert!(find("", Path::new("/")).is_none());
    }

    #[test]
    fn this_machine_has_a_root() {
        assert_eq!(of(Path::new("/")).unwrap().point, Path::new("/"));
        assert!(!of(Path::new("/proc/nothing/there")).unwrap().source.is_empty());
    }
}

//! Bytes before names, without waiting for the disk.
//!
//! A file system may put a file's new name on the disk before the file's bytes: after a power cut it is empty. Writing
//! the file to the disk first prevents that, for the price of a trip there. btrfs writes names and bytes in commits, and
//! says of a file whose extents are asked for with `FIEMAP_FLAG_SYNC` where its bytes lie: once it knows, no later commit
//! lacks them (`btrfs_fiemap` waits for the file's ordered extents, since Linux 6.1 for compressed ones too). That takes
//! less than a tenth of the time.
//!
//! It holds for commits alone. Writing a folder by itself (`fsync`) logs the names in it, and of files that were not
//! written by themselves nothing but that they exist.

#![allow(unsafe_code, reason = "ioctls of file systems have no safe form")]

use rustix::fs::fstatfs;
use rustix::ioctl::{Updater, ioctl, opcode};
use std::fs::File;
use std::io;

/// What `statfs` says of btrfs (`linux/magic.h`).
const BTRFS: u32 = 0x9123_683e;

/// `struct fiemap` of `linux/fiemap.h`, with room for no extent: they are asked for, and not told.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// Write what is cached of the file first.
const FIEMAP_FLAG_SYNC: u32 = 1;

const BTRFS_IOC_START_SYNC: rustix::ioctl::Opcode = opcode::read::<u64>(0x94, 24);

const BTRFS_IOC_WAIT_SYNC: rustix::ioctl::Opcode = opcode::write::<u64>(0x94, 22);

const FS_IOC_FIEMAP: rustix::ioctl::Opcode = opcode::read_write::<Fiemap>(b'f', 11);

/// Sees to it that no commit has a name that is given to `file` from now on, and lacks the file's bytes.
pub fn bytes_first(file: &File) -> io::Result<()> {
    if is_btrfs(file)? && waits_for_all(rustix::system::uname().release()) && extents(file).is_ok() {
        return Ok(());
    }
    file.sync_all()
}

/// Has a file on the disk whose bytes may be no more than ordered: for what is done to its folder alone. It takes no time
/// for a file that a commit has written.
pub fn settle(file: &File) -> io::Result<()> {
    if is_btrfs(file)? { file.sync_all() } else { Ok(()) }
}

fn is_btrfs(file: &File) -> io::Result<bool> {
    Ok(u32::try_from(fstatfs(file)?.f_type).is_ok_and(|kind| kind == BTRFS))
}

/// Whether a kernel's btrfs waits for compressed extents too: since 6.1.
fn waits_for_all(release: &std::ffi::CStr) -> bool {
    let release = release.to_string_lossy();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    version.is_some_and(|version| version >= (6, 1))
}

/// Has what btrfs has to write on the disk: names, and the bytes it knows of. What others wrote and nobody asked for is
/// not waited for, which may be gigabytes.
pub fn commit(folder: &File) -> io::Result<()> {
    let mut transaction = 0_u64;
    // SAFETY: the opcode is that of BTRFS_IOC_START_SYNC, which writes one `__u64`.
    unsafe { ioctl(folder, Updater::<BTRFS_IOC_START_SYNC, u64>::new(&mut transaction)) }?;
    // SAFETY: the opcode is that of BTRFS_IOC_WAIT_SYNC, which reads one `__u64`.
    unsafe { ioctl(folder, Updater::<BTRFS_IOC_WAIT_SYNC, u64>::new(&mut transaction)) }?;
    Ok(())
}

fn extents(file: &File) -> rustix::io::Result<()> {
    let all = u64::MAX;
    let mut map =
        Fiemap { start: 0, length: all, flags: FIEMAP_FLAG_SYNC, mapped_extents: 0, extent_count: 0, reserved: 0 };
    // SAFETY: the opcode is that of FS_IOC_FIEMAP, whose argument is a `struct fiemap`; `extent_count` is the number of
    // extents that follow it, and none does.
    unsafe { ioctl(file, Updater::<FS_IOC_FIEMAP, Fiemap>::new(&mut map)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_wait() {
        for (release, expected) in [
            (c"6.1.0-28-amd64", true),
            (c"6.18.44", true),
            (c"7.0-rc1", true),
            (c"6.0.9", false),
            (c"5.15.0", false),
            (c"", false),
        ] {
            assert_eq!(waits_for_all(release), expected, "{release:?}");
        }
    }
}

//! File systems of their own: in a file on a loop device, or in memory. They go away with their value.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, `lost+found` removed.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
    kind: Kind,
}

/// What it is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Subvolumes.
    Btrfs,
    /// Plain folders on a disk.
    Ext4,
    /// Plain folders in memory.
    Tmpfs,
}

impl Disk {
    /// Makes and mounts one of `size` (as `truncate -s` reads it).
    #[must_use]
    pub fn new(kind: Kind, size: &str) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap(), kind };
        let (image, path) = (disk.image().display().to_string(), disk.path().display().to_string());
        std::fs::create_dir(disk.path()).unwrap();
        let script = match kind {
            Kind::Btrfs => {
                format!("truncate -s {size} {image} && mkfs.btrfs -q {image} && mount -o loop {image} {path}")
            }
            Kind::Ext4 => format!(
                "truncate -s {size} {image} && mkfs.ext4 -q {image} && mount -o loop {image} {path} && \
                 rmdir {path}/lost+found"
            ),
            Kind::Tmpfs => format!("mount -t tmpfs -o size={size},mode=755 op-dbus-test {path}"),
        };
        sh(&script);
        disk
    }

    /// btrfs on an image that is already there.
    #[must_use]
    pub fn on(image: &Path) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap(), kind: Kind::Btrfs };
        std::fs::create_dir(disk.path()).unwrap();
        sh(&format!("mount -o loop {} {}", image.display(), disk.path().display()));
        disk
    }

    /// One of each kind, with its name.
    #[must_use]
    pub fn each() -> [(&'static str, Self); 3] {
        [
            ("btrfs", Self::new(Kind::Btrfs, "256M")),
            ("ext4", Self::new(Kind::Ext4, "64M")),
            ("tmpfs", Self::new(Kind::Tmpfs, "64M")),
        ]
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// The file it lies in, unless it lies in memory.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// What it is made with.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The loop device was made by mount and goes with the last user of the file system.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// A file of 32 MiB as a block device, not mounted.
#[derive(Debug)]
pub struct LoopDevice {
    _folder: tempfile::TempDir,
    device: PathBuf,
}

impl LoopDevice {
    /// Makes one, after `format` (a command that takes the file) has put something into it.
    #[must_use]
    pub fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image").display().to_string();
        sh(&format!("truncate -s 32M {image} && {format} {image}"));
        let made = Command::new("losetup").args(["--find", "--show", &image]).output().unwrap();
        assert!(made.status.success(), "losetup: {}", String::from_utf8_lossy(&made.stderr));
        Self { _folder: folder, device: PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end()) }
    }

    /// Its device file.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        self.device.clone()
    }

    /// Its folder in `/sys`.
    #[must_use]
    pub fn sys(&self) -> PathBuf {
        Path::new("/sys/devices/virtual/block").join(self.device.file_name().unwrap())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Whoever still has it mounted keeps it until then.
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// Whether `path` is a subvolume, as btrfs-progs see it.
#[must_use]
pub fn is_subvolume(path: &Path) -> bool {
    let shown = Command::new("btrfs").args(["subvolume", "show"]).arg(path).output().unwrap();
    shown.status.success()
}

fn sh(script: &str) {
    let made = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(made.status.success(), "{script}: {}", String::from_utf8_lossy(&made.stderr));
}

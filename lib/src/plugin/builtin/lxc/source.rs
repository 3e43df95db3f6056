//! What golden images are made from: a container, an archive, a folder.

use super::making::From;
use super::rootfs;
use super::settings::{Settings, shown};
use super::{command, golden, host, plain, storage};
use crate::base::{Error, Progress, Result};
use crate::store::file;
use crate::store::volumes::{self, Access, Subvolumes, Volumes};
use std::fs;
use std::path::{Path, PathBuf};

/// What an image is filled with, checked.
pub(super) struct Source {
    pub fill: Fill,
    pub unprivileged: bool,
    pub arch: String,
}

pub(super) enum Fill {
    Snapshot(PathBuf),
    Unpack(PathBuf),
    Copy(PathBuf),
}

/// What is named, checked.
pub(super) fn source(settings: &Settings, from: &From, is_privileged: bool) -> Result<Source> {
    match from {
        From::Archive(path) => {
            Ok(Source { fill: Fill::Unpack(path.clone()), unprivileged: !is_privileged, arch: golden::arch() })
        }
        From::Folder(path) => {
            refuse_nested_below(path)?;
            Ok(Source { fill: Fill::Copy(path.clone()), unprivileged: !is_privileged, arch: golden::arch() })
        }
        From::Container(id) => {
            let is_running = host::running(settings)?.contains(id);
            if is_running {
                return Err(Error::refused("the container runs, so its files are not at rest")
                    .on(id.clone())
                    .hint("stop it first"));
            }
            if settings.is_plain() {
                return plain_source(settings, id);
            }
            let only = std::collections::BTreeSet::from([id.clone()]);
            let found = host::containers(settings, Some(&only))?.remove(id).filter(|found| found.is_here);
            let Some(found) = found else {
                return Err(Error::bad_input("there is no such container on this node").on(id.clone()));
            };
            if let Some(lock) = found.config.keys.get("lock") {
                return Err(Error::new(crate::base::Kind::Locked, format!("the container is locked ({lock})"))
                    .on(id.clone())
                    .hint("a task works on it: wait for it, see the task log"));
            }
            let path = volume_path(settings, id, found.config.keys.get("rootfs").map_or("", String::as_str))?;
            golden::check_nested(&path)?;
            let unprivileged = found.config.keys.get("unprivileged").is_some_and(|value| value == "1");
            let arch = found.config.keys.get("arch").cloned().unwrap_or_else(golden::arch);
            Ok(Source { fill: Fill::Snapshot(path), unprivileged, arch })
        }
    }
}

fn plain_source(settings: &Settings, name: &str) -> Result<Source> {
    let Some(text) = file::read(&settings.lxc.join(name).join("config"))? else {
        return Err(Error::bad_input("there is no such container").on(name).hint("lxc-ls shows those there are"));
    };
    let path = settings.lxc.join(name).join("rootfs");
    if !Subvolumes.look(&path)?.is_some_and(|volume| volume.is_subvolume) {
        return Err(Error::refused(format!("{} is no btrfs subvolume", path.display()))
            .on(name)
            .hint("give that folder itself: --from DIR"));
    }
    golden::check_nested(&path)?;
    let unprivileged = plain::config::members(&text).get("unprivileged").is_some_and(|value| value == true);
    Ok(Source { fill: Fill::Snapshot(path), unprivileged, arch: golden::arch() })
}

/// The subvolume that is a container's root.
pub(super) fn volume_path(settings: &Settings, id: &str, rootfs: &str) -> Result<PathBuf> {
    let volume = rootfs.split(',').next().unwrap_or_default();
    let storages = storage::read(&settings.pve)?;
    let found = volume.split_once(':').and_then(|(name, volume)| Some((storages.get(name)?, volume)));
    match found {
        Some((storage, volume)) if storage.is_btrfs() && volume.ends_with(".subvol") => {
            Ok(storage.folder()?.join("images").join(volume))
        }
        _ => Err(Error::refused(format!("its root is {volume}, which is no btrfs subvolume"))
            .on(id.to_owned())
            .hint("vzdump it, and make the image from the archive; or create it with --rootfs STORAGE:0 on btrfs")),
    }
}

/// Copying would make folders of subvolumes, unseen; a snapshot would leave them out. Both are said.
fn refuse_nested_below(folder: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let attempt = |error: &std::io::Error| Error::io("look at it", folder, error);
    for entry in fs::read_dir(folder).map_err(|error| attempt(&error))? {
        let entry = entry.map_err(|error| attempt(&error))?;
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let is_top = entry.metadata().is_ok_and(|metadata| metadata.ino() == 256) && volumes::is_btrfs(&path)?;
        if is_top && Subvolumes.look(&path)?.is_some_and(|volume| volume.is_subvolume) {
            return Err(Error::refused(format!("the subvolume {} lies in it", path.display()))
                .on(shown(folder))
                .hint("make it a plain folder, or leave it out of the image"));
        }
        refuse_nested_below(&path)?;
    }
    Ok(())
}

/// Fills a new subvolume.
pub(super) fn fill(settings: &Settings, source: &Source, path: &Path, progress: &mut dyn Progress) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    match &source.fill {
        Fill::Snapshot(from) => Subvolumes.snapshot(from, path, Access::Writable),
        Fill::Unpack(archive) => {
            progress.say(&format!("unpacking {}", archive.display()), None);
            Subvolumes.create(path)?;
            let words =
                ["--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--acls", "--xattrs"];
            let more = ["--xattrs-include=*", "--anchored", "--exclude=./dev/*", "--exclude=dev/*"];
            let mut args: Vec<String> = words.into_iter().chain(more).map(str::to_owned).collect();
            args.extend(["--file".into(), text(archive), "--directory".into(), text(path)]);
            command::plainly(&settings.tar, &args)?;
            shift(source, path)
        }
        Fill::Copy(from) => {
            progress.say(&format!("copying {}", from.display()), None);
            Subvolumes.create(path)?;
            let args = ["--archive".into(), "--reflink=auto".into(), format!("{}/.", from.display()), text(path)];
            command::plainly(&settings.cp, &args)?;
            shift(source, path)
        }
    }
}

fn shift(source: &Source, path: &Path) -> Result<()> {
    let attempt = |error: std::io::Error| Error::io("give its files to the container's ids", path, &error);
    if source.unprivileged && !rootfs::is_shifted(path).map_err(attempt)? {
        rootfs::shift(path).map_err(attempt)?;
    }
    Ok(())
}

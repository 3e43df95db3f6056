//! Making golden images: filled beside their place, cleaned, sealed, and named last.

use super::config::Config;
use super::golden::{self, Image, Looked};
use super::rootfs::{self, RootFs};
use super::settings::{Settings, shown};
use super::{command, host, locks, storage};
use crate::base::{Error, Progress, Result};
use crate::store::file::{self, Durability};
use crate::store::volumes::{self, Access, Subvolumes, Volumes};
use std::fs;
use std::path::{Path, PathBuf};

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A container that is stopped.
    Container(String),
    /// An archive that `tar` unpacks.
    Archive(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

/// How to make an image.
#[derive(Debug, Clone)]
pub struct Make {
    /// Its name.
    pub name: String,
    /// What from.
    pub from: From,
    /// The storage for it; the first that will do when absent.
    pub storage: Option<String>,
    /// The free number under which Proxmox sees it as a template, if it is to.
    pub template_id: Option<String>,
    /// Whether it is for containers with privileges. A container as the source decides that itself.
    pub is_privileged: bool,
}

impl From {
    /// What a person named: a number, else a folder, else an archive.
    pub fn parse(text: &str) -> Result<Self> {
        let path = Path::new(text);
        if host::is_id(text) {
            return Ok(Self::Container(text.to_owned()));
        }
        let absolute = std::path::absolute(path).map_err(|error| Error::io("find it", path, &error))?;
        if path.is_dir() {
            return Ok(Self::Folder(absolute));
        }
        if path.is_file() {
            return Ok(Self::Archive(absolute));
        }
        Err(Error::bad_input("this is no container, no archive and no folder")
            .on(text)
            .hint("--from takes the number of a stopped container, a tar archive or a folder"))
    }

    fn label(&self) -> String {
        match self {
            Self::Container(id) => format!("container {id}"),
            Self::Archive(path) | Self::Folder(path) => shown(path),
        }
    }
}

/// What an image is filled with, checked.
struct Source {
    fill: Fill,
    unprivileged: bool,
    arch: String,
}

enum Fill {
    Snapshot(PathBuf),
    Unpack(PathBuf),
    Copy(PathBuf),
}

/// Makes a golden image. Nothing is left of one that fails.
pub fn create(settings: &Settings, make: &Make, progress: &mut dyn Progress) -> Result<Image> {
    golden::check_name(&make.name)?;
    let node = golden::node(settings)?;
    if golden::list(settings)?.iter().any(|image| image.name == make.name) {
        return Err(Error::refused("there is a golden image of this name already")
            .on(make.name.clone())
            .hint(format!("op-snapshot golden update {} --from ... makes it anew", make.name)));
    }
    host::check_writable(settings, &node)?;
    let found = golden::storage_for(settings, &node, make.storage.as_deref())?;
    let (folder, leaf) = match &make.template_id {
        Some(id) => {
            check_free(settings, id)?;
            (found.images(id)?, format!("base-{id}-disk-0.subvol"))
        }
        None => (found.folder()?.join("op-dbus-golden"), make.name.clone()),
    };
    let source = source(settings, &make.from, make.is_privileged)?;
    let _lock = make.template_id.as_ref().map(|id| locks::container(settings, id)).transpose()?;
    let has_made_folder = !folder.exists();
    fs::create_dir_all(&folder).map_err(|error| Error::io("make the folder", &folder, &error))?;
    let path = folder.join(leaf);
    let made = fill(settings, &source, &path, progress).and_then(|()| {
        let Looked { ostype, os, has_systemd, ssh_host_keys } = golden::look(&path, source.unprivileged)?;
        let image = Image {
            kind: "golden_image".into(),
            version: 1,
            name: make.name.clone(),
            node: node.clone(),
            storage: found.name.clone(),
            path: path.clone(),
            template_id: make.template_id.clone(),
            from: make.from.label(),
            arch: source.arch.clone(),
            ostype,
            os,
            unprivileged: source.unprivileged,
            has_systemd,
            ssh_host_keys,
        };
        Ok(image)
    });
    let made = made.and_then(|mut image| {
        image.ssh_host_keys = clean(&path, source.unprivileged)?;
        Subvolumes.seal(&path)?;
        if let Some(id) = &image.template_id {
            claim(&settings.config(&node, id), &template_config(&image))?;
        }
        image.keep(settings)?;
        Ok(image)
    });
    if made.is_err() {
        if path.symlink_metadata().is_ok() {
            let _ = Subvolumes.delete(&path);
        }
        if has_made_folder {
            let _ = fs::remove_dir(&folder);
        }
    }
    made
}

/// Makes a golden image anew. Whoever makes a container meanwhile gets the old one or the new one, whole.
pub fn update(settings: &Settings, name: &str, from: &From, progress: &mut dyn Progress) -> Result<Image> {
    let old = golden::find(settings, name)?;
    host::check_writable(settings, &old.node)?;
    let source = source(settings, from, !old.unprivileged)?;
    if source.unprivileged != old.unprivileged {
        return Err(Error::refused("the image would change between containers with and without privileges")
            .on(name)
            .hint("make one of another name"));
    }
    let beside = old.path.with_file_name(format!("{}new-{name}", volumes::STAGING));
    if beside.symlink_metadata().is_ok() {
        Subvolumes.delete(&beside)?;
    }
    let made = fill(settings, &source, &beside, progress).and_then(|()| {
        let Looked { ostype, os, has_systemd, .. } = golden::look(&beside, source.unprivileged)?;
        let ssh_host_keys = clean(&beside, source.unprivileged)?;
        Subvolumes.seal(&beside)?;
        let from = from.label();
        let image = Image { ostype, os, has_systemd, ssh_host_keys, from, arch: source.arch.clone(), ..old.clone() };
        Subvolumes.exchange(&old.path, &beside)?;
        if let Err(error) = image.keep(settings) {
            Subvolumes.exchange(&old.path, &beside)?;
            return Err(error);
        }
        Ok(image)
    });
    let _ = Subvolumes.delete(&beside);
    made
}

/// Refuses a number that a guest of the cluster has.
pub(super) fn check_free(settings: &Settings, id: &str) -> Result<()> {
    if !host::is_id(id) {
        return Err(Error::bad_input("this is no number of a guest").on(id).hint("100 to 999999999"));
    }
    let only = std::collections::BTreeSet::from([id.to_owned()]);
    if let Some(found) = host::containers(settings, Some(&only))?.remove(id) {
        return Err(Error::refused(format!("a container of the Proxmox node {} has this number", found.node)).on(id));
    }
    match host::machine_at(settings, id)? {
        Some(node) => {
            Err(Error::refused(format!("a virtual machine of the Proxmox node {node} has this number")).on(id))
        }
        None => Ok(()),
    }
}

/// Creates a configuration file, which takes the number: on a cluster it fails when any node has it.
pub(super) fn claim(path: &Path, config: &Config) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::refused("a guest took this number a moment ago").on(shown(path)).hint("use another number")
        }
        _ => Error::io("take the number", path, &error),
    })?;
    file.write_all(config.to_text().as_bytes()).map_err(|error| {
        let _ = fs::remove_file(path);
        Error::io("write", path, &error)
    })
}

fn template_config(image: &Image) -> Config {
    let id = image.template_id.clone().unwrap_or_default();
    let mut config = Config::default();
    let mut set = |key: &str, value: &str| drop(config.keys.insert(key.to_owned(), value.to_owned()));
    set("arch", &image.arch);
    set("ostype", &image.ostype);
    set("hostname", &image.name);
    set("template", "1");
    set("rootfs", &format!("{}:{id}/base-{id}-disk-0.subvol,size=0T", image.storage));
    set("unprivileged", if image.unprivileged { "1" } else { "0" });
    if image.has_systemd && image.unprivileged {
        set("features", "nesting=1");
    }
    config
}

fn source(settings: &Settings, from: &From, is_privileged: bool) -> Result<Source> {
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

/// The subvolume that is a container's root.
fn volume_path(settings: &Settings, id: &str, rootfs: &str) -> Result<PathBuf> {
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

fn fill(settings: &Settings, source: &Source, path: &Path, progress: &mut dyn Progress) -> Result<()> {
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

/// Takes away what no two containers share, and returns which SSH host keys each of them gets.
fn clean(path: &Path, is_unprivileged: bool) -> Result<Vec<String>> {
    let root = RootFs::open(path, is_unprivileged)?;
    let keys = root.host_keys();
    root.make_unique().and_then(|()| root.forget()).map_err(|error| Error::io("clean it", path, &error))?;
    Ok(keys)
}

/// Replaces a configuration file, whole.
pub(super) fn write_config(path: &Path, text: &str) -> Result<()> {
    file::replace(path, text.as_bytes(), Durability::Durable)
}

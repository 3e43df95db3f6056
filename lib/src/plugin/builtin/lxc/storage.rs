//! Proxmox's storages, as `storage.cfg` has them. Only those that are folders concern us.

use super::settings::Settings;
use crate::base::{Error, Kind, Result};
use crate::store::{file, volumes};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// `dir`, `btrfs`, `zfspool`, ...
    pub kind: String,
    /// Its folder, when it is one.
    pub path: Option<PathBuf>,
    /// What may lie in it: `rootdir`, `vztmpl`, `snippets`, ...
    pub content: Vec<String>,
    /// The Proxmox nodes that have it; all when empty.
    pub nodes: Vec<String>,
    /// Whether it is switched off.
    pub is_disabled: bool,
}

/// Reads the text of `storage.cfg`.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, Storage> {
    let mut found: BTreeMap<String, Storage> = BTreeMap::new();
    let mut current: Option<Storage> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            let Some(storage) = &mut current else { continue };
            let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
            let list = || value.split(',').map(|word| word.trim().to_owned()).collect();
            match key {
                "path" => storage.path = Some(value.trim().into()),
                "content" => storage.content = list(),
                "nodes" => storage.nodes = list(),
                "disable" => storage.is_disabled = value.trim() != "0",
                _ => {}
            }
        } else if let Some((kind, name)) = line.split_once(':') {
            let name = name.trim().to_owned();
            found.extend(current.take().map(|storage| (storage.name.clone(), storage)));
            current = Some(Storage { name, kind: kind.trim().to_owned(), ..Storage::default() });
        }
    }
    found.extend(current.map(|storage| (storage.name.clone(), storage)));
    found.entry("local".to_owned()).or_insert_with(|| Storage {
        name: "local".into(),
        kind: "dir".into(),
        path: Some("/var/lib/vz".into()),
        content: ["vztmpl", "iso", "backup"].map(str::to_owned).into(),
        ..Storage::default()
    });
    found
}

/// The storages of this cluster.
pub fn read(pve: &Path) -> Result<BTreeMap<String, Storage>> {
    Ok(parse(&file::read(&pve.join("storage.cfg"))?.unwrap_or_default()))
}

/// The one storage of LXC alone.
#[must_use]
pub fn plain(settings: &Settings) -> BTreeMap<String, Storage> {
    let storage = Storage {
        name: super::NAME.to_owned(),
        kind: "btrfs".to_owned(),
        path: Some(settings.lxc.clone()),
        content: vec!["rootdir".to_owned()],
        ..Storage::default()
    };
    BTreeMap::from([(storage.name.clone(), storage)])
}

impl Storage {
    /// Whether `node` has it.
    #[must_use]
    pub fn is_on(&self, node: &str) -> bool {
        !self.is_disabled && (self.nodes.is_empty() || self.nodes.iter().any(|name| name == node))
    }

    /// Whether it is btrfs to Proxmox, which decides how volumes are laid out.
    #[must_use]
    pub fn is_btrfs(&self) -> bool {
        self.kind == "btrfs"
    }

    /// The folder of a container's volumes.
    pub fn images(&self, id: &str) -> Result<PathBuf> {
        Ok(self.folder()?.join("images").join(id))
    }

    /// Its folder.
    pub fn folder(&self) -> Result<&Path> {
        self.path.as_deref().ok_or_else(|| {
            Error::refused(format!("the storage is of the kind {}, which has no folder", self.kind))
                .on(self.name.clone())
        })
    }

    /// Refuses a storage that cannot take snapshots of golden images now.
    pub fn check(&self, node: &str, min_free_mib: u64) -> Result<()> {
        let refuse = |message: String, hint: &str| Err(Error::refused(message).on(self.name.clone()).hint(hint));
        if !self.is_on(node) {
            return refuse(
                format!("the storage is switched off, or not for {node}"),
                "see its `disable` and `nodes`: pvesm status; or name another storage",
            );
        }
        if !self.content.iter().any(|word| word == "rootdir") {
            return refuse(
                "the storage is not for containers".into(),
                &format!("pvesm set {} --content {},rootdir", self.name, self.content.join(",")),
            );
        }
        if !self.is_btrfs() {
            return refuse(
                format!("the storage is of the kind {}, and golden images need btrfs", self.kind),
                "name a storage of the kind btrfs; a container from `template` can lie on any",
            );
        }
        let folder = self.folder()?;
        if !folder.is_dir() || !volumes::is_btrfs(folder)? {
            return refuse(
                format!("{} is not on a btrfs file system now", folder.display()),
                "is it mounted? see `mount` and `pvesm status`",
            );
        }
        self.check_space(min_free_mib)
    }

    /// Refuses a storage with less free space.
    pub fn check_space(&self, min_free_mib: u64) -> Result<()> {
        let folder = self.folder()?;
        let attempt = |error: rustix::io::Errno| Error::io("look at the free space", folder, &error.into());
        let stat = rustix::fs::statvfs(folder).map_err(attempt)?;
        let free_mib = (stat.f_bavail * stat.f_frsize) >> 20;
        if free_mib >= min_free_mib {
            return Ok(());
        }
        Err(Error::refused(format!("the storage has {free_mib} MiB free, and {min_free_mib} MiB are needed"))
            .on(self.name.clone())
            .hint("delete what is not needed, or name another storage"))
    }
}

/// The storage called `name`.
pub fn named<'s>(storages: &'s BTreeMap<String, Storage>, name: &str) -> Result<&'s Storage> {
    storages.get(name).ok_or_else(|| {
        let known = storages.keys().cloned().collect::<Vec<_>>().join(", ");
        Error::new(Kind::BadInput, "there is no such storage").on(name).hint(format!("there are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_proxmox_writes_it() {
        let text = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\nbtrfs: fast\n\tpath /mnt/btrfs\n\t\
                    content rootdir,images\n\tnodes pve1,pve2\n\nzfspool: tank\n\tpool tank\n\tdisable\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert!(found["fast"].is_btrfs() && found["fast"].is_on("pve2") && !found["fast"].is_on("pve3"));
        assert!(!found["tank"].is_on("pve1"));
        assert_eq!(parse("").keys().collect::<Vec<_>>(), ["local"]);
    }
}

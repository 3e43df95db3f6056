//! What killed runs leave of containers and templates, and how it goes.
//!
//! Whatever is made has its configuration file first and the rest after, and loses it last: as long as anything is left,
//! there is a file that says `lock: create` and which image it is of.

use super::config::Config;
use super::settings::Settings;
use super::{golden, locks, source};
use crate::base::{Error, Result};
use crate::store::file;
use crate::store::volumes::{self, Subvolumes, Volumes};
use std::fs;
use std::path::Path;

/// Whether op-dbus was making this and did not come to its end. A file in which nothing is only takes the number: Proxmox
/// writes none.
#[must_use]
pub fn is_half_made(config: &Config) -> bool {
    *config == Config::default()
        || config.keys.get("lock").is_some_and(|lock| lock == "create") && config.origin.contains_key("golden_image")
}

/// Takes away what is left of a container or template that was not finished. Who makes it right now holds its lock.
pub fn take_back(settings: &Settings, node: &str, id: &str) -> Result<()> {
    let _container = locks::container(settings, id)?;
    let path = settings.config(node, id);
    let Some(config) = file::read(&path)?.map(|text| Config::parse(&text)).filter(is_half_made) else {
        return Ok(());
    };
    let rootfs = config.keys.get("rootfs");
    let volume = rootfs.map(|rootfs| source::volume_path(settings, id, rootfs)).transpose()?.unwrap_or_default();
    if let Some(folder) = volume.parent().filter(|folder| folder.is_dir()) {
        sweep(folder, |_| true)?;
        if volume.symlink_metadata().is_ok() {
            Subvolumes.delete(&volume)?;
        }
        // Other volumes of that number are not ours.
        let _ = fs::remove_dir(folder);
    }
    if let Some(folder) = path.parent() {
        sweep(folder, |name| name.contains(&format!("-{id}.conf-")))?;
    }
    golden::remove_if_there(&path)
}

/// Takes away what is unfinished in a folder, of the names that are asked for.
pub fn sweep(folder: &Path, which: impl Fn(&str) -> bool) -> Result<()> {
    for name in volumes::names(folder)?.iter().filter(|name| volumes::is_staging(name) && which(name)) {
        let path = folder.join(name);
        if path.is_dir() && !path.is_symlink() {
            Subvolumes.delete(&path)?;
        } else {
            fs::remove_file(&path).map_err(|error| Error::io("sweep a leftover", &path, &error))?;
        }
    }
    Ok(())
}

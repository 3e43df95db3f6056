//! Golden images: read-only subvolumes from which containers are snapshots.
//!
//! ```text
//! /etc/pve/op-dbus/golden/NAME.json              what is known of it, on all nodes
//! STORAGE/op-dbus-golden/NAME                    the image, unless it is
//! STORAGE/images/N/base-N-disk-0.subvol          a template of Proxmox, which its GUI and `pct clone` clone at once
//! ```

use super::rootfs::RootFs;
use super::settings::{Settings, shown};
use super::{host, leftovers, storage};
use crate::base::{Error, Kind, Result};
use crate::store::file::{self, Durability};
use crate::store::volumes::{self, Subvolumes, Volumes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is known of a golden image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Always `golden_image`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// The Proxmox node it lies on.
    pub node: String,
    /// The storage it lies in.
    pub storage: String,
    /// Its subvolume.
    pub path: PathBuf,
    /// The number of the template that Proxmox sees, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// What it was made from.
    pub from: String,
    /// `amd64`, `arm64`, ...
    pub arch: String,
    /// What Proxmox calls the distribution; `unmanaged` when it knows it not.
    pub ostype: String,
    /// `ID` and `VERSION_ID` of its `os-release`.
    pub os: (String, String),
    /// Whether its files belong to the ids of a container without privileges.
    pub unprivileged: bool,
    /// Whether systemd starts it, which needs nesting.
    pub has_systemd: bool,
    /// The types of SSH host keys that each container gets anew.
    pub ssh_host_keys: Vec<String>,
}

impl Image {
    /// `debian-13`, as documents call templates.
    #[must_use]
    pub fn template(&self) -> String {
        [self.os.0.as_str(), self.os.1.as_str()].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-")
    }

    /// Whether a template called so can be what the image is of: `debian-13`, or the name of an archive or a volume.
    #[must_use]
    pub fn is_of(&self, template: &str) -> bool {
        let (id, version) = (&self.os.0, &self.os.1);
        if id.is_empty() {
            return true;
        }
        let name = template.rsplit(['/', ':']).next().unwrap_or(template);
        let Some(rest) = name.strip_prefix(id.as_str()) else { return false };
        let Some(rest) = rest.strip_prefix('-') else { return rest.is_empty() };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let said = rest[..end].trim_end_matches('.');
        let is_within = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        said.is_empty() || version.is_empty() || is_within(version, said) || is_within(said, version)
    }

    /// Its place in the file system of what is known.
    fn file(settings: &Settings, name: &str) -> PathBuf {
        settings.golden().join(format!("{name}.json"))
    }

    /// Keeps what is known of it.
    pub(super) fn keep(&self, settings: &Settings) -> Result<()> {
        let path = Self::file(settings, &self.name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, &error))?;
        }
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        file::replace(&path, text.as_bytes(), Durability::Durable)
    }

    /// Refuses one that is not there, or of which a snapshot would leave something out.
    pub fn check(&self) -> Result<()> {
        let at = || format!("golden image {}", self.name);
        let volume = Subvolumes.look(&self.path)?.filter(|volume| volume.is_subvolume);
        let Some(volume) = volume else {
            return Err(Error::refused(format!("there is no subvolume at {}", self.path.display())).on(at()).hint(
                "is the storage mounted? op-snapshot golden list shows what there is; delete it and make it again",
            ));
        };
        if !volume.is_sealed {
            return Err(Error::refused("it is not read-only, so what is in it is not sure")
                .on(at())
                .hint(format!("op-snapshot golden update {} --from ... makes it anew", self.name)));
        }
        check_nested(&self.path).map_err(|error| error.on(at()))
    }

    /// What is known of it, for people and pipes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }
}

/// A golden image, and whether containers can be made of it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// What is known of it.
    pub image: Image,
    /// Whether it lies on this Proxmox node.
    pub is_here: bool,
    /// What is wrong with it, when it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The golden images there are, looked at.
pub fn survey(settings: &Settings) -> Result<Vec<Listed>> {
    let here = node(settings)?;
    let look = |image: Image| {
        let is_here = image.node == here;
        let problem = if is_here { image.check().err().map(|error| error.message) } else { None };
        Listed { image, is_here, problem }
    };
    Ok(list(settings)?.into_iter().map(look).collect())
}

/// Refuses a subvolume in which others lie: a snapshot has empty folders in their place.
pub fn check_nested(path: &Path) -> Result<()> {
    match volumes::nested(path)? {
        None => Ok(()),
        Some(nested) => {
            Err(Error::refused(format!("the subvolume {nested} lies in it, and a snapshot would leave that out"))
                .on(shown(path))
                .hint("make it a plain folder: move its files out, `btrfs subvolume delete` it, move them back"))
        }
    }
}

/// The golden images there are, by name.
pub fn list(settings: &Settings) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for name in volumes::names(&settings.golden())? {
        if let Some(name) = name.strip_suffix(".json") {
            images.extend(find_any(settings, name)?);
        }
    }
    Ok(images)
}

fn find_any(settings: &Settings, name: &str) -> Result<Option<Image>> {
    let path = Image::file(settings, name);
    let Some(text) = file::read(&path)? else { return Ok(None) };
    let image = serde_json::from_str(&text).map_err(|error| {
        Error::bad_input(format!("what is known of the golden image cannot be read: {error}"))
            .on(shown(&path))
            .hint(format!("op-snapshot golden delete {name}, and make it again"))
    })?;
    Ok(Some(image))
}

/// The golden image called `name`, on this host.
pub fn find(settings: &Settings, name: &str) -> Result<Image> {
    check_name(name)?;
    let Some(image) = find_any(settings, name)? else {
        let known: Vec<String> = list(settings)?.into_iter().map(|image| image.name).collect();
        let known =
            if known.is_empty() { "there are none yet".into() } else { format!("there are: {}", known.join(", ")) };
        return Err(Error::bad_input("there is no such golden image")
            .on(name)
            .hint(format!("{known}; op-snapshot golden create {name} --from VMID|TARBALL|DIR makes one")));
    };
    let here = node(settings)?;
    if image.node != here {
        return Err(Error::refused(format!(
            "the golden image lies on the Proxmox node {}, and this is {here}",
            image.node
        ))
        .on(name)
        .hint("make it here too, under another name: btrfs send | btrfs receive carries it over"));
    }
    Ok(image)
}

/// The name of a golden image is also that of a file and of a host.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(Error::bad_input("this cannot be the name of a golden image")
        .on(name)
        .hint("letters, digits and `-`, at most 63, as in a host name"))
}

/// The Proxmox node this is.
pub(super) fn node(settings: &Settings) -> Result<String> {
    match (settings.is_proxmox(), settings.is_plain()) {
        (true, _) => host::this_node(settings),
        (false, true) => Ok(LOCAL.to_owned()),
        (false, false) => Err(nothing_here()),
    }
}

/// What stands for the Proxmox node where there is no Proxmox.
pub(super) const LOCAL: &str = "localhost";

/// The error of a host without containers.
pub(super) fn nothing_here() -> Error {
    Error::new(Kind::Unavailable, "this host has neither Proxmox nor LXC, so it has no containers").on("lxc").hint(
        "apt install lxc; if it has one of them, say in [settings] of the plugin's plugin.toml where its files are",
    )
}

/// Deletes a golden image. Containers made of it do not need it.
pub fn delete(settings: &Settings, name: &str) -> Result<Image> {
    let image = find(settings, name)?;
    host::check_writable(settings, &image.node)?;
    if let Some(id) = &image.template_id {
        let _lock = super::locks::container(settings, id)?;
        let file = settings.config(&image.node, id);
        remove_if_there(&file)?;
        leftovers::sweep(file.parent().unwrap_or(&file), |name| name.contains(&format!("-{id}.conf-")))?;
        remove_volume(&image.path)?;
        if let Some(folder) = image.path.parent() {
            // Other volumes of the template stay.
            let _ = std::fs::remove_dir(folder);
        }
    } else {
        remove_volume(&image.path)?;
    }
    forget(settings, name)?;
    Ok(image)
}

/// What is known of an image goes.
pub(super) fn forget(settings: &Settings, name: &str) -> Result<()> {
    remove_if_there(&Image::file(settings, name))?;
    leftovers::sweep(&settings.golden(), |staging| staging.contains(&format!("-{name}.json-")))
}

fn remove_volume(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() { Subvolumes.delete(path) } else { Ok(()) }
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// What Proxmox wants to know of an image.
pub(super) struct Looked {
    pub ostype: String,
    /// `ID` and `VERSION_ID` of its os-release.
    pub os: (String, String),
    pub has_systemd: bool,
}

/// Looks at an image that was filled.
pub(super) fn look(path: &Path, is_unprivileged: bool) -> Result<Looked> {
    let root = RootFs::open(path, is_unprivileged)?;
    if !root.has("etc") || !(root.has("sbin/init") || root.has("usr/sbin/init") || root.has("bin/sh")) {
        return Err(Error::bad_input("this is no root file system: it has no /etc, or nothing to start")
            .on(shown(path))
            .hint("give a folder or an archive with etc, usr and so on at its top"));
    }
    let os = root.os();
    let ostype = ostype(&os.0).to_owned();
    Ok(Looked { ostype, os, has_systemd: root.has_systemd() })
}

fn ostype(id: &str) -> &'static str {
    match id {
        "debian" => "debian",
        "devuan" => "devuan",
        "ubuntu" => "ubuntu",
        "centos" | "rocky" | "almalinux" | "rhel" => "centos",
        "fedora" => "fedora",
        "arch" => "archlinux",
        "alpine" => "alpine",
        "gentoo" => "gentoo",
        "nixos" => "nixos",
        id if id.starts_with("opensuse") => "opensuse",
        _ => "unmanaged",
    }
}

/// What Proxmox calls this machine's architecture.
pub(super) fn arch() -> String {
    match rustix::system::uname().machine().to_str() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        Ok("i686" | "i386") => "i386",
        Ok("riscv64") => "riscv64",
        Ok(other) => return other.to_owned(),
        Err(_) => "amd64",
    }
    .to_owned()
}

/// The storage that is named, or else the first that will do.
pub(super) fn storage_for(settings: &Settings, node: &str, named: Option<&str>) -> Result<storage::Storage> {
    let storages = if settings.is_plain() { storage::plain(settings) } else { storage::read(&settings.pve)? };
    let wanted = named.or(settings.storage.as_deref());
    if let Some(name) = wanted {
        let found = storage::named(&storages, name)?;
        found.check(node, settings.min_free_mib)?;
        return Ok(found.clone());
    }
    let is_btrfs = |storage: &&storage::Storage| storage.is_btrfs() && storage.is_on(node);
    let Some(found) =
        storages.values().find(|storage| is_btrfs(storage) && storage.content.iter().any(|c| c == "rootdir"))
    else {
        return Err(Error::refused("no storage of this node is btrfs and for containers, which golden images need")
            .on("storage.cfg")
            .hint("pvesm add btrfs NAME --path FOLDER --content rootdir,images"));
    };
    found.check(node, settings.min_free_mib)?;
    Ok(found.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, version: &str) -> Image {
        Image {
            kind: "golden_image".into(),
            version: 1,
            name: "x".into(),
            node: String::new(),
            storage: String::new(),
            path: "/x".into(),
            template_id: None,
            from: String::new(),
            arch: "amd64".into(),
            ostype: "debian".into(),
            os: (id.into(), version.into()),
            unprivileged: true,
            has_systemd: true,
            ssh_host_keys: Vec::new(),
        }
    }

    #[test]
    fn an_image_is_of_the_template_that_its_system_is_called_after() {
        let debian = image("debian", "13");
        assert_eq!(debian.template(), "debian-13");
        for is_of in
            ["debian-13", "debian", "debian-13-standard_13.1-1_amd64.tar.zst", "local:vztmpl/debian-13-x.tar.gz"]
        {
            assert!(debian.is_of(is_of), "{is_of}");
        }
        for is_not in ["debian-12", "ubuntu-24.04", "debian-130", "debianish", "debian-1"] {
            assert!(!debian.is_of(is_not), "{is_not}");
        }
        assert!(image("alpine", "3.22.1").is_of("alpine-3.22-default_20250617_amd64.tar.xz"));
        assert!(image("", "").is_of("anything"));
        assert!(check_name("debian-minimal").is_ok() && check_name("../x").is_err() && check_name("").is_err());
    }
}

//! A container of LXC alone from a golden image.
//!
//! 1. take the name by making its folder; LXC's own `partial` says that it is being made
//! 2. snapshot, machine id, SSH host keys, host name
//! 3. the configuration, with new MAC addresses, in one step; `partial` goes
//!
//! What fails is undone in reverse.

use super::super::create::give_keys;
use super::super::golden::Image;
use super::super::rootfs::RootFs;
use super::super::settings::{Settings, shown};
use super::super::{golden, leftovers};
use super::{PARTIAL, config, config_of};
use crate::base::{Error, Result};
use crate::plugin::{Failure, Touched};
use crate::store::file;
use crate::store::volumes::{Access, Subvolumes, Volumes};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A container that is going to be made.
#[derive(Debug, Clone)]
pub struct Creation {
    name: String,
    /// What it is a snapshot of.
    pub image: Image,
    /// Its root.
    pub rootfs: PathBuf,
    file: PathBuf,
    config: String,
    hostname: String,
}

impl Creation {
    /// What making a container with these members comes to. `at` is its place in the document.
    pub fn new(settings: &Settings, at: &str, name: &str, to: &Map<String, Value>) -> Result<Self> {
        let text = |member: &str| to.get(member).and_then(Value::as_str);
        let Some(wanted) = text("golden_image") else {
            return Err(Error::bad_input("it is not said what golden image the container is made from").on(at).hint(
                "name a `golden_image` (op-snapshot golden list); without Proxmox there are no archives of templates",
            ));
        };
        let image = golden::find(settings, wanted).map_err(|error| error.on(format!("{at}.golden_image")))?;
        golden::storage_for(settings, &image.node, None).map_err(|error| error.on(at))?;
        let rootfs = settings.lxc.join(name).join("rootfs");
        let hostname = text("hostname").unwrap_or(name).to_owned();
        let mut members = to.clone();
        members.insert("hostname".into(), json!(hostname));
        let origin: Vec<(&str, &str)> =
            ["golden_image", "template"].into_iter().filter_map(|word| Some((word, text(word)?))).collect();
        let config = config::of_new(at, &origin, &shown(&rootfs), image.unprivileged, &members)?;
        Ok(Self { name: name.to_owned(), file: config_of(settings, name), image, rootfs, config, hostname })
    }

    /// The arguments of the operation, as plans show it.
    #[must_use]
    pub fn arguments(&self) -> Vec<Value> {
        vec![json!({"from": self.image.path}), json!({"configuration": self.file, "content": self.config})]
    }
}

/// Makes the container, or leaves nothing of it.
pub fn create(settings: &Settings, creation: &Creation) -> Result<(), Failure> {
    let folder = settings.lxc.join(&creation.name);
    let before = |error| Failure { error, touched: Touched::No };
    DirBuilder::new().mode(0o770).create(&folder).map_err(|error| {
        before(match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::refused("somebody took this name a moment ago").on(shown(&folder)).hint("use another name")
            }
            _ => Error::io("make the folder", &folder, &error),
        })
    })?;
    let made = enterable(&folder, creation.image.unprivileged).and_then(|()| make(settings, creation));
    let Err(mut error) = made else { return Ok(()) };
    let left = remove(settings, &creation.name).err();
    let touched = if left.is_none() { Touched::No } else { Touched::Surely };
    error.also.extend(left);
    Err(Failure { error, touched })
}

/// The root of a container without privileges is nobody on the host, and has to get to its own files.
fn enterable(folder: &Path, is_unprivileged: bool) -> Result<()> {
    let mode = if is_unprivileged { 0o771 } else { 0o770 };
    fs::set_permissions(folder, Permissions::from_mode(mode))
        .map_err(|error| Error::io("let the container into its folder", folder, &error))
}

fn make(settings: &Settings, creation: &Creation) -> Result<()> {
    let Creation { name, image, rootfs, file, config, hostname } = creation;
    let folder = settings.lxc.join(name);
    let partial = folder.join(PARTIAL);
    let attempt = |error: std::io::Error| Error::io("say that it is being made", &partial, &error);
    let mut held = File::create(&partial).map_err(attempt)?;
    held.write_all(b"op-dbus\n").map_err(attempt)?;
    flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| attempt(error.into()))?;
    Subvolumes.snapshot(&image.path, rootfs, Access::Writable)?;
    let root = RootFs::open(rootfs, image.unprivileged)?;
    let unlike =
        root.make_unique().and_then(|()| root.write("etc/hostname", format!("{hostname}\n").as_bytes(), 0o644));
    unlike.map_err(|error| Error::io("make it unlike the golden image", rootfs, &error))?;
    give_keys(settings, &root, &image.ssh_host_keys, &folder, name)?;
    super::write(file, &with_addresses(config)?)?;
    file::remove(&partial)
}

/// The configuration with a MAC address for each network that has none.
fn with_addresses(config: &str) -> Result<String> {
    // Whose first bytes LXC itself uses.
    const PREFIX: &str = "00:16:3E";
    let mut lines: Vec<String> = config.lines().map(str::to_owned).collect();
    let types = lines.iter().filter_map(|line| Some(line.split_once(".type = veth")?.0.to_owned()));
    for network in types.collect::<Vec<_>>() {
        if !lines.iter().any(|line| line.starts_with(&format!("{network}.hwaddr = "))) {
            let at = lines.iter().position(|line| line.starts_with(&format!("{network}.type"))).unwrap_or(0);
            let address = super::super::create::random(PREFIX)?;
            lines.insert(at + 1, format!("{network}.hwaddr = {address}"));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Takes away what a run that was broken off left of a container.
pub fn take_back(settings: &Settings, name: &str) -> Result<()> {
    let partial = settings.lxc.join(name).join(PARTIAL);
    let Ok(held) = OpenOptions::new().read(true).write(true).open(&partial) else { return Ok(()) };
    flock(&held, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::refused("another run is making it now").on(name.to_owned()).hint("wait for it"))?;
    remove(settings, name)
}

/// Everything of a container that is no container yet; `partial` goes last, so that a second try finds what is left.
fn remove(settings: &Settings, name: &str) -> Result<()> {
    let folder = settings.lxc.join(name);
    leftovers::sweep(&folder, |_| true)?;
    let rootfs = folder.join("rootfs");
    if rootfs.symlink_metadata().is_ok() {
        Subvolumes.delete(&rootfs)?;
    }
    golden::remove_if_there(&folder.join("config"))?;
    golden::remove_if_there(&folder.join(PARTIAL))?;
    fs::remove_dir(&folder).map_err(|error| Error::io("remove", &folder, &error))
}

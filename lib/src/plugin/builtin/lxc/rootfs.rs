//! A container's root file system, seen from outside. Nothing here follows a link out of it: paths are resolved by the
//! kernel as if the folder were the root.

use crate::base::{Error, Result};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, chownat, fchmod, fchown, fstat, lgetxattr,
    lsetxattr, openat2, statat, unlinkat,
};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The first of the 65536 ids that Proxmox and LXC give to containers without privileges.
pub const SHIFT: u32 = 100_000;
const IDS: u32 = 65_536;

/// The keys that are made anew in each container. RSA takes a hundred times as long and no client needs it any more.
pub const KEY_TYPES: [&str; 2] = ["ecdsa", "ed25519"];

/// The root folder of a container.
#[derive(Debug)]
pub struct RootFs {
    top: OwnedFd,
    owner: u32,
}

impl RootFs {
    /// Opens it; files made in it belong to its root.
    pub fn open(path: &Path, is_unprivileged: bool) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let top = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::io("open the root file system", path, &error.into()))?;
        Ok(Self { top, owner: if is_unprivileged { SHIFT } else { 0 } })
    }

    fn at(&self, path: &str, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        // What is only looked at cannot block, and the kernel takes no word about it.
        let careful = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY | OFlags::NONBLOCK };
        let flags = flags | OFlags::CLOEXEC | careful;
        Ok(openat2(&self.top, path, flags, Mode::from_raw_mode(mode), ResolveFlags::IN_ROOT)?)
    }

    /// The text of a file, when there is one.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let file = self.at(path, OFlags::RDONLY, 0).ok()?;
        let mut text = String::new();
        File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Whether there is something of that name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.at(path, OFlags::PATH, 0).is_ok()
    }

    /// Writes a file of the container's root; its folder must be there.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let file = self.at(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, mode)?;
        let owner = (Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.owner)));
        fchown(&file, owner.0, owner.1)?;
        fchmod(&file, Mode::from_raw_mode(mode))?;
        File::from(file).write_all(bytes)
    }

    /// The names in a folder; none when there is no folder.
    fn names(&self, folder: &str) -> io::Result<(Option<OwnedFd>, Vec<String>)> {
        let opened = match self.at(folder, OFlags::RDONLY | OFlags::DIRECTORY, 0) {
            Ok(opened) => opened,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok((None, Vec::new()));
            }
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&opened)? {
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok((Some(opened), names))
    }

    fn remove(&self, folder: &str, which: impl Fn(&str) -> bool) -> io::Result<()> {
        let (Some(opened), names) = self.names(folder)? else { return Ok(()) };
        for name in names.iter().filter(|name| which(name)) {
            let stat = statat(&opened, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                unlinkat(&opened, name.as_str(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Takes away what must not be the same in two containers, in time that does not depend on what there is else:
    /// machine id and SSH host keys. The top folder can be passed by everybody.
    pub fn make_unique(&self) -> io::Result<()> {
        fchmod(&self.top, Mode::from_raw_mode(0o755))?;
        fchown(&self.top, Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.owner)))?;
        // Empty and not absent: without the file systemd takes the next start for the first one ever.
        if self.has("etc") {
            self.write("etc/machine-id", b"", 0o444)?;
        }
        self.remove("var/lib/dbus", |name| name == "machine-id")?;
        self.remove("etc/ssh", |name| name.starts_with("ssh_host_"))
    }

    /// Takes away what a machine leaves behind while it runs: logs, leases of addresses, seeds.
    pub fn forget(&self) -> io::Result<()> {
        self.remove("var/log", |_| true)?;
        self.remove("var/log/apt", |_| true)?;
        for folder in ["var/lib/dhcp", "var/lib/dhcpcd", "var/lib/NetworkManager", "run/systemd/netif/leases"] {
            self.remove(folder, |name| name.contains("lease"))?;
        }
        self.remove("var/lib/systemd", |name| matches!(name, "random-seed" | "credential.secret"))
    }

    /// The types of SSH host keys there are, of those that are made anew.
    #[must_use]
    pub fn host_keys(&self) -> Vec<String> {
        let (_, names) = self.names("etc/ssh").unwrap_or_default();
        let has = |kind: &str| names.iter().any(|name| *name == format!("ssh_host_{kind}_key"));
        let any = names.iter().any(|name| name.starts_with("ssh_host_") && name.ends_with("_key"));
        KEY_TYPES.iter().filter(|kind| has(kind) || any).map(|kind| (*kind).to_owned()).collect()
    }

    /// What `os-release` says: `ID` and `VERSION_ID`.
    #[must_use]
    pub fn os(&self) -> (String, String) {
        let text = self.read("etc/os-release").or_else(|| self.read("usr/lib/os-release")).unwrap_or_default();
        let of = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        (of("ID"), of("VERSION_ID"))
    }

    /// Whether systemd is what starts it.
    #[must_use]
    pub fn has_systemd(&self) -> bool {
        self.has("usr/lib/systemd/systemd") || self.has("lib/systemd/systemd")
    }
}

/// Gives everything below `path` to the ids of a container without privileges. For a tree that nobody else has open.
///
/// Changing the owner takes set-id bits and file capabilities away; both are given back, the latter in the form that
/// counts in the container alone.
pub fn shift(path: &Path) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    // Under another of its names it was given away already.
    if metadata.nlink() > 1 && !metadata.is_dir() && (SHIFT..SHIFT + IDS).contains(&uid) {
        return Ok(());
    }
    if uid >= IDS || gid >= IDS {
        return Err(io::Error::other(format!(
            "{} belongs to {uid}:{gid}, beyond what a container has",
            path.display()
        )));
    }
    let mut capability = [0_u8; 24];
    let length = lgetxattr(path, CAPABILITY, &mut capability).ok();
    chownat(
        rustix::fs::CWD,
        path,
        Some(Uid::from_raw(uid + SHIFT)),
        Some(Gid::from_raw(gid + SHIFT)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if metadata.is_symlink() {
        return Ok(());
    }
    if metadata.mode() & 0o6000 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    if let Some(capability) = length.and_then(|length| in_container(&capability[..length])) {
        lsetxattr(path, CAPABILITY, &capability, XattrFlags::empty())?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            shift(&entry?.path())?;
        }
    }
    Ok(())
}

const CAPABILITY: &str = "security.capability";

/// The third form of file capabilities, of those whose root is that of the container, from the second form.
fn in_container(capability: &[u8]) -> Option<[u8; 24]> {
    let magic = u32::from_le_bytes(capability.get(..4)?.try_into().ok()?);
    if magic >> 24 != 2 || capability.len() != 20 {
        return None;
    }
    let mut out = [0; 24];
    out[..20].copy_from_slice(capability);
    out[..4].copy_from_slice(&((magic & 0x00ff_ffff) | 0x0300_0000).to_le_bytes());
    out[20..].copy_from_slice(&SHIFT.to_le_bytes());
    Some(out)
}

/// Whether the top folder belongs to the root of a container without privileges.
pub fn is_shifted(path: &Path) -> io::Result<bool> {
    let top = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstat(top)?.st_uid >= SHIFT)
}

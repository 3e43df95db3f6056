//! btrfs for a host that has none: a file system in a file, mounted over the state root by a systemd unit.
//!
//! ```text
//! 1  FILE.staging is made, formatted, and mounted at FILE.staging.d
//! 2  the volumes are made in it, with what the root holds now; written, unmounted
//! 3  FILE.staging becomes FILE
//! 4  when the root holds anything, it is exchanged with an empty folder ROOT.before-btrfs
//! 5  the unit is written, enabled and started
//! ```
//!
//! Until 4 nothing but staging files was touched; what fails from there on is taken back.

use super::init::{ImageReport, RootReport, access_of, copy_all, init, lock_applying};
use super::volumes::{self, Directories, Subvolumes, copy_entry, names};
use super::{StateRoot, Store, Volumes, Wait, file, mounts};
use crate::base::{Error, Kind, Result};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the image is to be.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// How large.
    pub size_bytes: u64,
    /// The file; `ROOT.btrfs` when not said.
    pub file: Option<PathBuf>,
    /// Where the unit is written: [`UNITS`]. Anywhere else it is only written, and the image mounted without it.
    pub units: PathBuf,
}

/// Where systemd looks for the units of this machine.
pub const UNITS: &str = "/etc/systemd/system";

/// What the file system is mounted with. It holds data: nothing on it is a device, or runs.
const MOUNT_OPTIONS: &str = "loop,noatime,nodev,nosuid,noexec";

/// Moves the root onto a btrfs image.
pub fn create(root: &StateRoot, options: &ImageOptions, wait: &mut Wait) -> Result<RootReport> {
    let plan = Plan::new(root, options)?;
    plan.check()?;
    let applying = lock_applying(root, wait)?;
    let store = Store::open(root, wait)?;
    plan.clear();
    let made = plan.fill(root).and_then(|()| plan.take_over());
    // Whoever waits for these locks finds them gone from the root, and takes those that are there now.
    drop((store, applying));
    plan.clear();
    let former = made?;
    let mut report = init(root, wait)?;
    report.image = Some(ImageReport {
        file: plan.file.display().to_string(),
        size_bytes: options.size_bytes,
        unit: plan.unit.display().to_string(),
        former: former.map(|path| path.display().to_string()),
    });
    Ok(report)
}

/// The image of a root that is not mounted over it, and the command that mounts it. One at another place (`--at`) is not
/// found.
pub fn unmounted(root: &StateRoot) -> Result<Option<(PathBuf, String)>> {
    let (path, file) = (root.path(), PathBuf::from(format!("{}.btrfs", root.path().display())));
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if !file.is_file() || mounts::of(path)?.point == real {
        return Ok(None);
    }
    let command = format!("mount -t btrfs -o {MOUNT_OPTIONS} {} {}", file.display(), path.display());
    Ok(Some((file, command)))
}

struct Plan {
    root: PathBuf,
    size_bytes: u64,
    file: PathBuf,
    staging: PathBuf,
    mounted: PathBuf,
    former: PathBuf,
    unit: PathBuf,
}

impl Plan {
    fn new(root: &StateRoot, options: &ImageOptions) -> Result<Self> {
        let beside = |path: &Path, ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
        let root = root.path().to_owned();
        let file = options.file.clone().unwrap_or_else(|| beside(&root, ".btrfs"));
        let file = std::path::absolute(&file).map_err(|e| Error::io("find where the image is to be", &file, &e))?;
        for path in [&root, &file] {
            if path.to_str().is_none_or(|text| text.contains(|c: char| c.is_control() || c == '\\')) {
                return Err(Error::usage("a unit cannot name this path").on(format!("{path:?}")));
            }
        }
        Ok(Self {
            size_bytes: options.size_bytes,
            staging: beside(&file, ".staging"),
            mounted: beside(&file, ".staging.d"),
            former: beside(&root, ".before-btrfs"),
            unit: options.units.join(unit_name(&root)),
            file,
            root,
        })
    }

    /// Everything that can be refused is refused before anything is made.
    fn check(&self) -> Result<()> {
        let refused = |why: &str, path: &Path| Err(Error::refused(why).on(path.display().to_string()));
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new(Kind::Denied, "only root can mount a file system").hint("run it as root"));
        }
        if volumes::is_btrfs(&self.root)? {
            return refused("the state root is on btrfs already, so it needs no image", &self.root)
                .map_err(|e| e.hint("op-snapshot init"));
        }
        if self.file.starts_with(&self.root) {
            return refused("the image cannot lie in what it is mounted over", &self.file)
                .map_err(|e| e.hint("say --at FILE with another place"));
        }
        for path in [&self.file, &self.former, &self.unit] {
            if path.symlink_metadata().is_ok() {
                return refused("there is something of that name already", path)
                    .map_err(|e| e.hint("move it away, or choose another place with --at FILE"));
            }
        }
        if self.root.is_dir() && mounts::of(&self.root)?.point == self.root.canonicalize().unwrap_or_default() {
            return refused("a file system is mounted there already, which an image would cover", &self.root);
        }
        run("mkfs.btrfs", ["--version"]).map(drop)
    }

    /// Steps 1 and 2.
    fn fill(&self, root: &StateRoot) -> Result<()> {
        let attempt = |e: std::io::Error| Error::io("make the image", &self.staging, &e);
        let image = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.staging).map_err(attempt)?;
        // All of its room is taken now: an image that cannot grow when it must is a broken file system.
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&image, flags, 0, self.size_bytes) {
            Err(rustix::io::Errno::OPNOTSUPP) => image.set_len(self.size_bytes).map_err(attempt)?,
            done => done.map_err(|e| attempt(e.into()).hint("choose a smaller SIZE, or make room"))?,
        }
        drop(image);
        run("mkfs.btrfs", [OsStr::new("--quiet"), "--label".as_ref(), "op-dbus".as_ref(), self.staging.as_ref()])?;
        DirBuilder::new().mode(0o700).create(&self.mounted).map_err(attempt)?;
        mount(&self.staging, &self.mounted)?;
        let subvolumes = Subvolumes;
        for fixed in root.fixed() {
            let path = self.mounted.join(fixed.file_name().unwrap_or_default());
            subvolumes.create(&path)?;
            // Before anything is copied into it, so that what is copied is compressed, too.
            if root.is_compressed(&fixed) {
                subvolumes.compress(&path)?;
            }
        }
        self.copy(&subvolumes)?;
        subvolumes.sync(&self.mounted)?;
        run("umount", [&self.mounted]).map(drop)
    }

    /// What the root holds, as volumes of the image.
    fn copy(&self, subvolumes: &Subvolumes) -> Result<()> {
        for name in names(&self.root)?.iter().filter(|name| *name != ".lock") {
            let (source, target) = (self.root.join(name), self.mounted.join(name));
            if ["@cache-snapshots", "@plugin-snapshots"].contains(&name.as_str()) {
                copy_all(subvolumes, &source, &target)?;
            } else if target.exists() {
                for entry in names(&source)? {
                    copy_entry(&source.join(&entry), &target.join(&entry))?;
                }
            } else if name.starts_with('@') {
                subvolumes.snapshot(&source, &target, access_of(subvolumes, &source)?)?;
            } else {
                copy_entry(&source, &target)?;
            }
        }
        Ok(())
    }

    /// Steps 3 to 5; where the former content is.
    fn take_over(&self) -> Result<Option<PathBuf>> {
        let has_content = names(&self.root)?.iter().any(|name| name != ".lock");
        fs::rename(&self.staging, &self.file).map_err(|e| Error::io("rename it", &self.staging, &e))?;
        let done = if has_content { self.step_aside() } else { Ok(()) };
        let Err(mut error) = done.and_then(|()| self.start()) else {
            return Ok(has_content.then(|| self.former.clone()));
        };
        // Back to where it began, in reverse; what cannot be taken back is said.
        let _ = run("umount", [&self.root]);
        if self.unit.exists() && self.is_started_by_systemd() {
            let _ = run("systemctl", ["disable", &unit_name(&self.root)]);
        }
        let _ = fs::remove_file(&self.unit);
        let _ = fs::remove_file(&self.file);
        if self.former.exists() {
            let back = Directories.exchange(&self.former, &self.root);
            let back =
                back.and_then(|()| fs::remove_dir(&self.former).map_err(|e| Error::io("remove it", &self.former, &e)));
            if let Err(left) = back {
                error.kind = Kind::Residue;
                error.also.push(left.hint(format!("what the root held is in {}", self.former.display())));
            }
        }
        Err(error)
    }

    /// An empty folder takes the root's name, in one step.
    fn step_aside(&self) -> Result<()> {
        let made = DirBuilder::new().mode(0o755).create(&self.former);
        made.map_err(|e| Error::io("make a folder to mount it on", &self.former, &e))?;
        Directories.exchange(&self.former, &self.root)
    }

    /// Writes the unit and has the root mounted, by systemd where that is what runs this machine.
    fn start(&self) -> Result<()> {
        file::replace(&self.unit, self.unit_text().as_bytes(), file::Durability::Durable)?;
        // Others than root may read it, as they may every unit.
        let readable = fs::set_permissions(&self.unit, std::os::unix::fs::PermissionsExt::from_mode(0o644));
        readable.map_err(|e| Error::io("let others read the unit", &self.unit, &e))?;
        if self.is_started_by_systemd() {
            run("systemctl", ["daemon-reload"])?;
            run("systemctl", ["enable", "--now", &unit_name(&self.root)])?;
        } else {
            mount(&self.file, &self.root)?;
        }
        if volumes::is_btrfs(&self.root)? {
            return Ok(());
        }
        Err(Error::failed("it was mounted, and yet no btrfs is there").on(self.root.display().to_string()))
    }

    fn unit_text(&self) -> String {
        let written = |path: &Path| path.display().to_string().replace('%', "%%");
        format!(
            "# Written by op-snapshot init --loop.\n\
             [Unit]\n\
             Description=The state root of op-dbus, a btrfs image\n\
             Documentation=man:op-dbus(7)\n\
             RequiresMountsFor=\"{}\"\n\
             \n\
             [Mount]\n\
             What={}\n\
             Where={}\n\
             Type=btrfs\n\
             Options={MOUNT_OPTIONS}\n\
             \n\
             [Install]\n\
             WantedBy=local-fs.target\n",
            written(self.file.parent().unwrap_or(Path::new("/"))),
            written(&self.file),
            written(&self.root)
        )
    }

    /// Whether systemd runs this machine, and would find the unit.
    fn is_started_by_systemd(&self) -> bool {
        self.unit.starts_with(UNITS) && Path::new("/run/systemd/system").is_dir()
    }

    /// Removes what steps 1 and 2, now or in a run that crashed, left behind.
    fn clear(&self) {
        if self.mounted.exists() {
            // Whether it is mounted is not asked: that it cannot be unmounted then says the same.
            let _ = run("umount", [&self.mounted]);
            let _ = fs::remove_dir(&self.mounted);
        }
        let _ = fs::remove_file(&self.staging);
    }
}

fn mount(image: &Path, at: &Path) -> Result<()> {
    let options = [OsStr::new("-t"), "btrfs".as_ref(), "-o".as_ref(), MOUNT_OPTIONS.as_ref()];
    run("mount", options.into_iter().chain([image.as_os_str(), at.as_os_str()])).map(drop)
}

/// Runs a program of the system; what it says on standard error is the failure.
fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Result<String> {
    let package = if program == "mkfs.btrfs" { "btrfs-progs" } else { "util-linux" };
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().map_err(|e| {
        Error::new(Kind::Unavailable, format!("could not run it: {e}"))
            .on(program)
            .hint(format!("install it: apt-get install {package}"))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(Error::failed(format!("it failed: {}", said.join("; "))).on(program))
}

/// The name of the unit that mounts at `path`, as `systemd-escape --path --suffix=mount` writes it.
fn unit_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let mut name = String::new();
    for (i, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if i == 0 => name.push_str("\\x2e"),
            b'_' | b'.' | b':' => name.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => name.push(byte.into()),
            byte => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    format!("{}.mount", if name.is_empty() { "-" } else { &name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_systemd_names_them() {
        for (path, expected) in [
            ("/var/lib/op-dbus", "var-lib-op\\x2ddbus.mount"),
            ("//srv///a b/.c/", "srv-a\\x20b-.c.mount"),
            ("/.x_y:z", "\\x2ex_y:z.mount"),
            ("/ü", "\\xc3\\xbc.mount"),
            ("/", "-.mount"),
        ] {
            assert_eq!(unit_name(Path::new(path)), expected);
            let args = ["--path", "--suffix=mount", path];
            if let Ok(theirs) = Command::new("systemd-escape").args(args).output() {
                assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim(), expected);
            }
        }
    }
}

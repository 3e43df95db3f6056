//! What a state root can promise, what it cannot, and the command that mends each; what is stored in it.

mod stored;

pub use stored::Stored;

use super::init::plain;
use super::{StateRoot, Store, Wait, cache, image, mounts, sweep, volumes};
use crate::base::Result;
use crate::base::time::Hour;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `op-snapshot doctor` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Doctor {
    /// Always `doctor`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The state root.
    pub root: String,
    /// The type of its file system, for example `btrfs`.
    pub file_system: String,
    /// What that lies on, for example `/dev/sda1`.
    pub device: String,
    /// How large the file system is.
    pub size_bytes: u64,
    /// How much of it can still be used.
    pub free_bytes: u64,
    /// What is promised or not.
    pub promises: Vec<Promise>,
    /// What is stored, by kind; kinds there is nothing of are left out.
    pub stored: Vec<Stored>,
}

/// Something that a state root should give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Promise {
    /// Its name, for example `atomic_exchange`.
    pub promise: String,
    /// Whether this root gives it.
    pub is_kept: bool,
    /// Why, or what is lost.
    pub detail: String,
    /// The command that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Looks at the root and changes nothing there: to see whether names can be exchanged, two new ones are, and deleted.
pub fn look(root: &StateRoot, now: Hour, wait: &mut Wait) -> Result<Doctor> {
    let mount = mounts::of(root.path())?;
    let space = volumes::file_system(root.path())?;
    let block = u64::try_from(space.f_frsize).unwrap_or_default();
    let examined = Examined { root, mount: &mount, is_btrfs: volumes::is_btrfs(root.path())? };
    let unmounted = image::unmounted(root)?;
    let first = match &unmounted {
        // What lies below is not the root: nothing else is said of it, and nothing is to be mended there.
        Some((file, command)) => broken("layout", format!("its image is not mounted: {}", file.display()), command),
        None => examined.root_is_there(),
    };
    let mut promises = vec![first];
    if unmounted.is_none() && root.path().is_dir() {
        promises.extend(examined.of_volumes()?);
        promises.push(examined.exchange(wait)?);
        promises.extend(examined.of_file_system());
        promises.extend(examined.of_snapshots(now)?);
        promises.push(examined.no_leftovers(&sweep::leftovers(root)?));
    }
    let stored = stored::measure(root, examined.is_btrfs)?;
    if let Some(promise) = stored::is_measured(&stored) {
        promises.push(promise);
    }
    Ok(Doctor {
        kind: "doctor".into(),
        version: 1,
        root: root.path().display().to_string(),
        file_system: mount.kind.clone(),
        device: mount.source.clone(),
        size_bytes: space.f_blocks * block,
        free_bytes: space.f_bavail * block,
        promises,
        stored,
    })
}

fn kept(promise: &str, detail: impl Into<String>) -> Promise {
    Promise { promise: promise.into(), is_kept: true, detail: detail.into(), mend: None }
}

fn broken(promise: &str, detail: impl Into<String>, mend: impl Into<String>) -> Promise {
    Promise { promise: promise.into(), is_kept: false, detail: detail.into(), mend: Some(mend.into()) }
}

struct Examined<'a> {
    root: &'a StateRoot,
    mount: &'a mounts::Mount,
    is_btrfs: bool,
}

impl Examined<'_> {
    /// A command for this root.
    fn command(&self, command: &str) -> String {
        format!("op-snapshot --root {} {command}", self.root.path().display())
    }

    /// The command that gives a root without btrfs one.
    fn image(&self) -> String {
        self.command("init --loop 2G")
    }

    fn root_is_there(&self) -> Promise {
        let missing: Vec<_> = self.root.fixed().into_iter().filter(|path| !path.is_dir()).collect();
        if missing.is_empty() {
            return kept("layout", "every volume is there");
        }
        broken("layout", format!("missing: {}", listed(&missing)), self.command("init"))
    }

    fn of_volumes(&self) -> Result<Vec<Promise>> {
        if !self.is_btrfs {
            let loss = |promise, detail: &str| broken(promise, detail, self.image());
            return Ok(vec![
                loss("subvolumes", "volumes are plain folders here"),
                loss(
                    "instant_snapshots",
                    "a snapshot is a copy: it takes time, and room for what the file system cannot share",
                ),
                loss("one_moment", "a copy is of no single moment when something writes to the cache meanwhile"),
                loss("sealed", "what is sealed lacks its write bits, and root can write it nevertheless"),
                loss("compression", "the file system compresses nothing for us"),
                loss("checksums", "bytes that rot on the device are read as if they were right"),
            ]);
        }
        let plain = plain(self.root)?;
        let uncompressed: Vec<PathBuf> = (self.root.fixed().into_iter())
            .filter(|path| path.is_dir() && self.root.is_compressed(path) && !self.volumes().is_compressed(path))
            .collect();
        let some = |promise: &str, without: &[PathBuf], good: &str, bad: &str| match without {
            [] => kept(promise, good),
            paths => broken(promise, format!("{bad}: {}", listed(paths)), self.command("init")),
        };
        Ok(vec![
            some("subvolumes", &plain, "every volume is a subvolume", "plain folders"),
            some("instant_snapshots", &plain, "a snapshot shares all data", "copied, since they are plain folders"),
            some("one_moment", &plain, "a snapshot is of one moment", "copied, since they are plain folders"),
            some("sealed", &plain, "the kernel keeps what is sealed as it is", "only their write bits are taken"),
            some("compression", &uncompressed, "what is written is compressed with zstd", "not compressed"),
            kept("checksums", "every block is checked when it is read"),
        ])
    }

    fn volumes(&self) -> Box<dyn volumes::Volumes> {
        if self.is_btrfs { Box::new(volumes::Subvolumes) } else { Box::new(volumes::Directories) }
    }

    /// Tries it: no list of file systems knows all of them.
    fn exchange(&self, wait: &mut Wait) -> Result<Promise> {
        const NAME: &str = "atomic_exchange";
        let store = match Store::unswept(self.root, wait) {
            Ok(store) => store,
            Err(error) => return Ok(broken(NAME, format!("could not be tried: {error}"), self.command("doctor"))),
        };
        let pair = ["probe-a", "probe-b"].map(|name| store.staging(self.root.path(), name));
        let tried = pair.iter().try_for_each(|path| store.volumes().create(path));
        let can = tried.map(|()| volumes::can_exchange(&pair[0], &pair[1]));
        for path in &pair {
            if path.exists() {
                store.volumes().delete(path)?;
            }
        }
        Ok(match can {
            Ok(true) => kept(NAME, "a new version takes the place of the old one in one step"),
            Ok(false) => {
                broken(NAME, "a new version takes the place in three steps, between which it is missing", self.image())
            }
            Err(error) => broken(NAME, format!("could not be tried: {error}"), self.command("doctor")),
        })
    }

    fn of_file_system(&self) -> Vec<Promise> {
        const NAME: &str = "survives_reboot";
        vec![match self.mount.kind.as_str() {
            "tmpfs" | "ramfs" => broken(NAME, "this file system is memory", "op-snapshot --root DIR init, on a disk"),
            kind => kept(NAME, format!("what is written is on {} ({kind})", self.mount.source)),
        }]
    }

    fn of_snapshots(&self, now: Hour) -> Result<Vec<Promise>> {
        let timer = "systemctl enable --now op-dbus-snapshot.timer";
        let snapshots = cache::list(self.root, &*self.volumes())?.snapshots;
        let hours = snapshots.iter().filter_map(|snapshot| cache::hour_of(&snapshot.name));
        let fresh = match hours.filter(|&hour| hour <= now).max() {
            None if !self.root.cache().is_dir() => kept("hourly_snapshots", "there is no cache to take any of"),
            None => broken("hourly_snapshots", "there is none", timer),
            Some(newest) if now.since(newest) > 1 => {
                broken("hourly_snapshots", format!("the newest is of {newest}, {} hours ago", now.since(newest)), timer)
            }
            Some(newest) => kept("hourly_snapshots", format!("the newest is of {newest}")),
        };
        let count = format!("{} of at most {}", snapshots.len(), cache::KEPT);
        let retention = match snapshots.len() > cache::KEPT {
            true => broken("retention", count, self.command("rotate")),
            false => kept("retention", count),
        };
        Ok(vec![fresh, retention])
    }

    fn no_leftovers(&self, leftovers: &[PathBuf]) -> Promise {
        match leftovers {
            [] => kept("no_leftovers", "no run left anything unfinished"),
            paths => broken("no_leftovers", format!("unfinished: {}", listed(paths)), self.command("init")),
        }
    }
}

fn listed(paths: &[impl AsRef<Path>]) -> String {
    let names = paths.iter().map(|path| path.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join(", ")
}

//! Three versions of the plugin `lamp`, to be installed while something goes wrong.

use crate::disk::{Disk, Kind};
use crate::publisher::{MANIFEST, Publisher};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder, by path.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// A desk whose packages differ in every file.
#[derive(Debug)]
pub struct Case {
    /// The desk.
    pub desk: Publisher,
    /// The packages by version.
    pub packages: BTreeMap<&'static str, PathBuf>,
    /// What each holds.
    pub trees: BTreeMap<&'static str, Tree>,
}

/// The versions of them.
pub const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

impl Case {
    /// A desk with packages for the state root at `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let desk = Publisher::at_root(root);
        let (mut packages, mut trees) = (BTreeMap::new(), BTreeMap::new());
        for version in VERSIONS {
            let folder = desk.path().join(version);
            fs::create_dir_all(folder.join("examples")).unwrap();
            let files = [
                ("plugin.toml", MANIFEST.replace("1.0.0", version)),
                ("README.md", format!("# {version}\n").repeat(3000)),
                ("examples/one.json", format!("{{\"of\":\"{version}\"}}")),
            ];
            for (path, text) in &files {
                fs::write(folder.join(path), text).unwrap();
            }
            let line = ["publish", folder.to_str().unwrap(), "--key", "publisher.key", "--out", "."];
            assert_eq!(desk.run("op-snapshot", &line).code, 0);
            packages.insert(version, desk.path().join(format!("lamp-v{version}.btrfs.zst")));
            trees.insert(version, tree(&folder));
        }
        Self { desk, packages, trees }
    }

    /// The folder of the active version.
    #[must_use]
    pub fn active(&self) -> PathBuf {
        self.desk.root().join("@plugin-lamp")
    }

    /// Installs a version.
    pub fn install(&self, version: &'static str) {
        let ended = self.desk.install(&self.packages[version], &["--allow-downgrade"]);
        assert_eq!(ended.code, 0, "{version}: {ended:?}");
    }

    /// Which version is active, whole; nothing else may be the case.
    #[track_caller]
    #[must_use]
    pub fn whole(&self, context: &str) -> Option<&'static str> {
        if !self.active().exists() {
            return None;
        }
        let found = tree(&self.active());
        let version = self.trees.iter().find(|(_, tree)| **tree == found).map(|(version, _)| *version);
        assert!(version.is_some(), "{context}: a mixture of {:?}", found.keys());
        // What reads it sees the same.
        let listed = self.desk.run("op-install", &["list"]).json();
        assert_eq!(listed["plugins"][0]["plugin_version"].as_str(), version, "{context}");
        version
    }

    /// The audit trail is valid, and every change it tells of has an end.
    pub fn told(&self, context: &str) {
        let verified = self.desk.run("op-audit", &["verify"]);
        assert_eq!(verified.code, 0, "{context}: {verified:?}");
        let mut open = BTreeMap::new();
        for line in self.desk.run("op-audit", &["log"]).stdout.lines() {
            let block: serde_json::Value = serde_json::from_str(line).unwrap();
            let run = block["header"]["run"].as_str().unwrap_or_default().to_owned();
            match block["header"]["kind"].as_str() {
                Some("intent") => drop(open.insert(run, line.to_owned())),
                Some("outcome") => {
                    assert!(open.remove(&run).is_some(), "{context}: an end without a beginning: {line}")
                }
                _ => {}
            }
        }
        assert_eq!(open.values().collect::<Vec<_>>(), Vec::<&String>::new(), "{context}");
        let left = fs::read_dir(self.desk.root().join("@timing")).unwrap();
        let left: Vec<_> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.starts_with(".reserve")), "{context}: {left:?}");
    }

    /// What is active can be written by nobody, and nothing was taken for somebody's draft.
    pub fn sealed(&self, context: &str) {
        let active = self.desk.root().join("@plugin-lamp");
        let volume = op_dbus::store::volumes::at(&active).unwrap().look(&active).unwrap();
        assert!(volume.is_none_or(|volume| volume.is_sealed), "{context}: it can be written");
        let beside = fs::read_dir(self.desk.root().join("@plugin-snapshots")).into_iter().flatten();
        let beside: Vec<_> = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!beside.iter().any(|name| name.contains("draft")), "{context}: {beside:?}");
    }

    /// Nothing unfinished is left.
    pub fn sweeps(&self, context: &str) {
        for folder in [self.desk.root().to_owned(), self.desk.root().join("@plugin-snapshots")] {
            let left: Vec<_> = fs::read_dir(&folder).into_iter().flatten().map(|e| e.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".staging-")), "{context}: {left:?}");
        }
    }
}

/// The files of a folder.
#[must_use]
pub fn tree(folder: &Path) -> Tree {
    let all = crate::publisher::picture(folder);
    all.into_iter().filter(|(path, _)| folder.join(path).is_file()).map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// A file system with subvolumes, and one without.
#[must_use]
pub fn one_of_each() -> [(&'static str, Disk); 2] {
    [("btrfs", Disk::new(Kind::Btrfs, "256M")), ("tmpfs", Disk::new(Kind::Tmpfs, "64M"))]
}

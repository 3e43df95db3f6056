//! An install that is killed, runs out of space, meets another, or loses power: the old version or the new one is active
//! and whole, and the next run tidies up.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::disk::{Disk, Kind};
use op_dbus_tests::publisher::{MANIFEST, Publisher};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Tree = BTreeMap<String, Vec<u8>>;

/// A desk whose packages differ in every file.
struct Case {
    desk: Publisher,
    packages: BTreeMap<&'static str, PathBuf>,
    trees: BTreeMap<&'static str, Tree>,
}

const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

impl Case {
    fn new(root: &Path) -> Self {
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

    fn active(&self) -> PathBuf {
        self.desk.root().join("@plugin-lamp")
    }

    fn install(&self, version: &'static str) {
        let ended = self.desk.install(&self.packages[version], &["--allow-downgrade"]);
        assert_eq!(ended.code, 0, "{version}: {ended:?}");
    }

    /// Which version is active, whole; nothing else may be the case.
    #[track_caller]
    fn whole(&self, context: &str) -> Option<&'static str> {
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

    fn sweeps(&self, context: &str) {
        for folder in [self.desk.root().to_owned(), self.desk.root().join("@plugin-snapshots")] {
            let left: Vec<_> = fs::read_dir(&folder).into_iter().flatten().map(|e| e.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".staging-")), "{context}: {left:?}");
        }
    }
}

fn tree(folder: &Path) -> Tree {
    let all = op_dbus_tests::publisher::picture(folder);
    all.into_iter().filter(|(path, _)| folder.join(path).is_file()).map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// The calls by which something is written, or comes to be written.
const WRITING: &str = "openat,openat2,write,pwrite64,mkdir,mkdirat,rename,renameat2,unlink,unlinkat,rmdir,ftruncate,fsync,\
                       fdatasync,syncfs,ioctl,chmod,fchmod,fsetxattr,setxattr,utimensat,copy_file_range,flock,sendfile";

/// A call, and the how manieth of its kind.
type Place = (String, u32);

/// Where a command makes those calls.
fn calls(case: &Case, args: &[&str]) -> Vec<Place> {
    let log = case.desk.path().join("strace.log");
    let ended = traced(case, args, &["-o", log.to_str().unwrap(), "-e", &format!("trace={WRITING}")]);
    assert_eq!(ended, Some(0));
    let (mut counts, mut places): (BTreeMap<String, u32>, Vec<Place>) = Default::default();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let call =
            line.split_whitespace().nth(1).and_then(|call| call.split_once('(')).map(|(name, _)| name.to_owned());
        if let Some(name) = call.filter(|name| WRITING.split(',').any(|known| known == name)) {
            let number = counts.entry(name.clone()).or_default();
            *number += 1;
            // Between two openings for reading nothing has changed.
            if !name.starts_with("openat") || line.contains("O_CREAT") || line.contains("O_WRONLY") {
                places.push((name, *number));
            }
        }
    }
    assert!(places.len() > 20, "{counts:?}");
    places
}

fn traced(case: &Case, args: &[&str], options: &[&str]) -> Option<i32> {
    let output = Command::new("strace")
        .arg("-f")
        .args(options)
        .arg(op_dbus_tests::program("op-install"))
        .args(args)
        .env("OP_DBUS_ROOT", case.desk.root())
        .env("OP_DBUS_MAPPINGS", case.desk.path().join("none"))
        .env("OP_DBUS_TRUSTED_KEYS", case.desk.path().join("keys"))
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .output()
        .unwrap();
    output.status.code()
}

/// Runs `args` from the state that `prepare` makes, hurt in every writing call, one at a time. Afterwards one of `fine`
/// is active, and the same command done again succeeds.
fn hurt_everywhere(case: &Case, injury: &str, prepare: &dyn Fn(), args: &[&str], fine: &[Option<&str>]) {
    prepare();
    let places = calls(case, args);
    let mut seen = BTreeMap::new();
    for (call, number) in places {
        prepare();
        let inject = format!("inject={call}:{injury}:when={number}");
        let code = traced(case, args, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let context = format!("{} {inject} ended with {code:?}", args[0]);
        let version = case.whole(&context);
        assert!(fine.contains(&version), "{context}: {version:?}");
        *seen.entry(version).or_insert(0) += 1;
        let again = case.desk.run("op-install", args);
        assert_eq!(again.code, 0, "{context}: {again:?}");
        assert_eq!(case.whole(&context), *fine.last().unwrap(), "{context}");
        case.sweeps(&context);
        let verified = case.desk.run("op-install", &["verify"]);
        assert_eq!(verified.code, 0, "{context}: {verified:?}");
    }
    assert_eq!(seen.len(), fine.len(), "each is seen at some point: {seen:?}");
}

fn one_of_each() -> [(&'static str, Disk); 2] {
    [("btrfs", Disk::new(Kind::Btrfs, "256M")), ("tmpfs", Disk::new(Kind::Tmpfs, "64M"))]
}

fn hurt_installs(injury: &str) {
    for (_, disk) in one_of_each() {
        let case = Case::new(&disk.path().join("root"));
        let remove = || {
            let _ = case.desk.run("op-install", &["remove", "lamp", "--yes"]);
        };
        let package = case.packages["1.0.0"].display().to_string();
        hurt_everywhere(&case, injury, &remove, &["install", &package], &[None, Some("1.0.0")]);
        let older = || {
            remove();
            case.install("1.0.0");
        };
        let package = case.packages["1.1.0"].display().to_string();
        hurt_everywhere(&case, injury, &older, &["install", &package], &[Some("1.0.0"), Some("1.1.0")]);
    }
}

#[test]
fn killed_at_every_call_of_an_install() {
    hurt_installs("signal=KILL");
}

#[test]
fn the_disk_is_full_at_every_call_of_an_install() {
    hurt_installs("error=ENOSPC");
}

#[test]
fn killed_at_every_call_of_a_rollback() {
    for (_, disk) in one_of_each() {
        let case = Case::new(&disk.path().join("root"));
        for version in ["1.0.0", "1.1.0"] {
            case.install(version);
        }
        let newer = || drop(case.desk.run("op-install", &["rollback", "lamp", "--to", "1.1.0"]));
        let back = ["rollback", "lamp", "--to", "1.0.0"];
        hurt_everywhere(&case, "signal=KILL", &newer, &back, &[Some("1.1.0"), Some("1.0.0")]);
    }
}

/// A disk that is really full, at one place after the other.
#[test]
fn a_full_disk() {
    for (name, disk) in [("ext4", Disk::new(Kind::Ext4, "24M")), ("tmpfs", Disk::new(Kind::Tmpfs, "4M"))] {
        let case = Case::new(&disk.path().join("root"));
        case.install("1.0.0");
        let filler = disk.path().join("filler");
        let (mut full, mut fine) = (0, 0);
        for free_kib in (0..600).step_by(20) {
            let available = rustix::fs::statvfs(disk.path()).unwrap();
            // Root may use what is kept back for root.
            let available = available.f_bfree * available.f_frsize;
            let bytes = vec![1; usize::try_from(available.saturating_sub(free_kib << 10)).unwrap()];
            // Whatever does not fit any more is not missed.
            let _ = fs::write(&filler, &bytes);
            let ended = case.desk.install(&case.packages["1.1.0"], &[]);
            let version = case.whole(&format!("{name} {free_kib} KiB: {ended:?}"));
            match ended.code {
                0 => fine += 1,
                _ => full += 1,
            }
            assert_eq!(version, Some(if ended.code == 0 { "1.1.0" } else { "1.0.0" }), "{name}: {ended:?}");
            case.sweeps(&format!("{name} {free_kib} KiB: {ended:?}"));
            fs::remove_file(&filler).unwrap();
            if ended.code == 0 {
                case.install("1.0.0");
                assert_eq!(case.desk.run("op-install", &["remove", "lamp", "--version", "1.1.0", "--yes"]).code, 0);
            }
            assert_eq!(case.desk.run("op-install", &["verify"]).code, 0, "{name} {free_kib} KiB");
        }
        assert!(full > 2 && fine > 2, "{name}: {full} times too little, {fine} times enough");
    }
}

#[test]
fn two_at_once() {
    for (name, disk) in one_of_each() {
        let case = Case::new(&disk.path().join("root"));
        for round in 0..6 {
            std::thread::scope(|scope| {
                let installs = VERSIONS.map(|version| {
                    scope.spawn({
                        let case = &case;
                        move || case.install(version)
                    })
                });
                installs.into_iter().for_each(|install| install.join().unwrap());
            });
            assert!(case.whole(&format!("{name} {round}")).is_some());
            let verified = case.desk.run("op-install", &["verify"]);
            assert_eq!(verified.json()["versions"].as_array().unwrap().len(), 3, "{name}: {verified:?}");
            case.sweeps(name);
            if round % 2 == 1 {
                assert_eq!(case.desk.run("op-install", &["remove", "lamp", "--yes"]).code, 0);
            }
        }
    }
}

/// What a power cut leaves is what the device holds at that moment: a copy of it in one step, mounted afterwards.
#[test]
fn the_power_fails() {
    let outer = Disk::new(Kind::Btrfs, "900M");
    let image = outer.path().join("image");
    let sh = |script: &str| {
        let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let i = image.display();
    sh(&format!("truncate -s 128M {i} && mkfs.btrfs -q {i}"));
    let disk = Disk::on(&image);
    let case = Case::new(&disk.path().join("root"));
    for version in VERSIONS {
        case.install(version);
    }
    sh(&format!("btrfs filesystem sync {}", disk.path().display()));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                case.install(VERSIONS[turn % 2]);
                let gone = VERSIONS[(turn + 1) % 2];
                let _ = case.desk.run("op-install", &["remove", "lamp", "--version", gone, "--yes"]);
                let _ = case.desk.run("op-install", &["rollback", "lamp", "--to", VERSIONS[2]]);
            }
        });
        for copy in 0..24_u64 {
            std::thread::sleep(Duration::from_millis(30 + copy * 37 % 70));
            sh(&format!("cp --reflink=always {i} {i}.{copy}"));
        }
        is_done.store(true, Ordering::Relaxed);
    });
    drop(disk);
    let mut seen = std::collections::BTreeSet::new();
    for copy in 0..24 {
        // A copy has the identity of what it was copied from, and btrfs mounts one of that identity only: one at a time.
        // (Another identity would have to be written into the log, too, which btrfstune leaves as it is.)
        sh("btrfs device scan --forget || true");
        let disk = Disk::on(&outer.path().join(format!("image.{copy}")));
        let after = Case {
            desk: case.desk.moved_to(&disk.path().join("root")),
            packages: case.packages.clone(),
            trees: case.trees.clone(),
        };
        let context = format!("copy {copy}");
        let version = after.whole(&context);
        assert!(version.is_some(), "{context}: none is active");
        seen.insert(version);
        after.install("1.2.0");
        after.sweeps(&context);
        let verified = after.desk.run("op-install", &["verify"]);
        assert_eq!(verified.code, 0, "{context}: {verified:?}");
    }
    assert!(seen.len() > 1, "the copies are of different moments");
}

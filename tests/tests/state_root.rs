//! The state root made, examined and mended by `op-snapshot`, on real file systems and on an image of its own.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::store::image::{self, ImageOptions};
use op_dbus::store::{Access, Lock, StateRoot, Wait, volumes};
use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use op_dbus_tests::program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[track_caller]
fn json(root: &Path, args: &[&str]) -> Value {
    let output = Command::new(program("op-snapshot")).args(args).env("OP_DBUS_ROOT", root).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The promises that are not kept, and what mends them.
fn broken(root: &Path) -> BTreeMap<String, String> {
    let doctor = json(root, &["doctor"]);
    let promises = doctor["promises"].as_array().unwrap().iter();
    let broken = promises.filter(|promise| promise["is_kept"] == false);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    broken.map(|promise| (text(&promise["promise"]), text(&promise["mend"]))).collect()
}

/// Runs what the doctor says mends something.
fn mend(command: &str) {
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program("op-snapshot").parent().unwrap().display());
    let done = Command::new("sh").arg("-c").arg(command).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

fn sh(script: &str) -> String {
    let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn everything_the_doctor_finds_on_btrfs_is_mended_by_what_it_says() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let root = disk.path().join("root");
    // A root as another program would begin it, with plain folders.
    for folder in ["@cache/queries", "@state/checkpoints", "@plugin-lamp/examples", "@plugin-snapshots/lamp@v1.0.0"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("@state/ownership.json"), "{}").unwrap();
    fs::write(root.join("@plugin-lamp/plugin.toml"), "[plugin]").unwrap();
    fs::write(root.join("@cache/queries/a.json"), "a").unwrap();
    fs::create_dir(root.join(".staging-lamp-7")).unwrap();
    let found = broken(&root);
    for promise in ["layout", "subvolumes", "instant_snapshots", "one_moment", "sealed", "compression", "no_leftovers"]
    {
        assert!(found.contains_key(promise), "{promise}: {found:?}");
    }
    assert!(root.join(".staging-lamp-7").exists(), "who only looks sweeps nothing");
    mend(&found["subvolumes"]);
    let left = broken(&root);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["hourly_snapshots"], "{left:?}");
    for volume in ["@cache", "@cache-snapshots", "@state", "@plugin-lamp", "@plugin-snapshots/lamp@v1.0.0"] {
        assert!(is_subvolume(&root.join(volume)), "{volume}");
    }
    assert_eq!(fs::read_to_string(root.join("@state/ownership.json")).unwrap(), "{}");
    assert_eq!(fs::read_to_string(root.join("@plugin-lamp/plugin.toml")).unwrap(), "[plugin]");
    assert!(!root.join(".staging-lamp-7").exists());

    // Twenty-six snapshots, the newest years ago: too many, and too old.
    for i in 0..26 {
        let name = format!("@cache-snapshots/cache@2025-01-{:02}-10:00", i + 1);
        let volumes = volumes::at(&root).unwrap();
        volumes.snapshot(&root.join("@cache"), &root.join(name), Access::ReadOnly).unwrap();
    }
    let found = broken(&root);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["hourly_snapshots", "retention"], "{found:?}");
    mend(&found["retention"]);
    assert_eq!(broken(&root), BTreeMap::new());
    assert_eq!(json(&root, &["init"])["converted"], serde_json::json!([]));
}

#[test]
fn what_is_lost_elsewhere_is_said() {
    for (name, kind, expected) in [("ext4", Kind::Ext4, 6), ("tmpfs", Kind::Tmpfs, 7)] {
        let disk = Disk::new(kind, "32M");
        let root = disk.path().join("root");
        json(&root, &["init"]);
        let found = broken(&root);
        let lost = found.keys().filter(|promise| *promise != "hourly_snapshots");
        assert_eq!(lost.count(), expected, "{name}: {found:?}");
        assert_eq!(found.contains_key("survives_reboot"), kind == Kind::Tmpfs, "{name}");
        assert!(!found.contains_key("atomic_exchange"), "{name}");
        assert!(found["subvolumes"].contains("--loop"), "{name}: {found:?}");
        let doctor = json(&root, &["doctor"]);
        assert_eq!(doctor["file_system"], name);
        assert!(doctor["free_bytes"].as_u64().unwrap() < doctor["size_bytes"].as_u64().unwrap());
        assert_eq!(doctor["stored"], serde_json::json!([]), "{name}: nothing is stored, and the lock is nobody's data");
    }
}

#[test]
fn stored_bytes_are_what_the_disk_holds() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let root = disk.path().join("root");
    json(&root, &["init"]);
    for (folder, text) in [("@cache/blocks", "a block of the audit trail, "), ("@timing/blocks", "all alike ")] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("0"), text.repeat(100_000)).unwrap();
    }
    fs::create_dir(root.join("@cache/embeddings")).unwrap();
    sh(&format!("head -c 1000000 /dev/urandom > {}/@cache/embeddings/vectors.bin", root.display()));
    fs::create_dir(root.join("@cache/queries")).unwrap();
    fs::write(root.join("@cache/queries/empty"), "").unwrap();
    json(&root, &["rotate"]);
    let stored = |root: &Path| -> BTreeMap<String, (u64, u64)> {
        let doctor = json(root, &["doctor"]);
        let number = |kind: &Value, key: &str| kind[key].as_u64().unwrap_or_else(|| panic!("{key}: {kind}"));
        let kinds = doctor["stored"].as_array().unwrap().iter();
        kinds
            .map(|k| (k["kind"].as_str().unwrap().to_owned(), (number(k, "raw_bytes"), number(k, "stored_bytes"))))
            .collect()
    };
    let found = stored(&root);
    let (raw, on_disk) = found["blocks"];
    assert!(raw == 2_800_000 && on_disk > 0 && on_disk < raw / 10, "text is compressed: {found:?}");
    let (raw, on_disk) = found["embeddings"];
    assert!(raw == 1_000_000 && on_disk >= raw, "what is random is not: {found:?}");
    assert_eq!(found["queries"], (0, 0));
    assert!(found["timing"].1 < found["timing"].0 / 10, "{found:?}");
    assert!(!found.contains_key("plugins"), "{found:?}");
    // A second snapshot holds nothing of its own.
    let one = found["cache_snapshots"];
    let snapshot = json(&root, &["list"])["snapshots"][0]["folder"].as_str().unwrap().to_owned();
    let other = root.join("@cache-snapshots/cache@2025-01-15-10:00");
    volumes::at(&root).unwrap().snapshot(Path::new(&snapshot), &other, Access::ReadOnly).unwrap();
    let two = stored(&root)["cache_snapshots"];
    assert_eq!(two, (one.0 * 2, one.1), "twice as much to read, and no more on the disk");
}

/// A root on ext4 with content, and where its image and unit are to be.
struct Host {
    disk: Disk,
    root: PathBuf,
    units: PathBuf,
}

impl Host {
    fn new() -> Self {
        let disk = Disk::new(Kind::Ext4, "400M");
        let (root, units) = (disk.path().join("op-dbus"), disk.path().join("units"));
        fs::create_dir(&units).unwrap();
        for folder in ["@state", "@cache/blocks", "@plugin-lamp", "@plugin-snapshots/lamp@v1.0.0"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("@state/ownership.json"), "{\"a\":1}").unwrap();
        fs::write(root.join("@cache/blocks/0"), "text ".repeat(100_000)).unwrap();
        fs::write(root.join("@plugin-lamp/plugin.toml"), "[plugin]").unwrap();
        fs::write(root.join("@plugin-snapshots/lamp@v1.0.0/plugin.toml"), "[plugin]").unwrap();
        volumes::Volumes::seal(&volumes::Directories, &root.join("@plugin-snapshots/lamp@v1.0.0")).unwrap();
        Self { disk, root, units }
    }

    fn create(&self, size_bytes: u64) -> op_dbus::base::Result<op_dbus::store::init::RootReport> {
        let options = ImageOptions { size_bytes, file: None, units: self.units.clone() };
        // Other tests start programs meanwhile: until such a child is one, it holds the locks of this process, too.
        let timeout = Duration::from_millis(500);
        let mut wait = Wait { timeout, on_wait: &mut |_| {}, is_interrupted: &|| false };
        image::create(&StateRoot::find(Some(&self.root)).unwrap(), &options, &mut wait)
    }

    /// Everything beside the root.
    fn beside(&self) -> Vec<String> {
        volumes::names(&self.disk.path()).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--quiet", "--lazy"]).arg(&self.root).status();
    }
}

const SIZE: u64 = 128 << 20;

#[test]
fn a_root_moves_onto_an_image_with_all_it_holds() {
    let host = Host::new();
    // What a run that was killed left behind: a file, and a mount of it.
    fs::write(host.disk.path().join("op-dbus.btrfs.staging"), "half an image").unwrap();
    fs::create_dir(host.disk.path().join("op-dbus.btrfs.staging.d")).unwrap();
    sh(&format!("mount -t tmpfs op-dbus-test {}/op-dbus.btrfs.staging.d", host.disk.path().display()));
    let report = host.create(SIZE).unwrap();
    let image = report.image.unwrap();
    assert_eq!((report.file_system.as_str(), image.size_bytes), ("btrfs", SIZE));
    assert_eq!(host.beside(), ["op-dbus", "op-dbus.before-btrfs", "op-dbus.btrfs", "units"]);
    assert_eq!(fs::metadata(&image.file).unwrap().permissions().mode() & 0o777, 0o600);
    for volume in ["@state", "@cache", "@timing", "@plugin-lamp", "@plugin-snapshots/lamp@v1.0.0"] {
        assert!(is_subvolume(&host.root.join(volume)), "{volume}");
    }
    assert_eq!(fs::read_to_string(host.root.join("@state/ownership.json")).unwrap(), "{\"a\":1}");
    let found = volumes::at(&host.root).unwrap();
    assert!(found.look(&host.root.join("@plugin-snapshots/lamp@v1.0.0")).unwrap().unwrap().is_sealed);
    assert!(!found.look(&host.root.join("@plugin-lamp")).unwrap().unwrap().is_sealed);
    let blocks = sh(&format!("compsize -b {}/@cache/blocks", host.root.display()));
    assert!(blocks.contains("zstd"), "what was copied is compressed: {blocks}");
    let left = broken(&host.root);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["hourly_snapshots"], "{left:?}");
    let former = PathBuf::from(image.former.unwrap());
    assert_eq!(fs::read_to_string(former.join("@state/ownership.json")).unwrap(), "{\"a\":1}", "nothing was lost");

    // The unit says what was done, as systemd reads it and as mount does.
    let name = sh(&format!("systemd-escape --path --suffix=mount {}", host.root.display()));
    assert_eq!(Path::new(&image.unit), host.units.join(name.trim()));
    let mut verify = Command::new("systemd-analyze");
    let said = verify.args(["verify", "--man=no", "--recursive-errors=no", &image.unit]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("op"), "{said}");
    sh(&format!("umount {}", host.root.display()));
    let unit = fs::read_to_string(&image.unit).unwrap();
    let key = |key: &str| unit.lines().find_map(|l| l.strip_prefix(&format!("{key}="))).unwrap().to_owned();
    sh(&format!("mount -t {} -o {} {} {}", key("Type"), key("Options"), key("What"), key("Where")));
    assert!(is_subvolume(&host.root.join("@state")), "and again after a restart");

    let error = host.create(SIZE).unwrap_err();
    assert!(error.kind.exit_code() == 5 && error.message.contains("on btrfs already"), "{error}");
}

#[test]
fn an_image_that_cannot_be_made_changes_nothing() {
    let host = Host::new();
    let before = host.beside();
    for (size_bytes, expected) in [(1 << 20, "mkfs.btrfs"), (4 << 30, "No space left")] {
        let error = host.create(size_bytes).unwrap_err();
        assert_eq!(error.kind.exit_code(), 1, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(host.beside(), before, "{error}");
    }
    // What goes wrong after everything was copied is taken back, too.
    fs::remove_dir(&host.units).unwrap();
    fs::write(&host.units, "no folder").unwrap();
    let error = host.create(SIZE).unwrap_err();
    assert!(error.to_string().contains("units"), "{error}");
    assert_eq!(host.beside(), before);
    assert_eq!(fs::read_to_string(host.root.join("@state/ownership.json")).unwrap(), "{\"a\":1}");
    // Others hold the root.
    fs::write(host.root.join("@state/lock"), "").unwrap();
    let lock = host.root.join("@state/lock");
    let applying = Lock::take(&lock, Duration::from_millis(500), &mut |_| {}, &|| false).unwrap();
    assert_eq!(host.create(SIZE).unwrap_err().kind.exit_code(), 75);
    drop(applying);
    // Something is where the image is to be.
    fs::write(host.disk.path().join("op-dbus.btrfs"), "precious").unwrap();
    assert_eq!(host.create(SIZE).unwrap_err().kind.exit_code(), 5);
    assert_eq!(fs::read_to_string(host.disk.path().join("op-dbus.btrfs")).unwrap(), "precious");
}

/// The whole command, where nothing of this machine is touched: mounts, units and systemd are hidden from it.
#[test]
fn the_program_makes_an_image() {
    let disk = Disk::new(Kind::Ext4, "300M");
    let folder = disk.path();
    let script = format!(
        "mount -t tmpfs none /etc/systemd/system && mount -t tmpfs none /run && \
         {program} init --loop 128M --at {0}/disk.img --root {0}/root >{0}/report.json && \
         stat -f -c %T {0}/root && ls /etc/systemd/system",
        folder.display(),
        program = program("op-snapshot").display()
    );
    let done = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8(done.stdout).unwrap();
    let (kind, units) = said.split_once('\n').unwrap();
    assert!(kind == "btrfs" && units.trim().ends_with("-mounted-root.mount"), "{said}");
    let report: Value = serde_json::from_str(&fs::read_to_string(folder.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["image"]["file"], folder.join("disk.img").display().to_string());
    assert!(report["image"].get("former").is_none(), "there was nothing before");
}

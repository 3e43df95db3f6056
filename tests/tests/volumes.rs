//! Volumes on real file systems: what they promise is the same on btrfs, on ext4 and in memory.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::store::volumes::{self, Access};
use op_dbus::store::{StateRoot, Store, Wait};
use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn open(root: &Path) -> op_dbus::base::Result<Store> {
    let root = StateRoot::find(Some(root)).unwrap();
    // Other tests start programs meanwhile: until such a child is one, it holds the locks of this process, too.
    let timeout = Duration::from_millis(500);
    Store::open(&root, &mut Wait { timeout, on_wait: &mut |_| {}, is_interrupted: &|| false })
}

/// Every file and folder below `path`, with the text of files.
fn tree(path: &Path) -> BTreeMap<String, String> {
    fn walk(top: &Path, path: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.strip_prefix(top).unwrap().display().to_string();
            if entry.is_dir() {
                found.insert(name + "/", String::new());
                walk(top, &entry, found);
            } else {
                found.insert(name, fs::read_to_string(&entry).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(path, path, &mut found);
    found
}

fn fill(path: &Path, text: &str) {
    fs::create_dir_all(path.join("examples/deep")).unwrap();
    fs::write(path.join("plugin.toml"), text).unwrap();
    fs::write(path.join("examples/deep/a.json"), text.repeat(100)).unwrap();
    fs::write(path.join("empty"), "").unwrap();
}

/// Whether a process without privileges, running as nobody, can write there.
fn nobody_can_write(path: &Path) -> bool {
    fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    let chown = Command::new("chown").args(["-R", "65534"]).arg(path).output().unwrap();
    let script = format!("echo x >> {0}/plugin.toml || echo x > {0}/new", path.display());
    let tried = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "sh", "-c", &script])
        .output()
        .unwrap();
    chown.status.success() && tried.status.success()
}

#[test]
fn a_volume_is_made_copied_sealed_exchanged_and_deleted() {
    for (name, disk) in Disk::each() {
        let at = |name: &str| disk.path().join(name);
        let volumes = volumes::at(&at("nothing/yet")).unwrap();
        let is_btrfs = disk.kind() == Kind::Btrfs;
        assert_eq!(volumes.are_subvolumes(), is_btrfs, "{name}");

        volumes.create(&at("one")).unwrap();
        assert!(volumes.create(&at("one")).is_err(), "{name}: what is there is left alone");
        assert_eq!(is_subvolume(&at("one")), is_btrfs, "{name}");
        assert_eq!(at("one").metadata().unwrap().permissions().mode() & 0o7777, 0o755, "{name}");
        fill(&at("one"), "one");
        volumes.sync(&at("one")).unwrap();

        volumes.snapshot(&at("one"), &at("sealed"), Access::ReadOnly).unwrap();
        volumes.snapshot(&at("sealed"), &at("two"), Access::Writable).unwrap();
        assert!(volumes.snapshot(&at("one"), &at("two"), Access::ReadOnly).is_err(), "{name}");
        let look = |path: &str| volumes.look(&at(path)).unwrap().unwrap();
        assert_eq!(["one", "sealed", "two"].map(|v| look(v).is_sealed), [false, true, false], "{name}");
        assert_eq!(tree(&at("one")), tree(&at("sealed")), "{name}");
        assert_eq!(tree(&at("one")), tree(&at("two")), "{name}");
        fs::write(at("two/plugin.toml"), "two").unwrap();
        assert_eq!(fs::read_to_string(at("sealed/plugin.toml")).unwrap(), "one", "{name}: copies are independent");
        if is_btrfs {
            assert!(fs::write(at("sealed/plugin.toml"), "x").is_err(), "not even root writes what is sealed");
        }

        volumes.seal(&at("two")).unwrap();
        volumes.seal(&at("two")).unwrap();
        assert!(look("two").is_sealed, "{name}");
        volumes.exchange(&at("sealed"), &at("two")).unwrap();
        assert_eq!(fs::read_to_string(at("sealed/plugin.toml")).unwrap(), "two", "{name}");
        assert_eq!(fs::read_to_string(at("two/plugin.toml")).unwrap(), "one", "{name}");
        assert!(volumes.exchange(&at("two"), &at("missing")).is_err(), "{name}");
        assert!(volumes.rename(&at("two"), &at("one")).is_err(), "{name}: a name that is taken is not replaced");
        volumes.rename(&at("two"), &at("three")).unwrap();

        let names = |folder: &str| -> Vec<String> {
            volumes.list(&at(folder)).unwrap().into_iter().map(|volume| volume.name).collect()
        };
        fs::write(at("a file"), "").unwrap();
        fs::create_dir(at(".staging-x")).unwrap();
        assert_eq!(names(""), ["one", "sealed", "three"], "{name}");
        assert_eq!(names("missing"), [""; 0], "{name}");
        for volume in ["one", "sealed", "three"] {
            volumes.delete(&at(volume)).unwrap();
        }
        assert_eq!(names(""), [""; 0], "{name}");
        assert!(volumes.delete(&at("one")).is_err(), "{name}: what is not there cannot be deleted");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2, "{name}: nothing is left behind");
    }
}

#[test]
fn what_is_sealed_stays_as_it_is_for_others() {
    for (name, disk) in Disk::each() {
        let volumes = volumes::at(&disk.path()).unwrap();
        let path = disk.path().join("volume");
        volumes.create(&path).unwrap();
        fill(&path, "text");
        assert!(nobody_can_write(&path), "{name}: the test can tell");
        volumes.seal(&path).unwrap();
        assert!(!nobody_can_write(&path), "{name}");
        volumes.delete(&path).unwrap();
        assert!(!path.exists(), "{name}");
    }
}

#[test]
fn a_plain_folder_on_btrfs_is_a_volume_too() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let at = |name: &str| disk.path().join(name);
    let volumes = volumes::at(&disk.path()).unwrap();
    fs::create_dir(at("plain")).unwrap();
    fill(&at("plain"), "text");
    volumes.snapshot(&at("plain"), &at("copy"), Access::ReadOnly).unwrap();
    assert!(is_subvolume(&at("copy")) && !is_subvolume(&at("plain")));
    assert_eq!(tree(&at("plain")), tree(&at("copy")));
    volumes.exchange(&at("plain"), &at("copy")).unwrap();
    assert!(is_subvolume(&at("plain")) && volumes.look(&at("plain")).unwrap().unwrap().is_sealed);
    volumes.seal(&at("copy")).unwrap();
    // Subvolumes within a folder, and within a sealed subvolume.
    volumes.create(&at("outer")).unwrap();
    fs::create_dir_all(at("outer/folder")).unwrap();
    volumes.create(&at("outer/folder/inner")).unwrap();
    fill(&at("outer/folder/inner"), "text");
    volumes.seal(&at("outer/folder/inner")).unwrap();
    volumes.seal(&at("outer")).unwrap();
    for name in ["plain", "copy", "outer"] {
        volumes.delete(&at(name)).unwrap();
    }
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn what_a_snapshot_may_not_hold_leaves_nothing_half_made() {
    for (name, disk) in Disk::each() {
        let at = |name: &str| disk.path().join(name);
        let volumes = volumes::at(&disk.path()).unwrap();
        fs::create_dir(at("plain")).unwrap();
        fill(&at("plain"), "text");
        std::os::unix::fs::symlink("/etc/passwd", at("plain/link")).unwrap();
        volumes.snapshot(&at("plain"), &at("linked"), Access::ReadOnly).unwrap();
        assert_eq!(fs::read_link(at("linked/link")).unwrap(), Path::new("/etc/passwd"), "{name}: not followed");
        assert!(Command::new("mkfifo").arg(at("plain/pipe")).status().unwrap().success());
        let error = volumes.snapshot(&at("plain"), &at("piped"), Access::ReadOnly).unwrap_err();
        assert!(error.subject.unwrap().ends_with("plain/pipe"), "{name}");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2, "{name}");
    }
}

#[test]
fn leftovers_are_swept_and_an_interrupted_exchange_is_finished() {
    for (name, disk) in Disk::each() {
        let root = disk.path().join("root");
        let store = open(&root).unwrap();
        assert_eq!(open(&root).unwrap_err().kind.exit_code(), 75, "{name}: one at a time");
        for folder in ["@plugin-snapshots", "@cache-snapshots", "@plugin-a"] {
            store.ensure(&root.join(folder)).unwrap();
            assert_eq!(is_subvolume(&root.join(folder)), disk.kind() == Kind::Btrfs, "{name}");
        }
        let staging = store.staging(&root, "plugin");
        for path in [&staging, &root.join("@plugin-snapshots/.staging-a@v1-7"), &root.join(".staging-moved-@plugin-b")]
        {
            store.volumes().create(path).unwrap();
            fill(path, "text");
        }
        store.volumes().seal(&staging).unwrap();
        fs::write(root.join("@cache-snapshots/.staging-file"), "").unwrap();
        drop(store);

        let store = open(&root).unwrap();
        assert_eq!(store.swept().len(), 4, "{name}: {:?}", store.swept());
        assert_eq!(fs::read_to_string(root.join("@plugin-b/plugin.toml")).unwrap(), "text", "{name}");
        let mut left: Vec<_> = tree(&root).into_keys().filter(|path| !path.starts_with("@plugin-b/")).collect();
        left.sort();
        assert_eq!(left, [".lock", "@cache-snapshots/", "@plugin-a/", "@plugin-snapshots/"], "{name}");
        drop(store);
        assert!(open(&root).unwrap().swept().is_empty(), "{name}");
    }
}

#[test]
fn whoever_needs_a_folder_first_makes_its_volume() {
    for (name, disk) in Disk::each() {
        let path = disk.path().join("new/root");
        let root = StateRoot::find(Some(&path)).unwrap();
        std::thread::scope(|scope| {
            for i in 0..8 {
                let root = &root;
                scope.spawn(move || root.make_parent(&root.checkpoint(&format!("run-{i}"))).unwrap());
            }
        });
        assert!(root.checkpoints().is_dir(), "{name}");
        let volume = volumes::at(&path).unwrap().look(&path.join("@state")).unwrap().unwrap();
        assert_eq!(volume.is_subvolume, disk.kind() == Kind::Btrfs, "{name}");
        assert_eq!(volumes::at(&path).unwrap().is_compressed(&path.join("@state")), volume.is_subvolume, "{name}");
    }
}

#[test]
fn what_btrfs_knows_of_a_subvolume() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let at = |name: &str| disk.path().join(name);
    let volumes = volumes::at(&disk.path()).unwrap();
    volumes.create(&at("one")).unwrap();
    volumes.snapshot(&at("one"), &at("two"), Access::ReadOnly).unwrap();
    let info = |path: &Path| volumes.look(path).unwrap().unwrap().subvolume.unwrap();
    let (one, two) = (info(&at("one")), info(&at("two")));
    let shown = Command::new("btrfs").args(["subvolume", "show"]).arg(at("two")).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&two.uuid) && one.uuid != two.uuid, "{shown}");
    assert!(two.made_in > one.made_in && one.received_uuid.is_none());
    fs::create_dir(at("in")).unwrap();
    let script = format!("btrfs send -q {0}/two | btrfs receive -q {0}/in", disk.path().display());
    assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success());
    assert_eq!(info(&at("in/two")).received_uuid, Some(two.uuid), "what was received by hand is noticed");

    assert!(!volumes.is_compressed(&at("one")));
    assert!(volumes.compress(&at("one")).unwrap() && volumes.compress(&at("one")).unwrap());
    let shown = Command::new("btrfs").args(["property", "get"]).arg(at("one")).arg("compression").output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "compression=zstd\n");
    assert!(volumes.is_compressed(&at("one")));
}

//! `op-snapshot` on real file systems: rotating, restoring, being killed, running out of room, being run twice.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::time::Hour;
use op_dbus::store::{StateRoot, Store, Wait, cache, volumes};
use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use op_dbus_tests::program;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn op_snapshot(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("op-snapshot"));
    command.args(args).env("OP_DBUS_ROOT", root);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(root: &Path, args: &[&str]) -> (i32, String) {
    let output = op_snapshot(root, args).output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn json(root: &Path, args: &[&str]) -> Value {
    let (code, text) = run(root, args);
    assert_eq!(code, 0, "{args:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn open(root: &Path) -> Store {
    let root = StateRoot::find(Some(root)).unwrap();
    let mut wait = Wait { timeout: Duration::from_secs(10), on_wait: &mut |_| {}, is_interrupted: &|| false };
    Store::open(&root, &mut wait).unwrap()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    volumes::names(folder).unwrap()
}

/// A root with a cache whose every file holds `text`, of some size.
fn root_with_cache(disk: &Disk, text: &str) -> PathBuf {
    let root = disk.path().join("root");
    json(&root, &["init"]);
    write_cache(&root, text);
    root
}

const FILES: usize = 40;

fn write_cache(root: &Path, text: &str) {
    fs::create_dir_all(root.join("@cache/blocks")).unwrap();
    for i in 0..FILES {
        fs::write(root.join(format!("@cache/blocks/{i}")), text.repeat(2000)).unwrap();
    }
}

/// The one text that every file of a cache holds; `None` when it holds a mixture, or not all files.
fn text_of(cache: &Path) -> Option<String> {
    let mut texts: Vec<String> = Vec::new();
    for i in 0..FILES {
        texts.push(fs::read_to_string(cache.join(format!("blocks/{i}"))).ok()?);
    }
    texts.dedup();
    let [text] = &texts[..] else { return None };
    Some(text[..text.len() / 2000].to_owned())
}

fn hour(text: &str) -> Hour {
    Hour::parse(text).unwrap()
}

#[test]
fn the_newest_24_that_exist_are_kept() {
    for (name, disk) in Disk::each() {
        let root = root_with_cache(&disk, "text");
        let first = hour("2025-01-15-10:00");
        let store = open(&root);
        let mut taken = Vec::new();
        for i in 0..30 {
            // Hours are missed.
            let now = first.plus(i * 3 + i % 2);
            let rotation = cache::rotate(&store, now).unwrap();
            assert_eq!(rotation.made, Some(cache::name_of(now)), "{name}");
            taken.push(cache::name_of(now));
            let again = cache::rotate(&store, now).unwrap();
            assert_eq!((again.made, again.deleted.len()), (None, 0), "{name}: the second run of an hour does nothing");
        }
        assert_eq!(names(&root.join("@cache-snapshots")), taken[6..], "{name}");
        // One that was deleted by hand is simply not there, and no older one comes back.
        let gone = &taken[20];
        cache::delete(&store, gone).unwrap();
        let rotation = cache::rotate(&store, first.plus(200)).unwrap();
        assert_eq!((rotation.kept, rotation.deleted.len()), (24, 0), "{name}");
        for snapshot in cache::list(store.root(), store.volumes()).unwrap().snapshots {
            assert!(snapshot.is_sealed, "{name}: {}", snapshot.name);
            assert_eq!(is_subvolume(Path::new(&snapshot.folder)), disk.kind() == Kind::Btrfs, "{name}");
            assert_eq!(text_of(Path::new(&snapshot.folder)).as_deref(), Some("text"), "{name}");
        }
    }
}

#[test]
fn a_crash_between_making_and_deleting_is_mended_and_other_names_are_left_alone() {
    for (name, disk) in Disk::each() {
        let root = root_with_cache(&disk, "text");
        let store = open(&root);
        let folder = root.join("@cache-snapshots");
        let first = hour("2025-01-15-10:00");
        for i in 0..28 {
            let path = folder.join(cache::name_of(first.plus(i)));
            store.volumes().snapshot(&root.join("@cache"), &path, volumes::Access::ReadOnly).unwrap();
        }
        for other in ["keep-this", "cache@2025-01-15-10:30", "cache@last"] {
            fs::create_dir(folder.join(other)).unwrap();
        }
        let rotation = cache::rotate(&store, first.plus(27)).unwrap();
        assert_eq!((rotation.made, rotation.deleted.len(), rotation.kept), (None, 4, 24), "{name}");
        let left = names(&folder);
        assert_eq!(left.len(), 27, "{name}: {left:?}");
        assert!(!left.contains(&cache::name_of(first.plus(3))) && left.contains(&cache::name_of(first.plus(4))));
    }
}

#[test]
fn a_clock_that_jumps_costs_no_snapshot_its_turn() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let root = root_with_cache(&disk, "text");
    let store = open(&root);
    let first = hour("2025-01-15-10:00");
    let rotate = |now: Hour| cache::rotate(&store, now).unwrap();
    for i in 0..24 {
        rotate(first.plus(i));
    }
    // Ahead by decades for three hours, then right again.
    for i in 0..3 {
        assert_eq!(rotate(hour("2099-01-01-00:00").plus(i)).deleted, [cache::name_of(first.plus(i))]);
    }
    assert_eq!(rotate(first.plus(24)).deleted, ["cache@2099-01-01-00:00"], "what is of no hour yet goes first");
    // Behind, as a machine without a clock starts.
    assert_eq!(rotate(hour("1970-01-01-00:00")).deleted.len(), 1);
    assert!(names(&root.join("@cache-snapshots")).contains(&"cache@1970-01-01-00:00".into()));
    let next = rotate(first.plus(25));
    assert_eq!(next.kept, 24);
    assert!(names(&root.join("@cache-snapshots")).contains(&cache::name_of(first.plus(25))));
}

#[test]
fn the_cache_comes_back_as_it_was_and_may_have_been_deleted() {
    for (name, disk) in Disk::each() {
        let root = root_with_cache(&disk, "old");
        let taken = json(&root, &["rotate"])["made"].as_str().unwrap().to_owned();
        write_cache(&root, "new");
        let held = fs::File::open(root.join("@cache/blocks/0")).unwrap();
        json(&root, &["restore", &taken, "--yes"]);
        assert_eq!(text_of(&root.join("@cache")).as_deref(), Some("old"), "{name}");
        assert!(std::io::read_to_string(held).unwrap().starts_with("new"), "{name}: what was open stays what it was");
        fs::write(root.join("@cache/blocks/0"), "it can be written again").unwrap();
        open(&root).volumes().delete(&root.join("@cache")).unwrap();
        json(&root, &["restore", &taken, "--yes"]);
        assert_eq!(text_of(&root.join("@cache")).as_deref(), Some("old"), "{name}");
        assert_eq!(is_subvolume(&root.join("@cache")), disk.kind() == Kind::Btrfs, "{name}");
        if disk.kind() == Kind::Btrfs {
            assert!(open(&root).volumes().is_compressed(&root.join("@cache")));
        }
        assert!(!names(&root).iter().any(|name| name.starts_with(".staging-")), "{name}");
    }
}

#[test]
fn nothing_is_half_done_whenever_it_is_killed() {
    for (name, disk) in Disk::each() {
        let root = root_with_cache(&disk, "old");
        let taken = json(&root, &["rotate"])["made"].as_str().unwrap().to_owned();
        let (mut old, mut new, mut killed) = (0, 0, 0);
        for i in 0..60_u64 {
            let snapshots = root.join("@cache-snapshots");
            if i % 2 == 0 {
                // A rotation that has something to take and something to delete.
                let store = open(&root);
                for k in names(&snapshots).len()..25 {
                    let hour =
                        hour("2025-01-15-10:00").plus(i64::try_from(k).unwrap() + i64::try_from(i).unwrap() * 30);
                    cache::rotate(&store, hour).unwrap();
                    let path = snapshots.join(cache::name_of(hour.plus(-100_000)));
                    let _ = store.volumes().snapshot(&root.join("@cache"), &path, volumes::Access::ReadOnly);
                }
            } else {
                write_cache(&root, "new");
            }
            let args = if i % 2 == 0 { vec!["rotate"] } else { vec!["restore", &taken, "--yes"] };
            let mut child = op_snapshot(&root, &args).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(300 + i * 397 % 9000));
            killed += u32::from(kill(&mut child));

            for snapshot in names(&snapshots).iter().filter(|name| cache::hour_of(name).is_some()) {
                let path = snapshots.join(snapshot);
                assert!(text_of(&path).is_some(), "{name}, run {i}: {snapshot} is not whole");
                assert!(volumes::at(&path).unwrap().look(&path).unwrap().unwrap().is_sealed, "{name}: {snapshot}");
            }
            match text_of(&root.join("@cache")).as_deref() {
                Some("old") => old += 1,
                Some("new") => new += 1,
                mixture => panic!("{name}, run {i}: the cache is {mixture:?}"),
            }
            if !snapshots.join(&taken).exists() {
                let restored = open(&root);
                let path = snapshots.join(&taken);
                write_cache(&root, "old");
                restored.volumes().snapshot(&root.join("@cache"), &path, volumes::Access::ReadOnly).unwrap();
            }
        }
        assert!(killed > 10 && old > 0 && new > 0, "{name}: {killed} killed, {old} old, {new} new");
        drop(open(&root));
        for folder in [&root, &root.join("@cache-snapshots")] {
            assert!(!names(folder).iter().any(|name| name.starts_with(".staging-")), "{name}: swept");
        }
    }
}

/// Kills it; whether it was still running.
fn kill(child: &mut Child) -> bool {
    let was_running = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    was_running
}

#[test]
fn a_full_disk_costs_nothing_that_was_there() {
    for (name, disk) in [
        ("btrfs", Disk::new(Kind::Btrfs, "128M")),
        ("ext4", Disk::new(Kind::Ext4, "8M")),
        ("tmpfs", Disk::new(Kind::Tmpfs, "8M")),
    ] {
        let root = root_with_cache(&disk, "old");
        let taken = json(&root, &["rotate"])["made"].as_str().unwrap().to_owned();
        write_cache(&root, "new");
        let filler = disk.path().join("filler");
        let script = format!(
            "dd if=/dev/urandom of={0} bs=64k status=none; dd if=/dev/urandom of={0}2 bs=4k status=none; sync {0}",
            filler.display()
        );
        Command::new("sh").arg("-c").arg(script).stderr(Stdio::null()).status().unwrap();
        let full = json(&root, &["list"]);
        assert_eq!(full["snapshots"].as_array().unwrap().len(), 1, "{name}: looking needs no room");
        let (code, text) = run(&root, &["restore", &taken, "--yes"]);
        let now = text_of(&root.join("@cache"));
        match code {
            0 => assert_eq!(now.as_deref(), Some("old"), "{name}"),
            1 => {
                assert_eq!(now.as_deref(), Some("new"), "{name}: {text}");
                assert!(text.contains("No space left"), "{name}: {text}");
                assert!(!names(&root).iter().any(|name| name.starts_with(".staging-")), "{name}");
            }
            _ => panic!("{name}: {code} {text}"),
        }
        assert!(disk.kind() == Kind::Btrfs || code == 1, "{name}: a copy needs room, so the disk was not full");
        assert_eq!(text_of(&root.join("@cache-snapshots").join(&taken)).as_deref(), Some("old"), "{name}");
        // Deleting makes room again.
        for file in [&filler, &disk.path().join("filler2")] {
            let _ = fs::remove_file(file);
        }
        json(&root, &["restore", &taken, "--yes"]);
        assert_eq!(text_of(&root.join("@cache")).as_deref(), Some("old"), "{name}");
    }
}

#[test]
fn two_at_once_take_one_snapshot_and_leave_a_whole_cache() {
    for (name, disk) in Disk::each() {
        let root = root_with_cache(&disk, "text");
        let children: Vec<Child> = (0..6).map(|_| op_snapshot(&root, &["rotate"]).spawn().unwrap()).collect();
        let mut made = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let rotation: Value = serde_json::from_slice(&output.stdout).unwrap();
            made.extend(rotation["made"].as_str().map(str::to_owned));
        }
        // At the turn of an hour there may be two.
        made.dedup();
        assert_eq!(names(&root.join("@cache-snapshots")), made, "{name}");
        let store = open(&root);
        let (code, text) = run(&root, &["restore", &made[0], "--yes", "--lock-timeout", "50ms"]);
        assert!(code == 75 && text.contains("another run holds the lock"), "{name}: {code} {text}");
        drop(store);
        let restoring: Vec<Child> =
            (0..4).map(|_| op_snapshot(&root, &["restore", &made[0], "--yes"]).spawn().unwrap()).collect();
        for child in restoring {
            assert!(child.wait_with_output().unwrap().status.success(), "{name}");
        }
        assert_eq!(text_of(&root.join("@cache")).as_deref(), Some("text"), "{name}");
    }
}

/// What a power cut leaves is what the device holds at that moment: a copy of it in one step, mounted afterwards.
#[test]
fn nothing_is_half_done_whenever_the_power_fails() {
    let outer = Disk::new(Kind::Btrfs, "800M");
    let image = outer.path().join("image");
    let sh = |script: &str| {
        let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let i = image.display();
    sh(&format!("truncate -s 128M {i} && mkfs.btrfs -q {i}"));
    let disk = Disk::on(&image);
    let root = disk.path().join("root");
    json(&root, &["init"]);
    let store = open(&root);
    let hours = ["2025-01-15-10:00", "2025-01-15-11:00"].map(hour);
    for (hour, text) in hours.into_iter().zip(["old", "new"]) {
        write_cache(&root, text);
        cache::rotate(&store, hour).unwrap();
    }
    store.volumes().sync(&root).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0_i64.. {
                if is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                cache::restore(&store, &cache::name_of(hours[usize::from(turn % 2 == 0)])).unwrap();
                cache::rotate(&store, hours[1].plus(turn % 20 + 1)).unwrap();
                if turn % 20 == 19 {
                    for hour in 1..=20 {
                        let _ = cache::delete(&store, &cache::name_of(hours[1].plus(hour)));
                    }
                }
            }
        });
        for copy in 0..16_u64 {
            std::thread::sleep(Duration::from_millis(40 + copy * 37 % 60));
            sh(&format!("cp --reflink=always {i} {i}.{copy}"));
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop((store, disk));
    let mut seen = std::collections::BTreeSet::new();
    for copy in 0..16 {
        // A copy has the identity of what it was copied from, and btrfs mounts one of that identity only: one at a time.
        // (Another identity would have to be written into the log, too, which btrfstune leaves as it is.)
        sh("btrfs device scan --forget || true");
        let disk = Disk::on(&outer.path().join(format!("image.{copy}")));
        let root = disk.path().join("root");
        let text = text_of(&root.join("@cache"));
        assert!(matches!(text.as_deref(), Some("old" | "new")), "copy {copy}: {text:?}");
        for snapshot in names(&root.join("@cache-snapshots")) {
            let path = root.join("@cache-snapshots").join(&snapshot);
            assert!(text_of(&path).is_some(), "copy {copy}: {snapshot} is not whole");
            assert!(volumes::at(&path).unwrap().look(&path).unwrap().unwrap().is_sealed, "copy {copy}: {snapshot}");
        }
        seen.extend(text);
        drop(open(&root));
        assert!(!names(&root).iter().any(|name| name.starts_with(".staging-")), "copy {copy}");
    }
    assert_eq!(seen.len(), 2, "the copies are of different moments");
}

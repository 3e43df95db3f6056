//! An install that runs out of space, meets another, or loses power: the old version or the new one is active and whole, and
//! the next run tidies up.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::{Actor, events};
use op_dbus::store::StateRoot;
use op_dbus_tests::disk::{Disk, Kind};
use op_dbus_tests::lamp::{Case, VERSIONS, one_of_each};
use serde_json::json;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A disk that is really full, at one place after the other.
#[test]
fn a_full_disk() {
    for (name, disk) in [("ext4", Disk::new(Kind::Ext4, "24M")), ("tmpfs", Disk::new(Kind::Tmpfs, "4M"))] {
        let case = Case::new(&disk.path().join("root"));
        case.install("1.0.0");
        let filler = disk.path().join("filler");
        let (mut full, mut fine) = (0, 0);
        for free_kib in (0..900).step_by(30) {
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
        // Somebody else writes the audit trail by itself meanwhile: what waits for a commit there is not to be torn by that.
        scope.spawn(|| {
            let root = StateRoot::find(Some(case.desk.root())).unwrap();
            let actor = Actor::of_process(None);
            while !is_done.load(Ordering::Relaxed) {
                events::record(&root, (actor.clone(), "a test"), ("test", "test"), "ring", json!({})).unwrap();
                std::thread::sleep(Duration::from_millis(1));
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
        after.told(&context);
        after.sealed(&context);
        let verified = after.desk.run("op-install", &["verify"]);
        assert_eq!(verified.code, 0, "{context}: {verified:?}");
    }
    assert!(seen.len() > 1, "the copies are of different moments");
}

//! What happens to the cache of vectors when something goes wrong: never a wrong vector, never a lost one that was there
//! before, and a clear word.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use op_dbus_tests::disk::{Disk, Kind};
use serde_json::Value;

fn vectors(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_op-dbus-vectors"));
    command.arg(args[0]).arg(folder).args(&args[1..]);
    command
}

/// The document a command prints.
#[track_caller]
fn say(folder: &Path, args: &[&str]) -> Value {
    let output = vectors(folder, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn hits(folder: &Path, kind: &str, to: u64) -> u64 {
    let checked = say(folder, &["check", kind, "0", &to.to_string()]);
    assert_eq!(checked["wrong"], 0, "{checked}");
    checked["hits"].as_u64().unwrap()
}

/// A process that saves without end, from `from` on.
struct Writer {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(folder: &Path, from: u64, batch: u64) -> Self {
        let args = ["writer", "f16", &from.to_string(), &batch.to_string()];
        let mut process = vectors(folder, &args).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has saved a batch.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }

    /// Ends it, and says up to where it had said to be.
    fn kill(mut self, from: u64) -> u64 {
        self.signal("KILL");
        self.process.wait().unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        rest.lines().filter_map(|line| line.parse().ok()).next_back().unwrap_or(from)
    }
}

#[test]
fn killed_while_saving_it_loses_nothing_and_invents_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = 0;
    for round in 0..25_u64 {
        let mut writer = Writer::start(folder.path(), saved, 1 + round % 7 * 20);
        let first: u64 = writer.line().trim().parse().unwrap();
        std::thread::sleep(Duration::from_micros(round * round * 171 % 40_000));
        saved = writer.kill(first);
        // What it said to have saved is there; what it was doing may be.
        assert_eq!(hits(folder.path(), "f16", saved), saved, "round {round}");
        hits(folder.path(), "f16", saved + 500);
        let verified = say(folder.path(), &["verify"]);
        assert_eq!((&verified["wrong"], &verified["is_index_sound"]), (&0.into(), &true.into()), "{verified}");
    }
    assert!(saved > 500, "it saved {saved} only");
    say(folder.path(), &["fill", "f16", "0", &(saved + 1).to_string(), "1000"]);
    assert_eq!(say(folder.path(), &["verify"])["not_in_hash"], 0);
}

#[test]
fn after_a_power_cut_the_index_leads_to_what_is_there() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let folder = disk.path().join("embeddings");
    for round in 0..4_u64 {
        let mut writer = Writer::start(&folder, round * 100_000, 64);
        for _ in 0..3 + round * 5 {
            writer.line();
        }
        // What the file system has not written by now is lost, as when the power goes.
        writer.signal("STOP");
        let copy = disk.image().with_extension("copy");
        fs::copy(disk.image(), &copy).unwrap();
        writer.kill(0);
        let mounted = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(["-o", "loop"]).arg(&copy).arg(mounted.path()).status().unwrap();
        assert!(done.success());
        let lost = mounted.path().join("embeddings");
        if lost.join("index.db").exists() {
            let verified = say(&lost, &["verify"]);
            assert_eq!((&verified["wrong"], &verified["is_index_sound"]), (&0.into(), &true.into()), "{verified}");
            hits(&lost, "f16", 1_000);
            assert_eq!(say(&lost, &["fill", "f16", "0", "300", "100"])["error"], Value::Null);
            assert_eq!(hits(&lost, "f16", 300), 300);
        }
        assert!(Command::new("umount").arg(mounted.path()).status().unwrap().success());
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn a_full_disk_is_an_error_and_not_the_end() {
    for (kind, size) in [(Kind::Tmpfs, "12M"), (Kind::Btrfs, "128M"), (Kind::Ext4, "24M")] {
        let disk = Disk::new(kind, size);
        let folder = disk.path().join("embeddings");
        let filled = say(&folder, &["fill", "f32", "0", "200000", "500"]);
        let error = filled["error"].as_str().unwrap();
        assert!(error.contains("No space left") || error.contains("full"), "{kind:?}: {error}");
        let saved = filled["saved"].as_u64().unwrap();
        assert!(saved > 1_000, "{kind:?}: {saved}");
        // With no room SQLite is not asked, so what the hash index could not take in is a miss for now.
        let now = hits(&folder, "f32", saved + 2_000);
        assert!(now + 600 > saved && now <= saved + 500, "{kind:?}: {now} of {saved}");
        let roomy = tempfile::tempdir().unwrap();
        assert!(Command::new("cp").arg("-r").arg(&folder).arg(roomy.path()).status().unwrap().success());
        let roomy = roomy.path().join("embeddings");
        let later = hits(&roomy, "f32", saved + 2_000);
        assert!((saved..=saved + 500).contains(&later), "{kind:?}: {later} of {saved}");
        assert_eq!(say(&roomy, &["verify"])["wrong"], 0);
    }
}

#[test]
fn what_may_not_be_written_is_read() {
    let disk = Disk::new(Kind::Btrfs, "128M");
    let folder = disk.path().join("embeddings");
    say(&folder, &["fill", "int8", "0", "300", "100"]);
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap();
    assert!(remounted.success());
    assert_eq!(hits(&folder, "int8", 400), 300);
    let error = say(&folder, &["fill", "int8", "300", "301", "1"])["error"].as_str().unwrap().to_owned();
    assert!(error.contains("Read-only"), "{error}");
    // Without the table that is derived, SQLite answers, and needs no place for its log.
    assert!(Command::new("mount").args(["-o", "remount,rw"]).arg(disk.path()).status().unwrap().success());
    fs::remove_file(folder.join("index.hash")).unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path()).status().unwrap().success());
    assert_eq!(hits(&folder, "int8", 400), 300);
}

#[test]
fn a_block_the_disk_cannot_read_is_a_miss() {
    let disk = Disk::new(Kind::Btrfs, "128M");
    let folder = disk.path().join("embeddings");
    say(&folder, &["fill", "f32", "0", "2000", "500"]);
    let segment = fs::read(folder.join("vectors/00001.seg")).unwrap();
    // The bytes of a record in the middle, to be found in the disk's image.
    let wanted = &segment[4096 + 1_000 * 1_584 + 64..][..64];
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
    let mut image = fs::File::options().read(true).write(true).open(disk.image()).unwrap();
    let mut bytes = Vec::new();
    image.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(64).position(|window| window == wanted).unwrap();
    image.seek(SeekFrom::Start(at as u64)).unwrap();
    image.write_all(&[!bytes[at]]).unwrap();
    image.sync_all().unwrap();
    drop(image);
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(disk.image()).arg(disk.path()).status().unwrap();
    assert!(mounted.success());
    // btrfs knows by its own checksum, and gives an error for the whole block: two or three records and no more.
    let checked = say(&folder, &["check", "f32", "0", "2000"]);
    let hits = checked["hits"].as_u64().unwrap();
    assert!(checked["wrong"] == 0 && (1_990..2_000).contains(&hits), "{checked}");
    assert!(checked["problems"][0]["what"].as_str().unwrap().contains("cannot read"), "{checked}");
    let verified = say(&folder, &["verify", "repair"]);
    assert_eq!((verified["wrong"].as_u64(), &verified["is_repaired"]), (Some(2_000 - hits), &true.into()));
    say(&folder, &["fill", "f32", "0", "2000", "500"]);
    assert_eq!(say(&folder, &["check", "f32", "0", "2000"])["hits"], 2_000);
}

#[test]
fn a_hundred_processes_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |i: u64| {
        let (from, to) = (i * 10, i * 10 + 30);
        let args = ["fill", "f16", &from.to_string(), &to.to_string(), "7"];
        vectors(folder.path(), &args).env("NO_SYNC", "1").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..100).map(begin).collect();
    let mut saved = 0;
    for one in all {
        let output = one.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["error"], Value::Null, "{said}");
        saved += said["saved"].as_u64().unwrap();
    }
    // Each vector was saved by one of them.
    assert_eq!((saved, hits(folder.path(), "f16", 1_100)), (1_020, 1_020));
    let verified = say(folder.path(), &["verify"]);
    assert_eq!(
        (&verified["wrong"], &verified["not_in_hash"], &verified["vectors"]),
        (&0.into(), &0.into(), &1_020.into())
    );
}

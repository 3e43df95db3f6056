//! The whole trail in a folder and back: on every file system, by the stock `btrfs receive` too, and never anything else
//! than what was verified.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod fits;

use fits::assert_fits;
use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use op_dbus_tests::program;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn audit(root: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program("op-audit"));
    command.args(args).arg("--root").arg(root).env_remove("OP_DBUS_AUDIT_KEY");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn ok(root: &Path, args: &[&str], stdin: &str) -> Value {
    let output = audit(root, args, stdin);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[track_caller]
fn fails(root: &Path, args: &[&str], code: i32, word: &str) {
    let output = audit(root, args, "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(code) && said.contains(word), "{args:?}: {:?} {said}", output.status);
}

/// A trail of `count` blocks, with something in the other two volumes.
fn filled(root: &Path, count: usize) {
    for number in 0..count {
        ok(root, &["append", "--source", "test"], &format!("{{\"number\":{number}}}"));
    }
    for (file, text) in [("@state/checkpoints/7-a.json", "{}"), ("@vectors/blocks/1.bin", "\u{1}\u{2}")] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn a_copy_brings_everything_back_on_every_file_system() {
    for (name, disk) in Disk::each() {
        let (root, other) = (disk.path().join("root"), disk.path().join("other"));
        ok(&root, &["append", "--source", "test"], "0");
        filled(&root, 4);
        let folder = disk.path().join("copy");
        let copy = ok(&root, &["export", "--folder", folder.to_str().unwrap()], "");
        assert_fits("audit-copy", &copy);
        fails(&root, &["export", "--folder", folder.to_str().unwrap()], 1, "copy");
        let back = ok(&other, &["import", folder.to_str().unwrap(), "--yes"], "");
        assert_eq!(back["head"]["number"], 5, "{name}");
        let verdict = ok(&other, &["verify"], "");
        assert_eq!(verdict["valid_to"], 6, "{name}: and that it was taken in");
        for file in ["@timing/blocks/3.json", "@state/checkpoints/7-a.json", "@vectors/blocks/1.bin"] {
            assert_eq!(fs::read(root.join(file)).unwrap(), fs::read(other.join(file)).unwrap(), "{name}: {file}");
        }
        assert_eq!(is_subvolume(&other.join("@timing")), name == "btrfs");
        let left: Vec<_> = fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with(".staging")), "{left:?}");
        // It goes on there, and the same copy is now older than what is there.
        ok(&other, &["append", "--source", "test"], "1");
        fails(&other, &["import", folder.to_str().unwrap(), "--yes"], 5, "another trail");
        // What is here already is its beginning: it may be taken in again.
        ok(&root, &["import", folder.to_str().unwrap(), "--yes"], "");
    }
}

#[test]
fn stock_tools_take_the_streams() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let root = disk.path().join("root");
    filled(&root, 3);
    let folder = disk.path().join("copy");
    ok(&root, &["export", "--folder", folder.to_str().unwrap()], "");
    for name in ["timing", "vectors", "state"] {
        let stream = folder.join(format!("{name}.btrfs"));
        let received =
            Command::new("btrfs").args(["receive", "-q", "-f"]).arg(stream).arg(disk.path()).output().unwrap();
        assert!(received.status.success(), "{}", String::from_utf8_lossy(&received.stderr));
    }
    assert_eq!(
        fs::read(disk.path().join("@timing/blocks/2.json")).unwrap(),
        fs::read(root.join("@timing/blocks/2.json")).unwrap()
    );
}

#[test]
fn what_was_changed_does_not_come_in() {
    let disk = Disk::new(Kind::Tmpfs, "64M");
    let (root, other) = (disk.path().join("root"), disk.path().join("other"));
    filled(&root, 5);
    let path = |name: &str| disk.path().join(name).to_str().unwrap().to_owned();
    ok(&root, &["keygen", &path("key")], "");
    ok(&root, &["keygen", &path("stranger")], "");
    ok(&root, &["export", "--folder", &path("copy"), "--key", &path("key")], "");
    let import = |trusted: &[&str]| {
        [&["import", &path("copy"), "--yes"], trusted].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let check = |trusted: &[&str], word: &str| {
        let args = import(trusted);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        fails(&other, &args, 7, word);
        assert!(!other.join("@timing/blocks").exists(), "nothing of it came in");
    };
    check(&["--trusted", &path("stranger.pub")], "not trusted");

    // A stream that is not the one of the manifest, and a manifest that was made to fit it.
    let stream = disk.path().join("copy/timing.btrfs");
    let whole = fs::read(&stream).unwrap();
    let text = String::from_utf8_lossy(&whole).into_owned();
    let at = text.find("\"number\":3").map(|_| whole.windows(10).position(|w| w == b"\"number\":3").unwrap()).unwrap();
    let mut changed = whole.clone();
    changed[at + 9] = b'4';
    fs::write(&stream, &changed).unwrap();
    check(&[], "not what the manifest says");
    let manifest = disk.path().join("copy/manifest.json");
    let kept = fs::read_to_string(&manifest).unwrap();
    let refit = || {
        let sum = Command::new("sha256sum").arg(&stream).output().unwrap().stdout;
        let mut document: Value = serde_json::from_str(&kept).unwrap();
        for of in document["streams"].as_array_mut().unwrap() {
            if of["volume"] == "timing" {
                of["sha256"] = json!(String::from_utf8_lossy(&sum[..64]));
            }
        }
        fs::write(&manifest, document.to_string()).unwrap();
    };
    refit();
    check(&["--trusted", &path("key.pub")], "does not fit");
    // Without a key the stream's own sums find it, and where those fit as well, the chain does.
    check(&[], "");
    let elsewhere = disk.path().join("elsewhere");
    filled(&elsewhere, 4);
    let block = elsewhere.join("@timing/blocks/2.json");
    let text = fs::read_to_string(&block).unwrap().replace("\"number\":1}", "\"number\":7}");
    fs::write(&block, text).unwrap();
    ok(&elsewhere, &["export", "--folder", &path("forged")], "");
    fs::rename(disk.path().join("forged/timing.btrfs"), &stream).unwrap();
    refit();
    check(&[], "block 2");

    fs::write(&stream, &whole).unwrap();
    fs::write(&manifest, &kept).unwrap();
    let heads = disk.path().join("heads");
    fs::write(&heads, json!({"kind": "audit_head", "version": 1, "number": 9, "digest": "sha256:0"}).to_string())
        .unwrap();
    check(&["--against", heads.to_str().unwrap()], "block 9 is missing");
    let args = import(&["--trusted", &path("key.pub")]);
    ok(&other, &args.iter().map(String::as_str).collect::<Vec<_>>(), "");
}

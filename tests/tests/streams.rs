//! Streams of the stock `btrfs send`, and ours for the stock `btrfs receive`.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::package::contents::Contents;
use op_dbus::package::stream::{Folder, Limits, Memory, unpack};
use op_dbus_tests::disk::{Disk, Kind};
use rustix::fs::XattrFlags;
use std::fs;
use std::path::Path;
use std::process::Command;

fn sh(script: &str) -> String {
    let ran = Command::new("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Everything an honest folder may have: deep folders, large, empty and sparse files, shared blocks, files and folders
/// that were moved into folders made later, odd owners and permissions, compression, labels.
fn fill(folder: &Path, compression: &str) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings/packagekit");
    sh(&format!(
        "btrfs subvolume create {0} >&2; cd {0}; btrfs property set . compression {compression}
         cp -r {1}/. .; chmod 775 examples; chmod 664 README.md
         echo later > later; mkdir first; echo x > first/x; mkdir second; mv first second/; mv later second/first/
         seq 60000 > numbers.txt; head -c 300000 /dev/urandom > noise; cp --reflink=always noise same
         cp --reflink=always numbers.txt second/same; cat noise >> second/same; truncate -s 3456789 sparse; echo end >> sparse
         : > empty; mkdir -p a/b/c/d; echo ü > a/b/c/d/ü.json; chown -R 1234:567 a; touch -d 1999-01-01 noise
         head -c 100000 /dev/zero > punched; fallocate -p -o 20000 -l 50000 punched; fallocate -l 200000 -n numbers.txt",
        folder.display(),
        shipped.display()
    ));
    let label = rustix::fs::setxattr(folder.join("README.md"), "security.selinux", b"label_t", XattrFlags::empty());
    label.unwrap();
}

fn same(a: &Path, b: &Path) {
    sh(&format!("diff -r --no-dereference {} {}", a.display(), b.display()));
}

#[test]
fn what_btrfs_sends_is_unpacked_as_it_was() {
    let disk = Disk::new(Kind::Btrfs, "512M");
    let at = |name: &str| disk.path().join(name);
    for compression in ["zstd", "zlib", "lzo", "none"] {
        let name = format!("x@{compression}");
        fill(&at(compression), compression);
        sh(&format!("btrfs subvolume snapshot -r {} {} >&2", at(compression).display(), at(&name).display()));
        for options in ["", "--proto 2", "--proto 2 --compressed-data"] {
            let (source, stream) = (at(&name), at("stream"));
            sh(&format!("btrfs send -q {options} {} > {}", source.display(), stream.display()));
            let dump = sh(&format!("btrfs receive --dump < {}", stream.display()));
            assert!(dump.contains("\nclone "), "the folder is worth the test: {dump}");
            let bytes = fs::read(&stream).unwrap();
            let to = at("unpacked");
            fs::create_dir(&to).unwrap();
            let unpacked = unpack(&bytes[..], Limits::default(), &mut Folder::open(&to).unwrap());
            let is_encoded = dump.contains("\nencoded_write ");
            assert_eq!(is_encoded, options.ends_with("data") && compression != "none", "{options} {compression}");
            if is_encoded && compression == "lzo" {
                let error = unpacked.unwrap_err().to_string();
                assert!(error.contains("send it without --compressed-data"), "{error}");
            } else {
                assert_eq!(unpacked.unwrap().subvolume.name, name, "{options}");
                same(&source, &to);
                let modes = sh(&format!("find {} -printf '%m %u\\n' | sort -u", to.display()));
                assert_eq!(modes, "644 root\n755 root\n", "{options}");
                let mut memory = Memory::default();
                unpack(&bytes[..], Limits::default(), &mut memory).unwrap();
                let read = Contents::of_folder(&to, Limits::default()).unwrap();
                assert_eq!(read.digest(), Contents::of_memory(&memory).digest());
                // What was sent has the same digest, whoever owns it.
                assert_eq!(read.digest(), Contents::of_folder(&source, Limits::default()).unwrap().digest());
            }
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn what_is_sent_here_btrfs_receives() {
    let disk = Disk::new(Kind::Btrfs, "512M");
    let at = |name: &str| disk.path().join(name);
    fill(&at("plain"), "zstd");
    sh(&format!("cp -r --no-preserve=mode {0}/plain {0}/copy", disk.path().display()));
    let contents = Contents::of_folder(&at("copy"), Limits::default()).unwrap();
    let bytes = contents.encode("lamp@v1.2.3", Vec::new()).unwrap();
    assert_eq!(bytes, contents.encode("lamp@v1.2.3", Vec::new()).unwrap(), "the same each time");
    fs::write(at("stream"), &bytes).unwrap();
    fs::create_dir(at("in")).unwrap();
    sh(&format!("btrfs receive -q -e {0}/in < {0}/stream", disk.path().display()));
    same(&at("copy"), &at("in/lamp@v1.2.3"));
    // And back again.
    sh(&format!("btrfs send -q {0}/in/lamp@v1.2.3 > {0}/again", disk.path().display()));
    let mut memory = Memory::default();
    unpack(&fs::read(at("again")).unwrap()[..], Limits::default(), &mut memory).unwrap();
    assert_eq!(Contents::of_memory(&memory).digest(), contents.digest());
    // Without anything that differs from machine to machine, the digest is known.
    let small = disk.path().join("small");
    fs::create_dir_all(small.join("examples")).unwrap();
    fs::write(small.join("plugin.toml"), "[plugin]\n").unwrap();
    let digest = Contents::of_folder(&small, Limits::default()).unwrap().digest();
    assert_eq!(digest, "sha256:dbf4b08b7f4a9a4081334930a5dd8c3fa91ba69698bcbe78aaddb820c0aa0715");
}

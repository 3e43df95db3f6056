//! The keyring: several keys, their ends, what was revoked, the change from one key to the next; and GPG beside it.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::package::signing::{SigningKey, generate};
use op_dbus_tests::publisher::{Ended, Publisher, compress, stream};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package and its publisher; the keys start empty where that is said.
fn desk() -> (Publisher, PathBuf) {
    let desk = Publisher::new();
    let package = desk.offer(&stream(|_| ()));
    (desk, package)
}

fn own_pub(desk: &Publisher) -> String {
    fs::read_to_string(desk.path().join("keys/publisher.pub")).unwrap()
}

fn keys(desk: &Publisher, line: &str) -> Ended {
    desk.run("op-install", &[&["keys"], &line.split_whitespace().collect::<Vec<_>>()[..]].concat())
}

fn try_it(desk: &Publisher, package: &Path) -> Ended {
    desk.install(package, &["--dry-run"])
}

#[track_caller]
fn refused(ended: &Ended, why: &str) {
    assert!(ended.code == 7 && ended.error().contains(why), "{why}: {ended:?}");
}

#[test]
fn keys_come_and_go() {
    let (desk, package) = desk();
    fs::write(desk.path().join("mine.pub"), own_pub(&desk)).unwrap();
    fs::remove_dir_all(desk.path().join("keys")).unwrap();
    refused(&try_it(&desk, &package), "trusted here: none");
    let id = desk.key().id();
    let added = keys(&desk, "add mine.pub --expires 2099-06-30 --comment lamps").json();
    assert_eq!(added["keys"][0]["key"], id);
    assert_eq!(added["keys"][0]["comment"], "lamps expires=2099-06-30");
    assert_eq!(added["keys"][0]["counts"], true);
    assert_eq!(try_it(&desk, &package).code, 0);
    assert_eq!(keys(&desk, "add mine.pub").code, 5, "it is there");
    assert_eq!(keys(&desk, "add mine.pub --expires tomorrow").code, 64);
    // Others in the ring do not matter.
    for name in ["other", "third"] {
        fs::write(desk.path().join(format!("{name}.pub")), generate(None).unwrap().public).unwrap();
        assert_eq!(keys(&desk, &format!("add {name}.pub")).code, 0);
    }
    assert_eq!(try_it(&desk, &package).code, 0);
    assert_eq!(keys(&desk, "").json()["keys"].as_array().unwrap().len(), 3);
    assert_eq!(keys(&desk, &format!("remove {}", id.to_lowercase())).code, 0);
    refused(&try_it(&desk, &package), "not trusted");
    assert_eq!(keys(&desk, &format!("remove {id}")).code, 65);
    // One that is ended on the day it ended.
    assert_eq!(keys(&desk, "add mine.pub --expires 2020-02-29").code, 0);
    refused(&try_it(&desk, &package), "which expired after 2020-02-29");
    refused(&desk.install(&package, &["--allow-unsigned"]), "which expired");
    // Named on the command line it counts as its own comment says: not ended.
    assert_eq!(desk.install(&package, &["--dry-run", "--key", "mine.pub"]).code, 0);
}

#[test]
fn trust_is_taken_back() {
    let (desk, package) = desk();
    assert_eq!(desk.install(&package, &[]).code, 0);
    let old = desk.key().id();
    let new = generate(None).unwrap();
    fs::write(desk.path().join("new.key"), &new.secret).unwrap();
    fs::write(desk.path().join("new.key.pub"), &new.public).unwrap();
    let revoke = |what: &str, key: &str, reason: &str| {
        let ended = desk.run("op-snapshot", &["revoke", what, "--key", key, "--reason", reason]);
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    // Who is not trusted takes nothing back.
    revoke(&old, "new.key", "the laptop was stolen");
    refused(&keys(&desk, "revoked revoked.list"), "not trusted");
    assert_eq!(keys(&desk, "add new.key.pub").code, 0);
    let ring = keys(&desk, "revoked revoked.list").json();
    let entry = ring["keys"].as_array().unwrap().iter().find(|key| key["key"] == *old).unwrap().clone();
    assert_eq!((entry["counts"].as_bool(), entry["revoked"].as_str()), (Some(false), Some("the laptop was stolen")));
    refused(&try_it(&desk, &package), "which was revoked: the laptop was stolen");
    refused(&desk.install(&package, &["--allow-unsigned"]), "revoked");
    let mine = desk.path().join("keys/publisher.pub");
    refused(&desk.install(&package, &["--dry-run", "--key", mine.to_str().unwrap()]), "revoked");
    let verified = desk.run("op-install", &["verify"]);
    refused(&verified, "not what was signed");
    assert!(verified.stdout.contains("revoked"), "{verified:?}");
    // The same plugin, signed with the new key.
    let bytes = fs::read(&package).unwrap();
    let next = SigningKey::parse(&new.secret, None, "new.key").unwrap();
    let comment =
        format!("op-dbus-package/1 name=lamp version=1.0.0 sha256={}", op_dbus::base::digest::Plain::of(&bytes));
    fs::write(desk.beside("lamp-v1.0.0.btrfs.zst", "minisig"), next.sign_with_comment(&bytes, &comment).unwrap())
        .unwrap();
    let asks = desk.install(&package, &[]);
    assert!(asks.code == 5 && asks.error().contains("another key than the version before"), "{asks:?}");
    assert_eq!(desk.install(&package, &["--yes"]).code, 0);
    assert_eq!(desk.run("op-install", &["verify"]).code, 0);
    // A package is taken back by its digest, whoever signed it.
    let first = fs::read(desk.path().join("revoked.list")).unwrap();
    let first_signature = fs::read(desk.path().join("revoked.list.minisig")).unwrap();
    revoke(&op_dbus::base::digest::Plain::of(&bytes), "new.key", "it opens the door");
    assert_eq!(keys(&desk, "revoked revoked.list").code, 0);
    refused(&desk.install(&package, &["--yes", "--allow-unsigned"]), "this package was revoked: it opens the door");
    // The list of before does not give trust back; nor does one that was changed, or has lost its signature.
    fs::write(desk.path().join("revoked.list"), first).unwrap();
    fs::write(desk.path().join("revoked.list.minisig"), first_signature).unwrap();
    refused(&keys(&desk, "revoked revoked.list"), "number 2 is here already");
    let list = desk.path().join("keys/revoked.list");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace(&old, &"0".repeat(16))).unwrap();
    refused(&try_it(&desk, &package), "not that of these bytes");
    fs::write(&list, &text).unwrap();
    fs::remove_file(desk.path().join("keys/revoked.list.minisig")).unwrap();
    refused(&try_it(&desk, &package), "has no signature");
}

/// A registry tells what was revoked, too.
#[test]
fn a_registry_takes_trust_back() {
    let (desk, package) = desk();
    fs::create_dir(desk.path().join("registry")).unwrap();
    for suffix in ["", ".minisig"] {
        let name = format!("lamp-v1.0.0.btrfs.zst{suffix}");
        fs::copy(desk.path().join(&name), desk.path().join("registry").join(&name)).unwrap();
    }
    let run = |line: &str| desk.run("op-install", &line.split(' ').collect::<Vec<_>>());
    assert_eq!(run("registry build registry --key publisher.key").code, 0);
    assert_eq!(run("registry add registry").code, 0);
    assert_eq!(run("lamp --dry-run").code, 0);
    let sum = op_dbus::base::digest::Plain::of(&fs::read(&package).unwrap());
    let args = ["revoke", &sum, "--key", "publisher.key", "--out", "registry/revoked.list", "--reason", "it bites"];
    assert_eq!(desk.run("op-snapshot", &args).code, 0);
    assert_eq!(run("lamp --dry-run").code, 0, "nobody asked yet");
    assert_eq!(run("registry refresh").code, 0);
    refused(&run("lamp --dry-run"), "it bites");
    refused(&try_it(&desk, &package), "it bites");
}

/// The commands by which a publisher changes from one key to the next, as they are documented.
#[test]
fn the_change_to_the_next_key() {
    let desk = Publisher::new();
    let run = |program: &str, line: &str| {
        let ended = desk.run(program, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
    };
    fs::create_dir_all(desk.path().join("lamp")).unwrap();
    fs::write(desk.path().join("lamp/plugin.toml"), op_dbus_tests::publisher::MANIFEST).unwrap();
    run("op-snapshot", "publish ./lamp --key publisher.key --out registry/lamp");
    run("op-install", "registry build registry --key publisher.key");
    run("op-install", "registry add registry");
    run("op-install", "lamp --yes");
    // Both keys count for a while; then everything is signed again with the new one.
    run("op-snapshot", "keygen --out next.key");
    run("op-install", "keys add next.key.pub");
    run("op-snapshot", "publish ./lamp --key next.key --out registry/lamp");
    run("op-install", "registry build registry --key next.key --publisher keys/publisher.pub");
    run("op-install", "registry refresh");
    let id = desk.key().id();
    run("op-snapshot", &format!("revoke {id} --key next.key --reason replaced --out registry/revoked.list"));
    run("op-install", "registry refresh");
    let verified = desk.run("op-install", &["verify"]);
    assert_eq!(verified.code, 7, "what is installed is signed with the old key: {verified:?}");
    let again = desk.path().join("registry/lamp/lamp-v1.0.0.btrfs.zst");
    assert_eq!(desk.install(&again, &["--yes"]).code, 0);
    assert_eq!(desk.run("op-install", &["verify"]).code, 0);
    run("op-install", &format!("keys remove {id}"));
}

/// A GPG home of its own, and the keyring that op-dbus trusts.
struct Gpg<'d>(&'d Publisher);

impl Gpg<'_> {
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--homedir", self.0.path().join("gpg").to_str().unwrap(), "--batch", "--yes", "--quiet"])
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Gpg<'_> {
    fn drop(&mut self) {
        let home = self.0.path().join("gpg");
        let _ = Command::new("gpgconf").args(["--homedir", home.to_str().unwrap(), "--kill", "all"]).output();
    }
}

#[test]
fn gpg_beside_minisign() {
    let (desk, package) = desk();
    let at = |name: &str| desk.path().join(name);
    fs::create_dir(at("gpg")).unwrap();
    fs::set_permissions(at("gpg"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(at("trusted-gpg")).unwrap();
    let gpg = Gpg(&desk);
    for (user, expire) in [("publisher@example.org", "never"), ("stranger@example.org", "never")] {
        gpg.run(&["--quick-generate-key", user, "ed25519", "sign", expire]);
    }
    let trusted = at("trusted-gpg").display().to_string();
    let install = |args: &[&str]| {
        let args = [&["install", package.to_str().unwrap(), "--gpg"], args].concat();
        desk.run_with("op-install", &args, &[("OP_DBUS_TRUSTED_GPG", &trusted)])
    };
    let sign = |user: &str, file: &Path| {
        let asc = format!("{}.asc", package.display());
        gpg.run(&["--armor", "--local-user", user, "--output", &asc, "--detach-sign", file.to_str().unwrap()]);
    };
    refused(&install(&[]), "no .asc beside it");
    sign("publisher@example.org", &package);
    refused(&install(&[]), "no keyring");
    fs::write(at("trusted-gpg/publisher.gpg"), gpg.run(&["--export", "publisher@example.org"])).unwrap();
    let report = install(&["--dry-run"]).json();
    assert_eq!(report["trust"], "community");
    sign("stranger@example.org", &package);
    refused(&install(&[]), "its key is not trusted");
    fs::write(at("other"), "other bytes").unwrap();
    sign("publisher@example.org", &at("other"));
    refused(&install(&[]), "is not that of these bytes");
    fs::write(format!("{}.asc", package.display()), "nonsense").unwrap();
    refused(&install(&[]), "cannot be read");
    // A key that ended, and a signature that did.
    let past = ["--faked-system-time", "20200101T000000!"];
    gpg.run(&[&past[..], &["--quick-generate-key", "old@example.org", "ed25519", "sign", "1d"]].concat());
    let asc = format!("{}.asc", package.display());
    let signing = ["--armor", "--local-user", "old@example.org", "--output", &asc, "--detach-sign"];
    gpg.run(&[&past[..], &signing, &[package.to_str().unwrap()]].concat());
    fs::write(at("trusted-gpg/old.gpg"), gpg.run(&["--export", "old@example.org"])).unwrap();
    refused(&install(&[]), "a key that has expired");
    let ended = ["--default-sig-expire", "1d", "--faked-system-time", "20200101T000000!"];
    let late = ["--quick-generate-key", "late@example.org", "ed25519", "sign", "never"];
    gpg.run(&[&past[..], &late].concat());
    let signing = ["--armor", "--local-user", "late@example.org", "--output", &asc, "--detach-sign"];
    gpg.run(&[&ended[..], &signing, &[package.to_str().unwrap()]].concat());
    fs::write(at("trusted-gpg/late.gpg"), gpg.run(&["--export", "late@example.org"])).unwrap();
    refused(&install(&[]), "has expired");
    // Without minisign's signature GPG's is enough; a bad one of minisign's is not made good by it.
    sign("publisher@example.org", &package);
    let minisig = desk.beside("lamp-v1.0.0.btrfs.zst", "minisig");
    let good = fs::read(&minisig).unwrap();
    fs::remove_file(&minisig).unwrap();
    assert_eq!(install(&[]).json()["trust"], "community");
    let verify = |args: &[&str]| {
        desk.run_with("op-install", &[&["verify"], args].concat(), &[("OP_DBUS_TRUSTED_GPG", &trusted)]).json()
    };
    assert_eq!(verify(&["--gpg"])["versions"][0]["verdict"], "good");
    assert_eq!(verify(&[])["versions"][0]["verdict"], "unsigned");
    let other = compress(&stream(|e| e.folder("examples").unwrap()));
    fs::write(&minisig, good).unwrap();
    fs::write(&package, other).unwrap();
    sign("publisher@example.org", &package);
    refused(&install(&[]), "not that of these bytes");
}

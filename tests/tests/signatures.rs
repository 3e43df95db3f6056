//! Signatures between op-dbus and the stock `minisign`, both ways.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Kind;
use op_dbus::base::digest::Plain;
use op_dbus::base::name::PluginName;
use op_dbus::package::keyring::Keyring;
use op_dbus::package::signature::{Binding, verify};
use op_dbus::package::signing::{SigningKey, generate};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// Runs the stock program here; whether it was content, and what it said.
    fn minisign(&self, args: &str, stdin: &str) -> (bool, String) {
        let mut child = Command::new("minisign")
            .args(args.split(' ').map(|word| word.replace('+', " ")))
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn ring(&self, file: &str) -> Keyring {
        Keyring::of_files(&[self.at(file)]).unwrap()
    }
}

const BYTES: &[u8] = b"as if this were a package";

fn binding() -> Binding {
    Binding {
        name: PluginName::new("lamp").unwrap(),
        version: "1.2.3-rc.1".parse().unwrap(),
        sha256: Plain::of(BYTES),
        tree: Some(format!("sha256:{}", Plain::of(b"a tree"))),
    }
}

#[test]
fn minisign_accepts_ours() {
    for password in [None, Some("a password")] {
        let desk = Desk::new();
        let keys = generate(password).unwrap();
        assert!(keys.public.contains(&keys.id), "{}", keys.public);
        desk.write("k", &keys.secret);
        desk.write("k.pub", &keys.public);
        fs::write(desk.at("p"), BYTES).unwrap();
        let key = SigningKey::parse(&keys.secret, password, "k").unwrap();
        assert_eq!(key.id(), keys.id);
        let signature = key.sign(BYTES, &binding()).unwrap();
        desk.write("p.minisig", &signature);
        let (is_good, said) = desk.minisign("-V -m p -p k.pub", "");
        assert!(is_good && said.contains(&binding().to_string()), "{said}");
        let signed = verify(BYTES, &signature, &desk.ring("k.pub")).unwrap();
        assert_eq!((signed.binding, signed.key.id), (binding(), keys.id));
        // Our key in minisign's hands.
        let stdin = password.map(|p| format!("{p}\n")).unwrap_or_default();
        let (is_good, said) = desk.minisign("-S -m p -s k -x by-hand -t a+comment", &stdin);
        assert!(is_good, "{said}");
        let error = verify(BYTES, &desk.read("by-hand"), &desk.ring("k.pub")).unwrap_err();
        assert!(error.message.contains("does not say which package"), "{error}");
        if password.is_some() {
            for wrong in [None, Some("another")] {
                assert_eq!(SigningKey::parse(&keys.secret, wrong, "k").unwrap_err().kind, Kind::BadInput);
            }
        }
    }
    assert!(SigningKey::parse("untrusted comment: x\nnothing", None, "k").is_err());
}

#[test]
fn we_accept_what_minisign_makes() {
    for (generated, stdin) in [("-G -W -p k.pub -s k", ""), ("-G -p k.pub -s k", "secret\nsecret\n")] {
        let desk = Desk::new();
        fs::write(desk.at("p"), BYTES).unwrap();
        let (is_made, said) = desk.minisign(generated, stdin);
        assert!(is_made, "{said}");
        let without_tree = Binding { tree: None, ..binding() };
        let comment = without_tree.to_string().replace(' ', "+");
        let (is_signed, said) = desk.minisign(&format!("-S -m p -s k -t {comment}"), stdin);
        assert!(is_signed, "{said}");
        let signed = verify(BYTES, &desk.read("p.minisig"), &desk.ring("k.pub")).unwrap();
        assert_eq!(signed.binding, without_tree);
        // minisign's key in our hands.
        let password = (!stdin.is_empty()).then_some("secret");
        let key = SigningKey::parse(&desk.read("k"), password, "k").unwrap();
        assert_eq!(key.id(), signed.key.id);
        desk.write("p.minisig", &key.sign(BYTES, &binding()).unwrap());
        let (is_good, said) = desk.minisign("-V -m p -p k.pub", "");
        assert!(is_good, "{said}");
    }
}

#[test]
fn what_was_not_signed_so_is_refused() {
    let desk = Desk::new();
    let keys = [(); 2].map(|()| generate(None).unwrap());
    for (i, keys) in keys.iter().enumerate() {
        desk.write(&format!("{i}.pub"), &keys.public);
    }
    let key = SigningKey::parse(&keys[0].secret, None, "k").unwrap();
    let good = key.sign(BYTES, &binding()).unwrap();
    let refused = |bytes: &[u8], signature: &str, ring: &Keyring| {
        let error = verify(bytes, signature, ring).unwrap_err();
        assert_eq!(error.kind, Kind::Untrusted);
        error.to_string()
    };
    let ring = desk.ring("0.pub");
    assert!(refused(BYTES, &good, &desk.ring("1.pub")).contains("a key that is not trusted"));
    assert!(refused(BYTES, &good, &Keyring::default()).contains("trusted here: none"));
    assert!(refused(b"other", &good, &ring).contains("not that of these bytes"));
    assert!(refused(BYTES, "", &ring).contains("cannot be read"));
    assert!(refused(BYTES, &good.replace("name=lamp", "name=lump"), &ring).contains("not that of these bytes"));
    let comment = Binding { sha256: Plain::of(b"other"), ..binding() }.to_string();
    assert!(refused(BYTES, &key.sign_with_comment(BYTES, &comment).unwrap(), &ring).contains("another digest"));
    // Both keys trusted: the right one is found.
    let both = Keyring::of_files(&[desk.at("1.pub"), desk.at("0.pub")]).unwrap();
    assert_eq!(verify(BYTES, &good, &both).unwrap().key.id, key.id());
    // The old kind of signature, over the bytes themselves.
    fs::write(desk.at("p"), BYTES).unwrap();
    desk.write("k", &keys[0].secret);
    let (is_signed, said) =
        desk.minisign(&format!("-S -l -m p -s k -t {}", binding().to_string().replace(' ', "+")), "");
    assert!(is_signed, "{said}");
    assert!(refused(BYTES, &desk.read("p.minisig"), &ring).contains("of the old kind"));
    // A signature whose every single character was changed.
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let outcome = verify(BYTES, &changed, &ring);
        // Nothing rests on the first line.
        let is_harmless = good[..at].lines().count() <= 1 && !good[..at].contains('\n');
        assert!(outcome.is_err() || is_harmless, "{at}: {changed}");
    }
}

//! The audit trail as a whole: written, verified, proven; and every way of changing it found out.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::block::Kind;
use op_dbus::audit::chain::{Draft, Head};
use op_dbus::audit::{Actor, Chain, proof, repair, verify};
use op_dbus::store::StateRoot;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn trail() -> (TempDir, Chain) {
    let folder = tempfile::tempdir().unwrap();
    let root = StateRoot::find(Some(folder.path())).unwrap();
    (folder, Chain::open(&root).unwrap())
}

fn draft(entries: Vec<Value>) -> Draft {
    let actor = Actor { uid: Some(0), ..Actor::default() };
    Draft { kind: Kind::Events, run: None, actor, program: "test 1".into(), detail: None, entries }
}

fn filled(blocks: u64) -> (TempDir, Chain) {
    let (folder, chain) = trail();
    for number in 0..blocks {
        let entries = (0..number % 4).map(|at| json!({"event": format!("{number}-{at}"), "text": "é \"x\""})).collect();
        chain.append(draft(entries)).unwrap();
    }
    (folder, chain)
}

fn verdict(chain: &Chain) -> verify::Verdict {
    verify::verify(chain, &[], &mut |_, _| {}).unwrap()
}

/// SplitMix64, so that a failure can be tried again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

#[test]
fn what_is_written_verifies_and_is_proven() {
    let (_folder, chain) = filled(20);
    let found = verdict(&chain);
    assert!(found.is_valid && found.valid_to == 20, "{found:?}");
    assert_eq!(found.head, chain.head().unwrap().digest);
    for number in 1..=20 {
        for index in 0..chain.read(number).unwrap().entries.len() {
            let proof = proof::prove(&chain, number, index).unwrap();
            proof::check(&proof).unwrap();
            let text = serde_json::to_string(&proof).unwrap();
            proof::check(&serde_json::from_str(&text).unwrap()).unwrap();
            let mut forged = proof.clone();
            forged.entry = json!({"event": "never"});
            assert!(proof::check(&forged).is_err());
            let mut moved = proof.clone();
            moved.header.time = "2001-01-01T00:00:00Z".into();
            assert!(proof::check(&moved).is_err());
        }
    }
    assert!(proof::prove(&chain, 1, 0).is_err(), "the first block is empty");
}

/// Ten thousand corruptions at random places: flipped bits, cut ends, removed, swapped, copied and inserted blocks.
#[test]
fn no_corruption_is_missed() {
    let (_folder, chain) = filled(6);
    let files: Vec<Vec<u8>> = (1..=6).map(|number| chain.bytes(number).unwrap()).collect();
    let restore = |number: u64| {
        fs::write(chain.file(number), &files[usize::try_from(number).unwrap() - 1]).unwrap();
        let _ = fs::remove_file(chain.file(7));
    };
    let head = [chain.head().unwrap()];
    let mut random = Random(20_251_123);
    for round in 0..10_000 {
        let number = random.below(6) as u64 + 1;
        let path = chain.file(number);
        let mut bytes = files[usize::try_from(number).unwrap() - 1].clone();
        let what = random.below(7);
        let first_bad = match what {
            0 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                fs::write(&path, bytes).unwrap();
                number
            }
            1 => {
                bytes.truncate(random.below(bytes.len()));
                fs::write(&path, bytes).unwrap();
                number
            }
            2 => {
                fs::remove_file(&path).unwrap();
                number
            }
            3 => {
                let other = (number % 6) + 1;
                fs::write(&path, &files[usize::try_from(other).unwrap() - 1]).unwrap();
                number
            }
            4 => {
                let at = random.below(bytes.len());
                bytes.insert(at, b"0 \n,}{"[random.below(6)]);
                fs::write(&path, bytes).unwrap();
                number
            }
            5 => {
                let at = random.below(bytes.len());
                bytes.remove(at);
                fs::write(&path, bytes).unwrap();
                number
            }
            _ => {
                fs::write(chain.file(7), &files[5]).unwrap();
                7
            }
        };
        let found = verify::verify(&chain, &head, &mut |_, _| {}).unwrap();
        // A removed last block is only missed by the head that was kept.
        if what == 2 && number == 6 {
            assert!(!found.is_valid && !found.contradicted.is_empty(), "round {round}: {found:?}");
        } else {
            let broken = found.broken.unwrap_or_else(|| panic!("round {round}: {what} of {number} was missed"));
            assert_eq!(broken.number, first_bad, "round {round}: {what}");
            assert!(!found.is_valid);
        }
        restore(number);
    }
    assert!(verdict(&chain).is_valid);
}

#[test]
fn foreign_files_holes_and_links_are_reported_and_not_followed() {
    let (folder, chain) = filled(3);
    let secret = folder.path().join("secret");
    fs::write(&secret, fs::read(chain.file(3)).unwrap()).unwrap();
    fs::remove_file(chain.file(3)).unwrap();
    std::os::unix::fs::symlink(&secret, chain.file(3)).unwrap();
    fs::write(chain.folder().join("notes.txt"), "x").unwrap();
    fs::write(chain.folder().join("04.json"), "x").unwrap();
    fs::create_dir(chain.folder().join("5.json")).unwrap();
    let found = verdict(&chain);
    assert_eq!(found.broken.unwrap().number, 3);
    assert_eq!(found.foreign, ["04.json", "notes.txt"]);
    assert!(chain.append(draft(vec![])).is_err(), "nothing is added behind a link");
}

#[test]
fn a_torn_end_is_told_apart_from_tampering_and_repaired_once() {
    let (_folder, chain) = filled(4);
    let actor = Actor::default();
    assert!(repair::repair(&chain, &actor, "test").is_err(), "nothing is torn");
    let whole = chain.bytes(4).unwrap();
    for (bytes, is_torn) in [
        (whole[..whole.len() / 2].to_vec(), true),
        (Vec::new(), true),
        (vec![0; whole.len()], true),
        (String::from_utf8(whole.clone()).unwrap().replace("3-1", "3-9").into_bytes(), false),
        (b"{}".to_vec(), false),
    ] {
        fs::write(chain.file(4), &bytes).unwrap();
        let found = verdict(&chain);
        assert_eq!(found.broken.unwrap().is_torn, is_torn, "{:?}", String::from_utf8_lossy(&bytes));
        assert!(chain.append(draft(vec![])).is_err(), "nothing is added to a damaged end");
        if !is_torn {
            assert!(repair::repair(&chain, &actor, "test").is_err());
            continue;
        }
        let repaired = repair::repair(&chain, &actor, "test").unwrap();
        assert_eq!(repaired.number, 4);
        assert_eq!(fs::read(&repaired.aside).unwrap(), bytes);
        assert!(verdict(&chain).is_valid);
        assert_eq!(chain.read(4).unwrap().header.kind, Kind::Repair);
    }
}

#[test]
fn heads_from_elsewhere_say_what_was_written_anew() {
    let (_folder, chain) = filled(4);
    let kept = chain.head().unwrap();
    chain.append(draft(vec![json!(1)])).unwrap();
    let found = verify::verify(&chain, std::slice::from_ref(&kept), &mut |_, _| {}).unwrap();
    assert_eq!((found.is_valid, found.anchored_to, found.valid_to), (true, Some(4), 5));
    // The whole trail written anew, with other entries, is whole in itself.
    let (_other, forged) = filled(3);
    forged.append(draft(vec![json!("forged")])).unwrap();
    assert!(verdict(&forged).is_valid);
    let found = verify::verify(&forged, &[kept], &mut |_, _| {}).unwrap();
    assert!(!found.is_valid && found.anchored_to.is_none(), "{found:?}");
    let beyond = Head { number: 9, digest: "sha256:x".into() };
    assert!(!verify::verify(&forged, &[beyond], &mut |_, _| {}).unwrap().is_valid);
}

#[test]
fn many_writers_make_one_chain() {
    let (folder, chain) = trail();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let chain = &chain;
            scope.spawn(move || {
                for at in 0..25 {
                    chain.append(draft(vec![json!([writer, at])])).unwrap();
                }
            });
        }
    });
    let found = verdict(&chain);
    assert_eq!((found.is_valid, found.valid_to, found.entries), (true, 200, 200));
    fs::remove_dir_all(folder.path().join("@cache")).unwrap();
    assert_eq!(chain.last(), 200, "the hint is only a hint");
}

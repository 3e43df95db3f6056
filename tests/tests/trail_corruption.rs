//! Ten thousand corruptions of a trail, each of them found, and told which block it is.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::block::Kind;
use op_dbus::audit::chain::{Chain, Draft, Head};
use op_dbus::audit::verify::{Verdict, verify};
use op_dbus::audit::{Actor, index, log};
use op_dbus::store::StateRoot;
use op_dbus_tests::synth::random::Rng;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BLOCKS: u64 = 7;

fn draft(number: u64) -> Draft {
    let entries = (0..number % 4).map(|entry| json!({"source": "test", "event": {"number": number, "entry": entry}}));
    Draft {
        kind: Kind::Events,
        run: None,
        actor: Actor::default(),
        program: "test 1".into(),
        detail: None,
        entries: entries.collect(),
    }
}

fn filled(root: &Path) -> Chain {
    let chain = Chain::open(&StateRoot::find(Some(root)).unwrap()).unwrap();
    (1..=BLOCKS).for_each(|number| drop(chain.append(draft(number)).unwrap()));
    chain
}

/// Something that is done to a trail; the first block that is not what it was, if it is not the end that is missing.
fn corrupt(chain: &Chain, kept: &[Vec<u8>], rng: &mut Rng) -> (String, Option<u64>) {
    let pick = |rng: &mut Rng| 1 + rng.below(usize::try_from(BLOCKS).unwrap()) as u64;
    let bytes = |number: u64| kept[usize::try_from(number).unwrap() - 1].clone();
    let number = pick(rng);
    let file = chain.file(number);
    let mut changed = bytes(number);
    match rng.below(9) {
        0..=2 => {
            let at = rng.below(changed.len());
            changed[at] ^= 1 << rng.below(8);
            fs::write(&file, &changed).unwrap();
            (format!("bit at {at} of {number}"), Some(number))
        }
        3 => {
            changed.truncate(rng.below(changed.len()));
            fs::write(&file, &changed).unwrap();
            (format!("{number} cut to {}", changed.len()), Some(number))
        }
        4 => {
            changed.insert(rng.below(changed.len()), *rng.pick(b" \n0\"x,"));
            // One more digit may be the same as another one more.
            if changed == bytes(number) {
                changed.push(b' ');
            }
            fs::write(&file, &changed).unwrap();
            (format!("a byte in {number}"), Some(number))
        }
        5 => {
            fs::remove_file(&file).unwrap();
            (format!("without {number}"), (number < BLOCKS).then_some(number))
        }
        6 => {
            let other = number % BLOCKS + 1;
            fs::write(&file, bytes(other)).unwrap();
            fs::write(chain.file(other), bytes(number)).unwrap();
            (format!("{number} and {other} swapped"), Some(number.min(other)))
        }
        7 => {
            // One is taken out and the others close up, or one is put in and they make room.
            let mut all = kept.to_vec();
            let at = usize::try_from(number).unwrap() - 1;
            if rng.one_in(2) {
                all.remove(at);
                fs::remove_file(chain.file(BLOCKS)).unwrap();
            } else {
                all.insert(at, bytes(number));
            }
            for (at, bytes) in all.iter().enumerate() {
                fs::write(chain.file(at as u64 + 1), bytes).unwrap();
            }
            let is_end = all.len() < kept.len() && number == BLOCKS;
            (
                format!("{} at {number}", all.len()),
                (!is_end).then_some(if all.len() > kept.len() { number + 1 } else { number }),
            )
        }
        _ => {
            (number..=BLOCKS).for_each(|number| fs::remove_file(chain.file(number)).unwrap());
            (format!("cut off from {number}"), None)
        }
    }
}

#[test]
fn ten_thousand_corruptions_are_found() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let chain = filled(&root.path().join("root"));
    let kept: Vec<Vec<u8>> = (1..=BLOCKS).map(|number| fs::read(chain.file(number)).unwrap()).collect();
    let head = chain.head().unwrap();
    let check = |heads: &[Head]| -> Verdict { verify(&chain, heads, &mut |_, _| {}).unwrap() };
    assert!(check(std::slice::from_ref(&head)).is_valid);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut rng = Rng::new(seed);
    for case in 0..10_000 {
        let (what, first) = corrupt(&chain, &kept, &mut rng);
        let context = format!("seed {seed}, case {case}: {what}");
        let verdict = check(std::slice::from_ref(&head));
        assert!(!verdict.is_valid, "{context}: {verdict:?}");
        match first {
            Some(number) => {
                assert_eq!(verdict.broken.as_ref().map(|broken| broken.number), Some(number), "{context}: {verdict:?}");
                assert_eq!(verdict.valid_to, number - 1, "{context}");
            }
            None => assert!(!verdict.contradicted.is_empty(), "{context}: {verdict:?}"),
        }
        for (at, bytes) in kept.iter().enumerate() {
            fs::write(chain.file(at as u64 + 1), bytes).unwrap();
        }
        let _ = fs::remove_file(chain.file(BLOCKS + 1));
    }
    assert!(check(&[head]).is_valid);
}

#[test]
fn what_is_no_block_is_told_and_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let chain = filled(&root.path().join("root"));
    let folder = chain.folder().to_owned();
    for name in ["07.json", "0.json", "1.json.bak", "notes", "-1.json"] {
        fs::write(folder.join(name), "{}").unwrap();
    }
    fs::create_dir(folder.join("old")).unwrap();
    let verdict = verify(&chain, &[], &mut |_, _| {}).unwrap();
    assert_eq!(verdict.foreign, ["-1.json", "0.json", "07.json", "1.json.bak", "notes", "old"]);
    assert_eq!((verdict.valid_to, verdict.is_valid), (BLOCKS, false));
    // A link to the very block, a folder and a pipe in its place: none is opened.
    let aside = root.path().join("aside");
    fs::rename(chain.file(3), &aside).unwrap();
    let broken = || {
        let broken = verify(&chain, &[], &mut |_, _| {}).unwrap().broken.unwrap();
        assert_eq!((broken.number, broken.is_torn), (3, false), "{broken:?}");
    };
    broken();
    std::os::unix::fs::symlink(&aside, chain.file(3)).unwrap();
    broken();
    fs::remove_file(chain.file(3)).unwrap();
    fs::create_dir(chain.file(3)).unwrap();
    broken();
    fs::remove_dir(chain.file(3)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, chain.file(3), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    broken();
    fs::remove_file(chain.file(3)).unwrap();
    // A hole in the file, where its content was.
    let bytes = fs::read(&aside).unwrap();
    fs::File::create(chain.file(3)).unwrap().set_len(bytes.len() as u64).unwrap();
    broken();
}

/// The clock is set back again and again: order is by number, and nothing but the times that are said looks odd.
#[test]
fn a_clock_that_runs_backwards_breaks_nothing() {
    fn backwards() -> SystemTime {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LEFT: AtomicU64 = AtomicU64::new(1_000_000);
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + LEFT.fetch_sub(7_000, Ordering::Relaxed))
    }
    let root = tempfile::tempdir().unwrap();
    let chain = Chain::open(&StateRoot::find(Some(&root.path().join("root"))).unwrap()).unwrap().timed_by(backwards);
    (1..=60).for_each(|number| drop(chain.append(draft(number)).unwrap()));
    let verdict = verify(&chain, &[], &mut |_, _| {}).unwrap();
    assert_eq!((verdict.valid_to, verdict.is_valid), (60, true));
    let times: Vec<String> = (1..=60).map(|number| chain.read(number).unwrap().header.time).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    // Filters go by the times that are said, with the index and without.
    for _ in 0..2 {
        let filter =
            log::Filter { since: Some(times[20].clone()), until: Some(times[10].clone()), ..Default::default() };
        let mut found = Vec::new();
        log::walk(&chain, 1, &filter, &mut |block| {
            found.push(block.header.number);
            Ok(true)
        })
        .unwrap();
        assert_eq!(found, (12..=21).collect::<Vec<u64>>());
    }
}

/// Indexes are derived: by number and by hash they say the same after they were deleted, damaged, or of another trail.
#[test]
fn indexes_are_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let chain = filled(&root.path().join("root"));
    let digest = |number: u64| chain.read(number).unwrap().digest.trim_start_matches("sha256:").to_owned();
    let finds_all = || {
        for number in 1..=chain.last() {
            assert_eq!(index::number_of(&chain, &digest(number)[..12]).unwrap(), number);
            assert_eq!(index::number_of(&chain, &format!("sha256:{}", digest(number))).unwrap(), number);
            assert_eq!(index::number_of(&chain, &number.to_string()).unwrap(), number);
        }
        assert!(index::number_of(&chain, "0123456789abcdef0123").is_err());
    };
    finds_all();
    let (by_number, by_hash) = (chain.derived().join("by-number"), chain.derived().join("by-hash"));
    let kept = fs::read(&by_number).unwrap();
    drop(chain.append(draft(8)).unwrap());
    finds_all();
    for damage in [&b""[..], b"junk", &kept[..100], &vec![0; 9000]] {
        fs::write(&by_number, damage).unwrap();
        finds_all();
        fs::write(&by_hash, damage).unwrap();
        finds_all();
    }
    fs::remove_dir_all(chain.derived()).unwrap();
    finds_all();
    // Another trail in its place.
    for number in 1..=8 {
        fs::remove_file(chain.file(number)).unwrap();
    }
    for number in [3, 1, 2, 3, 1, 2, 3, 1, 2] {
        drop(chain.append(draft(number)).unwrap());
    }
    finds_all();
}

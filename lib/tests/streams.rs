//! Streams that nobody wrote by hand: whatever the bytes are, the answer is a tree within the limits or a refusal, and a
//! tree in a folder is the same as in memory.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod gate;

use gate::{LIMITS, commands_of, outcome, with_checksum};
use op_dbus::package::contents::Contents;
use op_dbus::package::stream::{Attribute as A, Code, Encoder};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]", "[a-d]", "o25[78]-8-0", Just("..".into()), "[a-d]{1,40}", ".{1,3}"]
}

fn paths() -> impl Strategy<Value = String> {
    let join = |names: Vec<String>| names.join("/");
    prop_oneof![6 => prop::collection::vec("[a-c]", 1..4).prop_map(join), 1 => prop::collection::vec(names(), 0..7).prop_map(join)]
}

/// A command that is nearly right.
fn commands() -> impl Strategy<Value = (u16, Vec<(A, Vec<u8>)>)> {
    let code = prop_oneof![
        4 => Just(3u16), 4 => Just(4u16), 3 => Just(9u16), 6 => Just(15u16), 2 => Just(16u16), 2 => Just(17u16),
        1 => Just(18u16), 1 => Just(19u16), 1 => Just(20u16), 1 => Just(24u16), 2 => Just(25u16), 1 => 0u16..30
    ];
    let number = prop_oneof![4 => 0u64..200, 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => 0u64..(1 << 20)];
    let numbers = prop::collection::vec(number, 4);
    (code, paths(), paths(), numbers, prop::collection::vec(any::<u8>(), 0..300), 0u32..5).prop_map(
        |(code, path, to, numbers, data, small)| {
            let mut attributes = vec![(A::Path, path.into_bytes())];
            let mut add = |attribute, value: &[u8]| attributes.push((attribute, value.to_vec()));
            let bytes = |i: usize| numbers[i].to_le_bytes();
            match code {
                9 => add(A::PathTo, to.as_bytes()),
                16 => {
                    add(A::ClonePath, to.as_bytes());
                    add(A::CloneUuid, &[7; 16]);
                    add(A::CloneCtransid, &1u64.to_le_bytes());
                    add(A::CloneOffset, &bytes(0));
                    add(A::CloneLength, &bytes(1));
                    add(A::FileOffset, &bytes(2));
                }
                17 => add(A::Size, &bytes(0)),
                18 => add(A::Mode, &(0o600 | numbers[0] & 0o44).to_le_bytes()),
                25 => {
                    add(A::FileOffset, &bytes(0));
                    add(A::UnencodedFileLength, &bytes(1));
                    add(A::UnencodedLength, &bytes(2));
                    add(A::UnencodedOffset, &bytes(3));
                    add(A::Compression, &small.to_le_bytes());
                }
                _ => add(A::FileOffset, &bytes(0)),
            }
            attributes.push((A::Data, data));
            (code, attributes)
        },
    )
}

/// A command and its attributes.
type Command = (u16, Vec<(A, Vec<u8>)>);

fn stream(version: u32, commands: &[Command]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), version).unwrap();
    encoder.subvolume("x", &[7; 16]).unwrap();
    for folder in ["a", "b"] {
        encoder.folder(folder).unwrap();
    }
    encoder.file("c", &b"content"[..]).unwrap();
    for (code, attributes) in commands {
        let attributes: Vec<_> = attributes.iter().map(|(attribute, value)| (*attribute, &value[..])).collect();
        encoder.command(Code(*code), &attributes).unwrap();
    }
    encoder.end().unwrap()
}

/// The streams that fuzzing begins with: ours, and what `btrfs send` makes of every kind of file.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/gate");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// How many cases: more with `OP_DBUS_CASES`, for who has the time.
fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("OP_DBUS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), version in 0u32..4) {
        prop_assert!(outcome(&bytes).is_err());
        let header = [&b"btrfs-stream\0"[..], &version.to_le_bytes(), &bytes].concat();
        prop_assert!(outcome(&header).is_err());
    }

    #[test]
    fn nearly_right_commands_do_no_harm(version in 1u32..3, commands in prop::collection::vec(commands(), 0..12)) {
        // Each by itself is more often right than all together.
        let _ = outcome(&stream(version, &commands));
        let right: Vec<_> = commands.into_iter().filter(|command| outcome(&stream(version, std::slice::from_ref(command))).is_ok()).collect();
        let _ = outcome(&stream(version, &right));
    }

    /// Real streams with commands taken out, done twice, exchanged, and bytes of them changed; every checksum fits.
    #[test]
    fn real_streams_that_were_changed_do_no_harm(
        seed in 0usize..4,
        moves in prop::collection::vec((0usize..1000, 0usize..1000, 0u8..4), 0..4),
        bytes in prop::collection::vec((0usize..100_000, any::<u8>()), 0..6),
    ) {
        let seeds = seeds();
        let seed = &seeds[seed % seeds.len()];
        let places = commands_of(seed);
        let mut commands: Vec<Vec<u8>> = places.windows(2).map(|at| seed[at[0]..at[1]].to_vec()).collect();
        for (a, b, what) in moves {
            let (a, b) = (a % commands.len(), b % commands.len());
            match what {
                0 if commands.len() > 2 => drop(commands.remove(a)),
                1 => commands.insert(b, commands[a].clone()),
                _ => commands.swap(a, b),
            }
        }
        for (at, byte) in bytes {
            // Half of them in the headers: lengths, codes, kinds of attributes.
            let count = commands.len();
            let command = &mut commands[at % count];
            let reach = if at % 2 == 0 { command.len() } else { command.len().min(16) };
            command[(at / count) % reach] = byte;
        }
        commands.iter_mut().for_each(|command| with_checksum(command));
        let _ = outcome(&[&seed[..17], &commands.concat()].concat());
    }

    #[test]
    fn a_changed_bit_is_noticed(at in 0usize..800, bit in 0u8..8) {
        let mut bytes = stream(1, &[]);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        // The version is the one thing that no checksum covers.
        if let Ok(memory) = outcome(&bytes) {
            prop_assert!((13..17).contains(&at), "byte {at} changed to {memory:?}");
        }
    }

}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_folder_comes_back_as_it_was(files in prop::collection::btree_map("[a-e]{1,3}(/[f-j]{1,3}){0,3}", prop::collection::vec(any::<u8>(), 0..60_000), 0..6)) {
        let folder = tempfile::tempdir().unwrap();
        let mut written = BTreeMap::new();
        for (path, content) in &files {
            let full = folder.path().join(path);
            if std::fs::create_dir_all(full.parent().unwrap()).is_ok() && std::fs::write(&full, content).is_ok() {
                written.insert(path.clone(), content.clone());
            }
        }
        let contents = Contents::of_folder(folder.path(), LIMITS).unwrap();
        let bytes = contents.encode("x@v1.0.0", Vec::new()).unwrap();
        let memory = outcome(&bytes).unwrap();
        let got: BTreeMap<_, _> = memory.0.iter().filter_map(|(p, c)| Some((p.clone(), c.clone()?))).collect();
        prop_assert_eq!(got, written);
        prop_assert_eq!(Contents::of_memory(&memory).digest(), contents.digest());
    }
}

#[test]
fn the_seeds_pass() {
    assert_eq!(seeds().len(), 4);
    for seed in seeds() {
        assert!(outcome(&seed).unwrap().file("plugin.toml").is_some());
        // Taken apart and put together again it is the same.
        let places = commands_of(&seed);
        assert_eq!(places.last(), Some(&seed.len()));
        let mut again = seed[..17].to_vec();
        for at in places.windows(2) {
            let mut command = seed[at[0]..at[1]].to_vec();
            with_checksum(&mut command);
            again.extend(command);
        }
        assert!(again == seed);
    }
}

#[test]
fn a_stream_that_is_cut_off_anywhere_is_refused() {
    let bytes = stream(1, &[]);
    for end in 0..bytes.len() {
        let why = outcome(&bytes[..end]).unwrap_err();
        assert!(why.contains("cut off") || why.contains("no btrfs send stream"), "{end}: {why}");
    }
    assert!(outcome(&bytes).is_ok());
    assert!(outcome(&[&bytes[..], &bytes].concat()).is_err());
    assert!(outcome(&[&bytes[..], b"x"].concat()).is_err());
}

/// Found by thirty thousand cases: the folder was not made longer, and the memory was.
#[test]
fn nothing_written_behind_the_end_is_nothing() {
    let far = 173u64.to_le_bytes();
    let memory =
        outcome(&stream(1, &[(15, vec![(A::Path, b"c".into()), (A::FileOffset, far.into()), (A::Data, vec![])])]));
    assert_eq!(memory.unwrap().file("c"), Some(&b"content"[..]));
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let begin = &stream(1, &[])[..17];
    for length in [u32::MAX, 0xffff_fff0, 1 << 30, (256 << 10) + 1] {
        let why = outcome(&[begin, &length.to_le_bytes(), &[3, 0, 0, 0, 0, 0]].concat()).unwrap_err();
        assert!(why.contains("is the most"), "{why}");
    }
    let why = outcome(&[begin, &(256u32 << 10).to_le_bytes(), &[3, 0, 0, 0, 0, 0]].concat()).unwrap_err();
    assert!(why.contains("cut off"), "{why}");
}

#[test]
fn what_could_be_in_no_package_is_refused_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("fine"), "text").unwrap();
    let fine = Contents::of_folder(folder.path(), LIMITS).unwrap();
    assert_eq!(fine.entries().len(), 1);
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    std::fs::write(at("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(at("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(at("line\nbreak"), "").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::fs::create_dir_all(at("1/2/3/4/5/6")).unwrap();
    let error = Contents::of_folder(folder.path(), LIMITS).unwrap_err();
    let text = error.to_string();
    for part in ["a symbolic link", "executable", "'\\n'", "a named pipe", "deeper than 5"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(error.also.len(), 4, "{text}");
    assert!(Contents::of_folder(Path::new("/nonexistent"), LIMITS).is_err());
}

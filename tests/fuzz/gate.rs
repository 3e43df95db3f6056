//! The gate under libFuzzer: whatever the bytes are, the answer is a tree within the limits or a refusal, the same in memory
//! and in a folder, and nothing lies beside the folder. The checksum of each command is put right first, so that what
//! the fuzzer changes gets past it. `run.sh` says how to run it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use op_dbus::base::Kind;
use op_dbus::package::contents::Contents;
use op_dbus::package::stream::{Folder, Limits, Memory, unpack};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

const LIMITS: Limits =
    Limits { bytes: 1 << 20, entries: 64, depth: 5, name_bytes: 32, commands: 2000, time: Duration::from_secs(20) };

/// Made once: a folder of a folder, in memory if `TMPDIR` is.
static OUTSIDE: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

fuzz_target!(|data: &[u8]| {
    let bytes = with_checksums(data);
    let mut memory = Memory::default();
    let first = unpack(&bytes[..], LIMITS, &mut memory);
    let inside: PathBuf = OUTSIDE.path().join("in");
    std::fs::create_dir(&inside).expect("the folder is free");
    let second = unpack(&bytes[..], LIMITS, &mut Folder::open(&inside).expect("it opens"));
    assert_eq!(std::fs::read_dir(OUTSIDE.path()).expect("it is read").count(), 1, "nothing outside");
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second);
            let total: u64 = first.tree.values().flatten().sum();
            assert!(total <= LIMITS.bytes && first.tree.len() <= LIMITS.entries);
            let read = Contents::of_folder(&inside, LIMITS).expect("what passed the gate is a plugin's tree");
            assert_eq!(read.entries(), Contents::of_memory(&memory).entries());
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.kind, Kind::Untrusted, "{first}");
            assert_eq!(first, second);
        }
        (first, second) => panic!("{first:?} in memory, {second:?} in a folder"),
    }
    std::fs::remove_dir_all(&inside).expect("it goes");
});

/// The same stream, each command with the checksum that fits it.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 17;
    while let Some(header) = bytes.get(at..at + 10) {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(end) = at.checked_add(10 + length).filter(|end| *end <= bytes.len()) else { break };
        bytes[at + 6..at + 10].fill(0);
        let sum = crc32c(&bytes[at..end]);
        bytes[at + 6..at + 10].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    bytes
}

/// As btrfs has it: without the first and the last inversion.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

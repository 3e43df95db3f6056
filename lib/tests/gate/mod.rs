//! What the gate is tried with, by `streams.rs` and by `tests/fuzz`: what must hold of any stream, and what makes the
//! checksums of a changed one fit.

use op_dbus::base::Kind;
use op_dbus::package::contents::Contents;
use op_dbus::package::stream::{Folder, Limits, Memory, unpack};
use std::time::Duration;

/// Small, so that what is beyond them is met often.
pub const LIMITS: Limits =
    Limits { bytes: 1 << 20, entries: 64, depth: 5, name_bytes: 32, commands: 2000, time: Duration::from_secs(20) };

/// Unpacks in memory and in a folder: both say the same, and nothing lies beside the folder.
pub fn outcome(bytes: &[u8]) -> Result<Memory, String> {
    let mut memory = Memory::default();
    let first = unpack(bytes, LIMITS, &mut memory);
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    let second = unpack(bytes, LIMITS, &mut Folder::open(&inside).unwrap());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "nothing outside");
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second);
            let total: u64 = first.tree.values().flatten().sum();
            assert!(total <= LIMITS.bytes && first.tree.len() <= LIMITS.entries);
            let read = Contents::of_folder(&inside, LIMITS).unwrap();
            assert_eq!(read.entries(), Contents::of_memory(&memory).entries());
            Ok(memory)
        }
        (Err(first), Err(second)) => {
            assert_eq!(first.kind, Kind::Untrusted, "{first}");
            assert_eq!(first, second);
            Err(first.to_string())
        }
        (first, second) => panic!("{first:?} in memory, {second:?} in a folder"),
    }
}

/// Where the commands of a stream begin, and its end.
pub fn commands_of(stream: &[u8]) -> Vec<usize> {
    let mut places = vec![17];
    while let Some(length) = stream.get(places[places.len() - 1]..).and_then(|rest| rest.first_chunk::<4>()) {
        places.push(places[places.len() - 1] + 10 + u32::from_le_bytes(*length) as usize);
    }
    places
}

/// Puts the checksum of the command at `at` right, as btrfs has it: without the first and the last inversion.
pub fn with_checksum(command: &mut [u8]) {
    let Some(sum) = command.get_mut(6..10) else { return };
    sum.fill(0);
    let sum = command.iter().fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    });
    command[6..10].copy_from_slice(&sum.to_le_bytes());
}

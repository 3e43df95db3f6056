//! Streams that are led by what they reach in the gate: whatever the bytes are, the answer is a tree within the limits or a
//! refusal, and a tree in a folder is the same as in memory.

#![no_main]

#[path = "../../lib/tests/gate/mod.rs"]
mod gate;

use gate::{commands_of, outcome, with_checksum};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| {
    let _ = outcome(bytes);
});

// Hardly a change would pass the checksums. One in eight keeps what it has.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if seed % 8 != 0 {
        let data = &mut data[..size];
        for at in commands_of(data).windows(2) {
            if let Some(command) = data.get_mut(at[0]..at[1].min(size)) {
                with_checksum(command);
            }
        }
    }
    size
});

//! What writing and verifying a trail costs, without what starting a program costs: for `tests/bench/audit.sh`.
//!
//! ```text
//! op-dbus-trail blocks ROOT N           one durable block beside creating, writing and syncing one file and its folder
//! op-dbus-trail grouped ROOT N          N records of 300 bytes, a hundred a block
//! op-dbus-trail verify ROOT N           N blocks of a hundred entries, verified
//! op-dbus-trail stream ROOT MIB [MB/S]  so many MiB in blocks of one, at most so fast
//! op-dbus-trail plain FILE MIB [MB/S]   the same bytes by plain writes
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool of the bench")]

use op_dbus::audit::block::Kind;
use op_dbus::audit::chain::{Chain, Draft};
use op_dbus::audit::{Actor, verify};
use op_dbus::store::StateRoot;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// A record of 300 bytes as it lies in the block.
fn record(number: u64) -> Value {
    json!({"event": {"number": number, "text": "x".repeat(246)}, "source": "bench"})
}

fn append(chain: &Chain, entries: Vec<Value>) {
    let (actor, program) = (Actor::default(), "bench 1".into());
    chain.append(Draft { kind: Kind::Events, run: None, actor, program, detail: None, entries }).unwrap();
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Goes on when so many MiB may have been written.
fn keep_to(begun: Instant, mib: u64, rate: Option<f64>) {
    let due = rate.map(|rate| Duration::from_secs_f64((mib << 20) as f64 / rate / 1e6));
    std::thread::sleep(due.unwrap_or_default().saturating_sub(begun.elapsed()));
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [command, place, count, ..] = &args[..] else { panic!("see the head of this program's source") };
    let (place, count): (&Path, u64) = (Path::new(place), count.parse().unwrap());
    let rate: Option<f64> = args.get(3).map(|text| text.parse().unwrap());
    let chain = || Chain::open(&StateRoot::find(Some(place)).unwrap()).unwrap();
    let said = match command.as_str() {
        "blocks" => {
            let chain = chain();
            append(&chain, vec![record(0)]);
            let bytes = std::fs::read(chain.file(1)).unwrap();
            let (mut floor, mut blocks) = (Vec::new(), Vec::new());
            for number in 0..count {
                let begun = Instant::now();
                let path = place.join(format!("floor-{number}"));
                let mut file = File::create(&path).unwrap();
                file.write_all(&bytes).unwrap();
                file.sync_all().unwrap();
                File::open(place).unwrap().sync_all().unwrap();
                floor.push(begun.elapsed());
                let begun = Instant::now();
                append(&chain, vec![record(number)]);
                blocks.push(begun.elapsed());
            }
            json!({"floor_us": median(&mut floor), "block_us": median(&mut blocks)})
        }
        "grouped" => {
            let chain = chain();
            let begun = Instant::now();
            for block in 0..count / 100 {
                append(&chain, (0..100).map(|at| record(100 * block + at)).collect());
            }
            json!({"per_second": count as f64 / begun.elapsed().as_secs_f64()})
        }
        "verify" => {
            let chain = chain();
            for block in chain.last()..count {
                append(&chain, (0..100).map(|at| json!({"n": 100 * block + at})).collect());
            }
            let begun = Instant::now();
            let verdict = verify::verify(&chain, &[], &mut |_, _| {}).unwrap();
            let took = begun.elapsed();
            json!({"valid": verdict.is_valid, "entries": verdict.entries, "ms": took.as_secs_f64() * 1e3})
        }
        "stream" => {
            let chain = chain();
            let begun = Instant::now();
            for mib in 0..count {
                append(&chain, (0..64).map(|_| json!("x".repeat(16 << 10))).collect());
                keep_to(begun, mib + 1, rate);
            }
            json!({"mb_per_second": (count << 20) as f64 / 1e6 / begun.elapsed().as_secs_f64()})
        }
        "plain" => {
            let mut file = File::create(place).unwrap();
            let bytes = vec![b'x'; 1 << 20];
            let begun = Instant::now();
            for mib in 0..count {
                file.write_all(&bytes).unwrap();
                keep_to(begun, mib + 1, rate);
            }
            file.sync_all().unwrap();
            json!({"mb_per_second": (count << 20) as f64 / 1e6 / begun.elapsed().as_secs_f64()})
        }
        other => panic!("{other}: see the head of this program's source"),
    };
    println!("{said}");
}

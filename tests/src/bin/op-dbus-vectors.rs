//! Drives the cache of vectors and the search from outside, on vectors made from a seed: for measuring and for breaking.
//!
//! `op-dbus-vectors COMMAND FOLDER ...` prints JSON, one document a line. Commands:
//! `fill TYPE FROM TO BATCH` saves texts FROM..TO, `read TYPE FROM TO ROUNDS` times hits in a random order,
//! `check TYPE FROM TO` looks at every answer, `writer TYPE FROM BATCH` saves until it is killed,
//! `verify [repair]`, `gc [BYTES]`,
//! `place STRATEGY` warms it and looks where its pages are, `topology` reads the folder as /sys,
//! `documents COUNT` adds documents, `search COUNT QUERIES` times searches and compares them with a slow one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is its purpose")]
#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "statistics")]

use op_dbus::embed::cache::{Cache, Collect, Key, Keys, Options, Warm};
use op_dbus::embed::codec::{VectorType, round_trip};
use op_dbus::embed::search::{Access, Document, Documents, Filter};
use op_dbus::numa::{Machine, Plan, Strategy, Topology, Wishes};
use op_dbus::store::file::Durability;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const DIM: usize = 384;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Roughly normal, around 0.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let part = |i: u32| (bits >> (16 * i) & 0xffff) as f32 / 65_536.0;
        part(0) + part(1) + part(2) + part(3) - 2.0
    }
}

/// A vector of length 1 that belongs to text number `i`.
fn vector(i: u64) -> Vec<f32> {
    let mut random = Random(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next();
    let mut numbers: Vec<f32> = (0..DIM).map(|_| random.normal()).collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter_mut().for_each(|x| *x /= length);
    numbers
}

/// Of 58 bytes, as a line of an audit trail may be.
fn text(i: u64) -> String {
    format!("Creating container {i:010} on node pve1 from golden image")
}

fn keys(kind: VectorType) -> Keys {
    let digest = "0123456789abcdef".repeat(4);
    Keys::new(&digest, &digest, "mean", true, kind)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let kind = |i: usize| VectorType::parse(args.get(i).map_or("", String::as_str)).unwrap();
    let folder = Path::new(args.get(1).map_or("", String::as_str));
    let said = match args.first().map(String::as_str) {
        Some("fill") => fill(folder, kind(2), number(3)..number(4), number(5).max(1)),
        Some("read") => read(folder, kind(2), number(3)..number(4), number(5).max(1)),
        Some("check") => check(folder, kind(2), number(3)..number(4)),
        Some("writer") => writer(folder, kind(2), number(3), number(4).max(1)),
        Some("verify") => {
            let cache = Cache::open(folder, options()).unwrap();
            serde_json::to_value(cache.verify(args.len() > 2).unwrap()).unwrap()
        }
        Some("gc") => {
            let cache = Cache::open(folder, options()).unwrap();
            let wishes = Collect { max_bytes: (args.len() > 2).then(|| number(2)), ..Collect::default() };
            serde_json::to_value(cache.collect(&wishes).unwrap()).unwrap()
        }
        Some("place") => place(folder, args.get(2).map_or("local", String::as_str)),
        Some("topology") => {
            let machine = Machine { sys: folder.to_owned(), ..Machine::default() };
            serde_json::to_value(Topology::read(&machine)).unwrap()
        }
        Some("documents") => documents(folder, number(2)),
        Some("search") => search(folder, number(2), number(3).max(1)),
        _ => {
            eprintln!("usage: op-dbus-vectors fill|read|check|writer|verify|gc|documents|search FOLDER ...");
            std::process::exit(64);
        }
    };
    println!("{said}");
}

fn options() -> Options {
    let durability = if std::env::var_os("NO_SYNC").is_some() { Durability::Cache } else { Durability::Durable };
    Options { durability, ..Options::default() }
}

fn save(
    cache: &Cache,
    keys: &Keys,
    numbers: std::ops::Range<u64>,
) -> op_dbus::base::Result<op_dbus::embed::cache::Saved> {
    let vectors: Vec<_> = numbers.clone().map(vector).collect();
    let batch: Vec<_> = numbers.zip(&vectors).map(|(i, v)| (keys.of(&text(i)), v.as_slice(), 2_500_000)).collect();
    cache.put(&batch)
}

fn fill(folder: &Path, kind: VectorType, numbers: std::ops::Range<u64>, batch: u64) -> Value {
    let cache = Cache::open(folder, options()).unwrap();
    let (keys, begun) = (keys(kind), Instant::now());
    let mut times = Vec::new();
    let (mut saved, mut spans) = (0, [0; 5]);
    for from in numbers.clone().step_by(batch as usize) {
        let begun = Instant::now();
        let one = match save(&cache, &keys, from..numbers.end.min(from + batch)) {
            Ok(one) => one,
            Err(error) => return json!({"error": error.to_string(), "saved": saved}),
        };
        times.push(begun.elapsed().as_nanos() as u64);
        saved += one.saved;
        let parts = [one.lock_ns, one.write_ns, one.sync_ns, one.commit_ns, one.index_ns];
        spans.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }
    let of = times.len() as u64;
    json!({"saved": saved, "seconds": begun.elapsed().as_secs_f64(), "batches": of, "us": percentiles(&mut times),
        "mean_us": {"lock": spans[0] / of / 1000, "write": spans[1] / of / 1000, "sync": spans[2] / of / 1000,
            "commit": spans[3] / of / 1000, "index": spans[4] / of / 1000}})
}

fn percentiles(ns: &mut [u64]) -> Value {
    ns.sort_unstable();
    let at = |share: f64| ns[((ns.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)})
}

/// Hits in a random order, the digest of the key and the copy included.
fn read(folder: &Path, kind: VectorType, numbers: std::ops::Range<u64>, rounds: u64) -> Value {
    let opened = Instant::now();
    let cache = Cache::open(folder, options()).unwrap();
    let open_us = opened.elapsed().as_secs_f64() * 1e6;
    let (keys, count) = (keys(kind), numbers.end - numbers.start);
    let mut random = Random(42);
    let texts: Vec<String> = (0..rounds).map(|_| text(numbers.start + random.next() % count)).collect();
    let mut out = vec![0.0; DIM];
    let mut hits = 0;
    for text in &texts {
        hits += u64::from(cache.get(&keys.of(text), &mut out).unwrap().is_some());
    }
    assert_eq!(hits, rounds, "every one must be a hit");
    let mut times = Vec::with_capacity(texts.len());
    for text in &texts {
        let begun = Instant::now();
        let hit = cache.get(&keys.of(text), &mut out).unwrap();
        times.push(begun.elapsed().as_nanos() as u64);
        assert!(hit.is_some());
    }
    // Of ten parts the one in the middle: what else the machine does in between is not the cache's.
    let mut parts: Vec<f64> = texts
        .chunks(texts.len().div_ceil(10))
        .map(|part| {
            let begun = Instant::now();
            for text in part {
                std::hint::black_box(cache.get(&keys.of(text), &mut out).unwrap());
            }
            part.len() as f64 / begun.elapsed().as_secs_f64()
        })
        .collect();
    parts.sort_by(f64::total_cmp);
    let per_s = parts[parts.len() / 2];
    json!({"hits": hits, "open_us": open_us, "us": percentiles(&mut times), "per_second": per_s as u64})
}

/// Every answer is the right vector or none.
fn check(folder: &Path, kind: VectorType, numbers: std::ops::Range<u64>) -> Value {
    let cache = Cache::open(folder, Options { may_write: false, ..options() }).unwrap();
    let keys = keys(kind);
    let (mut hits, mut wrong, mut out) = (0, 0, vec![0.0; DIM]);
    for i in numbers {
        let key: Key = keys.of(&text(i));
        if cache.get(&key, &mut out).unwrap().is_some() {
            let mut right = vector(i);
            round_trip(kind, &mut right);
            hits += 1;
            wrong += u64::from(right != out);
        }
    }
    json!({"hits": hits, "wrong": wrong, "problems": cache.take_problems()})
}

/// Saves batch after batch, and says after each how far it is.
fn writer(folder: &Path, kind: VectorType, from: u64, batch: u64) -> Value {
    let (cache, keys) = (Cache::open(folder, options()).unwrap(), keys(kind));
    let mut from = from;
    loop {
        if let Err(error) = save(&cache, &keys, from..from + batch) {
            return json!({"error": error.to_string(), "saved": from});
        }
        from += batch;
        println!("{from}");
    }
}

/// Warms all of it where the strategy says, reads it from there, and looks where its pages are by `numa_maps`.
fn place(folder: &Path, strategy: &str) -> Value {
    let topology = Topology::read(&Machine::default());
    let wishes = Wishes { strategy: Strategy::parse(strategy).unwrap(), ..Wishes::default() };
    let plan = Plan::here(&topology, &wishes).unwrap();
    let cache = Cache::open(folder, options()).unwrap();
    let warm = Warm { budget_bytes: 1 << 30, locks: false, plan: Some(&plan), should_stop: &|| false };
    let warmed = cache.warm(&warm).unwrap();
    let copied = if plan.replicas.is_empty() { Vec::new() } else { cache.copy_hot(&topology, &plan, 1 << 30).unwrap() };
    // A reader of its own, put where the plan says.
    let (cpu, hits) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let _ = plan.take(0);
            let (keys, mut out) = (keys(VectorType::F16), vec![0.0; DIM]);
            let hits = (0..4_000).filter(|i| cache.get(&keys.of(&text(*i)), &mut out).unwrap().is_some()).count();
            (rustix::thread::sched_getcpu(), hits)
        });
        reader.join().unwrap()
    });
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap_or_default();
    let mut pages = std::collections::BTreeMap::<String, u64>::new();
    for line in maps.lines().filter(|line| line.contains(".seg")) {
        for (node, count) in line.split(' ').filter_map(|word| word.strip_prefix('N')?.split_once('=')) {
            *pages.entry(format!("N{node}")).or_default() += count.parse::<u64>().unwrap_or(0);
        }
    }
    json!({"plan": plan, "warmed": warmed, "copied": copied, "copies": cache.copies_spread(), "numa_maps": pages,
        "read_on_cpu": cpu, "hits": hits})
}

/// Clustered, as texts are: a hundred kinds of lines and what differs between them.
fn document(i: u64) -> Document {
    let vector: Vec<f32> = vector(i).iter().zip(vector(1_000_000_007 + i % 100)).map(|(x, c)| x + c).collect();
    let metadata = json!({"host": format!("web{}", i % 10), "severity": i % 8});
    Document { id: format!("d{i}"), text: text(i), metadata, vector }
}

fn documents(folder: &Path, count: u64) -> Value {
    let begun = Instant::now();
    let mut stored = Documents::open(folder, "model", DIM, Access::Write).unwrap();
    for from in (0..count).step_by(10_000) {
        let batch: Vec<_> = (from..count.min(from + 10_000)).map(document).collect();
        stored.add(&batch).unwrap();
    }
    json!({"documents": stored.len(), "seconds": begun.elapsed().as_secs_f64()})
}

fn search(folder: &Path, count: u64, queries: u64) -> Value {
    let begun = Instant::now();
    let mut stored = Documents::open(folder, "model", DIM, Access::Read).unwrap();
    let open_us = begun.elapsed().as_secs_f64() * 1e6;
    let query = |i: u64| {
        // Half of them are near a document, half are near a kind of line.
        let (a, b) = (vector(2_000_000_011 + i), document(i * 7919 % count).vector);
        let weight = if i.is_multiple_of(2) { 0.3 } else { 1.0 };
        a.iter().zip(b).map(|(a, b)| a * weight + b).collect::<Vec<f32>>()
    };
    let begun = Instant::now();
    stored.search(&query(0), 10, &Filter::default()).unwrap();
    let first_us = begun.elapsed().as_secs_f64() * 1e6;
    let mut times = Vec::new();
    let (mut scan, mut rank, mut ranked, mut is_exact) = (0, 0, 0, true);
    for i in 0..queries {
        let query = query(i);
        let begun = Instant::now();
        let found = stored.search(&query, 10, &Filter::default()).unwrap();
        times.push(begun.elapsed().as_nanos() as u64);
        scan += found.scan_ns;
        rank += found.rank_ns;
        ranked += found.ranked;
        is_exact &= found.is_exact;
    }
    // The slow way, on the vectors as they were given: f32 and nothing left out.
    let checked = queries.min(20);
    let wanted: Vec<_> = (0..checked).map(query).collect();
    let mut best: Vec<Vec<(f32, u64)>> = vec![Vec::new(); wanted.len()];
    for i in 0..count {
        let document = document(i).vector;
        let length = document.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (query, best) in wanted.iter().zip(&mut best) {
            let score = query.iter().zip(&document).map(|(a, b)| a * b).sum::<f32>() / length;
            if best.len() < 10 || score > best[9].0 {
                best.push((score, i));
                best.sort_by(|a, b| b.0.total_cmp(&a.0));
                best.truncate(10);
            }
        }
    }
    let mut right = 0;
    for (query, best) in wanted.iter().zip(&best) {
        let found = stored.search(query, 10, &Filter::default()).unwrap();
        right += best.iter().filter(|(_, i)| found.matches.iter().any(|m| m.id == format!("d{i}"))).count();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    json!({"open_us": open_us, "first_us": first_us, "us": percentiles(&mut times), "scan_us": scan / queries / 1000,
        "rank_us": rank / queries / 1000, "ranked": ranked as u64 / queries, "is_exact": is_exact,
        "recall": right as f64 / (10.0 * checked as f64), "peak": rss})
}

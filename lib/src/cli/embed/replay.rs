//! A replayed trace: how much of what a day asks for is in memory at its beginning, with and without predictive warming.

use crate::base::{Error, Result};
use crate::embed::cache::{Cache, Keys, Options, Warm};
use crate::embed::codec::VectorType;
use crate::embed::documents::Layer;
use crate::store::file::Durability;
use crate::store::stream::{Stream, drop_pages};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::path::Path;
use std::time::Instant;

const TEXTS: usize = 40_000;
const A_DAY: usize = 2_000;
const DAYS: usize = 5;
const DIMENSION: usize = 384;
/// About what a day's vectors take, each with the pages around it.
const BUDGET: u64 = 16 << 20;
const DAY_S: u64 = 86_400;
/// Bytes that are written to see what stays of them.
const WRITTEN: usize = 32 << 20;
/// Any time will do; this one is in 2023.
const BEGIN_S: u64 = 1_700_000_000;

/// What a day asks for: four fifths of it what the day before asked for.
fn asked(day: usize) -> impl Iterator<Item = usize> {
    (0..A_DAY).map(move |at| if at % 5 == 0 { (day * 7_919 + at * 31) % TEXTS } else { 17 * at })
}

/// Replays some days in a cache of its own at `folder`, and looks at the next one.
pub(super) fn warming(folder: &Path) -> Result<Layer> {
    let layer = |ratio, what| Layer { layer: "predictive warming", ratio, what, founding: "in advance" };
    let any = "0123456789abcdef".repeat(4);
    let keys = Keys::new(&any, &any, "mean", true, VectorType::F16);
    let key = |at: usize| keys.of(&format!("Creating container {at}"));
    let open = |day: usize, durability| {
        let now_s = Some(BEGIN_S + day as u64 * DAY_S);
        Cache::open(folder, Options { durability, now_s, ..Options::default() })
    };
    let cache = open(0, Durability::Durable)?;
    let vector = |at: usize| (0..DIMENSION).map(|i| ((at * 31 + i * 17) % 251) as f32 / 251.0).collect::<Vec<f32>>();
    for from in (0..TEXTS).step_by(10_000) {
        let vectors: Vec<_> = (from..from + 10_000).map(|at| (key(at), vector(at))).collect();
        let batch: Vec<_> = vectors.iter().map(|(key, vector)| (*key, vector.as_slice(), 1)).collect();
        cache.put(&batch)?;
    }
    drop(cache);
    let mut out = vec![0.0; DIMENSION];
    for day in 1..=DAYS {
        let cache = open(day, Durability::Cache)?;
        for at in asked(day) {
            cache.get(&key(at), &mut out)?;
        }
    }
    forget(folder);
    let next = || Cache::open(folder, Options { may_write: false, ..Options::default() });
    let resident = |cache: &Cache| asked(DAYS + 1).filter(|&at| cache.is_resident(&key(at)).unwrap_or(false)).count();
    let mut read = |cache: &Cache| -> Result<f64> {
        let begun = Instant::now();
        for at in asked(DAYS + 1) {
            cache.get(&key(at), &mut out)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    let cache = next()?;
    let without = resident(&cache);
    if without > A_DAY / 2 {
        return Ok(layer(None, "not measurable here: the kernel keeps these files in memory anyway".into()));
    }
    let without_s = read(&cache)?;
    drop(cache);
    forget(folder);
    let cache = open(DAYS + 1, Durability::Cache)?;
    cache.warm(&Warm { budget_bytes: BUDGET, locks: false, plan: None, should_stop: &|| false })?;
    let with = resident(&cache);
    let with_s = read(&cache)?;
    let share = |count: usize| count as f64 / A_DAY as f64 * 100.0;
    let what = format!(
        "a day of a replayed trace, read in {:.1} ms without it and {:.1} ms with it: {:.0} % and {:.0} % of what is \
         asked for were in memory ({} MB)",
        without_s * 1e3,
        with_s * 1e3,
        share(without),
        share(with),
        BUDGET >> 20
    );
    Ok(layer(Some(without_s / with_s), what))
}

/// Asks the kernel to forget the vectors' pages; where it keeps them, that is seen.
fn forget(folder: &Path) {
    for entry in std::fs::read_dir(folder.join("vectors")).into_iter().flatten().flatten() {
        if let Ok(file) = File::open(entry.path()) {
            let _ = drop_pages(&file, 0, 0);
        }
    }
}

/// What writing leaves in memory, plainly and as the cache writes: what others had there had to go for it.
pub(super) fn isolation(folder: &Path) -> Result<Layer> {
    let layer = |what| Layer { layer: "streaming isolation", ratio: None, what, founding: "+10%" };
    let attempt = |e: &std::io::Error| Error::io("measure what writing leaves in memory", folder, e);
    let block = vec![7; WRITTEN / 32];
    let write = |name: &str, is_stream: bool| -> std::io::Result<f64> {
        let path = folder.join(name);
        let mut file = File::create_new(&path)?;
        if is_stream {
            let mut stream = Stream::new(file, 0);
            (0..32).try_for_each(|_| stream.write_all(&block))?;
            stream.finish()?;
        } else {
            (0..32).try_for_each(|_| file.write_all(&block))?;
            file.sync_data()?;
        }
        resident_share(&File::open(path)?)
    };
    let (plain, ours) =
        (write("plain", false).map_err(|e| attempt(&e))?, write("stream", true).map_err(|e| attempt(&e))?);
    Ok(layer(format!(
        "not measurable here as a ratio: it shows when memory is short. Of {} MB written, {:.0} % stay in memory after \
         plain writes and {:.0} % after these",
        WRITTEN >> 20,
        plain * 100.0,
        ours * 100.0
    )))
}

/// The share of a file's pages that are read without asking the disk.
fn resident_share(file: &File) -> std::io::Result<f64> {
    let pages = WRITTEN / 4096;
    let mut byte = [0];
    let mut resident = 0;
    for page in (0..pages).step_by(16) {
        let flags = ReadWriteFlags::NOWAIT;
        match preadv2(file, &mut [IoSliceMut::new(&mut byte)], page as u64 * 4096, flags) {
            Ok(_) => resident += 1,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(f64::from(resident) / (pages / 16) as f64)
}

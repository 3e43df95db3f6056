//! A replayed trace: how much of what a day asks for is in memory at its beginning, with and without predictive warming.

use crate::base::Result;
use crate::embed::cache::{Cache, Keys, Options, Warm};
use crate::embed::codec::VectorType;
use crate::embed::documents::Layer;
use crate::store::file::Durability;
use crate::store::stream::drop_pages;
use std::fs::File;
use std::path::Path;

const TEXTS: usize = 40_000;
const A_DAY: usize = 2_000;
const DAYS: usize = 5;
const DIMENSION: usize = 384;
/// About what a day's vectors take, each with the page around it.
const BUDGET: u64 = 8 << 20;
const DAY_S: u64 = 86_400;
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
    for entry in std::fs::read_dir(folder.join("vectors")).into_iter().flatten().flatten() {
        if let Ok(file) = File::open(entry.path()) {
            // Where they stay, that is seen below.
            let _ = drop_pages(&file, 0, 0);
        }
    }
    let cache = open(DAYS + 1, Durability::Cache)?;
    let resident = || asked(DAYS + 1).filter(|&at| cache.is_resident(&key(at)).unwrap_or(false)).count();
    let without = resident();
    if without > A_DAY / 2 {
        return Ok(layer(None, "not measurable here: the kernel keeps these files in memory anyway".into()));
    }
    cache.warm(&Warm { budget_bytes: BUDGET, locks: false, plan: None, should_stop: &|| false })?;
    let with = resident();
    let share = |count: usize| count as f64 / A_DAY as f64 * 100.0;
    let what = format!(
        "of what the next day of a replayed trace asks for, {:.0} % are in memory without it and {:.0} % with it, in {} MB",
        share(without),
        share(with),
        BUDGET >> 20
    );
    Ok(layer(Some(with as f64 / without.max(1) as f64), what))
}

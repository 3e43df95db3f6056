//! Statistics, verification, collection, warming.

use super::cache_tests::{DIM, fast, fill, is_there, key, vector};
use super::*;
use crate::embed::codec::VectorType;
use std::fs;
use std::os::unix::fs::FileExt;

const DAY: u64 = 86_400;

fn at(day: u64) -> Options {
    Options { now_s: Some(1_800_000_000 + day * DAY), ..fast() }
}

fn never() -> Collect {
    Collect { max_bytes: None, compress_from: 2.0 }
}

#[test]
fn what_was_asked_is_counted_over_processes() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    assert_eq!(cache.stats().unwrap().vectors, 0);
    fill(&cache, VectorType::F16, 0..10);
    for i in 0..15 {
        is_there(&cache, VectorType::F16, i);
    }
    drop(cache);
    let cache = Cache::open(folder.path(), fast()).unwrap();
    is_there(&cache, VectorType::F16, 3);
    for _ in 0..2 {
        let stats = cache.stats().unwrap();
        let saved_ns = (0..10).map(|i| 1_000 + i).sum::<u64>() + 1_003;
        assert_eq!(stats.asked, Asked { hits: 11, misses: 5, saved_ns });
        assert_eq!((stats.vectors, stats.f32_bytes, stats.mean_generation_ns), (10, 10 * 4 * DIM as u64, 1_004));
        assert_eq!((stats.resident_share, stats.is_hash_complete), (Some(1.0), true));
        // Counted once, also when the log was added up.
        cache.collect(&never()).unwrap();
    }
    assert!(!folder.path().join("access.log").exists());
}

#[test]
fn verification_finds_what_is_wrong_and_takes_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    assert!(cache.verify(false).unwrap().is_good());
    fill(&cache, VectorType::Int8, 0..100);
    let good = cache.verify(false).unwrap();
    assert!(good.is_good() && good.vectors == 100 && good.whole == 100, "{good:?}");
    let segment = folder.path().join("vectors/00001.seg");
    let file = fs::File::options().write(true).open(&segment).unwrap();
    for slot in [7, 30] {
        file.write_all_at(&[0x99; 3], 4096 + slot * (48 + DIM as u64).next_multiple_of(16) + 50).unwrap();
    }
    let cache = Cache::open(folder.path(), fast()).unwrap();
    let bad = cache.verify(false).unwrap();
    assert_eq!((bad.wrong, bad.whole, bad.problems[1].slot, bad.is_good()), (2, 98, 30, false));
    assert!(cache.verify(true).unwrap().is_repaired);
    let good = cache.verify(false).unwrap();
    assert!(good.is_good() && good.vectors == 98, "{good:?}");
    assert_eq!((0..100).filter(|i| is_there(&cache, VectorType::Int8, *i)).count(), 98);
    assert_eq!(fill(&cache, VectorType::Int8, 0..100).saved, 2);
    // A hash index that leads nowhere is found too.
    fs::write(
        folder.path().join("index.hash"),
        fs::read(folder.path().join("index.hash"))
            .unwrap()
            .iter()
            .enumerate()
            .map(|(i, b)| if i < 4096 { *b } else { 0 })
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    assert_eq!(cache.verify(false).unwrap().not_in_hash, 100);
    cache.verify(true).unwrap();
    assert!(cache.verify(false).unwrap().is_good());
}

#[test]
fn what_is_used_least_is_evicted() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Cache::open(folder.path(), at(0)).unwrap(), VectorType::F32, 0..20_000);
    // The first thousand are used each day, the next thousand once, late.
    for day in 1..8 {
        let cache = Cache::open(folder.path(), at(day)).unwrap();
        let end = if day == 7 { 2_000 } else { 1_000 };
        assert!((0..end).all(|i| is_there(&cache, VectorType::F32, i)));
    }
    let reader = Cache::open(folder.path(), fast()).unwrap();
    assert!(is_there(&reader, VectorType::F32, 19_000));
    let cache = Cache::open(folder.path(), at(8)).unwrap();
    let before = cache.stats().unwrap();
    let max_bytes = before.vector_bytes / 4 + before.index_bytes + before.hash_bytes;
    let done = cache.collect(&Collect { max_bytes: Some(max_bytes), compress_from: 2.0 }).unwrap();
    assert!(done.bytes_after <= max_bytes, "{done:?}");
    assert!(done.evicted > 8_000 && done.dropped == 0 && done.rewritten == 1, "{done:?}");
    assert!((0..2_000).all(|i| is_there(&cache, VectorType::F32, i)));
    let kept = (0..20_000).filter(|i| is_there(&cache, VectorType::F32, *i)).count();
    assert_eq!(kept as u64, 20_000 - done.evicted);
    assert!(cache.verify(false).unwrap().is_good());
    // Who had it open is still answered, with the right vectors.
    assert!((0..2_000).all(|i| is_there(&reader, VectorType::F32, i)));
    // What is used most lies together, at the front.
    let index = cache.index().unwrap();
    let slot = |i| index.find(&key(VectorType::F32, i)).next().unwrap();
    assert!(slot(5).place.slot < 2_000 && slot(5).used.times >= 8, "{:?}", slot(5));
    // Nothing is to be done twice.
    let again = cache.collect(&Collect { max_bytes: Some(max_bytes), compress_from: 2.0 }).unwrap();
    assert_eq!((again.evicted, again.rewritten, again.orphans), (0, 0, 0));
}

#[test]
fn a_bounded_cache_stays_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let bounded = Options { max_bytes: Some(3 << 20), ..fast() };
    let cache = Cache::open(folder.path(), bounded).unwrap();
    for from in (0..60_000).step_by(3_000) {
        fill(&cache, VectorType::F16, from..from + 3_000);
        assert!(cache.bytes() <= 3 << 20, "{} bytes after {from}", cache.bytes());
    }
    let kept = (0..60_000).filter(|i| is_there(&cache, VectorType::F16, *i)).count();
    assert!(kept > 5_000, "{kept}");
    assert!(cache.verify(false).unwrap().is_good());
}

#[test]
fn what_is_nobodys_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    fill(&cache, VectorType::F32, 0..10);
    fs::copy(folder.path().join("vectors/00001.seg"), folder.path().join("vectors/00044.seg")).unwrap();
    assert_eq!(cache.collect(&never()).unwrap().orphans, 1);
    assert!(!folder.path().join("vectors/00044.seg").exists());
    assert!((0..10).all(|i| is_there(&cache, VectorType::F32, i)));
}

#[test]
fn segments_are_compressed_where_it_pays() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    // Sealed: 65,536 records of a kind that repeats itself, and as many that do not.
    let regular: Vec<Vec<f32>> = (0..70_000).map(|i| vec![f32::from(u16::try_from(i % 300).unwrap()); DIM]).collect();
    let batch: Vec<_> = regular.iter().enumerate().map(|(i, v)| (key(VectorType::F32, i), v.as_slice(), 5)).collect();
    cache.put(&batch).unwrap();
    fill(&cache, VectorType::Int8, 0..70_000);
    let reader = Cache::open(folder.path(), fast()).unwrap();
    let mut out = [0.0; DIM];
    assert!(reader.get(&batch[1].0, &mut out).unwrap().is_some());
    let done = cache.collect(&Collect::default()).unwrap();
    let by_type = |name: &str| done.tried.iter().find(|trial| trial.vector_type == name).unwrap().clone();
    assert!(by_type("f32").is_compressed && by_type("f32").zstd_bytes < by_type("f32").plain_bytes / 3, "{done:?}");
    assert!(!by_type("int8").is_compressed, "{done:?}");
    let fresh = Cache::open(folder.path(), fast()).unwrap();
    for i in (0..70_000).step_by(577) {
        for cache in [&cache, &reader, &fresh] {
            assert_eq!(cache.get(&batch[i].0, &mut out).unwrap(), Some(Hit { generation_ns: 5 }));
            assert_eq!(out.as_slice(), regular[i]);
            assert!(is_there(cache, VectorType::Int8, i));
        }
    }
    assert!(cache.stats().unwrap().segments.iter().any(|segment| segment.is_compressed));
    assert!(cache.verify(false).unwrap().is_good());
    assert!(cache.collect(&Collect::default()).unwrap().tried.is_empty(), "it was tried already");
    // A damaged block is a miss, and so is one that is cut off.
    let compressed = cache.stats().unwrap().segments.into_iter().find(|s| s.is_compressed).unwrap();
    let bytes = fs::read(&compressed.file).unwrap();
    fs::remove_file(&compressed.file).unwrap();
    fs::write(&compressed.file, &bytes[..bytes.len() / 2]).unwrap();
    let cut = Cache::open(folder.path(), fast()).unwrap();
    let there = (0..60_000).step_by(1_000).filter(|i| cut.get(&batch[*i].0, &mut out).unwrap().is_some()).count();
    assert!((10..50).contains(&there), "{there}");
    assert!(!cut.take_problems().is_empty());
}

#[test]
fn one_vector_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    fill(&cache, VectorType::F32, 0..3);
    let wanted = cache.key_of(&key(VectorType::F32, 2).to_string()).unwrap();
    let bytes: Vec<u8> = vector(2).iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(cache.export(&wanted).unwrap(), bytes);
    assert!(cache.key_of(&key(VectorType::F32, 9).to_string()).unwrap_err().message.contains("no vector"));
    assert!(cache.key_of("12").is_err() && cache.key_of(&"é".repeat(32)).is_err());
}

#[test]
fn warming_reads_what_will_be_asked_for() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    fill(
        &Cache::open(folder.path(), Options { durability: Durability::Durable, ..at(0) }).unwrap(),
        VectorType::F32,
        0..40_000,
    );
    let cold = || {
        for file in fs::read_dir(folder.path().join("vectors")).unwrap() {
            crate::store::stream::drop_pages(&fs::File::open(file.unwrap().path()).unwrap(), 0, 0).unwrap();
        }
    };
    // A trace: each day a twentieth of the texts, four fifths of them those of the day before.
    let asked = |day: usize| (0..2_000).map(move |i| if i % 5 == 0 { (day * 7_919 + i * 31) % 40_000 } else { 17 * i });
    for day in 1..6 {
        let cache = Cache::open(folder.path(), at(day as u64)).unwrap();
        assert!(asked(day).all(|i| is_there(&cache, VectorType::F32, i)));
    }
    let resident = |cache: &Cache| asked(6).filter(|i| cache.is_resident(&key(VectorType::F32, *i)).unwrap()).count();
    cold();
    let cache = Cache::open(folder.path(), at(6)).unwrap();
    let without = resident(&cache);
    let warm =
        |budget_bytes, locks| cache.warm(&Warm { budget_bytes, locks, plan: None, should_stop: &|| false }).unwrap();
    let warmed = warm(2 << 20, false);
    let with = resident(&cache);
    assert!(warmed.bytes <= 2 << 20 && warmed.resident_after == 1.0 && warmed.resident_before < 0.1, "{warmed:?}");
    assert!(without < 100 && with > 1_500, "of 2000 asked for were in memory: {without} without, {with} with warming");
    let stopped = cache.warm(&Warm { budget_bytes: 8 << 20, locks: false, plan: None, should_stop: &|| true }).unwrap();
    assert!(stopped.was_stopped);
    // Locked within the limit, or the refusal is said.
    let locked = warm(64 << 10, true);
    let step = locked.steps.last().unwrap();
    assert!(locked.locked_bytes == locked.bytes || matches!(step.effect, crate::numa::Effect::Denied(_)), "{locked:?}");
    assert!(asked(6).all(|i| is_there(&cache, VectorType::F32, i)));
}

#[test]
fn copies_answer_like_the_originals() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    fill(&cache, VectorType::F16, 0..1_000);
    let topology = crate::numa::Topology::read(&crate::numa::Machine::default());
    let wishes = crate::numa::Wishes { strategy: crate::numa::Strategy::Replicate, ..Default::default() };
    let plan = crate::numa::Plan::here(&topology, &wishes).unwrap();
    let steps = cache.copy_hot(&topology, &plan, 60_000).unwrap();
    assert!(steps[0].what.starts_with("copy 6") && cache.copies_spread().len() == steps.len(), "{steps:?}");
    assert!((0..1_000).all(|i| is_there(&cache, VectorType::F16, i)) && !is_there(&cache, VectorType::F16, 1_000));
}

//! The cache: what is put in comes out, and nothing else ever does.

use super::*;
use crate::embed::codec::{VectorType, round_trip};
use std::fs;
use std::os::unix::fs::FileExt;

pub(super) const DIM: usize = 24;

/// The vector of text number `i`.
pub(super) fn vector(i: usize) -> Vec<f32> {
    let mut state = i as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 - 0.5
    };
    (0..DIM).map(|_| next()).collect()
}

pub(super) fn key(kind: VectorType, i: usize) -> Key {
    Key::new("model", "tokenizer", "mean", true, kind, &format!("text {i}"))
}

pub(super) fn fast() -> Options {
    Options { durability: Durability::Cache, ..Options::default() }
}

pub(super) fn fill(cache: &Cache, kind: VectorType, numbers: std::ops::Range<usize>) -> Saved {
    let vectors: Vec<_> = numbers.clone().map(vector).collect();
    let batch: Vec<_> = numbers.zip(&vectors).map(|(i, v)| (key(kind, i), v.as_slice(), 1_000 + i as u64)).collect();
    cache.put(&batch).unwrap()
}

/// Asserts that text `i` has its vector, or none.
#[track_caller]
pub(super) fn is_there(cache: &Cache, kind: VectorType, i: usize) -> bool {
    let mut out = [0.0; DIM];
    let hit = cache.get(&key(kind, i), &mut out).unwrap();
    let mut right = vector(i);
    round_trip(kind, &mut right);
    if let Some(hit) = hit {
        assert_eq!((hit.generation_ns, out.as_slice()), (1_000 + i as u64, right.as_slice()), "text {i}");
    }
    hit.is_some()
}

#[test]
fn what_is_put_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embeddings");
    for kind in VectorType::ALL {
        let cache = Cache::open(&path, Options::default()).unwrap();
        assert!((0..10).all(|i| !is_there(&cache, kind, i)));
        let saved = fill(&cache, kind, 0..10);
        assert_eq!((saved.saved, saved.already), (10, 0));
        assert!((0..10).all(|i| is_there(&cache, kind, i)) && !is_there(&cache, kind, 10));
        assert_eq!((fill(&cache, kind, 5..12).saved, fill(&cache, kind, 0..12).already), (2, 12));
    }
    let cache = Cache::open(&path, Options::default()).unwrap();
    for kind in VectorType::ALL {
        assert!((0..12).all(|i| is_there(&cache, kind, i)), "{kind}");
    }
    assert_eq!(cache.take_problems(), []);
    let error = cache.get(&key(VectorType::F32, 0), &mut [0.0; 7]).unwrap_err();
    assert!(error.message.contains("24 numbers of type f32, and 7"), "{error}");
    assert!(cache.put(&[(key(VectorType::F32, 99), &[f32::NAN; DIM], 1)]).is_err());
    // The same text twice in a batch is one vector.
    let v = vector(50);
    let twice = [(key(VectorType::F32, 50), v.as_slice(), 1_050); 2];
    let saved = cache.put(&twice).unwrap();
    assert_eq!((saved.saved, saved.already), (1, 1));
}

#[test]
fn many_segments_and_a_growing_index() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    let reader = Cache::open(folder.path(), fast()).unwrap();
    for from in (0..70_000).step_by(10_000) {
        fill(&cache, VectorType::Int8, from..from + 10_000);
        // A reader that was there before sees it all, through each change of the index.
        assert!((from..from + 10_000).step_by(997).all(|i| is_there(&reader, VectorType::Int8, i)));
    }
    assert_eq!(cache.segment_files(), [1, 2]);
    assert!((0..70_000).all(|i| is_there(&cache, VectorType::Int8, i)));
    assert!((70_000..70_100).all(|i| !is_there(&cache, VectorType::Int8, i)));
    assert_eq!(cache.take_problems(), []);
}

#[test]
fn a_lost_hash_index_costs_time_only() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Cache::open(folder.path(), fast()).unwrap();
    fill(&writer, VectorType::F16, 0..300);
    let index = folder.path().join("index.hash");
    let whole = fs::read(&index).unwrap();
    for (more, broken) in
        [None, Some(&b"short"[..]), Some(&whole[..4096 + 160]), Some(&[0; 8192])].into_iter().enumerate()
    {
        fs::remove_file(&index).unwrap();
        if let Some(bytes) = broken {
            fs::write(&index, bytes).unwrap();
        }
        let cache = Cache::open(folder.path(), fast()).unwrap();
        assert!((0..300 + more).all(|i| is_there(&cache, VectorType::F16, i)));
        let saved = fill(&cache, VectorType::F16, 0..301 + more);
        assert_eq!((saved.already, saved.saved), (300 + more, 1));
        assert_eq!(fs::read(&index).unwrap().len(), whole.len());
    }
}

#[test]
fn commits_that_the_hash_index_missed_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F32, 0..10);
    let index = folder.path().join("index.hash");
    let before = fs::read(&index).unwrap();
    fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F32, 10..20);
    // As if the process was killed after the commit and before the hash index had it.
    fs::write(&index, before).unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    assert!((0..20).all(|i| is_there(&cache, VectorType::F32, i)));
    assert_eq!(fill(&cache, VectorType::F32, 0..21).already, 20);
    let quick = |i| {
        cache.quick(
            &key(VectorType::F32, i),
            segment::Shape { vector_type: VectorType::F32, dimension: DIM },
            &mut [0.0; DIM],
        )
    };
    assert!((0..21).all(|i| quick(i).unwrap().is_some()));
}

#[test]
fn a_damaged_record_is_a_miss_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F32, 0..10);
    let segment = folder.path().join("vectors/00001.seg");
    let file = fs::File::options().write(true).open(&segment).unwrap();
    let stride = 48 + 4 * DIM as u64;
    file.write_all_at(&[0xff], 4096 + 3 * stride + 60).unwrap(); // the vector of the fourth
    file.write_all_at(&[0xff; 4], 4096 + 5 * stride).unwrap(); // the key of the sixth
    let cache = Cache::open(folder.path(), fast()).unwrap();
    let there: Vec<_> = (0..10).map(|i| is_there(&cache, VectorType::F32, i)).collect();
    assert_eq!(there, [true, true, true, false, true, false, true, true, true, true]);
    let problems = cache.take_problems();
    assert_eq!((problems.len(), problems[0].slot, problems[0].what.as_str()), (1, 3, "the record's checksum is wrong"));
    assert_eq!(fill(&cache, VectorType::F32, 0..10).saved, 2);
    assert!((0..10).all(|i| is_there(&cache, VectorType::F32, i)));
    assert_eq!(cache.take_problems(), []);
}

#[test]
fn a_cut_or_missing_segment_is_a_miss() {
    for cut in [None, Some(0), Some(30), Some(4096), Some(4096 + 5 * (48 + 96) + 17)] {
        let folder = tempfile::tempdir().unwrap();
        fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F32, 0..10);
        let segment = folder.path().join("vectors/00001.seg");
        match cut {
            Some(len) => fs::File::options().write(true).open(&segment).unwrap().set_len(len).unwrap(),
            None => fs::remove_file(&segment).unwrap(),
        }
        let cache = Cache::open(folder.path(), fast()).unwrap();
        let there = (0..10).filter(|i| is_there(&cache, VectorType::F32, *i)).count();
        assert_eq!(there, if cut > Some(4096) { 5 } else { 0 }, "{cut:?}");
        assert!(!cache.take_problems().is_empty());
        assert_eq!(fill(&cache, VectorType::F32, 0..10).saved, 10 - there, "{cut:?}");
        assert!((0..10).all(|i| is_there(&cache, VectorType::F32, i)), "{cut:?}");
    }
}

#[test]
fn a_broken_or_lost_index_is_made_again_from_the_vectors() {
    for broken in [None, Some(&b"no database"[..]), Some(&[7; 20_000])] {
        let folder = tempfile::tempdir().unwrap();
        fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F16, 0..50);
        let index = folder.path().join("index.db");
        for name in ["index.db-wal", "index.db-shm", "index.hash", "index.db"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        if let Some(bytes) = broken {
            fs::write(&index, bytes).unwrap();
        }
        let cache = Cache::open(folder.path(), fast()).unwrap();
        // Until somebody writes, it is an empty cache.
        assert!((0..50).all(|i| !is_there(&cache, VectorType::F16, i)));
        assert_eq!(fill(&cache, VectorType::F16, 0..51).saved, 1, "{broken:?}");
        assert!((0..51).all(|i| is_there(&cache, VectorType::F16, i)));
    }
}

#[test]
fn an_index_of_another_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fill(&Cache::open(folder.path(), fast()).unwrap(), VectorType::F32, 0..3);
    let index = folder.path().join("index.db");
    fs::File::options().write(true).open(&index).unwrap().write_all_at(&9_u32.to_be_bytes(), 60).unwrap();
    let error = Cache::open(folder.path(), fast()).unwrap_err();
    assert!(error.message.contains("version 9"), "{error}");
    assert!(error.hint.unwrap().contains("--reset"));
}

#[test]
fn a_cache_deleted_under_a_process_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embeddings");
    let cache = Cache::open(&path, fast()).unwrap();
    fill(&cache, VectorType::F32, 0..10);
    assert!(is_there(&cache, VectorType::F32, 3));
    fs::remove_dir_all(&path).unwrap();
    // What is mapped still answers; what is new is saved in a new cache.
    assert!(is_there(&cache, VectorType::F32, 3));
    assert_eq!(fill(&cache, VectorType::F32, 0..12).saved, 12);
    let other = Cache::open(&path, fast()).unwrap();
    assert!((0..12).all(|i| is_there(&cache, VectorType::F32, i) && is_there(&other, VectorType::F32, i)));
}

#[test]
fn nothing_is_written_where_nothing_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Cache::open(folder.path(), fast()).unwrap();
    fill(&writer, VectorType::F32, 0..10);
    drop(writer);
    let read_only = Options { may_write: false, now_s: Some(4_000_000_000), ..fast() };
    let before = fs::read(folder.path().join("index.hash")).unwrap();
    let cache = Cache::open(folder.path(), read_only.clone()).unwrap();
    assert!((0..10).all(|i| is_there(&cache, VectorType::F32, i)));
    assert!(cache.put(&[(key(VectorType::F32, 20), &vector(20), 1)]).is_err());
    drop(cache);
    assert_eq!(fs::read(folder.path().join("index.hash")).unwrap(), before);
    let nowhere = Cache::open(&folder.path().join("nothing"), read_only).unwrap();
    assert!(!is_there(&nowhere, VectorType::F32, 0));
    assert!(!folder.path().join("nothing").exists());
}

#[test]
fn uses_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |day: u64| Options { now_s: Some(1_800_000_000 + day * 86_400), ..fast() };
    fill(&Cache::open(folder.path(), at(0)).unwrap(), VectorType::F32, 0..10);
    for day in 1..4 {
        let cache = Cache::open(folder.path(), at(day)).unwrap();
        assert!(is_there(&cache, VectorType::F32, 4) && is_there(&cache, VectorType::F32, 4));
    }
    let cache = Cache::open(folder.path(), at(4)).unwrap();
    let index = cache.index().unwrap();
    let used = |i| index.find(&key(VectorType::F32, i)).next().unwrap().used;
    assert_eq!((used(4).times, used(5).times), (4, 1));
    assert_eq!(used(4).minute - used(5).minute, 3 * 24 * 60);
}

#[test]
fn threads_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), fast()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for from in (0..2_000).step_by(100) {
                    fill(cache, VectorType::F16, thread * 500 + from..thread * 500 + from + 100);
                    assert!((thread * 500..thread * 500 + from).step_by(7).all(|i| is_there(
                        cache,
                        VectorType::F16,
                        i
                    )));
                }
            });
        }
    });
    assert!((0..3_500).all(|i| is_there(&cache, VectorType::F16, i)));
    assert_eq!(cache.take_problems(), []);
}

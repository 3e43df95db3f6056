//! Search finds exactly what a slow and simple search finds.

use super::*;
use crate::embed::codec::{VectorType, round_trip};
use serde_json::json;
use std::fs;

const DIM: usize = 100;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(self.0 >> 48).unwrap()) / 65_536.0 - 0.5
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIM).map(|_| self.next() + self.next() + self.next()).collect()
    }
}

fn documents(count: usize) -> Vec<Document> {
    let mut random = Random(7);
    let centres: Vec<_> = (0..20).map(|_| random.vector()).collect();
    (0..count)
        .map(|i| {
            // Half of them lie close together, as lines of a log do.
            let mut vector = random.vector();
            if i % 2 == 0 {
                vector = vector.iter().zip(&centres[i % 20]).map(|(x, c)| c + x * 0.1).collect();
            }
            let metadata = json!({"host": format!("web{}", i % 3), "severity": i % 8, "unit": {"is_up": i % 5 == 0}});
            Document { id: format!("d{i}"), text: format!("line {i}"), metadata, vector }
        })
        .collect()
}

/// The right answer.
fn slow(documents: &[Document], query: &[f32], top: usize, is_in: impl Fn(usize) -> bool) -> Vec<(String, f32)> {
    let query = unit(query, DIM).unwrap();
    let mut all: Vec<_> = documents
        .iter()
        .enumerate()
        .filter(|(i, _)| is_in(*i))
        .map(|(_, document)| {
            let mut vector = unit(&document.vector, DIM).unwrap();
            round_trip(VectorType::F16, &mut vector);
            (document.id.clone(), dot(&query, &vector))
        })
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(top);
    all
}

fn found(search: &Search) -> Vec<(String, f32)> {
    search.matches.iter().map(|one| (one.id.clone(), one.score)).collect()
}

#[test]
fn it_finds_the_best_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let all = documents(1_200);
    let mut stored = Documents::open(folder.path(), "model", DIM, Access::Write).unwrap();
    for part in all.chunks(700) {
        assert_eq!(stored.add(part).unwrap(), Added { added: part.len(), replaced: 0 });
    }
    let mut stored = Documents::open(folder.path(), "model", DIM, Access::Read).unwrap();
    assert_eq!(stored.len(), 1_200);
    let mut random = Random(99);
    for i in 0..20 {
        let query = if i % 3 == 0 { all[i * 7].vector.clone() } else { random.vector() };
        for threads in [1, 3] {
            stored.set_threads(threads);
            for top in [0, 1, 10, 100] {
                let search = stored.search(&query, top, &Filter::default()).unwrap();
                assert_eq!(found(&search), slow(&all, &query, top, |_| true));
                assert!(search.is_exact && search.damaged.is_empty() && search.scanned == 1_200);
            }
        }
        let filter = Filter::parse(&["host=web1", "severity>=4", "unit.is_up=true"]).unwrap();
        let search = stored.search(&query, 10, &filter).unwrap();
        assert_eq!(found(&search), slow(&all, &query, 10, |i| i % 3 == 1 && i % 8 >= 4 && i % 5 == 0));
        assert!(search.matches.iter().all(|one| one.metadata["host"] == "web1"));
    }
    let none = stored.search(&all[0].vector, 10, &Filter::parse(&["host=nowhere"]).unwrap()).unwrap();
    assert_eq!(none.matches, []);
    // Leaving out what cannot be among the best is what makes it fast.
    let search = stored.search(&random.vector(), 10, &Filter::default()).unwrap();
    assert!(search.ranked < 300, "{search:?}");
}

#[test]
fn documents_are_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let all = documents(500);
    let mut stored = Documents::open(folder.path(), "model", DIM, Access::Write).unwrap();
    stored.add(&all).unwrap();
    let changed = Document { text: "changed".into(), vector: all[9].vector.clone(), ..all[3].clone() };
    assert_eq!(stored.add(&[changed]).unwrap(), Added { added: 0, replaced: 1 });
    assert_eq!(stored.remove(&["d9", "d9", "nobody"]).unwrap(), 1);
    assert_eq!(stored.len(), 499);
    let search = stored.search(&all[9].vector, 1, &Filter::default()).unwrap();
    assert_eq!((search.matches[0].id.as_str(), search.matches[0].text.as_str()), ("d3", "changed"));
    assert!(search.matches[0].score > 0.999);
    let near = stored.neighbours("d3", 3, &Filter::default()).unwrap();
    assert!(near.matches.len() == 3 && near.matches.iter().all(|one| one.id != "d3" && one.id != "d9"));
    assert!(stored.neighbours("d9", 3, &Filter::default()).is_err());
    // Two of one id in one call: the later one counts.
    let twice = [Document { id: "x".into(), ..all[1].clone() }, Document { id: "x".into(), ..all[2].clone() }];
    assert_eq!(stored.add(&twice).unwrap(), Added { added: 1, replaced: 1 });
    assert_eq!(stored.search(&all[2].vector, 2, &Filter::default()).unwrap().matches.len(), 2);
}

#[test]
fn another_model_or_a_wrong_vector_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Documents::open(folder.path(), "model", DIM, Access::Read).is_err());
    let mut stored = Documents::open(folder.path(), "model", DIM, Access::Write).unwrap();
    stored.add(&documents(10)).unwrap();
    let error = Documents::open(folder.path(), "other", DIM, Access::Write).unwrap_err();
    assert!(error.message.contains("another model"), "{error}");
    assert!(Documents::open(folder.path(), "model", DIM + 1, Access::Write).is_err());
    assert!(stored.search(&[0.0; 3], 1, &Filter::default()).is_err());
    let mut bad = documents(1).remove(0);
    bad.vector[0] = f32::NAN;
    assert!(stored.add(&[bad]).is_err());
    let zero = Document { id: "zero".into(), vector: vec![0.0; DIM], ..documents(1).remove(0) };
    stored.add(&[zero]).unwrap();
    assert!(stored.search(&documents(1)[0].vector, 20, &Filter::default()).unwrap().matches.len() == 11);
}

#[test]
fn what_is_derived_is_made_again_and_damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let all = documents(600);
    Documents::open(folder.path(), "model", DIM, Access::Write).unwrap().add(&all).unwrap();
    let right = slow(&all, &all[4].vector, 10, |_| true);
    let derived = folder.path().join("vectors.i8");
    for cut in [None, Some(100), Some(4096 + 50_000)] {
        match cut {
            Some(len) => fs::File::options().write(true).open(&derived).unwrap().set_len(len).unwrap(),
            None => fs::remove_file(&derived).unwrap(),
        }
        let mut stored =
            Documents::open(folder.path(), "model", DIM, if cut.is_none() { Access::Write } else { Access::Read })
                .unwrap();
        assert_eq!(found(&stored.search(&all[4].vector, 10, &Filter::default()).unwrap()), right, "{cut:?}");
    }
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).open(folder.path().join("vectors.f16")).unwrap();
    file.write_all_at(&[0x55; 2], 4096 + 4 * (2 * DIM as u64 + 8) + 6).unwrap();
    let mut stored = Documents::open(folder.path(), "model", DIM, Access::Read).unwrap();
    let search = stored.search(&all[4].vector, 10, &Filter::default()).unwrap();
    assert_eq!(search.damaged, [4]);
    assert!(search.matches.iter().all(|one| one.id != "d4"));
}

//! A search never ranks an outcome above its opposite: 300 pairs, of which 100 were held out while the words were chosen.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::polarity::{Relation, relation};
use op_dbus_tests::{has_op_embed, program};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is asked, what fits, and the opposite of that.
struct Pair {
    query: String,
    fits: String,
    opposite: String,
}

fn pairs(name: &str) -> Vec<Pair> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("polarity").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    let pair = |line: &str| {
        let [query, fits, opposite] = line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        Pair { query, fits, opposite }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(pair).collect()
}

/// Whatever the vectors say, what fits is no opposite, and the opposite is one.
#[track_caller]
fn sides_are_told(pairs: &[Pair]) {
    let wrong = pairs.iter().filter_map(|Pair { query, fits, opposite }| {
        let (good, bad) = (relation(query, fits), relation(query, opposite));
        (good == Relation::Opposite || bad != Relation::Opposite)
            .then(|| format!("{query:?}: {fits:?} is {good:?}, {opposite:?} is {bad:?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}

#[test]
fn known_pairs_are_told_apart() {
    let pairs = pairs("known.tsv");
    assert!(pairs.len() >= 200);
    sides_are_told(&pairs);
}

#[test]
fn pairs_that_were_held_out_are_told_apart() {
    let pairs = pairs("held-out.tsv");
    assert!(pairs.len() >= 100);
    sides_are_told(&pairs);
}

fn run(name: &str, root: &Path, args: &[&str], stdin: &str) -> Vec<u8> {
    let mut command = Command::new(program(name));
    command.args(args).arg("--root").arg(root).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "{name} {args:?}");
    output.stdout
}

/// By meaning, in a trail of all of them: what fits is found, and before its opposite.
#[test]
fn searches_by_meaning_put_the_opposite_last() {
    if !has_op_embed("search-by-meaning") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let all: Vec<Pair> = pairs("known.tsv").into_iter().chain(pairs("held-out.tsv")).collect();
    let event = |text: &String| format!("{}\n", json!({"text": text}));
    let events: String = all.iter().flat_map(|pair| [event(&pair.opposite), event(&pair.fits)]).collect();
    run("op-audit", root, &["append", "--source", "test"], &events);
    // All queries at once: a model that is opened two hundred times takes its time.
    let queries: String = all.iter().map(|pair| format!("{}\n", pair.query)).collect();
    run("op-embed", root, &["embed", "--input", "text"], &queries);
    let filled: Value = serde_json::from_slice(&run("op-audit", root, &["embed"], "")).unwrap();
    assert_eq!((&filled["blocks"], &filled["left"]), (&json!(7), &json!(0)), "{filled}");
    let mut found_fits = 0;
    let mut wrong = Vec::new();
    for Pair { query, fits, opposite } in &all {
        let found = run("op-audit", root, &["search", query, "--limit", "700"], "");
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["by"], "meaning");
        let texts: Vec<&str> =
            found["hits"].as_array().unwrap().iter().map(|hit| hit["text"].as_str().unwrap()).collect();
        let place = |text: &str| texts.iter().position(|found| found.ends_with(text));
        found_fits += usize::from(place(fits).is_some_and(|at| at < 10));
        if place(opposite).is_some_and(|bad| place(fits).is_none_or(|good| bad < good)) {
            wrong.push(format!("{query:?}: {opposite:?} comes before {fits:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    // That much of what fits is among the first ten, in other words than the query's as often as not.
    assert!(found_fits * 10 >= all.len() * 8, "{found_fits} of {}", all.len());
}

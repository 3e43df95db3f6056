//! A search never ranks an outcome above its opposite: where the outcome is on record, without exception; where only a
//! text says it, for 300 pairs; 101 of them were written after the words, and may be wrong in one of twenty.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is the report; counts show with --nocapture"
)]

use op_dbus::audit::Actor;
use op_dbus::audit::block::Kind;
use op_dbus::audit::chain::{Chain, Draft};
use op_dbus::audit::log::Filter;
use op_dbus::audit::polarity::{Relation, relation};
use op_dbus::audit::search::{Meaning, search};
use op_dbus::audit::vectors::{self, BlockVectors};
use op_dbus::store::StateRoot;
use op_dbus_tests::ops::wait_until;
use op_dbus_tests::private_bus::spawn;
use op_dbus_tests::program;
use serde_json::{Value, json};
use std::collections::BTreeSet;
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

/// Pairs of which what fits is taken for an opposite, and those of which the opposite is not.
fn mistaken(pairs: &[Pair]) -> [Vec<String>; 2] {
    let is = |text: &dyn Fn(&Pair) -> String, is_wrong: &dyn Fn(Relation) -> bool| {
        let wrong = |pair: &&Pair| is_wrong(relation(&pair.query, &text(pair)));
        pairs.iter().filter(wrong).map(|pair| format!("{:?}: {:?}", pair.query, text(pair))).collect()
    };
    [
        is(&|pair| pair.fits.clone(), &|relation| relation == Relation::Opposite),
        is(&|pair| pair.opposite.clone(), &|relation| relation != Relation::Opposite),
    ]
}

#[test]
fn known_pairs_are_told_apart() {
    let pairs = pairs("known.tsv");
    assert!(pairs.len() >= 200);
    assert_eq!(mistaken(&pairs), [vec![""; 0], vec![]]);
}

/// What words alone tell of pairs that nobody looked at. The other half of the work is the vectors'.
#[test]
fn pairs_that_were_held_out_are_told_apart() {
    let pairs = pairs("held-out.tsv");
    assert!(pairs.len() >= 100);
    let [hidden, shown] = mistaken(&pairs);
    eprintln!(
        "held out: of {} pairs, {} are hidden, {} opposites are not known",
        pairs.len(),
        hidden.len(),
        shown.len()
    );
    assert!(hidden.len() * 20 <= pairs.len(), "{hidden:#?}");
    assert!(shown.len() * 10 <= pairs.len() * 2, "{shown:#?}");
}

/// How an entry ended is on record: whatever the words of the query, its opposite is not even among the hits.
#[test]
fn an_end_that_is_known_is_never_mistaken() {
    let root = tempfile::tempdir().unwrap();
    let chain = Chain::open(&StateRoot::find(Some(&root.path().join("root"))).unwrap()).unwrap();
    for (title, result) in ["Start container 100", "Install nginx", "Set location to \"rack 3\""]
        .iter()
        .flat_map(|title| ["done", "failed", "undone", "not_run"].map(|result| (*title, result)))
    {
        let entry = json!({"id": "1", "plugin": "p", "resources": ["p/k"], "title": title, "result": result});
        let (kind, run, detail) = (Kind::Outcome, Some(result.to_owned()), None);
        let draft =
            Draft { kind, run, actor: Actor::default(), program: "test 1".into(), detail, entries: vec![entry] };
        drop(chain.append(draft).unwrap());
    }
    let asked = [
        ("containers that failed to start", false),
        ("container could not be started", false),
        ("container did not start", false),
        ("unsuccessful container", false),
        ("errors with container", false),
        ("container without success", false),
        ("what went wrong with nginx", false),
        ("nginx not installed", false),
        ("location that was not set because it failed", false),
        ("container started successfully", true),
        ("container that worked", true),
        ("nginx install succeeded", true),
        ("nginx without errors", true),
        ("container did not fail", true),
        ("location set, no problems", true),
    ];
    // By words, and by a meaning that likes everything the same.
    for meaning in [None, Some(Meaning { model: "m".into(), vector: vec![1.0] })] {
        if meaning.is_some() {
            for number in 1..=chain.last() {
                let of_block = BlockVectors { model: "m".into(), vectors: vec![vec![1.0]] };
                vectors::write(&chain, number, &chain.read(number).unwrap().digest, &of_block).unwrap();
            }
        }
        for (query, is_good) in asked {
            let found = search(&chain, query, meaning.as_ref(), &Filter::default(), 100).unwrap();
            let ends: BTreeSet<&str> = found.hits.iter().filter_map(|hit| hit.run.as_deref()).collect();
            let wrong = ends.iter().filter(|end| (**end == "done") != is_good).count();
            assert!(wrong == 0 && (meaning.is_none() || !ends.is_empty()), "{query:?}: {ends:?}");
        }
    }
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
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let known = pairs("known.tsv");
    let count = known.len();
    let all: Vec<Pair> = known.into_iter().chain(pairs("held-out.tsv")).collect();
    let event = |text: &String| format!("{}\n", json!({"text": text}));
    let events: String = all.iter().flat_map(|pair| [event(&pair.opposite), event(&pair.fits)]).collect();
    run("op-audit", root, &["append", "--source", "test"], &events);
    // All queries at once: a model that is opened two hundred times takes its time.
    let queries: String = all.iter().map(|pair| format!("{}\n", pair.query)).collect();
    run("op-embed", root, &["embed", "--input", "text"], &queries);
    let filled: Value = serde_json::from_slice(&run("op-audit", root, &["embed"], "")).unwrap();
    assert_eq!((&filled["blocks"], &filled["left"]), (&json!(7), &json!(0)), "{filled}");
    // A server opens its cache once.
    let mut server = Command::new(program("op-embed"));
    server.args(["serve", "--root"]).arg(root).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = spawn(server);
    wait_until("it listens", || root.join("embed.sock").exists());
    let mut found_fits = 0;
    let mut wrong = [const { Vec::new() }; 2];
    for (at, Pair { query, fits, opposite }) in all.iter().enumerate() {
        let found = run("op-audit", root, &["search", query, "--limit", "700"], "");
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["by"], "meaning");
        let texts: Vec<&str> =
            found["hits"].as_array().unwrap().iter().map(|hit| hit["text"].as_str().unwrap()).collect();
        let place = |text: &str| texts.iter().position(|found| found.ends_with(text));
        found_fits += usize::from(place(fits).is_some_and(|at| at < 10));
        if place(opposite).is_some_and(|bad| place(fits).is_none_or(|good| bad < good)) {
            wrong[usize::from(at >= count)].push(format!("{query:?}: {opposite:?} comes before {fits:?}"));
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let [of_known, held_out] = wrong;
    eprintln!("of {} held out, {} come after their opposite", all.len() - count, held_out.len());
    assert_eq!(of_known, [""; 0]);
    assert!(held_out.len() * 20 <= all.len() - count, "{held_out:#?}");
    // That much of what fits is among the first ten, in other words than the query's as often as not.
    assert!(found_fits * 10 >= all.len() * 8, "{found_fits} of {}", all.len());
}

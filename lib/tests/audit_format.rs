//! The format of blocks is frozen: what these vectors say must come out for ever. `docs/audit-vectors.json` is published;
//! with `OP_DBUS_BLESS=1` it is written, which is right only together with a new format number.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::block::{self, FORMAT, Header, Kind};
use op_dbus::audit::chain::Chain;
use op_dbus::audit::{Actor, proof, verify};
use op_dbus::store::StateRoot;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

type Draft = (Kind, Option<&'static str>, Option<Value>, Vec<Value>);

/// What the blocks of the vectors say, before they are sealed.
fn drafts() -> Vec<Draft> {
    let run = Some("1-20250115T100000Z-0123abcd");
    let entry = |id: &str, more: Value| {
        let mut entry = json!({"id": id, "plugin": "hostname", "resources": [format!("hostname/{id}")]});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    vec![
        (Kind::Events, None, None, vec![]),
        (
            Kind::Intent,
            run,
            Some(json!({"plan": "sha256:00", "target": "@state"})),
            (0..5)
                .map(|n| entry(&n.to_string(), json!({"title": "Größe \u{1F600} \"q\" \\ \u{1} \u{2028}", "n": n})))
                .collect(),
        ),
        (
            Kind::Outcome,
            run,
            Some(json!({"outcome": "applied", "residue": []})),
            vec![entry("a", json!({"numbers": [0, -1, 1e21, 1.5, 0.000_001, 1e-7, 9_007_199_254_740_991_u64]}))],
        ),
    ]
}

fn sealed() -> Vec<(Vec<u8>, block::Block)> {
    let mut previous = block::genesis();
    let mut blocks = Vec::new();
    for (number, (kind, run, detail, entries)) in (1..).zip(drafts()) {
        let header = Header {
            actor: Actor { host: Some("op-test".into()), uid: Some(0), ..Actor::default() },
            count: 0,
            detail,
            format: FORMAT,
            kind,
            number,
            previous,
            program: "op-apply 0.1.0".into(),
            root: String::new(),
            run: run.map(str::to_owned),
            time: format!("2025-01-15T10:00:0{number}Z"),
        };
        let (bytes, block) = block::seal(header, entries.clone()).unwrap();
        previous = block.digest.clone();
        blocks.push((bytes, block));
    }
    blocks
}

fn trail(files: &[Vec<u8>]) -> (tempfile::TempDir, Chain) {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::open(&StateRoot::find(Some(folder.path())).unwrap()).unwrap();
    fs::create_dir_all(chain.folder()).unwrap();
    for (number, bytes) in (1..).zip(files) {
        fs::write(chain.file(number), bytes).unwrap();
    }
    (folder, chain)
}

#[test]
fn published_vectors() {
    let sealed = sealed();
    let files: Vec<Vec<u8>> = sealed.iter().map(|(bytes, _)| bytes.clone()).collect();
    let (_folder, chain) = trail(&files);
    let vectors = json!({
        "format": FORMAT,
        "blocks": sealed.iter().map(|(bytes, block)| json!({
            "file": String::from_utf8(bytes.clone()).unwrap(),
            "root": block.header.root,
            "digest": block.digest,
        })).collect::<Vec<_>>(),
        "proof": proof::prove(&chain, 2, 3).unwrap(),
    });
    let file = docs().join("audit-vectors.json");
    if std::env::var_os("OP_DBUS_BLESS").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
    let published: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(published, vectors, "the format has changed; blocks that were written can no longer be checked");

    let files: Vec<Vec<u8>> = published["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["file"].as_str().unwrap().as_bytes().to_vec())
        .collect();
    let (_folder, chain) = trail(&files);
    let verdict = verify::verify(&chain, &[], &mut |_, _| {}).unwrap();
    assert!(verdict.is_valid && verdict.valid_to == 3, "{verdict:?}");
    proof::check(&serde_json::from_value(published["proof"].clone()).unwrap()).unwrap();
}

/// The program that the page shows, in another language and with nothing of ours, comes to the same verdicts.
#[test]
fn the_page_says_enough_to_verify_without_us() {
    let page = fs::read_to_string(docs().join("AUDIT-FORMAT.md")).unwrap();
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let run = |files: &[Vec<u8>]| {
        let (_folder, chain) = trail(files);
        let output = Command::new("python3").args(["-c", script]).arg(chain.folder()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
    };
    let sealed = sealed();
    let files: Vec<Vec<u8>> = sealed.iter().map(|(bytes, _)| bytes.clone()).collect();
    let (is_good, said) = run(&files);
    assert!(is_good && said.contains(&sealed[2].1.digest), "{said}");
    for number in 0..3 {
        let mut changed = files.clone();
        changed[number] =
            String::from_utf8(changed[number].clone()).unwrap().replacen("10:00:0", "10:00:1", 1).into_bytes();
        let (is_good, said) = run(&changed);
        assert!(!is_good, "{said}");
    }
    let mut swapped = files.clone();
    swapped.swap(1, 2);
    assert!(!run(&swapped).0);
}

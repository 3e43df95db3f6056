//! Documents found by meaning, and the cache as its owner sees it; the page about embeddings, command by command.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod common;

use common::{Host, Output, error, records};
use serde_json::{Value, json};
use std::fs;

fn document(output: &Output) -> Value {
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.text()).unwrap()
}

const EVENTS: &str = r#"{"id":"a","text":"Backup of VM 101 failed: no space left on device","host":"web2","severity":5}
{"id":"b","text":"Password changed for alice","host":"web1","severity":3}
{"id":"c","text":"Restarted service nginx","host":"web1","severity":2}
"#;

#[test]
fn documents_are_found_by_what_they_mean() {
    let host = Host::new();
    assert_eq!(error(&host.run(&["search", "anything"], ""))["kind"], "failed");
    let added = document(&host.run(&["add"], EVENTS));
    assert_eq!((&added["kind"], &added["added"]), (&json!("documents"), &json!(3)));
    // A line has no name: adding it again takes its own place.
    for replaced in [0, 1] {
        let added = document(&host.run(&["add", "--input", "text"], "Node pve3 joined the cluster\n"));
        assert_eq!((&added["replaced"], &added["documents"]), (&json!(replaced), &json!(4)));
    }
    let search = |args: &[&str]| records(&host.run(&[&["search"], args].concat(), ""));
    let found = search(&["unsuccessful archive, the disk is full", "--top", "2"]);
    assert_eq!((found.len(), &found[0]["id"], &found[0]["metadata"]["host"]), (2, &json!("a"), &json!("web2")));
    assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
    let found = search(&["unsuccessful archive", "--filter", "host=web1", "--filter", "severity>=3"]);
    assert_eq!((found.len(), &found[0]["id"]), (1, &json!("b")));
    let near = records(&host.run(&["neighbours", "c", "--top", "4"], ""));
    assert!(near.iter().all(|found| found["id"] != "c") && near.len() == 3, "{near:?}");
    let none = host.run(&["search", "x", "--filter", "host=nowhere"], "");
    assert_eq!((none.code, none.stdout.len()), (3, 0));
    let bad = host.run(&["add"], "{\"id\":\"x\",\"text\":\"fine\"}\nno record\n");
    assert_eq!((bad.code, error(&bad)["kind"].as_str()), (3, Some("bad_input")));
}

#[test]
fn the_cache_as_its_owner_sees_it() {
    let host = Host::new();
    let raw = host.run(&["--format", "raw", "--type", "f32"], "one\ntwo\n").stdout;
    host.run(&["--type", "f32"], "one\ntwo\n");
    let stats = document(&host.run(&["stats"], ""));
    assert_eq!((&stats["kind"], &stats["vectors"]), (&json!("embedding_cache"), &json!(2)));
    assert_eq!((&stats["asked"]["hits"], &stats["asked"]["misses"]), (&json!(2), &json!(2)));
    assert!(stats["asked"]["saved_ns"].as_u64() > Some(0), "{stats}");
    let one = host.run(&["export", "--text", "one", "--type", "f32"], "");
    assert_eq!(one.stdout, raw[..384 * 4]);
    assert_eq!(error(&host.run(&["export", "--text", "three"], ""))["kind"], "unavailable");
    assert_eq!(host.run(&["export"], "").code, 64);
    assert_eq!(document(&host.run(&["verify"], ""))["whole"], 2);
    assert_eq!(document(&host.run(&["warm", "--budget", "1M"], ""))["chosen"], 2);
    assert_eq!(document(&host.run(&["gc", "--max-bytes", "1G"], ""))["evicted"], 0);
    assert_eq!(host.run(&["gc", "--max-bytes", "much"], "").code, 64);
    // A damaged vector is never answered: it is computed again.
    let segment = host.root().join("@cache/embeddings/vectors/00001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 0xff;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(host.run(&["verify"], "").code, 7);
    let again = host.run(&["--format", "raw", "--type", "f32"], "one\ntwo\n");
    assert_eq!((again.code, again.stdout == raw), (0, true), "{}", again.stderr);
    assert_eq!(host.run(&["gc", "--reset"], "").code, 0);
    assert!(!host.root().join("@cache/embeddings").exists());
}

#[test]
fn the_machine_and_the_founding_documents_tables() {
    let host = Host::new();
    let topology = document(&host.run(&["topology"], ""));
    assert!(
        !topology["topology"]["nodes"].as_array().unwrap().is_empty()
            && !topology["steps"].as_array().unwrap().is_empty()
    );
    assert!(host.run(&["topology", "--no-json"], "").text().contains("NUMA node 0"));
    assert_eq!(host.run(&["topology", "--numa", "sideways"], "").code, 64);
    let layers = document(&host.run(&["bench", "--layers"], ""));
    let names: Vec<&str> = layers["layers"].as_array().unwrap().iter().map(|l| l["layer"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["caching", "NUMA", "CPU affinity", "btrfs and page cache", "predictive warming", "streaming isolation"]
    );
    for layer in layers["layers"].as_array().unwrap() {
        assert!(layer["ratio"].is_number() || layer["what"].as_str().unwrap().starts_with("not measurable"), "{layer}");
    }
    assert!(layers["layers"][0]["ratio"].as_f64().unwrap() > 10.0, "{layers}");
    // Nothing of the measuring stays.
    let left: Vec<_> = fs::read_dir(host.root().join("@cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What a page types is typed here, in order.
#[test]
fn every_command_of_the_pages_works() {
    let host = Host::new();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_op-embed")).parent().unwrap().display().to_string();
    let mut count = 0;
    for page in [
        include_str!("../../../docs/embeddings.md"),
        include_str!("../../../docs/CACHING-IMPLEMENTED.md"),
        include_str!("../../../docs/NUMA-BTRFS-DESIGN.md"),
    ] {
        for block in page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            let script = format!("set -eu; PATH={folder}:$PATH; cd \"$HOME\"\n{block}");
            let output = std::process::Command::new("bash")
                .args(["-c", &script])
                .env("OP_DBUS_ROOT", host.root())
                .env("HOME", host.root())
                .output()
                .unwrap();
            assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
            count += block.lines().count();
        }
    }
    assert!(count >= 10, "the pages type {count} lines only: were their blocks renamed?");
}

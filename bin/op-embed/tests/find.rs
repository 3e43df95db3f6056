//! Documents found by meaning, and the cache as its owner sees it; the page about embeddings, command by command.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod common;

use common::{Host, Output, error, records};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

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
    // By their digests: the same vectors, a file each if one wants that.
    let listed = records(&host.run(&["export", "--list"], ""));
    let by_hash = listed.iter().map(|one| host.run(&["export", "--hash", one["hash"].as_str().unwrap()], "").stdout);
    let mut by_hash: Vec<_> = by_hash.collect();
    by_hash.sort_by_key(|vector| *vector != one.stdout);
    assert_eq!(by_hash.concat(), raw);
    assert_eq!(host.run(&["export", "--hash", &"0".repeat(64)], "").code, 1);
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
    // What control groups allow is the most there is; `memory` is of this machine and not of another one's folders.
    let memory = &topology["memory"];
    let at = |name: &str| memory[name].as_u64().unwrap();
    assert!(at("budget_bytes") > 0 && at("budget_bytes") < at("available_bytes"), "{memory}");
    assert!(at("available_bytes") <= at("total_bytes"), "{memory}");
    assert_eq!(document(&host.run(&["topology", "--sysfs-root", "/nonexistent"], "")).get("memory"), None);
    let layers = document(&host.run(&["bench", "--layers"], ""));
    for name in ["cpu", "os", "kernel"] {
        assert!(!layers["machine"][name].as_str().unwrap().is_empty(), "{layers}");
    }
    assert!(layers["machine"]["memory_bytes"].as_u64() > Some(0), "{layers}");
    // Each access, whole and in parts; saving with and without waiting for the disk.
    let spans = layers["accesses"].as_array().unwrap();
    let us = |access: &str, part: &str| {
        let found = spans.iter().find(|span| (&span["access"], &span["part"]) == (&json!(access), &json!(part)));
        found.unwrap_or_else(|| panic!("{access}, {part}: {layers}"))["us"].as_f64().unwrap()
    };
    for access in ["second", "after a reboot", "third"] {
        let parts = ["key", "look it up in the index", "read, check and copy the record"];
        let sum: f64 = parts.iter().map(|part| us(access, part)).sum();
        assert!(us(access, "all") > sum / 2.0, "{access}: {layers}");
    }
    assert!(us("after a reboot", "open the cache") > 0.0 && us("first", "tokenize") > 0.0, "{layers}");
    let waits = ["with", "without"].map(|how| us("first", &format!("save, {how} fsync: wait for the disk")));
    assert!(waits[0] > waits[1] && us("first", "all, without fsync") > 0.0, "{layers}");
    assert!(us("first", "all, with fsync") > us("second", "all"), "{layers}");
    let names: Vec<&str> = layers["layers"].as_array().unwrap().iter().map(|l| l["layer"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "caching",
            "NUMA",
            "CPU affinity",
            "btrfs and page cache",
            "compression",
            "predictive warming",
            "streaming isolation"
        ]
    );
    for layer in layers["layers"].as_array().unwrap() {
        assert!(layer["ratio"].is_number() || layer["what"].as_str().unwrap().starts_with("not measurable"), "{layer}");
    }
    assert!(layers["layers"][0]["ratio"].as_f64().unwrap() > 10.0, "{layers}");
    // Nothing of the measuring stays.
    let left: Vec<_> = fs::read_dir(host.root().join("@cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_cache_gets_no_larger_than_it_may() {
    let host = Host::new();
    let put = |from: usize, most: &str| {
        let lines: String = (from..from + 40).map(|n| format!("line {n}\n")).collect();
        let mut command = host.command(&["--format", "raw", "--type", "f32"]);
        command.env("OP_DBUS_EMBED_MAX_BYTES", most).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever refuses its variables reads nothing.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(put(0, "1G").0, Some(0));
    assert_eq!(document(&host.run(&["stats"], ""))["vectors"], 40);
    assert_eq!(put(40, "100K").0, Some(0));
    let stats = document(&host.run(&["stats"], ""));
    // 1.6 kB each, and the newest are what stays.
    assert!((30..65).contains(&stats["vectors"].as_u64().unwrap()), "{stats}");
    assert_eq!(host.run(&["--level", "none", "--type", "f32", "--text", "line 79"], "").code, 0);
    let (code, stderr) = put(80, "much");
    assert!(code == Some(64) && stderr.contains("OP_DBUS_EMBED_MAX_BYTES"), "{stderr}");
}

/// A control group that allows so much memory; `None` where none may be made.
struct Group(PathBuf);

impl Group {
    fn new(limit: u64) -> Option<Self> {
        let name = format!("op-embed-test-{}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")].into_iter();
        places.filter(|(root, _)| Path::new(root).join("cgroup.procs").exists()).find_map(|(root, file)| {
            let group = Self(Path::new(root).join(&name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(file), limit.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_control_group_limits_what_is_read_ahead() {
    let host = Host::new();
    let limit = 200 << 20;
    let Some(group) = Group::new(limit) else {
        println!("SKIP embed-control-group: no control group with a limit of memory may be made here");
        return;
    };
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let output = host.wrapped(&["sh", "-c", &enter, "sh"], &["topology"], b"");
    let memory = &document(&output)["memory"];
    assert_eq!(memory["limit_bytes"], limit, "{memory}");
    assert!(memory["available_bytes"].as_u64().unwrap() <= limit, "{memory}");
    let budget = memory["budget_bytes"].as_u64().unwrap();
    assert!(budget > 0 && budget <= limit / 4, "{memory}");
}

/// The founding project's variables are understood, and so are the ones of our own, which count more.
#[test]
fn variables_say_where_to_work() {
    let host = Host::new();
    let say = |variables: &[(&str, &str)]| {
        let mut command = host.command(&["topology", "--json"]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.code(), serde_json::from_slice::<Value>(&text).unwrap())
    };
    let note = |variables| say(variables).1["plan"]["cpu_note"].clone();
    assert_eq!(note(&[("OPDBUS_NUMA_ENABLED", "false")]), "switched off");
    assert_eq!(note(&[("OPDBUS_NUMA_STRATEGY", "disabled")]), "switched off");
    assert_eq!(note(&[("OPDBUS_NUMA_STRATEGY", "local_node"), ("OP_DBUS_NUMA_STRATEGY", "off")]), "switched off");
    assert_ne!(note(&[("OPDBUS_NUMA_STRATEGY", "disabled"), ("OP_DBUS_NUMA_STRATEGY", "local")]), "switched off");
    let (code, error) = say(&[("OPDBUS_NUMA_NODE_PREFERENCE", "4000")]);
    assert_eq!((code, &error["error"]["subject"]), (Some(64), &json!("node 4000")));
    let (code, error) = say(&[("OPDBUS_NUMA_MEMORY_POLICY", "tight")]);
    assert!(code == Some(64) && error["error"]["hint"].as_str().unwrap().contains("OPDBUS_NUMA_MEMORY_POLICY"));
}

/// What a page types is typed here, in order.
#[test]
fn every_command_of_the_pages_works() {
    let host = Host::new();
    let folder = Path::new(env!("CARGO_BIN_EXE_op-embed")).parent().unwrap().display().to_string();
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

//! The program on trails of its own making: filled from standard input, verified, signed, proven, pruned, damaged.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

struct Case {
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A trail of `blocks` blocks of one event each.
    fn filled(blocks: usize) -> Self {
        let case = Self::new();
        for at in 0..blocks {
            case.ok(&["append", "--source", "test"], &json!({"number": at, "text": "disk is full"}).to_string());
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn block(&self, number: u64) -> PathBuf {
        self.path(&format!("root/@timing/blocks/{number}.json"))
    }

    /// Exit code, standard output, standard error.
    fn run(&self, args: &[&str], stdin: &str) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_op-audit"))
            .args(args)
            .current_dir(self.folder.path())
            .env("OP_DBUS_ROOT", self.path("root"))
            .env_remove("OP_DBUS_AUDIT_KEY")
            // Whether op-embed was built as well must not matter here.
            .env("OP_DBUS_EMBED_LEVEL", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses its arguments reads no input.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn ok(&self, args: &[&str], stdin: &str) -> String {
        let (code, stdout, stderr) = self.run(args, stdin);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args, "")).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let (found, stdout, stderr) = self.run(args, "");
        assert_eq!(found, code, "{args:?}: {stdout}{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is missing in {stderr}");
        }
    }
}

#[test]
fn an_empty_trail_is_valid() {
    let case = Case::new();
    assert_eq!(case.json(&["verify"])["valid_to"], 0);
    assert_eq!(case.json(&["head"])["number"], 0);
    assert_eq!(case.ok(&["log"], ""), "");
    case.fails(&["show", "1"], 65, &["no such block"]);
    case.fails(&["prove", "1"], 64, &["BLOCK/ENTRY"]);
    assert!(!case.path("root").exists(), "looking makes nothing");
}

#[test]
fn events_that_are_none_are_refused_by_number_and_the_others_kept() {
    let case = Case::new();
    let long = format!("\"{}\"", "x".repeat(70_000));
    let input = format!("{{\"a\":1}}\n{{\n\n[2]\n{long}\n\"three\"\n");
    let (code, stdout, stderr) = case.run(&["append", "--source", "test"], &input);
    assert_eq!(code, 65, "{stderr}");
    for word in ["line 2:", "line 5: it is longer than", "2 lines were no events"] {
        assert!(stderr.contains(word), "{word:?} is missing in {stderr}");
    }
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&said["entries"], &said["refused"]), (&json!(3), &json!(2)));
    let entries = case.json(&["show", "1"])["entries"].clone();
    assert_eq!(entries[2], json!({"source": "test", "event": "three"}));
}

#[test]
fn many_events_make_few_blocks() {
    let case = Case::new();
    let input: String = (0..2500).map(|at| format!("{{\"at\":{at}}}\n")).collect();
    let said: Value = serde_json::from_str(&case.ok(&["append", "--source", "test"], &input)).unwrap();
    assert_eq!(said["entries"], 2500);
    assert!(said["blocks"].as_u64().unwrap() <= 25, "{said}");
    assert_eq!(case.json(&["verify"])["entries"], 2500);
    assert_eq!(case.ok(&["export", "--from", "2", "--to", "2"], "").lines().count(), 1);
}

#[test]
fn what_was_changed_is_named() {
    let case = Case::filled(4);
    let whole = fs::read_to_string(case.block(2)).unwrap();
    fs::write(case.block(2), whole.replace("full", "fill")).unwrap();
    case.fails(&["verify"], 7, &["block 2", "its entries were changed", "compare with one from elsewhere"]);
    let (_, stdout, _) = case.run(&["verify"], "");
    let verdict: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&verdict["valid_to"], &verdict["broken"]["number"]), (&json!(1), &json!(2)));
    fs::write(case.block(2), &whole).unwrap();

    fs::write(case.block(4), &fs::read(case.block(4)).unwrap()[..100]).unwrap();
    case.fails(&["verify"], 7, &["block 4", "op-audit repair"]);
    case.ok(&["repair"], "");
    assert_eq!(case.json(&["verify"])["valid_to"], 4);
    assert_eq!(case.json(&["show", "4"])["header"]["kind"], "repair");
    case.fails(&["repair"], 5, &["nothing to repair"]);
}

#[test]
fn signed_heads_anchor_the_trail() {
    let case = Case::filled(3);
    case.ok(&["keygen", "audit.key"], "");
    case.ok(&["keygen", "other.key"], "");
    case.fails(&["keygen", "audit.key"], 1, &["audit.key", "exists"]);
    let first = case.ok(&["head", "--key", "audit.key"], "");
    case.ok(&["append", "--source", "test"], "1");
    fs::write(case.path("heads"), &first).unwrap();
    let verdict = case.json(&["verify", "--against", "heads", "--trusted", "audit.key.pub"]);
    assert_eq!((&verdict["anchored_to"], &verdict["valid_to"]), (&json!(3), &json!(4)));
    let proof = case.ok(&["prove", "3/0"], "");
    fs::write(case.path("proof"), &proof).unwrap();
    let check = ["check-proof", "proof", "--against", "heads", "--trusted", "audit.key.pub"];
    assert_eq!(case.json(&check)["is_anchored"], true);

    case.fails(&["verify", "--against", "heads", "--trusted", "other.key.pub"], 7, &["heads:1", "not trusted"]);
    fs::write(case.path("unsigned"), case.ok(&["head"], "")).unwrap();
    assert_eq!(case.json(&["verify", "--against", "unsigned"])["anchored_to"], 4);
    case.fails(&["verify", "--against", "unsigned", "--trusted", "audit.key.pub"], 7, &["not signed"]);
    // A head that says another number than was signed.
    fs::write(case.path("forged"), first.replace("\"number\":3", "\"number\":2")).unwrap();
    case.fails(&["verify", "--against", "forged", "--trusted", "audit.key.pub"], 7, &["does not fit"]);
    // The end of the trail is cut off.
    fs::remove_file(case.block(4)).unwrap();
    fs::remove_file(case.block(3)).unwrap();
    case.ok(&["verify"], "");
    case.fails(&["verify", "--against", "heads", "--trusted", "audit.key.pub"], 7, &["block 3 is missing"]);

    fs::set_permissions(case.path("audit.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    case.fails(&["head", "--key", "audit.key"], 77, &["others can read"]);
    fs::write(case.path("password"), "p\n").unwrap();
    fs::set_permissions(case.path("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    case.ok(&["keygen", "locked.key", "--password-file", "password"], "");
    case.fails(&["head", "--key", "locked.key"], 65, &["--password-file"]);
    case.ok(&["head", "--key", "locked.key", "--password-file", "password"], "");
}

#[test]
fn what_is_pruned_is_missed_by_nobody() {
    let case = Case::filled(5);
    case.ok(&["keygen", "audit.key"], "");
    case.fails(&["prune", "--before", "2999", "--yes"], 5, &["op-audit keygen"]);
    case.fails(&["prune", "--before", "2999", "--key", "audit.key"], 5, &["--yes"]);
    let old = case.ok(&["head"], "");
    case.ok(&["prune", "--before", "1999", "--key", "audit.key", "--yes"], "");
    assert_eq!(case.json(&["verify"])["valid_to"], 5, "nothing is as old as that");
    case.ok(&["prune", "--before", "2999", "--key", "audit.key", "--yes"], "");
    assert!(!case.block(5).exists() && case.block(6).exists());
    let verdict = case.json(&["verify", "--trusted", "audit.key.pub"]);
    assert_eq!(verdict["pruned"], json!({"to": 5, "entries": 5, "is_checked": true}));
    assert_eq!((&verdict["valid_to"], &verdict["is_valid"]), (&json!(6), &json!(true)));
    // The head from before still vouches for where the rest begins.
    fs::write(case.path("heads"), &old).unwrap();
    assert_eq!(case.json(&["verify", "--against", "heads"])["anchored_to"], 5);
    // It goes on, and goes again.
    case.ok(&["append", "--source", "test"], "6");
    assert_eq!(case.ok(&["log"], "").lines().count(), 2);
    case.ok(&["prune", "--before", "2999", "--key", "audit.key", "--yes"], "");
    let verdict = case.json(&["verify", "--trusted", "audit.key.pub"]);
    assert_eq!((&verdict["pruned"]["to"], &verdict["pruned"]["entries"]), (&json!(7), &json!(6)));

    // Who removes blocks without the key is found out.
    let other = Case::filled(5);
    other.ok(&["keygen", "audit.key"], "");
    fs::remove_file(other.block(1)).unwrap();
    other.fails(&["verify"], 7, &["block 1"]);
    let forger = Case::filled(5);
    forger.ok(&["keygen", "audit.key"], "");
    forger.ok(&["prune", "--before", "2999", "--key", "audit.key", "--yes"], "");
    let public = other.path("audit.key.pub").display().to_string();
    forger.fails(&["verify", "--trusted", &public], 7, &["block 1", "not to be trusted"]);
}

/// Killed while it prunes: what is left is one chain, and pruning again ends it.
#[test]
fn a_broken_off_pruning_is_finished() {
    let case = Case::filled(5);
    case.ok(&["keygen", "audit.key"], "");
    let kept: Vec<Vec<u8>> = (1..=5).map(|number| fs::read(case.block(number)).unwrap()).collect();
    case.ok(&["prune", "--before", "2999", "--key", "audit.key", "--yes"], "");
    for number in 3..=5 {
        fs::write(case.block(number), &kept[usize::try_from(number).unwrap() - 1]).unwrap();
    }
    let verdict = case.json(&["verify", "--trusted", "audit.key.pub"]);
    assert_eq!((&verdict["pruned"]["left"], &verdict["is_valid"]), (&json!(3), &json!(true)));
    case.ok(&["append", "--source", "test"], "1");
    fs::write(case.block(4), &kept[2]).unwrap();
    case.fails(&["verify"], 7, &["block 4"]);
    fs::write(case.block(4), &kept[3]).unwrap();
    case.ok(&["prune", "--before", "2999", "--key", "audit.key", "--yes"], "");
    assert!(!case.block(3).exists() && !case.block(5).exists());
    assert_eq!(case.json(&["verify", "--trusted", "audit.key.pub"])["is_valid"], true);
}

#[test]
fn words_find_what_was_done_and_not_its_opposite() {
    let case = Case::new();
    let event = |text: &str| case.ok(&["append", "--source", "test"], &json!({"text": text}).to_string());
    event("Start container 100");
    event("disk sda is full");
    let found = case.json(&["search", "containers"]);
    assert_eq!((&found["hits"][0]["block"], &found["by"]), (&json!(1), &json!("words")));
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
    let (code, ..) = case.run(&["search", "network"], "");
    assert_eq!(code, 3, "no answer");
    assert_eq!(case.run(&["search", "disk", "--until", "2001"], "").0, 3);
    assert_eq!(case.json(&["anomalies"])["is_learning"], true);
    assert!(case.ok(&["anomalies", "--no-json"], "").contains("Learning: 0 runs"));
}

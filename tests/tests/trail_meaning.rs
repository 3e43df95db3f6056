//! The trail and `op-embed`: asked on the side, filled in later, never waited for; and what is found with it.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::audit::block::Kind;
use op_dbus::audit::chain::{Chain, Draft};
use op_dbus::audit::{Actor, vectors};
use op_dbus::store::StateRoot;
use op_dbus_tests::ops::wait_until;
use op_dbus_tests::private_bus::{PrivateBus, spawn};
use op_dbus_tests::program;
use op_dbus_tests::synth::Synth;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn run(name: &str, root: &Path, level: &str, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program(name));
    command.args(args).arg("--root").arg(root).env("OP_DBUS_EMBED_LEVEL", level);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn ok(name: &str, root: &Path, args: &[&str], stdin: &str) -> Value {
    let output = run(name, root, "low", args, stdin);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn block(root: &Path, number: u64) -> Value {
    ok("op-audit", root, &["show", &number.to_string()], "")
}

/// A phrase that is repeated is a hit, by the counters of report and block; and nothing waits for op-embed.
#[test]
fn repeated_phrases_are_hits() {
    let bus = PrivateBus::start();
    let synth = Synth::start(&bus, 7, &[]);
    let folder = tempfile::tempdir().unwrap();
    synth.spec.write_plugin(&folder.path().join("mappings")).unwrap();
    let root = folder.path().join("root");
    let keys = synth.spec.writable_keys();
    let key = *keys.iter().find(|key| synth.spec.other_value(key, 1).is_some()).unwrap();
    let document =
        |n: u64| json!({"plugins": {&synth.spec.plugin: {key: synth.spec.other_value(key, n).unwrap().json()}}});
    let apply = |level: &str, n: u64| -> Value {
        let mut command = Command::new(program("op-apply"));
        command.args(["--yes", "--allow-irreversible", "--address", bus.address(), "--root"]).arg(&root);
        command.env("OP_DBUS_MAPPINGS", folder.path().join("mappings")).env("OP_DBUS_EMBED_LEVEL", level);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(document(n).to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Without op-embed nothing is missing but the vectors.
    assert!(apply("none", 1).get("embeddings").is_none());
    apply("none", 2);
    assert!(ok("op-audit", &root, &["verify"], "")["is_valid"].as_bool().unwrap());
    assert!(!root.join("@vectors/blocks").exists());
    let none = run("op-audit", &root, "none", &["embed"], "");
    assert_eq!(none.status.code(), Some(69), "{none:?}");
    // They are filled in later.
    let filled = ok("op-audit", &root, &["embed"], "");
    assert_eq!((&filled["blocks"], &filled["left"]), (&json!(4), &json!(0)), "{filled}");
    assert!(filled["misses"].as_u64().unwrap() > 0, "{filled}");
    assert_eq!(ok("op-audit", &root, &["embed"], "")["blocks"], 0);
    // The same phrases again: the program answers from its cache, if it is done before the run is.
    let hits = |report: &Value| report["embeddings"]["hits"].as_u64().unwrap_or_default();
    let mut last = Value::Null;
    let mut is_hit = || {
        for n in [1, 2] {
            last = apply("low", n);
        }
        hits(&last) > 0
    };
    wait_until("a run hears of its hits", &mut is_hit);
    let number = ok("op-audit", &root, &["verify"], "")["valid_to"].as_u64().unwrap();
    let outcome = block(&root, number);
    assert_eq!(outcome["header"]["detail"]["embeddings"], last["embeddings"]);
    assert_eq!(last["embeddings"]["misses"], 0);
    for number in [number - 1, number] {
        assert!(root.join(format!("@vectors/blocks/{number}.bin")).exists(), "block {number} has its vectors");
    }
    // A server on the root's socket is asked rather than the program.
    let mut server = Command::new(program("op-embed"));
    server.args(["serve", "--root"]).arg(&root).stderr(Stdio::null()).stdout(Stdio::null());
    let mut server = spawn(server);
    wait_until("it listens", || root.join("embed.sock").exists());
    wait_until("a run hears of its hits", || hits(&apply("low", 1)) + hits(&apply("low", 2)) > 1);
    assert_eq!(ok("op-audit", &root, &["search", key], "")["by"], "meaning");
    server.kill().unwrap();
    server.wait().unwrap();

    // All of it is derived.
    std::fs::remove_dir_all(root.join("@vectors")).unwrap();
    std::fs::remove_dir_all(root.join("@cache")).unwrap();
    ok("op-audit", &root, &["verify"], "");
    let found = ok("op-audit", &root, &["search", key], "");
    assert_eq!((&found["by"], found.get("without_vectors")), (&json!("meaning"), None), "{found}");
    // Vectors of another block, and files that are none, count for nothing and are made anew.
    let folder = root.join("@vectors/blocks");
    std::fs::copy(folder.join("1.bin"), folder.join("2.bin")).unwrap();
    std::fs::write(folder.join("3.bin"), "junk").unwrap();
    assert_eq!(ok("op-audit", &root, &["embed"], "")["blocks"], 2);
}

/// A past of five days, with `planted` at its end.
fn past(root: &Path, planted: &[&str]) -> Chain {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NOW: AtomicU64 = AtomicU64::new(0);
    NOW.store(1_700_000_000 / 86_400 * 86_400 + 9 * 3600, Ordering::Relaxed);
    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::Relaxed))
    }
    let chain = Chain::open(&StateRoot::find(Some(root)).unwrap()).unwrap().timed_by(clock);
    let write = |title: String| {
        let entries = vec![json!({"id": "1", "plugin": "machine", "resources": ["machine/things"], "title": title})];
        let draft = Draft {
            kind: Kind::Intent,
            run: None,
            actor: Actor { uid: Some(0), ..Actor::default() },
            program: "test 1".into(),
            detail: None,
            entries,
        };
        drop(chain.append(draft).unwrap());
        // Eight a day, an hour apart.
        let now = NOW.fetch_add(3600, Ordering::Relaxed);
        if now % 86_400 / 3600 == 16 {
            NOW.fetch_add(16 * 3600, Ordering::Relaxed);
        }
    };
    let packages = ["curl", "vim", "htop", "nginx", "git", "tmux", "rsync", "jq", "postgresql", "chrony"];
    for n in 0..80_usize {
        write(match n % 4 {
            0 => format!("Install {}", packages[n / 4 % 10]),
            1 => format!("Set location to \"rack {}\"", n / 4),
            2 => format!("Start container {}", 100 + n / 4),
            _ => format!("Remove {}", packages[n / 4 % 10]),
        });
    }
    planted.iter().for_each(|title| write((*title).to_owned()));
    chain
}

#[test]
fn what_is_like_nothing_before_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let novel = |name: &str, planted: &[&str]| -> Vec<String> {
        let root = folder.path().join(name);
        let chain = past(&root, planted);
        assert_eq!(ok("op-audit", &root, &["embed"], "")["left"], 0);
        let digest = chain.read(1).unwrap().digest;
        assert_eq!(vectors::read(&chain, 1, &digest).unwrap().vectors.len(), 1);
        let found = ok("op-audit", &root, &["anomalies"], "");
        assert_eq!(found["is_learning"], false);
        let of = found["anomalies"].as_array().unwrap().iter().filter(|one| one["what"] == "novelty");
        of.map(|one| one["why"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(novel("clean", &["Install zsh", "Start container 190", "Set location to \"rack 44\""]), [""; 0]);
    let strange = "Let user mallory read everybody's mail without a password";
    let found = novel("planted", &["Install zsh", strange, "Start container 191"]);
    assert!(found.len() == 1 && found[0].contains("mallory"), "{found:?}");
}

//! What machines do to a trail and to those who write it: services that die at any call, power that fails at any instant,
//! a prune that is killed at any write.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is the report; counts show with --nocapture"
)]

mod trail_case;

use op_dbus_tests::disk::{Disk, Kind};
use op_dbus_tests::synth::Synth;
use op_dbus_tests::synth::random::Rng;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trail_case::Case;

/// The service ends at its N-th call: before it did what it was to do, after it, and after it said so. What it had is
/// gone with it, so what is there afterwards is what it starts with.
#[test]
fn the_service_is_killed_at_every_call() {
    let mut case = Case::start(7);
    let [_, two] = case.documents();
    let started = case.truth();
    let mut deaths = 0;
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    for when in ["before", "between", "after"] {
        for at in 1.. {
            case.control.set_faults(&[&format!("vanish={when}@*:{at}")]);
            let output = case.apply(&[], &two);
            let context = format!("{when} call {at}: {}", String::from_utf8_lossy(&output.stderr));
            case.verify();
            let has_died = !case.synth.is_running();
            let code = output.status.code().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            match (code, has_died) {
                (0, false) => assert_ne!(case.truth(), started, "{context}"),
                // It was killed after the last call that mattered.
                (0, true) => assert_eq!(report["outcome"], "applied", "{context}"),
                (4, true) => assert!(!report["residue"].as_array().unwrap().is_empty(), "{context}"),
                (1 | 5 | 69, true) => assert_ne!(report["outcome"], "applied", "{context}"),
                other => panic!("{other:?} {context}"),
            }
            *outcomes.entry(format!("{} {code}", report["outcome"])).or_default() += 1;
            deaths += u32::from(has_died);
            sh(&format!("kill -9 {} 2>/dev/null || true", case.synth.pid()));
            while case.synth.is_running() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let (seed, service) = (case.synth.spec.seed, case.synth.spec.service.clone());
            case.synth = Synth::start(&case.bus, seed, &[]);
            assert_eq!(case.synth.spec.service, service);
            case.control = case.synth.control();
            assert_eq!(case.truth(), started, "{context}");
            // Nothing is left open: each run has said how it ended.
            let (code, recovery) = case.recover();
            assert_eq!((code, &recovery["runs"]), (0, &json!([])), "{context}");
            case.verify();
            if !has_died {
                break;
            }
            assert!(at < 300, "{context}");
        }
    }
    eprintln!("the service died {deaths} times: {outcomes:?}");
    assert!(deaths > 20, "{deaths}");
}

fn sh(script: &str) {
    let done = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The power fails at a random instant of an apply: what the device held then is what is there afterwards. The service
/// is another machine's, so to say: it stays as it is.
#[test]
fn the_power_fails() {
    let outer = Disk::new(Kind::Btrfs, "1G");
    let image = outer.path().join("image");
    let i = image.display();
    sh(&format!("truncate -s 128M {i} && mkfs.btrfs -q {i}"));
    let mut case = Case::start(7);
    let [one, two] = case.documents();
    let mut disk = Disk::on(&image);
    case.root = disk.path().join("root");
    assert!(case.apply(&[], &one).status.success());
    let begun = Instant::now();
    assert!(case.apply(&[], &two).status.success());
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut rng = Rng::new(seed);
    let (mut torn, mut taken_back) = (0, 0);
    for cut in 0..30 {
        let before = case.truth();
        let want = [&one, &two][cut % 2];
        let known = case.verify()["valid_to"].as_u64().unwrap();
        let mut running = case.start_apply(want);
        std::thread::sleep(Duration::from_micros(rng.below(usize::try_from(took).unwrap()) as u64));
        // Everything stands still, the device is copied in one step, and nobody goes on.
        sh(&format!("kill -STOP {} 2>/dev/null; cp --reflink=always {i} {i}.cut", running.id()));
        let _ = running.kill();
        let _ = running.wait();
        drop(disk);
        sh(&format!("mv {i}.cut {i}; btrfs device scan --forget || true"));
        disk = Disk::on(&image);
        case.root = disk.path().join("root");
        let context = format!("seed {seed}, cut {cut}");

        let verdict = case.run(&[], "op-audit", &["verify"], "");
        if !verdict.status.success() {
            let verdict: Value = serde_json::from_slice(&verdict.stdout).unwrap();
            assert_eq!(verdict["broken"]["is_torn"], true, "{context}: {verdict}");
            assert!(case.run(&[], "op-audit", &["repair"], "").status.success(), "{context}");
            torn += 1;
        }
        // What was said to be recorded is.
        assert!(case.verify()["valid_to"].as_u64().unwrap() >= known, "{context}");
        let (code, recovery) = case.recover();
        assert_eq!(code, 0, "{context}: {recovery}");
        let runs = recovery["runs"].as_array().unwrap().len();
        taken_back += runs;
        let now = case.truth();
        if runs > 0 {
            assert_eq!(now, before, "{context}: {recovery}");
        }
        case.verify();
        assert_eq!(case.recover().1["runs"], json!([]), "{context}: once is enough");
        // And it goes on from there: each call was made by a run that is on record.
        assert!(case.apply(&[], [&two, &one][cut % 2]).status.success(), "{context}");
        assert!(case.apply(&[], want).status.success(), "{context}");
    }
    eprintln!("30 cuts: {torn} blocks were torn, {taken_back} runs were taken back");
    assert!(taken_back > 2, "{taken_back}");
}

/// By which a file is written, made to last, or taken away.
const WRITES: &str = "write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,flock";

#[test]
fn a_prune_that_is_killed_at_every_write_is_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (root, key) = (folder.path().join("root"), folder.path().join("key"));
    let audit = |before: &[&str], args: &[&str], stdin: Stdio| {
        let program = op_dbus_tests::program("op-audit").display().to_string();
        let argv: Vec<&str> = before.iter().copied().chain([program.as_str()]).chain(args.iter().copied()).collect();
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).arg("--root").arg(&root).env_remove("OP_DBUS_AUDIT_KEY").stdin(stdin);
        command.output().unwrap()
    };
    let ok = |args: &[&str]| {
        let output = audit(&[], args, Stdio::null());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    let key = key.display().to_string();
    ok(&["keygen", &key]);
    let public = format!("{key}.pub");
    let line = folder.path().join("line");
    std::fs::write(&line, "{\"a\":1}\n").unwrap();
    let append = || {
        let file = std::fs::File::open(&line).unwrap();
        assert!(audit(&[], &["append", "--source", "test"], file.into()).status.success());
    };
    (0..5).for_each(|_| append());
    let prune = ["prune", "--before", "2999", "--key", &key, "--yes"];
    let mut killed = 0;
    // strace counts each call by itself.
    for call in WRITES.split(',') {
        for at in 1.. {
            let (inject, trace) = (format!("inject={call}:signal=SIGKILL:when={at}"), format!("trace={call}"));
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let output = audit(&strace, &prune, Stdio::null());
            let verdict = ok(&["verify", "--trusted", &public]);
            assert_eq!(verdict["is_valid"], true, "{call} {at}: {verdict}");
            append();
            ok(&["verify", "--trusted", &public]);
            ok(&prune);
            let verdict = ok(&["verify", "--trusted", &public]);
            assert!(verdict["pruned"].get("left").is_none(), "{call} {at}: {verdict}");
            (0..3).for_each(|_| append());
            if output.status.success() {
                break;
            }
            killed += 1;
            assert!(killed < 400);
        }
    }
    eprintln!("killed {killed} times");
    assert!(killed > 5, "{killed}");
}

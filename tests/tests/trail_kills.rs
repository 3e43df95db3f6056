//! Killed at every single write, on a service it cannot know: the trail is whole each time, what is there is what was
//! before, what was wanted, or taken back; and one recovery is enough.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is the report; counts show with --nocapture"
)]

mod trail_case;

use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use trail_case::Case;

/// Everything by which a process changes a file, makes it last, or says something.
const WRITES: &str = "write,pwrite64,writev,fsync,fdatasync,fallocate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,\
                      mkdir,mkdirat,sendmsg,sendto,flock";

/// The first of each call, the second and so on: strace counts each by itself.
fn writes() -> impl Iterator<Item = (&'static str, u32)> {
    WRITES.split(',').flat_map(|call| (1..400).map(move |at| (call, at)))
}

#[test]
fn killed_at_every_write() {
    let mut case = Case::start(7);
    let [one, two] = case.documents();
    assert!(case.apply(&[], &one).status.success());
    let started = case.truth();
    assert!(case.apply(&[], &two).status.success());
    let wanted = case.truth();
    assert_ne!(started, wanted);
    assert!(case.apply(&[], &one).status.success());

    let (mut killed, mut taken_back, mut done) = (0, 0, 0);
    let mut done_with = BTreeSet::new();
    for (call, at) in writes() {
        if done_with.contains(call) {
            continue;
        }
        assert_eq!(case.truth(), started);
        let inject = format!("inject={call}:signal=SIGKILL:when={at}");
        let trace = format!("trace={call}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = case.apply(&strace, &two);
        let was_killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
        case.verify();
        let (code, recovery) = case.recover();
        assert_eq!(code, 0, "{call} {at}: {recovery}");
        case.verify();
        let now = case.truth();
        match recovery["runs"].as_array().unwrap().len() {
            0 => assert!(now == started || now == wanted, "{call} {at}: {now} is neither {started} nor {wanted}"),
            _ => assert_eq!(now, started, "{call} {at}: {recovery}"),
        }
        taken_back += usize::from(recovery["runs"] != json!([]));
        assert_eq!(case.recover().1["runs"], json!([]), "{call} {at}: once is enough");
        if now == wanted {
            done += 1;
            assert!(case.apply(&[], &one).status.success(), "{call} {at}");
        }
        if !was_killed {
            assert!(output.status.success(), "{output:?}");
            done_with.insert(call);
            continue;
        }
        killed += 1;
        assert!(killed < 2000);
    }
    eprintln!("killed {killed} times: {taken_back} runs were taken back, {done} had done all");
    assert!(killed > 40 && taken_back > 20, "killed {killed}, taken back {taken_back}");
}

/// The recovery itself is killed at every write: the next one goes on.
#[test]
fn a_killed_recovery_is_recovered() {
    let mut case = Case::start(7);
    let [one, two] = case.documents();
    assert!(case.apply(&[], &one).status.success());
    let started = case.truth();
    let mut recoveries = 0;
    let mut done_with = BTreeSet::new();
    for (call, at) in writes() {
        if done_with.contains(call) {
            continue;
        }
        // Killed late enough that calls were made: when the outcome is about to be written.
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=unlink,unlinkat",
            "-e",
            "inject=unlink,unlinkat:signal=SIGKILL:when=1",
        ];
        let killed = case.apply(&strace, &two);
        assert!(!killed.status.success());
        let inject = format!("inject={call}:signal=SIGKILL:when={at}");
        let trace = format!("trace={call}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = case.run(&strace, "op-apply", &["--recover"], "");
        case.verify();
        let (code, recovery) = case.recover();
        assert_eq!((code, case.truth()), (0, started.clone()), "{call} {at}: {recovery}");
        case.verify();
        if output.status.success() {
            done_with.insert(call);
            continue;
        }
        recoveries += 1;
        assert!(recoveries < 1000);
    }
    assert!(recoveries > 10, "{recoveries}");
}

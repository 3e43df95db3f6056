//! Killed at every single write, on a service it cannot know: the trail is whole each time, what is there is what was
//! before, what was wanted, or taken back; and one recovery is enough.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is the report; counts show with --nocapture"
)]

use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::program;
use op_dbus_tests::synth::{Control, Synth};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Everything by which a process changes a file, makes it last, or says something.
const WRITES: &str = "write,pwrite64,writev,fsync,fdatasync,fallocate,ftruncate,rename,renameat,renameat2,unlink,unlinkat,\
                      mkdir,mkdirat,sendmsg,sendto,flock";

struct Case {
    bus: PrivateBus,
    synth: Synth,
    control: Control,
    folder: TempDir,
}

impl Case {
    fn start(seed: u64) -> Self {
        let bus = PrivateBus::start();
        let synth = Synth::start(&bus, seed, &[]);
        let folder = tempfile::tempdir().unwrap();
        synth.spec.write_plugin(&folder.path().join("mappings")).unwrap();
        Self { control: synth.control(), bus, synth, folder }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    fn run(&self, before: &[&str], name: &str, args: &[&str], stdin: &str) -> Output {
        let program = program(name);
        let argv: Vec<&Path> = before.iter().map(Path::new).chain([program.as_path()]).collect();
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).args(args).args(["--address", self.bus.address(), "--root"]).arg(self.root());
        command.env("OP_DBUS_MAPPINGS", self.folder.path().join("mappings"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn apply(&self, before: &[&str], document: &Value) -> Output {
        self.run(before, "op-apply", &["--yes", "--allow-irreversible"], &document.to_string())
    }

    #[track_caller]
    fn verify(&self) -> Value {
        let verdict = self.run(&[], "op-audit", &["verify"], "");
        assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
        serde_json::from_slice(&verdict.stdout).unwrap()
    }

    fn recover(&self) -> (i32, Value) {
        let output = self.run(&[], "op-apply", &["--recover"], "");
        let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code().unwrap(), document)
    }

    fn truth(&mut self) -> Value {
        self.control.dump()["keys"].clone()
    }

    /// Two values for the first key that is written by one call and read back.
    fn documents(&self) -> [Value; 2] {
        let spec = &self.synth.spec;
        let keys: Vec<&str> =
            spec.writable_keys().into_iter().filter(|key| spec.other_value(key, 1).is_some()).collect();
        [1, 2].map(|n| {
            let values: serde_json::Map<String, Value> =
                keys.iter().take(3).map(|key| ((*key).to_owned(), spec.other_value(key, n).unwrap().json())).collect();
            json!({"plugins": {&spec.plugin: values}})
        })
    }
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
    for at in 1.. {
        assert_eq!(case.truth(), started);
        let inject = format!("inject={WRITES}:signal=SIGKILL:when={at}");
        let trace = format!("trace={WRITES}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = case.apply(&strace, &two);
        let was_killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
        case.verify();
        let (code, recovery) = case.recover();
        assert_eq!(code, 0, "kill {at}: {recovery}");
        case.verify();
        let now = case.truth();
        match recovery["runs"].as_array().unwrap().len() {
            0 => assert!(now == started || now == wanted, "kill {at}: {now} is neither {started} nor {wanted}"),
            _ => assert_eq!(now, started, "kill {at}: {recovery}"),
        }
        taken_back += usize::from(recovery["runs"] != json!([]));
        assert_eq!(case.recover().1["runs"], json!([]), "kill {at}: once is enough");
        if now == wanted {
            done += 1;
            assert!(case.apply(&[], &one).status.success(), "kill {at}");
        }
        if !was_killed {
            assert!(output.status.success(), "{output:?}");
            break;
        }
        killed += 1;
        assert!(killed < 2000);
    }
    eprintln!("killed {killed} times: {taken_back} runs were taken back, {done} had done all");
    assert!(killed > 30 && taken_back > 10, "killed {killed}, taken back {taken_back}");
}

/// The recovery itself is killed at every write: the next one goes on.
#[test]
fn a_killed_recovery_is_recovered() {
    let mut case = Case::start(7);
    let [one, two] = case.documents();
    assert!(case.apply(&[], &one).status.success());
    let started = case.truth();
    let mut recoveries = 0;
    for at in (1..).step_by(3) {
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
        let inject = format!("inject={WRITES}:signal=SIGKILL:when={at}");
        let trace = format!("trace={WRITES}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = case.run(&strace, "op-apply", &["--recover"], "");
        case.verify();
        let (code, recovery) = case.recover();
        assert_eq!((code, case.truth()), (0, started.clone()), "kill {at}: {recovery}");
        case.verify();
        if output.status.success() {
            break;
        }
        recoveries += 1;
        assert!(recoveries < 1000);
    }
    assert!(recoveries > 10, "{recoveries}");
}

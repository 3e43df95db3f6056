//! Installs, rollbacks, removals, adoptions, upgrades and refreshes that are killed, or find no room, at every call by which
//! something is written: the old version or the new one is active and whole, the audit trail tells of both, and the next
//! run tidies up.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::lamp::{Case, one_of_each};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// The calls by which something is written, or comes to be written.
const WRITING: &str = "openat,openat2,write,pwrite64,mkdir,mkdirat,rename,renameat2,unlink,unlinkat,rmdir,ftruncate,fsync,\
                       fdatasync,syncfs,ioctl,chmod,fchmod,fsetxattr,setxattr,utimensat,copy_file_range,flock,sendfile";

/// A call, and the how manieth of its kind.
type Place = (String, u32);

/// Where a command makes those calls.
fn calls(case: &Case, args: &[&str]) -> Vec<Place> {
    let log = case.desk.path().join("strace.log");
    let ended = traced(case, args, &["-o", log.to_str().unwrap(), "-e", &format!("trace={WRITING}")]);
    assert_eq!(ended, Some(0));
    let (mut counts, mut places): (BTreeMap<String, u32>, Vec<Place>) = Default::default();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let call =
            line.split_whitespace().nth(1).and_then(|call| call.split_once('(')).map(|(name, _)| name.to_owned());
        if let Some(name) = call.filter(|name| WRITING.split(',').any(|known| known == name)) {
            let number = counts.entry(name.clone()).or_default();
            *number += 1;
            // Between two openings for reading nothing has changed.
            if !name.starts_with("openat") || line.contains("O_CREAT") || line.contains("O_WRONLY") {
                places.push((name, *number));
            }
        }
    }
    assert!(places.len() > 20, "{counts:?}");
    places
}

fn traced(case: &Case, args: &[&str], options: &[&str]) -> Option<i32> {
    let output = Command::new("strace")
        .arg("-f")
        .args(options)
        .arg(op_dbus_tests::program("op-install"))
        .args(args)
        .env("OP_DBUS_ROOT", case.desk.root())
        .env("OP_DBUS_MAPPINGS", case.desk.path().join("none"))
        .env("OP_DBUS_TRUSTED_KEYS", case.desk.path().join("keys"))
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .output()
        .unwrap();
    output.status.code()
}

/// Runs `args` from the state that `prepare` makes, hurt in every writing call, one at a time. Afterwards one of `fine`
/// is active, and the same command done again succeeds, or says by the code `is_done` that nothing is left to do.
fn hurt_everywhere(
    case: &Case,
    injury: &str,
    prepare: &dyn Fn(),
    args: &[&str],
    fine: &[Option<&str>],
    is_done: Option<i32>,
) {
    prepare();
    let places = calls(case, args);
    let mut seen = BTreeMap::new();
    // What was broken off at its very end is told, and swept, by the next change.
    let prepare_after = |context: &str| {
        prepare();
        case.told(context);
        case.sweeps(context);
    };
    let mut before = "nothing".to_owned();
    for (call, number) in places {
        prepare_after(&before);
        let inject = format!("inject={call}:{injury}:when={number}");
        let code = traced(case, args, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let context = format!("{} {inject} ended with {code:?}", args[0]);
        let version = case.whole(&context);
        assert!(fine.contains(&version), "{context}: {version:?}");
        let last = *fine.last().unwrap();
        assert!(code != Some(0) || version == last, "{context}: {version:?}");
        *seen.entry(version).or_insert(0) += 1;
        let again = case.desk.run("op-install", args);
        assert!(again.code == 0 || version == last && is_done == Some(again.code), "{context}: {again:?}");
        assert_eq!(case.whole(&context), last, "{context}");
        // It may have been done already, but for its very end.
        if let Some(version) = last {
            let settled = case.desk.run("op-install", &["rollback", "lamp", "--to", version]);
            assert_eq!(settled.code, 0, "{context}: {settled:?}");
        }
        case.sealed(&context);
        let verified = case.desk.run("op-install", &["verify"]);
        assert_eq!(verified.code, 0, "{context}: {verified:?}");
        before = context;
    }
    prepare_after(&before);
    assert_eq!(seen.len(), fine.len(), "each is seen at some point: {seen:?}");
}

fn hurt_installs(injury: &str) {
    for (_, disk) in one_of_each() {
        let case = Case::new(&disk.path().join("root"));
        let remove = || {
            let _ = case.desk.run("op-install", &["remove", "lamp", "--yes"]);
        };
        let package = case.packages["1.0.0"].display().to_string();
        hurt_everywhere(&case, injury, &remove, &["install", &package], &[None, Some("1.0.0")], None);
        let older = || {
            remove();
            case.install("1.0.0");
        };
        let package = case.packages["1.1.0"].display().to_string();
        hurt_everywhere(&case, injury, &older, &["install", &package], &[Some("1.0.0"), Some("1.1.0")], None);
    }
}

#[test]
fn killed_at_every_call_of_an_install() {
    hurt_installs("signal=KILL");
}

#[test]
fn the_disk_is_full_at_every_call_of_an_install() {
    hurt_installs("error=ENOSPC");
}

#[test]
fn killed_at_every_call_of_a_rollback() {
    for (_, disk) in one_of_each() {
        let case = Case::new(&disk.path().join("root"));
        for version in ["1.0.0", "1.1.0"] {
            case.install(version);
        }
        let newer = || drop(case.desk.run("op-install", &["rollback", "lamp", "--to", "1.1.0"]));
        let back = ["rollback", "lamp", "--to", "1.0.0"];
        hurt_everywhere(&case, "signal=KILL", &newer, &back, &[Some("1.1.0"), Some("1.0.0")], None);
        // Without the folder that was active before, a snapshot is made.
        let newer = || {
            newer();
            let _ = Command::new("btrfs")
                .args(["subvolume", "delete"])
                .arg(case.desk.root().join(".standby-lamp"))
                .output();
            let _ = fs::remove_dir_all(case.desk.root().join(".standby-lamp"));
        };
        hurt_everywhere(&case, "signal=KILL", &newer, &back, &[Some("1.1.0"), Some("1.0.0")], None);
    }
}

#[test]
fn hurt_at_every_call_of_a_removal() {
    for injury in ["signal=KILL", "error=ENOSPC"] {
        for (_, disk) in one_of_each() {
            let case = Case::new(&disk.path().join("root"));
            let both = || ["1.0.0", "1.1.0"].into_iter().for_each(|version| case.install(version));
            let remove = ["remove", "lamp", "--yes"];
            hurt_everywhere(&case, injury, &both, &remove, &[Some("1.1.0"), None], Some(65));
            both();
            assert_eq!(case.desk.run("op-install", &remove).code, 0);
            let left = fs::read_dir(case.desk.root().join("@plugin-snapshots")).unwrap().count();
            assert_eq!(left, 0, "no version is left");
        }
    }
}

#[test]
fn hurt_at_every_call_of_an_adoption() {
    for injury in ["signal=KILL", "error=ENOSPC"] {
        for (name, disk) in one_of_each() {
            let case = Case::new(&disk.path().join("root"));
            let snapshots = case.desk.root().join("@plugin-snapshots");
            let package = case.packages["1.0.0"].display().to_string();
            case.install("1.1.0");
            let by_hand = || {
                let _ = case.desk.run("op-install", &["remove", "lamp", "--yes"]);
                let received = snapshots.join("lamp@v1.0.0");
                let script = match name {
                    "btrfs" => format!("zstd -qd < {package} | btrfs receive -q {}", snapshots.display()),
                    _ => format!("cp -r {}/1.0.0 {}", case.desk.path().display(), received.display()),
                };
                let done = Command::new("sh").arg("-c").arg(&script).output().unwrap();
                assert!(done.status.success(), "{script}: {done:?}");
            };
            let adopt = ["adopt", "lamp", "--package", &package];
            hurt_everywhere(&case, injury, &by_hand, &adopt, &[None, Some("1.0.0")], Some(65));
        }
    }
}

#[test]
fn hurt_at_every_call_of_an_upgrade() {
    for injury in ["signal=KILL", "error=ENOSPC"] {
        for (_, disk) in one_of_each() {
            let case = Case::new(&disk.path().join("root"));
            let run = |args: &[&str]| {
                let ended = case.desk.run("op-install", args);
                assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
            };
            run(&["registry", "build", ".", "--key", "publisher.key", "--name", "site"]);
            run(&["registry", "add", "."]);
            let older = || {
                let _ = case.desk.run("op-install", &["remove", "lamp", "--yes"]);
                run(&["lamp@1.0.0"]);
            };
            hurt_everywhere(&case, injury, &older, &["upgrade", "lamp"], &[Some("1.0.0"), Some("1.2.0")], None);
        }
    }
}

/// What is known of a registry is the old index or the new one, with its signature, wherever it is hurt.
#[test]
fn hurt_at_every_call_of_a_refresh() {
    for injury in ["signal=KILL", "error=ENOSPC"] {
        for (_, disk) in one_of_each() {
            let case = Case::new(&disk.path().join("root"));
            let registry = || {
                let listed = case.desk.run("op-install", &["registry", "list"]).json();
                let registry = &listed["registries"][0];
                assert_eq!(registry["problem"], serde_json::Value::Null, "{registry}");
                registry["number"].as_u64().unwrap()
            };
            let build = || {
                // An index that says the same keeps its number.
                let yank =
                    if number_of(&case).is_multiple_of(2) { "--yank=lamp@1.1.0=x" } else { "--unyank=lamp@1.1.0" };
                let args = ["registry", "build", ".", "--key", "publisher.key", "--name", "site", yank];
                let built = case.desk.run("op-install", &args);
                assert_eq!(built.code, 0, "{built:?}");
            };
            build();
            assert_eq!(case.desk.run("op-install", &["registry", "add", "."]).code, 0);
            build();
            let refresh = ["registry", "refresh"];
            let places = calls(&case, &refresh);
            let (mut old, mut new) = (0, 0);
            for (call, number) in places {
                build();
                let before = registry();
                let inject = format!("inject={call}:{injury}:when={number}");
                let _ = traced(&case, &refresh, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
                match registry() {
                    after if after == before => old += 1,
                    after if after == number_of(&case) => new += 1,
                    other => panic!("{inject}: index {other}"),
                }
                assert_eq!(case.desk.run("op-install", &refresh).code, 0, "{inject}");
                assert_eq!(registry(), number_of(&case), "{inject}");
                let left = fs::read_dir(case.desk.root().join("@state/registries")).unwrap().count();
                assert_eq!(left, 1, "{inject}");
            }
            assert!(old > 0 && new > 0, "{old} times the old one, {new} times the new one");
        }
    }
}

/// The number of the index that lies in the registry's folder; 0 when there is none.
fn number_of(case: &Case) -> u64 {
    let Ok(text) = fs::read_to_string(case.desk.path().join("index.json")) else { return 0 };
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["number"].as_u64().unwrap()
}

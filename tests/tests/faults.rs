//! What goes wrong on real services: each time the right exit code, and nothing changed or everything undone.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{
    apply, failed, fails, host_and_zone, install, is_installed, pid, property, signal, start, wait_until, write,
};
use op_dbus_tests::root::{Output, RealRoot, Session, SessionOptions};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const HOSTNAME: &str = "org.freedesktop.hostname1";
const TIMEDATE: &str = "org.freedesktop.timedate1";
const PACKAGEKIT: &str = "org.freedesktop.PackageKit";

fn located(place: &str) -> Value {
    json!({"plugins": {"hostname": {"location": place}}})
}

fn location(session: &Session) -> Value {
    property(session, HOSTNAME, "Location")
}

/// Puts a package into the repository whose installation waits until `/run/go` is there. It needs another package.
fn waiting_package(session: &Session) {
    let wait = "touch /run/waits; while [ ! -e /run/go ]; do sleep 0.05; done";
    session.run(&["op-repo", "add", "waiting-op", "1.0", "hello-lib-op", wait], "").ok();
    session.run(&["apt-get", "-qq", "update"], "").ok();
}

fn exists(session: &Session, path: &str) -> bool {
    session.run(&["test", "-e", path], "").code == 0
}

/// Lets packages come last, so that everything else was done before they fail.
fn packages_last(session: &Session) {
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/packagekit/semantic-mapping.toml");
    let after = "[dependencies]\nhostname = \"*\"\ntimedate = \"*\"\n";
    install(session, "packagekit", PACKAGEKIT, after, &fs::read_to_string(mapping).unwrap());
}

fn host_zone_and(package: &str) -> Value {
    json!({"plugins": {
        "hostname": {"static_hostname": "web-1"},
        "timedate": {"timezone": "Europe/Vienna"},
        "packagekit": {"packages": [package]},
    }})
}

fn results(report: &Output) -> Vec<String> {
    let actions = report.json()["actions"].as_array().cloned().unwrap();
    actions.iter().map(|action| action["result"].as_str().unwrap().to_owned()).collect()
}

/// Keeps the lock that whoever installs packages must have, until the session ends.
fn hold_package_lock(session: &Session) {
    let hold = "import fcntl, time\n\
                locks = [open('/var/lib/dpkg/' + name, 'w') for name in ('lock-frontend', 'lock')]\n\
                for lock in locks: fcntl.lockf(lock, fcntl.LOCK_EX)\n\
                open('/run/held', 'w').close()\n\
                time.sleep(3600)\n";
    drop(session.spawn(&["python3", "-c", hold], ""));
    wait_until("the lock is held", || exists(session, "/run/held"));
}

#[test]
fn packagekit_killed_before_it_touches_dpkg_leaves_everything_as_it_was() {
    let session = RealRoot::get().session();
    packages_last(&session);
    hold_package_lock(&session);
    let before = host_and_zone(&session);
    let want = host_zone_and("slow-op").to_string();
    let run = session.spawn(&["op-apply", "--yes"], &want);
    wait_until("host name and time zone are set", || run.stderr_so_far().contains("Europe/Vienna"));
    let waits = "busctl --json=short call org.freedesktop.PackageKit /org/freedesktop/PackageKit \
                 org.freedesktop.PackageKit GetTransactionList | grep -q '/[0-9]'";
    wait_until("PackageKit has the transaction", || session.sh(waits).code == 0);
    signal(&session, "KILL", PACKAGEKIT);
    let output = run.wait();
    fails(&output, 1, &["kind: failed", "went away", "everything that was done was undone", "InstallPackages"]);
    assert_eq!(output.json()["outcome"], "undone");
    assert_eq!(results(&output), ["undone", "undone", "failed"]);
    assert_eq!(host_and_zone(&session), before);
    assert_ne!(session.run(&["dpkg-query", "-W", "slow-op"], "").code, 0);
}

#[test]
fn packagekit_killed_while_dpkg_runs_leaves_a_listed_residue() {
    let session = RealRoot::get().session();
    packages_last(&session);
    let before = host_and_zone(&session);
    let run = session.spawn(&["op-apply", "--yes"], &host_zone_and("slow-op").to_string());
    wait_until("slow-op's postinst runs", || session.run(&["pgrep", "-f", "slow-op.postinst"], "").code == 0);
    signal(&session, "KILL", PACKAGEKIT);
    let output = run.wait();
    fails(&output, 4, &["kind: residue", "packagekit/packages/slow-op", "half done", "checkpoint"]);
    let report = output.json();
    assert_eq!(report["outcome"], "residue");
    let residue: Vec<&Value> = report["residue"].as_array().unwrap().iter().map(|left| &left["resource"]).collect();
    assert_eq!(residue, ["packagekit/packages/slow-op"]);
    assert_eq!(results(&output), ["undone", "undone", "failed"]);
    assert_eq!(host_and_zone(&session), before);
    assert_eq!(session.sh("cat /var/lib/op-dbus/@state/ownership.json").code, 1, "nobody owns what is half done");
    let checkpoint = session.sh("cat /var/lib/op-dbus/@state/checkpoints/*.json").json();
    assert_eq!(checkpoint["before"]["hostname/static_hostname"], "op-test");
}

/// Stops a service and keeps the bus from starting it again.
fn mask(session: &Session, service: &str) {
    session.run(&["rm", &format!("/run/op-bus/services/{service}.service")], "").ok();
    let bus = "org.freedesktop.DBus";
    session.run(&["busctl", "call", bus, "/org/freedesktop/DBus", bus, "ReloadConfig"], "").ok();
    if pid(session, service).is_some() {
        signal(session, "KILL", service);
        wait_until("it is gone", || pid(session, service).is_none());
    }
}

#[test]
fn a_service_that_is_killed_comes_back_and_one_that_is_masked_is_missed() {
    let session = RealRoot::get().session();
    start(&session, HOSTNAME);
    let first = pid(&session, HOSTNAME);
    signal(&session, "KILL", HOSTNAME);
    let output = apply(&session, &[], &located("here"));
    assert_eq!(output.code, 0, "{output:?}");
    assert_ne!(pid(&session, HOSTNAME), first);
    mask(&session, HOSTNAME);
    let missing = ["kind: unavailable", HOSTNAME, "op-discover"];
    fails(&apply(&session, &[], &located("there")), 69, &missing);
    fails(&session.run(&["op-query", "--plugin", "hostname"], ""), 69, &missing);
    let rest = session.run(&["op-query"], "");
    assert_eq!((rest.code, rest.json()["plugins"].as_object().unwrap().len()), (0, 10));
    let named = session.run(&["op-query", "--plugin", "hostname", "--plugin", "timedate"], "");
    assert_eq!((named.code, &named.json()["plugins"]["timedate"]["timezone"]), (3, &json!("Etc/UTC")));
    fails(&session.run(&["op-discover", HOSTNAME], ""), 69, &[HOSTNAME, "--activate"]);
    fails(&session.run(&["op-discover", "--activate", HOSTNAME], ""), 69, &[HOSTNAME]);

    let broken = format!("[D-BUS Service]\nName={HOSTNAME}\nExec=/bin/false\nUser=root\n");
    write(&session, &format!("/run/op-bus/services/{HOSTNAME}.service"), &broken);
    let bus = "org.freedesktop.DBus";
    session.run(&["busctl", "call", bus, "/org/freedesktop/DBus", bus, "ReloadConfig"], "").ok();
    fails(&apply(&session, &[], &located("there")), 69, &["kind: unavailable", "could not start the service"]);
}

#[test]
fn a_service_that_vanishes_between_two_calls_undoes_the_first() {
    let session = RealRoot::get().session();
    waiting_package(&session);
    let before = host_and_zone(&session);
    let run = session.spawn(&["op-apply", "--yes"], &host_zone_and("waiting-op").to_string());
    wait_until("the package waits", || exists(&session, "/run/waits"));
    mask(&session, TIMEDATE);
    session.run(&["touch", "/run/go"], "").ok();
    let output = run.wait();
    fails(&output, 1, &["kind: failed", "SetTimezone", "everything that was done was undone"]);
    assert_eq!(results(&output), ["undone", "undone", "failed"]);
    assert_eq!(property(&session, HOSTNAME, "StaticHostname"), before.0);
    assert!(!is_installed(&session, "waiting-op") && !is_installed(&session, "hello-lib-op"));
}

/// The common words before a command that an ordinary user runs.
const NOBODY: [&str; 8] =
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/run/home", "NO_COLOR=1", "nice"];

fn as_nobody(session: &Session, argv: &[&str], stdin: &str) -> Output {
    session.run(&["install", "-d", "-o", "65534", "/run/home"], "").ok();
    session.run(&[&NOBODY, argv].concat(), stdin)
}

#[test]
fn an_ordinary_user_may_look_and_plan_and_not_apply() {
    let session = RealRoot::get().session();
    let inventory = as_nobody(&session, &["op-discover"], "");
    assert_eq!((inventory.code, &inventory.json()["kind"]), (0, &json!("inventory")), "{inventory:?}");
    let introspection = as_nobody(&session, &["op-discover", "--activate", HOSTNAME], "");
    assert_eq!((introspection.code, &introspection.json()["kind"]), (0, &json!("introspection")));
    let state = as_nobody(&session, &["op-query"], "");
    // All answer; one service keeps its settings from those who may not change them.
    assert_eq!((state.code, state.json()["plugins"].as_object().unwrap().len()), (3, 11), "{state:?}");
    assert!(state.stderr.contains("plugins.firewalld.zones") && state.stderr.contains("denied"), "{state:?}");
    let want = json!({"plugins": {"hostname": {"location": "here"}, "packagekit": {"packages": ["hello-op"]}}});
    let plan = as_nobody(&session, &["op-apply", "--dry-run"], &want.to_string());
    assert_eq!((plan.code, plan.json()["actions"].as_array().unwrap().len()), (0, 2), "{plan:?}");
    let refused = as_nobody(&session, &["op-apply", "--yes"], &want.to_string());
    fails(&refused, 77, &["kind: denied", "needs root", "sudo"]);
    // The plan is good for who may perform it.
    let output = apply(&session, &[], &plan.json());
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(location(&session), "here");
}

#[test]
fn a_bus_that_is_not_there() {
    let session = RealRoot::get().session();
    let nowhere = "unix:path=/nowhere";
    for argv in [
        &["op-discover"][..],
        &["op-query"],
        &["op-apply", "--yes"],
        &["op-install", "create", "x", "--from-dbus", HOSTNAME],
    ] {
        let output = session.run(&[argv, &["--address", nowhere]].concat(), &located("here").to_string());
        fails(&output, 69, &["kind: unavailable", nowhere]);
        let by_environment = format!("DBUS_SYSTEM_BUS_ADDRESS={nowhere}");
        let output = session.run(&[&["env", &by_environment], argv].concat(), &located("here").to_string());
        fails(&output, 69, &["kind: unavailable", "the system bus"]);
    }
    fails(&session.run(&["op-query", "--session"], ""), 69, &["the session bus"]);
}

#[test]
fn a_stopped_daemon_times_out_and_nothing_changes() {
    let session = RealRoot::get().session_with(&SessionOptions::default().service("hostname").service("packagekit"));
    signal(&session, "STOP", HOSTNAME);
    fails(
        &apply(&session, &["--timeout", "300ms"], &located("here")),
        69,
        &["kind: timeout", "hostname", "300ms", "--timeout"],
    );
    fails(&session.run(&["op-query", "--plugin", "hostname", "--timeout", "300ms"], ""), 69, &["kind: timeout"]);
    signal(&session, "CONT", HOSTNAME);
    assert_eq!(location(&session), "");
    // The mapping allows PackageKit a minute; who says less means less.
    signal(&session, "STOP", PACKAGEKIT);
    let packages = json!({"plugins": {"packagekit": {"packages": ["hello-op"]}}});
    fails(&apply(&session, &["--timeout", "300ms"], &packages), 69, &["kind: timeout", "300ms"]);
    signal(&session, "CONT", PACKAGEKIT);
    assert!(!is_installed(&session, "hello-op"));
}

#[test]
fn two_at_once_wait_for_each_other_or_give_up() {
    let session = RealRoot::get().session();
    waiting_package(&session);
    let packages = json!({"plugins": {"packagekit": {"packages": ["waiting-op"]}}}).to_string();
    let first = session.spawn(&["op-apply", "--yes"], &packages);
    wait_until("the first installs", || exists(&session, "/run/waits"));
    fails(
        &apply(&session, &["--lock-timeout", "0s"], &located("here")),
        75,
        &["kind: locked", "another run", "--lock-timeout"],
    );
    assert_eq!(session.run(&["op-apply", "--dry-run"], &located("here").to_string()).code, 0, "planning needs no lock");
    let mut second = session.spawn(&["op-apply", "--yes", "--lock-timeout", "60s"], &packages);
    let opened = format!("ls -l /proc/{}/fd | grep -q @state/lock", second.pid());
    wait_until("the second waits at the lock", || session.sh(&opened).code == 0);
    assert!(second.is_running());
    let third = session.spawn(&["op-apply", "--yes", "--lock-timeout", "60s"], &packages);
    let opened = format!("ls -l /proc/{}/fd | grep -q @state/lock", third.pid());
    wait_until("the third waits at the lock", || session.sh(&opened).code == 0);
    third.signal("INT");
    fails(&third.wait(), 1, &["kind: failed", "interrupted while waiting", "nothing was changed"]);
    session.run(&["touch", "/run/go"], "").ok();
    assert_eq!(first.wait().json()["outcome"], "applied");
    let second = second.wait();
    assert_eq!((second.code, &second.json()["outcome"]), (0, &json!("unchanged")), "{second:?}");
}

#[test]
fn an_interrupt_lets_the_running_step_finish_and_undoes_all() {
    let session = RealRoot::get().session();
    waiting_package(&session);
    let package = json!({"plugins": {"packagekit": {"packages": ["waiting-op"]}}});
    for (want, signals, results_then) in [
        (host_zone_and("waiting-op"), &["INT"][..], &["undone", "undone", "not_run"][..]),
        (package.clone(), &["INT"], &["undone"]),
        // A terminal that goes away says so twice: by the kernel and by the shell.
        (package, &["HUP", "HUP"], &["undone"]),
    ] {
        session.sh("rm -f /run/waits /run/go").ok();
        let before = host_and_zone(&session);
        // Who starts the tests under nohup has it ignored.
        let mut run = session.spawn(&["env", "--default-signal=HUP", "op-apply", "--yes"], &want.to_string());
        wait_until("the package waits", || exists(&session, "/run/waits"));
        // It is counted by a thread of the program; a second one to interrupt would mean more than the first.
        for signal in signals {
            run.signal(signal);
        }
        assert!(run.is_running());
        session.run(&["touch", "/run/go"], "").ok();
        let output = run.wait();
        fails(&output, 1, &["kind: failed", "interrupted", "everything that was done was undone"]);
        assert!(output.stderr.contains("✓ Installed waiting-op"), "the step was finished: {}", output.stderr);
        assert_eq!(output.json()["outcome"], "undone");
        assert_eq!(results(&output), results_then);
        assert_eq!(host_and_zone(&session), before);
        assert!(!is_installed(&session, "waiting-op") && !is_installed(&session, "hello-lib-op"));
        assert_eq!(session.sh("cat /var/lib/op-dbus/@state/ownership.json").code, 1);
    }
}

#[test]
fn a_full_state_root_stops_the_run_before_or_undoes_it_after() {
    let session = RealRoot::get().session();
    waiting_package(&session);
    let fill = "dd if=/dev/zero of=/var/lib/op-dbus/full bs=4k status=none 2>/dev/null; true";
    session
        .sh(&format!("mkdir /var/lib/op-dbus; mount -t tmpfs -o mode=755,size=256k full /var/lib/op-dbus; {fill}"))
        .ok();
    fails(&apply(&session, &[], &located("here")), 1, &["kind: failed", "audit trail", "No space left"]);
    assert_eq!(location(&session), "");
    // Full only once the intent and the checkpoint are written: then the ledger cannot be.
    session.sh("rm /var/lib/op-dbus/full").ok();
    let run = session.spawn(&["op-apply", "--yes"], r#"{"plugins":{"packagekit":{"packages":["waiting-op"]}}}"#);
    wait_until("the package waits", || exists(&session, "/run/waits"));
    session.sh(&format!("{fill}; touch /run/go")).ok();
    let output = run.wait();
    fails(&output, 1, &["ownership.json", "No space left", "everything that was done was undone"]);
    assert_eq!(output.json()["outcome"], "undone");
    assert!(!is_installed(&session, "waiting-op") && !is_installed(&session, "hello-lib-op"));
    session.sh("rm /var/lib/op-dbus/full").ok();
    assert_eq!(apply(&session, &[], &located("here")).code, 0);
}

#[test]
fn a_report_that_is_lost_does_not_say_that_nothing_was_changed() {
    let session = RealRoot::get().session();
    let into_nothing = |want: &Value| session.run(&["sh", "-c", "op-apply --yes >/dev/full"], &want.to_string());
    fails(&into_nothing(&located("here")), 4, &["kind: residue", "everything was changed and verified", "No space"]);
    assert_eq!(location(&session), "here");
    fails(&into_nothing(&located("here")), 1, &["kind: failed", "No space"]);
}

#[test]
fn what_others_can_write_is_not_trusted() {
    let session = RealRoot::get().session();
    let root = "/var/lib/op-dbus";
    for (make, words) in [
        ("install -d -o 1 -m 755", &["belongs to user 1", "chown"][..]),
        ("install -d -m 775", &["others can write it", "chmod go-w"]),
        ("install -d -m 757", &["others can write it", "chmod go-w"]),
    ] {
        session.sh(&format!("rm -rf {root}; {make} {root}")).ok();
        for argv in [&["op-apply", "--yes"][..], &["op-query"], &["op-install", "list"]] {
            let output = session.run(argv, &located("here").to_string());
            fails(&output, 77, &[&["kind: denied", "subject: /var/lib/op-dbus"], words].concat());
        }
    }
    session.sh(&format!("rm -rf {root}; cp -r --no-preserve=mode /usr/share/op-dbus/mappings /run/mappings")).ok();
    let query = || session.run(&["env", "OP_DBUS_MAPPINGS=/run/mappings", "op-query", "--plugin", "hostname"], "");
    assert_eq!(query().code, 0);
    session.sh("chmod 777 /run/mappings").ok();
    fails(&query(), 65, &["no such plugin", "subject: hostname"]);
    session.sh("chmod 755 /run/mappings; chmod 775 /run/mappings/hostname").ok();
    fails(&query(), 77, &["kind: denied", "/run/mappings/hostname", "chmod"]);
    session.sh("chmod 755 /run/mappings/hostname; chmod 666 /run/mappings/hostname/semantic-mapping.toml").ok();
    fails(&query(), 77, &["kind: denied", "semantic-mapping.toml"]);
    session.sh("cd /run/mappings/hostname; chmod 644 semantic-mapping.toml; chmod 664 plugin.toml").ok();
    fails(&query(), 77, &["kind: denied", "plugin.toml"]);
    session.sh(&format!("install -d {root}; install -d -m 777 {root}/@state")).ok();
    fails(&apply(&session, &[], &located("here")), 77, &["kind: denied", "subject: /var/lib/op-dbus/@state"]);
    assert_eq!(location(&session), "");
}

#[test]
fn a_damaged_ledger_is_not_guessed_at() {
    let session = RealRoot::get().session();
    let ledger = "/var/lib/op-dbus/@state/ownership.json";
    for (text, word) in
        [("{", "damaged"), ("{\"version\":1}", "damaged"), ("{\"version\":9,\"owned\":{}}", "version 9")]
    {
        write(&session, ledger, text);
        fails(&apply(&session, &[], &located("here")), 65, &["kind: bad_input", ledger, word]);
        assert_eq!(session.run(&["cat", ledger], "").ok(), text, "it is left for people to look at");
    }
    session.run(&["chmod", "666", ledger], "").ok();
    fails(&apply(&session, &[], &located("here")), 77, &[ledger, "others can write it"]);
    assert_eq!(location(&session), "");
}

/// A plugin for one key of hostname1 whose setter has pre-checks.
fn checked(session: &Session, checks: &str) {
    let mapping = format!(
        "[methods.set_location]\nfixed = {{ 1 = false }}\n{checks}\n\
         [state_mapping.place]\nread = {{ property = 'Location' }}\nwrite = {{ method = 'set_location' }}\n"
    );
    install(session, "checked", HOSTNAME, "", &mapping);
}

fn place(place: &str) -> Value {
    json!({"plugins": {"checked": {"place": place}}})
}

#[track_caller]
fn blocks(session: &Session, check: &str, words: &[&str]) {
    let output = apply(session, &[], &place("blocked"));
    fails(&output, 5, &[&["kind: refused", &format!("subject: {check} before SetLocation")], words].concat());
    assert_eq!(output.stdout, "");
    assert_ne!(location(session), "blocked");
}

#[test]
fn check_network_blocks_without_a_route() {
    let session = RealRoot::get().session();
    checked(&session, "pre_check = 'check_network'");
    blocks(&session, "check_network", &["no default route"]);
    session.pretend_online();
    assert_eq!(apply(&session, &[], &place("here")).code, 0);
}

#[test]
fn check_service_running_blocks_until_it_runs() {
    let session = RealRoot::get().session();
    checked(&session, "pre_check = ['check_service_running']\nneeds_service = 'org.freedesktop.UPower'");
    blocks(&session, "check_service_running", &["org.freedesktop.UPower is not running"]);
    start(&session, "org.freedesktop.UPower");
    assert_eq!(apply(&session, &[], &place("here")).code, 0);
}

#[test]
fn check_root_blocks_others() {
    let session = RealRoot::get().session();
    checked(&session, "pre_check = 'check_root'");
    session.sh("cp -r /var/lib/op-dbus /run/root; chown -R 65534 /run/root").ok();
    let argv = ["op-apply", "--yes", "--root", "/run/root", "--address", "unix:path=/run/dbus/system_bus_socket"];
    let output = as_nobody(&session, &argv, &place("blocked").to_string());
    fails(&output, 5, &["kind: refused", "subject: check_root before SetLocation", "needs root"]);
    assert_eq!(apply(&session, &[], &place("here")).code, 0);
    assert_eq!(location(&session), "here");
}

/// A file system of 8 MiB in a file, mounted while this lives.
struct LoopFileSystem(tempfile::TempDir);

impl LoopFileSystem {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "truncate -s 8M {0} && mkfs.ext4 -q {0} && mkdir {1} && mount -o loop {0} {1}",
            at("image"),
            at("mounted")
        );
        let made = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(folder)
    }
}

impl Drop for LoopFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path().join("mounted")).status();
    }
}

#[test]
fn check_disk_space_blocks_on_a_full_disk() {
    let disk = LoopFileSystem::new();
    let session =
        RealRoot::get().session_with(&SessionOptions::default().bind_rw(&disk.0.path().join("mounted"), "/full"));
    checked(&session, "pre_check = 'check_disk_space'\ndisk_path = '/full/not/yet/there'\ndisk_free_bytes = 1_000_000");
    assert_eq!(apply(&session, &[], &place("here")).code, 0);
    session.sh("dd if=/dev/zero of=/full/file bs=64k status=none 2>/dev/null; true").ok();
    blocks(&session, "check_disk_space", &["/full has ", "1.0 MB are needed", "free some space"]);
    session.run(&["rm", "/full/file"], "").ok();
    assert_eq!(apply(&session, &[], &place("there")).code, 0);
    // A file system in memory is one, too, and what lies under its mount point does not count.
    session.sh("mkdir /full/memory; mount -t tmpfs -o size=512k memory /full/memory").ok();
    checked(&session, "pre_check = 'check_disk_space'\ndisk_path = '/full/memory'\ndisk_free_bytes = 1_000_000");
    blocks(&session, "check_disk_space", &["/full/memory has "]);
}

#[test]
fn every_failing_pre_check_is_named() {
    let session = RealRoot::get().session();
    checked(
        &session,
        "pre_check = ['check_network', 'check_service_running']\nneeds_service = 'org.freedesktop.UPower'",
    );
    let text = failed(&apply(&session, &[], &place("blocked")), 5);
    assert_eq!(text.matches("kind: refused").count(), 2, "{text}");
}

#[test]
fn what_a_call_disturbs_is_found_and_undone() {
    let session = RealRoot::get().session();
    // Whoever sets the chassis has the icon follow it.
    let both = json!({"plugins": {"hostname": {"chassis": "server", "icon_name": "computer-container"}}});
    let before = session.run(&["op-query", "--plugin", "hostname"], "").json();
    assert_eq!(before["plugins"]["hostname"]["icon_name"], "computer-container", "{before}");
    let failed = apply(&session, &[], &both);
    fails(
        &failed,
        1,
        &[
            "hostname/icon_name",
            "computer-container",
            "reads \"computer-server\"",
            "everything that was done was undone",
        ],
    );
    assert_eq!(session.run(&["op-query", "--plugin", "hostname"], "").json(), before);
}

//! The harness itself: a session runs real daemons, and nothing that happens in it reaches the machine.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use op_dbus_tests::root::{RealRoot, Session, SessionOptions};

const BUS: [&str; 6] = [
    "busctl",
    "call",
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
    "GetConnectionUnixProcessID",
];

fn ping(session: &Session, name: &str) {
    session.run(&["busctl", "--timeout=30", "call", name, "/", "org.freedesktop.DBus.Peer", "Ping"], "").ok();
}

fn owner(session: &Session, name: &str) -> String {
    let answer = session.run(&[&BUS[..], &["s", name]].concat(), "").ok();
    answer.trim().strip_prefix("u ").expect("one unsigned number").to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "not within two minutes: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything by which the machine would notice that a session reached it; what others may change meanwhile is not in it.
fn machine() -> Vec<Option<String>> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let link = |path: &str| fs::read_link(path).ok().map(|to| to.display().to_string());
    let lines = |path: &str, with: &str| Some(text(path)?.lines().filter(|line| line.contains(with)).collect());
    vec![
        text("/etc/hostname"),
        text("/proc/sys/kernel/hostname"),
        link("/etc/localtime"),
        text("/etc/timezone"),
        text("/etc/locale.conf"),
        text("/etc/default/locale"),
        text("/etc/vconsole.conf"),
        lines("/etc/passwd", "inner"),
        lines("/var/lib/dpkg/status", "-op"),
        lines("/proc/self/mountinfo", "op-test-root"),
    ]
}

#[test]
fn every_daemon_answers_through_activation_and_again_after_it_was_killed() {
    let session = RealRoot::get().session();
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("root/services")).unwrap();
    let names: Vec<_> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(names.len(), 12);
    for name in names {
        ping(&session, name);
        let first = owner(&session, name);
        session.run(&["kill", "-KILL", &first], "").ok();
        wait_until("the name is free", || session.run(&[&BUS[..], &["s", name]].concat(), "").code != 0);
        ping(&session, name);
        assert_ne!(owner(&session, name), first, "{name}");
    }
}

#[test]
fn daemons_named_in_the_options_run_from_the_start() {
    let session = RealRoot::get().session_with(&SessionOptions::default().service("hostname").service("locale"));
    owner(&session, "org.freedesktop.hostname1");
    owner(&session, "org.freedesktop.locale1");
    assert_ne!(session.run(&[&BUS[..], &["s", "org.freedesktop.timedate1"]].concat(), "").code, 0);
    assert!(session.log().contains("Successfully activated service 'org.freedesktop.hostname1'"));
}

#[test]
fn settings_and_users_change_only_inside() {
    let before = machine();
    let session = RealRoot::get().session();
    let set = |name: &str, member: &str, arguments: &[&str]| {
        let bus_name = format!("org.freedesktop.{name}");
        let path = format!("/org/freedesktop/{name}");
        session.run(&[&["busctl", "call", &bus_name, &path, &bus_name, member], arguments].concat(), "").ok();
    };
    set("hostname1", "SetStaticHostname", &["sb", "inner", "false"]);
    set("timedate1", "SetTimezone", &["sb", "Europe/Berlin", "false"]);
    set("locale1", "SetLocale", &["asb", "1", "LANG=de_DE.UTF-8", "false"]);
    set("locale1", "SetVConsoleKeyboard", &["ssbb", "de", "", "false", "false"]);
    set("Accounts", "CreateUser", &["ssi", "inner", "Inner", "0"]);
    assert_eq!(session.sh("cat /etc/hostname; hostname").ok(), "inner\ninner\n");
    assert!(session.sh("readlink -f /etc/localtime").ok().ends_with("/Europe/Berlin\n"));
    assert_eq!(session.sh(". /etc/locale.conf; echo $LANG").ok(), "de_DE.UTF-8\n");
    assert!(session.sh("cat /etc/vconsole.conf").ok().contains("KEYMAP=de"));
    session.run(&["id", "inner"], "").ok();
    assert_eq!(machine(), before);

    let other = RealRoot::get().session();
    assert_eq!(other.sh("cat /etc/hostname; hostname").ok(), "op-test\nop-test\n");
    assert_ne!(other.run(&["id", "inner"], "").code, 0);
}

#[test]
fn packages_are_really_installed_and_removed() {
    let before = machine();
    let session = RealRoot::get().session();
    let is_installed = |name: &str| session.run(&["test", "-f", &format!("/usr/share/{name}/version")], "").code == 0;
    session.run(&["pkcon", "--plain", "-y", "install", "hello-op", "greeter-op"], "").ok();
    assert!(is_installed("hello-op") && is_installed("greeter-op") && is_installed("hello-lib-op"));
    assert_eq!(session.sh("dpkg-query -W -f '${Status}' hello-op").ok(), "install ok installed");
    session.run(&["pkcon", "--plain", "-y", "remove", "hello-op"], "").ok();
    assert!(!is_installed("hello-op"));
    assert_ne!(session.sh("dpkg-query -W hello-op").code, 0);
    assert_eq!(machine(), before);
}

#[test]
fn a_refresh_sees_new_packages_once_the_session_pretends_to_be_online() {
    let session = RealRoot::get().session();
    session.sh("op-repo add hello-op 2.0").ok();
    assert_ne!(session.sh("pkcon --plain refresh force").code, 0);
    session.pretend_online();
    session.sh("pkcon --plain refresh force").ok();
    assert!(session.sh("pkcon --plain resolve hello-op").ok().contains("hello-op-2.0.all"));
}

#[test]
fn packagekit_can_be_killed_while_dpkg_runs() {
    let session = RealRoot::get().session();
    let install = session.spawn(&["pkcon", "--plain", "-y", "install", "slow-op"], "");
    wait_until("slow-op's postinst runs", || session.run(&["pgrep", "-f", "slow-op.postinst"], "").code == 0);
    session.run(&["kill", "-KILL", &owner(&session, "org.freedesktop.PackageKit")], "").ok();
    assert!(install.wait().stdout.contains("crashed mid-transaction"));
    session.run(&["pgrep", "-f", "slow-op.postinst"], "").ok();
    session.run(&["pkill", "-f", "slow-op.postinst"], "").ok();
    wait_until("dpkg gave up", || session.run(&["pgrep", "-x", "dpkg"], "").code != 0);
    assert!(session.sh("dpkg-query -W -f '${Status}' slow-op").ok().ends_with("half-configured"));
    ping(&session, "org.freedesktop.PackageKit");
}

#[test]
fn no_process_inside_has_a_capability_that_reaches_the_machine() {
    let session = RealRoot::get().session_with(&SessionOptions::default().service("timedate"));
    let dropped =
        [("sys_module", 16), ("sys_rawio", 17), ("sys_boot", 22), ("sys_time", 25), ("mknod", 27), ("syslog", 34)];
    let sets = session.sh("grep -hE '^Cap(Bnd|Prm|Eff|Inh|Amb)' /proc/[0-9]*/status").ok();
    // The first process, bus.sh, its command, dbus-daemon, polkitd, timedated, and this grep.
    assert!(sets.lines().count() >= 7 * 5, "{sets}");
    for line in sets.lines() {
        let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        for (name, bit) in dropped {
            assert_eq!(set >> bit & 1, 0, "{name} in {line}");
        }
    }
    for refused in [
        "date -s @0",
        "mknod /tmp/vda b 254 0",
        "echo 1 > /proc/sys/vm/swappiness",
        "mkdir /sys/fs/cgroup/op",
        "dmesg -n 1",
    ] {
        assert_ne!(session.sh(refused).code, 0, "{refused}");
    }
    assert_eq!(session.sh("ls /sys/class/net").ok(), "lo\n");
    assert_eq!(session.sh("ls -d /dev/sd* /dev/vd* /dev/loop* 2>/dev/null").stdout, "");
}

#[test]
fn commands_keep_their_exit_code_streams_and_input() {
    let session = RealRoot::get().session();
    let output = session.run(&["sh", "-c", "cat; echo error >&2; exit 7"], "input");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "input", "error\n"));
    assert_eq!(session.run(&["printf", "%s|", "two words", "", "$x"], "").ok(), "two words||$x|");
    assert_eq!(session.run(&["no-such-command"], "").code, 127);
    assert_eq!(session.sh("kill -TERM $$").code, 128 + 15);
    let large = "x".repeat(1 << 20);
    assert_eq!(session.run(&["sh", "-c", "tee /dev/stderr"], &large).stderr.len(), large.len());
    assert_ne!(session.sh("exec 3</dev/tty").code, 0, "there must be no terminal to ask on");
    assert_eq!(session.sh("pwd; echo $HOME ${CARGO:-clean}").ok(), "/\n/root clean\n");
    assert_eq!(session.run(&["echo", r#"{"a":[1]}"#], "").json()["a"][0], 1);
}

#[test]
fn spawned_commands_can_be_watched_signalled_and_waited_for() {
    let session = RealRoot::get().session();
    let script = "trap 'echo caught; exit 9' INT; echo up; while :; do sleep 0.05; done";
    let mut command = session.spawn(&["env", "--default-signal=INT", "bash", "-c", script], "");
    wait_until("it is up", || command.stdout_so_far() == "up\n");
    assert!(command.is_running());
    command.signal("INT");
    let output = command.wait();
    assert_eq!((output.code, output.stdout.as_str()), (9, "up\ncaught\n"));
}

#[test]
fn programs_repository_and_binds_are_visible_and_only_a_writable_bind_is_written() {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("note"), "from the machine").unwrap();
    let options = SessionOptions::default().bind(shared.path(), "/ro").bind_rw(shared.path(), "/rw/deep");
    let options = options.bind(&shared.path().join("note"), "/etc/note");
    let session = RealRoot::get().session_with(&options);
    assert_eq!(session.sh("cat /ro/note").ok(), "from the machine");
    assert_eq!(session.sh("cat /etc/note").ok(), "from the machine");
    for refused in ["/ro/new", "/op/src/new", "/op/bin/new"] {
        assert!(session.run(&["touch", refused], "").stderr.contains("Read-only"), "{refused}");
    }
    session.sh("echo inside > /rw/deep/new").ok();
    assert_eq!(fs::read_to_string(shared.path().join("new")).unwrap(), "inside\n");
    assert!(session.sh("cat /op/src/Cargo.toml").ok().contains("[workspace]"));
    let me = std::env::current_exe().unwrap();
    let me = Path::new("/op/bin/deps").join(me.file_name().unwrap());
    assert!(session.run(&[me.to_str().unwrap(), "--list"], "").ok().contains("programs_repository_and_binds"));
}

/// The processes in a pid namespace, from outside of it.
fn processes_in(namespace: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("a mounted /proc").flatten().map(|entry| entry.path());
    processes.filter(|process| fs::read_link(process.join("ns/pid")).is_ok_and(|of| of == namespace)).collect()
}

#[test]
fn a_dropped_session_leaves_no_process_and_no_mount() {
    let before = machine();
    let session = RealRoot::get().session_with(&SessionOptions::default().service("login").service("packagekit"));
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", session.leader())).unwrap();
    let _running = session.spawn(&["sleep", "600"], "");
    session.sh("setsid -f sleep 600 >/dev/null 2>&1").ok();
    wait_until("both sleep", || session.sh("pgrep -xc sleep").stdout == "2\n");
    assert!(processes_in(&namespace).len() >= 8);
    drop(_running);
    drop(session);
    assert_eq!(processes_in(&namespace), Vec::<PathBuf>::new());
    assert_eq!(machine(), before);
    assert!(fs::read_dir(RealRoot::get().path().join("mnt")).unwrap().next().is_none());
}

#[test]
fn killing_the_outer_process_kills_everything_inside() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let mut outer = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("root/enter.sh"));
    outer.arg("--pid-file").arg(&pid_file).arg(RealRoot::get().path()).arg("cat").stdin(Stdio::piped());
    let mut outer = outer.spawn().unwrap();
    let leader = || fs::read_to_string(&pid_file).ok().filter(|pid| pid.ends_with('\n'));
    wait_until("it is entered", || leader().is_some());
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", leader().unwrap().trim())).unwrap();
    wait_until("cat runs", || processes_in(&namespace).len() == 2);
    outer.kill().unwrap();
    assert_eq!(outer.wait().unwrap().signal(), Some(9));
    wait_until("nothing is left", || processes_in(&namespace).is_empty());
}

#[test]
fn ssh_to_the_session_itself_works() {
    let session = RealRoot::get().session();
    session.run(&["/usr/sbin/sshd"], "").ok();
    let names = session.sh("ssh -o BatchMode=yes root@localhost busctl list --acquired --no-legend").ok();
    assert!(names.contains("org.freedesktop.PolicyKit1"), "{names}");
}

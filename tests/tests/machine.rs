//! The booted machine: real systemd and every real service, the programs in it, and nothing that it leaves.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use op_dbus_tests::machine::{Machine, MachineOptions, image};
use op_dbus_tests::ops::{apply, error, fails, outcome, wait_until};
use serde_json::json;

/// Boots one, with the image built before the clock starts.
fn boot() -> Machine {
    image();
    Machine::boot(&MachineOptions::default())
}

/// The machine of those tests that do not mind each other. It ends with the test program.
fn shared() -> &'static Machine {
    static SHARED: OnceLock<Machine> = OnceLock::new();
    SHARED.get_or_init(boot)
}

fn cgroup(machine: &Machine) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", machine.leader())).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    PathBuf::from(path.split_once("/payload").unwrap().0)
}

/// Processes whose cgroup lies in that one.
fn processes_in(cgroup: &Path) -> Vec<String> {
    let inside = format!("0::{}", cgroup.display());
    let has = |pid: &String| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&inside));
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.parse::<u32>().is_ok()).filter(has).collect()
}

/// Whether any process of this machine sees the image mounted.
fn is_mounted_here() -> bool {
    let pool = image().join("pool");
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(pool.to_str().unwrap())
}

#[test]
fn it_boots_to_running_in_seconds_with_every_service() {
    image();
    let started = Instant::now();
    let machine = boot();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(machine.sh("systemctl is-system-running").ok(), "running\n");
    assert_eq!(machine.sh("systemctl list-units --failed --no-legend").ok(), "");
    assert_eq!(machine.sh("cat /proc/1/comm; stat -f -c %T /").ok(), "systemd\nbtrfs\n");
    assert_eq!(machine.sh("hostname; cat /etc/hostname").ok(), "op-test\nop-test\n");

    let inventory = machine.run(&["op-discover"], "");
    assert_eq!((inventory.code, inventory.stderr.as_str()), (0, ""));
    let inventory = inventory.json();
    let services = inventory["services"].as_array().unwrap();
    let names = |running: bool| {
        let of = services.iter().filter(move |service| service["running"] == running);
        of.map(|service| service["name"].as_str().unwrap()).collect::<BTreeSet<_>>()
    };
    let (running, startable) = (names(true), names(false));
    for name in ["systemd1", "login1", "resolve1", "NetworkManager", "UDisks2", "Accounts", "PolicyKit1", "Avahi"] {
        assert!(running.contains(&*format!("org.freedesktop.{name}")), "{name}: {running:?}");
    }
    assert!(running.contains("org.fedoraproject.FirewallD1"), "{running:?}");
    for name in
        ["org.freedesktop.PackageKit", "org.freedesktop.UPower", "org.freedesktop.locale1", "org.freedesktop.timedate1"]
    {
        assert!(startable.contains(name), "{name}: {startable:?}");
    }
}

#[test]
fn one_document_is_applied_and_is_nothing_to_do_the_second_time() {
    let machine = boot();
    assert_eq!(machine.sh("timedatectl show --property NTP --property Timezone").ok(), "Timezone=Etc/UTC\nNTP=yes\n");
    let want = json!({"plugins": {
        "hostname": {"static_hostname": "web-1", "location": "rack 3"},
        "timedate": {"timezone": "Europe/Vienna", "ntp": false},
    }});
    let output = apply(&machine, &[], &want);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(machine.sh("hostnamectl --static; hostnamectl location; hostname").ok(), "web-1\nrack 3\nweb-1\n");
    assert_eq!(
        machine.sh("timedatectl show --property NTP --property Timezone").ok(),
        "Timezone=Europe/Vienna\nNTP=no\n"
    );
    let timesyncd = "systemctl is-enabled systemd-timesyncd; systemctl is-active systemd-timesyncd";
    assert_eq!(machine.sh(timesyncd).stdout, "disabled\ninactive\n");

    let output = apply(&machine, &[], &want);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");

    let output = machine.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(machine.sh("hostnamectl --static").ok(), "op-test\n");
    assert_eq!(machine.sh("timedatectl show --property NTP --property Timezone").ok(), "Timezone=Etc/UTC\nNTP=yes\n");
    assert_eq!(machine.sh(timesyncd).stdout, "enabled\nactive\n");
}

#[test]
fn what_the_distribution_forbids_even_root_is_refused_with_a_way_out() {
    let machine = shared();
    let before = machine.sh("localectl status; cat /etc/locale.conf").stdout;
    let output = apply(machine, &[], &json!({"plugins": {"locale": {"locale": ["LANG=de_DE.UTF-8"]}}}));
    fails(&output, 77, &["SetLocale", "nothing was changed", "even to root", "/etc/dbus-1/system.d"]);
    assert!(!output.stderr.contains("run it as root"), "{output:?}");
    // The hint helps.
    let policy =
        "<busconfig><policy user=\"root\"><allow send_destination=\"org.freedesktop.locale1\"/></policy></busconfig>";
    op_dbus_tests::ops::write(machine, "/etc/dbus-1/system.d/zz-locale.conf", policy);
    let asks = "busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig";
    machine.sh(asks).ok();
    let set = ["busctl", "call", "org.freedesktop.locale1", "/org/freedesktop/locale1", "org.freedesktop.locale1"];
    let set = machine.run(&[&set[..], &["SetLocale", "asb", "0", "false"]].concat(), "");
    machine.sh(&format!("rm /etc/dbus-1/system.d/zz-locale.conf; {asks}")).ok();
    assert!(!set.stderr.contains("Access denied"), "{set:?}");
    assert_eq!(error(&output)["dbus_error"], "org.freedesktop.DBus.Error.AccessDenied");
    assert_eq!(machine.sh("localectl status; cat /etc/locale.conf").stdout, before);
}

#[test]
fn packages_are_installed_without_a_network_and_units_keep_their_jobs() {
    let machine = shared();
    let output = apply(machine, &[], &json!({"plugins": {"packagekit": {"packages": ["greeter-op"]}}}));
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(
        machine.sh("cat /usr/share/greeter-op/version /usr/share/hello-lib-op/version").ok(),
        "greeter-op 1.0\nhello-lib-op 1.0\n"
    );
    assert_eq!(machine.sh("ping -c 1 -W 1 203.0.113.1").code, 1, "nothing lies behind the neighbour");

    machine.sh("systemctl stop avahi-daemon.socket avahi-daemon && ! systemctl is-active avahi-daemon").ok();
    let units = |member: &str| {
        let systemd = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        machine
            .run(&[&["busctl", "call"], &systemd[..], &[member, "ss", "avahi-daemon.service", "replace"]].concat(), "")
    };
    assert!(units("StartUnit").ok().starts_with("o \"/org/freedesktop/systemd1/job/"));
    wait_until("the job is done", || machine.sh("systemctl is-active avahi-daemon").code == 0);
}

#[test]
fn it_has_links_a_neighbour_and_a_name_server_to_work_with() {
    let machine = shared();
    let devices = machine.sh("nmcli --terse --fields DEVICE,TYPE,STATE device | sort").ok();
    for line in ["eth0:ethernet:connected", "free0:ethernet:disconnected", "free1:ethernet:disconnected"] {
        assert!(devices.lines().any(|device| device == line), "{line}: {devices}");
    }
    machine.sh("ping -c 1 -W 2 192.0.2.1").ok();
    assert!(machine.sh("resolvectl dns eth0").ok().ends_with(": 192.0.2.1\n"));
    machine.sh("nmcli connection add type bridge ifname br0 con-name br0 ipv4.method manual ipv4.addresses 198.51.100.1/24").ok();
    machine
        .sh("nmcli connection add type ethernet ifname free0 con-name port0 master br0 && nmcli connection up port0")
        .ok();
    wait_until("the bridge has its port", || machine.sh("ip -o link show master br0").stdout.contains("free0"));
    assert_eq!(machine.sh("firewall-cmd --state; firewall-cmd --get-zone-of-interface=eth0").ok(), "running\npublic\n");
}

#[test]
fn nothing_in_it_can_set_the_clock_or_reach_the_kernel() {
    let now = Instant::now();
    let (before, machine) = (std::time::SystemTime::now(), boot());
    let dropped = [("sys_module", 16), ("sys_rawio", 17), ("sys_time", 25), ("mknod", 27), ("syslog", 34)];
    // Of the harness's commands, and of every service.
    for line in machine.sh("grep -hE '^Cap(Bnd|Prm|Eff|Inh|Amb)' /proc/[0-9]*/status").ok().lines() {
        let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        for (name, bit) in dropped {
            assert_eq!(set >> bit & 1, 0, "{name} in {line}");
        }
    }
    for refused in ["date -s @0", "mknod /root/vda b 254 0", "echo 1 > /proc/sys/vm/swappiness", "dmesg -n 1"] {
        assert_ne!(machine.sh(refused).code, 0, "{refused}");
    }
    machine.sh("timedatectl set-ntp false").ok();
    assert_ne!(machine.sh("timedatectl set-time '2001-01-01 00:00:00'").code, 0);
    let clock = before.elapsed().unwrap();
    assert!(clock.abs_diff(now.elapsed()) < Duration::from_secs(1), "the clock moved");
    assert_eq!(machine.sh("ls -d /dev/sd* /dev/vd* /dev/loop* 2>/dev/null").stdout, "");
    let links = machine.sh("ls /sys/class/net").ok();
    assert_eq!(links.lines().collect::<Vec<_>>(), ["eth0", "free0", "free1", "lo", "lxcbr0"]);
}

#[test]
fn commands_keep_their_exit_code_streams_and_input() {
    let mut machine = boot();
    let output = machine.run(&["sh", "-c", "cat; echo error >&2; exit 7"], "input");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "input", "error\n"));
    assert_eq!(machine.run(&["printf", "%s|", "two words", "", "$x"], "").ok(), "two words||$x|");
    assert_eq!(machine.run(&["no-such-command"], "").code, 127);
    assert_eq!(machine.sh("kill -TERM $$").code, 128 + 15);
    assert_ne!(machine.sh("exec 3</dev/tty").code, 0, "there must be no terminal to ask on");
    assert_eq!(
        machine.sh("pwd; echo $HOME ${CARGO:-clean}; cat /proc/self/cgroup | tail -n 1").ok(),
        "/\n/root clean\n0::/op-run\n"
    );
    let mut sleeper = machine.spawn(
        &[
            "env",
            "--default-signal=INT",
            "bash",
            "-c",
            "trap 'echo caught; exit 9' INT; echo up; while :; do sleep 0.05; done",
        ],
        "",
    );
    wait_until("it is up", || sleeper.stdout_so_far() == "up\n");
    assert!(sleeper.is_running());
    sleeper.signal("INT");
    assert_eq!(sleeper.wait().code, 9);

    // What is on disk outlives a reboot, what is in /run does not.
    machine.sh("echo kept > /etc/kept; echo lost > /run/lost; systemctl disable avahi-daemon.service").ok();
    machine.reboot();
    assert_eq!(
        machine
            .sh("cat /etc/kept; systemctl is-enabled avahi-daemon.service; systemctl is-system-running; ls /run/lost")
            .stdout,
        "kept\ndisabled\nrunning\n"
    );
    machine.sh("ping -c 1 -W 2 192.0.2.1").ok();
}

#[test]
fn machines_run_beside_each_other_and_know_nothing_of_each_other() {
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("note"), "from here").unwrap();
    let options = MachineOptions::default().bind(shared.path(), "/ro").bind_rw(shared.path(), "/rw");
    image();
    let [one, other] = std::thread::scope(|scope| {
        let boots = [0, 1].map(|_| scope.spawn(|| Machine::boot(&options)));
        boots.map(|boot| boot.join().unwrap())
    });
    one.sh("hostnamectl set-hostname one; useradd one; systemctl stop avahi-daemon.socket avahi-daemon").ok();
    assert_eq!(other.sh("hostname; id one; systemctl is-active avahi-daemon").stdout, "op-test\nactive\n");
    assert_ne!(other.run(&["kill", "-0", "99999"], "").code, 0);
    assert_eq!(one.sh("cat /ro/note").ok(), "from here");
    assert!(one.run(&["touch", "/ro/new"], "").stderr.contains("Read-only"));
    assert!(one.run(&["touch", "/op/src/new"], "").stderr.contains("Read-only"));
    other.sh("echo inside > /rw/new").ok();
    assert_eq!(one.sh("cat /ro/new").ok(), "inside\n");
    // A unit's processes are ended by its cgroup: each machine has a tree of its own.
    one.sh("systemctl stop polkit").ok();
    assert_eq!(other.sh("systemctl is-active polkit; systemctl is-system-running").ok(), "active\nrunning\n");
}

#[test]
fn a_dropped_machine_leaves_nothing() {
    let machine = boot();
    let (run, group) = (machine.run_folder().to_owned(), cgroup(&machine));
    // Subvolumes made inside lie in the snapshot, and must go with it.
    machine.sh("btrfs subvolume create /srv/one && btrfs subvolume create /srv/one/two && setsid -f sleep 600").ok();
    assert!(processes_in(&group).len() > 20);
    drop(machine);
    wait_until("every process is gone", || processes_in(&group).is_empty());
    assert!(!run.exists());
    assert!(!is_mounted_here());
    let next = boot();
    let left = next.sh("btrfs subvolume list /").ok();
    assert!(!left.contains(run.file_name().unwrap().to_str().unwrap()), "{left}");
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next_start() {
    let machine = boot();
    let (run, group) = (machine.run_folder().to_owned(), cgroup(&machine));
    machine.sh("btrfs subvolume create /srv/one").ok();
    // Starts and ends sweep while they hold this: keep those of other tests away.
    let starts = fs::File::open(image().join("runs/lock")).unwrap();
    starts.lock().unwrap();
    Command::new("kill").args(["-KILL", &machine.keeper().to_string()]).status().unwrap();
    wait_until("the machine died with its keeper", || processes_in(&group).is_empty());
    drop(machine);
    assert!(run.is_dir(), "nobody was left to take it away");
    drop(starts);
    let next = boot();
    assert!(!run.exists());
    let left = next.sh("btrfs subvolume list /").ok();
    assert!(!left.contains(run.file_name().unwrap().to_str().unwrap()), "{left}");
    assert!(next.run_folder().is_dir(), "the living are not swept");
}

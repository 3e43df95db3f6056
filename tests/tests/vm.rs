//! The virtual machine: what needs a kernel of its own. `make test-vm` runs these; they are ignored otherwise.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::time::{Duration, SystemTime};

use op_dbus_tests::machine::{Vm, VmOptions};
use op_dbus_tests::ops::{apply, outcome, wait_until};
use serde_json::{Value, json};

/// The clock of the machine, to the second.
fn clock(vm: &Vm) -> SystemTime {
    let seconds = vm.sh("date +%s").ok().trim().parse().unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn it_is_a_whole_machine_with_two_numa_nodes() {
    let notes = tempfile::tempdir().unwrap();
    std::fs::write(notes.path().join("note"), "from here").unwrap();
    let vm = Vm::start(&VmOptions::default().files(notes.path(), "/srv/notes"));
    assert_eq!(vm.sh("systemctl is-system-running; systemctl list-units --failed --no-legend").ok(), "running\n");
    assert_eq!(vm.sh("systemd-detect-virt; cat /proc/1/comm; stat -f -c %T /").ok(), "qemu\nsystemd\nbtrfs\n");

    let numactl = vm.sh("numactl --hardware").ok();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in ["available: 2 nodes (0-1)", "node 0 cpus: 0", "node 1 cpus: 1", "0: 10 21", "1: 21 10"] {
        assert!(numactl.lines().any(|seen| words(seen) == line), "{line}: {numactl}");
    }
    let bound = "numactl --cpunodebind=1 --membind=1 grep -E '(Cpus|Mems)_allowed_list' /proc/self/status";
    assert_eq!(vm.sh(bound).ok(), "Cpus_allowed_list:\t1\nMems_allowed_list:\t0-1\n");

    let state = vm.run(&["op-query", "--plugin", "hostname", "--plugin", "timedate"], "");
    assert_eq!((state.code, state.stderr.as_str()), (0, ""));
    let plugins = state.json()["plugins"].clone();
    assert_eq!(plugins["hostname"]["static_hostname"], "op-test");
    assert_eq!(plugins["hostname"]["chassis"], "vm");
    assert_eq!(plugins["timedate"], json!({"timezone": "Etc/UTC", "ntp": true, "local_rtc": false}));

    vm.sh("ip link add wg0 type wireguard && wg genkey > /root/key && wg set wg0 private-key /root/key").ok();
    assert!(vm.sh("wg show wg0").ok().contains("public key"));
    vm.sh("ip link add dummy0 type dummy && ip link set dummy0 up").ok();
    vm.sh("ovs-vsctl add-br br0 && ip link show br0").ok();
    assert_eq!(
        vm.sh("nmcli --terse --fields DEVICE,STATE device | grep -E '^(eth0|runner0):'").ok(),
        "eth0:connected\nrunner0:unmanaged\n"
    );

    let output = vm.run(&["sh", "-c", "cat; echo error >&2; exit 7"], "input");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "input", "error\n"));
    assert_eq!(vm.run(&["printf", "%s|", "two words", "", "$x", "it's"], "").ok(), "two words||$x|it's|");
    assert_eq!(vm.run(&["no-such-command"], "").code, 127);
    assert_eq!(vm.sh("kill -TERM $$").code, 128 + 15);
    assert_ne!(vm.sh("exec 3</dev/tty").code, 0, "there must be no terminal to ask on");
    assert_eq!(vm.sh("cat /srv/notes/note").ok(), "from here");
    assert!(vm.run(&["touch", "/op/src/new"], "").stderr.contains("Read-only"));
    let run = vm.run_folder().to_owned();
    drop(vm);
    assert!(!run.exists());
}

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn a_disk_is_labelled_and_mounted_and_as_before() {
    let vm = Vm::start(&VmOptions::default());
    let udisks2 = || vm.run(&["op-query", "--plugin", "udisks2"], "").json()["plugins"]["udisks2"].clone();
    let state = udisks2();
    let (root, empty) = (&state["block_devices"]["/dev/vda"], &state["block_devices"]["/dev/vdc"]);
    assert_eq!((&root["type"], &root["mount_points"]), (&json!("btrfs"), &json!(["/"])), "{state}");
    assert_eq!((&empty["usage"], &empty["size"], &empty["mounted"]), (&json!(""), &json!(1 << 30), &Value::Null));
    let drives = state["drives"].as_object().unwrap();
    let drive = drives.values().find(|drive| drive["object"] == root["drive"]).unwrap();
    assert_eq!((&drive["size"], &drive["removable"]), (&root["size"], &json!(false)), "{state}");

    // What has no file system cannot be mounted, and what the machine runs on is not taken away.
    let want = |device: &str, values: Value| json!({"plugins": {"udisks2": {"block_devices": {device: values}}}});
    let refused = apply(&vm, &[], &want("/dev/vdc", json!({"mounted": true})));
    assert_eq!(refused.code, 5, "{refused:?}");
    assert_ne!(apply(&vm, &[], &want("/dev/vda", json!({"mounted": false}))).code, 0);
    assert_eq!(vm.sh("findmnt --noheadings --nofsroot --output SOURCE /").ok(), "/dev/vda\n");

    vm.sh("mkfs.btrfs -q -L before /dev/vdc && udevadm settle").ok();
    wait_until("UDisks sees the file system", || udisks2()["block_devices"]["/dev/vdc"]["type"] == "btrfs");
    let values = json!({"label": "data", "mounted": true, "type": "btrfs"});
    let output = apply(&vm, &[], &want("/dev/vdc", values.clone()));
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let mounted = "findmnt --noheadings --output SOURCE,LABEL --source /dev/vdc | tr -s ' '";
    assert_eq!(vm.sh(mounted).ok(), "/dev/vdc data\n");
    assert_eq!(outcome(&apply(&vm, &[], &want("/dev/vdc", values)).json()), "unchanged");
    let output = vm.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(vm.sh("findmnt --source /dev/vdc").code, 1);
    assert_eq!(vm.sh("blkid --match-tag LABEL --output value /dev/vdc").ok(), "before\n");
    vm.sh("mkfs.btrfs -q -f /dev/vdc && mount /dev/vdc /mnt && btrfs subvolume create /mnt/one && umount /mnt").ok();
}

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn network_time_is_switched_and_the_clock_set() {
    let vm = Vm::start(&VmOptions::default());
    // Not the one it had when its memory was kept. Emulation is slow, so it is not told the time to the second.
    assert!(apart(clock(&vm), SystemTime::now()) < Duration::from_secs(60));
    let want = |ntp: bool| json!({"plugins": {"timedate": {"ntp": ntp, "timezone": "Europe/Vienna"}}});
    let output = apply(&vm, &[], &want(false));
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(vm.sh("timedatectl show --property NTP --property Timezone").ok(), "Timezone=Europe/Vienna\nNTP=no\n");
    assert_eq!(outcome(&apply(&vm, &[], &want(false)).json()), "unchanged");

    let before = SystemTime::now();
    vm.sh("timedatectl set-time '2001-02-03 04:05:06'").ok();
    assert!(vm.sh("date --iso-8601=minutes").ok().starts_with("2001-02-03T04:05+01:00"));
    assert!(apart(SystemTime::now(), before) < Duration::from_secs(30), "this machine's clock stands");

    let output = apply(&vm, &[], &want(true));
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    wait_until("timesyncd runs", || vm.sh("systemctl is-active systemd-timesyncd").code == 0);
    assert_eq!(vm.sh("timedatectl show --property NTP").ok(), "NTP=yes\n");
}

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn the_record_stands_when_the_clock_jumps_back() {
    let vm = Vm::start(&VmOptions::default());
    vm.sh("timedatectl set-ntp false").ok();
    let want = |location: &str| json!({"plugins": {"hostname": {"location": location}}});
    let location = || vm.run(&["op-query", "--select", "hostname.location", "--raw"], "").ok();
    let applies = |options: &[&str], place: &str| {
        let output = apply(&vm, options, &want(place));
        assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    };
    applies(&[], "one");
    vm.sh("date -s '-2 days'").ok();
    applies(&[], "two");
    // What nobody confirms goes back in its time, whatever the clock says of it.
    applies(&["--confirm-within", "15s"], "three");
    vm.sh("date -s '-1 hour'").ok();
    wait_until("it is taken back", || location() == "two\n");
    wait_until("nothing waits", || vm.run(&["op-apply", "pending"], "").json()["runs"] == json!([]));
    let verdict = vm.run(&["op-audit", "verify"], "");
    assert_eq!((verdict.code, &verdict.json()["is_valid"]), (0, &json!(true)), "{verdict:?}");
    let log = vm.run(&["op-audit", "log"], "").ok();
    let blocks: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<&str> = blocks.iter().map(|block| block["header"]["time"].as_str().unwrap()).collect();
    assert!(times.len() >= 7 && !times.is_sorted(), "the clock jumped: {times:?}");
    let numbers: Vec<u64> = blocks.iter().map(|block| block["header"]["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=blocks.len() as u64).collect::<Vec<_>>());
    let output = vm.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!((output.code, location().as_str()), (0, "one\n"), "{output:?}");
}

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn bonds_and_vlans_come_and_go_beside_networkmanager() {
    let vm = Vm::start(&VmOptions::default());
    let links = || vm.sh("ip -br link | cut -d' ' -f1 | cut -d@ -f1 | sort").ok();
    let before = links();
    let example = vm.sh("cat /usr/share/op-dbus/mappings/net/examples/bond-and-vlans.json").json();
    let output = apply(&vm, &[], &example);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let link = |name: &str| vm.sh(&format!("ip -details -json address show dev {name}")).json()[0].clone();
    let (bond, vlan) = (link("opbond0"), link("opbond0.7"));
    assert_eq!((&bond["mtu"], &bond["linkinfo"]["info_data"]["mode"]), (&json!(1450), &json!("active-backup")));
    assert_eq!((&link("opd0")["master"], &link("opd1")["master"]), (&json!("opbond0"), &json!("opbond0")));
    assert_eq!((&vlan["link"], &vlan["linkinfo"]["info_data"]["id"]), (&json!("opbond0"), &json!(7)));
    assert_eq!((&vlan["mtu"], &vlan["addr_info"][0]["local"]), (&json!(1400), &json!("192.0.2.65")));
    assert_eq!(outcome(&apply(&vm, &[], &example).json()), "unchanged");

    let net = |items: Value| json!({"plugins": {"net": {"interfaces": items}}});
    let refused = apply(&vm, &[], &net(json!({"eth0": {"mtu": 1400}})));
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("NetworkManager manages eth0"), "{refused:?}");
    let refused = apply(&vm, &[], &net(json!({"opbond0": {"state": "absent"}})));
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("opbond0.7 stands on it"), "{refused:?}");

    // A port leaves a bond as it was: up.
    let alone = net(json!({"opbond0": {"link-aggregation": {"port": ["opd0", ]}}, "opd1": {"controller": ""}}));
    let output = apply(&vm, &[], &alone);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(
        (&link("opd1")["master"], vm.sh("ip -br link show opd1 | grep -c ,UP").ok().trim()),
        (&Value::Null, "1")
    );
    for _ in 0..2 {
        let output = vm.run(&["op-apply", "--rollback", "--yes"], "");
        assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    }
    assert_eq!(links(), before);
}

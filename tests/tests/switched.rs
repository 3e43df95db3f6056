//! Containers of real LXC on a bridge of real Open vSwitch, with its flows and with packages of the host, by one document;
//! and what puts flows back that Open vSwitch forgot. In a booted machine, on btrfs.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions, SMALL_ROOT};
use op_dbus_tests::ops::{fails, outcome, wait_until, write};
use op_dbus_tests::root::Output;
use serde_json::{Value, json};

const ADDRESSES: [&str; 2] = ["192.0.2.71", "192.0.2.72"];

fn op(machine: &Machine, name: &str, args: &[&str], stdin: &str) -> Output {
    machine.run(&[&["env", "OP_DBUS_MAPPINGS=/root/mappings", name], args].concat(), stdin)
}

#[track_caller]
fn applies(machine: &Machine, args: &[&str], plugins: &Value) {
    for expected in ["applied", "unchanged"] {
        let document = json!({ "plugins": plugins }).to_string();
        let output = op(machine, "op-apply", &[&["--yes"], args].concat(), &document);
        assert_eq!((output.code, outcome(&output.json())), (0, expected), "{output:?}");
    }
}

/// A bridge on which only what two addresses say to each other passes, and the questions for them.
fn bridge() -> Value {
    let [one, two] = ADDRESSES;
    let between = |from: &str, to: &str| json!({"priority": 100, "match": format!("icmp,nw_src={from},nw_dst={to}"), "actions": "NORMAL"});
    let arp = json!({"priority": 50, "match": "arp", "actions": "NORMAL"});
    json!({"datapath_type": "netdev", "fail_mode": "secure", "flows": [between(one, two), between(two, one), arp]})
}

fn flows(machine: &Machine) -> usize {
    machine.sh("ovs-ofctl -O OpenFlow14 dump-flows opsw0").stdout.matches("cookie=0x6f7064").count()
}

/// Whatever the document makes, as the tools of others tell it.
fn everything(machine: &Machine) -> String {
    let script = "find /var/lib/lxc -printf '%p %m\\n' | sort; btrfs subvolume list -o / | grep -v lib/op-dbus | awk '{print $NF}' | sort
        ip -br link | cut -d' ' -f1 | cut -d@ -f1 | sort; ls /run/netns 2>/dev/null; lsns -n -t net -o NS | sort -u | wc -l
        ovs-vsctl list-br; ovs-vsctl --columns=name list Port; ovs-vsctl --columns=name list Interface
        dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' | grep ' installed$'";
    machine.sh(script).ok()
}

#[test]
fn containers_on_a_bridge_with_flows_come_and_go_by_one_document() {
    let machine = Machine::boot(&MachineOptions::default());
    machine.run(&["bash", "-ec", SMALL_ROOT], "").ok();
    let golden = |args: &[&str]| {
        let output = op(&machine, "op-snapshot", &[&["golden"], args].concat(), "");
        assert_eq!(output.code, 0, "{output:?}");
    };
    golden(&["create", "small", "--from", "/root/small", "--privileged"]);
    let before = everything(&machine);

    let container = |at: usize| {
        json!({"golden_image": "small", "status": "running", "networks": {"net0": {"name": "eth0", "bridge": "opsw0",
               "ip": format!("{}/24", ADDRESSES[at])}}})
    };
    let wish = json!({
        "openflow": {"bridges": {"opsw0": bridge()}},
        "lxc": {"containers": {"one": container(0), "two": container(1)}},
        "packagekit": {"packages": ["hello-op"]},
    });
    let plan = op(&machine, "op-apply", &["--dry-run"], &json!({ "plugins": wish }).to_string());
    assert_eq!((plan.code, everything(&machine)), (0, before.clone()), "{plan:?}");
    applies(&machine, &[], &wish);
    assert_eq!(machine.sh("lxc-ls -1 --running").ok(), "one\ntwo\n");
    assert_eq!(machine.sh("ovs-vsctl list-ports opsw0").ok().lines().count(), 2, "LXC puts its own ports there");
    assert_eq!((flows(&machine), machine.sh("dpkg-query -W hello-op").code), (3, 0));
    let pings = |from: &str, to: &str| machine.sh(&format!("lxc-attach -n {from} -- ping -c 1 -W 1 {to}")).code == 0;
    wait_until("one reaches two", || pings("one", ADDRESSES[1]));
    wait_until("two reaches one", || pings("two", ADDRESSES[0]));

    // Flows decide it.
    let closed = json!([{"bridge": "opsw0", "priority": 200, "match": "icmp", "actions": "drop"}]);
    applies(&machine, &[], &json!({"openflow": {"flows": closed}}));
    assert!(!pings("one", ADDRESSES[1]));
    let output = op(&machine, "op-apply", &["--yes", "--rollback"], "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert!(pings("one", ADDRESSES[1]));

    // All of it goes by a rollback, which for containers must be agreed to.
    let back = ["--yes", "--rollback", "--allow-irreversible"];
    let output = op(&machine, "op-apply", &back, "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(everything(&machine), before);

    // And by saying so. What LXC put on the bridge is not ours to take: it goes with its containers, all of them.
    applies(&machine, &[], &wish);
    let bridge = json!({"bridges": {"opsw0": {"state": "absent"}}});
    let gone = json!({"status": "absent"});
    for containers in [json!({}), json!({"one": gone})] {
        let some = json!({"plugins": {"openflow": bridge, "lxc": {"containers": containers}}}).to_string();
        let output = op(&machine, "op-apply", &["--yes", "--allow-irreversible"], &some);
        assert_eq!((output.code, flows(&machine)), (5, 3), "{output:?}");
        fails(&output, 5, &["ports of others are on it"]);
    }
    let packages = json!({"absent": {"packages": ["hello-op"]}});
    let all = json!({"openflow": bridge, "lxc": {"containers": {"one": gone, "two": gone}}, "packagekit": packages});
    let plan = op(&machine, "op-apply", &["--dry-run"], &json!({ "plugins": all }).to_string()).json();
    let titles: Vec<&str> = plan["actions"].as_array().unwrap().iter().filter_map(|a| a["title"].as_str()).collect();
    let at = |word: &str| titles.iter().position(|title| title.contains(word)).unwrap();
    assert!(at("container two") < at("bridge opsw0"), "{titles:?}");
    applies(&machine, &["--allow-irreversible"], &all);
    assert_eq!(everything(&machine), before);
    golden(&["delete", "small", "--yes"]);
}

/// Puts the shipped units there, with our programs.
fn with_units(machine: &Machine) {
    let units = ["op-dbus.service", "op-dbus-recover.service", "op-dbus-flows.service", "op-dbus-drift.service"];
    for unit in units {
        let script =
            format!("sed s,/usr/bin/op-,/op/bin/op-, /op/src/packaging/systemd/{unit} >/etc/systemd/system/{unit}");
        machine.sh(&script).ok();
    }
    let state = json!({"plugins": {"openflow": {"bridges": {"opsw0": bridge()}}}});
    let acknowledged = json!({"kind": "acknowledged", "version": 1, "drift": []});
    machine.sh("install -d /etc/op-dbus").ok();
    write(machine, "/etc/op-dbus/state.json", &state.to_string());
    write(machine, "/etc/op-dbus/acknowledged.json", &acknowledged.to_string());
    machine.sh("systemctl daemon-reload; systemctl -q enable op-dbus.service op-dbus-recover.service op-dbus-flows.service").ok();
}

#[test]
fn flows_that_open_vswitch_forgets_come_again() {
    let mut machine = Machine::boot(&MachineOptions::default());
    with_units(&machine);
    machine.sh("systemctl start op-dbus.service").ok();
    assert_eq!(flows(&machine), 3);
    // In the unit that only looks, too, ovs-ofctl may do what it needs.
    let drifted = |machine: &Machine| machine.sh("systemctl start op-dbus-drift.service").code != 0;
    assert!(!drifted(&machine), "{}", machine.sh("journalctl -u op-dbus-drift --no-pager").stdout);
    machine.sh("ovs-ofctl -O OpenFlow14 del-flows opsw0").ok();
    assert!(drifted(&machine));
    machine.sh("systemctl start op-dbus-flows.service").ok();
    wait_until("flows come when that is started", || flows(&machine) == 3);

    machine.sh("systemctl restart ovs-vswitchd.service").ok();
    wait_until("flows come after a restart", || flows(&machine) == 3);
    let pid = || machine.sh("systemctl show -P MainPID ovs-vswitchd.service").ok();
    let killed = pid();
    machine.sh(&format!("kill -KILL {killed}")).ok();
    wait_until("flows come after a crash", || pid() != killed && flows(&machine) == 3);

    let runs = |machine: &Machine| machine.run(&["op-audit", "log", "--plugin", "openflow"], "").stdout.lines().count();
    let at_rest = |machine: &Machine| machine.sh("systemctl is-active op-dbus.service").stdout.trim() == "active";
    wait_until("it is done", || at_rest(&machine));
    let so_far = runs(&machine);
    assert!(so_far > 0);
    machine.reboot();
    wait_until("flows come with the boot", || flows(&machine) == 3 && at_rest(&machine));
    assert_eq!(runs(&machine), so_far + 2, "it is applied once: an intent and an outcome");
    assert!(!drifted(&machine));
}

/// What stands on something goes before it, and comes again after it.
#[test]
fn a_link_and_the_bridge_it_is_on_go_and_come_again_together() {
    let machine = Machine::boot(&MachineOptions::default());
    machine.run(&["bash", "-ec", SMALL_ROOT], "").ok();
    // Without udev it takes over every pair of links.
    machine.sh("systemctl stop NetworkManager && rm -rf /run/NetworkManager/devices").ok();
    let told = || {
        machine
            .sh("ip -br link | cut -d' ' -f1 | sort; ovs-vsctl list-br; ovs-vsctl --columns=name list Port | sort")
            .ok()
    };
    let before = told();
    let mut opsw0 = bridge();
    opsw0["ports"] = json!({"oplink0": {}});
    opsw0["flows"] = json!([{"priority": 5, "match": "in_port=oplink0", "actions": "drop"}]);
    let end = |of: &str| json!({"type": "veth", "veth": {"peer": of}});
    let pair = json!({"oplink0": end("oplink1"), "oplink1": end("oplink0")});
    let wish = json!({"net": {"interfaces": pair}, "openflow": {"bridges": {"opsw0": opsw0}}});
    applies(&machine, &[], &wish);
    let there = told();
    let gone = json!({"state": "absent"});
    let gone = json!({"net": {"interfaces": {"oplink0": gone}}, "openflow": {"bridges": {"opsw0": gone}}});
    applies(&machine, &[], &gone);
    assert_eq!(told(), before);
    for (expected, count) in [(there, 1), (before, 0)] {
        let output = op(&machine, "op-apply", &["--yes", "--rollback"], "");
        assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
        assert_eq!((told(), flows(&machine)), (expected, count));
    }
}

//! `net` beside a real NetworkManager: what is persistent comes back with the machine.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions};
use op_dbus_tests::ops::{apply, outcome, wait_until};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn a_bridge_comes_back_after_a_reboot() {
    let mut machine = Machine::boot(&MachineOptions::default());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/net/examples/bridge-with-pair.json");
    let mut wish: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for link in ["opbr0", "opv0"] {
        wish["plugins"]["net"]["interfaces"][link]["persistent"] = json!(true);
    }
    let output = apply(&machine, &[], &wish);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let profiles = "ls /etc/NetworkManager/system-connections /etc/systemd/network | grep -c op-dbus-";
    assert_eq!(machine.sh(profiles).ok(), "2\n", "networkd has folders here, and does not run");
    machine.reboot();
    wait_until("the bridge has its addresses", || {
        machine.sh("ip -br address show dev opbr0").stdout.contains("2001:db8::1/64")
    });
    wait_until("its port is in it", || machine.sh("bridge link").stdout.contains("master opbr0"));
    assert!(machine.sh("ip route show 198.51.100.0/24").ok().contains("via 192.0.2.254 dev opbr0"));
    let output = apply(&machine, &[], &wish);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
}

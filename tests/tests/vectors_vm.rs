//! Vectors on two NUMA nodes: where their pages really are. `make test-vm` runs this; it is ignored otherwise.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Vm, VmOptions};
use serde_json::Value;

#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn hot_pages_lie_where_they_are_read() {
    let vm = Vm::start(&VmOptions::default());
    let say = |args: &str| -> Value {
        let output = vm.sh(&format!("op-dbus-vectors {args}"));
        assert_eq!(output.code, 0, "{args}: {}{}", output.stdout, output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    };
    say("fill /root/embeddings f16 0 4000 1000");
    for (node, strategy) in [(1, "node:1"), (0, "node:0"), (1, "node:1"), (0, "replicate")] {
        let placed = say(&format!("place /root/embeddings {strategy}"));
        for step in placed["warmed"]["steps"].as_array().unwrap() {
            assert_ne!(step["outcome"], "denied", "{placed}");
        }
        let pages = &placed["numa_maps"];
        if strategy == "replicate" {
            // A copy on each node, all of it there.
            for (node, copy) in placed["copies"].as_array().unwrap().iter().enumerate() {
                let on = copy["pages"][node.to_string()].as_u64().unwrap();
                let all: u64 = copy["pages"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
                assert!(on * 100 >= all * 99 && all > 400, "{placed}");
            }
            assert_eq!(placed["copies"].as_array().unwrap().len(), 2);
            continue;
        }
        let on = |node: u64| pages[format!("N{node}")].as_u64().unwrap_or(0);
        assert!(on(node) > 400 && on(node) * 100 >= (on(0) + on(1)) * 99, "{strategy}: {placed}");
        assert_eq!(placed["read_on_cpu"], node, "{placed}");
    }
    // What the kernel forbids is said, and everything is answered all the same.
    let confined = vm.sh("taskset 1 op-dbus-vectors place /root/embeddings node:1");
    assert_eq!(confined.code, 0, "{confined:?}");
    let topology = say("topology /sys");
    assert_eq!(topology["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(topology["nodes"][1]["distances"], serde_json::json!([21, 10]));
    let kept = say("check /root/embeddings f16 0 4000");
    assert_eq!((&kept["hits"], &kept["wrong"]), (&4000.into(), &0.into()));
}

/// The whole program on two nodes, with its cache on btrfs, before and after a reboot.
#[test]
#[ignore = "make test-vm: it takes minutes the first time"]
fn what_was_computed_is_there_after_a_reboot() {
    let vm = Vm::start(&VmOptions::default());
    let sh = |script: &str| {
        let output = vm.sh(script);
        assert_eq!(output.code, 0, "{script}: {}{}", output.stdout, output.stderr);
        output.stdout
    };
    sh("mkfs.btrfs -q /dev/vdc && mkdir -p /mnt && mount /dev/vdc /mnt && mkdir /mnt/root");
    let ask = "printf 'Creating container 100\\nBackup of VM 101 failed\\n' | op-embed --root /mnt/root";
    let first = sh(&format!("{ask} --format raw | sha256sum"));
    vm.reboot();
    // Nothing is computed, and it is the same: from the disk, and then from memory.
    sh("mount /dev/vdc /mnt");
    for _ in 0..2 {
        assert_eq!(sh(&format!("{ask} --level none --format raw | sha256sum")), first);
        let timings = sh(&format!("{ask} --level none --format raw --timings --json 2>&1 >/dev/null"));
        let timings: Value = serde_json::from_str(&timings).unwrap();
        assert_eq!((&timings["hits"], &timings["misses"]), (&2.into(), &0.into()));
    }
    // Two nodes, a processor each: workers are pinned, and what each layer brings is measured.
    let engines: Value = serde_json::from_str(&sh("op-embed engines --json --numa 'node 1'")).unwrap();
    for step in engines["placement"].as_array().unwrap() {
        assert_eq!(step["outcome"], "applied", "{engines}");
    }
    // What the kernel forbids is said, and the answers are the same.
    let forbidden = "systemd-run --quiet --wait --pipe -p SystemCallErrorNumber=EPERM \
                     -p 'SystemCallFilter=~sched_setaffinity set_mempolicy mbind move_pages' $(command -v op-embed)";
    let engines: Value = serde_json::from_str(&sh(&format!("{forbidden} engines --json --numa 'node 1'"))).unwrap();
    for step in engines["placement"].as_array().unwrap() {
        assert_eq!(step["outcome"], "denied", "{engines}");
    }
    let texts = "printf 'Creating container 100\\nBackup of VM 101 failed\\n'";
    let there = sh(&format!("{texts} | {forbidden} --no-cache --format raw --numa 'node 1' | sha256sum"));
    assert_eq!(there, first);
    let limited = sh("systemd-run --quiet --wait --pipe -p MemoryMax=300M $(command -v op-embed) topology --json");
    let memory = &serde_json::from_str::<Value>(&limited).unwrap()["memory"];
    assert_eq!(memory["limit_bytes"], 300 << 20, "{limited}");
    assert!(memory["budget_bytes"].as_u64().unwrap() <= 75 << 20, "{limited}");
    let layers: Value = serde_json::from_str(&sh("op-embed bench --layers --json --root /mnt/root")).unwrap();
    let numa = layers["layers"].as_array().unwrap().iter().find(|layer| layer["layer"] == "NUMA").unwrap();
    assert!(numa["ratio"].as_f64().unwrap() > 0.0, "{layers}");
}

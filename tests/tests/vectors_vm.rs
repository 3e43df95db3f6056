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

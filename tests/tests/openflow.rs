//! The plugin `openflow` with a real Open vSwitch in user space: what it makes is seen with Open vSwitch's own tools, what
//! it takes back leaves nothing, and what is not its own stays.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{fails, outcome};
use op_dbus_tests::vswitch::Vswitch;
use serde_json::{Value, json};
use std::path::Path;

fn example(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/openflow/examples").join(format!("{name}.json"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    document["plugins"]["openflow"].clone()
}

#[track_caller]
fn applied(switch: &Vswitch, state: &Value) {
    let output = switch.apply(&[], state);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let output = switch.apply(&[], state);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "the second time: {output:?}");
}

#[track_caller]
fn rolled_back(switch: &Vswitch) {
    let output = switch.case.op("op-apply", &["--yes", "--rollback"], "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
}

fn bridge(more: &Value) -> Value {
    let mut bridge = json!({"datapath_type": "netdev", "fail_mode": "secure"});
    more.as_object().unwrap().iter().for_each(|(name, value)| bridge[name] = value.clone());
    json!({"bridges": {"br0": bridge}})
}

fn flows(list: &Value) -> Value {
    json!({ "flows": list })
}

/// All that counts, as Open vSwitch's own tools tell it.
fn everything(switch: &Vswitch) -> String {
    let bridges = switch.tool("ovs-vsctl", &["list-br"]);
    let rows = ["--columns=name,datapath_type,fail_mode,protocols,external_ids", "list", "Bridge"];
    let ports = ["--columns=name,tag,trunks,external_ids", "list", "Port"];
    let rows = [switch.tool("ovs-vsctl", &rows), switch.tool("ovs-vsctl", &ports)];
    let mut blocks: Vec<&str> = rows.iter().flat_map(|text| text.split("\n\n")).map(str::trim).collect();
    blocks.sort_unstable();
    let flows: Vec<String> = bridges.lines().map(|bridge| switch.flows(bridge).join("\n")).collect();
    format!("{}\n{}", blocks.join("\n\n"), flows.join("\n"))
}

#[test]
fn a_bridge_with_ports_and_flows_comes_and_goes() {
    let switch = Vswitch::start();
    let before = everything(&switch);
    let wish = example("bridge-with-flows");
    applied(&switch, &wish);
    assert_eq!(switch.tool("ovs-vsctl", &["list-ports", "opbr0"]), "opdb0\nopweb0\n");
    assert_eq!(switch.tool("ovs-vsctl", &["get", "port", "opdb0", "tag"]), "10\n");
    assert_eq!(
        switch.flows("opbr0"),
        [
            "cookie=0x6f70640000000000, priority=100,tcp,in_port=opdb0,nw_src=10.77.0.0/24,tp_dst=80 actions=output:opweb0",
            "cookie=0x6f70640000000000, priority=50,arp actions=FLOOD",
            "cookie=0x6f70640000000000, table=1, priority=10,in_port=opweb0 actions=drop",
        ]
    );
    // What a query prints is a document that changes nothing.
    let shown = switch.query();
    let name = "opbr0 table=0,priority=100,tcp,in_port=opdb0,nw_src=10.77.0.0/24,tp_dst=80";
    assert_eq!(shown["flows"][name]["actions"], "output:opweb0", "{shown}");
    let output = switch.apply(&[], &shown);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
    let whole = everything(&switch);

    rolled_back(&switch);
    assert_eq!(everything(&switch), before);
    applied(&switch, &wish);
    applied(&switch, &json!({"bridges": {"opbr0": {"state": "absent"}}}));
    assert_eq!(everything(&switch), before, "ports and flows go with it");
    assert_eq!(switch.case.sh("ip -o link | grep -c opbr0 || true"), "0\n");
    // And all of it comes again when that is taken back.
    rolled_back(&switch);
    assert_eq!(everything(&switch), whole);
}

#[test]
fn flows_change_and_go_and_others_stay() {
    let switch = Vswitch::start();
    switch.tool("ovs-vsctl", &["add-br", "vmbr9", "--", "set", "bridge", "vmbr9", "datapath_type=netdev"]);
    switch.tool("ovs-ofctl", &["-O", "OpenFlow14", "add-flow", "vmbr9", "cookie=0xdead,priority=50,arp,actions=FLOOD"]);
    let one = |actions: &str| json!({"bridge": "vmbr9", "priority": 7, "match": "udp,udp_dst=53", "actions": actions});
    let two = json!({"bridge": "vmbr9", "priority": 8, "match": "nw_proto=6,ip,nw_src=10.77.0.5/24", "actions": "NORMAL", "idle_timeout": 600});
    // On a bridge of others, in words that a switch prints otherwise.
    applied(&switch, &flows(&json!([one("NORMAL"), two])));
    let others = ["cookie=0xdead, priority=50,arp actions=FLOOD", "priority=0 actions=NORMAL"];
    let ours = |rest: &str| format!("cookie=0x6f70640000000000, {rest}");
    let second = ours("idle_timeout=600, priority=8,tcp,nw_src=10.77.0.0/24 actions=NORMAL");
    let expected = [second.as_str(), &ours("priority=7,udp,tp_dst=53 actions=NORMAL"), others[0], others[1]];
    assert_eq!(switch.flows("vmbr9"), expected);
    applied(&switch, &flows(&json!([one("drop")])));
    assert_eq!(switch.flows("vmbr9")[1], ours("priority=7,udp,tp_dst=53 actions=drop"));
    assert_eq!(switch.flows("vmbr9")[0], second, "what is not listed stays");
    rolled_back(&switch);
    assert_eq!(switch.flows("vmbr9"), expected);
    let gone = json!({"bridge": "vmbr9", "priority": 7, "match": "udp,tp_dst=53", "state": "absent"});
    let changed = json!({"bridge": "vmbr9", "priority": 8, "match": "tcp,nw_src=10.77.0.0/24", "actions": "NORMAL"});
    applied(&switch, &flows(&json!([gone, changed])));
    assert_eq!(
        switch.flows("vmbr9"),
        [&ours("priority=8,tcp,nw_src=10.77.0.0/24 actions=NORMAL"), others[0], others[1]]
    );
    assert_eq!(switch.query()["foreign_flows"]["vmbr9"].as_array().unwrap().len(), 2);
    // Of others nothing is changed, nor taken.
    for wish in [json!({"fail_mode": "secure"}), json!({"state": "absent"})] {
        let output = switch.apply(&[], &json!({"bridges": {"vmbr9": wish}}));
        fails(&output, 5, &["vmbr9 was not made by op-dbus", "external_ids:op-dbus"]);
    }
}

#[test]
fn what_an_owner_leaves_out_goes() {
    let switch = Vswitch::start();
    let before = everything(&switch);
    let owned = |state: &Value| {
        let output = switch.apply(&["--owner", "boot"], state);
        assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    };
    let flow = |priority: u32| json!({"priority": priority, "match": "in_port=p0", "actions": "drop"});
    let ports = json!({"p0": {"type": "internal"}, "p1": {"type": "internal"}});
    owned(&bridge(&json!({"ports": ports, "flows": [flow(1), flow(2)]})));
    applied(&switch, &flows(&json!([{"bridge": "br0", "priority": 3, "actions": "drop"}])));
    owned(&bridge(&json!({"ports": {"p0": {"type": "internal"}}, "flows": [flow(2)]})));
    assert_eq!(switch.tool("ovs-vsctl", &["list-ports", "br0"]), "p0\n");
    let left = ["priority=2,in_port=p0 actions=drop", "priority=3 actions=drop"];
    assert_eq!(switch.flows("br0"), left.map(|flow| format!("cookie=0x6f70640000000000, {flow}")));
    owned(&json!({"bridges": {}}));
    assert_eq!(everything(&switch), before, "a bridge that is left out takes along what is on it");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let switch = Vswitch::start();
    applied(&switch, &bridge(&json!({"ports": {"p0": {"type": "internal"}}})));
    switch.tool("ovs-ofctl", &["-O", "OpenFlow14", "add-flow", "br0", "cookie=0xdead,priority=50,arp,actions=FLOOD"]);
    let before = everything(&switch);
    let flow = |more: Value| {
        let mut flow = json!({"bridge": "br0", "priority": 9, "actions": "drop"});
        more.as_object().unwrap().iter().for_each(|(name, value)| flow[name] = value.clone());
        flows(&json!([flow]))
    };
    let port = |more: Value| json!({"ports": {"p9": more}});
    let cases: Vec<(Value, i32, &[&str])> = vec![
        (flow(json!({"priority": 50, "match": "arp"})), 5, &["it would replace a flow of others", "0xdead"]),
        (flow(json!({"match": "tp_dst=80"})), 5, &["keep only: everything", "tp_dst=80"]),
        (flow(json!({"match": "ip,tp_dst=80,nw_src=10.0.0.1"})), 5, &["keep only: ip,nw_src=10.0.0.1"]),
        (flow(json!({"match": "ip,nw_src=10.0.0.300"})), 65, &["flows[0].match", "10.0.0.300"]),
        (flow(json!({"match": "ip,nw_src=10.0.0.0/33"})), 65, &["flows[0]", "ovs-ofctl refuses it", "prefix"]),
        (flow(json!({"match": "dl_vlan=5000"})), 65, &["flows[0].match", "5000"]),
        (json!({"bridges": {"br0": {"fail_mode": "standalone"}}}), 5, &["forget flows of others", "0xdead"]),
        (flow(json!({"match": "tcp,actions=NORMAL,nw_src=10.0.0.1"})), 65, &["flows[0]"]),
        (flow(json!({"match": "tcp,idle_timeout=5"})), 65, &["match holds more than fields"]),
        (flow(json!({"match": "tcp\nudp"})), 65, &["flows[0].match", "one line"]),
        (flow(json!({"actions": "output:nobody"})), 65, &["no port nobody on the bridge br0"]),
        (flow(json!({"actions": "fly"})), 65, &["unknown action fly"]),
        (flow(json!({"table": 300})), 65, &["flows[0].table", "0 to 253"]),
        (flow(json!({"bridge": "br7"})), 65, &["there is no bridge br7"]),
        (flow(json!({"bridg": "br7"})), 65, &["no such member"]),
        (flow(json!({"cookie": "0xdead"})), 65, &["no cookie of op-dbus"]),
        (
            flows(&json!([{"bridge": "br0", "match": "tcp,tcp_dst=1", "actions": "drop"},
                         {"bridge": "br0", "match": "ip,nw_proto=6,tp_dst=1", "actions": "NORMAL"}])),
            65,
            &["listed twice"],
        ),
        (port(json!({"bridge": "br7", "type": "internal"})), 65, &["there is no bridge br7"]),
        (port(json!({"type": "internal"})), 65, &["ports.p9.bridge"]),
        (port(json!({"bridge": "br0"})), 65, &["no link p9"]),
        (port(json!({"bridge": "br0", "type": "internal", "tag": 4096})), 65, &["ports.p9.tag", "4095"]),
        (port(json!({"bridge": "br0", "type": "patch"})), 65, &["options.peer"]),
        (json!({"ports": {"p0": {"type": "patch"}}}), 5, &["ports.p0.type"]),
        (json!({"bridges": {"a/b": {}}}), 65, &["no name of a bridge"]),
        (json!({"bridges": {"br0": {"fail_mode": "open"}}}), 65, &["standalone"]),
        (json!({"bridges": {"br0": {"colour": "red"}}}), 65, &["no such member"]),
        (json!({"bridges": {"br0": {"state": "absent"}}}), 5, &["flows of others are on it", "0xdead"]),
        (
            json!({"bridges": {"br0": {"protocols": ["OpenFlow10"], "flows": [{"actions": "drop"}]}}}),
            5,
            &["OpenFlow14", "br0.protocols"],
        ),
        (
            json!({"bridges": {"br1": {"datapath_type": "netdev", "flows": [{"priority": 0, "actions": "drop"}]}}}),
            5,
            &["priority=0,actions=NORMAL", "secure"],
        ),
        (json!({"policies": {"p": {"selector": "vlan:1", "flows": [{"actions": "drop"}]}}}), 65, &["selects nothing"]),
        (
            json!({"policies": {"p": {"selector": "port:p*", "flows": [{"match": "in_port={prt}", "actions": "drop"}]}}}),
            65,
            &["policies.p", "no variable \"prt\""],
        ),
    ];
    for (wish, code, words) in cases {
        fails(&switch.apply(&[], &wish), code, words);
    }
    assert_eq!(everything(&switch), before);
    // Every mistake is told at once.
    let wrong = json!([{"bridge": "br0", "match": "x=1", "actions": "drop"}, {"bridge": "br0", "match": "tp_dst=1", "actions": "drop"},
                       {"bridge": "br0", "actions": "y"}]);
    fails(&switch.apply(&[], &flows(&wrong)), 65, &["flows[0]", "flows[1]", "flows[2]"]);
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let switch = Vswitch::start();
    applied(&switch, &bridge(&json!({"flows": [{"priority": 3, "match": "arp", "actions": "NORMAL"}]})));
    let before = everything(&switch);
    // The database takes a tunnel that leads nowhere, and ovs-vsctl would say nothing.
    let ports =
        json!({"a0": {"type": "internal"}, "t0": {"type": "vxlan", "options": {"remote_ip": "no.such.host.invalid"}}});
    let wish = json!({"bridges": {"br0": {"fail_mode": "standalone", "ports": ports}}});
    let output = switch.apply(&[], &wish);
    fails(&output, 1, &["t0", "everything that was done was undone"]);
    assert_eq!(outcome(&output.json()), "undone");
    assert_eq!(everything(&switch), before);
}

#[test]
fn one_wrong_flow_and_none_comes() {
    let switch = Vswitch::start();
    applied(&switch, &bridge(&json!({})));
    // ovs-ofctl takes it, and the switch has no such group.
    let wish = json!([{"bridge": "br0", "priority": 1, "actions": "drop"}, {"bridge": "br0", "priority": 2, "actions": "group:7"}]);
    let output = switch.apply(&[], &flows(&wish));
    fails(&output, 1, &["BAD_OUT_GROUP"]);
    assert_eq!(switch.flows("br0"), Vec::<String>::new());
}

#[test]
fn policies_follow_the_ports_they_select() {
    let switch = Vswitch::start();
    let wish = example("container-policy");
    applied(&switch, &wish);
    assert_eq!(switch.flows("opbr0"), Vec::<String>::new(), "there is no container yet");
    let container = |id: u32| {
        let port = format!("veth{id}i0");
        switch.tool("ovs-vsctl", &["add-port", "opbr0", &port, "--", "set", "interface", &port, "type=internal"]);
    };
    [105, 106, 200].into_iter().for_each(container);
    applied(&switch, &wish);
    let now = switch.flows("opbr0");
    assert_eq!(now.len(), 8, "{now:?}");
    let has = |text: &str| now.iter().any(|flow| flow.contains(text));
    assert!(has("ip,in_port=veth105i0,nw_src=10.77.0.105 actions=output:opup0"), "{now:?}");
    assert!(has("in_port=opup0,nw_dst=10.77.0.106 actions=output:veth106i0") && !has("veth200i0"), "{now:?}");
    // A flow that is listed beside it is another matter.
    applied(&switch, &flows(&json!([{"bridge": "opbr0", "priority": 1, "actions": "drop"}])));
    // One container goes, the template changes.
    switch.tool("ovs-vsctl", &["del-port", "veth105i0"]);
    let mut other = wish.clone();
    other["policies"]["no-spoofing"]["flows"] =
        json!([{"priority": 9, "match": "in_port={port}", "actions": "NORMAL"}]);
    applied(&switch, &other);
    let cookie = switch.flows("opbr0").iter().find(|flow| flow.contains("priority=9")).unwrap().clone();
    assert!(cookie.ends_with("priority=9,in_port=veth106i0 actions=NORMAL"), "{cookie}");
    assert_eq!(switch.flows("opbr0").len(), 2);
    applied(&switch, &json!({"policies": {"no-spoofing": {"state": "absent"}}}));
    assert_eq!(switch.flows("opbr0"), ["cookie=0x6f70640000000000, priority=1 actions=drop"]);
}

#[test]
fn flows_come_again_after_a_restart() {
    let mut switch = Vswitch::start();
    let wish = example("bridge-with-flows");
    applied(&switch, &wish);
    let before = everything(&switch);
    switch.kill_daemon();
    // Nothing would come of a change, so nothing is written.
    let output = switch.apply(&[], &json!({"bridges": {"br5": {}}}));
    fails(&output, 69, &["ovs-vswitchd is not running"]);
    let output = switch.case.op("op-query", &["--plugin", "openflow"], "");
    assert_eq!(output.code, 3, "{output:?}");
    let shown = output.json();
    assert!(
        shown["plugins"]["openflow"]["bridges"]["opbr0"].is_object() && shown["plugins"]["openflow"]["flows"].is_null()
    );
    switch.start_daemon();
    assert_eq!(switch.flows("opbr0"), Vec::<String>::new());
    applied(&switch, &wish);
    assert_eq!(everything(&switch), before);

    switch.kill_database();
    let output = switch.apply(&[], &wish);
    fails(&output, 69, &["database of Open vSwitch cannot be reached", "db.sock"]);
    switch.start_database();
}

#[test]
fn two_at_once_do_not_mix() {
    let switch = Vswitch::start();
    applied(&switch, &bridge(&json!({"ports": {"p0": {"type": "internal", "tag": 5}}})));
    let plan = |state: &Value| {
        let output = switch.case.op("op-apply", &["--dry-run", "--plugin", "openflow"], &state.to_string());
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    let tag = plan(&json!({"ports": {"p0": {"tag": 6}}}));
    let flow = plan(&flows(&json!([{"bridge": "br0", "priority": 4, "match": "arp", "actions": "drop"}])));
    switch.tool("ovs-vsctl", &["set", "port", "p0", "tag=7"]);
    switch.tool("ovs-ofctl", &["-O", "OpenFlow14", "add-flow", "br0", "cookie=0xdead,priority=4,arp,actions=NORMAL"]);
    let before = everything(&switch);
    fails(&switch.case.op("op-apply", &["--yes"], &tag), 6, &["stale"]);
    fails(&switch.case.op("op-apply", &["--yes"], &flow), 5, &["0xdead"]);
    assert_eq!(everything(&switch), before);
    // Many of ours and many of others at the same time: none is lost, none is half there.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..20 {
                switch.tool(
                    "ovs-ofctl",
                    &[
                        "-O",
                        "OpenFlow14",
                        "add-flow",
                        "br0",
                        &format!("cookie=0xbeef,priority={},actions=NORMAL", 100 + i),
                    ],
                );
                switch.tool("ovs-vsctl", &["set", "bridge", "br0", &format!("other_config:n={i}")]);
            }
        });
        for i in 0..5 {
            let ports = json!({format!("q{i}"): {"bridge": "br0", "type": "internal"}});
            let flow = json!([{"bridge": "br0", "priority": 200 + i, "actions": "drop"}]);
            let output = switch.apply(&[], &json!({"ports": ports, "flows": flow}));
            assert_eq!(output.code, 0, "{output:?}");
        }
    });
    assert_eq!(switch.flows("br0").len(), 1 + 20 + 5);
}

#[test]
fn who_is_killed_in_the_middle_is_taken_back() {
    let switch = Vswitch::start();
    let before = everything(&switch);
    let ports: serde_json::Map<String, Value> =
        (0..6).map(|i| (format!("k{i}"), json!({"type": "internal"}))).collect();
    let list: Vec<Value> =
        (1..200).map(|i| json!({"priority": i, "match": format!("in_port=k{}", i % 6), "actions": "drop"})).collect();
    let wish = bridge(&json!({"ports": ports, "flows": list}));
    let command = switch.case.command("op-apply").join(" ");
    let file = switch.case.path("wish.json");
    std::fs::write(&file, json!({"plugins": {"openflow": wish}}).to_string()).unwrap();
    let mut found = 0;
    for after in [2, 3, 4, 5, 6, 7, 8, 9] {
        // The nth time that it asks the database for a change, it is gone.
        let trace = format!(
            "strace -f -o /dev/null -e trace=sendto,write -e inject=connect:signal=KILL:when={after} -e trace=connect {command} --yes {file}"
        );
        let output = switch.case.run(&["sh", "-c", &trace], "");
        assert_ne!(output.code, 64, "{output:?}");
        found += usize::from(everything(&switch) != before);
        let output = switch.case.op("op-apply", &["--recover"], "");
        assert_eq!(output.code, 0, "{output:?}");
        if everything(&switch) != before {
            applied(&switch, &json!({"bridges": {"br0": {"state": "absent"}}}));
        }
        assert_eq!(everything(&switch), before, "killed at connection {after}");
    }
    assert!(found > 0, "no run was killed in the middle");
}

#[test]
fn packets_go_where_flows_say() {
    let switch = Vswitch::start();
    // No words of the kernel's own among the packets.
    switch.case.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
    switch.case.sh("for i in a b; do ip link add v$i type veth peer name w$i; ip link set v$i up; done; \
                    ip address add 10.77.0.1/24 dev wa; ip link set wa up");
    let wish = |actions: &str| {
        bridge(
            &json!({"ports": {"va": {}, "vb": {}}, "flows": [{"priority": 9, "match": "in_port=va", "actions": actions}]}),
        )
    };
    applied(&switch, &wish("output:vb"));
    switch.case.sh("ip link set wb up");
    let received = || -> u64 {
        switch.case.ip(&["-s", "link", "show", "dev", "wb"])[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    };
    let send = || switch.case.run(&["bash", "-c", "echo x >/dev/udp/10.77.0.2/9; sleep 0.3"], "");
    let before = received();
    let _ = send();
    assert!(received() > before, "what comes in at one port goes out at the other");
    applied(&switch, &wish("drop"));
    let before = received();
    let _ = send();
    assert_eq!(received(), before);
}

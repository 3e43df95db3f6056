//! The plugin `net` in network namespaces: what it makes is seen with `ip`, what it takes back leaves nothing, and what is
//! not its own stays.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]
#![allow(clippy::print_stderr, reason = "a case that this kernel cannot show says so")]

use op_dbus_tests::netns::Netns;
use op_dbus_tests::ops::{fails, outcome};
use serde_json::{Value, json};
use std::path::Path;

fn example(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/net/examples").join(format!("{name}.json"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    document["plugins"]["net"].clone()
}

fn interfaces(items: &Value) -> Value {
    json!({ "interfaces": items })
}

fn v4(address: &str) -> Value {
    let (ip, prefix) = address.split_once('/').unwrap();
    json!({"address": [{"ip": ip, "prefix-length": prefix.parse::<u8>().unwrap()}]})
}

#[track_caller]
fn applied(case: &Netns, net: &Value) {
    let output = case.apply(&[], net);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(outcome(&output.json()), "applied", "{output:?}");
    let output = case.apply(&[], net);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "the second time: {output:?}");
}

#[track_caller]
fn rolled_back(case: &Netns) {
    let output = case.op("op-apply", &["--yes", "--rollback"], "");
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
}

/// All that `ip` tells and that does not count upwards.
fn everything(case: &Netns) -> String {
    case.sh("ip -br -d link | sort; ip -br address | sort; ip route; ip -6 route | grep -v ^fe80 || true")
}

#[test]
fn a_bridge_with_a_pair_comes_and_goes() {
    let case = Netns::start("none");
    let before = everything(&case);
    let wish = example("bridge-with-pair");
    applied(&case, &wish);
    assert_eq!(case.links(), ["lo", "opbr0", "opv0", "opv1"]);
    let link = |name: &str| case.ip(&["link", "show", "dev", name])[0].clone();
    assert_eq!(link("opbr0")["mtu"], 1400, "although a port joined with another");
    assert_eq!((&link("opv0")["master"], &link("opv0")["operstate"]), (&json!("opbr0"), &json!("UP")));
    assert_eq!(link("opv1")["link"], "opv0");
    assert_eq!(case.addresses("opbr0"), ["192.0.2.1/24", "2001:db8::1/64"]);
    assert_eq!(case.sh("ip route show proto static"), "198.51.100.0/24 via 192.0.2.254 dev opbr0 metric 100 \n");

    // What a query prints is a document that changes nothing.
    let shown = case.query();
    assert_eq!(shown["interfaces"]["opbr0"]["bridge"]["port"], json!([{"name": "opv0"}]));
    assert_eq!(shown["interfaces"]["opbr0"]["type"], "linux-bridge");
    let output = case.apply(&[], &shown);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");

    rolled_back(&case);
    assert_eq!(everything(&case), before);
    applied(&case, &wish);
    let shown = case.query();
    let absent = json!({"opbr0": {"state": "absent"}, "opv1": {"type": "veth", "state": "absent"}});
    applied(&case, &interfaces(&absent));
    assert_eq!(everything(&case), before, "the pair goes together, and the route with the bridge");
    // And all of it comes again when that is taken back.
    rolled_back(&case);
    assert_eq!(case.query(), shown);
}

#[test]
fn a_document_of_nmstate_is_understood() {
    let case = Netns::start("none");
    let document = json!({"interfaces": [
        {"name": "br1", "type": "linux-bridge", "state": "up", "mac-address": "02-00-00-00-00-0a",
         "ipv4": {"enabled": true, "dhcp": false, "auto-dns": true, "address": [{"ip": "192.0.2.9", "prefix-length": 24}]},
         "ipv6": {"enabled": true, "autoconf": false, "dhcp": false, "address": [{"ip": "2001:DB8:0::9", "prefix-length": 64}]},
         "bridge": {"options": {"stp": {"enabled": true, "priority": 4096}}, "port": []}},
        {"name": "va", "type": "veth", "state": "up", "controller": "br1", "veth": {"peer": "vb"}},
        {"name": "vb", "type": "veth", "state": "down"}],
      "routes": {"running": [], "config": [
        {"destination": "::/0", "next-hop-address": "2001:db8::fe", "next-hop-interface": "br1", "table-id": 0, "metric": -1}]}});
    applied(&case, &document);
    let bridge = &case.ip(&["link", "show", "dev", "br1"])[0];
    assert_eq!(bridge["address"], "02:00:00:00:00:0a");
    assert_eq!(
        (&bridge["linkinfo"]["info_data"]["stp_state"], &bridge["linkinfo"]["info_data"]["priority"]),
        (&json!(1), &json!(4096))
    );
    assert_eq!(case.ip(&["link", "show", "dev", "va"])[0]["master"], "br1");
    let state = case.query();
    assert_eq!(state["interfaces"]["vb"]["state"], "down");
    assert_eq!(state["routes"]["config"][0]["table-id"], 254);
    assert!(
        case.sh("ip -6 route show default").starts_with("default via 2001:db8::fe dev br1 proto static metric 1024")
    );
    // The same by name, and a list of links that are to go.
    applied(&case, &interfaces(&json!([{"name": "vb", "type": "veth", "state": "absent"}])));
    assert_eq!(case.links(), ["br1", "lo"]);
}

#[test]
fn foreign_addresses_routes_and_ports_stay() {
    let case = Netns::start("none");
    let make = "ip link add br0 type bridge; ip link add p0 type veth peer name p1; ip link set p0 master br0; \
                ip link set br0 up; ip link set p0 up; ip link set p1 up";
    case.sh(make);
    case.sh(
        "for i in 1 2 3; do ip address add 192.0.2.$i/24 dev br0; done; ip route add 203.0.113.0/24 via 192.0.2.77",
    );
    let listed = json!({"ip": "192.0.2.9", "prefix-length": 24});
    let wish = json!({"interfaces": {"br0": {"ipv4": {"address": [listed]}, "bridge": {"port": [{"name": "q0"}]}},
                                     "q0": {"type": "veth", "veth": {"peer": "q1"}}},
                      "routes": {"config": [{"destination": "198.51.100.0/24", "next-hop-address": "192.0.2.78",
                                             "next-hop-interface": "br0"}]}});
    applied(&case, &wish);
    assert_eq!(case.addresses("br0"), ["192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24", "192.0.2.9/24"]);
    let ports = |case: &Netns| case.query()["interfaces"]["br0"]["bridge"]["port"].clone();
    assert_eq!(ports(&case), json!([{"name": "p0"}, {"name": "q0"}]));
    // The first address of a network takes the others along, if the kernel is left to it.
    case.sh("echo 0 >/proc/sys/net/ipv4/conf/br0/promote_secondaries");
    let gone = json!({"ip": "192.0.2.1", "prefix-length": 24, "state": "absent"});
    let wish = json!({"interfaces": {"br0": {"ipv4": {"address": [gone]},
                                             "bridge": {"port": [{"name": "p0", "state": "absent"}]}}},
                      "routes": {"config": [{"destination": "198.51.100.0/24", "state": "absent"}]}});
    applied(&case, &wish);
    assert_eq!(case.addresses("br0"), ["192.0.2.2/24", "192.0.2.3/24", "192.0.2.9/24"]);
    assert_eq!(ports(&case), json!([{"name": "q0"}]));
    assert!(case.sh("ip route show 203.0.113.0/24").starts_with("203.0.113.0/24 via 192.0.2.77 dev br0"));
    assert_eq!(case.sh("ip route show 198.51.100.0/24"), "");
    rolled_back(&case);
    let mut addresses = case.addresses("br0");
    addresses.sort_unstable();
    assert_eq!(addresses, ["192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24", "192.0.2.9/24"]);
    assert_eq!(ports(&case), json!([{"name": "p0"}, {"name": "q0"}]));
    rolled_back(&case);
    assert_eq!(case.links(), ["br0", "lo", "p0", "p1"]);
}

#[test]
fn a_port_moves_and_goes_back() {
    let case = Netns::start("none");
    case.sh("ip link add xa type bridge; ip link add xb type bridge; ip link add xp type veth peer name xq; ip link set xp master xa; \
             ip link set xa address 02:00:00:00:00:01; ip link set xb address 02:00:00:00:00:02");
    let before = everything(&case);
    applied(&case, &interfaces(&json!({"xb": {"bridge": {"port": [{"name": "xp"}]}}})));
    let master = || case.ip(&["link", "show", "dev", "xp"])[0]["master"].clone();
    assert_eq!(master(), "xb");
    rolled_back(&case);
    assert_eq!(everything(&case), before);
    applied(&case, &interfaces(&json!({"xp": {"controller": ""}})));
    assert_eq!(master(), Value::Null);
    rolled_back(&case);
    assert_eq!(everything(&case), before);
    // The options of a bridge, and back.
    let options = json!({"mac-ageing-time": 60, "stp": {"forward-delay": 4}});
    applied(&case, &interfaces(&json!({"xa": {"state": "up", "mtu": 1280, "bridge": {"options": options}}})));
    let link = &case.ip(&["link", "show", "dev", "xa"])[0];
    let data = &link["linkinfo"]["info_data"];
    assert_eq!((&link["mtu"], &data["ageing_time"], &data["forward_delay"]), (&json!(1280), &json!(6000), &json!(400)));
    let options = json!({"group-forward-mask": 8, "mac-ageing-time": 30});
    applied(&case, &interfaces(&json!({"xa": {"bridge": {"options": options}}})));
    rolled_back(&case);
    rolled_back(&case);
    assert_eq!(everything(&case), before);
}

#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let case = Netns::start("networkd");
    case.sh(
        "ip link add old type bridge; ip link add p type veth peer name q; ip link set p master old; ip link set p up; \
             ip link set old up; ip address add 192.0.2.1/24 dev old; ip route add 203.0.113.0/24 via 192.0.2.7",
    );
    let before = everything(&case);
    // The kernel gives no IPv6 address where IPv6 is off, which nobody can know beforehand.
    case.sh("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
    let wish = json!({"interfaces": {
        "old": {"mtu": 1300, "ipv4": v4("192.0.2.5/24")},
        "new": {"type": "linux-bridge", "ipv4": v4("198.51.100.1/24"), "ipv6": v4("2001:db8::1/64"), "bridge": {"port": [{"name": "p"}]}}}});
    let output = case.apply(&[], &wish);
    fails(&output, 1, &["2001:db8::1/64", "everything that was done was undone"]);
    assert_eq!(outcome(&output.json()), "undone");
    assert_eq!(everything(&case), before);

    // The last step fails, after links and routes went.
    let state = case.query();
    std::fs::remove_dir(case.path("networkd")).unwrap();
    let wish = json!({"interfaces": {"old": {"state": "absent"}, "p": {"state": "absent"},
                                     "new": {"type": "linux-bridge", "persistent": true}}});
    let output = case.apply(&[], &wish);
    fails(&output, 1, &["networkd", "everything that was done was undone"]);
    assert_eq!(case.query(), state);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let case = Netns::start("none");
    case.sh("ip link add br0 type bridge; ip link set br0 up; ip address add 192.0.2.1/24 dev br0; ip link add v0 type veth peer name v1");
    case.sh("ip route add default via 192.0.2.254");
    let before = everything(&case);
    let route = |more: Value| {
        let mut route = json!({"destination": "198.51.100.0/24", "next-hop-interface": "br0"});
        more.as_object().unwrap().iter().for_each(|(name, value)| route[name] = value.clone());
        json!({"routes": {"config": [route]}})
    };
    let one = |name: &str, item: Value| interfaces(&json!({ name: item }));
    let cases: Vec<(Value, i32, &[&str])> = vec![
        (
            one("br0", json!({"ipv4": {"address": [{"ip": "192.0.2.300", "prefix-length": 24}]}})),
            65,
            &["ipv4.address[0]", "192.0.2.1"],
        ),
        (
            one("br0", json!({"ipv4": {"address": [{"ip": "192.0.2.3", "prefix-length": 33}]}})),
            65,
            &["prefix-length", "0 to 32"],
        ),
        (one("br0", json!({"ipv4": v4("2001:db8::1/64")})), 65, &["other family"]),
        (one("br0", json!({"ipv4": {"dhcp": true}})), 5, &["ipv4.dhcp", "networkmanager"]),
        (
            one("br0", json!({"ipv4": {"enabled": false, "address": [{"ip": "192.0.2.3", "prefix-length": 24}]}})),
            65,
            &["is false"],
        ),
        (one("br0", json!({"mtu": 67})), 65, &["interfaces.br0.mtu", "68"]),
        (one("br0", json!({"mtu": 70000})), 65, &["interfaces.br0.mtu"]),
        (one("br0", json!({"mac-address": "01:00:00:00:00:01"})), 65, &["mac-address"]),
        (one("br0", json!({"type": "bond"})), 5, &["linux-bridge", "bond", "absent"]),
        (one("br0", json!({"mode": 1})), 65, &["no such member"]),
        (one("a-name-of-16-char", json!({"type": "linux-bridge"})), 65, &["1 to 15 characters"]),
        (one("a b", json!({"type": "linux-bridge"})), 65, &["cannot have this name"]),
        (one("eth9", json!({"type": "ethernet", "state": "up"})), 65, &["hardware"]),
        (one("eth9", json!({"mtu": 1400})), 65, &["of what type"]),
        (one("x.5", json!({"type": "vlan", "vlan": {"base-iface": "x", "id": 5}})), 65, &["no link x", "stand on"]),
        (one("x.5", json!({"type": "vlan", "vlan": {"base-iface": "br0", "id": 4095}})), 65, &["vlan.id", "4094"]),
        (one("x.5", json!({"type": "vlan", "vlan": {"base-iface": "br0"}})), 65, &["vlan.id", "needs"]),
        (one("x", json!({"type": "veth"})), 65, &["veth.peer"]),
        (one("x", json!({"type": "veth", "veth": {"peer": "br0"}})), 65, &["a link br0 already"]),
        (one("bond0", json!({"type": "bond", "link-aggregation": {"mode": "fast"}})), 65, &["fast", "802.3ad"]),
        (one("br0", json!({"bridge": {"port": [{"name": "nobody"}]}})), 65, &["no link nobody"]),
        (one("br0", json!({"bridge": {"port": [{"name": "v0", "vlan": {}}]}})), 65, &["bridge.port[0]"]),
        (one("br0", json!({"bridge": {"options": {"stp": {"priority": 70000}}}})), 65, &["stp.priority"]),
        (one("v0", json!({"controller": "v1"})), 65, &["no bridge or bond"]),
        (one("br1", json!({"type": "linux-bridge", "controller": "br0"})), 65, &["no bridge is a port of another"]),
        (
            one("br1", json!({"type": "linux-bridge", "bridge": {"port": [{"name": "br0.7"}]}, "persistent": true})),
            65,
            &["no link br0.7"],
        ),
        (one("lo", json!({"state": "absent"})), 5, &["lo"]),
        (one("br0", json!({"state": "absent"})), 5, &["br0 must stay", "default route"]),
        (one("br0", json!({"state": "down"})), 5, &["br0 must stay", "default route"]),
        (one("br0", json!({"state": "sideways"})), 65, &["sideways"]),
        (one("v0", json!({"state": "down", "ipv6": v4("2001:db8::1/64")})), 65, &["down", "IPv6"]),
        (
            one(
                "x",
                json!({"type": "veth", "veth": {"peer": "y"}, "ipv6": {"enabled": false, "address": [{"ip": "2001:db8::1", "prefix-length": 64}]}}),
            ),
            65,
            &["ipv6.enabled", "is false"],
        ),
        (one("v0", json!({"persistent": true})), 5, &["persistent", "ifupdown2"]),
        (route(json!({"destination": "198.51.100.1/24"})), 65, &["did you mean 198.51.100.0/24"]),
        (route(json!({"next-hop-address": "10.9.9.9"})), 65, &["no address of br0 reaches 10.9.9.9"]),
        (route(json!({"next-hop-interface": "v0"})), 65, &["v0 is down"]),
        (route(json!({"destination": "0.0.0.0/0", "next-hop-address": "192.0.2.7"})), 5, &["another route", "metric"]),
        (json!({"dns-resolver": {"config": {"server": ["one.example"]}}}), 65, &["no list of IP addresses"]),
        (json!({"profiles": {"x": {"files": {"/etc/passwd": "x"}}}}), 65, &["profiles", "persistent"]),
        (interfaces(&json!([{"name": "v0"}, {"name": "v0"}])), 65, &["listed twice"]),
        (
            interfaces(&json!({"q": {"type": "vlan", "vlan": {"base-iface": "br0", "id": 1}, "controller": "br0"}})),
            65,
            &["in a circle"],
        ),
    ];
    for (wish, code, words) in cases {
        let output = case.apply(&[], &wish);
        fails(&output, code, words);
    }
    assert_eq!(everything(&case), before);
    // Every mistake is told at once.
    let output = case.apply(&[], &interfaces(&json!({"br0": {"mtu": 1}, "v0": {"mtu": 2}})));
    fails(&output, 65, &["interfaces.br0.mtu", "interfaces.v0.mtu"]);
}

#[test]
fn what_another_program_manages_is_left_to_it() {
    let case = Netns::start("none");
    case.sh("ip link add br0 type bridge; ip link add v0 type veth peer name v1");
    let index = |name: &str| {
        case.sh(&format!("cat /proc/net/dev_mcast >/dev/null; ip -o link show {name} | cut -d: -f1")).trim().to_owned()
    };
    std::fs::write(case.path(&format!("links/{}", index("br0"))), "ADMIN_STATE=configured\n").unwrap();
    std::fs::write(case.path(&format!("devices/{}", index("v0"))), "[device]\nmanaged=true\n").unwrap();
    let wish = interfaces(&json!({"br0": {"mtu": 1400}, "v0": {"state": "up"}}));
    let output = case.apply(&[], &wish);
    fails(&output, 5, &["systemd-networkd manages br0", "NetworkManager manages v0", "take_over"]);
    // To read is no harm, nor is to want what is so.
    let output = case.apply(&[], &case.query());
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
    case.settings("none", "take_over = [\"br*\", \"v0\"]");
    applied(&case, &wish);
}

#[test]
fn who_is_logged_in_is_not_cut_off() {
    let case = Netns::start("none");
    case.settings("none", "ssh_port = 2222");
    case.sh("ip link add br0 type bridge; ip link set br0 up; ip address add 192.0.2.1/24 dev br0");
    let listen = "dbus-daemon --session --nopidfile --nofork --address=tcp:host=192.0.2.1,port=2222 2>/dev/null & pid=$!; \
                  until exec 3<>/dev/tcp/192.0.2.1/2222; do sleep 0.05; done 2>/dev/null; \"$@\"; code=$?; kill $pid; exit $code";
    for wish in [json!({"state": "absent"}), json!({"ipv4": {"enabled": false}})] {
        let file = case.path("wish.json");
        std::fs::write(&file, json!({"plugins": {"net": interfaces(&json!({"br0": wish}))}}).to_string()).unwrap();
        let command = case.command("op-apply");
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let output = case.run(&[&["bash", "-c", listen, "bash"], &command[..], &["--yes", &file]].concat(), "");
        fails(&output, 5, &["must stay", "logged in over ssh", "192.0.2.1"]);
    }
    // Nobody is there any more.
    applied(&case, &interfaces(&json!({"br0": {"state": "absent"}})));
}

#[test]
fn a_dry_run_asks_and_writes_nothing() {
    let case = Netns::start("interfaces");
    let mut wish = example("bridge-with-pair");
    wish["interfaces"]["opbr0"]["persistent"] = json!(true);
    wish["dns-resolver"] = json!({"config": {"server": ["192.0.2.53"]}});
    let trace = case.path("trace");
    let command = case.command("op-apply");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let strace = ["strace", "-f", "-o", &trace, "-e", "trace=network,%file,write,execve"];
    let output = case.run(&[&strace[..], &command, &["--dry-run", "--plugin", "net"]].concat(), &wish.to_string());
    assert_eq!(output.code, 0, "{output:?}");
    let plan = output.json();
    assert!(plan["actions"].as_array().unwrap().len() > 8, "{plan}");
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.contains("RTM_GETLINK"), "the kernel was asked: {trace}");
    for what in ["RTM_NEW", "RTM_DEL", "RTM_SET"] {
        let sent = trace.lines().find(|line| line.contains("send") && line.contains(what));
        assert_eq!(sent, None);
    }
    let root = case.path("root");
    let writes =
        |line: &&str| line.contains("open") && ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
    let changed = trace.lines().filter(writes).filter(|line| !line.contains(&root) && !line.contains("/dev/null"));
    assert_eq!(changed.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(trace.lines().filter(|line| line.contains("execve(")).count(), 1, "no program is run");
    assert_eq!(case.links(), ["lo"]);

    // The plan says what is done, and by what; it is performed as it is, once.
    let by = |action: &Value| {
        ["service", "interface", "path", "member"].map(|name| action[name].as_str().unwrap().to_owned())
    };
    assert_eq!(by(&plan["actions"][0]), ["host", "netlink", "link opbr0", "create"]);
    assert_eq!(plan["actions"][0]["undo"]["call"]["member"], "delete");
    let last = plan["actions"].as_array().unwrap().last().unwrap();
    assert_eq!(by(last)[1..], ["file".to_owned(), case.path("resolv.conf"), "write".into()]);
    let output = case.op("op-apply", &["--yes"], &plan.to_string());
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    fails(&case.op("op-apply", &["--yes"], &plan.to_string()), 6, &["stale"]);
    assert_eq!(std::fs::read_to_string(case.path("resolv.conf")).unwrap(), "nameserver 192.0.2.53\n");
    rolled_back(&case);
    assert_eq!(case.links(), ["lo"]);
    assert!(!case.has("network/interfaces.d/op-dbus-opbr0"));
}

#[test]
fn an_owner_who_leaves_a_link_out_loses_it_with_all_that_hangs_on_it() {
    let case = Netns::start("none");
    let before = everything(&case);
    let output = case.apply(&["--owner", "boot"], &example("bridge-with-pair"));
    assert_eq!(output.code, 0, "{output:?}");
    let left = interfaces(&json!({"other": {"type": "linux-bridge", "state": "down"}}));
    let output = case.apply(&["--owner", "boot"], &left);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(case.links(), ["lo", "other"]);
    applied(&case, &interfaces(&json!({"other": {"state": "absent"}})));
    assert_eq!(everything(&case), before);
}

fn file(case: &Netns, path: &str) -> String {
    std::fs::read_to_string(case.path(path)).unwrap()
}

/// A file without the line that keeps what was declared.
fn below_header(case: &Netns, path: &str) -> String {
    let text = file(case, path);
    let (header, rest) = text.split_once('\n').unwrap();
    assert!(header.starts_with("# op-dbus: {"), "{header}");
    rest.to_owned()
}

#[test]
fn a_link_comes_back_by_ifupdown2() {
    let case = Netns::start("interfaces");
    let path = "network/interfaces.d/op-dbus-opbr0";
    let mut wish = example("bridge-with-pair");
    wish["interfaces"]["opbr0"]["persistent"] = json!(true);
    applied(&case, &wish);
    let whole = "auto opbr0\niface opbr0 inet static\n    address 192.0.2.1/24\n    mtu 1400\n    bridge-ports opv0\n    \
                 bridge-stp off\n    post-up ip route replace 198.51.100.0/24 via 192.0.2.254 metric 100 table 254 dev opbr0\n\
                 iface opbr0 inet6 static\n    address 2001:db8::1/64\n";
    assert_eq!(below_header(&case, path), whole);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(case.path(path)).unwrap().permissions()) & 0o777,
        0o644
    );
    assert!(!case.has("network/interfaces.d/op-dbus-opv0"), "nobody asked for it");
    assert_eq!(case.query()["profiles"]["opbr0"]["files"][case.path(path)], file(&case, path));

    // A foreign address does not become ours; what a later document changes is kept, too.
    case.sh("ip address add 192.0.2.66/24 dev opbr0");
    let more = interfaces(&json!({"opbr0": {"mtu": 1350, "ipv4": v4("192.0.2.2/24")}}));
    applied(&case, &more);
    let changed =
        whole.replace("mtu 1400", "mtu 1350").replace("192.0.2.1/24\n", "192.0.2.1/24\n    address 192.0.2.2/24\n");
    assert_eq!(below_header(&case, path), changed);
    let output = case.apply(&[], &case.query());
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
    rolled_back(&case);
    assert_eq!(below_header(&case, path), whole);
    applied(&case, &interfaces(&json!({"opbr0": {"persistent": false}})));
    assert!(!case.has(path) && case.links().contains(&"opbr0".to_owned()));
    rolled_back(&case);
    assert_eq!(below_header(&case, path), whole);
    applied(&case, &interfaces(&json!({"opbr0": {"state": "absent"}})));
    assert!(!case.has(path));

    // What others describe is theirs, and a folder that nobody reads is no use.
    std::fs::write(case.path("network/interfaces.d/lan"), "auto vmbr0\niface vmbr0 inet manual\n").unwrap();
    let wish = interfaces(&json!({"vmbr0": {"type": "linux-bridge", "persistent": true}}));
    fails(&case.apply(&[], &wish), 5, &["interfaces.d/lan describes vmbr0", "persistent"]);
    std::fs::write(case.path("network/interfaces"), "auto lo\n").unwrap();
    fails(&case.apply(&[], &wish), 5, &["does not read", "source"]);
    assert_eq!(case.links(), ["lo", "opv0", "opv1"]);
}

#[test]
fn a_link_comes_back_by_networkd() {
    let case = Netns::start("networkd");
    let mut wish = example("bridge-with-pair");
    wish["interfaces"]["opbr0"]["persistent"] = json!(true);
    fails(&case.apply(&[], &wish), 5, &["networkd joins opv0 and opbr0 only if opv0 is persistent"]);
    wish["interfaces"]["opv0"]["persistent"] = json!(true);
    let plan = case.op("op-apply", &["--dry-run", "--plugin", "net"], &wish.to_string()).json();
    let titles: Vec<&str> =
        plan["actions"].as_array().unwrap().iter().map(|action| action["title"].as_str().unwrap()).collect();
    assert_eq!(titles[0], "Create linux-bridge opbr0", "not until the next start only");
    applied(&case, &wish);
    assert_eq!(
        below_header(&case, "networkd/50-op-dbus-opbr0.netdev"),
        "[NetDev]\nName=opbr0\nKind=bridge\nMTUBytes=1400\n\n[Bridge]\nSTP=no\n"
    );
    assert_eq!(
        below_header(&case, "networkd/50-op-dbus-opbr0.network"),
        "[Match]\nName=opbr0\n\n[Link]\nMTUBytes=1400\n\n[Network]\nConfigureWithoutCarrier=yes\nAddress=192.0.2.1/24\n\
         Address=2001:db8::1/64\n\n[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.254\nMetric=100\nTable=254\n"
    );
    assert_eq!(
        below_header(&case, "networkd/50-op-dbus-opv0.netdev"),
        "[NetDev]\nName=opv0\nKind=veth\n\n[Peer]\nName=opv1\n"
    );
    assert!(file(&case, "networkd/50-op-dbus-opv0.network").ends_with("\nBridge=opbr0\n"));
    rolled_back(&case);
    assert_eq!(std::fs::read_dir(case.path("networkd")).unwrap().count(), 0);
    assert_eq!(case.links(), ["lo"]);
}

#[test]
fn a_link_comes_back_by_networkmanager() {
    let case = Netns::start("networkmanager");
    let mut wish = example("bridge-with-pair");
    wish["interfaces"]["opbr0"]["persistent"] = json!(true);
    fails(&case.apply(&[], &wish), 5, &["NetworkManager joins opv0 and opbr0 only if opv0 is persistent"]);
    wish["interfaces"]["opv0"]["persistent"] = json!(true);
    std::fs::write(case.path("connections/lan.nmconnection"), "[connection]\ninterface-name=opbr0\n").unwrap();
    fails(&case.apply(&[], &wish), 5, &["lan.nmconnection describes opbr0 already"]);
    std::fs::remove_file(case.path("connections/lan.nmconnection")).unwrap();
    applied(&case, &wish);
    let profile = "connections/op-dbus-opbr0.nmconnection";
    let text = below_header(&case, profile);
    let uuid = text.lines().find_map(|line| line.strip_prefix("uuid=")).unwrap().to_owned();
    assert_eq!(
        text,
        format!(
            "[connection]\nid=op-dbus-opbr0\nuuid={uuid}\ntype=bridge\ninterface-name=opbr0\n\n[ethernet]\nmtu=1400\n\n\
             [bridge]\nstp=false\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.1/24\nroute1=198.51.100.0/24,192.0.2.254,100\n\n\
             [ipv6]\nmethod=manual\naddress1=2001:db8::1/64\n"
        )
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(case.path(profile)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "NetworkManager takes no others");
    assert!(
        below_header(&case, "connections/op-dbus-opv0.nmconnection")
            .ends_with("type=veth\ninterface-name=opv0\nmaster=opbr0\nslave-type=bridge\n\n[veth]\npeer=opv1\n")
    );
    // Once NetworkManager has it, the profile is still ours.
    let index = case.ip(&["link", "show", "dev", "opbr0"])[0]["ifindex"].clone();
    let device = format!("devices/{index}");
    std::fs::write(case.path(&device), format!("[device]\nmanaged=true\nconnection-uuid={uuid}\n")).unwrap();
    applied(&case, &interfaces(&json!({"opbr0": {"mtu": 1300}})));
    assert!(file(&case, profile).contains("\nmtu=1300\n"));
    std::fs::write(case.path(&device), "[device]\nmanaged=true\nconnection-uuid=1\n").unwrap();
    fails(&case.apply(&[], &interfaces(&json!({"opbr0": {"mtu": 1280}}))), 5, &["NetworkManager manages opbr0"]);
    std::fs::remove_file(case.path(&device)).unwrap();
    rolled_back(&case);
    rolled_back(&case);
    assert_eq!(std::fs::read_dir(case.path("connections")).unwrap().count(), 0);
    assert_eq!(case.links(), ["lo"]);
}

#[test]
fn name_servers_are_the_hosts_own_or_a_daemons() {
    let case = Netns::start("none");
    std::fs::write(case.path("resolv.conf"), "nameserver 192.0.2.1\noptions edns0\n").unwrap();
    let wish =
        json!({"dns-resolver": {"config": {"server": ["192.0.2.53", "2001:db8::53"], "search": ["example.org"]}}});
    applied(&case, &wish);
    assert_eq!(
        file(&case, "resolv.conf"),
        "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0\n"
    );
    rolled_back(&case);
    assert_eq!(file(&case, "resolv.conf"), "nameserver 192.0.2.1\noptions edns0\n");
    assert_eq!(case.query()["dns-resolver"], json!({"config": {"server": ["192.0.2.1"], "search": []}}));
    std::fs::remove_file(case.path("resolv.conf")).unwrap();
    std::os::unix::fs::symlink("/run/systemd/resolve/stub-resolv.conf", case.path("resolv.conf")).unwrap();
    fails(&case.apply(&[], &wish), 5, &["daemon", "resolved"]);
}

#[test]
fn vlans_bonds_and_dummies() {
    let case = Netns::start("none");
    let missing: Vec<&str> = ["vlan", "bond", "dummy"].into_iter().filter(|kind| !case.knows(kind)).collect();
    if !missing.is_empty() {
        // What is refused by the kernel is taken back; the rest is seen in the virtual machine.
        eprintln!("SKIP net-link-types: this kernel makes no {}", missing.join(", "));
        let wish = interfaces(&json!({"b": {"type": "linux-bridge"}, "d": {"type": missing[0], "mtu": 1400,
            "vlan": {"base-iface": "b", "id": 3}, "link-aggregation": {"mode": "802.3ad"}}}));
        fails(&case.apply(&[], &wish), 1, &["kernel module"]);
        assert_eq!(case.links(), ["lo"]);
        return;
    }
    let before = everything(&case);
    applied(&case, &example("bond-and-vlans"));
    assert_eq!(case.links(), ["lo", "opbond0", "opbond0.7", "opd0", "opd1"]);
    rolled_back(&case);
    assert_eq!(everything(&case), before);
}

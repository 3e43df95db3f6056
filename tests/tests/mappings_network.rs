//! The shipped mappings of networks, the firewall, batteries and disks, against the real daemons: each example changes
//! something from a stated start, seen by the service's own tool, and is then a no-op.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]
#![allow(clippy::needless_pass_by_value, reason = "documents are written where they are used")]

use op_dbus_tests::Place;
use op_dbus_tests::disk::LoopDevice;
use op_dbus_tests::machine::{Machine, MachineOptions};
use op_dbus_tests::ops::{Monitor, apply, fails, outcome, start, wait_until, write};
use op_dbus_tests::root::{RealRoot, SessionOptions};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

const NM: &str = "org.freedesktop.NetworkManager";
const FIREWALLD: &str = "org.fedoraproject.FirewallD1";

/// Members that change something, of the four services.
const WRITING: &[&str] = &[
    "Set",
    "AddConnection",
    "Update",
    "Delete",
    "Enable",
    "CheckpointCreate",
    "CheckpointDestroy",
    "CheckpointRollback",
    "setZoneSettings2",
    "update2",
    "addZone2",
    "remove",
    "setDefaultZone",
    "EnableChargeThreshold",
    "Mount",
    "Unmount",
    "SetLabel",
    "SetName",
    "SetAutoclear",
    "Start",
    "Stop",
];

fn mappings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings")
}

fn example(plugin: &str, name: &str) -> Value {
    let file = mappings().join(plugin).join("examples").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap()
}

/// The state of a plugin.
fn query(place: &dyn Place, plugin: &str) -> Value {
    let output = place.run(&["op-query", "--bare", "--plugin", plugin], "");
    assert_eq!(output.code, 0, "{output:?}");
    output.json()
}

/// A place, and what is called there that changes something.
struct Watched<'p> {
    place: &'p dyn Place,
    monitor: Monitor<'p>,
    seen: Cell<usize>,
}

impl<'p> Watched<'p> {
    fn new(place: &'p dyn Place) -> Self {
        Self { place, monitor: Monitor::start(place), seen: Cell::new(0) }
    }

    /// The members that write, called since this was asked for last.
    fn written(&self) -> Vec<String> {
        let calls = self.monitor.calls();
        let new = &calls[self.seen.replace(calls.len())..];
        let members = new.iter().filter_map(|call| call["member"].as_str());
        members.filter(|member| WRITING.contains(member)).map(str::to_owned).collect()
    }

    /// Plans a document, which calls nothing that writes; applies it; and does so again, which calls nothing that
    /// writes.
    #[track_caller]
    fn applies_once(&self, document: &Value) {
        self.written();
        let planned = self.place.run(&["op-apply", "--dry-run"], &document.to_string());
        assert_eq!(planned.code, 0, "{planned:?}");
        assert_ne!(planned.json()["actions"], json!([]), "{document}");
        assert_eq!(self.written(), Vec::<String>::new());
        let output = apply(self.place, &["--detailed-exitcode"], document);
        assert_eq!(output.code, 2, "{output:?}");
        assert_ne!(self.written(), Vec::<String>::new());
        let again = apply(self.place, &["--detailed-exitcode"], document);
        assert_eq!((again.code, outcome(&again.json())), (0, "unchanged"), "{again:?}");
        assert_eq!(self.written(), Vec::<String>::new());
    }

    /// What `op-query` prints changes nothing.
    #[track_caller]
    fn comes_back(&self, plugin: &str) {
        self.written();
        let piped = self.place.sh(&format!("set -o pipefail; op-query --plugin {plugin} | op-apply --yes"));
        assert_eq!((piped.code, outcome(&piped.json())), (0, "unchanged"), "{piped:?}");
        assert_eq!(self.written(), Vec::<String>::new());
    }
}

fn connections(document: Value) -> Value {
    json!({"plugins": {"networkmanager": {"connections": document}}})
}

#[track_caller]
fn busctl(place: &dyn Place, argv: &[&str]) -> Value {
    let output = place.run(&[&["busctl", "--json=short"], argv].concat(), "");
    assert_eq!(output.code, 0, "{output:?}");
    output.json()
}

/// A setting as nmcli shows it.
#[track_caller]
fn nmcli(place: &dyn Place, field: &str, connection: &str) -> String {
    place.run(&["nmcli", "-g", field, "connection", "show", connection], "").ok().trim_end().to_owned()
}

fn has_connection(place: &dyn Place, name: &str) -> bool {
    place.run(&["nmcli", "-g", "NAME", "connection"], "").ok().lines().any(|line| line == name)
}

fn is_link(place: &dyn Place, name: &str) -> bool {
    place.run(&["ip", "link", "show", name], "").code == 0
}

fn networkmanager(place: &dyn Place) {
    let watched = Watched::new(place);
    start(place, NM);
    wait_until("nmcli sees it", || place.run(&["nmcli", "-g", "RUNNING", "general"], "").stdout == "running\n");
    let before = query(place, "networkmanager");
    assert_eq!(before["networking"], true);
    // lo, and what containers bring, are NetworkManager's own; a machine has one connection of somebody else's.
    let others: Vec<&String> = before["connections"].as_object().unwrap().keys().collect();
    assert!(others.is_empty() || others == ["uplink"], "{before}");
    watched.comes_back("networkmanager");

    watched.applies_once(&example("networkmanager", "bridge-with-address"));
    assert_eq!(nmcli(place, "ipv4.addresses", "br0"), "192.0.2.10/24");
    assert_eq!(nmcli(place, "bridge.stp", "br0"), "no");
    wait_until("the bridge is up", || {
        place.run(&["ip", "-4", "-br", "address", "show", "br0"], "").stdout.contains("192.0.2.10/24")
    });
    watched.comes_back("networkmanager");

    let settings = |place: &dyn Place| {
        let all = place.run(&["nmcli", "-f", "connection,bridge,ipv4,ipv6", "connection", "show", "br0"], "").ok();
        let rest = all.lines().filter(|line| !line.starts_with("ipv4.dns:") && !line.contains(".timestamp:"));
        rest.map(str::to_owned).collect::<Vec<_>>()
    };
    let old = settings(place);
    watched.applies_once(&example("networkmanager", "second-name-server"));
    assert_eq!(nmcli(place, "ipv4.dns", "br0"), "192.0.2.53,192.0.2.54");
    assert_eq!(settings(place), old, "nothing else changed");

    watched.applies_once(&example("networkmanager", "vlan-on-bridge"));
    assert_eq!(nmcli(place, "vlan.parent,vlan.id,vlan.flags", "br0.5"), "br0\n5\n1");
    assert_eq!(nmcli(place, "ipv6.addresses", "br0.5"), "2001\\:db8\\:5\\:\\:10/64");
    // null takes away what is there.
    watched.applies_once(&connections(json!({"br0": {"ipv4": {"dns-data": null, "gateway": null}}})));
    assert_eq!(nmcli(place, "ipv4.dns,ipv4.gateway", "br0"), "");
    assert_eq!(nmcli(place, "ipv4.addresses", "br0"), "192.0.2.10/24");

    watched.applies_once(&example("networkmanager", "old-bridge-gone"));
    assert!(!has_connection(place, "br0.5") && has_connection(place, "br0"));

    watched.applies_once(&example("networkmanager", "same-name-servers-everywhere"));
    let dns = busctl(place, &["get-property", NM, "/org/freedesktop/NetworkManager", NM, "GlobalDnsConfiguration"]);
    assert_eq!(dns["data"]["domains"]["data"]["corp.example"]["data"]["servers"]["data"], json!(["192.0.2.99"]));
    watched.comes_back("networkmanager");
    watched.applies_once(&json!({"plugins": {"networkmanager": {"global_dns": {}}}}));

    watched.applies_once(&example("networkmanager", "no-radio"));
    assert_eq!(place.run(&["nmcli", "radio", "wifi"], "").ok(), "disabled\n");
    assert_eq!(place.run(&["nmcli", "radio", "wwan"], "").ok(), "disabled\n");

    networkmanager_null_and_types(place, &watched);
    networkmanager_fails_whole(place, &watched);
    networkmanager_keeps_secrets(place, &watched);
    networkmanager_refuses(place);

    watched.applies_once(&json!({"plugins": {"networkmanager": {"connections": {"br0": {"state": "absent"}}}}}));
    wait_until("the bridge is gone", || !is_link(place, "br0"));
    place.run(&["nmcli", "networking", "off"], "").ok();
    watched.applies_once(&json!({"plugins": {"networkmanager": {"networking": true}}}));
    assert_eq!(place.run(&["nmcli", "networking"], "").ok(), "enabled\n");
}

/// null takes away also what NetworkManager fills in again; a setting whose type nobody knows says its own.
fn networkmanager_null_and_types(place: &dyn Place, watched: &Watched<'_>) {
    let br0 = |settings: Value| connections(json!({"br0": settings}));
    watched.applies_once(&br0(json!({"ipv6": {"method": "link-local", "addr-gen-mode": 0}})));
    watched.applies_once(&br0(json!({"ipv6": null})));
    assert_eq!(nmcli(place, "ipv6.method", "br0"), "auto");
    watched.applies_once(&br0(json!({"ipv4": {"method": "auto", "address-data": null, "gateway": null}})));
    assert_eq!(nmcli(place, "ipv4.method,ipv4.addresses", "br0"), "auto");
    let gro = |is_on: bool| json!({"$variant": {"signature": "b", "value": is_on}});
    watched.applies_once(&br0(json!({"ethtool": {"feature-gro": gro(true), "feature-tso": gro(true)}})));
    watched.applies_once(&br0(json!({"ethtool": {"feature-gro": gro(false)}})));
    assert_eq!(nmcli(place, "ethtool.feature-gro,ethtool.feature-tso", "br0"), "off\non");
    watched.applies_once(&br0(json!({"ethtool": null})));
}

/// What was made before something fails is gone again, by the service's own checkpoint.
fn networkmanager_fails_whole(place: &dyn Place, watched: &Watched<'_>) {
    let good = json!({"connection": {"type": "bridge", "interface-name": "aa0"}, "ipv4": {"method": "disabled"}});
    let changed = json!({"ipv4": {"dns-data": ["192.0.2.77"]}});
    let bad = json!({"connection": {"type": "no-such-type"}});
    watched.written();
    let output = apply(place, &[], &connections(json!({"aa0": good, "br0": changed, "zz0": bad})));
    assert_eq!(outcome(&output.json()), "undone", "{output:?}");
    fails(&output, 1, &["no-such-type", "everything that was done was undone"]);
    assert_eq!(watched.written(), ["CheckpointCreate", "AddConnection", "AddConnection", "CheckpointRollback"]);
    assert!(!has_connection(place, "aa0"));
    wait_until("the new bridge is gone", || !is_link(place, "aa0"));
    let kept = busctl(place, &["get-property", NM, "/org/freedesktop/NetworkManager", NM, "Checkpoints"]);
    assert_eq!(kept["data"], json!([]));
}

fn networkmanager_keeps_secrets(place: &dyn Place, watched: &Watched<'_>) {
    let psk = "not-for-everybody";
    let add = "nmcli connection add type wifi con-name cafe ifname '*' ssid cafe autoconnect no";
    place.sh(&format!("{add} wifi-sec.key-mgmt wpa-psk wifi-sec.psk {psk}")).ok();
    let shown = query(place, "networkmanager");
    assert_eq!(shown["connections"]["cafe"]["802-11-wireless-security"], json!({"key-mgmt": "wpa-psk"}));
    assert!(!shown.to_string().contains(psk));
    watched.comes_back("networkmanager");
    watched.applies_once(&connections(json!({"cafe": {"connection": {"autoconnect-priority": 7}}})));
    // On a busy machine nmcli is not always told the first time.
    let tell = ["nmcli", "-s", "-g", "802-11-wireless-security.psk", "connection", "show", "cafe"];
    wait_until("it stays when something else changes", || place.run(&tell, "").stdout.trim_end() == psk);
    let with_secret = connections(json!({"cafe": {"802-11-wireless-security": {"psk": "something-else"}}}));
    fails(&apply(place, &[], &with_secret), 5, &["cafe.802-11-wireless-security.psk", "this is a secret"]);
    let away = connections(json!({"cafe": {"802-11-wireless-security": null}}));
    fails(&apply(place, &[], &away), 5, &["cannot be undone"]);
    let gone = connections(json!({"cafe": {"state": "absent"}}));
    fails(&apply(place, &[], &gone), 5, &["cannot be undone", "--allow-irreversible"]);
    assert_eq!(apply(place, &["--allow-irreversible"], &gone).code, 0);
    assert!(!has_connection(place, "cafe"));
}

fn networkmanager_refuses(place: &dyn Place) {
    let wrong = |settings: Value| apply(place, &[], &connections(json!({"br0": settings})));
    fails(&wrong(json!({"ipv4": {"dns": [1]}})), 65, &["br0.ipv4.dns", "say ipv4.dns-data"]);
    fails(&wrong(json!({"connection": {"controller": "x"}})), 65, &["say connection.master"]);
    fails(&wrong(json!({"connection": {"id": "br0"}})), 65, &["connection.id", "leave it out"]);
    fails(&wrong(json!({"bridge": {"stp": "no"}})), 65, &["bridge.stp", "does not fit b"]);
    fails(&wrong(json!({"bridge": {"what": 1}})), 65, &["bridge.what", "variant_types"]);
    for taken in [json!({"connection": null}), json!({"connection": {"type": null}})] {
        fails(&wrong(taken), 65, &["br0.connection.type", "not taken away"]);
    }
    for (name, settings) in
        [("lo", json!({"connection": {"type": "loopback"}})), ("lo", json!({"ipv4": {"method": "auto"}}))]
    {
        fails(&apply(place, &[], &connections(json!({name: settings}))), 65, &["connections.lo", "not touched"]);
    }
    let mine = connections(json!({"mine": {"connection": {"type": "loopback", "interface-name": "lo"}}}));
    fails(&apply(place, &[], &mine), 5, &["mine.connection.interface-name", "nothing is given \"lo\""]);
    let off = json!({"plugins": {"networkmanager": {"networking": false}}});
    fails(&apply(place, &[], &off), 65, &["networkmanager.networking", "nmcli networking off"]);
    // The checkpoint of a run that died is in the way: the error says which, and what to do.
    let manager = ["/org/freedesktop/NetworkManager", NM];
    let create = ["call", NM, manager[0], manager[1], "CheckpointCreate", "aouu", "0", "60", "6"];
    let dead = busctl(place, &create)["data"][0].as_str().unwrap().to_owned();
    let output = wrong(json!({"ipv4": {"dns-data": ["192.0.2.78"]}}));
    fails(&output, 1, &["could not keep its state", &format!("CheckpointRollback o {dead}"), "CheckpointDestroy"]);
    place.run(&["busctl", "call", NM, manager[0], manager[1], "CheckpointDestroy", "o", &dead], "").ok();
    // The service says what it does not like, and nothing is changed.
    let output = wrong(json!({"ipv4": {"method": "by-magic"}}));
    fails(&output, 1, &["ipv4.method", "nothing was changed"]);

    place.sh("for n in 1 2; do nmcli connection add type dummy con-name twin ifname twin$n autoconnect no; done").ok();
    let output = place.run(&["op-query", "--bare", "--plugin", "networkmanager"], "");
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.json()["connections"].get("twin").is_none() && output.json()["connections"].get("br0").is_some());
    let twin = connections(json!({"twin": {"connection": {"autoconnect": true}}}));
    fails(&apply(place, &[], &twin), 1, &["connections.twin", "several items have the name"]);
    place.run(&["nmcli", "connection", "delete", "twin"], "").ok();
}

#[test]
fn networkmanager_in_a_root() {
    networkmanager(&RealRoot::get().session());
}

#[test]
fn networkmanager_in_a_machine() {
    networkmanager(&Machine::boot(&MachineOptions::default()));
}

/// When op-apply is killed while it works on something else, NetworkManager goes back by itself.
#[test]
fn a_killed_apply_leaves_no_network_behind() {
    let session = RealRoot::get().session();
    let folder = mappings().join("networkmanager");
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let mapping = read("semantic-mapping.toml");
    assert!(mapping.contains("[[], 600, 6]"));
    let installed = "/var/lib/op-dbus/@plugin-networkmanager";
    write(&session, &format!("{installed}/plugin.toml"), &read("plugin.toml"));
    write(&session, &format!("{installed}/semantic-mapping.toml"), &mapping.replace("[[], 600, 6]", "[[], 3, 6]"));
    let document = json!({"plugins": {
        "networkmanager": {"connections": {"br9": {"connection": {"type": "bridge", "interface-name": "br9"}}}},
        "packagekit": {"packages": ["slow-op"]},
    }});
    let running = session.spawn(&["op-apply", "--yes"], &document.to_string());
    wait_until("the bridge is there", || is_link(&session, "br9"));
    running.signal("KILL");
    running.wait();
    assert!(has_connection(&session, "br9"));
    wait_until("NetworkManager goes back", || !is_link(&session, "br9") && !has_connection(&session, "br9"));
}

fn firewall(place: &dyn Place, arguments: &str) -> String {
    place.sh(&format!("firewall-cmd {arguments}")).ok().trim_end().to_owned()
}

fn zones(runtime: Value, permanent: Value) -> Value {
    json!({"plugins": {"firewalld": {"zones": runtime, "permanent_zones": permanent}}})
}

/// What every place shows: it can be read, and it can be written.
fn firewalld_works<'p>(place: &'p dyn Place) -> Watched<'p> {
    let watched = Watched::new(place);
    start(place, FIREWALLD);
    let before = query(place, "firewalld");
    assert_eq!(before["default_zone"], "public");
    assert_eq!(before["zones"]["public"]["services"], json!(["ssh", "dhcpv6-client"]));
    watched.comes_back("firewalld");

    watched.applies_once(&example("firewalld", "web-server"));
    assert_eq!(firewall(place, "--zone=public --list-services"), "dhcpv6-client http https ssh");
    assert_eq!(firewall(place, "--permanent --zone=public --list-services"), "dhcpv6-client http https ssh");
    watched.comes_back("firewalld");

    watched
}

fn firewalld(place: &dyn Place) {
    let watched = firewalld_works(place);
    watched.applies_once(&example("firewalld", "zone-for-databases"));
    let shown = firewall(place, "--permanent --info-zone=databases");
    for line in ["target: DROP", "sources: 192.0.2.0/24", "ports: 5432/tcp", "services: ssh", "192.0.2.7\" reject"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!firewall(place, "--get-zones").contains("databases"));
    let early = zones(json!({"databases": {"ports": ["1/tcp"]}}), json!({}));
    fails(&apply(place, &[], &early), 5, &["there is no \"databases\""]);
    firewall(place, "--reload");
    assert!(firewall(place, "--zone=databases --list-ports").contains("5432/tcp"));

    firewall(place, "--zone=public --add-port=8080/tcp --add-port=443/tcp");
    firewall(place, "--permanent --zone=public --add-port=8080/tcp --add-port=443/tcp");
    watched.applies_once(&example("firewalld", "close-test-port"));
    assert_eq!(firewall(place, "--zone=public --list-ports"), "443/tcp");
    assert_eq!(firewall(place, "--permanent --zone=public --list-ports"), "443/tcp");

    firewall(place, "--zone=external --remove-masquerade");
    watched.applies_once(&example("firewalld", "router"));
    assert_eq!(firewall(place, "--get-default-zone"), "internal");
    assert_eq!(firewall(place, "--zone=external --query-masquerade"), "yes");
    let forwarded = firewall(place, "--zone=external --list-forward-ports");
    assert_eq!(forwarded, "port=443:proto=tcp:toport=:toaddr=192.0.2.7");
    assert_eq!(place.sh("grep ^LogDenied= /etc/firewalld/firewalld.conf").ok(), "LogDenied=unicast\n");
    watched.comes_back("firewalld");

    // What is listed twice is there once.
    watched.applies_once(&zones(json!({"home": {"ports": ["81/tcp", "81/tcp"]}}), json!({})));
    assert_eq!(firewall(place, "--zone=home --list-ports"), "81/tcp");
    let everything = zones(
        json!({"work": {
            "services": ["ntp"], "ports": ["60000-61000/udp"], "source_ports": ["67/udp"], "protocols": ["gre"],
            "sources": ["198.51.100.0/24"], "interfaces": ["no-such0"], "icmp_blocks": ["echo-request"],
            "rich_rules": ["rule family=\"ipv4\" source address=\"203.0.113.0/24\" drop"],
            "forward": false, "icmp_block_inversion": true,
        }}),
        json!({"work": {"short": "Office", "ingress_priority": -5, "egress_priority": 7, "target": "%%REJECT%%"}}),
    );
    watched.applies_once(&everything);
    assert_eq!(firewall(place, "--get-zone-of-interface=no-such0"), "work");
    assert!(firewall(place, "--permanent --info-zone=work").contains("ingress-priority: -5"));

    firewalld_fails_whole(place);
    let gone = zones(json!({}), json!({"databases": {"state": "absent"}}));
    watched.applies_once(&gone);
    assert!(!firewall(place, "--permanent --get-zones").contains("databases"));
    firewalld_refuses(place);
}

fn firewalld_fails_whole(place: &dyn Place) {
    let output = apply(
        place,
        &[],
        &zones(
            json!({"dmz": {"ports": ["9/tcp"]}, "work": {"services": ["no-such-service"]}}),
            json!({"aaa": {"ports": ["9/tcp"]}, "dmz": {"ports": ["9/tcp"]}}),
        ),
    );
    fails(&output, 1, &["INVALID_SERVICE", "everything that was done was undone"]);
    assert_eq!(firewall(place, "--zone=dmz --list-ports"), "");
    assert_eq!(firewall(place, "--permanent --zone=dmz --list-ports"), "");
    assert!(!firewall(place, "--permanent --get-zones").contains("aaa"));
    // It reads back in another spelling than it was given: both are told, and the change is undone.
    let rule = "rule family=ipv4 source address=203.0.113.9 drop";
    let output = apply(place, &[], &zones(json!({"dmz": {"rich_rules": [rule]}}), json!({})));
    fails(&output, 1, &[rule, "203.0.113.9\\\"", "was undone"]);
    assert_eq!(firewall(place, "--zone=dmz --list-rich-rules"), "");
}

fn firewalld_refuses(place: &dyn Place) {
    let runtime = |zone: Value| zones(json!({"public": zone}), json!({}));
    let wrong = |document: Value| apply(place, &[], &document);
    for closed in [json!({"services": ["ssh"]}), json!({"services": ["http", "ssh"]})] {
        fails(&wrong(runtime(json!({"absent": closed}))), 5, &["zones.public.services", "\"ssh\" is protected"]);
    }
    let permanent = zones(json!({}), json!({"public": {"absent": {"services": ["ssh"]}}}));
    fails(&wrong(permanent), 5, &["permanent_zones.public.services", "protected"]);
    fails(&wrong(runtime(json!({"target": "DROP"}))), 5, &["zones.public.target", "no way to write"]);
    fails(&wrong(runtime(json!({"ports": ["http"]}))), 65, &["zones.public.ports", "8080/tcp"]);
    for (port, right) in [("080/tcp", "80/tcp"), ("80-80/tcp", "80/tcp"), ("90-80/tcp", "80-90/tcp")] {
        let both = zones(json!({"public": {"ports": [port]}}), json!({"public": {"ports": [port]}}));
        fails(&wrong(both), 65, &["zones.public.ports", "permanent_zones.public.ports", &format!("write {right:?}")]);
    }
    fails(&wrong(runtime(json!({"ports": ["99999/tcp"]}))), 65, &["zones.public.ports", "99999 is no port"]);
    fails(&wrong(runtime(json!({"ports": [80]}))), 65, &["zones.public.ports[", "80 does not look like", "8080/tcp"]);
    fails(&wrong(zones(json!({}), json!({"public": {"state": "absent"}}))), 5, &["protected and is never removed"]);
    fails(&wrong(zones(json!({}), json!({"much-too-long-a-name": {}}))), 65, &["no name for an item"]);
    for zone in ["drop", "block"] {
        let document = json!({"plugins": {"firewalld": {"default_zone": zone}}});
        fails(&wrong(document), 65, &["firewalld.default_zone", "not allowed"]);
    }
    fails(&wrong(json!({"plugins": {"firewalld": {"panic_mode": true}}})), 5, &["panic_mode", "no way to write"]);
    for (zones, zone) in [("zones", "drop"), ("zones", "block"), ("permanent_zones", "drop")] {
        let locked_out = json!({"plugins": {"firewalld": {zones: {zone: {"interfaces": ["eth9"]}}}}});
        fails(&wrong(locked_out), 5, &[zone, "is never given interfaces = \"eth9\""]);
    }
    assert_eq!(firewall(place, "--zone=public --query-service=ssh"), "yes");
}

#[test]
fn firewalld_in_a_root() {
    firewalld(&RealRoot::get().session());
}

#[test]
fn firewalld_in_a_machine() {
    firewalld_works(&Machine::boot(&MachineOptions::default()));
}

/// A laptop's battery and mains, as the kernel would show them.
const LAPTOP: &str = "\
P: /devices/LNXSYSTM:00/PNP0C0A:00/power_supply/BAT0
E: SUBSYSTEM=power_supply
E: CHARGE_LIMIT=75,80
A: type=Battery
A: present=1
A: status=Discharging
A: energy_full=60000000
A: energy_full_design=80000000
A: energy_now=48000000
A: power_now=9500000
A: voltage_now=12000000
A: technology=Li-ion
A: manufacturer=Example
A: model_name=Cell 4
A: cycle_count=117
A: charge_control_start_threshold=0
A: charge_control_end_threshold=100

P: /devices/LNXSYSTM:00/ACPI0003:00/power_supply/AC
E: SUBSYSTEM=power_supply
A: type=Mains
A: online=0
";

#[test]
fn upower_with_a_battery() {
    let session = RealRoot::get().session();
    write(&session, "/srv/laptop", LAPTOP);
    let daemon = session.spawn(&["umockdev-run", "--device", "/srv/laptop", "--", "/usr/libexec/upowerd"], "");
    wait_until("upowerd is there", || {
        session.run(&["busctl", "--acquired", "list"], "").stdout.contains("org.freedesktop.UPower")
    });
    let watched = Watched::new(&session);
    let state = query(&session, "upower");
    assert_eq!((&state["on_battery"], &state["lid_is_present"]), (&json!(true), &json!(false)));
    assert_eq!(state["devices"]["AC"]["type"], "line-power");
    let battery = &state["devices"]["BAT0"];
    let facts =
        ["type", "state", "technology", "percentage", "energy_full_design", "charge_cycles", "charge_limit_end"];
    let told = json!(["battery", "discharging", "lithium-ion", 80.0, 80.0, 117, 80]);
    assert_eq!(json!(facts.map(|fact| &battery[fact])), told);
    watched.comes_back("upower");

    let limit = || {
        let files = "/tmp/umockdev.*/sys/devices/LNXSYSTM:00/PNP0C0A:00/power_supply/BAT0/charge_control_*";
        session.sh(&format!("cat {files}")).ok().replace('\n', " ")
    };
    assert_eq!(battery["charge_limit"], false);
    watched.applies_once(&example("upower", "battery-lasts-longer"));
    assert_eq!(limit().trim_end(), "8075", "where charging ends, and where it begins");
    watched.applies_once(&example("upower", "full-before-a-journey"));
    assert_eq!(limit().trim_end(), "1000");

    let devices = |devices: Value| apply(&session, &[], &json!({"plugins": {"upower": {"devices": devices}}}));
    fails(
        &devices(json!({"AC": {"charge_limit": true}})),
        5,
        &["AC.charge_limit", "ChargeThresholdSupported is false"],
    );
    fails(&devices(json!({"BAT0": {"model": "Cell 5"}})), 5, &["BAT0.model", "it is \"Cell 4\""]);
    fails(&devices(json!({"BAT1": {}})), 65, &["the service knows no \"BAT1\""]);
    // What moves by itself is never compared.
    assert_eq!(outcome(&devices(json!({"BAT0": {"percentage": 3, "state": "charging"}})).json()), "unchanged");
    drop(daemon);
}

/// What a machine without a battery says, which is most of them.
#[test]
fn upower_without_a_battery() {
    let machine = Machine::boot(&MachineOptions::default());
    let watched = Watched::new(&machine);
    let state = query(&machine, "upower");
    assert_eq!((&state["devices"], &state["on_battery"]), (&json!({}), &json!(false)));
    watched.comes_back("upower");
    let state = query(&machine, "udisks2");
    assert_eq!((&state["block_devices"], &state["drives"]), (&json!({}), &json!({})));
    assert!(state["supported_filesystems"].as_array().unwrap().contains(&json!("btrfs")));
    watched.comes_back("udisks2");
}

const UUID: &str = "0d982e23-c1a4-468f-8c6c-739f77f68a9d";

/// An example about the second disk, about another one.
fn about(device: &str, name: &str) -> Value {
    serde_json::from_str(&example("udisks2", name).to_string().replace("/dev/vdb", device)).unwrap()
}

#[test]
fn udisks2_with_a_disk() {
    let disk = LoopDevice::new(&format!("mkfs.ext4 -q -U {UUID}"));
    let (device, sys) = (disk.device(), disk.sys());
    let options = SessionOptions::default().bind_rw(&device, device.to_str().unwrap());
    let session = RealRoot::get().session_with(&options.bind_rw(&sys, sys.to_str().unwrap()));
    // UDisks shows what udev has found, and udev looks at what the kernel says has changed.
    let udev = "mkdir -p /run/udev && /usr/lib/systemd/systemd-udevd --daemon 2>/dev/null";
    session.sh(udev).ok();
    wait_until("udev has seen the disk", || {
        session.sh(&format!("echo change > {}/uevent; udevadm settle -t 5; ls /run/udev/data/b7:*", sys.display())).code
            == 0
    });
    let watched = Watched::new(&session);
    start(&session, "org.freedesktop.UDisks2");
    let name = device.to_str().unwrap();
    wait_until("UDisks has seen the disk", || {
        query(&session, "udisks2")["block_devices"].get(name).is_some_and(|disk| disk["uuid"] == UUID)
    });
    let state = query(&session, "udisks2");
    let facts = &state["block_devices"][name];
    let told = json!([UUID, "filesystem", "ext4", "", 33_554_432, false, false, []]);
    let members = ["uuid", "usage", "type", "label", "size", "read_only", "mounted", "mount_points"];
    assert_eq!(json!(members.map(|member| &facts[member])), told);
    watched.comes_back("udisks2");

    let mounts = || session.sh(&format!("grep -c '^{name} .* ext4 ' /proc/mounts")).stdout;
    watched.applies_once(&about(name, "data-disk"));
    assert_eq!(session.run(&["e2label", name], "").ok(), "data\n");
    assert_eq!(mounts(), "1\n");
    watched.comes_back("udisks2");
    let mount_points = &query(&session, "udisks2")["block_devices"][name]["mount_points"];
    assert_eq!(mount_points.as_array().unwrap().len(), 1);

    let disks = |members: Value| json!({"plugins": {"udisks2": {"block_devices": {name: members}}}});
    // What the machine stands on is not unmounted, whether anybody uses it or not.
    let folder = mount_points[0].as_str().unwrap().to_owned();
    for place in ["/home", "/boot", "/boot/efi"] {
        session.sh(&format!("mkdir -p {place} && mount --bind '{folder}' {place}")).ok();
        wait_until("UDisks has seen where it is", || {
            let points = query(&session, "udisks2")["block_devices"][name]["mount_points"].to_string();
            points.contains(&format!("{place:?}"))
        });
        let kept = apply(&session, &[], &disks(json!({"mounted": false})));
        fails(&kept, 5, &[name, "is protected and keeps its mounted", "MountPoints"]);
        session.sh(&format!("umount {place}")).ok();
    }
    assert_eq!(mounts(), "1\n");
    // In use: it stays, and what was done before is undone.
    let user = session.spawn(&["sh", "-c", "cd \"$0\" && exec sleep 60", &folder], "");
    wait_until("somebody uses it", || {
        session.run(&["readlink", &format!("/proc/{}/cwd", user.pid())], "").stdout.trim_end() == folder
    });
    let busy = apply(&session, &[], &disks(json!({"label": "other", "mounted": false})));
    fails(&busy, 1, &["busy", "everything that was done was undone"]);
    assert_eq!((session.run(&["e2label", name], "").ok(), mounts()), ("data\n".to_owned(), "1\n".to_owned()));
    user.signal("KILL");
    user.wait();

    watched.applies_once(&about(name, "take-out-backup-disk"));
    assert_eq!(mounts(), "0\n");
    let wrong = |members: Value| apply(&session, &[], &disks(members));
    fails(&wrong(json!({"uuid": "1234", "mounted": true})), 5, &["uuid", UUID, "no way to write"]);
    fails(&wrong(json!({"swap_active": true})), 5, &["has no swap_active"]);
    fails(&wrong(json!({"label": "longer than sixteen letters"})), 1, &["16 characters", "nothing was changed"]);
    let other = json!({"plugins": {"udisks2": {"block_devices": {"/dev/sdz": {"mounted": true}}}}});
    fails(&apply(&session, &[], &other), 65, &["the service knows no \"/dev/sdz\""]);
    assert_eq!(mounts(), "0\n");
}

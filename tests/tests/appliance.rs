//! One document over the whole booted machine: a user, a unit, a firewall service, a bridge, a name server, a package.
//! Verified with each service's own tool, nothing to do the second time, and all of it rolled back.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions};
use serde_json::{Value, json};

fn desired(link: &str) -> Value {
    json!({"version": 1, "plugins": {
        "accounts": {"users": {"alice": {"real_name": "Alice Adams", "shell": "/bin/bash"}}},
        "systemd": {"units": {"snapper-timeline.timer": {"masked": false, "enabled": true, "active": true}}},
        "firewalld": {
            "zones": {"public": {"services": ["https"]}},
            "permanent_zones": {"public": {"services": ["https"]}},
        },
        "networkmanager": {"connections": {"br7": {
            "connection": {"type": "bridge", "interface-name": "br7"},
            "bridge": {"stp": false},
            "ipv4": {"method": "manual", "address-data": [{"address": "192.0.2.10", "prefix": 24}]},
            "ipv6": {"method": "disabled"},
        }}},
        "resolved": {"links": {link: {"dns": ["192.0.2.53"]}}},
        "packagekit": {"packages": ["hello-op"]},
    }})
}

/// What the services' own tools say, one line each.
fn told(machine: &Machine, link: &str) -> Vec<String> {
    let script = format!(
        "getent passwd alice | cut -d: -f1,5,7
         echo timer $(systemctl is-enabled snapper-timeline.timer) $(systemctl is-active snapper-timeline.timer)
         echo runtime $(firewall-cmd --zone=public --query-service=https)
         echo permanent $(firewall-cmd --permanent --zone=public --query-service=https)
         echo ssh $(firewall-cmd --zone=public --query-service=ssh)
         echo bridge $(nmcli -g ipv4.addresses connection show br7 2>/dev/null) $(ip -br -4 addr show br7 2>/dev/null | awk '{{print $3}}')
         echo dns $(resolvectl dns {link} | sed 's/.*: *//')
         echo package $(dpkg-query -W -f '${{db:Status-Status}}' hello-op 2>/dev/null)"
    );
    machine.sh(&script).stdout.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn one_document_over_the_whole_machine_and_back() {
    let machine = Machine::boot(&MachineOptions::default());
    let links = machine.sh("ls /sys/class/net").ok();
    let link = links.lines().find(|link| *link != "lo").unwrap().to_owned();
    let before = told(&machine, &link);
    let document = desired(&link).to_string();

    let plan = machine.run(&["op-apply", "--dry-run"], &document);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert_eq!(told(&machine, &link), before, "a dry run changed something");

    let applied = machine.run(&["op-apply", "--yes"], &document);
    assert_eq!(applied.code, 0, "{}\n{:?}", applied.stderr, told(&machine, &link));
    let now = told(&machine, &link);
    let expected = [
        "alice:Alice Adams:/bin/bash",
        "timer enabled active",
        "runtime yes",
        "permanent yes",
        "ssh yes",
        "bridge 192.0.2.10/24 192.0.2.10/24",
        "dns 192.0.2.53",
        "package installed",
    ];
    assert_eq!(now, expected);

    let again = machine.run(&["op-apply", "--yes"], &document);
    assert_eq!((again.code, again.json()["outcome"].as_str()), (0, Some("unchanged")), "{again:?}");
    let plan = machine.run(&["op-apply", "--dry-run"], &document).json();
    assert_eq!(plan["actions"], json!([]), "the second run would call something");

    // Deleting a user takes a person's word of its own.
    let refused = machine.run(&["op-apply", "--rollback", "--yes"], "");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert_eq!(told(&machine, &link), expected, "a refusal changed something");
    let back = machine.run(&["op-apply", "--rollback", "--yes", "--allow-irreversible"], "");
    assert_eq!(back.code, 0, "{}\n{:?}", back.stderr, told(&machine, &link));
    assert_eq!(told(&machine, &link), before);
}

/// Everything is read and given back: nothing to do, and every plugin answers.
#[test]
fn the_whole_machine_is_no_change_to_itself() {
    let machine = Machine::boot(&MachineOptions::default());
    let state = machine.run(&["op-query"], "");
    assert_eq!(state.code, 0, "{}", state.stderr);
    let plugins: Vec<String> = state.json()["plugins"].as_object().unwrap().keys().cloned().collect();
    let expected = [
        "accounts",
        "firewalld",
        "hostname",
        "locale",
        "login1",
        "lxc",
        "net",
        "networkmanager",
        "openflow",
        "packagekit",
        "resolved",
        "systemd",
        "timedate",
        "udisks2",
        "upower",
    ];
    assert_eq!(plugins, expected);
    let output = machine.sh("set -o pipefail; op-query | op-apply --yes");
    assert_eq!((output.code, output.json()["outcome"].as_str()), (0, Some("unchanged")), "{output:?}");
}

//! What the rules of the shipped mappings accept and refuse.

use super::{Plugin, plugins};
use op_dbus::plugin::mapping::check_value;
use op_dbus::plugin::mapping::file::Rules;
use serde_json::json;
use std::collections::BTreeSet;

/// Every key and member with rules.
fn ruled(plugin: &Plugin) -> Vec<String> {
    let is_ruled = |rules: &Rules| Rules { hint: None, ..rules.clone() } != Rules::default();
    let mut found = Vec::new();
    for (key, section) in &plugin.mapping.file.state_mapping {
        found.extend(is_ruled(&section.validate).then(|| format!("{} {key}", plugin.name)));
        let members = section.members.iter().filter(|(_, member)| is_ruled(&member.validate));
        found.extend(members.map(|(member, _)| format!("{} {key}.{member}", plugin.name)));
    }
    found
}

/// The rules of the shipped mappings, by what they accept and refuse.
#[test]
fn shipped_rules_accept_and_refuse() {
    let long = "a".repeat(65);
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "hostname",
            "static_hostname",
            &["", "a", "web-1", "web-1.example.org", "1"],
            &["-a", "a-", "a..b", ".", "a.", "a_b", "ä", "a b", &long],
        ),
        ("hostname", "pretty_hostname", &["", "Anna's laptop", "Bürö"], &["a\nb", "\u{7f}"]),
        ("hostname", "icon_name", &["", "computer-vm"], &["../x", ".x", "a/b", "a\n"]),
        ("hostname", "chassis", &["", "vm", "container", "watch"], &["VM", "toaster"]),
        ("hostname", "deployment", &["", "production", "a.b:c-1"], &["a b", "a_b"]),
        ("hostname", "location", &["", "Berlin, rack 4"], &["a\tb"]),
        (
            "timedate",
            "timezone",
            &["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires"],
            &["", "/UTC", "Etc/", "../../etc/passwd", "a b"],
        ),
        (
            "locale",
            "locale",
            &["LANG=C.UTF-8", "LANGUAGE=de_AT:de", "LC_TIME=C", "LANG=ca_ES.UTF-8@valencia"],
            &["", "C.UTF-8", "LANG=", "LC_ALL=C", "LANG=a b"],
        ),
        ("locale", "vconsole_keymap", &["", "de-latin1", "us"], &["../x", "a b"]),
        ("locale", "vconsole_keymap_toggle", &["", "us"], &["a/b"]),
        ("locale", "x11_layout", &["", "de,us"], &["de us"]),
        ("locale", "x11_model", &["", "pc105"], &["pc 105"]),
        ("locale", "x11_variant", &["", "nodeadkeys,"], &["a;b"]),
        ("locale", "x11_options", &["", "compose:ralt,caps:escape"], &["a b"]),
        ("accounts", "users", &["alice", "_x", "a-1"], &["", "Alice", "1a", "a.b", "a b", &long]),
        ("accounts", "users.email", &["", "a@example.org"], &["a", "a@b@c", "a b@c"]),
        (
            "accounts",
            "users.home_directory",
            &["/home/nobody-here", "/home/a/b"],
            &["", "x", "/home", "/srv/x", "/home/a:b", "/home/a/"],
        ),
        ("accounts", "users.language", &["", "de_DE.UTF-8"], &["de DE"]),
        ("accounts", "users.real_name", &["", "Jörg Büro"], &["a,b", "a:b", "a\nb"]),
        ("accounts", "users.shell", &["/bin/sh"], &["", "sh", "/etc/passwd", "/bin/no-such-shell"]),
        ("firewalld", "default_zone", &["public", "work"], &["drop", "block"]),
        ("firewalld", "log_denied", &["off", "all"], &["", "some"]),
        ("firewalld", "zones.services", &["ssh", "dhcpv6-client", "RH-Satellite-6"], &["", "a b", "ssh,http"]),
        ("firewalld", "zones.ports", &["80/tcp", "1000-2000/udp"], &["80", "80/TCP", "tcp/80", "123456/tcp"]),
        ("firewalld", "zones.source_ports", &["67/udp"], &["67"]),
        ("firewalld", "zones.interfaces", &["eth0", "br0.5", "wlp3s0"], &["", "a b", "a/b", "averylonginterface"]),
        (
            "firewalld",
            "zones.forward_ports",
            &["80/tcp/8080/", "80/tcp//192.0.2.7", "53/udp/53/2001:db8::1"],
            &["80/tcp"],
        ),
        ("firewalld", "permanent_zones.services", &["https"], &["a b"]),
        ("firewalld", "permanent_zones.ports", &["443/sctp"], &["443/icmp"]),
        ("firewalld", "permanent_zones.source_ports", &["67/udp"], &["67"]),
        ("firewalld", "permanent_zones.interfaces", &["eth0"], &["a b"]),
        ("firewalld", "permanent_zones.forward_ports", &["1-2/tcp/3-4/"], &["80/tcp/8080/host"]),
        ("firewalld", "permanent_zones.target", &["default", "DROP", "%%REJECT%%"], &["", "drop", "REJECT"]),
        ("login1", "linger", &["alice", "1000", "Alice@example.org"], &["", "a b", "a/b", "a:b"]),
        ("login1", "wall_message", &["", "Back at 8\tsharp\n"], &["\u{1b}[2J"]),
        ("networkmanager", "connections", &["br0", "lo0", "my lo"], &["lo"]),
        ("networkmanager", "networking", &["true"], &["false"]),
        ("resolved", "links.dns", &["192.0.2.53"], &[]),
        ("resolved", "links.dns_over_tls", &["yes", "opportunistic"], &["", "maybe"]),
        ("resolved", "links.dnssec", &["no", "allow-downgrade"], &[""]),
        (
            "resolved",
            "links.domains",
            &["example.org", "~corp.example", "~.", "a", "_tcp.x"],
            &["", ".", "~", "a..b", "-a", "a-", "a b", "example.org."],
        ),
        ("resolved", "links.llmnr", &["resolve"], &["maybe"]),
        ("resolved", "links.multicast_dns", &["resolve"], &["maybe"]),
        (
            "systemd",
            "default_target",
            &["graphical.target", "multi-user.target", "kiosk.target", "sound-studio.target"],
            &[
                "",
                "x.service",
                "poweroff.target",
                "a/b.target",
                "rescue.target",
                "rescue-ssh.target",
                "runlevel0.target",
            ],
        ),
        ("systemd", "units.active", &["true", "false"], &["activating", "maintenance", "yes"]),
        ("systemd", "log_level", &["debug", "emerg"], &["", "loud", "7"]),
        ("udisks2", "block_devices.label", &["", "data", "Büro 2"], &["a/b", "a\nb"]),
        ("udisks2", "block_devices.partition_name", &["", "EFI system"], &["a\nb", &long]),
        (
            "packagekit",
            "packages",
            &["libstdc++6", "a.b-c", "R-core", "0ad"],
            &["", "a;1;amd64;x", "libc6:i386", "a b", "-y"],
        ),
    ];
    let plugins = plugins();
    let ruled: BTreeSet<String> = plugins.iter().flat_map(ruled).collect();
    let told: BTreeSet<String> = cases.iter().map(|(plugin, key, ..)| format!("{plugin} {key}")).collect();
    assert_eq!(told, ruled, "a key with rules has no case here");
    for (name, key, good, bad) in cases {
        let plugin = plugins.iter().find(|plugin| plugin.name == *name).unwrap();
        let (key, member) = key.split_once('.').map_or((*key, None), |(key, member)| (key, Some(member)));
        let section = &plugin.mapping.file.state_mapping[key];
        let rules = member.map_or(&section.validate, |member| &section.members[member].validate);
        let value = |text: &str| serde_json::from_str::<bool>(text).map_or_else(|_| json!(text), |is_so| json!(is_so));
        for text in *good {
            check_value(key, &value(text), rules).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for text in *bad {
            assert!(check_value(key, &value(text), rules).is_err(), "{name} {key} accepts {text:?}");
        }
    }
}

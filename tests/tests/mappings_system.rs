//! The mappings of users, logins, units and name servers, on the real services of a booted machine.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions, image};
use op_dbus_tests::ops::{Monitor, apply, error, fails, outcome, wait_until};
use op_dbus_tests::shipped::{Shipped, document, holds};
use serde_json::{Value, json};

fn boot() -> Machine {
    image();
    Machine::boot(&MachineOptions::default())
}

#[track_caller]
fn says(machine: &Machine, script: &str, answer: &str) {
    assert_eq!(machine.sh(script).stdout, answer, "{script}");
}

/// Applies one key of a plugin; the exit code, and the report or the error.
fn try_to(machine: &Machine, plugin: &str, key: &str, value: Value) -> (i32, Value) {
    let output = apply(machine, &["--allow-irreversible", "--detailed-exitcode"], &document(plugin, key, value));
    let answer = if output.stdout.is_empty() { error(&output) } else { output.json() };
    (output.code, answer)
}

/// Checks that a value is refused with a code and words, before anything is called.
#[track_caller]
fn is_refused(machine: &Machine, plugin: &str, key: &str, value: Value, code: i32, words: &[&str]) {
    let shipped = Shipped::named(plugin);
    let monitor = Monitor::start(machine);
    let output = apply(machine, &["--allow-irreversible"], &document(plugin, key, value));
    assert!(output.stdout.is_empty(), "{output:?}");
    fails(&output, code, words);
    assert_eq!(shipped.calls_that_change(&monitor.calls()), Vec::<Value>::new());
}

#[test]
fn users_come_change_and_go() {
    let machine = boot();
    let accounts = Shipped::named("accounts");
    machine.sh("useradd -m -s /bin/bash -G sudo bob; useradd -m -s /bin/bash carol; echo bob:secret | chpasswd; ").ok();
    accounts.try_round_trip(&machine);
    let tried = ["moved-home.json", "new-administrator.json", "person-who-left.json"];
    assert_eq!(accounts.examples(), tried.map(str::to_owned).into());

    accounts.try_example(&machine, "moved-home.json", || {
        says(
            &machine,
            "getent passwd carol | cut -d: -f6; ls -A /home/carol.adams | head -n 1; ls /home",
            "/home/carol.adams\n.bash_logout\nbob\ncarol.adams\n",
        );
    });
    says(&machine, "getent passwd carol | cut -d: -f6; ls /home", "/home/carol\nbob\ncarol\n");
    accounts.try_example(&machine, "new-administrator.json", || {
        says(&machine, "getent passwd alice | cut -d: -f5-", "Alice Adams:/home/alice:/bin/bash\n");
        says(&machine, "id -nG alice; getent shadow alice | cut -d: -f2", "alice sudo users\n!\n");
        says(&machine, "grep Email /var/lib/AccountsService/users/alice", "Email=alice@example.org\n");
    });
    says(&machine, "getent passwd alice; ls -d /home/alice", "/home/alice\n");
    accounts.try_example(&machine, "person-who-left.json", || {
        says(&machine, "getent passwd bob | cut -d: -f7; id -nG bob", "/usr/sbin/nologin\nbob\n");
        assert!(machine.sh("getent shadow bob | cut -d: -f2").stdout.starts_with("!$"));
        // The service does not call people who cannot log in people any more; who is named is found all the same.
        wait_until("bob is not listed", || accounts.state(&machine)["users"].get("bob").is_none());
    });
    assert!(machine.sh("getent shadow bob | cut -d: -f2").stdout.starts_with('$'));

    // Away: not without being agreed to, not twice, and the files stay.
    let gone = document("accounts", "users", json!({"carol": {"state": "absent"}}));
    fails(&apply(&machine, &[], &gone), 5, &["cannot be undone", "--allow-irreversible"]);
    let absent = || try_to(&machine, "accounts", "users", json!({"carol": {"state": "absent"}}));
    let (code, report) = absent();
    assert_eq!((code, outcome(&report)), (2, "applied"));
    says(&machine, "getent passwd carol; ls -d /home/carol", "/home/carol\n");
    assert_eq!(absent().0, 0);
    // Who gets the number of somebody who was just deleted is there nevertheless.
    let (code, report) = try_to(&machine, "accounts", "users", json!({"dave": {"shell": "/bin/sh"}}));
    assert_eq!((code, outcome(&report)), (2, "applied"), "{report}");
    says(&machine, "getent passwd dave | cut -d: -f3,7", "1001:/bin/sh\n");
}

#[test]
fn a_half_made_user_is_taken_back() {
    let machine = boot();
    machine.sh("useradd -m -s /bin/bash carol").ok();
    wait_until("the service sees carol", || Shipped::named("accounts").state(&machine)["users"]["carol"].is_object());
    let before = Shipped::named("accounts").state(&machine);
    // The folder above is not there, which no rule foresees: usermod finds out.
    let value = json!({"alice": {"real_name": "Alice", "shell": "/bin/sh"}, "carol": {"email": "c@example.org"},
        "zoe": {"home_directory": "/home/no-such-folder/zoe"}});
    let output = apply(&machine, &[], &document("accounts", "users", value.clone()));
    fails(&output, 1, &["usermod", "everything that was done was undone"]);
    let report = output.json();
    assert_eq!(outcome(&report), "undone", "{report}");
    let results: Vec<&str> =
        report["actions"].as_array().unwrap().iter().map(|action| action["result"].as_str().unwrap()).collect();
    assert!(results.contains(&"undone") && results.contains(&"failed"), "{report}");
    says(&machine, "getent passwd alice zoe", "");
    assert_eq!(Shipped::named("accounts").state(&machine), before);
}

#[test]
fn users_that_must_stay_stay() {
    let machine = boot();
    machine.sh("useradd -m -s /bin/bash erin; loginctl enable-linger erin").ok();
    let passwd = machine.sh("cat /etc/passwd /etc/shadow /etc/group").ok();
    let refused = |value: Value, code, words: &[&str]| is_refused(&machine, "accounts", "users", value, code, words);
    refused(json!({"root": {"state": "absent"}}), 5, &["users.root", "protected"]);
    refused(json!({"root": {"shell": "/bin/sh"}}), 5, &["users.root.shell", "protected"]);
    refused(json!({"daemon": {"state": "absent"}}), 5, &["users.daemon", "protected", "its Uid is 1"]);
    refused(json!({"messagebus": {"locked": false}}), 5, &["users.messagebus", "keeps its locked"]);
    refused(json!({"erin": {"state": "absent"}}), 5, &["users.erin", "logged in", "without a login"]);
    refused(json!({"erin": {"shell": "/bin/no-such-shell"}}), 65, &["users.erin.shell", "no executable"]);
    refused(json!({"erin": {"home_directory": "/etc"}}), 65, &["users.erin.home_directory", "below /home"]);
    refused(json!({"Erin": {}}), 65, &["users.Erin", "lower-case"]);
    refused(json!({"erin": {"uid": 7}}), 65, &["no such member", "account_type"]);
    assert_eq!(machine.sh("cat /etc/passwd /etc/shadow /etc/group").ok(), passwd);
    // When it cannot be known who is logged in, nobody goes.
    machine.sh("loginctl disable-linger erin; systemctl mask --runtime --now systemd-logind").ok();
    refused(json!({"erin": {"state": "absent"}}), 69, &["users.erin", "could not make sure"]);
}

#[test]
fn users_linger_and_messages_are_set() {
    let machine = boot();
    let login = Shipped::named("login1");
    machine.sh("useradd -m alice; useradd -m bob; loginctl enable-linger bob").ok();
    login.try_round_trip(&machine);
    let tried = ["announce-maintenance.json", "linger.json", "no-more-linger.json"];
    assert_eq!(login.examples(), tried.map(str::to_owned).into());
    let lingering = "ls /var/lib/systemd/linger";
    login.try_example(&machine, "no-more-linger.json", || says(&machine, lingering, ""));
    says(&machine, lingering, "bob\n");
    machine.sh("loginctl disable-linger bob").ok();
    login.try_example(&machine, "linger.json", || {
        says(&machine, lingering, "alice\n");
        says(&machine, "loginctl show-user alice -P Linger", "yes\n");
    });
    says(&machine, lingering, "");
    let quiet = json!({"plugins": {"login1": {"wall_messages": false}}});
    apply(&machine, &[], &quiet).ok();
    login.try_example(&machine, "announce-maintenance.json", || {
        let property =
            "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
        says(
            &machine,
            &format!("{property} WallMessage EnableWallMessages"),
            "s \"Maintenance until 8 o\\'clock.\"\nb true\n",
        );
    });

    // One who is not there after one who is: the first is taken back.
    is_refused(&machine, "login1", "linger", json!(["alice", "nobody-here"]), 65, &["login1.linger", "nobody-here"]);
    // Who has a name goes by it: under the number it could never be seen to hold.
    let number = machine.sh("id -u alice").stdout.trim_end().to_owned();
    is_refused(&machine, "login1", "linger", json!([number]), 65, &["login1.linger", "write \"alice\""]);
    let both = json!({"plugins": {"login1": {"linger": ["alice"]}, "systemd": {"default_target": "nosuch.target"}}});
    let output = apply(&machine, &[], &both);
    fails(&output, 1, &["nosuch.target does not exist", "was undone"]);
    assert_eq!(outcome(&output.json()), "undone");
    says(&machine, lingering, "");
    // What is only to look at is never compared.
    let looked = json!({"plugins": {"login1": {"sessions": {}, "inhibitors": []}}});
    assert_eq!(outcome(&apply(&machine, &[], &looked).json()), "unchanged");
    let inhibitors = login.state(&machine)["inhibitors"].clone();
    assert!(inhibitors.as_array().unwrap().iter().any(|one| one["who"] == "NetworkManager"), "{inhibitors}");
}

const UNITS: &str = r#"
unit() { printf '%s\n' "${@:2}" '[Install]' 'WantedBy=multi-user.target' > "/usr/lib/systemd/system/$1"; }
unit op-a.service '[Service]' 'ExecStart=/bin/sleep infinity'
unit op-b@.service '[Service]' 'ExecStart=/bin/sleep infinity'
unit op-slow.service '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' 'ExecStart=/bin/sleep 1'
unit op-fails.service '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' 'ExecStart=/bin/false'
unit op-once.service '[Service]' 'Type=oneshot' 'ExecStart=/bin/true'
unit op-elsewhere.service '[Unit]' 'ConditionPathExists=/nonexistent' '[Service]' 'ExecStart=/bin/sleep infinity'
systemctl daemon-reload"#;

#[test]
fn units_are_enabled_started_masked_and_back() {
    let machine = boot();
    let systemd = Shipped::named("systemd");
    machine.sh(UNITS).ok();
    // It ends by itself ten seconds after the start.
    machine.sh("systemctl stop NetworkManager-dispatcher.service").ok();
    systemd.try_round_trip(&machine);
    let tried =
        ["no-service-discovery.json", "server-never-sleeps.json", "snapshots-every-hour.json", "text-console.json"];
    assert_eq!(systemd.examples(), tried.map(str::to_owned).into());
    systemd.try_example(&machine, "no-service-discovery.json", || {
        let units = "avahi-daemon.service avahi-daemon.socket";
        says(&machine, &format!("systemctl is-active {units}"), "inactive\ninactive\n");
        says(&machine, &format!("systemctl is-enabled {units}"), "disabled\ndisabled\n");
    });
    says(&machine, "systemctl is-active avahi-daemon.service avahi-daemon.socket", "active\nactive\n");
    systemd.try_example(&machine, "server-never-sleeps.json", || {
        says(&machine, "systemctl is-enabled sleep.target hybrid-sleep.target", "masked\nmasked\n");
    });
    systemd.try_example(&machine, "snapshots-every-hour.json", || {
        says(&machine, "systemctl is-active snapper-timeline.timer", "active\n");
    });
    systemd.try_example(&machine, "text-console.json", || {
        says(&machine, "systemctl get-default; systemctl log-level", "multi-user.target\nnotice\n");
    });

    // All at once, an instance of a template too; a job that takes its time is waited for.
    let want = json!({
        "op-a.service": {"enabled": true, "active": true}, "op-b@x.service": {"enabled": true, "active": true},
        "op-slow.service": {"active": true},
    });
    let (code, report) = try_to(&machine, "systemd", "units", want.clone());
    assert_eq!((code, outcome(&report)), (2, "applied"), "{report}");
    says(
        &machine,
        "systemctl is-active op-a op-b@x op-slow; systemctl is-enabled op-a op-b@x",
        "active\nactive\nactive\nenabled\nenabled\n",
    );
    assert_eq!(try_to(&machine, "systemd", "units", want).0, 0);
    let off = json!({"enabled": false, "active": false, "masked": true});
    let (code, report) = try_to(&machine, "systemd", "units", json!({"op-a.service": off}));
    assert_eq!((code, outcome(&report)), (2, "applied"), "{report}");
    says(&machine, "systemctl is-active op-a; systemctl is-enabled op-a", "inactive\nmasked\n");
    let units = systemd.state(&machine)["units"].clone();
    assert!(holds(&json!({"op-a.service": off, "op-slow.service": {"active": true}}), &units));
    let names: Vec<&String> = units.as_object().unwrap().keys().collect();
    assert!(
        !names.iter().any(|name| name.contains('@') || name.ends_with(".slice") || *name == "sshd.service"),
        "{names:?}"
    );
}

#[test]
fn a_unit_that_fails_to_start_takes_the_others_back() {
    let machine = boot();
    machine.sh(UNITS).ok();
    machine.sh("systemctl mask op-a.service").ok();
    for (unit, words) in [
        ("op-fails.service", &["the job ended with \"failed\"", "was undone"][..]),
        // The service says that it started them, and they do not run.
        ("op-once.service", &["accepted {\"active\":true}", "reads {\"active\":false}"]),
        ("op-elsewhere.service", &["accepted {\"active\":true}", "reads {\"active\":false}"]),
    ] {
        let want = json!({"op-a.service": {"masked": false, "enabled": true, "active": true}, unit: {"active": true}});
        let output = apply(&machine, &[], &document("systemd", "units", want));
        fails(&output, 1, words);
        assert_eq!(outcome(&output.json()), "undone", "{output:?}");
        says(&machine, "systemctl is-active op-a; systemctl is-enabled op-a", "inactive\nmasked\n");
    }
    assert_eq!(Shipped::named("systemd").state(&machine)["failed_units"], json!(["op-fails.service"]));
}

#[test]
fn units_that_must_run_run() {
    let machine = boot();
    let refused = |value: Value, code, words: &[&str]| is_refused(&machine, "systemd", "units", value, code, words);
    refused(json!({"ssh.service": {"active": false}}), 5, &["units.ssh.service.active", "protected"]);
    refused(json!({"dbus.service": {"masked": true}}), 5, &["units.dbus.service.masked", "protected"]);
    refused(json!({"systemd-journald.service": {"active": false}}), 5, &["systemd-journald.service", "protected"]);
    refused(json!({"getty@tty1.service": {"masked": true}}), 5, &["getty@tty1.service", "protected"]);
    refused(json!({"poweroff.target": {"active": true}}), 5, &["units.poweroff.target.active", "never"]);
    refused(json!({"dbus.service": {"enabled": false}}), 5, &["units.dbus.service.enabled"]);
    refused(
        json!({"systemd-hostnamed.service": {"enabled": true}}),
        5,
        &["systemd-hostnamed.service.enabled", "static"],
    );
    for name in ["nosuch.service", "nosuch@x.service", "sshd.service", "getty@.service", "ssh", "-.slice"] {
        refused(json!({name: {"active": true}}), 65, &[&format!("units.{name}"), "full name"]);
    }
    // Protected from harm, not from good: what is protected may be started.
    machine.sh("systemctl disable --now ssh.service").ok();
    let (code, report) =
        try_to(&machine, "systemd", "units", json!({"ssh.service": {"enabled": true, "active": true}}));
    assert_eq!((code, outcome(&report)), (2, "applied"), "{report}");
    says(&machine, "systemctl is-active ssh; systemctl is-enabled ssh", "active\nenabled\n");
    let on_its_way = json!({"systemd-hostnamed.service": {"active": "activating"}});
    refused(on_its_way, 65, &["units.systemd-hostnamed.service.active", "true, false"]);
    is_refused(
        &machine,
        "systemd",
        "default_target",
        json!("x.service"),
        65,
        &["default_target", "does not look like"],
    );
    // Of all targets there are, two are to work in.
    machine.sh("ln -s /usr/lib/systemd/system/poweroff.target /etc/systemd/system/mine.target").ok();
    machine.sh("systemctl set-default graphical.target; systemctl daemon-reload").ok();
    let all = machine.sh("ls /usr/lib/systemd/system /etc/systemd/system | grep '[.]target$'").stdout;
    let is_good = |target: &&str| {
        let want = document("systemd", "default_target", json!(target));
        let planned = machine.run(&["op-apply", "--dry-run"], &want.to_string());
        assert!(planned.code == 0 || planned.stderr.contains("default_target"), "{planned:?}");
        planned.code == 0
    };
    let good: Vec<&str> = all.lines().filter(is_good).collect();
    assert_eq!(good, ["graphical.target", "multi-user.target"]);
    let mine = json!("mine.target");
    is_refused(&machine, "systemd", "default_target", mine, 5, &["default_target", "another name of a unit"]);
    let both = json!({"plugins": {"systemd": {"default_target": "nosuch.target", "log_level": "debug"}}});
    fails(&apply(&machine, &[], &both), 1, &["nosuch.target does not exist"]);
    says(&machine, "systemctl log-level", "info\n");
}

#[test]
fn links_get_name_servers() {
    let machine = boot();
    let resolved = Shipped::named("resolved");
    machine.sh("ip link add wg0 type veth peer name wg1; ip link set wg0 up; ip link set wg1 up").ok();
    wait_until("resolved sees the link", || machine.sh("resolvectl status wg0").code == 0);
    resolved.try_round_trip(&machine);
    let tried = ["encrypted-where-possible.json", "name-servers.json", "split-dns.json"];
    assert_eq!(resolved.examples(), tried.map(str::to_owned).into());
    resolved.try_example(&machine, "name-servers.json", || {
        says(
            &machine,
            "resolvectl dns eth0; resolvectl domain eth0",
            "Link 2 (eth0): 192.0.2.53 2001:db8::53\nLink 2 (eth0): example.org\n",
        );
    });
    resolved.try_example(&machine, "split-dns.json", || {
        let all = machine.sh("resolvectl dns wg0; resolvectl domain wg0; resolvectl llmnr wg0").ok();
        let all: Vec<&str> = all.lines().map(|line| line.split_once("): ").unwrap().1).collect();
        assert_eq!(all, ["10.8.0.1", "~corp.example ~8.10.in-addr.arpa", "no"]);
    });
    resolved.try_example(&machine, "encrypted-where-possible.json", || {
        says(
            &machine,
            "resolvectl dnsovertls eth0 | cut -d' ' -f4; resolvectl dnssec eth0 | cut -d' ' -f4",
            "opportunistic\nallow-downgrade\n",
        );
    });

    // Accepted and ignored: seen, and the change before it taken back.
    let value = json!({"wg0": {"dns": ["10.8.0.1"], "multicast_dns": "yes"}});
    let output = apply(&machine, &[], &document("resolved", "links", value));
    fails(&output, 1, &["accepted {\"multicast_dns\":\"yes\"}", "reads {\"multicast_dns\":\"no\"}", "was undone"]);
    assert_eq!(resolved.state(&machine)["links"]["wg0"]["dns"], json!([]));
    let refused = |value: Value, code, words: &[&str]| is_refused(&machine, "resolved", "links", value, code, words);
    refused(json!({"lo": {"dns": ["192.0.2.1"]}}), 65, &["links.lo", "not lo"]);
    refused(json!({"nosuch0": {"dns": ["192.0.2.1"]}}), 65, &["links.nosuch0"]);
    refused(json!({"wg0": {"dns": ["192.0.2.256"]}}), 65, &["links.wg0.dns", "no IP address"]);
    refused(json!({"wg0": {"dns": ["2001:DB8::1"]}}), 65, &["links.wg0.dns", "2001:db8::1"]);
    refused(json!({"wg0": {"domains": ["a b"]}}), 65, &["links.wg0.domains"]);
    refused(json!({"wg0": {"dns": "192.0.2.1"}}), 65, &["links.wg0.dns", "expected a list, found a text"]);
    let twice = json!({"wg0": {"dns": ["192.0.2.1", "192.0.2.1"], "domains": ["a.example", "a.example"]}});
    refused(twice, 65, &["links.wg0.dns[1]", "links.wg0.domains[1]", "there twice"]);
    refused(json!({"wg0": {"state": "absent"}}), 5, &["links.wg0"]);
}

#[test]
fn a_service_that_changed_is_not_misused() {
    let machine = boot();
    let script = "mkdir -p /var/lib/op-dbus/; cp -r /usr/share/op-dbus/mappings/resolved /var/lib/op-dbus/@plugin-resolved;
        sed -i 's/Link.SetDNS\" = \"a(iay)\"/Link.SetDNS\" = \"as\"/' /var/lib/op-dbus/@plugin-resolved/semantic-mapping.toml";
    machine.sh(script).ok();
    let value = json!({"eth0": {"dns": ["192.0.2.53"]}});
    is_refused(&machine, "resolved", "links", value, 6, &["SetDNS"]);
}

//! Containers of real LXC on real btrfs, in a booted machine without Proxmox: the same state, by name.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions, SMALL_ROOT};
use op_dbus_tests::ops::{fails, outcome, wait_until};
use op_dbus_tests::root::Output;
use serde_json::{Value, json};

struct Host(Machine);

impl Host {
    fn op(&self, name: &str, args: &[&str], stdin: &str) -> Output {
        self.0.run(&[&["env", "OP_DBUS_MAPPINGS=/root/mappings", name], args].concat(), stdin)
    }

    fn apply(&self, args: &[&str], plugins: &Value) -> Output {
        self.op("op-apply", &[&["--yes"], args].concat(), &json!({ "plugins": plugins }).to_string())
    }

    #[track_caller]
    fn applies(&self, args: &[&str], plugins: &Value) {
        for expected in ["applied", "unchanged"] {
            let output = self.apply(args, plugins);
            assert_eq!((output.code, outcome(&output.json())), (0, expected), "{output:?}");
        }
    }

    #[track_caller]
    fn rolled_back(&self) {
        let output = self.op("op-apply", &["--yes", "--rollback", "--allow-irreversible"], "");
        assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    }

    #[track_caller]
    fn containers(&self) -> Value {
        let output = self.op("op-query", &["--plugin", "lxc"], "");
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.json()["plugins"]["lxc"]["containers"].clone()
    }
}

fn lxc(containers: &Value) -> Value {
    json!({"lxc": {"containers": containers}})
}

#[test]
fn containers_of_plain_lxc_from_a_golden_image() {
    let host = Host(Machine::boot(&MachineOptions::default()));
    let sh = |script: &str| host.0.sh(script).ok();
    host.0.run(&["bash", "-ec", SMALL_ROOT], "").ok();
    assert_eq!(host.containers(), json!({}));
    let everything = || {
        sh(
            "find /var/lib/lxc -printf '%p %m\\n' | sort; ip -br link | cut -d' ' -f1 | sort; btrfs subvolume list -o /var/lib/lxc | grep -c lib/lxc || true",
        )
    };
    let nothing = everything();
    let made = host.op("op-snapshot", &["golden", "create", "small", "--from", "/root/small", "--privileged"], "");
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(made.json()["image"]["path"], "/var/lib/lxc/op-dbus-golden/small");
    let with_image = everything();

    // A bridge and two containers on it, in one document; they reach each other.
    let container = |at: u8| {
        json!({"golden_image": "small", "status": "running",
               "networks": {"net0": {"name": "eth0", "bridge": "opbr7", "ip": format!("192.0.2.{at}/24")}}})
    };
    let wish = json!({"net": {"interfaces": {"opbr7": {"type": "linux-bridge",
                          "bridge": {"options": {"stp": {"enabled": false, "forward-delay": 2}}}}}},
                      "lxc": {"containers": {"one": container(71), "two": container(72)}}});
    let missing = lxc(&json!({"one": container(71)}));
    fails(&host.apply(&[], &missing), 5, &["no bridge opbr7 on this host"]);
    // It would filter what passes the bridge.
    sh("systemctl stop firewalld");
    host.applies(&[], &wish);
    assert_eq!(sh("lxc-ls -1 --running"), "one\ntwo\n");
    assert_eq!(sh("lxc-attach -n one -- cat /etc/hostname"), "one\n");
    wait_until("one reaches two", || host.0.sh("lxc-attach -n one -- ping -c 1 -W 1 192.0.2.72").code == 0);
    let key = |name: &str| sh(&format!("cat /var/lib/lxc/{name}/rootfs/etc/ssh/ssh_host_ed25519_key"));
    assert!(key("one") != "old\n" && key("one") != key("two"), "each has keys of its own");
    let shown = host.containers();
    assert_eq!((&shown["one"]["status"], &shown["one"]["golden_image"]), (&json!("running"), &json!("small")));
    assert_ne!(shown["one"]["networks"]["net0"]["hwaddr"], shown["two"]["networks"]["net0"]["hwaddr"]);
    let output = host.apply(&[], &lxc(&shown));
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
    host.rolled_back();
    assert_eq!(everything(), with_image, "no subvolume, no file, no link remains");

    // Settings, whose file keeps what others wrote into it.
    host.applies(&[], &lxc(&json!({"web": {"golden_image": "small", "hostname": "shop"}})));
    sh("echo 'lxc.environment = A=1' >> /var/lib/lxc/web/config");
    let before = sh("cat /var/lib/lxc/web/config");
    let more =
        json!({"web": {"memory": 64, "onboot": true, "mounts": {"mp0": {"volume": "/srv", "mp": "/srv", "ro": true}}}});
    host.applies(&[], &lxc(&more));
    let config = sh("cat /var/lib/lxc/web/config");
    for line in [
        "lxc.environment = A=1",
        "lxc.cgroup2.memory.max = 64M",
        "lxc.start.auto = 1",
        "lxc.uts.name = shop",
        "lxc.mount.entry = /srv srv none bind,ro,create=dir 0 0",
    ] {
        assert!(config.lines().any(|found| found == line), "no {line} in {config}");
    }
    assert_eq!(sh("lxc-info -n web -c lxc.start.auto"), "lxc.start.auto = 1\n", "LXC reads it");
    host.rolled_back();
    assert_eq!(sh("cat /var/lib/lxc/web/config"), before);
    host.applies(&[], &lxc(&json!({"web": {"status": "running"}})));
    host.applies(&[], &lxc(&json!({"web": {"status": "stopped"}})));

    // A golden image from a container, and containers that LXC's own tools made.
    let output = host.op("op-snapshot", &["golden", "update", "small", "--from", "web"], "");
    assert_eq!(output.code, 0, "{output:?}");
    sh("lxc-copy -n web -N copy -B btrfs");
    assert_eq!(host.containers()["copy"]["golden_image"], "small");

    for (containers, code, words) in [
        (json!({"x": {"template": "debian-13"}}), 65, vec!["what golden image"]),
        (json!({"x": {"golden_image": "none"}}), 65, vec!["no such golden image", "there are: small"]),
        (json!({"x": {"golden_image": "small", "tags": ["a"], "cores": 2}}), 65, vec!["x.tags", "x.cores", "no place"]),
        (json!({"x": {"golden_image": "small", "unprivileged": true}}), 5, vec!["those of privileged containers"]),
        (json!({"x": {"golden_image": "small", "template": "debian-13"}}), 5, vec!["is of small-1, not of debian-13"]),
        (json!({"a/b": {"golden_image": "small"}}), 65, vec!["cannot be the name"]),
        (json!({"web": {"mounts": {"mp0": {"volume": "fast:1", "mp": "/x"}}}}), 65, vec!["web.mounts.mp0.volume"]),
    ] {
        let before = everything();
        fails(&host.apply(&[], &lxc(&containers)), code, &words);
        assert_eq!(everything(), before);
    }

    // What a killed run left is seen, refused, and taken back.
    sh(
        "mkdir /var/lib/lxc/half && echo op-dbus > /var/lib/lxc/half/partial && btrfs -q subvolume snapshot /var/lib/lxc/op-dbus-golden/small /var/lib/lxc/half/rootfs",
    );
    assert_eq!(host.containers()["half"]["lock"], "create");
    fails(&host.apply(&[], &lxc(&json!({"half": {"status": "running"}}))), 75, &["half made", "--recover"]);
    let gone = json!({"half": {"status": "absent"}, "web": {"status": "absent"}, "copy": {"status": "absent"}});
    fails(&host.apply(&[], &lxc(&gone)), 5, &["cannot be undone"]);
    host.applies(&["--allow-irreversible"], &lxc(&gone));
    let output = host.op("op-snapshot", &["golden", "delete", "small", "--yes"], "");
    assert_eq!(output.code, 0, "{output:?}");
    sh("rmdir /var/lib/lxc/op-dbus-golden");
    assert_eq!(everything(), nothing);
}

/// The founding document's own state document, word for word.
const FOUNDING: &str = r#"{
  "plugins": {
    "lxc": {
      "containers": [
        {
          "id": "100",
          "hostname": "web-server",
          "template": "debian-13",
          "golden_image": "debian-minimal"
        }
      ]
    },
    "packagekit": {
      "packages": ["nginx", "postgresql"]
    }
  }
}
"#;

#[test]
fn the_founding_document_makes_a_container_and_installs_packages() {
    let host = Host(Machine::boot(&MachineOptions::default()));
    host.0.run(&["bash", "-ec", SMALL_ROOT], "").ok();
    for package in ["nginx", "postgresql"] {
        host.0.run(&["op-repo", "add", package, "1.0"], "").ok();
    }
    host.0.sh("apt-get -qq update; printf 'ID=debian\\nVERSION_ID=13\\n' > /root/small/etc/os-release").ok();
    let made =
        host.op("op-snapshot", &["golden", "create", "debian-minimal", "--from", "/root/small", "--privileged"], "");
    assert_eq!(made.code, 0, "{made:?}");
    let output = host.op("op-apply", &["--yes", "--steps"], FOUNDING);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let steps: Vec<&str> = output.stderr.lines().filter_map(|line| line.rsplitn(3, ' ').nth(2)).collect();
    assert_eq!(
        steps.iter().filter(|line| line.contains("/7 ")).collect::<Vec<_>>(),
        [
            &"1/7 Parse Declarative State",
            &"2/7 Query Current State",
            &"3/7 Calculate Diff",
            &"4/7 ML Vectorization",
            &"5/7 Apply Changes",
            &"6/7 Cache Update",
            &"7/7 Blockchain Append",
        ],
        "{output:?}"
    );
    assert_eq!(
        host.0.sh("cat /usr/share/nginx/version /usr/share/postgresql/version").ok(),
        "nginx 1.0\npostgresql 1.0\n"
    );
    assert_eq!(host.0.sh("cat /var/lib/lxc/100/rootfs/etc/hostname; lxc-ls -1").ok(), "web-server\n100\n");
    let output = host.op("op-apply", &["--yes", "--steps"], FOUNDING);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "{output:?}");
    assert!(output.stderr.contains("3/7 Calculate Diff") && !output.stderr.contains("4/7"), "{output:?}");
    host.rolled_back();
    assert_eq!(host.0.sh("lxc-ls -1; ls /usr/share/nginx /usr/share/postgresql 2>/dev/null").stdout, "");
}

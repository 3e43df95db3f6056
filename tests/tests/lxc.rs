//! Containers on a Proxmox node in a folder: real btrfs, Proxmox's files and locks, and its tool standing in.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Silent;
use op_dbus::plugin::builtin::lxc::golden;
use op_dbus::plugin::builtin::lxc::making::{self, From, Make};
use op_dbus_tests::disk::is_subvolume;
use op_dbus_tests::pve::{Node, SOCKETS};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// The state document of the project's founding document, the part about containers word for word.
const FOUNDING: &str = include_str!("../../mappings/lxc/examples/basic-container.json");

fn btrfs(args: &[&str], path: &Path) {
    assert!(Command::new("btrfs").arg("-q").args(args).arg(path).status().unwrap().success());
}

/// Checks that a document is refused with `code` and words, and that nothing was touched.
#[track_caller]
fn is_refused(node: &Node, containers: &Value, code: i32, words: &[&str]) {
    let before = node.everything();
    let (found, report, stderr) = node.apply(&["--allow-irreversible"], containers);
    assert_eq!(found, code, "{stderr}\n{report:#}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in {stderr}");
    }
    assert_eq!(node.everything(), before);
    assert_eq!(node.calls(), [""; 0]);
}

fn container(more: &Value) -> Value {
    let mut item = json!({"hostname": "web", "golden_image": "debian-minimal"});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"100": item})
}

#[test]
fn what_there_is_is_read_from_files_and_sockets() {
    let node = Node::new("128M");
    node.write(
        "pve/nodes/pve1/lxc/101.conf",
        "#the shop%3A web\narch: amd64\ncores: 2\nfeatures: nesting=1\nhostname: web\nmemory: 1024\nmp0: \
         /srv,mp=/data,ro=1\nnet0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:00:01,ip=dhcp,tag=5,type=veth\n\
         onboot: 1\nostype: debian\nrootfs: fast:101/subvol-101-disk-0.subvol,size=0T\ntags: a;b\nunprivileged: 1\n\
         lxc.mount.entry: /dev/fuse dev/fuse none bind\n\n[pve:pending]\ncores: 4\n\n[before]\ncores: 1\nsnaptime: 1\n",
    );
    node.write("pve/nodes/pve1/lxc/102.conf", "arch: amd64\nlock: backup\nostype: debian\n");
    node.write("pve/nodes/pve2/lxc/201.conf", "arch: amd64\nhostname: far\nostype: debian\n");
    node.write("pve/nodes/pve1/qemu-server/103.conf", "name: machine\n");
    node.write("unix", &format!("{SOCKETS}0: 00000002 00000000 00010000 0001 01 29302 @/var/lib/lxc/101/command\n"));
    let found = node.containers();
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["101", "102", "201"]);
    let web = &found["101"];
    for (member, value) in [
        ("cores", json!(4)),
        ("description", json!("the shop: web")),
        ("features", json!({"nesting": true})),
        ("memory", json!(1024)),
        ("mounts", json!({"mp0": {"volume": "/srv", "mp": "/data", "ro": true}})),
        ("node", json!("pve1")),
        ("onboot", json!(true)),
        ("pending", json!(["cores"])),
        ("status", json!("running")),
        ("storage", json!("fast")),
        ("swap", json!(512)),
        ("tags", json!(["a", "b"])),
        ("unprivileged", json!(true)),
    ] {
        assert_eq!(web[member], value, "{member}");
    }
    assert_eq!(web["networks"]["net0"]["tag"], 5);
    assert_eq!((&found["102"]["status"], &found["102"]["lock"]), (&json!("stopped"), &json!("backup")));
    assert_eq!(found["201"].get("status"), None);
    // What is read is applied as nothing to do, and nobody was asked.
    let before = node.everything();
    let (code, report, stderr) = node.apply(&["--detailed-exitcode"], &found);
    assert_eq!((code, &report["outcome"]), (0, &json!("unchanged")), "{stderr}");
    assert_eq!((node.everything(), node.calls()), (before, Vec::new()));
}

#[test]
fn the_founding_document_makes_a_container_that_goes_without_a_trace() {
    let node = Node::new("256M");
    let image = node.golden(None);
    assert_eq!((image.template().as_str(), image.ostype.as_str()), ("debian-13", "debian"));
    assert_eq!(image.ssh_host_keys, ["ecdsa", "ed25519"]);
    let golden = image.path.clone();
    let sudo = golden.join("usr/bin/sudo").metadata().unwrap();
    assert_eq!((sudo.uid(), sudo.gid(), sudo.mode() & 0o7777, sudo.nlink()), (100_000, 100_000, 0o4755, 2));
    let before = node.everything();

    let (code, plan, stderr) = node.run("op-apply", &["--dry-run"], FOUNDING);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(node.everything(), before, "a dry run writes nothing");
    let action = &plan["actions"][0];
    assert_eq!((&action["service"], &action["interface"]), (&json!("host"), &json!("btrfs")));
    assert_eq!((&action["member"], &action["path"]), (&json!("snapshot"), &json!(node.root_of("100"))));
    assert_eq!(action["args"][0], json!({"from": golden}));
    assert_eq!(action["undo"]["class"], "compensating");
    assert_eq!(action["undo"]["call"]["args"], json!(["100"]));

    let (code, report, stderr) = node.run("op-apply", &["--yes", "--detailed-exitcode"], FOUNDING);
    assert_eq!((code, &report["outcome"]), (2, &json!("applied")), "{stderr}\n{report:#}");
    assert_eq!(
        node.config("100"),
        "#<!-- op-dbus golden_image=debian-minimal template=debian-13 -->\narch: amd64\nfeatures: nesting=1\n\
         hostname: web-server\nmemory: 512\nostype: debian\nrootfs: fast:100/subvol-100-disk-0.subvol,size=0T\n\
         swap: 512\nunprivileged: 1\n"
    );
    let root = node.root_of("100");
    assert!(is_subvolume(&root));
    let top = root.metadata().unwrap();
    assert_eq!((top.mode() & 0o7777, top.uid(), top.gid()), (0o755, 100_000, 100_000));
    assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), "");
    assert!(!root.join("var/lib/dbus/machine-id").exists() && !root.join("var/log/syslog").exists());
    let key = root.join("etc/ssh/ssh_host_ed25519_key");
    assert!(fs::read_to_string(&key).unwrap().contains("OPENSSH PRIVATE KEY"));
    assert_eq!((key.metadata().unwrap().mode() & 0o7777, key.metadata().unwrap().uid()), (0o600, 100_000));
    assert!(!root.join("etc/ssh/ssh_host_rsa_key").exists());
    assert_eq!(fs::read_dir(root.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(node.calls(), [""; 0]);

    let (code, report, _) = node.run("op-apply", &["--yes", "--detailed-exitcode"], FOUNDING);
    assert_eq!((code, &report["outcome"]), (0, &json!("unchanged")));
    // The stand-in, which refuses what Proxmox refuses, starts it.
    node.applies(&json!([{"id": 100, "status": "running"}]));
    assert_eq!(node.containers()["100"]["status"], "running");
    let (code, report, stderr) = node.run("op-apply", &["--rollback", "--yes"], "");
    assert_eq!(code, 0, "{stderr}\n{report:#}");
    let (code, _, stderr) = node.run("op-apply", &["--rollback", "--yes"], "");
    assert_eq!(code, 5, "what was in it since would be lost: {stderr}");
    let (code, report, stderr) = node.run("op-apply", &["--rollback", "--yes", "--allow-irreversible"], "");
    assert_eq!(code, 0, "{stderr}\n{report:#}");
    assert_eq!(node.everything(), before);
}

#[test]
fn a_container_gets_what_is_asked_for_and_goes_by_status() {
    let node = Node::new("256M");
    node.golden(None);
    let before = node.everything();
    fs::create_dir(node.path().join("srv")).unwrap();
    let srv = node.path().join("srv").display().to_string();
    let wanted = json!({
        "110": {
            "hostname": "a.example", "golden_image": "debian-minimal", "cores": 2, "memory": 1024, "swap": 0,
            "onboot": true, "tags": ["web", "shop"], "description": "50% off: yes", "status": "running",
            "features": {"nesting": true, "keyctl": true}, "mounts": {"mp0": {"volume": srv, "mp": "/data"}},
            "networks": {
                "net0": {"name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.5/24", "gw": "10.0.0.1"},
                "net1": {"name": "eth1", "bridge": "vmbr0", "hwaddr": "BC:24:11:AA:BB:CC", "tag": 7}
            }
        },
        "111": {"golden_image": "debian-minimal", "networks": {"net0": {"name": "eth0", "bridge": "vmbr0"}}}
    });
    node.applies(&wanted);
    let config = node.config("110");
    assert!(
        config.starts_with("#<!-- op-dbus golden_image=debian-minimal -->\n#50%25 off%3A yes\narch: amd64\ncores: 2\n")
    );
    assert!(config.contains(&format!("\nmp0: {srv},mp=/data\n")), "{config}");
    assert!(config.contains("\nnet1: name=eth1,bridge=vmbr0,hwaddr=BC:24:11:AA:BB:CC,tag=7\n"), "{config}");
    let macs: BTreeSet<String> = ["110", "111"]
        .map(|id| node.containers()[id]["networks"]["net0"]["hwaddr"].as_str().unwrap().to_owned())
        .into();
    assert!(macs.len() == 2 && macs.iter().all(|mac| mac.starts_with("BC:24:12:")), "{macs:?}");
    assert_eq!(node.calls(), ["start 110"]);

    // Everything else goes through pct: one call for all of it, and what is not mentioned stays.
    node.applies(&json!({"110": {
        "memory": 2048, "tags": ["web"], "description": "", "mounts": {"mp0": null},
        "networks": {"net0": {"ip": "10.0.0.6/24"}, "net1": null}
    }}));
    let call = node.calls().pop().unwrap();
    let mac = node.containers()["110"]["networks"]["net0"]["hwaddr"].as_str().unwrap().to_owned();
    assert_eq!(
        call,
        format!(
            "set 110 --memory 2048 --net0 name=eth0,bridge=vmbr0,gw=10.0.0.1,hwaddr={mac},ip=10.0.0.6/24,type=veth \
             --tags web --description <!-- op-dbus golden_image=debian-minimal -->"
        ) + " --delete mp0,net1"
    );
    let (code, report, stderr) = node.run("op-apply", &["--rollback", "--yes"], "");
    assert_eq!(code, 0, "{stderr}\n{report:#}");
    let after: BTreeSet<String> = node.config("110").lines().map(str::to_owned).collect();
    let wanted: BTreeSet<String> = config.lines().map(str::to_owned).collect();
    let text =
        |lines: &BTreeSet<String>| lines.iter().filter(|line| !line.starts_with("net")).cloned().collect::<Vec<_>>();
    assert_eq!(text(&after), text(&wanted));

    let gone = json!([{"id": "110", "status": "absent"}, {"id": "111", "status": "absent"}]);
    assert_eq!(node.apply(&[], &gone).0, 5, "what is in them cannot be brought back");
    let (code, report, stderr) = node.apply(&["--allow-irreversible"], &gone);
    assert_eq!((code, &report["outcome"]), (0, &json!("applied")), "{stderr}");
    assert_eq!(node.calls()[node.calls().len() - 2..], ["destroy 110 --force 1", "destroy 111"]);
    assert_eq!(node.everything(), before);
}

#[test]
fn a_template_alone_is_unpacked_by_pct() {
    let node = Node::new("256M");
    let _ = node.archive();
    node.applies(&json!({"100": {"template": "debian-13", "hostname": "web", "storage": "fast", "status": "running"}}));
    assert_eq!(
        node.calls(),
        [
            "create 100 local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst --rootfs fast:0 --description <!-- op-dbus \
             template=debian-13 --> --hostname web --unprivileged 1",
            "start 100"
        ]
    );
    assert_eq!(node.containers()["100"]["template"], "debian-13");
    // How it was made cannot be changed; who was made otherwise says nothing about it.
    let (code, _, stderr) = node.apply(&[], &json!({"100": {"template": "debian-12"}}));
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("was made with"), "{stderr}");
    node.write("pve/nodes/pve1/lxc/101.conf", "arch: amd64\nhostname: old\nostype: debian\n");
    assert_eq!(node.apply(&["--detailed-exitcode"], &json!({"101": {"golden_image": "any"}})).0, 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let node = Node::new("256M");
    node.golden(None);
    node.write("pve/nodes/pve2/lxc/200.conf", "arch: amd64\nhostname: far\n");
    node.write("pve/nodes/pve2/qemu-server/201.conf", "name: machine\n");
    node.write("pve/nodes/pve1/lxc/300.conf", "arch: amd64\nlock: backup\nmemory: 512\n");
    node.write("pve/nodes/pve1/lxc/301.conf", "arch: amd64\nprotection: 1\n");
    let refused = |containers: Value, code, words: &[&str]| is_refused(&node, &containers, code, words);
    refused(json!({"200": {"hostname": "near"}}), 5, &["containers.200", "on the Proxmox node pve2", "pct migrate"]);
    refused(
        json!({"201": {"golden_image": "debian-minimal"}}),
        5,
        &["a virtual machine of the Proxmox node pve2", "nextid"],
    );
    refused(json!({"12": {"golden_image": "debian-minimal"}}), 65, &["containers.12", "called by its number"]);
    refused(json!({"300": {"memory": 1024}}), 75, &["CT is locked (backup)", "pct unlock 300"]);
    refused(json!({"301": {"state": "absent"}}), 5, &["can't remove CT 301 - protection mode enabled"]);
    refused(json!({"100": {"hostname": "web"}}), 65, &["made from", "golden_image"]);
    refused(
        json!({"100": {"golden_image": "debian-maximal"}}),
        65,
        &["no such golden image", "there are: debian-minimal"],
    );
    refused(
        json!({"100": {"template": "debian-13"}, "101": {"template": "alpine"}}),
        65,
        &["101.template", "alpine", "pveam"],
    );
    refused(container(&json!({"template": "ubuntu-24.04"})), 5, &["is of debian-13, not of ubuntu-24.04"]);
    refused(container(&json!({"storage": "slow"})), 5, &["containers.100.storage", "golden images need btrfs"]);
    refused(container(&json!({"storage": "tank"})), 5, &["switched off, or not for pve1"]);
    refused(container(&json!({"storage": "none"})), 65, &["no such storage", "fast, local, slow, tank"]);
    refused(container(&json!({"unprivileged": false})), 5, &["files are those of unprivileged containers"]);
    refused(container(&json!({"disk_gib": 8})), 5, &["has no size of its own"]);
    let network = |more: Value| {
        let mut network = json!({"name": "eth0", "bridge": "vmbr0"});
        network.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container(&json!({"networks": {"net0": network}}))
    };
    refused(network(json!({"bridge": "vmbr9"})), 5, &["networks.net0.bridge", "no bridge vmbr9 on this host"]);
    refused(network(json!({"ip": "10.0.0.300/24"})), 65, &["networks.net0.ip", "10.0.0.5/24; dhcp"]);
    refused(network(json!({"ip": "10.0.0.5/24", "gw": "10.0.1.1"})), 65, &["no way out"]);
    refused(
        container(&json!({"hostname": "-", "cores": 0, "memory": 1, "tags": ["a b"]})),
        65,
        &["host name", "8192", "16 MiB", "no tag"],
    );
    refused(
        container(&json!({"mounts": {"mp0": {"volume": "/no/such", "mp": "/data"}}})),
        65,
        &["no /no/such on this host"],
    );
    refused(
        container(&json!({"hookscript": "local:snippets/none"})),
        65,
        &["no executable file", "op-dbus-hook install"],
    );
    refused(container(&json!({"nonsense": 1})), 65, &["no such member"]);

    // A number that is only taken when it comes to it, a volume that nobody owns.
    fs::create_dir_all(node.root_of("100")).unwrap();
    refused(container(&json!({})), 5, &["a volume of that number already"]);
    fs::remove_dir_all(node.root_of("100").parent().unwrap()).unwrap();

    // No quorum, and no cluster file system at all.
    let folder = node.pve().join("nodes/pve1/lxc");
    fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();
    refused(container(&json!({})), 5, &["no quorum", "pvecm status"]);
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(node.pve().join("local")).unwrap();
    refused(container(&json!({})), 69, &["cluster file system is not mounted", "systemctl start pve-cluster"]);
}

#[test]
fn a_full_storage_gets_no_container() {
    let node = Node::new("256M");
    node.golden(None);
    let text = fs::read_to_string(node.path().join("mappings/lxc/plugin.toml")).unwrap();
    node.write("mappings/lxc/plugin.toml", &text.replace("min_free_mib = 16", "min_free_mib = 100000"));
    is_refused(&node, &container(&json!({})), 5, &["MiB free, and 100000 MiB are needed"]);
}

#[test]
fn what_fails_half_way_leaves_nothing() {
    let node = Node::new("256M");
    node.golden(None);
    let before = node.everything();
    node.write("fail", "start startup for container '100' failed\n");
    let (code, report, stderr) = node.apply(&[], &container(&json!({"status": "running"})));
    assert_eq!((code, &report["outcome"]), (1, &json!("undone")), "{stderr}");
    assert!(stderr.contains("startup for container '100' failed"), "{stderr}");
    assert_eq!(node.calls(), ["start 100", "destroy 100"]);
    assert_eq!(node.everything(), before);
    fs::remove_file(node.path().join("fail")).unwrap();

    // Keys cannot be made: the number, the volume and its folder are given back.
    let text = fs::read_to_string(node.path().join("mappings/lxc/plugin.toml")).unwrap();
    node.write("mappings/lxc/plugin.toml", &(text + "ssh_keygen = \"/bin/false\"\n"));
    let (code, report, stderr) = node.apply(&[], &container(&json!({})));
    assert_eq!((code, &report["outcome"]), (1, &json!("undone")), "{stderr}");
    assert!(stderr.contains("SSH host keys"), "{stderr}");
    assert_eq!(node.everything(), before);
}

#[test]
fn proxmoxs_locks_are_waited_for() {
    let node = Node::new("256M");
    node.golden(None);
    let before = node.everything();
    for lock in ["lock/pve-config-100.lock", "storage-lock/pve-storage-fast"] {
        let path = node.path().join(lock);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut holder = Command::new("flock").arg(&path).args(["sleep", "60"]).spawn().unwrap();
        op_dbus_tests::ops::wait_until("the lock is held", || {
            !Command::new("flock").arg("-n").arg(&path).arg("true").status().unwrap().success()
        });
        let (_, report, stderr) = node.apply(&[], &container(&json!({})));
        // flock's child holds the lock too.
        let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).unwrap();
        Command::new("kill").args(child.split_whitespace()).status().unwrap();
        holder.wait().unwrap();
        assert_eq!(report["outcome"], "undone", "{stderr}");
        assert!(stderr.contains("can't lock file") && stderr.contains("got timeout"), "{stderr}");
        assert_eq!(node.everything(), before);
    }
    node.applies(&container(&json!({})));
}

#[test]
fn golden_images_come_change_and_go() {
    let node = Node::new("256M");
    let settings = node.settings();
    let image = node.golden(Some("9000"));
    assert_eq!(image.path, node.disk.path().join("images/9000/base-9000-disk-0.subvol"));
    assert_eq!(
        node.config("9000"),
        "arch: amd64\nfeatures: nesting=1\nhostname: debian-minimal\nostype: debian\n\
         rootfs: fast:9000/base-9000-disk-0.subvol,size=0T\ntemplate: 1\nunprivileged: 1\n"
    );
    assert!(image.check().is_ok());
    assert_eq!(golden::list(&settings).unwrap(), std::slice::from_ref(&image));
    assert_eq!(node.containers()["9000"]["is_template"], true);
    is_refused(&node, &json!({"9000": {"state": "absent"}}), 5, &["it is the golden image debian-minimal"]);
    node.applies(&container(&json!({})));

    // From a container that was changed: the next ones have the change, the first does not lose anything.
    fs::write(node.root_of("100").join("etc/motd"), "hello").unwrap();
    let from = From::parse("100").unwrap();
    let updated = making::update(&settings, "debian-minimal", &from, &mut Silent).unwrap();
    assert_eq!((updated.path.clone(), updated.from.as_str()), (image.path.clone(), "container 100"));
    assert_eq!(fs::read_to_string(image.path.join("etc/motd")).unwrap(), "hello");
    assert!(!image.path.join("etc/ssh/ssh_host_ed25519_key").exists());
    assert!(node.root_of("100").join("etc/ssh/ssh_host_ed25519_key").exists());
    assert_eq!(fs::read_dir(image.path.parent().unwrap()).unwrap().count(), 1);

    // What a snapshot would leave out is refused, and so is what runs or is no root.
    btrfs(&["subvolume", "create"], &node.root_of("100").join("srv"));
    let make = |name: &str, from: From| Make {
        name: name.into(),
        from,
        storage: None,
        template_id: None,
        is_privileged: false,
    };
    let before = node.everything();
    let fails = |make: &Make, words: &[&str]| {
        let error = making::create(&settings, make, &mut Silent).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
        assert_eq!(node.everything(), before);
    };
    fails(&make("nested", from.clone()), &["srv", "a snapshot would leave that out"]);
    fails(&make("nested", From::Folder(node.disk.path().join("images/100"))), &["lies in it"]);
    fails(&make("debian-minimal", From::Archive(node.archive())), &["of this name already", "golden update"]);
    fails(&make("../x", From::Archive(node.archive())), &["cannot be the name"]);
    fails(&make("empty", From::Folder(node.path().join("links"))), &["no root file system"]);
    fails(&Make { template_id: Some("100".into()), ..make("x", From::Archive(node.archive())) }, &["has this number"]);
    let (code, _, stderr) = node.apply(&[], &json!({"100": {"status": "running"}}));
    assert_eq!(code, 0, "{stderr}");
    let error = making::create(&settings, &make("running", from.clone()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("the container runs"), "{error}");

    // A golden image that somebody made writable and nested is not used.
    let private = making::create(&settings, &make("other", From::Archive(node.archive())), &mut Silent).unwrap();
    assert_eq!(private.path, node.disk.path().join("op-dbus-golden/other"));
    btrfs(&["property", "set", private.path.to_str().unwrap(), "ro"], Path::new("false"));
    btrfs(&["subvolume", "create"], &private.path.join("nested"));
    let error = private.check().unwrap_err().to_string();
    assert!(error.contains("not read-only"), "{error}");
    btrfs(&["property", "set", private.path.to_str().unwrap(), "ro"], Path::new("true"));
    let (code, _, stderr) = node.apply(&[], &json!({"120": {"golden_image": "other"}}));
    assert!(code == 5 && stderr.contains("the subvolume nested lies in it"), "{stderr}");
    golden::delete(&settings, "other").unwrap();
    assert!(!private.path.exists());

    // Containers do not need the image they were made of.
    golden::delete(&settings, "debian-minimal").unwrap();
    assert!(!image.path.parent().unwrap().exists() && node.config("9000").is_empty());
    assert_eq!(fs::read_to_string(node.root_of("100").join("etc/motd")).unwrap(), "hello");
    assert_eq!(golden::list(&settings).unwrap(), []);
}

//! `op-snapshot golden`: golden images by the command, on real btrfs and looked at with the stock tools; killed at every
//! write; and two versions of the plugin side by side.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap is the report; counts show with --nocapture"
)]

use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use op_dbus_tests::program;
use op_dbus_tests::pve::Node;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[track_caller]
fn is_of_schema(name: &str, document: &Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schemas/{name}.schema.json"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let problems: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(document).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?} in {document:#}");
}

#[track_caller]
fn golden(node: &Node, args: &[&str]) -> Value {
    let (code, document, stderr) = node.run("op-snapshot", &[&["golden"], args].concat(), "");
    assert_eq!(code, 0, "{args:?}: {stderr}");
    is_of_schema(if args[0] == "list" { "golden-images" } else { "golden" }, &document);
    document
}

fn btrfs(args: &[&str], path: &Path) -> String {
    let output = Command::new("btrfs").args(args).arg(path).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn images_are_made_listed_renewed_and_deleted() {
    let node = Node::new("256M");
    let archive = node.archive().display().to_string();
    let nothing = node.everything();
    assert_eq!(golden(&node, &["list"])["images"], json!([]));
    let made = golden(&node, &["create", "debian-minimal", "--from", &archive]);
    let image = &made["image"];
    assert_eq!(
        (&made["outcome"], &image["os"], &image["unprivileged"]),
        (&json!("made"), &json!(["debian", "13"]), &json!(true))
    );
    let path = PathBuf::from(image["path"].as_str().unwrap());
    let (code, told, stderr) = node.run("op-audit", &["show", "1"], "");
    let event = &told["entries"][0]["event"];
    assert_eq!((code, &event["what"]), (0, &json!("a golden image was made")), "{stderr}");
    assert_eq!((&event["about"]["name"], &event["about"]["path"]), (&json!("debian-minimal"), &image["path"]));
    // btrfs itself says that it is a subvolume nobody can write to, and that it is the only one.
    assert_eq!(btrfs(&["property", "get"], &path), "ro=true\n");
    let listed = btrfs(&["subvolume", "list", "-r"], &node.disk.path());
    assert!(listed.ends_with("path op-dbus-golden/debian-minimal\n") && listed.lines().count() == 1, "{listed}");
    let (code, _, _) = node.apply(&[], &json!({"100": {"golden_image": "debian-minimal"}}));
    assert_eq!(code, 0);
    let of = |id: &str, line: &str| {
        let shown = btrfs(&["subvolume", "show"], &node.root_of(id));
        shown.lines().find_map(|text| Some(text.trim().strip_prefix(line)?.trim().to_owned())).unwrap()
    };
    let shown = btrfs(&["subvolume", "show"], &path);
    assert!(shown.contains(&of("100", "Parent UUID:")), "the container is a snapshot of it: {shown}");

    // Anew from the container, and again from what it was made from last.
    fs::write(node.root_of("100").join("etc/motd"), "hello").unwrap();
    let updated = golden(&node, &["update", "debian-minimal", "--from", "100"]);
    assert_eq!((&updated["outcome"], &updated["image"]["from"]), (&json!("updated"), &json!("container 100")));
    fs::write(node.root_of("100").join("etc/motd"), "hello again").unwrap();
    golden(&node, &["update", "debian-minimal"]);
    assert_eq!(fs::read_to_string(path.join("etc/motd")).unwrap(), "hello again");

    // As a template of Proxmox, from a folder.
    let template = golden(&node, &["create", "web", "--from", path.to_str().unwrap(), "--template-id", "9000"]);
    assert_eq!(template["image"]["template_id"], "9000");
    assert!(node.config("9000").contains("rootfs: fast:9000/base-9000-disk-0.subvol,size=0T\ntemplate: 1\n"));
    assert!(!node.config("9000").contains("lock:"));
    let listed = golden(&node, &["list"]);
    let names: Vec<&Value> = listed["images"].as_array().unwrap().iter().map(|one| &one["image"]["name"]).collect();
    assert_eq!(names, ["debian-minimal", "web"]);
    assert_eq!(listed["images"][0], json!({"image": updated_again(&updated), "is_here": true}));
    let (code, table, _) = run(&node, &["--no-json", "golden", "list"]);
    assert!(code == 0 && table.contains("debian-minimal") && table.contains("debian-13"), "{table}");

    // What is wrong with one is said, and it is told apart from those of other nodes.
    btrfs(&["property", "set", path.to_str().unwrap(), "ro"], Path::new("false"));
    let text = fs::read_to_string(node.pve().join("op-dbus/golden/web.json")).unwrap();
    let far = text.replace("pve1", "pve2").replace("\"web\"", "\"far\"").replace("\"9000\"", "\"9001\"");
    node.write("pve/op-dbus/golden/far.json", &far);
    let listed = golden(&node, &["list"]);
    assert_eq!(listed["images"][0]["problem"], "it is not read-only, so what is in it is not sure");
    assert_eq!((&listed["images"][1]["is_here"], listed["images"][1].get("problem")), (&json!(false), None));
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let before = node.everything();
        let (found, _, stderr) = node.run("op-snapshot", &[&["golden"], args].concat(), "");
        assert_eq!(found, code, "{args:?}: {stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{words:?} in {stderr}");
        assert_eq!(node.everything(), before, "{args:?}");
    };
    refused(&["create", "web", "--from", &archive], 5, &["of this name already", "golden update web"]);
    refused(&["create", "x", "--from", &archive, "--template-id", "100"], 5, &["has this number"]);
    refused(&["create", "x", "--from", "200"], 65, &["no such container on this node"]);
    refused(&["create", "x", "--from", "/no/such"], 65, &["no container, no archive and no folder"]);
    refused(&["create", "x", "--from", &archive, "--storage", "slow"], 5, &["golden images need btrfs"]);
    refused(&["create", "x", "--from", &archive, "--storage", "none"], 65, &["no such storage"]);
    refused(&["delete", "far", "--yes"], 5, &["lies on the Proxmox node pve2"]);
    refused(&["update", "none"], 65, &["no such golden image", "there are: debian-minimal, far, web"]);
    refused(&["delete", "web"], 5, &["no terminal"]);
    refused(&["create", "x"], 64, &["--from"]);
    fs::remove_file(node.pve().join("op-dbus/golden/far.json")).unwrap();

    golden(&node, &["delete", "web", "--yes"]);
    assert_eq!(golden(&node, &["delete", "debian-minimal", "--yes"])["outcome"], "deleted");
    assert!(node.root_of("100").join("etc/motd").exists());
    let (code, _, stderr) = node.apply(&["--allow-irreversible"], &json!({"100": {"status": "absent"}}));
    assert_eq!(code, 0, "{stderr}");
    for folder in [node.disk.path().join("op-dbus-golden"), node.pve().join("op-dbus/golden")] {
        fs::remove_dir(folder).unwrap();
    }
    fs::remove_dir(node.pve().join("op-dbus")).unwrap();
    assert_eq!(node.everything(), nothing);
}

/// What is known of an image after it was renewed from the same source.
fn updated_again(updated: &Value) -> Value {
    updated["image"].clone()
}

fn run(node: &Node, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program("op-snapshot"))
        .args(args)
        .env("OP_DBUS_ROOT", node.path().join("root"))
        .env("OP_DBUS_MAPPINGS", node.path().join("mappings"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Everything by which a process changes a file, a subvolume, or makes it last; strace counts each by itself.
const WRITES: [&str; 18] = [
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "ioctl",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "flock",
];

/// Runs a program that is killed at its call number `at` of one kind.
fn killed(node: &Node, (kind, at): (&str, usize), name: &str, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={kind}"), "-e"])
        .arg(format!("inject={kind}:signal=SIGKILL:when={at}"))
        .arg(program(name))
        .args(["--address", node.address(), "--json"])
        .args(args)
        .env("OP_DBUS_ROOT", node.path().join("root"))
        .env("OP_DBUS_MAPPINGS", node.path().join("mappings"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(137)
}

/// Every call of every kind, one after another, until a run comes to its end; `run` says whether it did.
fn at_every_write(mut run: impl FnMut((&str, usize)) -> bool) {
    for kind in WRITES {
        let end = (1..200).find(|at| run((kind, *at)));
        assert!(end.is_some(), "{kind} has no end");
    }
}

/// A container that was half made goes without a trace, and one that was made is whole.
#[test]
fn a_create_that_is_killed_leaves_nothing_behind() {
    let node = Node::new("256M");
    node.golden(None);
    let before = node.everything();
    let wanted = json!({"plugins": {"lxc": {"containers": {"100": {"golden_image": "debian-minimal", "hostname": "web",
        "networks": {"net0": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}}}}}}});
    let (mut kills, mut taken_back, mut half_made) = (0, 0, 0);
    at_every_write(|kill| {
        let output = killed(&node, kill, "op-apply", &["--yes"], &wanted.to_string());
        half_made += usize::from(node.config("100").contains("lock: create"));
        let (code, recovery, stderr) = node.run("op-apply", &["--recover"], "");
        assert_eq!(code, 0, "kill {kill:?}: {stderr}\n{recovery:#}");
        taken_back += usize::from(recovery["runs"] != json!([]));
        let now = node.everything();
        if now != before {
            // Then it was done, and its outcome recorded.
            assert!(
                node.config("100").contains("hwaddr=") && recovery["runs"] == json!([]),
                "kill {kill:?}: {recovery:#}"
            );
            let gone = json!({"100": {"status": "absent"}});
            let (code, _, stderr) = node.apply(&["--allow-irreversible"], &gone);
            assert_eq!(code, 0, "kill {kill:?}: {stderr}");
            assert_eq!(node.everything(), before, "kill {kill:?}");
        }
        kills += usize::from(was_killed(&output));
        output.status.success()
    });
    eprintln!("killed {kills} times: {taken_back} runs were taken back, of {half_made} half a container was there");
    assert!(kills > 30 && taken_back > 10 && half_made > 5, "{kills} {taken_back} {half_made}");
}

/// The same of golden images: the next try finds its way clear, and nothing of the first one remains.
#[test]
fn a_golden_image_that_is_killed_can_be_made_again() {
    let node = Node::new("256M");
    let archive = node.archive().display().to_string();
    let args = ["golden", "create", "web", "--from", &archive, "--template-id", "9000"];
    golden(&node, &args[1..]);
    let wanted = node.everything();
    golden(&node, &["delete", "web", "--yes"]);
    let before = node.everything();
    let (mut kills, mut half_made) = (0, 0);
    at_every_write(|kill| {
        let output = killed(&node, kill, "op-snapshot", &args, "");
        let left = node.everything();
        half_made += usize::from(left != before);
        let is_known = left.keys().any(|path| path.ends_with("golden/web.json"));
        let is_whole = left == wanted;
        assert!(is_whole || !output.status.success());
        if !is_whole {
            golden(&node, &args[1..]);
            assert_eq!(node.everything(), wanted, "kill {kill:?}, known: {is_known}");
        }
        golden(&node, &["delete", "web", "--yes"]);
        assert_eq!(node.everything(), before, "kill {kill:?}");
        kills += usize::from(was_killed(&output));
        output.status.success()
    });
    eprintln!("killed {kills} times, {half_made} times something was there");
    assert!(kills > 20 && half_made > 10, "{kills} {half_made}");
}

/// Packages of the plugin: two versions lie beside each other, and one of them is active.
#[test]
fn two_versions_of_the_plugin_live_side_by_side() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let folder = tempfile::tempdir().unwrap();
    let root = disk.path().join("root");
    let op = |name: &str, args: &[&str]| -> Value {
        let output = Command::new(program(name)).args(["--json", "--root"]).arg(&root).args(args).output().unwrap();
        assert!(output.status.success(), "{name} {args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/lxc");
    let manifest = fs::read_to_string(shipped.join("plugin.toml")).unwrap();
    let out = folder.path().join("packages").display().to_string();
    for version in ["1.0.0", "1.1.0"] {
        let plugin = folder.path().join(version);
        let copied = Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(&shipped).arg(&plugin).status();
        assert!(copied.unwrap().success());
        let manifest = manifest.replace("version = \"1.0.0\"", &format!("version = {version:?}"));
        fs::write(plugin.join("plugin.toml"), manifest).unwrap();
        if version == "1.1.0" {
            fs::copy(shipped.join("examples/basic-container.json"), plugin.join("examples/one-more.json")).unwrap();
        }
        let published = op("op-snapshot", &["publish", plugin.to_str().unwrap(), "--unsigned", "--out", &out]);
        assert_eq!(published["plugin_version"], version);
        op("op-install", &["install", &format!("{out}/lxc-v{version}.btrfs.zst"), "--allow-unsigned", "--yes"]);
    }
    let check = |active: &str| {
        for version in ["1.0.0", "1.1.0"] {
            let kept = root.join(format!("@plugin-snapshots/lxc@v{version}"));
            assert!(is_subvolume(&kept), "{version} with {active} active");
            assert_eq!(kept.join("examples/one-more.json").exists(), version == "1.1.0");
        }
        let text = fs::read_to_string(root.join("@plugin-lxc/plugin.toml")).unwrap();
        assert!(text.contains(&format!("version = {active:?}")), "{text}");
        assert!(is_subvolume(&root.join("@plugin-lxc")));
        assert_eq!(root.join("@plugin-lxc/examples/one-more.json").exists(), active == "1.1.0");
    };
    check("1.1.0");
    op("op-install", &["rollback", "lxc", "--to", "1.0.0"]);
    check("1.0.0");
    op("op-install", &["rollback", "lxc"]);
    check("1.1.0");
    // It is the plugin itself that is installed: it says what this host lacks, or what it has.
    let asked = Command::new(program("op-install")).args(["--json", "--root"]).arg(&root).arg("list").output().unwrap();
    let listed: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert!(listed.to_string().contains("\"1.1.0\""), "{listed:#}");
}

//! A dry run of what is built in changes nothing: nobody is called on the bus, the kernel is only asked, and no file is
//! opened for writing but those of the state root.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::mesh::{MASTER_KEY, Mesh};
use op_dbus_tests::netns::Netns;
use op_dbus_tests::ops::{outcome, wait_until};
use op_dbus_tests::pve::Node;
use op_dbus_tests::vswitch::Vswitch;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Everything that is said on a bus, by the stock tool.
struct Overheard {
    child: Child,
    file: PathBuf,
}

impl Overheard {
    fn start(address: &str, folder: &Path) -> Self {
        let file = folder.join("overheard");
        let mut command = Command::new("dbus-monitor");
        command.args(["--address", address]).stdout(File::create(&file).unwrap()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // The last thing before it listens is that it loses its name.
        wait_until("the monitor listens", || fs::read_to_string(&file).unwrap().contains("member=NameLost"));
        Self { child, file }
    }

    /// The method calls to anybody but the bus itself; and how many there were to the bus.
    fn calls(mut self) -> (Vec<String>, usize) {
        let is_call = |line: &&str| line.starts_with("method call");
        wait_until("the end is heard", || {
            let text = fs::read_to_string(&self.file).unwrap();
            text.lines().filter(is_call).any(|line| line.contains("member=Hello"))
        });
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = fs::read_to_string(&self.file).unwrap();
        let (bus, others): (Vec<&str>, Vec<&str>) =
            text.lines().filter(is_call).partition(|line| line.contains("destination=org.freedesktop.DBus "));
        (others.into_iter().map(str::to_owned).collect(), bus.len())
    }
}

/// What in a trace of system calls changes something outside of `root`.
fn changes(trace: &str, root: &str) -> Vec<String> {
    let words = [
        "O_WRONLY",
        "O_RDWR",
        "O_CREAT",
        "O_TRUNC",
        "mkdir",
        "rename",
        "unlink",
        "rmdir",
        "chmod",
        "chown",
        "symlink",
        " link(",
        "linkat(",
        "truncate",
        "mount(",
        "setxattr",
        "SNAP_CREATE",
        "SUBVOL_CREATE",
        "SNAP_DESTROY",
        "RTM_NEW",
        "RTM_DEL",
        "RTM_SET",
        "execve(",
        "LOCK_EX",
    ];
    let of_us = |line: &&str| line.contains(root) || line.contains("/dev/null") || line.contains("/dev/tty");
    let is_change = |line: &&str| words.iter().any(|word| line.contains(word)) && !of_us(line);
    // The kernel's answers to questions are called RTM_NEWLINK and so on, too.
    let is_answer = |line: &&str| line.contains("recvmsg(") || line.contains("recvfrom(");
    trace.lines().filter(is_change).filter(|line| !is_answer(line)).map(str::to_owned).collect()
}

const STRACE: [&str; 6] =
    ["strace", "-f", "-qq", "-s", "200", "-etrace=%file,%network,ioctl,flock,execve,ftruncate,fchmod,fchown"];

#[test]
fn of_links() {
    let case = Netns::start("networkd");
    let folder = tempfile::tempdir().unwrap();
    let overheard = Overheard::start(&address_of(&case), folder.path());
    let trace = folder.path().join("trace");
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/net/examples/bridge-with-pair.json"),
    );
    let mut wish: Value = serde_json::from_str(&text.unwrap()).unwrap();
    for link in ["opbr0", "opv0"] {
        wish["plugins"]["net"]["interfaces"][link]["persistent"] = json!(true);
    }
    let all = |case: &Netns| {
        case.sh("ip -d link; ip address; ip route; ip -6 route")
            + &case.sh(&format!("ls -lR {}", case.path("networkd")))
    };
    let before = all(&case);
    let run = |args: &[&str]| {
        let program = case.command("op-apply");
        let traced: Vec<&str> = STRACE.iter().copied().chain(["-o", trace.to_str().unwrap()]).collect();
        let argv: Vec<&str> =
            traced.into_iter().chain(program.iter().map(String::as_str)).chain(args.iter().copied()).collect();
        let output = case.run(&argv, &wish.to_string());
        assert_eq!(output.code, 0, "{output:?}");
        fs::read_to_string(&trace).unwrap()
    };
    let root = case.path("root");
    let seen = run(&["--dry-run"]);
    assert_eq!(changes(&seen, &root).iter().filter(|line| !line.contains("execve(")).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(seen.matches("execve(").count(), 1, "nothing else is run");
    assert!(seen.contains("RTM_GETLINK"), "the kernel was asked");
    assert_eq!(all(&case), before);
    let (calls, of_the_bus) = overheard.calls();
    assert_eq!(calls, [""; 0]);
    assert!(of_the_bus > 0, "the monitor heard nothing at all");
    // The same words are found where something is done.
    let done = changes(&run(&["--yes"]), &root);
    for word in ["RTM_NEWLINK", "RTM_NEWADDR", "RTM_NEWROUTE", "50-op-dbus-opbr0.network"] {
        assert!(done.iter().any(|line| line.contains(word)), "no {word} in {done:#?}");
    }
}

fn address_of(case: &Netns) -> String {
    let command = case.command("op-apply");
    command[command.iter().position(|word| word == "--address").unwrap() + 1].clone()
}

#[test]
fn of_containers() {
    let node = Node::new("256M");
    node.golden(None);
    let overheard = Overheard::start(node.address(), node.path());
    let document = json!({"plugins": {"lxc": {"containers": {"100": {"golden_image": "debian-minimal", "status": "running",
        "networks": {"net0": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}}}}}}});
    fs::write(node.path().join("want.json"), document.to_string()).unwrap();
    let trace = node.path().join("trace");
    let run = |args: &[&str]| {
        let output = Command::new(STRACE[0])
            .args(&STRACE[1..])
            .arg("-o")
            .arg(&trace)
            .arg(op_dbus_tests::program("op-apply"))
            .args(["--address", node.address()])
            .args(args)
            .arg(node.path().join("want.json"))
            .env("OP_DBUS_ROOT", node.path().join("root"))
            .env("OP_DBUS_MAPPINGS", node.path().join("mappings"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(&trace).unwrap()
    };
    let root = node.path().join("root").display().to_string();
    let before = node.everything();
    let seen = run(&["--dry-run"]);
    assert_eq!(changes(&seen, &root).iter().filter(|line| !line.contains("execve(")).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(seen.matches("execve(").count(), 1, "nothing else is run");
    assert!(seen.contains("debian-minimal.json"));
    assert_eq!((node.everything(), node.calls()), (before, Vec::new()));
    let (calls, of_the_bus) = overheard.calls();
    assert_eq!(calls, [""; 0]);
    assert!(of_the_bus > 0, "the monitor heard nothing at all");
    let done = changes(&run(&["--yes"]), &root);
    for word in ["SNAP_CREATE", "100.conf", "pve-storage-fast", "\"start\", \"100\""] {
        assert!(done.iter().any(|line| line.contains(word)), "no {word} in {done:#?}");
    }
}

fn example(plugin: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings").join(plugin).join("examples");
    fs::read_to_string(folder.join(name).with_extension("json")).unwrap()
}

/// What was run, but for the program itself.
fn run_by(trace: &str) -> Vec<&str> {
    let is_of_us = |line: &&str| line.contains("op-apply\", ") || line.contains("(\"/bin/sh\"");
    trace.lines().filter(|line| line.contains("execve(")).filter(|line| !is_of_us(line)).collect()
}

#[test]
fn of_flows() {
    let switch = Vswitch::start();
    let folder = tempfile::tempdir().unwrap();
    let overheard = Overheard::start(&address_of(&switch.case), folder.path());
    let wish = example("openflow", "bridge-with-flows");
    let trace = folder.path().join("trace");
    // The whole of what the database is told.
    let traced = ["strace", "-f", "-qq", "-s", "4000", "-o", trace.to_str().unwrap()];
    let calls = format!("{},write", STRACE[5]);
    let run = |args: &[&str], input: &str| {
        let program = switch.case.command("op-apply");
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let output = switch.case.run(&[&traced[..], &[&calls], &program, args].concat(), input);
        assert_eq!(output.code, 0, "{output:?}");
        (output, fs::read_to_string(&trace).unwrap())
    };
    let all = || {
        switch.tool("ovs-vsctl", &["--columns=name,external_ids", "list", "Bridge"])
            + &switch.case.sh("ip -br link; ip address")
    };
    let root = switch.case.path("root");
    let before = all();
    let (plan, seen) = run(&["--dry-run"], &wish);
    assert_eq!(changes(&seen, &root).iter().filter(|line| !line.contains("execve(")).collect::<Vec<_>>(), [""; 0]);
    let others = run_by(&seen);
    assert!(!others.is_empty() && others.iter().all(|line| line.contains("parse-flows")), "{others:#?}");
    assert!(seen.contains("transact") && !seen.contains("mutate") && !seen.contains("insert"), "it was only asked");
    assert_eq!(all(), before);
    let (calls, of_the_bus) = overheard.calls();
    assert_eq!(calls, [""; 0]);
    assert!(of_the_bus > 0, "the monitor heard nothing at all");
    let plan = plan.json();
    let by = |action: &Value| ["interface", "path", "member"].map(|name| action[name].as_str().unwrap().to_owned());
    let actions: Vec<_> = plan["actions"].as_array().unwrap().iter().map(by).collect();
    let expected = [
        ["ovsdb", "bridge opbr0", "create"],
        ["ovsdb", "port opdb0", "create"],
        ["ovsdb", "port opweb0", "create"],
        ["openflow", "bridge opbr0", "bundle"],
    ];
    assert_eq!(actions, expected.map(|action| action.map(str::to_owned)));
    // The same words are found where that plan is made true.
    let (output, done) = run(&["--yes"], &plan.to_string());
    assert_eq!(outcome(&output.json()), "applied");
    for word in ["mutate", "insert", "add-flows"] {
        assert!(done.contains(word), "no {word}");
    }
}

#[test]
fn of_a_mesh() {
    let mesh = Mesh::start();
    let overheard = Overheard::start(mesh.address(), Path::new(&mesh.path("")));
    let token = mesh.token("mesh1", 1);
    let wish = example("netmaker", "netmaker-mesh");
    let trace = mesh.path("trace");
    let run = |args: &[&str]| {
        let by: Vec<&str> = STRACE.iter().copied().chain(["-o", &trace]).collect();
        let secrets = [("NETMAKER", MASTER_KEY), ("MESH1_TOKEN", &*token)];
        let output = mesh.run_by(&by, "op-apply", &[args, &["--plugin", "netmaker"]].concat(), &wish, &secrets);
        assert_eq!(output.code, 0, "{output:?}");
        fs::read_to_string(&trace).unwrap()
    };
    let all = || (mesh.state.lock().unwrap().clone(), fs::read_dir(mesh.path("netclient")).unwrap().count());
    let root = mesh.path("root");
    let before = all();
    let seen = run(&["--dry-run"]);
    assert_eq!(changes(&seen, &root).iter().filter(|line| !line.contains("execve(")).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(run_by(&seen), [""; 0], "nothing else is run");
    assert_eq!(all(), before);
    let asked: Vec<String> = mesh.requests.lock().unwrap().drain(..).collect();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.starts_with("GET ")), "{asked:?}");
    let (calls, of_the_bus) = overheard.calls();
    assert_eq!(calls, [""; 0]);
    assert!(of_the_bus > 0, "the monitor heard nothing at all");
    let done = run(&["--yes"]);
    assert!(run_by(&done).iter().any(|line| line.contains("\"join\"")), "netclient was run");
    assert!(changes(&done, &root).iter().any(|line| line.contains("nodes.json")), "and wrote");
    assert!(mesh.requests.lock().unwrap().iter().any(|request| request.starts_with("POST ")));
}

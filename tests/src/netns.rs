//! A network namespace of a test's own, with the plugin `net` in it: the machine's links are in another one and are never
//! seen. Its files are in a temporary folder.

use crate::command::Output;
use crate::private_bus::{PrivateBus, spawn};
use crate::{command::Started, program};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The namespace. Dropping it ends it with all that is in it; so does the end of the test program.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
    bus: PrivateBus,
    folder: tempfile::TempDir,
}

impl Netns {
    /// Makes one, where links come back by `persistence`: `interfaces`, `networkd`, `networkmanager` or `none`.
    ///
    /// # Panics
    /// When that is not possible, as without root.
    #[must_use]
    pub fn start(persistence: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"]);
        let mut holder = spawn(command);
        let mut line = String::new();
        let ready = holder.stdout.take().map(std::io::BufReader::new);
        ready.into_iter().for_each(|mut ready| drop(std::io::BufRead::read_line(&mut ready, &mut line)));
        assert_eq!(line, "ready\n", "a network namespace (needs root)");
        let case = Self { holder, bus: PrivateBus::start(), folder: tempfile::tempdir().expect("a temporary folder") };
        for folder in ["mappings/net", "network/interfaces.d", "networkd", "connections", "links", "devices"] {
            std::fs::create_dir_all(case.path(folder)).expect("a folder");
        }
        let reads = format!("source {}/*\n", case.path("network/interfaces.d"));
        std::fs::write(case.path("network/interfaces"), reads).expect("a file");
        case.settings(persistence, "");
        case
    }

    /// Writes the plugin's settings anew, with more lines.
    ///
    /// # Panics
    /// When that fails.
    pub fn settings(&self, persistence: &str, more: &str) {
        let head = "[plugin]\nname = \"net\"\nversion = \"1.0.0\"\nsource = \"built-in\"\n\n[settings]\n";
        let mut text = format!("{head}persistence = {persistence:?}\n{more}\n");
        for (name, path) in [
            ("interfaces_dir", "network/interfaces.d"),
            ("networkd_dir", "networkd"),
            ("resolv_conf", "resolv.conf"),
            ("networkd_links", "links"),
            ("networkmanager_dir", "connections"),
            ("networkmanager_devices", "devices"),
        ] {
            text.push_str(&format!("{name} = {:?}\n", self.path(path)));
        }
        std::fs::write(self.path("mappings/net/plugin.toml"), text).expect("the plugin's folder");
    }

    /// The process that keeps the namespace.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// A path in the temporary folder.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        self.folder.path().join(path).display().to_string()
    }

    /// Runs a command in the namespace.
    ///
    /// # Panics
    /// When the harness itself fails.
    #[must_use]
    pub fn run(&self, argv: &[&str], stdin: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).args(argv);
        command.env("OP_DBUS_MAPPINGS", self.path("mappings"));
        Started::start(&mut command, stdin).wait()
    }

    /// Runs a script in the namespace that must succeed.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-ec", script], "").ok()
    }

    /// Runs one of our programs in the namespace.
    ///
    /// # Panics
    /// When the harness itself fails.
    #[must_use]
    pub fn op(&self, name: &str, args: &[&str], stdin: &str) -> Output {
        self.run(&[&self.command(name).iter().map(String::as_str).collect::<Vec<_>>(), args].concat(), stdin)
    }

    /// The program and what it is told to work in the namespace.
    #[must_use]
    pub fn command(&self, name: &str) -> Vec<String> {
        let program = program(name).display().to_string();
        [&program, "--address", self.bus.address(), "--root", &self.path("root")].map(str::to_owned).to_vec()
    }

    /// Applies a state of `net`.
    ///
    /// # Panics
    /// When the harness itself fails.
    #[must_use]
    pub fn apply(&self, args: &[&str], net: &Value) -> Output {
        self.op("op-apply", &[&["--yes", "--plugin", "net"], args].concat(), &net.to_string())
    }

    /// The state of `net`.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    #[must_use]
    pub fn query(&self) -> Value {
        let output = self.op("op-query", &["--plugin", "net"], "");
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.json()["plugins"]["net"].clone()
    }

    /// What `ip` says, as JSON.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    #[must_use]
    pub fn ip(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["ip", "-details", "-json"], args].concat(), "");
        assert_eq!(output.code, 0, "{output:?}");
        if output.stdout.is_empty() { Value::Array(Vec::new()) } else { output.json() }
    }

    /// Names of all links, sorted.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let links = self.ip(&["link"]);
        let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// The addresses of a link that were given to it, as text, in the kernel's order.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    #[must_use]
    pub fn addresses(&self, link: &str) -> Vec<String> {
        let shown = self.ip(&["address", "show", "dev", link]);
        let all = shown[0]["addr_info"].as_array().cloned().unwrap_or_default();
        let given = all.iter().filter(|address| address["scope"] != "link");
        given
            .map(|address| format!("{}/{}", address["local"].as_str().unwrap_or_default(), address["prefixlen"]))
            .collect()
    }

    /// Whether a kernel makes links of this type.
    ///
    /// # Panics
    /// When the harness itself fails.
    #[must_use]
    pub fn knows(&self, kind: &str) -> bool {
        let more: &[&str] = if kind == "vlan" { &["link", "lo", "id", "1"] } else { &[] };
        let name = "op-probe";
        let args = match kind {
            "vlan" => [&["ip", "link", "add"], &more[..2], &["name", name, "type", kind], &more[2..]].concat(),
            _ => ["ip", "link", "add", "name", name, "type", kind].to_vec(),
        };
        let output = self.run(&args, "");
        let _ = self.run(&["ip", "link", "delete", name], "");
        // A loopback link carries no VLAN, but who says so knows what one is.
        output.code == 0 || !output.stderr.contains("Unknown device type")
    }

    /// Whether the file is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        Path::new(&self.path(path)).exists()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let end = Instant::now() + Duration::from_secs(1);
        while Path::new(&format!("/proc/{}/ns/net", self.holder.id())).exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

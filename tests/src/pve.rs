//! A Proxmox node in a folder: its cluster file system, its storages - one of them real btrfs -, and `pct` standing in.

use crate::disk::{Disk, Kind};
use crate::private_bus::PrivateBus;
use crate::program;
use op_dbus::base::Silent;
use op_dbus::plugin::Manifest;
use op_dbus::plugin::builtin::lxc::making::{self, From, Make};
use op_dbus::plugin::builtin::lxc::{self, Settings, golden::Image};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What `/proc/net/unix` begins with.
pub const SOCKETS: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

/// The node, its name being `pve1`; there is another one, `pve2`.
#[derive(Debug)]
pub struct Node {
    /// The storage `fast`.
    pub disk: Disk,
    bus: PrivateBus,
    folder: TempDir,
}

impl Node {
    /// Makes one whose storage `fast` has `size`.
    ///
    /// # Panics
    /// When that fails, as all of this does.
    #[must_use]
    pub fn new(size: &str) -> Self {
        let node =
            Self { disk: Disk::new(Kind::Btrfs, size), bus: PrivateBus::start(), folder: tempfile::tempdir().unwrap() };
        for name in ["pve1", "pve2"] {
            for kind in ["lxc", "qemu-server"] {
                fs::create_dir_all(node.pve().join("nodes").join(name).join(kind)).unwrap();
            }
        }
        symlink("nodes/pve1", node.pve().join("local")).unwrap();
        for folder in ["links/vmbr0", "local/template/cache", "local/snippets"] {
            fs::create_dir_all(node.path().join(folder)).unwrap();
        }
        node.write("unix", SOCKETS);
        let storages = format!(
            "dir: local\n\tpath {0}/local\n\tcontent iso,vztmpl,backup\n\nbtrfs: fast\n\tpath {1}\n\tcontent \
             rootdir,images\n\nzfspool: tank\n\tpool tank\n\tcontent rootdir\n\tnodes pve2\n\ndir: slow\n\tpath \
             {0}/local\n\tcontent rootdir\n",
            node.path().display(),
            node.disk.path().display()
        );
        node.write("pve/storage.cfg", &storages);
        node.write("pve/datacenter.cfg", "keyboard: de\nmac_prefix: BC:24:12\n");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::copy(repository.join("tests/pve/pct"), node.path().join("pct")).unwrap();
        fs::create_dir_all(node.path().join("mappings/lxc")).unwrap();
        let manifest = fs::read_to_string(repository.join("mappings/lxc/plugin.toml")).unwrap();
        node.write("mappings/lxc/plugin.toml", &(manifest + &node.settings_text()));
        node
    }

    fn settings_text(&self) -> String {
        let at = |name: &str| self.path().join(name).display().to_string();
        let mut text = String::from("lock_timeout_s = 1\nmin_free_mib = 16\n");
        for (key, place) in [
            ("pve", "pve"),
            ("pct", "pct"),
            ("unix_sockets", "unix"),
            ("links", "links"),
            ("config_locks", "lock"),
            ("storage_locks", "storage-lock"),
        ] {
            text.push_str(&format!("{key} = {:?}\n", at(place)));
        }
        text
    }

    /// The settings of its plugin.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let text = fs::read_to_string(self.path().join("mappings/lxc/plugin.toml")).unwrap();
        lxc::settings_of(&Manifest::parse(&text, "plugin.toml").unwrap()).unwrap()
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The address of its bus, on which nothing is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.bus.address()
    }

    /// Its cluster file system.
    #[must_use]
    pub fn pve(&self) -> PathBuf {
        self.path().join("pve")
    }

    /// Writes a file below its folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// The configuration of a container, empty when there is none.
    #[must_use]
    pub fn config(&self, id: &str) -> String {
        fs::read_to_string(self.pve().join(format!("local/lxc/{id}.conf"))).unwrap_or_default()
    }

    /// What `pct` was asked, a line a call.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The root of a container in `fast`.
    #[must_use]
    pub fn root_of(&self, id: &str) -> PathBuf {
        self.disk.path().join(format!("images/{id}/subvol-{id}-disk-0.subvol"))
    }

    /// Runs one of the programs with its plugin, and a document on standard input.
    #[must_use]
    pub fn run(&self, name: &str, args: &[&str], stdin: &str) -> (i32, Value, String) {
        let mut child = Command::new(program(name))
            .args(["--address", self.bus.address(), "--json"])
            .args(args)
            .env("OP_DBUS_ROOT", self.path().join("root"))
            .env("OP_DBUS_MAPPINGS", self.path().join("mappings"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), document, String::from_utf8(output.stderr).unwrap())
    }

    /// The containers as `op-query` tells them.
    #[must_use]
    #[track_caller]
    pub fn containers(&self) -> Value {
        let (code, document, stderr) = self.run("op-query", &["--plugin", "lxc"], "");
        assert_eq!((code, stderr.as_str()), (0, ""));
        document["plugins"]["lxc"]["containers"].clone()
    }

    /// Applies containers, and more options.
    #[must_use]
    pub fn apply(&self, args: &[&str], containers: &Value) -> (i32, Value, String) {
        let document = json!({"plugins": {"lxc": {"containers": containers}}});
        self.run("op-apply", &[&["--yes"], args].concat(), &document.to_string())
    }

    /// Applies containers, and then again, which changes nothing.
    #[track_caller]
    pub fn applies(&self, containers: &Value) {
        let (code, report, stderr) = self.apply(&["--detailed-exitcode"], containers);
        assert_eq!((code, &report["outcome"]), (2, &json!("applied")), "{stderr}\n{report:#}");
        let calls = self.calls();
        let (code, report, stderr) = self.apply(&["--detailed-exitcode"], containers);
        assert_eq!((code, &report["outcome"]), (0, &json!("unchanged")), "{stderr}\n{report:#}");
        assert_eq!(self.calls(), calls);
    }

    /// An archive of a small Debian, with everything in it that is special.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        let root = self.path().join("debian");
        let write = |name: &str, text: &str, mode: u32| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n", 0o644);
        write("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444);
        write("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", 0o644);
        for kind in ["rsa", "ecdsa", "ed25519"] {
            write(&format!("etc/ssh/ssh_host_{kind}_key"), "old", 0o600);
            write(&format!("etc/ssh/ssh_host_{kind}_key.pub"), "old", 0o644);
        }
        write("usr/lib/systemd/systemd", "#!/bin/sh\n", 0o755);
        write("usr/bin/sudo", "#!/bin/sh\n", 0o4755);
        write("var/log/syslog", "what happened elsewhere\n", 0o640);
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        let _ = symlink("../lib/systemd/systemd", root.join("usr/sbin/init"));
        let _ = symlink("usr/sbin", root.join("sbin"));
        let _ = fs::hard_link(root.join("usr/bin/sudo"), root.join("usr/bin/sudoedit"));
        let archive = self.path().join("local/template/cache/debian-13-standard_13.1-2_amd64.tar.zst");
        let made = Command::new("tar").args(["--zstd", "-cf"]).arg(&archive).arg("-C").arg(&root).arg(".").status();
        assert!(made.unwrap().success());
        fs::remove_dir_all(&root).unwrap();
        archive
    }

    /// Makes the golden image `debian-minimal`.
    #[track_caller]
    pub fn golden(&self, template_id: Option<&str>) -> Image {
        let make = Make {
            name: "debian-minimal".into(),
            from: From::Archive(self.archive()),
            storage: None,
            template_id: template_id.map(str::to_owned),
            is_privileged: false,
        };
        making::create(&self.settings(), &make, &mut Silent).unwrap()
    }

    /// Everything below its folder and in its storage but what op-dbus keeps for itself and locks: mode, owner, size.
    #[must_use]
    pub fn everything(&self) -> BTreeMap<String, String> {
        fn walk(path: &Path, found: &mut BTreeMap<String, String>) {
            for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
                let metadata = entry.symlink_metadata().unwrap();
                let text =
                    if metadata.is_file() { fs::read_to_string(&entry).unwrap_or_default() } else { String::new() };
                let what = format!("{:o} {}:{} {text}", metadata.mode(), metadata.uid(), metadata.gid());
                found.insert(entry.display().to_string(), what);
                if metadata.is_dir() {
                    walk(&entry, found);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.pve(), &mut found);
        walk(&self.disk.path(), &mut found);
        found.insert("unix".into(), fs::read_to_string(self.path().join("unix")).unwrap());
        // Folders that make room for what comes are no residue.
        found.retain(|path, _| !path.ends_with("/images"));
        found
    }
}

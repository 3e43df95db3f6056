//! Makes containers from golden images of several sizes beside what people use today, and reads many containers: on a
//! Proxmox node in a folder, with real btrfs. `op-dbus-lxc-bench [ROUNDS]`, as root.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program whose output is its purpose")]

use op_dbus::base::Silent;
use op_dbus::plugin::builtin::lxc::making::{self, From, Make};
use op_dbus::store::volumes::{Access, Subvolumes, Volumes};
use op_dbus_tests::pve::Node;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(11);
    creating(rounds);
    reading(rounds);
}

fn creating(rounds: usize) {
    let node = Node::new("6G");
    println!(
        "\nA container from a golden image, whole op-apply: plan, locks, snapshot, SSH keys, configuration, verify, record"
    );
    for (name, size_mb) in [("mb50", 50), ("mb250", 250), ("gb2", 2000)] {
        let source = image(&node, name, size_mb);
        let make = Make {
            name: name.into(),
            from: From::Folder(source.clone()),
            storage: None,
            template_id: None,
            is_privileged: false,
        };
        let golden = making::create(&node.settings(), &make, &mut Silent).unwrap();
        let mut id = 100 + size_mb * 10;
        let ours = times(rounds, || {
            id += 1;
            let containers = json!({id.to_string(): {"golden_image": name, "hostname": format!("c{id}"),
                "networks": {"net0": {"name": "eth0", "bridge": "vmbr0", "ip": "dhcp"}}}});
            let (code, report, stderr) = node.apply(&[], &containers);
            assert_eq!((code, &report["outcome"]), (0, &Value::from("applied")), "{stderr}");
            report["actions"][0]["took_ms"].as_f64().unwrap()
        });
        line(&format!("{size_mb} MB: op-apply (target 30 ms)"), &ours, Some(30.0));
        let copy = |i: usize| node.disk.path().join(format!("copy-{i}"));
        let mut i = 0;
        let snapshots = times(rounds, || {
            i += 1;
            Subvolumes.snapshot(&golden.path, &copy(i), Access::Writable).unwrap();
            0.0
        });
        line(&format!("{size_mb} MB: the bare snapshot"), &snapshots, None);
        (1..=rounds + 1).for_each(|i| Subvolumes.delete(&copy(i)).unwrap());
        if size_mb > 250 {
            continue;
        }
        let target = node.disk.path().join("unpacked");
        let reflinks = times(3, || {
            sh(&format!("rm -rf {0}; cp -a --reflink=always {1} {0}", target.display(), golden.path.display()));
            0.0
        });
        line(&format!("{size_mb} MB: cp -a --reflink"), &reflinks, None);
        let archive = node.path().join(format!("{name}.tar.zst"));
        sh(&format!("tar --zstd -cf {} -C {} .", archive.display(), source.display()));
        let unpacked = times(3, || {
            sh(&format!(
                "rm -rf {0}; mkdir {0}; tar --zstd -xf {1} -C {0}; sync -f {0}",
                target.display(),
                archive.display()
            ));
            0.0
        });
        line(&format!("{size_mb} MB: tar --zstd -x"), &unpacked, None);
        sh(&format!("rm -rf {}", target.display()));
    }
}

/// A root file system: a thousand files of about equal size, half of each compressible.
fn image(node: &Node, name: &str, size_mb: usize) -> PathBuf {
    let root = node.path().join(name);
    for folder in ["etc/ssh", "usr/sbin", "usr/lib/systemd", "usr/share/data"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=13\n").unwrap();
    fs::write(root.join("etc/ssh/ssh_host_ed25519_key"), "old").unwrap();
    fs::write(root.join("usr/sbin/init"), "").unwrap();
    fs::write(root.join("usr/lib/systemd/systemd"), "").unwrap();
    let mut random = vec![0; size_mb * 1000 / 2];
    for i in 0..1000 {
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        let mut file = fs::File::create(root.join(format!("usr/share/data/{i}"))).unwrap();
        file.write_all(&random).unwrap();
        file.write_all(&vec![b'x'; random.len()]).unwrap();
    }
    root
}

fn reading(rounds: usize) {
    let node = Node::new("128M");
    for id in 1000..1500 {
        let text = format!(
            "arch: amd64\ncores: 2\nfeatures: nesting=1\nhostname: c{id}\nmemory: 1024\nnet0: name=eth0,bridge=vmbr0,\
             hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth\nonboot: 1\nostype: debian\n\
             rootfs: fast:{id}/subvol-{id}-disk-0.subvol,size=0T\nswap: 512\nunprivileged: 1\n"
        );
        fs::write(node.pve().join(format!("local/lxc/{id}.conf")), text).unwrap();
    }
    println!("\n500 containers read, whole op-query");
    let ours = times(rounds, || {
        assert_eq!(node.containers().as_object().unwrap().len(), 500);
        0.0
    });
    line("op-query (target 50 ms)", &ours, Some(50.0));
    let cat = times(rounds, || {
        sh(&format!("cat {}/*.conf > /dev/null", Path::new(&node.pve()).join("local/lxc").display()));
        0.0
    });
    line("cat of the same files", &cat, None);
}

fn sh(script: &str) {
    assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success(), "{script}");
}

/// Milliseconds of each round, and what it tells itself; the first round warms caches.
fn times(rounds: usize, mut run: impl FnMut() -> f64) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, f64)> = (0..=rounds)
        .map(|_| {
            let started = Instant::now();
            let own = run();
            (started.elapsed().as_secs_f64() * 1e3, own)
        })
        .skip(1)
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

fn line(name: &str, times: &[(f64, f64)], target_ms: Option<f64>) {
    let (median, own) = times[times.len() / 2];
    let met = target_ms.map_or("", |target| if median <= target { "met" } else { "MISSED" });
    let own = if own > 0.0 { format!("(the container itself {own:.0})") } else { String::new() };
    println!("  {name:<36} median {median:>8.1} min {:>8.1} ms {own} {met}", times[0].0);
}

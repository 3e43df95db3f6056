//! What the pages about packages, keys and registries type is typed here, in order: as root, in its own folder, with a state
//! root on btrfs where it always is. Nothing of this machine is touched: the folders are this test's own mounts.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::disk::{Disk, Kind};
use std::path::Path;
use std::process::Command;

/// Shows `$DISK` as the state root, and the shipped mappings where they are installed; then runs `$SCRIPT` in `$WORK`.
const INSIDE: &str = r#"
mount -t tmpfs op-dbus-test /mnt
for folder in etc usr/share; do
  mkdir -p /mnt/upper/$folder /mnt/work/$folder
  mount -t overlay -o lowerdir=/$folder,upperdir=/mnt/upper/$folder,workdir=/mnt/work/$folder op-dbus-test /$folder
done
rm -rf /etc/op-dbus
mount -t tmpfs -o mode=755 op-dbus-test /var/lib
mkdir -p /var/lib/op-dbus /usr/share/op-dbus
cp -r --no-preserve=mode,ownership "$MAPPINGS" /usr/share/op-dbus/mappings
mount --bind "$DISK" /var/lib/op-dbus
umask 022
cd "$WORK"
set -x
eval "$SCRIPT"
"#;

fn type_all(page: &str) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(repository.join("docs").join(page)).unwrap();
    let blocks: Vec<&str> = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let script = blocks.concat();
    assert!(script.lines().filter(|line| line.contains("op-")).count() >= 10, "{page} types little: {script}");
    let (disk, work) = (Disk::new(Kind::Btrfs, "256M"), tempfile::tempdir().unwrap());
    let programs = op_dbus_tests::program("op-install");
    let path = format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", INSIDE])
        .env("PATH", path)
        .env("DISK", disk.path())
        .env("WORK", work.path())
        .env("MAPPINGS", repository.join("mappings"))
        .env("SCRIPT", &script)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
        .env_remove("OP_DBUS_ROOT")
        .env_remove("OP_DBUS_MAPPINGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{page}: {said}\n{}", String::from_utf8_lossy(&ran.stdout));
}

#[test]
fn the_page_about_btrfs() {
    type_all("HYBRID-BTRFS-ARCHITECTURE.md");
}

#[test]
fn the_page_about_keys() {
    type_all("KEYS.md");
}

#[test]
fn the_page_about_registries() {
    type_all("REGISTRY-FORMAT.md");
}

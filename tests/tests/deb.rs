//! The Debian package on a booted machine: installed, upgraded, removed, purged and installed again. It is made of the
//! programs of this build by the script that `make deb` runs.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::machine::{Machine, MachineOptions};
use op_dbus_tests::ops::wait_until;
use op_dbus_tests::{Place, programs, repository};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The folder with `op-dbus_0.1.0_amd64.deb` and a newer one, made once.
fn packages() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Kept beside the programs: a hundred megabytes that are overwritten and never pile up.
        let folder = programs().join("op-dbus-debs");
        for version in ["0.1.0", "0.2.0"] {
            build(&folder, version);
        }
        folder
    })
}

fn build(folder: &Path, version: &str) {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    let names = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS := ")).unwrap();
    let mut build = Command::new(repository().join("packaging/debian/build.sh"));
    let build = build.arg(folder).env("PROGRAMS", names).env("BUILT", programs()).env("VERSION", version);
    let output =
        build.env("COMPRESSION", "gzip").env("LEVEL", "1").env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A machine that has never seen op-dbus, and sees the packages.
fn machine() -> Machine {
    let machine = Machine::boot(&MachineOptions::bare().bind(packages(), "/op/debs"));
    assert_ne!(machine.sh("command -v op-apply").code, 0);
    machine
}

const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 -qq -y";

fn install(machine: &Machine, version: &str) -> String {
    machine.sh(&format!("{APT} --allow-downgrades install /op/debs/op-dbus_{version}_amd64.deb 2>&1")).ok()
}

fn want(machine: &Machine, state: &Value) {
    op_dbus_tests::ops::write(machine, "/etc/op-dbus/state.json", &state.to_string());
}

fn location(machine: &Machine) -> String {
    machine.sh("hostnamectl --json=short | jq -r .Location").ok().trim().to_owned()
}

fn located(place: &str) -> Value {
    json!({"plugins": {"hostname": {"location": place}}})
}

/// Files and links that mention op-dbus, and what is not ours to find.
fn residue(machine: &dyn Place) -> Vec<String> {
    let script = "find / -xdev \\( -path /proc -o -path /sys -o -path /op -o -path /var/log \\) -prune -o -name '*op-dbus*' -print | sort";
    machine.sh(script).ok().lines().map(str::to_owned).collect()
}

#[test]
fn an_installed_package_waits_for_a_state_and_keeps_it() {
    let mut machine = machine();
    let before = machine.sh("hostnamectl --json=short").ok();
    install(&machine, "0.1.0");
    for unit in
        ["op-dbus.service", "op-dbus-recover.service", "op-dbus.path", "op-dbus-snapshot.timer", "op-dbus-drift.timer"]
    {
        assert_eq!(machine.sh(&format!("systemctl is-enabled {unit}")).stdout, "enabled\n", "{unit}");
    }
    assert_eq!(machine.sh("systemctl is-enabled op-dbus-warm.service").stdout, "disabled\n");
    assert_eq!(
        machine.sh("systemctl is-active op-dbus.path op-dbus-snapshot.timer op-dbus-drift.timer").stdout,
        "active\n".repeat(3)
    );
    assert_eq!(machine.sh("systemctl is-active op-dbus.service").stdout, "inactive\n", "there is nothing to apply");
    assert_eq!(machine.sh("hostnamectl --json=short").ok(), before);
    let shipped = machine.sh("op-install list --json").json();
    assert!(shipped.to_string().contains("\"hostname\""), "{shipped}");
    machine
        .sh("complete=$(ls /usr/share/bash-completion/completions/op-apply /usr/share/zsh/vendor-completions/_op-dbus \
                /usr/share/fish/vendor_completions.d/op-apply.fish /usr/share/op-dbus/schemas/state.schema.json)")
        .ok();

    let health = machine.run(&["op-dbus", "doctor", "--json"], "");
    assert_eq!(health.code, 0, "{health:?}");
    let health = health.json();
    let states = health["findings"].as_array().unwrap().iter().map(|finding| &finding["state"]);
    assert!(states.clone().all(|state| state != "broken") && states.count() >= 6, "{health}");
    // A document that is none fails, the machine stays as it is, and the doctor says where to look.
    op_dbus_tests::ops::write(&machine, "/etc/op-dbus/state.json", "{");
    wait_until("it failed", || machine.sh("systemctl is-failed op-dbus.service").stdout == "failed\n");
    let health = machine.run(&["op-dbus", "doctor", "--no-json"], "");
    assert_eq!(health.code, 3, "{health:?}");
    assert!(health.stdout.contains("BROKEN") && health.stdout.contains("journalctl -u op-dbus.service"), "{health:?}");

    // It converges when the document changes, also to what only the kernel knows.
    let mut state = located("rack 4");
    state["plugins"]["net"] = json!({"interfaces": {"opbr0": {"type": "linux-bridge", "state": "up"}}});
    want(&machine, &state);
    wait_until("the document is applied", || location(&machine) == "rack 4");
    wait_until("the bridge is there", || machine.sh("ip link show opbr0").code == 0);
    wait_until("it is done", || machine.sh("systemctl is-active op-dbus.service").stdout == "active\n");
    assert_eq!(machine.run(&["systemctl", "start", "op-dbus-drift.service"], "").code, 0, "nothing has drifted");

    // Drift is seen, and restarting the unit takes it back.
    machine.sh("hostnamectl location 'somewhere else'").ok();
    assert_ne!(machine.run(&["systemctl", "start", "op-dbus-drift.service"], "").code, 0);
    assert_eq!(location(&machine), "somewhere else", "looking changes nothing");
    machine.sh("systemctl restart op-dbus && systemctl start op-dbus-drift.service").ok();
    assert_eq!(location(&machine), "rack 4");

    // The timer's service rotates, once an hour.
    machine
        .sh("op-snapshot init && systemctl start op-dbus-snapshot.service && systemctl start op-dbus-snapshot.service")
        .ok();
    assert_eq!(machine.sh("op-snapshot list --json").json()["snapshots"].as_array().unwrap().len(), 1);
    let next = machine.sh("systemctl show op-dbus-snapshot.timer -p NextElapseUSecRealtime --value").ok();
    assert!(next.contains(":00"), "{next}");

    // And at boot. A bridge without a file of its own is gone by then.
    machine.sh("hostnamectl location 'somewhere else'").ok();
    machine.reboot();
    wait_until("it is applied at boot", || location(&machine) == "rack 4");
    wait_until("the bridge is there again", || machine.sh("ip link show opbr0").code == 0);
    machine.run(&["op-audit", "verify"], "").ok();
}

#[test]
fn removing_is_refused_while_it_would_strand_the_machine() {
    let machine = machine();
    install(&machine, "0.1.0");
    let remove = format!("{APT} remove op-dbus 2>&1");
    let refused = |words: &[&str]| {
        let output = machine.sh(&remove);
        assert_ne!(output.code, 0, "{output:?}");
        for word in words {
            assert!(output.stdout.contains(word), "no {word:?} in {output:?}");
        }
        assert_eq!(machine.sh("dpkg-query -W -f '${db:Status-Status}' op-dbus").ok(), "installed");
        assert_eq!(machine.sh("systemctl is-active op-dbus.path").stdout, "active\n");
    };

    // A change that nobody would take back.
    let output = machine.run(&["op-apply", "--yes", "--confirm-within", "10min"], &located("rack 7").to_string());
    assert_eq!(output.code, 0, "{output:?}");
    refused(&["waits to be confirmed", "op-apply confirm", "op-apply revert"]);
    // An upgrade leaves it waiting, and the new program knows of it.
    install(&machine, "0.2.0");
    assert_eq!(machine.run(&["op-apply", "pending", "--json"], "").json()["runs"].as_array().unwrap().len(), 1);
    machine.sh("op-apply revert").ok();
    assert_eq!(location(&machine), "");

    // A run at work.
    let lock = machine.spawn(&["flock", "/var/lib/op-dbus/@state/lock", "sleep", "600"], "");
    wait_until("the lock is held", || machine.sh("flock --nonblock /var/lib/op-dbus/@state/lock true").code != 0);
    refused(&["a run of op-apply is at work"]);
    lock.signal("TERM");
    machine.sh("pkill -x sleep").ok();
    lock.wait();

    // Guests of Proxmox VE with the hookscript: on this node it is refused, on another it leaves one that does nothing.
    machine.sh(
        "mkdir -p /etc/pve/nodes/{here,there}/{lxc,qemu-server} /var/lib/vz/snippets && ln -s nodes/here /etc/pve/local
         ln -s /usr/share/op-dbus/hook/op-dbus-hook /var/lib/vz/snippets/op-dbus-hook
         echo 'hookscript: local:snippets/op-dbus-hook' | tee /etc/pve/nodes/here/lxc/100.conf >/etc/pve/nodes/there/lxc/200.conf",
    )
    .ok();
    refused(&["100", "op-install hook --unhook 100"]);
    machine.sh("rm /etc/pve/nodes/here/lxc/100.conf").ok();
    machine.sh(&remove).ok();
    assert_eq!(machine.sh("/var/lib/vz/snippets/op-dbus-hook 200 pre-start").ok(), "");
    let purged = machine.sh(&format!("{APT} purge op-dbus 2>&1")).ok();
    assert!(purged.contains("still name it"), "{purged}");
    machine.sh("/var/lib/vz/snippets/op-dbus-hook 200 pre-start").ok();
    // Installed again, it is the real one.
    install(&machine, "0.2.0");
    machine.sh("grep -q apply_in_foreground /var/lib/vz/snippets/op-dbus-hook").ok();
    machine.sh(&format!("rm /etc/pve/nodes/there/lxc/200.conf && {APT} purge op-dbus 2>&1")).ok();
    assert_eq!(machine.sh("ls /var/lib/vz/snippets").ok(), "");
}

#[test]
fn upgrading_removing_and_installing_again_lose_no_data_and_purging_asks() {
    let machine = machine();
    let clean = residue(&machine);
    install(&machine, "0.1.0");
    machine.sh("systemctl disable --now op-dbus-drift.timer; systemctl mask op-dbus-snapshot.timer").ok();
    machine.sh("echo '{\"kind\":\"acknowledged\",\"version\":1,\"drift\":[ ]}' >/etc/op-dbus/acknowledged.json").ok();
    want(&machine, &located("rack 4"));
    wait_until("the document is applied", || location(&machine) == "rack 4");
    wait_until("it is done", || machine.sh("systemctl is-active op-dbus.service").stdout == "active\n");
    machine.sh("op-snapshot init && op-snapshot rotate").ok();
    let audit = machine.sh("op-audit log --json").ok();
    assert!(!audit.is_empty());

    install(&machine, "0.2.0");
    assert_eq!(machine.sh("dpkg-query -W -f '${Version}' op-dbus").ok(), "0.2.0");
    assert_eq!(
        machine.sh("systemctl is-enabled op-dbus-drift.timer op-dbus-snapshot.timer").stdout,
        "disabled\nmasked\n"
    );
    assert_eq!(machine.sh("systemctl is-active op-dbus.service op-dbus-drift.timer").stdout, "active\ninactive\n");
    assert!(
        machine.sh("cat /etc/op-dbus/acknowledged.json").ok().contains("[ ]"),
        "a conffile stays as it was changed"
    );
    install(&machine, "0.1.0");
    assert_eq!(machine.sh("op-audit log --json").ok(), audit, "an upgrade and a downgrade apply nothing");

    machine.sh(&format!("systemctl unmask op-dbus-snapshot.timer; {APT} remove op-dbus 2>&1")).ok();
    assert_ne!(machine.sh("command -v op-apply").code, 0);
    assert_eq!(machine.sh("systemctl is-system-running; systemctl list-units -q 'op-dbus*'").stdout, "running\n");
    machine.sh("test -s /etc/op-dbus/state.json && test -d /var/lib/op-dbus/@timing/blocks").ok();
    machine.sh("hostnamectl location 'somewhere else'").ok();
    install(&machine, "0.1.0");
    assert_eq!(machine.sh("op-audit log --json").ok(), audit);
    assert_eq!(location(&machine), "somewhere else", "installing applies nothing");

    // Nobody answers: the data stay.
    let purged = machine.sh(&format!("{APT} purge op-dbus 2>&1")).ok();
    assert!(purged.contains("/var/lib/op-dbus stays"), "{purged}");
    machine.sh("test -s /etc/op-dbus/state.json && test -d /var/lib/op-dbus/@timing/blocks").ok();
    install(&machine, "0.1.0");
    assert_eq!(machine.sh("op-audit log --json").ok(), audit);
    // Somebody does: nothing of it is left, sealed subvolumes included.
    machine.sh("echo 'op-dbus op-dbus/purge-data boolean true' | debconf-set-selections").ok();
    machine.sh(&format!("{APT} purge op-dbus 2>&1")).ok();
    assert_eq!(residue(&machine), clean);
    assert_eq!(
        machine.sh("debconf-show op-dbus; systemctl is-system-running; btrfs subvolume list / | grep op-dbus").stdout,
        "running\n"
    );
    install(&machine, "0.2.0");
    assert_eq!(location(&machine), "somewhere else");
}

fn here(script: &str) -> Output {
    let deb = packages().join("op-dbus_0.1.0_amd64.deb");
    Command::new(repository().join("tests/deb/here.sh")).arg(deb).arg(script).output().unwrap()
}

#[test]
fn it_installs_where_neither_systemd_nor_a_bus_runs() {
    let output = here(
        "! command -v op-apply
         dpkg -i /root/op-dbus.deb
         op-dbus --version; op-install list --json | head -c 40; op-snapshot doctor --json | head -c 40; test -d /etc/op-dbus/secrets
         dpkg -r op-dbus; dpkg -P op-dbus
         for left in /etc/op-dbus /usr/share/op-dbus /usr/share/doc/op-dbus; do test ! -e $left; done",
    );
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("op-dbus 0.1.0"), "{output:?}");
}

#[test]
fn a_full_disk_leaves_the_old_version_working() {
    let output = here(
        "dpkg -i /root/op-dbus.deb >/dev/null
         before=$(sha256sum /usr/bin/op-apply)
         dd if=/dev/zero of=/root/full bs=1M 2>/dev/null || true
         ! dpkg -i /root/op-dbus.deb || exit 3
         op-apply --version
         test \"$(sha256sum /usr/bin/op-apply)\" = \"$before\"
         rm /root/full
         dpkg -i /root/op-dbus.deb
         dpkg-query -W -f '${db:Status-Status}' op-dbus",
    );
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("installed"), "{output:?}");
}

#[test]
fn the_same_sources_make_the_same_package() {
    let [one, other] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    for folder in [&one, &other] {
        build(folder.path(), "0.1.0");
    }
    let bytes = |folder: &TempDir| std::fs::read(folder.path().join("op-dbus_0.1.0_amd64.deb")).unwrap();
    assert!(bytes(&one) == bytes(&other));
}

#[test]
fn debians_own_checker_has_nothing_to_say() {
    let output =
        Command::new("lintian").arg("--fail-on=error,warning").arg(packages().join("op-dbus_0.1.0_amd64.deb")).output();
    let output = output.unwrap_or_else(|error| panic!("lintian: {error}: run tests/deps.sh"));
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// What the release archives are made of: the stripped programs of the package.
#[test]
fn the_archives_are_complete_signed_and_the_same_each_time() {
    let work = TempDir::new().unwrap();
    let sh = |script: &str| {
        let output = Command::new("bash")
            .args(["-euc", script])
            .current_dir(work.path())
            .env("REPOSITORY", repository())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    sh(&format!("dpkg -x {}/op-dbus_0.1.0_amd64.deb tree; minisign -G -W -p key.pub -s key", packages().display()));
    let dist = "export BUILT=$PWD/tree/usr/bin ZSTD_CLEVEL=1; export PROGRAMS=$(cd $BUILT && echo op-*); $REPOSITORY/packaging/dist.sh";
    sh(&format!("{dist} one key"));
    sh(&format!("{dist} two"));
    sh("cmp one/SHA256SUMS two/SHA256SUMS; cd one; sha256sum --quiet -c SHA256SUMS
        for file in SHA256SUMS *.tar.* *.json; do
          case $file in *.minisig) ;; *) minisign -V -q -p ../key.pub -m $file ;; esac
        done");
    // The binary archive holds what the package holds, and the sources build from it.
    let listed = sh("tar -tf one/*-linux.tar.zst | grep -v '/$' | sed 's,^\\.,,' | sort");
    for file in ["/usr/bin/op-apply", "/usr/share/man/man1/op-apply.1", "/usr/lib/systemd/system/op-dbus.service"] {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
    }
    sh("tar -tf one/op-dbus-0.1.0.tar.xz | grep -x op-dbus-0.1.0/Cargo.lock");
    let bill: Value = serde_json::from_str(&sh("cat one/*.cdx.json")).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let names: Vec<&str> = bill["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"zbus") && names.contains(&"op-apply"), "{names:?}");
    assert!(!names.contains(&"tempfile") && !names.contains(&"proptest"), "tests' crates: {names:?}");
    assert!(bill["components"].as_array().unwrap().iter().all(|c| c["licenses"].is_array()));
}

/// What make install puts somewhere, make uninstall takes away.
#[test]
fn installing_without_a_package_is_taken_back() {
    let work = TempDir::new().unwrap();
    let make = |what: &str| {
        let mut make = Command::new("make");
        make.current_dir(repository()).args([what, "PROFILE=debug", "PREFIX=/opt/op"]);
        let output = make.arg(format!("DESTDIR={}", work.path().display())).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    make("install");
    let unit = std::fs::read_to_string(work.path().join("opt/op/lib/systemd/system/op-dbus.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/op/bin/op-apply "), "{unit}");
    assert!(work.path().join("opt/op/bin/op-query").is_file());
    make("uninstall");
    let left = Command::new("find").arg(work.path()).args(["-not", "-type", "d", "-printf", "%P\\n"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "etc/op-dbus/acknowledged.json\n");
}

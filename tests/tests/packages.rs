//! Packages from the creator's folder to another machine and back: on btrfs and elsewhere, with ours and with the stock
//! `btrfs`, `zstd` and `minisign` on either side.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::digest::Plain;
use op_dbus_tests::disk::{Disk, Kind, is_subvolume};
use op_dbus_tests::publisher::{Ended, MANIFEST, Publisher, picture};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

fn sh(script: &str) -> String {
    let ran = Command::new("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run(desk: &Publisher, program: &str, line: &str) -> Ended {
    desk.run(program, &line.split(' ').collect::<Vec<_>>())
}

#[track_caller]
fn refused(ended: &Ended, code: i32, why: &str) {
    assert!(ended.code == code && ended.error().contains(why), "{why}: {ended:?}");
}

/// `mappings/hostname` with another version in it, in the desk's folder.
fn source(desk: &Publisher, version: &str) -> String {
    let folder = desk.path().join(format!("source-{version}"));
    let from = repository().join("mappings/hostname");
    sh(&format!(
        "cp -r {} {1}; sed -i 's/^version = .*/version = \"{version}\"/' {1}/plugin.toml; find {1} -type f -exec chmod 644 {{}} +",
        from.display(),
        folder.display()
    ));
    folder.display().to_string()
}

fn publish(desk: &Publisher, version: &str) -> String {
    let folder = source(desk, version);
    let published = run(desk, "op-snapshot", &format!("publish {folder} --key publisher.key --out packages"));
    published.json()["package"].as_str().unwrap().to_owned()
}

/// A mapping that names what its own introspection lacks would fail at everybody's.
#[test]
fn what_cannot_work_is_not_published() {
    let desk = Publisher::new();
    let folder = desk.path().join("lamp");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("plugin.toml"), MANIFEST).unwrap();
    fs::write(folder.join("README.md"), "# lamp\n").unwrap();
    let xml = "<node><interface name=\"org.example.Lamp\"><property name=\"Color\" type=\"s\" access=\"read\"/></interface></node>";
    fs::write(folder.join("introspection.xml"), xml).unwrap();
    for (property, code) in [("Colour", 65), ("Color", 0)] {
        let mapping = format!("[state_mapping.color]\nread = {{ property = \"{property}\" }}\n");
        fs::write(folder.join("semantic-mapping.toml"), mapping).unwrap();
        let ended = desk.run("op-snapshot", &["publish", "./lamp", "--key", "publisher.key", "--out", "out"]);
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(ended.error().contains("Colour"), code == 65, "{ended:?}");
        assert_eq!(desk.path().join("out").exists(), code == 0);
    }
}

#[test]
fn versions_come_and_go() {
    for (name, disk) in Disk::each() {
        let root = disk.path().join("root");
        let desk = Publisher::at_root(&root);
        let packages = ["1.0.0", "1.1.0", "2.0.0"].map(|version| publish(&desk, version));
        let active = root.join("@plugin-hostname");
        let version = || {
            let text = fs::read_to_string(active.join("plugin.toml")).unwrap();
            text.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"').to_owned()
        };
        for package in &packages {
            let report = run(&desk, "op-install", package).json();
            assert_eq!((report["outcome"].as_str(), report["trust"].as_str()), (Some("installed"), Some("community")));
            assert_eq!(run(&desk, "op-install", package).json()["outcome"], "unchanged", "{name}");
        }
        assert_eq!(version(), "2.0.0");
        assert_eq!(is_subvolume(&active), name == "btrfs");
        assert_eq!(is_subvolume(&root.join("@plugin-snapshots/hostname@v1.0.0")), name == "btrfs");
        refused(&run(&desk, "op-install", &packages[0]), 5, "version 2.0.0 is installed, and this is the older 1.0.0");
        assert_eq!(run(&desk, "op-install", "rollback hostname").json()["to"], "1.1.0");
        assert_eq!(run(&desk, "op-install", "rollback hostname").json()["to"], "2.0.0", "and forth");
        assert_eq!(run(&desk, "op-install", "rollback hostname --to v1.0.0").json()["from"], "2.0.0");
        assert_eq!(version(), "1.0.0");
        refused(&run(&desk, "op-install", "rollback hostname --to 9.0.0"), 65, "not installed");
        let shown = run(&desk, "op-install", "show hostname").json();
        let list: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|v| v["plugin_version"].clone()).collect();
        assert_eq!(list, ["2.0.0", "1.1.0", "1.0.0"]);
        assert_eq!(shown["versions"][2]["is_active"], true);
        refused(&run(&desk, "op-install", "remove hostname --version 1.0.0 --yes"), 5, "is the active one");
        assert_eq!(run(&desk, "op-install", "remove hostname --version 1.1.0 --yes").code, 0);
        assert_eq!(run(&desk, "op-install", "verify").json()["versions"].as_array().unwrap().len(), 2);

        // A changed byte is found. On btrfs the kernel refuses it, unless it is asked to give up the seal.
        let readme = active.join("README.md");
        if name == "btrfs" {
            assert!(fs::write(&readme, "x").is_err(), "sealed");
            sh(&format!("btrfs property set -f {} ro false", active.display()));
        }
        sh(&format!("chmod u+w {0} {0}/README.md; echo more >> {0}/README.md", active.display()));
        let bad = run(&desk, "op-install", "verify hostname");
        refused(&bad, 7, "not what was signed");
        assert!(bad.stdout.contains("differs from what was installed in: README.md"), "{name}: {bad:?}");
        // Installing it again mends that; what had been changed is kept like a draft.
        let mended = run(&desk, "op-install", &format!("{} --allow-downgrade", packages[0])).json();
        assert_eq!(mended["draft_kept_as"], "1.0.0+draft.1", "{name}");
        assert_eq!(run(&desk, "op-install", "verify hostname").code, 0);
        // And so does what is kept of the package, or of its signature.
        let kept = root.join("@state/packages/hostname-v1.0.0.btrfs.zst");
        let bytes = fs::read(&kept).unwrap();
        fs::write(&kept, &bytes[1..]).unwrap();
        refused(&run(&desk, "op-install", "verify hostname"), 7, "not what was signed");
        fs::write(&kept, bytes).unwrap();
        assert_eq!(run(&desk, "op-install", "remove hostname --yes").code, 0);
        let is_known = |path: &String| path.starts_with("@cache") || path.starts_with("@timing");
        let left: Vec<String> = picture(&root).into_keys().filter(|path| !is_known(path)).collect();
        assert_eq!(left, [".lock", "@plugin-snapshots", "@state", "@state/packages"], "{name}");
    }
}

/// Every change has an intent and an outcome, and what was refused is there, too.
#[test]
fn every_change_is_in_the_audit_trail() {
    for (name, disk) in Disk::each() {
        let desk = Publisher::at_root(&disk.path().join("root"));
        let [one, two] = ["1.0.0", "1.1.0"].map(|version| publish(&desk, version));
        let installed = run(&desk, "op-install", &one).json();
        assert_eq!(run(&desk, "op-install", &one).json()["outcome"], "unchanged");
        assert_eq!(run(&desk, "op-install", &format!("{two} --dry-run")).code, 0);
        assert_eq!(run(&desk, "op-install", &two).code, 0);
        let back = run(&desk, "op-install", "rollback hostname").json();
        refused(&run(&desk, "op-install", "remove hostname --version 1.0.0 --yes"), 5, "is the active one");
        assert_eq!(run(&desk, "op-install", "remove hostname --version 1.1.0 --yes").code, 0);
        fs::write(desk.path().join("hostname-v9.0.0.btrfs.zst"), "harm").unwrap();
        refused(&run(&desk, "op-install", "./hostname-v9.0.0.btrfs.zst"), 7, "not signed");
        refused(&run(&desk, "op-install", "remove hostname"), 5, "no terminal");
        assert_eq!(run(&desk, "op-install", "remove hostname --yes").code, 0);
        refused(&run(&desk, "op-install", "remove hostname --yes"), 65, "not installed");

        let log = run(&desk, "op-audit", "log").stdout;
        let blocks: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = |block: &serde_json::Value| {
            let detail = &block["header"]["detail"];
            let what = detail["verb"].as_str().or(detail["outcome"].as_str()).unwrap();
            format!(
                "{} {what}: {}",
                block["header"]["kind"].as_str().unwrap(),
                block["entries"][0]["title"].as_str().unwrap()
            )
        };
        let bad = desk.path().join("hostname-v9.0.0.btrfs.zst");
        assert_eq!(
            blocks.iter().map(said).collect::<Vec<_>>(),
            [
                "intent install: Install the plugin hostname 1.0.0",
                "outcome applied: Install the plugin hostname 1.0.0",
                "intent install: Install the plugin hostname: 1.1.0 in place of 1.0.0",
                "outcome applied: Install the plugin hostname: 1.1.0 in place of 1.0.0",
                "intent rollback: Roll back the plugin hostname: 1.0.0 in place of 1.1.0",
                "outcome applied: Roll back the plugin hostname: 1.0.0 in place of 1.1.0",
                "refusal remove: Remove hostname",
                "intent remove: Remove version 1.1.0 of the plugin hostname",
                "outcome applied: Remove version 1.1.0 of the plugin hostname",
                &format!("refusal install: Install {}", bad.display()),
                "refusal remove: Remove hostname",
                "intent remove: Remove the plugin hostname",
                "outcome applied: Remove the plugin hostname",
            ],
            "{name}"
        );
        assert_eq!(blocks[0]["header"]["run"], installed["run"]);
        assert_eq!(blocks[4]["header"]["run"], back["run"]);
        assert_eq!(blocks[0]["header"]["detail"]["package"]["sha256"], installed["sha256"]);
        assert_eq!(blocks[4]["entries"][0]["after"], json!({"@plugin-hostname": installed["tree"]}));
        assert_eq!(run(&desk, "op-audit", "verify").code, 0, "{name}");
        let found = run(&desk, "op-audit", "log --plugin hostname --outcome applied").stdout;
        assert_eq!(found.lines().count(), 5, "{name}: {found}");
    }
}

/// What was changed behind our back is not made active, with or without the folder that was active before.
#[test]
fn a_version_that_was_changed_is_not_rolled_back_to() {
    for (name, disk) in Disk::each() {
        let root = disk.path().join("root");
        let desk = Publisher::at_root(&root);
        for version in ["1.0.0", "1.1.0"] {
            let package = publish(&desk, version);
            assert_eq!(run(&desk, "op-install", &package).code, 0);
        }
        let change = |folder: &Path| {
            let unseal = if name == "btrfs" {
                format!("btrfs property set -f {} ro false;", folder.display())
            } else {
                String::new()
            };
            let seal = if name == "btrfs" {
                format!("btrfs property set {} ro true", folder.display())
            } else {
                format!("chmod -R a-w {}", folder.display())
            };
            sh(&format!("{unseal} chmod u+w {0} {0}/README.md; echo more >> {0}/README.md; {seal}", folder.display()));
        };
        change(&root.join(".standby-hostname"));
        assert_eq!(run(&desk, "op-install", "rollback hostname").json()["to"], "1.0.0", "{name}");
        assert_eq!(run(&desk, "op-install", "verify").code, 0, "{name}: the good version was taken");
        change(&root.join("@plugin-snapshots/hostname@v1.1.0"));
        change(&root.join(".standby-hostname"));
        refused(&run(&desk, "op-install", "rollback hostname"), 7, "not what was installed");
        assert_eq!(run(&desk, "op-install", "show hostname").json()["plugin_version"], "1.0.0", "{name}");
    }
}

/// The founding document's creator and user workflows, command by command, with the stock tools in both places.
#[test]
fn the_stock_tools_publish_and_we_install() {
    for kind in [Kind::Btrfs, Kind::Ext4] {
        let (creator, user) = (Disk::new(Kind::Btrfs, "256M"), Disk::new(kind, "256M"));
        let desk = Publisher::at_root(&user.path().join("root"));
        let (at, desk_at) = (creator.path(), desk.path());
        sh(&format!(
            "cd {at}; umask 022
             btrfs subvolume create @plugin-hostname
             cp -r --no-preserve=mode {source}/. @plugin-hostname/
             mkdir @plugin-snapshots
             btrfs subvolume snapshot -r @plugin-hostname @plugin-snapshots/hostname@v1.0.0
             btrfs send -q @plugin-snapshots/hostname@v1.0.0 | zstd -q > {desk}/hostname-v1.0.0.btrfs.zst
             cd {desk}; sum=$(sha256sum < hostname-v1.0.0.btrfs.zst | cut -d' ' -f1)
             minisign -S -s publisher.key -m hostname-v1.0.0.btrfs.zst \
               -t \"op-dbus-package/1 name=hostname version=1.0.0 sha256=$sum\"",
            at = at.display(),
            source = repository().join("mappings/hostname").display(),
            desk = desk_at.display()
        ));
        let report = run(&desk, "op-install", "hostname-v1.0.0.btrfs.zst").json();
        assert_eq!((report["outcome"].as_str(), report["trust"].as_str()), (Some("installed"), Some("community")));
        sh(&format!(
            "diff -r --no-dereference {}/@plugin-hostname {}/@plugin-hostname",
            at.display(),
            desk.root().display()
        ));
        assert_eq!(run(&desk, "op-install", "verify").json()["versions"][0]["verdict"], "good");
    }
}

/// The same the other way round, on either file system: ours publish, the stock tools check and receive.
#[test]
fn we_publish_and_the_stock_tools_install() {
    let mut packages = Vec::new();
    for kind in [Kind::Btrfs, Kind::Ext4] {
        let (creator, user) = (Disk::new(kind, "256M"), Disk::new(Kind::Btrfs, "256M"));
        let desk = Publisher::at_root(&creator.path().join("root"));
        // A draft by hand, as the founding document has it.
        let folder = source(&desk, "1.0.0");
        fs::create_dir(desk.root()).unwrap();
        if kind == Kind::Btrfs {
            sh(&format!("btrfs subvolume create {}/@plugin-hostname", desk.root().display()));
        } else {
            fs::create_dir(desk.root().join("@plugin-hostname")).unwrap();
        }
        sh(&format!("cp -r {folder}/. {}/@plugin-hostname/", desk.root().display()));
        let published =
            run(&desk, "op-snapshot", "publish hostname --version 1.0.0 --key publisher.key --out .").json();
        assert_eq!(is_subvolume(Path::new(published["snapshot"].as_str().unwrap())), kind == Kind::Btrfs);
        let said = sh(&format!(
            "cd {desk}; minisign -V -m hostname-v1.0.0.btrfs.zst -p keys/publisher.pub
             sha256sum -c hostname-v1.0.0.btrfs.zst.sha256
             zstd -q -d < hostname-v1.0.0.btrfs.zst | btrfs receive -q {user}
             diff -r --no-dereference {folder} {user}/hostname@v1.0.0
             mv {user}/hostname@v1.0.0 {user}/@plugin-hostname",
            desk = desk.path().display(),
            user = user.path().display()
        ));
        assert!(said.contains("op-dbus-package/1 name=hostname version=1.0.0"), "{said}");
        packages.push(fs::read(desk.path().join("hostname-v1.0.0.btrfs.zst")).unwrap());
        assert_eq!(run(&desk, "op-snapshot", "publish hostname --key publisher.key --out again").code, 0);
        fs::write(desk.root().join("@plugin-hostname/README.md"), "changed").unwrap();
        let changed = run(&desk, "op-snapshot", "publish hostname --key publisher.key --out .");
        refused(&changed, 5, "published or installed before, with other contents");
        let wrong = run(&desk, "op-snapshot", "publish hostname --version 1.0.1 --key publisher.key --out .");
        refused(&wrong, 65, "plugin.toml says version");
        refused(&wrong, 65, "/@plugin-hostname/plugin.toml");
        // What was put there by hand and mv'ed works as it is.
        let moved = Publisher::at_root(user.path().as_path());
        let listed = run(&moved, "op-install", "list").json();
        assert_eq!(
            (&listed["plugins"][0]["name"], &listed["plugins"][0]["trust"]),
            (&json!("hostname"), &json!("generated"))
        );
    }
    assert_eq!(Plain::of(&packages[0]), Plain::of(&packages[1]), "the same bytes, wherever they were made");
}

#[test]
fn what_was_received_by_hand_is_adopted() {
    let disk = Disk::new(Kind::Btrfs, "256M");
    let desk = Publisher::at_root(&disk.path().join("root"));
    let package = publish(&desk, "1.0.0");
    assert_eq!(run(&desk, "op-snapshot", "init").code, 0);
    let root = desk.root().display().to_string();
    let receive = |package: &str, to: &str| {
        sh(&format!("cd {}; zstd -q -d < {package} | btrfs receive -q {to}", desk.path().display()))
    };
    receive(&package, &format!("{root}/@plugin-snapshots"));
    let listed = run(&desk, "op-install", "list");
    assert!(listed.stderr.contains("was put there by hand: op-install adopt hostname --version 1.0.0"), "{listed:?}");
    assert_eq!(listed.json()["plugins"], json!([]), "it is not active");
    refused(&run(&desk, "op-install", "rollback hostname --to 1.0.0"), 7, "by hand");
    refused(&run(&desk, "op-install", "adopt hostname"), 7, "nothing says who made it");
    refused(&run(&desk, "op-install", "adopt other"), 65, "no version of it");
    let adopted = run(&desk, "op-install", &format!("adopt hostname --package {package}")).json();
    assert_eq!((adopted["outcome"].as_str(), adopted["trust"].as_str()), (Some("installed"), Some("community")));
    assert_eq!(run(&desk, "op-install", "verify").json()["versions"][0]["verdict"], "good");
    assert!(!run(&desk, "op-install", "list").stderr.contains("by hand"));

    // Beside the volumes, and signed by nobody; with another's package; with what no plugin may hold.
    let folder = source(&desk, "1.1.0");
    assert_eq!(run(&desk, "op-snapshot", &format!("publish {folder} --unsigned --out packages")).code, 0);
    let unsigned = "packages/hostname-v1.1.0.btrfs.zst";
    receive(unsigned, &root);
    refused(&run(&desk, "op-install", &format!("adopt hostname --package {unsigned}")), 7, "not signed");
    refused(&run(&desk, "op-install", &format!("adopt hostname --package {package}")), 7, "differs");
    let adopted = run(&desk, "op-install", "adopt hostname --allow-unsigned --yes").json();
    assert_eq!((adopted["plugin_version"].as_str(), adopted["trust"].as_str()), (Some("1.1.0"), Some("generated")));
    assert!(
        !desk.root().join("hostname@v1.1.0").exists() && desk.root().join("@plugin-snapshots/hostname@v1.1.0").exists()
    );
    sh(&format!(
        "cd {root}; btrfs subvolume create evil@v1.0.0; echo '#!/bin/sh' > evil@v1.0.0/run; chmod 755 evil@v1.0.0/run
         ln -s /etc/shadow evil@v1.0.0/plugin.toml"
    ));
    let evil = run(&desk, "op-install", "adopt evil --allow-unsigned --yes");
    refused(&evil, 7, "executable");
    assert!(evil.error().contains("a symbolic link"), "{evil:?}");
    assert!(!desk.root().join("@plugin-evil").exists());
}

#[test]
fn a_draft_gives_way_and_is_kept() {
    for (name, disk) in Disk::each() {
        let desk = Publisher::at_root(&disk.path().join("root"));
        let folder = source(&desk, "0.5.0");
        fs::create_dir_all(desk.root().join("@plugin-hostname")).unwrap();
        sh(&format!("cp -r {folder}/. {}/@plugin-hostname/", desk.root().display()));
        let package = publish(&desk, "1.0.0");
        let installed = run(&desk, "op-install", &package).json();
        assert_eq!(installed["draft_kept_as"], "0.5.0+draft.1", "{name}");
        assert_eq!(run(&desk, "op-install", "rollback hostname").json()["to"], "0.5.0+draft.1");
        fs::write(desk.root().join("@plugin-hostname/README.md"), "goes on").unwrap();
        assert_eq!(run(&desk, "op-install", "rollback hostname --to 1.0.0").json()["to"], "1.0.0");
        assert_eq!(run(&desk, "op-install", "rollback hostname").json()["to"], "0.5.0+draft.2", "{name}");
        assert_eq!(fs::read_to_string(desk.root().join("@plugin-hostname/README.md")).unwrap(), "goes on");
    }
}

#[test]
fn what_a_new_version_may_do_is_agreed_to() {
    let desk = Publisher::new();
    let mapping = |more: &str| format!("[state_mapping.color]\nread = {{ property = \"Color\" }}\n{more}");
    let publish = |version: &str, mapping: &str| {
        let folder = desk.path().join(format!("lamp-{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plugin.toml"), MANIFEST.replace("1.0.0", version)).unwrap();
        fs::write(folder.join("semantic-mapping.toml"), mapping).unwrap();
        let line = format!("publish {} --key publisher.key --out .", folder.display());
        assert_eq!(run(&desk, "op-snapshot", &line).code, 0);
    };
    publish("1.0.0", &mapping(""));
    publish("1.1.0", &mapping("write = { property = \"Color\" }\n"));
    publish("1.2.0", &mapping(""));
    let install =
        |version: &str, more: &str| run(&desk, "op-install", format!("lamp-v{version}.btrfs.zst {more}").trim());
    assert_eq!(install("1.0.0", "").code, 0, "nothing was there");
    let dry = install("1.1.0", "--dry-run").json();
    assert_eq!(dry["gained"], json!(["write color"]));
    assert_eq!(dry["reasons"], json!(["it may do more than the version before"]));
    let alone = install("1.1.0", "");
    refused(&alone, 5, "it may do more than the version before");
    assert_eq!(run(&desk, "op-install", "list").json()["plugins"][0]["plugin_version"], "1.0.0", "as before");
    assert_eq!(install("1.1.0", "--yes").code, 0);
    let less = install("1.2.0", "").json();
    assert_eq!(less["lost"], json!(["write color"]));
}

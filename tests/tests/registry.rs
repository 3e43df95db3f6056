//! Registries, from the publisher's desk to another machine: made, asked, searched, copied, replayed, taken back.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::package::publish::beside;
use op_dbus_tests::publisher::{Ended, Publisher, picture};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a plugin's folder.
fn plugin(desk: &Publisher, name: &str, version: &str, needs: &[(&str, &str)]) -> PathBuf {
    let folder = desk.path().join("source").join(format!("{name}-{version}"));
    fs::create_dir_all(&folder).unwrap();
    let needs: String = needs.iter().map(|(name, wanted)| format!("\"{name}\" = \"{wanted}\"\n")).collect();
    let manifest = format!(
        "[plugin]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"It is a {name}\"\n\
         dbus_service = \"org.example.{name}\"\n[dependencies]\n{needs}"
    );
    fs::write(folder.join("plugin.toml"), manifest).unwrap();
    fs::write(folder.join("README.md"), format!("# {name} {version}\n")).unwrap();
    folder
}

fn publish(desk: &Publisher, name: &str, version: &str, needs: &[(&str, &str)]) {
    let folder = plugin(desk, name, version, needs);
    let out = format!("registry/{name}");
    let published =
        desk.run("op-snapshot", &["publish", folder.to_str().unwrap(), "--key", "publisher.key", "--out", &out]);
    assert_eq!(published.code, 0, "{published:?}");
}

fn build(desk: &Publisher, more: &[&str]) -> Ended {
    desk.run("op-install", &[&["registry", "build", "registry", "--key", "publisher.key"], more].concat())
}

fn add(desk: &Publisher) {
    let added = desk.run("op-install", &["registry", "add", "registry"]);
    assert_eq!(added.json()["registries"].as_array().unwrap().len(), 1);
}

fn install(desk: &Publisher, what: &str, more: &[&str]) -> Ended {
    desk.run("op-install", &[&[what, "--yes"], more].concat())
}

fn installed(desk: &Publisher) -> Value {
    let listed = desk.run("op-install", &["list"]).json();
    let pairs = listed["plugins"].as_array().unwrap().iter();
    pairs.map(|p| (p["name"].as_str().unwrap().to_owned(), p["plugin_version"].clone())).collect()
}

/// The desk with lamps, their switches and sockets.
fn stocked() -> Publisher {
    let desk = Publisher::new();
    publish(&desk, "socket", "1.0.0", &[]);
    publish(&desk, "socket", "1.4.0", &[]);
    publish(&desk, "socket", "2.0.0", &[]);
    publish(&desk, "switch", "1.0.0", &[("socket", "^1")]);
    publish(&desk, "lamp", "1.0.0", &[("switch", "*"), ("op-dbus", ">=0.1")]);
    publish(&desk, "lamp", "1.1.0", &[("switch", "^1"), ("socket", "*")]);
    assert_eq!(build(&desk, &[]).json()["packages"], 6);
    desk
}

#[test]
fn by_name_with_everything_it_needs() {
    let desk = stocked();
    let unknown = install(&desk, "lamp", &[]);
    assert!(unknown.code == 5 && unknown.error().contains("no registry is known"), "{unknown:?}");
    add(&desk);
    for file in ["socket/README.md", "index.json", "index.json.minisig", "lamp/lamp-v1.1.0.btrfs.zst.minisig"] {
        assert!(desk.path().join("registry").join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(desk.path().join("registry/lamp/README.md")).unwrap(), "# lamp 1.1.0\n");
    let found = desk.run("op-install", &["registry", "search", "is a L"]).json();
    assert_eq!(found["found"][0]["name"], "lamp");
    assert_eq!(found["found"][0]["versions"], json!({"1.0.0": null, "1.1.0": null}));
    assert_eq!(found["found"].as_array().unwrap().len(), 1);

    // Nobody at the terminal to agree to what comes along.
    let refused = desk.run("op-install", &["lamp"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    let before = picture(desk.root());
    let dry = install(&desk, "lamp", &["--dry-run"]).json();
    assert_eq!(dry["packages"][0]["outcome"], "would_install");
    assert_eq!(before.len(), picture(desk.root()).len(), "a dry run changes nothing");
    let report = install(&desk, "lamp", &[]).json();
    let names: Vec<_> = report["packages"].as_array().unwrap().iter().map(|p| p["plugin"].as_str().unwrap()).collect();
    assert_eq!(names, ["socket", "switch", "lamp"]);
    assert_eq!(installed(&desk), json!({"lamp": "1.1.0", "socket": "1.4.0", "switch": "1.0.0"}));
    let again = install(&desk, "lamp", &[]).json();
    assert_eq!((again["packages"].clone(), again["unchanged"]["lamp"].clone()), (json!([]), json!("1.1.0")));

    let conflict = install(&desk, "socket@^2", &[]);
    assert_eq!(conflict.code, 5);
    assert!(conflict.error().contains("the installed switch 1.0.0 needs socket ^1"), "{}", conflict.error());
    assert_eq!(install(&desk, "lamp@1.0.0", &[]).code, 5, "older only when that is said");
    assert_eq!(install(&desk, "lamp@1.0.0", &["--allow-downgrade"]).code, 0);
    assert_eq!(installed(&desk)["lamp"], "1.0.0");
    let planned = desk.run("op-install", &["upgrade", "--dry-run"]).json();
    assert_eq!(planned["packages"][0]["plugin_version"], "1.1.0");
    assert_eq!(desk.run("op-install", &["upgrade", "--yes"]).code, 0);
    assert_eq!(
        installed(&desk),
        json!({"lamp": "1.1.0", "socket": "1.4.0", "switch": "1.0.0"}),
        "2.0.0 would break it"
    );
    let good = desk.run("op-install", &["verify"]).json();
    assert!(good["versions"].as_array().unwrap().iter().all(|v| v["verdict"] == "good"), "{good}");
}

/// A package from a file brings along what it needs, and what is needed stays.
#[test]
fn what_is_needed_comes_along_and_stays() {
    let desk = stocked();
    let file = desk.path().join("registry/lamp/lamp-v1.1.0.btrfs.zst");
    let alone = desk.install(&file, &["--yes"]);
    assert!(alone.code == 5 && alone.error().contains("needs switch ^1, which is not installed"), "{alone:?}");
    add(&desk);
    assert_eq!(desk.install(&file, &[]).code, 5, "nobody at the terminal to agree to what comes along");
    let dry = desk.install(&file, &["--dry-run"]).json();
    assert_eq!(dry["packages"].as_array().unwrap().len(), 3, "{dry}");
    assert_eq!(installed(&desk), json!({}));
    let report = desk.install(&file, &["--yes"]).json();
    let names: Vec<_> = report["packages"].as_array().unwrap().iter().map(|p| p["plugin"].as_str().unwrap()).collect();
    assert_eq!(names, ["socket", "switch", "lamp"]);
    assert_eq!(report["packages"][2]["source"], file.display().to_string());
    assert_eq!(desk.install(&file, &["--yes"]).json()["outcome"], "unchanged");

    for (name, why) in [("switch", "lamp needs switch ^1"), ("socket", "lamp needs socket *")] {
        let kept = desk.run("op-install", &["remove", name, "--yes"]);
        assert!(kept.code == 5 && kept.error().contains(why), "{kept:?}");
    }
    let both = desk.run("op-install", &["remove", "socket", "--yes"]);
    assert!(
        both.error().contains("switch needs socket ^1") && both.error().contains("--ignore-dependencies"),
        "{both:?}"
    );
    // Nor does a file take away what another plugin needs.
    let newer = desk.path().join("registry/socket/socket-v2.0.0.btrfs.zst");
    let broken = desk.install(&newer, &["--yes"]);
    assert!(
        broken.code == 5 && broken.error().contains("switch needs socket ^1, and this would be 2.0.0"),
        "{broken:?}"
    );
    assert_eq!(installed(&desk), json!({"lamp": "1.1.0", "socket": "1.4.0", "switch": "1.0.0"}));
    for args in [
        &["remove", "switch", "--yes", "--ignore-dependencies"][..],
        &["remove", "lamp", "--yes"],
        &["remove", "socket", "--yes"],
    ] {
        assert_eq!(desk.run("op-install", args).code, 0, "{args:?}");
    }
    assert_eq!(installed(&desk), json!({}));
}

#[test]
fn what_cannot_be_resolved() {
    let desk = Publisher::new();
    publish(&desk, "a", "1.0.0", &[("b", "*")]);
    publish(&desk, "b", "1.0.0", &[("c", "*")]);
    publish(&desk, "c", "1.0.0", &[("a", "*")]);
    publish(&desk, "tip", "1.0.0", &[]);
    publish(&desk, "tip", "2.0.0", &[]);
    publish(&desk, "left", "1.0.0", &[("tip", "^1")]);
    publish(&desk, "right", "1.0.0", &[("tip", "^2")]);
    publish(&desk, "diamond", "1.0.0", &[("left", "*"), ("right", "*")]);
    publish(&desk, "needy", "1.0.0", &[("nowhere", "^3")]);
    publish(&desk, "modern", "1.0.0", &[("op-dbus", ">=99")]);
    assert_eq!(build(&desk, &[]).code, 0);
    add(&desk);
    for (what, why) in [
        ("a", "in a circle: a needs b needs c needs a"),
        ("diamond", "left 1.0.0 needs tip ^1, and right 1.0.0 needs tip ^2"),
        ("needy", "needs nowhere ^3, which no registry has"),
        ("modern", "needs op-dbus >=99"),
        ("unheard-of", "which no registry has"),
        ("tip@^3", "no version fits; there are 1.0.0, 2.0.0"),
    ] {
        let ended = install(&desk, what, &[]);
        assert!(ended.code == 5 && ended.error().contains(why), "{what}: {ended:?}");
    }
    assert_eq!(installed(&desk), json!({}));
}

#[test]
fn an_old_index_is_not_played_again() {
    let desk = stocked();
    add(&desk);
    let index = desk.path().join("registry/index.json");
    let old = [index.clone(), beside(&index, ".minisig")].map(|path| fs::read(path).unwrap());
    publish(&desk, "lamp", "1.2.0", &[]);
    assert_eq!(build(&desk, &["--yank", "lamp@1.1.0=it flickers"]).json()["number"], 2);
    let refresh = |desk: &Publisher| desk.run("op-install", &["registry", "refresh"]);
    assert_eq!(refresh(&desk).json()["registries"][0]["number"], 2);
    assert_eq!(refresh(&desk).code, 0, "the same again is fine");
    let put = |[bytes, signature]: &[Vec<u8>; 2]| {
        fs::write(&index, bytes).unwrap();
        fs::write(beside(&index, ".minisig"), signature).unwrap();
    };
    let new = [index.clone(), beside(&index, ".minisig")].map(|path| fs::read(path).unwrap());
    put(&old);
    let replayed = refresh(&desk);
    assert!(replayed.code == 7 && replayed.error().contains("number 2 was seen before"), "{replayed:?}");
    // Another of the same number.
    assert_eq!(build(&desk, &[]).json()["number"], 2);
    let forked = refresh(&desk);
    assert!(forked.code == 7 && forked.error().contains("another index number 2"), "{forked:?}");
    put(&new);
    assert_eq!(refresh(&desk).code, 0);

    // What was taken back is not chosen, stays taken back, and a lock file names it still.
    let found = desk.run("op-install", &["registry", "search", "lamp"]).json();
    assert_eq!(found["found"][0]["versions"]["1.1.0"], "it flickers");
    let yanked = install(&desk, "lamp@1.1.0", &[]);
    assert!(yanked.code == 5 && yanked.error().contains("taken back were 1.1.0"), "{yanked:?}");
    assert_eq!(build(&desk, &[]).json()["number"], 3);
    assert!(fs::read_to_string(&index).unwrap().contains("it flickers"));
    let lock = json!({"kind": "lock", "version": 1, "packages": {
        "lamp": {"plugin_version": "1.1.0", "sha256": sha256(&desk, "lamp", "1.1.0")},
        "switch": {"plugin_version": "1.0.0", "sha256": sha256(&desk, "switch", "1.0.0")},
        "socket": {"plugin_version": "1.0.0", "sha256": sha256(&desk, "socket", "1.0.0")}}});
    fs::write(desk.path().join("old.lock"), lock.to_string()).unwrap();
    assert_eq!(install(&desk, "lamp", &["--lock", "old.lock"]).code, 0);
    assert_eq!(installed(&desk), json!({"lamp": "1.1.0", "socket": "1.0.0", "switch": "1.0.0"}));
    assert_eq!(build(&desk, &["--unyank", "lamp@1.1.0"]).code, 0);
    assert!(!fs::read_to_string(&index).unwrap().contains("it flickers"));
    assert_eq!(build(&desk, &["--yank", "lamp@9.0.0=never was"]).code, 65);
}

fn sha256(desk: &Publisher, name: &str, version: &str) -> String {
    let path = desk.path().join(format!("registry/{name}/{name}-v{version}.btrfs.zst.sha256"));
    fs::read_to_string(path).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn an_index_ends() {
    let desk = stocked();
    assert_eq!(build(&desk, &["--lifetime", "2s"]).code, 0);
    add(&desk);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ended = install(&desk, "lamp", &[]);
    assert!(ended.code == 7 && ended.error().contains("ended at"), "{ended:?}");
    let frozen = desk.run("op-install", &["registry", "refresh"]);
    assert!(frozen.code == 7 && frozen.error().contains("ended at"), "{frozen:?}");
    let listed = desk.run("op-install", &["registry", "list"]).json();
    assert!(listed["registries"][0]["problem"].as_str().unwrap().contains("ended at"), "{listed}");
    assert_eq!(build(&desk, &[]).code, 0);
    assert_eq!(desk.run("op-install", &["registry", "refresh"]).code, 0);
    assert_eq!(install(&desk, "lamp", &[]).code, 0);
}

#[test]
fn what_an_index_may_not_be() {
    let desk = stocked();
    let index = desk.path().join("registry/index.json");
    let good = fs::read_to_string(&index).unwrap();
    let refused = |why: &str, code: i32| {
        let ended = desk.run("op-install", &["registry", "add", "registry"]);
        assert!(ended.code == code && ended.error().contains(why), "{why}: {ended:?}");
    };
    // Changed after it was signed, signed as something else, not signed.
    fs::write(&index, good.replace("socket", "sucket")).unwrap();
    refused("not that of these bytes", 7);
    let sign = |text: &str, comment: &str| {
        fs::write(&index, text).unwrap();
        let comment = comment.replace("SUM", &op_dbus::base::digest::Plain::of(text.as_bytes()));
        let signature = desk.key().sign_with_comment(text.as_bytes(), &comment).unwrap();
        fs::write(beside(&index, ".minisig"), signature).unwrap();
    };
    sign(&good, "op-dbus-package/1 name=registry version=1.0.0 sha256=SUM");
    refused("not that of this index", 7);
    let right = "op-dbus-registry/1 name=registry number=1 sha256=SUM";
    sign(&good, &right.replace("number=1", "number=2"));
    refused("not that of this index", 7);
    for (from, to, why) in [
        ("socket/socket-v1.0.0", "../socket-v1.0.0", "leads elsewhere"),
        ("socket/socket-v1.0.0", "/etc/socket-v1.0.0", "leads elsewhere"),
        ("socket/socket-v1.0.0", "https://elsewhere.example/x", "leads elsewhere"),
        ("\"name\": \"socket\"", "\"name\": \"../socket\"", "plugin name"),
        ("\"name\": \"registry\"", "\"name\": \"../registry\"", "plugin name"),
        ("\"version\": 1,", "\"version\": 2,", "version 2"),
        ("\"expires_at\": \"2", "\"expires_at\": \"x2", "until when"),
        ("{", "[", "no index"),
    ] {
        let name =
            if to.contains("../registry") { right.replace("name=registry", "name=../registry") } else { right.into() };
        sign(&good.replacen(from, to, 1), &name);
        refused(why, 65);
    }
    fs::remove_file(beside(&index, ".minisig")).unwrap();
    refused("not signed", 7);
    fs::remove_file(&index).unwrap();
    refused("no index", 69);
    assert!(!desk.root().join("@state/registries/registry").exists(), "nothing is left of it");
    let stranger = Publisher::new();
    publish(&stranger, "lamp", "1.0.0", &[]);
    assert_eq!(build(&stranger, &["--name", "strange"]).code, 0);
    let url = format!("file://{}", stranger.path().join("registry").display());
    let foreign = desk.run("op-install", &["registry", "add", &url]);
    assert!(foreign.code == 7 && foreign.error().contains("not trusted"), "{foreign:?}");
    let key = stranger.path().join("keys/publisher.pub");
    let pinned = desk.run("op-install", &["registry", "add", &url, "--key", key.to_str().unwrap()]);
    assert_eq!(pinned.json()["registries"][0]["name"], "strange");
    assert_eq!(install(&desk, "lamp", &[]).code, 0, "its key counts for its packages");
    // It is what was signed, by somebody whose word counts for that registry alone.
    let verified = desk.run("op-install", &["verify", "lamp"]);
    assert_eq!((verified.code, &verified.json()["versions"][0]["verdict"]), (0, &json!("unsigned")), "{verified:?}");
    let verified = desk.run("op-install", &["verify", "lamp", "--key", key.to_str().unwrap()]);
    assert_eq!((verified.code, &verified.json()["versions"][0]["verdict"]), (0, &json!("good")), "{verified:?}");
}

/// A package that was exchanged under a good index.
#[test]
fn another_package_than_the_index_says() {
    let desk = stocked();
    add(&desk);
    let package = desk.path().join("registry/socket/socket-v2.0.0.btrfs.zst");
    let folder = plugin(&desk, "socket", "2.0.0", &[("op-dbus", "*")]);
    let args = ["publish", folder.to_str().unwrap(), "--key", "publisher.key", "--out", "registry/socket"];
    let again = desk.run("op-snapshot", &args);
    assert!(again.code == 5 && again.error().contains("is there already, with other contents"), "{again:?}");
    let old = fs::read(&package).unwrap();
    fs::remove_file(&package).unwrap();
    assert_eq!(desk.run("op-snapshot", &args).code, 0);
    assert_ne!(fs::read(&package).unwrap(), old);
    let ended = install(&desk, "socket", &[]);
    assert!(ended.code == 7 && ended.error().contains("another package than the registry's index says"), "{ended:?}");
    let rebuilt = build(&desk, &[]);
    assert!(rebuilt.code == 5 && rebuilt.error().contains("published before, with other contents"), "{rebuilt:?}");
    fs::remove_file(&package).unwrap();
    assert_eq!(install(&desk, "socket", &[]).code, 65);
    let mirrored = desk.run("op-install", &["registry", "mirror", "registry", "copy"]);
    assert!(mirrored.code == 7 && mirrored.error().contains("the index names it"), "{mirrored:?}");
}

#[test]
fn a_copy_for_machines_without_a_network() {
    let desk = stocked();
    add(&desk);
    let mirrored = desk.run("op-install", &["registry", "mirror", "registry", "copy"]).json();
    assert_eq!((mirrored["fetched"].as_u64(), mirrored["unchanged"].as_u64()), (Some(6), Some(0)));
    let readme = |of: &str| fs::read(desk.path().join(of).join("lamp/README.md")).ok();
    assert!(readme("copy").is_some() && readme("copy") == readme("registry"));
    // It only goes forward.
    for file in ["index.json", "index.json.minisig"] {
        fs::copy(desk.path().join("registry").join(file), desk.path().join(file)).unwrap();
    }
    assert_eq!(build(&desk, &["--yank", "socket@2.0.0=bad"]).code, 0);
    assert_eq!(desk.run("op-install", &["registry", "mirror", "registry", "copy"]).code, 0);
    let newer = fs::read(desk.path().join("registry/index.json")).unwrap();
    assert_eq!(fs::read(desk.path().join("copy/index.json")).unwrap(), newer);
    for file in ["index.json", "index.json.minisig"] {
        fs::copy(desk.path().join(file), desk.path().join("registry").join(file)).unwrap();
    }
    let back = desk.run("op-install", &["registry", "mirror", "registry", "copy"]);
    assert!(back.code == 7 && back.error().contains("was seen before"), "{back:?}");
    assert_eq!(fs::read(desk.path().join("copy/index.json")).unwrap(), newer);
    fs::remove_file(desk.path().join("copy/index.json")).unwrap();
    let again = desk.run("op-install", &["registry", "mirror", "registry", "copy"]).json();
    assert_eq!((again["fetched"].as_u64(), again["unchanged"].as_u64()), (Some(0), Some(6)));
    fs::rename(desk.path().join("registry"), desk.path().join("gone")).unwrap();
    assert_eq!(desk.run("op-install", &["registry", "remove", "registry"]).code, 0);
    assert_eq!(desk.run("op-install", &["registry", "remove", "registry"]).code, 65);
    let added = desk.run("op-install", &["registry", "add", "copy/index.json", "--name", "copied"]);
    assert_eq!(added.json()["registries"][0]["name"], "copied");
    assert_eq!(install(&desk, "lamp", &[]).code, 0);
}

#[test]
fn a_lock_file_gives_another_machine_the_same() {
    let desk = stocked();
    add(&desk);
    assert_eq!(install(&desk, "lamp@1.0.0", &["--lock", "lamp.lock"]).code, 0);
    let lock: Value = serde_json::from_slice(&fs::read(desk.path().join("lamp.lock")).unwrap()).unwrap();
    assert_eq!(lock["packages"]["socket"]["plugin_version"], "1.4.0");
    publish(&desk, "socket", "1.5.0", &[]);
    assert_eq!(build(&desk, &[]).code, 0);
    let other = tempfile::tempdir().unwrap();
    let root = other.path().join("root");
    let at = |args: &[&str]| desk.run("op-install", &[&["--root", root.to_str().unwrap()], args].concat());
    assert_eq!(at(&["registry", "add", "registry"]).code, 0);
    let report = at(&["lamp", "--yes", "--lock", "lamp.lock"]).json();
    let versions: Vec<_> = report["packages"].as_array().unwrap().iter().map(|p| p["plugin_version"].clone()).collect();
    assert_eq!(versions, ["1.4.0", "1.0.0", "1.0.0"]);
    let changed = lock.to_string().replace(&sha256(&desk, "lamp", "1.0.0"), &"0".repeat(64));
    fs::write(desk.path().join("changed.lock"), changed).unwrap();
    let third = tempfile::tempdir().unwrap();
    let root = third.path().join("root");
    let at = |args: &[&str]| desk.run("op-install", &[&["--root", root.to_str().unwrap()], args].concat());
    assert_eq!(at(&["registry", "add", "registry"]).code, 0);
    let ended = at(&["lamp", "--yes", "--lock", "changed.lock"]);
    assert!(ended.code == 7 && ended.error().contains("another package than the one in the lock file"), "{ended:?}");
    assert!(!root.join("@plugin-socket").exists(), "everything is looked at before anything is installed");
    fs::write(desk.path().join("bad.lock"), "{}").unwrap();
    assert_eq!(at(&["lamp", "--yes", "--lock", "bad.lock"]).code, 65);
}

/// Two registries with a plugin of one name: it is the first one's.
#[test]
fn a_name_belongs_to_the_registry_that_was_first() {
    let desk = stocked();
    add(&desk);
    let second = desk.path().join("second");
    let folder = plugin(&desk, "lamp", "9.0.0", &[]);
    let out = second.join("lamp");
    let args = ["publish", folder.to_str().unwrap(), "--key", "publisher.key", "--out", out.to_str().unwrap()];
    assert_eq!(desk.run("op-snapshot", &args).code, 0);
    assert_eq!(desk.run("op-install", &["registry", "build", "second", "--key", "publisher.key"]).code, 0);
    assert_eq!(desk.run("op-install", &["registry", "add", "second"]).code, 0);
    let report = install(&desk, "lamp", &[]).json();
    assert_eq!(report["packages"][2]["plugin_version"], "1.1.0");
    assert!(Path::new(&second).join("index.json").is_file());
}

/// The registry of the shipped mappings, as `make registry` makes it: every one of them is installed from it by its name.
#[test]
fn the_shipped_mappings_are_a_registry() {
    let desk = Publisher::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/registry.sh");
    let make = || {
        let made = std::process::Command::new(&script)
            .args(["registry", "publisher.key"])
            .env("PROGRAMS", op_dbus_tests::program("op-install").parent().unwrap())
            .env("OP_DBUS_TRUSTED_KEYS", desk.path().join("none"))
            .current_dir(desk.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        serde_json::from_slice::<Value>(&made.stdout).unwrap()
    };
    let made = make();
    let index: Value = serde_json::from_slice(&fs::read(desk.path().join("registry/index.json")).unwrap()).unwrap();
    let names: Vec<&str> = index["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 12 && made["packages"].as_u64() == Some(names.len() as u64), "{names:?}");
    for name in &names {
        let folder = desk.path().join("registry").join(name);
        let files: Vec<String> = picture(&folder).into_keys().collect();
        let package = format!("{name}-v1.0.0.btrfs.zst");
        let mapping =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings").join(name).join("semantic-mapping.toml");
        let (signature, checksum) = (format!("{package}.minisig"), format!("{package}.sha256"));
        let mut expected = std::collections::BTreeSet::from(["README.md", &package, &signature, &checksum]);
        // What is built in has none.
        if mapping.exists() {
            expected.insert("semantic-mapping.toml");
            assert_eq!(fs::read(folder.join("semantic-mapping.toml")).unwrap(), fs::read(mapping).unwrap());
        }
        assert_eq!(files.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), expected);
    }
    add(&desk);
    for name in &names {
        let ended = install(&desk, name, &[]);
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
    }
    assert_eq!(installed(&desk).as_object().unwrap().len(), names.len());
    let before = picture(&desk.path().join("registry"));
    assert_eq!(make()["number"], 2);
    let after = picture(&desk.path().join("registry"));
    let changed: Vec<&String> =
        after.iter().filter(|(path, file)| before.get(*path) != Some(file)).map(|(p, _)| p).collect();
    assert_eq!(changed, ["index.json", "index.json.minisig"], "what was published stays as it was");
}

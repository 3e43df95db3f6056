//! The plugin `netmaker` with a stand-in for its server over real TLS, a stand-in for netclient, and real WireGuard.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::mesh::{MASTER_KEY, Mesh};
use op_dbus_tests::netns::Netns;
use op_dbus_tests::ops::{fails, outcome};
use op_dbus_tests::vswitch::tools;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn example(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/netmaker/examples").join(format!("{name}.json"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    document["plugins"]["netmaker"].clone()
}

#[track_caller]
fn applied(mesh: &Mesh, args: &[&str], state: &Value, token: &str) {
    let output = mesh.apply(args, state, token);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    let output = mesh.apply(args, state, token);
    assert_eq!((output.code, outcome(&output.json())), (0, "unchanged"), "the second time: {output:?}");
}

fn join() -> Value {
    json!({"networks": {"mesh1": {"enrollment_token": {"$secret": "mesh1-token"}}}})
}

/// Every file below a folder that holds one of `words`.
fn holding(folder: &str, words: &[&str]) -> String {
    let args = words.iter().flat_map(|word| ["-e", word]);
    let output = Command::new("grep").args(["-rlaF"]).args(args).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_mesh_comes_true_on_both_sides() {
    let mesh = Mesh::start();
    let token = mesh.token("mesh1", 1);
    let wish = example("netmaker-mesh");
    let output =
        mesh.run("op-apply", &["--dry-run", "--plugin", "netmaker"], &wish.to_string(), &[("NETMAKER", MASTER_KEY)]);
    assert_eq!(output.code, 0, "{output:?}");
    let before = mesh.state.lock().unwrap().clone();
    assert!(mesh.requests.lock().unwrap().iter().all(|request| request.starts_with("GET ")), "a plan only reads");
    applied(&mesh, &[], &wish, &token);
    let shown = mesh.query();
    assert_eq!(shown["networks"]["mesh1"]["address"], "10.101.0.5/16", "{shown}");
    assert_eq!(shown["server_networks"]["mesh1"]["addressrange"], "10.101.0.0/16");
    assert_eq!(shown["server_hosts"]["web1"]["networks"], json!(["mesh1", "old"]));
    assert_eq!(shown["enrollment_keys"]["laptops"]["uses_remaining"], 5);
    assert_eq!(shown["external_clients"]["old/phone"]["gateway"], "gw1");
    // Neither what was given nor what the server and netclient keep is anywhere.
    let secrets = [token.as_str(), MASTER_KEY, "secret-"];
    assert!(secrets.iter().all(|secret| !shown.to_string().contains(secret)), "{shown}");
    assert_eq!(holding(&mesh.path("root"), &secrets), "");

    // Members change, and go back.
    let state = mesh.state.lock().unwrap().clone();
    let other = json!({"server_networks": {"mesh1": {"defaultmtu": 1300}}, "external_clients": {"old/phone": {"enabled": false}},
                       "networks": {"mesh1": {"connected": false}}, "host": {"listen_port": 51900, "mtu": 1380}});
    applied(&mesh, &[], &other, &token);
    let shown = mesh.query();
    assert_eq!(
        (&shown["networks"]["mesh1"]["connected"], &shown["host"]["listen_port"]),
        (&json!(false), &json!(51900))
    );
    let output =
        mesh.run("op-apply", &["--yes", "--rollback"], "", &[("NETMAKER", MASTER_KEY), ("MESH1_TOKEN", &token)]);
    assert_eq!((output.code, outcome(&output.json())), (0, "applied"), "{output:?}");
    assert_eq!(*mesh.state.lock().unwrap(), state);
    assert_eq!(mesh.query()["networks"]["mesh1"]["connected"], true);

    // All of it goes, which must be agreed to.
    let gone = json!({"server_hosts": {"web1": {"networks": []}}, "enrollment_keys": {"laptops": {"state": "absent"}},
                      "external_clients": {"old/phone": {"state": "absent"}}, "networks": {"mesh1": {"state": "absent"}}});
    fails(&mesh.apply(&[], &gone, &token), 5, &["allow-irreversible"]);
    applied(&mesh, &["--allow-irreversible"], &gone, &token);
    applied(&mesh, &[], &json!({"server_networks": {"mesh1": {"state": "absent"}}}), &token);
    assert_eq!(*mesh.state.lock().unwrap(), before);
}

#[test]
fn netclient_says_nothing_by_its_exit_code() {
    let mesh = Mesh::start();
    mesh.settings("");
    // A server of which nothing is known: that the token is used up, only netclient finds out.
    let token = mesh.token("mesh1", 0);
    let output = mesh.apply(&[], &join(), &token);
    assert_eq!((output.code, outcome(&output.json())), (1, "undone"), "{output:?}");
    assert!(!format!("{output:?}").contains(&token));
    assert_eq!(mesh.query()["networks"], json!({}));

    // A token of another network: netclient went there, and left it again.
    let token = mesh.token("other", 1);
    fails(&mesh.apply(&[], &join(), &token), 1, &["nothing was changed"]);
    assert!(std::fs::read_to_string(mesh.path("netclient.log")).is_ok_and(|log| log.contains("leave other")));
    assert_eq!(mesh.query()["networks"], json!({}));

    let token = mesh.token("stubborn", 1);
    let wish = json!({"networks": {"stubborn": {"connected": true, "enrollment_token": {"$secret": "mesh1-token"}}}});
    applied(&mesh, &[], &wish, &token);
    let output = mesh.apply(&[], &json!({"networks": {"stubborn": {"connected": false}}}), &token);
    fails(&output, 1, &["netclient did not do it within 2 s"]);
    // What a file of netclient holds is not repeated, even when it is damaged.
    std::fs::write(mesh.path("netclient/netclient.json"), "{\"privatekey\": secret-").unwrap();
    let output = mesh.run("op-query", &["--plugin", "netmaker"], "", &[]);
    assert!(
        output.code != 0 && output.stderr.contains("netclient.json") && !output.stderr.contains("secret-"),
        "{output:?}"
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let mesh = Mesh::start();
    let used_up = mesh.token("mesh1", 1);
    let key = |more: Value| {
        let mut key = json!({"value": format!("{:x<32}", "mesh1"), "tags": ["used"], "networks": ["mesh1"], "uses_remaining": 0, "type": 2});
        more.as_object().unwrap().iter().for_each(|(name, value)| key[name] = value.clone());
        json!([key])
    };
    mesh.state.lock().unwrap()["keys"] = key(json!({}));
    let before = mesh.state.lock().unwrap().clone();
    let cases: Vec<(Value, i32, &[&str])> = vec![
        (join(), 5, &["used as often as it may", "networks.mesh1.enrollment_token"]),
        (json!({"networks": {"mesh1": {"enrollment_token": "literal"}}}), 5, &["this is a secret"]),
        (
            json!({"networks": {"mesh1": {"enrollment_token": {"$secret": "nobody-knows"}}}}),
            65,
            &["no secret of this name"],
        ),
        (
            json!({"networks": {"mesh1": {"enrollment_token": {"$secret": "netmaker"}}}}),
            65,
            &["no token of an enrollment key"],
        ),
        (json!({"networks": {"mesh1": {"connected": true}}}), 65, &["a host joins a network by a token"]),
        (json!({"host": {"mtu": 12}}), 65, &["host.mtu"]),
        (json!({"host": {"name": "x"}}), 65, &["host.name", "listen_port"]),
        (json!({"server_networks": {"Mesh 1": {"addressrange": "10.1.0.0/16"}}}), 65, &["no name of a network"]),
        (json!({"server_networks": {"m": {"addressrange": "10.1.0.0/33"}}}), 65, &["server_networks.m.addressrange"]),
        (json!({"server_networks": {"m": {"addressrange": "10.1.0.0/32"}}}), 65, &["at most /30"]),
        (json!({"server_networks": {"m": {}}}), 65, &["a network has a range"]),
        (json!({"server_networks": {"old": {"state": "absent"}}}), 5, &["hosts are in it: gw1"]),
        (json!({"enrollment_keys": {"x": {"type": "unlimited", "networks": ["old"]}}}), 65, &["3 to 32 characters"]),
        (json!({"enrollment_keys": {"xyz": {"type": "uses", "networks": ["old"]}}}), 65, &["says uses"]),
        (
            json!({"enrollment_keys": {"xyz": {"type": "unlimited", "networks": ["m"]}}}),
            65,
            &["the server has no network m"],
        ),
        (json!({"server_hosts": {"web9": {"networks": []}}}), 65, &["web9"]),
        (json!({"external_clients": {"old/phone": {"gateway": "web1"}}}), 65, &["no gateway of the network old"]),
        (json!({"external_clients": {"phone": {"gateway": "gw1"}}}), 65, &["NETWORK/CLIENT"]),
    ];
    for (wish, code, words) in cases {
        fails(&mesh.apply(&[], &wish, &used_up), code, words);
    }
    mesh.state.lock().unwrap()["keys"] = key(json!({"type": 1, "expiration": 1_000_000_000, "uses_remaining": 0}));
    fails(&mesh.apply(&[], &join(), &used_up), 5, &["the token is over"]);
    mesh.state.lock().unwrap()["keys"] = before["keys"].clone();
    mesh.state.lock().unwrap()["keys"] = key(json!({"networks": ["old"], "uses_remaining": 1}));
    fails(&mesh.apply(&[], &join(), &used_up), 65, &["not of the network mesh1", "old"]);
    mesh.state.lock().unwrap()["keys"] = before["keys"].clone();
    assert_eq!(*mesh.state.lock().unwrap(), before);
    assert!(!Path::new(&mesh.path("netclient.log")).exists(), "netclient was not run");
    assert!(mesh.requests.lock().unwrap().iter().all(|request| request.starts_with("GET ")));

    // Whose key is wrong, and who is not the server.
    let wish = json!({"server_networks": {"m": {"addressrange": "10.1.0.0/16"}}}).to_string();
    let wrong = [("NETMAKER", "wrong-key")];
    let output = mesh.run("op-apply", &["--yes", "--plugin", "netmaker"], &wish, &wrong);
    assert!(output.stderr.contains("401") && !output.stderr.contains("wrong-key"), "{output:?}");
    mesh.settings("server = \"http://127.0.0.1:1\"\n");
    fails(&mesh.run("op-apply", &["--yes", "--plugin", "netmaker"], &wish, &wrong), 5, &["without TLS"]);
    mesh.settings("");
    fails(&mesh.run("op-apply", &["--yes", "--plugin", "netmaker"], &wish, &wrong), 65, &["no server is named"]);
}

/// WireGuard in user space, in a namespace; it ends with this.
struct WireGuard(Child);

impl WireGuard {
    fn start(case: &Netns, link: &str) -> Self {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", case.holder()))
            .arg(tools().join("bin/wireguard-go"))
            .args(["-f", link]);
        command.env("WG_PROCESS_FOREGROUND", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let one = Self(command.spawn().unwrap());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !Path::new(&format!("/var/run/wireguard/{link}.sock")).exists() {
            assert!(std::time::Instant::now() < end, "wireguard-go does not start");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        one
    }
}

impl Drop for WireGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn handshakes_are_seen_and_keys_are_not() {
    let mesh = Mesh::start();
    mesh.settings("");
    let (a, b) = (Netns::start("none"), Netns::start("none"));
    // Sockets of WireGuard are the machine's: names of this process alone.
    let (left, right) = (format!("wa{}", std::process::id()), format!("wb{}", std::process::id()));
    a.sh(&format!(
        "ip link add va type veth peer name vb netns {}; ip address add 192.168.77.1/24 dev va; ip link set va up",
        b.holder()
    ));
    b.sh("ip address add 192.168.77.2/24 dev vb; ip link set vb up");
    let ends = (WireGuard::start(&a, &left), WireGuard::start(&b, &right));
    let wg = tools().join("bin/wg").display().to_string();
    let keys = |case: &Netns, name: &str| {
        let file = mesh.path(name);
        let private = case.sh(&format!("umask 077; {wg} genkey | tee {file}"));
        (private.trim().to_owned(), case.sh(&format!("{wg} pubkey < {file}")).trim().to_owned(), file)
    };
    let (of_a, of_b) = (keys(&a, "ka"), keys(&b, "kb"));
    let psk = mesh.path("psk");
    let shared = a.sh(&format!("umask 077; {wg} genpsk | tee {psk}"));
    let up = |case: &Netns, link: &str, key: &str, peer: &str, at: &str, address: &str, other: &str| {
        case.sh(&format!(
            "{wg} set {link} private-key {key} listen-port 51821 peer {peer} preshared-key {psk} allowed-ips {other}/32 endpoint {at}:51821 \
             persistent-keepalive 1; ip address add {address}/24 dev {link}; ip link set {link} up"
        ));
    };
    up(&a, &left, &of_a.2, &of_b.1, "192.168.77.2", "10.66.0.1", "10.66.0.2");
    up(&b, &right, &of_b.2, &of_a.1, "192.168.77.1", "10.66.0.2", "10.66.0.1");
    let host = json!({"name": "this", "interface": left, "listenport": 51821, "mtu": 1420, "privatekey": [1, 2]});
    std::fs::write(mesh.path("netclient/netclient.json"), host.to_string()).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let shown = loop {
        let shown = mesh.query();
        if shown["wireguard"]["peers"][&of_b.1]["latest_handshake"].as_u64().is_some_and(|at| at > 1_000_000_000) {
            break shown;
        }
        assert!(std::time::Instant::now() < end, "no handshake: {shown}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let peer = &shown["wireguard"]["peers"][&of_b.1];
    assert_eq!((&peer["allowed_ips"], &peer["endpoint"]), (&json!(["10.66.0.2/32"]), &json!("192.168.77.2:51821")));
    assert_eq!(shown["wireguard"]["public_key"], json!(of_a.1));
    for secret in [&of_a.0, &of_b.0, shared.trim()] {
        assert!(!shown.to_string().contains(secret), "{shown}");
    }
    drop(ends);
}

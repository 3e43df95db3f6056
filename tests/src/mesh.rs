//! A stand-in for Netmaker: an https server with the encodings, codes and messages of the real one, and a `netclient` that
//! keeps the real one's files and ends with 0 whatever came of it.

use crate::command::{Output, Started};
use crate::private_bus::PrivateBus;
use crate::program;
use base64::Engine;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The key by which the server knows its administrator.
pub const MASTER_KEY: &str = "master-key-of-the-test-server";

/// The server, netclient's files, and the plugin `netmaker` that is told where they are.
#[derive(Debug)]
pub struct Mesh {
    folder: tempfile::TempDir,
    bus: PrivateBus,
    tls: Child,
    /// What the server has.
    pub state: Arc<Mutex<Value>>,
    /// What it was asked: verb and path.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Mesh {
    /// Starts the server with a gateway `gw1`, a host `web1`, and a network `old`.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &path("key"), "-out", &path("cert")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // It passes on what one client after another says, and what is said to it.
        let mut tls = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
                "-cert",
                &path("cert"),
                "-key",
                &path("key"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let state = Arc::new(Mutex::new(first_state()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (heard, said) = (tls.stdout.take().unwrap(), tls.stdin.take().unwrap());
        let (of_server, log) = (Arc::clone(&state), Arc::clone(&requests));
        std::thread::spawn(move || serve(BufReader::new(heard), said, &of_server, &log));
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let one = Self { bus: PrivateBus::start(), tls, state, requests, folder };
        std::fs::create_dir_all(one.path("netclient")).unwrap();
        std::fs::create_dir_all(one.path("mappings/netmaker")).unwrap();
        std::fs::write(one.path("tokens"), "").unwrap();
        one.write_client();
        one.settings(&format!("server = \"https://127.0.0.1:{port}\"\ncertificates = {:?}\n", one.path("cert")));
        one
    }

    /// Writes the plugin's settings: where things are, and `more`.
    pub fn settings(&self, more: &str) {
        let wg = crate::vswitch::tools().join("bin/wg").display().to_string();
        let text = format!(
            "[plugin]\nname = \"netmaker\"\nversion = \"1.0.0\"\nsource = \"built-in\"\n\n[settings]\nfiles = {:?}\n\
             netclient = {:?}\nwg = {wg:?}\ntimeout_s = 2\n{more}",
            self.path("netclient"),
            self.path("bin-netclient")
        );
        std::fs::write(self.path("mappings/netmaker/plugin.toml"), text).unwrap();
    }

    /// The bus that its programs are on.
    #[must_use]
    pub fn address(&self) -> &str {
        self.bus.address()
    }

    /// A path in the temporary folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A token that lets a host into a network `uses` times.
    #[must_use]
    pub fn token(&self, network: &str, uses: u32) -> String {
        let value = format!("{network:x<32}");
        let text = json!({"server": "api.example.com", "value": value}).to_string();
        let token = base64::engine::general_purpose::STANDARD.encode(text);
        let mut tokens = std::fs::read_to_string(self.path("tokens")).unwrap();
        tokens.push_str(&format!("{token} {network} {uses}\n"));
        std::fs::write(self.path("tokens"), tokens).unwrap();
        token
    }

    /// netclient, as far as it is needed. `nodes.json` follows a moment after it ended, as it does over MQTT.
    fn write_client(&self) {
        let script = format!(
            r#"#!/bin/bash
cd {files:?}; echo "$@" >> {log:?}
put() {{ jq "$@" < nodes.json > nodes.json.tmp && mv nodes.json.tmp nodes.json; }}
[ -e nodes.json ] || echo '{{}}' > nodes.json
case $1 in
  join)
    [ "$2" = -t ] || exit 0
    read -r _ network uses < <(grep -F "$3 " {tokens:?})
    if [ -z "$network" ] || [ "$uses" = 0 ]; then echo "registration failed: invalid enrollment key $3" >&2; exit 0; fi
    sed -i "s/^\(.* $network\) .*/\1 $((uses - 1))/" {tokens:?}
    [ -e netclient.json ] || echo '{{"name":"this","interface":"netmaker","listenport":51821,"mtu":1420,"endpointip":"192.0.2.9","isstaticport":false,"privatekey":[1],"hostpass":"secret-of-the-host","publickey":null}}' > netclient.json
    (sleep 0.3; put --arg n "$network" '.[$n] = {{"id":"n-1","hostid":"h-9","network":$n,"server":"api.example.com","connected":true,"address":{{"IP":"10.101.0.5","Mask":"//8AAA=="}},"address6":{{"IP":"","Mask":null}}}}') >/dev/null 2>&1 & ;;
  leave) if jq -e --arg n "$2" '.[$n]' nodes.json >/dev/null; then put --arg n "$2" 'del(.[$n])'; else echo; echo "no such network"; fi ;;
  connect) put --arg n "$2" '.[$n].connected = true' ;;
  disconnect) [ "$2" = stubborn ] || put --arg n "$2" '.[$n].connected = false' ;;
  push) shift
    while [ $# -gt 1 ]; do
      case $1 in -p) f=listenport v=$2 ;; -m) f=mtu v=$2 ;; -e) f=endpointip v="\"$2\"" ;; esac
      jq ".$f = $v" netclient.json > netclient.json.tmp && mv netclient.json.tmp netclient.json; shift 2
    done ;;
esac
exit 0
"#,
            files = self.path("netclient"),
            log = self.path("netclient.log"),
            tokens = self.path("tokens"),
        );
        let file = self.path("bin-netclient");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs one of our programs with these secrets.
    #[must_use]
    pub fn run(&self, name: &str, args: &[&str], stdin: &str, secrets: &[(&str, &str)]) -> Output {
        self.run_by(&[], name, args, stdin, secrets)
    }

    /// The same, started by another command.
    #[must_use]
    pub fn run_by(&self, by: &[&str], name: &str, args: &[&str], stdin: &str, secrets: &[(&str, &str)]) -> Output {
        let program = program(name);
        let mut words = by.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["--address", self.address(), "--root", &self.path("root")]).args(args);
        command.env("OP_DBUS_MAPPINGS", self.path("mappings"));
        for (name, secret) in secrets {
            command.env(format!("OP_DBUS_SECRET_{name}"), secret);
        }
        Started::start(&mut command, stdin).wait()
    }

    /// Applies a state of `netmaker`.
    #[must_use]
    pub fn apply(&self, args: &[&str], state: &Value, token: &str) -> Output {
        let secrets = [("NETMAKER", MASTER_KEY), ("MESH1_TOKEN", token)];
        self.run("op-apply", &[&["--yes", "--plugin", "netmaker"], args].concat(), &state.to_string(), &secrets)
    }

    /// The state of `netmaker`.
    #[track_caller]
    #[must_use]
    pub fn query(&self) -> Value {
        let output = self.run("op-query", &["--plugin", "netmaker"], "", &[("NETMAKER", MASTER_KEY)]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.json()["plugins"]["netmaker"].clone()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.tls.kill();
        let _ = self.tls.wait();
    }
}

fn first_state() -> Value {
    json!({
        "networks": [{"id": "1", "netid": "old", "addressrange": "10.50.0.0/16", "addressrange6": "", "defaultmtu": 1420, "auto_join": true}],
        "hosts": [{"id": "h-1", "name": "gw1", "hostpass": "secret-of-gw1", "version": "v1.5.1", "endpointip": "192.0.2.1"},
                  {"id": "h-2", "name": "web1", "hostpass": "secret-of-web1", "version": "v1.5.1", "endpointip": "192.0.2.2"}],
        "nodes": [{"id": "n-1", "hostid": "h-1", "network": "old", "address": "10.50.0.1/16", "isingressgateway": true}],
        "keys": [], "clients": [],
    })
}

fn serve(mut heard: impl BufRead, mut said: impl Write, state: &Mutex<Value>, log: &Mutex<Vec<String>>) {
    loop {
        let mut line = String::new();
        if heard.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let (Some(verb), Some(path)) = (words.next(), words.next()) else { continue };
        let (mut length, mut key) = (0, String::new());
        loop {
            let mut header = String::new();
            if heard.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => key = value.trim().split(' ').nth(1).unwrap_or_default().to_owned(),
                _ => {}
            }
        }
        let mut bytes = vec![0; length];
        heard.read_exact(&mut bytes).unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        log.lock().unwrap().push(format!("{verb} {path}"));
        let (code, answer) = match key == MASTER_KEY {
            true => answer(&mut state.lock().unwrap(), verb, path, &body),
            false => refused(401, "unauthorized"),
        };
        let text = answer.to_string();
        let head =
            format!("HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
        let _ = said.write_all((head + &text).as_bytes()).and_then(|()| said.flush());
    }
}

fn refused(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"Code": code, "Message": message, "Response": null}))
}

fn list<'s>(state: &'s mut Value, name: &str) -> &'s mut Vec<Value> {
    state[name].as_array_mut().unwrap()
}

/// What the real server says; that something is not there, it says with 500.
fn answer(state: &mut Value, verb: &str, path: &str, body: &Value) -> (u16, Value) {
    let parts: Vec<&str> = path.trim_start_matches("/api/").trim_start_matches("v1/").split('/').collect();
    let at = |list: &[Value], field: &str, name: &str| list.iter().position(|one| one[field] == *name);
    match (verb, &parts[..]) {
        ("GET", ["networks"]) => (200, state["networks"].clone()),
        ("GET", ["hosts"]) => (200, state["hosts"].clone()),
        ("GET", ["nodes"]) => (200, state["nodes"].clone()),
        ("GET", ["enrollment-keys"]) => (200, state["keys"].clone()),
        ("GET", ["extclients"]) => (200, state["clients"].clone()),
        ("POST", ["networks"]) => {
            let name = body["netid"].as_str().unwrap_or_default();
            let range = body["addressrange"].as_str().unwrap_or_default();
            if name.is_empty() || name.len() > 32 || at(list(state, "networks"), "netid", name).is_some() {
                return refused(400, "invalid network name");
            }
            if !range.contains('/') || range.ends_with("/31") || range.ends_with("/32") {
                return refused(400, "invalid network address");
            }
            let mut network =
                json!({"id": name, "addressrange6": "", "defaultmtu": 1420, "defaultkeepalive": 20, "auto_join": true});
            body.as_object().unwrap().iter().for_each(|(field, value)| network[field] = value.clone());
            list(state, "networks").push(network.clone());
            (200, network)
        }
        (_, ["networks", name]) => {
            let networks = list(state, "networks");
            let Some(at) = at(networks, "netid", name) else { return refused(500, "could not find any records") };
            match verb {
                "PUT" => networks[at] = body.clone(),
                "DELETE" => drop(networks.remove(at)),
                _ => {}
            }
            (200, networks.get(at).cloned().unwrap_or_default())
        }
        (_, ["hosts", id, "networks", network]) => {
            let nodes = list(state, "nodes");
            let there = nodes.iter().position(|node| node["hostid"] == **id && node["network"] == **network);
            match (verb, there) {
                ("POST", None) => {
                    let node = format!("n-{id}-{network}");
                    nodes.push(json!({"id": node, "hostid": id, "network": network, "isingressgateway": false}));
                }
                ("DELETE", Some(at)) => drop(nodes.remove(at)),
                _ => return refused(500, "host already in network"),
            }
            (200, Value::Null)
        }
        ("POST", ["enrollment-keys"]) => {
            let tags: Vec<&str> = body["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let is_taken = list(state, "keys").iter().any(|key| key["tags"] == body["tags"]);
            if tags.is_empty() || tags.iter().any(|tag| !(3..=32).contains(&tag.len())) || is_taken {
                return refused(400, "invalid key tag");
            }
            if !body["expiration"].is_u64() || !body["type"].is_u64() {
                return refused(400, "json: cannot unmarshal");
            }
            let mut key = body.clone();
            key["value"] = json!(format!("secret-value-of-{:a<16}", tags[0]));
            key["token"] = json!("secret-token");
            list(state, "keys").push(key.clone());
            (200, key)
        }
        ("DELETE", ["enrollment-keys", value]) => {
            let keys = list(state, "keys");
            let Some(at) = at(keys, "value", value) else { return refused(500, "no unique tag") };
            keys.remove(at);
            (200, Value::Null)
        }
        ("POST", ["extclients", network, node]) => {
            let is_gateway = state["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["id"] == **node && one["isingressgateway"] == true);
            if !is_gateway {
                return refused(400, "ingress does not exist");
            }
            let mut client = json!({"network": network, "ingressgatewayid": node, "privatekey": "secret-key-of-client", "publickey": "pub",
                                    "address": "10.50.0.7/32", "enabled": true, "extraallowedips": []});
            body.as_object().unwrap().iter().for_each(|(field, value)| client[field] = value.clone());
            list(state, "clients").push(client);
            (200, Value::Null)
        }
        (_, ["extclients", network, id]) => {
            let clients = list(state, "clients");
            let there = clients.iter().position(|one| one["network"] == **network && one["clientid"] == **id);
            let Some(at) = there else { return refused(500, "could not find any records") };
            match verb {
                "PUT" => clients[at] = body.clone(),
                "DELETE" => drop(clients.remove(at)),
                _ => {}
            }
            (200, clients.get(at).cloned().unwrap_or_default())
        }
        _ => refused(404, "not found"),
    }
}

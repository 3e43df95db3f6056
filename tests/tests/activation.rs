//! A plugin that is installed while everything runs: from a web server, and writable at once.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{fails, wait_until};
use op_dbus_tests::publisher::Publisher;
use op_dbus_tests::root::{RealRoot, SessionOptions};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Serves a folder over TLS, with the certificate and the key beside it.
const SERVER: &str = "import http.server, ssl, os
os.chdir('/desk/served')
server = http.server.ThreadingHTTPServer(('127.0.0.1', 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/desk/server.crt', '/desk/server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()";

/// The user's workflow as it was promised: discover, create, query, install the mapping, apply; nothing is restarted.
#[test]
fn packagekit_is_writable_without_a_restart() {
    let desk = Publisher::new();
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/packagekit");
    let publish = ["publish", mapping.to_str().unwrap(), "--key", "publisher.key", "--out", "served"];
    let published = desk.run("op-snapshot", &publish);
    assert_eq!(published.code, 0, "{published:?}");
    let certificate = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "server.key", "-out", "server.crt"])
        .current_dir(desk.path())
        .output()
        .unwrap();
    assert!(certificate.status.success(), "{}", String::from_utf8_lossy(&certificate.stderr));
    let public = fs::read_to_string(desk.path().join("keys/publisher.pub")).unwrap();

    let session = RealRoot::get().session_with(&SessionOptions::default().bind(desk.path(), "/desk"));
    let env = "export OP_DBUS_MAPPINGS=/none SSL_CERT_FILE=/desk/server.crt;";
    let sh = |line: &str| session.sh(&format!("{env} {line}"));
    sh("op-dbus plugin create packagekit --from-dbus org.freedesktop.PackageKit").ok();
    sh("op-dbus query --plugin packagekit").ok();
    let want = json!({"version": 1, "plugins": {"packagekit": {"packages": ["hello-op"]}}}).to_string();
    sh(&format!("echo '{want}' > /root/state.json")).ok();
    fails(&sh("op-dbus apply --yes /root/state.json --plugin packagekit"), 5, &["no mapping"]);
    let before = session.sh("busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.freedesktop.PackageKit").ok();

    let server = session.spawn(&["python3", "-c", SERVER], "");
    wait_until("the server answers", || {
        session.sh("python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8443))\"").code == 0
    });
    let install = "op-dbus plugin install https://127.0.0.1:8443/packagekit-v1.0.0.btrfs.zst";
    fails(&sh(install), 7, &["not trusted", "trusted here: none"]);
    session.run(&["sh", "-c", "cat > /root/publisher.pub"], &public).ok();
    sh("op-install keys add /root/publisher.pub --comment 'the plugins of this site'").ok();
    let installed = sh(install).json();
    assert_eq!((installed["outcome"].as_str(), installed["trust"].as_str()), (Some("installed"), Some("community")));
    assert_eq!(installed["draft_kept_as"], "0.1.0+draft.1");
    drop(server);

    sh("op-dbus apply --yes /root/state.json --plugin packagekit").ok();
    assert_eq!(session.sh("dpkg-query -W -f '${Status}' hello-op").ok(), "install ok installed");
    let state = sh("op-dbus query --plugin packagekit").json();
    assert!(state["plugins"]["packagekit"]["packages"].as_array().unwrap().contains(&json!("hello-op")));
    let after = session.sh("busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s org.freedesktop.PackageKit").ok();
    assert_eq!(before, after, "nothing was restarted");

    // And back: what it could do is gone at once.
    assert_eq!(sh("op-dbus plugin rollback packagekit").json()["to"], "0.1.0+draft.1");
    fails(&sh("op-dbus apply --yes /root/state.json --plugin packagekit"), 5, &["no mapping"]);
}

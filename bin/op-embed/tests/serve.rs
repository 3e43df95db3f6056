//! Answering other programs: the pipe on a unix socket, and OpenAI's embeddings on a loopback port.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod common;

use common::Host;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and reads on standard error where it answers.
fn start(host: &Host, args: &[&str]) -> (Server, String) {
    let mut child = host.command(&[&["serve"], args].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let place = line.trim().rsplit(' ').next().unwrap().to_owned();
    (Server(child), place)
}

fn ask(socket: &Path, line: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// One request on a connection of its own: status and body.
fn request(place: &str, head: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(place.strip_prefix("http://").unwrap()).unwrap();
    let length = body.len();
    let request = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn post(place: &str, body: &Value) -> (u16, Value) {
    request(place, "POST /v1/embeddings HTTP/1.1\r\nHost: localhost", &body.to_string())
}

#[test]
fn the_pipe_on_a_socket() {
    let host = Host::new();
    let socket = host.root().join("s.sock");
    let (server, place) = start(&host, &["--socket", socket.to_str().unwrap()]);
    assert_eq!(place, socket.display().to_string());
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let first = ask(&socket, r#"{"id":"a","text":"x","unit":"ssh"}"#);
    assert_eq!((&first["id"], &first["unit"], &first["cached"]), (&json!("a"), &json!("ssh"), &json!(false)));
    let second = ask(&socket, "x");
    assert_eq!((&second["cached"], &second["vector"]), (&json!(true), &first["vector"]));
    // What it computed is there for the pipe, too.
    let piped = host.run(&["--level", "none", "--text", "x"], "");
    assert_eq!(common::records(&piped)[0]["vector"], first["vector"]);
    // Several at once, among them one that is no text.
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let socket = &socket;
                    move || ask(socket, &format!("text {}", n % 4))
                })
            })
            .collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!((0..4).all(|n| answers[n]["vector"] == answers[n + 4]["vector"]));
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"\xff\nx\n").unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().take(2).map(Result::unwrap).collect();
    assert!(lines[0].contains("not UTF-8") && lines[1].contains("vector"), "{lines:?}");
    // A second server does not take the socket away from the first.
    let other = host.run(&["serve", "--socket", socket.to_str().unwrap()], "");
    assert_eq!(other.code, 75, "{}", other.stderr);
    drop(server);
    // One that was killed leaves its socket, and the next one takes its place.
    assert!(socket.exists());
    let (mut server, _) = start(&host, &["--socket", socket.to_str().unwrap()]);
    assert_eq!(ask(&socket, "x")["cached"], true);
    // Nobody who says nothing is waited for.
    let silent = UnixStream::connect(&socket).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    assert!(Command::new("kill").arg(server.0.id().to_string()).status().unwrap().success());
    assert!(server.0.wait().unwrap().success());
    assert!(!socket.exists() && asked.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[test]
fn placed_and_warmed_it_answers_the_same() {
    let host = Host::new();
    let right = host.run(&["--text", "x"], "");
    let right = &common::records(&right)[0]["vector"];
    for args in [&["--numa", "replicate"][..], &["--numa", "0", "--warm", "1M"], &["--numa", "off"]] {
        let socket = host.root().join("n.sock");
        let (_server, _) = start(&host, &[&["--socket", socket.to_str().unwrap()], args].concat());
        let answer = ask(&socket, "x");
        assert_eq!((&answer["cached"], &answer["vector"]), (&json!(true), right), "{args:?}");
    }
    assert_eq!(host.run(&["serve", "--http", "0", "--numa", "node 99"], "").code, 64);
    assert_eq!(host.run(&["serve", "--http", "0", "--warm", "much"], "").code, 64);
    assert_eq!(host.run(&["--numa", "sideways", "--text", "x"], "").code, 64);
}

#[test]
fn what_other_programs_know() {
    let host = Host::new();
    let (_server, place) = start(&host, &["--http", "0", "--alias", "text-embedding-3-small"]);
    let (status, answer) = post(&place, &json!({ "model": "minilm-l6-q4", "input": ["x", "y"] }));
    assert_eq!((status, &answer["object"], &answer["data"][1]["index"]), (200, &json!("list"), &json!(1)));
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 384);
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    let packed = json!({ "model": "text-embedding-3-small", "input": "x", "encoding_format": "base64" });
    let (status, packed) = post(&place, &packed);
    assert_eq!((status, packed["data"][0]["embedding"].as_str().unwrap().len()), (200, 384 * 4 / 3 * 4));
    for (body, status, param) in [
        (json!({ "model": "other", "input": "x" }), 404, json!("model")),
        (json!({ "model": "minilm-l6-q4", "input": [1, 2] }), 400, json!("input")),
        (json!({ "model": "minilm-l6-q4", "input": [] }), 400, json!("input")),
        (json!({ "model": "minilm-l6-q4" }), 400, json!("input")),
        (json!({ "model": "minilm-l6-q4", "input": "x", "dimensions": 12 }), 400, json!("dimensions")),
        (json!({ "model": "minilm-l6-q4", "input": "x".repeat(2 << 20) }), 400, json!("input")),
    ] {
        let (found, answer) = post(&place, &body);
        assert_eq!((found, &answer["error"]["param"]), (status, &param), "{answer}");
    }
    let (status, models) = request(&place, "GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1", "");
    assert_eq!((status, models["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!(request(&place, "GET /v1/other HTTP/1.1\r\nHost: localhost", "").0, 404);
    // A page in a browser on this machine.
    for head in [
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example",
        "GET /health HTTP/1.1\r\nHost: evil.example",
    ] {
        assert_eq!(request(&place, head, "{}").0, 403);
    }
}

#[test]
fn a_socket_of_systemd_and_an_end_when_idle() {
    let host = Host::new();
    let socket = host.root().join("a.sock");
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["--listen", socket.to_str().unwrap(), "--setenv", "OP_DBUS_ROOT", "--setenv", "HOME"])
        .args([env!("CARGO_BIN_EXE_op-embed"), "serve", "--idle", "1s"])
        .env("OP_DBUS_ROOT", host.root())
        .stderr(Stdio::null());
    let mut server = Server(command.spawn().unwrap());
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "systemd-socket-activate does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask(&socket, "x")["cached"], false);
    assert_eq!(ask(&socket, "x")["cached"], true);
    // Nobody asks any more: it ends by itself, and the socket is systemd's to remove.
    let asked = Instant::now();
    assert!(server.0.wait().unwrap().success());
    assert!(asked.elapsed() > Duration::from_millis(900) && socket.exists());
}

//! Models: installed, used, removed, and refused when they are not what they say.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod common;

use common::{Host, error, records};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the built-in model under another name, for tests to break.
fn model(host: &Host, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lib/models/minilm-l6-q4");
    let to = host.root().join("..").join(name);
    fs::create_dir_all(&to).unwrap();
    for file in ["model.onnx", "tokenizer.json", "reference.json"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(from.join("model.toml")).unwrap();
    fs::write(to.join("model.toml"), manifest.replace("minilm-l6-q4", name).replace("\"low\"", "\"medium\"")).unwrap();
    to
}

fn edit(model: &Path, from: &str, to: &str) {
    let path = model.join("model.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn names(host: &Host) -> Vec<(String, bool)> {
    let document: Value = serde_json::from_str(&host.run(&["model", "list"], "").text()).unwrap();
    let entry = |model: &Value| (model["name"].as_str().unwrap().to_owned(), model["is_used"].as_bool().unwrap());
    document["models"].as_array().unwrap().iter().map(entry).collect()
}

#[test]
fn from_the_shelf_and_back() {
    let host = Host::new();
    assert_eq!(names(&host), [("minilm-l6-q4".into(), true)]);
    assert_eq!(host.run(&["--level", "medium", "--text", "x"], "").code, 65);
    let folder = model(&host, "other");
    let installed = host.run(&["model", "install", folder.to_str().unwrap()], "");
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    // The folder it came from is no longer needed, and installing it again is refused unless asked for.
    assert_eq!(error(&host.run(&["model", "install", folder.to_str().unwrap()], ""))["kind"], "refused");
    assert_eq!(host.run(&["model", "install", "--replace", folder.to_str().unwrap()], "").code, 0);
    fs::remove_dir_all(&folder).unwrap();
    for args in [&["--model", "other"][..], &["--level", "medium"]] {
        let output = host.run(&[args, &["--text", "x"]].concat(), "");
        assert_eq!((output.code, &records(&output)[0]["model"]), (0, &json!("other")), "{}", output.stderr);
    }
    assert_eq!(host.run(&["model", "use", "other"], "").code, 0);
    assert_eq!(names(&host), [("minilm-l6-q4".into(), false), ("other".into(), true)]);
    let kept = host.run(&["--text", "x"], "");
    assert_eq!((&records(&kept)[0]["model"], &records(&kept)[0]["cached"]), (&json!("other"), &json!(true)));
    assert_eq!(error(&host.run(&["model", "remove", "other"], ""))["kind"], "refused");
    assert_eq!(host.run(&["model", "use", "minilm-l6-q4"], "").code, 0);
    assert_eq!(host.run(&["model", "remove", "other"], "").code, 0);
    assert_eq!(names(&host), [("minilm-l6-q4".into(), true)]);
    assert_eq!(error(&host.run(&["model", "remove", "minilm-l6-q4"], ""))["kind"], "refused");
    let wrong = error(&host.run(&["--model", "minilm-l6-q5", "--text", "x"], ""));
    assert!(wrong["hint"].as_str().unwrap().contains("minilm-l6-q4"), "{wrong}");
    let left: Vec<_> = fs::read_dir(host.root().join("models")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_str().unwrap().starts_with(".lock")), "{left:?}");
}

#[test]
fn as_one_file() {
    let host = Host::new();
    let folder = model(&host, "other");
    let archive = host.root().join("../other.tar");
    let made =
        Command::new("tar").arg("-C").arg(folder.parent().unwrap()).arg("-cf").arg(&archive).arg("other").status();
    assert!(made.unwrap().success());
    let installed = host.run(&["model", "install", "--use", archive.to_str().unwrap()], "");
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    let verified: Value = serde_json::from_str(&host.run(&["model", "verify"], "").text()).unwrap();
    assert_eq!((&verified["model"], &verified["reference_texts"]), (&json!("other"), &json!(13)));
    assert_eq!(verified["largest_difference_in_a_batch"], 0.0);
    assert!(verified["lowest_cosine"].as_f64().unwrap() > 0.9999, "{verified}");
}

/// Answers every request with `body`, or says that there is no such file.
fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let is_there = head[..read].starts_with(b"GET /m.tar ");
            let status = if is_there { "200 OK" } else { "404 Not Found" };
            let body = if is_there { body.as_slice() } else { b"" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // Whoever refuses an answer hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    format!("http://{address}")
}

#[test]
fn from_a_web_server() {
    let host = Host::new();
    let folder = model(&host, "other");
    let tar = Command::new("tar").arg("-C").arg(folder.parent().unwrap()).args(["-c", "other"]).output().unwrap();
    let digest = op_dbus::base::digest::Plain::of(&tar.stdout);
    let server = serve(tar.stdout);
    let url = format!("{server}/m.tar");
    let install = |args: &[&str]| host.run(&[&["model", "install"], args].concat(), "");
    // Without encryption somebody has to say what it must be.
    assert_eq!(error(&install(&[&url]))["kind"], "refused");
    assert_eq!(error(&install(&[&url, "--digest", &"0".repeat(64)]))["kind"], "untrusted");
    assert_eq!(install(&[&url, "--digest", "abc"]).code, 64);
    assert_eq!(error(&install(&[&format!("{server}/n.tar"), "--digest", &digest]))["kind"], "unavailable");
    assert_eq!(error(&install(&["http://127.0.0.1:1/m.tar", "--digest", &digest]))["kind"], "unavailable");
    assert_eq!(names(&host), [("minilm-l6-q4".into(), true)]);
    let installed = install(&[&url, "--digest", &format!("sha256:{digest}"), "--use"]);
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    let answer = host.run(&["--text", "x"], "");
    assert_eq!((answer.code, &records(&answer)[0]["model"]), (0, &json!("other")), "{}", answer.stderr);
}

#[test]
fn what_a_model_says_of_itself_must_be_so() {
    let host = Host::new();
    let no_change: fn(&Path) = |_| {};
    type Case = (&'static str, fn(&Path), &'static str, &'static str);
    let cases: &[Case] = &[
        ("no-manifest", |m| fs::remove_file(m.join("model.toml")).unwrap(), "bad_input", "manifest is missing"),
        ("no-tokenizer", |m| fs::remove_file(m.join("tokenizer.json")).unwrap(), "bad_input", "missing"),
        (
            "cut-off",
            |m| fs::OpenOptions::new().write(true).open(m.join("model.onnx")).unwrap().set_len(4_000_000).unwrap(),
            "untrusted",
            "cut off",
        ),
        ("wrong-digest", |m| edit(m, "sha256:", "sha256:0000000000000000"), "bad_input", "64 hexadecimal"),
        ("other-content", flip_a_byte, "untrusted", "not what the manifest says"),
        ("other-size", |m| edit(m, "dimension = 384", "dimension = 385"), "failed", "shape"),
        ("other-shape", |m| edit(m, "pooling = \"mean\"", "pooling = \"model\""), "failed", "shape"),
        ("no-licence", |m| edit(m, "\"Apache-2.0\"", "\"\""), "bad_input", "pass on"),
        ("no-graph", |m| put(m, "model.onnx", b"this is no graph"), "bad_input", "could not open the model"),
        ("no-words", |m| put(m, "tokenizer.json", b"{}"), "bad_input", "could not read the tokenizer"),
        ("as-it-is", no_change, "", ""),
    ];
    for (name, break_it, kind, what) in cases {
        let folder = model(&host, name);
        break_it(&folder);
        let output = host.run(&["--no-cache", "--model", folder.to_str().unwrap(), "--text", "x"], "");
        if kind.is_empty() {
            assert_eq!(output.code, 0, "{name}: {}", output.stderr);
            continue;
        }
        let error = error(&output);
        let said = format!("{} {}", error["message"], error["also"]);
        assert_eq!((error["kind"].as_str(), output.stdout.len()), (Some(*kind), 0), "{name}: {error}");
        assert!(said.contains(what), "{name}: {error}");
        // And it does not get onto the shelf, unless only computing shows it.
        if *kind == "untrusted" {
            assert_ne!(host.run(&["model", "install", folder.to_str().unwrap()], "").code, 0, "{name}");
        }
    }
}

/// Replaces a file and what the manifest says of it.
fn put(model: &Path, file: &str, content: &[u8]) {
    fs::write(model.join(file), content).unwrap();
    let digest = op_dbus::base::digest::Plain::of(content);
    let path = model.join("model.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once(&format!("file = \"{file}\"\n")).unwrap();
    let rest = after.splitn(3, '\n').nth(2).unwrap();
    fs::write(
        path,
        format!("{before}file = \"{file}\"\nsize_bytes = {}\ndigest = \"sha256:{digest}\"\n{rest}", content.len()),
    )
    .unwrap();
}

fn flip_a_byte(model: &Path) {
    let path = model.join("model.onnx");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn engines_say_what_was_not_taken() {
    let host = Host::new();
    let found: Value = serde_json::from_str(&host.run(&["engines", "--runtime", "tract"], "").text()).unwrap();
    assert_eq!((&found["runtime"], &found["provider"]), (&json!("tract"), &json!("cpu")));
    for step in found["placement"].as_array().unwrap() {
        assert!(["applied", "not_needed"].contains(&step["outcome"].as_str().unwrap()), "{found}");
    }
    let none = host.run(&["engines", "--runtime", "/nonexistent/libonnxruntime.so"], "");
    assert_eq!((none.code, error(&none)["kind"].as_str()), (69, Some("unavailable")));
    // The C library is a library, and not this one.
    let libc = error(&host.run(&["--runtime", "libc.so.6", "--no-cache", "--text", "x"], ""));
    assert!(libc["message"].as_str().unwrap().contains("OrtGetApiBase"), "{libc}");
    let no_gpu = error(&host.run(&["--runtime", "tract", "--provider", "cuda", "--no-cache", "--text", "x"], ""));
    assert_eq!(no_gpu["kind"], "unavailable");
}

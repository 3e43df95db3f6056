//! The program with its built-in model: the pipe, its formats, bad input, the cache, models.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod common;

use common::{Host, error, records, values};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

const TEXT: &str = "Creating container 100";

#[test]
fn help_and_version() {
    let host = Host::new();
    assert_eq!(host.run(&["--version"], "").stdout, b"op-embed 0.1.0\n");
    let help = host.run(&["--help"], "").text();
    for word in ["serve", "model", "--format", "Creating container 100"] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn wrong_use_is_64() {
    let host = Host::new();
    for args in [
        &["--formt", "raw"][..],
        &["--format", "xml"],
        &["--input", "xml"],
        &["--type", "f64"],
        &["--level", "extreme"],
        &["--provider", "gpu"],
        &["--threads", "0"],
        &["--text", "a\nb"],
        &["--text", "a", "file"],
        &["serve", "--http", "0.0.0.0:80"],
        &["serve", "--http", "nowhere"],
    ] {
        let output = host.run(args, "x\n");
        assert_eq!((output.code, output.stdout.len()), (64, 0), "{args:?}: {}", output.stderr);
    }
}

/// The promise: on a fresh machine with no network, the pipe answers. The namespace has no way out of it.
#[test]
fn a_fresh_machine_without_a_network_answers() {
    let host = Host::new();
    let output = host.wrapped(&["unshare", "--net"], &[], format!("{TEXT}\n").as_bytes());
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let [record] = &records(&output)[..] else { panic!("one line, one record") };
    assert_eq!((&record["id"], &record["text"], &record["cached"]), (&json!(1), &json!(TEXT), &json!(false)));
    let vector = values(record);
    assert_eq!(vector.len(), 384);
    let length: f64 = vector.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-3, "{length}");
    // What the reference forward pass says of this text.
    let reference: Value =
        serde_json::from_str(include_str!("../../../lib/models/minilm-l6-q4/reference.json")).unwrap();
    let row = reference.as_array().unwrap().iter().find(|row| row["text"] == TEXT).unwrap();
    let cosine: f64 = vector.iter().zip(values(row)).map(|(a, b)| a * b).sum();
    assert!(cosine > 0.9999, "{cosine}");
}

#[test]
fn the_second_answer_is_kept_and_the_same() {
    let host = Host::new();
    let first = host.run(&["--format", "raw"], &format!("{TEXT}\nx\n"));
    // Another order, a duplicate, one more text that is computed beside them.
    let again = host.run(&["--timings"], &format!("x\n{TEXT}\nnew one here\n{TEXT}\n"));
    let found = records(&again);
    let cached: Vec<bool> = found.iter().map(|record| record["cached"].as_bool().unwrap()).collect();
    assert_eq!(cached, [true, true, false, true]);
    assert_eq!(first.floats()[..384], values(&found[1]).iter().map(|&v| v as f32).collect::<Vec<_>>());
    let timings: Value = serde_json::from_str(&again.stderr).unwrap();
    assert_eq!((&timings["hits"], &timings["misses"]), (&json!(3), &json!(1)));
    // The cache alone answers what it has, and says what it has not.
    let kept = host.run(&["--level", "none"], &format!("{TEXT}\nnever seen\n"));
    let found = records(&kept);
    assert_eq!((kept.code, &found[0]["cached"], &found[1]["error"]["kind"]), (3, &json!(true), &json!("unavailable")));
    // Without the cache, and with none: the same bytes, only slower.
    let without = host.run(&["--format", "raw", "--no-cache"], &format!("{TEXT}\nx\n"));
    fs::remove_dir_all(host.root().join("@cache")).unwrap();
    let rebuilt = host.run(&["--format", "raw"], &format!("{TEXT}\nx\n"));
    assert!(first.stdout == without.stdout && first.stdout == rebuilt.stdout);
    assert_eq!(records(&host.run(&["--level", "none"], &format!("{TEXT}\n")))[0]["cached"], true);
}

#[test]
fn vectors_do_not_depend_on_their_company() {
    let host = Host::new();
    let texts: Vec<String> =
        (0..40).map(|n| format!("unit {n} {}", "restarted after a timeout ".repeat(n % 7))).collect();
    let together = host.run(&["--format", "raw", "--no-cache", "--type", "f32"], &(texts.join("\n") + "\n"));
    let together = together.floats();
    assert_eq!(together.len(), 40 * 384);
    for at in [0, 6, 39] {
        let alone = host.run(&["--format", "raw", "--no-cache", "--type", "f32", "--text", &texts[at]], "").floats();
        assert_eq!(alone, together[at * 384..][..384], "{}", texts[at]);
    }
}

#[test]
fn formats() {
    let host = Host::new();
    let lines = "a\nb\nc\n";
    let raw = host.run(&["--format", "raw"], lines).stdout;
    assert_eq!(raw.len(), 3 * 384 * 4);
    let piped = host.run(&["--format", "npy"], lines).stdout;
    let path = host.root().join("v.npy");
    let file = fs::File::create(&path).unwrap();
    assert!(
        host.command(&["--format", "npy", "--text", "a", "--text", "b", "--text", "c"])
            .stdout(file)
            .status()
            .unwrap()
            .success()
    );
    for npy in [piped, fs::read(path).unwrap()] {
        assert_eq!(&npy[..8], b"\x93NUMPY\x01\x00");
        assert!(
            String::from_utf8_lossy(&npy[..128]).contains("'descr': '<f4', 'fortran_order': False, 'shape': (3, 384)")
        );
        assert_eq!(npy[128..], raw);
    }
    assert_eq!(host.run(&["--format", "npy"], "").stdout.len(), 128);
    let exact = host.run(&["--format", "raw", "--type", "f32"], lines).floats();
    let half: Vec<f32> = raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert!(exact != half && exact.iter().zip(&half).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn records_keep_what_came_with_them() {
    let host = Host::new();
    let output = host.run(&[], "{\"id\":\"a\",\"text\":\"x\",\"unit\":\"ssh\"}\nno record\n{\"text\":\"y\"}\n");
    let found = records(&output);
    assert_eq!((output.code, found.len()), (3, 3));
    assert_eq!((&found[0]["id"], &found[0]["unit"], &found[2]["id"]), (&json!("a"), &json!("ssh"), &json!(3)));
    assert_eq!((&found[1]["id"], &found[1]["error"]["kind"]), (&json!(2), &json!("bad_input")));
    let plain = host.run(&["--input", "text"], "{\"text\":\"x\"}\n");
    assert_eq!(records(&plain)[0]["text"], "{\"text\":\"x\"}");
    // What was printed is taken again.
    assert_eq!(records(&host.run(&[], &output.text()[..output.text().find('\n').unwrap() + 1]))[0]["unit"], "ssh");
}

#[test]
fn lines_that_are_no_text() {
    let host = Host::new();
    let mut input = b"first\n\nnot \xff utf-8\n\x00\x01 control\n".to_vec();
    input.extend("word ".repeat(200_000).bytes());
    input.push(b'\n');
    input.extend(vec![b'x'; 3 << 20]);
    input.extend(b"\nlast");
    let output = host.run_bytes(&[], &input);
    let found = records(&output);
    assert_eq!((output.code, found.len()), (3, 7));
    for (at, is_answered) in [true, true, false, true, true, false, true].into_iter().enumerate() {
        assert_eq!(found[at]["vector"].is_array(), is_answered, "line {}", at + 1);
        assert_eq!(found[at]["error"].is_object(), !is_answered, "line {}", at + 1);
    }
    assert!(output.stderr.contains("longer than the 128 tokens"), "{}", output.stderr);
    // Bare values cannot say which row is missing: they end there.
    let raw = host.run_bytes(&["--format", "raw"], b"first\n\xff\nlast\n");
    assert_eq!((raw.code, raw.stdout.len()), (65, 384 * 4));
    assert_eq!(error(&raw)["subject"], "standard input:2");
}

#[test]
fn a_slow_writer_is_answered_line_by_line() {
    let host = Host::new();
    let mut child = host.command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for text in ["one", "two", "three"] {
        stdin.write_all(format!("{text}\n").as_bytes()).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["text"], text);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// The most memory a process ever had, in kB.
fn peak_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// However long the stream is, and however slow the one who reads the answers.
#[test]
fn memory_does_not_grow_with_the_stream() {
    let host = Host::new();
    let lines: String = (0..64).map(|n| format!("line {n} {}\n", "of a long stream ".repeat(20))).collect();
    host.run(&["--format", "raw"], &lines);
    let mut command = host.command(&["--format", "raw"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut peaks = vec![];
    let mut answers = vec![0; 64 * 384 * 4];
    std::thread::scope(|scope| {
        let (lines, rounds) = (&lines, [20, 400]);
        scope.spawn(move || rounds.map(|rounds| (0..rounds).for_each(|_| stdin.write_all(lines.as_bytes()).unwrap())));
        for rounds in rounds {
            // Whoever does not read at first makes the other end wait, and not fill up.
            std::thread::sleep(std::time::Duration::from_millis(300));
            (0..rounds).for_each(|_| stdout.read_exact(&mut answers).unwrap());
            peaks.push(peak_kb(child.id()));
        }
    });
    assert!(child.wait().unwrap().success());
    // 25,600 lines of 350 bytes are 9 MB, and their answers 39 MB.
    assert!(peaks[1] < peaks[0] + 4096, "{peaks:?} kB");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let host = Host::new();
    let input = "same text\n".repeat(20_000);
    let output = host.wrapped(&["sh", "-c", "\"$0\" \"$@\" | head -n 1"], &["--format", "ndjson"], input.as_bytes());
    assert_eq!((records(&output).len(), output.stderr.as_str()), (1, ""));
}

#[test]
fn a_cache_that_cannot_be_used_changes_no_answer() {
    let right = Host::new().run(&["--format", "raw", "--text", TEXT], "").stdout;
    let is_answered = |host: &Host| {
        let output = host.run(&["--format", "raw", "--text", TEXT], "");
        assert_eq!((output.code, output.stdout == right), (0, true), "{}", output.stderr);
        assert!(output.stderr.contains("warning"), "{}", output.stderr);
    };
    let host = Host::new();
    fs::create_dir_all(host.root().join("@cache")).unwrap();
    fs::write(host.root().join("@cache/embeddings"), "a file where a folder should be").unwrap();
    is_answered(&host);
    // A disk that is full from the first byte on.
    let host = Host::new();
    fs::create_dir_all(host.root().join("@cache/embeddings")).unwrap();
    let full = host.wrapped(
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=4k none \"$OP_DBUS_ROOT/@cache/embeddings\" && exec \"$0\" \"$@\"",
        ],
        &["--format", "raw", "--text", TEXT],
        b"",
    );
    assert_eq!((full.code, full.stdout == right), (0, true), "{}", full.stderr);
    assert!(full.stderr.contains("warning"), "{}", full.stderr);
    let read_only = host.wrapped(
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o ro none \"$OP_DBUS_ROOT/@cache/embeddings\" && exec \"$0\" \"$@\"",
        ],
        &["--format", "raw", "--text", TEXT],
        b"",
    );
    assert_eq!((read_only.code, read_only.stdout == right), (0, true), "{}", read_only.stderr);
}

#[test]
fn a_hundred_processes_at_once() {
    let host = Host::new();
    let lines: String = (0..50).map(|n| format!("line {n}\n")).collect();
    let right = host.run(&["--format", "raw"], &lines).stdout;
    // Most find everything, a few add to it at the same time.
    let children: Vec<_> = (0..100)
        .map(|n| {
            let mut args = vec!["--format".to_owned(), "raw".into(), "--level".into(), "none".into()];
            if n % 40 == 7 {
                args.truncate(2);
            }
            let mut command = host.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let more = if n % 40 == 7 { format!("{lines}only of process {n}\n") } else { lines.clone() };
            child.stdin.take().unwrap().write_all(more.as_bytes()).unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(&right));
    }
    for n in [7, 47, 87] {
        let kept = host.run(&["--level", "none", "--text", &format!("only of process {n}")], "");
        assert_eq!(kept.code, 0, "{}", kept.stderr);
    }
}

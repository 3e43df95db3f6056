//! Standard input as the programs meet it: this test program runs itself with each kind of it.

// A test may unwrap: its failure is its report.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use op_dbus::cli::input::{read_document, read_optional};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
#[ignore = "runs with a standard input of its own, by the tests below"]
fn child_reads() {
    let path = std::env::var("CHILD_PATH").ok();
    println!("READ {:?}", read_document(path.as_deref()).map(|input| input.text).map_err(|e| e.kind.exit_code()));
}

#[test]
#[ignore = "runs with a standard input of its own, by the tests below"]
fn child_reads_perhaps() {
    println!("READ {:?}", read_optional(None).map(|input| input.map(|i| i.text)).map_err(|e| e.kind.exit_code()));
}

fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", name]).env_remove("CHILD_PATH");
    command
}

fn read_from(command: &mut Command, stdin: Stdio) -> String {
    let output = command.stdin(stdin).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.split_once("READ ")).unwrap().1.to_owned()
}

fn pipe_with(bytes: &[u8]) -> Stdio {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(bytes).unwrap();
    read.into()
}

fn file_with(bytes: &[u8]) -> Stdio {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    File::open(file.path()).unwrap().into()
}

#[test]
fn a_document_that_is_wanted() {
    assert_eq!(read_from(&mut child("child_reads"), pipe_with(b"{}\n")), "Ok(\"{}\\n\")");
    assert_eq!(read_from(&mut child("child_reads"), file_with(b"{}")), "Ok(\"{}\")");
    assert_eq!(read_from(child("child_reads").env("CHILD_PATH", "-"), pipe_with(b"{}")), "Ok(\"{}\")");
    for nothing in [pipe_with(b""), file_with(b""), Stdio::null(), pipe_with(b"\xff")] {
        assert_eq!(read_from(&mut child("child_reads"), nothing), "Err(65)");
    }
}

#[test]
fn a_document_that_may_be_left_out() {
    assert_eq!(read_from(&mut child("child_reads_perhaps"), pipe_with(b"{}")), "Ok(Some(\"{}\"))");
    assert_eq!(read_from(&mut child("child_reads_perhaps"), file_with(b"{}")), "Ok(Some(\"{}\"))");
    for nothing in [pipe_with(b""), file_with(b" \n"), Stdio::null()] {
        assert_eq!(read_from(&mut child("child_reads_perhaps"), nothing), "Ok(None)");
    }
    assert_eq!(read_from(&mut child("child_reads_perhaps"), pipe_with(b"\xff")), "Err(65)");
}

#[test]
fn a_terminal_is_no_document() {
    let command = format!("{} --ignored --exact --nocapture", std::env::current_exe().unwrap().display());
    for (name, expected) in [("child_reads", "READ Err(64)"), ("child_reads_perhaps", "READ Ok(None)")] {
        let output = Command::new("script")
            .args(["--quiet", "--command", &format!("{command} {name}"), "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .expect("`script` of util-linux is needed here");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains(expected), "{shown}");
    }
}

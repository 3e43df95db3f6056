//! Questions and progress on a real terminal: `script` (util-linux) makes one, and this test program runs itself in it.

// A test may unwrap: its failure is its report.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use op_dbus::cli::confirm::{Answer, Terminal, no_terminal};
use op_dbus::cli::{Common, Env, Interrupt, Look, Out};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn child(name: &str) -> String {
    format!("{} --ignored --exact --nocapture {name}", std::env::current_exe().unwrap().display())
}

/// What the terminal showed when `keys` were typed after `prompt` had come.
fn on_terminal(name: &str, prompt: &str, keys: &[u8]) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut script = Command::new("script")
        .args(["--quiet", "--flush", "--echo", "never", "--command", &child(name)])
        .arg(log.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("`script` of util-linux is needed here");
    let shown = || String::from_utf8_lossy(&std::fs::read(log.path()).unwrap()).into_owned();
    let start = Instant::now();
    while !shown().contains(prompt) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut stdin = script.stdin.take().unwrap();
    stdin.write_all(keys).unwrap();
    stdin.flush().unwrap();
    script.wait().unwrap();
    shown()
}

fn away_from_terminal(name: &str) -> Output {
    let words = child(name);
    let mut words = words.split(' ');
    Command::new("setsid").arg("--wait").arg(words.next().unwrap()).args(words).stdin(Stdio::null()).output().unwrap()
}

#[test]
#[ignore = "runs in a terminal, by the tests below"]
fn child_asks() {
    let interrupt = Interrupt::install().unwrap();
    match Terminal::open(&interrupt) {
        Some(mut terminal) => {
            let text = "About to call D-Bus method:\n  Service: org.x\x1b[2J\n";
            println!("RESULT {:?}", terminal.ask_yes_no(text, "Proceed?").map_err(|e| e.kind.exit_code()));
        }
        None => println!("RESULT no terminal, {}", no_terminal().kind.exit_code()),
    }
}

#[test]
#[ignore = "runs in a terminal, by the tests below"]
fn child_asks_for_a_word() {
    let answer = Terminal::open(&Interrupt::default()).unwrap().ask_exact("", "Remove all?", "remove 3");
    println!("RESULT {:?}", answer.map_err(|e| e.kind.exit_code()));
}

#[test]
#[ignore = "runs in a terminal, by the tests below"]
fn child_works_long() {
    let mut out = Out::of_process(Look::of_process(&Common::default(), &Env::default()));
    let mut progress = out.progress();
    progress.spinner("walking objects");
    std::thread::sleep(Duration::from_millis(700));
    progress.set(5, 10, "reading objects");
    out.tick(true, "half");
    std::thread::sleep(Duration::from_millis(300));
    progress.finish();
}

#[test]
#[ignore = "runs in a terminal, by the tests below"]
fn child_works_short() {
    let mut out = Out::of_process(Look::of_process(&Common::default(), &Env::default()));
    let mut progress = out.progress();
    progress.set(1, 2, "walking objects");
    progress.finish();
}

#[test]
fn only_yes_is_yes() {
    for (keys, expected) in [
        (&b"y\n"[..], "Ok(Yes)"),
        (b"YES\n", "Ok(Yes)"),
        (b"\n", "Ok(No)"),
        (b"n\n", "Ok(No)"),
        (b"yess\n", "Ok(No)"),
        (b"\xff\n", "Ok(No)"),
        (b"\x04", "Ok(No)"),
        (b"\x03", "Err(5)"),
        (b"y\x03", "Err(5)"),
    ] {
        let shown = on_terminal("child_asks", "[y/N]: ", keys);
        assert!(shown.contains(&format!("RESULT {expected}")), "{keys:?}: {shown}");
        assert!(shown.contains("Service: org.x\\u{1b}[2J\r\n\r\nProceed? [y/N]: "), "{shown}");
    }
}

#[test]
fn an_exact_word_is_asked_for_exactly() {
    for (keys, expected) in [(&b"remove 3\n"[..], "Ok(Yes)"), (b"remove\n", "Ok(No)"), (b"y\n", "Ok(No)")] {
        let shown = on_terminal("child_asks_for_a_word", "(type \"remove 3\"): ", keys);
        assert!(shown.contains(&format!("RESULT {expected}")), "{keys:?}: {shown}");
    }
}

#[test]
fn without_a_terminal_it_is_refused_with_the_flag_to_use() {
    let output = away_from_terminal("child_asks");
    assert!(String::from_utf8_lossy(&output.stdout).contains("RESULT no terminal, 5"), "{output:?}");
    assert!(no_terminal().hint.unwrap().contains("--yes"));
    assert_eq!(Answer::No.or_refused().unwrap_err().kind.exit_code(), 5);
}

#[test]
fn progress_is_for_people_who_wait() {
    let piped = away_from_terminal("child_works_long");
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "✓ half\n");
    let long = on_terminal("child_works_long", "reading objects", b"");
    assert!(long.contains("walking objects") && long.contains("5/10") && long.contains("half"), "{long}");
    let short = on_terminal("child_works_short", "test result", b"");
    assert!(!short.contains("walking objects"), "{short}");
}

use super::*;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn out(look: Look) -> (Out, Kept, Kept) {
    let (stdout, stderr) = (Kept::default(), Kept::default());
    (Out::new(look, Box::new(stdout.clone()), Box::new(stderr.clone())), stdout, stderr)
}

const TERMINAL: Look = Look {
    is_json: false,
    is_strict_json: false,
    is_json_on_stderr: false,
    is_stdout_terminal: true,
    is_stderr_terminal: true,
    is_colored: false,
    is_quiet: false,
    columns: Some(20),
};

fn failure() -> Error {
    Error::all(vec![
        Error::refused("the service said \x1b[2J\nno").on("org.x").hint("try\nagain").dbus("org.x.No"),
        Error::bad_input("b"),
    ])
    .unwrap()
}

#[test]
fn documents_end_with_one_line_end() {
    let (mut piped, stdout, _) = out(Look::default());
    piped.document(&json!({"b": [1], "a": "\u{9b}"})).unwrap();
    assert_eq!(stdout.text(), "{\"a\":\"\u{9b}\",\"b\":[1]}\n");
    piped.ndjson(&json!({})).unwrap();
    piped.ndjson(&json!(1)).unwrap();
    assert_eq!(stdout.text(), "{}\n1\n");
    let (mut terminal, stdout, _) = out(TERMINAL);
    terminal.document(&json!({"a": "\u{9b}\u{1b}"})).unwrap();
    assert_eq!(stdout.text(), "{\n  \"a\": \"\\u009b\\u001b\"\n}\n");
}

#[test]
fn text_for_people_is_harmless() {
    let (mut terminal, stdout, stderr) = out(TERMINAL);
    terminal.text("a\x1b\nb").unwrap();
    terminal.text("c\n").unwrap();
    assert_eq!(stdout.text(), "a\\u{1b}\nb\nc\n");
    terminal.tick(true, "Installed nginx\n✓ Installed lies");
    terminal.tick(false, "Removed \x07");
    terminal.warn("slow");
    terminal.note("nothing to do");
    assert_eq!(stderr.text(), "✓ Installed nginx\\n✓ Installed lies\n✗ Removed \\u{7}\nwarning: slow\nnothing to do\n");
    terminal.table(&["name"], &[vec!["a-very-long-name-indeed".into()]]).unwrap();
    assert_eq!(stdout.text(), "NAME\na-very-long-name-in…\n");
}

#[test]
fn failures_in_both_forms() {
    let (mut terminal, stdout, stderr) = out(TERMINAL);
    assert_eq!(terminal.fail(&failure()), ExitCode::from(5));
    assert_eq!(
        stderr.text(),
        "error: org.x: the service said \\u{1b}[2J\\nno (org.x.No)\n  hint: try\nagain\nerror: b\n"
    );
    let (mut json, also_stdout, stderr) = out(Look { is_json: true, is_json_on_stderr: true, ..Look::default() });
    assert_eq!(json.fail(&failure()), ExitCode::from(5));
    let text = stderr.text();
    assert_eq!(text.lines().count(), 1);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["error"]["kind"], "refused");
    json.warn("slow");
    assert_eq!(stderr.text(), "{\"warning\":{\"message\":\"slow\"}}\n");
    assert_eq!(stdout.text() + &also_stdout.text(), "");
}

#[test]
fn colours_only_where_they_are_welcome() {
    let (mut colored, _, stderr) = out(Look { is_colored: true, ..TERMINAL });
    colored.tick(true, "x");
    assert_eq!(stderr.text(), "\x1b[32m✓\x1b[0m x\n");
}

#[test]
fn quiet_and_strict_json_print_no_notes() {
    for look in [Look { is_quiet: true, ..TERMINAL }, Look { is_strict_json: true, ..TERMINAL }] {
        let (mut out, _, stderr) = out(look);
        out.note("x");
        out.tick(true, "x");
        assert_eq!(stderr.text(), "");
        out.fail(&Error::failed("x"));
        assert_ne!(stderr.text(), "");
    }
}

#[test]
fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
    let closed = |kind| Out::new(Look::default(), Box::new(Broken(kind)), Box::new(Kept::default()));
    let mut out = closed(io::ErrorKind::BrokenPipe);
    out.document(&json!(1)).unwrap();
    assert!(out.is_closed());
    out.document(&json!(2)).unwrap();
    let error = closed(io::ErrorKind::StorageFull).document(&json!(1)).unwrap_err();
    assert_eq!(error.kind.exit_code(), 1);
    assert!(error.message.starts_with("could not write to standard output: "), "{error}");
}

#[test]
fn what_is_asked_for_decides_the_look() {
    // The streams of a test are no terminals, so that JSON is the default.
    let look = |json, env: Env| Look::of_process(&Common { json, ..Common::default() }, &env);
    let none = look(None, Env::default());
    if !none.is_stdout_terminal && !none.is_stderr_terminal {
        assert!(none.is_json && none.is_json_on_stderr && !none.is_strict_json && !none.is_colored);
    }
    assert!(look(Some(true), Env::default()).is_strict_json);
    let people = look(Some(false), Env::from([("COLUMNS", "33")]));
    assert!(!people.is_json && !people.is_json_on_stderr);
    assert_eq!(people.columns, Some(33));
    assert!(!look(None, Env::from([("NO_COLOR", "1")])).is_colored);
}

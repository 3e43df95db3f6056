//! The question before anything is called, on a terminal: what it shows, and what each answer does.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus_tests::ops::{fails, is_installed, property, wait_until, write};
use op_dbus_tests::root::{Output, RealRoot, Running, Session};
use serde_json::Value;

/// A program on a terminal of its own. What it shows there is `script`'s standard output; its own two streams go to
/// files, as they would in a pipe.
struct OnTerminal<'s> {
    session: &'s Session,
    running: Running<'s>,
}

const WANT: &str = r#"{"plugins":{"hostname":{"location":"rack 3"},"packagekit":{"packages":["greeter-op"]}}}"#;

impl<'s> OnTerminal<'s> {
    fn start(session: &'s Session, command: &str) -> Self {
        write(session, "/run/want.json", WANT);
        let command = format!("stty -echo; {command} >/run/stdout 2>/run/stderr");
        let keys = r#"mkfifo /run/keys && exec 9<>/run/keys && exec script -qec "$0" /dev/null <&9"#;
        Self { session, running: session.spawn(&["bash", "-c", keys, &command], "") }
    }

    fn shown(&self) -> String {
        self.running.stdout_so_far().replace("\r\n", "\n")
    }

    /// Types `keys` when the question is there, and waits for the end.
    fn answer(self, keys: &str) -> (String, Output) {
        self.answer_to("Proceed? [y/N]: ", keys)
    }

    fn answer_to(self, question: &str, keys: &str) -> (String, Output) {
        wait_until("the question is asked", || self.shown().ends_with(question));
        self.session.run(&["sh", "-c", "cat >/run/keys"], keys).ok();
        let session = self.session;
        let output = self.running.wait();
        let read = |path: &str| session.run(&["cat", path], "").ok();
        (output.stdout, Output { code: output.code, stdout: read("/run/stdout"), stderr: read("/run/stderr") })
    }
}

fn nothing_changed(session: &Session) {
    assert_eq!(property(session, "org.freedesktop.hostname1", "Location"), "");
    assert!(!is_installed(session, "greeter-op"));
    assert_eq!(session.sh("ls /var/lib/op-dbus/@state").ok(), "lock\n");
}

const SHOWN: &str = r#"About to call D-Bus method:
  Service: org.freedesktop.hostname1
  Path: /org/freedesktop/hostname1
  Method: SetLocation
  Interface: org.freedesktop.hostname1
  Arguments: "rack 3", false
  Types: sb
  Changes: Set location to "rack 3"
  Undo: SetLocation "", false (exact)

About to call D-Bus method:
  Service: org.freedesktop.PackageKit
  Path: the object that CreateTransaction makes
  Method: InstallPackages
  Interface: org.freedesktop.PackageKit.Transaction
  Arguments: 2, ["greeter-op;1.0;all;local"]
  Types: tas
  Changes: Install greeter-op
  Undo: RemovePackages 0, ["greeter-op;1.0;all;local"], false, false (compensating)

This will install 2 packages (SIZE download)
Besides those named: hello-lib-op

Proceed? [y/N]: "#;

#[test]
fn yes_shows_the_calls_and_makes_them() {
    let session = RealRoot::get().session();
    let (shown, output) = OnTerminal::start(&session, "exec op-apply /run/want.json").answer("y\n");
    let shown = shown.replace("\r\n", "\n");
    // The sizes are those of the repository's packages, which differ by how they were compressed.
    let size = shown.split("packages (").nth(1).unwrap().split(" download").next().unwrap();
    assert!(size.starts_with('~') && size.ends_with(" kB"), "{size}");
    assert_eq!(shown, SHOWN.replace("SIZE", size));
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stderr, "✓ Set location to \"rack 3\"\n✓ Installed greeter-op\n");
    assert_eq!(output.json()["outcome"], "applied");
    assert_eq!(property(&session, "org.freedesktop.hostname1", "Location"), "rack 3");
    assert!(is_installed(&session, "greeter-op"));
}

#[test]
fn a_document_in_a_pipe_does_not_answer_the_question() {
    let session = RealRoot::get().session();
    let (shown, output) = OnTerminal::start(&session, "cat /run/want.json | op-apply").answer("yes\n");
    assert!(shown.ends_with("Proceed? [y/N]: "), "the question is shown once: {shown}");
    assert_eq!(output.code, 0, "{output:?}");
    assert!(is_installed(&session, "greeter-op"));
}

#[test]
fn anything_else_is_no() {
    for keys in ["n\n", "\n", "yes please\n", "\x04"] {
        let session = RealRoot::get().session();
        let (shown, output) = OnTerminal::start(&session, "exec op-apply /run/want.json").answer(keys);
        assert!(shown.contains("About to call D-Bus method:"));
        fails(&output, 5, &["kind: refused", "not confirmed, nothing was changed"]);
        assert_eq!(output.stdout, "", "{keys:?}");
        nothing_changed(&session);
    }
}

#[test]
fn control_c_at_the_question_is_a_refusal() {
    let session = RealRoot::get().session();
    let (_, output) = OnTerminal::start(&session, "exec op-apply /run/want.json").answer("\x03");
    fails(&output, 5, &["kind: refused", "interrupted at the question, nothing was changed"]);
    nothing_changed(&session);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_nothing_done() {
    let session = RealRoot::get().session();
    let output = session.run(&["op-apply"], WANT);
    fails(&output, 5, &["kind: refused", "no terminal", "--yes"]);
    nothing_changed(&session);
    // Where there is nothing to confirm, none is needed.
    let state: Value = session.run(&["op-query", "--plugin", "hostname"], "").json();
    assert_eq!(session.run(&["op-apply"], &state.to_string()).code, 0);
}

#[test]
fn on_a_terminal_everything_is_for_people() {
    let session = RealRoot::get().session();
    write(&session, "/run/want.json", WANT);
    let all = session.run(&["script", "-qec", "stty -echo; op-apply --yes /run/want.json", "/dev/null"], "");
    assert_eq!(all.code, 0, "{all:?}");
    assert!(all.stdout.contains("✓ Installed greeter-op\r\n"), "{}", all.stdout);
    assert!(all.stdout.contains("Done and verified (run "), "{}", all.stdout);
    assert!(!all.stdout.contains("\"kind\""), "{}", all.stdout);
}

/// What is removed because it is not listed goes only when its number is typed.
#[test]
fn a_prune_wants_its_number_typed() {
    let session = RealRoot::get().session();
    let both = serde_json::json!({"plugins": {"packagekit": {"packages": ["greeter-op"]}}});
    op_dbus_tests::ops::apply(&session, &[], &both).ok();
    let listed = session.run(&["op-query", "--bare", "--plugin", "packagekit"], "").json()["packages"].clone();
    let kept: Vec<&Value> = listed.as_array().unwrap().iter().filter(|name| *name != "greeter-op").collect();
    let want = serde_json::json!({"plugins": {"packagekit": {"packages": kept}}}).to_string();
    let question = "How many are removed? (type \"1\"): ";
    for (keys, code) in [("y\n", 5), ("yes\n", 5), ("2\n", 5), ("\n", 5), ("1\n", 0)] {
        let command = "exec op-apply --prune 1 /run/pruned.json";
        write(&session, "/run/pruned.json", &want);
        let terminal = OnTerminal::start(&session, command);
        let (_, output) = terminal.answer_to(question, keys);
        assert_eq!(output.code, code, "{keys:?}: {output:?}");
        assert_eq!(is_installed(&session, "greeter-op"), code != 0, "{keys:?}");
        session.sh("rm -f /run/keys").ok();
    }
}

//! What the end-to-end cases have in common: running the programs in a [`Place`], and asking others than them what
//! is true there.

use crate::Place;
use crate::command::{Output, Running};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within a minute.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `op-apply --yes` and more arguments with a document on standard input.
pub fn apply(session: &dyn Place, args: &[&str], document: &Value) -> Output {
    session.run(&[&["op-apply", "--yes"], args].concat(), &document.to_string())
}

/// Makes the plan for a document.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn plan(session: &dyn Place, document: &Value) -> Value {
    let output = session.run(&["op-apply", "--dry-run"], &document.to_string());
    assert_eq!(output.code, 0, "{output:?}");
    output.json()
}

/// Writes a file, and the folders above it.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn write(session: &dyn Place, path: &str, text: &str) {
    session.run(&["sh", "-c", r#"mkdir -p "${0%/*}" && cat > "$0""#, path], text).ok();
}

/// Installs a plugin by putting its folder into root's state root.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn install(session: &dyn Place, name: &str, service: &str, more: &str, mapping: &str) {
    let folder = format!("/var/lib/op-dbus/@plugin-{name}");
    let manifest = format!("[plugin]\nname = {name:?}\nversion = \"1.0.0\"\ndbus_service = {service:?}\n{more}");
    write(session, &format!("{folder}/plugin.toml"), &manifest);
    write(session, &format!("{folder}/semantic-mapping.toml"), mapping);
}

/// A property of the object that a service of systemd has by convention, as busctl sees it.
///
/// # Panics
/// When busctl cannot read it.
#[track_caller]
pub fn property(session: &dyn Place, service: &str, name: &str) -> Value {
    let path = format!("/{}", service.replace('.', "/"));
    let interface = if service.ends_with(".login1") { format!("{service}.Manager") } else { service.to_owned() };
    let output = session.run(&["busctl", "--json=short", "get-property", service, &path, &interface, name], "");
    assert_eq!(output.code, 0, "{output:?}");
    output.json()["data"].clone()
}

/// Host name and time zone, as busctl sees them.
///
/// # Panics
/// When busctl cannot read them.
#[track_caller]
pub fn host_and_zone(session: &dyn Place) -> (Value, Value) {
    let host = property(session, "org.freedesktop.hostname1", "StaticHostname");
    (host, property(session, "org.freedesktop.timedate1", "Timezone"))
}

/// Whether dpkg says that a package is installed, and nothing else about it.
pub fn is_installed(session: &dyn Place, package: &str) -> bool {
    session.run(&["dpkg-query", "-W", "-f", "${Status}", package], "").stdout == "install ok installed"
}

/// Makes the bus start a service.
///
/// # Panics
/// When it cannot.
#[track_caller]
pub fn start(session: &dyn Place, service: &str) {
    session.run(&["busctl", "--quiet", "--timeout=60", "call", service, "/", PEER, "Ping"], "").ok();
}

/// Process id of the service's owner, when it runs.
pub fn pid(session: &dyn Place, service: &str) -> Option<String> {
    let bus = "org.freedesktop.DBus";
    let argv = ["busctl", "call", bus, "/org/freedesktop/DBus", bus, "GetConnectionUnixProcessID", "s", service];
    session.run(&argv, "").stdout.trim().strip_prefix("u ").map(str::to_owned)
}

/// Sends a signal to the process of a service.
///
/// # Panics
/// When it does not run.
#[track_caller]
pub fn signal(session: &dyn Place, name: &str, service: &str) {
    let pid = pid(session, service).expect("a running service");
    session.run(&["kill", &format!("-{name}"), &pid], "").ok();
}

/// Digests of every file that says how the machine is set up.
///
/// # Panics
/// When they cannot be read.
#[track_caller]
pub fn configuration(session: &dyn Place) -> String {
    let files = "find /etc /var/lib/dpkg /srv -type f ! -name 'lock*' -print0 | sort -z | xargs -0 sha256sum";
    session.sh(&format!("set -o pipefail; {files}; readlink /etc/localtime; hostname")).ok()
}

/// The outcome that a report tells.
///
/// # Panics
/// When it is no report.
#[track_caller]
pub fn outcome(report: &Value) -> &str {
    assert_eq!(report["kind"], "report", "{report}");
    report["outcome"].as_str().expect("an outcome")
}

/// Every message on the bus, from now on.
#[derive(Debug)]
pub struct Monitor<'s> {
    session: &'s dyn Place,
    running: Running<'s>,
}

impl<'s> Monitor<'s> {
    /// Starts listening.
    ///
    /// # Panics
    /// When that does not work.
    pub fn start(session: &'s dyn Place) -> Self {
        let running = session.spawn(&["busctl", "monitor", "--json=short"], "");
        let monitor = Self { session, running };
        wait_until("the monitor listens", || monitor.marked("op.test.Begin"));
        monitor
    }

    /// The method calls so far, in order, as busctl prints them.
    ///
    /// # Panics
    /// When busctl prints anything but JSON.
    pub fn calls(&self) -> Vec<Value> {
        wait_until("the monitor saw everything", || self.marked("op.test.End"));
        let text = self.running.stdout_so_far();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let messages = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a message a line"));
        messages.filter(|message| message["type"] == "method_call").collect()
    }

    /// Sends a message that everybody can recognise, and whether it was seen.
    fn marked(&self, mark: &str) -> bool {
        let bus = "org.freedesktop.DBus";
        self.session.run(&["busctl", "call", bus, "/", bus, "NameHasOwner", "s", mark], "").ok();
        self.running.stdout_so_far().contains(mark)
    }
}

/// The error document that a program ended with.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn error(output: &Output) -> Value {
    let documents = output.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let error = documents.filter_map(|document| document.get("error").cloned()).next_back();
    error.unwrap_or_else(|| panic!("no error document: {output:?}"))
}

/// Checks how a program ended, and returns its error's text: kind, subject, message and hint, and those of the errors
/// that came with it.
///
/// # Panics
/// When it ended otherwise.
#[track_caller]
pub fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.code, code, "{output:?}");
    let mut text = String::new();
    let mut left = vec![error(output)];
    while let Some(error) = left.pop() {
        for field in ["kind", "subject", "message", "hint"] {
            text.push_str(&format!("{field}: {}\n", error[field].as_str().unwrap_or_default()));
        }
        left.extend(error["also"].as_array().cloned().unwrap_or_default());
    }
    text
}

/// Checks that a program failed with `code` and that its error contains all of `words`.
///
/// # Panics
/// When not.
#[track_caller]
pub fn fails(output: &Output, code: i32, words: &[&str]) {
    let text = failed(output, code);
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}

const PEER: &str = "org.freedesktop.DBus.Peer";

//! The engine learns of services from mappings alone: no room of the library but `cli` and the built-in plugins has a
//! service's name in a string literal.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::fs;
use std::path::{Path, PathBuf};

/// Words that only someone who knows a service writes.
const SERVICE_WORDS: &[&str] = &[
    "org/freedesktop/",
    "org.freedesktop.",
    "fedoraproject",
    "packagekit",
    "hostname1",
    "hostnamed",
    "timedate1",
    "locale1",
    "systemd1",
    "login1",
    "resolve1",
    "firewalld",
    "networkmanager",
    "udisks",
    "upower",
    "accountsservice",
    "avahi",
    "installpackages",
    "getpackages",
];

/// Literals that may have such a word: an example in a hint for people, which decides nothing, and an interface that any
/// daemon may have.
const HARMLESS: &[&str] =
    &["for example dbus_service = \\\"org.freedesktop.hostname1\\\"", "org.freedesktop.LogControl1"];

#[test]
fn the_engine_knows_no_service() {
    let mut sources = Vec::new();
    for room in ["apply", "base", "bus", "plugin", "state", "store"] {
        collect_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut sources);
    }
    assert!(sources.len() > 30);
    let mut found = Vec::new();
    for source in sources {
        for literal in string_literals(&fs::read_to_string(&source).unwrap()) {
            // The bus itself and its standard interfaces are no service.
            let rest = literal.to_lowercase().replace("org.freedesktop.dbus", "").replace("/org/freedesktop/dbus", "");
            let is_named = SERVICE_WORDS.iter().any(|word| rest.contains(word));
            if is_named && !HARMLESS.contains(&literal.as_str()) {
                found.push(format!("{}: {literal:?}", source.display()));
            }
        }
    }
    assert!(found.is_empty(), "the engine must learn of services from mappings alone:\n{}", found.join("\n"));
}

/// All Rust files below `folder` but those of built-in plugins, which may know what they are for.
fn collect_sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("plugin/builtin") {
            collect_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The string literals of Rust source before its test module, escapes as written, comments left out.
fn string_literals(source: &str) -> Vec<String> {
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut literals = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['/', '"', '\'', 'r']) {
        let before = rest[..at].chars().next_back();
        rest = &rest[at..];
        let raw = rest.strip_prefix('r').map(|tail| (tail.len() - tail.trim_start_matches('#').len(), tail));
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, tail)| tail);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, tail)| tail);
        } else if let Some((hashes, tail)) = raw.filter(|(hashes, tail)| tail[*hashes..].starts_with('"'))
            && before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        {
            let end = format!("\"{}", "#".repeat(hashes));
            let (literal, tail) = tail[hashes + 1..].split_once(&end).unwrap_or_default();
            literals.push(literal.to_owned());
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = tail.find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            let end = end.unwrap_or(tail.len());
            literals.push(tail[..end].to_owned());
            rest = tail.get(end + 1..).unwrap_or_default();
        } else if let Some(tail) = rest.strip_prefix("'\\") {
            // An escaped character: its quote, if it is one, ends nothing.
            rest = tail.get(1..).and_then(|tail| tail.split_once('\'')).map_or("", |(_, tail)| tail);
        } else if let Some(tail) = rest.strip_prefix("'\"'") {
            rest = tail;
        } else {
            rest = &rest[1..];
        }
    }
    literals
}

#[test]
fn string_literals_are_found() {
    let source = "// \"no\"\nlet a = \"yes\"; /* \"no\" */ let b = r#\"r\"aw\"#; let c = ('\"', '\\'', \"a\\\"b\"); for \
                  x in &'a \"z\" {}\n#[cfg(test)]\nmod tests { \"no\" }";
    assert_eq!(string_literals(source), ["yes", "r\"aw", "a\\\"b", "z"]);
}

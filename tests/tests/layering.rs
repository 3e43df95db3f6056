//! Who may know whom: the arrows between the rooms of `lib/src`, and what is done in some places only.
//!
//! A failure here is a question about the design. If the answer is yes, the lists below are the place to say so.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room, and the rooms it may use. A room is below those that use it: no arrow leads back.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("http", &["base"]),
    ("store", &["base"]),
    ("numa", &["base"]),
    ("embed", &["numa", "store", "base"]),
    ("state", &["base"]),
    ("bus", &["store", "base"]),
    ("audit", &["store", "base"]),
    // The objects of a mesh lie on its server.
    ("plugin", &["bus", "state", "store", "http", "base"]),
    // What a key of a mapping may do is a type of state.
    ("package", &["plugin", "audit", "bus", "state", "store", "http", "base"]),
    ("apply", &["plugin", "audit", "state", "bus", "store", "base"]),
    ("cli", &["apply", "package", "audit", "plugin", "state", "bus", "embed", "numa", "store", "http", "base"]),
];

/// Crates that one part of the library alone knows: what they do is done there.
const CRATES: &[(&str, &[&str])] = &[
    ("argh", &["cli/"]),
    ("indicatif", &["cli/out.rs", "cli/progress.rs"]),
    ("quick_xml", &["bus/introspection/"]),
    // A type signature and a bus name are also looked at where a mapping is read.
    ("zbus", &["bus/", "plugin/generic/arguments.rs", "plugin/manifest.rs"]),
    ("toml", &["plugin/", "embed/model/manifest.rs"]),
    ("sha2", &["base/digest.rs", "audit/merkle.rs"]),
    ("serde_json_canonicalizer", &["base/digest.rs", "audit/"]),
    ("libbtrfs", &["store/volumes/btrfs.rs"]),
    ("ureq", &["http/"]),
    // Packages, and heads of the audit trail.
    ("minisign", &["audit/keys.rs"]),
    ("minisign_verify", &["package/signature.rs", "package/keyring/", "audit/keys.rs"]),
    // Sealed segments of vectors, the archive, and content that travels as btrfs compressed it.
    ("zstd", &["embed/cache/", "package/archive.rs", "package/stream/extent.rs"]),
    ("miniz_oxide", &["package/stream/extent.rs"]),
    ("ort", &["embed/engine/"]),
    ("ort_tract", &["embed/engine/runtime.rs"]),
    ("flate2", &["embed/engine/archive.rs"]),
    ("tar", &["embed/engine/archive.rs"]),
    ("zip", &["embed/engine/archive.rs"]),
    ("libloading", &["embed/engine/runtime.rs"]),
    ("tokenizers", &["embed/tokenizer.rs"]),
    ("rusqlite", &["embed/"]),
    ("crc32fast", &["embed/"]),
];

/// Where the environment and the arguments are read.
const ENVIRONMENT: &[&str] = &["cli/", "store/layout.rs"];

/// Where a process may end itself or print.
const PROCESS: &[&str] = &["cli/"];

/// Files that may hold `unsafe`.
const UNSAFE: &[&str] = &[
    "cli/embed/serve/sockets.rs",
    "embed/engine/runtime.rs",
    "embed/map.rs",
    "embed/simd.rs",
    "numa/sys.rs",
    "store/ordered.rs",
    "store/stream.rs",
];

/// Files that were looked at twice and may be longer than 400 lines.
const LONG: &[&str] = &["plugin/mapping/file.rs"];
const LINES: usize = 400;

/// Crates a program may use besides the library: what `argh` derives needs `argh` itself, and documents are JSON values.
const OF_PROGRAMS: &[&str] = &["op_dbus", "argh", "serde_json", "std", "core"];

struct Source {
    /// Its path below `lib/src` or the repository.
    path: String,
    lines: usize,
    tokens: Vec<String>,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap();
        Self {
            path: file.strip_prefix(root).unwrap().display().to_string(),
            lines: text.lines().count(),
            tokens: tokens(shipped),
        }
    }

    fn room(&self) -> Option<&str> {
        self.path.split_once('/').map(|(room, _)| room)
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || (place.ends_with('/') && self.path.starts_with(place)))
    }

    /// How many modules lie around this one, itself included: 1 for `bus/mod.rs`, 2 for `bus/walk.rs`.
    fn depth(&self) -> usize {
        let parts = self.path.matches('/').count();
        if self.path.ends_with("mod.rs") { parts } else { parts + 1 }
    }

    /// Names that follow `root::`, `{a, b::c}` taken apart.
    fn names_after(&self, root: &str) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for (i, token) in self.tokens.iter().enumerate() {
            if token == root && self.tokens.get(i + 1).is_some_and(|t| t == "::") {
                names.extend(self.names_at(i + 2));
            }
        }
        names
    }

    /// The names a path may go on with at a token: one, or those of a group.
    fn names_at(&self, at: usize) -> Vec<&str> {
        let mut names = Vec::new();
        let Some(first) = self.tokens.get(at) else { return names };
        if first != "{" {
            return vec![first];
        }
        let mut depth = 0;
        for (i, token) in self.tokens.iter().enumerate().skip(at) {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                name if depth == 1 && matches!(self.tokens[i - 1].as_str(), "{" | ",") => names.push(name),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        names
    }

    /// Rooms this file names, by `crate::` or by climbing with `super::`.
    fn rooms_named(&self) -> BTreeSet<&str> {
        let mut rooms = self.names_after("crate");
        let mut climbed = 0;
        for (i, token) in self.tokens.iter().enumerate() {
            match token.as_str() {
                "super" => climbed += 1,
                "::" if climbed > 0 => {
                    if climbed == self.depth() {
                        rooms.extend(self.names_at(i + 1));
                    }
                }
                _ => climbed = 0,
            }
        }
        rooms.remove("super");
        rooms
    }

    fn has_macro(&self, name: &str) -> bool {
        self.tokens.windows(2).any(|pair| pair[0] == name && pair[1] == "!")
    }

    fn has_word(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token == word)
    }
}

/// The words and signs of Rust code, without comments, texts, characters and lifetimes.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if c == '"' {
            rest = after_text(&rest[1..]);
        } else if let Some(hashes) = raw_text(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = rest.find('"').unwrap() + 1;
            rest = rest[start..].find(&end).map_or("", |at| &rest[start + at + end.len()..]);
        } else if c == '\'' {
            rest = after_quote(&rest[1..]);
        } else if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
        } else if rest.starts_with("::") {
            found.push("::".into());
            rest = &rest[2..];
        } else {
            if !c.is_whitespace() {
                found.push(c.into());
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

fn after_text(rest: &str) -> &str {
    let mut is_escaped = false;
    for (i, c) in rest.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return &rest[i + 1..],
            _ => {}
        }
    }
    ""
}

/// The hashes of a raw text that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// What follows a character, or the name of a lifetime.
fn after_quote(rest: &str) -> &str {
    let mut chars = rest.char_indices();
    let first = chars.next().map(|(_, c)| c);
    if first == Some('\\') {
        let end = rest[2..].find('\'').map_or(rest.len(), |end| end + 3);
        return &rest[end..];
    }
    match chars.next() {
        Some((i, '\'')) => &rest[i + 1..],
        _ => rest,
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files_below(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
}

/// What ships of the library: files named `..._tests.rs` do not.
fn library() -> Vec<Source> {
    let root = repository().join("lib/src");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    let sources: Vec<_> = files
        .iter()
        .filter(|file| !file.display().to_string().ends_with("_tests.rs"))
        .map(|file| Source::read(&root, file))
        .collect();
    assert!(sources.len() > 40, "the library was not found");
    sources
}

fn programs() -> Vec<Source> {
    let root = repository();
    let mut files = Vec::new();
    for program in fs::read_dir(root.join("bin")).unwrap() {
        files_below(&program.unwrap().path().join("src"), &mut files);
    }
    files.sort();
    assert!(files.len() > 3, "the programs were not found");
    files.iter().map(|file| Source::read(&root, file)).collect()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_arrows_point_one_way() {
    for (i, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            assert!(ROOMS[..i].iter().any(|(below, _)| below == used), "{room} -> {used} leads up or nowhere");
        }
    }
    let mut problems = Vec::new();
    for source in library() {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            problems.push(format!("{}: the room {room} is not in the list", source.path));
            continue;
        };
        for used in source.rooms_named() {
            if used != room && !allowed.contains(&used) {
                problems.push(format!("{}: {room} -> {used} is not in the list", source.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(repository().join("lib/src/lib.rs")).unwrap();
    let declared: BTreeSet<_> = map.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, ROOMS.iter().map(|(room, _)| *room).collect());
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut problems = Vec::new();
    for source in library() {
        for (name, places) in CRATES {
            if !source.is_in(places) && !source.names_after(name).is_empty() {
                problems.push(format!("{}: {name} is known in {} only", source.path, places.join(", ")));
            }
        }
    }
    none(&problems);
}

#[test]
fn programs_use_the_library_alone() {
    let mut problems = Vec::new();
    for source in programs() {
        for (i, token) in source.tokens.iter().enumerate() {
            let root = source.tokens.get(i + 1).map_or("", String::as_str);
            if token == "use" && !(OF_PROGRAMS.contains(&root) || matches!(root, "crate" | "super" | "self")) {
                problems.push(format!("{}: a program does not use {root}", source.path));
            }
        }
        if source.names_after("std").contains("env") {
            problems.push(format!("{}: the environment is read in {}", source.path, ENVIRONMENT.join(", ")));
        }
        if source.names_after("process").contains("exit") {
            problems.push(format!("{}: main returns its exit code", source.path));
        }
    }
    let root = repository();
    for program in fs::read_dir(root.join("bin")).unwrap().map(|entry| entry.unwrap().path()) {
        let manifest = fs::read_to_string(program.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        for line in dependencies.lines().skip(1).take_while(|line| !line.starts_with('[')) {
            let name = line.split(['.', ' ', '=']).next().unwrap().replace('-', "_");
            if !(name.is_empty() || name.starts_with('#') || OF_PROGRAMS.contains(&&*name)) {
                problems.push(format!("{}: a program does not depend on {name}", program.display()));
            }
        }
    }
    none(&problems);
}

/// An engine is 20 MB of program and minutes of building: op-embed has one, and everyone else asks op-embed.
#[test]
fn only_op_embed_has_an_engine() {
    for program in fs::read_dir(repository().join("bin")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let program = program.to_str().unwrap();
        let output = std::process::Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--package", program])
            .current_dir(repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(crates.contains("op_dbus"), "{program} depends on {crates:?}");
        for engine in ["ort", "ort-tract", "tract-core", "tract-onnx", "tokenizers", "libloading"] {
            assert_eq!(crates.contains(engine), program == "op-embed", "{program}: {engine}");
        }
    }
}

#[test]
fn some_things_are_done_in_some_places_only() {
    let mut problems = Vec::new();
    for source in library() {
        let mut wrong = |what: &str| problems.push(format!("{}: {what}", source.path));
        if !source.is_in(ENVIRONMENT) && source.names_after("std").contains("env") {
            wrong("reads the environment");
        }
        if !source.is_in(PROCESS) {
            for end in ["exit", "abort"] {
                if source.names_after("process").contains(end) {
                    wrong("ends the process");
                }
            }
            for name in ["println", "eprintln", "print", "eprint"] {
                if source.has_macro(name) {
                    wrong("prints");
                }
            }
        }
        for name in ["todo", "unimplemented", "dbg"] {
            if source.has_macro(name) {
                wrong(&format!("has a {name}!"));
            }
        }
        if !source.is_in(UNSAFE) && source.has_word("unsafe") {
            wrong("is unsafe and not on the list");
        }
    }
    none(&problems);
}

#[test]
fn no_file_is_long_without_a_second_look() {
    let mut problems = Vec::new();
    for source in library().iter().chain(&programs()) {
        let is_listed = LONG.contains(&&*source.path);
        if source.lines > LINES && !is_listed {
            problems.push(format!("{}: {} lines; aim at 300, look twice at {LINES}", source.path, source.lines));
        }
        if source.lines <= LINES && is_listed {
            problems.push(format!("{}: is short enough to leave the list", source.path));
        }
    }
    for listed in LONG.iter().filter(|listed| !repository().join("lib/src").join(listed).exists()) {
        problems.push(format!("{listed}: is on the list and gone"));
    }
    none(&problems);
}

#[test]
fn the_reader_of_rust_code_sees_what_is_there() {
    let source = |code: &str| Source { path: "bus/walk.rs".into(), lines: 1, tokens: tokens(code) };
    let rooms = |code: &str| source(code).rooms_named().into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rooms("use crate::cli::{A, b::C};"), ["cli"]);
    assert_eq!(rooms("use crate::{apply::{A, x}, base, cli::y};"), ["apply", "base", "cli"]);
    assert_eq!(
        rooms("fn f(x: &'a str) -> crate::cli::X { super::super::apply::f('\"', '\\'', b'x') }"),
        ["apply", "cli"]
    );
    assert_eq!(rooms("use super::Bus; use super::introspection;"), [""; 0]);
    assert_eq!(rooms("use super::super::{apply, base::X};"), ["apply", "base"]);
    assert_eq!(rooms("// crate::cli\n/* crate::cli */ let x = \"crate::cli \\\" crate::cli\";"), [""; 0]);
    assert_eq!(rooms("let x = r#\"crate::cli \" crate::cli\"#; crate::base::x()"), ["base"]);
    assert!(source("use std::{fs, env};").names_after("std").contains("env"));
    assert!(!source("#![deny(unsafe_code)] // unsafe").has_word("unsafe"));
    assert!(source("unsafe { x() }").has_word("unsafe"));
    assert!(source("todo!()").has_macro("todo"));
}

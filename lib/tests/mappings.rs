//! The reader of `semantic-mapping.toml`, one folder a case: add a folder with an `input.toml`, run with
//! `OP_DBUS_BLESS=1`, read the `expected.txt` it wrote. Wrong mappings say what is wrong and where, all of it at once.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Kind;
use op_dbus::plugin::{Manifest, Mapping};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 30);
    folders
}

fn parse(text: &str) -> op_dbus::base::Result<Mapping> {
    Mapping::parse(text, "semantic-mapping.toml", "org.example.Service1")
}

/// What the reader makes of a mapping: its complaints, or, in a few words, what it understood.
fn outcome(text: &str) -> String {
    let mapping = match parse(text) {
        Ok(mapping) => mapping,
        Err(error) => {
            assert_eq!(error.kind, Kind::BadInput);
            return format!("{error}\n");
        }
    };
    let mut out = format!("accepted: {} {} {}\n", mapping.service, mapping.path, mapping.interface);
    for name in mapping.file.methods.keys() {
        let method = mapping.method(name).unwrap();
        let via = method.transaction.map(|(name, _)| format!(" in {name}")).unwrap_or_default();
        let safe = if method.section.safe { ", safe" } else { "" };
        out.push_str(&format!("method {name}: {} {}{via}{safe}\n", method.interface, method.member));
    }
    for (key, spec) in &mapping.specs {
        out.push_str(&format!("key {key}: {:?}\n", spec));
    }
    out
}

#[test]
fn each_mapping_is_read_or_refused_as_expected() {
    for folder in folders() {
        let actual = outcome(&fs::read_to_string(folder.join("input.toml")).unwrap());
        let file = folder.join("expected.txt");
        if std::env::var_os("OP_DBUS_BLESS").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(actual, expected, "{}", file.display());
    }
}

/// Texts to damage: the shipped mappings and the cases.
fn mappings() -> Vec<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings");
    let shipped = fs::read_dir(shipped).unwrap().map(|entry| entry.unwrap().path().join("semantic-mapping.toml"));
    let cases = folders().into_iter().map(|folder| folder.join("input.toml"));
    let texts = shipped.chain(cases).filter_map(|file| fs::read_to_string(file).ok());
    texts.filter(|text| !text.is_empty()).collect()
}

/// A mapping that was accepted answers all questions about itself without panicking.
fn use_all(mapping: &Mapping) {
    for name in mapping.file.methods.keys() {
        let _ = mapping.method(name);
    }
    let _ = (mapping.safe_calls(), mapping.can_write(), mapping.manner(None));
}

const PIECES: &[&str] = &[
    "[methods.a]",
    "[service]",
    "[state_mapping.k]",
    "[transactions.t]",
    "[fingerprint]",
    "[[",
    "]",
    "{",
    "}",
    "=",
    "safe = true",
    "fixed = { 0 = 1 }",
    "read = { property = \"P\" }",
    "read = { method = \"M\" }",
    "write = { method = \"a\" }",
    "add = { method = \"a\" }",
    "validate = { pattern = \"(\" }",
    "diff_strategy = \"none\"",
    "pattern = \"set\"",
    "\"",
    "'''",
    "#",
    ",",
    "\n",
    "1e999",
    "-0",
    "nan",
    "1979-05-27",
    "\\u0000",
    "\u{feff}",
    "é",
    "item = { field = \"\", part = 99 }",
    "interface = \"\"",
    "done = { signal = \"S\" }",
    "create = \"c\"",
    "fixed = { 18446744073709551616 = 1 }",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,300}") {
        let _ = parse(&text).map(|mapping| use_all(&mapping));
        let _ = Manifest::parse(&text, "plugin.toml");
    }

    #[test]
    fn any_pieces_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        for text in [pieces.concat(), pieces.join("\n")] {
            let _ = parse(&text).map(|mapping| use_all(&mapping));
            let _ = Manifest::parse(&text, "plugin.toml");
        }
    }

    #[test]
    fn damaged_mappings_are_read_or_refused(
        text in prop::sample::select(mappings()),
        at in any::<prop::sample::Index>(),
        len in 0_usize..40,
        with in prop_oneof![prop::sample::select(PIECES).prop_map(str::to_owned), "\\PC{0,6}"],
    ) {
        let text: Vec<char> = text.chars().collect();
        let start = at.index(text.len());
        let end = (start + len).min(text.len());
        let damaged: String = text[..start].iter().copied().chain(with.chars()).chain(text[end..].iter().copied()).collect();
        match parse(&damaged) {
            Ok(mapping) => use_all(&mapping),
            Err(error) => prop_assert_eq!(error.kind, Kind::BadInput),
        }
    }

    #[test]
    fn mappings_with_lines_swapped_are_read_or_refused(
        text in prop::sample::select(mappings()),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
    ) {
        let mut lines: Vec<&str> = text.lines().collect();
        let (a, b) = (a.index(lines.len()), b.index(lines.len()));
        lines.swap(a, b);
        let _ = parse(&lines.join("\n")).map(|mapping| use_all(&mapping));
    }
}

//! Paths into a state document, one folder a case: add `select/NAME/case.json`, run with `OP_DBUS_BLESS=1`, read what
//! it wrote.
//!
//! `case.json` holds `why` (what the case shows), `select` (the paths), and `plugins` where the document is not the
//! common one below. Beside it lies expected.json, the values by path and the hints of paths that name nothing, or
//! error.txt with the kind of the failure and its text.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Result;
use op_dbus::state::select::{Path, nothing_named, select, written};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    select: Vec<String>,
    #[serde(default)]
    plugins: Option<Value>,
}

/// What most cases select from: a bit of everything.
fn common() -> Value {
    json!({
        "hostname": {"chassis": "vm", "location": "rack 4", "pretty_hostname": "", "static_hostname": "web1"},
        "locale": {"locale": ["LANG=C.UTF-8", "LC_TIME=de_DE.UTF-8"], "x11_layout": "de"},
        "networkmanager": {
            "connections": {
                "eth0": {"ipv4": {"method": "auto"}, "ipv6": {"method": "ignore", "addresses": []}},
                "eth1": {"ipv4": {"method": "manual", "addresses": [{"address": "10.0.0.1", "prefix": 24}]}},
                "wg-0": {"ipv4": {"method": "disabled"}},
            },
            "wireless_enabled": true,
        },
        "systemd": {"units": {"web1.service": {"active": true}, "ssh.service": {"active": false}, "a\"b\\c": {"active": true}}},
        "org.example.Odd": {"observed": {"/org/example": {"org.example.Odd": {"~tilde/slash": 1, "": 2, "*": 3}}}},
    })
}

fn run(case: &Case) -> Result<Value> {
    let paths = case.select.iter().map(|text| Path::parse(text)).collect::<Result<Vec<_>>>()?;
    let plugins = case.plugins.clone().unwrap_or_else(common);
    let (matches, has_matched) = select(&plugins, &paths);
    // Order is part of what is expected.
    let values: Vec<Value> = matches.iter().map(|found| json!({&found.path: found.value})).collect();
    for found in &matches {
        // What is printed can be given back, and names this value and no other.
        let (again, _) = select(&plugins, &[Path::parse(&found.path).unwrap()]);
        assert_eq!(again, std::slice::from_ref(found), "{}", found.path);
        let below: Vec<&str> = found.names.iter().map(String::as_str).collect();
        assert!(paths.iter().any(|path| (1..=below.len()).all(|n| path.concerns(&below[..n]))), "{}", found.path);
    }
    let missed = paths.iter().zip(has_matched).filter(|(_, has_matched)| !has_matched);
    let missed: Vec<String> = missed.map(|(path, _)| nothing_named(path, &plugins).to_string()).collect();
    Ok(json!({"values": values, "missed": missed}))
}

#[test]
fn cases() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/select");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} lost cases", folder.display());
    let is_blessing = std::env::var_os("OP_DBUS_BLESS").is_some();
    let mut failures = Vec::new();
    for folder in &cases {
        let name = folder.file_name().unwrap().display();
        let text = fs::read_to_string(folder.join("case.json")).unwrap();
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!case.why.is_empty(), "{name}");
        let (file, actual, other) = match run(&case) {
            Ok(found) => ("expected.json", serde_json::to_string_pretty(&found).unwrap() + "\n", "error.txt"),
            Err(error) => ("error.txt", format!("{}\n{error}\n", error.kind.as_str()), "expected.json"),
        };
        if is_blessing {
            fs::write(folder.join(file), &actual).unwrap();
            let _ = fs::remove_file(folder.join(other));
        }
        let expected = fs::read_to_string(folder.join(file)).unwrap_or_default();
        if actual != expected || folder.join(other).exists() {
            failures.push(format!("{name}: expected {file}\n{expected}\nbut it is\n{actual}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// JSON with odd names in it.
fn document() -> impl Strategy<Value = Value> {
    let name = prop_oneof!["[a-c.*?\"/~\\\\ -]{0,3}", Just("plugins".to_owned()), "[0-2]"];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[a-z]{0,3}".prop_map(Value::from)];
    let value = leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    });
    prop::collection::btree_map("[a-c/.]{1,3}|plugins", value, 1..4).prop_map(|map| map.into_iter().collect())
}

/// Every value, in order, by the names that lead to it: the plain way to walk.
fn all(value: &Value, above: &[String], into: &mut Vec<(Vec<String>, Value)>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in members {
        let names = [above, &[name]].concat();
        into.push((names.clone(), value.clone()));
        all(value, &names, into);
    }
}

fn found(plugins: &Value, path: &str) -> Vec<(Vec<String>, Value)> {
    let (matches, _) = select(plugins, &[Path::parse(path).unwrap()]);
    matches.into_iter().map(|found| (found.names, found.value.clone())).collect()
}

proptest! {
    #[test]
    fn what_is_written_names_one_value(plugins in document()) {
        let mut every = Vec::new();
        all(&plugins, &[], &mut every);
        for (names, value) in &every {
            let one = [(names.clone(), value.clone())];
            prop_assert_eq!(found(&plugins, &written(names)), one.clone());
            let pointer: String = ["plugins".to_owned()].iter().chain(names)
                .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
            prop_assert_eq!(found(&plugins, &pointer), one);
        }
        let is_leaf = |(_, value): &&(Vec<String>, Value)| match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        let leaves: Vec<_> = every.iter().filter(is_leaf).cloned().collect();
        prop_assert_eq!(found(&plugins, "**"), leaves);
        let second: Vec<_> = every.iter().filter(|(names, _)| names.len() == 2).cloned().collect();
        prop_assert_eq!(found(&plugins, "*.*"), second);
        let named_a: Vec<_> = every.iter().filter(|(names, _)| names.last().unwrap() == "a").cloned().collect();
        prop_assert_eq!(found(&plugins, "**.a"), named_a);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,12}|[a.*?\"\\\\/~]{0,10}", plugins in document()) {
        if let Ok(path) = Path::parse(&text) {
            let (matches, has_matched) = select(&plugins, std::slice::from_ref(&path));
            prop_assert_eq!(matches.is_empty(), !has_matched[0]);
            let _ = nothing_named(&path, &plugins);
        }
    }
}

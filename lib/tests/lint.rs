//! Checking mappings, one folder a case: `mapping.toml` and, where the case is about them, `plugin.toml`, `README.md`,
//! `example.json` and `introspection.xml` of its own. Run with `OP_DBUS_BLESS=1` and read the `expected.txt` it wrote.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::plugin::author::lint::{self, Subject};
use op_dbus::plugin::author::{LintReport, Surface};
use std::fs;
use std::path::{Path, PathBuf};

const SERVICE: &str = "org.example.Lamp1";
const MANIFEST: &str = "[plugin]\nname = \"lamp\"\nversion = \"1.0.0\"\ndbus_service = \"org.example.Lamp1\"\n";

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() > 20);
    folders
}

fn text(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

fn subject(case: &Path) -> Subject {
    let shared = case.parent().unwrap();
    let xml = text(case, "introspection.xml").or_else(|| text(shared, "introspection.xml")).unwrap();
    let mut surface = Surface::of_texts(SERVICE, &[("introspection.xml".into(), xml)]).unwrap();
    surface.is_live = case.join("live").exists();
    let has = |name: &str| case.join(name).exists();
    Subject {
        manifest: (
            "plugin.toml".into(),
            if has("no-manifest") { None } else { text(case, "plugin.toml").or_else(|| Some(MANIFEST.into())) },
        ),
        mapping: ("semantic-mapping.toml".into(), text(case, "mapping.toml")),
        readme: ("README.md".into(), text(case, "README.md").or_else(|| (!has("no-readme")).then(|| "# lamp".into()))),
        examples: match text(case, "example.json") {
            Some(example) => vec![("examples/example.json".into(), example)],
            None if has("no-examples") => vec![],
            None => vec![("examples/empty.json".into(), "{\"plugins\":{\"lamp\":{}}}".into())],
        },
        has_scenarios: !has("no-examples"),
        untrusted: text(case, "untrusted.txt").iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
        surface: (!has("no-introspection")).then_some(surface),
    }
}

fn render(report: &LintReport) -> String {
    let mut text = format!("{} errors, {} warnings, {} advice\n", report.errors, report.warnings, report.advice);
    for finding in &report.findings {
        assert!(!finding.why.is_empty() && !finding.place.is_empty(), "{finding:?}");
        text.push_str(&format!(
            "\n{} {} {}\n  {}\n  why: {}\n",
            finding.level.as_str(),
            finding.rule,
            finding.place,
            finding.what,
            finding.why
        ));
        if !finding.hint.is_empty() {
            text.push_str(&format!("  way out: {}\n", finding.hint));
        }
    }
    text
}

#[test]
fn each_mapping_is_explained_as_expected() {
    for case in cases() {
        let actual = render(&lint::lint(&subject(&case)));
        let file = case.join("expected.txt");
        if std::env::var_os("OP_DBUS_BLESS").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        assert_eq!(actual, fs::read_to_string(&file).unwrap_or_default(), "{}", file.display());
    }
}

/// Every rule has a case: a rule that nothing can break is no rule.
#[test]
fn every_rule_has_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugin/author/lint");
    let mut rules = std::collections::BTreeSet::new();
    for source in fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()) {
        let mut rest = source.as_str();
        // The rule is the first text after a level.
        while let Some(at) = rest.find("Level::") {
            rest = &rest[at + 7..];
            let Some(tail) = rest.split_once('"').map(|(_, tail)| tail) else { break };
            let (rule, _) = tail.split_once('"').unwrap();
            if rest.find('"').unwrap() < 60
                && rule.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && !rule.is_empty()
            {
                rules.insert(rule.to_owned());
            }
        }
    }
    assert!(rules.len() > 25, "{rules:?}");
    let seen: String = cases().iter().map(|case| text(case, "expected.txt").unwrap_or_default()).collect();
    let missing: Vec<&String> = rules.iter().filter(|rule| !seen.contains(&format!(" {rule} "))).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

/// Adding a folder to `mappings/` is enough to have it checked; not even a warning is let through.
#[test]
fn shipped_mappings_pass_strictly() {
    let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings");
    let mut count = 0;
    for folder in fs::read_dir(mappings).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let report = lint::lint(&Subject::read(&folder).unwrap());
        assert_eq!((report.errors, report.warnings), (0, 0), "{}\n{}", folder.display(), render(&report));
        let against = if folder.join("introspection.xml").exists() { "introspection.xml" } else { "what is built in" };
        assert!(report.checked_against.contains(against), "{}", report.checked_against);
        count += 1;
    }
    assert!(count >= 4);
}

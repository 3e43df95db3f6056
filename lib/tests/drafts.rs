//! Drafts of mappings, one folder a case: `service.txt` says the service and, on further lines, the methods that the
//! author calls safe; `introspection*.xml` is what real services say, or, where a case has none, the folder of
//! `mappings/` of the case's name has it. Run with `OP_DBUS_BLESS=1` and read the `expected.toml` it wrote.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::plugin::Mapping;
use op_dbus::plugin::author::lint::{self, Subject};
use op_dbus::plugin::author::{Draft, Level, Surface, words};
use std::fs;
use std::path::{Path, PathBuf};

struct Case {
    folder: PathBuf,
    service: String,
    agreed: Vec<String>,
    surface: Surface,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drafts");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 12);
    folders.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let text = fs::read_to_string(folder.join("service.txt")).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        let service = lines.next().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("mappings");
        let own = Surface::of_folder(&service, &folder).unwrap();
        let surface = own.or_else(|| Surface::of_folder(&service, &shipped.join(folder.file_name().unwrap())).unwrap());
        Self { service, agreed: lines.collect(), surface: surface.unwrap(), folder }
    }

    fn draft(&self) -> Draft {
        let mut draft = Draft::of(&self.surface);
        for method in &self.agreed {
            assert!(draft.agree(method), "{}: {method} is no method that seems to read", self.folder.display());
        }
        draft
    }

    /// The draft as a plugin's folder would have it.
    fn subject(&self, text: &str) -> Subject {
        let manifest = format!("[plugin]\nname = \"x\"\nversion = \"1.0.0\"\ndbus_service = \"{}\"\n", self.service);
        Subject {
            manifest: ("plugin.toml".into(), Some(manifest)),
            mapping: ("expected.toml".into(), Some(text.to_owned())),
            readme: ("README.md".into(), Some("# x".into())),
            examples: vec![("examples/x.json".into(), "{\"plugins\":{\"x\":{}}}".into())],
            has_scenarios: true,
            untrusted: Vec::new(),
            surface: Some(self.surface.clone()),
        }
    }
}

#[test]
fn each_service_is_drafted_as_expected() {
    for case in cases() {
        let actual = case.draft().text();
        let file = case.folder.join("expected.toml");
        if std::env::var_os("OP_DBUS_BLESS").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        assert_eq!(actual, fs::read_to_string(&file).unwrap_or_default(), "{}", file.display());
    }
}

#[test]
fn every_draft_is_a_mapping_without_errors() {
    for case in cases() {
        let draft = case.draft();
        let report = lint::lint(&case.subject(&draft.text()));
        let bad: Vec<_> = report.findings.iter().filter(|finding| finding.level == Level::Error).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", case.folder.display());
    }
}

/// What is written as a comment is a mapping too, once its comment signs are gone.
#[test]
fn commented_parts_are_mappings() {
    for case in cases() {
        let text = case.draft().text();
        let all: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(toml) if !toml.starts_with(' ') && !toml.is_empty() => format!("{toml}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        Mapping::parse(&all, "x.toml", &case.service)
            .unwrap_or_else(|error| panic!("{}: {error}\n{all}", case.folder.display()));
    }
}

/// The rule that must hold whatever else a draft gets wrong.
#[test]
fn nothing_is_called_safe_without_the_authors_word() {
    for case in cases() {
        let mut draft = Draft::of(&case.surface);
        let mapping = Mapping::parse(&draft.text(), "x.toml", &case.service).unwrap();
        assert!(mapping.safe_calls().is_empty(), "{}", case.folder.display());
        // Nor with it, when the name says that it writes, or when it answers nothing.
        let members: Vec<String> =
            case.surface.interfaces.values().flat_map(|interface| interface.methods.keys().cloned()).collect();
        for member in &members {
            draft.agree(member);
        }
        let mapping = Mapping::parse(&draft.text(), "x.toml", &case.service).unwrap();
        for call in mapping.safe_calls() {
            assert!(words::is_reading(&call.member), "{}: {}", case.folder.display(), call.member);
            assert_eq!(words::writing_word(&call.member), None);
            let method = case.surface.method(&call.interface, &call.member).unwrap();
            assert!(!method.outputs.is_empty(), "{}: {}", case.folder.display(), call.member);
        }
    }
}

/// Names of arguments are any text: what a service calls them must not become part of the mapping.
#[test]
fn names_from_a_service_stay_names() {
    let evil = "x&quot;, &quot;] [methods.evil] safe = true #&apos;\\&#x2028;";
    let arg =
        |types: &str, direction: &str| format!("<arg name=\"{evil}\" type=\"{types}\" direction=\"{direction}\"/>");
    let xml = format!(
        "<node><interface name=\"org.example.Lamp1\"><property name=\"Scene\" type=\"s\" access=\"read\"/>\
         <method name=\"SetScene\">{0}{1}</method><method name=\"Blink\">{0}</method>\
         <method name=\"ListLamps\">{2}</method><method name=\"AddLamp\">{0}</method>\
         <method name=\"RemoveLamp\">{0}</method></interface></node>",
        arg("s", "in"),
        arg("b", "in"),
        arg("as", "out")
    );
    let surface = Surface::of_texts("org.example.Lamp1", &[("x.xml".into(), xml)]).unwrap();
    let text = Draft::of(&surface).text();
    let mapping = Mapping::parse(&text, "x.toml", "org.example.Lamp1").unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert!(mapping.safe_calls().is_empty() && !mapping.file.methods.contains_key("evil"), "{text}");
    assert!(mapping.file.methods["set_scene"].args_mapping[0].contains("safe = true"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("[methods.evil]") || line.starts_with("safe")), "{text}");
}

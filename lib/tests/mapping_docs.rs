//! What is written is executed: every TOML and JSON block of the mapping documentation is read, and the reference names
//! every key there is.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod markdown;

use markdown::{blocks, read, repository};
use op_dbus::plugin::{Manifest, Mapping};
use op_dbus::state::{Strategy, Writable};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

#[test]
fn every_toml_block_of_the_documentation_parses() {
    let root = repository();
    let mut documents =
        vec![root.join("docs/SEMANTIC-MAPPING-FORMAT.md"), root.join("docs/decisions/0007-mapping-words.md")];
    let folders = fs::read_dir(root.join("mappings")).unwrap().map(|entry| entry.unwrap().path());
    let readmes = |folder: PathBuf| [folder.join("README.md"), folder.join("examples/README.md")];
    documents.extend(folders.filter(|folder| folder.is_dir()).flat_map(readmes));
    let mut seen = 0;
    for document in documents {
        for (line, words, text) in blocks(&read(&document)) {
            let place = format!("{}:{line}", document.display());
            match words.split_once(',').map_or((words.as_str(), ""), |(kind, rest)| (kind, rest)) {
                ("toml", "") if text.contains("[plugin]") => drop(Manifest::parse(&text, &place).unwrap()),
                ("toml", "") => drop(Mapping::parse(&text, &place, "org.example.Service").unwrap()),
                ("toml", other) => panic!("{place}: blocks are checked whole; {other:?} is no kind of block here"),
                ("json", "") => drop(serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{place}: {e}"))),
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} blocks were found: has the documentation moved?");
}

/// The reference has a word for every key the reader knows.
#[test]
fn the_reference_names_every_key() {
    let reference = read(&repository().join("docs/SEMANTIC-MAPPING-FORMAT.md"));
    let files = ["file.rs", "collection.rs"].map(|file| repository().join("lib/src/plugin/mapping").join(file));
    let source = files.map(|file| read(&file)).concat();
    let mut missing = Vec::new();
    for line in source.lines().map(str::trim) {
        let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) else { continue };
        let name = name.trim_start_matches("r#");
        let is_named = [format!("`{name}`"), format!("`[{name}]`"), format!("`[{name}.")];
        let is_field = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if is_field && !is_named.iter().any(|form| reference.contains(form)) {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "docs/SEMANTIC-MAPPING-FORMAT.md says nothing about {missing:?}");
}

#[test]
fn the_founding_documents_examples_parse_as_printed() {
    let manifest = r#"
[plugin]
name = "packagekit"
version = "1.0.0"
source = "auto-generated"
dbus_service = "org.freedesktop.PackageKit"
read_only = false  # semantic-mapping.toml exists!

[capabilities]
query = true
apply = true   # Enabled via semantic mapping!
"#;
    let mapping = r#"
[methods.install_packages]
safe = false
side_effects = true
requires_confirmation = true
args_mapping = ["transaction_flags", "package_ids"]
arg_types = ["u", "as"]

[state_mapping]
"packages" = {
    query_method = "GetPackages",
    apply_method = "InstallPackages",
    remove_method = "RemovePackages",
    diff_strategy = "set_difference"
}
"#;
    let safety = r#"
[methods.install_packages]
safe = false                    # Mark as unsafe
requires_confirmation = true    # User must approve
pre_check = "check_disk_space" # Pre-flight validation
"#;
    let manifest = Manifest::parse(manifest, "plugin.toml").unwrap();
    let service = manifest.plugin.dbus_service.clone().unwrap();
    let mapping = Mapping::parse(mapping, "semantic-mapping.toml", &service).unwrap();
    assert!(manifest.contradictions(mapping.can_write()).is_empty());
    let packages = &mapping.specs["packages"];
    assert_eq!((packages.strategy, &packages.writable), (Strategy::SetDifference, &Writable::Yes));
    assert!(packages.can_add && packages.can_remove);
    let section = &mapping.file.state_mapping["packages"];
    assert_eq!(section.read.as_ref().unwrap().method.as_deref(), Some("GetPackages"));
    assert_eq!(mapping.method("InstallPackages").unwrap().name, "install_packages");
    assert!(mapping.safe_calls().is_empty());
    let safety = Mapping::parse(safety, "semantic-mapping.toml", &service).unwrap();
    assert_eq!(safety.method("InstallPackages").unwrap().section.pre_check.as_slice(), ["check_disk_space"]);
}

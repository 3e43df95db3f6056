//! What the README and the pages about querying type is typed here, in order, on real services: a reader must be able to
//! do the same.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod fits;

use fits::assert_fits;
use op_dbus_tests::root::RealRoot;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn readme() -> String {
    page("README.md")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

#[test]
fn every_command_about_querying_works() {
    let session = RealRoot::get().session();
    let mut count = 0;
    for block in ["docs/QUERY.md", "docs/WATCH-FORMAT.md"].map(page).iter().flat_map(|text| blocks(text, "sh")) {
        for line in block.lines() {
            let command = line.split(" #").next().unwrap().trim();
            let output = session.sh(&format!("cd /root; set -o pipefail; {command}"));
            assert_eq!(output.code, 0, "{command}\n{}\n{}", output.stdout, output.stderr);
            count += 1;
        }
    }
    assert!(count > 12, "the pages type {count} commands only: were their blocks renamed?");
}

#[test]
fn every_document_about_querying_fits_its_schema() {
    for text in ["docs/QUERY.md", "docs/WATCH-FORMAT.md"].map(page) {
        // One document, or one a line.
        let documents =
            blocks(&text, "json").into_iter().flat_map(|block| match serde_json::from_str::<Value>(&block) {
                Ok(document) => vec![document],
                Err(_) => block.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            });
        for document in documents {
            let kind = document["kind"].as_str().unwrap();
            let name = if ["selection", "cached", "timings"].contains(&kind) { kind } else { "watch" };
            assert_fits(name, &document);
        }
    }
}

/// The contents of the fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    text.split(&format!("```{language}\n")).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_session_is_what_is_seen() {
    let played = Command::new("../tests/session.sh").output().unwrap();
    assert!(played.status.success(), "{played:?}");
    let shown = blocks(&readme(), "console").concat();
    assert_eq!(shown, String::from_utf8(played.stdout).unwrap(), "tests/session.sh write writes it anew");
}

#[test]
fn every_command_of_the_readme_works() {
    let session = RealRoot::get().session();
    let mut count = 0;
    for block in blocks(&readme(), "sh") {
        for line in block.lines() {
            let command = line.split(" #").next().unwrap().trim();
            if command.is_empty() || command.starts_with("make ") {
                continue;
            }
            // Nobody answers here: where the README leads to the question, the answer is yes.
            let asks = command.contains("op-apply")
                && !["--yes", "--dry-run", "--check", "--recover", "op-apply confirm"]
                    .iter()
                    .any(|o| command.contains(o));
            let command = if asks { format!("{command} --yes") } else { command.to_owned() };
            let output = session.sh(&format!("cd /root; {command}"));
            assert_eq!(output.code, 0, "{command}\n{}\n{}", output.stdout, output.stderr);
            count += 1;
        }
    }
    assert!(count > 12, "the README types {count} commands only: were its blocks renamed?");
    let location = session.sh("op-query --bare --plugin hostname | jq -r .location").ok();
    assert_eq!(location.trim(), "rack 4");
}

#[test]
fn the_tutorial_of_an_administrator_works() {
    let session = RealRoot::get().session();
    let scripts = blocks(&page("docs/TUTORIAL-ADMINISTRATOR.md"), "sh");
    assert!(scripts.len() > 4, "were its blocks renamed?");
    for script in scripts {
        let output = session.sh(&format!("cd /root; set -e -o pipefail; {script}"));
        assert_eq!(output.code, 0, "{script}\n{}\n{}", output.stdout, output.stderr);
    }
    let location = session.sh("op-query --bare --plugin hostname | jq -r .location").ok();
    assert_eq!(location.trim(), "rack 4", "the last run was taken back");
}

#[test]
fn every_document_of_the_readme_is_one() {
    for text in ["README.md", "docs/TUTORIAL-PROXMOX.md"].iter().flat_map(|name| blocks(&page(name), "json")) {
        let document = serde_json::from_str(&text).unwrap();
        op_dbus::state::StateDocument::from_json(&document).unwrap();
    }
}

//! Reading the repository's own files and the code blocks in them.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::fs;
use std::path::{Path, PathBuf};

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code blocks of a Markdown text: the line each begins in, its words, its text.
pub fn blocks(markdown: &str) -> Vec<(usize, String, String)> {
    let mut found: Vec<(usize, String, String)> = Vec::new();
    let mut open = false;
    for (number, line) in markdown.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(words) if !open => {
                found.push((number + 1, words.trim().to_owned(), String::new()));
                open = true;
            }
            Some(_) => open = false,
            None if open => {
                let (_, _, text) = found.last_mut().unwrap();
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a code block is not closed");
    found
}

//! Where in a TOML file things are: the line of each table and key, also when other parts of the file are broken.

use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The lines of a file's keys.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: String,
    lines: BTreeMap<Vec<String>, usize>,
}

impl Places {
    /// Reads where the keys of `text` are; `file` names it.
    #[must_use]
    pub fn read(text: &str, file: &str) -> Self {
        let (table, _) = DeTable::parse_recoverable(text);
        let mut places = Self { file: file.to_owned(), lines: BTreeMap::new() };
        places.add(text, &mut Vec::new(), table.get_ref());
        places
    }

    fn add(&mut self, text: &str, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.lines.insert(path.clone(), line_of(text, key.span().start));
            self.add_value(text, path, value.get_ref());
            path.pop();
        }
    }

    fn add_value(&mut self, text: &str, path: &mut Vec<String>, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.add(text, path, table),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    path.push(i.to_string());
                    self.lines.insert(path.clone(), line_of(text, item.span().start));
                    self.add_value(text, path, item.get_ref());
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// Whether the file itself says this, and nothing else implied it.
    #[must_use]
    pub fn says(&self, path: &[&str]) -> bool {
        self.lines.contains_key(&owned(path))
    }

    /// `FILE:LINE` of what is at `path`, or of the nearest that holds it, and the path.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> String {
        let mut known = owned(path);
        while !known.is_empty() {
            if let Some(line) = self.lines.get(&known) {
                return format!("{}:{line}: {}", self.file, path.join("."));
            }
            known.pop();
        }
        match path {
            [] => self.file.clone(),
            _ => format!("{}: {}", self.file, path.join(".")),
        }
    }

    /// The place of an error whose subject is `FILE: a.b.c`; any other subject stays as it is.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> String {
        match subject.strip_prefix(&format!("{}: ", self.file)) {
            Some(path) => self.at(&path.split('.').collect::<Vec<_>>()),
            None => subject.to_owned(),
        }
    }
}

/// The line, from 1, of a byte of `text`.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|part| (*part).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys() {
        let text = "[service]\npath = \"/\"\n\n[methods.set_x]\nfixed = {\n  1 = false,\n}\n[state_mapping]\na = { read = { property = \"A\" } }\nafter = [\n  1,\n  2,\n]\n";
        let places = Places::read(text, "m.toml");
        assert_eq!(places.at(&["service", "path"]), "m.toml:2: service.path");
        assert_eq!(places.at(&["methods", "set_x"]), "m.toml:4: methods.set_x");
        assert_eq!(places.at(&["methods", "set_x", "fixed", "1"]), "m.toml:6: methods.set_x.fixed.1");
        assert_eq!(places.at(&["methods", "set_x", "nothing"]), "m.toml:4: methods.set_x.nothing");
        assert_eq!(places.at(&["state_mapping", "after", "1"]), "m.toml:12: state_mapping.after.1");
        assert_eq!(places.at(&["elsewhere"]), "m.toml: elsewhere");
        assert_eq!(places.of_subject("m.toml: state_mapping.a"), "m.toml:9: state_mapping.a");
        assert_eq!(places.of_subject("m.toml:3:4"), "m.toml:3:4");
        assert!(!places.says(&["methods", "set_x", "nothing"]));
    }

    #[test]
    fn a_broken_file_still_has_places() {
        let places = Places::read("[a]\nb = 1\nc = \n[d]\ne = 2\n", "m.toml");
        assert_eq!(places.at(&["d", "e"]), "m.toml:5: d.e");
    }
}

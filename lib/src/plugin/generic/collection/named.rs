//! What items are called, and which of them count.

use super::super::{convert, rows};
use super::items::{Item, Items, Reader};
use super::shape::at_path;
use crate::base::{Error, Result};
use crate::plugin::mapping::{Accepted, KeySection};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Reader<'_> {
    /// Items by name; those without one, and those that share one, are problems.
    pub(super) fn named(&self, items: Vec<Item>) -> Result<Items> {
        let pattern = self.pattern()?;
        let mut named = Items::default();
        let mut twice: BTreeSet<String> = BTreeSet::new();
        for item in items {
            let name = match self.name_of(&item) {
                Ok(name) => name,
                Err(error) => {
                    named.problems.push((None, error));
                    continue;
                }
            };
            if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&name)) {
                continue;
            }
            let counts = rows::passes(&item.columns, &self.known(&self.section.filter, &item));
            if !counts || rows::is_excluded(&item.columns, &self.section.exclude) {
                continue;
            }
            if named.found.insert(name.clone(), item).is_some() {
                twice.insert(name);
            }
        }
        for name in twice {
            named.found.remove(&name);
            let error = Error::failed(format!("several items have the name {name:?}, so none of them can be told"))
                .hint("give them names of their own with the service's own tool");
            named.problems.push((Some(name), error));
        }
        Ok(named)
    }

    /// The filters on columns that are known before others are joined.
    fn known(&self, filter: &BTreeMap<String, Accepted>, item: &Item) -> BTreeMap<String, Accepted> {
        let is_known = |column: &&String| self.source.join.is_empty() || item.columns.contains_key(*column);
        filter.iter().filter(|(column, _)| is_known(column)).map(|(c, a)| (c.clone(), a.clone())).collect()
    }

    fn name_of(&self, item: &Item) -> Result<String> {
        let missing = || {
            let which = item.path.as_deref().map_or_else(String::new, |path| format!(" {path}"));
            Error::failed(format!("the item{which} has no {}, so it has no name", self.key.column_ref()))
        };
        let value = match self.key {
            KeySection::Column(column) => match &item.value {
                Some(value) if !item.columns.contains_key(column) => at_path(value, column).cloned(),
                _ => item.columns.get(column).cloned(),
            },
            // What is not split need not be a text: bytes, for example, become one.
            KeySection::Part(part) if part.split.is_none() => match item.columns.get(&part.field) {
                Some(value) => Some(convert::read(value.clone(), &part.convert)?),
                None => None,
            },
            KeySection::Part(part) => match rows::part(&item.columns, part) {
                Some(text) => Some(convert::read(json!(text), &part.convert)?),
                None => None,
            },
        };
        match value {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(missing()),
        }
    }

    pub(super) fn pattern(&self) -> Result<Option<regex_lite::Regex>> {
        let pattern = self.section.key_pattern.as_ref();
        let pattern = pattern.map(|pattern| regex_lite::Regex::new(&format!("^(?:{pattern})$")));
        pattern.transpose().map_err(|error| Error::bad_input(error.to_string()))
    }
}

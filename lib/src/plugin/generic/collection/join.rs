//! More columns for items, from other methods than the one that lists them.

use super::super::reading::{self, ask};
use super::super::{convert, rows};
use super::items::{Item, Items, Reader, in_names, is_answer};
use crate::base::{Progress, Result};
use crate::plugin::mapping::collection::{JoinSection, KeySection, Query};
use crate::plugin::mapping::template;
use rows::Row;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Reader<'_> {
    /// Adds the columns of other methods to the items of the same name, and items that only these know when they were
    /// asked for by name.
    pub(super) fn join(
        &self,
        items: &mut Items,
        names: Option<&BTreeSet<String>>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        for join in &self.source.join {
            if let (Some(each), Some(column)) = (&join.each, join.fields.first()) {
                self.join_each(items, each, column)?;
                continue;
            }
            let (reference, args) = match (&join.named, names) {
                (Some(named), Some(names)) => (named.method.as_str(), self.args(named, &|word| in_names(word, names))?),
                _ => {
                    let args = template::fill(join.args.as_deref().unwrap_or_default(), &|_| None)?;
                    (join.method.as_deref().unwrap_or_default(), args)
                }
            };
            let method = self.mapping.method(reference)?;
            for row in ask(self.bus, self.mapping, &method, args, &join.fields, progress)? {
                let Some(name) = name_in_row(join, &row)? else { continue };
                let is_asked = names.is_some_and(|names| names.contains(&name));
                match items.found.get_mut(&name) {
                    Some(item) => item.columns.extend(row),
                    None if is_asked => drop(items.found.insert(name, Item { columns: row, ..Item::default() })),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Asks for one column of each item that has it from nowhere; an error of the service's own means that it has none.
    fn join_each(&self, items: &mut Items, each: &Query, column: &str) -> Result<()> {
        let method = self.mapping.method(&each.method)?;
        let mut calls = Vec::new();
        for name in items.found.iter().filter(|(_, item)| !item.columns.contains_key(column)).map(|(name, _)| name) {
            let args = self.args(each, &|word| self.word_of_name(word, name))?;
            calls.push((name.clone(), reading::reading_call(self.mapping, &method, args)?));
        }
        let mut failure = None;
        self.bus.pump(calls, |name, reply| {
            match reply.and_then(|reply| reply.single(&method.member)) {
                Ok(value) => {
                    if let Some(item) = items.found.get_mut(&name) {
                        item.columns.insert(column.to_owned(), value);
                    }
                }
                Err(error) if is_answer(&error) => {}
                Err(error) => drop(failure.get_or_insert(error)),
            }
            Vec::new()
        });
        failure.map_or(Ok(()), Err)
    }
}

fn name_in_row(join: &JoinSection, row: &Row) -> Result<Option<String>> {
    let Some(key) = &join.key else { return Ok(None) };
    match key {
        KeySection::Column(column) => Ok(row.get(column).and_then(Value::as_str).map(str::to_owned)),
        KeySection::Part(part) => match rows::part(row, part) {
            Some(text) => Ok(convert::read(json!(text), &part.convert)?.as_str().map(str::to_owned)),
            None => Ok(None),
        },
    }
}

//! Planning what joins and leaves a set: names resolved, the service's own simulation asked, one call for all items or
//! one for each.

use super::planning::Planner;
use super::{convert, reading, rows};
use crate::base::{Call, Error, Result};
use crate::plugin::mapping::file::PreviewSection;
use crate::plugin::mapping::{Method, Operation, StateSection, resolve_of, template};
use crate::state::plan::{Preview, Undo, UndoClass};
use crate::state::{Action, Change};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Which way items go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Add,
    Remove,
}

impl Planner<'_> {
    /// The actions for the items of one key that go in one direction.
    pub(super) fn items(
        &mut self,
        key: &str,
        section: &StateSection,
        of_key: &[&Change],
        direction: Direction,
    ) -> Result<Vec<Action>> {
        let (operation, opposite) = match direction {
            Direction::Add => (&section.add, &section.remove),
            Direction::Remove => (&section.remove, &section.add),
        };
        let is_mine = |change: &&&Change| match direction {
            Direction::Add => matches!(change, Change::Add { .. }),
            Direction::Remove => matches!(change, Change::Remove { .. }),
        };
        let mine: Vec<&Change> = of_key.iter().filter(is_mine).copied().collect();
        let Some(operation) = operation.as_ref().filter(|_| !mine.is_empty()) else { return Ok(Vec::new()) };
        let items: Vec<String> = mine.iter().filter_map(|change| change.resource().item).collect();
        let by_item: HashMap<String, &Change> =
            mine.iter().filter_map(|change| Some((change.resource().item?, *change))).collect();
        let ids = self.resolve(key, section, operation, &items)?;
        let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
        let takes_all = match &operation.args {
            Some(args) => template::mentions(args, "items") || template::mentions(args, "ids"),
            None => self.free_type(&method)?.is_some_and(|free| free.starts_with('a')),
        };
        let size = if takes_all { operation.batch_size.unwrap_or(usize::MAX).max(1) } else { 1 };
        let batches: Vec<Vec<String>> = items.chunks(size).map(<[String]>::to_vec).collect();
        let mut actions = Vec::new();
        for batch in batches {
            let ids: Vec<String> = batch.iter().map(|item| ids.get(item).unwrap_or(item).clone()).collect();
            let written = converted(section, &ids).map_err(|error| error.or_on(self.place(key)))?;
            let call = self.item_call(&method, operation, key, &batch, &written)?;
            let preview = self.preview(operation, key, &batch, &ids)?;
            let undo = match opposite {
                Some(opposite) => {
                    let back = self.mapping.method(opposite.method.as_deref().unwrap_or_default())?;
                    let call = self.item_call(&back, opposite, key, &batch, &written)?;
                    let class = method.section.undo.unwrap_or(UndoClass::Compensating);
                    Undo { class, call: (class != UndoClass::Irreversible).then_some(call) }
                }
                None => Undo { class: UndoClass::Irreversible, call: None },
            };
            let words = if direction == Direction::Add { "Add {items} to {key}" } else { "Remove {items} from {key}" };
            let title = operation.title.as_deref().unwrap_or(words);
            let title =
                template::text(title, &[("items", &batch.join(", ")), ("item", &batch.join(", ")), ("key", key)]);
            let changes = batch.iter().filter_map(|item| by_item.get(item)).map(|change| (*change).clone()).collect();
            let mut action = self.action(&method, call, title, undo, changes, preview);
            if let Some(done) = &operation.done {
                let line = |item: &String| template::text(done, &[("item", item), ("items", item), ("key", key)]);
                action.done = batch.iter().map(line).collect();
            }
            actions.push(action);
        }
        Ok(actions)
    }

    fn item_call(
        &mut self,
        method: &Method<'_>,
        operation: &Operation,
        key: &str,
        items: &[String],
        ids: &[Value],
    ) -> Result<Call> {
        let find = |word: &str| match word {
            "items" => Some(json!(items)),
            "ids" => Some(json!(ids)),
            "item" => items.first().map(|text| json!(text)),
            "id" => ids.first().cloned(),
            "key" => Some(json!(key)),
            other => self.current.get(other).cloned(),
        };
        let none = crate::bus::value::VariantTypes::none();
        let place = self.place(key);
        self.method_call(method, operation, &place, &find, Some((&["ids", "id"], &none)))
    }

    /// Identifiers of `items`, by item; empty when the mapping resolves nothing.
    fn resolve(
        &mut self,
        key: &str,
        section: &StateSection,
        operation: &Operation,
        items: &[String],
    ) -> Result<BTreeMap<String, String>> {
        let Some(resolve) = resolve_of(section, operation) else { return Ok(BTreeMap::new()) };
        let method = self.mapping.method(&resolve.method)?;
        let args = resolve.args.clone().unwrap_or_else(|| vec![json!("$items")]);
        let find = |word: &str| (word == "items").then(|| json!(items));
        let args = template::fill(&args, &find)?;
        self.progress.say(&format!("looking up {}", items.join(", ")), None);
        let rows = reading::ask(self.bus, self.mapping, &method, args, &resolve.fields, self.progress)?;
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in &rows {
            let id = row.get(&resolve.result).and_then(Value::as_str);
            if let (Some(name), Some(id)) = (rows::part(row, &resolve.r#match), id) {
                found.entry(name).or_default().insert(id.to_owned());
            }
        }
        let mut ids = BTreeMap::new();
        let mut errors = Vec::new();
        for item in items {
            let candidates = found.get(item).map(|set| set.iter().cloned().collect::<Vec<_>>()).unwrap_or_default();
            match candidates.as_slice() {
                [one] => drop(ids.insert(item.clone(), one.clone())),
                [] => errors.push(
                    Error::bad_input(format!("the service knows no {item:?}"))
                        .on(self.place(key))
                        .hint("check the spelling; if it is new, the service may have to refresh its lists first"),
                ),
                several => errors.push(
                    Error::bad_input(format!("{item:?} can mean any of {}", several.join(", "))).on(self.place(key)),
                ),
            }
        }
        Error::all(errors).map_or(Ok(ids), Err)
    }

    /// What the service says the call would do, by its own simulation.
    fn preview(
        &mut self,
        operation: &Operation,
        key: &str,
        items: &[String],
        ids: &[String],
    ) -> Result<Option<Preview>> {
        let Some(section) = &operation.preview else { return Ok(None) };
        let method = self.mapping.method(&section.method)?;
        let args = section.args.clone().unwrap_or_else(|| vec![json!("$ids")]);
        let find = |word: &str| match word {
            "ids" => Some(json!(ids)),
            "items" => Some(json!(items)),
            _ => None,
        };
        self.progress.say(&format!("asking the service what it would do for {}", items.join(", ")), None);
        let rows = reading::ask(self.bus, self.mapping, &method, template::fill(&args, &find)?, &[], self.progress)
            .map_err(|error| error.or_on(self.place(key)))?;
        let rows: Vec<rows::Row> = rows.into_iter().filter(|row| rows::passes(row, &section.filter)).collect();
        let names: BTreeSet<String> = rows.iter().filter_map(|row| rows::part(row, &section.item)).collect();
        let also: Vec<String> = names.iter().filter(|name| !items.contains(name)).cloned().collect();
        let others: Vec<&rows::Row> = rows
            .iter()
            .filter(|row| rows::part(row, &section.item).is_some_and(|name| !items.contains(&name)))
            .collect();
        self.check_others(section, key, &others)?;
        let mut preview = Preview { also, ..Preview::default() };
        // The requested items go by their own ids: the simulation may write the same one in another way.
        let mut all_ids: BTreeSet<String> = ids.iter().cloned().collect();
        all_ids.extend(others.iter().filter_map(|row| row.get(&section.id)?.as_str().map(str::to_owned)));
        if let Some(sizes) = &section.sizes {
            let method = self.mapping.method(&sizes.method)?;
            let args = sizes.args.clone().unwrap_or_else(|| vec![json!("$ids")]);
            let args = template::fill(&args, &|word| (word == "ids").then(|| json!(all_ids)))?;
            let rows = reading::ask(self.bus, self.mapping, &method, args, &[], self.progress)?;
            let total = |name: &Option<String>| total_of(&rows, sizes.details.as_deref(), name.as_deref()?);
            preview.download_bytes = total(&sizes.download);
            preview.installed_bytes = total(&sizes.installed);
        }
        let count = items.len() + preview.also.len();
        let size = match (preview.download_bytes.filter(|n| *n > 0), preview.installed_bytes.filter(|n| *n > 0)) {
            (Some(download), _) => format!(" (~{} download)", crate::base::size::for_people(download)),
            (None, Some(installed)) => format!(" (~{} on disk)", crate::base::size::for_people(installed)),
            (None, None) => String::new(),
        };
        preview.text = template::text(
            &section.text,
            &[
                ("count", &count.to_string()),
                ("items", &items.join(", ")),
                ("size", &size),
                ("s", if count == 1 { "" } else { "s" }),
            ],
        );
        Ok(Some(preview))
    }

    /// Refuses what a simulation says would happen to items nobody asked for: what the mapping refuses, and anything
    /// at all to those that are protected when the operation removes.
    fn check_others(&self, section: &PreviewSection, key: &str, others: &[&rows::Row]) -> Result<()> {
        let is_refused = |row: &&&rows::Row| {
            section.refuse_others || (!section.refuse.is_empty() && rows::passes(row, &section.refuse))
        };
        let names: BTreeSet<String> =
            others.iter().filter(is_refused).filter_map(|row| rows::part(row, &section.item)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        Err(Error::refused(format!("the service says this would also touch {names}, which was not asked for"))
            .on(self.place(key))
            .hint("if that is what you want, say so in the document: list them, or list them as absent"))
    }
}

/// Identifiers as the service wants them: what the items are converted from.
fn converted(section: &StateSection, ids: &[String]) -> Result<Vec<Value>> {
    let codecs = section.item.as_ref().map(|item| item.convert.as_slice()).unwrap_or_default();
    ids.iter().map(|id| convert::write(json!(id), codecs)).collect()
}

fn total_of(rows: &[rows::Row], details: Option<&str>, name: &str) -> Option<u64> {
    let value = |row: &rows::Row| match details {
        Some(column) => row.get(column)?.get(name).cloned(),
        None => row.get(name).cloned(),
    };
    let number = |value: Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let numbers: Vec<u64> = rows.iter().filter_map(|row| number(value(row)?)).collect();
    // A service that does not know says nothing, or all ones: then nothing is said either.
    let known: Vec<u64> = numbers.into_iter().filter(|n| *n < u64::MAX / 2).collect();
    (!known.is_empty()).then(|| known.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)))
}

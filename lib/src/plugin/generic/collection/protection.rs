//! Items that must stay as they are: those whose own columns say so, as far as only the service can tell.

use super::super::planning::Planner;
use super::super::{reading, rows};
use super::items::Item;
use super::shape::raw_member;
use crate::base::{Error, Result};
use crate::plugin::mapping::file::StateSection;
use crate::plugin::mapping::{MemberSection, Operation, template};
use serde_json::{Map, Value, json};

/// Whether the item's columns say that it is protected.
fn is_protected(section: &StateSection, item: &Item) -> bool {
    !section.protected_if.is_empty() && rows::passes(&item.columns, &section.protected_if)
}

/// Refuses to delete an item whose columns say that it is protected.
pub fn check_delete(section: &StateSection, name: &str, item: &Item) -> Result<()> {
    if !is_protected(section, item) {
        return Ok(());
    }
    Err(Error::refused(format!("{name:?} is protected and is never removed: {}", why(section, item)))
        .hint("the mapping lists what is protected and why"))
}

/// Refuses to give an item whose columns say that it is protected a value of a member that it keeps.
pub fn check_members(section: &StateSection, name: &str, item: &Item, to: &Map<String, Value>) -> Result<()> {
    if !is_protected(section, item) {
        return Ok(());
    }
    let is_kept = |(member, to): &(&String, &Value)| {
        let member = section.members.get(*member);
        member.is_some_and(|member| member.keep || member.keep_as.as_ref().is_some_and(|only| only != *to))
    };
    match to.iter().find(is_kept) {
        Some((member, _)) => {
            Err(Error::refused(format!("{name:?} is protected and keeps its {member}: {}", why(section, item)))
                .hint("the mapping lists what is protected and why"))
        }
        None => Ok(()),
    }
}

/// Refuses to write a member that the item does not have, or whose columns say that it cannot have another value.
pub fn check_has(section: &StateSection, item: &str, now: &Item, (name, member): (&str, &MemberSection)) -> Result<()> {
    let own = section.read.as_ref().and_then(|read| read.interface.as_deref());
    if member.property.is_some() && member.default.is_none() && raw_member(now, member, own).is_none() {
        return Err(Error::refused(format!("{item:?} has no {name}")).hint("op-query shows what it has"));
    }
    if rows::passes(&now.columns, &member.needs) {
        return Ok(());
    }
    let is_so = |column: &String| format!("its {column} is {}", now.columns.get(column).unwrap_or(&Value::Null));
    let why = member.needs.keys().map(is_so).collect::<Vec<_>>().join(", ");
    Err(Error::refused(format!("{item:?} cannot be given another {name}: {why}")))
}

fn why(section: &StateSection, item: &Item) -> String {
    let columns = section.protected_if.keys().filter_map(|column| Some((column, item.columns.get(column)?)));
    columns.map(|(column, value)| format!("its {column} is {value}")).collect::<Vec<_>>().join(", ")
}

impl Planner<'_> {
    /// Refuses a call that another reading says must not be made.
    pub(super) fn check_refusal(&mut self, key: &str, operation: &Operation, name: &str) -> Result<()> {
        self.check_refusal_at(&format!("{}.{name}", self.place(key)), operation, name)
    }

    /// The same of an item, or of a key's value, that has a place in the document.
    pub(in super::super) fn check_refusal_at(&mut self, place: &str, operation: &Operation, name: &str) -> Result<()> {
        let Some(refuse) = &operation.refuse_if else { return Ok(()) };
        let method = self.mapping.method(&refuse.method)?;
        let words = |word: &str| (word == "item").then(|| json!(name));
        let args = template::fill(refuse.args.as_deref().unwrap_or_default(), &words)?;
        let rows =
            reading::ask(self.bus, self.mapping, &method, args, &refuse.fields, self.progress).map_err(|mut e| {
                e.message = format!("could not make sure that this may be done: {}", e.message);
                e.on(place)
            })?;
        if rows.iter().any(|row| rows::part(row, &refuse.r#match).as_deref() == Some(name)) {
            return Err(Error::refused(template::text(&refuse.reason, &[("item", name)])).on(place));
        }
        Ok(())
    }
}

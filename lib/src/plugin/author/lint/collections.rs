//! Collections: items with a name, members that are described, there, and written in the type they are read in.

use super::Lint;
use crate::plugin::author::{Level, words};
use crate::plugin::mapping::file::Rules;
use crate::plugin::mapping::{MemberSection, StateSection};

impl Lint<'_> {
    pub(super) fn collection(&mut self, key: &str, section: &StateSection) {
        self.name(key, section);
        for (name, member) in &section.members {
            self.member(key, section, name, member);
        }
        let covers = |word: &str| section.order.iter().any(|name| name == word);
        let writable: Vec<&String> =
            section.members.iter().filter(|(_, member)| member.write.is_some()).map(|(name, _)| name).collect();
        if section.order.is_empty() && writable.len() > 1 && writable.iter().any(|name| !covers(name)) {
            self.add(
                Level::Advice,
                "no_order",
                &["state_mapping", key],
                format!("the members of {key} are written in alphabetical order"),
                "some services refuse, or undo, one change when another comes first",
                "if the order matters, say it: order = [...]",
            );
        }
    }

    /// The column that is an item's name.
    fn name(&mut self, key: &str, section: &StateSection) {
        let (Some(name), Some(read), Some(surface)) = (&section.key, &section.read, self.surface) else { return };
        let column = name.column_ref();
        let of_joins = read.join.iter().any(|join| join.fields.contains(column));
        let is_named = section.fields.contains(column) || of_joins || column == "path";
        // A method that answers with plain texts has one column, which the key names.
        let is_only = read.method.is_some() && section.fields.is_empty();
        if is_named || is_only || read.get.is_some() {
            return;
        }
        let interface = read.interface.as_deref().unwrap_or(&self.mapping.interface);
        let Some(known) = surface.interfaces.get(interface) else { return };
        if known.properties.contains_key(column) {
            return;
        }
        let near = words::nearest(column, known.properties.keys().map(String::as_str));
        let hint = match near.as_slice() {
            [] => format!("it is a column of fields, a property of {interface}, or path"),
            near => format!("did you mean {}?", near.join(" or ")),
        };
        let what = format!("no item of {key} has a column {column:?}");
        let why = "an item without a name cannot be shown, and none can be told from another";
        self.add(Level::Error, "columns", &["state_mapping", key, "key"], what, why, &hint);
    }

    fn member(&mut self, key: &str, section: &StateSection, name: &str, member: &MemberSection) {
        let at = ["state_mapping", key, "members", name];
        let is_shown = !member.internal && !member.secret;
        if is_shown && member.description.as_deref().unwrap_or_default().trim().is_empty() {
            self.add(
                Level::Advice,
                "no_member_description",
                &at,
                format!("{name} has no description"),
                "people see the member in documents and have to know what it is",
                "say what it is, and what its values mean: description = \"...\"",
            );
        }
        if let Some(column) = &member.column {
            let read = section.read.iter();
            let of_joins = read.flat_map(|read| &read.join).any(|join| join.fields.contains(column));
            let is_name = section.key.as_ref().is_some_and(|key| key.column_ref() == column);
            if !section.fields.contains(column) && !of_joins && !is_name && column != "path" {
                let known = if section.fields.is_empty() { "none".to_owned() } else { section.fields.join(", ") };
                self.add(
                    Level::Error,
                    "columns",
                    &[&at[..], &["column"]].concat(),
                    format!("there is no column {column:?}"),
                    "rows have the columns that fields names, of the source or of a join",
                    &format!("the columns are: {known}"),
                );
            }
        }
        let own = section.read.as_ref().and_then(|read| read.interface.as_deref()).unwrap_or(&self.mapping.interface);
        let property = member
            .property
            .as_deref()
            .and_then(|property| self.surface?.property(member.interface.as_deref().unwrap_or(own), property));
        let Some(read) = property.map(|property| property.type_signature.clone()) else { return };
        let Some(write) = &member.write else { return };
        let is_plain = member.values.is_empty() && member.convert.is_empty();
        if is_plain
            && matches!(read.as_str(), "s" | "as")
            && member.validate == Rules::default()
            && write.when.is_empty()
        {
            self.add(
                Level::Advice,
                "no_validate",
                &at,
                format!("{name} takes any text"),
                "what the service itself would refuse is then refused between two changes, and not while planning",
                "say what the service accepts: validate = { pattern = '...', hint = \"...\" } or one_of",
            );
        }
        if is_plain && write.when.is_empty() {
            self.written_type(name, &read, write, &[&at[..], &["write"]].concat());
        }
    }
}

//! The keys of the state: described, checked before they are written, read and written in the same type, undoable.

use super::Lint;
use crate::bus::introspection::EmitsChanged;
use crate::bus::value::complete_types;
use crate::plugin::author::{Level, words};
use crate::plugin::generic::convert;
use crate::plugin::mapping::file::{ReadSection, Rules};
use crate::plugin::mapping::{Operation, StateSection, fixed_of, items};
use crate::state::UndoClass;

impl Lint<'_> {
    /// Checks every key.
    pub(super) fn keys(&mut self) {
        let mapping = self.mapping;
        if mapping.file.state_mapping.is_empty() {
            self.add(
                Level::Warning,
                "no_keys",
                &["state_mapping"],
                "the mapping has no key",
                "a plugin's state is its keys: there is nothing to query and nothing to apply",
                "op-install map NAME drafts some",
            );
        }
        for (key, section) in &mapping.file.state_mapping {
            let at = ["state_mapping", key.as_str()];
            if section.description.as_deref().unwrap_or_default().trim().is_empty() {
                self.add(
                    Level::Warning,
                    "no_description",
                    &at,
                    format!("{key} has no description"),
                    "people see the key in documents and have to know what it is",
                    "say what it is, and what its values mean: description = \"...\"",
                );
            }
            self.undo(key, section);
            if items::is_collection(section) {
                self.collection(key, section);
            } else {
                self.columns(key, section);
                self.value(key, section);
            }
        }
    }

    /// Columns that are spoken of have to be named.
    fn columns(&mut self, key: &str, section: &StateSection) {
        if section.read.as_ref().is_some_and(ReadSection::has_objects) {
            return self.columns_of_objects(key, section);
        }
        let transaction = section.read.as_ref().and_then(|read| self.mapping.method(read.method.as_deref()?).ok());
        let of_signal = transaction.as_ref().and_then(|method| {
            let (_, transaction) = method.transaction?;
            Some(&method.section.item.as_ref().or(transaction.item.as_ref())?.fields)
        });
        let fields = of_signal.unwrap_or(&section.fields).clone();
        let named = section.filter.keys().map(|column| ("filter", column));
        let named = named.chain(section.item.iter().map(|item| ("item", &item.field)));
        let named: Vec<(&str, String)> =
            named.chain(section.key.iter().map(|key| ("key", key.column_ref()))).map(|(w, c)| (w, c.clone())).collect();
        for (word, column) in named {
            if !fields.contains(&column) {
                let known = if fields.is_empty() { "none".to_owned() } else { fields.join(", ") };
                self.add(
                    Level::Error,
                    "columns",
                    &["state_mapping", key, word],
                    format!("there is no column {column:?}"),
                    "rows have the columns that fields names, or the fields of a transaction's signal",
                    &format!("the columns are: {known}"),
                );
            }
        }
        self.columns_of_reply(key, section);
    }

    /// A set of objects: its columns are their properties.
    fn columns_of_objects(&mut self, key: &str, section: &StateSection) {
        let (Some(surface), Some(read)) = (self.surface, &section.read) else { return };
        let interface = read.interface.as_deref().unwrap_or(&self.mapping.interface);
        let Some(known) = surface.interfaces.get(interface) else { return };
        let named =
            section.filter.keys().chain(section.exclude.keys()).chain(section.item.iter().map(|item| &item.field));
        for column in named {
            let is_field = section.fields.contains(column) || column == "path";
            if !is_field && !known.properties.contains_key(column) {
                let near = words::nearest(column, known.properties.keys().map(String::as_str));
                let hint = match near.as_slice() {
                    [] => format!("the columns are path, fields, and the properties of {interface}"),
                    near => format!("did you mean {}?", near.join(" or ")),
                };
                let what = format!("no object of {key} has a property {column:?}");
                let why = "a column that is never there makes every item look missing";
                self.add(Level::Error, "columns", &["state_mapping", key], what, why, &hint);
            }
        }
    }

    /// `fields` against what the method returns.
    fn columns_of_reply(&mut self, key: &str, section: &StateSection) {
        let Some(surface) = self.surface else { return };
        let Some(method) = section.read.as_ref().and_then(|read| self.mapping.method(read.method.as_deref()?).ok())
        else {
            return;
        };
        let Some(live) = surface.method(&method.interface, &method.member) else { return };
        if method.transaction.is_some() {
            return;
        }
        let at = ["state_mapping", key, "read"];
        if live.outputs.len() != 1 {
            self.add(
                Level::Error,
                "reply",
                &at,
                format!("{} returns {} values, and a key is read from one", method.member, live.outputs.len()),
                "a reply of another number of values cannot become the key's value",
                "read another method or a property",
            );
            return;
        }
        let output = live.outputs[0].type_signature.clone();
        let inner = output.strip_prefix("a(").and_then(|rest| rest.strip_suffix(')'));
        let columns = inner.and_then(|inner| complete_types(inner).ok()).map(|types| types.len());
        match columns {
            Some(columns) if section.fields.len() > columns => self.add(
                Level::Error,
                "fields",
                &["state_mapping", key, "fields"],
                format!(
                    "{} returns rows of {columns} columns ({output}), and fields names {}",
                    method.member,
                    section.fields.len()
                ),
                "rows with fewer columns than fields cannot be read",
                "name at most as many as there are, in their order",
            ),
            Some(columns) if section.fields.is_empty() && columns > 1 => self.add(
                Level::Warning,
                "fields",
                &at,
                format!("{} returns rows of {columns} columns without names ({output})", method.member),
                "without fields the value is a list of lists, which nobody can read",
                "name the columns in fields, and say which one is the item or the key",
            ),
            _ => {}
        }
    }

    fn undo(&mut self, key: &str, section: &StateSection) {
        let pairs = [
            ("add", &section.add, "remove", &section.remove),
            ("remove", &section.remove, "add", &section.add),
            ("create", &section.create, "delete", &section.delete),
            ("delete", &section.delete, "create", &section.create),
        ];
        for (word, operation, missing, other) in pairs {
            let Some(operation) = operation else { continue };
            if other.is_some() || self.undo_of(operation) == Some(UndoClass::Irreversible) {
                continue;
            }
            self.add(
                Level::Warning,
                "irreversible",
                &["state_mapping", key, word],
                format!("{key} has {word} without {missing}"),
                "what it does cannot be undone when a later step fails, and each use of it needs its own consent",
                &format!("say {missing} as well; if there is no such method, say undo = \"irreversible\" in the method's table"),
            );
        }
        let loses = [("remove", &section.remove), ("delete", &section.delete)].into_iter().find(|(_, o)| o.is_some());
        if let Some((word, _)) = loses.filter(|_| section.protected.is_empty() && section.protected_if.is_empty()) {
            self.add(
                Level::Advice,
                "no_protected",
                &["state_mapping", key, word],
                format!("{key} can lose any item"),
                "an item whose loss locks people out should not go by a slip",
                "if there is such an item, name it in protected",
            );
        }
    }

    fn undo_of(&self, operation: &Operation) -> Option<UndoClass> {
        self.mapping.method(operation.method.as_deref()?).ok()?.section.undo
    }

    /// The value as it is read, against how it is written.
    fn value(&mut self, key: &str, section: &StateSection) {
        let Some(surface) = self.surface else { return };
        let read = section.read.as_ref();
        let property = read.and_then(|read| {
            let interface = read.interface.as_deref().unwrap_or(&self.mapping.interface);
            surface.property(interface, read.property.as_deref()?)
        });
        let is_written = section.write.is_some() || section.add.is_some();
        let type_signature = match property {
            Some(property) => Some(property.type_signature.clone()),
            None => read.and_then(|read| {
                let method = self.mapping.method(read.method.as_deref()?).ok()?;
                let outputs = &surface.method(&method.interface, &method.member)?.outputs;
                outputs.first().map(|output| output.type_signature.clone())
            }),
        };
        let emits = property.map(|property| property.emits_changed);
        let is_text = matches!(type_signature.as_deref(), Some("s" | "as")) || section.add.is_some();
        let is_chosen = section.write.as_ref().is_some_and(|write| !write.when.is_empty());
        if is_written && is_text && !is_chosen && !section.secret && section.validate == Rules::default() {
            self.add(
                Level::Advice,
                "no_validate",
                &["state_mapping", key],
                format!("{key} takes any text"),
                "what the service itself would refuse is then refused between two changes, and not while planning",
                "say what the service accepts: validate = { pattern = '...', hint = \"...\" } or one_of",
            );
        }
        if is_written && emits == Some(EmitsChanged::Const) {
            self.add(
                Level::Advice,
                "const_written",
                &["state_mapping", key, "read"],
                format!("the service says that {key} never changes (EmitsChangedSignal const)"),
                "then nobody is told of a change, and clients may keep the old value",
                "look whether another property shows it",
            );
        }
        if emits == Some(EmitsChanged::False) {
            self.add(
                Level::Advice,
                "silent",
                &["state_mapping", key, "read"],
                format!("the service does not announce changes of {key} (EmitsChangedSignal false)"),
                "who watches it has to ask again and again",
                "nothing need be done; it explains late answers",
            );
        }
        if let (Some(read), Some(operation)) = (type_signature, &section.write) {
            self.written_type(key, &read, operation, &["state_mapping", key, "write"]);
            self.choices(key, &read, operation);
        }
    }

    /// Another call for each value: whether the key can have these values, and each of them.
    fn choices(&mut self, key: &str, read: &str, operation: &Operation) {
        for (value, other) in &operation.when {
            // A call for one value that is given no argument writes that value: nothing is to be compared.
            let is_given = other.args.as_ref().is_some_and(|args| args.iter().any(|arg| arg == "$value"));
            if is_given || other.property.is_some() {
                self.written_type(key, read, other, &["state_mapping", key, "write", "when", value]);
            }
            let is_number = |types: &str| matches!(types, "y" | "n" | "q" | "i" | "u" | "x" | "t" | "d");
            let fits = match (read, convert::from_text(value)) {
                ("b", value) => value.is_boolean(),
                ("s" | "o" | "g", _) => true,
                (types, value) if is_number(types) => value.is_number(),
                _ => false,
            };
            if !fits {
                self.add(
                    Level::Error,
                    "when",
                    &["state_mapping", key, "write", "when", value],
                    format!("{key} is read as {read:?}, and never is {value}"),
                    "the call would never be made",
                    "write each value as the key shows it: true and false, a number, or a text",
                );
            }
        }
        let missing = ["true", "false"].into_iter().find(|value| !operation.when.contains_key(*value));
        if let (Some(missing), "b", false) = (missing, read, operation.when.is_empty()) {
            self.add(
                Level::Warning,
                "irreversible",
                &["state_mapping", key, "write", "when"],
                format!("{key} cannot be made {missing}"),
                "what the other call does cannot be undone when a later step fails, and each use of it needs its own consent",
                "say how as well, if there is such a method",
            );
        }
    }

    pub(super) fn written_type(&mut self, key: &str, read: &str, operation: &Operation, place: &[&str]) {
        let Some(surface) = self.surface else { return };
        let Some(method) = operation.method.as_deref().and_then(|name| self.mapping.method(name).ok()) else { return };
        let Some(live) = surface.method(&method.interface, &method.member) else { return };
        let fixed = fixed_of(method.section);
        let free: Vec<_> = live.inputs.iter().enumerate().filter(|(i, _)| !fixed.iter().any(|(p, _)| p == i)).collect();
        let own = format!("${key}");
        let at = match &operation.args {
            None => 0,
            Some(args) => match args.iter().position(|arg| arg == "$value" || *arg == own) {
                Some(at) => at,
                // Inside of a list or an object: its type is not the whole argument's.
                None => return,
            },
        };
        let Some((position, arg)) = free.get(at) else { return };
        let is_number = |types: &str| matches!(types, "y" | "n" | "q" | "i" | "u" | "x" | "t" | "d");
        let wanted = &arg.type_signature;
        if wanted == read || (is_number(wanted) && is_number(read)) || wanted == "v" {
            return;
        }
        let what = format!("{key} is read as {read:?}, and argument {position} of {} takes {wanted:?}", method.member);
        let why = "what is read cannot be written back, so it can be neither undone nor applied as queried";
        let hint = "is it the right setter, and the right argument?";
        self.add(Level::Error, "types", place, what, why, hint);
    }
}

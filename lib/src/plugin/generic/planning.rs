//! From changes to exact calls. Makes only safe calls: introspection, resolving names, simulations.

use super::arguments;
use super::convert;
use super::interface::LiveInterfaces;
use super::sets::Direction;
use crate::base::{Call, Error, Progress, Result};
use crate::bus::Bus;
use crate::plugin::mapping::file::Rules;
use crate::plugin::mapping::{Mapping, MergeWrite, Method, Operation, StateSection, check_value, fixed_of, template};
use crate::state::plan::{Preview, Undo, UndoClass};
use crate::state::{Action, Change, Strategy};
use serde_json::{Map, Value, json};

/// What planning needs to know; lives as long as one planning.
pub struct Planner<'a> {
    pub bus: &'a Bus,
    pub mapping: &'a Mapping,
    pub plugin: &'a str,
    pub live: &'a LiveInterfaces,
    pub current: &'a Map<String, Value>,
    pub progress: &'a mut dyn Progress,
    /// Whether the changes lead back to what there was.
    pub is_back: bool,
}

impl Planner<'_> {
    /// The actions for `changes`: hooks before, writes, additions, removals, hooks after.
    ///
    /// Fails with everything that is wrong with the values, not only the first.
    pub fn plan(&mut self, changes: &[Change]) -> Result<Vec<Action>> {
        let mut errors = Vec::new();
        let mut keys: Vec<&str> = Vec::new();
        for change in changes {
            let key = change.key();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut sections: Vec<(&str, &StateSection)> =
            keys.iter().filter_map(|key| Some((*key, self.mapping.file.state_mapping.get(*key)?))).collect();
        sections.retain(|(key, section)| match self.check_values(key, section, changes) {
            Ok(()) => true,
            Err(error) => {
                errors.push(error);
                false
            }
        });
        let mut actions = self.hooks(sections.iter().map(|(key, section)| (*key, &section.before)))?;
        for (key, section) in &sections {
            let of_key: Vec<&Change> = changes.iter().filter(|change| change.key() == *key).collect();
            match self.writes(key, section, &of_key, changes) {
                Ok(writes) => writes.into_iter().for_each(|action| join_or_push(&mut actions, action)),
                Err(error) => errors.push(error),
            }
            match self.collection(key, section, &of_key) {
                Ok(items) => actions.extend(items),
                Err(error) => errors.push(error),
            }
            for direction in [Direction::Add, Direction::Remove] {
                match self.items(key, section, &of_key, direction) {
                    Ok(items) => actions.extend(items),
                    Err(error) => errors.push(error),
                }
            }
        }
        actions.extend(self.hooks(sections.iter().map(|(key, section)| (*key, &section.after)))?);
        match Error::all(without_repetition(errors)) {
            Some(error) => Err(error),
            None => Ok(actions),
        }
    }

    fn check_values(&self, key: &str, section: &StateSection, changes: &[Change]) -> Result<()> {
        if self.is_back {
            return Ok(());
        }
        let at = self.place(key);
        let check = |change: &Change| match change {
            Change::Set { to, .. } => self.check_value(&at, to, &section.validate).err(),
            Change::Add { item, .. } => self.check_value(&at, &json!(item), &section.validate).err(),
            Change::Create { .. } | Change::Update { .. } => self.check_items(key, section, change).err(),
            Change::Remove { .. } | Change::Delete { .. } => None,
        };
        let of_key = changes.iter().filter(|change| change.key() == key);
        Error::all(of_key.filter_map(check).collect()).map_or(Ok(()), Err)
    }

    /// Checks a value against rules, as far as that can be done from here.
    pub(super) fn check_value(&self, at: &str, value: &Value, rules: &Rules) -> Result<()> {
        if (rules.executable || rules.unused_path) && self.bus.is_remote() {
            return Err(Error::refused("whether that is a right path is only known on the machine it is for")
                .on(at)
                .hint("run op-apply there: ssh HOST op-apply"));
        }
        check_value(at, value, rules)
    }

    pub(super) fn place(&self, key: &str) -> String {
        format!("plugins.{}.{key}", self.plugin)
    }

    pub(super) fn hooks<'h>(
        &mut self,
        hooks: impl Iterator<Item = (&'h str, &'h Vec<Operation>)>,
    ) -> Result<Vec<Action>> {
        let mut actions: Vec<Action> = Vec::new();
        for (key, operations) in hooks {
            for operation in operations {
                let method = self.mapping.method(operation.method.as_deref().unwrap_or_default())?;
                let call = self.method_call(&method, operation, &self.place(key), &|_| None, None)?;
                if actions.iter().any(|action| action.call == call) {
                    continue;
                }
                let title = operation.title.clone().unwrap_or_else(|| format!("Call {}", method.member));
                let undo = Undo { class: UndoClass::Exact, call: None };
                actions.push(self.action(&method, call, title, undo, Vec::new(), None));
            }
        }
        Ok(actions)
    }

    fn writes(&mut self, key: &str, section: &StateSection, of_key: &[&Change], all: &[Change]) -> Result<Vec<Action>> {
        let Some(write) = &section.write else { return Ok(Vec::new()) };
        let mut actions = Vec::new();
        for change in of_key {
            let Change::Set { from, to, .. } = change else { continue };
            let operation = chosen(write, to).map_err(|error| error.or_on(self.place(key)))?;
            if !self.is_back {
                self.check_refusal_at(&self.place(key), operation, &convert::to_text(to))?;
            }
            let title = operation.title.clone().unwrap_or_else(|| "Set {key} to {value}".to_owned());
            let title = template::text(&title, &[("key", key), ("value", &short(to))]);
            let now = self.write_call(key, section, operation, to, all, false)?;
            let back = chosen(write, from).and_then(|back| self.write_call(key, section, back, from, all, true));
            let (class, back) = match (operation.method.as_deref(), back) {
                (Some(method), Ok(call)) => {
                    let class = self.mapping.method(method)?.section.undo.unwrap_or(UndoClass::Exact);
                    (class, (class != UndoClass::Irreversible).then_some(call))
                }
                (None, Ok(call)) => (UndoClass::Exact, Some(call)),
                // A value that cannot be written back cannot be undone: better known before than after.
                (_, Err(_)) => (UndoClass::Irreversible, None),
            };
            let undo = Undo { class, call: back };
            let changes = vec![(*change).clone()];
            actions.push(match operation.method.as_deref() {
                Some(method) => {
                    let method = self.mapping.method(method)?;
                    self.action(&method, now, title, undo, changes, None)
                }
                None => Action { title, undo, changes, ..self.bare_action(now) },
            });
        }
        Ok(actions)
    }

    /// The call that writes `value`; `is_back` when it is the undo, for which the other keys have their old values.
    fn write_call(
        &mut self,
        key: &str,
        section: &StateSection,
        operation: &Operation,
        value: &Value,
        all: &[Change],
        is_back: bool,
    ) -> Result<Call> {
        let at = self.place(key);
        let is_patch = section.diff_strategy == Some(Strategy::MergeStrategy) && operation.merge == MergeWrite::Patch;
        let value = if is_patch { patch(value, self.current.get(key), is_back) } else { value.clone() };
        let types = arguments::variant_types(self.bus, self.mapping, section)?;
        match (&operation.property, &operation.method) {
            (Some(name), _) => {
                let path = operation.path.as_deref().unwrap_or(&self.mapping.path);
                let interface = operation.interface.as_deref().unwrap_or(&self.mapping.interface);
                self.property_call(path, interface, name, &value, &types, &at)
            }
            (None, method) => {
                let method = self.mapping.method(method.as_deref().unwrap_or_default())?;
                // Other keys in the same call: what they will be, or for the way back, what they are.
                let target = |word: &str| {
                    let changed = all.iter().find_map(|change| match change {
                        Change::Set { key, from, to, .. } if key == word => Some(if is_back { from } else { to }),
                        _ => None,
                    });
                    changed.or_else(|| self.current.get(word)).cloned()
                };
                let find = |word: &str| match word {
                    "value" => Some(value.clone()),
                    "key" => Some(json!(key)),
                    other => target(other),
                };
                self.method_call(&method, operation, &at, &find, Some((&["value"], &types)))
            }
        }
    }

    /// The exact call of `operation`, its arguments typed by the live service and checked to fit.
    ///
    /// `implicit` names the words an operation without args has for its one free argument: the list form, then the
    /// single form.
    pub(super) fn method_call(
        &self,
        method: &Method<'_>,
        operation: &Operation,
        at: &str,
        find: &dyn Fn(&str) -> Option<Value>,
        implicit: Option<(&[&str], &crate::bus::value::VariantTypes)>,
    ) -> Result<Call> {
        let signature = self.live.input_signature(self.bus, self.mapping, method)?;
        let words = implicit.map(|(words, _)| words).unwrap_or_default();
        let args = match &operation.args {
            Some(args) => args.clone(),
            None => match (self.free_type(method)?, words) {
                (Some(free), [list, ..]) if free.starts_with('a') => vec![json!(format!("${list}"))],
                (Some(_), [.., single]) => vec![json!(format!("${single}"))],
                _ => Vec::new(),
            },
        };
        let words_of = args;
        let free = template::fill(&words_of, find).map_err(|error| error.or_on(at))?;
        let args = template::with_fixed(free, &fixed_of(method.section)).map_err(|error| error.or_on(at))?;
        let none = crate::bus::value::VariantTypes::none();
        let types = implicit.map_or(&none, |(_, types)| types);
        let args = arguments::typed_args(&args, &signature, types)?;
        let places = self.places(&words_of, method, at)?;
        arguments::check_args(&args, &signature, &places, method)?;
        Ok(Call::new(&self.mapping.service, &method.path, &method.interface, &method.member)
            .with(&signature, args)
            .in_manner(self.mapping.manner(Some(method.section))))
    }

    /// Where in the document each argument comes from: a word that names another key stands for that key's value.
    fn places(&self, words: &[Value], method: &Method<'_>, at: &str) -> Result<Vec<String>> {
        let place = |word: &Value| {
            let key = word.as_str().and_then(|word| word.strip_prefix('$'));
            let key = key.filter(|key| self.mapping.file.state_mapping.contains_key(*key));
            json!(key.map_or_else(|| at.to_owned(), |key| self.place(key)))
        };
        let fixed: Vec<(usize, Value)> =
            fixed_of(method.section).into_iter().map(|(position, _)| (position, json!(at))).collect();
        let places = template::with_fixed(words.iter().map(place).collect(), &fixed)?;
        Ok(places.iter().filter_map(|place| place.as_str().map(str::to_owned)).collect())
    }

    /// The type of the only argument that is not fixed; `None` when there is not exactly one.
    pub(super) fn free_type(&self, method: &Method<'_>) -> Result<Option<String>> {
        let signature = self.live.input_signature(self.bus, self.mapping, method)?;
        let fixed = fixed_of(method.section);
        let types = crate::bus::value::complete_types(&signature)?;
        let mut free = types.iter().enumerate().filter(|(at, _)| !fixed.iter().any(|(position, _)| position == at));
        Ok(match (free.next(), free.next()) {
            (Some((_, only)), None) => Some(only.to_string()),
            _ => None,
        })
    }

    pub(super) fn action(
        &self,
        method: &Method<'_>,
        call: Call,
        title: String,
        undo: Undo,
        changes: Vec<Change>,
        preview: Option<Preview>,
    ) -> Action {
        let via = method.transaction.and_then(|(_, section)| self.mapping.method(&section.create).ok());
        Action {
            title,
            via: via.map(|factory| factory.member),
            undo,
            requires_confirmation: method.section.requires_confirmation,
            preview,
            changes,
            ..self.bare_action(call)
        }
    }

    pub(super) fn bare_action(&self, call: Call) -> Action {
        Action {
            id: String::new(),
            plugin: self.plugin.to_owned(),
            resources: Vec::new(),
            title: String::new(),
            call,
            via: None,
            undo: Undo { class: UndoClass::Exact, call: None },
            requires_confirmation: true,
            needs: Vec::new(),
            preview: None,
            done: Vec::new(),
            changes: Vec::new(),
        }
    }
}

/// The call for this value.
pub(super) fn chosen<'o>(write: &'o Operation, value: &Value) -> Result<&'o Operation> {
    if write.when.is_empty() {
        return Ok(write);
    }
    write.when.get(&convert::to_text(value)).ok_or_else(|| {
        let known = write.when.keys().cloned().collect::<Vec<_>>().join(", ");
        Error::bad_input(format!("there is no way to make it {value}")).hint(format!("it can be made: {known}"))
    })
}

/// Two calls with the same wrong argument are one mistake.
fn without_repetition(errors: Vec<Error>) -> Vec<Error> {
    let mut flat: Vec<Error> = Vec::new();
    for mut error in errors {
        let also = std::mem::take(&mut error.also);
        for one in std::iter::once(error).chain(also) {
            if !flat.iter().any(|other| (&other.subject, &other.message) == (&one.subject, &one.message)) {
                flat.push(one);
            }
        }
    }
    flat
}

/// One call may write several keys: then it is one action that makes all their changes.
fn join_or_push(actions: &mut Vec<Action>, action: Action) {
    match actions.iter_mut().find(|other| other.call == action.call && !other.changes.is_empty()) {
        Some(other) => {
            other.title = format!("{}; {}", other.title, action.title);
            other.changes.extend(action.changes);
        }
        None => actions.push(action),
    }
}

/// The members of `value` that differ from `current`; for the way back, `value` is `current` already.
fn patch(value: &Value, current: Option<&Value>, is_back: bool) -> Value {
    match (value, current, is_back) {
        (Value::Object(value), Some(Value::Object(current)), false) => {
            value.iter().filter(|(key, v)| current.get(*key) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        _ => value.clone(),
    }
}

/// A value in a title: short, on one line.
pub fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.chars().count() > 60 { format!("{}...", text.chars().take(57).collect::<String>()) } else { text }
}

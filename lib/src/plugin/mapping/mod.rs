//! The semantic mapping: how a service's members make a plugin's state. Data, never code.
//!
//! [`file`] says what may be written, [`Mapping`] what it means: names resolved, strategies inferred, rules compiled,
//! everything checked that can be checked without the service.

pub mod collection;
pub mod file;
pub mod items;
mod rules;
pub mod template;

pub use collection::{CheckpointSection, JobSection, KeySection, MemberSection, Target};
pub use file::{Accepted, MappingFile, MergeWrite, MethodSection, Operation, PartSection, SignalSection, StateSection};
pub use rules::check_value;

use crate::base::{Error, Manner, Result, digest, name};
use crate::bus::SafeCall;
use crate::state::{KeySpec, Strategy, Writable};
use file::{Pattern, ReadSection, ResolveSection, TransactionSection};
use std::collections::BTreeMap;
use std::time::Duration;

/// The pre-checks there are.
pub const PRE_CHECKS: [&str; 4] = ["check_disk_space", "check_network", "check_service_running", "check_root"];

/// Words a template gives a meaning to; a key of the state cannot have such a name.
const TEMPLATE_WORDS: [&str; 6] = ["value", "item", "items", "id", "ids", "key"];

/// Nobody waits longer for a service to show what it was given.
const MAX_SETTLE_MS: u64 = 600_000;

/// A mapping whose every reference is resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Bus name of the service.
    pub service: String,
    /// Main object.
    pub path: String,
    /// Main interface.
    pub interface: String,
    /// Limit of each call.
    pub timeout: Option<Duration>,
    /// Digest of the file's text.
    pub digest: String,
    /// What is written in it, with the founding document's words translated.
    pub file: MappingFile,
    /// What the diff needs to know, by key.
    pub specs: BTreeMap<String, KeySpec>,
    /// Where the file is, for messages.
    pub source: String,
}

/// A method as a call needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Method<'a> {
    /// Its name in the mapping.
    pub name: String,
    /// Bus name of the service that has it.
    pub service: String,
    /// The member.
    pub member: String,
    /// The interface.
    pub interface: String,
    /// The object; the transaction's when it is a transaction's method, and then not known before.
    pub path: String,
    /// The transaction it runs in.
    pub transaction: Option<(&'a str, &'a TransactionSection)>,
    /// What the mapping says about it.
    pub section: &'a MethodSection,
}

impl Mapping {
    /// Reads the text of a `semantic-mapping.toml` for `service`; `source` names it in errors.
    pub fn parse(text: &str, source: &str, service: &str) -> Result<Self> {
        let mut file: MappingFile = crate::plugin::from_toml(text, source)?;
        let mut errors = Vec::new();
        for section in file.state_mapping.values_mut() {
            translate_founding_words(section);
        }
        add_implicit_methods(&mut file);
        let mut specs = BTreeMap::new();
        for (key, section) in &file.state_mapping {
            let place = format!("{source}: state_mapping.{key}");
            if TEMPLATE_WORDS.contains(&key.as_str()) || matches!(key.as_str(), "absent" | "observed") {
                errors.push(Error::bad_input("this word is taken, so no key can have it as its name").on(&place));
            }
            match key_spec(key, section) {
                Ok(spec) => drop(specs.insert(key.clone(), spec)),
                Err(error) => errors.push(error.or_on(&place)),
            }
            if let Err(error) = rules::compile(&section.validate) {
                errors.push(error.on(format!("{place}.validate")));
            }
            errors.extend(items::problems(section).into_iter().map(|(at, error)| error.or_on(format!("{place}{at}"))));
        }
        let mut calls: BTreeMap<String, &str> = BTreeMap::new();
        for (name, method) in &file.methods {
            // Which of two tables speaks for a call could not be told from the call.
            let member = method.member.clone().unwrap_or_else(|| name::camel_case(name));
            let call = format!("{member} {:?} {:?} {:?}", method.interface, method.transaction, method.fixed);
            if let Some(other) = calls.insert(call, name) {
                errors.push(
                    Error::bad_input(format!("methods.{other} and methods.{name} are the same call"))
                        .on(format!("{source}: methods.{name}"))
                        .hint("keep one of them, or tell them apart by their fixed arguments"),
                );
            }
            let place = format!("{source}: methods.{name}");
            for check in method.pre_check.as_slice().iter().filter(|check| !PRE_CHECKS.contains(&check.as_str())) {
                errors.push(
                    Error::bad_input(format!("there is no pre-check {check:?}"))
                        .on(format!("{place}.pre_check"))
                        .hint(format!("the pre-checks are: {}", PRE_CHECKS.join(", "))),
                );
            }
            if let Some(transaction) = method.transaction.as_ref().filter(|t| !file.transactions.contains_key(*t)) {
                errors.push(
                    Error::bad_input(format!("there is no [transactions.{transaction}]"))
                        .on(format!("{place}.transaction")),
                );
            }
            if let Some(job) = method.job.as_ref().filter(|job| !file.jobs.contains_key(*job)) {
                errors.push(Error::bad_input(format!("there is no [jobs.{job}]")).on(format!("{place}.job")));
            }
            if method.service.is_some() && !method.safe {
                errors.push(
                    Error::bad_input("another service may only be asked")
                        .on(format!("{place}.service"))
                        .hint("a mapping writes to its own service only: say safe = true, if it only reads"),
                );
            }
            for position in method.fixed.keys().filter(|position| position.parse::<usize>().is_err()) {
                errors.push(
                    Error::bad_input(format!("{position:?} is no argument position"))
                        .on(format!("{place}.fixed"))
                        .hint("positions count from 0: fixed = { 0 = 4 }"),
                );
            }
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Self {
                service: service.to_owned(),
                path: file.service.path.clone().unwrap_or_else(|| default_path(service)),
                interface: file.service.interface.clone().unwrap_or_else(|| service.to_owned()),
                timeout: file.service.timeout_ms.map(Duration::from_millis),
                digest: digest::of_bytes("mapping", text.as_bytes()),
                file,
                specs,
                source: source.to_owned(),
            }),
        }
    }

    /// The method `reference` names: a name in `[methods]`, or a member.
    pub fn method(&self, reference: &str) -> Result<Method<'_>> {
        let Some((name, section)) = find_method(&self.file, reference) else {
            return Err(Error::bad_input(format!("the mapping speaks of a method {reference:?} it does not have"))
                .on(&self.source));
        };
        let transaction = section.transaction.as_deref().and_then(|wanted| {
            self.file.transactions.get_key_value(wanted).map(|(name, section)| (name.as_str(), section))
        });
        let own_interface = match (transaction, section.on) {
            (Some((_, transaction)), _) => &transaction.interface,
            (None, Some(Target::Item)) => items::interface(&self.file).unwrap_or(&self.interface),
            (None, None) => &self.interface,
        };
        Ok(Method {
            name: name.to_owned(),
            service: section.service.clone().unwrap_or_else(|| self.service.clone()),
            member: section.member.clone().unwrap_or_else(|| name::camel_case(name)),
            interface: section.interface.clone().unwrap_or_else(|| own_interface.clone()),
            path: section.path.clone().unwrap_or_else(|| self.path.clone()),
            transaction,
            section,
        })
    }

    /// What this mapping calls safe, for the gate.
    #[must_use]
    pub fn safe_calls(&self) -> Vec<SafeCall> {
        let safe = self.file.methods.iter().filter(|(_, section)| section.safe);
        safe.filter_map(|(name, _)| self.method(name).ok())
            .map(|method| SafeCall {
                service: method.service,
                interface: method.interface,
                member: method.member,
                fixed: fixed_of(method.section),
            })
            .collect()
    }

    /// How calls to this service are made: a mapped plugin may start its own service.
    #[must_use]
    pub fn manner(&self, section: Option<&MethodSection>) -> Manner {
        let own = section.and_then(|section| section.timeout_ms).map(Duration::from_millis);
        Manner { may_activate: true, timeout: own.or(self.timeout) }
    }

    /// Whether writing `key` needs the value of `other`.
    #[must_use]
    pub fn mentions(&self, key: &str, other: &str) -> bool {
        let Some(section) = self.file.state_mapping.get(key) else { return false };
        operations_of(section)
            .filter_map(|operation| operation.args.as_ref())
            .any(|args| template::mentions(args, other))
    }

    /// Whether any key can be written.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.specs.values().any(|spec| spec.writable == Writable::Yes)
    }
}

/// The fixed arguments of a method by position.
#[must_use]
pub fn fixed_of(section: &MethodSection) -> Vec<(usize, serde_json::Value)> {
    let positions = section.fixed.iter().filter_map(|(position, value)| Some((position.parse().ok()?, value.clone())));
    let mut fixed: Vec<(usize, serde_json::Value)> = positions.collect();
    fixed.sort_by_key(|(position, _)| *position);
    fixed
}

/// `/org/freedesktop/PackageKit` for `org.freedesktop.PackageKit`: the path services have by convention.
#[must_use]
pub fn default_path(service: &str) -> String {
    format!("/{}", service.replace('.', "/"))
}

fn find_method<'a>(file: &'a MappingFile, reference: &str) -> Option<(&'a str, &'a MethodSection)> {
    let by_name = file.methods.get_key_value(reference);
    let is_member = |(name, section): &(&String, &MethodSection)| {
        section.member.as_deref() == Some(reference)
            || (section.member.is_none() && name::camel_case(name) == reference)
    };
    by_name.or_else(|| file.methods.iter().find(is_member)).map(|(name, section)| (name.as_str(), section))
}

/// The founding document's `query_method`, `apply_method` and `remove_method` in the words of today.
fn translate_founding_words(section: &mut StateSection) {
    let operation = |method: String| Operation { method: Some(method), ..Operation::default() };
    if let Some(method) = section.query_method.take() {
        section.read.get_or_insert_with(|| ReadSection { method: Some(method), ..ReadSection::default() });
    }
    let is_set = section.diff_strategy == Some(Strategy::SetDifference) || section.remove_method.is_some();
    if let Some(method) = section.apply_method.take() {
        let place = if is_set { &mut section.add } else { &mut section.write };
        place.get_or_insert_with(|| operation(method));
    }
    if let Some(method) = section.remove_method.take() {
        section.remove.get_or_insert_with(|| operation(method));
    }
}

/// A member that is named without a `[methods]` table gets one that says nothing about it: so it is not safe.
fn add_implicit_methods(file: &mut MappingFile) {
    let mut named: Vec<String> = Vec::new();
    let mut of_operation = |operation: &Operation| {
        named.extend(operation.method.clone());
        named.extend(operation.refuse_if.iter().map(|r| r.method.clone()));
        named.extend(operation.resolve.iter().map(|r| r.method.clone()));
        named.extend(operation.preview.iter().map(|p| p.method.clone()));
        named.extend(operation.preview.iter().filter_map(|p| Some(p.sizes.as_ref()?.method.clone())));
    };
    for section in file.state_mapping.values() {
        operations_of(section).for_each(&mut of_operation);
    }
    if let Some(checkpoint) = &file.checkpoint {
        [&checkpoint.create, &checkpoint.commit, &checkpoint.rollback].into_iter().for_each(&mut of_operation);
    }
    file.jobs.values().flat_map(|job| &job.setup).for_each(&mut of_operation);
    named.extend(file.state_mapping.values().flat_map(items::readers));
    named.extend(file.state_mapping.values().filter_map(|s| Some(s.resolve.as_ref()?.method.clone())));
    named.extend(file.transactions.values().map(|t| t.create.clone()));
    let own = named.into_iter().map(|reference| (reference, None));
    let of_setup = file.transactions.iter().flat_map(|(name, section)| {
        section.setup.iter().filter_map(|step| Some((step.method.clone()?, Some(name.clone()))))
    });
    for (reference, transaction) in own.chain(of_setup).collect::<Vec<_>>() {
        if find_method(file, &reference).is_none() {
            let is_member = reference.starts_with(|c: char| c.is_ascii_uppercase());
            let name = if is_member { name::snake_case(&reference) } else { reference.clone() };
            let member = is_member.then_some(reference);
            file.methods.insert(name, MethodSection { member, transaction, ..MethodSection::default() });
        }
    }
}

/// Every call a key speaks of.
fn operations_of(section: &StateSection) -> impl Iterator<Item = &Operation> {
    let of_key = [&section.write, &section.add, &section.remove, &section.create, &section.update, &section.delete];
    let of_members = section.members.values().flat_map(|member| member.write.iter().chain(&member.after));
    let direct = of_key.into_iter().flatten().chain(of_members).chain(&section.before).chain(&section.after);
    direct.flat_map(|operation| std::iter::once(operation).chain(operation.when.values()))
}

fn key_spec(key: &str, section: &StateSection) -> Result<KeySpec> {
    if items::is_collection(section) {
        return items::key_spec(key, section);
    }
    let is_set = section.add.is_some() || section.remove.is_some();
    let strategy = section.diff_strategy.unwrap_or(match section.pattern {
        Some(Pattern::Set | Pattern::Transaction) => Strategy::SetDifference,
        Some(Pattern::Property | Pattern::Setter) => Strategy::ValueComparison,
        Some(Pattern::Query | Pattern::Collection | Pattern::Job) => Strategy::None,
        None if is_set => Strategy::SetDifference,
        // A property that can only be read is compared all the same: asking for another value is refused, not ignored.
        None if section.write.is_some() || section.read.as_ref().is_some_and(|r| r.property.is_some()) => {
            Strategy::ValueComparison
        }
        None => Strategy::None,
    });
    let read = section.read.as_ref().ok_or_else(|| {
        Error::bad_input("the key says nowhere how it is read")
            .hint("say read = { property = \"...\" } or read = { method = \"...\" }")
    })?;
    let sources = [&read.property, &read.method, &read.objects, &read.children, &read.manager];
    if sources.into_iter().flatten().count() != 1 {
        return Err(Error::bad_input("a key is read from a property or from a method: say exactly one"));
    }
    if is_set && section.write.is_some() {
        return Err(Error::bad_input("a key is written as a whole (write) or item by item (add, remove): say one way"));
    }
    if is_set && strategy != Strategy::SetDifference {
        return Err(Error::bad_input("add and remove are for sets: diff_strategy = \"set_difference\""));
    }
    if !is_set && section.write.is_some() && strategy == Strategy::SetDifference {
        return Err(Error::bad_input("a set is written item by item: say add and remove, or another diff_strategy"));
    }
    let operations = section.write.iter().flat_map(Operation::choices).chain(&section.add).chain(&section.remove);
    for operation in operations {
        if operation.method.is_some() == operation.property.is_some() || !operation.when.is_empty() {
            return Err(Error::bad_input("a key is written by a method or to a property: say exactly one"));
        }
    }
    if let Some(write) = section.write.as_ref().filter(|write| !write.when.is_empty()) {
        if write.method.is_some() || write.property.is_some() {
            return Err(Error::bad_input("say a method or a property, or when = { ... }: exactly one"));
        }
        if strategy == Strategy::MergeStrategy {
            return Err(Error::bad_input("an object has no call for each value it may have: leave out when, or merge"));
        }
    }
    let can_write = (section.write.is_some() || is_set) && strategy != Strategy::None;
    let writable = if can_write {
        Writable::Yes
    } else {
        Writable::No {
            reason: format!("the mapping says no way to write {key}"),
            hint: "it can only be read; leave it out of the desired state, or extend the mapping".into(),
        }
    };
    Ok(KeySpec {
        strategy,
        is_unordered: section.unordered,
        writable,
        can_add: section.add.is_some(),
        can_remove: section.remove.is_some(),
        protected: section.protected.clone(),
        settle: settle(section),
        secrets: if section.secret { vec![String::new()] } else { Vec::new() },
        ..KeySpec::default()
    })
}

fn settle(section: &StateSection) -> Duration {
    Duration::from_millis(section.settle_ms.unwrap_or_default().min(MAX_SETTLE_MS))
}

/// What resolves names for an operation: its own section, or the key's.
#[must_use]
pub fn resolve_of<'a>(section: &'a StateSection, operation: &'a Operation) -> Option<&'a ResolveSection> {
    operation.resolve.as_ref().or(section.resolve.as_ref())
}

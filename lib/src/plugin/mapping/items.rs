//! What a mapping's words about collections mean together, and which of them contradict each other.

use super::collection::{KeySection, MemberSection};
use super::file::{Accepted, MappingFile, MergeWrite, Operation, Pattern, ReadSection, StateSection};
use super::{rules, template};
use crate::base::{Error, Result};
use crate::plugin::generic::convert;
use crate::state::{ItemSpec, KeySpec, MemberSpec, Strategy, Writable};
use serde_json::Value;

/// Whether the key's value is an object of items that are compared one by one.
#[must_use]
pub fn is_collection(section: &StateSection) -> bool {
    let has_source = section.read.as_ref().is_some_and(|read| read.has_objects() && section.item.is_none());
    has_source
        || !section.members.is_empty()
        || section.create.is_some()
        || section.update.is_some()
        || section.delete.is_some()
        || section.diff_strategy.is_some_and(Strategy::has_items)
        || section.pattern == Some(Pattern::Collection)
}

/// The interface that the items of a mapping's only kind of object have.
pub fn interface(file: &MappingFile) -> Option<&String> {
    let mut interfaces = file.state_mapping.values().filter_map(|s| s.read.as_ref()?.interface.as_ref());
    let first = interfaces.next()?;
    interfaces.all(|other| other == first).then_some(first)
}

/// Whether a key can only be read and written on the service's own machine.
#[must_use]
pub fn is_of_this_machine(section: &StateSection) -> bool {
    let of_key = match &section.key {
        Some(KeySection::Part(part)) => Some(&part.convert),
        _ => None,
    };
    let of_parts = section.item.iter().map(|part| &part.convert).chain(of_key);
    of_parts
        .chain(section.members.values().map(|member| &member.convert))
        .any(|codecs| convert::is_of_this_machine(codecs))
}

/// The methods that a key is read by.
pub fn readers(section: &StateSection) -> Vec<String> {
    let Some(read) = &section.read else { return Vec::new() };
    let queries = [&read.find, &read.get, &read.named].into_iter().flatten();
    let of_joins = read.join.iter().flat_map(|join| {
        let queries = join.named.iter().chain(&join.each).map(|query| query.method.clone());
        join.method.clone().into_iter().chain(queries)
    });
    let direct = [&read.method, &read.objects].into_iter().flatten().cloned();
    direct.chain(queries.map(|query| query.method.clone())).chain(of_joins).collect()
}

/// What the diff needs to know about a collection.
pub fn key_spec(key: &str, section: &StateSection) -> Result<KeySpec> {
    let read = section.read.as_ref().ok_or_else(|| {
        Error::bad_input("the key says nowhere how its items are found").hint(
            "say read = { objects = \"...\" }, { children = \"...\" }, { manager = \"...\" } or { method = \"...\" }",
        )
    })?;
    check_source(read)?;
    if section.key.is_none() {
        return Err(Error::bad_input("a collection needs the column that is an item's name").hint("say key = \"...\""));
    }
    if section.write.is_some() || section.add.is_some() || section.remove.is_some() {
        return Err(Error::bad_input("items are written by create, update, delete and their members' write")
            .hint("write, add and remove are for keys without items"));
    }
    let strategy = section.diff_strategy.unwrap_or(Strategy::Collection);
    if !strategy.has_items() && strategy != Strategy::None {
        return Err(Error::bad_input("items are compared by diff_strategy = \"collection\" or \"service_state_diff\""));
    }
    if strategy == Strategy::ServiceStateDiff && (section.create.is_some() || section.delete.is_some()) {
        return Err(Error::bad_input("service_state_diff makes and deletes no items")
            .hint("say diff_strategy = \"collection\", or leave create and delete out"));
    }
    let is_replaced =
        section.update.as_ref().is_some_and(|update| update.merge == MergeWrite::Replace && !update.keeps_hidden);
    let items = ItemSpec {
        key: None,
        presence: None,
        members: section
            .members
            .iter()
            .filter(|(_, member)| !member.internal)
            .map(|(name, member)| (name.clone(), member_spec(name, member, section)))
            .collect(),
        is_open: section.members.is_empty() && read.get.is_some(),
        can_update: section.update.is_some(),
        can_create: section.create.is_some(),
        can_delete: section.delete.is_some(),
        hidden: if is_replaced { read.hidden.clone() } else { Vec::new() },
        filled_in: read.filled_in.clone(),
    };
    let of_members = section.members.iter().filter(|(_, member)| member.secret).map(|(name, _)| name.clone());
    let secrets = read.secret.iter().cloned().chain(of_members);
    let can_write = items.can_create
        || items.can_delete
        || items.can_update
        || items.members.values().any(|member| member.can_write);
    let writable = if can_write && strategy != Strategy::None {
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
        protected: section.protected.clone(),
        name_hint: section.validate.hint.clone(),
        settle: super::settle(section),
        secrets: if section.secret { vec![String::new()] } else { secrets.collect() },
        items,
        ..KeySpec::default()
    })
}

fn check_source(read: &ReadSection) -> Result<()> {
    let sources = [&read.objects, &read.children, &read.manager, &read.method];
    if sources.into_iter().flatten().count() != 1 || read.property.is_some() {
        return Err(Error::bad_input("items come from objects, children, manager or method: say exactly one"));
    }
    Ok(())
}

fn member_spec(name: &str, member: &MemberSection, section: &StateSection) -> MemberSpec {
    let is_of_whole = member.write.is_none() && member.path.is_some() && section.update.is_some() && !member.read_only;
    let values = match &member.write {
        _ if !member.values.is_empty() => {
            let mut values: Vec<Value> = Vec::new();
            for value in member.values.values().filter(|value| !value.is_null()) {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            values
        }
        Some(write) if !write.when.is_empty() => write.when.keys().map(|text| convert::from_text(text)).collect(),
        _ => Vec::new(),
    };
    MemberSpec {
        can_write: member.write.is_some() || is_of_whole,
        can_create: !member.read_only && section.create.as_ref().is_some_and(|create| covers(create, name, member)),
        is_only_shown: member.diff_strategy == Some(Strategy::None),
        is_origin: false,
        is_set: member.set,
        is_unordered: member.unordered || member.set,
        protected: member.protected.clone(),
        is_kept: member.keep,
        kept_as: member.keep_as.clone(),
        never: member.never.clone(),
        is_of_whole,
        values,
    }
}

/// Whether the call that makes an item gives it this member.
pub fn covers(create: &Operation, name: &str, member: &MemberSection) -> bool {
    match &create.args {
        None => member.path.is_some(),
        Some(args) => template::mentions(args, name) || (template::mentions(args, "value") && member.path.is_some()),
    }
}

/// What is wrong with the words about items, each with its place below the key.
pub fn problems(section: &StateSection) -> Vec<(String, Error)> {
    let mut found = Vec::new();
    if let Some(pattern) = &section.key_pattern
        && let Err(error) = rules::compile(&super::file::Rules { pattern: Some(pattern.clone()), ..Default::default() })
    {
        found.push((".key_pattern".to_owned(), error));
    }
    if let Some(KeySection::Part(part)) = &section.key {
        found.extend(convert::check(&part.convert).err().map(|error| (".key.convert".to_owned(), error)));
    }
    if let Some(part) = &section.item {
        found.extend(convert::check(&part.convert).err().map(|error| (".item.convert".to_owned(), error)));
    }
    // A condition that cannot be read would protect nothing.
    let of_member = |(name, member): (&String, &'_ MemberSection)| {
        member
            .needs
            .iter()
            .map(|(column, one)| (format!(".members.{name}.needs.{column}"), one.clone()))
            .collect::<Vec<_>>()
    };
    let of_key = [("filter", &section.filter), ("exclude", &section.exclude), ("protected_if", &section.protected_if)];
    let of_key = of_key
        .into_iter()
        .flat_map(|(word, all)| all.iter().map(move |(column, one)| (format!(".{word}.{column}"), one.clone())));
    for (at, one) in of_key.chain(section.members.iter().flat_map(of_member)) {
        if let Accepted::Has(has) = one {
            found.extend(convert::check(&has.convert).err().map(|error| (at, error)));
        }
    }
    for (name, member) in &section.members {
        let at = format!(".members.{name}");
        let sources = [&member.property, &member.column, &member.path];
        if sources.into_iter().flatten().count() != 1 {
            found.push((
                at.clone(),
                Error::bad_input("a member comes from a property, a column or a path: say exactly one"),
            ));
        }
        if let Err(error) = convert::check(&member.convert) {
            found.push((format!("{at}.convert"), error));
        }
        if let Err(error) = rules::compile(&member.validate) {
            found.push((format!("{at}.validate"), error));
        }
        if !member.protected.is_empty() && !member.set {
            found.push((
                format!("{at}.protected"),
                Error::bad_input("only what is in a set can be protected")
                    .hint("say set = true; keep = true protects a value"),
            ));
        }
        if member.diff_strategy.is_some_and(|strategy| strategy != Strategy::None) {
            found.push((
                format!("{at}.diff_strategy"),
                Error::bad_input("members are compared, or with diff_strategy = \"none\", only shown"),
            ));
        }
        if member.diff_strategy.is_some() && member.write.is_some() {
            found
                .push((format!("{at}.diff_strategy"), Error::bad_input("a member that is written has to be compared")));
        }
        if member.read_only && member.write.is_some() {
            found.push((format!("{at}.read_only"), Error::bad_input("a member that is written is not read_only")));
        }
        for operation in member.write.iter() {
            let has_call = operation.method.is_some() || operation.property.is_some();
            if has_call != operation.when.is_empty() {
                found.push((
                    format!("{at}.write"),
                    Error::bad_input("say a method or a property, or when = { ... }: exactly one"),
                ));
            }
        }
    }
    for (at, join) in section.read.iter().flat_map(|read| &read.join).enumerate() {
        let is_whole = join.method.is_some() && join.key.is_some();
        let is_each = join.each.is_some() && join.fields.len() == 1 && join.named.is_none();
        if is_whole == is_each || join.method.is_some() != join.key.is_some() {
            found.push((
                format!(".read.join[{at}]"),
                Error::bad_input("say a method and the key of its rows, or each and the one field that it answers"),
            ));
        }
    }
    let member = |word: &'_ String| word.split('=').next().unwrap_or_default().to_owned();
    for name in section.order.iter().map(member).filter(|name| !section.members.contains_key(name)) {
        found.push((".order".to_owned(), Error::bad_input(format!("there is no member {name:?}"))));
    }
    found
}

//! Methods, properties and signals: are they there, with these types, and safe only when they read?

use super::uses::{MethodUse, PropertyUse};
use super::{Lint, parts};
use crate::bus::introspection::Method as Live;
use crate::bus::value::{VariantTypes, encode, single_type};
use crate::bus::walk::is_standard;
use crate::plugin::author::{Level, Surface, words};
use crate::plugin::mapping::{Method, SignalSection, fixed_of, items};
use std::collections::BTreeSet;

impl Lint<'_> {
    /// Checks everything that names a member.
    pub(super) fn members(&mut self) {
        let uses = self.uses.clone();
        let mut used: BTreeSet<String> = BTreeSet::new();
        for one in &uses.methods {
            if let Ok(method) = self.mapping.method(one.reference) {
                used.insert(method.name.clone());
                self.usage(one, &method);
            }
        }
        for name in self.mapping.file.methods.keys() {
            let Ok(method) = self.mapping.method(name) else { continue };
            let place = self.place_of(&method);
            self.safety(&method, &place);
            self.live(&method, &place);
            if self.places.says(&["methods", name]) && !used.contains(name) {
                self.add(
                    Level::Warning,
                    "unused",
                    &parts(&place),
                    format!("nothing uses [methods.{name}]"),
                    "a table without use misleads readers, and a safe one opens the gate for nothing",
                    "use it, or remove it",
                );
            }
        }
        for name in self.mapping.file.transactions.keys() {
            let is_used = |m: &crate::plugin::mapping::MethodSection| m.transaction.as_deref() == Some(name.as_str());
            if !self.mapping.file.methods.values().any(is_used) {
                self.add(
                    Level::Warning,
                    "unused",
                    &["transactions", name],
                    format!("no method runs in [transactions.{name}]"),
                    "a table without use misleads readers",
                    &format!("say transaction = {name:?} in the tables of its methods, or remove it"),
                );
            }
        }
        for name in self.mapping.file.jobs.keys() {
            if !self.mapping.file.methods.values().any(|method| method.job.as_ref() == Some(name)) {
                self.add(
                    Level::Warning,
                    "unused",
                    &["jobs", name],
                    format!("no method answers with [jobs.{name}]"),
                    "a table without use misleads readers",
                    &format!("say job = {name:?} in the tables of its methods, or remove it"),
                );
            }
        }
        for one in &uses.properties {
            self.property(one);
        }
        self.signals();
    }

    /// The method's table, or, where it has none, the first place that names it.
    pub(super) fn place_of(&self, method: &Method<'_>) -> Vec<String> {
        let own = vec!["methods".to_owned(), method.name.clone()];
        if self.places.says(&parts(&own)) {
            return own;
        }
        let names_it = |one: &&MethodUse<'_>| self.mapping.method(one.reference).is_ok_and(|m| m.name == method.name);
        self.uses.methods.iter().find(names_it).map_or(own, |one| one.place.clone())
    }

    fn safety(&mut self, method: &Method<'_>, place: &[String]) {
        let section = method.section;
        if !section.safe {
            return;
        }
        let at = [&parts(place)[..], &["safe"]].concat();
        let thought_about = !section.side_effects && self.places.says(&["methods", &method.name, "side_effects"]);
        if let Some(word) = words::writing_word(&method.member).filter(|_| !thought_about) {
            self.add(
                Level::Warning,
                "safe_writes",
                &at,
                format!("{} is called safe, and its name says {word:?}", method.member),
                "a safe method is called by op-query, by dry runs and while planning, with nobody asked",
                "if it changes nothing, or only an object of our own, say so with side_effects = false and why in a \
                 comment; if not, safe = false",
            );
        }
        if section.safe && section.side_effects && self.places.says(&["methods", &method.name, "side_effects"]) {
            self.add(
                Level::Warning,
                "safe_writes",
                &at,
                format!("{} is called safe and is said to have side effects", method.name),
                "one of the two is not so, and safe is what counts: it is called with nobody asked",
                "leave side_effects = true out, or say safe = false",
            );
        }
        if words::is_secret(&method.member) {
            self.add(
                Level::Warning,
                "safe_secret",
                &at,
                format!("{} is called safe, and its name speaks of a secret", method.member),
                "what safe methods return is printed by op-query",
                "read something else, or mark the key secret = true",
            );
        }
    }

    /// The method on the service: is it there, with these types?
    fn live(&mut self, method: &Method<'_>, place: &[String]) {
        let Some(surface) = self.surface.filter(|_| method.service == self.mapping.service) else { return };
        let at = parts(place);
        let Some(live) = surface.method(&method.interface, &method.member) else {
            return self.missing(surface, &method.interface, &method.member, &at, "method");
        };
        let live = live.clone();
        let has_own_object = method.transaction.is_some() || method.section.on.is_some();
        if !has_own_object && surface.lacks(&method.path, &method.interface) {
            self.wrong_object(surface, &method.path, &method.interface, &at);
        }
        if live.deprecated {
            self.add(
                Level::Warning,
                "deprecated",
                &at,
                format!("the service advises against {}", method.member),
                "it may be gone in the service's next version",
                "see in the service's documentation what takes its place",
            );
        }
        self.types(method, &live, &at);
    }

    fn types(&mut self, method: &Method<'_>, live: &Live, at: &[&str]) {
        let section = method.section;
        let right: Vec<String> = live.inputs.iter().map(|arg| arg.type_signature.clone()).collect();
        let list =
            |types: &[String]| format!("[{}]", types.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(", "));
        match &section.arg_types {
            Some(types) if types.concat() != right.concat() => self.add(
                Level::Error,
                "arg_types",
                &[at, &["arg_types"]].concat(),
                format!("the mapping says {} takes {}, the service takes {}", method.member, list(types), list(&right)),
                "a call with other types than the service has is refused before it is made (exit code 6)",
                &format!("write arg_types = {}", list(&right)),
            ),
            None if !right.is_empty() && self.places.says(at) && at[0] == "methods" => self.add(
                Level::Advice,
                "no_arg_types",
                at,
                format!("{} takes {} arguments, and the mapping does not say their types", method.member, right.len()),
                "with them, a service of another version is refused instead of misused",
                &format!("write arg_types = {}", list(&right)),
            ),
            _ => {}
        }
        if !section.args_mapping.is_empty() && section.args_mapping.len() != right.len() {
            let names: Vec<String> = live.inputs.iter().map(|arg| arg.name.clone().unwrap_or_default()).collect();
            self.add(
                Level::Warning,
                "args_mapping",
                &[at, &["args_mapping"]].concat(),
                format!("args_mapping names {} arguments, the service has {}", section.args_mapping.len(), right.len()),
                "it is for people, and tells them something wrong",
                &format!("write args_mapping = {}", list(&names)),
            );
        }
        for (position, value) in fixed_of(section) {
            let text = position.to_string();
            let place = [at, &["fixed", &text]].concat();
            let Some(wanted) = right.get(position) else {
                self.add(
                    Level::Error,
                    "fixed",
                    &place,
                    format!("{} has {} arguments, so there is no argument {position}", method.member, right.len()),
                    "positions count from 0; a call with too many arguments is never made",
                    "",
                );
                continue;
            };
            let fits = single_type(wanted).and_then(|signature| encode(&value, &signature, "", &VariantTypes::none()));
            if fits.is_err() {
                let name = live.inputs[position].name.as_deref().unwrap_or("it");
                self.add(
                    Level::Error,
                    "fixed",
                    &place,
                    format!("{value} does not fit argument {position} of {} ({name}, type {wanted:?})", method.member),
                    "a call whose arguments do not fit is never made",
                    "",
                );
            }
        }
    }

    fn property(&mut self, one: &PropertyUse<'_>) {
        let Some(surface) = self.surface else { return };
        let at = parts(&one.place);
        let Some(live) = surface.property(one.interface, one.name) else {
            return self.missing(surface, one.interface, one.name, &at, "property");
        };
        if let Some(path) = one.path.filter(|path| surface.lacks(path, one.interface)) {
            self.wrong_object(surface, path, one.interface, &at);
        }
        if one.is_written && !live.access.is_writable() {
            let setters = words::nearest(
                &format!("Set{}", one.name),
                surface.interfaces[one.interface].methods.keys().map(String::as_str),
            );
            let hint = match setters.first() {
                Some(setter) => format!("perhaps a method sets it: {setter}"),
                None => "leave write out: it can only be read".to_owned(),
            };
            let what = format!("{} can only be read", one.name);
            self.add(Level::Error, "not_writable", &at, what, "the service refuses to set it", &hint);
        }
        if !one.is_written && !live.access.is_readable() {
            let what = format!("{} can only be written", one.name);
            self.add(
                Level::Error,
                "not_readable",
                &at,
                what,
                "what cannot be read can be neither compared nor undone",
                "",
            );
        }
    }

    fn signals(&mut self) {
        let mapping = self.mapping;
        for (name, section) in &mapping.file.transactions {
            let of_methods = mapping.file.methods.values().filter(|m| m.transaction.as_ref() == Some(name));
            let named = [
                ("item", section.item.as_ref()),
                ("error", section.error.as_ref()),
                ("progress", section.progress.as_ref()),
                ("touched", section.touched.as_ref()),
                ("done", Some(&section.done)),
            ];
            let items = of_methods.filter_map(|m| Some(("item", Some(m.item.as_ref()?))));
            for (word, signal) in named.into_iter().chain(items) {
                if let Some(signal) = signal {
                    self.signal(&section.interface, signal, None, &["transactions", name.as_str(), word]);
                }
            }
        }
        for (name, job) in &mapping.file.jobs {
            let interface = job.interface.as_ref().unwrap_or(&mapping.interface);
            self.signal(interface, &job.done, Some(&job.id), &["jobs", name.as_str(), "done"]);
        }
    }

    fn signal(&mut self, interface: &str, signal: &SignalSection, id: Option<&String>, at: &[&str]) {
        let Some(surface) = self.surface else { return };
        let Some(live) = surface.interfaces.get(interface).and_then(|i| i.signals.get(&signal.signal)) else {
            return self.missing(surface, interface, &signal.signal, at, "signal");
        };
        if signal.fields.len() > live.args.len() {
            self.add(
                Level::Error,
                "fields",
                at,
                format!(
                    "{} has {} arguments, and fields names {}",
                    signal.signal,
                    live.args.len(),
                    signal.fields.len()
                ),
                "a signal that cannot be read fails what waits for it",
                "name at most as many as there are, in their order",
            );
        }
        let named = signal.r#match.keys().chain(&signal.text).chain(&signal.percent).chain(id);
        for field in named.filter(|field| !signal.fields.contains(field)) {
            let what = format!("{} has no field {field:?}", signal.signal);
            self.add(
                Level::Error,
                "fields",
                at,
                what,
                "it is never found, so the signal never counts",
                "name it in fields",
            );
        }
    }

    fn missing(&mut self, surface: &Surface, interface: &str, member: &str, at: &[&str], kind: &str) {
        // A walk leaves the standard interfaces out.
        let Some(known) = surface.interfaces.get(interface) else {
            if !is_standard(interface) {
                self.no_interface(surface, interface, member, at);
            }
            return;
        };
        let candidates: Vec<&str> = match kind {
            "method" => known.methods.keys().map(String::as_str).collect(),
            "property" => known.properties.keys().map(String::as_str).collect(),
            _ => known.signals.keys().map(String::as_str).collect(),
        };
        let elsewhere: Vec<&str> = surface.interfaces_with(member).filter(|name| *name != interface).collect();
        let near = words::nearest(member, candidates);
        let hint = match (elsewhere.as_slice(), near.as_slice()) {
            ([], []) => "op-discover SERVICE shows what there is".to_owned(),
            ([], near) => format!("did you mean {}?", near.join(" or ")),
            (places, _) => format!("{} has one of this name: say interface = {:?}", places.join(" and "), places[0]),
        };
        let what = format!("{interface} has no {kind} {member}");
        let why = "the service the mapping is written for has it under another name, or no more";
        self.add(Level::Error, "unknown_member", at, what, why, &hint);
    }

    fn no_interface(&mut self, surface: &Surface, interface: &str, member: &str, at: &[&str]) {
        if surface.is_live && self.is_of_items(interface) {
            let what = format!("no object has {interface} now");
            let why = "whether its members are there, and with which types, cannot be told";
            let hint = "check when there is one, or keep its introspection beside the mapping";
            return self.add(Level::Advice, "not_seen", at, what, why, hint);
        }
        let owners: Vec<&str> = surface.interfaces_with(member).collect();
        let near = words::nearest(interface, surface.interfaces.keys().map(String::as_str));
        let hint = match (owners.as_slice(), near.as_slice()) {
            ([], []) => "add its introspection as introspection-WHAT.xml beside the mapping".to_owned(),
            ([], near) => format!("did you mean {}?", near.join(" or ")),
            (owners, _) => format!("{member} is on {}", owners.join(" and ")),
        };
        let what = format!("no interface {interface} is described in {}", surface.source);
        let why = "whether its members are there, and with which types, cannot be told";
        self.add(Level::Error, "unknown_interface", at, what, why, &hint);
    }

    /// Whether objects with this interface come and go.
    pub(super) fn is_of_items(&self, interface: &str) -> bool {
        let mapping = self.mapping;
        let sections = mapping.file.state_mapping.values().filter(|section| items::is_collection(section));
        let mut of_items = sections.flat_map(|section| {
            let members = section.members.values().filter_map(|member| member.interface.as_deref());
            section.read.iter().filter_map(|read| read.interface.as_deref()).chain(members)
        });
        of_items.any(|name| name == interface)
            || mapping.file.transactions.values().any(|transaction| transaction.interface == interface)
    }

    fn wrong_object(&mut self, surface: &Surface, path: &str, interface: &str, at: &[&str]) {
        let objects: Vec<&str> = surface.objects_with(interface).take(3).collect();
        let what = format!("the object {path} has no {interface}");
        let hint = match objects.as_slice() {
            [] => String::new(),
            found => format!("these have it: {}; say path = {:?}", found.join(", "), found[0]),
        };
        self.add(
            Level::Error,
            "wrong_object",
            at,
            what,
            "a call to an object that lacks the interface is an error",
            &hint,
        );
    }
}

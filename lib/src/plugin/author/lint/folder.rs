//! What lies beside the mapping: the manifest, the introspection, the README, the examples.

use super::Subject;
use crate::base::{Error, Result};
use crate::bus::introspection::Property;
use crate::bus::value::{VariantTypes, encode, single_type};
use crate::plugin::author::{Finding, Level, Surface};
use crate::plugin::mapping::{StateSection, check_value, items};
use crate::plugin::{Manifest, Mapping, builtin};
use crate::state::{PluginState, StateDocument, by_name};
use serde_json::{Value, json};

/// The manifest, or why it cannot be read.
pub fn manifest(subject: &Subject, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let (file, text) = &subject.manifest;
    let why = "without its manifest nobody knows which service the plugin speaks to";
    let Some(text) = text else {
        let finding = Finding::new(Level::Error, "manifest", file, "there is no plugin.toml");
        findings.push(finding.why(why).hint("op-install create NAME --from-dbus SERVICE makes one"));
        return None;
    };
    match Manifest::parse(text, file) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            findings.extend(Finding::of_error("manifest", why, &error));
            None
        }
    }
}

/// What others can write decides nothing for root.
pub fn untrusted(subject: &Subject, findings: &mut Vec<Finding>) {
    for file in &subject.untrusted {
        findings.push(
            Finding::new(Level::Warning, "untrusted", file.clone(), "others can write this")
                .why("root ignores the plugin: what it calls safe could be anything")
                .hint(format!("chmod go-w {file}")),
        );
    }
}

/// There has to be something to check against.
pub fn introspection(subject: &Subject, findings: &mut Vec<Finding>) {
    if subject.surface.is_none() {
        let place = subject.manifest.0.replace("plugin.toml", "introspection.xml");
        findings.push(
            Finding::new(Level::Warning, "no_introspection", place, "there is no introspection to check against")
                .why("whether the members are there, and with which types, is known only when a call fails")
                .hint("keep what the service says of itself beside the mapping, or check against it with --live"),
        );
    }
}

/// A plugin that can only be read.
pub fn no_mapping(file: &str, name: &str, findings: &mut Vec<Finding>) {
    let name = if name.is_empty() { "NAME" } else { name };
    findings.push(
        Finding::new(Level::Error, "no_mapping", file, "there is no semantic-mapping.toml")
            .why("there is nothing to check")
            .hint(format!("op-install map {name} drafts one")),
    );
}

/// A plugin that is compiled in: that there is one, its settings, its examples.
pub fn built_in(subject: &Subject, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let plugin = match builtin::open(manifest) {
        Ok(plugin) => plugin,
        Err(error) => return findings.extend(Finding::of_error("manifest", "it cannot be used", &error)),
    };
    let file = &subject.manifest.0;
    for claim in manifest.contradictions(plugin.read_only_because().is_none()) {
        let finding = Finding::new(Level::Warning, "manifest", file.clone(), claim);
        findings.push(finding.why("what is so counts; the claim misleads readers").hint("correct it, or leave it out"));
    }
    for (file, text) in &subject.examples {
        let state = serde_json::from_str::<Value>(text)
            .map_err(|error| Error::bad_input(format!("this is no JSON: {error}")))
            .and_then(|document| StateDocument::from_json(&document));
        let own = state.map(|mut state| state.plugins.remove(plugin.name()));
        let checked = own.and_then(|own| {
            let own = own.ok_or_else(|| Error::bad_input(format!("it says nothing about {}", plugin.name())))?;
            let unknown = own.values.keys().chain(own.absent.keys()).find(|key| !plugin.keys().contains_key(*key));
            match unknown {
                Some(key) => Err(Error::bad_input(format!("the plugin has no key {key}"))),
                None => by_name(plugin.name(), &own, plugin.keys()).map(drop),
            }
        });
        if let Err(error) = checked {
            let hint = error.hint.clone().unwrap_or_default();
            findings
                .push(Finding::new(Level::Error, "example", file, error.message).why("op-apply refuses it").hint(hint));
        }
    }
}

/// What the manifest claims and is not so.
pub fn contradictions(subject: &Subject, manifest: &Manifest, mapping: &Mapping, findings: &mut Vec<Finding>) {
    for claim in manifest.contradictions(mapping.can_write()) {
        let finding = Finding::new(Level::Warning, "manifest", subject.manifest.0.clone(), claim);
        findings.push(finding.why("what is so counts; the claim misleads readers").hint("correct it, or leave it out"));
    }
}

/// What people need beside the mapping.
pub fn documents(subject: &Subject, findings: &mut Vec<Finding>) {
    texts(subject, findings);
    // Scenarios are played on recordings of a service, which what is built in has not.
    if !subject.has_scenarios && subject.service().is_some() {
        let place = subject.readme.0.replace("README.md", "scenarios");
        findings.push(
            Finding::new(Level::Advice, "no_scenarios", place, "there are no scenarios")
                .why("nobody notices when a change of the mapping, or of the service, breaks it")
                .hint("op-discover record and op-install test: see docs/PLUGIN-SCENARIOS.md"),
        );
    }
}

fn texts(subject: &Subject, findings: &mut Vec<Finding>) {
    let (file, text) = &subject.readme;
    if text.as_deref().unwrap_or_default().trim().is_empty() {
        findings.push(
            Finding::new(Level::Warning, "no_readme", file, "there is no README.md")
                .why("nobody knows what the mapping covers, what it leaves out, and why")
                .hint("say what is covered, what is not and why, and the service's quirks"),
        );
    }
    if subject.examples.is_empty() {
        findings.push(
            Finding::new(Level::Warning, "no_examples", file.replace("README.md", "examples"), "there are no examples")
                .why("an example is the quickest way to use a plugin, and tests run it")
                .hint("put a state document there, for example what op-query prints"),
        );
    }
}

/// The examples against the mapping.
pub fn examples(subject: &Subject, name: &str, mapping: &Mapping, findings: &mut Vec<Finding>) {
    for (file, text) in &subject.examples {
        let mut bad = |what: String, why: &str, hint: &str| {
            findings.push(Finding::new(Level::Error, "example", file, what).why(why).hint(hint));
        };
        let document = match serde_json::from_str::<Value>(text) {
            Ok(document) => document,
            Err(error) => {
                bad(format!("this is no JSON: {error}"), "an example that cannot be read helps nobody", "");
                continue;
            }
        };
        let state = match StateDocument::from_json(&document) {
            Ok(state) => state,
            Err(error) => {
                bad(error.message.clone(), "op-apply refuses it", error.hint.as_deref().unwrap_or_default());
                continue;
            }
        };
        let Some(own) = state.plugins.get(name) else {
            bad(format!("it says nothing about {name}"), "an example shows how this plugin is used", "");
            continue;
        };
        for (what, hint) in misfits(own, mapping, subject.surface.as_ref()) {
            bad(what, "op-apply refuses it", &hint);
        }
    }
}

/// What of a state does not fit the mapping or the service, and the way out.
fn misfits(state: &PluginState, mapping: &Mapping, surface: Option<&Surface>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let absent = state.absent.iter().map(|(key, items)| (key, json!(items)));
    for (key, value) in state.values.iter().map(|(key, value)| (key, value.clone())).chain(absent) {
        let Some(section) = mapping.file.state_mapping.get(key) else {
            let known: Vec<&str> = mapping.file.state_mapping.keys().map(String::as_str).collect();
            found.push((format!("the mapping has no key {key}"), format!("the keys are: {}", known.join(", "))));
            continue;
        };
        if let Err(error) = check_value(key, &value, &section.validate) {
            found.extend(std::iter::once(&error).chain(&error.also).map(|error| {
                let place = error.subject.clone().unwrap_or_default();
                (format!("{place}: {}", error.message), error.hint.clone().unwrap_or_default())
            }));
        }
        if items::is_collection(section) {
            found.extend(misfit_items(key, &value, section));
            continue;
        }
        let Some(read) = section.read.as_ref() else { continue };
        let interface = read.interface.as_deref().unwrap_or(&mapping.interface);
        let property = read.property.as_deref().and_then(|name| surface?.property(interface, name));
        // What the mapping does not say of a variant's type, the value that is there now does.
        let is_told =
            |property: &&Property| !property.type_signature.contains('v') || !section.variant_types.is_empty();
        let fits = property.filter(is_told).map(|property| {
            let signature = single_type(&property.type_signature)?;
            encode(&value, &signature, key, &variant_types(section)?).map(drop)
        });
        let open = section.diff_strategy == Some(crate::state::Strategy::MergeStrategy);
        if let Some(Err(error)) = fits
            && !open
        {
            found.push((format!("{key}: {}", error.message), error.hint.unwrap_or_default()));
        }
    }
    found
}

fn variant_types(section: &StateSection) -> Result<VariantTypes> {
    let mut types = VariantTypes::none();
    for (key, text) in &section.variant_types {
        types.by_key.insert(key.clone(), single_type(text)?);
    }
    Ok(types)
}

/// What of a collection's items does not fit: each is an object of known members with right values.
fn misfit_items(key: &str, value: &Value, section: &StateSection) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some(items) = value.as_object() else {
        // Items listed as absent, or a mistake that the reader of documents tells.
        return found;
    };
    for (name, item) in items {
        let place = format!("{key}.{name}");
        let Some(members) = item.as_object() else {
            found.push((format!("{place}: {item} is no object of members"), String::new()));
            continue;
        };
        for (member, value) in members.iter().filter(|(member, _)| !matches!(member.as_str(), "state" | "absent")) {
            let Some(known) = section.members.get(member) else {
                if !section.members.is_empty() {
                    let known: Vec<&str> = section.members.keys().map(String::as_str).collect();
                    let hint = format!("the members are: {}", known.join(", "));
                    found.push((format!("{place}: {key} has no member {member}"), hint));
                }
                continue;
            };
            if let Err(error) = check_value(&format!("{place}.{member}"), value, &known.validate) {
                let at = error.subject.clone().unwrap_or_default();
                found.push((format!("{at}: {}", error.message), error.hint.clone().unwrap_or_default()));
            }
        }
    }
    found
}

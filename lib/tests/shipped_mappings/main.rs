//! What ships is executed: every shipped mapping is checked against the introspection beside it, and its examples against
//! the mapping. A new folder in `mappings/` needs no line here, except for what it calls safe and for its rules.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod examples;
#[path = "../markdown/mod.rs"]
mod markdown;
mod rules;

use markdown::{read, repository};
use op_dbus::bus::introspection::{Interface, parse};
use op_dbus::bus::value::{VariantTypes, complete_types, encode, single_type};
use op_dbus::plugin::mapping::collection::{Query, RefuseSection};
use op_dbus::plugin::mapping::file::{
    Operation, PreviewSection, ReadSection, ResolveSection, SignalSection, SizesSection, StateSection,
};
use op_dbus::plugin::mapping::{fixed_of, items};
use op_dbus::plugin::{Manifest, Mapping};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything a shipped mapping calls safe. An entry here is a promise that someone looked: the call only reads, or
/// touches nothing but an object of our own.
const SAFE: &[&str] = &[
    "accounts find_user_by_name",
    "accounts list_cached_users",
    "accounts list_logged_in",
    "firewalld get_default_zone",
    "firewalld get_permanent_zone",
    "firewalld get_zone_settings",
    "firewalld get_zones",
    "firewalld list_permanent_zones",
    "firewalld query_panic_mode",
    "login1 list_inhibitors",
    "login1 list_sessions",
    "login1 list_users",
    "networkmanager get_settings",
    "networkmanager list_connections",
    "packagekit create_transaction",
    "packagekit get_details",
    "packagekit get_packages",
    "packagekit resolve_available",
    "packagekit resolve_installed",
    "packagekit set_hints",
    "packagekit simulate_install",
    "packagekit simulate_remove",
    "resolved get_link",
    "systemd get_default_target",
    "systemd get_unit_file_state",
    "systemd list_aliases",
    "systemd list_failed_units",
    "systemd list_unit_files",
    "systemd list_unit_files_by_patterns",
    "systemd list_units",
    "systemd list_units_by_names",
    "upower enumerate_devices",
    "upower get_critical_action",
];

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
}

/// A folder of `mappings/`, read.
struct Plugin {
    name: String,
    folder: PathBuf,
    manifest: Manifest,
    mapping: Mapping,
    /// The interfaces of all `introspection*.xml`.
    interfaces: BTreeMap<String, Interface>,
}

fn plugins() -> Vec<Plugin> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(repository().join("mappings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    // What is built in has no mapping.
    folders.retain(|path| path.join("semantic-mapping.toml").is_file());
    folders.sort();
    assert!(folders.len() >= 4);
    let mut plugins: Vec<Plugin> = folders.into_iter().map(Plugin::read).collect();
    // What a mapping asks of another service is in that one's folder.
    let all: BTreeMap<String, Interface> = plugins.iter().flat_map(|plugin| plugin.interfaces.clone()).collect();
    for plugin in &mut plugins {
        for section in plugin.mapping.file.methods.values().filter(|section| section.service.is_some()) {
            let name = section.interface.clone().unwrap();
            plugin.interfaces.insert(name.clone(), all[&name].clone());
        }
    }
    plugins
}

impl Plugin {
    fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let file = folder.join("plugin.toml");
        let manifest = Manifest::parse(&read(&file), &file.display().to_string()).unwrap();
        let file = folder.join("semantic-mapping.toml");
        let service = manifest.plugin.dbus_service.clone().unwrap();
        let mapping = Mapping::parse(&read(&file), &file.display().to_string(), &service).unwrap();
        let mut interfaces = BTreeMap::new();
        for file in files(&folder, ".xml") {
            interfaces.extend(parse(&read(&file)).unwrap().interfaces);
        }
        Self { name, folder, manifest, mapping, interfaces }
    }

    fn place(&self, rest: &str) -> String {
        format!("{}: {rest}", self.name)
    }

    /// The type signature of a method's arguments, from the introspection.
    fn inputs(&self, reference: &str) -> String {
        let method = self.mapping.method(reference).unwrap();
        let interface = self.interfaces.get(&method.interface);
        let live = interface.and_then(|interface| interface.methods.get(&method.member));
        live.unwrap_or_else(|| panic!("{}", self.place(&format!("no {} on {}", method.member, method.interface))))
            .input_signature()
    }

    /// An operation gives its method exactly the arguments that are not fixed.
    fn check_args(&self, reference: &str, args: Option<&[Value]>, used: &mut BTreeSet<String>) {
        let method = self.mapping.method(reference).unwrap();
        used.insert(method.name.clone());
        let types = complete_types(&self.inputs(reference)).unwrap();
        let free = types.len() - fixed_of(method.section).len();
        match args {
            Some(args) => assert_eq!(args.len(), free, "{}", self.place(reference)),
            // Without args, the one free argument is the value or the items.
            None => assert!(free <= 1, "{}", self.place(&format!("{reference} needs args"))),
        }
    }

    fn check_operation(&self, operation: &Operation, used: &mut BTreeSet<String>) {
        if let Some(method) = &operation.method {
            self.check_args(method, operation.args.as_deref(), used);
        }
        operation.when.values().for_each(|operation| self.check_operation(operation, used));
        if let Some(RefuseSection { method, args, .. }) = &operation.refuse_if {
            self.check_args(method, Some(args.as_deref().unwrap_or_default()), used);
        }
        if let Some(name) = &operation.property {
            let interface = operation.interface.as_ref().unwrap_or(&self.mapping.interface);
            assert!(self.interfaces[interface].properties[name].access.is_writable(), "{}", self.place(name));
        }
        if let Some(ResolveSection { method, args, .. }) = &operation.resolve {
            self.check_args(method, args.as_deref(), used);
        }
        if let Some(PreviewSection { method, args, sizes, .. }) = &operation.preview {
            self.check_args(method, args.as_deref(), used);
            if let Some(SizesSection { method, args, .. }) = sizes {
                self.check_args(method, args.as_deref(), used);
            }
        }
    }

    /// Where items come from is there, and is asked with its arguments.
    fn check_source(&self, read: &ReadSection, used: &mut BTreeSet<String>) {
        let given = |args: &Option<Vec<Value>>| args.clone().unwrap_or_default();
        for reference in read.objects.iter().chain(&read.method) {
            self.check_args(reference, Some(&given(&read.args)), used);
        }
        for join in &read.join {
            join.method.iter().for_each(|method| self.check_args(method, Some(&given(&join.args)), used));
        }
        let of_joins = read.join.iter().flat_map(|join| [&join.named, &join.each]);
        for Query { method, args } in [&read.find, &read.get, &read.named].into_iter().chain(of_joins).flatten() {
            self.check_args(method, Some(&given(args)), used);
        }
    }

    /// The properties that items are made of, are called by and are chosen by are there.
    fn check_members(&self, section: &StateSection) {
        let own = section.read.as_ref().and_then(|read| read.interface.as_ref());
        let needs = section.members.values().flat_map(|member| member.needs.keys());
        let columns =
            section.filter.keys().chain(section.exclude.keys()).chain(section.protected_if.keys()).chain(needs);
        for column in columns.filter(|column| !section.fields.contains(column)) {
            let Some(own) = own else { continue };
            let is_joined = section.read.iter().flat_map(|read| &read.join).any(|join| join.fields.contains(column));
            // A manager tells properties of other interfaces too, by their whole names.
            let of_other = column.rsplit_once('.').and_then(|(other, name)| Some((self.interfaces.get(other)?, name)));
            let is_of_other = of_other.is_some_and(|(other, name)| other.properties.contains_key(name));
            let is_there = is_joined || is_of_other || self.interfaces[own].properties.contains_key(column);
            assert!(is_there, "{}", self.place(&format!("no property {column}")));
        }
        for (name, member) in &section.members {
            let Some(property) = &member.property else { continue };
            let live = &self.interfaces[member.interface.as_ref().or(own).unwrap()].properties;
            let is_readable = live.get(property).is_some_and(|property| property.access.is_readable());
            assert!(is_readable, "{}", self.place(&format!("{name}: no property {property}")));
        }
    }

    fn check_signal(&self, interface: &str, signal: &SignalSection) {
        let place = self.place(&format!("signal {}", signal.signal));
        let live = self.interfaces[interface].signals.get(&signal.signal).unwrap_or_else(|| panic!("no {place}"));
        assert_eq!(signal.fields.len(), live.args.len(), "{place}");
        let named = signal.r#match.keys().chain(&signal.text).chain(&signal.percent);
        for field in named {
            assert!(signal.fields.contains(field), "{place} has no field {field}");
        }
    }
}

#[test]
fn shipped_plugins_are_complete_and_say_the_truth() {
    for plugin in plugins() {
        assert_eq!(plugin.manifest.plugin.name, plugin.name);
        assert!(!plugin.manifest.plugin.description.is_empty(), "{}", plugin.name);
        assert_eq!(plugin.manifest.contradictions(plugin.mapping.can_write()), Vec::<String>::new());
        for file in ["README.md", "introspection.xml", "examples/README.md"] {
            assert!(plugin.folder.join(file).is_file(), "{}", plugin.place(file));
        }
        let readme = read(&plugin.folder.join("README.md"));
        for (key, section) in &plugin.mapping.file.state_mapping {
            assert!(section.description.is_some(), "{}", plugin.place(key));
            assert!(readme.contains(&format!("`{key}`")), "{}", plugin.place(&format!("README.md lacks {key}")));
        }
    }
}

#[test]
fn every_member_a_shipped_mapping_names_is_there_with_its_types() {
    for plugin in plugins() {
        for (name, section) in &plugin.mapping.file.methods {
            let inputs = plugin.inputs(name);
            let types = section.arg_types.as_ref().unwrap_or_else(|| panic!("{name} has no arg_types"));
            assert_eq!(types.concat(), inputs, "{}", plugin.place(name));
            assert!(section.args_mapping.is_empty() || section.args_mapping.len() == types.len(), "{name}");
            for (position, value) in fixed_of(section) {
                let place = plugin.place(&format!("{name}.fixed.{position}"));
                let signature = single_type(&types[position]).unwrap();
                encode(&value, &signature, &place, &VariantTypes::none()).unwrap();
            }
            if let Some(item) = &section.item {
                plugin.check_signal(&plugin.mapping.method(name).unwrap().interface, item);
            }
        }
        for section in plugin.mapping.file.transactions.values() {
            let signals = section.item.iter().chain(&section.error).chain(&section.progress).chain(&section.touched);
            for signal in signals.chain([&section.done]) {
                plugin.check_signal(&section.interface, signal);
            }
        }
        for job in plugin.mapping.file.jobs.values() {
            plugin.check_signal(job.interface.as_ref().unwrap_or(&plugin.mapping.interface), &job.done);
            assert!(job.done.fields.contains(&job.id), "{}", plugin.place(&job.id));
        }
        for section in plugin.mapping.file.state_mapping.values() {
            plugin.check_members(section);
        }
        for (member, pinned) in &plugin.mapping.file.fingerprint {
            let (interface, member) = member.rsplit_once('.').unwrap();
            let live = &plugin.interfaces[interface];
            let signature = live.methods.get(member).map(|method| method.input_signature());
            let signature = signature.or_else(|| Some(live.properties.get(member)?.type_signature.clone()));
            assert_eq!(Some(pinned), signature.as_ref(), "{}", plugin.place(member));
        }
    }
}

#[test]
fn every_call_of_a_shipped_mapping_has_its_arguments_and_every_method_is_used() {
    for plugin in plugins() {
        let mut used = BTreeSet::new();
        for section in plugin.mapping.file.transactions.values() {
            plugin.check_args(&section.create, Some(&[]), &mut used);
            section.setup.iter().for_each(|step| plugin.check_operation(step, &mut used));
        }
        for section in plugin.mapping.file.jobs.values() {
            section.setup.iter().for_each(|step| plugin.check_operation(step, &mut used));
        }
        if let Some(section) = &plugin.mapping.file.checkpoint {
            let operations = [&section.create, &section.commit, &section.rollback];
            operations.into_iter().for_each(|operation| plugin.check_operation(operation, &mut used));
        }
        for (key, section) in &plugin.mapping.file.state_mapping {
            match section.read.as_ref().unwrap() {
                read if items::is_collection(section) || read.has_objects() => plugin.check_source(read, &mut used),
                ReadSection { property: Some(name), interface, .. } => {
                    let interface = interface.as_ref().unwrap_or(&plugin.mapping.interface);
                    assert!(plugin.interfaces[interface].properties[name].access.is_readable(), "{key}");
                }
                ReadSection { method, args, .. } => {
                    let args = args.as_deref().unwrap_or_default();
                    plugin.check_args(method.as_deref().unwrap(), Some(args), &mut used);
                }
            }
            let operations = section.write.iter().chain(&section.add).chain(&section.remove);
            let of_items = section.create.iter().chain(&section.update).chain(&section.delete);
            let of_members = section.members.values().flat_map(|member| member.write.iter().chain(&member.after));
            operations
                .chain(of_items)
                .chain(of_members)
                .chain(&section.before)
                .chain(&section.after)
                .for_each(|operation| plugin.check_operation(operation, &mut used));
            if let Some(ResolveSection { method, args, .. }) = &section.resolve {
                plugin.check_args(method, args.as_deref(), &mut used);
            }
        }
        let named: BTreeSet<String> = plugin.mapping.file.methods.keys().cloned().collect();
        assert_eq!(named, used, "{}", plugin.name);
    }
}

#[test]
fn what_is_called_safe_was_looked_at() {
    let mut safe = Vec::new();
    for plugin in plugins() {
        let methods = plugin.mapping.file.methods.iter();
        safe.extend(methods.filter(|(_, m)| m.safe).map(|(name, _)| format!("{} {name}", plugin.name)));
        // A member that also changes things is safe with its constants only, and never with those of the real call.
        for (name, section) in plugin.mapping.file.methods.iter().filter(|(_, section)| !section.safe) {
            let method = plugin.mapping.method(name).unwrap();
            let fixed = fixed_of(section);
            for safe in plugin.mapping.safe_calls().iter().filter(|safe| safe.member == method.member) {
                let differs = safe.fixed.iter().any(|(at, value)| fixed.iter().any(|(p, v)| p == at && v != value));
                assert!(differs, "{}", plugin.place(&format!("{name} would pass the closed gate")));
            }
        }
    }
    assert_eq!(safe, SAFE);
}

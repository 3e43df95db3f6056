//! What ships is executed: every shipped mapping is checked against the introspection beside it, and its examples against
//! the mapping. A new folder in `mappings/` needs no line here, except for what it calls safe and for its rules.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

mod markdown;

use markdown::{blocks, read, repository};
use op_dbus::bus::introspection::{Interface, parse};
use op_dbus::bus::value::{VariantTypes, complete_types, encode, single_type};
use op_dbus::plugin::mapping::file::{
    Operation, PreviewSection, ReadSection, ResolveSection, Rules, SignalSection, SizesSection,
};
use op_dbus::plugin::mapping::{check_value, fixed_of};
use op_dbus::plugin::{Manifest, Mapping};
use op_dbus::state::{PluginState, Removal, StateDocument, diff_plugin};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything a shipped mapping calls safe. An entry here is a promise that someone looked: the call only reads, or
/// touches nothing but an object of our own.
const SAFE: &[&str] = &[
    "packagekit create_transaction",
    "packagekit get_details",
    "packagekit get_packages",
    "packagekit resolve_available",
    "packagekit resolve_installed",
    "packagekit set_hints",
    "packagekit simulate_install",
    "packagekit simulate_remove",
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
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.len() >= 4);
    folders.into_iter().map(Plugin::read).collect()
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
        for (key, section) in &plugin.mapping.file.state_mapping {
            match section.read.as_ref().unwrap() {
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
            operations
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

#[test]
fn examples_use_known_keys_and_right_values_and_change_something() {
    for plugin in plugins() {
        let folder = plugin.folder.join("examples");
        let story = read(&folder.join("README.md"));
        let examples = files(&folder, ".json");
        assert!(examples.len() >= 2, "{}", plugin.name);
        assert_eq!(story.matches("\n## ").count(), examples.len(), "{}", plugin.place("a story without its example"));
        for example in examples {
            let place = example.display().to_string();
            let name = example.file_name().unwrap().to_str().unwrap();
            let document: Value = serde_json::from_str(&read(&example)).unwrap();
            let mut document = StateDocument::from_json(&document).unwrap();
            let desired = document.plugins.remove(&plugin.name).unwrap_or_else(|| panic!("{place}"));
            assert!(document.plugins.is_empty(), "{place} speaks of other plugins too");
            let (_, tail) =
                story.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("no story for {place}"));
            let start = blocks(tail).remove(0).2;
            let start = PluginState::from_json(name, &serde_json::from_str(&start).unwrap()).unwrap();
            check_values(&plugin, &place, &desired);
            check_values(&plugin, &place, &start);
            let diff = |current| diff_plugin(name, &desired, current, &plugin.mapping.specs, &Removal::default());
            let changes = diff(&start.values).unwrap();
            let changed: BTreeSet<String> = changes.iter().map(|change| change.resource().key).collect();
            let mentioned: BTreeSet<String> = desired.values.keys().chain(desired.absent.keys()).cloned().collect();
            assert!(!changes.is_empty() && changed.is_subset(&mentioned), "{place}");
            let mut done = start.values.clone();
            done.extend(desired.values.clone());
            for (key, items) in &desired.absent {
                done[key].as_array_mut().unwrap().retain(|item| !items.iter().any(|gone| item == gone));
            }
            assert_eq!(diff(&done).unwrap(), [], "{place} is no no-op the second time");
        }
    }
}

/// Every value has a known key, passes the key's rules, and fits the type the service has for it.
fn check_values(plugin: &Plugin, place: &str, state: &PluginState) {
    let absent = state.absent.iter().map(|(key, items)| (key, json!(items)));
    for (key, value) in state.values.iter().map(|(key, value)| (key, value.clone())).chain(absent) {
        let section = plugin.mapping.file.state_mapping.get(key).unwrap_or_else(|| panic!("{place} has no key {key}"));
        check_value(key, &value, &section.validate).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some(ReadSection { property: Some(property), interface, .. }) = &section.read {
            let interface = interface.as_ref().unwrap_or(&plugin.mapping.interface);
            let signature = single_type(&plugin.interfaces[interface].properties[property].type_signature).unwrap();
            encode(&value, &signature, key, &VariantTypes::none()).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

/// The rules of the shipped mappings, by what they accept and refuse.
#[test]
fn shipped_rules_accept_and_refuse() {
    let long = "a".repeat(65);
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "hostname",
            "static_hostname",
            &["", "a", "web-1", "web-1.example.org", "1"],
            &["-a", "a-", "a..b", ".", "a.", "a_b", "ä", "a b", &long],
        ),
        ("hostname", "pretty_hostname", &["", "Anna's laptop", "Bürö"], &["a\nb", "\u{7f}"]),
        ("hostname", "icon_name", &["", "computer-vm"], &["../x", ".x", "a/b", "a\n"]),
        ("hostname", "chassis", &["", "vm", "container", "watch"], &["VM", "toaster"]),
        ("hostname", "deployment", &["", "production", "a.b:c-1"], &["a b", "a_b"]),
        ("hostname", "location", &["", "Berlin, rack 4"], &["a\tb"]),
        (
            "timedate",
            "timezone",
            &["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires"],
            &["", "/UTC", "Etc/", "../../etc/passwd", "a b"],
        ),
        (
            "locale",
            "locale",
            &["LANG=C.UTF-8", "LANGUAGE=de_AT:de", "LC_TIME=C", "LANG=ca_ES.UTF-8@valencia"],
            &["", "C.UTF-8", "LANG=", "LC_ALL=C", "LANG=a b"],
        ),
        ("locale", "vconsole_keymap", &["", "de-latin1", "us"], &["../x", "a b"]),
        ("locale", "vconsole_keymap_toggle", &["", "us"], &["a/b"]),
        ("locale", "x11_layout", &["", "de,us"], &["de us"]),
        ("locale", "x11_model", &["", "pc105"], &["pc 105"]),
        ("locale", "x11_variant", &["", "nodeadkeys,"], &["a;b"]),
        ("locale", "x11_options", &["", "compose:ralt,caps:escape"], &["a b"]),
        (
            "packagekit",
            "packages",
            &["libstdc++6", "a.b-c", "R-core", "0ad"],
            &["", "a;1;amd64;x", "libc6:i386", "a b", "-y"],
        ),
    ];
    let plugins = plugins();
    let ruled: usize = plugins
        .iter()
        .flat_map(|p| p.mapping.file.state_mapping.values())
        .filter(|s| s.validate != Rules::default())
        .count();
    assert_eq!(cases.len(), ruled, "a key with rules has no case here");
    for (name, key, good, bad) in cases {
        let plugin = plugins.iter().find(|plugin| plugin.name == *name).unwrap();
        let rules = &plugin.mapping.file.state_mapping[*key].validate;
        for text in *good {
            check_value(key, &json!(text), rules).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for text in *bad {
            assert!(check_value(key, &json!(text), rules).is_err(), "{name} {key} accepts {text:?}");
        }
    }
}

//! Texts that somebody else wrote: introspection XML, mappings, manifests, documents, plans, recordings, indexes, blocks.
//! Whatever they say, they are read or refused, and what was read is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use op_dbus::audit::block;
use op_dbus::bus::introspection::{parse, to_xml};
use op_dbus::bus::recording::Recording;
use op_dbus::package::registry::index::Index;
use op_dbus::plugin::{Manifest, Mapping};
use op_dbus::state::{Plan, StateDocument};

fuzz_target!(|bytes: &[u8]| {
    let _ = Index::parse(bytes, "index.json");
    let _ = block::check(bytes, 1).and_then(|checked| checked.open());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(node) = parse(text) {
        assert_eq!(parse(&to_xml(&node)).as_ref(), Ok(&node));
    }
    let _ = Mapping::parse(text, "semantic-mapping.toml", "org.example.Service1");
    let _ = Manifest::parse(text, "plugin.toml");
    if let Ok(recording) = Recording::parse(text, "r") {
        assert_eq!(Recording::parse(&recording.to_text(), "r").as_ref(), Ok(&recording));
    }
    let Ok(value) = serde_json::from_str(text) else { return };
    let _ = Plan::from_json(&value);
    if let Ok(document) = StateDocument::from_json(&value) {
        assert_eq!(StateDocument::from_json(&document.to_json()).as_ref(), Ok(&document));
    }
});

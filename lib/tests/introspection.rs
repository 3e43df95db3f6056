//! Introspection XML, one folder a case: add a folder, run with `OP_DBUS_BLESS=1`, read what it wrote.
//!
//! `introspection/NAME/` holds input.xml and expected.json, `introspection_hostile/NAME/` input.xml and error.txt.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use op_dbus::base::Kind;
use op_dbus::bus::introspection::{
    Access, Arg, EmitsChanged, Interface, Method, Node, Property, Signal, parse, to_xml,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 5, "{} is nearly empty", folder.display());
    cases
}

/// Compares `actual` with the file, or writes it there when blessing.
fn check(file: &Path, actual: &str) {
    if std::env::var_os("OP_DBUS_BLESS").is_some() {
        fs::write(file, actual).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(actual, expected, "{}", file.display());
}

#[test]
fn real_objects() {
    for case in cases("introspection") {
        let node = parse(&fs::read_to_string(case.join("input.xml")).unwrap()).unwrap();
        let json = serde_json::to_string_pretty(&node).unwrap() + "\n";
        check(&case.join("expected.json"), &json);
        assert_eq!(serde_json::from_str::<Node>(&json).unwrap(), node, "{}", case.display());
        assert_eq!(parse(&to_xml(&node)).unwrap(), node, "{}", case.display());
    }
}

#[test]
fn hostile_objects() {
    for case in cases("introspection_hostile") {
        let error = parse(&fs::read_to_string(case.join("input.xml")).unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::BadInput);
        check(&case.join("error.txt"), &format!("{}\n", error.message));
    }
}

#[test]
fn limits() {
    let members = |count: usize| {
        let methods: String = (0..count).map(|i| format!("<method name='M{i}'/>")).collect();
        parse(&format!("<node><interface name='a.b'>{methods}</interface></node>"))
    };
    assert_eq!(members(8192).unwrap().interfaces["a.b"].methods.len(), 8192);
    assert!(members(8193).unwrap_err().message.ends_with("there are more than 8192 methods"));
    let interfaces: String = (0..1025).map(|i| format!("<interface name='a.b{i}'/>")).collect();
    let error = parse(&format!("<node>{interfaces}</node>")).unwrap_err();
    assert!(error.message.ends_with("there are more than 1024 interfaces"));
    let args = "<arg type='s'/>".repeat(257);
    let error = parse(&format!("<node><interface name='a.b'><signal name='S'>{args}</signal></interface></node>"));
    assert!(error.unwrap_err().message.ends_with("there are more than 256 arguments"));
    let children: String = (0..65537).map(|i| format!("<node name='c{i}'/>")).collect();
    let error = parse(&format!("<node>{children}</node>")).unwrap_err();
    assert!(error.message.ends_with("there are more than 65536 children"));
    let huge = format!("<node><!--{}--></node>", "x".repeat(4 << 20));
    assert!(parse(&huge).unwrap_err().message.contains("is beyond the limit of 4194304"));
}

#[test]
fn what_is_in_the_elements_of_others_is_theirs() {
    let xml = "<node xmlns:doc='x'><interface name='a.b'><method name='M'>\
               <doc:doc><doc:error name='&ERROR_GENERAL;'>&OTHER;</doc:error></doc:doc></method></interface></node>";
    assert!(parse(xml).unwrap().interfaces["a.b"].methods.contains_key("M"));
    for ours in ["<node><interface name='&N;'/></node>", "<node>&N;</node>", "<node x='&N;'/>"] {
        assert!(parse(ours).unwrap_err().message.contains("entity"), "{ours}");
    }
}

#[test]
fn signatures() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/introspection/timedate1/input.xml");
    let node = parse(&fs::read_to_string(case).unwrap()).unwrap();
    let timedate = &node.interfaces["org.freedesktop.timedate1"];
    assert_eq!(timedate.methods["SetTime"].input_signature(), "xbb");
    assert_eq!(timedate.methods["ListTimezones"].output_signature(), "as");
    assert_eq!(node.interfaces["org.freedesktop.DBus.Properties"].signals["PropertiesChanged"].signature(), "sa{sv}as");
}

fn arg() -> impl Strategy<Value = Arg> {
    let types = prop::sample::select(vec!["s", "as", "a{sv}", "(uo)", "ay", "h", "a{oa{sa{sv}}}"]);
    let name = option::of("[a-z_<>&'\" é]{1,8}");
    (name, types).prop_map(|(name, one)| Arg { name, type_signature: one.to_owned() })
}

fn interface() -> impl Strategy<Value = Interface> {
    let method = (vec(arg(), 0..3), vec(arg(), 0..3), any::<bool>(), any::<bool>())
        .prop_map(|(inputs, outputs, deprecated, no_reply)| Method { inputs, outputs, deprecated, no_reply });
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    let emits = prop::sample::select(vec![
        EmitsChanged::True,
        EmitsChanged::Invalidates,
        EmitsChanged::Const,
        EmitsChanged::False,
    ]);
    let property = (arg(), access, emits).prop_map(|(arg, access, emits_changed)| Property {
        type_signature: arg.type_signature,
        access,
        emits_changed,
    });
    let signal = vec(arg(), 0..3).prop_map(|args| Signal { args });
    let name = || "[A-Z][A-Za-z0-9_]{0,6}";
    (btree_map(name(), method, 0..3), btree_map(name(), property, 0..3), btree_map(name(), signal, 0..3))
        .prop_map(|(methods, properties, signals)| Interface { methods, properties, signals })
}

fn node() -> impl Strategy<Value = Node> {
    let interfaces = || btree_map("[a-z]{1,3}\\.[A-Z][a-z]{0,3}", interface(), 0..3);
    let leaf = interfaces().prop_map(|interfaces| Node { interfaces, ..Node::default() });
    leaf.prop_recursive(3, 8, 3, move |inner| {
        let children = btree_map("[a-z0-9_]{1,3}(/[a-z]{1,2})?", option::of(inner), 0..3);
        (interfaces(), children).prop_map(|(interfaces, children)| Node {
            interfaces,
            children: children.keys().cloned().collect(),
            inline: children
                .into_iter()
                .filter_map(|(name, child)| Some((name, child.filter(|child| *child != Node::default())?)))
                .collect(),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn written_and_read(node in node()) {
        let xml = to_xml(&node);
        prop_assert_eq!(&parse(&xml).unwrap(), &node);
        let json = serde_json::to_value(&node).unwrap();
        prop_assert_eq!(serde_json::from_value::<Node>(json).unwrap(), node);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("<node>{text}</node>"));
    }

    #[test]
    fn any_tags_are_read_or_refused(words in vec(prop::sample::select(vec![
        "<node>", "</node>", "<node name='a'/>", "<interface name='a.b'>", "</interface>", "<method name='M'>", "</method>",
        "<arg type='s'/>", "<arg", "type='a{sv}'", "/>", ">", "<", "&lt;", "&x;", "&#0;", "<!--", "-->", "<![CDATA[", "]]>",
        "<!DOCTYPE node [", "]>", "<?xml?>", "'", "\"", "\u{feff}", "é", "\n",
    ]), 0..40)) {
        let _ = parse(&words.concat());
        let _ = parse(&words.join(" "));
    }

    #[test]
    fn damaged_documents_are_read_or_refused(node in node(), at in any::<prop::sample::Index>(), len in 0_usize..20, with in "[<>/'\"&;=a ]{0,4}") {
        let xml: Vec<char> = to_xml(&node).chars().collect();
        let start = at.index(xml.len());
        let end = (start + len).min(xml.len());
        let damaged: String = xml[..start].iter().chain(with.chars().collect::<Vec<_>>().iter()).chain(&xml[end..]).collect();
        if let Ok(node) = parse(&damaged) {
            prop_assert_eq!(parse(&to_xml(&node)).unwrap(), node);
        }
    }
}

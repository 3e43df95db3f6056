//! JSON Schemas of every document, generated from the types: `docs/schemas/NAME.schema.json`.
//!
//! With `OP_DBUS_BLESS=1` they are written; otherwise a schema that no longer fits its type fails. Documents that are
//! read or written elsewhere in the tests are held against them.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use jsonschema::Validator;
use op_dbus::apply::cached::CachedDocument;
use op_dbus::apply::checkpoints::Checkpoint;
use op_dbus::apply::pending::Waiting;
use op_dbus::apply::recover::Recovery;
use op_dbus::apply::report::{Report, RunOutcome};
use op_dbus::apply::scenarios::{Difference, Mode, ScenarioReport, ScenarioResult, TestReport};
use op_dbus::apply::select::Selected;
use op_dbus::apply::timings::Timings;
use op_dbus::apply::watch::Record;
use op_dbus::audit::anomaly::Anomalies;
use op_dbus::audit::block::BlockDocument;
use op_dbus::audit::head::HeadDocument;
use op_dbus::audit::proof::Proof;
use op_dbus::audit::search::Hits;
use op_dbus::audit::verify::Verdict;
use op_dbus::base::error::ErrorDocument;
use op_dbus::base::{Error, Kind};
use op_dbus::bus::Service;
use op_dbus::bus::introspection::Node;
use op_dbus::bus::recording::Recording;
use op_dbus::bus::walk::Tree;
use op_dbus::cli::answers::HostAnswer;
use op_dbus::cli::doctor::{Finding, Health, State};
use op_dbus::cli::show_golden::{GoldenList, GoldenReport};
use op_dbus::cli::show_packages::{KeysReport, RevokedReport};
use op_dbus::cli::show_registries::KeyringReport;
use op_dbus::cli::trail_copy::TrailCopy;
use op_dbus::embed::cache::{Collected, ListedVector, Stats, Verified, Warmed};
use op_dbus::embed::documents::{
    Added, Bench, Document, EmbedTimings, Engines, InstalledRuntime, Layers, ModelVerification, Models, Placement,
    Record as Embedding, SearchTimings,
};
use op_dbus::embed::search::Match;
use op_dbus::package::create::IntrospectionDocument;
use op_dbus::package::install::{InstallReport, InstallationReport};
use op_dbus::package::ledger::Ledger;
use op_dbus::package::lockfile::Lockfile;
use op_dbus::package::publish::PublishReport;
use op_dbus::package::registry::build::BuildReport;
use op_dbus::package::registry::index::Index;
use op_dbus::package::registry::mirror::MirrorReport;
use op_dbus::package::registry::offers::SearchReport;
use op_dbus::package::registry::source::{RegistriesReport, Source};
use op_dbus::package::rollback::RollbackReport;
use op_dbus::package::versions::{PluginReport, VerifyReport};
use op_dbus::plugin::Manifest;
use op_dbus::plugin::author::{Draft, DraftDocument, LintReport, Surface};
use op_dbus::plugin::inventory::{Inventory, InventoryService};
use op_dbus::plugin::listing::{ListedPlugin, Listing};
use op_dbus::plugin::mapping::MappingFile;
use op_dbus::plugin::scenario::ScenarioFile;
use op_dbus::state::acknowledged::Acknowledged;
use op_dbus::state::{Plan, StateDocument};
use op_dbus::store::cache::{Rotation, SnapshotReport, Snapshots};
use op_dbus::store::doctor::Doctor;
use op_dbus::store::init::RootReport;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every document: its name, its `"kind"` where it has one, and the generator of its schema.
fn documents() -> Vec<(&'static str, Option<&'static str>, Value)> {
    fn of<T: JsonSchema>() -> Value {
        SchemaGenerator::default().into_root_schema_for::<T>().to_value()
    }
    vec![
        ("state", None, of::<StateDocument>()),
        ("error", None, of::<ErrorDocument>()),
        ("plan", Some("plan"), of::<Plan>()),
        ("report", Some("report"), of::<Report>()),
        ("inventory", Some("inventory"), of::<Inventory>()),
        ("introspection", Some("introspection"), of::<IntrospectionDocument>()),
        ("plugins", Some("plugins"), of::<Listing>()),
        ("selection", Some("selection"), of::<Selected>()),
        ("host", Some("host"), of::<HostAnswer>()),
        ("cached", Some("cached"), of::<CachedDocument<'_>>()),
        ("timings", Some("timings"), of::<Timings>()),
        ("watch", None, of::<Record>()),
        ("checkpoint", Some("checkpoint"), of::<Checkpoint<'static>>()),
        ("root", Some("root"), of::<RootReport>()),
        ("doctor", Some("doctor"), of::<Doctor>()),
        ("health", Some("health"), of::<Health>()),
        ("rotation", Some("rotation"), of::<Rotation>()),
        ("snapshots", Some("snapshots"), of::<Snapshots>()),
        ("snapshot", Some("snapshot"), of::<SnapshotReport>()),
        ("golden", Some("golden"), of::<GoldenReport>()),
        ("golden-images", Some("golden_images"), of::<GoldenList>()),
        ("keys", Some("keys"), of::<KeysReport>()),
        ("keyring", Some("keyring"), of::<KeyringReport>()),
        ("revoked", Some("revoked"), of::<RevokedReport>()),
        ("published", Some("published"), of::<PublishReport>()),
        ("installed", Some("installed"), of::<InstallReport>()),
        ("installation", Some("installation"), of::<InstallationReport>()),
        ("installed-plugin", Some("installed_plugin"), of::<PluginReport>()),
        ("rolled-back", Some("rolled_back"), of::<RollbackReport>()),
        ("verified", Some("verified"), of::<VerifyReport>()),
        ("packages", Some("packages"), of::<Ledger>()),
        ("lock", Some("lock"), of::<Lockfile>()),
        ("registry", Some("registry"), of::<Index>()),
        ("registry-source", Some("registry_source"), of::<Source>()),
        ("registry-built", Some("registry_built"), of::<BuildReport>()),
        ("registry-mirrored", Some("registry_mirrored"), of::<MirrorReport>()),
        ("registries", Some("registries"), of::<RegistriesReport>()),
        ("search", Some("search"), of::<SearchReport>()),
        ("semantic-mapping", None, of::<MappingFile>()),
        ("plugin", None, of::<Manifest>()),
        ("recording", Some("recording"), of::<Recording>()),
        ("test-report", Some("test_report"), of::<TestReport>()),
        ("scenario", None, of::<ScenarioFile>()),
        ("lint", Some("lint"), of::<LintReport>()),
        ("draft", Some("draft"), of::<DraftDocument>()),
        ("acknowledged", Some("acknowledged"), of::<Acknowledged>()),
        ("waiting", Some("waiting"), of::<Waiting>()),
        ("recovery", Some("recovery"), of::<Recovery>()),
        ("audit-hits", Some("audit_hits"), of::<Hits>()),
        ("audit-anomalies", Some("audit_anomalies"), of::<Anomalies>()),
        ("audit-block", Some("audit_block"), of::<BlockDocument>()),
        ("audit-head", Some("audit_head"), of::<HeadDocument>()),
        ("audit-copy", Some("audit_copy"), of::<TrailCopy>()),
        ("audit-proof", Some("audit_proof"), of::<Proof>()),
        ("audit-verdict", Some("audit_verdict"), of::<Verdict>()),
        ("embedding", None, of::<Embedding<'_>>()),
        ("embed-timings", Some("embed_timings"), of::<EmbedTimings>()),
        ("models", Some("models"), of::<Models>()),
        ("runtime", Some("runtime"), of::<InstalledRuntime>()),
        ("model", None, of::<op_dbus::embed::model::Manifest>()),
        ("model-verification", Some("model_verification"), of::<ModelVerification>()),
        ("engines", Some("engines"), of::<Engines>()),
        ("embed-bench", Some("embed_bench"), of::<Bench>()),
        ("embed-layers", Some("embed_layers"), of::<Layers>()),
        ("embedding-cache", Some("embedding_cache"), of::<Stats>()),
        ("embedding-verification", Some("embedding_verification"), of::<Document<Verified>>()),
        ("embedding-collection", Some("embedding_collection"), of::<Document<Collected>>()),
        ("embedding-warming", Some("embedding_warming"), of::<Document<Warmed>>()),
        ("listed-vector", None, of::<ListedVector>()),
        ("topology", Some("topology"), of::<Document<Placement>>()),
        ("documents", Some("documents"), of::<Document<Added>>()),
        ("document-match", None, of::<Match>()),
        ("search-timings", Some("search_timings"), of::<Document<SearchTimings>>()),
    ]
}

/// The schema as it is shipped: kind and version pinned, and what may be left out is never null.
fn schema(name: &str) -> Value {
    let (_, kind, mut schema) = documents().into_iter().find(|(n, ..)| *n == name).unwrap();
    if let Some(kind) = kind {
        schema["properties"]["kind"]["const"] = json!(kind);
        schema["properties"]["version"] = json!({"description": "Always 1.", "const": 1});
    }
    schema["title"] = json!(format!("op-dbus {name} document"));
    never_null(&mut schema);
    schema
}

fn never_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let required: BTreeSet<String> =
                map.get("required").and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default();
            let optional = map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
            for (_, property) in optional.filter(|(name, _)| !required.contains(*name)) {
                without_null(property);
            }
            map.values_mut().for_each(never_null);
        }
        Value::Array(items) => items.iter_mut().for_each(never_null),
        _ => {}
    }
}

fn without_null(property: &mut Value) {
    let Some(map) = property.as_object_mut() else { return };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if map.get("default") == Some(&Value::Null) {
        map.remove("default");
    }
    if let Some(Value::Array(mut forms)) = map.remove("anyOf") {
        forms.retain(|form| form["type"] != "null");
        match &mut forms[..] {
            [Value::Object(only)] => map.append(only),
            _ => drop(map.insert("anyOf".into(), json!(forms))),
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The folders or files in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn validator(name: &str) -> Validator {
    jsonschema::validator_for(&schema(name)).unwrap()
}

#[track_caller]
fn accepts(validator: &Validator, document: &Value) {
    let problems: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{}\n{document:#}", problems.join("\n"));
}

#[test]
fn shipped_schemas_fit_the_types() {
    let folder = repository().join("docs/schemas");
    let mut expected = BTreeSet::new();
    for (name, ..) in documents() {
        let file = folder.join(format!("{name}.schema.json"));
        let text = serde_json::to_string_pretty(&schema(name)).unwrap() + "\n";
        if std::env::var_os("OP_DBUS_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let shipped = fs::read_to_string(&file).unwrap_or_default();
        assert!(shipped == text, "{} is not what the types say: OP_DBUS_BLESS=1 writes it", file.display());
        jsonschema::meta::validate(&schema(name)).unwrap();
        expected.insert(file);
    }
    assert_eq!(entries(&folder).into_iter().collect::<BTreeSet<_>>(), expected, "a schema without a type");
}

/// Editors read these beside the TOML files: what is shipped must look right in them, and a slip must not.
#[test]
fn toml_files() {
    let toml = |file: &Path| -> Value { toml::from_str(&fs::read_to_string(file).unwrap()).unwrap() };
    let (mapping, manifest, scenario) = (validator("semantic-mapping"), validator("plugin"), validator("scenario"));
    for folder in entries(&repository().join("mappings")).iter().filter(|path| path.is_dir()) {
        let file = folder.join("semantic-mapping.toml");
        let is_built_in = fs::read_to_string(folder.join("plugin.toml")).unwrap().contains("source = \"built-in\"");
        assert_eq!(file.exists(), !is_built_in, "{}", folder.display());
        if !is_built_in {
            accepts(&mapping, &toml(&file));
        }
        accepts(&manifest, &toml(&folder.join("plugin.toml")));
        for file in entries(&folder.join("scenarios")) {
            accepts(&scenario, &toml(&file));
        }
    }
    let slips = [
        json!({"state_mapping": {"a": {"raed": {"property": "A"}}}}),
        json!({"methods": {"a": {"safe": "yes"}}}),
        json!({"state_mapping": {"a": {"members": {"b": {"write": {"methods": "set"}}}}}}),
    ];
    assert!(!scenario.is_valid(&json!({"given": "r.json", "then": {"cals": []}})));
    for slip in slips {
        assert!(!mapping.is_valid(&slip), "{slip}");
    }
}

#[test]
fn state_documents() {
    let validator = validator("state");
    let mut seen = [0, 0];
    for case in entries(&repository().join("lib/tests/documents")) {
        let document = read(&case.join("case.json"));
        if document.get("plugin").is_some() {
            continue;
        }
        let is_good = StateDocument::from_json(&document["document"]).is_ok();
        assert_eq!(validator.is_valid(&document["document"]), is_good, "{}", case.display());
        seen[usize::from(is_good)] += 1;
        if is_good {
            accepts(&validator, &read(&case.join("state.json")));
        }
    }
    assert!(seen[0] > 10 && seen[1] > 5, "{seen:?}");
    for mapping in entries(&repository().join("mappings")) {
        for example in entries(&mapping.join("examples")) {
            if example.extension().is_some_and(|e| e == "json") {
                accepts(&validator, &read(&example));
            }
        }
    }
}

#[test]
fn plans() {
    let validator = validator("plan");
    let golden = read(&repository().join("lib/tests/plans/golden.json"));
    accepts(&validator, &golden);
    for (place, value) in [
        ("/kind", json!("report")),
        ("/version", json!(2)),
        ("/owner", Value::Null),
        ("/actions/0/args", Value::Null),
        ("/actions/0/undo/class", json!("maybe")),
        ("/actions/0/changes/0/change", json!("forget")),
        ("/base", json!([])),
    ] {
        let mut other = golden.clone();
        *other.pointer_mut(place).unwrap() = value;
        assert!(!validator.is_valid(&other), "{place}");
    }
    for place in ["", "/actions/0", "/actions/1/preview"] {
        let mut other = golden.clone();
        other.pointer_mut(place).unwrap()["surely_unknown"] = json!(1);
        assert!(!validator.is_valid(&other), "an unknown field in {place:?}");
    }
}

#[test]
fn errors() {
    const KINDS: [Kind; 13] = [
        Kind::Failed,
        Kind::Partial,
        Kind::Residue,
        Kind::Refused,
        Kind::Stale,
        Kind::InterfaceChanged,
        Kind::Untrusted,
        Kind::Usage,
        Kind::BadInput,
        Kind::Unavailable,
        Kind::Timeout,
        Kind::Locked,
        Kind::Denied,
    ];
    let validator = validator("error");
    let plain: Vec<Error> = KINDS.iter().map(|kind| Error::new(*kind, "it failed")).collect();
    for error in &plain {
        accepts(&validator, &error.to_json());
    }
    let full = Error::failed("it failed").on("x").hint("try again").dbus("org.freedesktop.DBus.Error.Failed");
    accepts(&validator, &Error::all([vec![full], plain].concat()).unwrap().to_json());
    // Every kind in the schema is one of them.
    let text = schema("error")["$defs"]["Kind"].to_string();
    let known = KINDS.iter().filter(|kind| text.contains(&format!("\"{}\"", kind.as_str()))).count();
    assert_eq!(text.matches("\"const\":").count(), known);
    for bad in [json!({}), json!({"error": "text"}), json!({"error": {"kind": "odd", "message": "m"}})] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}

#[test]
fn what_programs_print() {
    let plan = Plan::from_json(&read(&repository().join("lib/tests/plans/golden.json"))).unwrap();
    let mut report = Report::new("run-1", &plan.actions);
    report.outcome = RunOutcome::Applied;
    report.actions[0].error = Some("no".into());
    accepts(&validator("report"), &json!(report));
    accepts(&validator("report"), &json!(Report::new("", &[])));

    let service = Service { name: "a.b".into(), running: true, pid: Some(1), ..Service::default() };
    let entry = InventoryService { service, plugins: vec!["b".into()], mapping: Some("shipped".into()) };
    let inventory = Inventory { kind: "inventory".into(), version: 1, services: vec![entry] };
    accepts(&validator("inventory"), &json!(inventory));

    let plugin = ListedPlugin {
        name: "b".into(),
        plugin_version: "1.0.0".into(),
        origin: "shipped".into(),
        service: None,
        mapping: None,
        can_apply: false,
        trust: Some("core".into()),
        versions: vec!["1.0.0".into()],
        problems: vec!["odd".into()],
    };
    let listing = Listing { kind: "plugins".into(), version: 1, plugins: vec![plugin] };
    accepts(&validator("plugins"), &json!(listing));

    let introspection = validator("introspection");
    for case in entries(&repository().join("lib/tests/introspection")) {
        let node: Node = serde_json::from_value(read(&case.join("expected.json"))).unwrap();
        let tree = Tree {
            objects: [("/".to_owned(), node.interfaces.keys().cloned().collect())].into(),
            interfaces: node.interfaces,
            values: serde_json::from_value(serde_json::json!({"/": {"a.b": {}}})).unwrap(),
            problems: vec!["odd".into()],
        };
        accepts(&introspection, &json!(IntrospectionDocument::new("a.b", tree)));
    }
}

#[test]
fn recordings() {
    let validator = validator("recording");
    let mut count = 0;
    for mapping in entries(&repository().join("mappings")) {
        for recording in entries(&mapping.join("recordings")) {
            accepts(&validator, &read(&recording));
            count += 1;
        }
    }
    assert!(count >= 4, "{count}");
    // The schema knows shapes; what a value's type signature means is for the reader.
    for (case, is_shape) in [
        ("unknown_key", true),
        ("unknown_key_in_call", true),
        ("no_calls", true),
        ("other_version", true),
        ("value_misfits", false),
    ] {
        let file = repository().join("lib/tests/recordings_hostile").join(case).join("recording.json");
        assert_eq!(validator.is_valid(&read(&file)), !is_shape, "{case}");
    }
}

#[test]
fn test_reports() {
    let difference =
        Difference { place: "then.calls[0]".into(), expected: Value::Null, actual: json!({"member": "M"}) };
    let scenario = |result, reason: Option<&str>, differences| ScenarioReport {
        name: "a".into(),
        description: String::new(),
        result,
        took_ms: 1,
        reason: reason.map(str::to_owned),
        differences,
    };
    let scenarios = vec![
        scenario(ScenarioResult::Passed, None, vec![]),
        scenario(ScenarioResult::Failed, None, vec![difference]),
        scenario(ScenarioResult::Skipped, Some("no recording"), vec![]),
    ];
    let report =
        TestReport { kind: "test_report".into(), version: 1, plugin: "a".into(), mode: Mode::Replay, scenarios };
    accepts(&validator("test-report"), &json!(report));
}

#[test]
fn drafts_and_findings() {
    let folder = repository().join("mappings/timedate");
    let service = "org.freedesktop.timedate1";
    let surface = Surface::of_folder(service, &folder).unwrap().unwrap();
    let manifest = fs::read_to_string(folder.join("plugin.toml")).unwrap();
    let draft = DraftDocument::new(&Draft::of(&surface), &manifest, &surface);
    accepts(&validator("draft"), &json!(draft));
    accepts(&validator("lint"), &json!(draft.lint));
    assert!(!draft.lint.findings.is_empty() && draft.keys.len() > 3);
}

#[test]
fn what_the_doctor_of_all_prints() {
    let finding = |state, mend: Option<&str>| Finding {
        part: "units".into(),
        state,
        detail: "op-dbus.path is disabled".into(),
        mend: mend.map(str::to_owned),
    };
    let findings = vec![finding(State::Good, None), finding(State::Advice, Some("init")), finding(State::Broken, None)];
    accepts(&validator("health"), &json!(Health { kind: "health".into(), version: 1, findings }));
}

/// What `op-snapshot` prints about a root in memory: each command once, as it is.
#[test]
fn what_op_snapshot_prints() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let mut taken = String::new();
    for (args, name) in [
        ("doctor", "doctor"),
        ("init", "root"),
        ("rotate", "rotation"),
        ("rotate", "rotation"),
        ("list", "snapshots"),
        ("restore", "snapshot"),
        ("doctor", "doctor"),
        ("delete", "snapshot"),
    ] {
        let mut command = Command::new(op_dbus_tests::program("op-snapshot"));
        command.arg(args).env("OP_DBUS_ROOT", &root);
        if name == "snapshot" {
            command.args([&taken, "--yes"]);
        }
        let output = command.output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args}: {output:?}"));
        accepts(&validator(name), &document);
        if let Some(made) = document["made"].as_str() {
            taken = made.to_owned();
        }
    }
}

/// What is printed about packages, from the key to the rollback: each command once, as it is.
#[test]
fn what_is_printed_about_packages() {
    let desk = op_dbus_tests::publisher::Publisher::new();
    let folder = desk.path().join("lamp");
    fs::create_dir(&folder).unwrap();
    let write = |version: &str| {
        let manifest = op_dbus_tests::publisher::MANIFEST.replace("1.0.0", version);
        fs::write(folder.join("plugin.toml"), manifest).unwrap();
    };
    let printed = |program: &str, line: &str, name: &str| {
        let ended = desk.run(program, &line.split(' ').collect::<Vec<_>>());
        accepts(&validator(name), &ended.json());
    };
    let file = |name: &str, schema: &str| accepts(&validator(schema), &read(&desk.path().join(name)));
    printed("op-snapshot", "keygen --out another.key", "keys");
    for version in ["1.0.0", "1.1.0"] {
        write(version);
        printed("op-snapshot", "publish ./lamp --key publisher.key --out packages", "published");
        printed("op-install", "registry build packages --key publisher.key", "registry-built");
    }
    file("packages/index.json", "registry");
    printed("op-install", "packages/lamp-v1.0.0.btrfs.zst", "installed");
    printed("op-install", "registry add packages", "registries");
    file("root/@state/registries/packages/source.json", "registry-source");
    printed("op-install", "registry list", "registries");
    printed("op-install", "registry refresh", "registries");
    printed("op-install", "registry search lamp", "search");
    printed("op-install", "registry mirror packages copy", "registry-mirrored");
    printed("op-install", "upgrade --yes", "installation");
    printed("op-install", "lamp --lock lamp.lock", "installation");
    file("lamp.lock", "lock");
    file("root/@state/packages/lamp.json", "packages");
    printed("op-install", "show lamp", "installed-plugin");
    printed("op-install", "verify", "verified");
    printed("op-install", "rollback lamp", "rolled-back");
    printed("op-install", "keys", "keyring");
    printed("op-install", "keys add another.key.pub --expires 2099-12-31", "keyring");
    printed("op-snapshot", &format!("revoke {} --key publisher.key", "A".repeat(16)), "revoked");
    printed("op-install", "keys revoked revoked.list", "keyring");
}

/// What op-embed really prints.
#[test]
fn embeddings() {
    let root = tempfile::tempdir().unwrap();
    let say = |args: &[&str], stdin: &str| -> (String, String) {
        let mut command = Command::new(op_dbus_tests::program("op-embed"));
        command.args(args).env("OP_DBUS_ROOT", root.path()).env("ORT_DYLIB_PATH", "/nonexistent");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let lines = |name: &str, text: &str| {
        let validator = validator(name);
        assert!(!text.is_empty(), "no {name}");
        text.lines().for_each(|line| accepts(&validator, &serde_json::from_str(line).unwrap()));
    };
    let document = |name: &str, text: &str| accepts(&validator(name), &serde_json::from_str(text).unwrap());
    let records = "{\"id\":\"a\",\"text\":\"x\",\"host\":\"web1\"}\n{\"id\":\"b\",\"text\":\"y\"}\nno record\n";
    let (answers, timings) = say(&["--timings", "--json"], records);
    lines("embedding", &answers);
    document("embed-timings", timings.lines().find(|line| line.contains("embed_timings")).unwrap());
    document("documents", &say(&["add", "--json"], &records[..records.find("no record").unwrap()]).0);
    let (found, timings) = say(&["search", "x", "--timings", "--json"], "");
    lines("document-match", &found);
    document("search-timings", &timings);
    lines("listed-vector", &say(&["export", "--list", "--json"], "").0);
    for (name, args) in [
        ("embedding-cache", &["stats"][..]),
        ("embedding-verification", &["verify"]),
        ("embedding-warming", &["warm", "--budget", "1M"]),
        ("embedding-collection", &["gc"]),
        ("topology", &["topology", "--measure"]),
        ("models", &["model", "list"]),
        ("model-verification", &["model", "verify"]),
        ("engines", &["engines"]),
        ("embed-bench", &["bench", "--texts", "2"]),
        ("embed-layers", &["bench", "--layers"]),
    ] {
        document(name, &say(&[args, &["--json"]].concat(), "").0);
    }
    // And a slip is seen.
    let mut stats: Value = serde_json::from_str(&say(&["stats", "--json"], "").0).unwrap();
    stats["vectors"] = json!("many");
    assert!(!validator("embedding-cache").is_valid(&stats));
}

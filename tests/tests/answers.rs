//! `op-query` on services it cannot know: paths, answers that are kept, timings.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is the report; times show with --nocapture"
)]

mod fits;

use fits::assert_fits;
use op_dbus::apply::query::{Asked, Selection, query};
use op_dbus::base::Progress;
use op_dbus::bus::{Bus, Target};
use op_dbus::plugin::{Catalog, Want};
use op_dbus::store::StateRoot;
use op_dbus_tests::private_bus::PrivateBus;
use op_dbus_tests::synth::items::Items;
use op_dbus_tests::synth::spec::SetKind;
use op_dbus_tests::synth::{Control, Synth, for_seeds};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Services on one bus, their plugins in a folder, and a state root.
struct Case {
    synths: Vec<Synth>,
    controls: Vec<Control>,
    address: String,
    folder: TempDir,
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The errors on standard error, the first one first.
    fn errors(&self) -> Value {
        self.stderr
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|e| e["error"].clone())
            .next_back()
            .unwrap_or_default()
    }
}

impl Case {
    fn start(bus: &PrivateBus, seeds: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let synths: Vec<Synth> = seeds.iter().map(|seed| Synth::start(bus, *seed, &[])).collect();
        for synth in &synths {
            synth.spec.write_plugin(&folder.path().join("mappings")).unwrap();
        }
        let controls = synths.iter().map(Synth::control).collect();
        Self { synths, controls, address: bus.address().to_owned(), folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn kept(&self, number: usize) -> PathBuf {
        self.root().join("@cache/queries").join(self.plugin(number)).join("state.json")
    }

    fn plugin(&self, number: usize) -> &str {
        &self.synths[number].spec.plugin
    }

    fn mapping(&self, number: usize) -> PathBuf {
        self.folder.path().join("mappings").join(self.plugin(number)).join("semantic-mapping.toml")
    }

    fn run(&self, program: &str, args: &[&str], stdin: &str) -> Ended {
        let input = self.folder.path().join("stdin");
        std::fs::write(&input, stdin).unwrap();
        let output = Command::new(op_dbus_tests::program(program))
            .args(["--address", &self.address, "--root"])
            .arg(self.root())
            .args(args)
            .env("OP_DBUS_MAPPINGS", self.folder.path().join("mappings"))
            .stdin(if stdin.is_empty() { Stdio::null() } else { std::fs::File::open(input).unwrap().into() })
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn query(&self, args: &[&str]) -> Ended {
        self.run("op-query", args, "")
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> Value {
        let ended = self.query(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{args:?}: {ended:?}");
        let document = ended.json();
        assert_fits(document["kind"].as_str().unwrap_or("state"), &document);
        document
    }
}

#[test]
fn only_what_a_path_can_name_is_read() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, &[seed, seed ^ 1]);
        let spec = case.synths[0].spec.clone();
        let truth = case.controls[0].dump()["keys"].clone();
        let property = spec.properties.iter().find(|property| property.key.is_some()).unwrap();
        let key = property.key.clone().unwrap();
        let path = format!("{}.{key}", spec.plugin);
        case.controls.iter_mut().for_each(Control::clear_log);
        let document = case.good(&["--select", &path]);
        assert_eq!(document, json!({"kind": "selection", "version": 1, "values": {&path: truth[&key]}}));
        assert_eq!(case.controls[1].log(), Vec::<Value>::new(), "the other service has nothing to do with it");
        for call in case.controls[0].log() {
            // Whether it is the interface the mapping was written for is always asked.
            let is_it = call["member"] == "GetAll" && call["args"][0] == *property.interface;
            assert!(is_it || call["member"] == "Introspect", "{call}");
        }
        // By pointer, by form, and with what leads nowhere beside it.
        assert_eq!(case.good(&["--select", &format!("/plugins/{}/{key}", spec.plugin)]), document);
        let set = spec.set(SetKind::AllAtOnce).key.clone();
        let both = case.good(&["--select", &format!("*.{key}"), "--select", &format!("{}.{set}", spec.plugin)]);
        assert_eq!(both["values"][&path], truth[&key]);
        assert_eq!(both["values"][format!("{}.{set}", spec.plugin)], truth[&set]);
        let ended = case.query(&["--select", &path, "--select", &format!("{}x.{key}", spec.plugin)]);
        assert_eq!((ended.code, ended.json()), (3, document));
        assert!(ended.errors()["hint"].as_str().unwrap().contains(&spec.plugin), "{ended:?}");
        let ended = case.query(&["--select", &format!("{}.{}x", spec.plugin, key)]);
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""));
        assert!(
            ended.errors()["hint"].as_str().unwrap().starts_with(&format!("the nearest there are: {path}")),
            "{ended:?}"
        );
        let all = case.good(&["--select", &format!("{}.*", spec.plugin)]);
        let named: serde_json::Map<String, Value> = truth
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("{}.{key}", spec.plugin), value.clone()))
            .collect();
        assert_eq!(all["values"], Value::Object(named));
        assert!(case.controls[0].changing_calls().is_empty());
    });
}

#[test]
fn one_item_of_a_collection_is_named_by_its_path() {
    let bus = PrivateBus::start();
    for_seeds(6, |seed| {
        let case = Case::start(&bus, &[]);
        let items = Items::start(&bus, seed);
        items.write_plugin(&case.folder.path().join("mappings")).unwrap();
        let truth = items.truth();
        let (first, item) = truth.as_object().unwrap().iter().next().unwrap();
        let [_, label, _] = &items.members;
        let path = format!("{}.{}.{first}.{label}", items.plugin, items.key);
        // Whole, so that it is known which others there are.
        case.good(&["--plugin", &items.plugin]);
        assert_eq!(case.good(&["--select", &path])["values"], json!({&path: item[label]}));
        let all = case.good(&["--select", &format!("*.*.*.{label}")]);
        assert_eq!(all["values"].as_object().unwrap().len(), truth.as_object().unwrap().len());
        let ended = case.query(&["--select", &format!("{}.{}.{first}x", items.plugin, items.key)]);
        assert_eq!(ended.code, 3);
        let near = format!("{}.{}.{first}", items.plugin, items.key);
        assert!(ended.errors()["hint"].as_str().unwrap().contains(&near), "{ended:?}");
        // What is kept of one item replaces it among the others.
        items.store.lock().unwrap().things.get_mut(first).unwrap().label = "another".into();
        case.good(&["--select", &path]);
        let kept = case.good(&["--cached", "--plugin", &items.plugin]);
        assert_eq!(kept["plugins"][&items.plugin][&items.key], items.truth());
    });
}

#[test]
fn raw_values_and_tables() {
    let bus = PrivateBus::start();
    let case = Case::start(&bus, &[42]);
    let set = case.synths[0].spec.set(SetKind::AllAtOnce).clone();
    let path = format!("{}.{}", case.plugin(0), set.key);
    let raw = case.query(&["--raw", "--select", &format!("{path}.*")]);
    let mut items = set.initial.clone();
    items.sort();
    assert_eq!((raw.code, raw.stdout), (0, items.iter().map(|item| format!("{item}\n")).collect()));
    let raw = case.query(&["--raw", "--select", &path]);
    assert_eq!(raw.stdout, format!("{}\n", json!(items)));
    let table = case.query(&["--no-json", "--select", &path]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("PATH") && lines[1].starts_with(&path), "{table}");
}

#[test]
fn what_was_read_is_kept_with_its_age_and_read_without_a_bus() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, &[seed]);
        let plugin = case.plugin(0).to_owned();
        let missing = case.query(&["--cached", "--plugin", &plugin]);
        assert_eq!((missing.code, missing.stdout.as_str()), (3, ""));
        assert!(missing.errors()["hint"].as_str().unwrap().contains(&format!("op-query --plugin {plugin}")));
        let live = case.good(&["--plugin", &plugin]);
        case.controls[0].clear_log();
        let kept = case.good(&["--cached"]);
        assert_eq!((&kept["kind"], &kept["plugins"]), (&json!("cached"), &live["plugins"]));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&kept["ages"][&plugin]), keys(&live["plugins"][&plugin]));
        assert!(case.controls[0].log().is_empty());
        // One key is read again: it alone is younger.
        std::thread::sleep(Duration::from_millis(1100));
        let key = keys(&live["plugins"][&plugin])[0].clone();
        let path = format!("{plugin}.{key}");
        case.good(&["--select", &path]);
        let again = case.good(&["--cached", "--plugin", &plugin]);
        assert_eq!(again["plugins"], kept["plugins"]);
        // Its value may be written together with those of a few others: then they are read with it.
        let young = |ages: &Value| -> Vec<String> {
            let ages = ages.as_object().unwrap().iter().filter(|(_, age)| age["age_s"] == 0);
            ages.map(|(key, _)| key.clone()).collect()
        };
        let read_again = young(&again["ages"][&plugin]);
        assert!(read_again.contains(&key) && read_again.len() < keys(&live["plugins"][&plugin]).len(), "{again}");
        let asked = case.query(&["--cached", "--plugin", &plugin, "--max-age", "1s"]);
        assert_eq!((asked.code, keys(&asked.json()["plugins"][&plugin])), (3, read_again));
        let selected = case.good(&["--cached", "--select", &path]);
        assert_eq!(selected["values"][&path], live["plugins"][&plugin][&key]);
        assert_eq!(selected["ages"][&path]["age_s"], 0);
        // Nobody plans from it.
        let document = case.query(&["--cached"]).stdout;
        for args in [&["--dry-run"][..], &["--dry-run", "--plugin", &plugin]] {
            let ended = case.run("op-apply", args, &document);
            assert_eq!((ended.code, ended.stdout.as_str()), (65, ""), "{ended:?}");
            assert!(ended.errors()["hint"].as_str().unwrap().contains("without --cached"), "{ended:?}");
        }
        assert_eq!(case.query(&["--cached", "--bare", "--plugin", &plugin]).code, 64);
        // Another mapping or another bus means something else.
        let mapping = std::fs::read_to_string(case.mapping(0)).unwrap();
        std::fs::write(case.mapping(0), format!("{mapping}\n# another\n")).unwrap();
        assert_eq!(case.query(&["--cached", "--plugin", &plugin]).code, 3);
        std::fs::write(case.mapping(0), mapping).unwrap();
        assert_eq!(case.query(&["--cached", "--plugin", &plugin]).code, 0);
        let address = std::mem::replace(&mut case.address, "unix:path=/nonexistent".into());
        assert_eq!(case.query(&["--cached", "--plugin", &plugin]).code, 3);
        case.address = address;
        assert_eq!(case.query(&["--cached", "--host", "somewhere"]).code, 64);
    });
}

#[test]
fn kept_answers_outlive_their_bus() {
    let bus = PrivateBus::start();
    let case = Case::start(&bus, &[77]);
    let live = case.good(&["--plugin", case.plugin(0)]);
    drop(bus);
    assert_eq!(case.query(&["--plugin", case.plugin(0)]).code, 69);
    assert_eq!(case.good(&["--cached", "--plugin", case.plugin(0)])["plugins"], live["plugins"]);
}

#[test]
fn a_cache_that_cannot_be_written_or_read_fails_nothing() {
    let bus = PrivateBus::start();
    let case = Case::start(&bus, &[78]);
    let plugin = case.plugin(0);
    std::fs::create_dir_all(case.root()).unwrap();
    std::fs::write(case.root().join("@cache"), "in the way").unwrap();
    case.good(&["--plugin", plugin]);
    assert_eq!(case.query(&["--cached", "--plugin", plugin]).code, 3);
    std::fs::remove_file(case.root().join("@cache")).unwrap();
    case.good(&["--plugin", plugin]);
    let text = std::fs::read_to_string(case.kept(0)).unwrap();
    for bad in [&text[..text.len() / 2], "", "[]", "{\"kind\":\"kept_answer\",\"version\":2}", "\u{0}"] {
        std::fs::write(case.kept(0), bad).unwrap();
        let ended = case.query(&["--cached", "--plugin", plugin]);
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{bad:?}: {ended:?}");
    }
    case.good(&["--plugin", plugin]);
    case.good(&["--cached", "--plugin", plugin]);
}

#[test]
fn secrets_are_kept_nowhere() {
    let bus = PrivateBus::start();
    for_seeds(3, |seed| {
        let mut case = Case::start(&bus, &[seed]);
        let spec = case.synths[0].spec.clone();
        // A property with a value that would be recognised.
        let property = spec.properties.iter().find(|p| p.key.is_some() && p.initial.sig() == "s");
        let Some(property) = property else { return };
        let key = property.key.clone().unwrap();
        case.controls[0].poke(&key, op_dbus_tests::synth::Val::s("very-secret-indeed"));
        let mapping = std::fs::read_to_string(case.mapping(0)).unwrap();
        let head = format!("[state_mapping.{key}]\n");
        // It was no secret once.
        assert!(case.good(&["--plugin", &spec.plugin]).to_string().contains("very-secret-indeed"));
        std::fs::write(case.mapping(0), mapping.replace(&head, &format!("{head}secret = true\n"))).unwrap();
        for args in [
            &["--plugin", &spec.plugin][..],
            &["--all", "--plugin", &spec.plugin],
            &["--select", "**"],
            &["--select", "**", "--all"],
        ] {
            let text = case.good(args).to_string();
            assert!(!text.contains("very-secret-indeed"), "{args:?}");
            let kept = std::fs::read_to_string(case.kept(0)).unwrap();
            assert!(!kept.contains("very-secret-indeed"), "{args:?}");
            let text = case.query(&[&["--cached"], args].concat()).stdout;
            assert!(!text.contains("very-secret-indeed"), "{args:?}");
        }
        // Nor is it shown to whoever asks for the service by its name.
        for args in [&["--plugin", &spec.service][..], &["--all", "--plugin", &spec.service]] {
            let text = case.query(args).stdout;
            assert!(text.contains("observed") && !text.contains("very-secret-indeed"), "{args:?}: {text}");
        }
        let ended = case.query(&["--select", &format!("{}.{key}", spec.plugin)]);
        assert_eq!(ended.code, 3);
        assert!(ended.errors()["message"].as_str().unwrap().contains("secret"));
    });
}

#[test]
fn what_apply_reads_to_verify_is_kept() {
    let bus = PrivateBus::start();
    for_seeds(2, |seed| {
        let mut case = Case::start(&bus, &[seed]);
        let spec = case.synths[0].spec.clone();
        case.good(&["--plugin", &spec.plugin]);
        let set = spec.set(SetKind::AllAtOnce).clone();
        let joining = set.universe.iter().find(|item| !set.initial.contains(&item.name)).unwrap().name.clone();
        let want = json!({"plugins": {&spec.plugin: {&set.key: [joining]}}});
        let ended = case.run("op-apply", &["--yes"], &want.to_string());
        assert_eq!(ended.code, 0, "{ended:?}");
        let kept = case.good(&["--cached", "--plugin", &spec.plugin]);
        let now = case.controls[0].dump()["keys"][&set.key].clone();
        assert!(now.as_array().unwrap().contains(&json!(joining)));
        assert_eq!(kept["plugins"][&spec.plugin][&set.key], now);
    });
}

#[test]
fn a_slow_service_holds_up_nobody_and_is_named() {
    let bus = PrivateBus::start();
    let mut case = Case::start(&bus, &(100..112).collect::<Vec<_>>());
    case.good(&[]);
    for number in [3, 7, 8, 9] {
        case.controls[number].set_faults(&["slow=1000@GetAll"]);
    }
    case.controls[5].set_faults(&["slow=3000@GetAll"]);
    let ended = case.query(&["--timings"]);
    assert_eq!((ended.code, ended.json()["plugins"].as_object().unwrap().len()), (0, 12), "{ended:?}");
    let timings: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_fits("timings", &timings);
    let (whole, slowest) = (timings["took_ms"].as_f64().unwrap(), timings["slowest"].as_str().unwrap());
    let slowest_took = timings["plugins"][slowest]["took_ms"].as_f64().unwrap();
    println!("the slowest of twelve took {slowest_took} ms, all of them {whole} ms");
    assert_eq!(slowest, case.plugin(5));
    // One after the other they would take seven seconds. The target is measured where the programs are optimised.
    assert!(whole < slowest_took + 1500.0, "{timings}");
}

#[test]
fn every_workers_progress_is_heard() {
    struct Heard(Vec<String>);
    impl Progress for Heard {
        fn say(&mut self, text: &str, _percent: Option<u8>) {
            self.0.push(text.to_owned());
        }
    }
    let bus = PrivateBus::start();
    let mut case = Case::start(&bus, &[21, 22, 23, 24]);
    // Nobody can do it all alone.
    case.controls.iter_mut().for_each(|control| control.set_faults(&["slow=700@GetAll"]));
    let root = StateRoot::find(Some(&case.root())).unwrap();
    let catalog = Catalog::open(&root, &case.folder.path().join("mappings")).unwrap();
    let connect = || Bus::connect(&Target::Address(case.address.clone()), None);
    let own = connect().unwrap();
    let mut heard = Heard(Vec::new());
    let asked = Asked { bus: &own, connect: Some(&connect), catalog: &catalog, cache: None };
    let found = query(&asked, &Selection::Everything, &Want::State, &mut heard).unwrap();
    assert!(found.timings.took_ms < 2400.0, "{:?}", found.timings);
    for number in 0..4 {
        let plugin = case.plugin(number);
        assert!(heard.0.contains(&format!("reading {plugin}")), "{plugin}: {:?}", heard.0);
    }
}

use super::*;
use crate::bus::Target;
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Applies documents.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
struct Top {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
enum Command {
    Apply(Apply),
    Confirm(Confirm),
    Golden(Golden),
}

/// apply a document
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "apply")]
struct Apply {
    /// state or plan; - is standard input
    #[argh(positional)]
    file: Option<String>,
    /// only this plugin
    #[argh(option)]
    plugin: Vec<String>,
    /// show and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// ask nothing
    #[argh(switch, short = 'y')]
    yes: bool,
    /// return to a checkpoint
    #[argh(option)]
    rollback: Option<String>,
    /// how often to try
    #[argh(option, short = 'n')]
    tries: Option<i32>,
}

/// keep a change
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "confirm")]
struct Confirm {
    /// the run
    #[argh(positional)]
    id: String,
}

/// golden images
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "golden")]
struct Golden {
    #[argh(subcommand)]
    command: GoldenCommand,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
enum GoldenCommand {
    Create(GoldenCreate),
}

/// make one
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "create")]
struct GoldenCreate {
    /// its name
    #[argh(positional)]
    name: String,
}

/// Reads state.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
struct Query {
    /// a selection
    #[argh(positional)]
    words: Vec<String>,
    /// only this plugin
    #[argh(option)]
    plugin: Vec<String>,
}

const APPLY: Program = Program {
    name: "op-apply",
    version: "0.1.0",
    default_subcommand: Some("apply"),
    optional_values: &[("--rollback", "last")],
    many_hosts: false,
    examples: "op-apply want.json\nop-apply --rollback",
};
const STRICT: Program = Program { name: "op-strict", default_subcommand: None, ..APPLY };
const QUERY: Program = Program { name: "op-query", optional_values: &[], examples: "", ..STRICT };

fn prepared(program: &Program, line: &str) -> Prepared {
    let info = if program.name == "op-query" { Query::get_args_info() } else { Top::get_args_info() };
    prepare(program, &info, line.split_whitespace().map(OsString::from).collect())
}

fn parsed<T: FromArgs + ArgsInfo>(program: &Program, line: &str) -> Result<Parsed<T>, Exit> {
    parse(program, line.split_whitespace().map(OsString::from))
}

fn error(program: &Program, line: &str) -> Error {
    match parsed::<Top>(program, line) {
        Err(Exit::Failure { error, .. }) => error,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn what_argh_is_given() {
    for (line, expected) in [
        ("", "apply"),
        ("want.json", "apply -- want.json"),
        ("apply want.json", "apply -- want.json"),
        ("-", "apply -- -"),
        ("apply - --dry-run", "apply --dry-run -- -"),
        ("--dry-run want.json", "apply --dry-run -- want.json"),
        ("want.json --dry-run", "apply --dry-run -- want.json"),
        ("--plugin=hostname -", "apply --plugin hostname -- -"),
        ("--plugin=--yes", "apply --plugin --yes"),
        ("--plugin=a=b --plugin c", "apply --plugin a=b --plugin c"),
        ("--plugin=", "apply --plugin "),
        ("--plugin confirm", "apply --plugin confirm"),
        ("--rollback", "apply --rollback last"),
        ("--rollback -y", "apply --rollback last -y"),
        ("--rollback --json", "apply --rollback last"),
        ("--rollback --root /r", "apply --rollback last"),
        ("--rollback 7", "apply --rollback 7"),
        ("--rollback=7 -y", "apply --rollback 7 -y"),
        ("--rollback -- x", "apply --rollback last -- x"),
        ("-n -5", "apply -n -5"),
        ("confirm 7", "confirm -- 7"),
        ("--json confirm --quiet 7", "confirm -- 7"),
        ("--root /r confirm 7 --system", "confirm -- 7"),
        ("-- confirm", "apply -- confirm"),
        ("-- --dry-run", "apply -- --dry-run"),
        ("apply -- --json", "apply -- --json"),
        ("apply help", "apply -- help"),
        ("golden create help", "golden create -- help"),
        ("golden --root=/r create x", "golden create -- x"),
    ] {
        let prepared = prepared(&APPLY, line);
        assert_eq!(prepared.args.join(" "), expected, "{line}");
        assert_eq!(prepared.collected.errors, [], "{line}");
    }
}

#[test]
fn a_program_without_subcommands() {
    for (line, words, plugins) in [
        ("", vec![], vec![]),
        ("a --plugin p b", vec!["a", "b"], vec!["p"]),
        ("help --plugin=help", vec!["help"], vec!["help"]),
        ("- -- - --plugin", vec!["-", "-", "--plugin"], vec![]),
    ] {
        let got = parsed::<Query>(&QUERY, line).unwrap().args;
        assert_eq!(
            (got.words, got.plugin),
            (words.iter().map(|w| (*w).to_owned()).collect(), plugins.iter().map(|p| (*p).to_owned()).collect()),
            "{line}"
        );
    }
}

#[test]
fn common_options_anywhere() {
    let common = |line: &str| parsed::<Query>(&QUERY, line).unwrap().common;
    assert_eq!(common(""), Common::default());
    assert_eq!(common("--session x").bus, Target::Session);
    assert_eq!(common("x --session --session").bus, Target::Session);
    assert_eq!(common("--address=unix:path=/x,guid=1").bus, Target::Address("unix:path=/x,guid=1".into()));
    assert_eq!(common("x -H root@pve1").bus, Target::Host("root@pve1".into()));
    assert_eq!(
        common("--root /r --timeout 2m"),
        Common { root: Some(PathBuf::from("/r")), timeout: Some(Duration::from_secs(120)), ..Common::default() }
    );
    assert_eq!(common("--json a").json, Some(true));
    assert_eq!(common("a --no-json").json, Some(false));
    assert!(common("--plugin p --quiet").quiet);
    assert_eq!(common("-- --json --session"), Common { words_before_dashes: Some(0), ..Common::default() });
    assert_eq!(common("a -- b c").words_before_dashes, Some(1));
}

#[test]
fn mistakes_name_the_option_and_the_way_out() {
    for (program, line, message, hint) in [
        (&APPLY, "--dryrun x", "op-apply apply has no option --dryrun", "did you mean --dry-run?"),
        (&APPLY, "confirm --jsn 7", "op-apply confirm has no option --jsn", "did you mean --json?"),
        (&APPLY, "--zzzzzz", "op-apply apply has no option --zzzzzz", "op-apply apply --help lists"),
        (&APPLY, "-z", "op-apply apply has no option -z", "--help"),
        (&APPLY, "--dry-run=yes", "takes no value", ""),
        (&APPLY, "--json=yes", "takes no value", ""),
        (&APPLY, "--plugin", "needs a value", ""),
        (&APPLY, "--plugin --yes", "needs a value", "--plugin=--yes"),
        (&APPLY, "x --plugin -- y", "needs a value", ""),
        (&APPLY, "--root", "needs a value", ""),
        (&APPLY, "--root=", "needs a value", ""),
        (&APPLY, "--root --json", "needs a value", "--root=--json"),
        (&APPLY, "--timeout soon", "no duration", "30s"),
        (&APPLY, "--timeout 0", "no timeout", ""),
        (&APPLY, "--session --system", "two buses", ""),
        (&APPLY, "--address a --address b", "two buses", ""),
        (&APPLY, "--json --no-json", "contradict", ""),
        (&APPLY, "--host=-oProxyCommand=x", "no host", "[USER@]HOST"),
        (&APPLY, "--host root@-x", "no host", ""),
        (&APPLY, "a b", "unrecognized argument: b", "op-apply apply --help"),
        (&APPLY, "confirm", "required positional arguments not provided: id", "op-apply confirm --help"),
        (&APPLY, "--tries many", "could not read option '--tries' with value 'many'", ""),
        (&STRICT, "", "one of the following subcommands must be present", ""),
        (&STRICT, "aply", "op-strict has no subcommand \"aply\"", "did you mean \"apply\"?"),
        (&STRICT, "want.json --dry-run", "has no subcommand \"want.json\"", "apply, confirm, golden"),
        (&STRICT, "golden craete x", "op-strict golden has no subcommand", "\"create\""),
        (&STRICT, "--dry-run", "op-strict has no option --dry-run", ""),
    ] {
        let error = error(program, line);
        assert_eq!(error.kind.exit_code(), 64, "{line}");
        assert!(error.message.contains(message), "{line}: {error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{line}: {error}");
    }
}

#[test]
fn every_mistake_is_reported_in_the_form_asked_for() {
    match parsed::<Top>(&APPLY, "--what --timeout x --plugin --json") {
        Err(Exit::Failure { error, common }) => {
            assert_eq!(error.also.len(), 2);
            assert_eq!(common.json, Some(true));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_and_version_win() {
    for line in ["--version", "x --version", "--version --help --wrong", "confirm --version"] {
        assert_eq!(parsed::<Top>(&APPLY, line).unwrap_err(), Exit::Text("op-apply 0.1.0\n".into()), "{line}");
    }
    for (line, contains) in [
        ("--help", "Usage: op-apply <command>"),
        ("help", "Usage: op-apply <command>"),
        ("-h", "Usage: op-apply <command>"),
        ("--help confirm", "Usage: op-apply confirm [--] <id>"),
        ("help confirm", "Usage: op-apply confirm [--] <id>"),
        ("confirm --help", "Usage: op-apply confirm [--] <id>"),
        ("golden create x --help", "Usage: op-apply golden create [--] <name>"),
        ("--dry-run --help", "Usage: op-apply apply"),
        ("--wrong --help", "Usage: op-apply apply"),
    ] {
        match parsed::<Top>(&APPLY, line).unwrap_err() {
            Exit::Text(text) => {
                assert!(text.starts_with(contains), "{line}: {text}");
                assert!(!text.contains("--help, help") && !text.contains("\n\n\n"), "{text}");
                assert!(text.contains("  -H, --host [USER@]HOST    talk"), "{text}");
                assert!(text.ends_with("Examples:\n  op-apply want.json\n  op-apply --rollback\n"), "{text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn arguments_that_are_not_utf8() {
    let argv = [OsString::from("--json"), OsString::from_vec(vec![b'a', 0xff])];
    match parse::<Query>(&QUERY, argv).unwrap_err() {
        Exit::Failure { error, common } => {
            assert_eq!(error.kind.exit_code(), 64);
            assert_eq!(error.to_string(), "\"a\u{fffd}\": an argument is not UTF-8");
            assert_eq!(common.json, Some(true));
        }
        other => panic!("{other:?}"),
    }
}

fn token() -> impl Strategy<Value = OsString> {
    let known = [
        "--",
        "-",
        "",
        "=",
        "--=",
        "-=",
        "help",
        "--help",
        "--version",
        "apply",
        "confirm",
        "golden",
        "create",
        "-y",
        "-n",
        "-5",
        "--json",
        "--root",
        "--root=x",
        "--session",
        "--host",
        "--rollback",
        "--plugin",
        "--plugin=-",
        "--dry-run",
        "-é",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(OsString::from),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(OsString::from_vec),
        "-{0,3}\\PC{0,6}".prop_map(OsString::from),
    ]
}

proptest! {
    #[test]
    fn no_command_line_panics(argv in prop::collection::vec(token(), 0..8)) {
        for program in [APPLY, STRICT] {
            if let Err(Exit::Failure { error, .. }) = parse::<Top>(&program, argv.clone()) {
                prop_assert_eq!(error.kind.exit_code(), 64);
            }
        }
        let _ = parse::<Query>(&QUERY, argv);
    }

    #[test]
    fn where_a_common_option_stands_does_not_matter(at in 0..4usize, words in prop::collection::vec("[a-z]{1,5}", 3)) {
        let mut argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        let without = prepare(&QUERY, &Query::get_args_info(), argv.clone());
        argv.splice(at..at, ["--root", "/r"].map(OsString::from));
        let with = prepare(&QUERY, &Query::get_args_info(), argv);
        prop_assert_eq!(without.args, with.args);
        prop_assert_eq!(with.collected.common.root, Some(PathBuf::from("/r")));
    }
}

//! `op-dbus VERB ...`: finds the program for a verb and becomes it, as git does.

use super::args::{Exit, Parsed, Program, common_help, parse};
use super::common::{COMMON, Collected, looks_like_option, nearest, split_inline};
use super::doctor::{self, Asked};
use super::{Cli, Env};
use crate::base::{Error, Kind, Result};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The verbs of op-dbus itself, in the order of use; the program of each is `op-VERB`.
const VERBS: &[(&str, &str)] = &[
    ("discover", "services on a bus; one service's objects, interfaces, members"),
    ("query", "the current state of plugins, as JSON"),
    ("apply", "make the state so: plan, confirm, apply, verify, undo on failure"),
    ("install", "create, install, list, roll back and remove plugins; registries"),
    ("snapshot", "the state root, its subvolumes and their snapshots; publish plugins"),
    ("embed", "texts to vectors through the cache; search"),
    ("audit", "the audit trail: log, show, verify, search, export"),
];

const ABOUT: &str = "Any D-Bus service as declarative state: discover it, query it, apply what you want.";
const EXAMPLES: &str = "  op-dbus discover
  op-dbus query --plugin hostname
  op-dbus apply --dry-run state.json
  op-dbus plugin create packagekit --from-dbus org.freedesktop.PackageKit
  op-dbus doctor
  op-dbus help apply
";

/// What a command line of the front asks for.
#[derive(Debug, PartialEq)]
enum Ask {
    Help,
    Version,
    /// Look at everything; the rest of the line are common options.
    Doctor(Vec<OsString>),
    /// Become `program` with `args`; `verb` is the word that asked for it.
    Become {
        verb: String,
        program: String,
        args: Vec<OsString>,
    },
}

/// The whole program `op-dbus`; returns only when it became no other program.
pub fn main(version: &str) -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env = Env::of_process();
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let folders: Vec<PathBuf> = beside.into_iter().chain(path_folders(&env)).collect();
    let mut collected = Collected::default();
    let exit = match read(&argv, &mut collected) {
        Ok(Ask::Version) => Exit::Text(format!("op-dbus {version}")),
        Ok(Ask::Help) => Exit::Text(help(&folders)),
        Ok(Ask::Doctor(args)) => return doctor(args, folders, version),
        Ok(Ask::Become { verb, program, args }) => match become_program(&verb, &program, &args, &folders) {
            Ok(never) => match never {},
            Err(error) => Exit::Failure { error, common: Box::new(collected.common) },
        },
        Err(error) => Exit::Failure { error, common: Box::new(collected.common) },
    };
    exit.report()
}

fn read(argv: &[OsString], collected: &mut Collected) -> Result<Ask> {
    let mut at = 0;
    while let Some(token) = argv.get(at).map(|token| token.to_string_lossy()).filter(|token| looks_like_option(token)) {
        let (name, inline) = split_inline(&token);
        let next = argv.get(at + 1).map(|next| next.to_string_lossy());
        let Some(took_next) = collected.take(name, inline, next.as_deref()) else {
            let error = Error::usage(format!("op-dbus has no option {name} before the verb"));
            return Err(error.hint(match nearest(name, COMMON.iter().map(|option| option.name)) {
                Some(option) => format!("did you mean {option}?"),
                None => "options of a verb come after it".to_owned(),
            }));
        };
        at += if took_next { 2 } else { 1 };
    }
    if collected.wants_version {
        return Ok(Ask::Version);
    }
    if let Some(error) = Error::all(std::mem::take(&mut collected.errors)) {
        return Err(error);
    }
    let options: Vec<OsString> =
        argv[..at].iter().filter(|option| *option != "--help" && *option != "-h").cloned().collect();
    let mut words = &argv[at..];
    let mut wants_help = collected.wants_help;
    while words.first().is_some_and(|word| word == "help") {
        wants_help = true;
        words = &words[1..];
    }
    let Some((verb, rest)) = words.split_first() else {
        return if wants_help {
            Ok(Ask::Help)
        } else {
            Err(Error::usage("there is no verb").hint("op-dbus --help lists what there is"))
        };
    };
    let verb = verb.to_string_lossy().into_owned();
    if verb == "doctor" {
        let help = wants_help.then(|| OsString::from("--help"));
        return Ok(Ask::Doctor([&options, rest].concat().into_iter().chain(help).collect()));
    }
    let program = match verb.as_str() {
        "plugin" => "op-install".to_owned(),
        _ => format!("op-{verb}"),
    };
    let mut args = [&options, rest].concat();
    if wants_help || (verb == "plugin" && rest.is_empty()) {
        args.push("--help".into());
    }
    Ok(Ask::Become { verb, program, args })
}

fn doctor(args: Vec<OsString>, folders: Vec<PathBuf>, version: &str) -> ExitCode {
    const PROGRAM: Program = Program {
        name: "op-dbus doctor",
        version: env!("CARGO_PKG_VERSION"),
        default_subcommand: None,
        optional_values: &[],
        many_hosts: false,
        examples: "op-dbus doctor\n\
                   op-dbus doctor --json | jq -r '.findings[] | select(.state == \"broken\") | .mend'",
    };
    match parse::<doctor::Args>(&PROGRAM, args.clone()) {
        Ok(Parsed { common, .. }) => {
            let mut cli = Cli::new(common, &format!("op-dbus {version}"));
            let form = |option: &OsString| ["--json", "--no-json"].iter().any(|form| option == form);
            let options = args.into_iter().filter(|option| !form(option)).collect();
            match doctor::run(&Asked { folders, options }, &mut cli) {
                Ok(outcome) => outcome.into(),
                Err(error) => cli.out.fail(&error),
            }
        }
        Err(exit) => exit.report(),
    }
}

/// Replaces this process, so that streams, signals and the exit code are the program's own.
fn become_program(verb: &str, program: &str, args: &[OsString], folders: &[PathBuf]) -> Result<Infallible> {
    let is_word = verb.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let found = if is_word && verb != "dbus" { find(program, folders) } else { None };
    let Some(path) = found else {
        return Err(missing(verb, program));
    };
    let error = Command::new(&path).arg0(program).args(args).exec();
    Err(Error::new(Kind::Unavailable, format!("could not start {program}: {error}")).on(path.display().to_string()))
}

fn missing(verb: &str, program: &str) -> Error {
    let known = || VERBS.iter().map(|(verb, _)| *verb).chain(["plugin", "doctor", "help"]);
    if known().any(|name| name == verb) {
        return Error::new(Kind::Unavailable, format!("{program} is not installed"))
            .on(format!("op-dbus {verb}"))
            .hint(format!("install {program} beside op-dbus or into a folder of $PATH"));
    }
    Error::usage(format!("there is no verb {verb:?}")).hint(match nearest(verb, known()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => "op-dbus --help lists what there is".to_owned(),
    })
}

/// The absolute folders of `$PATH`; others depend on where one stands.
fn path_folders(env: &Env) -> Vec<PathBuf> {
    let path = env.get("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect()
}

pub(super) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(program)).find(|path| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

fn help(folders: &[PathBuf]) -> String {
    let mut text = format!("Usage: op-dbus [COMMON OPTIONS] VERB [ARGUMENTS]\n\n{ABOUT}\n\nVerbs:\n");
    for (verb, about) in VERBS {
        let absent = if find(&format!("op-{verb}"), folders).is_some() { "" } else { " (not installed)" };
        text.push_str(&format!("  {verb:<10}{about}{absent}\n"));
    }
    text.push_str("  plugin    the same as install: op-dbus plugin create, list, remove\n");
    text.push_str("  doctor    looks at everything op-dbus stands on, and says what to do\n");
    text.push_str("  help      op-dbus help VERB\n\n");
    text.push_str("Any program op-VERB in $PATH is a verb too.\n\n");
    text.push_str(&common_help().replace("subcommand", "verb"));
    format!("{text}\nExamples:\n{EXAMPLES}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Ask> {
        let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        read(&argv, &mut Collected::default())
    }

    #[test]
    fn verbs_become_programs() {
        for (line, expected) in [
            ("query", "op-query"),
            ("query --plugin packagekit", "op-query --plugin packagekit"),
            ("apply state.json --plugin=packagekit -- -x", "op-apply state.json --plugin=packagekit -- -x"),
            ("--root /r --json query x", "op-query --root /r --json x"),
            ("--root=/r -H me@pve1 query --version", "op-query --root=/r -H me@pve1 --version"),
            ("plugin", "op-install --help"),
            ("plugin create packagekit --from-dbus a.b", "op-install create packagekit --from-dbus a.b"),
            ("--root /r plugin list", "op-install --root /r list"),
            ("help apply", "op-apply --help"),
            ("--help apply", "op-apply --help"),
            ("help plugin", "op-install --help"),
            ("help plugin create", "op-install create --help"),
            ("query --help", "op-query --help"),
            ("query help", "op-query help"),
            ("foo a b", "op-foo a b"),
        ] {
            let Ask::Become { program, args, .. } = ask(line).unwrap() else { panic!("{line}") };
            let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            assert_eq!([&[program], &words[..]].concat().join(" "), expected, "{line}");
        }
    }

    #[test]
    fn what_the_front_answers_itself() {
        for (line, expected) in [
            ("--help", Ask::Help),
            ("-h", Ask::Help),
            ("help", Ask::Help),
            ("help help", Ask::Help),
            ("--json --help", Ask::Help),
            ("--version", Ask::Version),
            ("--version query", Ask::Version),
            ("doctor", Ask::Doctor(vec![])),
            ("--json doctor --root /r", Ask::Doctor(["--json", "--root", "/r"].map(OsString::from).into())),
            ("help doctor", Ask::Doctor(vec!["--help".into()])),
        ] {
            assert_eq!(ask(line).unwrap(), expected, "{line}");
        }
        for line in ["", "--json", "--plugin x query", "--root", "--session --system query", "--jsn query"] {
            assert_eq!(ask(line).unwrap_err().kind, Kind::Usage, "{line}");
        }
    }
}

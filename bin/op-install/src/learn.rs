//! `op-install map --learn`: drafts what a command was seen to do.

use crate::map::{Map, Target, target, there_already};
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::learn::{Ended, Lesson};
use op_dbus::cli::{self, Cli, Outcome, author};
use op_dbus::package::create::draft_file;
use op_dbus::plugin::author::{DraftDocument, LearnedCommand, LearnedService, Lessons};
use std::path::PathBuf;

/// The words of a command line: a plugin, when one was named, and the command.
type Words<'a> = (Option<&'a str>, &'a [String]);

/// Runs the command, and drafts entries for what it changed.
pub fn run(args: &Map, cli: &mut Cli) -> Result<Outcome> {
    let (name, command) = words(args, cli)?;
    if !args.introspection.is_empty() {
        return Err(Error::usage("what a command does is seen on a running service only").on("--introspection"));
    }
    let file = args.output.as_ref().filter(|file| *file != "-").map(PathBuf::from);
    if let Some(file) = file.as_ref().filter(|file| file.exists() && !args.force) {
        return Err(there_already(file));
    }
    let (target, lesson, others, ended) = match name.is_some() || args.from_dbus.is_some() {
        true => {
            let target = target(args, name, cli)?;
            // What a mapping that is there can read already tells more than properties.
            let entry = name.map(|name| cli.catalog(&cli.root()?)?.entry(name)).transpose()?;
            let plugin = entry.map(|entry| entry.plugin()).transpose()?;
            let (lesson, ended) = cli::learn::run(cli, &target.service, command, plugin.as_deref())?;
            (target, lesson, Vec::new(), ended)
        }
        false => {
            let (mut lessons, ended) = cli::learn::run_on_any(cli, command)?;
            if lessons.is_empty() {
                return Err(nothing_heard(command, &ended));
            }
            let lesson = lessons.remove(0);
            let target = Target::of_service(&lesson.surface.service)?;
            let others: Vec<LearnedService> = lessons.iter().map(other).collect();
            tell(cli, &target, &others)?;
            (target, lesson, others, ended)
        }
    };
    let Lesson { learned, surface, keys, is_before_known, .. } = lesson;
    let mut draft = learned.draft;
    for method in &args.safe {
        draft.agree(method);
    }
    let mut document = DraftDocument::new(&draft, &target.manifest, &surface);
    document.plugin = name.map(str::to_owned);
    let is_learned = !document.keys.is_empty();
    document.learned = Some(Lessons {
        command: LearnedCommand { program: command[0].clone(), exit_code: ended.exit_code, seconds: ended.seconds },
        calls: learned.calls,
        changes: learned.changes,
        keys,
        is_before_known,
        others,
    });
    if let Some(file) = &file {
        draft_file(file, &document.mapping, args.force)?;
        document.file = Some(file.display().to_string());
    }
    match args.output.as_deref() {
        Some("-") => cli.out.text(&document.mapping)?,
        _ => author::draft(&mut cli.out, &document)?,
    }
    if !is_learned {
        cli.out.warn(&format!("no call to {} was seen that changes anything", target.service));
    }
    Ok(if is_learned { Outcome::Done } else { Outcome::Partial })
}

/// What comes before `--` is a plugin. Without `--` the first word is one if there is such a plugin.
fn words<'a>(args: &'a Map, cli: &Cli) -> Result<Words<'a>> {
    let all = &args.words[..];
    let is_plugin = |word: &String| Ok::<_, Error>(cli.catalog(&cli.root()?)?.folder(word).is_some());
    let found = match (cli.common.words_before_dashes, all) {
        (_, []) => None,
        // With --from-dbus no plugin has to be named: all words are the command.
        (_, all) if args.from_dbus.is_some() => Some((None, all)),
        (Some(0), all) => Some((None, all)),
        (Some(1), [name, command @ ..]) => Some((Some(name.as_str()), command)),
        (_, [name, command @ ..]) if is_plugin(name)? => Some((Some(name.as_str()), command)),
        (_, all) => Some((None, all)),
    };
    found.filter(|(_, command)| !command.is_empty()).ok_or_else(|| {
        Error::usage("to learn, there has to be a command").hint(
            "op-install map --learn -- COMMAND; a service to watch may be named: --learn NAME -- COMMAND, or \
             --learn --from-dbus SERVICE -- COMMAND",
        )
    })
}

fn nothing_heard(command: &[String], ended: &Ended) -> Error {
    Error::new(
        Kind::Partial,
        format!("no call was seen that may have changed anything; it ended with {}", ended.exit_code),
    )
    .on(command[0].clone())
    .hint(
        "is this the right bus? Programs may talk to a service past the bus, as systemctl does as root. Heard are \
             programs that begin to talk meanwhile: for one that ran before, name the service with --from-dbus",
    )
}

fn other(lesson: &Lesson) -> LearnedService {
    let keys = lesson.learned_keys().map(str::to_owned).collect();
    LearnedService { service: lesson.surface.service.clone(), calls: lesson.writes, keys }
}

/// A mapping is about one service: what else there would be to learn, and what is there already, is said.
fn tell(cli: &mut Cli, target: &Target, others: &[LearnedService]) -> Result<()> {
    for LearnedService { service, calls, .. } in others {
        cli.out.note(&format!(
            "{service} was called too, {calls} times, and may have changed: --learn --from-dbus {service} drafts for it"
        ));
    }
    let plugins = cli.catalog(&cli.root()?)?.by_service().remove(&target.service).unwrap_or_default();
    if let Some(plugin) = plugins.first() {
        cli.out.note(&format!(
            "the plugin {plugin} speaks to {} already: --learn {plugin} -- ... compares what it reads too",
            target.service
        ));
    }
    Ok(())
}

//! `op-install lint`: checks a mapping and explains.

use op_dbus::base::{Error, Result};
use op_dbus::bus::walk;
use op_dbus::cli::{Cli, Outcome, author};
use op_dbus::plugin::author::lint::{self, Subject};
use std::path::{Path, PathBuf};

/// check a mapping against what its service says of itself, and explain what is wrong, risky or missing
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(
    subcommand,
    name = "lint",
    note = "It ends with 65 when there is an error; with --strict also when there is a warning."
)]
pub struct Lint {
    /// a plugin's folder, its semantic-mapping.toml, or the name of a plugin
    #[argh(positional, arg_name = "PATH")]
    path: String,
    /// check against the running service instead of the introspection in the folder
    #[argh(switch)]
    live: bool,
    /// fail on warnings too
    #[argh(switch)]
    strict: bool,
}

/// Checks one plugin.
pub fn run(args: &Lint, cli: &mut Cli) -> Result<Outcome> {
    let mut subject = Subject::read(&place(&args.path, cli)?)?;
    if args.live {
        let service = subject.service().ok_or_else(|| {
            Error::bad_input("the plugin's plugin.toml names no service to ask").on(subject.manifest.0.clone())
        })?;
        let bus = cli.connect()?;
        let live = cli.survey(&bus, &service, walk::Want::Structure)?;
        subject.surface = Some(match &subject.surface {
            Some(files) => live.with_absent_of(files),
            None => live,
        });
    }
    let report = lint::lint(&subject);
    author::lint(&mut cli.out, &report)?;
    let fails = report.errors + if args.strict { report.warnings } else { 0 };
    if fails == 0 {
        return Ok(Outcome::Done);
    }
    let what = match (report.errors, report.warnings) {
        (0, warnings) => format!("the mapping has warnings: {warnings}"),
        (errors, _) => format!("the mapping has errors: {errors}"),
    };
    Err(Error::bad_input(what).on(args.path.clone()).hint("each finding says its way out"))
}

/// A path as it is, or else the folder of the plugin of that name.
fn place(path: &str, cli: &Cli) -> Result<PathBuf> {
    let is_name = !path.contains(['/', '.']);
    if is_name && !Path::new(path).exists() {
        let catalog = cli.catalog(&cli.root()?)?;
        return match catalog.folder(path) {
            Some((_, folder)) => Ok(folder.to_owned()),
            None => Err(catalog.entry(path).err().unwrap_or_else(|| Error::bad_input("there is no such plugin"))),
        };
    }
    Ok(PathBuf::from(path))
}

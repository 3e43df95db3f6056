//! Printing what a document says, without asking anybody: what stands before `op-apply` in a pipe where no `jq` is.

use crate::Args;
use op_dbus::base::{Error, Kind, Result};
use op_dbus::cli::{self, Cli, Outcome};
use serde_json::Value;

/// Prints the document, or the part of it that a JSON pointer names.
pub fn run(file: &str, args: &Args, cli: &mut Cli) -> Result<Outcome> {
    refuse_what_is_live(args)?;
    let input = cli::input::read_document(Some(file))?;
    let document = input.json()?;
    let part = match args.select.first() {
        Some(pointer) => part(&document, pointer).map_err(|e| e.on(format!("{pointer} in {}", input.name)))?,
        None => &document,
    };
    cli.out.document(part)?;
    Ok(Outcome::Done)
}

fn part<'a>(document: &'a Value, pointer: &str) -> Result<&'a Value> {
    if !pointer.starts_with('/') {
        let hint = "a JSON pointer leads from the top of the document: /phases/post-start";
        return Err(Error::usage("in a document a part is named by a JSON pointer").hint(hint));
    }
    document.pointer(pointer).ok_or_else(|| {
        let names = document.as_object().map(|top| top.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
        let hint = names.filter(|names| !names.is_empty()).unwrap_or_else(|| "nothing".to_owned());
        Error::new(Kind::Partial, "the document has no such part").hint(format!("at its top there is: {hint}"))
    })
}

/// Options of a query that a document has no answer to.
fn refuse_what_is_live(args: &Args) -> Result<()> {
    let said = [
        ("FILE", !args.words.is_empty()),
        ("--plugin", !args.plugin.is_empty()),
        ("--select", args.select.len() > 1),
        ("--raw", args.raw),
        ("--all", args.all),
        ("--bare", args.bare),
        ("--cached", args.cached),
        ("--max-age", args.max_age.is_some()),
        ("--watch", args.watch),
        ("--interval", args.interval.is_some()),
        ("--count", args.count.is_some()),
        ("--for", args.duration.is_some()),
        ("--timings", args.timings),
    ];
    match said.into_iter().find(|(_, is_said)| *is_said) {
        Some((option, _)) => Err(Error::usage("--in prints what a document says, and asks nobody")
            .on(option)
            .hint("op-query --in FILE, or op-query --in FILE --select POINTER")),
        None => Ok(()),
    }
}

//! `op-query`: the current state of plugins as JSON. Reads only; what it prints is what `op-apply` accepts.

mod cached;
mod document;
mod live;
mod watch;

use op_dbus::apply::query::Selection;
use op_dbus::base::{Error, Result};
use op_dbus::cli::{self, Cli, Outcome, Program};
use op_dbus::plugin::Want;
use op_dbus::state::StateDocument;
use op_dbus::state::select::Path;

/// Print the current state of plugins.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    /// a state document or an inventory that says what to query, - being standard input; with --watch names of plugins
    #[argh(positional, arg_name = "FILE")]
    words: Vec<String>,
    /// only this plugin, or this service by its bus name (may be repeated)
    #[argh(option, arg_name = "NAME")]
    plugin: Vec<String>,
    /// only the values with this path (may be repeated): PLUGIN.KEY and what is below, where * is any name, ** any
    /// number of them, and a name with dots stands in double quotes; or a JSON pointer, /plugins/PLUGIN/KEY
    #[argh(option, arg_name = "PATH")]
    select: Vec<String>,
    /// with --select: print the values alone, one a line, texts without quotes
    #[argh(switch)]
    raw: bool,
    /// add everything else that can be seen, under observed
    #[argh(switch)]
    all: bool,
    /// print the state of the one plugin without the document around it
    #[argh(switch)]
    bare: bool,
    /// print what was read last, with its age, and ask nobody
    #[argh(switch)]
    cached: bool,
    /// with --cached: nothing older than this, for example 5m
    #[argh(option, arg_name = "DUR")]
    max_age: Option<String>,
    /// print what is there and then every change, one JSON record a line, until interrupted
    #[argh(switch)]
    watch: bool,
    /// with --watch: how often to read what announces no change (5s)
    #[argh(option, arg_name = "DUR")]
    interval: Option<String>,
    /// with --watch: tell what is not as this state document wants it, and when it is again, instead of values
    #[argh(option, arg_name = "FILE")]
    against: Option<String>,
    /// with --watch: end after so many changes
    #[argh(option, arg_name = "N")]
    count: Option<u64>,
    /// with --watch: end after this long
    #[argh(option, long = "for", arg_name = "DUR")]
    duration: Option<String>,
    /// say on standard error how long it took, and each plugin
    #[argh(switch)]
    timings: bool,
    /// print what this document says and ask nobody; with --select only the part that a JSON pointer names
    #[argh(option, long = "in", arg_name = "FILE")]
    document: Option<String>,
}

const PROGRAM: Program = Program {
    name: "op-query",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: None,
    optional_values: &[],
    examples: "op-query --plugin hostname\n\
               op-query --plugin packagekit --bare\n\
               op-query --select hostname.static_hostname --raw\n\
               op-query --select '*.*' --select 'systemd.units.\"ssh.service\".active'\n\
               op-query --cached --plugin hostname\n\
               op-query --watch hostname networkmanager\n\
               op-query --watch --select '**.state' --for 1m\n\
               op-query --watch --against /etc/op-dbus/state.json\n\
               op-discover | op-query\n\
               op-query --in 100.json --select /phases/pre-start | op-apply --check\n\
               op-query --plugin hostname | jq '.plugins.hostname.static_hostname = \"web\"' | op-apply",
};

fn main() -> std::process::ExitCode {
    cli::main::<Args>(&PROGRAM, run)
}

fn run(args: Args, cli: &mut Cli) -> Result<Outcome> {
    if let Some(file) = &args.document {
        return document::run(file, &args, cli);
    }
    let asked = Asked::new(args)?;
    match (asked.args.cached, asked.args.watch) {
        (true, _) => cached::run(&asked, cli),
        (_, true) => watch::run(&asked, cli),
        _ => live::run(&asked, cli),
    }
}

impl Args {
    /// The document that says what to query.
    fn file(&self) -> Option<&str> {
        self.words.first().filter(|word| !self.watch || *word == "-").map(String::as_str)
    }

    /// The plugins that are named without an option.
    fn named(&self) -> &[String] {
        if self.file().is_some() { &[] } else { &self.words }
    }
}

/// What the command line asks for.
struct Asked {
    args: Args,
    /// Where nothing is selected by path.
    selection: Selection,
    /// How much of each plugin.
    want: Want,
    /// What a watch compares with.
    wanted: Option<StateDocument>,
    paths: Vec<Path>,
}

impl Asked {
    fn new(args: Args) -> Result<Self> {
        refuse_contradictions(&args)?;
        let (paths, wrong): (Vec<_>, Vec<_>) =
            args.select.iter().map(|text| Path::parse(text)).partition(Result::is_ok);
        if let Some(error) = Error::all(wrong.into_iter().filter_map(Result::err).collect()) {
            return Err(error);
        }
        let named: Vec<String> = args.plugin.iter().chain(args.named()).cloned().collect();
        let wanted = args.against.as_deref().map(|file| cli::input::read_document(Some(file))).transpose()?;
        let wanted = wanted.map(|input| input.json()).transpose()?;
        let selection = match (&named[..], &args.select[..]) {
            _ if wanted.is_some() => Selection::Everything,
            ([], []) => match cli::input::read_optional(args.file())? {
                Some(input) => Selection::from_json(&input.json()?, &input.name)?,
                None => Selection::Everything,
            },
            _ => Selection::Plugins(named),
        };
        if args.bare && !matches!(&selection, Selection::Plugins(names) if names.len() == 1) {
            return Err(Error::usage("--bare prints one plugin, so name one").hint("op-query --bare --plugin NAME"));
        }
        let want = if args.all { Want::All } else { Want::State };
        let wanted = wanted.as_ref().map(StateDocument::from_json).transpose()?;
        Ok(Self { args, selection, want, wanted, paths: paths.into_iter().flatten().collect() })
    }
}

fn refuse_contradictions(args: &Args) -> Result<()> {
    let usage = |what: &str, subject: &str| Err(Error::usage(what).on(subject));
    let selects = !args.select.is_empty();
    if let (Some(second), true) = (args.words.get(1), args.file().is_some()) {
        return usage("there is one document at most", second);
    }
    if let (Some(file), true) = (args.words.first(), selects || (args.file().is_some() && !args.plugin.is_empty())) {
        let option = if selects { "--select" } else { "--plugin" };
        return usage(&format!("{file:?} and {option} both say what to query: say one of them"), file);
    }
    if selects && !args.plugin.is_empty() {
        return Err(Error::usage("--plugin and --select both say what to query: say one of them")
            .on(args.plugin[0].clone())
            .hint(format!("a path begins with its plugin: --select '{}.*'", args.plugin[0])));
    }
    if selects && args.bare {
        return usage("--bare prints one plugin, and --select values", "--bare")
            .map_err(|e: Error| e.hint("--raw prints the values alone"));
    }
    if args.raw && !selects {
        return usage("--raw prints selected values: say --select PATH", "--raw");
    }
    if args.max_age.is_some() && !args.cached {
        return usage("what is read live has no age: --max-age goes with --cached", "--max-age");
    }
    if args.cached && args.bare {
        return Err(Error::usage("what is printed bare says nothing of its age, and op-apply would take it for live")
            .on("--bare and --cached")
            .hint("leave --bare out; jq .plugins.NAME takes the rest away"));
    }
    let of_watch = [("--interval", &args.interval), ("--for", &args.duration)];
    if let Some((option, _)) = of_watch.iter().find(|(_, value)| value.is_some() && !args.watch) {
        return usage("this goes with --watch", option);
    }
    if args.against.is_some() {
        let said = [("FILE", args.words.first()), ("--plugin", args.plugin.first()), ("--select", args.select.first())];
        if let Some((option, _)) = said.iter().find(|(_, value)| value.is_some()) {
            return usage("--against says what to watch itself", option);
        }
        if !args.watch {
            return Err(Error::usage("this goes with --watch")
                .on("--against")
                .hint("to look once: op-apply --check FILE"));
        }
    }
    if args.count.is_some() && !args.watch {
        return usage("this goes with --watch", "--count");
    }
    let other = [("--bare", args.bare), ("--raw", args.raw), ("--cached", args.cached), ("--timings", args.timings)];
    if let (true, Some((option, _))) = (args.watch, other.iter().find(|(_, is_said)| *is_said)) {
        return usage("--watch prints records, and this asks for something else", option);
    }
    if args.watch && args.all {
        return Err(Error::usage("--watch watches keys, and --all asks for what is no key")
            .on("--all")
            .hint("name the service by its bus name to watch everything it shows"));
    }
    if args.cached && args.timings {
        return usage("--cached asks nobody, so there is nothing to time", "--timings");
    }
    Ok(())
}

//! `op-discover record`: a service as a document that answers in its place.

use op_dbus::apply::StateManager;
use op_dbus::apply::record::{Take, Taken};
use op_dbus::base::Result;
use op_dbus::cli::{self, Cli, Interrupt, Outcome};
use op_dbus::state::StateDocument;

/// write down what a service says of itself and answers, so that --address replay:FILE can answer in its place
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "record")]
pub struct Record {
    /// the service; it is started if it does not run
    #[argh(positional, arg_name = "SERVICE")]
    service: String,
    /// only this object, besides what the plugin asks (may be repeated); all objects otherwise
    #[argh(option, arg_name = "PATH")]
    path: Vec<String>,
    /// every reading call of this plugin as well
    #[argh(option, arg_name = "NAME")]
    plugin: Option<String>,
    /// every call that planning this state document makes as well (may be repeated)
    #[argh(option, arg_name = "FILE")]
    document: Vec<String>,
    /// keep this property or method out, for example a serial number (may be repeated)
    #[argh(option, arg_name = "INTERFACE.MEMBER")]
    leave_out: Vec<String>,
    /// where to write it; - or nothing is standard output
    #[argh(option, arg_name = "FILE")]
    output: Option<String>,
}

pub fn record(args: Record, cli: &mut Cli) -> Result<Outcome> {
    let document = |file: &String| {
        let input = cli::input::read_document(Some(file))?;
        Ok((input.name.clone(), StateDocument::from_json_for(&input.json()?, args.plugin.as_deref())?))
    };
    let documents = args.document.iter().map(document).collect::<Result<Vec<_>>>()?;
    let interrupt = Interrupt::install()?;
    let bus = cli.connect()?;
    let root = cli.root_of(&bus)?;
    let catalog = cli.catalog(&root)?;
    let mut progress = cli.out.progress();
    let mut manager = StateManager {
        bus: &bus,
        catalog: &catalog,
        root: &root,
        trail: cli.trail(&root)?,
        cache: None,
        progress: &mut progress,
        interrupts: interrupt.counter(),
    };
    let take =
        Take { service: args.service, paths: args.path, plugin: args.plugin, documents, left_out: args.leave_out };
    let Taken { recording, trouble } = manager.record_service(&take)?;
    progress.finish();
    for problem in &trouble.problems {
        cli.out.warn(&problem.to_string());
    }
    for (name, error) in &trouble.unplanned {
        cli.out.note(&format!("{name} cannot be planned, and that is recorded: {}", error.message));
    }
    for left in &recording.left_out {
        cli.out.note(&format!("not recorded: {} ({})", left.what, left.why));
    }
    cli.out.note("Look through it before you give it away: only what a mapping calls secret is kept out by itself.");
    match args.output.as_deref().filter(|file| *file != "-") {
        None => cli.out.text(&recording.to_text())?,
        Some(file) => {
            cli::output::write_file(file, &recording.to_text())?;
            cli.out.tick(true, &format!("Recorded {} in {file}", recording.service));
        }
    }
    Ok(if trouble.problems.is_empty() { Outcome::Done } else { Outcome::Partial })
}

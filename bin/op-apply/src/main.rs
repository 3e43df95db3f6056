//! `op-apply`: brings a machine to a desired state, or leaves it as it was and says why.

use op_dbus::apply::pending::Window;
use op_dbus::apply::{Applied, Desired, Options, RunOutcome, StateManager};
use op_dbus::base::{Error, Kind, Result, time};
use op_dbus::cli::machine::{Asker, Ticks};
use op_dbus::cli::{self, Cli, Interrupt, Outcome, Program, show};
use op_dbus::state::acknowledged::Acknowledged;
use op_dbus::state::{Plan, StateDocument};
use std::collections::BTreeSet;
use std::sync::Arc;

mod waiting;

/// Show what would change, ask, change it, verify it, and undo it if anything fails.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Apply(Apply),
    Confirm(waiting::Confirm),
    Pending(waiting::Pending),
    Revert(waiting::Revert),
}

/// apply a state document, or a plan made with --dry-run
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "apply")]
struct Apply {
    /// the document; - or nothing is standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// only this plugin of the document; then the document may be the plugin's bare state
    #[argh(option, arg_name = "NAME")]
    plugin: Option<String>,
    /// print the plan and change nothing
    #[argh(switch)]
    dry_run: bool,
    /// show the differences on standard error; never changes what is done
    #[argh(switch)]
    diff: bool,
    /// print the plan and exit 2 if the machine is not as wanted
    #[argh(switch)]
    check: bool,
    /// differences that --check knows of, each with the moment until which it is fine
    #[argh(option, arg_name = "FILE")]
    acknowledged: Option<String>,
    /// confirm without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
    /// agree to changes that cannot be undone
    #[argh(switch)]
    allow_irreversible: bool,
    /// on whose behalf items are added; what they added before and leave out now is removed
    #[argh(option, arg_name = "NAME")]
    owner: Option<String>,
    /// remove every item of a set that is not listed, if exactly so many go
    #[argh(option, arg_name = "COUNT")]
    prune: Option<usize>,
    /// exit 2 when changes are pending or were made
    #[argh(switch)]
    detailed_exitcode: bool,
    /// go back to before the run of this name, or the newest that was not rolled back: --rollback [RUN]
    #[argh(option, arg_name = "RUN")]
    rollback: Option<String>,
    /// take everything back after this long, unless op-apply confirm comes in time
    #[argh(option, arg_name = "DUR")]
    confirm_within: Option<String>,
    /// take back what a killed run left half done, and what nobody confirmed in time
    #[argh(switch)]
    recover: bool,
    /// tell on standard error when each of the seven steps begins
    #[argh(switch)]
    steps: bool,
    /// how long to wait for another run (10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

const PROGRAM: Program = Program {
    name: "op-apply",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: Some("apply"),
    optional_values: &[("--rollback", "last")],
    examples: "op-apply want.json\n\
               op-apply --dry-run want.json > plan.json && op-apply plan.json\n\
               op-query --plugin hostname | jq '.plugins.hostname.location = \"rack 3\"' | op-apply\n\
               op-apply --check want.json\n\
               op-apply --rollback\n\
               op-apply --confirm-within 60s want.json && op-apply confirm\n\
               op-apply --recover",
};

fn main() -> std::process::ExitCode {
    cli::main(&PROGRAM, |args: Args, cli| match args.command {
        Command::Apply(args) => apply(&args, cli),
        Command::Confirm(args) => waiting::confirm(&args, cli),
        Command::Pending(_) => waiting::pending(cli),
        Command::Revert(args) => waiting::revert(&args, cli),
    })
}

fn apply(args: &Apply, cli: &mut Cli) -> Result<Outcome> {
    if args.owner.as_deref().is_some_and(|owner| owner.trim().is_empty()) {
        return Err(Error::usage("an owner has a name").on("--owner").hint("--owner web; or leave it out"));
    }
    if args.recover {
        refuse_all(args)?;
        return waiting::recover(args.lock_timeout.as_deref(), cli);
    }
    if let Some(run) = &args.rollback {
        refuse_documents(args)?;
        return bring_about(args, cli, Desired::Rollback(run.clone()), &Interrupt::install()?);
    }
    // Whoever stops it while it waits for its document just ends it: a read would not hear of a counted signal.
    let input = cli::input::read_document(args.file.as_deref())?;
    let interrupt = Interrupt::install()?;
    let document = input.json()?;
    let desired = match document.get("kind").and_then(serde_json::Value::as_str) {
        Some("plan") => {
            refuse_other_choices(args)?;
            Desired::Plan(Box::new(Plan::from_json(&document)?))
        }
        _ => Desired::State(StateDocument::from_json_for(&document, args.plugin.as_deref())?),
    };
    bring_about(args, cli, desired, &interrupt)
}

/// Plans it, or does it.
fn bring_about(args: &Apply, cli: &mut Cli, desired: Desired, interrupt: &Interrupt) -> Result<Outcome> {
    let is_dry_run = args.dry_run || args.check;
    let confirm_within = args.confirm_within.as_deref().map(|text| window(text, is_dry_run, cli)).transpose()?;
    let known = args.acknowledged.as_deref().map(|file| acknowledged(file, args, cli)).transpose()?;
    let options = Options {
        owner: args.owner.clone(),
        prune: args.prune,
        allows_irreversible: args.allow_irreversible,
        lock_timeout: time::parse_duration(args.lock_timeout.as_deref().unwrap_or("10s"))?,
        is_check: args.check,
        confirm_within,
    };
    let bus = cli.connect()?;
    let root = if is_dry_run { cli.root_of(&bus)? } else { cli.root_to_apply(&bus)? };
    let catalog = cli.catalog(&root)?;
    let mut progress = cli.out.progress();
    if args.steps {
        progress.tell_steps();
    }
    let mut manager = StateManager {
        bus: &bus,
        catalog: &catalog,
        root: &root,
        trail: cli.trail(&root)?,
        cache: cli.cache(&root),
        progress: &mut progress,
        interrupts: interrupt.counter(),
    };
    let only_shown = match &desired {
        Desired::State(document) => manager.not_compared(document),
        Desired::Plan(plan) => manager.not_compared(&StateDocument::from_json(&plan.desired).unwrap_or_default()),
        Desired::Rollback(_) => BTreeSet::new(),
    };
    if is_dry_run {
        let plan = manager.plan(desired, &options)?;
        if args.diff {
            show::changes(&mut cli.out, &plan);
        }
        show::plan(&mut cli.out, &plan)?;
        show::not_compared(&mut cli.out, &only_shown);
        let has_changes = match known {
            Some(known) => show::drift(&mut cli.out, &known.sort(resources(&plan), std::time::SystemTime::now())),
            None => !plan.is_empty(),
        };
        let is_detailed = args.check || args.detailed_exitcode;
        return Ok(if is_detailed && has_changes { Outcome::Changes } else { Outcome::Done });
    }
    let mut asker = Asker { has_said_yes: args.yes, interrupt };
    let Applied { report, error } =
        manager.apply_state(desired, &options, &mut asker, &mut Ticks { out: &mut cli.out, shows_diff: args.diff })?;
    progress.finish();
    let shown = show::report(&mut cli.out, &report);
    if report.outcome == RunOutcome::Unchanged {
        show::not_compared(&mut cli.out, &only_shown);
    }
    if let Some(error) = error {
        return Err(error);
    }
    if report.outcome != RunOutcome::Applied {
        return shown.map(|()| Outcome::Done);
    }
    shown.map_err(|e| {
        let told = format!("everything was changed and verified, but the report is lost: {}", e.message);
        Error::new(Kind::Residue, told).hint("op-apply --check shows that it is so")
    })?;
    Ok(if args.detailed_exitcode { Outcome::Changes } else { Outcome::Done })
}

/// How long the run waits to be confirmed, and what takes it back.
fn window(text: &str, is_dry_run: bool, cli: &mut Cli) -> Result<Window> {
    let wrong = |why: &str| Error::usage(why.to_owned()).on(format!("--confirm-within {text}"));
    if is_dry_run {
        return Err(wrong("what changes nothing needs no confirmation"));
    }
    let length = time::parse_duration(text).map_err(|e| e.on(format!("--confirm-within {text}")))?;
    if length.is_zero() {
        return Err(wrong("nobody could confirm in no time").hint("allow some time: --confirm-within 60s"));
    }
    let timer = cli.timer()?;
    if timer.is_process() {
        cli.out
            .note("systemd is not process 1 here: a process of op-apply waits instead, and does not outlive a restart");
    }
    Ok(Window { length, timer: Arc::new(timer) })
}

/// The drift that somebody knows about. No file: nobody knows of any.
fn acknowledged(file: &str, args: &Apply, cli: &mut Cli) -> Result<Acknowledged> {
    if !args.check {
        return Err(Error::usage("only a check takes known differences for none")
            .on("--acknowledged")
            .hint("add --check"));
    }
    if !std::path::Path::new(file).exists() {
        cli.out.note(&format!("there is no {file}, so no drift is acknowledged"));
        return Ok(Acknowledged::default());
    }
    let input = cli::input::read_document(Some(file))?;
    Acknowledged::from_json(&input.json()?).map_err(|error| error.or_on(input.name))
}

fn resources(plan: &Plan) -> Vec<&str> {
    plan.actions.iter().flat_map(|action| action.resources.iter().map(String::as_str)).collect()
}

/// A recovery knows what is to be done.
fn refuse_all(args: &Apply) -> Result<()> {
    let is_more = args.dry_run || args.check || args.diff || args.rollback.is_some() || args.confirm_within.is_some();
    if is_more {
        return Err(Error::usage("a recovery takes back what was left, and goes with nothing else").on("--recover"));
    }
    refuse_documents(args)
}

/// A rollback knows what is wanted.
fn refuse_documents(args: &Apply) -> Result<()> {
    let said = [
        ("FILE", args.file.is_some()),
        ("--plugin", args.plugin.is_some()),
        ("--owner", args.owner.is_some()),
        ("--prune", args.prune.is_some()),
    ];
    match said.into_iter().find(|(_, is_said)| *is_said) {
        Some((what, _)) => Err(Error::usage("a rollback goes back to what there was, and takes no document")
            .on(what)
            .hint("name the run right after the option: op-apply --rollback RUN")),
        None => Ok(()),
    }
}

/// A plan says all of this itself; what would be ignored is refused.
fn refuse_other_choices(args: &Apply) -> Result<()> {
    let said =
        [("--plugin", args.plugin.is_some()), ("--owner", args.owner.is_some()), ("--prune", args.prune.is_some())];
    match said.into_iter().find(|(_, is_said)| *is_said) {
        Some((option, _)) => Err(Error::usage("a plan is performed as it is or not at all")
            .on(option)
            .hint(format!("leave it out, or make a new plan: op-apply --dry-run {option} ... want.json"))),
        None => Ok(()),
    }
}

//! Runs that wait to be confirmed, and runs that were broken off.

use op_dbus::apply::pending;
use op_dbus::apply::recover::Why;
use op_dbus::apply::{RunOutcome, StateManager};
use op_dbus::base::{Error, Kind, Result, time};
use op_dbus::cli::{Cli, Interrupt, Outcome, show};
use std::time::Duration;

/// keep what a run did that waits to be confirmed
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "confirm")]
pub struct Confirm {
    /// the run, or the beginning of its name; not needed when only one waits
    #[argh(positional, arg_name = "RUN")]
    run: Option<String>,
    /// how long to wait for another run (10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

/// list the runs that wait to be confirmed
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "pending")]
pub struct Pending {}

/// take back a run that waits to be confirmed, now
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "revert")]
pub struct Revert {
    /// the run, or the beginning of its name; not needed when only one waits
    #[argh(positional, arg_name = "RUN")]
    run: Option<String>,
    /// not before its time is over, and not at all if it is confirmed until then: what the timer runs
    #[argh(switch)]
    when_due: bool,
    /// how long to wait for another run (10s)
    #[argh(option, arg_name = "DUR")]
    lock_timeout: Option<String>,
}

pub fn confirm(args: &Confirm, cli: &mut Cli) -> Result<Outcome> {
    let run = with_manager(cli, |manager, cli| {
        let timer = cli.timer()?;
        manager.confirm_run(args.run.as_deref(), &timer, lock_timeout(args.lock_timeout.as_deref())?)
    })?;
    show::confirmed(&mut cli.out, &run)?;
    Ok(Outcome::Done)
}

pub fn pending(cli: &mut Cli) -> Result<Outcome> {
    let waiting = pending::all(&cli.root()?)?;
    show::waiting(&mut cli.out, &waiting)?;
    Ok(Outcome::Done)
}

pub fn revert(args: &Revert, cli: &mut Cli) -> Result<Outcome> {
    let why = if args.when_due { Why::Unconfirmed } else { Why::Reverted };
    if args.when_due && !wait_until_due(args.run.as_deref(), cli)? {
        cli.out.note("nothing waits any more");
        return Ok(Outcome::Done);
    }
    let report = with_manager(cli, |manager, cli| {
        let timer = cli.timer()?;
        manager.revert(args.run.as_deref(), why, &timer, lock_timeout(args.lock_timeout.as_deref())?)
    })?;
    show::report(&mut cli.out, &report)?;
    if report.outcome == RunOutcome::Residue {
        return Err(Error::new(Kind::Residue, "not everything could be taken back")
            .on(report.run)
            .hint("look at what remains by hand; the checkpoint of the run says what was there before"));
    }
    Ok(Outcome::Done)
}

/// Whether it is due now; false when it was confirmed or taken back meanwhile.
fn wait_until_due(id: Option<&str>, cli: &Cli) -> Result<bool> {
    let root = cli.root()?;
    let run = match pending::find(&root, id) {
        Ok(waiting) => waiting.run,
        Err(error) if error.kind == Kind::BadInput => return Ok(false),
        Err(error) => return Err(error),
    };
    while let Some(waiting) = pending::read(&root, &run)? {
        let left = waiting.remaining();
        if left.is_zero() {
            return Ok(true);
        }
        // Short naps: it may be confirmed meanwhile, and the machine may sleep.
        std::thread::sleep(left.min(Duration::from_millis(500)));
    }
    Ok(false)
}

pub fn recover(timeout: Option<&str>, cli: &mut Cli) -> Result<Outcome> {
    let recovery = with_manager(cli, |manager, cli| {
        let timer = cli.timer()?;
        manager.recover(&timer, lock_timeout(timeout)?)
    })?;
    show::recovery(&mut cli.out, &recovery)?;
    if recovery.has_residue() {
        let runs = recovery.runs.iter().map(|run| run.report.run.clone()).collect::<Vec<_>>().join(", ");
        return Err(Error::new(Kind::Residue, "not everything could be taken back")
            .on(runs)
            .hint("look at what remains by hand; the checkpoint of the run says what was there before"));
    }
    Ok(Outcome::Done)
}

fn lock_timeout(text: Option<&str>) -> Result<Duration> {
    time::parse_duration(text.unwrap_or("10s"))
}

fn with_manager<T>(cli: &mut Cli, work: impl FnOnce(&mut StateManager<'_>, &Cli) -> Result<T>) -> Result<T> {
    let interrupt = Interrupt::install()?;
    let bus = cli.connect()?;
    let root = cli.root_to_apply(&bus)?;
    let catalog = cli.catalog(&root)?;
    let mut progress = cli.out.progress();
    let mut manager = StateManager {
        bus: &bus,
        catalog: &catalog,
        root: &root,
        trail: cli.trail(&root)?,
        cache: cli.cache(&root),
        progress: &mut progress,
        interrupts: interrupt.counter(),
    };
    let done = work(&mut manager, cli);
    progress.finish();
    done
}

//! `op-install test`: a plugin's own scenarios, on its recordings or on the service itself.

use op_dbus::apply::scenarios::{Mode, Runner, ScenarioReport, ScenarioResult, TestReport};
use op_dbus::base::{Error, Result};
use op_dbus::cli::confirm::{Terminal, no_terminal};
use op_dbus::cli::{self, Cli, Interrupt, Outcome};
use op_dbus::plugin::{Catalog, scenario};
use std::path::Path;

/// run a plugin's own scenarios
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "test")]
pub struct Test {
    /// the plugin's name, or the path of its folder
    #[argh(positional, arg_name = "PLUGIN")]
    plugin: String,
    /// only this scenario (may be repeated)
    #[argh(option, arg_name = "NAME")]
    scenario: Vec<String>,
    /// on the service itself instead of on recordings: changes this machine and changes it back
    #[argh(switch)]
    live: bool,
    /// write what comes of failing scenarios on their recordings into them, to be read by you
    #[argh(switch)]
    write: bool,
    /// confirm --live without being asked
    #[argh(switch, short = 'y')]
    yes: bool,
}

pub fn test(args: &Test, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let is_path = args.plugin.contains('/') || args.plugin.starts_with('.');
    let (catalog, name) =
        if is_path { Catalog::of_folder(Path::new(&args.plugin))? } else { (cli.catalog(&root)?, args.plugin.clone()) };
    if args.write && args.live {
        return Err(Error::usage("what comes of a scenario is written from its recording, not live")
            .hint("say --write or --live"));
    }
    let entry = catalog.entry(&name)?;
    if let Some(problem) = Error::all(entry.problems) {
        return Err(problem);
    }
    let mut scenarios = scenario::load(&entry.folder, &name)?;
    for wanted in &args.scenario {
        if !scenarios.iter().any(|scenario| scenario.name == *wanted) {
            let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
            let hint = format!("there are: {}", known.join(", "));
            return Err(Error::bad_input("there is no such scenario").on(wanted.clone()).hint(hint));
        }
    }
    scenarios.retain(|scenario| args.scenario.is_empty() || args.scenario.contains(&scenario.name));
    let interrupt = Interrupt::install()?;
    let mut progress = cli.out.progress();
    let mut runner = Runner {
        catalog: &catalog,
        plugin: &name,
        trail: &cli.trail(&root)?,
        progress: &mut progress,
        interrupts: interrupt.counter(),
    };
    let mut reports = Vec::new();
    let mode = if args.live { Mode::Live } else { Mode::Replay };
    if args.live {
        let bus = cli.connect()?;
        let root = cli.root_to_apply(&bus)?;
        if !args.yes {
            let mut terminal = Terminal::open(&interrupt).ok_or_else(no_terminal)?;
            let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
            let text = format!(
                "This changes {} on this machine to what the scenarios {} start from, then to what they want, and back to \
                 their start. What is there now is lost where a scenario starts from something else.",
                name,
                names.join(", ")
            );
            terminal.ask_yes_no(&text, "Proceed?")?.or_refused()?;
        }
        reports.extend(scenarios.iter().map(|scenario| runner.live(scenario, &bus, &root)));
    } else {
        let root = root.for_machine("replay");
        if args.write {
            let mut wrote = Vec::new();
            for scenario in scenarios.iter().filter(|scenario| scenario.recording.is_some()) {
                if runner.write(scenario, &root)? {
                    wrote.push(scenario.file.clone());
                }
            }
            for file in &wrote {
                cli.out.note(&format!("wrote {}: read it, what came is not always what should", file.display()));
            }
            let all = scenario::load(&entry.folder, &name)?;
            scenarios = all.into_iter().filter(|one| scenarios.iter().any(|old| old.name == one.name)).collect();
        }
        reports.extend(scenarios.iter().map(|scenario| runner.replay(scenario, &root)));
    }
    progress.finish();
    let report = TestReport { kind: "test_report".into(), version: 1, plugin: name, mode, scenarios: reports };
    show(cli, &report)?;
    verdict(&report)
}

fn verdict(report: &TestReport) -> Result<Outcome> {
    let (passed, failed) = (report.count(ScenarioResult::Passed), report.count(ScenarioResult::Failed));
    let of = |count: usize| format!("{count} of {} scenario{}", report.scenarios.len(), plural(report.scenarios.len()));
    if failed > 0 {
        return Err(Error::failed(format!("{} failed", of(failed))).on(report.plugin.clone()));
    }
    if passed == 0 {
        let first = report.scenarios.first().and_then(|scenario| scenario.reason.clone()).unwrap_or_default();
        return Err(Error::failed("no scenario could run this way").on(report.plugin.clone()).hint(first));
    }
    Ok(Outcome::Done)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn show(cli: &mut Cli, report: &TestReport) -> Result<()> {
    if cli.out.look().is_json {
        return cli.out.document(report);
    }
    let row = |scenario: &ScenarioReport| {
        let result = match scenario.result {
            ScenarioResult::Passed => "passed",
            ScenarioResult::Failed => "FAILED",
            ScenarioResult::Skipped => "skipped",
        };
        let about = scenario.reason.as_ref().unwrap_or(&scenario.description);
        vec![scenario.name.clone(), result.to_owned(), format!("{} ms", scenario.took_ms), about.clone()]
    };
    let rows: Vec<Vec<String>> = report.scenarios.iter().map(row).collect();
    cli.out.table(&["SCENARIO", "RESULT", "TOOK", "ABOUT"], &rows)?;
    let mut text = String::new();
    for scenario in &report.scenarios {
        for difference in &scenario.differences {
            text.push_str(&format!(
                "\n{}: {}\n  expected {}\n  actual   {}\n",
                scenario.name,
                difference.place,
                cli::one_line(&difference.expected.to_string()),
                cli::one_line(&difference.actual.to_string())
            ));
        }
    }
    if text.is_empty() { Ok(()) } else { cli.out.text(&text) }
}

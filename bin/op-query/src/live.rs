//! Asking the services.

use crate::Asked;
use op_dbus::apply::query::{self, Found, Selection};
use op_dbus::apply::select::{self, Selected};
use op_dbus::base::{Error, Progress, Result};
use op_dbus::bus::Bus;
use op_dbus::cli::{Cli, Outcome, answers, show};
use op_dbus::plugin::Catalog;

pub fn run(asked: &Asked, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let catalog = cli.catalog(&root)?;
    let cache = cli.cache(&root);
    let bus = cli.connect()?;
    let mut progress = cli.out.progress();
    let (target, timeout) = (cli.common.bus.clone(), cli.common.timeout);
    let connect = || Bus::connect(&target, timeout);
    // Another machine is asked over one ssh, which may want a password.
    let more: Option<&(dyn Fn() -> Result<Bus> + Sync)> = if bus.is_remote() { None } else { Some(&connect) };
    let services = query::Asked { bus: &bus, connect: more, catalog: &catalog, cache: cache.as_ref() };
    let Answer { found, selected } = read(asked, &services, &mut progress)?;
    progress.finish();
    for warning in &found.warnings {
        cli.out.warn(warning);
    }
    if asked.args.timings {
        answers::timings(&mut cli.out, &found.timings);
    }
    match selected {
        Some(selected) => print_selected(&selected, found.problems, asked.args.raw, cli),
        None => print(found, asked.args.bare, cli),
    }
}

/// What one machine answered.
pub struct Answer {
    /// The state, and everything that is missing from the answer.
    pub found: Found,
    /// The part of it that paths name, when some were given.
    pub selected: Option<Selected>,
}

/// Reads what is asked for.
pub fn read(asked: &Asked, services: &query::Asked<'_>, progress: &mut (dyn Progress + Send)) -> Result<Answer> {
    let catalog = services.catalog;
    let selection = selection(asked, services.bus, catalog)?;
    let mut found = query::query(services, &selection, &asked.want, progress)?;
    let Selection::Each(wanted) = &selection else { return Ok(Answer { found, selected: None }) };
    let mut selected = Selected::new(&asked.paths, &found.document, wanted, catalog);
    // Which items there are is only known when all of them are read.
    if let (false, Some(all)) = (selected.problems.is_empty(), select::with_all_items(wanted)) {
        let found = query::query(services, &Selection::Each(all.clone()), &asked.want, progress)?;
        selected.problems = Selected::new(&asked.paths, &found.document, &all, catalog).problems;
    }
    found.problems.append(&mut selected.problems);
    Ok(Answer { found, selected: Some(selected) })
}

/// What is asked for: by path, what the paths can name.
pub fn selection(asked: &Asked, bus: &Bus, catalog: &Catalog) -> Result<Selection> {
    if asked.paths.is_empty() {
        return Ok(asked.selection.clone());
    }
    let (mut names, any) = select::plugins_named(&asked.paths);
    if any {
        names.extend(query::everything(bus, catalog)?);
    }
    Ok(Selection::Each(select::wanted(&asked.paths, names, catalog, asked.args.all)))
}

fn print(found: Found, is_bare: bool, cli: &mut Cli) -> Result<Outcome> {
    let problem = Error::all(found.problems);
    // Nothing at all could be read: then there is no answer to print, and the reason decides the exit code.
    if let (Some(error), true) = (&problem, found.document.plugins.is_empty()) {
        return Err(error.clone());
    }
    match found.document.plugins.values().next() {
        Some(state) if is_bare => cli.out.document(state)?,
        _ => show::state(&mut cli.out, &found.document)?,
    }
    // The program ends here: freeing tens of thousands of values one by one first would only take time.
    std::mem::forget(found.document);
    Ok(ended(problem, cli))
}

/// Prints selected values; where there are none, the reason decides the exit code.
pub fn print_selected(selected: &Selected, problems: Vec<Error>, is_raw: bool, cli: &mut Cli) -> Result<Outcome> {
    let problem = Error::all(problems);
    if let (Some(error), true) = (&problem, selected.values.is_empty()) {
        return Err(error.clone());
    }
    answers::selection(&mut cli.out, selected, is_raw)?;
    Ok(ended(problem, cli))
}

/// An answer was printed: what is missing from it makes it a partial one.
pub fn ended(problem: Option<Error>, cli: &mut Cli) -> Outcome {
    let Some(error) = problem else { return Outcome::Done };
    cli.out.fail(&error);
    Outcome::Partial
}

//! Printing what was read before, without asking anybody.

use crate::Asked;
use crate::live::{ended, print_selected};
use op_dbus::apply::select::{self, Selected};
use op_dbus::base::{Error, Kind, Result, time};
use op_dbus::cli::{Cli, Outcome, answers};

pub fn run(asked: &Asked, cli: &mut Cli) -> Result<Outcome> {
    let max_age = asked.args.max_age.as_deref().map(time::parse_duration).transpose()?;
    let root = cli.root()?;
    let catalog = cli.catalog(&root)?;
    let Some(cache) = cli.cache(&root) else {
        return Err(Error::usage("answers of another machine and of recordings are not kept")
            .on("--cached")
            .hint("leave --cached out, or run op-query --cached on that machine"));
    };
    let kept = || cache.plugins(&catalog).map(str::to_owned).collect::<Vec<_>>();
    let wanted = if asked.paths.is_empty() {
        asked.selection.each(&asked.want, || Ok(kept()))?
    } else {
        let (mut names, any) = select::plugins_named(&asked.paths);
        if any {
            names.extend(kept());
        }
        select::wanted(&asked.paths, names, &catalog, asked.args.all)
    };
    if wanted.is_empty() && asked.paths.is_empty() {
        return Err(Error::new(Kind::Partial, "no answer is kept").hint("read live, which keeps the answers: op-query"));
    }
    let mut answer = cache.answer(&catalog, &wanted, max_age);
    if !asked.paths.is_empty() {
        let selected = Selected::new(&asked.paths, &answer.document, &wanted, &catalog).with_ages(&answer.ages);
        let problems = [std::mem::take(&mut answer.problems), selected.problems.clone()].concat();
        return print_selected(&selected, problems, asked.args.raw, cli);
    }
    let problem = Error::all(std::mem::take(&mut answer.problems));
    if let (Some(error), true) = (&problem, answer.document.plugins.is_empty()) {
        return Err(error.clone());
    }
    answers::cached(&mut cli.out, &answer)?;
    Ok(ended(problem, cli))
}

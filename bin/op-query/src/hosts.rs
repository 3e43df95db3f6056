//! Asking several machines at once: one line for each, when it has answered or could not be asked.

use crate::live::{Answer, read};
use crate::{Args, Asked};
use op_dbus::apply::query;
use op_dbus::base::{Error, Progress as _, Result, Silent};
use op_dbus::bus::{Bus, Target};
use op_dbus::cli::answers::{self, HostAnswer};
use op_dbus::cli::{Cli, Outcome};
use op_dbus::plugin::Catalog;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Machines asked at once: each is one ssh.
const WORKERS: usize = 16;

/// What is for one machine alone.
pub fn refuse_contradictions(args: &Args) -> Result<()> {
    let alone = [
        ("--watch", args.watch),
        ("--cached", args.cached),
        ("--bare", args.bare),
        ("--raw", args.raw),
        ("--timings", args.timings),
    ];
    match alone.iter().find(|(_, is_said)| *is_said) {
        Some((option, _)) => Err(Error::usage("this is for one machine, and several are named")
            .on(*option)
            .hint("leave it out, or run op-query once for each --host")),
        None => Ok(()),
    }
}

pub fn run(asked: &Asked, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let catalog = cli.catalog(&root)?;
    let timeout = cli.common.timeout;
    let Target::Host(first) = &cli.common.bus else { return Err(Error::failed("more hosts, and no first one")) };
    let hosts: Vec<String> = std::iter::once(first).chain(&cli.common.more_hosts).cloned().collect();
    let next = AtomicUsize::new(0);
    let take = || hosts.get(next.fetch_add(1, Ordering::Relaxed));
    let ask = |host: &String| {
        let bus = Bus::connect(&Target::Host(host.clone()), timeout)?;
        ask(asked, &bus, &catalog)
    };
    let (send, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..hosts.len().min(WORKERS) {
            let send = send.clone();
            scope.spawn(move || {
                while let Some(host) = take() {
                    if send.send((host, ask(host))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        gather(answers, hosts.len(), cli)
    })
}

fn ask(asked: &Asked, bus: &Bus, catalog: &Catalog) -> Result<Answer> {
    read(asked, &query::Asked { bus, connect: None, catalog, cache: None }, &mut Silent)
}

/// Prints each answer as it comes. Where none came from anywhere, the reasons decide the exit code.
fn gather(answers: mpsc::Receiver<(&String, Result<Answer>)>, count: usize, cli: &mut Cli) -> Result<Outcome> {
    let mut progress = cli.out.progress();
    let (mut problems, mut has_answer, mut rows) = (Vec::new(), false, Vec::new());
    for (nth, (host, answer)) in answers.into_iter().enumerate() {
        let answer = HostAnswer::new(host, answer.map(|Answer { found, selected }| (found, selected)));
        has_answer |= answer.document.is_some();
        if cli.out.look().is_json {
            cli.out.ndjson(&answer)?;
        }
        rows.extend(answer.rows);
        problems.extend(answer.errors);
        progress.say("asking machines", Some(((nth + 1) * 100 / count) as u8));
    }
    progress.finish();
    if !cli.out.look().is_json && has_answer {
        rows.sort_by(|one, other| one[0].cmp(&other[0]));
        answers::hosts(&mut cli.out, &rows)?;
    }
    match Error::all(problems) {
        Some(error) if !has_answer => Err(error),
        Some(error) => {
            cli.out.fail(&error);
            Ok(Outcome::Partial)
        }
        None => Ok(Outcome::Done),
    }
}

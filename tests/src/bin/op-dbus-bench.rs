//! Times whole programs beside each other: each round runs every command once, so that drift hits all alike.
//!
//! `op-dbus-bench [--before SCRIPT] TITLE ROUNDS NAME=COMMAND...`: the script is run by `sh -c` before each command, and
//! its time is not counted; a command is split at spaces and run without a shell; one that begins
//! with `!` is run by `sh -c`. `NAME<=MS=COMMAND` states a target, `NAME<=@OTHER=COMMAND` that of being no slower than
//! another row: missing it is said, not hidden.
//! Prints the median, the fastest and the slowest tenth in milliseconds, from fork to wait.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is its purpose")]

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

struct Entry {
    name: String,
    target: Option<Target>,
    command: String,
    times_ms: Vec<f64>,
    failures: usize,
}

/// What a row is held against.
enum Target {
    Ms(f64),
    /// The median of the row of this name.
    Row(String),
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let before = args.next_if_eq("--before").and_then(|_| args.next()).map(|script| format!("!{script}"));
    let (Some(title), Some(rounds)) = (args.next(), args.next().and_then(|n| n.parse::<usize>().ok())) else {
        eprintln!("usage: op-dbus-bench [--before SCRIPT] TITLE ROUNDS NAME[<=MS]=COMMAND...");
        return ExitCode::from(64);
    };
    let mut entries: Vec<Entry> = args.filter_map(|arg| parse(&arg)).collect();
    for round in 0..=rounds {
        for entry in &mut entries {
            if let Some(before) = &before {
                // It puts things back, and may find that there is nothing to put back.
                run(before);
            }
            let started = Instant::now();
            let is_ok = run(&entry.command);
            let took_ms = started.elapsed().as_secs_f64() * 1e3;
            // The first round warms caches and daemons.
            if round > 0 {
                entry.times_ms.push(took_ms);
            }
            entry.failures += usize::from(!is_ok);
        }
    }
    println!("\n{title} ({rounds} rounds, whole processes, milliseconds)");
    println!("  {:<44} {:>9} {:>9} {:>9}", "", "median", "min", "p90");
    let mut code = ExitCode::SUCCESS;
    entries.iter_mut().for_each(|entry| entry.times_ms.sort_by(f64::total_cmp));
    let medians: Vec<(String, f64)> =
        entries.iter().map(|entry| (entry.name.clone(), entry.times_ms[entry.times_ms.len() / 2])).collect();
    for entry in &entries {
        let at = |share: f64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index"
            )]
            let index = ((entry.times_ms.len() - 1) as f64 * share).round() as usize;
            entry.times_ms[index]
        };
        let median = at(0.5);
        let target = entry.target.as_ref().and_then(|target| match target {
            Target::Ms(ms) => Some(*ms),
            Target::Row(name) => medians.iter().find(|(other, _)| other == name).map(|(_, median)| *median),
        });
        let verdict = match target {
            Some(target) if median <= target => format!("  target {}: met", shown(target)),
            Some(target) => format!("  target {}: MISSED", shown(target)),
            None => String::new(),
        };
        println!("  {:<44} {median:>9.2} {:>9.2} {:>9.2}{verdict}", entry.name, at(0.0), at(0.9));
        if entry.failures > 0 {
            println!("    {} of {} runs failed: the row means nothing", entry.failures, rounds + 1);
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// A round target as it is, a measured one to the hundredth.
fn shown(ms: f64) -> String {
    if ms.fract() == 0.0 { format!("{ms}") } else { format!("{ms:.2}") }
}

fn parse(arg: &str) -> Option<Entry> {
    let (name, target, command) = match arg.split_once("<=") {
        Some((name, rest)) => {
            let (target, command) = rest.split_once('=')?;
            let target = match target.strip_prefix('@') {
                Some(row) => Target::Row(row.to_owned()),
                None => Target::Ms(target.parse().ok()?),
            };
            (name, Some(target), command)
        }
        None => {
            let (name, command) = arg.split_once('=')?;
            (name, None, command)
        }
    };
    Some(Entry { name: name.into(), target, command: command.into(), times_ms: Vec::new(), failures: 0 })
}

fn run(command: &str) -> bool {
    let mut child = match command.strip_prefix('!') {
        Some(script) => {
            let mut sh = Command::new("sh");
            sh.arg("-c").arg(script);
            sh
        }
        None => {
            let mut words = command.split(' ');
            let mut program = Command::new(words.next().unwrap_or_default());
            program.args(words);
            program
        }
    };
    let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().is_ok_and(|status| status.success())
}

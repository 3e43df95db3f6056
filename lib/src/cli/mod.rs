//! The programs' common front: argv in, documents out, questions, progress, signals, exit codes.
//!
//! A program is its argument structs and one call of [`main`]. Standard output and standard error are written here and
//! nowhere else; argv and the environment are read here and passed down as values.

pub mod answers;
mod args;
pub mod author;
mod common;
pub mod confirm;
#[cfg(feature = "engine")]
pub mod embed;
mod env;
mod escape;
pub mod front;
pub mod input;
mod interrupt;
mod json;
pub mod learn;
pub mod machine;
pub mod named;
mod out;
pub mod output;
pub mod packages;
mod progress;
mod secrets;
pub mod show;
pub mod show_golden;
pub mod show_packages;
pub mod show_registries;
pub mod show_store;
mod table;
pub mod timer;
pub mod trail_copy;
pub mod tree;
pub mod wizard;

pub use args::{Exit, Parsed, Program, parse};
pub use common::Common;
pub use env::Env;
pub use escape::{one_line, printable};
pub use interrupt::Interrupt;
pub use json::parse_json;
pub use out::{Look, Out};
pub use progress::Progress;

use crate::base::Result;
use argh::{ArgsInfo, FromArgs};
use std::process::ExitCode;

/// How a run that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or nothing to do (0).
    Done,
    /// With `--detailed-exitcode`: changes are pending or were made (2).
    Changes,
    /// A partial answer, or none (3).
    Partial,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Changes => 2,
            Outcome::Partial => 3,
        })
    }
}

/// What a program is given beside its own arguments.
pub struct Cli {
    /// The options every program has.
    pub common: Common,
    /// The environment.
    pub env: Env,
    /// Standard output and standard error.
    pub out: Out,
    /// The program's name and version.
    pub program: String,
}

/// A program: parses the command line, runs, reports, and says how it ended.
///
/// ```no_run
/// use op_dbus::cli::{self, Outcome, Program};
///
/// /// The current state of plugins.
/// #[derive(argh::FromArgs, argh::ArgsInfo)]
/// struct Args {
///     /// only this plugin (may be repeated)
///     #[argh(option, arg_name = "NAME")]
///     plugin: Vec<String>,
///     /// a state document as a selection; - is standard input
///     #[argh(positional)]
///     file: Option<String>,
/// }
///
/// const PROGRAM: Program = Program {
///     name: "op-query",
///     version: env!("CARGO_PKG_VERSION"),
///     default_subcommand: None,
///     optional_values: &[],
///     examples: "op-query --plugin hostname | jq .",
/// };
///
/// fn main() -> std::process::ExitCode {
///     cli::main::<Args>(&PROGRAM, |args, cli| {
///         let selection = cli::input::read_optional(args.file.as_deref())?;
///         cli.out.document(&serde_json::json!({ "plugins": {}, "selected": selection.is_some() }))?;
///         Ok(Outcome::Done)
///     })
/// }
/// ```
pub fn main<T: FromArgs + ArgsInfo>(program: &Program, run: impl FnOnce(T, &mut Cli) -> Result<Outcome>) -> ExitCode {
    match parse(program, std::env::args_os().skip(1)) {
        Ok(Parsed { args, common }) => {
            let mut cli = Cli::new(common, &format!("{} {}", program.name, program.version));
            match run(args, &mut cli) {
                Ok(outcome) => outcome.into(),
                Err(error) => cli.out.fail(&error),
            }
        }
        Err(exit) => exit.report(),
    }
}

impl Cli {
    fn new(common: Common, program: &str) -> Self {
        let env = Env::of_process();
        let out = Out::of_process(Look::of_process(&common, &env));
        Self { common, env, out, program: program.to_owned() }
    }
}

impl Exit {
    /// Prints what there is to print and says how the program ends.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Text(text) => {
                let mut out = Cli::new(Common::default(), "op-dbus").out;
                out.text(&text).map_or_else(|error| out.fail(&error), |()| ExitCode::SUCCESS)
            }
            Self::Failure { error, common } => Cli::new(common, "op-dbus").out.fail(&error),
        }
    }
}

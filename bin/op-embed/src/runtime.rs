//! ONNX Runtime: put in place, taken away.

use op_dbus::base::Result;
use op_dbus::cli::embed::runtimes;
use op_dbus::cli::{Cli, Outcome};

/// ONNX Runtime, which computes faster than what is built in: install, remove. `engines` says what computes.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "runtime")]
pub struct Runtime {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Install(Install),
    Remove(Remove),
}

/// Put ONNX Runtime into the state root, once it was tried: from its release archive, a Python wheel, or the library.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "install")]
struct Install {
    /// the archive, library or folder, or the https address of one of the first two
    #[argh(positional, arg_name = "PATH|URL")]
    path: String,
    /// the SHA-256 it must have; without https it has to be said
    #[argh(option, arg_name = "SHA256")]
    digest: Option<String>,
}

/// Take it away again: what is built in computes.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "remove")]
struct Remove {}

pub fn run(args: &Runtime, cli: &mut Cli) -> Result<Outcome> {
    match &args.command {
        Command::Install(args) => {
            runtimes::install(&runtimes::Install { what: args.path.clone(), digest: args.digest.clone() }, cli)
        }
        Command::Remove(_) => runtimes::remove(cli),
    }
}

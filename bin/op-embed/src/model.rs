//! Models and what they compute on.

use op_dbus::base::Result;
use op_dbus::cli::embed::{choice, models};
use op_dbus::cli::{Cli, Outcome};

/// Models: list, install, verify, use, remove.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "model")]
pub struct Model {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    List(List),
    Install(Install),
    Verify(Verify),
    Use(Use),
    Remove(Remove),
}

/// The models there are.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "list")]
struct List {}

/// Copy a model in: its folder, a tar archive of that, or the address of one.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "install")]
struct Install {
    /// the folder, the archive, or its https address
    #[argh(positional, arg_name = "PATH|URL")]
    path: String,
    /// the SHA-256 its archive must have; without https it has to be said
    #[argh(option, arg_name = "SHA256")]
    digest: Option<String>,
    /// put it in the place of the one of the same name
    #[argh(switch)]
    replace: bool,
    /// use it from now on
    #[argh(switch, long = "use")]
    is_used: bool,
}

/// Read all of a model, compute its reference texts and compare.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "verify")]
struct Verify {
    /// its name or folder; the one in use when not said
    #[argh(positional, arg_name = "MODEL")]
    model: Option<String>,
    /// how much to spend: low, medium or high
    #[argh(option, arg_name = "LEVEL")]
    level: Option<String>,
    /// tract (built in), auto, or the path of libonnxruntime.so
    #[argh(option, arg_name = "RUNTIME")]
    runtime: Option<String>,
    /// what to compute on, in this order: cuda,tensorrt,rocm,openvino,cpu
    #[argh(option, arg_name = "LIST")]
    provider: Option<String>,
    /// how many threads compute
    #[argh(option, arg_name = "N")]
    threads: Option<usize>,
}

/// Use a model from now on when nobody says which.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "use")]
struct Use {
    /// its name
    #[argh(positional, arg_name = "MODEL")]
    model: String,
}

/// Remove an installed model.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "remove")]
struct Remove {
    /// its name
    #[argh(positional, arg_name = "MODEL")]
    model: String,
}

/// What would compute: the runtime, its providers, and why others were not taken.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "engines")]
pub struct Engines {
    /// a model's name or folder; the one in use when not said
    #[argh(option, arg_name = "MODEL")]
    model: Option<String>,
    /// how much to spend: low, medium or high
    #[argh(option, arg_name = "LEVEL")]
    level: Option<String>,
    /// tract (built in), auto, or the path of libonnxruntime.so
    #[argh(option, arg_name = "RUNTIME")]
    runtime: Option<String>,
    /// what to compute on, in this order: cuda,tensorrt,rocm,openvino,cpu
    #[argh(option, arg_name = "LIST")]
    provider: Option<String>,
    /// how many threads compute
    #[argh(option, arg_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: &Model, cli: &mut Cli) -> Result<Outcome> {
    match &args.command {
        Command::List(_) => models::list(cli),
        Command::Install(args) => {
            let (what, digest) = (args.path.clone(), args.digest.clone());
            models::install(&models::Install { what, digest, may_replace: args.replace, is_used: args.is_used }, cli)
        }
        Command::Verify(args) => {
            let choice = choice!(args);
            let model = choice.model(cli)?;
            models::verify(&model, &choice, cli)
        }
        Command::Use(args) => {
            let model = choice::shelf(cli)?.set_used(&args.model)?;
            models::one(&model, true, cli)
        }
        Command::Remove(args) => {
            choice::shelf(cli)?.remove(&args.model)?;
            Ok(Outcome::Done)
        }
    }
}

pub fn engines(args: &Engines, cli: &mut Cli) -> Result<Outcome> {
    models::engines(&choice!(args), cli)
}

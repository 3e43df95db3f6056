//! `op-embed`: texts to vectors, computed once and answered from the cache ever after.

mod bench;
mod embed;
mod model;
mod serve;

use op_dbus::base::Result;
use op_dbus::cli::{self, Cli, Outcome, Program};

/// Texts to vectors: computed once, answered from the cache ever after.
#[derive(argh::FromArgs, argh::ArgsInfo)]
struct Args {
    #[argh(subcommand)]
    command: Command,
}

#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Embed(embed::Embed),
    Model(model::Model),
    Engines(model::Engines),
    Serve(serve::Serve),
    Bench(bench::Bench),
}

/// Every command that computes has these options.
macro_rules! choice {
    ($args:expr) => {
        op_dbus::cli::embed::Choice {
            model: $args.model.clone(),
            level: $args.level.clone(),
            runtime: $args.runtime.clone(),
            provider: $args.provider.clone(),
            threads: $args.threads,
            ..Default::default()
        }
    };
}
use choice;

const PROGRAM: Program = Program {
    name: "op-embed",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: Some("embed"),
    optional_values: &[],
    examples: "printf 'Creating container 100\\n' | op-embed\n\
               op-embed --text 'Creating container 100' --format raw > vector.f32\n\
               op-embed --format npy lines.txt > vectors.npy\n\
               op-embed model list\n\
               op-embed model install ./minilm-l6-f32\n\
               op-embed serve --http 8080\n\
               op-embed engines --runtime /opt/onnxruntime/lib",
};

fn main() -> std::process::ExitCode {
    cli::main::<Args>(&PROGRAM, run)
}

fn run(args: Args, cli: &mut Cli) -> Result<Outcome> {
    match args.command {
        Command::Embed(args) => embed::run(&args, cli),
        Command::Model(args) => model::run(&args, cli),
        Command::Engines(args) => model::engines(&args, cli),
        Command::Serve(args) => serve::run(&args, cli),
        Command::Bench(args) => bench::run(&args, cli),
    }
}

//! `op-embed`: texts to vectors, computed once and answered from the cache ever after.

/// The options of a command that computes: its own, those that say what computes, and `choice()`, which is the latter.
macro_rules! computing {
    ($(#$about:tt)* $vis:vis struct $name:ident { $($own:tt)* }) => {
        $(#$about)*
        $vis struct $name {
            $($own)*
            /// a model's name or folder; the one in use when not said
            #[argh(option, arg_name = "MODEL")]
            model: Option<String>,
            /// how much to spend: none (cache only), low, medium or high
            #[argh(option, arg_name = "LEVEL")]
            level: Option<String>,
            /// tract (built in), auto, or the path of libonnxruntime.so
            #[argh(option, arg_name = "RUNTIME")]
            runtime: Option<String>,
            /// what to compute on, in this order: cuda,tensorrt,rocm,openvino,cpu
            #[argh(option, arg_name = "LIST")]
            provider: Option<String>,
            /// how many threads work
            #[argh(option, arg_name = "N")]
            threads: Option<usize>,
        }

        impl $name {
            fn choice(&self) -> op_dbus::cli::embed::Choice {
                op_dbus::cli::embed::Choice {
                    model: self.model.clone(),
                    level: self.level.clone(),
                    runtime: self.runtime.clone(),
                    provider: self.provider.clone(),
                    threads: self.threads,
                    ..Default::default()
                }
            }
        }
    };
}

mod bench;
mod cache;
mod embed;
mod find;
mod model;
mod runtime;
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
    Runtime(runtime::Runtime),
    Serve(serve::Serve),
    Bench(bench::Bench),
    Add(find::Add),
    Search(find::Search),
    Neighbours(find::Neighbours),
    Stats(cache::Stats),
    Verify(cache::Verify),
    Gc(cache::Gc),
    Export(cache::Export),
    Warm(cache::Warm),
    Topology(cache::Topology),
}

const PROGRAM: Program = Program {
    name: "op-embed",
    version: env!("CARGO_PKG_VERSION"),
    default_subcommand: Some("embed"),
    optional_values: &[],
    many_hosts: false,
    examples: "printf 'Creating container 100\\n' | op-embed\n\
               op-embed --text 'Creating container 100' --format raw > vector.f32\n\
               op-embed --format npy lines.txt > vectors.npy\n\
               op-embed add --input text events.txt; op-embed search 'which containers were made' --top 5\n\
               op-embed stats; op-embed topology\n\
               op-embed model list\n\
               op-embed model install ./minilm-l6-f32\n\
               op-embed serve --http 8080\n\
               op-embed engines --runtime /opt/onnxruntime/lib\n\
               op-embed runtime install onnxruntime-linux-x64-1.32.0.tgz",
};

fn main() -> std::process::ExitCode {
    cli::main::<Args>(&PROGRAM, run)
}

fn run(args: Args, cli: &mut Cli) -> Result<Outcome> {
    match args.command {
        Command::Embed(args) => embed::run(&args, cli),
        Command::Model(args) => model::run(&args, cli),
        Command::Engines(args) => model::engines(&args, cli),
        Command::Runtime(args) => runtime::run(&args, cli),
        Command::Serve(args) => serve::run(&args, cli),
        Command::Bench(args) => bench::run(&args, cli),
        Command::Add(args) => find::add(&args, cli),
        Command::Search(args) => find::search(&args, cli),
        Command::Neighbours(args) => find::neighbours(&args, cli),
        Command::Stats(args) => cache::stats(&args, cli),
        Command::Verify(args) => cache::verify(&args, cli),
        Command::Gc(args) => cache::gc(&args, cli),
        Command::Export(args) => cache::export(&args, cli),
        Command::Warm(args) => cache::warm(&args, cli),
        Command::Topology(args) => cache::topology(&args, cli),
    }
}

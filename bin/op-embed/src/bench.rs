//! What a miss costs here.

use op_dbus::base::Result;
use op_dbus::cli::embed::{bench, layers};
use op_dbus::cli::{Cli, Outcome};

/// Measure what computing a vector takes here: by batch and length, and the whole way of a text.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "bench")]
pub struct Bench {
    /// how many texts go the whole way (256)
    #[argh(option, arg_name = "N", default = "256")]
    texts: usize,
    /// print the founding document's tables with the figures of this machine
    #[argh(switch)]
    layers: bool,
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

pub fn run(args: &Bench, cli: &mut Cli) -> Result<Outcome> {
    if args.layers {
        return layers::layers(&choice!(args), cli);
    }
    bench::misses(args.texts, &choice!(args), cli)
}

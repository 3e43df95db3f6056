//! What a miss costs here.

use op_dbus::base::Result;
use op_dbus::cli::embed::{bench, layers};
use op_dbus::cli::{Cli, Outcome};

computing! {
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
}
}

pub fn run(args: &Bench, cli: &mut Cli) -> Result<Outcome> {
    if args.layers {
        return layers::layers(&args.choice(), cli);
    }
    bench::misses(args.texts, &args.choice(), cli)
}

//! Documents: added, and found by meaning.

use crate::embed::open;
use op_dbus::base::Result;
use op_dbus::cli::embed::find::{self, Wanted};
use op_dbus::cli::embed::stream::Input;
use op_dbus::cli::{Cli, Outcome};

/// Embed texts and keep them as documents: records {"id","text",...} or lines.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "add")]
pub struct Add {
    /// a file of texts, - being standard input
    #[argh(positional, arg_name = "FILE")]
    file: Option<String>,
    /// what lines are: auto, text or ndjson (auto: records if the first line is one)
    #[argh(option, arg_name = "INPUT", default = "Input::Auto")]
    input: Input,
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
    /// how many threads compute
    #[argh(option, arg_name = "N")]
    threads: Option<usize>,
}

/// The documents nearest to a text.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "search")]
pub struct Search {
    /// the text
    #[argh(positional, arg_name = "QUERY")]
    query: String,
    /// how many (10)
    #[argh(option, arg_name = "N", default = "10")]
    top: usize,
    /// only documents whose metadata say so, for example host=web1 or severity>=4 (may be repeated)
    #[argh(option, arg_name = "CONDITION")]
    filter: Vec<String>,
    /// say on standard error how long it took
    #[argh(switch)]
    timings: bool,
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
    /// how many threads search and compute
    #[argh(option, arg_name = "N")]
    threads: Option<usize>,
}

/// The documents nearest to another one.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "neighbours")]
pub struct Neighbours {
    /// its id
    #[argh(positional, arg_name = "ID")]
    id: String,
    /// how many (10)
    #[argh(option, arg_name = "N", default = "10")]
    top: usize,
    /// only documents whose metadata say so, for example host=web1 or severity>=4 (may be repeated)
    #[argh(option, arg_name = "CONDITION")]
    filter: Vec<String>,
    /// say on standard error how long it took
    #[argh(switch)]
    timings: bool,
    /// the model of the documents; the one in use when not said
    #[argh(option, arg_name = "MODEL")]
    model: Option<String>,
    /// how many threads search
    #[argh(option, arg_name = "N")]
    threads: Option<usize>,
}

pub fn add(args: &Add, cli: &mut Cli) -> Result<Outcome> {
    find::add(open(args.file.as_deref())?, args.input, &choice!(args), cli)
}

pub fn search(args: &Search, cli: &mut Cli) -> Result<Outcome> {
    let wanted = Wanted { top: args.top, filter: args.filter.clone(), threads: args.threads, timings: args.timings };
    find::search(&args.query, &wanted, &choice!(args), cli)
}

pub fn neighbours(args: &Neighbours, cli: &mut Cli) -> Result<Outcome> {
    let wanted = Wanted { top: args.top, filter: args.filter.clone(), threads: args.threads, timings: args.timings };
    let choice = op_dbus::cli::embed::Choice { model: args.model.clone(), ..Default::default() };
    find::neighbours(&args.id, &wanted, &choice, cli)
}

//! Answering other programs.

use crate::cache::size;
use op_dbus::base::{Result, time};
use op_dbus::cli::embed::serve::{Listening, Server, Where, places};
use op_dbus::cli::embed::{Choice, choice, keep};
use op_dbus::cli::{Cli, Outcome};
use op_dbus::embed::kept::Cached;

/// Answer on a unix socket as the pipe does, and as OpenAI's embeddings on a loopback port.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "serve")]
pub struct Serve {
    /// the unix socket (embed.sock in the state root, unless there is a port or a socket of systemd's)
    #[argh(option, arg_name = "PATH")]
    socket: Option<String>,
    /// a loopback address or a port on 127.0.0.1 for POST /v1/embeddings
    #[argh(option, arg_name = "ADDR")]
    http: Option<String>,
    /// a further name the model answers to on that port (may be repeated)
    #[argh(option, arg_name = "NAME")]
    alias: Vec<String>,
    /// end when nobody was connected for so long, for example 10m
    #[argh(option, arg_name = "DUR")]
    idle: Option<String>,
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
    /// how exact vectors are, here and in the cache: f32, f16 or int8 (f16)
    #[argh(option, long = "type", arg_name = "TYPE")]
    vector_type: Option<String>,
    /// neither ask the cache nor keep anything
    #[argh(switch)]
    no_cache: bool,
    /// read ahead what will be asked for, filling so much memory at most, for example 256M
    #[argh(option, arg_name = "SIZE")]
    warm: Option<String>,
    /// where it answers and computes: local, node N, most-memory, interleave, replicate or off
    #[argh(option, arg_name = "STRATEGY")]
    numa: Option<String>,
}

pub fn run(args: &Serve, cli: &mut Cli) -> Result<Outcome> {
    let idle = args.idle.as_deref().map(time::parse_duration).transpose().map_err(|e| e.or_on("--idle"))?;
    let choice = Choice {
        vector_type: args.vector_type.clone(),
        no_cache: args.no_cache,
        numa: args.numa.clone(),
        ..choice!(args)
    };
    let budget = args.warm.as_deref().map(|text| size(text, "--warm")).transpose()?;
    // Threads begin where the one is that starts them.
    let placed = keep::place(args.numa.as_deref(), cli)?;
    let cache = if choice.no_cache { None } else { choice::cache(cli)? };
    let embedder = choice.embedder_with(cache.clone(), cli)?;
    let vector_type = choice.vector_type()?;
    let warming = cache.as_ref().and_then(|cache| placed.warming(cache, budget));
    let kept = cache.map(|cache| Cached::new(cache, embedder.model(), vector_type));
    let place = Where { socket: args.socket.clone(), http: args.http.clone() };
    let listening = Listening::open(&place, cli)?;
    for place in places(&listening) {
        cli.out.note(&format!("{} answers on {}", embedder.model(), place.as_str().unwrap_or_default()));
    }
    Server::new(embedder, kept, args.alias.clone()).warmed(warming).serve(&listening, idle, cli)
}

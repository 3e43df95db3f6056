//! The cache itself, and the machine it is on.

use op_dbus::base::{Error, Result};
use op_dbus::cli::embed::{Choice, keep};
use op_dbus::cli::{Cli, Outcome};
use op_dbus::embed::cache::Collect;

/// What the cache holds, what it saved, and what of it is in memory.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "stats")]
pub struct Stats {}

/// Look at every vector of the cache.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "verify")]
pub struct Verify {
    /// take out what is damaged
    #[argh(switch)]
    repair: bool,
}

/// Make room in the cache.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "gc")]
pub struct Gc {
    /// the most it may take, for example 512M; what is used least goes
    #[argh(option, arg_name = "SIZE")]
    max_bytes: Option<String>,
    /// compress segments of which zstd saves this share (0.25); 2: none
    #[argh(option, arg_name = "SHARE")]
    compress_from: Option<f64>,
    /// remove the whole cache
    #[argh(switch)]
    reset: bool,
}

/// One vector's bytes, as they are stored.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// the digest of its key
    #[argh(option, arg_name = "DIGEST")]
    hash: Option<String>,
    /// its text
    #[argh(option, arg_name = "TEXT")]
    text: Option<String>,
    /// the model of that text; the one in use when not said
    #[argh(option, arg_name = "MODEL")]
    model: Option<String>,
    /// the type of that vector: f32, f16 or int8 (f16)
    #[argh(option, long = "type", arg_name = "TYPE")]
    vector_type: Option<String>,
}

/// Read ahead what will be asked for, by how lately and how often it was.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "warm")]
pub struct Warm {
    /// the most memory it may fill, for example 256M (a quarter of what there is)
    #[argh(option, arg_name = "SIZE")]
    budget: Option<String>,
    /// keep it in memory until interrupted, within RLIMIT_MEMLOCK
    #[argh(switch)]
    lock: bool,
    /// where: local, node N, most-memory, interleave, replicate or off
    #[argh(option, arg_name = "STRATEGY")]
    numa: Option<String>,
}

/// NUMA nodes, processors and caches, and where work is put.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(subcommand, name = "topology")]
pub struct Topology {
    /// local, node N, most-memory, interleave, replicate or off
    #[argh(option, arg_name = "STRATEGY")]
    numa: Option<String>,
    /// measure how long a read of each node's memory takes
    #[argh(switch)]
    measure: bool,
    /// a folder to read instead of /sys
    #[argh(option, arg_name = "DIR")]
    sysfs_root: Option<String>,
    /// a folder to read instead of /proc
    #[argh(option, arg_name = "DIR")]
    proc_root: Option<String>,
}

pub fn stats(_: &Stats, cli: &mut Cli) -> Result<Outcome> {
    keep::stats(cli)
}

pub fn verify(args: &Verify, cli: &mut Cli) -> Result<Outcome> {
    keep::verify(args.repair, cli)
}

pub fn gc(args: &Gc, cli: &mut Cli) -> Result<Outcome> {
    if args.reset {
        return keep::reset(cli);
    }
    let usual = Collect::default();
    let max_bytes = args.max_bytes.as_deref().map(|text| size(text, "--max-bytes")).transpose()?;
    keep::collect(&Collect { max_bytes, compress_from: args.compress_from.unwrap_or(usual.compress_from) }, cli)
}

pub fn export(args: &Export, cli: &mut Cli) -> Result<Outcome> {
    let choice = Choice { model: args.model.clone(), vector_type: args.vector_type.clone(), ..Choice::default() };
    keep::export(args.hash.as_deref(), args.text.as_deref(), &choice, cli)
}

pub fn warm(args: &Warm, cli: &mut Cli) -> Result<Outcome> {
    let budget = args.budget.as_deref().map(|text| size(text, "--budget")).transpose()?;
    keep::warm(budget, args.lock, args.numa.as_deref(), cli)
}

pub fn topology(args: &Topology, cli: &mut Cli) -> Result<Outcome> {
    keep::topology(args.sysfs_root.clone(), args.proc_root.clone(), args.numa.as_deref(), args.measure, cli)
}

/// Bytes, with K, M or G for powers of 1024.
pub fn size(text: &str, option: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => Some(1),
        "K" | "KiB" => Some(1 << 10),
        "M" | "MiB" => Some(1 << 20),
        "G" | "GiB" => Some(1u64 << 30),
        _ => None,
    };
    let bytes = factor.and_then(|factor| digits.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| Error::usage("this is no size").on(format!("{option} {text}")).hint("512M, for example"))
}

//! The cache itself: what it holds, what is wrong with it, room, warmth, and where memory is.

use super::choice::Choice;
use super::serve::Warming;
use crate::base::{Error, Kind, Result};
use crate::cli::{Cli, Interrupt, Outcome};
use crate::embed::cache::{Cache, Collect, Options, Warm};
use crate::embed::documents::{Document, Latency, Placement, bytes, percent};
use crate::embed::kept;
use crate::numa::{Effect, Machine, Plan, Strategy, Topology, Wishes, latency_ns};
use std::path::PathBuf;
use std::sync::Arc;

/// Memory that a latency is measured in: more than any cache holds.
const LATENCY_BYTES: usize = 64 << 20;
/// The share of the memory that may be used which warming fills, when nobody says how much.
const WARM_SHARE: u64 = 4;

/// The cache, to be looked at or changed.
pub fn open(cli: &Cli) -> Result<Cache> {
    Cache::open(&cli.root()?.embeddings(), Options::default())
}

/// Prints what the cache holds and what it was worth.
pub fn stats(cli: &mut Cli) -> Result<Outcome> {
    let stats = open(cli)?.stats()?;
    if cli.out.look().is_json {
        cli.out.document(&stats)?;
        return Ok(Outcome::Done);
    }
    let share = |value: Option<f64>| value.map_or("unknown".into(), percent);
    let saved_s = stats.asked.saved_ns as f64 / 1e9;
    let rows = [
        ("vectors", stats.vectors.to_string()),
        (
            "hits",
            format!("{} of {} ({})", stats.asked.hits, stats.asked.hits + stats.asked.misses, share(stats.hit_share)),
        ),
        (
            "computing that was saved",
            format!("{saved_s:.1} s; one vector takes {:.2} ms", stats.mean_generation_ns as f64 / 1e6),
        ),
        ("vectors on disk", bytes(stats.vector_bytes)),
        ("indexes on disk", format!("{} and {}", bytes(stats.index_bytes), bytes(stats.hash_bytes))),
        ("in memory", share(stats.resident_share)),
        ("folder", stats.folder.display().to_string()),
    ];
    cli.out.table(&["CACHE", ""], &rows.map(|(name, value)| vec![name.to_owned(), value]))?;
    let segments: Vec<Vec<String>> = stats
        .segments
        .iter()
        .map(|segment| {
            vec![
                segment.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                segment.vector_type.to_owned(),
                segment.dimension.to_string(),
                segment.records.to_string(),
                bytes(segment.stored_bytes),
                segment
                    .zstd_bytes
                    .map_or("not tried".into(), |zstd| percent(1.0 - zstd as f64 / segment.plain_bytes.max(1) as f64)),
                percent(segment.resident_bytes as f64 / segment.stored_bytes.max(1) as f64),
                segment.created.clone(),
            ]
        })
        .collect();
    if !segments.is_empty() {
        let columns = ["SEGMENT", "TYPE", "DIMENSION", "VECTORS", "SIZE", "ZSTD SAVES", "IN MEMORY", "SINCE"];
        cli.out.table(&columns, &segments)?;
    }
    Ok(Outcome::Done)
}

/// Looks at every vector; what is damaged is taken out when asked for.
pub fn verify(repairs: bool, cli: &mut Cli) -> Result<Outcome> {
    let verified = open(cli)?.verify(repairs)?;
    if cli.out.look().is_json {
        cli.out.document(&Document::new("embedding_verification", &verified))?;
    } else {
        cli.out.text(&format!(
            "{} vectors, {} whole, {} wrong, {} not in the fast index; the index is {}{}",
            verified.vectors,
            verified.whole,
            verified.wrong,
            verified.not_in_hash,
            if verified.is_index_sound { "sound" } else { "damaged" },
            if verified.is_repaired { "; repaired" } else { "" },
        ))?;
        for problem in &verified.problems {
            cli.out.text(&format!("{}, record {}: {}", problem.file.display(), problem.slot, problem.what))?;
        }
    }
    if verified.is_good() || verified.is_repaired {
        return Ok(Outcome::Done);
    }
    Err(Error::new(Kind::Untrusted, "the cache is damaged; what is damaged is never answered")
        .on(cli.root()?.embeddings().display().to_string())
        .hint("op-embed verify --repair takes it out; it is computed again when it is asked for"))
}

/// Makes room.
pub fn collect(wishes: &Collect, cli: &mut Cli) -> Result<Outcome> {
    let collected = open(cli)?.collect(wishes)?;
    if cli.out.look().is_json {
        cli.out.document(&Document::new("embedding_collection", &collected))?;
    } else {
        cli.out.text(&format!(
            "{} before, {} after: {} vectors evicted, {} records dropped, {} segments written again",
            bytes(collected.bytes_before),
            bytes(collected.bytes_after),
            collected.evicted,
            collected.dropped,
            collected.rewritten
        ))?;
    }
    Ok(Outcome::Done)
}

/// Removes the whole cache.
pub fn reset(cli: &mut Cli) -> Result<Outcome> {
    let folder = cli.root()?.embeddings();
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove the cache", &folder, &error))
        }
        _ => {
            cli.out.note("the cache is empty; vectors are computed again as they are asked for");
            Ok(Outcome::Done)
        }
    }
}

/// Prints one vector's bytes as they are stored.
pub fn export(digest: Option<&str>, text: Option<&str>, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_stdout_terminal {
        return Err(Error::usage("a terminal cannot show these bytes").hint("send them to a file or a pipe"));
    }
    let cache = open(cli)?;
    let key = match (digest, text) {
        (Some(digest), None) => cache.key_of(digest)?,
        (None, Some(text)) => kept::keys(&choice.model(cli)?, choice.vector_type()?).of(text),
        _ => return Err(Error::usage("say which vector: --hash H or --text TEXT").on("export")),
    };
    let bytes = cache.export(&key).ok_or_else(|| {
        Error::new(Kind::Unavailable, "the cache has no such vector")
            .on(key.to_string())
            .hint("op-embed --text computes it")
    })?;
    cli.out.bytes(&bytes)?;
    Ok(Outcome::Done)
}

/// What to do where, as `--numa` and the environment say it.
pub fn wishes(strategy: Option<&str>, cli: &Cli) -> Result<Wishes> {
    let variable = |name: &str| {
        let ours = cli.env.text(&format!("OP_DBUS_NUMA_{name}"));
        ours.or_else(|| cli.env.text(&format!("OPDBUS_NUMA_{name}")))
    };
    let wishes = Wishes::from_variables(variable)?;
    match strategy {
        Some(text) => Ok(Wishes { strategy: Strategy::parse(text).map_err(|e| e.or_on("--numa"))?, ..wishes }),
        None => Ok(wishes),
    }
}

/// The machine, who works where on it, and the calling thread in its place.
#[derive(Debug)]
pub struct Placed {
    topology: Topology,
    plan: Plan,
}

/// Puts the calling thread, and those it starts, where they answer from; what the kernel refuses is said.
pub fn place(strategy: Option<&str>, cli: &mut Cli) -> Result<Placed> {
    let topology = Topology::read(&Machine::default());
    let plan = Plan::here(&topology, &wishes(strategy, cli)?)?;
    for step in plan.take(0).iter().filter(|step| matches!(step.effect, Effect::Denied(_))) {
        cli.out.warn(&format!("could not {}: {}; it works where it is", step.what, step.why()));
    }
    Ok(Placed { topology, plan })
}

impl Placed {
    /// What is read ahead by a program that goes on: so much as was said, or what a copy on each node needs.
    #[must_use]
    pub fn warming(self, cache: &Arc<Cache>, budget: Option<u64>) -> Option<Warming> {
        let budget_bytes = match budget {
            None if self.plan.replicas.is_empty() => return None,
            budget => budget.unwrap_or_else(|| usual_budget(&self.topology)),
        };
        Some(Warming { cache: Arc::clone(cache), budget_bytes, topology: self.topology, plan: self.plan })
    }
}

/// What warming may fill when nobody says how much.
pub(super) fn usual_budget(topology: &Topology) -> u64 {
    let total = topology.nodes.iter().filter_map(|node| node.memory_total_bytes).sum::<u64>();
    topology.memory_limit_bytes.unwrap_or(total).min(total.max(1)) / WARM_SHARE
}

/// Reads ahead what will be asked for.
pub fn warm(budget: Option<u64>, locks: bool, strategy: Option<&str>, cli: &mut Cli) -> Result<Outcome> {
    let cache = open(cli)?;
    let topology = Topology::read(&Machine::default());
    let plan = Plan::here(&topology, &wishes(strategy, cli)?)?;
    let interrupt = Interrupt::install()?;
    let warmed = cache.warm(&Warm {
        budget_bytes: budget.unwrap_or_else(|| usual_budget(&topology)),
        locks,
        plan: Some(&plan),
        should_stop: &|| interrupt.count() > 0,
    })?;
    if cli.out.look().is_json {
        cli.out.document(&Document::new("embedding_warming", &warmed))?;
    } else {
        cli.out.text(&format!(
            "{} of {} vectors with a known use, {}: {} in memory before, {} after, {:.0} ms",
            warmed.chosen,
            warmed.known,
            bytes(warmed.bytes),
            percent(warmed.resident_before),
            percent(warmed.resident_after),
            warmed.ns as f64 / 1e6
        ))?;
    }
    if locks && warmed.locked_bytes > 0 {
        cli.out.note("locked until this ends: interrupt it to let go");
        while interrupt.count() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
    Ok(Outcome::Done)
}

/// Draws the machine, and says where work would be put.
pub fn topology(
    sys: Option<String>,
    proc: Option<String>,
    strategy: Option<&str>,
    measures: bool,
    cli: &mut Cli,
) -> Result<Outcome> {
    let is_other = sys.is_some() || proc.is_some();
    let machine = Machine {
        sys: sys.map_or_else(|| "/sys".into(), PathBuf::from),
        proc: proc.map_or_else(|| "/proc".into(), PathBuf::from),
    };
    let topology = Topology::read(&machine);
    let wishes = wishes(strategy, cli)?;
    let plan = if is_other { Plan::new(&topology, &wishes, 0)? } else { Plan::here(&topology, &wishes)? };
    let mut measured = vec![];
    // Another machine's folders say nothing about this one's memory.
    if measures && !is_other {
        for node in topology.usable_nodes() {
            if let Ok(ns) = latency_ns(Some(node.id), LATENCY_BYTES) {
                measured.push(Latency { node: node.id, latency_ns: ns });
            }
        }
    }
    let steps = if is_other { vec![] } else { plan.take(0) };
    if cli.out.look().is_json {
        cli.out.document(&Document::new("topology", Placement { topology, plan, steps, measured }))?;
        return Ok(Outcome::Done);
    }
    let mut text = topology.draw();
    for step in &steps {
        let why = if step.why().is_empty() { String::new() } else { format!(": {}", step.why()) };
        text += &format!("{}: {}{why}\n", step.what, step.word());
    }
    for Latency { node, latency_ns } in measured {
        text += &format!("a read of node {node}'s memory takes {latency_ns:.0} ns here\n");
    }
    cli.out.text(&text)?;
    Ok(Outcome::Done)
}

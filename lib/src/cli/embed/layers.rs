//! The founding document's two tables with this machine's figures: what an access takes the first time, the second, after a
//! reboot and the third, and what each layer brings, as a ratio of without to with.

use super::accesses::{ALL, Accesses, FSYNC, LOOK_UP, Measured, REBOOT, RECORD, SECOND};
use super::bench::Scratch;
use super::choice::Choice;
use super::replay;
use crate::base::Result;
use crate::cli::{Cli, Outcome};
use crate::embed::Embedder;
use crate::embed::cache::zstd_bytes;
use crate::embed::codec::{VectorType, encode};
use crate::embed::documents::{Layer, Layers, percent};
use crate::embed::kept;
use crate::embed::machine::MachineName;
use crate::numa::{Machine, Plan, Topology, Wishes, latency_ns, moved_ns};

/// Measured so often, and the middle one counts.
const ROUNDS: usize = 15;
/// Memory that a latency is measured in: more than any cache holds.
const LATENCY_BYTES: usize = 64 << 20;

/// Measures and prints.
pub fn layers(choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let (model, vector_type) = (choice.model(cli)?, choice.vector_type()?);
    let root = cli.root()?;
    let scratch = Scratch::below(&root.cache());
    let (durable, loose) = (scratch.0.join("durable"), scratch.0.join("loose"));
    root.make_parent(&durable.join("index.db"))?;
    root.make_parent(&loose.join("index.db"))?;
    // Threads are moved to measure what that brings, and not before.
    let choice = Choice { numa: Some("off".into()), ..choice.clone() };
    let mut embedder = Embedder::new(model.clone(), choice.options(cli)?, vector_type, None);
    let keys = kept::keys(&model, vector_type);
    embedder.tokenizer()?;
    embedder.engine()?;
    let mut progress = cli.out.progress();
    let mut measured = Measured { embedder: &mut embedder, keys: &keys, vector_type, durable: &durable, loose: &loose };
    // The first round makes files and fills caches of the processor, and does not count.
    measured.round(0, &mut Accesses::default())?;
    let (mut times, mut vectors) = (Accesses::default(), vec![]);
    for round in 1..=ROUNDS {
        progress.spinner(&format!("round {round} of {ROUNDS}"));
        vectors.push(measured.round(round, &mut times)?);
    }
    progress.spinner("a replayed trace");
    let layer = |layer, ratio, what: &str, founding| Layer { layer, ratio: Some(ratio), what: what.into(), founding };
    let hit = |access| times.us(access, LOOK_UP) + times.us(access, RECORD);
    let layers = vec![
        layer("caching", times.us("first", FSYNC) / times.us(SECOND, ALL), "first access to second", "100x"),
        numa(),
        affinity(),
        layer("btrfs and page cache", hit(REBOOT) / hit(SECOND), "after a reboot to second: pages in memory", "50x"),
        compression(&vectors, vector_type)?,
        replay::warming(&scratch.0.join("replay"))?,
        replay::isolation(&scratch.0)?,
    ];
    progress.finish();
    let engine = embedder.engine()?;
    let model = format!("{} by {} on {}", model.name(), engine.runtime().kind.as_str(), engine.provider().0.as_str());
    let (machine, accesses) = (MachineName::here(), times.spans());
    print(&Layers { kind: "embed_layers", version: 1, machine, model, accesses, layers }, cli)
}

/// What the type of the vectors saves, and what zstd would.
fn compression(vectors: &[Vec<f32>], vector_type: VectorType) -> Result<Layer> {
    let bytes = |kind| {
        let mut bytes = vec![];
        for vector in vectors {
            encode(kind, vector, &mut bytes);
        }
        bytes
    };
    let saves = |bytes: &[u8]| Ok::<_, crate::base::Error>(1.0 - zstd_bytes(bytes)? as f64 / bytes.len() as f64);
    let (plain, stored) = (bytes(VectorType::F32), bytes(vector_type));
    let what = format!(
        "{} bytes of f32 to {} of {vector_type}; zstd would save {} of f32 and {} of {vector_type}",
        plain.len(),
        stored.len(),
        percent(saves(&plain)?),
        percent(saves(&stored)?)
    );
    let ratio = Some(plain.len() as f64 / stored.len() as f64);
    Ok(Layer { layer: "compression", ratio, what, founding: "60 % by zstd" })
}

fn numa() -> Layer {
    let topology = Topology::read(&Machine::default());
    let latencies: Vec<f64> =
        topology.usable_nodes().filter_map(|node| latency_ns(Some(node.id), LATENCY_BYTES).ok()).collect();
    let (ratio, what) = match (latencies.iter().copied().reduce(f64::min), latencies.iter().copied().reduce(f64::max)) {
        (Some(near), Some(far)) if latencies.len() > 1 => (
            Some(far / near),
            format!("a read of the farthest node's memory, {far:.0} ns, to the nearest's, {near:.0} ns"),
        ),
        _ => (None, "not measurable here: there is one NUMA node, or memory cannot be placed".into()),
    };
    Layer { layer: "NUMA", ratio, what, founding: "1.3x" }
}

fn affinity() -> Layer {
    let topology = Topology::read(&Machine::default());
    let note = Plan::here(&topology, &Wishes::default()).ok().and_then(|plan| plan.cpu_note);
    let (ratio, what) = match (moved_ns(&topology), note) {
        (Some((stayed, moved)), _) => (
            Some(moved / stayed),
            format!(
                "1 MB read by a thread that came from another cache, {moved:.1} ns, to one that stayed, {stayed:.1} ns"
            ),
        ),
        (None, Some(why)) => (None, format!("not measurable here: {why}")),
        (None, None) => (None, "not measurable here: threads may not be moved".into()),
    };
    Layer { layer: "CPU affinity", ratio, what, founding: "2x" }
}

fn print(layers: &Layers, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_json {
        cli.out.document(layers)?;
        return Ok(Outcome::Done);
    }
    cli.out.text(&format!("{}\n{}", layers.machine, layers.model))?;
    let number = |us: f64| if us < 100.0 { format!("{us:.2} us") } else { format!("{:.2} ms", us / 1e3) };
    let rows: Vec<Vec<String>> = layers
        .accesses
        .iter()
        .map(|span| {
            let founding = span.founding_us.map(number).unwrap_or_default();
            vec![span.access.to_owned(), span.part.to_owned(), number(span.us), founding]
        })
        .collect();
    cli.out.table(&["ACCESS", "PART", "HERE", "FOUNDING DOCUMENT"], &rows)?;
    let rows: Vec<Vec<String>> = layers
        .layers
        .iter()
        .map(|layer| {
            let ratio = layer.ratio.map(|ratio| format!("{ratio:.1}x")).unwrap_or_default();
            vec![layer.layer.to_owned(), ratio, layer.founding.to_owned(), layer.what.clone()]
        })
        .collect();
    cli.out.table(&["LAYER", "HERE", "FOUNDING DOCUMENT", "WHAT"], &rows)?;
    Ok(Outcome::Done)
}

//! The founding document's two tables with this machine's figures: what an access takes the first time, the second, after a
//! reboot and the third, and what each layer brings, as a ratio of without to with.

use super::bench::{machine, median};
use super::choice::Choice;
use super::replay;
use crate::base::{Error, Result};
use crate::cli::{Cli, Outcome};
use crate::embed::Embedder;
use crate::embed::cache::{Cache, Keys, Options, Saved};
use crate::embed::documents::{Layer, Layers, MachineName, Span};
use crate::embed::kept;
use crate::numa::{Machine, Plan, Topology, Wishes, latency_ns, moved_ns};
use crate::store::file::Durability;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measured so often, and the middle one counts.
const ROUNDS: usize = 15;
/// Memory that a latency is measured in: more than any cache holds.
const LATENCY_BYTES: usize = 64 << 20;

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Default)]
struct Times {
    compute: Vec<f64>,
    save: Vec<Saved>,
    save_all: Vec<f64>,
    save_loose: Vec<f64>,
    key: Vec<f64>,
    second: Vec<f64>,
    open: Vec<f64>,
    reboot: Vec<f64>,
    third: Vec<f64>,
}

fn us(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}

/// Measures and prints.
pub fn layers(choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let (model, vector_type) = (choice.model(cli)?, choice.vector_type()?);
    let root = cli.root()?;
    let scratch = Scratch(root.cache().join(format!("bench-{}", std::process::id())));
    let (durable, loose) = (scratch.0.join("durable"), scratch.0.join("loose"));
    root.make_parent(&durable.join("index.db"))?;
    root.make_parent(&loose.join("index.db"))?;
    let mut embedder = Embedder::new(model.clone(), choice.options(cli)?, vector_type, None);
    let keys = kept::keys(&model, vector_type);
    embedder.tokenizer()?;
    embedder.engine()?;
    let mut times = Times::default();
    let mut progress = cli.out.progress();
    for round in 0..=ROUNDS {
        progress.spinner(&format!("round {round} of {ROUNDS}"));
        // The first round makes files and fills caches of the processor, and does not count.
        let mut ignored = Times::default();
        let counted = if round == 0 { &mut ignored } else { &mut times };
        measure(round, &mut embedder, &keys, &durable, &loose, counted)?;
    }
    progress.spinner("a replayed trace");
    let warming = replay::warming(&scratch.0.join("replay"))?;
    let isolation = replay::isolation(&scratch.0)?;
    progress.finish();
    let engine = embedder.engine()?;
    let model = format!("{} by {} on {}", model.name(), engine.runtime().kind.as_str(), engine.provider().0.as_str());
    let document = document(model, &mut times, warming, isolation);
    print(&document, cli)
}

fn measure(
    round: usize,
    embedder: &mut Embedder,
    keys: &Keys,
    durable: &Path,
    loose: &Path,
    times: &mut Times,
) -> Result<()> {
    let text = format!("Creating container {round}00");
    let mut vector = vec![];
    let begun = Instant::now();
    embedder.embed(&[&text], &mut vector)?.remove(0)?;
    times.compute.push(us(begun));
    let options = |durability| Options { durability, ..Options::default() };
    let begun = Instant::now();
    let key = keys.of(&text);
    times.key.push(us(begun));
    let cache = Cache::open(durable, options(Durability::Durable))?;
    let begun = Instant::now();
    let saved = cache.put(&[(key, &vector, 1)])?;
    times.save_all.push(us(begun));
    times.save.push(saved);
    let without = Cache::open(loose, options(Durability::Cache))?;
    let begun = Instant::now();
    without.put(&[(key, &vector, 1)])?;
    times.save_loose.push(us(begun));
    let mut out = vec![0f32; vector.len()];
    let mut hit = |cache: &Cache| -> Result<f64> {
        let begun = Instant::now();
        let found = cache.get(&keys.of(&text), &mut out)?;
        let taken = us(begun);
        if found.is_none() || out != vector {
            return Err(Error::failed("what was saved a moment ago is not there, so nothing can be measured"));
        }
        Ok(taken)
    };
    // The segment that was just written is mapped by the first question after it.
    hit(&cache)?;
    times.second.push(hit(&cache)?);
    drop(cache);
    forget(durable);
    let begun = Instant::now();
    let cache = Cache::open(durable, options(Durability::Durable))?;
    times.open.push(us(begun));
    times.reboot.push(hit(&cache)?);
    times.third.push(hit(&cache)?);
    Ok(())
}

/// Asks the kernel to forget a folder's pages, as a reboot does.
fn forget(folder: &Path) {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files(folder).chain(files(&folder.join("vectors"))).filter(|path| path.is_file()) {
        if let Ok(file) = File::open(path) {
            // What is not on the disk yet cannot be forgotten.
            let _ = file.sync_all();
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

fn document(model: String, times: &mut Times, warming: Layer, isolation: Layer) -> Layers {
    let saved = |part: fn(&Saved) -> u64| {
        let mut values: Vec<f64> = times.save.iter().map(|saved| part(saved) as f64 / 1e3).collect();
        median(&mut values)
    };
    let parts = [
        ("  wait for the writers", saved(|s| s.lock_ns)),
        ("  write the record", saved(|s| s.write_ns)),
        ("  wait for the disk", saved(|s| s.sync_ns)),
        ("  commit the index", saved(|s| s.commit_ns)),
        ("  update the fast index", saved(|s| s.index_ns)),
    ];
    let (compute, save) = (median(&mut times.compute), median(&mut times.save_all));
    let (second, reboot) = (median(&mut times.second), median(&mut times.reboot));
    let span = |access, part, us, founding_us| Span { access, part, us, founding_us };
    let mut accesses =
        vec![span("first", "compute", compute, Some(10_000.0)), span("first", "save", save, Some(1000.0))];
    accesses.extend(parts.map(|(part, us)| span("first", part, us, None)));
    accesses.push(span("first", "save without waiting for the disk", median(&mut times.save_loose), None));
    accesses.push(span("first", "all", compute + save, Some(11_000.0)));
    accesses.push(span("second", "key", median(&mut times.key), None));
    accesses.push(span("second", "all: key, index, checksum, copy", second, Some(160.0)));
    accesses.push(span("after a reboot", "open the cache", median(&mut times.open), None));
    accesses.push(span("after a reboot", "all, from the disk", reboot, Some(5000.0)));
    accesses.push(span("third", "all", median(&mut times.third), Some(100.0)));
    let layer = |layer, ratio, what: String, founding| Layer { layer, ratio, what, founding };
    let layers = vec![
        layer("caching", Some((compute + save) / second), "first access to second".into(), "100x"),
        numa(),
        affinity(),
        layer("btrfs and page cache", Some(reboot / second), "after a reboot to second: pages in memory".into(), "50x"),
        warming,
        isolation,
    ];
    Layers { kind: "embed_layers", version: 1, machine: machine(), model, accesses, layers }
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
    let MachineName { cpu, cpus, kernel, load } = &layers.machine;
    cli.out.text(&format!("{cpu}, {cpus} CPUs, Linux {kernel}, load {load}\n{}", layers.model))?;
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

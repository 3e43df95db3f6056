//! What a miss costs: the engine alone by batch size and length, and the whole way of a text beside it.

use super::choice::Choice;
use crate::base::{Error, Result};
use crate::cli::{Cli, Outcome};
use crate::embed::Embedder;
use crate::embed::cache::{Cache, Options};
use crate::embed::documents::{BatchRow, Bench, MachineName, Misses};
use crate::embed::embedder::Kept;
use crate::embed::kept::Cached;
use crate::embed::tokenizer::Tokenizer;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Measured so often, and the middle one counts.
const ROUNDS: usize = 9;
const SIZES: [usize; 6] = [1, 4, 8, 16, 32, 64];
const LENGTHS: [usize; 2] = [8, 32];

/// This machine.
pub(super) fn machine() -> MachineName {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    MachineName {
        cpu: cpu.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        load: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
    }
}

/// A folder that goes away.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures and prints.
pub fn misses(texts: usize, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let (model, vector_type) = (choice.model(cli)?, choice.vector_type()?);
    let root = cli.root()?;
    let scratch = Scratch(root.cache().join(format!("bench-{}", std::process::id())));
    root.make_parent(&scratch.0.join("index.db"))?;
    let cache = Arc::new(Cache::open(&scratch.0, Options::default())?);
    let kept: Box<dyn Kept> = Box::new(Cached::new(cache, &model, vector_type));
    let mut embedder = Embedder::new(model.clone(), choice.options(cli)?, vector_type, Some(kept));
    let tokenizer = Tokenizer::of(&model)?;
    let mut progress = cli.out.progress();
    let engine = embedder.engine()?;
    let name = format!(
        "{} {} on {}, {} threads",
        engine.runtime().kind.as_str(),
        engine.runtime().version,
        engine.provider().0.as_str(),
        engine.threads()
    );
    let opening_ms = engine.opening.as_secs_f64() * 1e3;
    let mut batches = vec![];
    for tokens in LENGTHS {
        let ids: Vec<i64> = (0..tokens as i64).map(|at| 1000 + at * 7).collect();
        for size in SIZES {
            progress.spinner(&format!("{size} texts of {tokens} tokens"));
            let batch = vec![ids.as_slice(); size];
            engine.run(&batch)?;
            let mut taken: Vec<f64> = vec![];
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                engine.run(&batch)?;
                taken.push(begun.elapsed().as_secs_f64() * 1e3 / size as f64);
            }
            batches.push(BatchRow { tokens, texts: size, ms_per_text: median(&mut taken) });
        }
    }
    progress.spinner("texts that are not in the cache");
    let misses = whole_way(texts, &tokenizer, &mut embedder)?;
    progress.finish();
    let bench = Bench {
        kind: "embed_bench",
        version: 1,
        machine: machine(),
        model: model.name().to_owned(),
        engine: name,
        opening_ms,
        batches,
        misses,
    };
    print(&bench, cli)
}

/// The same texts through the engine and through everything, in turns: a machine that gets busy slows both.
fn whole_way(count: usize, tokenizer: &Tokenizer, embedder: &mut Embedder) -> Result<Misses> {
    if count == 0 {
        return Err(Error::usage("no text takes no time").on("--texts"));
    }
    let text = |round: usize, at: usize| format!("Backup of VM {at} failed in round {round}: no space left on device");
    let (mut engine_ms, mut whole_ms) = (vec![], vec![]);
    let mut vectors = vec![];
    for round in 0..ROUNDS {
        let texts: Vec<String> = (0..count).map(|at| text(round, at)).collect();
        let tokens = texts.iter().map(|text| tokenizer.tokens(text)).collect::<Result<Vec<_>>>()?;
        let ids: Vec<&[i64]> = tokens.iter().map(|tokens| tokens.ids.as_slice()).collect();
        let begun = Instant::now();
        embedder.engine()?.run(&ids)?;
        engine_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let begun = Instant::now();
        embedder.embed(&texts, &mut vectors)?;
        whole_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let (engine_ms, whole_ms) = (median(&mut engine_ms), median(&mut whole_ms));
    Ok(Misses { texts: count, engine_ms, whole_ms, ratio: whole_ms / engine_ms })
}

fn print(bench: &Bench, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_json {
        cli.out.document(bench)?;
        return Ok(Outcome::Done);
    }
    let MachineName { cpu, cpus, kernel, load } = &bench.machine;
    cli.out.text(&format!("{cpu}, {cpus} CPUs, Linux {kernel}, load {load}"))?;
    cli.out.text(&format!("{}: {}, opened in {:.0} ms", bench.model, bench.engine, bench.opening_ms))?;
    let row = |tokens: usize| {
        let of_length = bench.batches.iter().filter(|row| row.tokens == tokens);
        let cells = of_length.map(|row| format!("{:.2}", row.ms_per_text));
        std::iter::once(format!("{tokens} tokens, ms a text")).chain(cells).collect::<Vec<_>>()
    };
    let columns: Vec<String> = SIZES.iter().map(ToString::to_string).collect();
    let columns: Vec<&str> = std::iter::once("TEXTS AT ONCE").chain(columns.iter().map(String::as_str)).collect();
    cli.out.table(&columns, &LENGTHS.map(row))?;
    let Misses { texts, engine_ms, whole_ms, ratio } = &bench.misses;
    cli.out.text(&format!(
        "{texts} texts that are not in the cache: {whole_ms:.1} ms, of which the engine takes {engine_ms:.1} ({ratio:.2})"
    ))?;
    Ok(Outcome::Done)
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

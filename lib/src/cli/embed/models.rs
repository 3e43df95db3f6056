//! What `op-embed model` and `op-embed engines` print.

use super::choice::{Choice, shelf};
use crate::base::digest::Plain;
use crate::base::{Error, Kind, Result};
use crate::cli::{Cli, Outcome};
use crate::embed::Model;
use crate::embed::documents::{Engines, ListedModel, ModelVerification, Models, NotTaken};
use crate::embed::engine::Engine;
use crate::embed::tokenizer::Tokenizer;
use crate::http::{self, Partial};
use serde::Deserialize;
use std::path::Path;

/// No archive of a model that is fetched is larger.
const MAX_DOWNLOAD_BYTES: u64 = 2 << 30;

/// A computed vector may differ from the reference by no more than this.
const LOWEST_COSINE: f64 = 0.999;

/// And no more than this may come from other texts in its batch: the last digits, where a machine adds in another order.
const LARGEST_DIFFERENCE: f32 = 1e-5;

/// Prints the models there are.
pub fn list(cli: &mut Cli) -> Result<Outcome> {
    let models = shelf(cli)?.list()?.into_iter().map(ListedModel::from).collect();
    print(models, cli)
}

/// Prints what was changed.
pub fn one(model: &Model, is_used: bool, cli: &mut Cli) -> Result<Outcome> {
    print(vec![ListedModel { is_used, ..model.into() }], cli)
}

fn print(models: Vec<ListedModel>, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_json {
        cli.out.document(&Models { kind: "models", version: 1, models })?;
    } else {
        let rows: Vec<Vec<String>> = models.iter().map(ListedModel::row).collect();
        cli.out.table(&["MODEL", "", "LEVEL", "DIMENSION", "SIZE", "LICENCE", "PLACE"], &rows)?;
    }
    Ok(Outcome::Done)
}

/// What is installed, and how.
#[derive(Debug, Clone, Default)]
pub struct Install {
    /// A folder, an archive, or the address of one.
    pub what: String,
    /// `--digest`: what the archive's digest must be.
    pub digest: Option<String>,
    /// `--replace`
    pub may_replace: bool,
    /// `--use`
    pub is_used: bool,
}

/// Copies a model in, and says what it is.
pub fn install(wanted: &Install, cli: &mut Cli) -> Result<Outcome> {
    let shelf = shelf(cli)?;
    let what = wanted.what.strip_prefix("file://").unwrap_or(&wanted.what);
    let is_web = ["https://", "http://"].iter().any(|scheme| what.starts_with(scheme));
    let mut model = if is_web {
        let archive = download(what, wanted.digest.as_deref(), cli)?;
        shelf.install_archive(&archive, what, wanted.may_replace)?
    } else {
        if let Some(digest) = &wanted.digest {
            let bytes = std::fs::read(what).map_err(|e| Error::io("read the model", Path::new(what), &e))?;
            check(&bytes, digest).map_err(|e| e.or_on(what))?;
        }
        shelf.install(Path::new(what), wanted.may_replace)?
    };
    if wanted.is_used {
        model = shelf.set_used(model.name())?;
    }
    one(&model, wanted.is_used, cli)
}

/// The archive at an address. A manifest tells whether its files are whole, not whether they are the author's, so what
/// anybody on the way could have changed must be what `digest` says.
pub(super) fn download(url: &str, digest: Option<&str>, cli: &mut Cli) -> Result<Vec<u8>> {
    if digest.is_none() && url.starts_with("http://") {
        return Err(Error::refused("anybody on the way can change what comes without encryption")
            .on(url)
            .hint("say --digest sha256:..., or use an https address"));
    }
    let network = cli.network();
    let mut progress = cli.out.progress();
    let mut partial = Partial::default();
    let found = http::get(url, MAX_DOWNLOAD_BYTES, &network, &mut partial, &mut |bytes, total| {
        let percent = total.filter(|total| *total > 0).map(|total| bytes * 100 / total);
        progress.spinner(&match percent {
            Some(percent) => format!("{} MB, {percent} %", bytes / 1_000_000),
            None => format!("{} MB", bytes / 1_000_000),
        });
        Ok(())
    });
    progress.finish();
    if !found? {
        return Err(Error::new(Kind::Unavailable, "the server has no such file").on(url));
    }
    if let Some(digest) = digest {
        check(&partial.bytes, digest).map_err(|e| e.or_on(url))?;
    }
    Ok(partial.bytes)
}

pub(super) fn check(archive: &[u8], digest: &str) -> Result<()> {
    let wanted = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
    if wanted.len() != 64 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::usage("this is no digest")
            .on("--digest")
            .hint("64 hexadecimal digits, as sha256sum prints"));
    }
    let found = Plain::of(archive);
    if found == wanted {
        return Ok(());
    }
    Err(Error::new(Kind::Untrusted, format!("its digest is sha256:{found}, and not what --digest says")))
}

/// A text and its vector by a reference forward pass.
#[derive(Debug, Deserialize)]
struct Expected {
    text: String,
    vector: Vec<f32>,
}

/// Reads all of a model, computes its reference texts, and compares.
pub fn verify(model: &Model, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let mut size_bytes = 0;
    let mut problems = vec![];
    for file in model.manifest.files() {
        match model.read(file) {
            Ok(content) => size_bytes += content.len() as u64,
            Err(error) => problems.push(error),
        }
    }
    if let Some(error) = Error::all(problems) {
        return Err(error);
    }
    let tokenizer = Tokenizer::of(model)?;
    let mut engine = Engine::open(model, &choice.options(cli)?)?;
    let rows = match &model.manifest.reference {
        Some(file) => serde_json::from_slice::<Vec<Expected>>(&model.read(file)?)
            .map_err(|e| Error::bad_input(format!("these are no reference vectors: {e}")).on(file.file.clone()))?,
        None => vec![],
    };
    let mut lowest: Option<f64> = None;
    let mut largest = 0f32;
    for row in &rows {
        let tokens = tokenizer.tokens(&row.text)?.ids;
        let computed = engine.run(&[&tokens])?;
        let cosine = cosine(&computed, &row.vector);
        lowest = Some(lowest.map_or(cosine, |lowest| lowest.min(cosine)));
        if cosine.is_nan() || cosine < LOWEST_COSINE {
            return Err(Error::new(Kind::Untrusted, format!("the vector of {:?} is not the reference's", row.text))
                .on(format!("{model}: cosine {cosine:.6}")));
        }
        largest = largest.max(difference_in_a_batch(&mut engine, &tokens, &computed)?);
    }
    if rows.is_empty() {
        // At least it answers with what its manifest promises.
        let tokens = tokenizer.tokens("Creating container 100")?.ids;
        let computed = engine.run(&[&tokens])?;
        largest = difference_in_a_batch(&mut engine, &tokens, &computed)?;
    }
    if largest > LARGEST_DIFFERENCE {
        return Err(Error::new(Kind::Untrusted, format!("a text's vector depends on its batch: by up to {largest}"))
            .on(model.to_string())
            .hint("say batching = \"never\" in its manifest"));
    }
    let document = ModelVerification {
        kind: "model_verification",
        version: 1,
        model: model.name().to_owned(),
        size_bytes,
        engine: engine.runtime().kind.as_str().to_owned(),
        provider: engine.provider().0.as_str().to_owned(),
        reference_texts: rows.len(),
        lowest_cosine: lowest,
        batching: engine.batching(),
        largest_difference_in_a_batch: largest,
    };
    if cli.out.look().is_json {
        cli.out.document(&document)?;
    } else {
        let compared = match lowest {
            Some(lowest) => {
                format!("{} reference texts, lowest cosine {lowest:.6}, {largest:e} from a batch", rows.len())
            }
            None => "it has no reference texts; it computes".into(),
        };
        cli.out.text(&format!("{model}: files and digests as the manifest says, {compared}"))?;
    }
    Ok(Outcome::Done)
}

/// How far a text's vector is from what it is among others of its length.
fn difference_in_a_batch(engine: &mut Engine, tokens: &[i64], alone: &[f32]) -> Result<f32> {
    let last = tokens.len() - 1;
    let mut other = tokens.to_vec();
    other[last.min(1)..last].reverse();
    let batch: Vec<&[i64]> = (0..7).map(|at| if at % 3 == 0 { tokens } else { &other[..] }).collect();
    let vectors = engine.run(&batch)?;
    let own = vectors.chunks_exact(alone.len()).step_by(3);
    Ok(own.flat_map(|vector| vector.iter().zip(alone)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::NAN;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Opens a model and prints what it computes on, and what was not taken.
pub fn engines(choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let model = choice.model(cli)?;
    let engine = Engine::open(&model, &choice.options(cli)?)?;
    let runtime = engine.runtime();
    let (provider, refused) = engine.provider();
    let not_taken = |what: &str, why: &str| NotTaken { what: what.to_owned(), why: why.to_owned() };
    let document = Engines {
        kind: "engines",
        version: 1,
        runtime: runtime.kind.as_str().to_owned(),
        runtime_version: runtime.version.clone(),
        path: runtime.path.as_ref().map(|path| path.display().to_string()),
        runtimes_refused: runtime.refused.iter().map(|(path, why)| not_taken(path, why)).collect(),
        provider: provider.as_str().to_owned(),
        providers_refused: refused.iter().map(|(provider, why)| not_taken(provider.as_str(), why)).collect(),
        placement: engine.placed.clone(),
        model: model.name().to_owned(),
        opening_ms: engine.opening.as_secs_f64() * 1e3,
    };
    if cli.out.look().is_json {
        cli.out.document(&document)?;
        return Ok(Outcome::Done);
    }
    let place = document.path.clone().unwrap_or_else(|| "built in".into());
    let row = |other: &NotTaken| vec![other.what.clone(), "no".into(), other.why.clone()];
    let mut rows = vec![vec![format!("{} {}", document.runtime, document.runtime_version), "used".into(), place]];
    rows.extend(document.runtimes_refused.iter().map(row));
    rows.push(vec![document.provider.clone(), "used".into(), String::new()]);
    rows.extend(document.providers_refused.iter().map(row));
    rows.extend(document.placement.iter().map(|step| vec![step.what.clone(), step.word().into(), step.why().into()]));
    cli.out.table(&["ENGINE", "", "WHERE OR WHY"], &rows)?;
    Ok(Outcome::Done)
}

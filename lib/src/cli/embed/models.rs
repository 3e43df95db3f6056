//! What `op-embed model` and `op-embed engines` print.

use super::choice::{Choice, shelf};
use crate::base::{Error, Kind, Result};
use crate::cli::{Cli, Outcome};
use crate::embed::Model;
use crate::embed::engine::{Engine, RuntimeKind};
use crate::embed::model::shelf::Entry;
use crate::embed::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A computed vector may differ from the reference by no more than this.
const LOWEST_COSINE: f64 = 0.999;

/// And no more than this may come from other texts in its batch: the last digits, where a machine adds in another order.
const LARGEST_DIFFERENCE: f32 = 1e-5;

/// The models there are.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Models {
    /// `models`.
    pub kind: &'static str,
    /// 1.
    pub version: u32,
    /// Each of them, the built-in one first.
    pub models: Vec<Listed>,
}

/// One model.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it is used when nobody says which.
    pub used: bool,
    /// Where it lies; none for the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The level it is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// How many values a vector has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
    /// How many tokens of a text count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// All its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

impl Listed {
    fn of(entry: Entry) -> Self {
        let Entry { name, model, is_used } = entry;
        let mut listed = match &model {
            Ok(model) => Self::of_model(model),
            Err(error) => Self { error: Some(error.to_json()["error"].take()), ..Self::empty() },
        };
        listed.name = name;
        listed.used = is_used;
        listed
    }

    fn of_model(model: &Model) -> Self {
        let manifest = &model.manifest;
        Self {
            name: manifest.name.clone(),
            path: model.folder().map(|folder| folder.display().to_string()),
            level: Some(manifest.level.as_str().into()),
            dimension: Some(manifest.dimension),
            max_tokens: Some(manifest.max_tokens),
            size_bytes: Some(manifest.files().map(|file| file.size_bytes).sum()),
            licence: Some(manifest.licence.clone()),
            origin: Some(manifest.origin.clone()),
            ..Self::empty()
        }
    }

    fn empty() -> Self {
        Self {
            name: String::new(),
            used: false,
            path: None,
            level: None,
            dimension: None,
            max_tokens: None,
            size_bytes: None,
            licence: None,
            origin: None,
            error: None,
        }
    }

    fn row(&self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let size = self.size_bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6)).unwrap_or_default();
        let place = match &self.error {
            Some(error) => error["message"].as_str().unwrap_or_default().to_owned(),
            None => self.path.clone().unwrap_or_else(|| "built in".into()),
        };
        let used = if self.used { "used" } else { "" };
        let dimension = self.dimension.map(|dimension| dimension.to_string()).unwrap_or_default();
        vec![self.name.clone(), used.into(), text(&self.level), dimension, size, text(&self.licence), place]
    }
}

/// Prints the models there are.
pub fn list(cli: &mut Cli) -> Result<Outcome> {
    let models: Vec<Listed> = shelf(cli)?.list()?.into_iter().map(Listed::of).collect();
    print(models, cli)
}

/// Prints what was changed.
pub fn one(model: &Model, is_used: bool, cli: &mut Cli) -> Result<Outcome> {
    print(vec![Listed { used: is_used, ..Listed::of_model(model) }], cli)
}

fn print(models: Vec<Listed>, cli: &mut Cli) -> Result<Outcome> {
    if cli.out.look().is_json {
        cli.out.document(&Models { kind: "models", version: 1, models })?;
    } else {
        let rows: Vec<Vec<String>> = models.iter().map(Listed::row).collect();
        cli.out.table(&["MODEL", "", "LEVEL", "DIMENSION", "SIZE", "LICENCE", "PLACE"], &rows)?;
    }
    Ok(Outcome::Done)
}

/// A text and its vector by a reference forward pass.
#[derive(Debug, Deserialize)]
struct Expected {
    text: String,
    vector: Vec<f32>,
}

/// Reads all of a model, computes its reference texts, and compares.
pub fn verify(model: &Model, choice: &Choice, cli: &mut Cli) -> Result<Outcome> {
    let mut bytes = 0;
    let mut problems = vec![];
    for file in model.manifest.files() {
        match model.read(file) {
            Ok(content) => bytes += content.len(),
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
    let document = json!({
        "kind": "model-verification",
        "version": 1,
        "model": model.name(),
        "size_bytes": bytes,
        "engine": engine.runtime().kind.as_str(),
        "provider": engine.provider().0.as_str(),
        "reference_texts": rows.len(),
        "lowest_cosine": lowest,
        "batching": engine.batching(),
        "largest_difference_in_a_batch": largest,
    });
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
    let refused = refused.iter().map(|(provider, why)| json!({ "provider": provider.as_str(), "why": why }));
    let others = runtime.refused.iter().map(|(path, why)| json!({ "path": path, "why": why }));
    let path = runtime.path.as_ref().map(|path| path.display().to_string());
    let document = json!({
        "kind": "engines",
        "version": 1,
        "runtime": runtime.kind.as_str(),
        "runtime_version": runtime.version,
        "path": path,
        "runtimes_refused": others.collect::<Vec<_>>(),
        "provider": provider.as_str(),
        "providers_refused": refused.collect::<Vec<_>>(),
        "model": model.name(),
        "opening_ms": engine.opening.as_secs_f64() * 1e3,
    });
    if cli.out.look().is_json {
        cli.out.document(&document)?;
        return Ok(Outcome::Done);
    }
    let place = match runtime.kind {
        RuntimeKind::OnnxRuntime => path.unwrap_or_default(),
        RuntimeKind::Tract => "built in".into(),
    };
    let mut rows = vec![vec![format!("{} {}", runtime.kind.as_str(), runtime.version), "used".into(), place]];
    rows.extend(runtime.refused.iter().map(|(path, why)| vec![path.clone(), "no".into(), why.clone()]));
    rows.push(vec![provider.as_str().into(), "used".into(), String::new()]);
    rows.extend(engine.provider().1.iter().map(|(p, why)| vec![p.as_str().to_owned(), "no".into(), why.clone()]));
    cli.out.table(&["ENGINE", "", "WHERE OR WHY"], &rows)?;
    Ok(Outcome::Done)
}

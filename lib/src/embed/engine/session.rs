//! One session: a graph that a runtime has opened.

use super::{Options, Provider, Runtime, RuntimeKind, threads};
use crate::base::{Error, Result};
use crate::embed::model::Model;
use crate::embed::pooling::{self, Pooling};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Texts that are fed at the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The tokens of all texts, one text after the other, each filled up with zeros.
    ids: Vec<i64>,
    /// 1 where a token is one of the text, 0 where it fills up.
    mask: Vec<i64>,
    /// How many tokens each text has of its own.
    counts: Vec<usize>,
    /// How many it is fed with.
    fed: usize,
}

impl Batch {
    /// These texts, filled up to `fed` tokens.
    pub fn new<'a>(texts: impl Iterator<Item = &'a [i64]>, fed: usize) -> Self {
        let mut batch = Self { ids: vec![], mask: vec![], counts: vec![], fed };
        for ids in texts {
            batch.ids.extend(ids);
            batch.mask.extend(ids.iter().map(|_| 1));
            batch.counts.push(ids.len());
            batch.ids.resize(batch.counts.len() * fed, 0);
            batch.mask.resize(batch.counts.len() * fed, 0);
        }
        batch
    }
}

/// What the graphs of sentence encoders are fed with.
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

pub(super) struct Opened {
    session: Session,
    inputs: Vec<String>,
    output: String,
    pooling: Pooling,
    is_normalised: bool,
    dimension: usize,
    name: String,
    pub(super) provider: Provider,
    pub(super) refused: Vec<(Provider, String)>,
}

/// The runtime's own state, one for the process and for good: sessions are made in it.
fn environment() -> Result<&'static Environment> {
    static ENVIRONMENT: OnceLock<Result<Environment>> = OnceLock::new();
    let made = ENVIRONMENT.get_or_init(|| {
        let made = ort::init().with_name("op-embed").with_telemetry(false).build();
        made.map_err(|e| Error::failed(format!("could not start the runtime: {}", e.message())))
    });
    made.as_ref().map_err(Clone::clone)
}

impl Opened {
    pub(super) fn new(runtime: &Runtime, model: &Model, onnx: &[u8], options: &Options) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            Error::bad_input(format!("{} could not open the model: {first}", runtime.kind.as_str()))
                .on(model.to_string())
                .hint("op-embed model verify looks at its files")
        };
        let mut builder = Session::builder(environment()?).map_err(|e| failed(&e))?;
        // Anything less leaves tract with operators it cannot run.
        builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(|e| failed(&e))?;
        let mut provider = Provider::Cpu;
        let mut refused = vec![];
        if runtime.kind == RuntimeKind::OnnxRuntime {
            builder = builder.with_intra_threads(threads(options)).map_err(|e| failed(&e))?;
            builder = builder.with_log_level(LogLevel::Fatal).map_err(|e| failed(&e))?;
            for &wanted in &options.providers {
                match wanted.register(&mut builder) {
                    Ok(()) => {
                        provider = wanted;
                        break;
                    }
                    Err(why) => refused.push((wanted, why)),
                }
            }
        } else {
            let others = options.providers.iter().filter(|&&wanted| wanted != Provider::Cpu);
            refused.extend(others.map(|&wanted| (wanted, "tract computes on the processor".to_owned())));
        }
        if !options.providers.contains(&Provider::Cpu) && provider == Provider::Cpu {
            let reasons: Vec<String> = refused.iter().map(|(p, why)| format!("{}: {why}", p.as_str())).collect();
            return Err(Error::new(crate::base::Kind::Unavailable, "nothing that was asked for can compute here")
                .on(reasons.join("; "))
                .hint("op-embed engines shows what there is; add cpu to --provider to fall back to it"));
        }
        let session = builder.commit_from_memory(onnx).map_err(|e| failed(&e))?;
        let inputs: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
        let unknown: Vec<&String> = inputs.iter().filter(|name| ![IDS, MASK, TYPES].contains(&name.as_str())).collect();
        if !unknown.is_empty() || !inputs.iter().any(|name| name == IDS) {
            return Err(failed(&format!("it wants {inputs:?}, and a sentence encoder wants {IDS} and {MASK}")));
        }
        let outputs: Vec<String> = session.outputs().iter().map(|output| output.name().to_owned()).collect();
        let manifest = &model.manifest;
        let output = match &manifest.output {
            Some(wanted) => outputs.iter().find(|name| *name == wanted),
            None => outputs.first(),
        };
        let output = output.cloned().ok_or_else(|| failed(&format!("its outputs are {outputs:?}")))?;
        Ok(Self {
            session,
            inputs,
            output,
            pooling: manifest.pooling,
            is_normalised: manifest.normalise,
            dimension: manifest.dimension,
            name: model.to_string(),
            provider,
            refused,
        })
    }

    /// The vectors of a batch.
    pub(super) fn run(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let name = self.name.clone();
        let failed = |what: String| Error::failed(what).on(name.clone()).hint("op-embed model verify looks at it");
        let engine = |e: ort::Error| {
            let text = e.message().lines().next().unwrap_or_default().to_owned();
            failed(format!("could not compute: {text}"))
        };
        let shape = [batch.counts.len(), batch.fed];
        let zeros = vec![0i64; batch.ids.len()];
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![];
        for name in &self.inputs {
            let values = match name.as_str() {
                IDS => &batch.ids,
                MASK => &batch.mask,
                _ => &zeros,
            };
            let tensor = TensorRef::from_array_view((shape, values.as_slice())).map_err(engine)?;
            inputs.push((name.into(), tensor.into()));
        }
        let outputs = self.session.run(inputs).map_err(engine)?;
        let output = outputs.get(&self.output).ok_or_else(|| failed("the output is missing".into()))?;
        let (found, values) = output.try_extract_tensor::<f32>().map_err(engine)?;
        let expected: Vec<i64> = match self.pooling {
            Pooling::Model => vec![batch.counts.len() as i64, self.dimension as i64],
            _ => vec![batch.counts.len() as i64, batch.fed as i64, self.dimension as i64],
        };
        if found[..] != expected[..] {
            return Err(failed(format!(
                "the model gave values of shape {:?}, and its manifest promises {expected:?}",
                &found[..]
            )));
        }
        let mut vectors = self.pooling.pool(values, &batch.counts, batch.fed, self.dimension);
        for vector in vectors.chunks_exact_mut(self.dimension) {
            if self.is_normalised { pooling::normalise(vector) } else { pooling::check(vector) }
                .map_err(|e| e.or_on(self.name.clone()))?;
        }
        Ok(vectors)
    }
}

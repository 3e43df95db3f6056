//! Filling in what was not there when a block was written.

use super::client::{Effort, OpEmbed};
use super::kept::{self, BlockVectors};
use crate::audit::block;
use crate::audit::chain::Chain;
use crate::audit::search::text_of;
use crate::base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Texts that are asked for at once.
const AT_ONCE: usize = 1024;
/// How long op-embed may take for them.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Filled {
    /// Always `audit_embedded`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The model; empty when op-embed is not there.
    pub model: String,
    /// Blocks that have vectors now and had none.
    pub blocks: u64,
    /// Entries whose vectors op-embed had.
    pub hits: u64,
    /// Entries whose vectors it had to compute.
    pub misses: u64,
    /// Blocks that still have none.
    pub left: u64,
}

/// The blocks that have no vectors of `model`.
pub fn missing(chain: &Chain, model: &str) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for number in chain.first()..=chain.last() {
        // A block is never changed, but one that was torn and put aside had another digest.
        let is_there = kept::of(chain, number)
            .is_some_and(|(digest, of_model)| of_model == model && chain.has_digest(number, &digest));
        if !is_there {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// Asks for the vectors of every block that has none of `model`, or of the one that op-embed uses. `on_block` hears how
/// many are done, of how many.
pub fn fill(
    chain: &Chain,
    op_embed: &OpEmbed,
    model: Option<&str>,
    on_block: &mut dyn FnMut(u64, u64),
) -> Result<Filled> {
    let mut filled = Filled {
        kind: "audit_embedded".into(),
        version: 1,
        model: String::new(),
        blocks: 0,
        hits: 0,
        misses: 0,
        left: 0,
    };
    let asked = if model.is_none() { model_of(op_embed)? } else { None };
    let Some(model) = model.map(str::to_owned).or(asked) else {
        filled.left = (chain.last() + 1).saturating_sub(chain.first());
        return Ok(filled);
    };
    filled.model = model;
    let missing = missing(chain, &filled.model)?;
    let count = missing.len() as u64;
    let mut batch = Batch::default();
    for number in &missing {
        let bytes = chain.bytes(*number)?;
        // What is broken is for verify to say.
        let Ok(block) = block::check(&bytes, *number).and_then(block::Checked::open) else { continue };
        batch.take(*number, block.digest, &block.entries);
        if batch.texts.len() >= AT_ONCE && !batch.flush(chain, op_embed, &mut filled)? {
            break;
        }
        on_block(filled.blocks, count);
    }
    batch.flush(chain, op_embed, &mut filled)?;
    filled.left = count - filled.blocks;
    Ok(filled)
}

/// The model that op-embed answers with.
fn model_of(op_embed: &OpEmbed) -> Result<Option<String>> {
    let answer = op_embed.ask(&["op-dbus".to_owned()], Effort::Computed, PATIENCE)?;
    Ok(answer.map(|answer| answer.model).filter(|model| !model.is_empty()))
}

/// Blocks whose texts are asked for together.
#[derive(Default)]
struct Batch {
    blocks: Vec<(u64, String, usize)>,
    texts: Vec<String>,
}

impl Batch {
    fn take(&mut self, number: u64, digest: String, entries: &[Value]) {
        self.blocks.push((number, digest, entries.len()));
        self.texts.extend(entries.iter().map(text_of));
    }

    /// Whether op-embed is still there.
    fn flush(&mut self, chain: &Chain, op_embed: &OpEmbed, filled: &mut Filled) -> Result<bool> {
        let answer = match self.texts.is_empty() {
            true => None,
            false => op_embed.ask(&self.texts, Effort::Computed, PATIENCE)?,
        };
        let has_answer = answer.is_some();
        if !has_answer && !self.texts.is_empty() {
            self.blocks.clear();
            self.texts.clear();
            return Ok(false);
        }
        let (model, vectors) = match answer {
            Some(answer) => {
                filled.hits += answer.hits;
                filled.misses += answer.misses;
                (answer.model, answer.vectors)
            }
            None => (filled.model.clone(), Vec::new()),
        };
        let mut vectors = vectors.into_iter();
        for (number, digest, count) in self.blocks.drain(..) {
            let of_block: Option<Vec<Vec<f32>>> = vectors.by_ref().take(count).collect();
            let Some(vectors) = of_block else { continue };
            kept::write(chain, number, &digest, &BlockVectors { model: model.clone(), vectors })?;
            filled.blocks += 1;
        }
        self.texts.clear();
        Ok(true)
    }
}

//! Asking on the side, while something else is done: whoever asks takes what is there when they are done.

use super::client::{Answer, Effort, OpEmbed};
use super::kept::{self, BlockVectors};
use crate::audit::block::Block;
use crate::audit::chain::Chain;
use crate::audit::search::text_of;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Nobody waits for it; this only ends a thread that nobody listens to.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many of a run's texts had a vector already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counts {
    /// Texts whose vectors were kept.
    pub hits: u64,
    /// Texts whose vectors were not: they are filled in later.
    pub misses: u64,
}

/// A question that was asked.
#[derive(Debug)]
pub struct Asking {
    texts: Vec<String>,
    told: Option<Receiver<Answer>>,
    answer: Option<Answer>,
}

impl Asking {
    /// Asks for the vectors of entries, if `op_embed` is given.
    #[must_use]
    pub fn begin(op_embed: Option<&OpEmbed>, entries: &[Value]) -> Self {
        let texts: Vec<String> = entries.iter().map(text_of).collect();
        let told = op_embed.filter(|_| !texts.is_empty()).and_then(|op_embed| {
            let (tell, told) = channel();
            let (op_embed, texts) = (op_embed.clone(), texts.clone());
            let ask = move || {
                if let Ok(Some(answer)) = op_embed.ask(&texts, Effort::Kept, PATIENCE) {
                    // Whoever asked may be gone.
                    let _ = tell.send(answer);
                }
            };
            std::thread::Builder::new().name("op-embed".into()).spawn(ask).ok().map(|_| told)
        });
        Self { texts, told, answer: None }
    }

    /// How many were kept, if that is known by now.
    pub fn counts(&mut self) -> Option<Counts> {
        if let Some(answer) = self.told.as_ref().and_then(|told| told.try_recv().ok()) {
            self.answer = Some(answer);
        }
        self.answer.as_ref().map(|answer| Counts { hits: answer.hits, misses: answer.misses })
    }

    /// Keeps the vectors of a block whose texts all have one. What is missing, and what cannot be written, is filled in
    /// later.
    pub fn keep(&self, chain: &Chain, block: &Block) {
        let Some(answer) = &self.answer else { return };
        let of_text: HashMap<&str, &Option<Vec<f32>>> =
            self.texts.iter().map(String::as_str).zip(&answer.vectors).collect();
        let vector = |entry: &Value| of_text.get(text_of(entry).as_str()).copied().cloned().flatten();
        let vectors: Option<Vec<Vec<f32>>> = block.entries.iter().map(vector).collect();
        if let Some(vectors) = vectors {
            let of_block = BlockVectors { model: answer.model.clone(), vectors };
            let _ = kept::write(chain, block.header.number, &block.digest, &of_block);
        }
    }
}

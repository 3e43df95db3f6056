//! Asking on the side, while something else is done: whoever asks takes what is there when they are done.

use super::client::{Answer, Effort, OpEmbed};
use super::kept::{self, BlockVectors};
use crate::audit::block::Block;
use crate::audit::chain::Chain;
use crate::audit::search::text_of;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    answer: Option<Answer>,
}

impl Asking {
    /// Asks for the vectors of entries, if `op_embed` is given.
    #[must_use]
    pub fn begin(op_embed: Option<&OpEmbed>, entries: &[Value]) -> Self {
        let texts: Vec<String> = entries.iter().map(text_of).collect();
        let mut asking = Self { texts, told: None, is_over: Arc::default(), thread: None, answer: None };
        if let Some(op_embed) = op_embed.filter(|_| !asking.texts.is_empty()) {
            let (tell, told) = channel();
            let (op_embed, texts, is_over) = (op_embed.clone(), asking.texts.clone(), Arc::clone(&asking.is_over));
            let ask = move || {
                let answer = op_embed.ask_until(&texts, Effort::Kept, Instant::now() + PATIENCE, &is_over);
                if let Ok(Some(answer)) = answer {
                    // Whoever asked may be gone.
                    let _ = tell.send(answer);
                }
            };
            asking.thread = std::thread::Builder::new().name("op-embed".into()).spawn(ask).ok();
            asking.told = Some(told);
        }
        asking
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

impl Drop for Asking {
    /// Nothing that was started for the question outlives it.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

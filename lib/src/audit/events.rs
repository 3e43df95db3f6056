//! Other programs' events: one JSON value a line, grouped into blocks. A line that is none is refused by its number, and
//! the others are recorded.

use super::actor::Actor;
use super::block::Kind;
use super::chain::{Chain, Draft};
use crate::base::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, Read};

/// Longest line that is taken, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Events in one block.
const PER_BLOCK: usize = 100;

/// What became of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Blocks that were written.
    pub blocks: u64,
    /// Events in them.
    pub entries: u64,
    /// Why the other lines were not taken, each with its number.
    pub refused: Vec<String>,
}

/// Records the events of `input` as those of `source`.
pub fn append(chain: &Chain, mut input: impl BufRead, source: &str, actor: &Actor, program: &str) -> Result<Appended> {
    let mut appended = Appended::default();
    let mut waiting: Vec<Value> = Vec::new();
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        let read = (&mut input)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| Error::failed(format!("could not read the events: {error}")))?;
        if read > 0 {
            number += 1;
            match event(&line) {
                Ok(Some(value)) => waiting.push(json!({"source": source, "event": value})),
                Ok(None) => {}
                Err(why) => {
                    appended.refused.push(format!("line {number}: {why}"));
                    skip_line(&mut input, &line)?;
                }
            }
        }
        if waiting.len() == PER_BLOCK || (read == 0 && !waiting.is_empty()) {
            appended.entries += waiting.len() as u64;
            appended.blocks += 1;
            chain.append(Draft {
                kind: Kind::Events,
                run: None,
                actor: actor.clone(),
                program: program.to_owned(),
                detail: None,
                entries: std::mem::take(&mut waiting),
            })?;
        }
        if read == 0 {
            return Ok(appended);
        }
    }
}

fn event(line: &[u8]) -> Result<Option<Value>, String> {
    if line.len() > MAX_LINE {
        return Err(format!("it is longer than {MAX_LINE} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8 text".to_owned())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|error| format!("it is not JSON: {error}"))
}

/// Reads to the end of a line of which only the beginning was read.
fn skip_line(input: &mut impl BufRead, beginning: &[u8]) -> Result<()> {
    if beginning.ends_with(b"\n") {
        return Ok(());
    }
    input.skip_until(b'\n').map_err(|error| Error::failed(format!("could not read the events: {error}")))?;
    Ok(())
}

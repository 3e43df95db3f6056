//! Other programs' events: one JSON value a line, grouped into blocks. A line that is none is refused by its number, and
//! the others are recorded.
//!
//! What comes together is written together: a block takes what has come while the one before it was on its way to the
//! disk, and a lone event waits for others for a moment and no longer.

use super::actor::Actor;
use super::block::Kind;
use super::chain::{Chain, Draft};
use super::journal;
use crate::base::{Error, Result};
use crate::store::StateRoot;
use serde_json::{Value, json};
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Longest line that is taken, in bytes.
const MAX_LINE: usize = 64 << 10;

/// The most events in one block, and the most bytes of lines.
const PER_BLOCK: usize = 1000;
const BYTES_PER_BLOCK: usize = 4 << 20;

/// How long an event waits for others.
const MOMENT: Duration = Duration::from_millis(50);

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

/// One line of the input.
enum Line {
    Event(Value, usize),
    Refused(String),
    Broken(Error),
}

/// Records the events of `input` as those of `source`.
pub fn append(
    chain: &Chain,
    input: impl BufRead + Send + 'static,
    source: &str,
    actor: &Actor,
    program: &str,
) -> Result<Appended> {
    let (send, lines) = sync_channel(PER_BLOCK);
    // Nobody waits for its end: when nothing more can be recorded, it may still wait for a line.
    let reader = std::thread::Builder::new().name("events".into()).spawn(move || read(input, &send));
    reader.map_err(|error| Error::failed(format!("could not begin to read the events: {error}")))?;
    let mut appended = Appended::default();
    loop {
        let (events, is_end) = gather(&lines, &mut appended.refused)?;
        if !events.is_empty() {
            appended.entries += events.len() as u64;
            appended.blocks += 1;
            chain.append(Draft {
                kind: Kind::Events,
                run: None,
                actor: actor.clone(),
                program: program.to_owned(),
                detail: None,
                entries: events.into_iter().map(|event| json!({"source": source, "event": event})).collect(),
            })?;
        }
        if is_end {
            return Ok(appended);
        }
    }
}

/// Records what a program of op-dbus did outside of runs: `what`, and all there is to say about it.
pub fn record(
    root: &StateRoot,
    (actor, program): (Actor, &str),
    (source, target): (&str, &str),
    what: &str,
    mut about: Value,
) -> Result<()> {
    if let Some(about) = about.as_object_mut() {
        about.retain(|_, value| !value.is_null());
    }
    root.make_parent(&root.blocks().join("x"))?;
    let block = Chain::open(root)?.append(Draft {
        kind: Kind::Events,
        run: None,
        actor,
        program: program.to_owned(),
        detail: Some(json!({"target": target})),
        entries: vec![json!({"source": source, "event": {"what": what, "about": about}})],
    })?;
    journal::tell(Path::new(journal::SOCKET), &block);
    Ok(())
}

/// The events of the next block, and whether they are the last.
fn gather(lines: &Receiver<Line>, refused: &mut Vec<String>) -> Result<(Vec<Value>, bool)> {
    let (mut events, mut bytes, mut until) = (Vec::new(), 0, None);
    while events.len() < PER_BLOCK && bytes < BYTES_PER_BLOCK {
        let line = match until {
            None => lines.recv().ok(),
            Some(until) => match lines.recv_timeout(Instant::saturating_duration_since(&until, Instant::now())) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return Ok((events, false)),
                line => line.ok(),
            },
        };
        match line {
            Some(Line::Event(event, length)) => {
                until = until.or_else(|| Instant::now().checked_add(MOMENT));
                bytes += length;
                events.push(event);
            }
            Some(Line::Refused(why)) => refused.push(why),
            Some(Line::Broken(error)) => return Err(error),
            None => return Ok((events, true)),
        }
    }
    Ok((events, false))
}

/// Reads lines until there are no more, or nobody takes them.
fn read(mut input: impl BufRead, send: &SyncSender<Line>) {
    for number in 1_u64.. {
        let mut bytes = Vec::new();
        let read = (&mut input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes);
        let line = match read.map_err(|error| broken(&error)) {
            Ok(0) => return,
            Ok(length) => match event(&bytes) {
                Ok(None) => continue,
                Ok(Some(value)) => Line::Event(value, length),
                Err(why) => match skip_line(&mut input, &bytes) {
                    Ok(()) => Line::Refused(format!("line {number}: {why}")),
                    Err(error) => Line::Broken(error),
                },
            },
            Err(error) => Line::Broken(error),
        };
        let is_broken = matches!(line, Line::Broken(_));
        if send.send(line).is_err() || is_broken {
            return;
        }
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::failed(format!("could not read the events: {error}"))
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
    input.skip_until(b'\n').map_err(|error| broken(&error))?;
    Ok(())
}

//! `op-embed serve`: the pipe on a unix socket, for programs that ask often, and the interface of OpenAI's embeddings on a
//! loopback port, for programs that are there already.
//!
//! What is kept is answered by each connection for itself; only what must be computed waits for the others.

mod http;
mod openai;
mod sockets;
mod warming;

pub use sockets::Listening;
pub use warming::Warming;

use super::lines::Lines;
use super::stream::{Asked, Input, MAX_LINE_BYTES};
use crate::base::{Error, Result};
use crate::cli::{Cli, Interrupt, Outcome};
use crate::embed::documents::{Record, fields};
use crate::embed::embedder::{Embedder, Kept, MAX_TEXT_BYTES, Source, too_long};
use crate::embed::kept::Cached;
use serde_json::Value;
use sockets::{Accepted, Listener};
use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More connections wait until one ends.
const MOST_CONNECTIONS: usize = 64;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// A client that says nothing for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(300);

/// What every connection is answered with.
pub struct Server {
    kept: Option<Cached>,
    embedder: Mutex<Embedder>,
    dimension: usize,
    model: String,
    /// Further names the model answers to.
    aliases: Vec<String>,
    connections: AtomicUsize,
    problems: Mutex<Vec<Error>>,
    warming: Option<Warming>,
    is_ending: AtomicBool,
}

impl Server {
    /// A server of one model.
    #[must_use]
    pub fn new(embedder: Embedder, kept: Option<Cached>, aliases: Vec<String>) -> Self {
        Self {
            dimension: embedder.dimension(),
            model: embedder.model().name().to_owned(),
            kept,
            embedder: Mutex::new(embedder),
            aliases,
            connections: AtomicUsize::new(0),
            problems: Mutex::default(),
            warming: None,
            is_ending: AtomicBool::new(false),
        }
    }

    /// Reads ahead what will be asked for while it answers.
    #[must_use]
    pub fn warmed(self, warming: Option<Warming>) -> Self {
        Self { warming, ..self }
    }

    /// Answers until interrupted, or until nobody was connected for `idle`.
    pub fn serve(&self, listening: &Listening, idle: Option<Duration>, cli: &mut Cli) -> Result<Outcome> {
        let interrupt = Interrupt::install()?;
        let mut last_busy = Instant::now();
        let open: Mutex<HashMap<usize, Accepted>> = Mutex::default();
        std::thread::scope(|scope| {
            if let Some(warming) = &self.warming {
                scope.spawn(|| {
                    if let Err(error) = warming.run(&|| self.is_ending.load(Ordering::SeqCst)) {
                        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                });
            }
            let mut number = 0;
            let mut until = || loop {
                self.warn(cli);
                if interrupt.count() > 0 {
                    return Ok(Outcome::Done);
                }
                let busy = self.connections.load(Ordering::SeqCst);
                if busy > 0 {
                    last_busy = Instant::now();
                } else if idle.is_some_and(|idle| last_busy.elapsed() >= idle) {
                    return Ok(Outcome::Done);
                }
                if busy >= MOST_CONNECTIONS {
                    std::thread::sleep(LOOK);
                    continue;
                }
                for accepted in listening.accept(LOOK)? {
                    self.connections.fetch_add(1, Ordering::SeqCst);
                    number += 1;
                    let (id, open) = (number, &open);
                    if let Some(handle) = accepted.handle() {
                        open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
                    }
                    let work = move || {
                        // A client that goes away is no failure of the server.
                        let _ = match accepted {
                            Accepted::Unix(stream) => self.lines(stream),
                            Accepted::Tcp(stream) => self.requests(stream),
                        };
                        open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                        self.connections.fetch_sub(1, Ordering::SeqCst);
                    };
                    std::thread::Builder::new()
                        .name("connection".into())
                        .spawn_scoped(scope, work)
                        .map_err(|e| Error::failed(format!("could not start a thread for a connection: {e}")))?;
                }
            };
            let ended = until();
            // What was asked is answered; nothing more is read, so that nobody who says nothing is waited for.
            self.is_ending.store(true, Ordering::SeqCst);
            open.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(Accepted::read_no_more);
            ended
        })
    }

    /// The pipe, on a socket.
    fn lines(&self, stream: UnixStream) -> Result<()> {
        let attempt = |e: std::io::Error| Error::failed(format!("could not use the connection: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).map_err(attempt)?;
        let mut out = stream.try_clone().map_err(attempt)?;
        let mut input = Input::Auto;
        for block in Lines::of(stream, "the connection", MAX_LINE_BYTES)? {
            let asked: Vec<Asked> = block?.into_iter().map(|line| input.asked(line)).collect();
            let texts: Vec<&str> = asked.iter().map(|asked| asked.text.as_deref().unwrap_or_default()).collect();
            let mut vectors = vec![];
            let answers = self.answer(&texts, &mut vectors);
            let mut bytes = vec![];
            for (at, (asked, vector)) in asked.iter().zip(vectors.chunks_exact(self.dimension)).enumerate() {
                let answer = match (&asked.text, &answers) {
                    (Err(error), _) | (_, Err(error)) => Err(error),
                    (_, Ok(answers)) => answers[at].as_ref(),
                };
                let error = answer.err().map(fields);
                let record = Record {
                    id: &asked.id,
                    text: asked.text.as_deref().ok(),
                    more: asked.more.as_ref(),
                    model: error.is_none().then_some(&self.model),
                    cached: answer.ok().map(|&source| source == Source::Cache),
                    vector: error.is_none().then_some(vector),
                    error,
                };
                serde_json::to_writer(&mut bytes, &record).map_err(|e| Error::failed(e.to_string()))?;
                bytes.push(b'\n');
            }
            out.write_all(&bytes).map_err(attempt)?;
        }
        Ok(())
    }

    /// HTTP requests, one after the other.
    fn requests(&self, stream: TcpStream) -> Result<()> {
        let attempt = |e: std::io::Error| Error::failed(format!("could not use the connection: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).map_err(attempt)?;
        stream.set_nodelay(true).map_err(attempt)?;
        let mut connection = http::Connection::new(stream);
        while let Some(request) = connection.next() {
            let (response, is_last) = match request {
                Ok(request) => (self.respond(&request), request.is_last),
                Err(response) => (response, true),
            };
            connection.respond(&response, is_last).map_err(attempt)?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// The vectors of texts: what is kept without waiting, the rest when it is this connection's turn.
    fn answer(&self, texts: &[&str], vectors: &mut Vec<f32>) -> Result<Vec<Result<Source>>> {
        vectors.clear();
        vectors.resize(texts.len() * self.dimension, 0.0);
        let mut answers = Vec::with_capacity(texts.len());
        let mut missing = vec![];
        for (at, (text, out)) in texts.iter().zip(vectors.chunks_exact_mut(self.dimension)).enumerate() {
            let is_kept = self.kept.as_ref().is_some_and(|kept| kept.get(text, out).unwrap_or(false));
            answers.push(if text.len() > MAX_TEXT_BYTES { Err(too_long(text.len())) } else { Ok(Source::Cache) });
            if !is_kept && answers[at].is_ok() {
                missing.push(at);
            }
        }
        if missing.is_empty() {
            return Ok(answers);
        }
        let wanted: Vec<&str> = missing.iter().map(|&at| texts[at]).collect();
        let mut computed = vec![];
        let mut embedder = self.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        let found = embedder.embed(&wanted, &mut computed);
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).extend(embedder.take_problems());
        drop(embedder);
        for ((&at, answer), vector) in missing.iter().zip(found?).zip(computed.chunks_exact(self.dimension)) {
            answers[at] = answer;
            vectors[at * self.dimension..][..self.dimension].copy_from_slice(vector);
        }
        Ok(answers)
    }

    fn tokens(&self, texts: &[&str]) -> Result<usize> {
        let mut embedder = self.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        let tokenizer = embedder.tokenizer()?;
        texts.iter().map(|text| tokenizer.tokens(text).map(|tokens| tokens.ids.len())).sum()
    }

    fn answers_to(&self, name: &str) -> bool {
        name == self.model || self.aliases.iter().any(|alias| alias == name)
    }

    fn respond(&self, request: &http::Request) -> http::Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/embeddings") => openai::embeddings(self, &request.body),
            ("GET", "/v1/models") => openai::models(self),
            ("GET", "/health") => http::Response::json(200, &serde_json::json!({ "status": "ok" })),
            (_, "/v1/embeddings" | "/v1/models" | "/health") => {
                openai::failure(405, "this is not asked for in this way", None, "method_not_allowed")
            }
            _ => openai::failure(404, "there is nothing here; there is POST /v1/embeddings", None, "not_found"),
        }
    }

    fn warn(&self, cli: &mut Cli) {
        let problems = std::mem::take(&mut *self.problems.lock().unwrap_or_else(PoisonError::into_inner));
        for problem in problems {
            cli.out.warn(&problem.to_string());
        }
    }
}

/// Where to listen, as the command line says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Where {
    /// `--socket`.
    pub socket: Option<String>,
    /// `--http`.
    pub http: Option<String>,
}

/// What was opened, for the log.
#[must_use]
pub fn places(listening: &Listening) -> Vec<Value> {
    listening.listeners().iter().map(|listener| Value::from(Listener::name(listener))).collect()
}

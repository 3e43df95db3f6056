//! Asking `op-embed`: where it listens, else as a child process. Lines of NDJSON either way.

use crate::base::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A model reads some hundred words of a text: the rest of it is not sent.
const MOST_BYTES: usize = 4096;
/// Longest line of an answer.
const MAX_LINE: u64 = 1 << 20;

/// How often whoever asks may change their mind.
const GLANCE: Duration = Duration::from_millis(2);

/// How much may be spent on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What is kept already. A server that listens computes the rest all the same, as it is there for that.
    Kept,
    /// Whatever it takes.
    Computed,
}

/// Where op-embed is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpEmbed {
    /// Sockets it may listen on, in this order.
    pub sockets: Vec<PathBuf>,
    /// The program.
    pub program: Option<PathBuf>,
    /// The state root whose cache it answers from.
    pub root: PathBuf,
}

/// What op-embed said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The model of the vectors.
    pub model: String,
    /// A vector for each text, in order; none where it had none.
    pub vectors: Vec<Option<Vec<f32>>>,
    /// Texts whose vectors were kept.
    pub hits: u64,
    /// Texts whose vectors were not.
    pub misses: u64,
}

/// One line of what op-embed says.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    id: serde_json::Value,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    cached: Option<bool>,
    #[serde(default)]
    vector: Option<Vec<f32>>,
}

impl OpEmbed {
    /// Asks for the vectors of `texts`. `None` when no op-embed is there, or it does not answer within `patience`.
    pub fn ask(&self, texts: &[String], effort: Effort, patience: Duration) -> Result<Option<Answer>> {
        self.ask_until(texts, effort, Instant::now() + patience, &AtomicBool::new(false))
    }

    /// The same, given up as soon as `is_over`. What was started for it has ended when this returns.
    pub(super) fn ask_until(
        &self,
        texts: &[String],
        effort: Effort,
        end: Instant,
        is_over: &AtomicBool,
    ) -> Result<Option<Answer>> {
        let until = Until { end, is_over };
        for socket in &self.sockets {
            let Ok(stream) = UnixStream::connect(socket) else { continue };
            return converse(texts, &mut Server(stream), &until);
        }
        let Some(program) = &self.program else { return Ok(None) };
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.root).args(["--quiet", "--json", "embed", "--input", "ndjson"]);
        if effort == Effort::Kept {
            command.args(["--level", "none"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for who asks, and decides what becomes of this.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        match command.spawn() {
            Ok(child) => converse(texts, &mut Process(child), &until),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("start", program, &error)),
        }
    }
}

/// Two streams, and a way to end them at once.
trait Ends {
    fn open(&mut self) -> Option<(Box<dyn Write + Send>, Box<dyn Read + Send>)>;
    fn end(&mut self);
}

struct Server(UnixStream);

impl Ends for Server {
    fn open(&mut self) -> Option<(Box<dyn Write + Send>, Box<dyn Read + Send>)> {
        Some((Box::new(Half(self.0.try_clone().ok()?)), Box::new(self.0.try_clone().ok()?)))
    }

    fn end(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// What is written is at its end when this goes.
struct Half(UnixStream);

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

struct Process(Child);

impl Ends for Process {
    fn open(&mut self) -> Option<(Box<dyn Write + Send>, Box<dyn Read + Send>)> {
        Some((Box::new(self.0.stdin.take()?), Box::new(self.0.stdout.take()?)))
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn converse(texts: &[String], whom: &mut dyn Ends, until: &Until<'_>) -> Result<Option<Answer>> {
    let Some((input, output)) = whom.open() else { return Ok(None) };
    let lines: Vec<String> =
        texts.iter().enumerate().map(|(id, text)| format!("{}\n", json!({"id": id, "text": cut(text)}))).collect();
    let (send, told) = channel();
    // One thread writes and one reads: op-embed answers while it still is asked.
    let writer = std::thread::Builder::new().name("asking".into()).spawn(move || write(input, &lines));
    let reader = std::thread::Builder::new().name("answers".into()).spawn(move || read(output, &send));
    let answer = match (&writer, &reader) {
        (Ok(_), Ok(_)) => collect(texts.len(), &told, until),
        _ => Err(Error::failed("could not start a thread to ask op-embed")),
    };
    whom.end();
    for thread in [writer, reader].into_iter().flatten() {
        let _ = thread.join();
    }
    answer
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn write(mut input: Box<dyn Write + Send>, lines: &[String]) {
    // Whoever goes away meanwhile answers nothing, which shows there.
    for line in lines {
        if input.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(output: Box<dyn Read + Send>, tell: &std::sync::mpsc::Sender<Result<Record>>) {
    let mut lines = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let record = serde_json::from_slice(&line).map_err(|error| {
            Error::new(Kind::InterfaceChanged, format!("op-embed says what is no answer: {error}")).on("op-embed")
        });
        let is_wrong = record.is_err();
        if tell.send(record).is_err() || is_wrong {
            return;
        }
    }
}

/// How long to go on.
struct Until<'a> {
    end: Instant,
    is_over: &'a AtomicBool,
}

impl Until<'_> {
    /// What comes next, if it comes in time.
    fn next<T>(&self, told: &Receiver<T>) -> Option<T> {
        while !self.is_over.load(Ordering::Relaxed) {
            let left = self.end.saturating_duration_since(Instant::now());
            match told.recv_timeout(left.min(GLANCE)) {
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                next => return next.ok(),
            }
        }
        None
    }
}

fn collect(count: usize, told: &Receiver<Result<Record>>, until: &Until<'_>) -> Result<Option<Answer>> {
    let mut answer = Answer { model: String::new(), vectors: vec![None; count], hits: 0, misses: 0 };
    for _ in 0..count {
        let Some(record) = until.next(told) else { return Ok(None) };
        let record = record?;
        match record.cached {
            Some(true) => answer.hits += 1,
            _ => answer.misses += 1,
        }
        let place =
            record.id.as_u64().and_then(|id| usize::try_from(id).ok()).and_then(|id| answer.vectors.get_mut(id));
        if let (Some(place), Some(vector), Some(model)) = (place, record.vector, record.model) {
            *place = Some(vector);
            answer.model = model;
        }
    }
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Answers one connection with what `line` makes of each line.
    fn serve(path: &std::path::Path, line: fn(usize) -> String) -> std::thread::JoinHandle<usize> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut out = stream.try_clone().unwrap();
            let lines = BufReader::new(stream).lines().map_while(|line| line.ok());
            lines.enumerate().map(|(at, _)| out.write_all(format!("{}\n", line(at)).as_bytes())).count()
        })
    }

    fn asked(line: fn(usize) -> String) -> Result<Option<Answer>> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let server = serve(&socket, line);
        let missing = folder.path().join("none");
        let op_embed = OpEmbed { sockets: vec![missing, socket], ..OpEmbed::default() };
        let texts: Vec<String> = (0..3).map(|at| format!("text {at}\nof two lines")).collect();
        let answer = op_embed.ask(&texts, Effort::Computed, Duration::from_secs(5));
        server.join().unwrap();
        answer
    }

    #[test]
    fn answers_of_a_socket() {
        let good = |at: usize| json!({"id": at, "model": "m", "cached": at == 0, "vector": [at, 1]}).to_string();
        let answer = asked(good).unwrap().unwrap();
        assert_eq!((answer.model.as_str(), answer.hits, answer.misses), ("m", 1, 2));
        assert_eq!(answer.vectors[2], Some(vec![2.0, 1.0]));
        let half = |at: usize| match at {
            1 => json!({"id": 1, "error": {"message": "none is kept"}}).to_string(),
            _ => json!({"id": at, "model": "m", "cached": true, "vector": [1]}).to_string(),
        };
        let answer = asked(half).unwrap().unwrap();
        assert_eq!((answer.vectors[1].as_ref(), answer.hits, answer.misses), (None, 2, 1));
        assert_eq!(asked(|_| "no json".into()).unwrap_err().kind, Kind::InterfaceChanged);
    }

    #[test]
    fn nobody_there_is_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = OpEmbed { sockets: vec![folder.path().join("a")], ..OpEmbed::default() };
        assert_eq!(nobody.ask(&["a".into()], Effort::Computed, Duration::from_secs(1)).unwrap(), None);
        let program = Some(folder.path().join("op-embed"));
        assert_eq!(
            OpEmbed { program, ..nobody.clone() }.ask(&["a".into()], Effort::Kept, Duration::from_secs(1)).unwrap(),
            None
        );
        // One that never answers is not waited for.
        let program = Some(PathBuf::from("/bin/sleep"));
        let asked = OpEmbed { program: program.clone(), ..nobody.clone() };
        assert_eq!(asked.ask(&["a".into()], Effort::Kept, Duration::from_millis(50)).unwrap(), None);
        let _silent = UnixListener::bind(folder.path().join("a")).unwrap();
        assert_eq!(nobody.ask(&["a".into()], Effort::Kept, Duration::from_millis(50)).unwrap(), None);
    }
}

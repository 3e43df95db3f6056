//! Lines of a stream as they come: a block is what was there when it was asked for, so that a slow writer is answered
//! line by line and a fast one in blocks. No more than two blocks wait.

use crate::base::{Error, Result};
use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, sync_channel};

/// So many lines are a block at most.
pub const BLOCK_LINES: usize = 256;
/// And so many bytes, unless one line has more.
const BLOCK_BYTES: usize = 1 << 20;
const BUFFER: usize = 1 << 16;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// What it says, or why that is no text.
    pub text: Result<String>,
}

/// The blocks of a stream.
pub struct Lines {
    blocks: Receiver<Result<Vec<Line>>>,
}

impl Lines {
    /// Reads `stream` on a thread of its own; a line has `max_bytes` at most.
    pub fn of(stream: impl Read + Send + 'static, name: &str, max_bytes: usize) -> Result<Self> {
        let (send, blocks) = sync_channel(2);
        let name = name.to_owned();
        let work = move || {
            let mut splitter = Splitter::new(stream, max_bytes);
            loop {
                let block = splitter.next(&name);
                let is_last = !matches!(&block, Ok(Some(_)));
                let sent = block.transpose().is_none_or(|block| send.send(block).is_ok());
                if is_last || !sent {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("lines".into()).spawn(work);
        spawned.map_err(|e| Error::failed(format!("could not start a thread to read lines: {e}")))?;
        Ok(Self { blocks })
    }
}

impl Iterator for Lines {
    type Item = Result<Vec<Line>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.blocks.recv().ok()
    }
}

struct Splitter<R> {
    stream: R,
    max_bytes: usize,
    /// What was read; from `at` on it is not yet split.
    buffer: Vec<u8>,
    at: usize,
    /// From here on no line end was looked for.
    looked: usize,
    number: u64,
    /// The line that is being read is too long, and this many of its bytes are gone.
    dropped: usize,
    is_over: bool,
}

impl<R: Read> Splitter<R> {
    fn new(stream: R, max_bytes: usize) -> Self {
        Self { stream, max_bytes, buffer: vec![], at: 0, looked: 0, number: 0, dropped: 0, is_over: false }
    }

    /// The next block; `None` at the end.
    fn next(&mut self, name: &str) -> Result<Option<Vec<Line>>> {
        loop {
            let mut block = vec![];
            let mut bytes = 0;
            while block.len() < BLOCK_LINES && bytes < BLOCK_BYTES {
                let Some(end) = self.buffer[self.looked..].iter().position(|&byte| byte == b'\n') else {
                    self.looked = self.buffer.len();
                    break;
                };
                let end = self.looked + end;
                bytes += end - self.at;
                let line = self.line(end, name);
                block.push(line);
                self.at = end + 1;
                self.looked = self.at;
            }
            if block.is_empty() && self.is_over && (self.at < self.buffer.len() || self.dropped > 0) {
                let end = self.buffer.len();
                block.push(self.line(end, name));
                self.at = end;
            }
            if !block.is_empty() {
                return Ok(Some(block));
            }
            if self.is_over {
                return Ok(None);
            }
            self.read(name)?;
        }
    }

    /// The line that ends at `end`.
    fn line(&mut self, end: usize, name: &str) -> Line {
        self.number += 1;
        let bytes = &self.buffer[self.at..end];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let length = bytes.len() + std::mem::take(&mut self.dropped);
        let subject = || format!("{name}:{}", self.number);
        let text = if length > self.max_bytes {
            Err(Error::bad_input(format!("a line of {length} bytes is too long: {} are the most", self.max_bytes))
                .on(subject()))
        } else {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|e| {
                Error::bad_input(format!("it is not UTF-8 from byte {} on", e.valid_up_to())).on(subject())
            })
        };
        Line { number: self.number, text }
    }

    fn read(&mut self, name: &str) -> Result<()> {
        self.buffer.drain(..self.at);
        self.looked -= self.at;
        self.at = 0;
        if self.buffer.len() > self.max_bytes {
            // Nobody wants this line any more; its end is still looked for.
            self.dropped += self.buffer.len();
            self.buffer.clear();
            self.looked = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + BUFFER, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = read.map_err(|e| Error::bad_input(format!("could not read: {e}")).on(name))?;
        self.buffer.truncate(length + count);
        self.is_over = count == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives what it has in these pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn blocks(pieces: &[&[u8]], max_bytes: usize) -> Vec<Vec<(u64, Result<String, String>)>> {
        let pieces = Pieces(pieces.iter().map(|piece| piece.to_vec()).collect());
        let text = |line: Line| (line.number, line.text.map_err(|e| e.message));
        Lines::of(pieces, "x", max_bytes).unwrap().map(|b| b.unwrap().into_iter().map(text).collect()).collect()
    }

    fn ok(number: u64, text: &str) -> (u64, Result<String, String>) {
        (number, Ok(text.into()))
    }

    #[test]
    fn a_block_is_what_was_there() {
        assert_eq!(
            blocks(&[b"a\nb\r\n\nc", b"d\n", b"\xc3", b"\xa4"], 100),
            [vec![ok(1, "a"), ok(2, "b"), ok(3, "")], vec![ok(4, "cd")], vec![ok(5, "ä")]]
        );
        assert!(blocks(&[], 100).is_empty());
        let many = "x\n".repeat(300);
        let sizes: Vec<_> = blocks(&[many.as_bytes()], 100).iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 44]);
    }

    #[test]
    fn what_is_no_text_is_an_error_of_its_line_alone() {
        let found = blocks(&[b"a\nb\xffc\nd\n"], 100).concat();
        assert_eq!((&found[0], &found[2]), (&ok(1, "a"), &ok(3, "d")));
        assert!(found[1].1.as_ref().unwrap_err().contains("not UTF-8 from byte 1"));
        let long = [b'x'; 60_000];
        let found = blocks(&[b"a\n", &long, &long, b"\nb\n", &long], 1000).concat();
        assert_eq!((&found[0], &found[2]), (&ok(1, "a"), &ok(3, "b")));
        for (at, bytes) in [(1, "120000"), (3, "60000")] {
            assert!(found[at].1.as_ref().unwrap_err().contains(bytes), "{found:?}");
        }
        assert_eq!(found.len(), 4);
    }
}

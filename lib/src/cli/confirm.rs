//! Questions to a person, on the terminal itself, since standard input may be a document.

use super::escape::printable;
use super::interrupt::Interrupt;
use crate::base::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

/// What the person answered; no answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do not.
    No,
}

impl Answer {
    /// [`Answer::No`] as the refusal that ends the run.
    pub fn or_refused(self) -> Result<()> {
        match self {
            Self::Yes => Ok(()),
            Self::No => Err(Error::refused("not confirmed, nothing was changed")),
        }
    }
}

/// The refusal when [`Terminal::open`] finds no terminal.
#[must_use]
pub fn no_terminal() -> Error {
    Error::refused("this needs a confirmation, and there is no terminal to ask on")
        .hint("pass --yes to confirm without being asked")
}

/// How often a waiting question looks whether the run was interrupted.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// An answer longer than this is none.
const LONGEST: usize = 4096;

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    interrupt: Interrupt,
}

impl Terminal {
    /// The terminal this program was started from, if there is one; Ctrl-C at a question shows in `interrupt`.
    #[must_use]
    pub fn open(interrupt: &Interrupt) -> Option<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { tty, interrupt: interrupt.clone() })
    }

    /// Shows `text` and asks `question`; only `y` or `yes` is yes.
    pub fn ask_yes_no(&mut self, text: &str, question: &str) -> Result<Answer> {
        let answer = self.ask(text, &format!("{question} [y/N]: "))?;
        let is_yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
        Ok(if is_yes { Answer::Yes } else { Answer::No })
    }

    /// Shows `text` and asks `question`; only `expected`, letter by letter, is yes.
    pub fn ask_exact(&mut self, text: &str, question: &str, expected: &str) -> Result<Answer> {
        let answer = self.ask(text, &format!("{question} (type {expected:?}): "))?;
        Ok(if !expected.is_empty() && answer.trim() == expected { Answer::Yes } else { Answer::No })
    }

    /// Shows `text` and asks `question`, which has a default: no answer is the default.
    pub fn ask_or(&mut self, text: &str, question: &str, default: &str) -> Result<String> {
        let answer = self.ask(text, &format!("{question} [{default}]: "))?;
        let answer = answer.trim();
        Ok(if answer.is_empty() { default } else { answer }.to_owned())
    }

    fn ask(&mut self, text: &str, question: &str) -> Result<String> {
        let failed = |e: std::io::Error| Error::refused(format!("could not ask on the terminal: {e}"));
        let mut shown = printable(text.trim_end()).into_owned();
        if !shown.is_empty() {
            shown.push_str("\n\n");
        }
        shown.push_str(&printable(question));
        self.tty.write_all(shown.as_bytes()).and_then(|()| self.tty.flush()).map_err(failed)?;
        let asked_at = self.interrupt.count();
        let mut answer = Vec::new();
        let mut byte = [0];
        loop {
            if self.interrupt.count() > asked_at {
                // The terminal shows ^C; what follows starts on a new line.
                let _ = self.tty.write_all(b"\n");
                return Err(Error::refused("interrupted at the question, nothing was changed"));
            }
            let mut waited_for = [PollFd::new(&self.tty, PollFlags::IN)];
            match poll(&mut waited_for, Some(&GLANCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(failed(e.into())),
            }
            // A hung-up terminal reads as an error, which is no answer, like its end.
            match self.tty.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => break,
                Ok(1) if answer.len() < LONGEST => answer.push(byte[0]),
                _ => {
                    let _ = self.tty.write_all(b"\n");
                    return Ok(String::new());
                }
            }
        }
        Ok(String::from_utf8(answer).unwrap_or_default())
    }
}

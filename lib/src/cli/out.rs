//! The one place that writes to standard output and standard error.

use super::common::Common;
use super::env::Env;
use super::escape::{json_for_terminal, one_line, printable};
use super::progress::Progress;
use super::table;
use crate::base::{Error, Result};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How output looks: what was asked for, and what is at the other end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Documents are printed as JSON.
    pub is_json: bool,
    /// `--json` was given: standard error carries nothing but JSON either.
    pub is_strict_json: bool,
    /// Failures are reported as JSON.
    pub is_json_on_stderr: bool,
    /// Standard output is a terminal.
    pub is_stdout_terminal: bool,
    /// Standard error is a terminal.
    pub is_stderr_terminal: bool,
    /// Colours are welcome on standard error.
    pub is_colored: bool,
    /// Neither progress nor notes.
    pub is_quiet: bool,
    /// How many columns a table may take.
    pub columns: Option<usize>,
}

impl Look {
    /// What the options, the environment and the two streams ask for.
    #[must_use]
    pub fn of_process(common: &Common, env: &Env) -> Self {
        let is_stdout_terminal = io::stdout().is_terminal();
        let is_stderr_terminal = io::stderr().is_terminal();
        let is_json = common.json.unwrap_or(!is_stdout_terminal);
        let columns = env.text("COLUMNS").and_then(|text| text.parse().ok()).filter(|&columns| columns > 0);
        let measured = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        Self {
            is_json,
            is_strict_json: common.json == Some(true),
            is_json_on_stderr: common.json == Some(true) || (is_json && !is_stderr_terminal),
            is_stdout_terminal,
            is_stderr_terminal,
            is_colored: is_stderr_terminal && env.get("NO_COLOR").is_none() && env.text("TERM") != Some("dumb"),
            is_quiet: common.quiet,
            columns: columns.or_else(measured).filter(|&columns| columns > 0),
        }
    }
}

/// Standard output and standard error, with everything known about how to write on them.
pub struct Out {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    look: Look,
    is_closed: bool,
    bar: Option<ProgressBar>,
}

impl Out {
    /// The streams of this process.
    #[must_use]
    pub fn of_process(look: Look) -> Self {
        Self::new(look, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Any two streams.
    #[must_use]
    pub fn new(look: Look, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self { stdout, stderr, look, is_closed: false, bar: None }
    }

    /// How output looks.
    #[must_use]
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// Whether the reader of standard output has gone away; a stream of results may stop then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The same, looked for also when there is nothing to write.
    pub fn is_reader_gone(&mut self) -> bool {
        let stdout = io::stdout();
        let mut poll = [PollFd::new(&stdout, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_news = rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|count| count > 0);
        self.is_closed |= has_news && poll[0].revents().contains(PollFlags::ERR);
        self.is_closed
    }

    /// Prints one JSON document and a line end: indented on a terminal, on one line otherwise.
    pub fn document<T: Serialize + ?Sized>(&mut self, document: &T) -> Result<()> {
        let text = if self.look.is_stdout_terminal {
            serde_json::to_string_pretty(document)
        } else {
            serde_json::to_string(document)
        };
        self.json(text)
    }

    /// Prints one record of a stream of JSON documents, at once.
    pub fn ndjson<T: Serialize + ?Sized>(&mut self, record: &T) -> Result<()> {
        self.json(serde_json::to_string(record))
    }

    fn json(&mut self, text: serde_json::Result<String>) -> Result<()> {
        let mut text = text.map_err(|e| Error::failed(format!("could not write the result as JSON: {e}")))?;
        text.push('\n');
        if self.look.is_stdout_terminal { self.print(&json_for_terminal(&text)) } else { self.print(&text) }
    }

    /// Writes bytes that are no text, or text that was made safe, in one piece.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)
    }

    /// Prints a table; cells are one line each and harmless to the terminal.
    pub fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) -> Result<()> {
        self.print(&table::layout(columns, rows, self.look.columns))
    }

    /// Prints text for people on standard output, with a line end.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let text = printable(text);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.print(&format!("{text}{end}"))
    }

    /// Prints text as it is, with a line end; only a terminal is protected from it.
    pub fn raw(&mut self, text: &str) -> Result<()> {
        if self.look.is_stdout_terminal { self.text(text) } else { self.print(&format!("{text}\n")) }
    }

    /// Says what went wrong without ending the run.
    pub fn warn(&mut self, text: &str) {
        if self.look.is_json_on_stderr {
            self.log_json(&json!({ "warning": { "message": text } }));
        } else {
            let label = self.colored("33", "warning:");
            self.log(&format!("{label} {}", printable(text)));
        }
    }

    /// Says what was asked for beside the document, on standard error.
    pub fn aside(&mut self, text: &str) {
        if !self.look.is_quiet {
            self.log(&printable(text));
        }
    }

    /// Prints a second document on standard error, which was asked for: for people, as `lines`.
    pub fn aside_document<T: Serialize + ?Sized>(&mut self, document: &T, lines: &[String]) {
        if self.look.is_json_on_stderr {
            self.log_json(&json!(document));
        } else {
            lines.iter().for_each(|line| self.log(&one_line(line)));
        }
    }

    /// Says what is going on, for people only.
    pub fn note(&mut self, text: &str) {
        if !self.look.is_quiet && !self.look.is_strict_json {
            self.log(&printable(text));
        }
    }

    /// Says that one action is done (`✓`) or failed (`✗`), for people only.
    pub fn tick(&mut self, is_done: bool, text: &str) {
        if !self.look.is_quiet && !self.look.is_strict_json {
            let mark = if is_done { self.colored("32", "✓") } else { self.colored("31", "✗") };
            self.log(&format!("{mark} {}", one_line(text)));
        }
    }

    /// Reports the failure that ends the run; its kind decides the exit code.
    pub fn fail(&mut self, error: &Error) -> ExitCode {
        if self.look.is_json_on_stderr {
            self.log_json(&error.to_json());
        } else {
            let label = self.colored("1;31", "error:");
            let text = lines(error, &label);
            self.log(text.trim_end());
        }
        ExitCode::from(error.kind.exit_code())
    }

    /// Progress on standard error, shown only on a terminal and when not quiet; one at a time.
    pub fn progress(&mut self) -> Progress {
        let progress = Progress::new(self.look.is_stderr_terminal && !self.look.is_quiet);
        self.bar = progress.bar();
        progress
    }

    fn print(&mut self, text: &str) -> Result<()> {
        self.write(text.as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match self.stdout.write_all(bytes).and_then(|()| self.stdout.flush()) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(e) => Err(Error::failed(format!("could not write to standard output: {e}"))),
        }
    }

    fn log_json(&mut self, document: &Value) {
        let text = document.to_string();
        if self.look.is_stderr_terminal { self.log(&json_for_terminal(&text)) } else { self.log(&text) }
    }

    /// One or more whole lines on standard error; there is nowhere to report that this failed.
    fn log(&mut self, line: &str) {
        let line = format!("{line}\n");
        let stderr = &mut self.stderr;
        let mut write = || stderr.write_all(line.as_bytes()).and_then(|()| stderr.flush());
        let _ = match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        };
    }

    fn colored(&self, code: &str, text: &str) -> String {
        if self.look.is_colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A failure and those that came with it, each `error: SUBJECT: MESSAGE (NAME)` and its hint.
fn lines(error: &Error, label: &str) -> String {
    let mut text = format!("{label} ");
    if let Some(subject) = &error.subject {
        text.push_str(&format!("{}: ", one_line(subject)));
    }
    text.push_str(&one_line(&error.message));
    if let Some(name) = &error.dbus_error {
        text.push_str(&format!(" ({})", one_line(name)));
    }
    text.push('\n');
    if let Some(hint) = &error.hint {
        text.push_str(&format!("  hint: {}\n", printable(hint)));
    }
    text.extend(error.also.iter().map(|other| lines(other, label)));
    text
}

#[cfg(test)]
#[path = "out_tests.rs"]
mod tests;

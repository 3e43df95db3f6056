//! argv before argh: one pass that hoists the common options, splits `--x=y`, and puts every word where argh takes it.
//!
//! What argh is given is `SUBCOMMAND... OPTIONS... -- WORDS...`, so that `-` and `help` are ordinary words, and a mistake
//! is an error of ours (64, with a suggestion) and never argh's exit. The options of each subcommand are the program's own
//! declarations, read from argh's `ArgsInfo`; nothing is written twice.

use super::common::{COMMON, Collected, Common, looks_like_option, nearest, split_inline, takes_no_value, value_of};
use crate::base::{Error, Result};
use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs};
use std::ffi::OsString;

/// What a program says about itself beside its argument structs.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, for example `op-apply`.
    pub name: &'static str,
    /// Its version: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// The subcommand that is meant when the first word is none: `op-apply FILE` is `op-apply apply FILE`.
    pub default_subcommand: Option<&'static str>,
    /// Options whose value may be left out, and what is meant then: `("--rollback", "last")`.
    pub optional_values: &'static [(&'static str, &'static str)],
    /// Whether it takes more than one `--host`.
    pub many_hosts: bool,
    /// Command lines with a word on each, shown below the help.
    pub examples: &'static str,
}

/// A command line that was understood.
#[derive(Debug, PartialEq)]
pub struct Parsed<T> {
    /// The program's own arguments.
    pub args: T,
    /// The options every program has.
    pub common: Common,
}

/// Why a command line leads to no run.
#[derive(Debug, PartialEq)]
pub enum Exit {
    /// `--help` or `--version`: print this on standard output and exit with 0.
    Text(String),
    /// Wrong use: report and exit with its code.
    Failure {
        /// What is wrong; further mistakes are in its `also`.
        error: Error,
        /// The common options as far as they were understood, so that the report has the form asked for.
        common: Box<Common>,
    },
}

/// Reads `argv`, which is without the program's own name.
pub fn parse<T: FromArgs + ArgsInfo>(
    program: &Program,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Parsed<T>, Exit> {
    let mut prepared = prepare(program, &T::get_args_info(), argv.into_iter().collect());
    if !program.many_hosts {
        prepared.collected.refuse_many_hosts();
    }
    let common = prepared.collected.common;
    if prepared.collected.wants_version {
        return Err(Exit::Text(format!("{} {}\n", program.name, program.version)));
    }
    if prepared.collected.wants_help {
        let help_of = |path: &[&str]| {
            let path: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
            T::from_args(&[program.name], &path).err().map(|exit| exit.output).unwrap_or_default()
        };
        let mut text = help_of(&prepared.path);
        if let (Some(default), true) = (program.default_subcommand, prepared.path.is_empty()) {
            text = format!("{}\n\nWithout a command, {default} is meant:\n\n{}", text.trim_end(), help_of(&[default]));
        }
        return Err(Exit::Text(with_common(&text, program)));
    }
    if let Some(error) = Error::all(prepared.collected.errors) {
        return Err(Exit::Failure { error, common: Box::new(common) });
    }
    let args: Vec<&str> = prepared.args.iter().map(String::as_str).collect();
    match T::from_args(&[program.name], &args) {
        Ok(args) => Ok(Parsed { args, common }),
        Err(exit) => {
            let command = [&[program.name], &prepared.path[..]].concat().join(" ");
            let error = Error::usage(sentence(&exit.output)).hint(format!("{command} --help shows how it is used"));
            Err(Exit::Failure { error, common: Box::new(common) })
        }
    }
}

/// argv after the pass: what was hoisted, the subcommands named, and what argh is given.
#[derive(Debug)]
pub(super) struct Prepared {
    pub collected: Collected,
    pub path: Vec<&'static str>,
    pub args: Vec<String>,
}

pub(super) fn prepare(program: &Program, info: &CommandInfoWithArgs, argv: Vec<OsString>) -> Prepared {
    let mut pass =
        Pass { program, command: info, collected: Collected::default(), path: vec![], args: vec![], lost: false };
    let mut argv: Vec<String> = argv.into_iter().map(|token| pass.utf8(token)).collect();
    let literal: Option<Vec<String>> =
        argv.iter().position(|token| token == "--").map(|at| argv.drain(at..).skip(1).collect());
    let mut words = vec![];
    let mut tokens = argv.iter().map(String::as_str).peekable();
    while let Some(token) = tokens.next() {
        if !looks_like_option(token) {
            if !pass.descend(token) {
                words.push(token.to_owned());
            }
        } else if pass.option(token, tokens.peek().copied()) {
            tokens.next();
        }
    }
    pass.collected.common.words_before_dashes = literal.is_some().then_some(words.len());
    words.extend(literal.into_iter().flatten());
    pass.settle(&words);
    if !words.is_empty() {
        pass.args.push("--".to_owned());
        pass.args.append(&mut words);
    }
    Prepared { collected: pass.collected, path: pass.path, args: pass.args }
}

/// The pass over argv; `command` is the one the next token belongs to.
struct Pass<'a> {
    program: &'a Program,
    command: &'a CommandInfoWithArgs,
    collected: Collected,
    path: Vec<&'static str>,
    args: Vec<String>,
    /// The subcommand is unknown, so that nothing can be said about its options.
    lost: bool,
}

impl Pass<'_> {
    fn utf8(&mut self, token: OsString) -> String {
        token.into_string().unwrap_or_else(|token| {
            let shown = token.to_string_lossy().into_owned();
            self.collected.errors.push(Error::usage("an argument is not UTF-8").on(format!("{shown:?}")));
            shown
        })
    }

    /// Enters the subcommand `word` names, or the default one; says whether `word` is used up by that.
    fn descend(&mut self, word: &str) -> bool {
        if self.command.commands.is_empty() || self.lost {
            return false;
        }
        if let Some(sub) = self.command.commands.iter().find(|sub| sub.name == word) {
            self.enter(sub.name);
            return true;
        }
        if word == "help" {
            self.collected.wants_help = true;
            return true;
        }
        if !self.enter_default() {
            let names = self.command.commands.iter().map(|sub| sub.name);
            let hint = match nearest(word, names.clone()) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
            };
            self.fail(Error::usage(format!("{} has no subcommand {word:?}", self.name())).hint(hint));
            self.lost = true;
        }
        false
    }

    /// Takes one option and says whether the next token was its value.
    fn option(&mut self, token: &str, next: Option<&str>) -> bool {
        let (name, inline) = split_inline(token);
        // A command's own option wins: what --version means to `publish` is for publish to say.
        let is_own = name != "--help" && self.flag(name).is_some();
        if !is_own && let Some(took_next) = self.collected.take(name, inline, next) {
            return took_next;
        }
        if self.lost {
            return false;
        }
        if self.flag(name).is_none() && !self.command.commands.is_empty() && !self.enter_default() {
            self.lost = true;
        }
        let Some(takes_value) = self.flag(name).map(|flag| !matches!(flag.kind, FlagInfoKind::Switch)) else {
            self.unknown_option(name);
            return false;
        };
        if !takes_value {
            match inline {
                None => self.args.push(name.to_owned()),
                Some(_) => self.fail(takes_no_value(name)),
            }
            return false;
        }
        let default = self.program.optional_values.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let value = match default {
            Some(default) if inline.is_none() && next.is_none_or(looks_like_option) => Ok((default, false)),
            _ => value_of(name, inline, next),
        };
        match value {
            Ok((value, took_next)) => {
                self.args.extend([name.to_owned(), value.to_owned()]);
                took_next
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// At the end: a program with a default subcommand and no word at all means that one.
    fn settle(&mut self, words: &[String]) {
        let wants_words = !words.is_empty() || !self.collected.wants_help;
        if wants_words && !self.lost && !self.command.commands.is_empty() {
            self.enter_default();
        }
    }

    fn enter(&mut self, name: &'static str) {
        if let Some(sub) = self.command.commands.iter().find(|sub| sub.name == name) {
            self.command = &sub.command;
            self.path.push(name);
            self.args.push(name.to_owned());
        }
    }

    fn enter_default(&mut self) -> bool {
        match self.program.default_subcommand {
            Some(name) if self.path.is_empty() => {
                self.enter(name);
                true
            }
            _ => false,
        }
    }

    fn flag(&self, name: &str) -> Option<&FlagInfo<'static>> {
        let short = |flag: &FlagInfo| {
            flag.short.is_some_and(|short| name.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
        };
        self.command.flags.iter().find(|flag| flag.long == name || short(flag))
    }

    fn unknown_option(&mut self, name: &str) {
        let own = self.command.flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long);
        let hint = match nearest(name, own.chain(COMMON.iter().map(|option| option.name))) {
            Some(option) => format!("did you mean {option}?"),
            None => format!("{} --help lists the options", self.name()),
        };
        self.fail(Error::usage(format!("{} has no option {name}", self.name())).hint(hint));
    }

    fn fail(&mut self, error: Error) {
        self.collected.errors.push(error);
    }

    fn name(&self) -> String {
        [&[self.program.name], &self.path[..]].concat().join(" ")
    }
}

/// argh's message as one sentence: its lists and line ends become commas.
fn sentence(output: &str) -> String {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut text = lines.next().unwrap_or("this command line was not understood").to_owned();
    if let Some(what) = text.strip_prefix("Error parsing ") {
        text = format!("could not read {what}");
    }
    for line in lines {
        text.push_str(if text.ends_with(':') { " " } else { ", " });
        text.push_str(line);
    }
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A help text with the common options and the program's examples below.
fn with_common(help: &str, program: &Program) -> String {
    // argh lists its own triggers; ours are among the common options.
    const TRIGGERS: &str = "  --help, help      display usage information\n";
    let own = help.replace(&format!("Options:\n{TRIGGERS}"), "").replace(TRIGGERS, "").replace("\n\n\n", "\n\n");
    let mut text = format!("{}\n\n{}", own.trim_end(), common_help());
    if !program.examples.trim().is_empty() {
        text.push_str("\nExamples:\n");
        for line in program.examples.trim().lines() {
            text.push_str(&format!("  {}\n", line.trim()));
        }
    }
    text
}

/// The table of common options as its part of a help text.
pub(super) fn common_help() -> String {
    let mut text = String::from("Common options, before or after a subcommand:\n");
    for option in COMMON {
        let short = option.short.map(|short| format!("{short}, ")).unwrap_or_default();
        let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
        text.push_str(&format!("  {:<24}  {}\n", format!("{short}{}{value}", option.name), option.about));
    }
    text
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;

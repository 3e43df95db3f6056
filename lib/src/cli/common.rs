//! The options every program has, in one table: what they are called, what they take, what they set.

pub(super) use crate::base::nearest::nearest;
use crate::base::{Error, Result, time};
use crate::bus::Target;
use std::path::PathBuf;
use std::time::Duration;

/// What the common options said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Common {
    /// `--root`: the state root, when given.
    pub root: Option<PathBuf>,
    /// `--system`, `--session`, `--address`, `--host`.
    pub bus: Target,
    /// Every `--host` after the first, for those who ask several machines.
    pub more_hosts: Vec<String>,
    /// `--json` or `--no-json`; `None` means JSON unless standard output is a terminal.
    pub json: Option<bool>,
    /// `--quiet`: neither progress nor notes.
    pub quiet: bool,
    /// `--timeout`: the longest any one call may take, connecting included.
    pub timeout: Option<Duration>,
    /// How many words came before `--`, when there was one: what follows it may be a command of its own.
    pub words_before_dashes: Option<usize>,
}

/// What was collected from the common options so far, and every mistake in them.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub common: Common,
    pub wants_help: bool,
    pub wants_version: bool,
    pub errors: Vec<Error>,
    bus_option: Option<&'static str>,
}

/// One common option; `value` is the placeholder of what it takes, if it takes something.
pub(super) struct CommonOption {
    pub name: &'static str,
    pub short: Option<&'static str>,
    pub value: Option<&'static str>,
    pub about: &'static str,
    set: fn(&mut Collected, &str) -> Result<()>,
}

/// The table. Order is the order in the help text.
pub(super) const COMMON: &[CommonOption] = &[
    CommonOption {
        name: "--system",
        short: None,
        value: None,
        about: "talk to the system bus (the default)",
        set: |to, _| to.choose("--system", Target::System),
    },
    CommonOption {
        name: "--session",
        short: None,
        value: None,
        about: "talk to the session bus",
        set: |to, _| to.choose("--session", Target::Session),
    },
    CommonOption {
        name: "--address",
        short: None,
        value: Some("ADDR"),
        about: "talk to the bus at this D-Bus address; replay:FILE is a recording of a service",
        set: |to, value| to.choose("--address", Target::Address(value.to_owned())),
    },
    CommonOption {
        name: "--host",
        short: Some("-H"),
        value: Some("[USER@]HOST"),
        about: "talk to the system bus of another machine, over ssh",
        set: |to, value| {
            let name = value.rsplit('@').next().unwrap_or_default();
            let plain = |c: char| !c.is_whitespace() && !c.is_control();
            if name.is_empty() || name.starts_with('-') || value.starts_with(['-', '@']) || !value.chars().all(plain) {
                return Err(Error::usage("this is no host").on(format!("--host {value:?}")).hint("write [USER@]HOST"));
            }
            to.choose("--host", Target::Host(value.to_owned()))
        },
    },
    CommonOption {
        name: "--root",
        short: None,
        value: Some("DIR"),
        about: "keep state here instead of the default state root",
        set: |to, value| {
            to.common.root = Some(PathBuf::from(value));
            Ok(())
        },
    },
    CommonOption {
        name: "--timeout",
        short: None,
        value: Some("DUR"),
        about: "give up on a call after this long, for example 30s",
        set: |to, value| {
            let timeout = time::parse_duration(value).map_err(|e| e.on(format!("--timeout {value:?}")))?;
            if timeout.is_zero() {
                return Err(Error::usage("no time at all is no timeout").on("--timeout"));
            }
            to.common.timeout = Some(timeout);
            Ok(())
        },
    },
    CommonOption {
        name: "--json",
        short: None,
        value: None,
        about: "print JSON (the default when standard output is no terminal)",
        set: |to, _| to.print_json(true),
    },
    CommonOption {
        name: "--no-json",
        short: None,
        value: None,
        about: "print for people, also into a pipe",
        set: |to, _| to.print_json(false),
    },
    CommonOption {
        name: "--quiet",
        short: None,
        value: None,
        about: "print neither progress nor notes",
        set: |to, _| {
            to.common.quiet = true;
            Ok(())
        },
    },
    CommonOption {
        name: "--version",
        short: None,
        value: None,
        about: "print the version",
        set: |to, _| {
            to.wants_version = true;
            Ok(())
        },
    },
    CommonOption {
        name: "--help",
        short: Some("-h"),
        value: None,
        about: "print this help",
        set: |to, _| {
            to.wants_help = true;
            Ok(())
        },
    },
];

impl Collected {
    /// Takes `name` if it is a common option and says whether `next` was its value; `None` if it is none.
    pub fn take(&mut self, name: &str, inline: Option<&str>, next: Option<&str>) -> Option<bool> {
        let option = COMMON.iter().find(|option| option.name == name || option.short == Some(name))?;
        let mut took_next = false;
        let value = match (option.value, inline) {
            (None, None) => Ok(""),
            (None, Some(_)) => Err(takes_no_value(name)),
            (Some(_), _) => value_of(name, inline, next).map(|(value, took)| {
                took_next = took;
                value
            }),
        };
        let done = value.and_then(|value| {
            if option.value.is_some() && value.is_empty() {
                return Err(needs_value(name));
            }
            (option.set)(self, value)
        });
        self.errors.extend(done.err());
        Some(took_next)
    }

    fn choose(&mut self, option: &'static str, bus: Target) -> Result<()> {
        match (self.bus_option.replace(option), bus) {
            (Some("--host"), Target::Host(host)) => {
                let is_new = self.common.bus != Target::Host(host.clone()) && !self.common.more_hosts.contains(&host);
                self.common.more_hosts.extend(is_new.then_some(host));
                Ok(())
            }
            (Some(earlier), bus) if self.common.bus != bus => Err(two_buses(earlier, option)),
            (_, bus) => {
                self.common.bus = bus;
                Ok(())
            }
        }
    }

    /// For programs that talk to one machine.
    pub fn refuse_many_hosts(&mut self) {
        if !self.common.more_hosts.is_empty() {
            self.errors.push(two_buses("--host", "--host").hint("several machines at once are asked by op-query"));
        }
    }

    fn print_json(&mut self, json: bool) -> Result<()> {
        if self.common.json.replace(json) == Some(!json) {
            return Err(Error::usage("these contradict each other").on("--json and --no-json"));
        }
        Ok(())
    }
}

fn two_buses(earlier: &str, later: &str) -> Error {
    Error::usage("two buses were chosen, one run talks to one")
        .on(format!("{earlier} and {later}"))
        .hint("leave one of them out")
}

/// `--x=y` as its name and value; anything else has no value of its own.
pub(super) fn split_inline(token: &str) -> (&str, Option<&str>) {
    match token.split_once('=') {
        Some((name, value)) if name.starts_with("--") && name.len() > 2 => (name, Some(value)),
        _ => (token, None),
    }
}

/// Whether `token` is written like an option; `-` alone is a file's name, and numbers are values.
pub(super) fn looks_like_option(token: &str) -> bool {
    token.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_digit()))
}

/// The value of option `name`, and whether it was the next token.
pub(super) fn value_of<'a>(name: &str, inline: Option<&'a str>, next: Option<&'a str>) -> Result<(&'a str, bool)> {
    match (inline, next) {
        (Some(value), _) => Ok((value, false)),
        (None, Some(next)) if !looks_like_option(next) => Ok((next, true)),
        (None, Some(next)) if name.starts_with("--") => {
            Err(needs_value(name).hint(format!("write {name}={next} if {next} is meant as the value")))
        }
        _ => Err(needs_value(name)),
    }
}

pub(super) fn takes_no_value(name: &str) -> Error {
    Error::usage("this option takes no value").on(name)
}

fn needs_value(name: &str) -> Error {
    Error::usage("this option needs a value").on(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_option_once() {
        let mut names: Vec<&str> = COMMON.iter().flat_map(|o| [Some(o.name), o.short]).flatten().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

//! Running the tools that own containers: by absolute path, with an environment as bare as Proxmox's own tasks have.

use super::settings::Settings;
use crate::base::{Error, Kind, Result};
use crate::plugin::{Failure, Touched};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a tool to its end and returns what it printed.
pub fn run(program: &Path, args: &[String]) -> Result<String, Failure> {
    let label = format!("{} {}", program.display(), args.join(" "));
    // A group of its own: who interrupts op-dbus does not interrupt a task half-way.
    let output = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let error = Error::new(Kind::Unavailable, format!("it could not be started: {error}"))
                .on(label)
                .hint("is it installed? where it is can be said in [settings] of the plugin's plugin.toml");
            return Err(Failure { error, touched: Touched::No });
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    let code = output.status.code();
    // What pct says before it begins: a container it does not know, a lock it does not get.
    let (kind, touched) = match code {
        Some(4) => (Kind::Locked, Touched::No),
        Some(2) => (Kind::Failed, Touched::No),
        _ => (Kind::Failed, Touched::Perhaps),
    };
    let ended = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
    let error = Error::new(kind, format!("it {ended}: {last}")).on(label.clone());
    // It says nothing but that it has a log.
    let error = match program.ends_with("lxc-start") {
        true => {
            error.hint(format!("why it does not start: {label} --foreground --logpriority ERROR --logfile /dev/stderr"))
        }
        false => error,
    };
    Err(Failure { error, touched })
}

/// Runs a tool of which nothing remains to be undone here.
pub fn plainly(program: &Path, args: &[String]) -> Result<String> {
    run(program, args).map_err(|failure| failure.error)
}

/// What Proxmox's container tool is called.
#[must_use]
pub fn pct(settings: &Settings) -> String {
    settings.pct.display().to_string()
}

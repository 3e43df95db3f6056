//! `op-dbus doctor`: looks at everything op-dbus stands on, asks each program's own doctor, and says what to do.

use super::front::find;
use super::{Cli, Outcome};
use crate::base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The hookscript where a package puts it.
const HOOK: &str = "/usr/share/op-dbus/hook/op-dbus-hook";

/// What the package enables.
const UNITS: [&str; 5] =
    ["op-dbus.service", "op-dbus-recover.service", "op-dbus.path", "op-dbus-snapshot.timer", "op-dbus-drift.timer"];

/// What `op-dbus doctor` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// Always `health`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Which part of op-dbus it is about: `bus`, `store`, `trail`, `embed`, `units`, `polkit`, `hook`.
    pub part: String,
    /// How it is.
    pub state: State,
    /// What was seen, or what is lost.
    pub detail: String,
    /// The command or step that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum State {
    /// As it should be.
    Good,
    /// Everything works; something could be had that is not.
    Advice,
    /// Something does not work.
    Broken,
}

/// Look at everything op-dbus stands on - bus, state root, audit trail, embeddings, units, polkit, hookscript - and say
/// what to do. Exits with 3 when something is broken.
#[derive(argh::FromArgs, argh::ArgsInfo)]
pub struct Args {}

/// The programs asked, and where they are looked for.
pub struct Asked {
    /// Folders of programs, the first ones first.
    pub folders: Vec<PathBuf>,
    /// The common options of this run, handed on.
    pub options: Vec<OsString>,
}

/// Looks at everything.
pub fn run(asked: &Asked, cli: &mut Cli) -> Result<Outcome> {
    let mut findings = vec![bus(cli)];
    findings.extend(asked.store());
    findings.push(asked.trail());
    findings.extend(asked.embed());
    if Path::new("/run/systemd/system").is_dir() {
        findings.extend(units());
    } else {
        findings.push(advice("units", "systemd does not run here, so nothing is applied at boot", None));
    }
    findings.push(polkit());
    findings.extend(hook(Path::new("/")));
    let health = Health { kind: "health".into(), version: 1, findings };
    show(&health, cli)?;
    let is_broken = health.findings.iter().any(|finding| finding.state == State::Broken);
    Ok(if is_broken { Outcome::Partial } else { Outcome::Done })
}

fn show(health: &Health, cli: &mut Cli) -> Result<()> {
    if cli.out.look().is_json {
        return cli.out.document(health);
    }
    let row = |finding: &Finding| {
        let state = match finding.state {
            State::Good => "good",
            State::Advice => "advice",
            State::Broken => "BROKEN",
        };
        vec![finding.part.clone(), state.to_owned(), finding.detail.clone()]
    };
    cli.out.table(&["PART", "IS", "WHY"], &health.findings.iter().map(row).collect::<Vec<_>>())?;
    let mends: BTreeSet<&str> = health.findings.iter().filter_map(|finding| finding.mend.as_deref()).collect();
    if mends.is_empty() {
        return Ok(());
    }
    cli.out.text(&format!("\nWhat to do:\n  {}\n", Vec::from_iter(mends).join("\n  ")))
}

fn finding(part: &str, state: State, detail: impl Into<String>, mend: Option<&str>) -> Finding {
    Finding { part: part.into(), state, detail: detail.into(), mend: mend.map(str::to_owned) }
}

fn good(part: &str, detail: impl Into<String>) -> Finding {
    finding(part, State::Good, detail, None)
}

fn advice(part: &str, detail: impl Into<String>, mend: Option<&str>) -> Finding {
    finding(part, State::Advice, detail, mend)
}

fn broken(part: &str, detail: impl Into<String>, mend: Option<&str>) -> Finding {
    finding(part, State::Broken, detail, mend)
}

fn bus(cli: &Cli) -> Finding {
    match cli.connect() {
        Ok(_) => good("bus", "it answers"),
        Err(error) => broken("bus", error.message, error.hint.as_deref()),
    }
}

/// What a program said, and whether it ended well.
struct Said {
    is_well: bool,
    document: Value,
    /// Of its error: what failed, and the way out.
    error: Option<(String, Option<String>)>,
}

impl Asked {
    /// Runs `PROGRAM WORDS --json`; nothing when it is not installed.
    fn ask(&self, program: &str, words: &[&str]) -> Option<Said> {
        let path = find(program, &self.folders)?;
        let output =
            Command::new(path).args(words).args(&self.options).arg("--json").stdin(Stdio::null()).output().ok()?;
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        let error = output.stderr.split(|byte| *byte == b'\n').rev().find(|line| line.starts_with(b"{")).map(json);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Said {
            is_well: output.status.success(),
            document: json(&output.stdout),
            error: error.map(|error| {
                let error = &error["error"];
                (text(&error["message"]).unwrap_or_else(|| "it failed".into()), text(&error["hint"]))
            }),
        })
    }

    /// A finding for a program that is not there or did not end well; nothing when it did.
    fn failure(part: &str, program: &str, said: Option<&Said>) -> Option<Finding> {
        let Some(said) = said else {
            return Some(broken(part, format!("{program} is not installed"), Some("install op-dbus again")));
        };
        if said.is_well {
            return None;
        }
        let (message, hint) = said.error.clone().unwrap_or_else(|| (format!("{program} failed"), None));
        Some(broken(part, message, hint.as_deref()))
    }

    /// `op-snapshot doctor`: each promise that is not kept costs something, and everything works.
    fn store(&self) -> Vec<Finding> {
        let said = self.ask("op-snapshot", &["doctor"]);
        if let Some(failure) = Self::failure("store", "op-snapshot", said.as_ref()) {
            return vec![failure];
        }
        let document = said.map(|said| said.document).unwrap_or_default();
        let promises = document["promises"].as_array().cloned().unwrap_or_default();
        let (kept, lost): (Vec<_>, Vec<_>) = promises.iter().partition(|promise| promise["is_kept"] == true);
        let root = document["root"].as_str().unwrap_or("the state root").to_owned();
        let mut findings = Vec::new();
        if lost.is_empty() {
            findings.push(good("store", format!("{root} keeps all of its {} promises", kept.len())));
        }
        findings.extend(lost.iter().map(|promise| {
            let text = |key: &str| promise[key].as_str().unwrap_or_default();
            let promised = text("promise").replace('_', " ");
            advice("store", format!("{promised}: {}", text("detail")), promise["mend"].as_str())
        }));
        findings
    }

    /// `op-audit verify`.
    fn trail(&self) -> Finding {
        let said = self.ask("op-audit", &["verify"]);
        if let Some(mut failure) = Self::failure("trail", "op-audit", said.as_ref()) {
            failure.mend = failure.mend.or_else(|| Some("op-audit verify".into()));
            return failure;
        }
        let entries = said.map(|said| said.document["entries"].clone()).unwrap_or_default();
        good("trail", format!("{entries} entries, and all of them as they were written"))
    }

    /// Where embeddings are computed, if that is installed: nothing else needs it.
    fn embed(&self) -> Vec<Finding> {
        let Some(engines) = self.ask("op-embed", &["engines"]) else {
            return vec![advice("embed", "op-embed is not installed: nothing is found by meaning", None)];
        };
        let mut findings = vec![Self::failure("embed", "op-embed", Some(&engines)).unwrap_or_else(|| {
            let text = |key: &str| engines.document[key].as_str().unwrap_or_default();
            let (model, runtime, version) = (text("model"), text("runtime"), text("runtime_version"));
            good("embed", format!("{model} computes with {runtime} {version} on {}", text("provider")))
        })];
        let topology = self.ask("op-embed", &["topology"]);
        findings.push(Self::failure("numa", "op-embed", topology.as_ref()).unwrap_or_else(|| {
            let document = topology.map(|said| said.document).unwrap_or_default();
            let denied = |step: &&Value| step["outcome"] == "denied";
            match document["steps"].as_array().into_iter().flatten().find(denied) {
                Some(step) => advice("numa", format!("{}: {}", step["what"], step["why"]), None),
                None => {
                    let nodes = document["topology"]["nodes"].as_array().map_or(0, Vec::len);
                    good("numa", format!("{nodes} node{}", if nodes == 1 { "" } else { "s" }))
                }
            }
        }));
        findings
    }
}

/// Whether what the package brings is enabled, and whether the last run failed.
fn units() -> Vec<Finding> {
    let says = |verb: &str, unit: &str| {
        let output = Command::new("systemctl").args([verb, unit]).stdin(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let mut findings = Vec::new();
    for unit in UNITS {
        match says("is-enabled", unit).as_str() {
            "enabled" | "enabled-runtime" | "linked" => {}
            "" | "not-found" => {
                findings.push(advice(
                    "units",
                    format!("{unit} is not installed"),
                    Some("make install, or the package"),
                ));
            }
            state => {
                let mend = format!("systemctl enable --now {unit}");
                findings.push(advice("units", format!("{unit} is {state}"), Some(&mend)));
            }
        }
    }
    for unit in ["op-dbus.service", "op-dbus-recover.service", "op-dbus-drift.service", "op-dbus-snapshot.service"] {
        if says("is-failed", unit) == "failed" {
            findings.push(broken("units", format!("{unit} failed"), Some(&format!("journalctl -u {unit}"))));
        }
    }
    if findings.is_empty() {
        findings.push(good("units", "applying, recovering, snapshots and the look for drift are enabled"));
    }
    findings
}

fn polkit() -> Finding {
    if rustix::process::geteuid().is_root() {
        return good("polkit", "root is asked for nothing");
    }
    match ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd"].iter().any(|path| Path::new(path).exists()) {
        true => good("polkit", "it decides what you may change"),
        false => advice("polkit", "there is none, so only root may change anything", Some("run op-apply as root")),
    }
}

/// On a node of Proxmox VE: the hookscript, and the guests that name it. `root` is `/`, and another folder in tests.
fn hook(root: &Path) -> Vec<Finding> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    if !at("/etc/pve/local").is_symlink() {
        return vec![good("hook", "this is no node of Proxmox VE")];
    }
    let mut guests = Vec::new();
    for kind in ["lxc", "qemu-server"] {
        for entry in std::fs::read_dir(at("/etc/pve/local").join(kind)).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let own = text.lines().take_while(|line| !line.starts_with('['));
            if own
                .filter_map(|line| line.strip_prefix("hookscript:"))
                .any(|script| script.trim() == "local:snippets/op-dbus-hook")
            {
                guests.push(entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
    }
    guests.sort();
    let install = |guests: &[String]| format!("op-install hook {}", guests.join(" "));
    if !at(HOOK).is_file() {
        return vec![broken("hook", format!("{HOOK} is missing"), Some("install op-dbus again"))];
    }
    // A link to it, or a copy; whatever it is, a guest does not start without it.
    if !guests.is_empty() && at("/var/lib/vz/snippets/op-dbus-hook").symlink_metadata().is_err() {
        let detail = format!("guests {} do not start: their hookscript is not in the storage local", guests.join(", "));
        return vec![broken("hook", detail, Some(&install(&guests)))];
    }
    vec![good("hook", format!("{} guests have the hookscript", guests.len()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_guest_whose_hookscript_is_gone_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let state = |root: &Path| hook(root)[0].state;
        assert_eq!(state(root), State::Good, "no node");
        fs::create_dir_all(root.join("etc/pve/nodes/here/lxc")).unwrap();
        symlink("nodes/here", root.join("etc/pve/local")).unwrap();
        assert_eq!(state(root), State::Broken, "not installed");
        fs::create_dir_all(root.join("usr/share/op-dbus/hook")).unwrap();
        fs::write(root.join(&HOOK[1..]), "").unwrap();
        let guest = root.join("etc/pve/nodes/here/lxc/100.conf");
        fs::write(&guest, "arch: amd64\n\n[before]\nhookscript: local:snippets/op-dbus-hook\n").unwrap();
        assert_eq!(state(root), State::Good, "a snapshot's hookscript is none");
        fs::write(&guest, "hookscript: local:snippets/op-dbus-hook\n").unwrap();
        let found = hook(root);
        assert_eq!((found[0].state, found[0].mend.as_deref()), (State::Broken, Some("op-install hook 100")));
        fs::create_dir_all(root.join("var/lib/vz/snippets")).unwrap();
        fs::write(root.join("var/lib/vz/snippets/op-dbus-hook"), "").unwrap();
        assert_eq!(state(root), State::Good);
    }

    #[test]
    fn what_a_program_says_becomes_a_finding() {
        let said = |is_well, error: Option<(String, Option<String>)>| Said { is_well, document: Value::Null, error };
        assert_eq!(Asked::failure("trail", "op-audit", Some(&said(true, None))), None);
        let failed =
            Asked::failure("trail", "op-audit", Some(&said(false, Some(("torn".into(), Some("repair".into()))))))
                .unwrap();
        assert_eq!(
            (failed.state, failed.detail.as_str(), failed.mend.as_deref()),
            (State::Broken, "torn", Some("repair"))
        );
        assert_eq!(Asked::failure("trail", "op-audit", None).unwrap().state, State::Broken);
    }
}

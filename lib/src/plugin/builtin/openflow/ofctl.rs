//! `ovs-ofctl`, which alone knows the whole language of flows. It reads from a pipe, so that nothing is written to read.

use super::flow::Flow;
use super::settings::Settings;
use crate::base::{Error, Kind, Result};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

/// The version that decides how flows are printed.
pub const VERSION: &str = "OpenFlow14";

/// What `ovs-ofctl` says when a field is lost because another one, on which it stands, is missing.
const LOST: &str = "normalization changed ofp_match";

/// The flows of a bridge.
pub fn dump(settings: &Settings, bridge: &str) -> Result<Vec<Flow>> {
    let target = settings.management(bridge);
    let output = run(settings, &["--no-stats", "--no-names", "dump-flows", &target], "")?;
    let text = text_of(&output).map_err(|error| no_answer(error, bridge))?;
    let lines = text.lines().filter(|line| line.contains("actions="));
    let read = |line: &str| {
        Flow::parse(line).ok_or_else(|| Error::failed(format!("this flow of {bridge} is not understood: {line}")))
    };
    lines.map(read).collect()
}

/// What is wrong with one of several flows.
#[derive(Debug)]
pub struct Wrong {
    pub position: usize,
    pub error: Error,
}

/// The flows of these texts as a switch will print them; what is wrong with the first ones that it would not take.
pub fn canonical(settings: &Settings, texts: &[String]) -> Result<Result<Vec<Flow>, Vec<Wrong>>> {
    let (mut wrong, mut left) = (Vec::new(), (0..texts.len()).collect::<Vec<_>>());
    loop {
        let input: String = left.iter().map(|at| format!("{}\n", texts[*at])).collect();
        let output = run(settings, &["parse-flows", "/dev/stdin"], &input)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            if stderr.contains(LOST) {
                wrong.extend(lossy(settings, texts, &left)?);
            }
            if !wrong.is_empty() {
                wrong.sort_by_key(|wrong: &Wrong| wrong.position);
                return Ok(Err(wrong));
            }
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let flows: Vec<Flow> = stdout.lines().filter(|l| l.contains("): ADD")).filter_map(Flow::parse).collect();
            if flows.len() != texts.len() {
                return Err(Error::failed("ovs-ofctl read another number of flows than it was given"));
            }
            return Ok(Ok(flows));
        }
        // It stops at the first mistake.
        let said = stderr.lines().find_map(|line| line.split_once("/dev/stdin:")?.1.split_once(": "));
        let at = said.and_then(|(line, why)| Some((line.parse::<usize>().ok()?.checked_sub(1)?, why)));
        let Some((at, why)) = at.filter(|(at, _)| *at < left.len()) else {
            return Err(text_of(&output).err().unwrap_or_else(|| Error::failed("ovs-ofctl failed")));
        };
        wrong
            .push(Wrong { position: left.remove(at), error: Error::bad_input(format!("ovs-ofctl refuses it: {why}")) });
        if wrong.len() >= 20 || left.is_empty() {
            wrong.sort_by_key(|wrong| wrong.position);
            return Ok(Err(wrong));
        }
    }
}

/// The flows among `these` that would match more than they say. Its log is limited, so one is looked for in halves.
fn lossy(settings: &Settings, texts: &[String], these: &[usize]) -> Result<Vec<Wrong>> {
    let input: String = these.iter().map(|at| format!("{}\n", texts[*at])).collect();
    let output = run(settings, &["parse-flows", "/dev/stdin"], &input)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !stderr.contains(LOST) {
        return Ok(Vec::new());
    }
    if let [one] = these {
        let field = |which: &str| Some(stderr.lines().find_map(|line| line.split_once(which))?.1.trim().to_owned());
        let left = field("post:").filter(|left| !left.is_empty());
        let left = left.map_or_else(|| "everything".to_owned(), |left| left.to_owned());
        let message =
            format!("of the match {:?} the switch would keep only: {left}", field("pre:").unwrap_or_default());
        let hint = "a field needs those it stands on: tp_dst needs tcp or udp, nw_src needs ip";
        return Ok(vec![Wrong { position: *one, error: Error::refused(message).hint(hint) }]);
    }
    let (a, b) = these.split_at(these.len() / 2);
    let mut found = lossy(settings, texts, a)?;
    if found.len() < 20 {
        found.extend(lossy(settings, texts, b)?);
    }
    Ok(found)
}

/// Makes changes of a bridge's flows, all or none.
pub fn bundle(settings: &Settings, bridge: &str, lines: &[String]) -> Result<()> {
    let target = settings.management(bridge);
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let output = run(settings, &["--bundle", "add-flows", &target, "-"], &input)?;
    text_of(&output).map(drop).map_err(|error| no_answer(error, bridge))
}

fn no_answer(error: Error, bridge: &str) -> Error {
    let error = error.on(format!("bridge {bridge}"));
    if error.message.contains("version negotiation failed") {
        return error.hint(format!("flows are written by {VERSION}: the bridge's protocols must have it"));
    }
    let unreachable = ["is not a bridge or a socket", "connecting to", "failed to open socket"];
    if unreachable.iter().any(|said| error.message.contains(said)) {
        return Error { kind: Kind::Unavailable, ..error }
            .hint("is ovs-vswitchd running? systemctl status openvswitch-switch");
    }
    error
}

fn run(settings: &Settings, args: &[&str], input: &str) -> Result<Output> {
    let program = settings.ofctl.display().to_string();
    let failed = |error: std::io::Error| {
        Error::new(Kind::Unavailable, format!("it could not be started: {error}"))
            .on(program.clone())
            .hint("is Open vSwitch installed? where ovs-ofctl is can be said in [settings] of plugin.toml")
    };
    let timeout = format!("--timeout={}", settings.timeout_s.max(1));
    let mut child = Command::new(&settings.ofctl)
        .args(["-O", VERSION, &timeout])
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // It prints while it reads. Who refuses a line reads no further, which is told by how it ends.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    })
    .map_err(failed)
}

fn text_of(output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = lines.iter().take(2).copied().collect::<Vec<_>>().join("; ");
    let said = said.replace("ovs-ofctl: ", "");
    Err(Error::failed(if said.is_empty() { format!("ovs-ofctl: {}", output.status) } else { said }))
}

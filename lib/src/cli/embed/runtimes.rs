//! Putting ONNX Runtime in place, and taking it away again. What is put there has computed before, in a process of its own:
//! some builds of it crash when a program ends.

use super::models::{check, download};
use crate::base::{Error, Kind, Result};
use crate::cli::{Cli, Outcome};
use crate::embed::documents::InstalledRuntime;
use crate::embed::engine::archive;
use crate::store::{StateRoot, volumes};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is installed, and how.
#[derive(Debug, Clone, Default)]
pub struct Install {
    /// A library, an archive or a folder, or the address of one of the first two.
    pub what: String,
    /// `--digest`: what the digest must be.
    pub digest: Option<String>,
}

/// Puts a runtime in place: from now on it computes, unless another one is named.
pub fn install(wanted: &Install, cli: &mut Cli) -> Result<Outcome> {
    let root = cli.root()?;
    let found = libraries(wanted, cli).map_err(|error| error.or_on(&wanted.what))?;
    fs::create_dir_all(root.path()).map_err(|e| Error::io("make the state root", root.path(), &e))?;
    let staging = root.path().join(format!(".staging-runtime-{}", std::process::id()));
    let done = put(&found, &staging, &root, cli);
    let _ = fs::remove_dir_all(&staging);
    let installed = done?;
    if cli.out.look().is_json {
        cli.out.document(&installed)?;
    } else {
        let InstalledRuntime { runtime_version, folder, .. } = &installed;
        cli.out.text(&format!("ONNX Runtime {runtime_version} is in {folder} and computes from now on.\n"))?;
    }
    Ok(Outcome::Done)
}

/// Takes the runtime away: tract, which is built in, computes again, or one of the system.
pub fn remove(cli: &Cli) -> Result<Outcome> {
    let folder = cli.root()?.runtime();
    match fs::remove_dir_all(&folder) {
        Ok(()) => Ok(Outcome::Done),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::bad_input("no runtime is installed there").on(folder.display().to_string()))
        }
        Err(error) => Err(Error::io("remove the runtime", &folder, &error)),
    }
}

fn libraries(wanted: &Install, cli: &mut Cli) -> Result<Vec<(String, Vec<u8>)>> {
    let what = wanted.what.strip_prefix("file://").unwrap_or(&wanted.what);
    if ["https://", "http://"].iter().any(|scheme| what.starts_with(scheme)) {
        return archive::libraries(download(what, wanted.digest.as_deref(), cli)?);
    }
    let path = Path::new(what);
    let read = |path: &Path| fs::read(path).map_err(|e| Error::io("read the runtime", path, &e));
    if path.is_dir() {
        return archive::in_folder(path)?.iter().map(|(name, path)| Ok((name.clone(), read(path)?))).collect();
    }
    let bytes = read(path)?;
    if let Some(digest) = &wanted.digest {
        check(&bytes, digest)?;
    }
    archive::libraries(bytes)
}

fn put(libraries: &[(String, Vec<u8>)], staging: &Path, root: &StateRoot, cli: &mut Cli) -> Result<InstalledRuntime> {
    let attempt = |e: &std::io::Error| Error::io("write the runtime", staging, e);
    fs::create_dir(staging).map_err(|e| attempt(&e))?;
    for (name, bytes) in libraries {
        fs::write(staging.join(name), bytes).map_err(|e| attempt(&e))?;
    }
    let mut progress = cli.out.progress();
    progress.spinner("trying whether it computes");
    let version = version_of(staging);
    progress.finish();
    let runtime_version = version?;
    let folder = root.runtime();
    // What was there before goes with the staging folder; a library that is open stays open.
    volumes::swap(staging, &folder)?;
    Ok(InstalledRuntime { kind: "runtime", version: 1, runtime_version, folder: folder.display().to_string() })
}

/// The version of the runtime in `folder`, when it computes and the process that used it ends well.
fn version_of(folder: &Path) -> Result<String> {
    let program = std::env::current_exe().map_err(|e| Error::failed(format!("could not find this program: {e}")))?;
    let output =
        Command::new(program).args(["engines", "--json", "--runtime"]).arg(folder).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Error::failed(format!("could not try the runtime: {e}")))?;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (output.status.success(), said["runtime_version"].as_str()) {
        (true, Some(version)) => Ok(version.to_owned()),
        _ => {
            let text = String::from_utf8_lossy(&output.stderr);
            let told: Value = text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
            let why = told["error"]["message"].as_str().map_or_else(|| output.status.to_string(), str::to_owned);
            Err(Error::new(Kind::Unavailable, format!("it was tried and does not compute here: {why}"))
                .hint("nothing was changed; take another version, or leave it: tract is built in"))
        }
    }
}

//! A copy of a registry in a folder, for machines that cannot reach it.

use super::index::{FILE, Package};
use super::source::{Source, fetch, must_follow};
use crate::base::digest::Plain;
use crate::base::{Error, Progress, Result, time};
use crate::package::archive::MAX_BYTES;
use crate::package::fetch::{Fetching, Place};
use crate::package::keyring::{Keyring, REVOKED};
use crate::package::publish::{Existing, beside, write_new};
use crate::store::file;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::SystemTime;

/// What `op-install registry mirror` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MirrorReport {
    /// Always `registry_mirrored`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// The registry's name.
    pub registry: String,
    /// The number of its index.
    pub number: u64,
    /// Where it lies now.
    pub folder: String,
    /// How many packages were fetched.
    pub fetched: usize,
    /// How many were there.
    pub unchanged: usize,
}

/// Copies the registry at `url` into `folder`: what is there and right is not fetched again. The index comes last, so
/// that whoever uses the copy meanwhile finds everything that the index names.
pub fn mirror(
    url: &str,
    key: Option<String>,
    folder: &Path,
    keyring: &Keyring,
    fetching: &Fetching,
    progress: &mut dyn Progress,
) -> Result<MirrorReport> {
    let url = url.strip_suffix(FILE).unwrap_or(url).trim_end_matches('/').to_owned();
    let source = Source {
        kind: "registry_source".into(),
        version: 1,
        name: String::new(),
        url,
        added_at: time::rfc3339_ms(SystemTime::now()),
        key,
    };
    let place = Place::of(&source.url)?;
    let fetched = fetch(&source, keyring, fetching)?;
    fetched.index.must_be_current(SystemTime::now())?;
    let mirrored = folder.join(FILE);
    if let Some(seen) = file::read_up_to(&mirrored, MAX_BYTES)? {
        let hint = "a mirror only goes forward; if the registry was made anew, mirror it into another folder";
        must_follow(&seen, &mirrored, &fetched).map_err(|error| error.on(source.url.clone()).hint(hint))?;
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, &e))?;
    let (mut count, mut unchanged) = (0, 0);
    for (at, package) in fetched.index.packages.iter().enumerate() {
        let percent = u8::try_from(at * 100 / fetched.index.packages.len()).ok();
        progress.say(&format!("{} {}", package.name, package.plugin_version), percent);
        match copy(&place, package, folder, fetching)? {
            true => count += 1,
            false => unchanged += 1,
        }
    }
    if let Some((_, bytes, signature)) = &fetched.revoked {
        write_new(&folder.join(format!("{REVOKED}.minisig")), signature.as_bytes(), 0o644, Existing::Replace)?;
        write_new(&folder.join(REVOKED), bytes, 0o644, Existing::Replace)?;
    }
    let index = folder.join(FILE);
    write_new(&beside(&index, ".minisig"), fetched.signature.as_bytes(), 0o644, Existing::Replace)?;
    write_new(&index, &fetched.bytes, 0o644, Existing::Replace)?;
    Ok(MirrorReport {
        kind: "registry_mirrored".into(),
        version: 1,
        registry: fetched.index.name,
        number: fetched.index.number,
        folder: folder.display().to_string(),
        fetched: count,
        unchanged,
    })
}

/// Copies one package and what lies beside it; whether it had to be.
fn copy(from: &Place, package: &Package, folder: &Path, fetching: &Fetching) -> Result<bool> {
    let (place, to) = (from.join(&package.path), folder.join(&package.path));
    let is_there = std::fs::read(&to).is_ok_and(|bytes| Plain::of(&bytes) == package.sha256);
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::io("make the folder", parent, &e))?;
    }
    for suffix in [".minisig", ".sha256", ".asc"] {
        if let Some(text) = fetching.beside(&place, suffix)? {
            write_new(&beside(&to, suffix), text.as_bytes(), 0o644, Existing::Replace)?;
        }
    }
    // What people look at in a folder of packages; nobody relies on it.
    for name in ["README.md", "semantic-mapping.toml"] {
        let path = Path::new(&package.path).with_file_name(name);
        if let Some(bytes) = fetching.file(&from.join(&path.to_string_lossy()), MAX_BYTES)? {
            write_new(&folder.join(path), &bytes, 0o644, Existing::Replace)?;
        }
    }
    if is_there {
        return Ok(false);
    }
    let missing = || Error::untrusted("the index names it, and it is not there").on(place.to_string());
    let bytes = fetching.file(&place, MAX_BYTES)?.ok_or_else(missing)?;
    if Plain::of(&bytes) != package.sha256 {
        return Err(Error::untrusted("it is another than the index says")
            .on(place.to_string())
            .hint("try again later"));
    }
    write_new(&to, &bytes, 0o644, Existing::Replace)?;
    Ok(true)
}

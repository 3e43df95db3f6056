//! Changes to the folder of trusted keys.

use super::{Keyring, REVOKED, TrustedKey, end_of};
use crate::base::{Error, Result};
use crate::package::publish::{Existing, beside, write_new};
use crate::package::revocation::Revocations;
use crate::store::file;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Puts a key into `folder`, with a comment of one's own and the last day on which it counts.
pub fn add(folder: &Path, key: &TrustedKey, comment: Option<&str>, expires: Option<&str>) -> Result<()> {
    if let Some(day) = expires.filter(|day| end_of(day).is_none()) {
        return Err(Error::usage("this is no day").on(format!("--expires {day:?}")).hint("for example 2027-06-30"));
    }
    let known = Keyring::of_folder(folder)?;
    if let Some(there) = known.keys().iter().find(|there| there.id == key.id) {
        return Err(Error::refused("this key is there already")
            .on(there.file.display().to_string())
            .hint(format!("to change its comment or its end: op-install keys remove {}, and add it again", key.id)));
    }
    let comment = comment.unwrap_or(&key.comment);
    let without = comment.split_whitespace().filter(|word| expires.is_none() || !word.starts_with("expires="));
    let mut comment = without.collect::<Vec<_>>().join(" ");
    if let Some(day) = expires {
        comment.push_str(&format!(" expires={day}"));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|e| Error::io("make the folder of trusted keys", folder, &e))?;
    write_new(&folder.join(format!("{}.pub", key.id)), key.text(&comment).as_bytes(), 0o644, Existing::Keep)
}

/// Takes a key out of `folder`.
pub fn remove(folder: &Path, id: &str) -> Result<()> {
    let known = Keyring::of_folder(folder)?;
    let there = known.keys().iter().find(|there| there.id.eq_ignore_ascii_case(id));
    let there =
        there.ok_or_else(|| Error::bad_input("there is no such key").on(id).hint("op-install keys lists them"))?;
    std::fs::remove_file(&there.file).map_err(|e| Error::io("remove the key", &there.file, &e))
}

/// Takes over a list of what was revoked, signed by a key that is trusted here; its number.
pub fn take_over(folder: &Path, list: &Path) -> Result<u64> {
    let missing = |path: &Path| Error::bad_input("there is no such file").on(path.display().to_string());
    let text = file::read(list)?.ok_or_else(|| missing(list))?;
    let signed = beside(list, ".minisig");
    let signature = file::read(&signed)?.ok_or_else(|| missing(&signed))?;
    let known = Keyring::of_folder(folder)?;
    let new = Revocations::verified(&text, &signature, known.keys(), &list.display().to_string())?;
    if new.number <= known.revoked().number && known.revoked().text() != new.text() {
        return Err(Error::untrusted(format!(
            "this is list number {}, and number {} is here already",
            new.number,
            known.revoked().number
        ))
        .on(list.display().to_string())
        .hint("get the newest one: trust that was taken back is not given again by an old list"));
    }
    let to = folder.join(REVOKED);
    write_new(&beside(&to, ".minisig"), signature.as_bytes(), 0o644, Existing::Replace)?;
    write_new(&to, text.as_bytes(), 0o644, Existing::Replace)?;
    Ok(new.number)
}

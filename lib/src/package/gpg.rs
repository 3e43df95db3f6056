//! Signatures of GPG beside those of minisign, for who asks for them: `gpgv` checks them against keyrings that are put
//! where they are trusted.

use super::ledger::SignedBy;
use crate::base::{Error, Kind, Result};
use crate::store::layout;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Checks that `signature` (the text of a `.asc`) was made over `bytes` with a key of the keyrings `*.gpg` in `folder`.
pub fn verify(bytes: &[u8], signature: &str, folder: &Path) -> Result<SignedBy> {
    let keyrings = keyrings(folder)?;
    if keyrings.is_empty() {
        return Err(Error::untrusted("there is no keyring to check the GPG signature with")
            .on(folder.display().to_string())
            .hint(format!("gpg --export KEY > {}/publisher.gpg", folder.display())));
    }
    // gpgv wants a file of the signature; this one is nowhere but in memory.
    let attempt = |e: std::io::Error| Error::failed(format!("could not hand the signature to gpgv: {e}"));
    let mut file = File::from(memfd_create("signature", MemfdFlags::empty()).map_err(|e| attempt(e.into()))?);
    file.write_all(signature.as_bytes()).map_err(attempt)?;
    let mut command = Command::new("gpgv");
    for keyring in &keyrings {
        command.arg("--keyring").arg(keyring);
    }
    command.args(["--quiet", "--status-fd", "1", "--"]).arg(format!("/proc/self/fd/{}", file.as_raw_fd())).arg("-");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::new(Kind::Unavailable, "gpgv is not installed").hint("apt-get install gpgv"),
        _ => Error::failed(format!("could not start gpgv: {e}")),
    })?;
    // It may have seen enough before it has read all.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(bytes);
    }
    let output = child.wait_with_output().map_err(|e| Error::failed(format!("could not run gpgv: {e}")))?;
    judge(output.status.success(), &String::from_utf8_lossy(&output.stdout))
}

/// What gpgv's status lines say; nothing but a good signature by a key that is valid now will do.
fn judge(has_succeeded: bool, status: &str) -> Result<SignedBy> {
    let said = |word: &str| {
        let mut lines = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
        lines.find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::to_owned)
    };
    for (word, why) in [
        ("BADSIG", "is not that of these bytes"),
        ("EXPSIG", "has expired"),
        ("EXPKEYSIG", "was made with a key that has expired"),
        ("REVKEYSIG", "was made with a key that was revoked"),
        ("ERRSIG", "cannot be checked: its key is not trusted, or its kind is not known"),
    ] {
        if said(word).is_some() {
            return Err(Error::untrusted(format!("the GPG signature {why}")).hint("get the package and its .asc again"));
        }
    }
    match (said("GOODSIG"), said("VALIDSIG")) {
        (Some(good), Some(valid)) if has_succeeded => Ok(SignedBy {
            key: valid.split(' ').next().unwrap_or_default().to_owned(),
            comment: good.split_once(' ').map(|(_, user)| user.to_owned()).unwrap_or_default(),
        }),
        _ => {
            Err(Error::untrusted("the GPG signature cannot be read")
                .hint("it is what gpg --armor --detach-sign writes"))
        }
    }
}

fn keyrings(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|e| Error::io("list the trusted GPG keyrings", folder, &e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list the trusted GPG keyrings", folder, &e))?.path();
        if path.extension().is_some_and(|extension| extension == "gpg") {
            found.push(path);
        }
    }
    for path in found.iter().map(PathBuf::as_path).chain([folder]) {
        if !layout::is_trusted(path) {
            return Err(Error::new(Kind::Denied, "others can write it, so what it trusts cannot be trusted")
                .on(path.display().to_string())
                .hint(format!("chown root {0} && chmod go-w {0}", path.display())));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_good_signature_will_do() {
        let good = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1234567890ABCDEF A Publisher <a@example.org>\n\
                    [GNUPG:] VALIDSIG 00112233 2026-01-01 1 0 4 0 1 10 00 00112233\n";
        let signed = judge(true, good).unwrap();
        assert_eq!((&*signed.key, &*signed.comment), ("00112233", "A Publisher <a@example.org>"));
        assert!(judge(false, good).is_err());
        for word in ["BADSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "ERRSIG"] {
            assert!(judge(true, &format!("{good}[GNUPG:] {word} x y\n")).is_err(), "{word}");
        }
        for bad in ["", "[GNUPG:] GOODSIG x y", "GOODSIG x y\nVALIDSIG x"] {
            assert!(judge(true, bad).is_err(), "{bad}");
        }
    }
}

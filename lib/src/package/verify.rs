//! Whether the compressed bytes are those that a trusted publisher signed: before anything is decompressed.

use super::fetch::Fetched;
use super::gpg;
use super::keyring::Keyring;
use super::ledger::SignedBy;
use super::signature::{self, Signed};
use super::trust::Trust;
use crate::base::digest::Plain;
use crate::base::{Error, Result};
use std::path::PathBuf;

/// What is asked of a package.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The keys whose signatures count.
    pub keyring: Keyring,
    /// Whether a package without signature will do.
    pub allow_unsigned: bool,
    /// Where the keyrings lie when a GPG signature is asked for.
    pub gpg: Option<PathBuf>,
}

/// A package whose bytes are what they should be.
#[derive(Debug, Clone)]
pub struct Verified {
    /// SHA-256 of the compressed bytes, in hexadecimal.
    pub sha256: String,
    /// Its signature, when it has one that counts.
    pub signed: Option<Signed>,
    /// The key of its GPG signature, when that was asked for.
    pub gpg: Option<SignedBy>,
}

impl Verified {
    /// How far a plugin from it is trusted.
    #[must_use]
    pub fn trust(&self) -> Trust {
        if self.signed.is_some() || self.gpg.is_some() { Trust::Community } else { Trust::Generated }
    }
}

/// Checks digest and signature of what was fetched.
pub fn verify(fetched: &Fetched, policy: &Policy) -> Result<Verified> {
    let sha256 = Plain::of(&fetched.bytes);
    if let Some(checksum) = &fetched.checksum {
        check_sum(checksum, &sha256, &fetched.file_name).map_err(|e| e.on(format!("{}.sha256", fetched.source)))?;
    }
    policy.keyring.must_not_be_revoked(&sha256).map_err(|e| e.on(fetched.source.clone()))?;
    let gpg = match &policy.gpg {
        Some(keyrings) => Some(check_gpg(fetched, keyrings).map_err(|e| e.or_on(fetched.source.clone()))?),
        None => None,
    };
    // A good GPG signature is a signature: then the other may be missing, or be by anybody. It may not be bad.
    let allow_unsigned = policy.allow_unsigned || gpg.is_some();
    let signed = match &fetched.signature {
        // With --allow-unsigned a signature that is there must still be good, but its key may be anybody's.
        Some(text) => match signature::verify(&fetched.bytes, text, &policy.keyring) {
            Ok(signed) => Some(signed),
            Err(error) if allow_unsigned && error.message == signature::FOREIGN => None,
            Err(error) => return Err(error.or_on(fetched.source.clone())),
        },
        None if allow_unsigned && gpg.is_none() && fetched.is_plain_http => {
            return Err(Error::untrusted("it is unsigned, and others could have changed it on the way")
                .on(fetched.source.clone())
                .hint("fetch it over https, or fetch and look at it yourself and install the file"));
        }
        None if allow_unsigned => None,
        None => {
            return Err(Error::untrusted("the package is not signed: there is no .minisig beside it")
                .on(fetched.source.clone())
                .hint("get its signature, or say --allow-unsigned if you know where it comes from"));
        }
    };
    Ok(Verified { sha256, signed, gpg })
}

fn check_gpg(fetched: &Fetched, keyrings: &std::path::Path) -> Result<SignedBy> {
    let signature = fetched.gpg.as_deref().ok_or_else(|| {
        Error::untrusted("the package has no GPG signature: there is no .asc beside it")
            .hint("get it, or leave out --gpg")
    })?;
    gpg::verify(&fetched.bytes, signature, keyrings)
}

/// Compares with a `.sha256`: a digest alone, or lines as `sha256sum` writes them.
fn check_sum(text: &str, sha256: &str, file_name: &str) -> Result<()> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let entries: Vec<(&str, &str)> = lines
        .map(|line| line.split_once(char::is_whitespace).unwrap_or((line, "")))
        .map(|(digest, name)| (digest, name.trim_start().trim_start_matches('*')))
        .collect();
    let own = entries.iter().find(|(_, name)| name.rsplit('/').next() == Some(file_name));
    match own.or(if let [only] = &entries[..] { Some(only) } else { None }) {
        Some((digest, _)) if digest.eq_ignore_ascii_case(sha256) => Ok(()),
        Some(_) => Err(Error::untrusted("the package has another checksum than this").hint("fetch the package again")),
        None => Err(Error::untrusted("there is no checksum of the package in it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        let sum = Plain::of(b"bytes");
        let other = Plain::of(b"other");
        for good in [
            format!("{sum}\n"),
            sum.to_uppercase(),
            format!("{sum}  a.btrfs.zst\n"),
            format!("{other}  b.btrfs.zst\n{sum} *./a.btrfs.zst\n"),
            format!("{sum}  renamed"),
        ] {
            assert!(check_sum(&good, &sum, "a.btrfs.zst").is_ok(), "{good}");
        }
        for bad in
            [String::new(), other.clone(), format!("{other}  a.btrfs.zst\n{sum}  b"), format!("{sum} b\n{sum} c")]
        {
            assert!(check_sum(&bad, &sum, "a.btrfs.zst").is_err(), "{bad}");
        }
    }
}

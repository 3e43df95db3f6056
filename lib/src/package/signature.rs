//! Signatures of packages: minisign's, made and checked by the stock `minisign` too.
//!
//! A signature is over the compressed bytes. Its trusted comment, which is signed as well, says which package they are,
//! so that a good package cannot be passed off as another or as another version:
//!
//! ```text
//! op-dbus-package/1 name=packagekit version=1.0.0 sha256=HEX tree=HEX
//! ```
//!
//! `sha256` is of the compressed bytes, as `sha256sum` prints it. `tree` is the tree digest, and may be missing where a
//! package was signed by hand.

use super::keyring::{Keyring, TrustedKey};
use crate::base::digest::Plain;
use crate::base::name::PluginName;
use crate::base::{Error, Result};
use minisign_verify::Signature;
use semver::Version;
use std::fmt;

/// What is said of a signature by a key that is not in the ring.
pub(super) const FOREIGN: &str = "it was signed with a key that is not trusted";
const COMMENT: &str = "op-dbus-package/1";

/// What a trusted comment says its package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the compressed bytes, in hexadecimal.
    pub sha256: String,
    /// The tree digest, `sha256:...`.
    pub tree: Option<String>,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COMMENT} name={} version={} sha256={}", self.name, self.version, self.sha256)?;
        match self.tree.as_deref().and_then(|tree| tree.strip_prefix("sha256:")) {
            Some(hex) => write!(f, " tree={hex}"),
            None => Ok(()),
        }
    }
}

impl Binding {
    fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.strip_prefix(COMMENT)?.split_ascii_whitespace();
        let mut next = |key: &str| words.next().and_then(|word| word.strip_prefix(key)?.strip_prefix('='));
        let name = PluginName::new(next("name")?).ok()?;
        let version = Version::parse(next("version")?).ok()?;
        let sha256 = next("sha256").filter(|hex| is_hex(hex))?.to_owned();
        let tree = next("tree").map(|hex| is_hex(hex).then(|| format!("sha256:{hex}")));
        let tree = match tree {
            Some(None) => return None,
            Some(tree) => tree,
            None => None,
        };
        words.next().is_none().then_some(Self { name, version, sha256, tree })
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A signature that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key it was made with.
    pub key: TrustedKey,
    /// What was signed.
    pub binding: Binding,
}

/// Checks that `signature` (the text of a `.minisig`) was made over `bytes` by a key of the ring, and what it says they
/// are.
pub fn verify(bytes: &[u8], signature: &str, keyring: &Keyring) -> Result<Signed> {
    let (key, comment) = verify_any(bytes, signature, keyring)?;
    bound(bytes, &comment, &key)
}

/// The same for anything that is signed: the key, and the trusted comment, for the caller to look at.
pub(super) fn verify_any(bytes: &[u8], signature: &str, keyring: &Keyring) -> Result<(TrustedKey, String)> {
    let (key, comment) =
        verify_with(bytes, signature, keyring.keys()).map_err(|error| match error.message == FOREIGN {
            true => error.hint(keyring.way_in()),
            false => error,
        })?;
    keyring.must_count(&key)?;
    Ok((key, comment))
}

/// The same with these keys, whether or not they still count.
pub(super) fn verify_with(bytes: &[u8], signature: &str, keys: &[TrustedKey]) -> Result<(TrustedKey, String)> {
    let signature = Signature::decode(signature).map_err(|e| {
        Error::untrusted(format!("the signature cannot be read: {e}")).hint("it is the .minisig that minisign writes")
    })?;
    let mut foreign = true;
    for key in keys {
        match key.verifier().verify(bytes, &signature, false) {
            Ok(()) => return Ok((key.clone(), signature.trusted_comment().to_owned())),
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                return Err(Error::untrusted("the signature is of the old kind, over the file itself")
                    .hint("sign again with minisign 0.9 or newer, or with minisign -H"));
            }
            Err(_) => foreign = false,
        }
    }
    if foreign {
        return Err(Error::untrusted(FOREIGN));
    }
    Err(Error::untrusted("the signature is not that of these bytes").hint("fetch the package and its signature again"))
}

fn bound(bytes: &[u8], comment: &str, key: &TrustedKey) -> Result<Signed> {
    let sha256 = Plain::of(bytes);
    let binding = Binding::parse(comment).ok_or_else(|| {
        Error::untrusted("the signature does not say which package it is of").hint(format!(
            "sign it with op-snapshot publish, or: minisign -S -t '{COMMENT} name=NAME version=VERSION sha256={sha256}'"
        ))
    })?;
    if binding.sha256 != sha256 {
        return Err(Error::untrusted("the signature is of another digest than that of the package"));
    }
    Ok(Signed { key: key.clone(), binding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments() {
        let hex = "0123456789abcdef".repeat(4);
        let binding = Binding {
            name: PluginName::new("lamp").unwrap(),
            version: Version::new(1, 2, 3),
            sha256: hex.clone(),
            tree: Some(format!("sha256:{hex}")),
        };
        assert_eq!(Binding::parse(&binding.to_string()), Some(binding.clone()));
        let without = Binding { tree: None, ..binding };
        assert_eq!(Binding::parse(&without.to_string()), Some(without.clone()));
        let good = without.to_string();
        for bad in [
            "".to_owned(),
            "timestamp:1556193335\tfile:test".to_owned(),
            good.replace("/1", "/2"),
            good.replace("lamp", "../lamp"),
            good.replace("1.2.3", "1.2"),
            good.replace("name=", "name"),
            good.replace("0123", "0g23"),
            good.replace("0123", ""),
            format!("{good} tree=1"),
            format!("{good} tree={hex} more"),
            format!("x{good}"),
        ] {
            assert_eq!(Binding::parse(&bad), None, "{bad}");
        }
    }
}

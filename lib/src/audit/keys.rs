//! Keys that sign heads, summaries, copies and packages: minisign's, so that its own programs can make and check them too.

use crate::base::{Error, Kind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, SecretKeyBox};
use minisign_verify::{PublicKey, Signature};
use std::fmt;

/// A new pair of keys, as the texts of their two files.
pub struct NewKeys {
    /// The secret key; for nobody to see.
    pub secret: String,
    /// The public key; for everybody.
    pub public: String,
    /// Its number.
    pub id: String,
}

/// Makes a pair of keys. Without a password, whoever has the file of the secret key can sign.
pub fn generate(password: Option<&str>) -> Result<NewKeys> {
    let failed = |e: minisign::PError| Error::failed(format!("could not make the keys: {e}"));
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = pair.map_err(failed)?;
    let id = number(&pk);
    let public = pk.to_box().map_err(failed)?.into_string();
    let secret = sk.to_box(Some("op-dbus secret key")).map_err(failed)?.into_string();
    Ok(NewKeys { secret, public, id })
}

fn number(key: &minisign::PublicKey) -> String {
    key.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// A key that signs.
pub struct Signer {
    secret: minisign::SecretKey,
    public: minisign::PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.id()).finish()
    }
}

impl Signer {
    /// Reads the text of a secret key's file; `file` names it in errors.
    pub fn parse(text: &str, password: Option<&str>, file: &str) -> Result<Self> {
        let wrong = |why: String| Error::bad_input(why).on(file);
        // `minisign -G -W` writes no checksum, so a key without password is taken as it is; signing with it is checked.
        let line = text.lines().nth(1).unwrap_or_default().trim();
        let stored = STANDARD.decode(line).ok().and_then(|bytes| minisign::SecretKey::from_bytes(&bytes).ok());
        let stored = stored.ok_or_else(|| {
            let what = wrong("this is no secret key of minisign".into());
            what.hint("it is what op-audit keygen, op-snapshot keygen or minisign -G writes")
        })?;
        // minisign would ask for a password on the terminal by itself: it is never left out.
        let secret = match password {
            _ if !stored.is_encrypted() => stored,
            Some(password) => {
                let opened = SecretKeyBox::from_string(text).and_then(|key| key.into_secret_key(Some(password.into())));
                opened.map_err(|e| wrong(format!("the secret key cannot be opened: {e}")))?
            }
            None => {
                return Err(
                    wrong("the secret key is protected with a password".into()).hint("say --password-file FILE")
                );
            }
        };
        let public = minisign::PublicKey::from_secret_key(&secret)
            .map_err(|e| wrong(format!("the secret key is damaged: {e}")))?;
        Ok(Self { secret, public })
    }

    /// The number of the key.
    #[must_use]
    pub fn id(&self) -> String {
        number(&self.public)
    }

    /// The text of its `.pub`.
    pub fn public(&self) -> Result<String> {
        let text = self.public.to_box().map_err(|e| Error::failed(format!("could not write the public key: {e}")))?;
        Ok(text.into_string())
    }

    /// Signs `bytes`; the trusted comment is signed as well.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String> {
        let untrusted = Some("signature made by op-dbus");
        let signed = minisign::sign(Some(&self.public), &self.secret, bytes, Some(comment), untrusted);
        signed.map(minisign::SignatureBox::into_string).map_err(|e| Error::failed(format!("could not sign: {e}")))
    }
}

/// The public keys that are believed.
#[derive(Default)]
pub struct Trusted(Vec<PublicKey>);

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trusted({})", self.0.len())
    }
}

impl Trusted {
    /// Adds the key of a public key's file; `file` names it in errors.
    pub fn add(&mut self, text: &str, file: &str) -> Result<()> {
        let key = PublicKey::decode(text.trim()).or_else(|_| PublicKey::from_base64(text.trim()));
        self.0.push(key.map_err(|e| {
            Error::bad_input(format!("this is no public key of minisign: {e}"))
                .on(file)
                .hint("it is FILE.pub of the key")
        })?);
        Ok(())
    }

    /// Whether there is none, so that nothing can be said about a signature.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that `signature` was made over `bytes`, with exactly this trusted comment, by one of the keys.
    pub fn check(&self, bytes: &[u8], comment: &str, signature: &str) -> Result<()> {
        let wrong = |why: String| Error::new(Kind::Untrusted, why);
        let signature =
            Signature::decode(signature).map_err(|e| wrong(format!("the signature cannot be read: {e}")))?;
        let mut is_foreign = true;
        for key in &self.0 {
            match key.verify(bytes, &signature, false) {
                Ok(()) if signature.trusted_comment() == comment => return Ok(()),
                Ok(()) => return Err(wrong("the signature is of something else, as its comment says".into())),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(_) => is_foreign = false,
            }
        }
        Err(wrong(match is_foreign {
            true => "it was signed with a key that is not trusted".into(),
            false => "the signature does not fit".into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_believed_and_nothing_else() {
        for password in [None, Some("p")] {
            let keys = generate(password).unwrap();
            let signer = Signer::parse(&keys.secret, password, "key").unwrap();
            let signature = signer.sign(b"bytes", "comment").unwrap();
            let mut trusted = Trusted::default();
            assert!(trusted.check(b"bytes", "comment", &signature).is_err(), "no key is trusted yet");
            trusted.add(&generate(None).unwrap().public, "other.pub").unwrap();
            assert!(trusted.check(b"bytes", "comment", &signature).is_err());
            trusted.add(&keys.public, "key.pub").unwrap();
            trusted.check(b"bytes", "comment", &signature).unwrap();
            assert!(trusted.check(b"bytez", "comment", &signature).is_err());
            assert!(trusted.check(b"bytes", "another", &signature).is_err());
            assert!(trusted.check(b"bytes", "comment", "junk").is_err());
        }
        let keys = generate(Some("p")).unwrap();
        assert!(Signer::parse(&keys.secret, None, "key").is_err());
        assert!(Signer::parse(&keys.secret, Some("q"), "key").is_err());
        assert!(Signer::parse("junk", None, "key").is_err());
    }
}

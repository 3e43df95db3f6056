//! Keys that sign, and signatures made with them. `minisign` reads both, and its keys are read here.

use super::signature::Binding;
use crate::base::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

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

fn number(key: &PublicKey) -> String {
    key.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// A key that signs.
pub struct SigningKey {
    secret: SecretKey,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id()).finish()
    }
}

impl SigningKey {
    /// Reads the text of a secret key's file; `file` names it in errors.
    pub fn parse(text: &str, password: Option<&str>, file: &str) -> Result<Self> {
        // `minisign -G -W` writes no checksum, so a key without password is taken as it is; signing with it is checked.
        let line = text.lines().nth(1).unwrap_or_default().trim();
        let stored = STANDARD.decode(line).ok().and_then(|bytes| SecretKey::from_bytes(&bytes).ok());
        let stored = stored.ok_or_else(|| {
            let what = Error::bad_input("this is no secret key of minisign").on(file);
            what.hint("it is what op-snapshot keygen or minisign -G writes")
        })?;
        // minisign would ask for a password on the terminal by itself: it is never left out.
        let secret = match password {
            _ if !stored.is_encrypted() => stored,
            Some(password) => {
                let opened = SecretKeyBox::from_string(text).and_then(|key| key.into_secret_key(Some(password.into())));
                opened.map_err(|e| Error::bad_input(format!("the secret key cannot be opened: {e}")).on(file))?
            }
            None => {
                return Err(Error::bad_input("the secret key is protected with a password")
                    .on(file)
                    .hint("say --password-file FILE"));
            }
        };
        let public = PublicKey::from_secret_key(&secret)
            .map_err(|e| Error::bad_input(format!("the secret key is damaged: {e}")).on(file))?;
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

    /// Signs `bytes` as the package that `binding` says they are: the text of a `.minisig`.
    pub fn sign(&self, bytes: &[u8], binding: &Binding) -> Result<String> {
        self.sign_with_comment(bytes, &binding.to_string())
    }

    /// Signs `bytes` with a trusted comment.
    pub fn sign_with_comment(&self, bytes: &[u8], comment: &str) -> Result<String> {
        let comments = (Some(comment), Some("signature of an op-dbus package"));
        let signed = minisign::sign(Some(&self.public), &self.secret, bytes, comments.0, comments.1);
        signed.map(minisign::SignatureBox::into_string).map_err(|e| Error::failed(format!("could not sign: {e}")))
    }
}

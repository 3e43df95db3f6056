//! Keys that sign packages: those of the audit trail, since both are minisign's.

use super::signature::Binding;
use crate::audit::keys::Signer;
use crate::base::Result;

pub use crate::audit::keys::{NewKeys, generate};

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey(Signer);

impl SigningKey {
    /// Reads the text of a secret key's file; `file` names it in errors.
    pub fn parse(text: &str, password: Option<&str>, file: &str) -> Result<Self> {
        Signer::parse(text, password, file).map(Self)
    }

    /// The number of the key.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The text of its `.pub`.
    pub fn public(&self) -> Result<String> {
        self.0.public()
    }

    /// Signs `bytes` as the package that `binding` says they are: the text of a `.minisig`.
    pub fn sign(&self, bytes: &[u8], binding: &Binding) -> Result<String> {
        self.sign_with_comment(bytes, &binding.to_string())
    }

    /// Signs `bytes` with a trusted comment.
    pub fn sign_with_comment(&self, bytes: &[u8], comment: &str) -> Result<String> {
        self.0.sign(bytes, comment)
    }
}

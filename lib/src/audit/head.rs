//! Heads as documents: what is kept where the trail is not, so that nobody can write all of it anew.
//!
//! What is signed is the document without its signature, in canonical form; the trusted comment says the same again.

use super::chain::Head;
use super::keys::{Signer, Trusted};
use crate::base::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A head as it is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeadDocument {
    /// Always `audit_head`.
    pub kind: String,
    /// Always 1.
    pub version: u32,
    /// Number of the newest block; 0 when there is none.
    pub number: u64,
    /// Its digest.
    pub digest: String,
    /// minisign's signature, as the text of a `.minisig` file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<String>,
}

impl HeadDocument {
    /// The document of a head, signed when there is a key.
    pub fn new(head: &Head, signer: Option<&Signer>) -> Result<Self> {
        let mut document = Self {
            kind: "audit_head".into(),
            version: 1,
            number: head.number,
            digest: head.digest.clone(),
            signature: None,
        };
        let sign = |signer: &Signer| signer.sign(&document.signed_bytes()?, &document.comment());
        document.signature = signer.map(sign).transpose()?;
        Ok(document)
    }

    fn signed_bytes(&self) -> Result<Vec<u8>> {
        let value = json!({"kind": self.kind, "version": self.version, "number": self.number, "digest": self.digest});
        canonical(&value)
    }

    fn comment(&self) -> String {
        format!("op-dbus-head/1 number={} digest={}", self.number, self.digest)
    }

    /// Reads one, and checks its signature when keys are trusted: then one without counts for nothing.
    pub fn read(text: &str, trusted: &Trusted) -> Result<Self> {
        let no_head = || Error::bad_input("this is no head").hint("a head is what op-audit head prints");
        let head: Self = serde_json::from_str(text).map_err(|_| no_head())?;
        if head.kind != "audit_head" || head.version != 1 {
            return Err(no_head());
        }
        if trusted.is_empty() {
            return Ok(head);
        }
        let signature = head.signature.as_deref().ok_or_else(|| {
            Error::new(Kind::Untrusted, "the head is not signed")
                .hint("sign it where the trail is: op-audit head --key FILE")
        })?;
        trusted.check(&head.signed_bytes()?, &head.comment(), signature)?;
        Ok(head)
    }
}

/// What is signed of a document: its canonical form (RFC 8785).
pub fn canonical(document: &serde_json::Value) -> Result<Vec<u8>> {
    serde_json_canonicalizer::to_vec(document).map_err(|e| Error::failed(e.to_string()))
}

impl From<HeadDocument> for Head {
    fn from(document: HeadDocument) -> Self {
        Self { number: document.number, digest: document.digest }
    }
}

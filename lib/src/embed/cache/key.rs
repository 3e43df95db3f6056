//! What a vector is found by.

use crate::base::digest::Fields;
use crate::embed::codec::VectorType;
use std::fmt;

/// Everything that decides which vector a text has, digested: the same key always has the same vector, so a record can
/// be looked for anywhere and believed wherever its key is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    digest: [u8; 32],
    vector_type: VectorType,
}

impl Key {
    /// SHA-256 over the length-prefixed fields. For many texts [`Keys`] is twice as fast.
    #[must_use]
    pub fn new(
        model_digest: &str,
        tokenizer_digest: &str,
        pooling: &str,
        is_normalised: bool,
        vector_type: VectorType,
        text: &str,
    ) -> Self {
        Keys::new(model_digest, tokenizer_digest, pooling, is_normalised, vector_type).of(text)
    }

    /// A key whose digest is known: from a record, or from a command line.
    #[must_use]
    pub fn of_digest(digest: [u8; 32], vector_type: VectorType) -> Self {
        Self { digest, vector_type }
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How its vector is stored.
    #[must_use]
    pub fn vector_type(&self) -> VectorType {
        self.vector_type
    }

    /// The part of the digest that the hash index compares; never 0.
    #[inline]
    pub(super) fn prefix(&self) -> u64 {
        prefix(&self.digest)
    }
}

#[inline]
pub(super) fn prefix(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
}

/// 64 hexadecimal digits.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}:{self})", self.vector_type)
    }
}

/// The keys of one model's texts: what they have in common is digested once.
#[derive(Clone)]
pub struct Keys {
    begun: Fields,
    vector_type: VectorType,
}

impl Keys {
    /// For the texts of one model, tokenizer, pooling, normalisation and type.
    #[must_use]
    pub fn new(
        model_digest: &str,
        tokenizer_digest: &str,
        pooling: &str,
        is_normalised: bool,
        vector_type: VectorType,
    ) -> Self {
        let begun = Fields::begin("op-dbus embedding 1")
            .with(model_digest.as_bytes())
            .with(tokenizer_digest.as_bytes())
            .with(pooling.as_bytes())
            .with(if is_normalised { b"normalised" } else { b"as it is" })
            .with(vector_type.as_str().as_bytes());
        Self { begun, vector_type }
    }

    /// The key of `text`.
    #[must_use]
    pub fn of(&self, text: &str) -> Key {
        Key { digest: self.begun.clone().with(text.as_bytes()).end(), vector_type: self.vector_type }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.vector_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_counts_and_none_runs_into_the_next() {
        let all = [
            Key::new("m", "t", "mean", true, VectorType::F32, "text"),
            Key::new("mt", "", "mean", true, VectorType::F32, "text"),
            Key::new("m", "t", "cls", true, VectorType::F32, "text"),
            Key::new("m", "t", "mean", false, VectorType::F32, "text"),
            Key::new("m", "t", "mean", true, VectorType::F16, "text"),
            Key::new("m", "t", "mean", true, VectorType::F32, "text "),
            Key::new("m", "t", "mean", true, VectorType::F32, ""),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().map(Key::digest).collect();
        assert_eq!(different.len(), all.len());
        let keys = Keys::new("m", "t", "mean", true, VectorType::F32);
        assert_eq!(keys.of("text"), all[0]);
        // A key that changes makes every cache worthless: it is written down here.
        assert_eq!(all[0].to_string(), "d13279add7414b5a4bb16b12e34589272a1b50468dff80a35ff88012407f0b80");
    }
}

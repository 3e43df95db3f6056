//! Digests of documents: SHA-256 over RFC 8785 canonical JSON, tagged with what is digested.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// `sha256:...` of `value` in the domain `tag`; the same value in another domain has another digest.
///
/// The bytes digested are the tag, a zero byte, and the canonical JSON.
#[must_use]
pub fn of_json(tag: &str, value: &Value) -> String {
    let canonical = serde_json_canonicalizer::to_vec(value).unwrap_or_default();
    of_bytes(tag, &canonical)
}

/// `sha256:...` of `bytes` in the domain `tag`.
#[must_use]
pub fn of_bytes(tag: &str, bytes: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(tag.as_bytes());
    hasher.update([0]);
    hasher.update(bytes);
    let mut out = String::from("sha256:");
    for byte in hasher.finalize() {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_does_not_matter_and_the_domain_does() {
        let a: Value = serde_json::from_str(r#"{"b":1,"a":[1.0,"é"]}"#).unwrap();
        let b = json!({"a": [1.0, "é"], "b": 1});
        assert_eq!(of_json("plan", &a), of_json("plan", &b));
        assert_ne!(of_json("plan", &a), of_json("base", &a));
    }
}
